package differential_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	crand "crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// draft is a message before it is written. Everything that is written is
// authenticated as it is written, so that a reader can find fault with the
// structure only.
type draft struct {
	suite       uint16
	id          []byte
	pairs       [][2]string // in the order of writing
	keys        []envelope.EncryptedDataKey
	contentType byte
	frameLength uint32
	contents    [][]byte // of the frames, the final one last; of the one block
	signer      *ecdsa.PrivateKey

	// What the oddities change.
	version      byte
	contextField func([]byte) []byte
	keyCount     int // -1: as many as there are
	iv           func(i int, iv []byte)
	sequence     func(i int, n uint32) uint32
	size         func(i int, n uint64) uint64
	footer       func([]byte) []byte
	trailer      []byte
	headerIV     []byte
}

const publicKeyName = "aws-crypto-public-key"

// context is what readers make of the pairs.
func (d *draft) context() envelope.EncryptionContext {
	ec := make(envelope.EncryptionContext)
	for _, p := range d.pairs {
		ec[p[0]] = p[1]
	}
	return ec
}

func publicKey(t testing.TB, k *ecdsa.PrivateKey) string {
	b, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(append([]byte{2 + b[96]&1}, b[1:49]...))
}

// Two signers, the same in all passes over a draft.
var signer, otherSigner = sync.OnceValue(newSigner), sync.OnceValue(newSigner)

func newSigner() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P384(), crand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func put16(b []byte, n int) []byte { return binary.BigEndian.AppendUint16(b, uint16(n)) }

func serialize(pairs [][2]string) []byte {
	if len(pairs) == 0 {
		return nil
	}
	b := put16(nil, len(pairs))
	for _, p := range pairs {
		b = append(put16(b, len(p[0])), p[0]...)
		b = append(put16(b, len(p[1])), p[1]...)
	}
	return b
}

// wrap encrypts the data key as a raw AES keyring does, under contexts that
// sealq's own would not write.
func wrap(t testing.TB, ec envelope.EncryptionContext) envelope.EncryptedDataKey {
	t.Helper()
	block, err := aes.NewCipher(wrappingKey)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	var sorted [][2]string
	for _, k := range slices.Sorted(maps.Keys(ec)) {
		sorted = append(sorted, [2]string{k, ec[k]})
	}
	iv := make([]byte, 12)
	crand.Read(iv)
	info := binary.BigEndian.AppendUint32([]byte(name), 128)
	info = binary.BigEndian.AppendUint32(info, 12)
	return envelope.EncryptedDataKey{
		ProviderID: namespace, ProviderInfo: append(info, iv...), Ciphertext: aead.Seal(nil, iv, dataKey, serialize(sorted)),
	}
}

func (d *draft) write(t testing.TB, dataKey []byte) []byte {
	t.Helper()
	context := serialize(d.pairs)
	if d.contextField != nil {
		context = d.contextField(context)
	}
	label := binary.BigEndian.AppendUint16(nil, d.suite)
	key, err := hkdf.Key(sha512.New, dataKey, d.id, string(append(label, "DERIVEKEY"...)), 32)
	if err != nil {
		t.Fatal(err)
	}
	commitment, err := hkdf.Key(sha512.New, dataKey, d.id, "COMMITKEY", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}

	b := binary.BigEndian.AppendUint16([]byte{d.version}, d.suite)
	b = append(b, d.id...)
	b = append(put16(b, len(context)), context...)
	count := d.keyCount
	if count < 0 {
		count = len(d.keys)
	}
	b = put16(b, count)
	for _, k := range d.keys {
		for _, field := range [][]byte{[]byte(k.ProviderID), k.ProviderInfo, k.Ciphertext} {
			b = append(put16(b, len(field)), field...)
		}
	}
	b = binary.BigEndian.AppendUint32(append(b, d.contentType), d.frameLength)
	b = append(b, commitment...)
	b = aead.Seal(b, d.headerIV, nil, b)

	for i, content := range d.contents {
		n := uint32(i + 1)
		if d.sequence != nil {
			n = d.sequence(i, n)
		}
		iv := binary.BigEndian.AppendUint32(make([]byte, 8), n)
		if d.iv != nil {
			d.iv(i, iv)
		}
		size := uint64(len(content))
		if d.size != nil {
			size = d.size(i, size)
		}
		what := "AWSKMSEncryptionClient Frame"
		switch {
		case d.contentType == 1:
			what = "AWSKMSEncryptionClient Single Block"
			b = append(b, iv...)
			b = binary.BigEndian.AppendUint64(b, size)
		case i == len(d.contents)-1:
			what = "AWSKMSEncryptionClient Final Frame"
			b = binary.BigEndian.AppendUint32(b, 0xffffffff)
			b = binary.BigEndian.AppendUint32(b, n)
			b = append(b, iv...)
			b = binary.BigEndian.AppendUint32(b, uint32(size))
		default:
			b = binary.BigEndian.AppendUint32(b, n)
			b = append(b, iv...)
		}
		aad := append(slices.Clone(d.id), what...)
		aad = binary.BigEndian.AppendUint32(aad, n)
		aad = binary.BigEndian.AppendUint64(aad, uint64(len(content)))
		b = aead.Seal(b, iv, content, aad)
	}
	if d.signer != nil {
		digest := sha512.Sum384(b)
		signature, err := ecdsa.SignASN1(crand.Reader, d.signer, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		if d.footer != nil {
			signature = d.footer(signature)
		}
		b = append(put16(b, len(signature)), signature...)
	}
	return append(b, d.trailer...)
}
