package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
)

// EncryptionContext is a set of name and value pairs that is authenticated with
// a message and its data key. It is NOT secret: it is in clear in the message
// header and in the key service's audit log.
//
// Names and values are UTF-8 strings and neither may be empty. Names that start
// with "aws-crypto-" belong to the message format.
type EncryptionContext map[string]string

// Clone returns a copy of ec. A nil context stays nil.
func (ec EncryptionContext) Clone() EncryptionContext { return maps.Clone(ec) }

// EncryptedDataKey is a data key encrypted under one wrapping key.
type EncryptedDataKey struct {
	// ProviderID names the kind of keyring that wrapped the data key, for
	// example "aws-kms".
	ProviderID string
	// ProviderInfo identifies the wrapping key to that keyring. For "aws-kms"
	// it is the key's ARN. A raw AES keyring adds fields to the key's name, the
	// IV among them.
	ProviderInfo []byte
	// Ciphertext is the encrypted data key.
	Ciphertext []byte
}

// Equal reports whether k and other are the same encrypted data key, byte for
// byte. A nil slice equals an empty one.
func (k EncryptedDataKey) Equal(other EncryptedDataKey) bool {
	return k.ProviderID == other.ProviderID &&
		bytes.Equal(k.ProviderInfo, other.ProviderInfo) &&
		bytes.Equal(k.Ciphertext, other.Ciphertext)
}

// Clone returns a copy of k that shares no memory with it.
func (k EncryptedDataKey) Clone() EncryptedDataKey {
	// One piece of memory for both slices, clipped so that appending to one does
	// not reach the other.
	b, n := slices.Concat(k.ProviderInfo, k.Ciphertext), len(k.ProviderInfo)
	k.ProviderInfo, k.Ciphertext = b[:n:n], b[n:]
	return k
}

// DataKeySize is the size of every data key in bytes: the AES-256 key size
// that algorithm suites 0x0478 and 0x0578 derive from.
const DataKeySize = 32

// DataKey is a plaintext data key of [DataKeySize] bytes together with its
// encrypted forms. It is immutable, except for a count of the messages that
// were sealed with it. It is used by pointer, and is safe for concurrent use.
//
// The bytes are in a closure. A function value prints as an address under every
// verb of fmt, is refused by encoding/json and is opaque to log/slog, so that a
// DataKey in a log, by itself or in a field of another type, does not reveal
// its bytes.
type DataKey struct {
	secret    func() *[DataKeySize]byte
	encrypted func() []EncryptedDataKey
	seals     *atomic.Uint64 // the messages sealed with it; copies share it
}

// NewDataKey returns a data key made of plaintext, which must be [DataKeySize]
// bytes, and at least one encrypted form of it. All arguments are copied.
func NewDataKey(plaintext []byte, encrypted ...EncryptedDataKey) (*DataKey, error) {
	if len(plaintext) != DataKeySize {
		return nil, fmt.Errorf("envelope: data key is %d bytes, want %d", len(plaintext), DataKeySize)
	}
	if len(encrypted) == 0 {
		return nil, errors.New("envelope: data key has no encrypted form")
	}
	secret := [DataKeySize]byte(plaintext)
	copies := make([]EncryptedDataKey, len(encrypted))
	for i, k := range encrypted {
		copies[i] = k.Clone()
	}
	return &DataKey{
		secret:    func() *[DataKeySize]byte { return &secret },
		encrypted: func() []EncryptedDataKey { return copies },
		seals:     new(atomic.Uint64),
	}, nil
}

// valid reports whether k was made by NewDataKey.
func (k *DataKey) valid() bool { return k != nil && k.secret != nil }

// Plaintext returns a copy of the secret bytes, or nil if k was not made by
// [NewDataKey]. It is for implementations of [Keyring] and [Wrapper] outside
// this package. The caller must keep the result secret.
func (k *DataKey) Plaintext() []byte {
	if !k.valid() {
		return nil
	}
	return bytes.Clone(k.secret()[:])
}

// EncryptedDataKeys returns a deep copy of the encrypted forms, or nil if k was
// not made by [NewDataKey].
func (k *DataKey) EncryptedDataKeys() []EncryptedDataKey {
	if !k.valid() {
		return nil
	}
	copies := make([]EncryptedDataKey, len(k.encrypted()))
	for i, e := range k.encrypted() {
		copies[i] = e.Clone()
	}
	return copies
}

// Format implements [fmt.Formatter]: with every verb, a DataKey prints as the
// fixed text "envelope.DataKey(redacted)".
func (k *DataKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, redactedDataKey) }

// MarshalText implements [encoding.TextMarshaler], and so JSON and slog, with
// the same fixed text.
func (k *DataKey) MarshalText() ([]byte, error) { return []byte(redactedDataKey), nil }

const redactedDataKey = "envelope.DataKey(redacted)"

// Keyring generates data keys and decrypts encrypted ones. Implementations
// must be safe for concurrent use, must not modify or retain their arguments,
// and must honour ctx. [github.com/sealq/sealq/envelope/envelopetest] has the
// tests that an implementation must pass.
type Keyring interface {
	// GenerateDataKey returns a new data key, bound to ec.
	//
	// An error is [ErrUnavailable], the caller's context error, or a refusal
	// (best as a [*RefusedError]).
	GenerateDataKey(ctx context.Context, ec EncryptionContext) (*DataKey, error)

	// DecryptDataKey decrypts one of edks, which are alternatives: they hold
	// the same data key under different wrapping keys. The result carries
	// exactly the encrypted data key that was decrypted. Of several under one
	// wrapping key it may try the first only: no writer makes a second.
	//
	// An error wraps [ErrNoMatchingKey] if the keyring may use none of edks,
	// or none decrypts under ec. If any attempt failed for a reason that is
	// not the message's, the error wraps only such reasons: reporting a good
	// message as invalid would send it to the dead-letter queue.
	DecryptDataKey(ctx context.Context, edks []EncryptedDataKey, ec EncryptionContext) (*DataKey, error)
}

// Purger is an optional interface of a [Keyring] that remembers answers of the
// key service, and can forget them. Look for it by a type assertion. A cache, a
// [MultiKeyring] and a Sealer pass Purge on to the keyrings behind them that
// have it.
type Purger interface {
	// Purge forgets every answer of the key service. No call that begins after
	// Purge returns uses an earlier answer. It must be safe for concurrent use,
	// and must not wait for a call in flight.
	Purge()
}

// Wrapper is a [Keyring] that can also encrypt a data key that another keyring
// generated. Members of a [MultiKeyring] are Wrappers. A cache is not a
// Wrapper: it would return another data key.
type Wrapper interface {
	Keyring
	// WrapDataKey encrypts key under this keyring's own wrapping key, bound
	// to ec. Errors are those of GenerateDataKey.
	WrapDataKey(ctx context.Context, key *DataKey, ec EncryptionContext) (EncryptedDataKey, error)
}
