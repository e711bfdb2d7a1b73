package sqsx_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

var errAway = errors.New("no route to host")

// poll receives as most consumers do.
func poll(ctx context.Context, c *sqs.Client, url string) (*sqs.ReceiveMessageOutput, error) {
	return c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
}

// recorder notes when receives reach SQS, for how many messages, and when KMS
// is asked to decrypt.
type recorder struct {
	mu       sync.Mutex // guards all below
	receives []asked
	decrypts []time.Time
}

type asked struct {
	at  time.Time
	max int
}

// record has next decide what happens to each request.
func (r *recorder) record(next func(*sqsxtest.Request) error) func(*sqsxtest.Request) error {
	return func(req *sqsxtest.Request) error {
		r.mu.Lock()
		switch req.Action {
		case "sqs:ReceiveMessage":
			var in struct{ MaxNumberOfMessages int }
			_ = json.Unmarshal(req.Body, &in)
			r.receives = append(r.receives, asked{time.Now(), in.MaxNumberOfMessages})
		case "kms:Decrypt":
			r.decrypts = append(r.decrypts, time.Now())
		}
		r.mu.Unlock()
		if next == nil {
			return nil
		}
		return next(req)
	}
}

func (r *recorder) snapshot() []asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.receives)
}

// loop polls until ctx ends, in so many goroutines.
func loop(ctx context.Context, wg *sync.WaitGroup, n int, c *sqs.Client, url string, each func(*sqs.ReceiveMessageOutput, error)) {
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				out, err := poll(ctx, c, url)
				if ctx.Err() == nil {
					each(out, err)
				}
			}
		})
	}
}

// TestHoldPacesProbes runs eight loops of a new process on a queue of which
// nothing opens. The first receive is what its caller asked for; each later one
// asks for one message, after pauses that grow.
func TestHoldPacesProbes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		plain   bool // the messages are at fault, else KMS is away
		warm    bool // the process has opened a message before
		longest time.Duration
	}{
		"messages at fault":               {true, true, 30 * time.Second},
		"messages at fault, from a start": {true, false, 5 * time.Minute},
		"KMS away":                        {false, false, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, client, consumer := w.queue("orders"), w.client(), w.client()
				if tc.warm {
					send(t, client, url, "warm")
					out, err := receive(t.Context(), consumer, url)
					if err != nil || len(out.Messages) != 1 {
						t.Fatalf("got %v, want the message", err)
					}
					if _, err := consumer.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Minute)
				}
				for range 500 {
					if tc.plain {
						send(t, w.plain, url, "plain")
					} else {
						send(t, client, url, "sealed")
					}
				}
				var r recorder
				w.server.Intercept(r.record(kmsFails(errAway)))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var wg sync.WaitGroup
				loop(ctx, &wg, 8, consumer, url, func(out *sqs.ReceiveMessageOutput, err error) {
					if err == nil {
						t.Errorf("got %d messages and no error, want an error", len(out.Messages))
					}
				})
				wg.Wait()

				receives := r.snapshot()
				for tc.warm && len(receives) > 1 && receives[1].max == 10 {
					receives = receives[1:] // up to eight were under way
				}
				if receives[0].max != 10 {
					t.Errorf("the first receive asked for %d messages, want the caller's 10", receives[0].max)
				}
				var longest time.Duration
				for i, a := range receives[1:] {
					gap := a.at.Sub(receives[i].at)
					longest = max(longest, gap)
					if a.max != 1 {
						t.Errorf("receive %d asked for %d messages, want 1", i+1, a.max)
					}
					if gap < 500*time.Millisecond || gap > tc.longest+time.Second {
						t.Errorf("receive %d came %v after the one before it, want 0.5 s to %v", i+1, gap, tc.longest)
					}
				}
				if longest < tc.longest/2 {
					t.Errorf("the longest pause was %v, want them to grow to %v", longest, tc.longest)
				}
				if least, most := int(time.Hour/tc.longest), int(time.Hour/(tc.longest/2))+12; len(receives) < least || len(receives) > most {
					t.Errorf("got %d receives in an hour, want %d to %d", len(receives), least, most)
				}
				if !tc.plain {
					var last time.Time
					for _, at := range r.decrypts {
						if gap := at.Sub(last); !last.IsZero() && gap > 31*time.Second {
							t.Errorf("KMS was not asked for %v, want every 30 s or sooner", gap)
						}
						last = at
					}
				}
			})
		})
	}
}

// TestReceivesUnderWayDoNotLengthenThePause: what eight receives bring that set
// out before the hold began is one failure, not eight.
func TestReceivesUnderWayDoNotLengthenThePause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		if _, err := receive(t.Context(), client, url); err != nil {
			t.Fatal(err)
		}
		for range 90 {
			send(t, w.plain, url, "plaintext")
		}
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "sqs:ReceiveMessage" {
				time.Sleep(100 * time.Millisecond) // until all are under way
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) {
					t.Errorf("got %v, want a *ReceiveError", err)
				}
			})
		}
		wg.Wait()
		w.server.Intercept(nil)
		start := time.Now()
		err := errOf(poll(t.Context(), client, url))
		if waited := time.Since(start); !isWithheld(err) || waited > time.Second {
			t.Errorf("got %v after %v, want the first probe within a second", err, waited)
		}
	})
}

// TestFirstReceiveGoesAhead starts 32 goroutines at once while KMS hangs: what
// the first one receives is all that a wrong setting costs at a start.
func TestFirstReceiveGoesAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		for range 400 {
			send(t, client, url, "x")
		}
		var r recorder
		w.server.Intercept(r.record(func(req *sqsxtest.Request) error {
			if req.Action == "kms:Decrypt" {
				<-req.Context().Done()
			}
			return nil
		}))
		consumer := w.client()
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if _, err := poll(t.Context(), consumer, url); err == nil {
					t.Error("got no error, want one")
				}
			})
		}
		time.Sleep(4 * time.Second) // the call of KMS ends after 5
		if got := len(r.snapshot()); got != 1 {
			t.Errorf("got %d receives while the first one is being opened, want that one", got)
		}
		wg.Wait()
	})
}

// TestFirstReceiveOfAnEmptyQueue: whoever waits for the first receive waits a
// second at most, and only at the start.
func TestFirstReceiveOfAnEmptyQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, consumer := w.queue("orders"), w.client()
		var r recorder
		w.server.Intercept(r.record(nil))
		start := time.Now()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if out, err := poll(t.Context(), consumer, url); err != nil || len(out.Messages) > 0 {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		for _, a := range r.snapshot() {
			if late := a.at.Sub(start); late > time.Second || a.max != 10 {
				t.Errorf("a receive for %d messages set out after %v, want 10 within a second", a.max, late)
			}
		}
		if got := len(r.snapshot()); got != 8 {
			t.Errorf("got %d receives, want 8", got)
		}
	})
}

// held brings client to hold the queue, by a plaintext message a while after a
// good one.
func held(t testing.TB, w *world, client *sqs.Client, url string) {
	t.Helper()
	send(t, client, url, "healthy")
	out, err := receive(t.Context(), client, url)
	if err != nil || len(out.Messages) != 1 {
		t.Fatalf("got %v", err)
	}
	if _, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(61 * time.Second)
	send(t, w.plain, url, "plaintext")
	if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) {
		t.Fatalf("got %v, want a *ReceiveError", err)
	}
}

func isWithheld(err error) bool {
	_, ok := errors.AsType[*sqsx.ReceiveError](err)
	return ok
}

// TestHeldReceive looks at single calls on a queue that is held.
func TestHeldReceive(t *testing.T) {
	t.Parallel()
	inWorld := func(t *testing.T, test func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder)) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			url, client := w.queue("orders", "VisibilityTimeout", "0"), w.client()
			r := &recorder{}
			held(t, w, client, url)
			// Further probes fail too, until the pause is long enough to measure.
			for range 8 {
				time.Sleep(31 * time.Second)
				if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) {
					t.Fatalf("got %v, want a probe that fails", err)
				}
			}
			w.server.Intercept(r.record(nil))
			test(t, w, client, url, r)
		})
	}
	t.Run("short polling", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			start := time.Now()
			_, err := receive(t.Context(), client, url)
			if waited := time.Since(start); !errors.Is(err, sqsx.ErrHeld) || waited != time.Second {
				t.Errorf("got %v after %v, want ErrHeld after 1s", err, waited)
			}
			if !errors.Is(err, sqsx.ErrNotSealed) || !strings.Contains(err.Error(), "not sealed") {
				t.Errorf("got %v, want the cause in the chain and in the text", err)
			}
			if len(r.snapshot()) > 0 {
				t.Error("a held receive made a request")
			}
		})
	})
	t.Run("WaitTimeSeconds", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			for seconds, want := range map[int32]time.Duration{-1: time.Second, 3: 3 * time.Second, 5: 5 * time.Second} {
				start := time.Now()
				_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: seconds})
				if waited := time.Since(start); !errors.Is(err, sqsx.ErrHeld) || waited != want {
					t.Errorf("WaitTimeSeconds %d: got %v after %v, want ErrHeld after %v", seconds, err, waited, want)
				}
			}
		})
	})
	t.Run("caller gives up", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(300*time.Millisecond, cancel)
			start := time.Now()
			_, err := poll(ctx, client, url)
			if waited := time.Since(start); !errors.Is(err, context.Canceled) || !errors.Is(err, sqsx.ErrHeld) || waited != 300*time.Millisecond {
				t.Errorf("got %v after %v, want the caller's cancellation at once, and ErrHeld beside it", err, waited)
			}
		})
	})
	t.Run("another queue", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			other := w.queue("other")
			send(t, client, other, "healthy")
			out, err := receive(t.Context(), client, other)
			if err != nil || len(out.Messages) != 1 {
				t.Errorf("got %v from another queue, want its message", err)
			}
		})
	})
	t.Run("a deadline that has no room for a long poll", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			// Enough for a probe at once, too little after a wait of 15 s or more.
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 34*time.Second)
			defer cancel()
			_, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
			if waited := time.Since(start); !errors.Is(err, sqsx.ErrHeld) || waited > 20*time.Second || len(r.snapshot()) > 0 {
				t.Errorf("got %v after %v and %d requests, want ErrHeld and none", err, waited, len(r.snapshot()))
			}
			time.Sleep(30 * time.Second)
			ctx, cancel = context.WithTimeout(t.Context(), 21*time.Second)
			defer cancel()
			if _, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20}); !isWithheld(err) {
				t.Errorf("got %v, want a probe from a caller that need not wait", err)
			}
		})
	})
	t.Run("the probe hangs", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			time.Sleep(31 * time.Second)
			w.server.Intercept(r.record(func(req *sqsxtest.Request) error {
				if req.Action == "sqs:ReceiveMessage" && len(r.snapshot()) == 1 {
					<-req.Context().Done()
				}
				return nil
			}))
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = poll(ctx, client, url) })
			synctest.Wait()
			start := time.Now()
			for errors.Is(errOf(poll(t.Context(), client, url)), sqsx.ErrHeld) && time.Since(start) < time.Hour {
			}
			if took := time.Since(start); took > 51*time.Second {
				t.Errorf("the next probe set out after %v, want within its long poll and 30 s", took)
			}
			cancel()
			wg.Wait()
		})
	})
	t.Run("a probe that was given up comes back while another is out", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			time.Sleep(31 * time.Second)
			w.server.Intercept(r.record(func(req *sqsxtest.Request) error {
				if req.Action == "sqs:ReceiveMessage" && len(r.snapshot()) <= 2 {
					<-req.Context().Done()
				}
				return nil
			}))
			var wg sync.WaitGroup
			defer wg.Wait()
			hang := func() context.CancelFunc {
				ctx, cancel := context.WithCancel(t.Context())
				wg.Go(func() { _, _ = poll(ctx, client, url) })
				synctest.Wait()
				return cancel
			}
			first := hang()
			time.Sleep(51 * time.Second)
			second := hang()
			defer second()
			first()
			synctest.Wait()
			if err := errOf(receive(t.Context(), client, url)); !errors.Is(err, sqsx.ErrHeld) || len(r.snapshot()) != 2 {
				t.Errorf("got %v and %d receives, want ErrHeld while the second probe is out", err, len(r.snapshot()))
			}
		})
	})
	t.Run("SQS refuses the probe", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			time.Sleep(31 * time.Second)
			w.server.Intercept(r.record(func(req *sqsxtest.Request) error {
				return &smithy.GenericAPIError{Code: "AccessDenied", Message: "no"}
			}))
			for range 3 {
				var api smithy.APIError
				if _, err := poll(t.Context(), client, url); !errors.As(err, &api) || errors.Is(err, sqsx.ErrHeld) {
					t.Errorf("got %v, want SQS's own error", err)
				}
			}
		})
	})
	t.Run("plaintext is accepted elsewhere", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			accepting := w.client(func(o *sqsx.Options) { o.Policy.AcceptPlaintext = true })
			if out, err := receive(t.Context(), accepting, url); err != nil || len(out.Messages) != 1 {
				t.Errorf("got %v, want the hold to be the other Sealer's", err)
			}
		})
	})
}

func errOf(_ *sqs.ReceiveMessageOutput, err error) error { return err }

// TestHoldLiftsForAll has eight receivers wait while a healthy message arrives.
func TestHoldLiftsForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders", "VisibilityTimeout", "3600"), w.client()
		held(t, w, client, url)
		send(t, client, url, "healthy")
		for range 20 {
			send(t, client, url, "behind it")
		}
		var r recorder
		w.server.Intercept(r.record(nil))
		var mu sync.Mutex
		got := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				out, err := poll(t.Context(), client, url)
				if err != nil {
					t.Errorf("a receiver that waited got %v, want it to go on", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got += len(out.Messages)
			})
		}
		wg.Wait()
		receives := r.snapshot()
		for _, a := range receives {
			if late := a.at.Sub(receives[0].at); late > 0 {
				t.Errorf("a receive set out %v after the probe, want at once", late)
			}
		}
		if got != 21 || len(receives) != 8 {
			t.Errorf("got %d messages by %d receives, want 21 by 8", got, len(receives))
		}
	})
}

// TestHostileMessageDoesNotHoldForEver puts a message on a quiet queue that KMS
// will refuse for ever, for its encryption context, and a healthy one behind it.
func TestHostileMessageDoesNotHoldForEver(t *testing.T) {
	t.Parallel()
	trials := 10
	if testing.Short() {
		trials = 3
	}
	var worst time.Duration
	for trial := range trials {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			url, dlq := w.withDLQ("orders", 3)
			hostile := w.client(func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"who": "hostile"} })
			w.server.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "kms:Decrypt" && strings.Contains(string(r.Body), "hostile") {
					return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
				}
				return nil
			})
			send(t, hostile, url, "hostile")
			consumer := w.client()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			delivered := make(chan time.Time, 1)
			loop(ctx, &wg, 4, consumer, url, func(out *sqs.ReceiveMessageOutput, err error) {
				if err == nil && len(out.Messages) > 0 {
					select {
					case delivered <- time.Now():
					default:
					}
				}
			})
			time.Sleep(time.Duration(trial) * 11 * time.Second)
			sent := time.Now()
			send(t, w.client(), url, "healthy")
			took := (<-delivered).Sub(sent)
			worst = max(worst, took)
			if took > time.Minute {
				t.Errorf("the healthy message was delivered after %v", took)
			}
			time.Sleep(20 * time.Minute)
			if n := len(w.server.Stored(dlq)); n == 0 {
				t.Error("the hostile message is not in the dead-letter queue after 20 minutes")
			}
		})
	}
	t.Logf("a healthy message waited %v at most in %d trials", worst.Round(time.Millisecond), trials)
}

// TestRefusedMessageOnAQuietQueue leaves one message on the queue whose data key
// KMS refuses for ever, while the key that all others are under is healthy. It
// has no dead-letter queue to go to.
func TestRefusedMessageOnAQuietQueue(t *testing.T) {
	t.Parallel()
	for name, deny := range map[string]bool{"key disabled": false, "encryption context forbidden": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, old := w.queue("orders"), w.newKey()
				if deny {
					hostile := w.client(func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"who": "hostile"} })
					send(t, hostile, url, "hostile")
					w.server.Intercept(func(r *sqsxtest.Request) error {
						if r.Action == "kms:Decrypt" && strings.Contains(string(r.Body), "hostile") {
							return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
						}
						return nil
					})
				} else {
					sealer, err := sqsx.NewFromConfig(w.cfg, old)
					if err != nil {
						t.Fatal(err)
					}
					send(t, sqs.NewFromConfig(w.cfg, sealer.Install), url, "leftover")
					if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &old}); err != nil {
						t.Fatal(err)
					}
				}
				producer := w.client()
				consumer := w.client(func(o *sqsx.Options) {
					o.KMSKeyring = func(k *kmskeyring.Options) { k.DecryptKeys = []string{old} }
				})
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				start := time.Now()
				var mu sync.Mutex
				var worst time.Duration
				delivered := 0
				loop(ctx, &wg, 4, consumer, url, func(out *sqs.ReceiveMessageOutput, err error) {
					if err != nil {
						return
					}
					for _, m := range out.Messages {
						sent, err := time.ParseDuration(*m.Body)
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						delivered++
						worst = max(worst, time.Since(start)-sent)
						mu.Unlock()
						if _, err := consumer.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
							t.Error(err)
						}
					}
				})
				const minutes = 60
				for range minutes {
					time.Sleep(time.Minute)
					send(t, producer, url, time.Since(start).String())
				}
				time.Sleep(time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if delivered != minutes || worst > 30*time.Second {
					t.Errorf("%d of %d healthy messages were delivered, after %v at most, want all within 30 s", delivered, minutes, worst)
				}
				t.Logf("a healthy message waited %v at most", worst.Round(time.Millisecond))
			})
		})
	}
}

// TestHoldEndsOnAQuietQueue: the bad message has gone to the dead-letter queue,
// and nothing else is there. Receivers do not get errors for ever.
func TestHoldEndsOnAQuietQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, _ := w.withDLQ("orders", 3)
		client := w.client()
		held(t, w, client, url)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		start := time.Now()
		var mu sync.Mutex
		var last time.Duration
		loop(ctx, &wg, 4, client, url, func(out *sqs.ReceiveMessageOutput, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				last = time.Since(start)
			}
		})
		time.Sleep(2 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if last > 30*time.Minute {
			t.Errorf("the last error came after %v, want within half an hour", last)
		}
	})
}

// TestRehearsalEndsTheHoldOfAnEmptyQueue: messages are invisible for hours when
// KMS comes back.
func TestRehearsalEndsTheHoldOfAnEmptyQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders", "VisibilityTimeout", "43200"), w.client()
		send(t, w.client(), url, "x")
		w.server.Intercept(kmsFails(errAway))
		if _, err := receive(t.Context(), client, url); !errors.Is(err, envelope.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		for start := time.Now(); time.Since(start) < 10*time.Minute; {
			if _, err := poll(t.Context(), client, url); err != nil && !errors.Is(err, sqsx.ErrHeld) {
				t.Fatal(err)
			}
		}
		w.server.Intercept(nil)
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		loop(ctx, &wg, 4, client, url, func(out *sqs.ReceiveMessageOutput, err error) {
			if since := time.Since(start); err != nil && since > 61*time.Second {
				t.Errorf("got %v, %v after the outage", err, since)
			}
		})
		time.Sleep(time.Hour)
	})
}

// TestHeldErrorHasTheCause disables the key.
func TestHeldErrorHasTheCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		producer := w.client()
		for range 100 {
			send(t, producer, url, "x")
		}
		if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &w.key}); err != nil {
			t.Fatal(err)
		}
		var err error
		for range 20 {
			if _, err = receive(t.Context(), client, url); errors.Is(err, sqsx.ErrHeld) {
				break
			}
		}
		if _, ok := errors.AsType[*kmstypes.DisabledException](err); !ok || !errors.Is(err, sqsx.ErrHeld) {
			t.Errorf("got %v, want ErrHeld with a DisabledException in the chain", err)
		}
	})
}

// TestCallerGivesUpDuringARehearsal: it is no verdict, and the next caller
// rehearses.
func TestCallerGivesUpDuringARehearsal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders", "VisibilityTimeout", "3"), w.client()
		send(t, w.client(), url, "x")
		w.server.Intercept(kmsFails(errAway))
		if _, err := receive(t.Context(), client, url); !errors.Is(err, envelope.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(1100 * time.Millisecond)
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				<-r.Context().Done()
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := receive(ctx, client, url); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sqsx.ErrHeld) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		w.server.Intercept(nil)
		for start := time.Now(); ; {
			out, err := receive(t.Context(), client, url)
			if err == nil && len(out.Messages) == 1 {
				break
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v, a deadline that is not this caller's", err)
			}
			if time.Since(start) > 20*time.Second {
				t.Fatalf("got %v, 20 s after the outage", err)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestFIFOReceivesSinglyWhileAPoisonIsAbout: messages of other groups do not
// end it, the next message of its own group does.
func TestFIFOReceivesSinglyWhileAPoisonIsAbout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, dlq := w.withDLQ("orders.fifo", 3)
		client := w.client()
		n := 0
		put := func(c *sqs.Client, group, body string) {
			t.Helper()
			n++
			if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: aws.String(fmt.Sprint(n))}); err != nil {
				t.Fatal(err)
			}
		}
		put(client, "other", "warm")
		delivered := make(map[string]bool)
		turn := func() {
			t.Helper()
			out, err := receive(t.Context(), client, url)
			if _, withheld := errors.AsType[*sqsx.ReceiveError](err); err != nil && !withheld && !errors.Is(err, sqsx.ErrHeld) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			for _, m := range out.Messages {
				delivered[*m.Body] = true
				if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Fatal(err)
				}
			}
		}
		turn()
		put(w.plain, "a", "poison")
		for i := range 9 {
			put(client, "a", fmt.Sprint("follower ", i))
		}
		var r recorder
		w.server.Intercept(r.record(nil))
		for i := range 300 {
			put(client, "other", fmt.Sprint("other ", i))
			turn()
			time.Sleep(time.Second)
		}
		if dead := w.server.Stored(dlq); len(dead) != 1 || *dead[0].Body != "poison" {
			t.Errorf("got %d messages in the dead-letter queue, want the poison alone", len(dead))
		}
		for i := range 9 {
			if body := fmt.Sprint("follower ", i); !delivered[body] {
				t.Errorf("%s was not delivered", body)
			}
		}
		receives := r.snapshot()
		if last := receives[len(receives)-1]; last.max != 10 {
			t.Errorf("at the end receives ask for %d messages, want the caller's 10", last.max)
		}
	})
}

// TestQueueWithoutAnAccount is refused before a message is received for nothing.
func TestQueueWithoutAnAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.queue("orders")
	if _, err := receive(t.Context(), w.client(), "orders"); err == nil || !strings.Contains(err.Error(), "Options.Account") {
		t.Errorf("got %v, want an error that names Options.Account", err)
	}
	if got := w.count("sqs:ReceiveMessage"); got != 0 {
		t.Errorf("got %d requests, want none", got)
	}
}

// TestManyQueuesAreHeld closes as many holds as a Sealer keeps, and one more.
func TestManyQueuesAreHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const known = 1024
		w := newWorld(t)
		client := w.client()
		urls := make([]string, known+1)
		for i := range urls {
			urls[i] = w.queue(fmt.Sprint("queue-", i))
			send(t, w.plain, urls[i], "plaintext")
			if _, err := receive(t.Context(), client, urls[i]); !errors.Is(err, sqsx.ErrNotSealed) {
				t.Fatalf("got %v", err)
			}
		}
		for i, url := range urls {
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			_, err := receive(ctx, client, url)
			cancel()
			if held := errors.Is(err, context.DeadlineExceeded); held != (i < known) {
				t.Errorf("queue %d: got %v, want held %t", i, err, i < known)
				break
			}
		}
	})
}
