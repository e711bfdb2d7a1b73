package cache_test

import (
	"bytes"
	"testing"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/envelopetest"
)

// A cache keeps every promise of a keyring: over a raw keyring and over a
// multi-keyring, reusing keys and not.
func TestConformance(t *testing.T) {
	raw := func(t *testing.T, name string) *envelope.RawAESKeyring {
		t.Helper()
		k, err := envelope.NewRawAESKeyring("conformance", name, bytes.Repeat([]byte(name), 32))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, maxMessages := range map[string]uint64{"reusing": 0, "one message": 1} {
		t.Run(name, func(t *testing.T) {
			envelopetest.TestKeyring(t, func(t *testing.T) envelope.Keyring {
				return newCache(t, raw(t, "a"), func(o *cache.Options) { o.MaxMessages = maxMessages })
			})
		})
		t.Run("multi, "+name, func(t *testing.T) {
			envelopetest.TestKeyring(t, func(t *testing.T) envelope.Keyring {
				multi, err := envelope.NewMultiKeyring(raw(t, "a"), raw(t, "b"))
				if err != nil {
					t.Fatal(err)
				}
				return newCache(t, multi, func(o *cache.Options) { o.MaxMessages = maxMessages })
			})
		})
	}
}
