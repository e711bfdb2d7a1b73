package sqsx_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/sealq/sealq/sqsx"
)

// fifoLine is one consumer of a FIFO queue with a redrive policy of 3 receives.
type fifoLine struct {
	w         *world
	url, dlq  string
	consumer  *sqs.Client
	n         int // messages sent
	delivered []string
}

func newFIFOLine(t *testing.T) *fifoLine {
	w := newWorld(t)
	l := &fifoLine{w: w, consumer: w.client()}
	l.url, l.dlq = w.withDLQ("orders.fifo", 3, "VisibilityTimeout", "30")
	return l
}

func (l *fifoLine) put(c *sqs.Client, group, body string) {
	l.w.t.Helper()
	l.n++
	if _, err := c.SendMessage(l.w.t.Context(), &sqs.SendMessageInput{
		QueueUrl: &l.url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: aws.String(fmt.Sprint(l.n)),
	}); err != nil {
		l.w.t.Fatal(err)
	}
}

// turn receives once, and deletes what was delivered.
func (l *fifoLine) turn() {
	l.w.t.Helper()
	out, err := receive(l.w.t.Context(), l.consumer, l.url)
	if err != nil {
		if !isWithheld(err) && !errors.Is(err, sqsx.ErrHeld) {
			l.w.t.Fatal(err)
		}
		return
	}
	for _, m := range out.Messages {
		l.delivered = append(l.delivered, *m.Body)
		if _, err := l.consumer.DeleteMessage(l.w.t.Context(), &sqs.DeleteMessageInput{QueueUrl: &l.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			l.w.t.Fatal(err)
		}
	}
}

// TestFIFOHeadInAnOutage: the first message of a group is under a data key that
// the consumer has not met, and KMS is unreachable; the nine behind it open.
// Whether other groups are served meanwhile or not, the nine stay out of the
// dead-letter queue, and come once KMS is back.
func TestFIFOHeadInAnOutage(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]bool{"one group": false, "another group is served": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newFIFOLine(t)
				stranger, friend := l.w.client(), l.w.client()
				l.put(friend, "other", "warm")
				l.turn()
				l.put(stranger, "a", "head")
				for i := range 9 {
					l.put(friend, "a", fmt.Sprint("follower ", i))
				}
				l.w.server.Intercept(kmsFails(errAway))
				for range 200 {
					if others {
						l.put(friend, "other", "tick")
					}
					l.turn()
					time.Sleep(time.Second)
				}
				if dead := len(l.w.server.Stored(l.dlq)); dead > 1 {
					t.Errorf("%d messages are in the dead-letter queue, want the head at most", dead)
				}
				l.w.server.Intercept(nil)
				for range 120 {
					l.turn()
					time.Sleep(time.Second)
				}
				for i := range 9 {
					if body := fmt.Sprint("follower ", i); !slices.Contains(l.delivered, body) {
						t.Errorf("%s was not delivered", body)
					}
				}
			})
		})
	}
}

// TestFIFOHeadUnderARefusedKey: anyone who may send can name a key that has
// been disabled and is still configured for old messages.
func TestFIFOHeadUnderARefusedKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newFIFOLine(t)
		old := l.w.newKey()
		sealer, err := sqsx.NewFromConfig(l.w.cfg, old)
		if err != nil {
			t.Fatal(err)
		}
		l.consumer = l.w.client(func(o *sqsx.Options) {
			o.KMSKeyring.DecryptKeys = []string{old}
		})
		good := l.w.client()
		l.put(good, "other", "warm")
		l.turn()
		l.put(sqs.NewFromConfig(l.w.cfg, sealer.Install), "a", "head")
		for i := range 9 {
			l.put(good, "a", fmt.Sprint("follower ", i))
		}
		if _, err := l.w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &old}); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			l.put(good, "other", "tick")
			l.turn()
			time.Sleep(time.Second)
		}
		followers := slices.DeleteFunc(slices.Clone(l.delivered), func(body string) bool { return !strings.HasPrefix(body, "follower") })
		if dead := len(l.w.server.Stored(l.dlq)); dead != 1 || len(followers) != 9 {
			t.Errorf("%d messages are in the dead-letter queue and %d followers delivered, want 1 and 9", dead, len(followers))
		}
	})
}

// TestFIFOGroupsAfterAnOutage: KMS is unreachable while many groups wait, and
// other processes take most of them afterwards. Receives ask for ten again as
// soon as one message that had failed opens.
func TestFIFOGroupsAfterAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newFIFOLine(t)
		stranger, friend := l.w.client(), l.w.client()
		l.put(friend, "served", "warm")
		l.turn()
		for i := range 30 {
			l.put(stranger, fmt.Sprint("group-", i), "head")
			l.put(friend, fmt.Sprint("group-", i), "follower")
		}
		l.w.server.Intercept(kmsFails(errAway))
		for range 90 {
			l.put(friend, "served", "tick")
			l.turn()
			time.Sleep(time.Second)
		}
		var r recorder
		l.w.server.Intercept(r.record(nil))
		other := l.w.client()
		for range 3 { // another process takes up to 30
			out, err := receive(t.Context(), other, l.url)
			if err != nil {
				break
			}
			for _, m := range out.Messages {
				if _, err := other.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &l.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 60 {
			l.put(friend, "served", "tick")
			l.turn()
			time.Sleep(time.Second)
		}
		receives := r.snapshot()
		if last := receives[len(receives)-1]; last.max != 10 {
			t.Errorf("a minute after the outage receives ask for %d messages, want the caller's 10", last.max)
		}
		if dead := len(l.w.server.Stored(l.dlq)); dead > 30 {
			t.Errorf("%d messages are in the dead-letter queue, want heads only", dead)
		}
	})
}

// TestFIFOPoisonWithoutAGroup: something between SQS and here does not tell
// which group the poison is in, and so it holds back everything behind it. What
// is not delivered does not end it: receives ask for one message.
func TestFIFOPoisonWithoutAGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newFIFOLine(t)
		good, sealer := l.w.client(), l.w.sealer()
		l.consumer = sqs.NewFromConfig(l.w.cfg, withoutGroup("poison"), sealer.Install)
		l.put(l.w.plain, "a", "poison")
		l.put(good, "b", "healthy")
		failed, ok := errors.AsType[*sqsx.ReceiveError](errOf(receive(t.Context(), l.consumer, l.url)))
		if !ok || len(failed.Withheld) != 2 || !errors.Is(failed.Withheld[1], sqsx.ErrGroupHeld) {
			t.Fatalf("got %v, want both messages withheld", failed)
		}
		var r recorder
		l.w.server.Intercept(r.record(nil))
		time.Sleep(30 * time.Second) // it comes back
		l.turn()
		if a := r.snapshot(); a[0].max != 1 {
			t.Errorf("the next receive asks for %d messages, want 1", a[0].max)
		}
	})
}

// withoutGroup takes the message group out of received messages with this body.
func withoutGroup(body string) func(*sqs.Options) {
	strip := func(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
		out, md, err := next.HandleInitialize(ctx, in)
		if received, ok := out.Result.(*sqs.ReceiveMessageOutput); ok && received != nil {
			for _, m := range received.Messages {
				if aws.ToString(m.Body) == body {
					delete(m.Attributes, "MessageGroupId")
				}
			}
		}
		return out, md, err
	}
	return sqs.WithAPIOptions(func(s *smithymiddleware.Stack) error {
		return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("withoutGroup", strip), smithymiddleware.After)
	})
}

// TestFIFOPoisonIsForgotten: receives ask for one message as long as one may
// meet a poison of which others were held back, and ten minutes later for ten
// again. Of groups that find no room in memory it is not known when they are
// rid of theirs.
func TestFIFOPoisonIsForgotten(t *testing.T) {
	t.Parallel()
	const memory = 10 * time.Minute
	for name, tc := range map[string]struct {
		poisoned, delivered int // groups
		single              bool
	}{
		"one group":                          {1, 0, true},
		"as many as are remembered, but one": {64, 63, true},
		"as many as are remembered":          {64, 64, false},
		"one more":                           {65, 65, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, s := w.queue("orders.fifo"), w.sealer()
				client := sqs.NewFromConfig(w.cfg, s.Install)
				var r recorder
				w.server.Intercept(r.record(nil))
				asksFor := func() int {
					t.Helper()
					if _, err := receive(t.Context(), client, url); err != nil {
						t.Fatal(err)
					}
					receives := r.snapshot()
					return receives[len(receives)-1].max
				}
				asksFor() // the hold knows the queues of which messages are received
				body, header := w.sealed("orders.fifo", "healthy")
				message := func(group, body string, attributes map[string]types.MessageAttributeValue) types.Message {
					return types.Message{MessageId: &group, Body: &body, MessageAttributes: attributes, Attributes: map[string]string{"MessageGroupId": group}}
				}
				open := func(want int, messages ...types.Message) {
					t.Helper()
					if opened, _ := s.OpenMessages(t.Context(), arnOf("orders.fifo"), messages); len(opened) != want {
						t.Fatalf("got %d messages delivered, want %d", len(opened), want)
					}
				}
				healthy := func(group string) types.Message { return message(group, body, sealqAttribute(header)) }
				for i := range tc.poisoned {
					open(0, message(fmt.Sprint(i), "poison", nil), healthy(fmt.Sprint(i)))
				}
				for i := range tc.delivered {
					open(1, healthy(fmt.Sprint(i)))
				}
				open(1, healthy("other"))
				open(1, healthy("")) // of no group, and so it proves nothing of any

				before := 10
				if tc.single {
					before = 1
				}
				if got := asksFor(); got != before {
					t.Errorf("receives ask for %d messages, want %d", got, before)
				}
				time.Sleep(memory - time.Nanosecond)
				if got := asksFor(); got != before {
					t.Errorf("just before %v are over receives ask for %d messages, want %d", memory, got, before)
				}
				time.Sleep(time.Nanosecond)
				if got := asksFor(); got != 10 {
					t.Errorf("after %v receives ask for %d messages, want the caller's 10", memory, got)
				}
			})
		})
	}
}

// TestFIFOPoisonThatOthersTook: KMS is back, and another process has taken the
// message that did not open. It does not come back here to prove that it opens:
// receives ask for one message around the times when it would.
func TestFIFOPoisonThatOthersTook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newFIFOLine(t)
		stranger, friend := l.w.client(), l.w.client()
		l.put(friend, "other", "warm")
		l.turn()
		l.put(stranger, "a", "head")
		l.put(friend, "a", "follower")
		time.Sleep(2 * time.Second) // nothing has opened for long enough to be held
		l.w.server.Intercept(kmsFails(errAway))
		if err := errOf(receive(t.Context(), l.consumer, l.url)); !isWithheld(err) {
			t.Fatalf("got %v, want both withheld", err)
		}
		time.Sleep(time.Minute)

		var r recorder
		l.w.server.Intercept(r.record(nil))
		other := l.w.client()
		out, err := receive(t.Context(), other, l.url)
		if err != nil || len(out.Messages) != 2 {
			t.Fatalf("got %v, want another process to receive both", err)
		}
		for _, m := range out.Messages {
			if _, err := other.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &l.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
		for range 60 {
			l.turn()
			time.Sleep(time.Second)
		}
		full := 0
		for _, a := range r.snapshot() {
			if a.max == 10 {
				full++
			}
		}
		if full < 30 {
			t.Errorf("%d of 60 receives ask for 10 messages, want half of them at least", full)
		}
	})
}

// TestFIFOThroughputBesideAPoison: one junk message that is never removed, in
// one of 20 groups, does not slow the others.
func TestFIFOThroughputBesideAPoison(t *testing.T) {
	t.Parallel()
	const groups, perSecond, length = 20, 100, 65 * time.Second
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders.fifo", "VisibilityTimeout", "30"), w.client()
		producer := w.client()
		ctx, cancel := context.WithCancel(t.Context())
		var delivered atomic.Int64
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		loop(ctx, &wg, 4, client, url, func(out *sqs.ReceiveMessageOutput, err error) {
			time.Sleep(10 * time.Millisecond) // the requests
			if err != nil {
				time.Sleep(time.Second)
				return
			}
			var in sqs.DeleteMessageBatchInput
			in.QueueUrl = &url
			for i, m := range out.Messages {
				in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: m.ReceiptHandle})
			}
			if len(in.Entries) > 0 {
				if _, err := client.DeleteMessageBatch(ctx, &in); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
			delivered.Add(int64(len(out.Messages)))
		})
		n := 0
		put := func(c *sqs.Client, group int, body string) {
			n++
			if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
				QueueUrl: &url, MessageBody: &body, MessageGroupId: aws.String(fmt.Sprint(group)), MessageDeduplicationId: aws.String(fmt.Sprint(n)),
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range groups {
			put(producer, i, "warm")
		}
		time.Sleep(time.Second)
		put(w.plain, 0, "junk")
		delivered.Store(0)
		for range int(length / time.Second) {
			for i := range perSecond {
				put(producer, i%groups, "healthy")
				time.Sleep(time.Second / perSecond)
			}
		}
		rate := float64(delivered.Load()) / length.Seconds()
		t.Logf("%.0f messages a second", rate)
		if rate < 80 { // a twentieth of the messages is behind the junk
			t.Errorf("%.0f messages a second were delivered, want at least 80", rate)
		}
	})
}

// TestFIFOThroughputBesideManyPoisons: junk in as many message groups, which is
// never removed, leaves most receives as they are, whether all of it is visible
// again at the same time or one after the other, and whether this process
// receives all of it or shares it with others.
func TestFIFOThroughputBesideManyPoisons(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		poisons, processes int
		spread             time.Duration
	}{
		"20 at once":               {20, 1, 0},
		"20 in turn":               {20, 1, 30 * time.Second},
		"20 in turn, 4 processes":  {20, 4, 30 * time.Second},
		"100 at once":              {100, 1, 0},
		"100 in turn":              {100, 1, 30 * time.Second},
		"100 in turn, 4 processes": {100, 4, 30 * time.Second},
	} {
		if testing.Short() && name != "20 in turn" && name != "100 at once" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// A process that asks for ten all the time receives 200 a second.
				const healthy, perSecond, round, length = 20, 64, 50 * time.Millisecond, 30 * time.Second
				w := newWorld(t)
				url, producer := w.queue("orders.fifo", "VisibilityTimeout", "30"), w.client()
				n := 0
				put := func(c *sqs.Client, group string) {
					n++
					if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
						QueueUrl: &url, MessageBody: aws.String("body"), MessageGroupId: &group, MessageDeduplicationId: aws.String(fmt.Sprint(n)),
					}); err != nil {
						t.Fatal(err)
					}
				}
				var r recorder
				w.server.Intercept(r.record(nil))
				ctx, cancel := context.WithCancel(t.Context())
				var delivered atomic.Int64
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				for range tc.processes {
					client := w.client()
					loop(ctx, &wg, 1, client, url, func(out *sqs.ReceiveMessageOutput, err error) {
						time.Sleep(round) // the requests
						if err != nil || len(out.Messages) == 0 {
							return
						}
						in := sqs.DeleteMessageBatchInput{QueueUrl: &url}
						for i, m := range out.Messages {
							in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: m.ReceiptHandle})
						}
						if _, err := client.DeleteMessageBatch(ctx, &in); err != nil && ctx.Err() == nil {
							t.Error(err)
						}
						delivered.Add(int64(len(out.Messages)))
					})
				}
				send := func(length time.Duration) {
					for i := range int(length.Seconds() * perSecond) {
						put(producer, fmt.Sprint("healthy-", i%healthy))
						time.Sleep(time.Second / perSecond)
					}
				}
				send(5 * time.Second) // to all processes
				for i := range tc.poisons {
					group := fmt.Sprint("poisoned-", i)
					put(w.plain, group)
					put(producer, group)
					time.Sleep(tc.spread / time.Duration(tc.poisons))
				}
				time.Sleep(32 * time.Second) // until each has come back once
				delivered.Store(0)
				before := len(r.snapshot())
				send(length)
				receives := r.snapshot()[before:]
				single := 0
				for _, a := range receives {
					if a.max == 1 {
						single++
					}
				}
				rate := float64(delivered.Load()) / length.Seconds()
				t.Logf("%s: %.0f of %d messages a second, %d of %d receives ask for one", t.Name(), rate, perSecond, single, len(receives))
				if single*2 > len(receives) || rate < perSecond*8/10 {
					t.Errorf("%.0f of %d messages a second were delivered, %d of %d receives asked for one; want 80 %% delivered, and half of the receives at most", rate, perSecond, single, len(receives))
				}
			})
		})
	}
}
