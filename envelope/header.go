package envelope

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The header of a message of format version 2:
//
//	version              1   0x02
//	algorithm suite      2   0x0478 or 0x0578
//	message ID          32   random
//	context length       2   0 for an empty context
//	context                  count, then (length, key, length, value) each
//	key count            2
//	encrypted data keys      (length, provider ID, length, provider info, length, ciphertext) each
//	content type         1   2: framed, 1: one block
//	frame length         4   0 for one block
//	key commitment      32
//	tag                 16   authenticates all of the above
const (
	version1 = 1
	version2 = 2
	// lastVersion bounds the bytes that are taken for the version of a later
	// format. From 32 on they are text: what was altered, not upgraded.
	lastVersion = 31

	typeCustomerData = 0x80 // version 1 only

	contentSingleBlock = 1
	contentFramed      = 2
)

// frameLength is the frame length that is written: one frame for every message
// that SQS can carry.
const frameLength = 1 << 20

// Header is the header of a sealed message.
//
// A Header from [ParseHeader] is NOT authenticated: anyone can have written it.
// Use it in tools and logs, and use the [Opened] of a message for decisions.
type Header struct {
	// AlgorithmSuite is 0x0478, or 0x0578 for a signed message.
	AlgorithmSuite uint16
	// MessageID is random, and names the message within the format. It has
	// nothing to do with the message ID of a queue.
	MessageID [32]byte
	// EncryptionContext is never nil. Of a signed message it includes the
	// format's own "aws-crypto-public-key".
	EncryptionContext EncryptionContext
	// EncryptedDataKeys are alternatives: each is the data key under another
	// wrapping key.
	EncryptedDataKeys []EncryptedDataKey
	// FrameLength is the number of plaintext bytes in every frame but the
	// final one, or 0 if the message is not framed.
	FrameLength uint32
	// Commitment binds the message to one data key.
	Commitment [32]byte
	// Tag authenticates the rest of the header.
	Tag [16]byte
}

// ParseHeader parses exactly one header, its tag included, such as
// [Message.Header]; use [Split] first on a whole message. The result does not
// alias b.
//
// An error wraps [ErrMalformed] or [ErrUnsupported]. ErrUnsupported means that
// b does start like a message of the format, but of a version, a suite, a
// content type or a size that this package does not open. Bytes that start with
// 1 get it only if they hold a whole header of format version 1. A first byte
// of 3 to 31 is taken for a later version; 0, and 32 to 255, are malformed.
func ParseHeader(b []byte) (*Header, error) {
	h, n, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	if n != len(b) {
		return nil, fmt.Errorf("%w: header is followed by %d bytes", ErrMalformed, len(b)-n)
	}
	keys := make([]EncryptedDataKey, len(h.keys))
	for i, k := range h.keys {
		keys[i] = k.Clone()
	}
	return &Header{
		AlgorithmSuite:    uint16(h.suite),
		MessageID:         [32]byte(h.messageID),
		EncryptionContext: h.context,
		EncryptedDataKeys: keys,
		FrameLength:       h.frameLength,
		Commitment:        [32]byte(h.commitment),
		Tag:               [16]byte(h.tag),
	}, nil
}

// header is a parsed header that aliases the bytes that it was parsed from.
type header struct {
	raw         []byte // all but the tag: what the tag authenticates
	tag         []byte
	suite       suiteID
	messageID   []byte
	context     EncryptionContext
	keys        []EncryptedDataKey
	frameLength uint32 // 0: one block
	commitment  []byte
	publicKey   *ecdsa.PublicKey // of a signed message
}

// appendHeader appends a header without its tag. All lengths must have been
// checked.
func appendHeader(dst []byte, suite suiteID, messageID []byte, ec EncryptionContext, keys []EncryptedDataKey, frameLength uint32, commitment []byte) []byte {
	dst = append(dst, version2)
	dst = binary.BigEndian.AppendUint16(dst, uint16(suite))
	dst = append(dst, messageID...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(contextSize(ec)))
	dst = appendContext(dst, ec)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(keys)))
	for _, k := range keys {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(k.ProviderID)))
		dst = append(dst, k.ProviderID...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(k.ProviderInfo)))
		dst = append(dst, k.ProviderInfo...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(k.Ciphertext)))
		dst = append(dst, k.Ciphertext...)
	}
	contentType := byte(contentFramed)
	if frameLength == 0 {
		contentType = contentSingleBlock
	}
	dst = append(dst, contentType)
	dst = binary.BigEndian.AppendUint32(dst, frameLength)
	return append(dst, commitment...)
}

// headerSize returns the length in bytes of the [Message.Header], tag included,
// that [Seal] makes of ec and a data key with these encrypted forms. It depends
// on their lengths alone, and checks none of the limits.
func headerSize(ec EncryptionContext, keys []EncryptedDataKey) int {
	n := 1 + 2 + messageIDSize + 2 + contextSize(ec) + 2 + 1 + 4 + commitmentSize + tagSize
	for _, k := range keys {
		n += 2 + len(k.ProviderID) + 2 + len(k.ProviderInfo) + 2 + len(k.Ciphertext)
	}
	return n
}

// parseHeader parses the header at the start of b and returns its length, tag
// included.
func parseHeader(b []byte) (header, int, error) {
	if len(b) == 0 {
		return header{}, 0, fmt.Errorf("%w: empty message", ErrMalformed)
	}
	// Nothing beyond the limit is looked at.
	visible := b[:min(len(b), maxHeader)]
	h, n, err := parseHeaderFields(visible)
	if err == errTruncated {
		if len(b) > maxHeader {
			return header{}, 0, fmt.Errorf("%w: header takes over %d bytes", ErrUnsupported, maxHeader)
		}
		return header{}, 0, fmt.Errorf("%w: header is truncated", ErrMalformed)
	}
	return h, n, err
}

// errTruncated reports that a header's fields go beyond the bytes there are. It
// does not leave this file.
var errTruncated = errors.New("truncated")

func parseHeaderFields(b []byte) (header, int, error) {
	r := reader{rest: b}
	version := r.uint8()
	switch version {
	case version2:
	case version1:
		if isVersion1(b) {
			return header{}, 0, fmt.Errorf("%w: message of format version 1, which does not commit to its key; have the producer write version 2 (commitment policy RequireEncryptRequireDecrypt)", ErrUnsupported)
		}
		return header{}, 0, fmt.Errorf("%w: neither version 1 nor version 2 of the message format", ErrMalformed)
	default:
		return header{}, 0, otherVersion(b)
	}
	h := header{suite: suiteID(r.uint16())}
	if r.short {
		return header{}, 0, errTruncated
	}
	if h.suite != suiteCommit && h.suite != suiteCommitSign {
		return header{}, 0, fmt.Errorf("%w: algorithm suite is %#04x, want %#04x or %#04x", ErrUnsupported, uint16(h.suite), uint16(suiteCommit), uint16(suiteCommitSign))
	}
	h.messageID = r.bytes(messageIDSize)
	field := r.bytes(uint64(r.uint16()))
	if r.short {
		return header{}, 0, errTruncated
	}
	var err error
	if h.context, err = parseContext(field); err != nil {
		return header{}, 0, err
	}
	if h.keys, err = parseKeys(&r); err != nil {
		return header{}, 0, err
	}
	contentType := r.uint8()
	h.frameLength = r.uint32()
	h.commitment = r.bytes(commitmentSize)
	h.raw = b[:len(b)-len(r.rest)]
	h.tag = r.bytes(tagSize)
	if r.short {
		return header{}, 0, errTruncated
	}
	switch {
	case contentType == 0:
		return header{}, 0, fmt.Errorf("%w: content type is 0, want %d or %d", ErrMalformed, contentSingleBlock, contentFramed)
	case contentType != contentFramed && contentType != contentSingleBlock:
		return header{}, 0, fmt.Errorf("%w: content type is %d, want %d or %d; upgrade this reader if a later release wrote it", ErrUnsupported, contentType, contentSingleBlock, contentFramed)
	case contentType == contentFramed && h.frameLength == 0:
		return header{}, 0, fmt.Errorf("%w: framed message with frame length 0", ErrMalformed)
	case contentType == contentSingleBlock && h.frameLength != 0:
		return header{}, 0, fmt.Errorf("%w: frame length is %d in a message without frames, want 0", ErrMalformed, h.frameLength)
	}
	value, signed := h.context[publicKeyName]
	switch {
	case h.suite == suiteCommit && signed:
		return header{}, 0, fmt.Errorf("%w: unsigned message carries %s", ErrMalformed, publicKeyName)
	case h.suite == suiteCommitSign && !signed:
		return header{}, 0, fmt.Errorf("%w: signed message carries no %s", ErrMalformed, publicKeyName)
	case h.suite == suiteCommitSign:
		if h.publicKey, err = parsePublicKey(value); err != nil {
			return header{}, 0, err
		}
	}
	return h, len(b) - len(r.rest), nil
}

// otherVersion says what b, whose first byte is no version that is known, may
// be: what a later release wrote, or a header that was encoded on its way.
func otherVersion(b []byte) error {
	switch first := b[0]; {
	case bytes.HasPrefix(b, []byte("AgR4")), bytes.HasPrefix(b, []byte("AgV4")):
		return fmt.Errorf("%w: these bytes are base64 of a header, and not the header: it was encoded once more on its way", ErrMalformed)
	case bytes.HasPrefix(b, []byte("020478")), bytes.HasPrefix(b, []byte("020578")):
		return fmt.Errorf("%w: these bytes are hex of a header, and not the header: it was encoded on its way", ErrMalformed)
	case first > version2 && first <= lastVersion:
		return fmt.Errorf("%w: format version is %d, want %d; upgrade this reader if a later release wrote it", ErrUnsupported, first, version2)
	default:
		return fmt.Errorf("%w: the header starts with the byte %#02x, want format version %d", ErrMalformed, first, version2)
	}
}

// parseKeys parses a header's encrypted data keys.
func parseKeys(r *reader) ([]EncryptedDataKey, error) {
	count := int(r.uint16())
	if r.short {
		return nil, errTruncated
	}
	if count == 0 {
		return nil, fmt.Errorf("%w: no encrypted data key", ErrMalformed)
	}
	if count > maxReadKeys {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, tooManyKeys(count, maxReadKeys))
	}
	keys := make([]EncryptedDataKey, count)
	for i := range keys {
		id := r.bytes(uint64(r.uint16()))
		k := EncryptedDataKey{
			ProviderID:   kmsNamespace, // by far the most frequent, and a constant needs no copy
			ProviderInfo: r.bytes(uint64(r.uint16())),
			Ciphertext:   r.bytes(uint64(r.uint16())),
		}
		if string(id) != kmsNamespace {
			k.ProviderID = string(id)
		}
		if r.short {
			return nil, errTruncated
		}
		if !utf8.Valid(id) {
			return nil, fmt.Errorf("%w: provider ID of an encrypted data key is not UTF-8", ErrMalformed)
		}
		if err := checkKeySizes(k); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		keys[i] = k
	}
	return keys, nil
}

func tooManyKeys(got, want int) error {
	return fmt.Errorf("%d encrypted data keys, want at most %d", got, want)
}

func checkKeySizes(k EncryptedDataKey) error {
	switch {
	case len(k.ProviderID) > maxProviderID:
		return fmt.Errorf("provider ID of an encrypted data key takes %d bytes, want at most %d", len(k.ProviderID), maxProviderID)
	case len(k.ProviderInfo) > maxProviderInfo:
		return fmt.Errorf("provider info of an encrypted data key takes %d bytes, want at most %d", len(k.ProviderInfo), maxProviderInfo)
	case len(k.Ciphertext) > maxKeyCiphertext:
		return fmt.Errorf("ciphertext of an encrypted data key takes %d bytes, want at most %d", len(k.Ciphertext), maxKeyCiphertext)
	}
	return nil
}

// isVersion1 reports whether b starts with a whole header of format version 1,
// so that such a message can be told from other bytes that start with 1. It
// skips over what it need not understand.
func isVersion1(b []byte) bool {
	r := reader{rest: b}
	r.uint8()
	kind := r.uint8()
	switch r.uint16() {
	case 0x0014, 0x0046, 0x0078, 0x0114, 0x0146, 0x0178, 0x0214, 0x0346, 0x0378:
	default:
		return false
	}
	r.bytes(16) // message ID
	r.bytes(uint64(r.uint16()))
	keys := r.uint16()
	for range keys {
		for range 3 {
			r.bytes(uint64(r.uint16()))
		}
		if r.short {
			return false
		}
	}
	contentType := r.uint8()
	reserved := r.bytes(4)
	iv := r.uint8()
	r.uint32() // frame length
	r.bytes(ivSize + tagSize)
	return !r.short && kind == typeCustomerData && keys > 0 &&
		(contentType == contentFramed || contentType == contentSingleBlock) &&
		bytes.Equal(reserved, make([]byte, 4)) && iv == ivSize
}
