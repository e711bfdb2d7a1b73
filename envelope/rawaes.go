package envelope

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unicode/utf8"
)

// RawAESKeyring wraps data keys with AES-GCM under a key that the program
// holds. It is for tests, for development without a key service, and for
// programs that have a key service of their own; it cannot be audited or
// revoked from outside as a key in AWS KMS can.
//
// It is compatible, byte for byte, with the raw AES keyrings of the official
// encryption SDKs. It is safe for concurrent use.
type RawAESKeyring struct {
	namespace, name string
	aead            func() cipher.AEAD // behind a closure for the same reason as a DataKey's bytes
	draws           *atomic.Uint64     // data keys and IVs drawn; copies share it
}

var (
	_ Wrapper        = (*RawAESKeyring)(nil)
	_ DecryptChecker = (*RawAESKeyring)(nil)
)

// kmsNamespace is the provider ID of AWS KMS keyrings. Raw keyrings may not
// use it: a KMS keyring would take their entries for its own.
const kmsNamespace = "aws-kms"

// The provider info of a raw AES keyring is the key's name, the length of the
// tag in bits, the length of the IV in bytes, and the IV.
const rawAESInfoSize = 4 + 4 + ivSize

// NewRawAESKeyring returns a keyring that wraps data keys under key, which must
// be 16, 24 or 32 random bytes and is copied. Namespace (not "aws-kms") and
// name identify the key, are written in clear into every message, and must be
// the same wherever the key is used: UTF-8, not empty, at most 256 and 2,028
// bytes.
//
// The keyring draws random 96-bit IVs: replace the key before it has wrapped
// 2^32 data keys (NIST SP 800-38D, section 8.3).
func NewRawAESKeyring(namespace, name string, key []byte) (*RawAESKeyring, error) {
	switch {
	case namespace == "" || name == "":
		return nil, errors.New("envelope: raw AES keyring needs a namespace and a name")
	case namespace == kmsNamespace:
		return nil, fmt.Errorf("envelope: namespace %q is reserved for AWS KMS", namespace)
	case !utf8.ValidString(namespace) || !utf8.ValidString(name):
		return nil, errors.New("envelope: namespace or name of a raw AES keyring is not UTF-8")
	case len(namespace) > maxProviderID:
		return nil, fmt.Errorf("envelope: namespace of a raw AES keyring takes %d bytes, want at most %d", len(namespace), maxProviderID)
	case len(name) > maxProviderInfo-rawAESInfoSize:
		return nil, fmt.Errorf("envelope: name of a raw AES keyring takes %d bytes, want at most %d", len(name), maxProviderInfo-rawAESInfoSize)
	case len(key) != 16 && len(key) != 24 && len(key) != 32:
		return nil, fmt.Errorf("envelope: wrapping key is %d bytes, want 16, 24 or 32", len(key))
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return &RawAESKeyring{namespace: namespace, name: name, aead: func() cipher.AEAD { return aead }, draws: new(atomic.Uint64)}, nil
}

// GenerateDataKey implements [Keyring].
func (k *RawAESKeyring) GenerateDataKey(ctx context.Context, ec EncryptionContext) (*DataKey, error) {
	if err := k.usable(ctx); err != nil {
		return nil, err
	}
	secret := hedged(randomDataKey, k.draws)
	wrapped, err := k.wrap(ctx, &secret, ec)
	if err != nil {
		return nil, err
	}
	return NewDataKey(secret[:], wrapped)
}

// WrapDataKey implements [Wrapper].
func (k *RawAESKeyring) WrapDataKey(ctx context.Context, key *DataKey, ec EncryptionContext) (EncryptedDataKey, error) {
	if !key.valid() {
		return EncryptedDataKey{}, errors.New("envelope: no data key to wrap")
	}
	return k.wrap(ctx, key.secret(), ec)
}

func (k *RawAESKeyring) wrap(ctx context.Context, secret *[DataKeySize]byte, ec EncryptionContext) (EncryptedDataKey, error) {
	if err := k.usable(ctx); err != nil {
		return EncryptedDataKey{}, err
	}
	if err := checkContextSize(ec, contextSize(ec)); err != nil {
		return EncryptedDataKey{}, fmt.Errorf("envelope: %w", err)
	}
	info := make([]byte, 0, len(k.name)+rawAESInfoSize)
	info = k.appendInfoPrefix(info)
	iv := info[len(info) : len(info)+ivSize]
	random := hedged(randomWrapIV, k.draws)
	copy(iv, random[:])
	aad := appendContext(make([]byte, 0, contextSize(ec)), ec)
	return EncryptedDataKey{
		ProviderID:   k.namespace,
		ProviderInfo: info[:len(info)+ivSize],
		Ciphertext:   k.aead().Seal(nil, iv, secret[:], aad),
	}, nil
}

// DecryptDataKey implements [Keyring]. It tries every entry that bears the
// keyring's namespace and name, since another key may bear them too.
func (k *RawAESKeyring) DecryptDataKey(ctx context.Context, edks []EncryptedDataKey, ec EncryptionContext) (*DataKey, error) {
	if err := k.usable(ctx); err != nil {
		return nil, err
	}
	if err := checkContextSize(ec, contextSize(ec)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	aad := appendContext(make([]byte, 0, contextSize(ec)), ec)
	prefix := k.appendInfoPrefix(make([]byte, 0, len(k.name)+rawAESInfoSize))
	named := 0
	for _, edk := range edks {
		iv, ok := bytes.CutPrefix(edk.ProviderInfo, prefix)
		if edk.ProviderID != k.namespace || !ok || len(iv) != ivSize || len(edk.Ciphertext) != DataKeySize+tagSize {
			continue
		}
		named++
		if secret, err := k.aead().Open(nil, iv, edk.Ciphertext, aad); err == nil {
			return NewDataKey(secret, edk)
		}
	}
	if named == 0 {
		return nil, fmt.Errorf("%w: none of %d is for the raw AES key %q", ErrNoMatchingKey, len(edks), k.namespace+"/"+k.name)
	}
	return nil, fmt.Errorf("%w: %d of %d are for the raw AES key %q, and none decrypts under this encryption context: another key has that name, or the entry or the context was altered",
		ErrNoMatchingKey, named, len(edks), k.namespace+"/"+k.name)
}

// CheckDecrypt implements [DecryptChecker]. The answer is yes: the key is in
// this process, and nobody is to be asked.
func (k *RawAESKeyring) CheckDecrypt(ctx context.Context, _ EncryptionContext) error {
	return k.usable(ctx)
}

// appendInfoPrefix appends the provider info up to its IV.
func (k *RawAESKeyring) appendInfoPrefix(dst []byte) []byte {
	dst = append(dst, k.name...)
	dst = binary.BigEndian.AppendUint32(dst, tagSize*8)
	return binary.BigEndian.AppendUint32(dst, ivSize)
}

func (k *RawAESKeyring) usable(ctx context.Context) error {
	if k == nil || k.aead == nil {
		return errors.New("envelope: raw AES keyring is nil or zero; make it with NewRawAESKeyring")
	}
	return ctx.Err()
}
