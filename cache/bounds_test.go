package cache_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

func numbered(i int) envelope.EncryptionContext {
	return envelope.EncryptionContext{"n": fmt.Sprint(i)}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s, func(o *cache.Options) { o.EncryptEntries = 3 })
	for i := range 3 {
		generate(t, k, numbered(i))
	}
	generate(t, k, numbered(0)) // 1 is now the oldest
	generate(t, k, numbered(3))
	wantCalls(t, s, 4)
	for _, i := range []int{0, 2, 3} {
		generate(t, k, numbered(i))
	}
	wantCalls(t, s, 4)
	generate(t, k, numbered(1))
	wantCalls(t, s, 5)
	if st := k.Stats(); st.EncryptEntries != 3 || st.Evictions != 2 {
		t.Errorf("got %d entries and %d evictions, want 3 and 2", st.EncryptEntries, st.Evictions)
	}
}

// TestEvictedInUse: a key that could have been used again is told apart from
// one that had expired, and from one that nobody used for MaxStale, which goes
// by itself.
func TestEvictedInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s, func(o *cache.Options) { o.EncryptEntries, o.MaxStale = 10, time.Hour })
		check := func(when string, entries int, evictions, inUse uint64) {
			t.Helper()
			if st := k.Stats(); st.EncryptEntries != entries || st.Evictions != evictions || st.EvictedInUse != inUse {
				t.Errorf("%s: got %d entries, %d evictions, %d of them in use; want %d, %d, %d",
					when, st.EncryptEntries, st.Evictions, st.EvictedInUse, entries, evictions, inUse)
			}
		}
		fill := func(from, n int) {
			for i := range n {
				generate(t, k, numbered(from+i))
			}
		}
		fill(0, 10)
		check("full", 10, 0, 0)
		fill(10, 3)
		check("at once", 10, 3, 3)
		time.Sleep(cache.DefaultReusePeriod)
		fill(20, 4)
		check("expired", 10, 7, 3)
		time.Sleep(time.Hour)
		fill(30, 4)
		check("spent", 6, 7, 3)
	})
}

// Each bound holds at N and N+1, and no kind of entry pushes out another.
func TestBoundsAreSeparate(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s, func(o *cache.Options) { o.EncryptEntries, o.DecryptEntries, o.NegativeEntries = 4, 5, 6 })
	check := func(when string, encrypt, decrypt, negative int) {
		t.Helper()
		st := k.Stats()
		if st.EncryptEntries != encrypt || st.DecryptEntries != decrypt || st.NegativeEntries != negative {
			t.Errorf("%s: got %d, %d, %d entries, want %d, %d, %d", when,
				st.EncryptEntries, st.DecryptEntries, st.NegativeEntries, encrypt, decrypt, negative)
		}
	}
	for i := range 4 {
		generate(t, k, numbered(i))
	}
	check("encrypt at N", 4, 0, 0)
	var edks [][]envelope.EncryptedDataKey
	for i := range 6 {
		edks = append(edks, s.make(orders, time.Now()).EncryptedDataKeys())
		if i < 5 {
			decrypt(t, k, edks[i], orders)
		}
	}
	check("decrypt at N", 4, 5, 0)
	for i := range 1000 { // a flood of messages that do not open
		k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(i)}, orders)
	}
	check("flood", 4, 5, 6)
	before := s.count()
	for i := range 5 {
		decrypt(t, k, edks[i], orders)
	}
	for i := range 4 {
		generate(t, k, numbered(i))
	}
	for i := range 6 {
		k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(1000 - 6 + i)}, orders)
	}
	wantCalls(t, s, before)
	generate(t, k, numbered(4))
	decrypt(t, k, edks[5], orders)
	check("N+1", 4, 5, 6)
}

func TestKeyEvictedDuringItsRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s, func(o *cache.Options) { o.EncryptEntries = 1 })
		generate(t, k, numbered(0))
		time.Sleep(surelyDue)
		s.setLatency(5 * time.Second)
		generate(t, k, numbered(0))
		generate(t, k, numbered(1)) // evicts 0 at 5 s, when its refresh lands
		synctest.Wait()
		if st := k.Stats(); st.EncryptEntries != 1 {
			t.Errorf("entries: got %d, want 1", st.EncryptEntries)
		}
	})
}

// heap returns the bytes of live heap.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// endless makes data keys of realistic size and remembers none.
type endless struct{ n int }

const kmsCiphertext = 184 // bytes of a data key encrypted by AWS KMS

func (e *endless) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	e.n++
	return dataKey(endlessEDK(e.n)), nil
}

func endlessEDK(n int) envelope.EncryptedDataKey {
	return envelope.EncryptedDataKey{
		ProviderID:   "aws-kms",
		ProviderInfo: []byte("arn:aws:kms:eu-west-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef"),
		Ciphertext:   fmt.Appendf(make([]byte, 0, kmsCiphertext), "%0*d", kmsCiphertext, n),
	}
}

func (e *endless) DecryptDataKey(_ context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	return dataKey(edks[0]), nil
}

func TestMemoryIsFlat(t *testing.T) {
	const bound, distinct = 1000, 100_000
	k := newCache(t, &endless{}, func(o *cache.Options) { o.EncryptEntries, o.DecryptEntries = bound, bound })
	offer := func(from, to int) {
		for i := from; i < to; i++ {
			if i%2 == 0 {
				generate(t, k, numbered(i))
			} else {
				decrypt(t, k, []envelope.EncryptedDataKey{endlessEDK(i)}, orders)
			}
		}
	}
	empty := heap()
	offer(0, distinct/2)
	half := heap()
	offer(distinct/2, distinct)
	whole := heap()
	if grown := int64(whole) - int64(half); grown > 100_000 {
		t.Errorf("the second %d keys made the heap grow by %d bytes, want it flat", distinct/2, grown)
	}
	if size := int64(whole) - int64(empty); size > 2*bound*1024 {
		t.Errorf("the heap holds %d bytes for %d entries, want at most 1 KiB each", size, 2*bound)
	}
	if st := k.Stats(); st.EncryptEntries != bound || st.DecryptEntries != bound {
		t.Errorf("entries: got %d and %d, want %d", st.EncryptEntries, st.DecryptEntries, bound)
	}
	runtime.KeepAlive(k)
}
