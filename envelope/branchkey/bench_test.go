package branchkey_test

import (
	"testing"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
)

// keyrings are a keyring with a warm branch key, and a cache with a warm KMS
// data key: what it is measured against.
func keyrings(b testing.TB) map[string]envelope.Keyring {
	w := newWorld(b)
	store := w.store()
	w.create(store, "bbb9baf1-03e6-4716-a586-6bf29995314b")
	fromKMS, err := kmskeyring.New(w.kms, w.keyARN)
	if err != nil {
		b.Fatal(err)
	}
	dataKey, err := cache.New(fromKMS)
	if err != nil {
		b.Fatal(err)
	}
	return map[string]envelope.Keyring{"KMS data key": dataKey, "branch key": w.keyring(store, "bbb9baf1-03e6-4716-a586-6bf29995314b")}
}

func BenchmarkSeal(b *testing.B) {
	body := make([]byte, 1024)
	for name, kr := range keyrings(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := envelope.Seal(b.Context(), kr, body, ec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	accept := func(envelope.EncryptionContext) error { return nil }
	for name, kr := range keyrings(b) {
		m, err := envelope.Seal(b.Context(), kr, make([]byte, 1024), ec)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := envelope.Open(b.Context(), kr, m, accept); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
