package branchkey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"strings"

	"github.com/sealq/sealq/envelope"
)

// ProviderID is the [envelope.EncryptedDataKey.ProviderID] of data keys under
// branch keys, as the AWS Encryption SDKs write it.
const ProviderID = "aws-kms-hierarchy"

// The ciphertext of an encrypted data key is salt, IV, version, encrypted data
// key and tag. The specification (aws-kms-hierarchical-keyring.md) has these
// sizes, the derivation of the wrapping key and the additional data.
const (
	branchKeySize = 32
	saltSize      = 16
	ivSize        = 12
	versionSize   = 16
	tagSize       = 16
	sealedAt      = saltSize + ivSize + versionSize
	wrappedSize   = sealedAt + envelope.DataKeySize + tagSize // 92
)

// version names a version of a branch key: a UUID, its 16 bytes in the order of
// its text.
type version [versionSize]byte

// versionPrefix starts the name of a version, as items have it.
const versionPrefix = "branch:version:"

// String returns the UUID in lower case.
func (v version) String() string {
	text := make([]byte, 0, 36)
	for i, b := range v {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, []byte{b})
	}
	return string(text)
}

// itemType is the sort key of the version's item.
func (v version) itemType() string { return versionPrefix + v.String() }

// parseVersion reads what itemType returns.
func parseVersion(name string) (version, bool) {
	text, ok := strings.CutPrefix(name, versionPrefix)
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if !ok || err != nil || len(raw) != versionSize {
		return version{}, false
	}
	v := version(raw)
	return v, v.String() == text
}

// wrapped are the fields of an encrypted data key's ciphertext.
type wrapped []byte

func (w wrapped) salt() []byte     { return w[:saltSize] }
func (w wrapped) iv() []byte       { return w[saltSize : saltSize+ivSize] }
func (w wrapped) version() version { return version(w[saltSize+ivSize : sealedAt]) }
func (w wrapped) sealed() []byte   { return w[sealedAt:] }

// workspace is memory that wrapping or unwrapping data keys under a branch key
// needs, kept for the next one: otherwise each costs nine allocations. It is
// used by one goroutine. The zero value is ready for [workspace.load].
type workspace struct {
	source    *envelope.DataKey // that the next three are of
	version   version
	branchKey [branchKeySize]byte
	mac       hash.Hash // HMAC-SHA-256 under branchKey

	kdf [4 + len(ProviderID) + 1 + saltSize + 4]byte
	key [sha256.Size]byte // the wrapping key
	aad []byte
}

// load makes key, which branchKeyOf made, the branch key of m. It is most often
// that of the last use.
func (m *workspace) load(key *envelope.DataKey) {
	if m.source == key {
		return
	}
	plaintext := key.Plaintext()
	defer clear(plaintext)
	m.source = nil // if this panics, nothing of m passes for key's
	if m.mac == nil || subtle.ConstantTimeCompare(m.branchKey[:], plaintext) == 0 {
		copy(m.branchKey[:], plaintext)
		m.mac = hmac.New(sha256.New, plaintext)
	}
	m.version = version(key.EncryptedDataKeys()[0].Ciphertext)
	m.source = key
}

// bind sets what the next data key is bound to: the branch key, its version,
// and the encryption context.
func (m *workspace) bind(id string, ec envelope.EncryptionContext) (err error) {
	m.aad = append(m.aad[:0], ProviderID...)
	m.aad = append(m.aad, id...)
	m.aad = append(m.aad, m.version[:]...)
	m.aad, err = ec.AppendBinary(m.aad)
	return err
}

// wrap encrypts a data key. saltIV is salt and IV.
func (m *workspace) wrap(saltIV, dataKey []byte) ([]byte, error) {
	w := make(wrapped, sealedAt, wrappedSize)
	copy(w, saltIV)
	copy(w[saltSize+ivSize:], m.version[:])
	aead, err := m.wrappingCipher(w.salt())
	if err != nil {
		return nil, err
	}
	return aead.Seal(w, w.iv(), dataKey, m.aad), nil
}

// unwrap appends to dst the data key that wrap encrypted.
func (m *workspace) unwrap(dst []byte, w wrapped) ([]byte, error) {
	aead, err := m.wrappingCipher(w.salt())
	if err != nil {
		return nil, err
	}
	return aead.Open(dst, w.iv(), w.sealed(), m.aad)
}

// wrappingCipher is AES-256-GCM under the key that a branch key and a salt
// derive: a key derivation function in counter mode (NIST SP 800-108) with
// HMAC-SHA-256, of which 256 bits are one block.
func (m *workspace) wrappingCipher(salt []byte) (cipher.AEAD, error) {
	in := append(m.kdf[:0], 0, 0, 0, 1) // the counter
	in = append(in, ProviderID...)      // the label
	in = append(in, 0)
	in = append(in, salt...)    // the context
	in = append(in, 0, 0, 1, 0) // the length in bits, 256
	m.mac.Reset()
	m.mac.Write(in)
	defer clear(m.key[:])
	block, err := aes.NewCipher(m.mac.Sum(m.key[:0]))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
