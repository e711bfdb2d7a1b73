package cache_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

var shipping = envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:eu-west-1:111122223333:shipping"}

// What a refusal drops, and what it leaves in use.
func TestReachOfARefusal(t *testing.T) {
	type cachedKeys struct{ sealOrders, sealShipping, openOrders, openShipping, openB bool }
	for name, test := range map[string]struct {
		opens bool // the refused refresh is of openOrders, else of sealOrders
		err   error
		want  cachedKeys
	}{
		"whole key, sealing":    {false, disabled(keyA), cachedKeys{openB: true}},
		"whole key, opening":    {true, disabled(keyA), cachedKeys{openB: true}},
		"another key, sealing":  {false, disabled(keyB), cachedKeys{false, true, true, true, false}},
		"access, sealing":       {false, denied(keyA), cachedKeys{false, true, true, true, true}},
		"access, opening":       {true, denied(keyA), cachedKeys{true, true, false, true, true}},
		"unknown reach":         {false, &envelope.RefusedError{Err: errDenied}, cachedKeys{false, true, true, true, true}},
		"reach of a later API":  {false, &envelope.RefusedError{KeyInfo: keyA, Reach: 255, Err: errDenied}, cachedKeys{openB: true}},
		"bare error, sealing":   {false, errDenied, cachedKeys{false, true, true, true, true}},
		"bare error, opening":   {true, errDenied, cachedKeys{true, true, false, true, true}},
		"wrapped":               {false, fmt.Errorf("multi: %w", disabled(keyA)), cachedKeys{openB: true}},
		"several keys":          {false, errors.Join(denied(keyB), disabled(keyA), disabled(keyB)), cachedKeys{}},
		"seal only":             {false, sealOnly(keyA), cachedKeys{openOrders: true, openShipping: true, openB: true}},
		"seal only, another":    {false, sealOnly(keyB), cachedKeys{false, true, true, true, true}},
		"message when sealing":  {false, envelope.ErrInvalidMessage, cachedKeys{false, true, true, true, true}},
		"unavailable outweighs": {false, errors.Join(disabled(keyA), envelope.ErrUnavailable), cachedKeys{true, true, true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s)
				ordersEDKs := s.make(orders, time.Now()).EncryptedDataKeys()
				shippingEDKs := s.make(shipping, time.Now()).EncryptedDataKeys()
				s.setInfo(keyB)
				edksB := s.make(orders, time.Now()).EncryptedDataKeys()
				s.setInfo(keyA)
				uses := []func() error{
					func() error { _, err := k.GenerateDataKey(t.Context(), orders); return err },
					func() error { _, err := k.GenerateDataKey(t.Context(), shipping); return err },
					func() error { _, err := k.DecryptDataKey(t.Context(), ordersEDKs, orders); return err },
					func() error { _, err := k.DecryptDataKey(t.Context(), shippingEDKs, shipping); return err },
					func() error { _, err := k.DecryptDataKey(t.Context(), edksB, orders); return err },
				}
				// The one to be refused is fetched first, so that it alone is
				// surely due while the others surely are not.
				refused := 0
				if test.opens {
					refused = 2
				}
				if err := uses[refused](); err != nil {
					t.Fatal(err)
				}
				time.Sleep(surelyDue - surelyFresh + time.Second)
				for _, use := range uses {
					if err := use(); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(surelyFresh - time.Second)
				s.thenFail(test.err)
				before := s.count()
				if err := uses[refused](); err != nil {
					t.Errorf("the use that starts the refresh: %v", err)
				}
				synctest.Wait()
				wantCalls(t, s, before+1)

				// Nothing that is asked now gets a key but from the cache.
				s.thenFail(errDown)
				var got cachedKeys
				for i, field := range []*bool{&got.sealOrders, &got.sealShipping, &got.openOrders, &got.openShipping, &got.openB} {
					*field = uses[i]() == nil
				}
				if got != test.want {
					t.Errorf("usable after the refusal:\n got %+v\nwant %+v", got, test.want)
				}
				synctest.Wait()
			})
		})
	}
}

func TestRefusalIsAnsweredFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		cause := errors.New("DisabledException")
		s.thenFail(&envelope.RefusedError{KeyInfo: keyA, Err: cause})
		calls := 0
		for _, memory := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
			memory *= time.Second
			calls++
			for _, at := range []time.Duration{0, memory / 2, memory/2 - 1} { // up to the last moment
				time.Sleep(at)
				_, err := k.GenerateDataKey(t.Context(), orders)
				if !errors.Is(err, cause) {
					t.Fatalf("got %v, want the service's error in the chain", err)
				}
				wantCalls(t, s, calls)
			}
			time.Sleep(time.Nanosecond)
		}
		s.then(nil)
		generate(t, k, orders)

		// What was learned is forgotten with the first success.
		s.thenFail(disabled(keyA))
		time.Sleep(cache.DefaultReusePeriod)
		k.GenerateDataKey(t.Context(), orders)
		s.then(nil)
		time.Sleep(time.Second)
		generate(t, k, orders)
	})
}

func TestRefusalOfOneEntryIsAnsweredFromMemory(t *testing.T) {
	for name, refusal := range map[string]error{"access": denied(keyA), "bare error": errDenied} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s)
				edks := s.make(orders, time.Now()).EncryptedDataKeys()
				s.thenFail(refusal)
				for i := range 6000 { // a minute of 100 calls a second
					_, err := k.GenerateDataKey(t.Context(), orders)
					if !errors.Is(err, errDenied) {
						t.Fatalf("sealing %d: got %v, want %v", i, err, errDenied)
					}
					if _, err = k.DecryptDataKey(t.Context(), edks, orders); !errors.Is(err, errDenied) {
						t.Fatalf("opening %d: got %v, want %v", i, err, errDenied)
					}
					time.Sleep(10 * time.Millisecond)
				}
				// At 0, 1, 3, 7, 15, 25, 35, 45 and 55 seconds.
				wantCalls(t, s, 2*9)
			})
		})
	}
}

// A disabled key with a backlog of many data keys under it is asked about by
// one at a time, not by each.
func TestDisabledKeyIsNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(20 * time.Millisecond)
		k := newCache(t, s)
		var backlog [][]envelope.EncryptedDataKey
		for range 500 {
			backlog = append(backlog, s.make(orders, time.Now()).EncryptedDataKeys())
		}
		s.thenFail(disabled(keyA))
		if _, err := k.DecryptDataKey(t.Context(), backlog[0], orders); err == nil {
			t.Fatal("no refusal")
		}
		for range 60 {
			together(10, func(i int) {
				for _, edks := range backlog[50*i : 50*i+50] {
					_, err := k.DecryptDataKey(t.Context(), edks, orders)
					if r, ok := errors.AsType[*envelope.RefusedError](err); !ok || r.KeyInfo != keyA {
						t.Errorf("got %v, want the refusal", err)
					}
				}
			})
			time.Sleep(time.Second)
		}
		if got := s.count(); got < 5 || got > 12 {
			t.Errorf("calls in a minute: got %d, want 5 to 12", got)
		}
		s.then(nil)
		time.Sleep(10 * time.Second)
		decrypt(t, k, backlog[0], orders)
		together(10, func(i int) {
			for _, edks := range backlog[50*i : 50*i+50] {
				decrypt(t, k, edks, orders)
			}
		})
	})
}

// Many contexts under one disabled key: one probes, and once it got through
// none of the others is held back.
func TestContextsRecoverTogether(t *testing.T) {
	for name, refusal := range map[string]error{"whole key": disabled(keyA), "seal only": sealOnly(keyA)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s)
				context := func(i int) envelope.EncryptionContext { return envelope.EncryptionContext{"n": fmt.Sprint(i)} }
				for i := range 100 {
					generate(t, k, context(i))
				}
				s.setLatency(20 * time.Millisecond)
				s.thenFail(refusal)
				time.Sleep(cache.DefaultReusePeriod)
				if _, err := k.GenerateDataKey(t.Context(), context(0)); err == nil {
					t.Fatal("no refusal")
				}
				before := s.count()
				for range 60 {
					together(100, func(i int) {
						if _, err := k.GenerateDataKey(t.Context(), context(i)); err == nil {
							t.Error("a disabled key is used")
						}
					})
					time.Sleep(time.Second)
				}
				if got := s.count() - before; got > 12 {
					t.Errorf("calls in a minute: got %d, want at most 12", got)
				}

				s.setInfo(keyB) // the alias is re-pointed: a key of another name
				s.then(nil)
				time.Sleep(10 * time.Second)
				generate(t, k, context(0))
				together(100, func(i int) { generate(t, k, context(i)) })
			})
		})
	}
}

// A refusal of the whole key that opening noticed first is followed, at the
// next probe, by one that concerns sealing only. The contexts that waited for
// that probe do not ask one by one.
func TestSealOnlyRefusalFollowsOneOfTheWholeKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		context := func(i int) envelope.EncryptionContext { return envelope.EncryptionContext{"n": fmt.Sprint(i)} }
		for i := range 100 {
			generate(t, k, context(i))
		}
		s.then(func(c call) error {
			if c.opens {
				return disabled(keyA)
			}
			return sealOnly(keyA)
		})
		if _, err := k.DecryptDataKey(t.Context(), edks, orders); err == nil {
			t.Fatal("no refusal")
		}
		before := s.count()
		for range 60 {
			for i := range 100 {
				if _, err := k.GenerateDataKey(t.Context(), context(i)); err == nil {
					t.Fatal("a disabled key is used")
				}
			}
			time.Sleep(time.Second)
		}
		if got := s.count() - before; got > 12 {
			t.Errorf("calls in a minute: got %d, want at most 12", got)
		}
	})
}

// An alias was pointed at a key that cannot be used. Sealing fails, again and
// again; what was sealed under the key before is opened all the while, with
// cached keys and with keys that have to be fetched.
func TestSealOnlyRefusalLeavesOpeningAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		generate(t, k, orders) // learns keyA
		cachedEDKs := s.make(orders, time.Now()).EncryptedDataKeys()
		decrypt(t, k, cachedEDKs, orders)
		s.then(func(c call) error {
			if c.opens {
				return nil
			}
			return sealOnly(keyA)
		})
		seals := func() (calls int) {
			for _, c := range s.called() {
				if !c.opens {
					calls++
				}
			}
			return calls
		}
		time.Sleep(cache.DefaultReusePeriod)
		before := seals()
		for range 600 { // a minute
			if _, err := k.GenerateDataKey(t.Context(), orders); err == nil {
				t.Fatal("a refused key is used for sealing")
			}
			decrypt(t, k, cachedEDKs, orders)
			decrypt(t, k, s.make(orders, time.Now()).EncryptedDataKeys(), orders)
			time.Sleep(100 * time.Millisecond)
		}
		// At 0, 1, 3, 7, 15, 25, 35, 45 and 55 seconds: that opening works under
		// keyA does not lift what sealing was refused.
		if got := seals() - before; got != 9 {
			t.Errorf("calls to seal in a minute: got %d, want 9", got)
		}
	})
}

// An answer that is older than a refusal must not bring the key back.
func TestAnswerOlderThanARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		s.setLatency(5 * time.Second)
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err = k.DecryptDataKey(t.Context(), edks, orders)
		}()
		time.Sleep(time.Second)
		s.setLatency(0)
		s.thenFail(disabled(keyA))
		k.GenerateDataKey(t.Context(), orders)
		<-done
		if _, ok := errors.AsType[*envelope.RefusedError](err); !ok {
			t.Errorf("got %v, want the refusal", err)
		}
		if st := k.Stats(); st.DecryptEntries != 0 {
			t.Error("the key was kept")
		}
	})
}

// The same for sealing: a data key that was being generated before the refusal.
func TestDataKeyOlderThanARefusal(t *testing.T) {
	for name, refusal := range map[string]error{"whole key": disabled(keyA), "seal only": sealOnly(keyA)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s)
				s.setLatency(5 * time.Second)
				var err error
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, err = k.GenerateDataKey(t.Context(), shipping)
				}()
				time.Sleep(time.Second)
				s.setLatency(0)
				s.thenFail(refusal)
				k.GenerateDataKey(t.Context(), orders)
				s.then(nil)
				<-done
				if _, ok := errors.AsType[*envelope.RefusedError](err); !ok {
					t.Errorf("got %v, want the refusal", err)
				}
				if st := k.Stats(); st.EncryptEntries != 0 {
					t.Error("the key was kept")
				}
			})
		})
	}
}
