package envelope_test

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// message builds sealed messages of every kind that the format allows, and many
// that it does not. It shares no code with the package, so that the two cannot
// be wrong together.
type message struct {
	suite       uint16 // 0: 0x0478
	ec          map[string]string
	contextRaw  []byte // in place of the serialized ec
	keys        []envelope.EncryptedDataKey
	contentType byte   // 0: framed
	frameLength uint32 // 0 is meant when contentType is set
	contents    [][]byte
	commitment  []byte                // in place of the data key's
	signer      *ecdsa.PrivateKey     // for suite 0x0578
	frameHeader func(i int, h []byte) // alters a frame's fields before its content
	footer      []byte                // in place of the signature
}

var (
	testKey = []byte("the data key of tests: 32 bytes.")
	testEDK = envelope.EncryptedDataKey{ProviderID: "test", ProviderInfo: []byte("info"), Ciphertext: []byte("ciphertext")}
	testID  = []byte("a message ID takes thirty-two by")
)

func newSigner(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func compressed(k *ecdsa.PrivateKey) string {
	b, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	point := append([]byte{2 + b[96]&1}, b[1:49]...)
	return base64.StdEncoding.EncodeToString(point)
}

func put16(b []byte, n int) []byte    { return binary.BigEndian.AppendUint16(b, uint16(n)) }
func put32(b []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(b, n) }

func serialize(ec map[string]string) []byte {
	if len(ec) == 0 {
		return nil
	}
	b := put16(nil, len(ec))
	for _, k := range slices.Sorted(maps.Keys(ec)) {
		b = append(put16(b, len(k)), k...)
		b = append(put16(b, len(ec[k])), ec[k]...)
	}
	return b
}

// derive returns the message cipher and the key commitment.
func derive(t testing.TB, suite uint16, key, id []byte) (cipher.AEAD, []byte) {
	t.Helper()
	k, err := hkdf.Key(sha512.New, key, id, string(put16(nil, int(suite)))+"DERIVEKEY", 32)
	if err != nil {
		t.Fatal(err)
	}
	commitment, err := hkdf.Key(sha512.New, key, id, "COMMITKEY", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead, commitment
}

func (m message) build(t testing.TB) envelope.Message {
	t.Helper()
	m.suite = cmp.Or(m.suite, 0x0478)
	if m.contentType == 0 {
		m.contentType = 2
		m.frameLength = cmp.Or(m.frameLength, 16)
	}
	if m.keys == nil {
		m.keys = []envelope.EncryptedDataKey{testEDK}
	}
	if m.signer != nil {
		m.ec = maps.Clone(m.ec)
		if m.ec == nil {
			m.ec = map[string]string{}
		}
		m.ec["aws-crypto-public-key"] = compressed(m.signer)
	}
	if m.contextRaw == nil {
		m.contextRaw = serialize(m.ec)
	}
	if m.contents == nil {
		m.contents = [][]byte{nil}
	}
	aead, commitment := derive(t, m.suite, testKey, testID)
	if m.commitment != nil {
		commitment = m.commitment
	}

	h := append(put16([]byte{2}, int(m.suite)), testID...)
	h = append(put16(h, len(m.contextRaw)), m.contextRaw...)
	h = put16(h, len(m.keys))
	for _, k := range m.keys {
		h = append(put16(h, len(k.ProviderID)), k.ProviderID...)
		h = append(put16(h, len(k.ProviderInfo)), k.ProviderInfo...)
		h = append(put16(h, len(k.Ciphertext)), k.Ciphertext...)
	}
	h = append(put32(append(h, m.contentType), m.frameLength), commitment...)
	h = aead.Seal(h, make([]byte, 12), nil, h)

	var b []byte
	for i, content := range m.contents {
		sequence := uint32(i + 1)
		iv := put32(make([]byte, 8), sequence)
		last := i == len(m.contents)-1
		var label string
		var fields []byte
		switch {
		case m.contentType == 1:
			label = "AWSKMSEncryptionClient Single Block"
			fields = binary.BigEndian.AppendUint64(slices.Clone(iv), uint64(len(content)))
		case last:
			label = "AWSKMSEncryptionClient Final Frame"
			fields = put32(append(put32(put32(nil, 0xffffffff), sequence), iv...), uint32(len(content)))
		default:
			label = "AWSKMSEncryptionClient Frame"
			fields = append(put32(nil, sequence), iv...)
		}
		if m.frameHeader != nil {
			m.frameHeader(i, fields)
		}
		aad := append(slices.Clone(testID), label...)
		aad = binary.BigEndian.AppendUint64(put32(aad, sequence), uint64(len(content)))
		b = aead.Seal(append(b, fields...), iv, content, aad)
	}
	switch {
	case m.footer != nil:
		b = append(b, m.footer...)
	case m.signer != nil:
		digest := sha512.Sum384(slices.Concat(h, b))
		sig, err := ecdsa.SignASN1(rand.Reader, m.signer, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		b = append(put16(b, len(sig)), sig...)
	}
	return envelope.Message{Header: h, Body: b}
}

// staticKeyring gives out one data key whatever it is asked, so that only the
// message's own authentication stands between a forgery and its acceptance.
type staticKeyring struct{ calls int }

func (k *staticKeyring) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	k.calls++
	return envelope.NewDataKey(testKey, testEDK)
}

func (k *staticKeyring) DecryptDataKey(_ context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	k.calls++
	return envelope.NewDataKey(testKey, edks[0])
}

func acceptAll(envelope.EncryptionContext) error { return nil }

func newRaw(t testing.TB, name string, key byte) *envelope.RawAESKeyring {
	t.Helper()
	wrapping := make([]byte, 32)
	for i := range wrapping {
		wrapping[i] = key
	}
	kr, err := envelope.NewRawAESKeyring("test", name, wrapping)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}
