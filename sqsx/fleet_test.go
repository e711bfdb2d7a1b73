package sqsx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// maxReceives is the redrive policy of every queue in the simulation: a message
// that was received so often is moved when it would be received once more.
const maxReceives = 3

// fleet is many processes that consume one queue: each has a Sealer of its own,
// and so data keys and a hold of its own. Its loops call ReceiveMessage again
// as soon as it returns, whatever it returns: pacing is not left to them.
type fleet struct {
	w               *world
	queue, url, dlq string
	receivers       int                                       // loops of a process
	sealer          func(...func(*sqsx.Options)) *sqsx.Sealer // of a process
	loops           []*consumerLoop

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex // guards all below
	sent      map[string]bool
	delivered map[string]time.Time // body -> when first
	perSecond map[int64]kmsRequests
}

// kmsRequests is how many requests reached KMS, those that failed included.
type kmsRequests struct {
	questions int // dry runs, by which the hold asks
	messages  int // other Decrypts: of messages' data keys
}

// consumerLoop is one goroutine of a process, and what it saw.
type consumerLoop struct {
	receives, full, empty, withheld, held, other atomic.Int64
}

func newFleet(t *testing.T, queue string, receivers int, attributes ...string) *fleet {
	w := newWorld(t)
	f := &fleet{
		w: w, queue: queue, receivers: receivers, sealer: w.sealer,
		sent: make(map[string]bool), delivered: make(map[string]time.Time), perSecond: make(map[int64]kmsRequests),
	}
	f.url, f.dlq = w.withDLQ(queue, maxReceives, attributes...)
	f.ctx, f.stop = context.WithCancel(t.Context())
	t.Cleanup(f.end)
	f.fault(nil)
	return f
}

// fault has intercept see every request, KMS requests being counted.
func (f *fleet) fault(intercept func(*sqsxtest.Request) error) {
	f.w.server.Intercept(func(r *sqsxtest.Request) error {
		if strings.HasPrefix(r.Action, "kms:") {
			f.mu.Lock()
			second := time.Now().Unix()
			n := f.perSecond[second]
			switch {
			case bytes.Contains(r.Body, []byte(`"DryRun":true`)):
				n.questions++
			case r.Action == "kms:Decrypt":
				n.messages++
			}
			f.perSecond[second] = n
			f.mu.Unlock()
		}
		if intercept == nil {
			return nil
		}
		return intercept(r)
	})
}

// start lets processes begin to consume, and returns their loops.
func (f *fleet) start(processes int, optFns ...func(*sqsx.Options)) {
	for range processes {
		client := sqs.NewFromConfig(f.w.cfg, f.sealer(optFns...).Install)
		for range f.receivers {
			loop := &consumerLoop{}
			f.loops = append(f.loops, loop)
			f.wg.Go(func() { f.consume(client, loop) })
		}
	}
}

// end stops all processes. What their loops saw stays counted.
func (f *fleet) end() {
	f.stop()
	f.wg.Wait()
}

// restart replaces all processes.
func (f *fleet) restart(processes int, optFns ...func(*sqsx.Options)) {
	f.end()
	f.ctx, f.stop = context.WithCancel(f.w.t.Context())
	f.start(processes, optFns...)
}

func (f *fleet) consume(client *sqs.Client, loop *consumerLoop) {
	for f.ctx.Err() == nil {
		before := time.Now()
		out, err := client.ReceiveMessage(f.ctx, &sqs.ReceiveMessageInput{QueueUrl: &f.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
		if f.ctx.Err() != nil {
			return
		}
		loop.receives.Add(1)
		_, withheld := errors.AsType[*sqsx.ReceiveError](err)
		switch {
		case withheld:
			loop.withheld.Add(1)
		case errors.Is(err, sqsx.ErrHeld):
			loop.held.Add(1)
			// A waiter may fail early only because the caller's time is short.
			if waited := time.Since(before); waited < 20*time.Second {
				f.w.t.Errorf("a held receive failed after %v, want its WaitTimeSeconds", waited)
			}
		case err != nil:
			loop.other.Add(1)
		case len(out.Messages) == 0:
			loop.empty.Add(1)
		default:
			loop.full.Add(1)
			f.done(client, out.Messages)
		}
	}
}

// done deletes what was delivered.
func (f *fleet) done(client *sqs.Client, messages []types.Message) {
	for _, m := range messages {
		f.mu.Lock()
		if _, again := f.delivered[*m.Body]; !again {
			f.delivered[*m.Body] = time.Now()
		}
		f.mu.Unlock()
		if _, err := client.DeleteMessage(f.ctx, &sqs.DeleteMessageInput{QueueUrl: &f.url, ReceiptHandle: m.ReceiptHandle}); err != nil && f.ctx.Err() == nil {
			f.w.t.Error(err)
		}
	}
}

// seal returns messages under so many distinct data keys, ready to be sent.
func (f *fleet) seal(messages, keys int) []*sqs.SendMessageInput {
	f.w.t.Helper()
	var sealed []*sqs.SendMessageInput
	for range keys {
		sealer := f.sealer()
		for range messages / keys {
			in, err := sealer.SealMessage(f.w.t.Context(), arnOf(f.queue), f.message())
			if err != nil {
				f.w.t.Fatal(err)
			}
			sealed = append(sealed, in)
		}
	}
	return sealed
}

// message is the next one.
func (f *fleet) message() *sqs.SendMessageInput {
	body := fmt.Sprintf("message-%d", len(f.sent))
	f.sent[body] = true
	in := &sqs.SendMessageInput{QueueUrl: &f.url, MessageBody: &body}
	if strings.HasSuffix(f.queue, ".fifo") {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String("group"), &body
	}
	return in
}

// send sends messages as they are.
func (f *fleet) send(messages ...*sqs.SendMessageInput) {
	f.w.t.Helper()
	for _, in := range messages {
		if _, err := f.w.plain.SendMessage(f.w.t.Context(), in); err != nil {
			f.w.t.Fatal(err)
		}
	}
}

// sum adds up one count of all loops.
func (f *fleet) sum(field func(*consumerLoop) *atomic.Int64) (total int64) {
	for _, loop := range f.loops {
		total += field(loop).Load()
	}
	return total
}

// troubled asserts that each loop has seen an error since it started.
func (f *fleet) troubled() {
	f.w.t.Helper()
	for i, loop := range f.loops {
		if loop.withheld.Load()+loop.held.Load() == 0 {
			f.w.t.Errorf("loop %d saw no error, and %d empty results", i, loop.empty.Load())
		}
	}
}

func (f *fleet) deliveredCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.delivered)
}

// asked returns the KMS requests from a time on, and the most in one second.
func (f *fleet) asked(from time.Time) (total, busiest kmsRequests) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for second, n := range f.perSecond {
		if second >= from.Unix() {
			total.questions += n.questions
			total.messages += n.messages
			busiest.questions = max(busiest.questions, n.questions)
			busiest.messages = max(busiest.messages, n.messages)
		}
	}
	return total, busiest
}

// drain waits until the queue is empty, and returns how long after the cause's
// end a message was first delivered, and the last.
func (f *fleet) drain(repaired time.Time) (first, last time.Duration) {
	f.w.t.Helper()
	for len(f.w.server.Stored(f.url)) > 0 {
		time.Sleep(time.Second)
		if time.Since(repaired) > time.Hour {
			f.w.t.Errorf("%d messages are in the queue an hour after the cause's end", len(f.w.server.Stored(f.url)))
			break
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	first = time.Hour
	for _, at := range f.delivered {
		if d := at.Sub(repaired); d >= 0 {
			first, last = min(first, d), max(last, d)
		}
	}
	return first, last
}

// account asserts that every message was delivered or is in the dead-letter
// queue, and returns how many are there.
func (f *fleet) account() int {
	f.w.t.Helper()
	dead := len(f.w.server.Stored(f.dlq))
	if lost := len(f.sent) - f.deliveredCount() - dead; lost > 0 {
		f.w.t.Errorf("%d messages are neither delivered nor in the dead-letter queue", lost)
	}
	return dead
}

// answered asserts that a receive without an error has asked SQS: a held one is
// never an empty result. Some of those that fail with ErrHeld have asked too,
// and found nothing.
func (f *fleet) answered() {
	f.w.t.Helper()
	results := f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.full }) +
		f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.empty }) +
		f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.withheld })
	asked := int64(f.w.server.Count("sqs:ReceiveMessage"))
	held := f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.held })
	if under := asked - results; under < 0 || under > int64(len(f.loops))+held {
		f.w.t.Errorf("%d requests for %d results and %d held, want one each and at most one a loop under way", asked, results, held)
	}
	if other := f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.other }); other > 0 {
		f.w.t.Errorf("%d receives failed for another reason", other)
	}
}

// outage is one run of a fleet through an outage, in which all messages are
// valid.
type outage struct {
	messages, processes int
	visibility          string
	warm                bool // in operation when it begins, on other data keys
	disabled            bool // the key; otherwise KMS is unreachable
	length              time.Duration
}

// TestFleetInAnOutage: no message reaches the dead-letter queue, and all are
// delivered within 90 seconds of the outage's end.
func TestFleetInAnOutage(t *testing.T) {
	t.Parallel()
	const receivers = 4
	for name, tc := range map[string]outage{
		"KMS unreachable":                          {400, 10, "30", false, false, 40 * time.Minute},
		"KMS unreachable, in operation":            {400, 10, "30", true, false, 40 * time.Minute},
		"KMS unreachable, short visibility":        {400, 10, "5", true, false, 40 * time.Minute},
		"KMS unreachable, long visibility":         {400, 10, "900", false, false, 40 * time.Minute},
		"KMS unreachable, short queue":             {30, 2, "30", true, false, 40 * time.Minute},
		"KMS unreachable, short queue, many":       {30, 10, "30", false, false, 40 * time.Minute},
		"KMS unreachable, more processes":          {5, 10, "30", true, false, 40 * time.Minute},
		"key disabled":                             {400, 10, "30", false, true, 10 * time.Minute},
		"key disabled, in operation":               {400, 10, "30", true, true, 10 * time.Minute},
		"key disabled, short queue, a few":         {30, 2, "30", false, true, 10 * time.Minute},
		"KMS unreachable for a second, a blip":     {400, 10, "30", true, false, time.Second},
		"KMS unreachable for six hours, one night": {400, 4, "60", false, false, 6 * time.Hour},
	} {
		if testing.Short() && name != "KMS unreachable, in operation" && name != "key disabled" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { tc.run(t, receivers) })
		})
	}
}

func (tc *outage) run(t *testing.T, receivers int) {
	f := newFleet(t, "orders", receivers, "VisibilityTimeout", tc.visibility)
	keys := min(20, max(tc.messages/10, 1))
	if tc.warm {
		f.start(tc.processes)
		f.send(f.seal(100, 5)...)
		f.drain(time.Now())
	}
	backlog := f.seal(tc.messages, keys)
	if tc.disabled {
		if _, err := f.w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &f.w.key}); err != nil {
			t.Fatal(err)
		}
	} else {
		f.fault(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				return errors.New("no route to host")
			}
			return nil
		})
	}
	began := time.Now()
	f.send(backlog...)
	if !tc.warm {
		f.start(tc.processes)
	}
	time.Sleep(tc.length)
	if tc.length > time.Minute && tc.messages >= 10*len(f.loops) {
		f.troubled()
	}
	calls, first := f.asked(began)
	steady, later := f.asked(began.Add(2 * time.Minute))
	// A process that starts in the outage asks before it receives. One that was
	// given no message when the outage began does not know of it, and receives
	// those that are visible again after their parking. So it learns of it once,
	// at a time of its own: each of its loops by one response at most, that asks
	// for each data key. Everything is tried twice.
	const attempts = 2
	most := 0
	if tc.warm {
		most = attempts * tc.processes * receivers * keys
	}
	if steady.messages > most {
		t.Errorf("%d KMS requests for messages from two minutes into the outage on, want at most %d, those by which each process learns of it", steady.messages, most)
	}
	// The pause after the first question is half a second at least, and that after
	// the second one a second: two in any second.
	if most := attempts * 2 * tc.processes; first.questions > most {
		t.Errorf("%d KMS requests in one second for the questions of the hold, want at most %d", first.questions, most)
	}
	// Half of 1, 2, 4, 8 and 16 seconds, and then of 30, with the question before
	// and the one that is out.
	if most := attempts * tc.processes * (7 + int(tc.length/(15*time.Second))); calls.questions > most {
		t.Errorf("%d KMS requests for the questions of the hold, want at most %d", calls.questions, most)
	}

	f.fault(nil)
	if tc.disabled {
		if _, err := f.w.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &f.w.key}); err != nil {
			t.Fatal(err)
		}
	}
	repaired := time.Now()
	outstanding := len(f.w.server.Stored(f.url))
	from, to := f.drain(repaired)
	_, after := f.asked(repaired)
	dead := f.account()
	f.answered()
	if dead > 0 {
		t.Errorf("%d messages are in the dead-letter queue, want none", dead)
	}
	if limit := 90 * time.Second; outstanding > 0 && to > limit {
		t.Errorf("the last message was delivered %v after the outage, want within %v", to, limit)
	}
	// Each process asks for each data key once, and may have a question out.
	if most := (keys + 4) * tc.processes; after.messages+after.questions > most {
		t.Errorf("%+v KMS requests in one second after the outage, want at most %d", after, most)
	}
	t.Logf("%s: %d of %d messages in the dead-letter queue; KMS requests: %+v in all, %+v in the busiest second, %+v from two minutes on, %+v in their busiest second, %+v in that after the end; deliveries from %v to %v after the end",
		t.Name(), dead, tc.messages, calls, first, steady, later, after, from.Round(time.Millisecond), to.Round(time.Millisecond))
}

// TestFleetWithAWrongSetting deploys ten processes that can open nothing, and
// after 40 minutes ten that can.
func TestFleetWithAWrongSetting(t *testing.T) {
	t.Parallel()
	const processes, receivers, length = 10, 4, 40 * time.Minute
	for name, tc := range map[string]struct {
		plain        bool
		wrong, right func(w *world, o *sqsx.Options)
	}{
		"key": {wrong: func(w *world, o *sqsx.Options) { o.Policy.Keyring = mustKeyringFor(w.t, w, w.newKey()) }},
		"encryption context": {wrong: func(w *world, o *sqsx.Options) {
			o.EncryptionContext = map[string]string{"environment": "test"}
		}},
		"plaintext not accepted": {plain: true, right: func(w *world, o *sqsx.Options) { o.Policy.AcceptPlaintext = true }},
	} {
		for _, messages := range []int{30, 400} {
			if testing.Short() && (name != "plaintext not accepted" || messages != 30) {
				continue
			}
			t.Run(fmt.Sprint(name, ", ", messages, " messages"), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(t, "orders", receivers, "VisibilityTimeout", "30")
					set := func(fn func(*world, *sqsx.Options)) func(*sqsx.Options) {
						return func(o *sqsx.Options) {
							if fn != nil {
								fn(f.w, o)
							}
						}
					}
					if tc.plain {
						for range messages {
							f.send(f.message())
						}
					} else {
						f.send(f.seal(messages, messages/20)...)
					}
					f.start(processes, set(tc.wrong))
					time.Sleep(length)
					f.answered()
					dead := len(f.w.server.Stored(f.dlq))
					f.restart(processes, set(tc.right))
					from, to := f.drain(time.Now())
					all := f.account()
					if all > 0 || to > 40*time.Minute {
						t.Errorf("%d messages are in the dead-letter queue, the last was delivered after %v; want none, and 40 minutes", all, to)
					}
					t.Logf("%s: %d receives for %d messages; %d in the dead-letter queue before and %d after the right setting; deliveries from %v to %v after it",
						t.Name(), f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.withheld }), messages, dead, all, from, to)
				})
			})
		}
	}
}

// TestFleetMeetsAPoisonOnAFIFOQueue: the nine messages behind it are delivered,
// as long as there are fewer processes than the redrive policy grants receives.
func TestFleetMeetsAPoisonOnAFIFOQueue(t *testing.T) {
	t.Parallel()
	for _, processes := range []int{1, 2} {
		t.Run(fmt.Sprint(processes, " processes"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, "orders.fifo", 4, "VisibilityTimeout", "30")
				f.start(processes)
				f.send(f.seal(20, 1)...)
				f.drain(time.Now())

				f.send(f.message())
				f.send(f.seal(9, 1)...)
				from, to := f.drain(time.Now())
				dead := f.w.server.Stored(f.dlq)
				if len(dead) != 1 || aws.ToString(dead[0].Body) != "message-20" {
					t.Errorf("got %d messages in the dead-letter queue, want the poison alone", len(dead))
				}
				f.account()
				f.answered()
				t.Logf("%s: deliveries from %v to %v", t.Name(), from, to)
			})
		})
	}
}

func mustKeyringFor(t testing.TB, w *world, key string) envelope.Keyring {
	t.Helper()
	kr, err := kmskeyring.New(w.kms, key)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}
