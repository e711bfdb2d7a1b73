package hold_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// slowQueue is a queue whose requests take the longest time that is allowed.
// The key service says yes.
type slowQueue struct {
	t                           *testing.T
	attributes, parks, takeBack atomic.Int32
	parked                      atomic.Bool   // a request to park has ended
	parking                     time.Duration // how long it takes
}

func (*slowQueue) Ask(context.Context, envelope.EncryptedDataKey) (hold.Answer, error) {
	return hold.Yes, nil
}
func (*slowQueue) Cached(envelope.EncryptedDataKey, envelope.EncryptionContext) bool { return false }
func (*slowQueue) Recovered()                                                        {}

func (q *slowQueue) Attributes(context.Context) (hold.Attributes, error) {
	q.attributes.Add(1)
	return hold.Attributes{VisibilityTimeout: 30 * time.Second, Retention: 24 * time.Hour}, nil
}

func (q *slowQueue) Park(ctx context.Context, messages []hold.Visibility) error {
	q.parks.Add(1)
	if err := ctx.Err(); err != nil || len(messages) != 1 || messages[0].Timeout != 15*time.Minute {
		q.t.Errorf("got a context that ended with %v to park %v, want one message for 15m0s under a context of its own", err, messages)
	}
	time.Sleep(q.parking)
	q.parked.Store(true)
	return nil
}

func (q *slowQueue) TakeBack(ctx context.Context, _ []hold.Visibility) error {
	q.takeBack.Add(1)
	if !q.parked.Load() {
		q.t.Error("a request to take back overtook the one that parks")
	}
	began := time.Now()
	<-ctx.Done()
	if took := time.Since(began); took != 2*time.Second {
		q.t.Errorf("a request to take back was given up after %v, want 2s", took)
	}
	return ctx.Err()
}

// unopened is a response with one message that did not open because of the key
// service.
func unopened() hold.Response {
	return hold.Response{Cause: errors.New("unreachable"), KeyService: true, Messages: []hold.Message{{
		ID: "1", Handle: "handle", Receives: 1, Sent: time.Now(), KeyService: true,
	}}}
}

// TestParkingOutlivesTheCaller: the context of the receive has ended when its
// messages are parked. If a yes arrives meanwhile, the receive does not wait:
// the messages are taken back in a goroutine, which ends even if SQS never
// answers.
func TestParkingOutlivesTheCaller(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T) {
		var b hold.Breaker
		q := &slowQueue{t: t, parking: 1500 * time.Millisecond}
		r := hold.Receive{Name: "orders", Queue: q}
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := b.Admit(ctx, r); err != nil {
			t.Fatal(err)
		}
		cancel()
		time.Sleep(time.Second) // or the next receive would not ask
		response := unopened()
		b.Note(r.Name, response)
		time.AfterFunc(time.Second, func() {
			if _, err := b.Admit(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
		began := time.Now()
		b.Park(ctx, r, response.Messages)
		if took := time.Since(began); took != q.parking || q.parks.Load() != 1 {
			t.Errorf("%d requests to park, after %v; want 1, and not to wait for more than that", q.parks.Load(), took)
		}
		synctest.Wait()
		if running := holdGoroutines(); running != 1 || q.takeBack.Load() != 1 {
			t.Errorf("%d goroutines of the hold and %d requests to take back, want 1 of each", running, q.takeBack.Load())
		}
		time.Sleep(2*time.Second + 5*time.Second - time.Nanosecond) // a request, and a pause
		if n := q.takeBack.Load(); n != 1 {
			t.Errorf("%d requests to take back within the pause, want 1", n)
		}
		time.Sleep(time.Nanosecond + 2*time.Second) // the second request
		synctest.Wait()
		if running := holdGoroutines(); running != 0 || q.takeBack.Load() != 2 {
			t.Errorf("%d goroutines of the hold are left after %d requests to take back, want none after 2", running, q.takeBack.Load())
		}
	})
}

// TestParkingOfTheFuture: a message whose SentTimestamp is ahead of this clock,
// however far, counts as one that was just sent.
func TestParkingOfTheFuture(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]time.Time{
		"now": time.UnixMilli(946684800000), "an hour": time.UnixMilli(946688400000), "the largest number": time.UnixMilli(math.MaxInt64),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(t *testing.T) {
				var b hold.Breaker
				q := &slowQueue{t: t}
				r := hold.Receive{Name: "orders", Queue: q}
				if _, err := b.Admit(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				response := unopened()
				response.Messages[0].Sent = sent
				b.Note(r.Name, response)
				b.Park(t.Context(), r, response.Messages)
				if q.parks.Load() != 1 {
					t.Errorf("%d requests to park, want 1", q.parks.Load())
				}
			})
		})
	}
}

// holdGoroutines counts the other goroutines of the caller's bubble that run
// code of package hold.
func holdGoroutines() int {
	buf := make([]byte, 8<<20)
	all := bytes.Split(buf[:runtime.Stack(buf, true)], []byte("\n\n"))
	_, bubble, _ := bytes.Cut(all[0][:bytes.IndexByte(all[0], '\n')], []byte("synctest bubble "))
	bubble = append([]byte("synctest bubble "), bubble...)
	n := 0
	for _, stack := range all[1:] {
		if bytes.Contains(stack, bubble) && bytes.Contains(stack, []byte("sealq/sqsx/internal/hold.")) {
			n++
		}
	}
	return n
}

// TestNothingToPark: all withheld messages come back after the visibility
// timeout, so the settings of the queue are not read.
func TestNothingToPark(t *testing.T) {
	t.Parallel()
	for name, fifo := range map[string]bool{"standard": false, "FIFO": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(t *testing.T) {
				var b hold.Breaker
				q := &slowQueue{t: t}
				r := hold.Receive{Name: "orders", Queue: q, FIFO: fifo}
				if _, err := b.Admit(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				b.Note(r.Name, hold.Response{})
				b.Park(t.Context(), r, nil)
				if q.attributes.Load() != 0 || q.parks.Load() != 0 {
					t.Errorf("%d requests for the settings of the queue and %d to park, want none", q.attributes.Load(), q.parks.Load())
				}
			})
		})
	}
}

// TestStepsBack: 1,000 young messages that did not open make a process step
// back. What may have come back from parking does not end that, nor fewer than
// three others in a row.
func TestStepsBack(t *testing.T) {
	t.Parallel()
	const second, minute = time.Second, time.Minute
	type seen struct {
		receives int
		age      time.Duration
	}
	young := seen{1, 59 * second}
	for name, tc := range map[string]struct {
		young int
		then  []seen
		want  bool
	}{
		"fewer":                             {young: 999},
		"as many":                           {young: 1000, want: true},
		"one old, received for the first":   {young: 1000, then: []seen{{1, minute}}},
		"two old":                           {young: 1000, then: []seen{{2, 2 * minute}, {2, 2 * minute}}, want: true},
		"three old":                         {young: 1000, then: []seen{{2, 2 * minute}, {2, 2 * minute}, {3, 3 * minute}}},
		"three old, a young one between":    {young: 1000, then: []seen{{2, 2 * minute}, {2, 2 * minute}, young, {3, 3 * minute}}, want: true},
		"three that were parked":            {young: 1000, then: []seen{{2, 5 * minute}, {2, 6 * minute}, {3, 6 * minute}}, want: true},
		"three that were parked twice":      {young: 1000, then: []seen{{4, 45 * minute}, {4, time.Hour}, {5, time.Hour}}, want: true},
		"three that come back all the time": {young: 1000, then: []seen{{10, 5 * minute}, {10, 6 * minute}, {10, 6 * minute}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(t *testing.T) {
				var b hold.Breaker
				r := hold.Receive{Name: "orders", Queue: &slowQueue{t: t}}
				if _, err := b.Admit(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				note := func(s seen) {
					b.Note(r.Name, hold.Response{Cause: errors.New("invalid"), Messages: []hold.Message{{ID: "1", Handle: "h", Receives: s.receives, Sent: time.Now().Add(-s.age)}}})
				}
				for range tc.young {
					note(young)
				}
				for _, s := range tc.then {
					note(s)
				}
				want := hold.Permit{}
				if tc.want {
					want = hold.Permit{Single: true, Wait: time.Second}
				}
				if permit, err := b.Admit(t.Context(), r); permit != want || err != nil {
					t.Errorf("got %+v and error %v, want %+v", permit, err, want)
				}
			})
		})
	}
}
