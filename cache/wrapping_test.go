package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/keyerr"
)

// twoKeys is a service of two wrapping keys: keyA answers, and what is asked
// about keyB comes to what the test says.
type twoKeys struct {
	*service
	t *testing.T
	k *cache.Keyring
}

func newTwoKeys(t *testing.T, optFns ...func(*cache.Options)) *twoKeys {
	s := newService()
	return &twoKeys{service: s, t: t, k: newCache(t, s, optFns...)}
}

// fault makes questions about info hang for d, until the caller's context ends if
// d is 0, and then fail with err.
func (s *twoKeys) fault(info string, d time.Duration, err error) {
	s.then(func(c call) error {
		if !c.opens || !slices.ContainsFunc(c.edks, func(k envelope.EncryptedDataKey) bool { return string(k.ProviderInfo) == info }) {
			return nil
		}
		if d == 0 {
			<-c.ctx.Done()
			return c.ctx.Err()
		}
		time.Sleep(d)
		return err
	})
}

// message returns the encrypted data keys of a new message, one under each info.
func (s *twoKeys) message(infos ...string) []envelope.EncryptedDataKey {
	var edks []envelope.EncryptedDataKey
	for _, info := range infos {
		s.setInfo(info)
		edks = append(edks, s.make(orders, time.Now()).EncryptedDataKeys()...)
	}
	return edks
}

// open opens edks and returns the error and how long it took.
func (s *twoKeys) open(edks []envelope.EncryptedDataKey) (time.Duration, error) {
	began := time.Now()
	_, err := s.k.DecryptDataKey(s.t.Context(), edks, orders)
	return time.Since(began), err
}

// want opens edks and checks what came of it.
func (s *twoKeys) want(name string, edks []envelope.EncryptedDataKey, takes time.Duration, is error, calls int) {
	s.t.Helper()
	before := s.count()
	took, err := s.open(edks)
	if !errors.Is(err, is) || is == nil && err != nil {
		s.t.Errorf("%s: got %v, want %v", name, err, is)
	}
	if err != nil && looksCancelled(err) != "" {
		s.t.Errorf("%s: %v looks like the caller's own cancellation", name, err)
	}
	if took != takes {
		s.t.Errorf("%s: took %v, want %v", name, took, takes)
	}
	if got := s.count() - before; got != calls {
		s.t.Errorf("%s: %d calls, want %d", name, got, calls)
	}
}

const probe = 3 * time.Second

// TestOutageOfOneWrappingKey: it is known after one question, every message under
// the key, whatever its data key, is told so at once, and one at a time asks
// again.
func TestOutageOfOneWrappingKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.fault(keyB, 0, nil)
		s.want("the first under the other", s.message(keyB), cache.DefaultFetchTimeout, envelope.ErrUnavailable, 1)
		for range 20 {
			s.want("the next", s.message(keyB), 0, envelope.ErrUnavailable, 0)
			s.want("the key that answers", s.message(keyA), 0, nil, 1)
		}

		// One probe at a time, the longest pauses 30 s.
		var longest time.Duration
		for range 12 {
			last := time.Now()
			for {
				if before := s.count(); s.startOpen(s.message(keyB)) == before {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				longest = max(longest, time.Since(last))
				break
			}
			began := time.Now()
			time.Sleep(time.Second)
			s.want("beside the probe", s.message(keyB), 0, envelope.ErrUnavailable, 0)
			s.want("beside the probe, the key that answers", s.message(keyA), 0, nil, 1)
			synctest.Wait()
			time.Sleep(probe - time.Since(began))
			synctest.Wait()
			s.want("after the probe", s.message(keyB), 0, envelope.ErrUnavailable, 0)
		}
		if longest < 15*time.Second || longest > 30*time.Second+100*time.Millisecond {
			t.Errorf("the longest pause between probes was %v, want 15s to 30s", longest)
		}

		// The end is noticed by the next probe, and ends it for all.
		s.then(nil)
		time.Sleep(30 * time.Second)
		s.want("the end", s.message(keyB), 0, nil, 1)
		s.want("after the end", s.message(keyB), 0, nil, 1)
	})
}

// startOpen opens edks on another goroutine, and returns how many calls there
// were when that waits or is done.
func (s *twoKeys) startOpen(edks []envelope.EncryptedDataKey) int {
	go s.open(edks)
	synctest.Wait()
	return s.count()
}

// TestQuestionThatIsOut: it holds up messages under its wrapping key for a second
// after it began, and those under others not at all.
func TestQuestionThatIsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.fault(keyB, 5*time.Second, errDown)
		edks := s.message(keyB)
		s.startOpen(edks)
		time.Sleep(time.Second - time.Nanosecond)
		before := s.count()
		if s.startOpen(s.message(keyB)) != before+1 {
			t.Error("within a second: the next message was not asked about")
		}
		time.Sleep(time.Nanosecond)
		for range 3 {
			s.want("after a second", s.message(keyB), 0, envelope.ErrUnavailable, 0)
			s.want("after a second, the same message", edks, 0, envelope.ErrUnavailable, 0)
			s.want("after a second, the key that answers", s.message(keyA), 0, nil, 1)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
	})
}

// TestOutageOfAllWrappingKeys: nothing is remembered by wrapping key where no
// other answers, so that the end is noticed at once.
func TestOutageOfAllWrappingKeys(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*twoKeys){
		"only one in use": func(s *twoKeys) {},
		"the other failed since": func(s *twoKeys) {
			s.want("the other", s.message(keyA), 0, nil, 1)
			s.thenFail(errDown)
			s.want("the other", s.message(keyA), 0, envelope.ErrUnavailable, 1)
		},
		"the other answered a reuse period ago": func(s *twoKeys) {
			s.want("the other", s.message(keyA), 0, nil, 1)
			time.Sleep(cache.DefaultReusePeriod)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTwoKeys(t)
				prepare(s)
				s.fault(keyB, 2*time.Second, errDown)
				for range 10 { // each is asked about, and waits
					s.want("unavailable", s.message(keyB), 2*time.Second, envelope.ErrUnavailable, 1)
				}
				s.then(nil)
				s.want("the end", s.message(keyB), 0, nil, 1)
			})
		})
	}
}

// TestSeveralWrappingKeysInOneMessage: it opens by the one that answers, without
// waiting for the other, and if that does not open it, the message is not to
// blame.
func TestSeveralWrappingKeysInOneMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.fault(keyB, 2*time.Second, errDown)
		s.want("the first under the other", s.message(keyB), 2*time.Second, envelope.ErrUnavailable, 1)
		for range 50 {
			s.want("both", s.message(keyB, keyA), 0, nil, 1)
			s.want("both", s.message(keyA, keyB), 0, nil, 1)
			bad := s.message(keyB, keyA)
			bad[1].Ciphertext = fmt.Appendf(nil, "junk %d", s.count())
			s.want("both, and junk under the one that answers", bad, 0, envelope.ErrUnavailable, 1)
			time.Sleep(time.Second)
		}
	})
}

// TestAnswersEndAnOutage: any verdict of the service does, and one that a keyring
// gives by itself does not: anybody could send what it takes.
func TestAnswersEndAnOutage(t *testing.T) {
	t.Parallel()
	noMatch := fmt.Errorf("fake: %w", envelope.ErrNoMatchingKey)
	for name, test := range map[string]struct {
		answer error
		ends   bool
	}{
		"the message is at fault":      {noMatch, true},
		"refused":                      {denied(keyB), true},
		"at fault, without a question": {fmt.Errorf("%w%w", noMatch, keyerr.ErrNotAsked), false},
		"not asked":                    {fmt.Errorf("%w: %w", envelope.ErrUnavailable, keyerr.ErrNotAsked), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTwoKeys(t)
				s.want("the key that answers", s.message(keyA), 0, nil, 1)
				s.fault(keyB, time.Millisecond, errDown)
				s.want("unavailable", s.message(keyB), time.Millisecond, envelope.ErrUnavailable, 1)
				time.Sleep(time.Second)
				s.fault(keyB, time.Millisecond, test.answer)
				s.want("the probe", s.message(keyB), time.Millisecond, test.answer, 1)
				s.fault(keyB, 0, nil)
				timeout := cache.DefaultFetchTimeout
				if !test.ends {
					timeout = probe
				}
				s.want("the next", s.message(keyB), timeout, envelope.ErrUnavailable, 1)
			})
		})
	}
}

// TestNotAskedIsNoOutage: a keyring that chose not to ask is asked again with the
// next message, and its choice bridges nothing.
func TestNotAskedIsNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		notAsked := fmt.Errorf("%w: %w", envelope.ErrUnavailable, keyerr.ErrNotAsked)
		s := newTwoKeys(t)
		edks := s.message(keyA)
		s.want("opens", edks, 0, nil, 1)
		s.thenFail(notAsked)
		for range 10 {
			s.want("not asked", s.message(keyB), 0, envelope.ErrUnavailable, 1)
		}
		time.Sleep(cache.DefaultReusePeriod - time.Second)
		s.want("the key that was cached", edks, 0, nil, 0)
		synctest.Wait()
		time.Sleep(time.Second)
		s.want("beyond its reuse period", edks, 0, envelope.ErrUnavailable, 1)
		if st := s.k.Stats(); st.StaleUses != 0 || st.NegativeEntries != 0 {
			t.Errorf("got %+v, want no stale use and nothing remembered", st)
		}
		s.then(nil)
		s.want("asked again", edks, 0, nil, 1)
	})
}

// TestPurgeForgetsOutages: also one that a probe is about.
func TestPurgeForgetsOutages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.fault(keyB, time.Millisecond, errDown)
		s.want("unavailable", s.message(keyB), time.Millisecond, envelope.ErrUnavailable, 1)
		s.then(nil)
		s.k.Purge()
		s.want("after Purge", s.message(keyB), 0, nil, 1)
	})
}

// TestOutageErrorsTellMore: the service's own error is in the chain of what is
// answered from memory, and its text says when the next attempt is.
func TestOutageErrorsTellMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.fault(keyB, time.Millisecond, errDown)
		s.open(s.message(keyB))
		_, err := s.open(s.message(keyB))
		if !errors.Is(err, errDown) || !strings.Contains(err.Error(), "next attempt in") {
			t.Errorf("got %v, want %v and the next attempt", err, errDown)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.k.DecryptDataKey(ctx, s.message(keyB), orders); !errors.Is(err, context.Canceled) || errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("got %v, want the caller's end alone", err)
		}
	})
}
