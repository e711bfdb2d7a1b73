package branchkey_test

import (
	"testing"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
)

// warm is a keyring whose keys are all cached.
type warm struct {
	name    string
	keyring envelope.Keyring
}

// warmKeyrings are a cache with a KMS data key, which is what it is measured
// against, and a keyring with a branch key.
func warmKeyrings(t testing.TB) []warm {
	w := newWorld(t)
	const id = "bbb9baf1-03e6-4716-a586-6bf29995314b" // as the official libraries make them
	store := w.store()
	w.create(store, id)
	fromKMS, err := kmskeyring.New(w.kms, w.keyARN)
	if err != nil {
		t.Fatal(err)
	}
	dataKey, err := cache.New(fromKMS)
	if err != nil {
		t.Fatal(err)
	}
	keyrings := []warm{{"KMS data key", dataKey}, {"branch key", w.keyring(store, id)}}
	for _, kr := range keyrings {
		w.mustOpen(kr.keyring, w.seal(kr.keyring))
	}
	return keyrings
}

func acceptAll(envelope.EncryptionContext) error { return nil }

func BenchmarkSeal(b *testing.B) {
	body := make([]byte, 1024)
	for _, kr := range warmKeyrings(b) {
		b.Run(kr.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := envelope.Seal(b.Context(), kr.keyring, body, ec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, kr := range warmKeyrings(b) {
		m, err := envelope.Seal(b.Context(), kr.keyring, make([]byte, 1024), ec)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(kr.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := envelope.Open(b.Context(), kr.keyring, m, acceptAll); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
