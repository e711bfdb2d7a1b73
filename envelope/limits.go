package envelope

// Limits on what a message may hold. The format's own limits are those of
// 16-bit and 32-bit length fields, which let one hostile message ask for 65,535
// key service calls. These are enforced on everything that is read, before
// anything is allocated in proportion to a length, and on everything that is
// written. A message beyond one of them is [ErrUnsupported].
const (
	// maxWrittenKeys and maxReadKeys bound the encrypted data keys of a
	// message. One per Region or per account is the usual reason for several;
	// reading is more generous than writing, so that the number written can
	// grow without stranding readers.
	maxWrittenKeys = 5
	maxReadKeys    = 16

	// maxProviderID is our own choice: "aws-kms" takes 7 bytes, and a raw
	// keyring's namespace is a short name.
	maxProviderID = 256

	// maxProviderInfo is the longest key identifier that AWS KMS documents for
	// its KeyId parameter (AWS KMS API Reference, Decrypt: 1 to 2,048).
	maxProviderInfo = 2048

	// maxKeyCiphertext is the longest ciphertext that AWS KMS documents (AWS
	// KMS API Reference, Decrypt: CiphertextBlob of 1 to 6,144 bytes).
	maxKeyCiphertext = 6144

	// maxContextPairs and maxContextBytes (the serialized form, count
	// included) are our own choice. A queue binding with a dozen pairs of the
	// user's takes well under 1 KiB. The pair that the format itself adds to a
	// signed message, "aws-crypto-public-key", does not count.
	maxContextPairs = 128
	maxContextBytes = 8192

	// maxHeader bounds a whole header, tag included. Our own choice: the most
	// that 16 keys could take together is above it, the most that KMS keys
	// take in practice (16 ARNs and ciphertexts of about 200 bytes) is a tenth.
	maxHeader = 64 << 10

	// maxFrames bounds the frames of a message, the final one included, and
	// so the work that short frames can cause. At the 4,096-byte frames that
	// other producers write by default it admits 256 MiB.
	maxFrames = 65536

	// maxSignature is the longest DER encoding of a P-384 signature: two
	// integers of 49 bytes (48 and a sign byte), 2 bytes before each, 2 before
	// both.
	maxSignature = 2 + 2*(2+49)
)
