package envelope

import (
	"fmt"
	"math"
	"sync/atomic"
)

// Limits that tests approach from both sides.
const (
	MaxWrittenKeys   = maxWrittenKeys
	MaxReadKeys      = maxReadKeys
	MaxProviderID    = maxProviderID
	MaxProviderInfo  = maxProviderInfo
	MaxKeyCiphertext = maxKeyCiphertext
	MaxContextPairs  = maxContextPairs
	MaxContextBytes  = maxContextBytes
	MaxHeader        = maxHeader
	MaxFrames        = maxFrames
	MaxSignature     = maxSignature
	FrameLength      = frameLength
)

// DrawMessageID draws as Seal does under a data key with this count.
func DrawMessageID(seals *atomic.Uint64) [messageIDSize]byte { return hedged(randomMessageID, seals) }

// Functions that only tests need from outside.
var (
	BodySize   = bodySize
	HeaderSize = headerSize
	CheckFIPS  = checkFIPS
)

// Marshal returns the wire form of h, which [ParseHeader] parses to an equal
// Header. It enforces the rules of ParseHeader, and writes the context sorted,
// as every writer should: a parsed header whose context was sorted marshals to
// the bytes that it was parsed from. The tag is written as it is.
func (h *Header) Marshal() ([]byte, error) {
	if len(h.EncryptedDataKeys) > math.MaxUint16 {
		return nil, fmt.Errorf("envelope: %w", tooManyKeys(len(h.EncryptedDataKeys), maxReadKeys))
	}
	if err := checkContextSize(h.EncryptionContext, contextSize(h.EncryptionContext)); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	for _, k := range h.EncryptedDataKeys {
		if err := checkKeySizes(k); err != nil {
			return nil, fmt.Errorf("envelope: %w", err)
		}
	}
	b := appendHeader(nil, suiteID(h.AlgorithmSuite), h.MessageID[:], h.EncryptionContext, h.EncryptedDataKeys, h.FrameLength, h.Commitment[:])
	b = append(b, h.Tag[:]...)
	if _, _, err := parseHeader(b); err != nil {
		return nil, err
	}
	return b, nil
}
