package sqsx_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
)

// consumeToFirstError is a consumer that takes any error of ReceiveMessage for
// the end. It deletes what it gets, and returns when it has got n messages.
func consumeToFirstError(ctx context.Context, c *sqs.Client, url string, n int) (got []string, err error) {
	for len(got) < n {
		out, err := poll(ctx, c, url)
		if err != nil {
			return got, err
		}
		for _, m := range out.Messages {
			if _, err := c.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return got, err
			}
			got = append(got, *m.Body)
		}
	}
	return got, nil
}

func noReceiveErrors(o *sqsx.Options) {
	o.Queues = map[string]sqsx.Policy{"orders*": {NoReceiveErrors: true}}
}

// TestNoReceiveErrors runs a consumer that ends at the first error: on a queue
// with a message that does not open, and through an outage of KMS. With the
// policy it lives, and delivers what it can; without, it does not.
func TestNoReceiveErrors(t *testing.T) {
	t.Parallel()
	for _, quiet := range []bool{true, false} {
		option := func(*sqsx.Options) {}
		name := "without"
		if quiet {
			option, name = noReceiveErrors, "with"
		}
		t.Run("a message that does not open, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, dlq := w.withDLQ("orders", 3)
				s := w.sealer(option)
				send(t, w.plain, url, "not sealed")
				sending := time.AfterFunc(2*time.Hour, func() { send(t, w.client(), url, "healthy") })
				defer sending.Stop()
				start := time.Now()
				got, err := consumeToFirstError(t.Context(), s.Wrap(w.plain), url, 1)
				if !quiet {
					if !isWithheld(err) {
						t.Errorf("got %v, want a *ReceiveError", err)
					}
					return
				}
				if took := time.Since(start); err != nil || !slices.Equal(got, []string{"healthy"}) || took > 2*time.Hour+time.Minute {
					t.Errorf("got %q and error %v after %v, want the healthy message within a minute", got, err, took)
				}
				// No busy loop: long polls, and a few receives that brought the
				// message, which return at once.
				if got := w.count("sqs:ReceiveMessage"); got > 400 {
					t.Errorf("got %d requests in %v, want at most 400", got, time.Since(start))
				}
				if stats := s.Stats(); stats.Emptied == 0 || stats.WithheldMessage == 0 {
					t.Errorf("got %+v, want emptied receives and a withheld message", stats)
				}
				if got := len(w.server.Stored(dlq)); got != 1 {
					t.Errorf("got %d messages in the dead-letter queue, want the one that does not open", got)
				}
			})
		})
		t.Run("an outage of KMS, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const outage, sent = 20 * time.Minute, 5
				w := newWorld(t)
				url, dlq := w.withDLQ("orders", 10)
				for range sent {
					send(t, w.client(), url, "healthy")
				}
				var log bytes.Buffer
				meter := newMeter()
				s := w.sealer(option, func(o *sqsx.Options) {
					o.Logger, o.MeterProvider = slog.New(slog.NewTextHandler(&log, nil)), provider{meter}
				})
				var r recorder
				w.server.Intercept(r.record(kmsFails(errAway)))
				end := time.AfterFunc(outage, func() { w.server.Intercept(nil) })
				defer end.Stop()
				start := time.Now()
				got, err := consumeToFirstError(t.Context(), s.Wrap(w.plain), url, sent)
				if !quiet {
					if took := time.Since(start); !isWithheld(err) && !errors.Is(err, sqsx.ErrHeld) || took > time.Minute {
						t.Errorf("got %q and error %v after %v, want a *ReceiveError or ErrHeld at once", got, err, took)
					}
					return
				}
				took := time.Since(start)
				t.Logf("delivered after %v; %d receives, %+v", took, len(r.snapshot()), s.Stats())
				if err != nil || len(got) != sent || took > outage+90*time.Second || len(w.server.Stored(dlq)) > 0 {
					t.Errorf("got %q and error %v after %v, %d in the dead-letter queue; want all %d within 90s of the end", got, err, took, len(w.server.Stored(dlq)), sent)
				}
				// No busy loop: fewer calls than one a second, even though each
				// returns without an error.
				stats := s.Stats()
				if stats.Emptied == 0 || stats.Emptied > uint64(outage/time.Second) || stats.Held == 0 {
					t.Errorf("got %d emptied receives, %d held; want some, at most one a second", stats.Emptied, stats.Held)
				}
				if got := meter.collect(t.Context())["sealq.receives.emptied "+arnOf("orders")]; got != int64(stats.Emptied) {
					t.Errorf("the meter has %d emptied receives, want %d", got, stats.Emptied)
				}
				const line = `msg="sealq: receives held: key service unavailable"`
				if text := log.String(); !strings.Contains(text, line) || !strings.Contains(text, "remedy=") || !strings.Contains(text, arnOf("orders")) {
					t.Errorf("got the log\n%s\nwant a line with %s, the queue and a remedy", text, line)
				}
				if lines := strings.Count(log.String(), "\n"); lines > 2*int(outage/(10*time.Second)) {
					t.Errorf("got %d log lines in %v, want at most one of each kind in 10s", lines, outage)
				}
			})
		})
	}
}

// TestJunkDoesNotDelayAQuietConsumer puts many messages that do not open in
// front of one that does: none of them may cost the consumer a long poll.
func TestJunkDoesNotDelayAQuietConsumer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client(noReceiveErrors)
		send(t, client, url, "first")
		if got, err := consumeToFirstError(t.Context(), client, url, 1); err != nil || len(got) != 1 {
			t.Fatalf("got %q and error %v", got, err)
		}
		for range 200 {
			send(t, w.plain, url, "not sealed")
		}
		send(t, client, url, "healthy")
		start := time.Now()
		got, err := consumeToFirstError(t.Context(), client, url, 1)
		if took := time.Since(start); err != nil || len(got) != 1 || took > time.Second {
			t.Errorf("got %q and error %v after %v, want the healthy message within a second", got, err, took)
		}
	})
}

// TestErrorsThatStay are no news of messages that do not open.
func TestErrorsThatStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, other := w.queue("orders"), w.queue("payments")
		s := w.sealer(noReceiveErrors)
		client := s.Wrap(w.plain)
		send(t, w.plain, url, "not sealed")
		send(t, w.plain, other, "not sealed")

		out, err := receive(t.Context(), client, url)
		if err != nil || out == nil || len(out.Messages) != 0 || len(sqsx.Withheld(out.ResultMetadata)) != 1 {
			t.Errorf("got %v and error %v, want an empty result that knows of the withheld message", out, err)
		}
		if _, err := receive(t.Context(), client, other); !isWithheld(err) {
			t.Errorf("another queue: got error %v, want a *ReceiveError", err)
		}
		bare := sqs.NewFromConfig(w.cfg, w.sealer(noReceiveErrors).Install)
		if _, err := receive(t.Context(), bare, "orders"); err == nil {
			t.Error("a queue without an account: got no error")
		}
		if _, err := receive(t.Context(), (*sqsx.Sealer)(nil).Wrap(w.plain), url); !errors.Is(err, sqsx.ErrUninitialized) {
			t.Errorf("nil Sealer: got error %v, want ErrUninitialized", err)
		}
		if _, err := receive(t.Context(), client, url+"-2"); err == nil {
			t.Error("a queue that does not exist: got no error")
		} else if _, ok := errors.AsType[*types.QueueDoesNotExist](err); !ok {
			t.Errorf("a queue that does not exist: got error %v", err)
		}
		if _, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url}, func(o *sqs.Options) { o.APIOptions = nil }); !errors.Is(err, sqsx.ErrBypassed) {
			t.Errorf("bypassed: got error %v, want ErrBypassed", err)
		}
		ended, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if _, err := client.ReceiveMessage(ended, &sqs.ReceiveMessageInput{QueueUrl: aws.String(w.queue("orders-2")), WaitTimeSeconds: 20}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's time is over: got error %v, want that", err)
		}
		if got := s.Stats().Emptied; got != 1 {
			t.Errorf("got %d emptied receives, want the first one", got)
		}
	})
}
