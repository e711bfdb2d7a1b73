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
	"github.com/sealq/sealq/internal/keytrace"
)

// twoKeys is a service of two wrapping keys: keyA answers, and what is asked
// about keyB comes to what the test says.
type twoKeys struct {
	*service
	t *testing.T
	k *cache.Keyring
	// settles makes want count also the calls that began for a question when
	// another was answered.
	settles bool
}

func newTwoKeys(t *testing.T, optFns ...func(*cache.Options)) *twoKeys {
	s := newService()
	return &twoKeys{service: s, t: t, k: newCache(t, s, optFns...)}
}

// fault makes questions about info hang for d, until the caller's context ends
// if d is 0, and then fail with err.
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

// message returns the encrypted data keys of a new message, one under each
// info.
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
	if s.settles {
		synctest.Wait()
	}
	if got := s.count() - before; got != calls {
		s.t.Errorf("%s: %d calls, want %d", name, got, calls)
	}
}

const probe = 3 * time.Second

// TestOutageOfOneWrappingKey: it is known after one question, every message
// under the key, whatever its data key, is told so at once, and one at a time
// asks again.
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

// TestQuestionThatIsOut: it holds up messages under its wrapping key for a
// second after it began, and those under others not at all.
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

// TestSeveralWrappingKeysInOneMessage: it opens by the one that answers,
// without waiting for the other, and if that does not open it, the message is
// not to blame. One that does not open asks about the other, if nothing else
// does.
func TestSeveralWrappingKeysInOneMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.fault(keyB, 2*time.Second, errDown)
		s.want("the first under the other", s.message(keyB), 2*time.Second, envelope.ErrUnavailable, 1)
		began, probes := time.Now(), 0
		for time.Since(began) < time.Minute {
			s.want("both", s.message(keyB, keyA), 0, nil, 1)
			s.want("both", s.message(keyA, keyB), 0, nil, 1)
			bad := s.message(keyB, keyA)
			bad[1].Ciphertext = fmt.Appendf(nil, "junk %d", s.count())
			before := s.count()
			took, err := s.open(bad)
			if !errors.Is(err, envelope.ErrUnavailable) {
				t.Errorf("both, and junk under the one that answers: got %v, want %v", err, envelope.ErrUnavailable)
			}
			switch calls := s.count() - before; {
			case calls == 1 && took == 0: // about the one that answers
			case calls == 2 && took == 2*time.Second:
				probes++
			default:
				t.Errorf("both, and junk under the one that answers: took %v and %d calls", took, calls)
			}
			time.Sleep(time.Second)
		}
		if probes < 3 || probes > 10 { // pauses of 1 s, doubling, shortened by up to a half
			t.Errorf("%d probes in a minute, want 3 to 10", probes)
		}
	})
}

const keyC = "arn:aws:kms:us-east-1:111122223333:key/c"

// TestQuestionAboutSeveralWrappingKeysIsTakenApart: a message opens by
// whichever wrapping key answers, wherever it stands, although the keyring gets
// stuck with another and says nothing of that.
func TestQuestionAboutSeveralWrappingKeysIsTakenApart(t *testing.T) {
	t.Parallel()
	for name, infos := range map[string][]string{
		"first":  {keyA, keyB, keyC},
		"second": {keyB, keyA, keyC},
		"last":   {keyB, keyC, keyA},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTwoKeys(t)
				s.settles = true
				s.then(func(c call) error {
					if slices.ContainsFunc(c.edks, func(k envelope.EncryptedDataKey) bool { return string(k.ProviderInfo) != keyA }) {
						<-c.ctx.Done()
						return c.ctx.Err()
					}
					return nil
				})
				// Nothing is known of any key, then keyA is known to answer, and
				// those that were asked about are still out, then they are known.
				s.want("a new process", s.message(infos...), time.Second, nil, 4)
				s.want("the next", s.message(infos...), time.Second, nil, 2)
				for range 3 {
					s.want("the others are out", s.message(infos...), 0, nil, 1)
				}
				time.Sleep(cache.DefaultFetchTimeout)
				for range 3 {
					s.want("after their outage is known", s.message(infos...), 0, nil, 1)
				}
				if st := s.k.Stats(); st.Hits+st.Misses != 8 || st.Remembered != 0 {
					t.Errorf("got %+v, want 8 hits and misses, and no answer from memory", st)
				}
			})
		})
	}
}

// TestQuestionAboutSeveralWrappingKeysIsOneCall where the service answers, also
// where it does so slowly.
func TestQuestionAboutSeveralWrappingKeysIsOneCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		for _, latency := range []time.Duration{0, 999 * time.Millisecond} {
			s.setLatency(latency)
			s.want("opens", s.message(keyA, keyB, keyC), latency, nil, 1)
			bad := s.message(keyA, keyB, keyC)
			for i := range bad {
				bad[i].Ciphertext = fmt.Appendf(nil, "junk %d", s.count())
			}
			s.want("junk", bad, latency, envelope.ErrNoMatchingKey, 1)
		}
		// The first answer counts, whichever question it is to.
		s.settles = true
		s.setLatency(1500 * time.Millisecond)
		s.want("slow", s.message(keyA, keyB), 1500*time.Millisecond, nil, 3)
		time.Sleep(time.Minute)
	})
}

// TestJunkUnderSeveralWrappingKeysTeaches: an outage is learned also from
// messages that name two keys and open under neither, so that only the first
// waits.
func TestJunkUnderSeveralWrappingKeysTeaches(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hangs time.Duration
		first time.Duration
		calls int // for the first: about both, and about each
	}{
		"hangs":         {0, time.Second + cache.DefaultFetchTimeout, 3},
		"fails at once": {time.Millisecond, 2 * time.Millisecond, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTwoKeys(t)
				junk := func() []envelope.EncryptedDataKey {
					edks := s.message(keyA, keyB)
					for i := range edks {
						edks[i].Ciphertext = fmt.Appendf(nil, "junk %d", time.Now().UnixNano())
					}
					time.Sleep(time.Nanosecond)
					return edks
				}
				s.want("the key that answers", s.message(keyA), 0, nil, 1)
				s.fault(keyB, test.hangs, errDown)
				s.want("the first", junk(), test.first, envelope.ErrUnavailable, test.calls)
				for range 10 {
					s.want("the next", junk(), 0, envelope.ErrUnavailable, 1)
				}
				s.want("under the other key alone", s.message(keyB), 0, envelope.ErrUnavailable, 0)
			})
		})
	}
}

// TestOutageEndsForMessagesThatNameAnotherKeyToo: they are under a key that
// this process uses, and under one of somebody else, and there are no others.
func TestOutageEndsForMessagesThatNameAnotherKeyToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		theirs := func() []envelope.EncryptedDataKey {
			edks := s.message(keyC, keyB)
			edks[0].Ciphertext = fmt.Appendf(nil, "theirs %d", time.Now().UnixNano())
			return edks
		}
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.want("before", theirs(), 0, nil, 1)
		s.fault(keyB, time.Millisecond, errDown)
		s.want("unavailable", theirs(), 2*time.Millisecond, envelope.ErrUnavailable, 3)
		s.then(nil)
		time.Sleep(30 * time.Second)
		s.want("after", theirs(), 0, nil, 2)
	})
}

// TestCallerLeavesWhatIsTakenApart: its error is its own context's.
func TestCallerLeavesWhatIsTakenApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		s.fault(keyB, 0, nil)
		edks := s.message(keyA, keyB)
		edks[0].Ciphertext = []byte("junk")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := s.k.DecryptDataKey(ctx, edks, orders)
		if took := time.Since(began); err != context.DeadlineExceeded || took != 3*time.Second {
			t.Errorf("got %v after %v, want the caller's end alone, after 3s", err, took)
		}
		time.Sleep(time.Minute) // the fetches go on to their own deadline
	})
}

// TestChecksTellWhichKeysAnswer: a yes to CheckDecrypt about one wrapping key
// makes the outage of another its own, with no fetch, until a check fails.
func TestChecksTellWhichKeysAnswer(t *testing.T) {
	t.Parallel()
	yes, fails := error(nil), error(errDown)
	refused := denied(keyA)
	for name, test := range map[string]struct {
		checks []error // about keyA
		of     string  // the key that the keyring names
		after  time.Duration
		known  bool // the outage, by its wrapping key
	}{
		"never asked":             {known: false},
		"yes":                     {checks: []error{yes}, of: keyA, known: true},
		"yes, a while ago":        {checks: []error{yes}, of: keyA, after: cache.DefaultReusePeriod - 3*time.Second, known: true},
		"yes, a reuse period ago": {checks: []error{yes}, of: keyA, after: cache.DefaultReusePeriod, known: false},
		"yes, then unavailable":   {checks: []error{yes, fails}, of: keyA, known: false},
		"yes, then refused":       {checks: []error{yes, refused}, of: keyA, known: true},
		"refused":                 {checks: []error{refused}, of: keyA, known: false},
		"unavailable, then yes":   {checks: []error{fails, yes}, of: keyA, known: true},
		"yes, of the key itself":  {checks: []error{yes}, of: keyB, known: false},
		"yes, of no key by name":  {checks: []error{yes}, of: "", known: false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &twoKeys{service: newService(), t: t}
				checks := test.checks
				s.k = newCache(t, checker{s.service, func(ctx context.Context, _ envelope.EncryptionContext) error {
					err := checks[0]
					checks = checks[1:]
					keytrace.Checked(ctx, test.of, err)
					return err
				}})
				for range test.checks {
					s.k.CheckDecrypt(t.Context(), orders)
				}
				time.Sleep(test.after)
				s.fault(keyB, 2*time.Second, errDown)
				s.want("the first under the other", s.message(keyB), 2*time.Second, envelope.ErrUnavailable, 1)
				if test.known {
					s.want("the next", s.message(keyB), 0, envelope.ErrUnavailable, 0)
				} else {
					s.want("the next", s.message(keyB), 2*time.Second, envelope.ErrUnavailable, 1)
				}
			})
		})
	}
}

// TestCheckEndsNoOutage: a yes says that decrypting is allowed, and not that it
// succeeds.
func TestCheckEndsNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &twoKeys{service: newService(), t: t}
		s.k = newCache(t, checker{s.service, func(ctx context.Context, _ envelope.EncryptionContext) error {
			keytrace.Checked(ctx, keyB, nil)
			return nil
		}})
		s.want("the key that answers", s.message(keyA), 0, nil, 1)
		s.fault(keyB, time.Millisecond, errDown)
		s.want("the first under the other", s.message(keyB), time.Millisecond, envelope.ErrUnavailable, 1)
		if err := s.k.CheckDecrypt(t.Context(), orders); err != nil {
			t.Error(err)
		}
		s.want("the next", s.message(keyB), 0, envelope.ErrUnavailable, 0)
	})
}

// TestAnswersEndAnOutage: any verdict of the service does, and one that a
// keyring gives by itself does not: anybody could send what it takes.
func TestAnswersEndAnOutage(t *testing.T) {
	t.Parallel()
	noMatch := fmt.Errorf("fake: %w", envelope.ErrNoMatchingKey)
	for name, test := range map[string]struct {
		answer error
		ends   bool
	}{
		"the message is invalid":      {noMatch, true},
		"refused":                     {denied(keyB), true},
		"invalid, without a question": {fmt.Errorf("%w%w", noMatch, keyerr.ErrNotAsked), false},
		"not asked":                   {fmt.Errorf("%w: %w", envelope.ErrUnavailable, keyerr.ErrNotAsked), false},
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

// TestNotAskedIsNoOutage: a keyring that chose not to ask is asked again with
// the next message, and its choice bridges nothing.
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

// TestOutageBesideCachedKeys: while messages open with cached keys, those that
// need the key service wait for it one at a time, although no other wrapping
// key answers. Otherwise anyone who may send could delay, in an outage,
// messages that do not need the key service. ForgetFailures ends that.
func TestOutageBesideCachedKeys(t *testing.T) {
	t.Parallel()
	for name, beside := range map[string]bool{"of this cache": false, "of another cache": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTwoKeys(t)
				cached := s.message(keyA)
				ctx := t.Context()
				if beside {
					ctx = keytrace.WithUsed(ctx, time.Now())
				} else {
					s.want("a message", cached, 0, nil, 1)
					s.want("another one under its data key", cached, 0, nil, 0)
				}
				open := func(name string, takes time.Duration, calls int) {
					t.Helper()
					before, began := s.count(), time.Now()
					_, err := s.k.DecryptDataKey(ctx, s.message(keyA), orders)
					if took := time.Since(began); !errors.Is(err, envelope.ErrUnavailable) || took != takes || s.count()-before != calls {
						t.Errorf("%s: got %v after %v and %d calls, want unavailable after %v and %d", name, err, took, s.count()-before, takes, calls)
					}
				}
				s.fault(keyA, 0, nil)
				open("the first that needs the service", cache.DefaultFetchTimeout, 1)
				for range 20 {
					open("the next", 0, 0)
				}
				s.k.ForgetFailures()
				s.then(nil)
				s.want("after the outage", s.message(keyA), 0, nil, 1)
			})
		})
	}
}

// TestShortOutageBesideCachedKeys: a failure that the key service answers at
// once is not remembered beside cached keys, so that messages which come back
// after a short outage all open, and none is withheld while another one asks.
func TestShortOutageBesideCachedKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTwoKeys(t)
		cached := s.message(keyA)
		s.want("a message", cached, 0, nil, 1)
		s.want("another one under its data key", cached, 0, nil, 0)
		s.fault(keyA, time.Millisecond, errDown)
		for range 3 {
			s.want("in the outage", s.message(keyA), time.Millisecond, envelope.ErrUnavailable, 1)
		}
		s.then(func(call) error { time.Sleep(time.Millisecond); return nil })
		for range 3 {
			s.startOpen(s.message(keyA))
		}
		s.want("beside others, after the outage", s.message(keyA), time.Millisecond, nil, 1)
	})
}
