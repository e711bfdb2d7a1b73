package lambdax_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// visible waits until each message of a queue is visible again, and returns
// when that was, by its sealed body. The queue's timeout is 30 seconds.
func (w *world) visible(t *testing.T, url string, n int) map[string]time.Duration {
	t.Helper()
	start, back := time.Now(), make(map[string]time.Duration)
	for len(back) < n && time.Since(start) < 13*time.Hour {
		out, err := w.outsider.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, VisibilityTimeout: 43_200})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Messages {
			back[*m.Body] = time.Since(start)
		}
		time.Sleep(time.Second)
	}
	return back
}

// TestBackOff makes what may succeed later invisible for the time that the
// caller says: in a partial failure, in an outage, and without reports. What is
// invalid goes its way to the dead-letter queue.
func TestBackOff(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cut    bool
		optFn  func(*lambdax.Options)
		want   []time.Duration // of "works", "fails", "panics" and "not sealed"
		called string
	}{
		"reported":     {false, reports, []time.Duration{30, 120, 120, 30}, "fails 1, panics 1"},
		"not read":     {false, func(*lambdax.Options) {}, []time.Duration{30, 120, 120, 30}, "fails 1, panics 1"},
		"in an outage": {true, reports, []time.Duration{120, 120, 120, 30}, "1, 1, 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				sealing := w.producer(t)
				msgs := w.send(t, "orders", message{sealing, "", "works"}, message{sealing, "", "fails"}, message{sealing, "", "panics"}, message{w.outsider, "", "not sealed"})
				r := recorder{does: map[string]func(context.Context) error{"fails": fails, "panics": panics}}
				if tc.cut {
					w.server.CutKMS()
				}
				var called []string
				h := lambdax.New(w.sealer(t), r.work, tc.optFn, func(o *lambdax.Options) {
					o.Logger = slog.New(slog.DiscardHandler)
					o.SQS = w.outsider
					o.BackOff = func(m lambdax.Message, receives int) time.Duration {
						if tc.cut { // the body is sealed
							called = append(called, fmt.Sprint(receives))
						} else {
							called = append(called, fmt.Sprint(*m.Body, " ", receives))
						}
						return 2 * time.Minute
					}
				})
				start := time.Now()
				h.Handle(t.Context(), event(t, "orders", msgs))
				waited := time.Since(start)
				if got := strings.Join(called, ", "); got != tc.called {
					t.Errorf("asked for %q, want %q", got, tc.called)
				}
				if got := w.server.Count("sqs:ChangeMessageVisibilityBatch"); got != 1 {
					t.Errorf("got %d requests, want 1 of all messages", got)
				}
				back := w.visible(t, w.server.NewQueue("orders"), 4)
				for i, m := range msgs {
					got := back[*m.Body]
					want := tc.want[i] * time.Second
					if want == 30*time.Second {
						want -= waited // the queue's own, since the receive
					}
					if got < want-time.Second || got > want+2*time.Second {
						t.Errorf("message %d is back after %v, want %v", i, got, want)
					}
				}
			})
		})
	}
}

// entries are what a request asked for.
type entries struct {
	QueueUrl string
	Entries  []struct {
		ReceiptHandle     string
		VisibilityTimeout int
	}
}

func (w *world) visibilityRequests(t *testing.T) (all []entries) {
	t.Helper()
	for _, r := range w.server.Requests() {
		if r.Action == "sqs:ChangeMessageVisibilityBatch" {
			var e entries
			if err := json.Unmarshal(r.Body, &e); err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
	}
	return all
}

// TestBackOffTimes are rounded up to seconds and bounded by what SQS allows.
func TestBackOffTimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	times := []time.Duration{time.Millisecond, 0, -time.Hour, 1500 * time.Millisecond, time.Hour, 24 * time.Hour, 1<<63 - 1}
	want := []int{1, 2, 3600, 42_000, 42_000}
	msgs := w.sealed(t, "orders", "m", len(times), 1)
	r := recorder{does: map[string]func(context.Context) error{}}
	for i := range msgs {
		msgs[i].ReceiptHandle = aws.String(fmt.Sprint("handle-", i))
		msgs[i].Attributes = map[string]string{"ApproximateReceiveCount": fmt.Sprint(i + 1)}
		r.does[fmt.Sprint("m-", i)] = fails
	}
	msgs[0].Attributes = nil // an unknown count is 1
	h := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) {
		o.SQS = w.outsider
		o.BackOff = func(_ lambdax.Message, receives int) time.Duration { return times[receives-1] }
	})
	h.Handle(t.Context(), lambdax.NewEvent(arnOf("orders"), msgs))
	var got []int
	for _, r := range w.visibilityRequests(t) {
		for _, e := range r.Entries {
			got = append(got, e.VisibilityTimeout)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seconds (-want +got):\n%s", diff)
	}
}

// TestBackOffOfAGroup gives what follows a failure the same time: else the
// group would wait for the queue's visibility timeout of its followers. A group
// behind an invalid message, and one that was not started, keep theirs.
func TestBackOffOfAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealing := w.producer(t)
	msgs := w.send(t, "orders.fifo",
		message{sealing, "a", "works"}, message{sealing, "a", "fails"}, message{sealing, "a", "behind"}, message{sealing, "a", "behind, too"},
		message{w.outsider, "b", "not sealed"}, message{sealing, "b", "behind it"}, message{sealing, "c", "alone"})
	r := recorder{does: map[string]func(context.Context) error{"fails": fails}}
	asked := 0
	h := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) {
		o.SQS = w.outsider
		o.BackOff = func(lambdax.Message, int) time.Duration { asked++; return time.Duration(asked) * time.Minute }
	})
	if _, err := h.Handle(t.Context(), event(t, "orders.fifo", msgs)); err != nil {
		t.Fatal(err)
	}
	want := []entries{{QueueUrl: "https://sqs.us-east-1.amazonaws.com/000000000000/orders.fifo"}}
	for _, i := range []int{1, 2, 3} {
		want[0].Entries = append(want[0].Entries, struct {
			ReceiptHandle     string
			VisibilityTimeout int
		}{*msgs[i].ReceiptHandle, 60})
	}
	if diff := cmp.Diff(want, w.visibilityRequests(t)); diff != "" || asked != 1 {
		t.Errorf("asked %d times; requests (-want +got):\n%s", asked, diff)
	}
}

// TestBackOffOfWhatWasNotStarted is not asked for: the message is not to blame.
func TestBackOffOfWhatWasNotStarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	msgs := w.sealed(t, "orders", "m", 3, 1)
	for i := range msgs {
		msgs[i].ReceiptHandle = aws.String("h")
	}
	r := recorder{does: map[string]func(context.Context) error{"m-0": func(context.Context) error { cancel(); return nil }}}
	h := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) {
		o.SQS = w.outsider
		o.BackOff = func(m lambdax.Message, _ int) time.Duration {
			t.Errorf("asked for %s", *m.MessageId)
			return 0
		}
	})
	if got, err := h.Handle(ctx, lambdax.NewEvent(arnOf("orders"), msgs)); err != nil || len(got.BatchItemFailures) != 2 {
		t.Errorf("got %v and error %v, want 2 reported", got, err)
	}
}

// TestBackOffFails: what cannot be made invisible changes nothing else, and is
// one log line with the remedy.
func TestBackOffFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare func(*world, *lambdax.Options)
		want    string
	}{
		"no permission": {func(w *world, _ *lambdax.Options) { w.server.Deny("sqs:ChangeMessageVisibility") }, "AccessDenied"},
		"unreachable":   {func(w *world, _ *lambdax.Options) { w.server.Intercept(sqsFails) }, "no route to host"},
		"stale handles": {func(*world, *lambdax.Options) {}, "ReceiptHandleIsInvalid"},
		"BackOff panics": {func(_ *world, o *lambdax.Options) {
			o.BackOff = func(lambdax.Message, int) time.Duration { panic("the secret of this test") }
		}, "BackOff of lambdax panicked"},
		"SQS hangs":        {func(w *world, _ *lambdax.Options) { w.server.Intercept(sqsHangs) }, "deadline exceeded"},
		"no such queue":    {func(w *world, _ *lambdax.Options) {}, ""},
		"no handle at all": {func(*world, *lambdax.Options) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if name != "no such queue" {
					w.server.NewQueue("orders")
				}
				msgs := w.sealed(t, "orders", "m", 25, 1)
				r := recorder{does: map[string]func(context.Context) error{"m-24": func(context.Context) error { return nil }}}
				for i := range msgs {
					if msgs[i].ReceiptHandle = aws.String("stale"); name == "no handle at all" {
						msgs[i].ReceiptHandle = nil
					}
					if i < 24 {
						r.does[*msgs[i].MessageId] = fails
					}
				}
				var log bytes.Buffer
				h := lambdax.New(w.sealer(t), r.work, func(o *lambdax.Options) {
					o.ReportsFailures = true
					o.SQS = w.outsider
					o.OnError = func(context.Context, lambdax.Message, error) {}
					o.Logger = slog.New(slog.NewTextHandler(&log, nil))
					o.BackOff = func(lambdax.Message, int) time.Duration { return time.Minute }
					tc.prepare(w, o)
				})
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				got, err := h.Handle(ctx, lambdax.NewEvent(arnOf("orders"), msgs))
				if err != nil || len(got.BatchItemFailures) != 24 || ctx.Err() != nil {
					t.Errorf("got %d reported, error %v, context %v; want the report, in time", len(got.BatchItemFailures), err, ctx.Err())
				}
				if !strings.Contains(log.String(), tc.want) || strings.Contains(log.String(), "secret") {
					t.Errorf("got log %s, want a line that says %q", &log, tc.want)
				}
				lines := 1
				switch name {
				case "BackOff panics":
					lines = 24
				case "no handle at all":
					lines = 0
				}
				if n := strings.Count(log.String(), "\n"); n != lines {
					t.Errorf("got %d lines, want %d:\n%s", n, lines, &log)
				}
				if lines == 1 && (!strings.Contains(log.String(), "failed=24 of=24") || !strings.Contains(log.String(), "sqs:ChangeMessageVisibility")) {
					t.Errorf("got log %s, want the counts and the permission", &log)
				}
			})
		})
	}
}

func sqsFails(r *sqsxtest.Request) error {
	if strings.HasPrefix(r.Action, "sqs:") {
		return errors.New("no route to host")
	}
	return nil
}

func sqsHangs(r *sqsxtest.Request) error {
	if strings.HasPrefix(r.Action, "sqs:") {
		<-r.Context().Done()
		return r.Context().Err()
	}
	return nil
}

// TestBackOffOfTenThousand is 1,000 requests, ten at a time.
func TestBackOffOfTenThousand(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		msgs := w.sealed(t, "orders", "m", 10_000, 1)
		for i := range msgs {
			msgs[i].ReceiptHandle = aws.String(fmt.Sprint("handle-", i))
		}
		w.server.CutKMS()
		var log bytes.Buffer
		h := lambdax.New(w.sealer(t), new(recorder).work, func(o *lambdax.Options) {
			o.SQS = w.outsider
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o.BackOff = func(lambdax.Message, int) time.Duration { return time.Minute }
		})
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "sqs:ChangeMessageVisibilityBatch" {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		_, err := h.Handle(ctx, lambdax.NewEvent(arnOf("orders"), msgs))
		if !errors.Is(err, sqsx.ErrUnavailable) || ctx.Err() != nil {
			t.Errorf("got error %v, context %v, want ErrUnavailable in time", err, ctx.Err())
		}
		if got := w.server.Count("sqs:ChangeMessageVisibilityBatch"); got != 1000 {
			t.Errorf("got %d requests, want 1,000", got)
		}
	})
}

// TestQueueURL is made of the ARN and of where the client sends its requests:
// SQS reads the account and the name in it.
func TestQueueURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		arn    string
		region string // of the client
		base   string
		want   string
	}{
		"of AWS":                   {"arn:aws:sqs:us-east-1:000000000000:orders", "us-east-1", "", "https://sqs.us-east-1.amazonaws.com/000000000000/orders"},
		"of another account":       {"arn:aws:sqs:us-east-1:111122223333:orders", "us-east-1", "", "https://sqs.us-east-1.amazonaws.com/111122223333/orders"},
		"a client of another":      {"arn:aws:sqs:eu-west-1:000000000000:orders", "us-east-1", "", "https://sqs.eu-west-1.amazonaws.com/000000000000/orders"},
		"of another partition":     {"arn:aws-cn:sqs:cn-north-1:000000000000:orders", "cn-north-1", "", "https://sqs.cn-north-1.amazonaws.com.cn/000000000000/orders"},
		"an endpoint of one's own": {"arn:aws:sqs:us-east-1:000000000000:orders", "us-east-1", "http://localhost:4566/", "http://localhost:4566/000000000000/orders"},
	} {
		client := sqs.NewFromConfig(w.server.Config(), func(o *sqs.Options) {
			o.Region = tc.region
			if tc.base != "" {
				o.BaseEndpoint = &tc.base
			}
		})
		before := len(w.visibilityRequests(t))
		h := lambdax.New(w.sealer(t), new(recorder).work, func(o *lambdax.Options) {
			o.SQS = client
			o.Logger = slog.New(slog.DiscardHandler)
			o.BackOff = func(lambdax.Message, int) time.Duration { return time.Minute }
		})
		sealed, err := w.sealer(t).SealMessage(t.Context(), tc.arn, &sqs.SendMessageInput{MessageBody: aws.String("m")})
		if err != nil {
			t.Fatal(err)
		}
		restore := w.server.Deny("kms:Decrypt")
		h.Handle(t.Context(), lambdax.NewEvent(tc.arn, []types.Message{{
			MessageId: aws.String("1"), ReceiptHandle: aws.String("h"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes,
		}}))
		restore()
		var got []string
		for _, r := range w.visibilityRequests(t)[before:] {
			got = append(got, r.QueueUrl)
		}
		if diff := cmp.Diff([]string{tc.want}, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: queue URL (-want +got):\n%s", name, diff)
		}
		for _, r := range w.server.Requests() {
			if r.Action == "sqs:ChangeMessageVisibilityBatch" && strings.Contains(string(r.Body), tc.want) && !strings.Contains(tc.arn, ":"+r.Region+":") {
				t.Errorf("%s: the request went to %s", name, r.Region)
			}
		}
	}
}
