package envelope_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// cachedKeyring answers from memory, as a cache does.
type cachedKeyring struct{ key *envelope.DataKey }

func (k cachedKeyring) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.key, nil
}

func (k cachedKeyring) DecryptDataKey(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.key, nil
}

func newCached(t testing.TB) cachedKeyring {
	t.Helper()
	edk := envelope.EncryptedDataKey{
		ProviderID:   "aws-kms",
		ProviderInfo: []byte("arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
		Ciphertext:   make([]byte, 184), // what AWS KMS returns for 32 bytes
	}
	key, err := envelope.NewDataKey(testKey, edk)
	if err != nil {
		t.Fatal(err)
	}
	return cachedKeyring{key}
}

var benchContext = envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:eu-west-1:111122223333:orders"}

// The floor is the same cryptography called directly, into and out of a buffer
// of the right size, with nothing parsed, checked or decided. How far Seal and
// Open are above it is what the format and this package cost.

// floorHeader is as long as the header that Seal writes in these benchmarks,
// without its tag.
var floorHeader = make([]byte, 406)

func floorCipher(id []byte) (cipher.AEAD, []byte, error) {
	prk, err := hkdf.Extract(sha512.New, testKey, id)
	if err != nil {
		return nil, nil, err
	}
	key, err := hkdf.Expand(sha512.New, prk, "\x04\x78DERIVEKEY", 32)
	if err != nil {
		return nil, nil, err
	}
	commitment, err := hkdf.Expand(sha512.New, prk, "COMMITKEY", 32)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, commitment, err
}

func floorAAD(id []byte, size int) []byte {
	aad := make([]byte, 0, 32+len("AWSKMSEncryptionClient Final Frame")+12)
	aad = append(append(aad, id...), "AWSKMSEncryptionClient Final Frame"...)
	aad = binary.BigEndian.AppendUint32(aad, 1)
	return binary.BigEndian.AppendUint64(aad, uint64(size))
}

func floorSeal(plaintext []byte) ([]byte, error) {
	id := make([]byte, 32)
	rand.Read(id)
	aead, commitment, err := floorCipher(id)
	if err != nil {
		return nil, err
	}
	iv := make([]byte, 12)
	out := make([]byte, 0, len(floorHeader)+16+24+len(plaintext)+16)
	out = append(out, floorHeader[:len(floorHeader)-64]...)
	out = append(append(out, id...), commitment...)
	out = aead.Seal(out, iv, nil, out)
	out = out[:len(out)+24]
	iv[11] = 1
	return aead.Seal(out, iv, plaintext, floorAAD(id, len(plaintext))), nil
}

func floorOpen(sealed []byte) ([]byte, error) {
	n := len(floorHeader)
	header, tag, frame := sealed[:n], sealed[n:n+16], sealed[n+16+24:]
	id, want := header[n-64:n-32], header[n-32:]
	aead, commitment, err := floorCipher(id)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment, want) != 1 {
		return nil, envelope.ErrAuthentication
	}
	iv := make([]byte, 12)
	if _, err := aead.Open(nil, iv, tag, header); err != nil {
		return nil, err
	}
	iv[11] = 1
	plaintext := make([]byte, 0, len(frame)-16)
	return aead.Open(plaintext, iv, frame, floorAAD(id, len(frame)-16))
}

var sizes = []int{1 << 10, 64 << 10, 256 << 10}

func BenchmarkSeal(b *testing.B) {
	kr := newCached(b)
	for _, size := range sizes {
		plaintext := make([]byte, size)
		bench(b, "floor", size, func() error { _, err := floorSeal(plaintext); return err })
		bench(b, "sealq", size, func() error {
			_, err := envelope.Seal(b.Context(), kr, plaintext, benchContext)
			return err
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	kr := newCached(b)
	for _, size := range sizes {
		plaintext := make([]byte, size)
		floor, err := floorSeal(plaintext)
		if err != nil {
			b.Fatal(err)
		}
		m, err := envelope.Seal(b.Context(), kr, plaintext, benchContext)
		if err != nil {
			b.Fatal(err)
		}
		bench(b, "floor", size, func() error { _, err := floorOpen(floor); return err })
		bench(b, "sealq", size, func() error {
			_, err := envelope.Open(b.Context(), kr, m, acceptAll)
			return err
		})
	}
}

func bench(b *testing.B, name string, size int, f func() error) {
	b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(size))
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestAllocations keeps Seal and Open within 4 allocations of the floor.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	kr := newCached(t)
	plaintext := make([]byte, 1<<10)
	floor, err := floorSeal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	m, err := envelope.Seal(t.Context(), kr, plaintext, benchContext)
	if err != nil {
		t.Fatal(err)
	}
	count := func(f func()) float64 { return testing.AllocsPerRun(100, f) }
	ctx := t.Context()
	seal := count(func() { envelope.Seal(ctx, kr, plaintext, benchContext) }) - count(func() { floorSeal(plaintext) })
	open := count(func() { envelope.Open(ctx, kr, m, acceptAll) }) - count(func() { floorOpen(floor) })
	if seal > 4 || open > 4 {
		t.Errorf("over the floor: Seal takes %v and Open %v allocations, want at most 4", seal, open)
	}
	if got, want := len(m.Header), len(floorHeader)+16; got != want {
		t.Errorf("floor is wrong: its header takes %d bytes, Seal's %d", want, got)
	}
}
