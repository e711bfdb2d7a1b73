package cache_test

import (
	"crypto/sha256"
	"runtime"
	"testing"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

// BenchmarkFloor is what a hit cannot do without: the hash of the context.
func BenchmarkFloor(b *testing.B) {
	fields := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		sha256.Sum256(fields)
	}
}

func BenchmarkHitSealing(b *testing.B) {
	k := newCache(b, &endless{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.GenerateDataKey(b.Context(), orders); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHitOpening(b *testing.B) {
	k := newCache(b, &endless{})
	edks := []envelope.EncryptedDataKey{endlessEDK(1)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.DecryptDataKey(b.Context(), edks, orders); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHitSealingParallel(b *testing.B) {
	k := newCache(b, &endless{})
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.GenerateDataKey(ctx, orders); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkHitOpeningParallel(b *testing.B) {
	k := newCache(b, &endless{})
	edks := []envelope.EncryptedDataKey{endlessEDK(1)}
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.DecryptDataKey(ctx, edks, orders); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	k := newCache(b, &endless{}, func(o *cache.Options) { o.MaxMessages = 1 })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.GenerateDataKey(b.Context(), orders); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHeapPerEntry reports the live heap of a full cache, for each entry.
func BenchmarkHeapPerEntry(b *testing.B) {
	perEntry := heapPerEntry(b, 4096)
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(perEntry, "heapB/entry")
}

func heapPerEntry(tb testing.TB, entries int) float64 {
	before := heap()
	k := newCache(tb, &endless{}, func(o *cache.Options) { o.DecryptEntries = entries })
	for i := range entries {
		decrypt(tb, k, []envelope.EncryptedDataKey{endlessEDK(i)}, orders)
	}
	after := heap()
	runtime.KeepAlive(k)
	return float64(after-before) / float64(entries)
}

// Allocation counts and sizes are stable, unlike times: they are asserted.
func TestCostOfAHit(t *testing.T) {
	k := newCache(t, &endless{})
	edks := []envelope.EncryptedDataKey{endlessEDK(1)}
	ctx := t.Context()
	for name, hit := range map[string]func(){
		"sealing": func() { k.GenerateDataKey(ctx, orders) },
		"opening": func() { k.DecryptDataKey(ctx, edks, orders) },
	} {
		if got := testing.AllocsPerRun(1000, hit); got > maxHitAllocs {
			t.Errorf("%s: got %v allocations for a hit, want at most %d", name, got, maxHitAllocs)
		}
	}
}

const maxHitAllocs = 0

func TestHeapPerEntry(t *testing.T) {
	if got := heapPerEntry(t, 4096); got > 1024 {
		t.Errorf("got %.0f bytes of heap an entry, want at most 1024", got)
	}
}
