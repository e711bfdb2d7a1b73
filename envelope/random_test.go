package envelope_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/envelope"
)

// TestRandomSourceThatRepeats seals as two copies of one process do that were
// resumed from the same snapshot, or as a program does that put another reader
// in place of crypto/rand's: the source gives the same bytes each time. Under
// one data key, the same message ID means the same key and the same nonces for
// two plaintexts, from which AES-GCM does not recover.
func TestRandomSourceThatRepeats(t *testing.T) { // not parallel: it sets the random source of the process
	key := func() *envelope.DataKey {
		k, err := envelope.NewDataKey(testKey, testEDK)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	messageID := func(kr envelope.Keyring) string {
		cryptotest.SetGlobalRandom(t, 1)
		m, err := envelope.Seal(t.Context(), kr, []byte("p"), nil)
		if err != nil {
			t.Fatal(err)
		}
		h, err := envelope.ParseHeader(m.Header)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(h.MessageID[:])
	}
	wrapIV := func(kr *envelope.RawAESKeyring, k *envelope.DataKey) string {
		cryptotest.SetGlobalRandom(t, 1)
		edk, err := kr.WrapDataKey(t.Context(), k, nil)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(edk.ProviderInfo[len(edk.ProviderInfo)-12:])
	}
	secret := func(kr *envelope.RawAESKeyring) string {
		cryptotest.SetGlobalRandom(t, 1)
		k, err := kr.GenerateDataKey(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(k.Plaintext())
	}
	distinct := func(what string, ids ...string) {
		seen := map[string]int{}
		for i, id := range ids {
			if first, ok := seen[id]; ok {
				t.Errorf("%s: uses %d and %d got %s, want another each time", what, first, i, id)
			}
			seen[id] = i
		}
	}

	// The clock of a bubble stands still, as a coarse one does between ticks.
	synctest.Test(t, func(t *testing.T) {
		kr := cachedKeyring{key()}
		distinct("the clock stands still, message IDs", messageID(kr), messageID(kr), messageID(kr))
		raw, k := newRaw(t, "key", 1), key()
		distinct("the clock stands still, IVs of the raw AES keyring", wrapIV(raw, k), wrapIV(raw, k), wrapIV(raw, k))
		distinct("the clock stands still, data keys of the raw AES keyring", secret(raw), secret(raw), secret(raw))
	})
	// Counters start again where memory is copied or a process is started anew.
	synctest.Test(t, func(t *testing.T) {
		first, iv, k := messageID(cachedKeyring{key()}), wrapIV(newRaw(t, "key", 1), key()), secret(newRaw(t, "key", 1))
		time.Sleep(time.Nanosecond)
		distinct("a copy a nanosecond later, message IDs", first, messageID(cachedKeyring{key()}))
		distinct("a copy a nanosecond later, IVs of the raw AES keyring", iv, wrapIV(newRaw(t, "key", 1), key()))
		distinct("a copy a nanosecond later, data keys of the raw AES keyring", k, secret(newRaw(t, "key", 1)))
	})
	// Neither clock nor counter is all that there is.
	synctest.Test(t, func(t *testing.T) {
		seal := func(seed uint64) []byte {
			cryptotest.SetGlobalRandom(t, seed)
			m, err := envelope.Seal(t.Context(), cachedKeyring{key()}, []byte("p"), nil)
			if err != nil {
				t.Fatal(err)
			}
			return m.Header
		}
		if bytes.Equal(seal(1), seal(2)) {
			t.Error("two random sources made the same header: the message ID does not depend on them")
		}
	})
}

// BenchmarkMessageID is what Seal's message ID costs, and what it would cost if
// it were the random source's bytes as they come.
func BenchmarkMessageID(b *testing.B) {
	b.Run("random", func(b *testing.B) {
		b.ReportAllocs()
		id := make([]byte, 32)
		for b.Loop() {
			rand.Read(id)
		}
	})
	b.Run("hedged", func(b *testing.B) {
		b.ReportAllocs()
		var seals atomic.Uint64
		for b.Loop() {
			envelope.DrawMessageID(&seals)
		}
	})
}
