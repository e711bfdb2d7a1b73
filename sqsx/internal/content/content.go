// Package content encodes what is sealed in place of a body alone: the body,
// the attributes of the message and the time, "sealed content, version 1" of
// docs/format.md. It knows neither keys nor SQS.
package content

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sealq/sealq/envelope"
)

// The layout, all integers big-endian:
//
//	flags(1) time(8) n(4) sealed(n) n(4) clear(n) body
//
// An attribute is
//
//	n(4) name(n) n(4) type(n) kind(1) n(4) value(n)
//
// so that a block of attributes is what SQS's digest of message attributes is
// taken of.
const (
	flagDeflated        = 1 << 0 // the body is its length(4) and raw DEFLATE (RFC 1951)
	flagSealsAttributes = 1 << 1 // Content.SealsAttributes
	knownFlags          = flagDeflated | flagSealsAttributes

	kindString = 1
	kindBinary = 2

	flagsSize  = 1
	timeSize   = 8
	lengthSize = 4
	kindSize   = 1
)

const (
	// MaxAttributes is the number of attributes of one message, those of both
	// blocks together (SQS Developer Guide, message metadata).
	MaxAttributes = 10

	// MaxBody bounds a decompressed body: the largest that SQS accepts (SQS API
	// reference, SendMessage).
	MaxBody = 1 << 20

	// ReservedName is the attribute that carries the header of a sealed message.
	// It is on the wire and never inside.
	ReservedName = "sealq"
)

// maxTime is the last millisecond of the year 9999. RFC 3339 and many languages
// cannot write later times.
const maxTime = 253402300799999

// Attribute is one message attribute. Its value is text, or bytes if its type
// is Binary.
type Attribute struct {
	Name  string // of 1 byte or more, unique in a message
	Type  string // String, Number or Binary, with its label if it has one
	Value string // text in UTF-8, or the bytes of a Binary
}

// IsBinary reports whether an attribute of that type holds bytes.
func IsBinary(dataType string) bool { return baseType(dataType) == "Binary" }

// baseType is the type without its custom label: "Number" of "Number.float".
func baseType(dataType string) string {
	base, _, _ := strings.Cut(dataType, ".")
	return base
}

// Content is what is sealed.
type Content struct {
	Body string // not compressed; its bytes are not looked at

	// SealsAttributes says that all of the sender's attributes are here, except
	// those of tracers: any other attribute on the wire was added by someone else.
	SealsAttributes bool

	// Time is when the message was sealed, in whole milliseconds; decoded, in UTC.
	Time time.Time

	// Sealed are attributes that travel here only. Clear are copies of those that
	// travel in clear too. Both are sorted by name when decoded; no name is there
	// twice.
	Sealed, Clear []Attribute
}

var errInvalid = errors.New("content: the content cannot be encoded")

// Size returns the length in bytes of c encoded without compression.
func Size(c Content) int {
	n := flagsSize + timeSize + lengthSize + lengthSize + len(c.Body)
	for _, attributes := range [][]Attribute{c.Sealed, c.Clear} {
		n += blockSize(attributes)
	}
	return n
}

func blockSize(attributes []Attribute) int {
	n := 0
	for _, a := range attributes {
		n += lengthSize + len(a.Name) + lengthSize + len(a.Type) + kindSize + lengthSize + len(a.Value)
	}
	return n
}

// Encode returns c as bytes. If compress is set, the body is compressed if that
// makes it smaller, and is not above MaxBody. It fails for what Decode would
// refuse.
func (z *Compressor) Encode(c Content, compress bool) ([]byte, error) {
	ms := c.Time.UnixMilli()
	if ms < 0 || ms > maxTime {
		return nil, fmt.Errorf("%w: the time is before 1970 or after 9999", errInvalid)
	}
	b := make([]byte, 0, Size(c))
	flags := byte(0)
	if c.SealsAttributes {
		flags |= flagSealsAttributes
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(ms))
	for _, attributes := range [][]Attribute{c.Sealed, c.Clear} {
		b = binary.BigEndian.AppendUint32(b, uint32(blockSize(attributes)))
		b = appendAttributes(b, attributes)
	}
	var l limits
	for _, attributes := range [][]Attribute{c.Sealed, c.Clear} {
		for _, a := range attributes {
			if err := l.add(a); err != nil {
				return nil, fmt.Errorf("%w: %w", errInvalid, err)
			}
		}
	}
	if compress && len(c.Body) <= MaxBody {
		if deflated, ok := z.appendDeflated(b, c.Body); ok {
			deflated[0] |= flagDeflated
			return deflated, nil
		}
	}
	return append(b, c.Body...), nil
}

// appendAttributes appends a block. attributes may be in any order.
func appendAttributes(b []byte, attributes []Attribute) []byte {
	if !slices.IsSortedFunc(attributes, byName) {
		attributes = slices.SortedFunc(slices.Values(attributes), byName)
	}
	for _, a := range attributes {
		b = appendField(b, a.Name)
		b = appendField(b, a.Type)
		if IsBinary(a.Type) {
			b = append(b, kindBinary)
		} else {
			b = append(b, kindString)
		}
		b = appendField(b, a.Value)
	}
	return b
}

func byName(a, b Attribute) int { return cmp.Compare(a.Name, b.Name) }

func appendField(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// Decode returns the content of plaintext. Its error is envelope.ErrUnsupported
// if a later version may have written it, and otherwise envelope.ErrMalformed.
// It names neither attributes nor values.
//
// plaintext must be authentic: Decode decompresses it, up to one byte more than
// the length that the content declares, which is at most MaxBody.
func (z *Compressor) Decode(plaintext string) (Content, error) {
	r := reader{plaintext}
	head, ok := r.take(flagsSize)
	if !ok {
		return Content{}, malformed("is empty")
	}
	if head[0]&^knownFlags != 0 {
		return Content{}, fmt.Errorf("%w: the sealed content has flags of a later release: %#02x", envelope.ErrUnsupported, head[0])
	}
	stamp, ok := r.take(timeSize)
	if !ok {
		return Content{}, malformed("ends within its time")
	}
	ms := binary.BigEndian.Uint64([]byte(stamp))
	if ms > maxTime {
		return Content{}, malformed("has a time after the year 9999")
	}
	c := Content{SealsAttributes: head[0]&flagSealsAttributes != 0, Time: time.UnixMilli(int64(ms)).UTC()}
	var l limits
	for _, attributes := range []*[]Attribute{&c.Sealed, &c.Clear} {
		block, ok := r.field()
		if !ok {
			return Content{}, malformed("ends within its attributes")
		}
		var err error
		if *attributes, err = decodeAttributes(block, &l); err != nil {
			return Content{}, fmt.Errorf("%w: the sealed content %w", envelope.ErrMalformed, err)
		}
	}
	if head[0]&flagDeflated == 0 {
		c.Body = r.rest
		return c, nil
	}
	n, ok := r.length()
	if !ok {
		return Content{}, malformed("ends within the length of its body")
	}
	if n > MaxBody {
		return Content{}, malformed("has a body of %d bytes by its own length, want at most %d", n, MaxBody)
	}
	// No writer compresses otherwise. Without this, DEFLATE blocks that hold
	// nothing make a short body take as long as a large message can.
	if lengthSize+len(r.rest) >= int(n) {
		return Content{}, malformed("has a compressed body of %d bytes, which is not shorter than the %d that it declares", lengthSize+len(r.rest), n)
	}
	var err error
	if c.Body, err = z.inflate(r.rest, int(n)); err != nil {
		return Content{}, err
	}
	return c, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: the sealed content "+format, append([]any{envelope.ErrMalformed}, args...)...)
}

// decodeAttributes reads a whole block.
func decodeAttributes(block string, l *limits) ([]Attribute, error) {
	var attributes []Attribute
	r := reader{block}
	for len(r.rest) > 0 {
		name, ok1 := r.field()
		dataType, ok2 := r.field()
		kind, ok3 := r.take(kindSize)
		value, ok4 := r.field()
		if !ok1 || !ok2 || !ok3 || !ok4 {
			return nil, errors.New("ends within an attribute")
		}
		a := Attribute{name, dataType, value}
		if err := l.add(a); err != nil {
			return nil, err
		}
		want := byte(kindString)
		if IsBinary(a.Type) {
			want = kindBinary
		}
		if kind[0] != want {
			return nil, fmt.Errorf("has an attribute of kind %d, want %d for its type", kind[0], want)
		}
		if n := len(attributes); n > 0 && a.Name <= attributes[n-1].Name {
			return nil, errors.New("has attributes out of order")
		}
		attributes = append(attributes, a)
	}
	return attributes, nil
}

// limits checks the attributes of both blocks, one by one.
type limits struct {
	names [MaxAttributes]string
	n     int
}

func (l *limits) add(a Attribute) error {
	base := baseType(a.Type)
	switch {
	case l.n == MaxAttributes:
		return fmt.Errorf("has more than %d attributes", MaxAttributes)
	case a.Name == "":
		return errors.New("has an attribute without a name")
	case a.Name == ReservedName:
		return fmt.Errorf("has an attribute %q, which is never inside", ReservedName)
	case base != "String" && base != "Number" && base != "Binary":
		return errors.New("has an attribute of a type that is neither String nor Number nor Binary")
	case !utf8.ValidString(a.Name) || !utf8.ValidString(a.Type) || base != "Binary" && !utf8.ValidString(a.Value):
		return errors.New("has an attribute that is not UTF-8")
	case slices.Contains(l.names[:l.n], a.Name):
		return errors.New("has an attribute twice")
	}
	l.names[l.n] = a.Name
	l.n++
	return nil
}

// reader takes fields from the front of rest.
type reader struct{ rest string }

func (r *reader) take(n uint32) (string, bool) {
	if uint64(n) > uint64(len(r.rest)) {
		return "", false
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken, true
}

func (r *reader) length() (uint32, bool) {
	length, ok := r.take(lengthSize)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint32([]byte(length)), true
}

// field takes a field that follows its length.
func (r *reader) field() (string, bool) {
	n, ok := r.length()
	if !ok {
		return "", false
	}
	return r.take(n)
}
