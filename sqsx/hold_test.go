package sqsx_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// held makes a queue of which one message was delivered, and then disables the
// key: no message opens, and client knows it.
func held(t testing.TB, w *world, client *sqs.Client, url string) {
	t.Helper()
	send(t, w.client(), url, "healthy")
	out, err := receive(t.Context(), client, url)
	if err != nil || len(out.Messages) != 1 {
		t.Fatalf("got %v", err)
	}
	if _, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	send(t, w.client(), url, "under another data key")
	if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &w.key}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) {
		t.Fatalf("got %v, want a *ReceiveError", err)
	}
	if err := errOf(receive(t.Context(), client, url)); !errors.Is(err, sqsx.ErrHeld) {
		t.Fatalf("got %v, want ErrHeld", err)
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
			url, client := w.queue("orders"), w.client()
			r := &recorder{}
			held(t, w, client, url)
			for range 6 { // until the pause between two questions is long enough to measure
				if err := errOf(poll(t.Context(), client, url)); !errors.Is(err, sqsx.ErrHeld) {
					t.Fatalf("got %v, want ErrHeld", err)
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
			if _, ok := errors.AsType[*kmstypes.DisabledException](err); !ok || !strings.Contains(err.Error(), "enable the key") {
				t.Errorf("got %v, want the cause in the chain and the remedy in the text", err)
			}
			if len(r.snapshot()) > 0 {
				t.Error("a held receive made a request")
			}
		})
	})
	t.Run("WaitTimeSeconds", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			for seconds, want := range map[int32]time.Duration{-1: time.Second, 3: 3 * time.Second, 5: 5 * time.Second, 20: 20 * time.Second} {
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
			_, typed := errors.AsType[*smithy.CanceledError](err)
			if waited := time.Since(start); !errors.Is(err, context.Canceled) || !typed || !errors.Is(err, sqsx.ErrHeld) || waited != 300*time.Millisecond {
				t.Errorf("got %v after %v, want the caller's cancellation at once, and ErrHeld beside it", err, waited)
			}
		})
	})
	t.Run("another queue", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			if _, err := receive(t.Context(), w.client(), w.queue("other")); !errors.Is(err, sqsx.ErrHeld) {
				t.Errorf("got %v from a queue under the same key, want ErrHeld", err)
			}
			key := w.newKey()
			other, err := sqsx.NewFromConfig(w.cfg, key)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := receive(t.Context(), other.Wrap(w.plain), url); err != nil || len(out.Messages) != 0 {
				t.Errorf("got %v with another Sealer, want its receive to go on", err)
			}
		})
	})
	t.Run("too little time is left for a long poll", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			if _, err := w.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &w.key}); err != nil {
				t.Fatal(err)
			}
			// Enough at once, too little after a wait for the next question.
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Nanosecond)
			defer cancel()
			_, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
			if !errors.Is(err, sqsx.ErrHeld) || len(r.snapshot()) > 0 {
				t.Errorf("got %v and %d requests, want ErrHeld and none", err, len(r.snapshot()))
			}
			time.Sleep(31 * time.Second)
			if out, err := poll(t.Context(), client, url); err != nil || len(out.Messages) != 1 {
				t.Errorf("got %v, want the message", err)
			}
		})
	})
	t.Run("SQS refuses the receive that follows", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			if _, err := w.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &w.key}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(31 * time.Second)
			w.server.Intercept(func(req *sqsxtest.Request) error {
				if req.Action == "sqs:ReceiveMessage" {
					return &smithy.GenericAPIError{Code: "AccessDenied", Message: "no"}
				}
				return nil
			})
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
			send(t, w.plain, url, "plaintext")
			accepting := w.client(func(o *sqsx.Options) { o.Policy.AcceptPlaintext = true })
			if out, err := receive(t.Context(), accepting, url); err != nil || len(out.Messages) != 1 {
				t.Errorf("got %v, want the hold to be the other Sealer's", err)
			}
		})
	})
	t.Run("NoHold", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world, client *sqs.Client, url string, r *recorder) {
			send(t, w.plain, url, "plaintext")
			sealer := w.sealer(func(o *sqsx.Options) { o.Policy.NoHold = true })
			if err := errOf(receive(t.Context(), sealer.Wrap(w.plain), url)); !isWithheld(err) {
				t.Errorf("got %v, want a receive that went ahead", err)
			}
			if stats := sealer.Stats(); stats.Asked != 0 || stats.Parked != 0 || stats.Held != 0 {
				t.Errorf("asked %d times, parked %d, held %d; want none", stats.Asked, stats.Parked, stats.Held)
			}
			if n := w.count("sqs:ChangeMessageVisibilityBatch"); n != 1 { // of held
				t.Errorf("%d requests to park, want the one of the other client", n)
			}
		})
	})
}

func errOf(_ *sqs.ReceiveMessageOutput, err error) error { return err }

// TestHoldLiftsForAll has eight receivers wait while the key is enabled again:
// they all go ahead with the next question, and the parked message is back.
func TestHoldLiftsForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, sealer := w.queue("orders"), w.sealer()
		client := sealer.Wrap(w.plain)
		producer := w.client()
		for range 20 {
			send(t, producer, url, "in front")
		}
		receiveAll(t, client, url, 20)
		held(t, w, client, url)
		if _, err := w.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &w.key}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			send(t, producer, url, "behind it")
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
				t.Errorf("a receive set out %v after the first, want at once", late)
			}
		}
		stats := sealer.Stats()
		if got != 21 || len(receives) != 8 || stats.Parked != 1 || stats.TakenBack != 1 {
			t.Errorf("got %d messages by %d receives, %d parked and %d taken back; want 21 by 8, 1 and 1", got, len(receives), stats.Parked, stats.TakenBack)
		}
	})
}

// TestHostileMessageDoesNotHoldForEver puts a message on a quiet queue that KMS
// will refuse for ever, for its encryption context, and a healthy one behind
// it.
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

// TestRefusedMessageOnAQuietQueue leaves one message on the queue whose data
// key KMS refuses for ever, while the key that all others are under is healthy.
// It has no dead-letter queue to go to.
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
					o.KMSKeyring.DecryptKeys = []string{old}
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

// TestFirstQuestion looks at the first receives of a process while KMS hangs:
// none continues, one that gives up leaves the question to the others, and its
// answer is for all.
func TestFirstQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var log syncBuffer
		url, sealer := w.queue("orders"), w.sealer(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		client := sealer.Wrap(w.plain)
		send(t, w.client(), url, "x")
		var r recorder
		w.server.Intercept(r.record(func(req *sqsxtest.Request) error {
			if req.Action == "kms:Decrypt" {
				<-req.Context().Done()
			}
			return nil
		}))
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if err := errOf(poll(t.Context(), client, url)); !errors.Is(err, sqsx.ErrHeld) || !errors.Is(err, envelope.ErrUnavailable) {
					t.Errorf("got %v, want ErrHeld, because KMS is unreachable", err)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := errOf(receive(ctx, client, url)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sqsx.ErrHeld) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		wg.Wait()
		if got := len(r.snapshot()); got != 0 {
			t.Errorf("%d receives reached SQS, want none", got)
		}
		if asked := sealer.Stats().Asked; asked < 2 || asked > 5 {
			t.Errorf("KMS was asked %d times by 32 receives in 20 s, want 2 to 5 times", asked)
		}
		if n := strings.Count(log.String(), `"sealq: receives held: key service unavailable" queue=arn`); n < 1 || n > 3 || !strings.Contains(log.String(), "remedy=") {
			t.Errorf("got %d lines that receives are held, want one in ten seconds, with a remedy:\n%s", n, log.String())
		}
		w.server.Intercept(nil)
		time.Sleep(31 * time.Second)
		if out, err := poll(t.Context(), client, url); err != nil || len(out.Messages) != 1 {
			t.Errorf("got %v, want the message", err)
		}
	})
}

// TestCallersWithLittleTime: a question outlives the callers that wait for it.
func TestCallersWithLittleTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		send(t, w.client(), url, "x")
		w.server.Intercept(func(req *sqsxtest.Request) error {
			if strings.HasPrefix(req.Action, "kms:") {
				time.Sleep(1500 * time.Millisecond)
			}
			return nil
		})
		start := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			out, err := receive(ctx, client, url)
			cancel()
			if err == nil && len(out.Messages) == 1 {
				break
			}
			if time.Since(start) > 5*time.Second {
				t.Fatalf("got %v, want the message within 5 s", err)
			}
		}
	})
}

// TestPanicOfAKeyringThatIsAsked does not end the process.
func TestPanicOfAKeyringThatIsAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url := w.queue("orders")
		s, err := sqsx.New(panicking{mustKeyring(t, w)}, func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })
		if err != nil {
			t.Fatal(err)
		}
		if err := errOf(receive(t.Context(), s.Wrap(w.plain), url)); !errors.Is(err, sqsx.ErrHeld) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want ErrHeld without the panic's value", err)
		}
	})
}

// panicking is a keyring that panics when it is asked whether it may decrypt.
type panicking struct{ envelope.Keyring }

func (panicking) CheckDecrypt(context.Context, envelope.EncryptionContext) error { panic("secret") }

// TestWhatIsParked looks at the time for which single messages are invisible.
func TestWhatIsParked(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	for name, tc := range map[string]struct {
		warm, sealed, fifo bool
		attributes         []string
		denied             string // action
		visibility         int32  // that receives ask for
		want               []time.Duration
	}{
		"invalid, nothing ever opened":     {want: []time.Duration{5 * minute, 40 * minute, 60 * minute, 60 * minute}},
		"invalid, something has opened":    {warm: true, want: []time.Duration{minute / 2, minute / 2}},
		"key refused, for this one only":   {sealed: true, want: []time.Duration{minute / 2, 30 * minute, 60 * minute, 60 * minute}},
		"the same, something opened":       {sealed: true, warm: true, want: []time.Duration{minute / 2, 30 * minute}},
		"FIFO":                             {fifo: true, want: []time.Duration{minute / 2, minute / 2}},
		"long visibility timeout":          {attributes: []string{"VisibilityTimeout", "600"}, want: []time.Duration{10 * minute, 40 * minute}},
		"the receive's visibility timeout": {visibility: 600, want: []time.Duration{10 * minute, 40 * minute}},
		"short retention":                  {attributes: []string{"MessageRetentionPeriod", "300"}, want: []time.Duration{37 * time.Second, 32 * time.Second}},
		"maxReceiveCount 1":                {attributes: []string{"maxReceiveCount", "1"}, want: []time.Duration{minute / 2}},
		"no sqs:GetQueueAttributes":        {denied: "sqs:GetQueueAttributes", want: []time.Duration{minute / 2, 40 * minute, 60 * minute}},
		"no sqs:ChangeMessageVisibility":   {denied: "sqs:ChangeMessageVisibilityBatch", want: []time.Duration{minute / 2, minute / 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				queue := "orders"
				if tc.fifo {
					queue += ".fifo"
				}
				var url string
				if len(tc.attributes) > 0 && tc.attributes[0] == "maxReceiveCount" {
					url, _ = w.withDLQ(queue, 1)
				} else {
					url = w.queue(queue, tc.attributes...)
				}
				put := func(c *sqs.Client, body string) {
					t.Helper()
					in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
					if tc.fifo {
						in.MessageGroupId, in.MessageDeduplicationId = aws.String("group"), &body
					}
					if _, err := c.SendMessage(t.Context(), in); err != nil {
						t.Fatal(err)
					}
				}
				var logs bytes.Buffer
				client := w.client(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
				if tc.warm {
					put(w.client(), "healthy")
					receiveAll(t, client, url, 1)
				}
				if tc.sealed {
					put(w.client(asHostile), "refused")
				} else {
					put(w.plain, "junk")
				}
				w.server.Intercept(func(r *sqsxtest.Request) error {
					if r.Action == tc.denied {
						return &smithy.GenericAPIError{Code: "AccessDenied", Message: "no"}
					}
					return refuseHostile(0)(r)
				})
				get := func() bool {
					_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, VisibilityTimeout: tc.visibility})
					if err != nil && !isWithheld(err) && !errors.Is(err, sqsx.ErrHeld) {
						t.Fatal(err)
					}
					return isWithheld(err)
				}
				if !get() {
					t.Fatal("the message was not received")
				}
				if tc.sealed { // the next receive asks, and the key service says yes
					time.Sleep(time.Second)
					get()
					synctest.Wait()
				}
				for i, want := range tc.want {
					time.Sleep(want - time.Second)
					if get() {
						t.Errorf("the message was received sooner than %v after its receive %d", want, i+1)
					}
					time.Sleep(2 * time.Second)
					if last := i == len(tc.want)-1 && (strings.Contains(name, "retention") || strings.Contains(name, "maxReceiveCount")); !last && !get() {
						t.Fatalf("the message was not received %v after its receive %d", want, i+1)
					}
				}
				if n := strings.Count(logs.String(), "permission missing"); tc.denied == "" && n > 0 || tc.denied != "" && (n < 1 || n > 2 || !strings.Contains(logs.String(), "sqs:")) {
					t.Errorf("got %d lines about the permission, want one an hour that names it:\n%s", n, logs.String())
				}
			})
		})
	}
}

// TestFailuresOfParking: SQS times out, or fails single messages. Neither fails
// the receive, nor stops the next attempt.
func TestFailuresOfParking(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]string{"attributes": "sqs:GetQueueAttributes", "visibility": "sqs:ChangeMessageVisibilityBatch"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, sealer := w.queue("orders"), w.sealer()
				client := sealer.Wrap(w.plain)
				send(t, w.plain, url, "junk")
				w.server.Intercept(func(r *sqsxtest.Request) error {
					if r.Action == action {
						<-r.Context().Done()
						return errAway
					}
					return nil
				})
				start := time.Now()
				if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) || time.Since(start) > 2*time.Second {
					t.Errorf("got %v after %v, want a *ReceiveError within 2 s", err, time.Since(start))
				}
				w.server.Intercept(nil)
				time.Sleep(61 * time.Second)
				if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) || sealer.Stats().Parked != 1 {
					t.Errorf("got %v and %d parked, want the message to be parked now", err, sealer.Stats().Parked)
				}
			})
		})
	}
}

// TestParkedAfterTheCallerGaveUp: the caller's context ends while a message is
// opened. It is parked all the same, by a request that waits for no caller.
func TestParkedAfterTheCallerGaveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, sealer := w.queue("orders"), w.sealer()
		send(t, w.client(), url, "healthy")
		ctx, cancel := context.WithCancel(t.Context())
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" && !bytes.Contains(r.Body, []byte(`"DryRun":true`)) {
				cancel()
				return errAway
			}
			return nil
		})
		if err := errOf(receive(ctx, sealer.Wrap(w.plain), url)); !isWithheld(err) {
			t.Errorf("got %v, want a *ReceiveError", err)
		}
		if ctx.Err() == nil || sealer.Stats().Parked != 1 {
			t.Errorf("the caller's context: %v, %d parked; want it to have ended, and 1", ctx.Err(), sealer.Stats().Parked)
		}
		time.Sleep(15*time.Minute - time.Second)
		if out, err := receive(t.Context(), w.plain, url); err != nil || len(out.Messages) != 0 {
			t.Errorf("got a message or error %v within 15 minutes, want nothing", err)
		}
		time.Sleep(time.Second)
		if out, err := receive(t.Context(), w.plain, url); err != nil || len(out.Messages) != 1 {
			t.Errorf("got no message and error %v after 15 minutes, want the message", err)
		}
	})
}

// TestParkedQueueIsNotEmpty: while a parked message is out, an empty receive is
// an error, until something is delivered, or the parking ends.
func TestParkedQueueIsNotEmpty(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, sealer := w.queue("orders"), w.sealer()
		client := sealer.Wrap(w.plain)
		send(t, w.plain, url, "junk")
		if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) {
			t.Fatalf("got %v", err)
		}
		start := time.Now()
		if err := errOf(poll(t.Context(), client, url)); !errors.Is(err, sqsx.ErrHeld) || !errors.Is(err, sqsx.ErrNotSealed) || time.Since(start) != 20*time.Second {
			t.Errorf("got %v after %v, want ErrHeld with the cause after the long poll", err, time.Since(start))
		}
		send(t, client, url, "healthy")
		receiveAll(t, client, url, 1)
		if out, err := poll(t.Context(), client, url); err != nil || len(out.Messages) != 0 {
			t.Errorf("got %v, want nothing: a message was delivered meanwhile", err)
		}
	})
}

// TestOwnClientParks: requests of the hold go where those of the client go,
// with its credentials, and are not sealed or opened.
func TestOwnClientParks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, sealer := w.queue("orders"), w.sealer()
		client := sqs.NewFromConfig(aws.Config{Region: w.cfg.Region, Credentials: w.cfg.Credentials}, sealer.Install, func(o *sqs.Options) {
			o.BaseEndpoint, o.HTTPClient = w.cfg.BaseEndpoint, w.cfg.HTTPClient // after the Sealer
		})
		send(t, w.plain, url, "junk")
		if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) || sealer.Stats().Parked != 1 {
			t.Errorf("got %v and %d parked, want 1", err, sealer.Stats().Parked)
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

// TestQueueWithoutAnAccount is refused before a message is received for
// nothing.
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

// TestClientsThatPark: the hold's own requests go where the receive went,
// whatever way the client was made.
func TestClientsThatPark(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		client func(w *world, s *sqsx.Sealer) *sqs.Client
		call   []func(*sqs.Options)
		region string
	}{
		"options made by hand": {client: func(w *world, s *sqsx.Sealer) *sqs.Client {
			o := sqs.Options{Region: w.cfg.Region, Credentials: w.cfg.Credentials, BaseEndpoint: w.cfg.BaseEndpoint, HTTPClient: w.cfg.HTTPClient}
			s.Install(&o)
			return sqs.New(o)
		}, region: sqsxtest.DefaultRegion},
		"the Region of a call": {client: func(w *world, s *sqsx.Sealer) *sqs.Client { return sqs.NewFromConfig(w.cfg, s.Install) },
			call: []func(*sqs.Options){func(o *sqs.Options) { o.Region = "eu-west-1" }}, region: "eu-west-1"},
		"a derived client": {client: func(w *world, s *sqsx.Sealer) *sqs.Client {
			return sqs.New(sqs.NewFromConfig(w.cfg, s.Install).Options(), func(o *sqs.Options) { o.Region = "eu-west-1" }, s.Install)
		}, region: "eu-west-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				regional := sqs.NewFromConfig(w.cfg, func(o *sqs.Options) { o.Region = tc.region })
				out, err := regional.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := regional.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: aws.String("junk")}); err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				elsewhere := make(map[string]string)
				w.server.Intercept(func(r *sqsxtest.Request) error {
					if strings.HasPrefix(r.Action, "sqs:") && r.Region != tc.region {
						mu.Lock()
						elsewhere[r.Action] = r.Region
						mu.Unlock()
					}
					return nil
				})
				sealer := w.sealer()
				_, err = tc.client(w, sealer).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: out.QueueUrl}, tc.call...)
				if !isWithheld(err) || sealer.Stats().Parked != 1 || len(elsewhere) > 0 {
					t.Errorf("got %v, %d parked, requests to other Regions %v; want one parked, and none", err, sealer.Stats().Parked, elsewhere)
				}
			})
		})
	}
}

// TestManyQueues: a Sealer keeps what it knows of 4,096 queues. A further one
// is received from all the same, and a queue that is not in use makes room.
func TestManyQueues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const known = 4096
		w := newWorld(t)
		url, sealer := w.queue("orders"), w.sealer()
		client := sealer.Wrap(w.plain)
		w.server.Intercept(kmsFails(errAway))
		base := strings.TrimSuffix(url, "orders")
		get := func(name string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			return errOf(receive(ctx, client, base+name))
		}
		var wg sync.WaitGroup
		for i := range known {
			wg.Go(func() {
				if err := get(fmt.Sprint("queue-", i)); !errors.Is(err, sqsx.ErrHeld) {
					t.Errorf("queue %d: got %v, want ErrHeld", i, err)
				}
			})
		}
		wg.Wait()
		if err := get("orders"); err != nil {
			t.Errorf("one queue more: got %v, want a receive that goes ahead", err)
		}
	})
}

// TestForgedEvidence: the consumer of a dead-letter queue may decrypt under the
// source's name only. A message that says it was sealed for the dead-letter
// queue itself is refused, and anyone who may send can write one. It does not
// stop the consumer, whether it came by redrive or was sent there, and whatever
// the consumer has opened before.
func TestForgedEvidence(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		warm, direct bool
		forged       int
		attributes   []string // of the dead-letter queue
		blind        bool     // the attributes cannot be read
		within       time.Duration
	}{
		"redriven, fresh":   {forged: 1, within: time.Minute},
		"redriven, warm":    {warm: true, forged: 1, within: time.Minute},
		"sent there, warm":  {warm: true, direct: true, forged: 1, within: time.Minute},
		"sent there, fresh": {direct: true, forged: 1, within: time.Minute},
		"many of them":      {direct: true, forged: 100, within: time.Minute},

		// One receive of one message in 30 seconds at the least. A message that is
		// not parked when it is received first takes two.
		"a redrive policy of its own":           {direct: true, forged: 1, within: 2 * time.Minute, attributes: redriveToLast},
		"a redrive policy of its own, many":     {direct: true, forged: 20, within: 10 * time.Minute, attributes: redriveToLast},
		"sqs:GetQueueAttributes denied":         {direct: true, forged: 1, within: 2 * time.Minute, blind: true},
		"sqs:GetQueueAttributes denied, twenty": {direct: true, forged: 20, within: 30 * time.Minute, blind: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, dlq := w.withDLQ("orders", 1, "VisibilityTimeout", "30")
				w.queue("last")
				w.setAttributes(dlq, tc.attributes...)
				w.server.Intercept(func(r *sqsxtest.Request) error { // the role's policy
					if r.Action == "kms:Decrypt" && strings.Contains(string(r.Body), arnOf("orders-dlq")) ||
						r.Action == "sqs:GetQueueAttributes" && tc.blind {
						return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
					}
					return nil
				})
				redrive := func() { // all that is there
					for range 3 {
						_, _ = receive(t.Context(), w.plain, url)
						time.Sleep(31 * time.Second)
					}
				}
				reader := w.client()
				if tc.warm {
					send(t, w.client(), url, "first")
					redrive()
					w.delivers(reader, dlq, 1, time.Minute)
				}
				body, header := w.sealed("orders", "seen in the queue")
				forged := forgedFor(t, "orders-dlq", body, header)
				for range tc.forged {
					if tc.direct {
						w.put(dlq, forged)
					} else {
						w.put(url, forged)
					}
				}
				redrive()
				w.delivers(reader, dlq, 0, time.Minute)
				_, _ = poll(t.Context(), reader, dlq)
				for range 10 {
					send(t, w.client(), url, "healthy")
				}
				redrive()
				w.delivers(reader, dlq, 10, tc.within)
				time.Sleep(15 * time.Second) // a question that is under way ends
			})
		})
	}
}

// redriveToLast are attributes of a queue that redrives to the queue "last".
var redriveToLast = []string{"RedrivePolicy", fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":3}`, arnOf("last"))}

// forgedFor returns a message that says it was sealed for the queue.
func forgedFor(t *testing.T, queue, body string, header []byte) badMessage {
	return badMessage{body: body, attributes: sealqAttribute(altered(t, header, func(h *envelope.Header) {
		h.EncryptionContext["sealq:queue"] = arnOf(queue)
	}))}
}

// setAttributes sets attributes of a queue, in pairs of a name and a value.
func (w *world) setAttributes(url string, attributes ...string) {
	w.t.Helper()
	for pair := range slices.Chunk(attributes, 2) {
		_, err := w.plain.SetQueueAttributes(w.t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{pair[0]: pair[1]}})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// delivers checks that reader, in one loop, delivers so many messages in time.
func (w *world) delivers(reader *sqs.Client, url string, want int, within time.Duration) {
	w.t.Helper()
	got, began := 0, time.Now()
	for time.Since(began) < within && (got < want || want == 0) {
		out, err := poll(w.t.Context(), reader, url)
		if err != nil {
			continue
		}
		for _, m := range out.Messages {
			got++
			if _, err := w.plain.DeleteMessage(w.t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				w.t.Error(err)
			}
		}
	}
	w.t.Logf("%d delivered in %v", got, time.Since(began))
	if got != want {
		w.t.Errorf("%d messages were delivered within %v, want %d", got, within, want)
	}
}

// TestForgedEvidenceWhereOtherNamesOpen: a consumer accepts messages under
// other names than its own, and its role may decrypt under those only.
// Messages that say they were sealed for the queue itself do not stop a fresh
// process.
func TestForgedEvidenceWhereOtherNamesOpen(t *testing.T) {
	t.Parallel()
	topic := "arn:aws:sns:" + sqsxtest.DefaultRegion + ":" + sqsxtest.DefaultAccount + ":orders"
	for name, tc := range map[string]struct {
		sealedFor string
		policy    sqsx.Policy
	}{
		"AcceptQueues": {arnOf("source"), sqsx.Policy{AcceptQueues: []string{arnOf("source")}}},
		"AcceptTopics": {topic, sqsx.Policy{AcceptTopics: []string{topic}}},
		"NoBinding":    {arnOf("source"), sqsx.Policy{NoBinding: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url := w.queue("orders")
				w.queue("last")
				w.setAttributes(url, append([]string{"VisibilityTimeout", "30"}, redriveToLast...)...)
				w.server.Intercept(func(r *sqsxtest.Request) error { // the role's policy
					if r.Action == "kms:Decrypt" && !strings.Contains(string(r.Body), tc.sealedFor) {
						return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
					}
					return nil
				})
				healthy := func() badMessage {
					out, err := w.sealer().SealMessage(t.Context(), arnOf("source"), &sqs.SendMessageInput{MessageBody: aws.String("healthy")})
					if err != nil {
						t.Fatal(err)
					}
					return badMessage{body: *out.MessageBody, attributes: out.MessageAttributes}
				}
				if tc.sealedFor == topic {
					healthy = func() badMessage {
						m, err := envelope.Seal(t.Context(), mustKeyring(t, w), []byte("healthy"), envelope.EncryptionContext{"sealq:queue": topic})
						if err != nil {
							t.Fatal(err)
						}
						return badMessage{body: base64.StdEncoding.EncodeToString(m.Body), attributes: sealqAttribute(m.Header)}
					}
				}
				body, header := w.sealed("source", "seen in the queue")
				forged := forgedFor(t, "orders", body, header)
				if tc.policy.NoBinding {
					forged.attributes = sealqAttribute(altered(t, header, func(h *envelope.Header) { delete(h.EncryptionContext, "sealq:queue") }))
				}
				reader := w.client(func(o *sqsx.Options) { o.Queues = map[string]sqsx.Policy{"orders": tc.policy} })
				for range 40 { // more than single receives would pass in a minute
					w.put(url, forged)
				}
				w.delivers(reader, url, 0, time.Minute)
				_, _ = poll(t.Context(), reader, url)
				for range 3 {
					w.put(url, healthy())
				}
				w.delivers(reader, url, 3, 5*time.Second)
				time.Sleep(15 * time.Second) // a question that is under way ends
			})
		})
	}
}
