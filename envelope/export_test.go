package envelope

import "sync/atomic"

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
