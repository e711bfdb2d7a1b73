package branchkey_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestRefreshAhead: a branch key in use is read again before its period ends,
// and nobody waits.
func TestRefreshAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.store()
		w.create(store, "orders")
		kr := w.keyring(store, "orders")
		w.mustOpen(kr, w.seal(kr))
		w.srv.Intercept(func(r *sqsxtest.Request) error {
			time.Sleep(100 * time.Millisecond) // what a call takes
			return nil
		})
		getItems, decrypts := w.calls(func() {
			for range 360 { // an hour
				time.Sleep(10 * time.Second)
				begin := time.Now()
				w.mustOpen(kr, w.seal(kr))
				if d := time.Since(begin); d != 0 {
					t.Fatalf("a message waited %v", d)
				}
			}
		})
		// A refresh is due 10 s to 40 s before the 5 minutes end, and comes with the
		// next message: 12 to 16 an hour for each of ACTIVE and its version.
		if getItems < 2*12 || getItems > 2*16 || decrypts != getItems {
			t.Errorf("%d GetItem and %d Decrypt calls in an hour, want 24 to 32 of each", getItems, decrypts)
		}
	})
}

// TestOneFetch, however many messages miss together.
func TestOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.store()
		w.create(store, "orders")
		kr := w.keyring(store, "orders")
		w.srv.Intercept(func(r *sqsxtest.Request) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		w.wantCalls("50 at once", 2, 2, func() {
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					key, err := kr.GenerateDataKey(t.Context(), ec)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	})
}

// TestOutage: while DynamoDB or KMS cannot be reached, what is cached stays in
// use up to MaxStale, and no message waits for a refresh.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(w *world) (restore func()){
		"DynamoDB": func(w *world) func() { return w.srv.CutDynamoDB() },
		"KMS":      func(w *world) func() { return w.srv.CutKMS() },
		"DynamoDB hangs": func(w *world) func() {
			w.srv.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "dynamodb:GetItem" {
					return hang(r)
				}
				return nil
			})
			return func() { w.srv.Intercept(nil) }
		},
		"DynamoDB throttles": func(w *world) func() {
			w.failing("dynamodb:GetItem", answer(400, "ProvisionedThroughputExceededException"))
			return func() { w.srv.Intercept(nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.store()
				w.create(store, "orders")
				kr := w.keyring(store, "orders", func(o *branchkey.Options) { o.Cache.MaxStale = time.Hour })
				begin := time.Now()
				key := w.seal(kr)
				w.mustOpen(kr, key)
				restore := cut(w)
				for time.Since(begin) < time.Hour-time.Minute {
					time.Sleep(10 * time.Second)
					asked := time.Now()
					w.mustOpen(kr, w.seal(kr))
					if d := time.Since(asked); d != 0 {
						t.Fatalf("a message waited %v", d)
					}
				}
				if s := kr.Stats(); s.StaleUses == 0 || s.Unavailable == 0 {
					t.Errorf("got %+v, want uses of stale branch keys", s)
				}
				time.Sleep(2 * time.Minute)
				if _, err := kr.GenerateDataKey(t.Context(), ec); class(err) != "unavailable" {
					t.Errorf("after MaxStale: got %q (%v), want unavailable", class(err), err)
				}
				if err := w.open(kr, key); class(err) != "unavailable" {
					t.Errorf("after MaxStale: got %q (%v), want unavailable", class(err), err)
				}
				restore()
				time.Sleep(time.Minute)
				w.mustOpen(kr, w.seal(kr))
			})
		})
	}
}

// TestRefusalsEndTheUse of what they reach, at the next refresh, and of nothing
// else.
func TestRefusalsEndTheUse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse        func(w *world, first, second string) (undo func())
		old, now, new string // opening under the first and second version, sealing
	}{
		"the KMS key is disabled": {
			func(w *world, _, _ string) func() { w.disable(w.keyARN); return func() { w.enable(w.keyARN) } },
			"refused: key orders", "refused: key orders", "refused: key orders",
		},
		"the old version is lost": {
			func(w *world, first, _ string) func() {
				item := w.item("orders", versionType(first))
				w.remove("orders", versionType(first))
				return func() { w.put(item) }
			},
			"refused: entry", "none", "none",
		},
		"the version in use is lost": {
			func(w *world, _, second string) func() {
				item := w.item("orders", versionType(second))
				w.remove("orders", versionType(second))
				return func() { w.put(item) }
			},
			"none", "refused: entry", "none",
		},
		"ACTIVE is lost": {
			func(w *world, _, _ string) func() {
				item := w.item("orders", "branch:ACTIVE")
				w.remove("orders", "branch:ACTIVE")
				return func() { w.put(item) }
			},
			"none", "none", "refused: entry",
		},
		"GetItem is denied": {
			func(w *world, _, _ string) func() { return w.srv.Deny("dynamodb:GetItem") },
			"refused: entry", "refused: entry", "refused: entry",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.store()
				first := w.create(store, "orders")
				old := w.seal(w.keyring(store, "orders"))
				second := w.rotate(store, "orders")
				kr := w.keyring(store, "orders")
				now := w.seal(kr)
				w.mustOpen(kr, old)
				w.mustOpen(kr, now)
				undo := test.refuse(w, first, second)
				use := func() (string, string, string) {
					_, err := kr.GenerateDataKey(t.Context(), ec)
					sealed := class(err)
					return class(w.open(kr, old)), class(w.open(kr, now)), sealed
				}
				if o, n, s := use(); o != "none" || n != "none" || s != "none" {
					t.Errorf("within ReusePeriod: got %q, %q and %q, want what is cached", o, n, s)
				}
				for range 31 { // past all refreshes
					time.Sleep(10 * time.Second)
					use()
				}
				synctest.Wait()
				if o, n, s := use(); o != test.old || n != test.now || s != test.new {
					t.Errorf("after ReusePeriod: got %q, %q and %q, want %q, %q and %q", o, n, s, test.old, test.now, test.new)
				}
				undo()
				time.Sleep(11 * time.Second) // what a refusal is remembered for at most
				use()
				if o, n, s := use(); o != "none" || n != "none" || s != "none" {
					t.Errorf("after its end: got %q, %q and %q", o, n, s)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// TestNoOtherCache: the periods of two would add up.
func TestNoOtherCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var kr envelope.Keyring = w.keyring(w.store(), "orders")
	if _, err := cache.New(kr); err == nil {
		t.Error("a cache around the keyring was made")
	}
}
