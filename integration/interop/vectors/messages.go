package main

import (
	"bytes"
	"encoding/hex"
	"slices"

	"github.com/sealq/sealq/integration/interop/drivers"
)

// shortFrame makes a small message one of several frames. The shortest that the
// Python SDK takes is 128.
const shortFrame = 16

// successes are messages as any producer may write them, with texts of two
// short frames.
func (p *producer) successes(shortFrame int) {
	text := bytes.Repeat([]byte("sixteen bytes a "), 2*shortFrame/16)
	for _, suite := range []string{"0478", "0578"} {
		p.opens("suite "+suite+", one frame", drivers.EncryptRequest{Suite: suite, Context: queueContext(), Plaintext: text})
		p.opens("suite "+suite+", empty plaintext", drivers.EncryptRequest{Suite: suite, Context: queueContext()})
		p.opens("suite "+suite+", empty context", drivers.EncryptRequest{Suite: suite, Plaintext: text})
		p.opens("suite "+suite+", short frames", drivers.EncryptRequest{Suite: suite, Frame: shortFrame, Context: queueContext(), Plaintext: text[:3*shortFrame/2]})
	}
	// Python adds an empty final frame, Go marks the last full one as final.
	p.opens("plaintext of exactly two frames", drivers.EncryptRequest{Frame: shortFrame, Context: queueContext(), Plaintext: text[:2*shortFrame]})
	p.opens("plaintext of exactly one frame", drivers.EncryptRequest{Frame: shortFrame, Context: queueContext(), Plaintext: text[:shortFrame]})
	p.opens("context beyond ASCII", drivers.EncryptRequest{
		Context:   map[string]string{"straße": "Zürich", "\u00e9": "precomposed", "e\u0301": "decomposed", "鍵": "🔑", "z": "\x00"},
		Plaintext: text,
	})
	p.opens("context that sorts by bytes, not by locale", drivers.EncryptRequest{
		Context:   map[string]string{"B": "1", "a": "2", "Tenant": "3", "aws:sqs:arn": "4", "queueUrl": "5", "queue_name": "6"},
		Plaintext: text,
	})
	p.opens("several keys, ours is the generator", drivers.EncryptRequest{
		Keyring: drivers.Multi(driverKeyring(), otherKeyring(1), otherKeyring(2)),
		Context: queueContext(), Plaintext: text,
	})
	p.opens("several keys, ours is a child", drivers.EncryptRequest{
		Keyring: drivers.Multi(otherKeyring(1), otherKeyring(2), driverKeyring()),
		Context: queueContext(), Plaintext: text,
	})
}

// unusual are messages that only some producers write.
func (p *producer) unusual() {
	text := []byte("unusual")
	for _, suite := range []string{"0478", "0578"} {
		p.opens("suite "+suite+", one block instead of frames", drivers.EncryptRequest{Suite: suite, Unframed: true, Context: queueContext(), Plaintext: text})
		p.opens("suite "+suite+", one empty block", drivers.EncryptRequest{Suite: suite, Unframed: true, Context: queueContext()})
	}
	v1 := p.seal(drivers.EncryptRequest{Suite: "0178", Context: queueContext(), Plaintext: text})
	p.refused(unsupported, "format version 1, suite 0178 without commitment", v1, queueContext())
}

// manyKeys are messages at and beyond the number of keys that is read.
func (p *producer) manyKeys() {
	text := []byte("many keys")
	children := make([]drivers.Keyring, 16)
	for i := range children {
		children[i] = otherKeyring(i)
	}
	p.opens("16 encrypted data keys", drivers.EncryptRequest{Keyring: drivers.Multi(driverKeyring(), children[:15]...), Context: queueContext(), Plaintext: text})
	message := p.seal(drivers.EncryptRequest{Keyring: drivers.Multi(driverKeyring(), children...), Context: queueContext(), Plaintext: text})
	p.refused(unsupported, "17 encrypted data keys", message, queueContext())
}

// Offsets from the end of a header: all of its last fields have fixed sizes.
const (
	tagEnd         = 16
	commitmentEnd  = tagEnd + 32
	frameLengthEnd = commitmentEnd + 4
	contentTypeEnd = frameLengthEnd + 1
)

// Sizes in a body.
const (
	sequenceSize = 4
	ivSize       = 12
	frameTagSize = 16
	wholeFrame   = sequenceSize + ivSize + shortFrame + frameTagSize
)

// altered are messages of suite 0478 with one thing changed.
func (p *producer) altered() {
	ec := queueContext()
	// Two whole frames and a final frame of four bytes.
	message := p.seal(drivers.EncryptRequest{Frame: shortFrame, Context: ec, Plaintext: []byte("two frames of sixteen bytes and four")})
	other := p.seal(drivers.EncryptRequest{Frame: shortFrame, Context: ec, Plaintext: []byte("two frames of sixteen bytes and four")})
	if p.err != nil {
		return
	}
	body := len(message) - 2*wholeFrame - (4 + sequenceSize + ivSize + 4 + 4 + frameTagSize)
	final := body + 2*wholeFrame

	flip := func(expect, name string, at int) {
		b := bytes.Clone(message)
		b[at] ^= 1
		p.refused(expect, name, b, ec)
	}
	set := func(expect, name string, at int, value ...byte) {
		b := bytes.Clone(message)
		copy(b[at:], value)
		p.refused(expect, name, b, ec)
	}

	flip(authentication, "message ID altered", 3)
	flip(authentication, "key commitment altered", body-commitmentEnd)
	flip(authentication, "header tag altered", body-1)
	flip(authentication, "first frame's content altered", body+sequenceSize+ivSize)
	flip(authentication, "first frame's tag altered", body+wholeFrame-1)
	flip(authentication, "final frame's content altered", final+4+sequenceSize+ivSize+4)
	flip(authentication, "final frame's tag altered", len(message)-1)
	p.refused(authentication, "first frame of another message", slices.Concat(message[:body], other[body:body+wholeFrame], message[body+wholeFrame:]), ec)
	p.refused(authentication, "body of another message", slices.Concat(message[:body], other[body:]), ec)

	set(unsupported, "format version 3", 0, 3)
	set(unsupported, "suite 0178, without commitment, in format version 2", 1, 0x01, 0x78)
	set(unsupported, "content type 3", body-contentTypeEnd, 3)
	set(malformed, "frame length 0 with frames", body-frameLengthEnd, 0, 0, 0, 0)
	set(malformed, "first frame has number 2", body, 0, 0, 0, 2)
	flip(malformed, "first frame's IV is not its number", body+sequenceSize+ivSize-1)
	p.refused(malformed, "frames swapped", slices.Concat(message[:body], message[body+wholeFrame:final], message[body:body+wholeFrame], message[final:]), ec)
	p.refused(malformed, "second frame missing", slices.Concat(message[:body+wholeFrame], message[final:]), ec)
	p.refused(malformed, "final frame missing", message[:final], ec)
	p.refused(malformed, "last byte missing", message[:len(message)-1], ec)
	p.refused(malformed, "trailing byte", slices.Concat(message, []byte{0}), ec)
	p.refused(malformed, "header without body", message[:body], ec)
	p.refused(malformed, "body without header", message[body:], ec)
	p.refused(malformed, "no bytes", []byte{}, ec)

	p.contextAltered(message)
	flip(noMatchingKey, "encrypted data key altered", body-contentTypeEnd-1)
	p.refused(noMatchingKey, "wrapping key of the same name, other bytes", message, ec).Keyring.Key = hex.EncodeToString(wrappingKey(0x80))
	p.refused(noMatchingKey, "wrapping key of another name", message, ec).Keyring.Name = "wrapping-key-0"
	p.refused(noMatchingKey, "wrapping key of another namespace", message, ec).Keyring.Namespace = "sealq-other"
	p.refused(contextMismatch, "message for another queue", message, map[string]string{"sealq:queue": "arn:aws:sqs:us-east-1:123456789012:refunds"})
	p.refused(contextMismatch, "message without a pair that is demanded", message, map[string]string{"sealq:queue": ec["sealq:queue"], "tenant": "blue"})
}

// contextAltered changes the encryption context of a message.
func (p *producer) contextAltered(message []byte) {
	// The demanded context is the altered one, so that the comparison passes
	// and the cryptography has to notice.
	value := []byte(queueContext()["sealq:queue"])
	b := bytes.Replace(message, value, bytes.Replace(value, []byte("orders"), []byte("0rders"), 1), 1)
	p.refused(noMatchingKey, "context value altered", b, map[string]string{"sealq:queue": "arn:aws:sqs:us-east-1:123456789012:0rders"})

	const at = 1 + 2 + 32 // version, suite, message ID
	size := int(message[at])<<8 | int(message[at+1])
	pair := message[at+4 : at+2+size]
	twice := slices.Concat([]byte{byte((2 + 2*len(pair)) >> 8), byte(2 + 2*len(pair)), 0, 2}, pair, pair)
	p.refused(malformed, "context key twice", slices.Concat(message[:at], twice, message[at+2+size:]), queueContext())
	p.refused(malformed, "context of no pairs that is not absent", slices.Concat(message[:at], []byte{0, 2, 0, 0}, message[at+2+size:]), nil)
}

// alteredSignature are messages of suite 0578 with one thing changed.
func (p *producer) alteredSignature() {
	ec := queueContext()
	seal := func(text string) []byte {
		return p.seal(drivers.EncryptRequest{Suite: "0578", Context: ec, Plaintext: []byte(text)})
	}
	message, other := seal("signed"), seal("signed")
	if p.err != nil {
		return
	}
	// The footer is a length of two bytes and a DER sequence of that length.
	footer := func(m []byte) int {
		i := len(m) - 4
		for ; int(m[i])<<8|int(m[i+1]) != len(m)-i-2 || m[i+2] != 0x30; i-- {
		}
		return i
	}
	start := footer(message)
	p.refused(malformed, "signature missing", message[:start], ec)
	p.refused(authentication, "signature of no bytes", slices.Concat(message[:start], []byte{0, 0}), ec)
	p.refused(malformed, "signed message, last byte missing", message[:len(message)-1], ec)
	p.refused(malformed, "signed message, trailing byte", slices.Concat(message, []byte{0}), ec)
	p.refused(authentication, "signature of another message", slices.Concat(message[:start], other[footer(other):]), ec)
	b := bytes.Clone(message)
	b[len(b)-1] ^= 1
	p.refused(authentication, "signature altered", b, ec)
	b = bytes.Clone(message)
	b[start-1] ^= 1
	p.refused(authentication, "signed message, final frame's tag altered", b, ec)

	unsigned := p.seal(drivers.EncryptRequest{Context: ec, Plaintext: []byte("not signed")})
	if p.err != nil {
		return
	}
	unsigned[1] = 0x05
	p.refused(malformed, "suite 0578 without a public key", unsigned, ec)
	b = bytes.Clone(message)
	b[1] = 0x04
	p.refused(malformed, "suite 0478 with a public key", b, ec)
}
