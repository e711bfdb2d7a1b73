package kmskeyring_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// only answers the given action with an error, and lets all others through.
func only(action string, err error) func(*sqsxtest.Request) error {
	return func(r *sqsxtest.Request) error {
		if r.Action == action {
			return err
		}
		return nil
	}
}

func TestAliasIsRemembered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		period, want time.Duration
	}{
		"default":    {0, 5 * time.Minute},
		"one hour":   {time.Hour, time.Hour},
		"one second": {time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				oldID, _ := w.key(client, false)
				newID, _ := w.key(client, false)
				w.alias(client, "alias/orders", oldID)
				kr := w.keyring(client, "alias/orders", func(o *kmskeyring.Options) {
					o.StrictAlias, o.AliasPeriod = true, test.period
				})
				old := w.generate(w.keyring(client, oldID))
				w.opens(kr, old)
				w.repoint(client, "alias/orders", newID)

				time.Sleep(test.want - 1)
				w.opens(kr, old)
				if n := w.srv.Count("kms:DescribeKey"); n != 1 {
					t.Errorf("within the period: %d DescribeKey calls, want 1", n)
				}
				time.Sleep(time.Nanosecond)
				w.refuses(kr, old)
				if n := w.srv.Count("kms:DescribeKey"); n != 2 {
					t.Errorf("after the period: %d DescribeKey calls, want 2", n)
				}
			})
		})
	}
}

// TestStrictAliasIsFollowed: the message itself shows that a strict alias may
// have moved. It is asked about again at once, or a second after the last time.
func TestStrictAliasIsFollowed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ pause, wait time.Duration }{
		"at once":          {0, time.Second},
		"a moment later":   {999 * time.Millisecond, time.Millisecond},
		"in the period":    {time.Second, 0},
		"after the period": {5 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, kr, keys := strictWorld(t)
				w.opens(kr, keys.old)
				keys.move()
				time.Sleep(test.pause)
				start := time.Now()
				w.opens(kr, keys.fresh)
				if got := time.Since(start); got != test.wait {
					t.Errorf("waited %v, want %v", got, test.wait)
				}
				if n := w.srv.Count("kms:DescribeKey"); n != 2 {
					t.Errorf("%d DescribeKey calls, want 2", n)
				}
				w.refuses(kr, keys.old)
			})
		})
	}
}

// strictKeys are data keys under the key that an alias points at, and under the
// one that it points at after move.
type strictKeys struct {
	old, fresh *envelope.DataKey
	move       func()
}

func strictWorld(t testing.TB) (world, *kmskeyring.Keyring, strictKeys) {
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	oldID, _ := w.key(client, false)
	newID, _ := w.key(client, false)
	w.alias(client, "alias/orders", oldID)
	kr := w.keyring(client, "alias/orders", func(o *kmskeyring.Options) { o.StrictAlias = true })
	return w, kr, strictKeys{
		old: w.generate(w.keyring(client, oldID)), fresh: w.generate(w.keyring(client, newID)),
		move: func() { w.repoint(client, "alias/orders", newID) },
	}
}

// TestStrictAliasAsksSeldom: anyone who may send can name keys of the account.
// That costs a DescribeKey call a second, for which one message waits, and ever
// fewer where that was in vain: the others are left for later, and healthy ones
// wait for none of them.
func TestStrictAliasAsksSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, kr, keys := strictWorld(t)
		w.opens(kr, keys.old)
		hostile := keys.fresh.EncryptedDataKeys()[0] // the alias does not move
		var wg sync.WaitGroup
		var judged, left, waited atomic.Int32
		for range 50 {
			wg.Go(func() {
				for start := time.Now(); time.Since(start) < time.Minute; {
					asked := time.Now()
					switch _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{hostile}, ec); class(t.Context(), err) {
					case "message":
						judged.Add(1)
					case "unavailable":
						left.Add(1)
						if !strings.Contains(err.Error(), "at most one message waits") {
							t.Errorf("got %v, want the reason", err)
						}
					default:
						t.Errorf("got %v, want ErrNoMatchingKey or ErrUnavailable", err)
					}
					if time.Since(asked) > 0 {
						waited.Add(1)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for range 600 {
			start := time.Now()
			w.opens(kr, keys.old)
			if _, err := kr.DecryptDataKey(t.Context(), append([]envelope.EncryptedDataKey{hostile}, keys.old.EncryptedDataKeys()...), ec); err != nil {
				t.Errorf("beside a key that is not the alias's: %v", err)
			}
			if got := time.Since(start); got != 0 {
				t.Errorf("healthy messages waited %v", got)
			}
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		if n := w.srv.Count("kms:DescribeKey"); n < 50 || n > 62 {
			t.Errorf("%d DescribeKey calls in a minute, want one a second", n)
		}
		if n := waited.Load(); n < 4 || n > 12 { // after 1 s, 2 s, 4 s, 8 s, 16 s
			t.Errorf("%d messages waited in a minute, want 4 to 12", n)
		}
		if judged.Load() < 50 || left.Load() < 1000 {
			t.Errorf("%d messages judged and %d left for later, want at least 50 and 1,000", judged.Load(), left.Load())
		}
	})
}

// TestStrictAliasMovesUnderMany: after a quiet time all messages under the new
// key open at once, by one call, and none is left for later; with a call that
// hangs each waits a second at most.
func TestStrictAliasMovesUnderMany(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		latency, waits time.Duration
		opens          bool
	}{
		"quick": {100 * time.Millisecond, 100 * time.Millisecond, true},
		"slow":  {3 * time.Second, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, kr, keys := strictWorld(t)
				w.opens(kr, keys.old)
				keys.move()
				time.Sleep(time.Minute)
				w.srv.Intercept(func(r *sqsxtest.Request) error {
					if r.Action == "kms:DescribeKey" {
						time.Sleep(test.latency)
					}
					return nil
				})
				start := time.Now()
				var wg sync.WaitGroup
				for range 40 {
					wg.Go(func() {
						_, err := kr.DecryptDataKey(t.Context(), keys.fresh.EncryptedDataKeys(), ec)
						if got := time.Since(start); got != test.waits {
							t.Errorf("waited %v, want %v", got, test.waits)
						}
						if test.opens && err != nil || !test.opens && class(t.Context(), err) != "unavailable" {
							t.Errorf("got %v, want it to open: %v", err, test.opens)
						}
					})
				}
				wg.Wait()
				time.Sleep(test.latency)
				w.opens(kr, keys.fresh)
				if n := w.srv.Count("kms:DescribeKey"); n != 2 {
					t.Errorf("%d DescribeKey calls, want 2", n)
				}
			})
		})
	}
}

// TestStrictAliasMovesUnderJunk: a move is followed within a second or two
// while junk makes the keyring ask in vain, and in time that healthy messages
// do not wait for.
func TestStrictAliasMovesUnderJunk(t *testing.T) {
	t.Parallel()
	for name, latency := range map[string]time.Duration{"quick": 20 * time.Millisecond, "slow": 900 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, kr, keys := strictWorld(t)
				w.opens(kr, keys.old)
				hostile := keys.fresh.EncryptedDataKeys()[0]
				hostile.ProviderInfo = []byte(strings.Replace(string(hostile.ProviderInfo), ":key/", ":key/mrk-", 1))
				w.srv.Intercept(func(r *sqsxtest.Request) error {
					if r.Action == "kms:DescribeKey" {
						time.Sleep(latency)
					}
					return nil
				})
				// One loop: it waits for each message.
				junk := func(d time.Duration) (waited time.Duration) {
					for start := time.Now(); time.Since(start) < d; {
						asked := time.Now()
						if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{hostile}, ec); err == nil {
							t.Fatal("junk opens")
						}
						waited += time.Since(asked)
						time.Sleep(10 * time.Millisecond)
					}
					return waited
				}
				junk(time.Minute)
				if got := junk(time.Minute); got > 12*time.Second {
					t.Errorf("the loop waited %v of a minute, want at most 12s", got)
				}
				keys.move()
				start := time.Now()
				for {
					if _, err := kr.DecryptDataKey(t.Context(), keys.fresh.EncryptedDataKeys(), ec); err == nil {
						break
					} else if class(t.Context(), err) != "unavailable" {
						t.Fatalf("got %v, want no verdict", err)
					}
					junk(50 * time.Millisecond)
				}
				if got := time.Since(start); got > 2*time.Second+latency {
					t.Errorf("the move was followed after %v, want %v at most", got, 2*time.Second+latency)
				}
			})
		})
	}
}

// TestAliasAfterASuspend: while a machine is suspended its monotonic clock
// stands still, and an alias may have moved hours ago.
func TestAliasAfterASuspend(t *testing.T) {
	t.Parallel()
	w, kr, keys := strictWorld(t)
	w.opens(kr, keys.old)
	keys.move()
	w.opens(kr, keys.old) // within the AliasPeriod
	kmskeyring.Suspend(kr, 10*time.Hour)
	w.refuses(kr, keys.old)
	w.opens(kr, keys.fresh)
}

// TestStrictAliasWithoutAFreshAnswer: no verdict on a message that may be good.
func TestStrictAliasWithoutAFreshAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, kr, keys := strictWorld(t)
		w.opens(kr, keys.old)
		keys.move()
		w.srv.Intercept(only("kms:DescribeKey", answer(500, "KMSInternalException")))
		start := w.srv.Count("kms:DescribeKey")
		for range 600 { // a minute
			if _, err := kr.DecryptDataKey(t.Context(), keys.fresh.EncryptedDataKeys(), ec); class(t.Context(), err) != "unavailable" {
				t.Fatalf("got %v, want ErrUnavailable", err)
			}
			w.opens(kr, keys.old) // as long as KMS does not say otherwise
			time.Sleep(100 * time.Millisecond)
		}
		if n := w.srv.Count("kms:DescribeKey") - start; n > 16 { // as in TestDescribeKeyFails
			t.Errorf("%d DescribeKey requests in a minute of failures, want at most 16", n)
		}
		w.srv.Intercept(nil)
		time.Sleep(30 * time.Second)
		w.opens(kr, keys.fresh)

		// A caller who does not wait gives no verdict either.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := kr.DecryptDataKey(ctx, keys.old.EncryptedDataKeys(), ec); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, envelope.ErrInvalidMessage) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
	})
}

func TestPurge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, kr, keys := strictWorld(t)
		w.opens(kr, keys.old)
		keys.move()
		kr.Purge()
		w.refuses(kr, keys.old)
		if n := w.srv.Count("kms:DescribeKey"); n != 2 {
			t.Errorf("%d DescribeKey calls, want one before Purge and one after", n)
		}

		// Nor is the answer from before used while there is none.
		w.opens(kr, keys.fresh)
		kr.Purge()
		w.srv.Intercept(only("kms:DescribeKey", answer(500, "KMSInternalException")))
		if _, err := kr.DecryptDataKey(t.Context(), keys.fresh.EncryptedDataKeys(), ec); class(t.Context(), err) != "unavailable" {
			t.Errorf("got %v, want ErrUnavailable", err)
		}

		// A failure is forgotten like an answer.
		kr.Purge()
		w.srv.Intercept(only("kms:DescribeKey", answer(400, "AccessDeniedException")))
		if _, err := kr.DecryptDataKey(t.Context(), keys.fresh.EncryptedDataKeys(), ec); class(t.Context(), err) != "refused: entry" {
			t.Errorf("got %v, want the refusal", err)
		}
		w.srv.Intercept(nil)
		kr.Purge()
		w.opens(kr, keys.fresh)
	})
	(*kmskeyring.Keyring)(nil).Purge()
	new(kmskeyring.Keyring).Purge()
}

// TestPurgeDuringDescribeKey: an answer to a question from before Purge is used
// by nobody, and those who wait for it start over.
func TestPurgeDuringDescribeKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _, keys := strictWorld(t)
		slow := slowDescribe{w.client("us-east-1", ours), new(atomic.Int32)}
		kr := w.keyring(slow, "alias/orders", func(o *kmskeyring.Options) { o.StrictAlias = true })
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { w.refuses(kr, keys.old) })
		}
		synctest.Wait()
		keys.move()
		kr.Purge()
		wg.Wait()
		time.Sleep(time.Minute) // the first call has ended
		w.refuses(kr, keys.old)
		w.opens(kr, keys.fresh)
	})
}

// slowDescribe gives its first answer three seconds late, whatever becomes of
// the caller.
type slowDescribe struct {
	kmskeyring.Client
	calls *atomic.Int32
}

func (c slowDescribe) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, optFns ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	out, err := c.Client.DescribeKey(context.WithoutCancel(ctx), in, optFns...)
	if c.calls.Add(1) == 1 {
		time.Sleep(3 * time.Second)
	}
	return out, err
}

func TestKeyARNNeedsNoDescribeKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	_, other := w.key(client, false)
	w.opens(w.keyring(client, arn), w.generate(w.keyring(client, arn)))
	// Nor does a message that cannot match a key ID, or one of DecryptKeys.
	foreign := w.generate(w.keyring(client, other))
	w.refuses(w.keyring(client, id), foreign)
	w.opens(w.keyring(client, id, func(o *kmskeyring.Options) { o.DecryptKeys = []string{other} }), foreign)
	if n := w.srv.Count("kms:DescribeKey"); n != 0 {
		t.Errorf("%d DescribeKey calls, want none", n)
	}
}

func TestOneDescribeKeyForAllWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		id, _ := w.key(client, false)
		w.alias(client, "alias/orders", id)
		kr := w.keyring(client, "alias/orders")
		key := w.generate(kr)
		w.srv.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:DescribeKey" {
				time.Sleep(time.Second)
			}
			return nil
		})
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := kr.DecryptDataKey(first, key.EncryptedDataKeys(), ec); !errors.Is(err, context.Canceled) {
				t.Errorf("the first caller, which gave up: got %v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		for range 63 {
			wg.Go(func() { w.opens(kr, key) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if n := w.srv.Count("kms:DescribeKey"); n != 1 {
			t.Errorf("%d DescribeKey calls, want 1", n)
		}
	})
}

func TestDescribeKeyFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err         error
		want, text  string
		keepsAnswer bool // after a good one
	}{
		"unavailable":  {answer(500, "KMSInternalException"), "unavailable", "alias/orders", true},
		"throttled":    {answer(400, "ThrottlingException"), "unavailable", "alias/orders", true},
		"no such name": {answer(400, "NotFoundException"), "refused: unknown reach", "check the name", false},
		"forbidden":    {answer(400, "AccessDeniedException"), "refused: entry", "kms:DescribeKey", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				id, _ := w.key(client, false)
				otherID, otherARN := w.key(client, false)
				w.alias(client, "alias/orders", id)
				with := func(o *kmskeyring.Options) { o.DecryptKeys = []string{otherARN} }
				kr := w.keyring(client, "alias/orders", with)
				key, named := w.generate(kr), w.generate(w.keyring(client, otherID))
				fail := only("kms:DescribeKey", test.err)
				w.srv.Intercept(fail)

				_, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
				if got := class(t.Context(), err); got != test.want || !strings.Contains(err.Error(), test.text) {
					t.Errorf("got class %q (%v), want %q and %q in the text", got, err, test.want, test.text)
				}
				w.opens(kr, named) // the configuration names its key: no DescribeKey

				// A minute of a busy consumer, 100 messages a second.
				start := w.srv.Count("kms:DescribeKey")
				for range 60 * 100 {
					if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); class(t.Context(), err) != test.want {
						t.Fatalf("got %v, want class %q", err, test.want)
					}
					time.Sleep(10 * time.Millisecond)
				}
				// Waits of at least 0.5, 1, 2, 4, 8, 15, 15, 15 seconds; two attempts each.
				if n := w.srv.Count("kms:DescribeKey") - start; n < 2 || n > 16 {
					t.Errorf("%d DescribeKey requests in a minute of failures, want 2 to 16", n)
				}

				w.srv.Intercept(nil)
				time.Sleep(30 * time.Second)
				w.opens(kr, key)

				// And now that an answer is known:
				w.srv.Intercept(fail)
				time.Sleep(5 * time.Minute)
				_, err = kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
				if test.keepsAnswer && err != nil || !test.keepsAnswer && class(t.Context(), err) != test.want {
					t.Errorf("with an answer known: got %v, want to go on with it: %v", err, test.keepsAnswer)
				}
			})
		})
	}
}

func TestDescribeKeyAnswersForAnotherKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	otherID, _ := w.key(client, false)
	key := w.generate(w.keyring(client, arn))
	for name, redirect := range map[string]*string{"another key": &otherID, "nothing": nil} {
		kr := w.keyring(redirecting{client, redirect}, id)
		if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); !errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
}

// redirecting describes another key than it is asked for.
type redirecting struct {
	kmskeyring.Client
	to *string
}

func (c redirecting) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, optFns ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	if c.to == nil {
		return &kms.DescribeKeyOutput{}, nil
	}
	return c.Client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: c.to}, optFns...)
}

// failingDescribe does something else than answer, while do is not nil.
type failingDescribe struct {
	kmskeyring.Client
	do func()
}

func (c *failingDescribe) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, optFns ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	if c.do != nil {
		c.do()
	}
	return c.Client.DescribeKey(ctx, in, optFns...)
}

// TestPanicInDescribeKey: DescribeKey runs on a goroutine of the keyring's,
// where nobody else can recover a panic of the client, and others wait for its
// end.
func TestPanicInDescribeKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   func()
		text string
	}{
		"value":         {func() { panic("the secret") }, "the client panicked with a value of type string"},
		"runtime error": {func() { var none []int; _ = none[len(none)] }, "index out of range"},
		"goexit":        {runtime.Goexit, "the client ended the goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				id, _ := w.key(w.client("us-east-1", ours), false)
				w.alias(w.client("us-east-1", ours), "alias/orders", id)
				client := &failingDescribe{w.client("us-east-1", ours), test.do}
				kr := w.keyring(client, "alias/orders")
				key := w.generate(kr)

				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						_, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
						if class(t.Context(), err) != "unavailable" || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret") {
							t.Errorf("got %v, want ErrUnavailable and %q", err, test.text)
						}
					})
				}
				wg.Wait()

				// It is over when the client works again, and an answer outlives it.
				client.do = nil
				time.Sleep(time.Second)
				w.opens(kr, key)
				client.do = test.do
				time.Sleep(kmskeyring.DefaultAliasPeriod)
				w.opens(kr, key)
			})
		})
	}
}
