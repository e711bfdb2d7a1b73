package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// together runs n copies of f at once and waits for all.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestCallersWhoMissTogetherShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(time.Second)
		k := newCache(t, s)
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		together(64, func(int) { generate(t, k, orders) })
		wantCalls(t, s, 1)
		together(64, func(int) { decrypt(t, k, edks, orders) })
		wantCalls(t, s, 2)

		time.Sleep(time.Hour) // expired: again together
		together(64, func(int) { generate(t, k, orders) })
		wantCalls(t, s, 3)
		if st := k.Stats(); st.Misses != 3*64 || st.Hits != 0 || st.Fetches != 3 {
			t.Errorf("stats: %+v", st)
		}
	})
}

func TestFailureIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(time.Second)
		s.thenFail(errDown)
		k := newCache(t, s)
		together(64, func(int) {
			if _, err := k.GenerateDataKey(t.Context(), orders); !errors.Is(err, envelope.ErrUnavailable) {
				t.Errorf("got %v, want %v", err, envelope.ErrUnavailable)
			}
		})
		wantCalls(t, s, 1)
	})
}

func TestMaxMessagesIsExact(t *testing.T) {
	for limit := range uint64(10) {
		limit++
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				s.setLatency(20 * time.Millisecond)
				k := newCache(t, s, func(o *cache.Options) { o.MaxMessages = limit })
				var mu sync.Mutex
				uses := make(map[string]uint64)
				longest := time.Duration(0)
				together(100, func(int) {
					for range 20 {
						var key *envelope.DataKey
						d := waited(func() { key = generate(t, k, orders) })
						mu.Lock()
						uses[string(key.Plaintext())]++
						longest = max(longest, d)
						mu.Unlock()
					}
				})
				total := uint64(0)
				for _, n := range uses {
					total += n
					if n > limit {
						t.Errorf("a key was used %d times, want at most %d", n, limit)
					}
				}
				if total != 2000 {
					t.Errorf("uses: got %d, want 2000", total)
				}
				if fetches := uint64(s.count()); fetches > 2000/limit+2000/10 {
					t.Errorf("fetches for 2000 messages: got %d", fetches)
				}
				// Callers past the limit share out the next fetches at once;
				// they do not queue for one after the other.
				if longest > 40*time.Millisecond {
					t.Errorf("the slowest caller waited %v for fetches of 20ms", longest)
				}
				synctest.Wait()
				time.Sleep(time.Second)
			})
		})
	}
}

func TestKeyIsFetchedAheadOfItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(20 * time.Millisecond)
		k := newCache(t, s, func(o *cache.Options) { o.MaxMessages = 1000 })
		generate(t, k, orders)
		for i := range 10_000 {
			if d := waited(func() { generate(t, k, orders) }); d != 0 {
				t.Fatalf("message %d waited %v", i, d)
			}
			time.Sleep(time.Millisecond)
		}
		if got := s.count(); got > 13 {
			t.Errorf("calls for 10,000 messages: got %d, want at most 13", got)
		}
	})
}

func TestOpeningIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(time.Millisecond)
		k := newCache(t, s, func(o *cache.Options) { o.MaxMessages = 1 })
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		together(20, func(int) { decrypt(t, k, edks, orders) })
		wantCalls(t, s, 1)
	})
}

func TestFirstCallerWhoLeavesFailsNoOther(t *testing.T) {
	type traceKey struct{}
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(5 * time.Second)
		k := newCache(t, s)
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), traceKey{}, "trace"), time.Second)
		defer cancel()
		go func() {
			if _, err := k.GenerateDataKey(ctx, orders); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("first caller: got %v, want %v", err, context.DeadlineExceeded)
			}
		}()
		synctest.Wait()
		if got := waited(func() { generate(t, k, orders) }); got != 5*time.Second {
			t.Errorf("second caller waited %v, want 5s", got)
		}
		wantCalls(t, s, 1)
		if got := s.called()[0].ctx.Value(traceKey{}); got != "trace" {
			t.Errorf("value in the context of the fetch: got %v, want the first caller's", got)
		}
	})
}

// Callers less patient than the key service is slow get there in the end.
func TestFetchGoesOnWhenAllCallersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(5 * time.Second)
		k := newCache(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.GenerateDataKey(ctx, orders); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		time.Sleep(4 * time.Second)
		if got := waited(func() { generate(t, k, orders) }); got != 0 {
			t.Errorf("the next caller waited %v, want 0", got)
		}
		wantCalls(t, s, 1)
	})
}

func TestEndedContextGetsNoKey(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	edks := generate(t, k, orders).EncryptedDataKeys()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.GenerateDataKey(ctx, orders); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := k.DecryptDataKey(ctx, edks, orders); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// The fetch may outlive the call: it must work on copies.
func TestArgumentsAreNotRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(time.Second)
		k := newCache(t, s)
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		ec := orders.Clone()
		ctx, cancel := context.WithCancel(t.Context())
		cancel2 := time.AfterFunc(time.Millisecond, cancel)
		defer cancel2.Stop()
		if _, err := k.DecryptDataKey(ctx, edks, ec); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		want := strings.Clone(string(edks[0].Ciphertext))
		clear(edks[0].Ciphertext)
		clear(edks[0].ProviderInfo)
		clear(ec)
		time.Sleep(2 * time.Second)
		if got := s.called()[0]; string(got.edks[0].Ciphertext) != want || len(got.ec) != len(orders) {
			t.Error("a change to the arguments after the call reached the fetch")
		}
	})
}

func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		first := generate(t, k, orders)
		decrypt(t, k, edks, orders)
		s.thenFail(envelope.ErrNoMatchingKey)
		if _, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(0)}, orders); err == nil {
			t.Fatal("junk opened")
		}
		s.then(nil)
		k.Purge()
		if st := k.Stats(); st.EncryptEntries+st.DecryptEntries+st.NegativeEntries != 0 {
			t.Errorf("after Purge: %+v", st)
		}
		before := s.count()
		if same(first, generate(t, k, orders)) {
			t.Error("a purged key is used")
		}
		decrypt(t, k, edks, orders)
		wantCalls(t, s, before+2)
	})
}

func TestPurgeCancelsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(5 * time.Second)
		k := newCache(t, s)
		var got []time.Duration
		var wg sync.WaitGroup
		wg.Go(func() { got = append(got, waited(func() { generate(t, k, orders) })) })
		time.Sleep(2 * time.Second)
		k.Purge()
		synctest.Wait()
		if s.inFlight != 1 {
			t.Errorf("fetches under way: got %d, want the new one", s.inFlight)
		}
		if s.called()[0].ctx.Err() == nil {
			t.Error("the older fetch was not cancelled")
		}
		wg.Wait()
		if got[0] != 7*time.Second {
			t.Errorf("the waiter waited %v, want 7s: it starts over", got[0])
		}
	})
}

// deaf is a keyring that ignores its context.
type deaf struct{ *service }

func (d deaf) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	return d.service.GenerateDataKey(context.WithoutCancel(ctx), ec)
}

func TestOlderFetchNeverInserts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(5 * time.Second)
		k := newCache(t, deaf{s})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		k.GenerateDataKey(ctx, orders)
		k.Purge()
		time.Sleep(5 * time.Second)
		if st := k.Stats(); st.EncryptEntries != 0 {
			t.Error("a fetch from before Purge inserted its key")
		}
	})
}

// Callers who wait start over at once, even if the older fetch does not end.
func TestPurgeFreesTheWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(time.Hour)
		k := newCache(t, deaf{s})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { generate(t, k, orders) })
		}
		synctest.Wait()
		s.setLatency(time.Second)
		if got := waited(func() { k.Purge(); wg.Wait() }); got != time.Second {
			t.Errorf("after Purge the callers waited %v, want 1s", got)
		}
		wantCalls(t, s, 2)
		time.Sleep(time.Hour) // the older fetch ends
	})
}

// purger is a keyring that remembers something itself.
type purger struct {
	*service
	purge func()
}

func (p purger) Purge() { p.purge() }

// The keyring behind forgets first: what it still remembers, and is asked for
// meanwhile, must not survive in the cache.
func TestPurgeReachesTheKeyringBehind(t *testing.T) {
	s := newService()
	var k *cache.Keyring
	purged := 0
	k = newCache(t, purger{s, func() {
		purged++
		generate(t, k, orders)
	}})
	k.Purge()
	if purged != 1 {
		t.Errorf("the keyring behind was purged %d times, want once", purged)
	}
	if st := k.Stats(); st.Fetches != 1 || st.EncryptEntries != 0 {
		t.Errorf("got %d fetches and %d keys, want the one that was fetched meanwhile dropped", st.Fetches, st.EncryptEntries)
	}
}

func TestPurgeUnderLoad(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 8 {
		ec := envelope.EncryptionContext{"n": fmt.Sprint(i % 2)}
		wg.Go(func() {
			for !stop.Load() {
				key := generate(t, k, ec)
				decrypt(t, k, key.EncryptedDataKeys(), ec)
			}
		})
	}
	for range 200 {
		k.Purge()
		k.Stats()
		runtime.Gosched()
	}
	stop.Store(true)
	wg.Wait()
}

// panicking panics, or ends the goroutine, at every call.
type panicking struct {
	*service
	do func()
}

func (p panicking) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	p.do()
	return nil, nil
}

func TestPanicOfTheKeyring(t *testing.T) {
	for name, test := range map[string]struct {
		do   func()
		text string
	}{
		"value":         {func() { panic("the secret") }, "panicked with a value of type string"},
		"runtime error": {func() { var none []int; _ = none[len(none)] }, "index out of range"},
		"goexit":        {runtime.Goexit, "ended the goroutine"},
		"nothing":       {func() {}, "neither a data key nor an error"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newCache(t, panicking{newService(), test.do})
				together(10, func(int) {
					_, err := k.GenerateDataKey(t.Context(), orders)
					if err == nil || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret") {
						t.Errorf("got %v, want %q", err, test.text)
					}
				})
				k.Purge() // the mutex is free
			})
		})
	}
}
