// Package envelope seals and opens messages in the AWS Encryption SDK message
// format, version 2, with data keys from a [Keyring].
//
//	Seal:  keyring.GenerateDataKey -> message key, key commitment -> header, tag -> frames
//	Open:  parse under limits -> accept -> keyring.DecryptDataKey
//	       -> key commitment -> header tag -> frames -> signature -> plaintext
//
// # What it promises
//
//   - Messages sealed here open with the official AWS Encryption SDKs that hold
//     the wrapping key, and messages that those SDKs write with a committing
//     algorithm suite open here. It is tested with those for Go, Java,
//     JavaScript, Python and Rust; docs/compatibility.md has the differences.
//     Every later v1 release of this module opens messages that any v1 release
//     sealed.
//   - One suite is written: 0x0478, AES-256-GCM with HKDF-SHA512 and key
//     commitment. 0x0578, the same with an ECDSA P-384 signature, is read as
//     well. A program cannot choose a wrong suite; suites that do not commit to
//     their key are refused.
//   - Plaintext is returned only when all of a message has been authenticated.
//   - The whole message is parsed, under named limits, before a keyring is
//     asked: at most 16 encrypted data keys, 128 pairs and 8,192 bytes of
//     context (without the public key of a signed message), 65,536 bytes of
//     header, 65,536 frames.
//   - Every error says whether the message is invalid, or the key service or
//     the caller is the cause: see [ErrInvalidMessage]. No error contains
//     plaintext, key bytes, encrypted data keys or values of an encryption
//     context.
//   - Everything exported is safe for concurrent use, and no argument is
//     modified or retained.
//   - The package imports the standard library only.
//
// # What it does not do
//
// It does not say who sealed a message: anyone who may use the wrapping key can
// seal. It does not stop a message from being delivered twice or elsewhere: the
// accept function of [Open] decides where a message belongs, by its encryption
// context. It does not hide a message's length or its context. It holds
// plaintext and ciphertext in memory as a whole: there is no streaming, which
// would return plaintext before the end of the message is verified. It does not
// erase memory.
//
// Encryption contexts that a producer authenticates but does not write into the
// header (the required encryption context of some official SDKs) are not
// supported: such a message fails with [ErrNoMatchingKey] or
// [ErrAuthentication].
//
// # FIPS 140
//
// Programs may run with GODEBUG=fips140=on, but AES-GCM with the nonces that
// the format prescribes is not an approved mode, and this package claims
// nothing. With fips140=only nothing here works; constructors of keyrings
// return an error that says so.
package envelope
