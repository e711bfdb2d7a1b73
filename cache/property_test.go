package cache_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

// model is what a user may rely on, told from the outside: from the calls that
// the key service saw and what each came to. It keeps no copy of the cache's
// own reckoning.
type model struct {
	mu    sync.Mutex // fetches land on goroutines of the cache's
	s     *service
	opts  cache.Options
	uses  map[string]uint64    // of each key for sealing
	asked map[string]time.Time // of each entry: its last successful fetch
	down  map[string]time.Time // of each entry: its last unavailable answer since
	keys  map[string]bool      // entries that a success has given a key
}

// landed is told what a call came to, by the service itself.
func (m *model) landed(c call, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := entryOf(c)
	switch {
	case err == nil:
		m.asked[entry], m.keys[entry] = c.at, true
		delete(m.down, entry)
	case errors.Is(err, envelope.ErrUnavailable):
		m.down[entry] = time.Now()
	default:
		if r, ok := errors.AsType[*envelope.RefusedError](err); ok && r.Reach != envelope.ReachEntry {
			clear(m.keys) // everything is under that one wrapping key
		}
		m.keys[entry] = false
	}
}

func entryOf(c call) string {
	if c.opens {
		return "open " + string(c.edks[0].Ciphertext)
	}
	return "seal " + c.ec["n"]
}

// mayUse is the whole rule: why may a key of entry be handed out now?
func (m *model) mayUse(entry string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	age := time.Since(m.asked[entry])
	down, unavailable := m.down[entry]
	switch {
	case !m.keys[entry]:
		return errors.New("a refusal or nothing at all stands against it")
	case age < m.opts.ReusePeriod:
		return nil
	case age >= m.opts.MaxStale:
		return fmt.Errorf("it is %v old, beyond MaxStale", age)
	case !unavailable:
		return fmt.Errorf("it is %v old and the service was not found unavailable", age)
	case time.Since(down) >= m.opts.ReusePeriod:
		return errors.New("the service was not asked for a whole period")
	}
	return nil
}

// mustHave reports that a call has no excuse to fail: the service is healthy
// and no failure can still be remembered.
func (m *model) mustHave(healthySince time.Time) bool {
	return !healthySince.IsZero() && time.Since(healthySince) >= 10*time.Second
}

func TestAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 { // each ends early, when a day has passed on the fake clock
			// Hidden is the method Deadline of t, which a bubble does not allow.
			rapid.Check(struct{ rapid.TB }{t}, func(r *rapid.T) { runModel(t, r) })
		}
	})
}

func runModel(t *testing.T, r *rapid.T) {
	s := newService()
	s.setLatency(time.Millisecond) // a refresh lands after the use that starts it was judged
	m := &model{
		s:     s,
		uses:  make(map[string]uint64),
		asked: make(map[string]time.Time),
		down:  make(map[string]time.Time),
		keys:  make(map[string]bool),
	}
	m.opts = cache.Options{
		ReusePeriod: rapid.SampledFrom([]time.Duration{time.Minute, 5 * time.Minute}).Draw(r, "ReusePeriod"),
		MaxMessages: rapid.Uint64Range(1, 12).Draw(r, "MaxMessages"),
		MaxStale:    rapid.SampledFrom([]time.Duration{5 * time.Minute, 6 * time.Minute, cache.Unlimited}).Draw(r, "MaxStale"),
	}
	k := newCache(t, s, func(o *cache.Options) { *o = m.opts })
	backlog := make([][]envelope.EncryptedDataKey, 3)
	for i := range backlog {
		backlog[i] = s.make(numbered(i), time.Now()).EncryptedDataKeys()
	}
	faults := map[string]error{"healthy": nil, "down": errDown, "disabled": disabled(keyA), "denied": denied(keyA)}
	healthySince := time.Now().Add(-time.Hour)
	fault := func(name string) {
		err := faults[name]
		if err != nil {
			healthySince = time.Time{}
		} else if healthySince.IsZero() {
			healthySince = time.Now()
		}
		s.then(func(c call) error { m.landed(c, err); return err })
	}
	fault("healthy")

	settle := func() {
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
	}
	check := func(entry string, err error) {
		if err != nil {
			if m.mustHave(healthySince) {
				r.Fatalf("%s: %v, though the service has been healthy for %v", entry, err, time.Since(healthySince))
			}
			return
		}
		if why := m.mayUse(entry); why != nil {
			r.Fatalf("%s: a key was handed out, but %v", entry, why)
		}
	}
	seal := func(i int) {
		key, err := k.GenerateDataKey(t.Context(), numbered(i))
		check(fmt.Sprintf("seal %d", i), err)
		if err == nil {
			id := string(key.Plaintext())
			if m.uses[id]++; m.uses[id] > m.opts.MaxMessages {
				r.Fatalf("a key was handed out %d times, want at most %d", m.uses[id], m.opts.MaxMessages)
			}
			if got := s.madeAs(key).ec["n"]; got != fmt.Sprint(i) {
				r.Fatalf("a key for context %s was handed out for %d", got, i)
			}
		}
		settle()
	}
	r.Repeat(map[string]func(*rapid.T){
		"seal": func(r *rapid.T) { seal(rapid.IntRange(0, 2).Draw(r, "context")) },
		"open": func(r *rapid.T) {
			i := rapid.IntRange(0, 2).Draw(r, "message")
			key, err := k.DecryptDataKey(t.Context(), backlog[i], numbered(i))
			check("open "+string(backlog[i][0].Ciphertext), err)
			if err == nil && string(key.EncryptedDataKeys()[0].Ciphertext) != string(backlog[i][0].Ciphertext) {
				r.Fatal("the key of another message")
			}
			settle()
		},
		"try to open": func(r *rapid.T) {
			i := rapid.IntRange(0, 2).Draw(r, "message")
			if _, ok := k.TryDecryptDataKey(t.Context(), backlog[i], numbered(i)); ok {
				check("open "+string(backlog[i][0].Ciphertext), nil)
			}
			settle()
		},
		"wait": func(r *rapid.T) {
			time.Sleep(time.Duration(rapid.SampledFrom([]int{1, 500, 1_000, 10_000, 20_000, 45_000, 55_000, 270_000}).Draw(r, "ms")) * time.Millisecond)
		},
		"fault": func(r *rapid.T) {
			fault(rapid.SampledFrom([]string{"healthy", "healthy", "down", "disabled", "denied"}).Draw(r, "fault"))
		},
		"purge": func(r *rapid.T) {
			if rapid.IntRange(0, 9).Draw(r, "seldom") != 0 {
				r.Skip()
			}
			k.Purge()
			m.mu.Lock()
			defer m.mu.Unlock()
			clear(m.keys)
		},
		"": func(r *rapid.T) {
			st := k.Stats()
			if st.Fetches != uint64(s.count()) {
				r.Fatalf("stats: %d fetches, the service saw %d", st.Fetches, s.count())
			}
			if st.EncryptEntries > 3 || st.DecryptEntries > 3 {
				r.Fatalf("stats: %+v", st)
			}
		},
	})
}
