package envelope

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
