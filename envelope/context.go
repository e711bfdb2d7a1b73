package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// reservedPrefix starts the context keys that belong to the message format.
const reservedPrefix = "aws-crypto-"

// publicKeyName is the context key under which a signed message carries the key
// that verifies it: base64 of a compressed P-384 point.
const publicKeyName = reservedPrefix + "public-key"

// publicKeyPairSize is what that pair takes of a serialized context.
const publicKeyPairSize = 2 + len(publicKeyName) + 2 + publicKeyTextSize

// checkWritable returns an error if ec is not a context that this package
// writes. It names keys, but no values.
func checkWritable(ec EncryptionContext) error {
	for k, v := range ec {
		switch {
		case k == "":
			return errors.New("envelope: encryption context has an empty key")
		case !utf8.ValidString(k):
			return fmt.Errorf("envelope: encryption context key %q is not UTF-8", k)
		case strings.HasPrefix(k, reservedPrefix):
			return fmt.Errorf("envelope: encryption context key %q starts with %q, which is reserved by the message format", k, reservedPrefix)
		case v == "":
			return fmt.Errorf("envelope: encryption context key %q has an empty value", k)
		case !utf8.ValidString(v):
			return fmt.Errorf("envelope: value of encryption context key %q is not UTF-8", k)
		}
	}
	if err := checkContextSize(ec, contextSize(ec)); err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	return nil
}

// checkContextSize returns an error, without the package's name, if ec is
// beyond the limits of a context, and so also if a length would not fit its
// field. size is that of its serialized form.
//
// The public key of a signed message does not count: it is the format's, and
// what a sender may put in must not depend on the suite. One that is longer
// than a public key is, is counted.
func checkContextSize(ec EncryptionContext, size int) error {
	pairs := len(ec)
	if key, ok := ec[publicKeyName]; ok && len(key) <= publicKeyTextSize {
		pairs--
		size -= 2 + len(publicKeyName) + 2 + len(key)
		if pairs == 0 {
			size = 0 // an empty context has no count
		}
	}
	if pairs > maxContextPairs {
		return fmt.Errorf("encryption context has %d pairs, want at most %d", pairs, maxContextPairs)
	}
	if size > maxContextBytes {
		return fmt.Errorf("encryption context takes %d bytes, want at most %d", size, maxContextBytes)
	}
	return nil
}

// contextSize is the length of ec's serialized form.
func contextSize(ec EncryptionContext) int {
	if len(ec) == 0 {
		return 0
	}
	n := 2
	for k, v := range ec {
		n += 2 + len(k) + 2 + len(v)
	}
	return n
}

// AppendBinary implements [encoding.BinaryAppender]. It appends the form of ec
// that the message format has: in headers, and in what raw AES and branch keys
// bind data keys to. The error is for lengths that do not fit their fields of
// 16 bits: more than 65,535 pairs, or bytes of a name or a value.
func (ec EncryptionContext) AppendBinary(b []byte) ([]byte, error) {
	if len(ec) > math.MaxUint16 {
		return b, fmt.Errorf("envelope: encryption context has %d pairs, and its form has room for 65,535", len(ec))
	}
	for k, v := range ec {
		if len(k) > math.MaxUint16 || len(v) > math.MaxUint16 {
			return b, errors.New("envelope: encryption context has a name or value of more than 65,535 bytes")
		}
	}
	return appendContext(b, ec), nil
}

// appendContext appends the serialized form of ec, which must be within the
// limits: a count, then pairs sorted by the bytes of their keys. The form of an
// empty context is empty.
func appendContext(dst []byte, ec EncryptionContext) []byte {
	if len(ec) == 0 {
		return dst
	}
	var few [8]string // most contexts fit, and cost no allocation
	keys := few[:0]
	for k := range ec {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(ec)))
	for _, k := range keys {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(k)))
		dst = append(dst, k...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(ec[k])))
		dst = append(dst, ec[k]...)
	}
	return dst
}

// parseContext parses the content of a header's context field. Any order of
// pairs is accepted, as other producers sort otherwise; what is authenticated
// is the bytes received.
func parseContext(field []byte) (EncryptionContext, error) {
	if len(field) == 0 {
		return EncryptionContext{}, nil
	}
	// Before anything is allocated, with room for a public key. Whether there is
	// one, and the exact limits, is known at the end.
	if len(field) > maxContextBytes+publicKeyPairSize {
		return nil, fmt.Errorf("%w: encryption context takes %d bytes, want at most %d besides a public key", ErrUnsupported, len(field), maxContextBytes)
	}
	r := reader{rest: field}
	count := int(r.uint16())
	if count > maxContextPairs+1 {
		return nil, fmt.Errorf("%w: encryption context has %d pairs, want at most %d besides a public key", ErrUnsupported, count, maxContextPairs)
	}
	if count == 0 {
		// The one form of an empty context is an empty field.
		return nil, fmt.Errorf("%w: encryption context of %d bytes holds no pair", ErrMalformed, len(field))
	}
	text := string(field) // one copy, which all keys and values share
	next := func() string {
		n := len(r.bytes(uint64(r.uint16())))
		end := len(field) - len(r.rest)
		return text[end-n : end]
	}
	ec := make(EncryptionContext, count)
	for range count {
		k, v := next(), next()
		if r.short {
			return nil, fmt.Errorf("%w: encryption context is truncated", ErrMalformed)
		}
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return nil, fmt.Errorf("%w: encryption context is not UTF-8", ErrMalformed)
		}
		if _, ok := ec[k]; ok {
			return nil, fmt.Errorf("%w: encryption context holds a key twice", ErrMalformed)
		}
		ec[k] = v
	}
	if len(r.rest) != 0 {
		return nil, fmt.Errorf("%w: encryption context is followed by %d bytes inside its field", ErrMalformed, len(r.rest))
	}
	if err := checkContextSize(ec, len(field)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return ec, nil
}
