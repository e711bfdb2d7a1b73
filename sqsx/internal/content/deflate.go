package content

import (
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
)

// Compressor encodes and decodes content. It keeps the memory that compression
// needs, some 800 KB to compress and 40 KB to decompress, for the next message.
// The zero value is ready, and is safe for concurrent use.
type Compressor struct {
	writers sync.Pool // of *flate.Writer
	readers sync.Pool // of inflater
}

// inflater is what flate.NewReader returns.
type inflater interface {
	io.Reader
	flate.Resetter
}

// appendDeflated appends the length of body and body compressed. It reports
// false if that is no shorter than body.
func (z *Compressor) appendDeflated(b []byte, body string) ([]byte, bool) {
	out := &limited{b: binary.BigEndian.AppendUint32(b, uint32(len(body))), most: len(b) + len(body) - 1}
	w, ok := z.writers.Get().(*flate.Writer)
	if ok {
		w.Reset(out)
	} else {
		w, _ = flate.NewWriter(out, flate.DefaultCompression) // fails for unknown levels only
	}
	defer z.writers.Put(w)
	if _, err := io.WriteString(w, body); err != nil {
		return nil, false
	}
	if err := w.Close(); err != nil || len(out.b) > out.most {
		return nil, false
	}
	return out.b, true
}

// limited appends to b, which may have most bytes.
type limited struct {
	b    []byte
	most int
}

var errLonger = errors.New("content: compression does not make the body shorter")

func (l *limited) Write(p []byte) (int, error) {
	if len(l.b)+len(p) > l.most {
		return 0, errLonger
	}
	l.b = append(l.b, p...)
	return len(p), nil
}

// inflate decompresses all of deflated, which must give exactly n bytes. It
// decompresses one byte more at most.
func (z *Compressor) inflate(deflated string, n int) (string, error) {
	in := strings.NewReader(deflated) // an io.ByteReader, so flate reads no byte too many
	r, ok := z.readers.Get().(inflater)
	if !ok {
		r = flate.NewReader(in).(inflater)
	} else if err := r.Reset(in, nil); err != nil {
		return "", err
	}
	defer z.readers.Put(r)
	var body strings.Builder
	body.Grow(n)
	switch got, err := io.Copy(&body, io.LimitReader(r, int64(n)+1)); {
	case err != nil:
		return "", malformed("has a body that does not decompress: %v", err)
	case got != int64(n):
		return "", malformed("has a body that does not have the length that it declares, %d", n)
	case in.Len() > 0:
		return "", malformed("has %d bytes behind its body", in.Len())
	}
	return body.String(), nil
}
