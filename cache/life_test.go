package cache_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

// The last moment before a refresh can fall due, and the first at which it
// must have, under default options: one FetchTimeout before expiry, less a
// tenth of the ReusePeriod.
const (
	surelyFresh = cache.DefaultReusePeriod - cache.DefaultFetchTimeout - cache.DefaultReusePeriod/10
	surelyDue   = cache.DefaultReusePeriod - cache.DefaultFetchTimeout
)

// waited runs f and returns how long it took.
func waited(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func wantCalls(t *testing.T, s *service, want int) {
	t.Helper()
	if got := s.count(); got != want {
		t.Fatalf("calls to the key service: got %d, want %d", got, want)
	}
}

func TestFreshKeyIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		first := generate(t, k, orders)
		time.Sleep(surelyFresh)
		if !same(first, generate(t, k, orders)) {
			t.Error("a second data key before the refresh can fall due")
		}
		synctest.Wait()
		wantCalls(t, s, 1)
	})
}

func TestRefreshDueMakesNoCallerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		first := generate(t, k, orders)
		s.setLatency(5 * time.Second)
		time.Sleep(surelyDue)
		for range 10 {
			if d := waited(func() {
				if !same(first, generate(t, k, orders)) {
					t.Error("the cached key was not used while its refresh is under way")
				}
			}); d != 0 {
				t.Errorf("a caller waited %v for a refresh", d)
			}
			time.Sleep(100 * time.Millisecond)
		}
		wantCalls(t, s, 2)
		time.Sleep(5 * time.Second)
		if same(first, generate(t, k, orders)) {
			t.Error("the refreshed key is not used")
		}
		wantCalls(t, s, 2)
	})
}

func TestExpiryEdge(t *testing.T) {
	for name, test := range map[string]struct {
		idle time.Duration
		wait time.Duration
		same bool
	}{
		"a nanosecond before": {cache.DefaultReusePeriod - 1, 0, true},
		"at expiry":           {cache.DefaultReusePeriod, time.Second, false},
		"after":               {cache.DefaultReusePeriod + time.Hour, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s)
				for _, direction := range []string{"seal", "open"} {
					var use func() *envelope.DataKey
					if direction == "seal" {
						use = func() *envelope.DataKey { return generate(t, k, orders) }
					} else {
						edks := s.make(orders, time.Now()).EncryptedDataKeys()
						use = func() *envelope.DataKey { return decrypt(t, k, edks, orders) }
					}
					s.setLatency(0)
					before, first := s.count(), use()
					time.Sleep(test.idle)
					if got := s.count() - before; got != 1 {
						t.Fatalf("%s: an idle cache made %d calls, want 0", direction, got-1)
					}
					s.setLatency(time.Second)
					var second *envelope.DataKey
					if got := waited(func() { second = use() }); got != test.wait {
						t.Errorf("%s: waited %v, want %v", direction, got, test.wait)
					}
					if got := same(first, second); direction == "seal" && got != test.same {
						t.Errorf("same key: got %v, want %v", got, test.same)
					}
					time.Sleep(2 * time.Second)
					if got := s.count() - before; got != 2 {
						t.Errorf("%s: calls: got %d, want 2", direction, got)
					}
				}
			})
		})
	}
}

func TestRotationUnderLoadMakesNoSendWait(t *testing.T) {
	for name, period := range map[string]time.Duration{"default": 0, "shortest": cache.MinReusePeriod} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s, func(o *cache.Options) { o.ReusePeriod, o.FetchTimeout = period, cache.MaxFetchTimeout })
				generate(t, k, orders)
				s.setLatency(cache.MaxFetchTimeout - 1) // as slow as it can be
				var longest time.Duration
				for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
					longest = max(longest, waited(func() { generate(t, k, orders) }))
				}
				if longest != 0 {
					t.Errorf("the slowest send waited %v", longest)
				}
				if got := s.count(); got < 13 {
					t.Errorf("%d keys in an hour: no rotation", got)
				}
				synctest.Wait()
				time.Sleep(cache.MaxFetchTimeout)
			})
		})
	}
}

func TestRefreshesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		const fleet = 200
		var caches []*cache.Keyring
		for range fleet {
			caches = append(caches, newCache(t, s))
			generate(t, caches[len(caches)-1], orders)
		}
		perSecond := make(map[int]int)
		for second := range int(cache.DefaultReusePeriod / time.Second) {
			before := s.count()
			for _, k := range caches {
				generate(t, k, orders)
			}
			synctest.Wait()
			perSecond[second] = s.count() - before
			time.Sleep(time.Second)
		}
		// 200 caches over 30 seconds are 6.7 a second; 40 would be six of those.
		for second, n := range perSecond {
			if n > 40 {
				t.Errorf("second %d: %d of %d caches refreshed together", second, n, fleet)
			}
		}
	})
}

func TestOutageIsBridged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		sealing := generate(t, k, orders)
		decrypt(t, k, edks, orders)
		s.thenFail(errDown)
		s.setLatency(time.Second)
		began := time.Now()
		for time.Since(began) < cache.DefaultMaxStale-time.Second {
			if d := waited(func() {
				if !same(sealing, generate(t, k, orders)) {
					t.Fatal("another key during an outage")
				}
				decrypt(t, k, edks, orders)
			}); d != 0 {
				t.Fatalf("a caller waited %v during an outage", d)
			}
			time.Sleep(time.Second)
		}
		st := k.Stats()
		if st.StaleUses == 0 || st.Unavailable == 0 {
			t.Errorf("stats do not show the outage: %+v", st)
		}
		// One retry at a time for each of two keys: at the latest after 30 s,
		// not before 15 s, once the backoff is at its top.
		if got, low, high := s.count(), 2*2000, 2*6000; got < low || got > high {
			t.Errorf("calls during a day's outage: got %d, want %d to %d", got, low, high)
		}
		synctest.Wait()
		if s.together > 2 {
			t.Errorf("retries at a time: got %d for two keys, want one each", s.together)
		}
		time.Sleep(time.Second)
		if _, err := k.GenerateDataKey(t.Context(), orders); !errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("after MaxStale: got %v, want %v", err, envelope.ErrUnavailable)
		}
		if _, err := k.DecryptDataKey(t.Context(), edks, orders); !errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("after MaxStale: got %v, want %v", err, envelope.ErrUnavailable)
		}

		s.then(nil)
		time.Sleep(time.Second) // the longest memory without a cached key
		if same(sealing, generate(t, k, orders)) {
			t.Error("a dropped key came back")
		}
	})
}

func TestStaleKeyRecoversWithinTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		old := generate(t, k, orders)
		s.thenFail(errDown)
		for range 3600 {
			time.Sleep(time.Second)
			generate(t, k, orders)
		}
		s.then(nil)
		var recovery time.Duration
		for same(old, generate(t, k, orders)) {
			time.Sleep(time.Second)
			recovery += time.Second
		}
		if recovery > 31*time.Second {
			t.Errorf("recovery took %v, want at most the top of the backoff", recovery)
		}
	})
}

func TestRetriesOfAStaleKeyBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		generate(t, k, orders)
		s.thenFail(errDown)
		time.Sleep(surelyDue)
		for range 6000 {
			generate(t, k, orders)
			time.Sleep(50 * time.Millisecond)
		}
		want := time.Second
		for i := 2; i < len(s.called()); i++ {
			gap := s.called()[i].at.Sub(s.called()[i-1].at)
			if gap < want/2 || gap > want+50*time.Millisecond {
				t.Errorf("gap before retry %d: got %v, want %v to %v", i, gap, want/2, want)
			}
			want = min(2*want, 30*time.Second)
		}
		if len(s.called()) < 12 {
			t.Errorf("calls: got %d, want a dozen", len(s.called()))
		}
	})
}

func TestExpiredKeyBecomesStaleOnlyByAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		first := generate(t, k, orders)
		s.thenFail(errDown)
		s.setLatency(2 * time.Second)
		time.Sleep(time.Hour)
		for _, want := range []time.Duration{2 * time.Second, 0, 0} {
			if got := waited(func() {
				if !same(first, generate(t, k, orders)) {
					t.Error("another key")
				}
			}); got != want {
				t.Errorf("waited %v, want %v", got, want)
			}
		}
		time.Sleep(3 * time.Second)

		// The outage was an hour ago: the key service is asked before the key
		// is used again.
		time.Sleep(time.Hour)
		if got := waited(func() { generate(t, k, orders) }); got != 2*time.Second {
			t.Errorf("after another idle hour: waited %v, want %v", got, 2*time.Second)
		}
		time.Sleep(3 * time.Second)
	})
}

func TestMaxStale(t *testing.T) {
	for name, test := range map[string]struct {
		maxStale time.Duration
		age      time.Duration
		usable   bool
	}{
		"NoStale, before expiry":      {cache.NoStale, cache.DefaultReusePeriod - 1, true},
		"NoStale, at expiry":          {cache.NoStale, cache.DefaultReusePeriod, false},
		"an hour, before":             {time.Hour, time.Hour - 1, true},
		"an hour, at":                 {time.Hour, time.Hour, false},
		"default, before":             {0, cache.DefaultMaxStale - 1, true},
		"default, at":                 {0, cache.DefaultMaxStale, false},
		"unlimited, after a year":     {cache.Unlimited, 365 * 24 * time.Hour, true},
		"equal to the period, before": {cache.DefaultReusePeriod, cache.DefaultReusePeriod - 1, true},
		"equal to the period, at":     {cache.DefaultReusePeriod, cache.DefaultReusePeriod, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s, func(o *cache.Options) { o.MaxStale = test.maxStale })
				first := generate(t, k, orders)
				s.thenFail(errDown)
				time.Sleep(test.age)
				key, err := k.GenerateDataKey(t.Context(), orders)
				if test.usable && (err != nil || !same(first, key)) {
					t.Errorf("got error %v, want the cached key", err)
				}
				if !test.usable && !errors.Is(err, envelope.ErrUnavailable) {
					t.Errorf("got %v, want %v", err, envelope.ErrUnavailable)
				}
				synctest.Wait()
			})
		})
	}
}

func TestOutageWithNoCachedKeyIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		s.thenFail(errDown)
		for i := range 2 { // a blip is not remembered
			if _, err := k.GenerateDataKey(t.Context(), orders); !errors.Is(err, envelope.ErrUnavailable) {
				t.Fatalf("got %v, want %v", err, envelope.ErrUnavailable)
			}
			wantCalls(t, s, i+1)
		}
		for range 60_000 { // a minute of 1,000 sends a second
			if _, err := k.GenerateDataKey(t.Context(), orders); !errors.Is(err, envelope.ErrUnavailable) {
				t.Fatalf("got %v, want %v", err, envelope.ErrUnavailable)
			}
			time.Sleep(time.Millisecond)
		}
		if got := s.count(); got < 60 || got > 125 {
			t.Errorf("calls in a minute: got %d, want 60 to 125", got)
		}
		s.then(nil)
		time.Sleep(time.Second)
		generate(t, k, orders)
	})
}

// A fetch that hangs is the service's failure and never the caller's deadline.
func TestFetchHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(time.Hour)
		k := newCache(t, s, func(o *cache.Options) { o.FetchTimeout = 3 * time.Second })
		var err error
		if got := waited(func() { _, err = k.GenerateDataKey(t.Context(), orders) }); got != 3*time.Second {
			t.Errorf("waited %v, want 3s", got)
		}
		if !errors.Is(err, envelope.ErrUnavailable) || isContextError(err) {
			t.Errorf("got %v, want %v and no context error", err, envelope.ErrUnavailable)
		}
	})
}
