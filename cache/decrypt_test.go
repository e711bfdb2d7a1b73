package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

func TestResultNamesTheKeyThatOpened(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	good := s.make(orders, time.Now()).EncryptedDataKeys()[0]
	edks := []envelope.EncryptedDataKey{junk(1), good, junk(2)}
	for _, from := range []string{"the service", "the cache"} {
		key := decrypt(t, k, edks, orders)
		if diff := cmp.Diff([]envelope.EncryptedDataKey{good}, key.EncryptedDataKeys()); diff != "" {
			t.Errorf("from %s (-want +got):\n%s", from, diff)
		}
	}
	wantCalls(t, s, 1)

	// It is stored under that one: alone, and beside other junk.
	decrypt(t, k, []envelope.EncryptedDataKey{good}, orders)
	decrypt(t, k, []envelope.EncryptedDataKey{junk(3), junk(4), junk(5), good}, orders)
	wantCalls(t, s, 1)
}

func TestContextIsPartOfTheIdentity(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	edks := s.make(orders, time.Now()).EncryptedDataKeys()
	decrypt(t, k, edks, orders)
	for _, ec := range []envelope.EncryptionContext{nil, {}, {"sealq:queue": "another"}, {"a": "b"}} {
		if _, err := k.DecryptDataKey(t.Context(), edks, ec); !errors.Is(err, envelope.ErrNoMatchingKey) {
			t.Errorf("context %v: got %v, want %v", ec, err, envelope.ErrNoMatchingKey)
		}
	}
	// nil and empty are one context, so the second of them is remembered.
	wantCalls(t, s, 1+3)
}

// Two contexts, or keys, whose bytes are the same when run together must not
// share an entry.
func TestIdentitiesAreUnambiguous(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	for _, pair := range [][2]envelope.EncryptionContext{
		{{"a": "bc"}, {"ab": "c"}},
		{{"a": "b", "c": "d"}, {"a": "bcd"}},
		{{"a": "b", "c": "d"}, {"a": "d", "c": "b"}},
		{{}, {"": ""}},
	} {
		if same(generate(t, k, pair[0]), generate(t, k, pair[1])) {
			t.Errorf("%v and %v share a data key", pair[0], pair[1])
		}
	}
	edk := s.make(orders, time.Now()).EncryptedDataKeys()[0]
	decrypt(t, k, []envelope.EncryptedDataKey{edk}, orders)
	before := s.count()
	shifted := envelope.EncryptedDataKey{
		ProviderID:   edk.ProviderID + string(edk.ProviderInfo[:1]),
		ProviderInfo: edk.ProviderInfo[1:],
		Ciphertext:   edk.Ciphertext,
	}
	if _, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{shifted}, orders); err == nil {
		t.Error("a key with its fields shifted was answered from the cache")
	}
	wantCalls(t, s, before+1)
}

func TestManyPairsInAnyOrderAreOneContext(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	var names []string
	for i := range 40 { // more than the arrays on the stack hold
		names = append(names, fmt.Sprintf("a rather long name of a pair %d", i))
	}
	for range 10 {
		ec := make(envelope.EncryptionContext)
		slices.Reverse(names)
		for _, name := range names {
			ec[name] = name
		}
		generate(t, k, ec)
	}
	wantCalls(t, s, 1)
}

func TestAllKeysOfAMessageAreAskedInOneCall(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	good := s.make(orders, time.Now()).EncryptedDataKeys()[0]
	edks := []envelope.EncryptedDataKey{junk(1), good, junk(2)}
	decrypt(t, k, edks, orders)
	wantCalls(t, s, 1)
	if diff := cmp.Diff(edks, s.called()[0].edks); diff != "" {
		t.Errorf("asked about (-want +got):\n%s", diff)
	}
}

func TestNoEncryptedDataKey(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	if _, err := k.DecryptDataKey(t.Context(), nil, orders); !errors.Is(err, envelope.ErrNoMatchingKey) {
		t.Errorf("got %v, want %v", err, envelope.ErrNoMatchingKey)
	}
	wantCalls(t, s, 0)
}

func TestInvalidMessageIsRemembered(t *testing.T) {
	for name, test := range map[string]struct {
		period, idle time.Duration
		calls        int
	}{
		"at once":                    {0, 0, 1},
		"before":                     {0, 5*time.Minute - 1, 1},
		"at the end":                 {0, 5 * time.Minute, 2},
		"short period, before":       {time.Minute, time.Minute - 1, 1},
		"short period, at the end":   {time.Minute, time.Minute, 2},
		"long period, at the end":    {time.Hour, 5 * time.Minute, 2},
		"long period, just before":   {time.Hour, 5*time.Minute - 1, 1},
		"longest period, at the end": {24 * time.Hour, 5 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				k := newCache(t, s, func(o *cache.Options) { o.ReusePeriod = test.period })
				set := []envelope.EncryptedDataKey{junk(1), junk(2)}
				for range 2 {
					if _, err := k.DecryptDataKey(t.Context(), set, orders); !errors.Is(err, envelope.ErrNoMatchingKey) {
						t.Errorf("got %v, want %v", err, envelope.ErrNoMatchingKey)
					}
					time.Sleep(test.idle)
					slices.Reverse(set) // the order does not matter
				}
				wantCalls(t, s, test.calls)
			})
		})
	}
}

// A keyring gives up after a few tries: a key at the tenth place was never
// tried, and what is remembered of that message must not stick to it.
func TestJunkDoesNotPoisonTheKeyBesideIt(t *testing.T) {
	t.Parallel()
	s := newService()
	k := newCache(t, s)
	good := s.make(orders, time.Now()).EncryptedDataKeys()[0]
	var hostile []envelope.EncryptedDataKey
	for i := range 16 {
		hostile = append(hostile, junk(i))
	}
	hostile[9] = good
	for range 2 {
		if _, err := k.DecryptDataKey(t.Context(), hostile, orders); !errors.Is(err, envelope.ErrNoMatchingKey) {
			t.Fatalf("got %v, want %v", err, envelope.ErrNoMatchingKey)
		}
	}
	wantCalls(t, s, 1)
	decrypt(t, k, []envelope.EncryptedDataKey{good}, orders)
	wantCalls(t, s, 2)
	decrypt(t, k, hostile, orders) // now it is cached
	wantCalls(t, s, 2)
}

// A message that shares an encrypted data key with one under way asks for
// itself.
func TestOverlappingMessageDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		good := s.make(orders, time.Now()).EncryptedDataKeys()[0]
		s.setLatency(10 * time.Second)
		go k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(1), good}, orders)
		synctest.Wait()
		s.setLatency(time.Second)
		if got := waited(func() { decrypt(t, k, []envelope.EncryptedDataKey{good}, orders) }); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
		time.Sleep(10 * time.Second)
	})
}

func TestOpenedKeyIsRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		good := s.make(orders, time.Now()).EncryptedDataKeys()[0]
		edks := []envelope.EncryptedDataKey{junk(1), good}
		decrypt(t, k, edks, orders)
		s.setLatency(5 * time.Second)
		time.Sleep(surelyDue)
		if d := waited(func() { decrypt(t, k, edks, orders) }); d != 0 {
			t.Errorf("waited %v", d)
		}
		time.Sleep(5 * time.Second)
		wantCalls(t, s, 2)
		if diff := cmp.Diff([]envelope.EncryptedDataKey{good}, s.called()[1].edks); diff != "" {
			t.Errorf("the refresh asked about (-want +got):\n%s", diff)
		}
		time.Sleep(surelyFresh - 5*time.Second)
		decrypt(t, k, edks, orders)
		synctest.Wait()
		wantCalls(t, s, 2)
	})
}

func TestTryDecryptDataKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.setLatency(time.Second)
		k := newCache(t, s)
		good := s.make(orders, time.Now()).EncryptedDataKeys()[0]
		edks := []envelope.EncryptedDataKey{junk(1), good}
		try := func(ctx context.Context) (key *envelope.DataKey, ok bool) {
			if d := waited(func() { key, ok = k.TryDecryptDataKey(ctx, edks, orders) }); d != 0 {
				t.Errorf("waited %v", d)
			}
			if ok != (key != nil) {
				t.Errorf("reported %v with the key %v", ok, key)
			}
			return key, ok
		}

		if _, ok := try(t.Context()); ok {
			t.Error("got a key that nobody asked for")
		}
		if st := k.Stats(); st != (cache.Stats{}) {
			t.Errorf("a call that found no key was counted: %+v", st)
		}
		wantCalls(t, s, 0)

		want := decrypt(t, k, edks, orders)
		hits := k.Stats().Hits
		if key, ok := try(t.Context()); !ok || !same(want, key) {
			t.Error("did not get the cached key")
		}
		if got := k.Stats().Hits - hits; got != 1 {
			t.Errorf("got %d hits, want 1", got)
		}
		if _, ok := k.TryDecryptDataKey(t.Context(), edks, envelope.EncryptionContext{"another": "context"}); ok {
			t.Error("got a key under another context")
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if _, ok := try(ended); ok {
			t.Error("got a key with an ended context")
		}
		wantCalls(t, s, 1)

		time.Sleep(surelyDue)
		if _, ok := try(t.Context()); !ok {
			t.Error("did not get the key whose refresh is due")
		}
		time.Sleep(2 * time.Second)
		wantCalls(t, s, 2)

		time.Sleep(cache.DefaultReusePeriod)
		if _, ok := try(t.Context()); ok {
			t.Error("got an expired key")
		}
		wantCalls(t, s, 2)

		s.thenFail(disabled(keyA))
		k.DecryptDataKey(t.Context(), edks, orders)
		if _, ok := try(t.Context()); ok {
			t.Error("got a refused key")
		}
		wantCalls(t, s, 3)
	})
}

func TestRefreshThatFindsTheMessageInvalidDropsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		edks := s.make(orders, time.Now()).EncryptedDataKeys()
		decrypt(t, k, edks, orders)
		s.thenFail(envelope.ErrNoMatchingKey)
		time.Sleep(surelyDue)
		decrypt(t, k, edks, orders)
		synctest.Wait()
		if _, err := k.DecryptDataKey(t.Context(), edks, orders); !errors.Is(err, envelope.ErrNoMatchingKey) {
			t.Errorf("got %v, want %v", err, envelope.ErrNoMatchingKey)
		}
		wantCalls(t, s, 2)
	})
}

// A reason that is not the message's outweighs a verdict that blames it.
func TestKnownFailureOutweighsInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		good := s.make(orders, time.Now()).EncryptedDataKeys()[0]
		s.thenFail(disabled(keyA))
		if _, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{good}, orders); err == nil {
			t.Fatal("no refusal")
		}
		s.then(nil)
		foreign := envelope.EncryptedDataKey{ProviderID: "fake", ProviderInfo: []byte(keyB), Ciphertext: []byte("x")}
		_, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{foreign, good}, orders)
		var refused *envelope.RefusedError
		if !errors.As(err, &refused) || errors.Is(err, envelope.ErrInvalidMessage) {
			t.Errorf("got %v, want the refusal", err)
		}
		if diff := cmp.Diff([]envelope.EncryptedDataKey{foreign}, s.called()[1].edks); diff != "" {
			t.Errorf("asked about (-want +got):\n%s", diff)
		}
	})
}

// lying returns a key other than the one asked about.
type lying struct {
	*service
	edks []envelope.EncryptedDataKey
}

func (l lying) DecryptDataKey(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return envelope.NewDataKey(make([]byte, envelope.DataKeySize), l.edks...)
}

func TestKeyThatWasNotAskedForIsRefused(t *testing.T) {
	t.Parallel()
	for name, edks := range map[string][]envelope.EncryptedDataKey{
		"another": {junk(2)},
		"two":     {junk(1), junk(2)},
	} {
		k := newCache(t, lying{newService(), edks})
		_, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(1)}, orders)
		if err == nil || errors.Is(err, envelope.ErrInvalidMessage) || errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("%s: got %v, want an error of no other class", name, err)
		}
		if st := k.Stats(); st.DecryptEntries != 0 {
			t.Errorf("%s: the key was kept", name)
		}
	}
}
