package sqsx_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// junkUnder returns what puts a new message into a queue each time, with an
// encrypted data key that KMS does not decrypt with key.
func junkUnder(w *world, queue, url, key string) (put func(edit func(*envelope.Header)), body string) {
	w.t.Helper()
	body, header := w.sealed(queue, "good")
	n := 0
	return func(edit func(*envelope.Header)) {
		n++
		w.put(url, badMessage{body: body, attributes: sealqAttribute(altered(w.t, header, func(h *envelope.Header) {
			h.EncryptedDataKeys = junkKeys(key, n, 1)
			if edit != nil {
				edit(h)
			}
		}))})
	}, body
}

// TestHealthyBesideUndecryptableMessages: a process of four loops meets a
// steady flood of messages that KMS does not decrypt, after a burst that uses
// up what may fail at once. It lasts for longer than maxReceiveCount visibility
// timeouts. Every healthy message, each under a data key that the process has
// never seen, is delivered soon.
func TestHealthyBesideUndecryptableMessages(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []int{400, 1000} {
		if testing.Short() && perSecond > 400 {
			continue
		}
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const (
					tick, ticks = 100 * time.Millisecond, 60
					burst       = 1000
					limit       = 3 * time.Second
				)
				f := newFleet(t, "orders", 4, "VisibilityTimeout", "1")
				f.fault(func(r *sqsxtest.Request) error {
					switch r.Action {
					case "kms:Decrypt", "sqs:ReceiveMessage":
						time.Sleep(10 * time.Millisecond)
					}
					return nil
				})
				f.start(1)
				f.send(f.seal(20, 1)...)
				f.drain(time.Now())
				warm := f.deliveredCount()
				junk, body := junkUnder(f.w, "orders", f.url, f.w.key)
				healthy := f.seal(ticks, ticks)
				sent := make(map[string]time.Time) // by the body that is delivered

				before := f.w.count("kms:Decrypt")
				for range burst {
					junk(nil)
				}
				for i := range ticks {
					for range perSecond / int(time.Second/tick) {
						junk(nil)
					}
					sent[fmt.Sprintf("message-%d", warm+i)] = time.Now()
					f.send(healthy[i])
					time.Sleep(tick)
				}
				time.Sleep(time.Minute)
				f.end()
				dead := 0
				for _, m := range f.w.server.Stored(f.dlq) {
					if *m.Body != body {
						dead++
					}
				}
				var slowest time.Duration
				for body, at := range sent {
					slowest = max(slowest, f.delivered[body].Sub(at))
				}
				delivered, calls := f.deliveredCount()-warm, f.w.count("kms:Decrypt")-before
				t.Logf("%d of %d delivered, the slowest after %v; %d dead-lettered; %d Decrypt calls",
					delivered, len(healthy), slowest.Round(time.Millisecond), dead, calls)
				if dead > 0 || delivered != len(healthy) || slowest > limit {
					t.Errorf("%d of %d delivered, %d dead-lettered, the slowest after %v; want all within %v", delivered, len(healthy), dead, slowest, limit)
				}
				if want := burst + ticks*perSecond/int(time.Second/tick) + len(healthy); calls > want {
					t.Errorf("%d Decrypt calls, want at most %d: one for each message", calls, want)
				}
			})
		})
	}
}

// TestJunkUnderADeniedKey: messages under a configured key that denies this
// process cost a call every few seconds in all, and three each where every one
// has an encryption context of its own.
func TestJunkUnderADeniedKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit   func(n int) func(*envelope.Header)
		junk   int
		atMost int
	}{
		"the queue's context": {func(int) func(*envelope.Header) { return nil }, 5000, 500},
		"a context for each": {func(n int) func(*envelope.Header) {
			return func(h *envelope.Header) { h.EncryptionContext["n"] = fmt.Sprint(n) }
		}, 2000, 3 * 2000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRegions(t)
				url, _ := r.withDLQ("payments", 10, "VisibilityTimeout", "30")
				client := sqs.NewFromConfig(r.cfg, r.consumer().Install)
				r.server.Intercept(func(req *sqsxtest.Request) error {
					switch req.Action {
					case "kms:Decrypt", "sqs:ReceiveMessage":
						time.Sleep(10 * time.Millisecond)
					}
					if req.Action == "kms:Decrypt" && strings.Contains(string(req.Body), r.otherKey) {
						return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no", Fault: smithy.FaultClient}
					}
					return nil
				})
				send(t, r.here, url, "healthy")
				if out, err := receive(t.Context(), client, url); err != nil || len(out.Messages) != 1 {
					t.Fatalf("got %v, want the message", err)
				}
				put, _ := junkUnder(r.world, "payments", url, r.otherKey)
				before := r.count("kms:Decrypt")
				for n := range test.junk {
					put(test.edit(n))
				}
				ctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				loop(ctx, &wg, 4, client, url, func(*sqs.ReceiveMessageOutput, error) {})
				time.Sleep(5 * time.Minute)
				stop()
				wg.Wait()
				calls := r.count("kms:Decrypt") - before
				t.Logf("%d messages: %d Decrypt calls in five minutes", test.junk, calls)
				if calls > test.atMost {
					t.Errorf("%d Decrypt calls for %d messages, want at most %d", calls, test.junk, test.atMost)
				}
			})
		})
	}
}
