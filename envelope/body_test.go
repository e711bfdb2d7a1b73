package envelope_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope"
)

func TestOpenRefusesBody(t *testing.T) {
	t.Parallel()
	full, part := []byte("0123456789abcdef"), []byte("part")
	framed := message{contents: [][]byte{full, full, part}}
	header := func(frame int, change func(h []byte)) message {
		m := framed
		m.frameHeader = func(i int, h []byte) {
			if i == frame {
				change(h)
			}
		}
		return m
	}
	block := func(change func(h []byte)) message {
		return message{contentType: 1, contents: [][]byte{part}, frameHeader: func(_ int, h []byte) { change(h) }}
	}
	signer := newSigner(t)
	footer := func(b []byte) message { return message{suite: 0x0578, signer: signer, footer: b} }
	long := func(n int) []byte { return append(put16(nil, n), make([]byte, n)...) }
	trailing := func(m message) message { m.footer = []byte{0}; return m }
	tests := map[string]struct {
		m     message
		class error
		text  string
	}{
		"sequence starts at 2":      {header(0, func(h []byte) { h[3] = 2 }), envelope.ErrMalformed, "frame number is 2, want 1"},
		"sequence repeats":          {header(1, func(h []byte) { h[3] = 1 }), envelope.ErrMalformed, "frame number is 1, want 2"},
		"sequence 0":                {header(0, func(h []byte) { h[3] = 0 }), envelope.ErrMalformed, "frame number is 0, want 1"},
		"final sequence skips":      {header(2, func(h []byte) { h[7] = 4 }), envelope.ErrMalformed, "frame number is 4, want 3"},
		"IV low":                    {header(0, func(h []byte) { h[15] = 9 }), envelope.ErrMalformed, "IV of frame 1"},
		"IV high":                   {header(1, func(h []byte) { h[4] = 1 }), envelope.ErrMalformed, "IV of frame 2"},
		"IV middle":                 {header(1, func(h []byte) { h[11] = 1 }), envelope.ErrMalformed, "IV of frame 2"},
		"IV of final":               {header(2, func(h []byte) { h[19] = 0 }), envelope.ErrMalformed, "IV of frame 3"},
		"final longer than a frame": {message{contents: [][]byte{append(full, 'x')}}, envelope.ErrMalformed, "final frame holds 17 bytes, want at most 16"},
		"final too long":            {header(2, func(h []byte) { h[23]++ }), envelope.ErrMalformed, "truncated in frame 3"},
		"final too short":           {header(2, func(h []byte) { h[23]-- }), envelope.ErrMalformed, "followed by 1 bytes"},
		"final length 2^32-1":       {header(2, func(h []byte) { copy(h[20:], "\xff\xff\xff\xff") }), envelope.ErrMalformed, "final frame holds 4294967295 bytes"},
		"no final frame":            {header(2, func(h []byte) { copy(h, "\x00\x00\x00\x03") }), envelope.ErrMalformed, ""},
		"block IV 0":                {block(func(h []byte) { h[11] = 0 }), envelope.ErrMalformed, "IV of frame 1"},
		"block IV high":             {block(func(h []byte) { h[0] = 1 }), envelope.ErrMalformed, "IV of frame 1"},
		"block length 2^64-1":       {block(func(h []byte) { copy(h[12:], "\xff\xff\xff\xff\xff\xff\xff\xff") }), envelope.ErrMalformed, "truncated"},
		"block length 2^63":         {block(func(h []byte) { copy(h[12:], "\x80\x00\x00\x00\x00\x00\x00\x00") }), envelope.ErrMalformed, "truncated"},
		"block length +1":           {block(func(h []byte) { h[19]++ }), envelope.ErrMalformed, "truncated"},
		"block length -1":           {block(func(h []byte) { h[19]-- }), envelope.ErrMalformed, "followed by 1 bytes"},
		"trailing byte":             {trailing(framed), envelope.ErrMalformed, "followed by 1 bytes"},
		"trailing byte, block":      {trailing(message{contentType: 1}), envelope.ErrMalformed, "followed by 1 bytes"},
		"no footer":                 {footer([]byte{}), envelope.ErrMalformed, "signature is truncated"},
		"footer of one byte":        {footer([]byte{0}), envelope.ErrMalformed, "signature is truncated"},
		"footer cut":                {footer([]byte{0, 2, 0}), envelope.ErrMalformed, "signature is truncated"},
		"footer trailing":           {footer([]byte{0, 1, 0, 0}), envelope.ErrMalformed, "followed by 1 bytes"},
		"signature N":               {footer(long(envelope.MaxSignature)), envelope.ErrAuthentication, ""},
		"signature N+1":             {footer(long(envelope.MaxSignature + 1)), envelope.ErrMalformed, "signature takes 105 bytes, want at most 104"},
		"signature empty":           {footer([]byte{0, 0}), envelope.ErrAuthentication, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kr := &staticKeyring{}
			got, err := envelope.Open(t.Context(), kr, test.m.build(t), acceptAll)
			if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got error %v, want %v with %q", err, test.class, test.text)
			}
			if got.Plaintext != nil {
				t.Error("got plaintext with an error")
			}
			if test.class == envelope.ErrMalformed && kr.calls != 0 {
				t.Errorf("got %d keyring calls, want 0", kr.calls)
			}
		})
	}
}

// Frames that are authentic one by one are refused in another arrangement.
func TestOpenRefusesRearrangement(t *testing.T) {
	t.Parallel()
	const size = 4 + 12 + 16 + 16
	m := message{contents: [][]byte{[]byte("0123456789abcdef"), []byte("fedcba9876543210"), []byte("p")}}.build(t)
	other := message{contents: [][]byte{[]byte("0123456789abcdef"), []byte("p")}}.build(t)
	first, second, final := m.Body[:size], m.Body[size:2*size], m.Body[2*size:]
	tests := map[string][]byte{
		"swapped":        slices.Concat(second, first, final),
		"dropped first":  slices.Concat(second, final),
		"dropped second": slices.Concat(first, final),
		"repeated":       slices.Concat(first, first, second, final),
		"final first":    slices.Concat(final, first, second),
		"two finals":     slices.Concat(first, second, final, final),
		"cut":            slices.Concat(first, second),
		"empty":          nil,
		"other final":    slices.Concat(first, second, other.Body[size:]),
	}
	for name, body := range tests {
		got, err := envelope.Open(t.Context(), &staticKeyring{}, envelope.Message{Header: m.Header, Body: body}, acceptAll)
		if !errors.Is(err, envelope.ErrInvalidMessage) || got.Plaintext != nil {
			t.Errorf("%s: got %q, %v", name, got.Plaintext, err)
		}
	}
}

func TestFrameLimit(t *testing.T) {
	t.Parallel()
	contents := slices.Repeat([][]byte{{'x'}}, envelope.MaxFrames+1)
	got, err := envelope.Open(t.Context(), &staticKeyring{}, message{frameLength: 1, contents: contents[1:]}.build(t), acceptAll)
	if err != nil || len(got.Plaintext) != envelope.MaxFrames {
		t.Errorf("%d frames: got %d bytes, %v", envelope.MaxFrames, len(got.Plaintext), err)
	}
	kr := &staticKeyring{}
	_, err = envelope.Open(t.Context(), kr, message{frameLength: 1, contents: contents}.build(t), acceptAll)
	if !errors.Is(err, envelope.ErrUnsupported) || !strings.Contains(err.Error(), "over 65536 frames") || kr.calls != 0 {
		t.Errorf("%d frames: got %v after %d keyring calls", envelope.MaxFrames+1, err, kr.calls)
	}
}

// shapes returns sealed messages of every shape, and a keyring that opens them.
func shapes(t testing.TB) map[string]envelope.Message {
	t.Helper()
	signer := newSigner(t)
	kr := &staticKeyring{}
	sealed, err := envelope.Seal(t.Context(), kr, []byte("a short plaintext"), envelope.EncryptionContext{"sealq:queue": "arn", "k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	full := []byte("0123456789abcdef")
	ec := map[string]string{"k": "v"}
	return map[string]envelope.Message{
		"sealed":              sealed,
		"no context":          message{contents: [][]byte{full}}.build(t),
		"frames":              message{ec: ec, contents: [][]byte{full, full, []byte("p")}}.build(t),
		"empty final frame":   message{ec: ec, contents: [][]byte{full, nil}}.build(t),
		"empty plaintext":     message{ec: ec}.build(t),
		"single block":        message{ec: ec, contentType: 1, contents: [][]byte{full}}.build(t),
		"two keys":            message{ec: ec, keys: []envelope.EncryptedDataKey{testEDK, testEDK}, contents: [][]byte{full}}.build(t),
		"signed":              message{suite: 0x0578, ec: ec, signer: signer, contents: [][]byte{full, []byte("p")}}.build(t),
		"signed single block": message{suite: 0x0578, signer: signer, contentType: 1, contents: [][]byte{full}}.build(t),
	}
}

// TestMalleability flips every single bit of messages of every shape, and cuts
// every number of bytes from the end. The keyring answers whatever it is
// asked, so that nothing but the format's own authentication refuses.
func TestMalleability(t *testing.T) {
	t.Parallel()
	for name, m := range shapes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := envelope.Open(t.Context(), &staticKeyring{}, m, acceptAll); err != nil {
				t.Fatalf("unaltered: %v", err)
			}
			whole := m.Bytes()
			refused := func(b []byte, what string) {
				split := envelope.Message{Header: b[:min(len(b), len(m.Header))], Body: b[min(len(b), len(m.Header)):]}
				got, err := envelope.Open(t.Context(), &staticKeyring{}, split, acceptAll)
				if !errors.Is(err, envelope.ErrInvalidMessage) || got.Plaintext != nil {
					t.Errorf("%s: got %q, %v", what, got.Plaintext, err)
				}
				// And again, if the parser draws the line between the parts elsewhere.
				if split, err := envelope.Split(b); err == nil && len(split.Header) != len(m.Header) {
					if got, err := envelope.Open(t.Context(), &staticKeyring{}, split, acceptAll); !errors.Is(err, envelope.ErrInvalidMessage) || got.Plaintext != nil {
						t.Errorf("%s, split anew: got %q, %v", what, got.Plaintext, err)
					}
				}
			}
			for i := range len(whole) * 8 {
				b := bytes.Clone(whole)
				b[i/8] ^= 1 << (i % 8)
				refused(b, fmt.Sprintf("bit %d of byte %d flipped", i%8, i/8))
			}
			for n := range whole {
				refused(whole[:n], fmt.Sprintf("cut to %d bytes", n))
			}
		})
	}
}

// FuzzOpenTampered: no edit of a sealed message opens.
func FuzzOpenTampered(f *testing.F) {
	named := shapes(f)
	names := []string{"sealed", "frames", "empty final frame", "single block", "two keys", "signed"}
	for i := range names {
		f.Add(uint8(i), uint16(40), uint16(1), []byte{0})
		f.Add(uint8(i), uint16(0), uint16(0), []byte{2})
		f.Add(uint8(i), uint16(300), uint16(30), []byte{})
	}
	f.Fuzz(func(t *testing.T, shape uint8, at, remove uint16, insert []byte) {
		m := named[names[int(shape)%len(names)]]
		whole := m.Bytes()
		from := int(at) % (len(whole) + 1)
		to := min(len(whole), from+int(remove))
		b := slices.Concat(whole[:from], insert, whole[to:])
		if bytes.Equal(b, whole) {
			t.Skip()
		}
		split, err := envelope.Split(b)
		var got envelope.Opened
		if err == nil {
			got, err = envelope.Open(t.Context(), &staticKeyring{}, split, acceptAll)
		}
		if !errors.Is(err, envelope.ErrInvalidMessage) || got.Plaintext != nil {
			t.Fatalf("got %q, %v", got.Plaintext, err)
		}
	})
}

// FuzzBody puts any body behind an authentic header.
func FuzzBody(f *testing.F) {
	full := []byte("0123456789abcdef")
	framed := message{contents: [][]byte{full, []byte("p")}}.build(f)
	f.Add(uint32(16), framed.Body)
	f.Add(uint32(16), message{contents: [][]byte{full, nil}}.build(f).Body)
	f.Add(uint32(0), message{contentType: 1, contents: [][]byte{full}}.build(f).Body)
	f.Add(uint32(1), []byte{})
	f.Add(uint32(1<<32-1), binary.BigEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, frameLength uint32, body []byte) {
		m := message{frameLength: frameLength}
		if frameLength == 0 {
			m.contentType = 1
		}
		header := m.build(t).Header
		got, err := envelope.Open(t.Context(), &staticKeyring{}, envelope.Message{Header: header, Body: body}, acceptAll)
		if err != nil {
			if !errors.Is(err, envelope.ErrInvalidMessage) || got.Plaintext != nil {
				t.Fatalf("got %q, %v", got.Plaintext, err)
			}
			return
		}
		// It opened: then it is one of the ways to write this plaintext.
		var contents [][]byte
		rest := got.Plaintext
		for m.frameLength > 0 && uint64(len(rest)) > uint64(m.frameLength) {
			contents = append(contents, rest[:m.frameLength])
			rest = rest[m.frameLength:]
		}
		m.contents = append(contents, rest)
		if bytes.Equal(m.build(t).Body, body) {
			return
		}
		if m.contents = append(m.contents, nil); uint32(len(rest)) != frameLength || !bytes.Equal(m.build(t).Body, body) {
			t.Fatalf("%x opened to %q", body, got.Plaintext)
		}
	})
}
