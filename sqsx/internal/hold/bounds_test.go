package hold_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// wroteQueue writes down what the hold asks of it. The key service answers as
// answer says, and SQS with err.
type wroteQueue struct {
	mu        sync.Mutex // guards all below
	answer    hold.Answer
	err       error           // of requests to SQS
	uncached  bool            // no data key is
	patience  []time.Duration // of questions
	read      []time.Time     // when the settings were
	parked    []int           // messages in each request
	takenBack []int
	recovered int
}

func (q *wroteQueue) Ask(ctx context.Context, _ envelope.EncryptedDataKey) (hold.Answer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	deadline, _ := ctx.Deadline()
	q.patience = append(q.patience, time.Until(deadline))
	if q.answer == hold.Yes {
		return hold.Yes, nil
	}
	return q.answer, errors.New("no")
}

func (q *wroteQueue) Cached(envelope.EncryptedDataKey, envelope.EncryptionContext) bool {
	return !q.uncached
}

func (q *wroteQueue) Recovered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.recovered++
}

func (q *wroteQueue) Attributes(context.Context) (hold.Attributes, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.read = append(q.read, time.Now())
	return hold.Attributes{VisibilityTimeout: 30 * time.Second, Retention: 14 * 24 * time.Hour}, q.err
}

func (q *wroteQueue) Park(_ context.Context, messages []hold.Visibility) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.parked = append(q.parked, len(messages))
	return q.err
}

func (q *wroteQueue) TakeBack(_ context.Context, messages []hold.Visibility) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.takenBack = append(q.takenBack, len(messages))
	return nil
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

// admit receives, and fails the test if that is held.
func admit(t *testing.T, b *hold.Breaker, r hold.Receive) hold.Permit {
	t.Helper()
	permit, err := b.Admit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return permit
}

// fail receives messages that do not open for the sake of the key service. They
// are parked in tens.
func fail(t *testing.T, b *hold.Breaker, r hold.Receive, messages int) {
	t.Helper()
	for n := 0; n < messages; n += 10 {
		response := hold.Response{Cause: errors.New("away"), KeyService: true}
		for i := n; i < min(n+10, messages); i++ {
			response.Messages = append(response.Messages, hold.Message{ID: fmt.Sprint(i), Handle: fmt.Sprint(i), Receives: 1, Sent: time.Now(), KeyService: true})
		}
		b.Note(r.Name, response)
		b.Park(t.Context(), r, response.Messages)
	}
}

// TestBoundsOfMemory: queues, parked messages of one, and receipt handles of
// all.
func TestBoundsOfMemory(t *testing.T) {
	t.Parallel()
	t.Run("queues", func(t *testing.T) {
		t.Parallel()
		run(t, func(t *testing.T) {
			var b hold.Breaker
			ask := func(name string) (asked int) {
				q := &wroteQueue{answer: hold.Yes}
				admit(t, &b, hold.Receive{Name: name, Queue: q})
				return len(q.patience)
			}
			for i := range 4096 {
				if ask(fmt.Sprint(i)) != 1 {
					t.Fatalf("the key service was not asked for queue %d", i)
				}
			}
			time.Sleep(time.Minute)
			if ask("one more") != 0 {
				t.Error("a queue that was idle for a minute made room")
			}
			time.Sleep(time.Nanosecond)
			if ask("one more") != 1 {
				t.Error("a queue that was idle for longer made no room")
			}
		})
	})
	t.Run("messages", func(t *testing.T) {
		t.Parallel()
		run(t, func(t *testing.T) {
			var b hold.Breaker
			q := &wroteQueue{answer: hold.Yes}
			r := hold.Receive{Name: "orders", Queue: q}
			admit(t, &b, r)
			fail(t, &b, r, 1100)
			if n := sum(q.parked); n != 1000 {
				t.Errorf("%d messages of a queue are parked, want 1000", n)
			}
		})
	})
	t.Run("receipt handles", func(t *testing.T) {
		t.Parallel()
		run(t, func(t *testing.T) {
			var b hold.Breaker
			var receives []hold.Receive
			for i := range 11 {
				r := hold.Receive{Name: fmt.Sprint(i), Queue: &wroteQueue{answer: hold.Yes}}
				receives = append(receives, r)
				admit(t, &b, r)
				fail(t, &b, r, 1000)
			}
			time.Sleep(time.Second)
			var taken []int
			for _, r := range receives {
				admit(t, &b, r) // asks
				synctest.Wait()
				taken = append(taken, sum(r.Queue.(*wroteQueue).takenBack))
				if back := r.Queue.(*wroteQueue).takenBack; len(back) > 0 && back[0] != 10 {
					t.Errorf("%d messages in a request to take them back, want 10", back[0])
				}
			}
			want := []int{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 0}
			if diff := cmp.Diff(want, taken); diff != "" {
				t.Errorf("messages of each queue that were taken back (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("header of the message that opened", func(t *testing.T) {
		t.Parallel()
		run(t, func(t *testing.T) {
			kr, err := envelope.NewRawAESKeyring("n", "k", make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			for size, bridged := range map[int]bool{7 << 10: true, 8100: false} {
				m, err := envelope.Seal(t.Context(), kr, []byte("x"), envelope.EncryptionContext{"name": strings.Repeat("x", size)})
				if err != nil {
					t.Fatal(err)
				}
				var b hold.Breaker
				q := &wroteQueue{answer: hold.Yes}
				r := hold.Receive{Name: "orders", Queue: q}
				admit(t, &b, r)
				b.Note(r.Name, hold.Response{Delivered: true, Opened: hold.DataKey{Encrypted: envelope.EncryptedDataKey{ProviderID: "p", Ciphertext: []byte{1}}, Header: m.Header}})
				q.answer = hold.No
				time.Sleep(time.Second)
				fail(t, &b, r, 1)
				if _, err := b.Admit(t.Context(), r); (err == nil) != bridged {
					t.Errorf("a header of %d bytes: got error %v, want receives to go on: %t", len(m.Header), err, bridged)
				}
			}
		})
	})
}

// TestBridgeEnds: receives go on for ten minutes after the last message that
// opened.
func TestBridgeEnds(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T) {
		var b hold.Breaker
		q := &wroteQueue{answer: hold.Yes}
		r := hold.Receive{Name: "orders", Queue: q}
		admit(t, &b, r)
		time.Sleep(time.Second)
		b.Note(r.Name, hold.Response{Delivered: true, Opened: dataKey(0)})
		opened := time.Now()
		q.answer = hold.No
		fail(t, &b, r, 1)
		time.Sleep(10*time.Minute - time.Nanosecond - time.Since(opened))
		admit(t, &b, r)
		time.Sleep(time.Nanosecond)
		if _, err := b.Admit(t.Context(), r); !errors.Is(err, hold.ErrHeld) {
			t.Errorf("got error %v after ten minutes, want ErrHeld", err)
		}
	})
}

// TestQuestionsAreBounded: a key service that hangs is given ten seconds.
func TestQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T) {
		var b hold.Breaker
		q := &wroteQueue{answer: hold.Yes}
		admit(t, &b, hold.Receive{Name: "orders", Queue: q})
		if diff := cmp.Diff([]time.Duration{10 * time.Second}, q.patience); diff != "" {
			t.Errorf("time for each question (-want +got):\n%s", diff)
		}
	})
}

// TestWhenSettingsAreRead: every hour, a minute after they could not be, and an
// hour after they may not be.
func TestWhenSettingsAreRead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		wait time.Duration
	}{
		"known":  {nil, time.Hour},
		"failed": {errors.New("away"), time.Minute},
		"denied": {hold.ErrDenied, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(t *testing.T) {
				var b hold.Breaker
				q := &wroteQueue{answer: hold.Yes, err: tc.err}
				r := hold.Receive{Name: "orders.fifo", Queue: q, FIFO: true} // reads, and parks nothing
				admit(t, &b, r)
				fail(t, &b, r, 1)
				time.Sleep(tc.wait - time.Nanosecond)
				fail(t, &b, r, 1)
				if len(q.read) != 1 {
					t.Errorf("read %d times just before %v, want once", len(q.read), tc.wait)
				}
				time.Sleep(time.Nanosecond)
				fail(t, &b, r, 1)
				if len(q.read) != 2 {
					t.Errorf("read %d times after %v, want twice", len(q.read), tc.wait)
				}
			})
		})
	}
}

// TestParkingThatIsDenied is tried again after an hour.
func TestParkingThatIsDenied(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T) {
		var b hold.Breaker
		q := &wroteQueue{answer: hold.Yes}
		r := hold.Receive{Name: "orders", Queue: q}
		admit(t, &b, r)
		fail(t, &b, r, 1)
		q.err = hold.ErrDenied
		fail(t, &b, r, 1)
		time.Sleep(time.Hour - time.Nanosecond)
		fail(t, &b, r, 1)
		if len(q.parked) != 2 {
			t.Errorf("%d requests to park just before an hour is over, want 2", len(q.parked))
		}
		time.Sleep(time.Nanosecond)
		q.err = nil
		fail(t, &b, r, 1)
		if len(q.parked) != 3 {
			t.Errorf("%d requests to park after an hour, want 3", len(q.parked))
		}
	})
}

// TestTakenBackOnce: a message is taken back once in two hours.
func TestTakenBackOnce(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T) {
		var b hold.Breaker
		q := &wroteQueue{answer: hold.Yes}
		r := hold.Receive{Name: "orders", Queue: q}
		admit(t, &b, r)
		again := func(want int) {
			t.Helper()
			time.Sleep(2 * time.Second)
			fail(t, &b, r, 1)
			time.Sleep(2 * time.Second)
			admit(t, &b, r) // asks, and is told yes
			synctest.Wait()
			if got := sum(q.takenBack); got != want {
				t.Errorf("taken back %d times, want %d", got, want)
			}
		}
		again(1)
		time.Sleep(2*time.Hour - 10*time.Second)
		again(1)
		time.Sleep(time.Hour) // the parking of the last one ends
		again(2)
	})
}

// TestWindowOfAPoison: one message is asked for from a twentieth of the gap
// before a poison comes back to three seconds after, and as long as fewer than
// two receives in a row have brought none.
func TestWindowOfAPoison(t *testing.T) {
	t.Parallel()
	const gap, early, late = 30 * time.Second, 1500 * time.Millisecond, 3 * time.Second
	for name, tc := range map[string]struct {
		at       time.Duration // after it was received
		receives int           // that brought none since
		want     bool
	}{
		"before":                       {gap - early - time.Nanosecond, 2, false},
		"the beginning":                {gap - early, 2, true},
		"the end":                      {gap + late - time.Nanosecond, 2, true},
		"after":                        {gap + late, 2, false},
		"after, one receive since":     {gap + late, 1, true},
		"long before, and no receive":  {gap / 2, 0, false},
		"the second return, beginning": {2*gap - early, 2, true},
		"the second return, end":       {2*gap + 2*late - time.Nanosecond, 2, true},
		"after the second return":      {2*gap + 2*late, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(t *testing.T) {
				var b hold.Breaker
				r := hold.Receive{Name: "orders.fifo", Queue: &wroteQueue{answer: hold.Yes}, FIFO: true}
				admit(t, &b, r)
				poison := hold.Message{ID: "1", Receives: 1, Sent: time.Now(), Group: "a"}
				response := hold.Response{Cause: errors.New("invalid"), Messages: []hold.Message{poison, {ID: "2", Receives: 1, Opened: true, Group: "a", Behind: "1"}}}
				b.Note(r.Name, response)
				b.Park(t.Context(), r, []hold.Message{poison})
				for range tc.receives {
					b.Note(r.Name, hold.Response{Delivered: true})
				}
				time.Sleep(tc.at)
				if permit := admit(t, &b, r); permit.Single != tc.want {
					t.Errorf("got %+v, want Single to be %t", permit, tc.want)
				}
			})
		})
	}
}

// TestWindowsEndWithAHold: what did not open for the sake of the key service
// opens again, wherever it is received.
func TestWindowsEndWithAHold(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T) {
		var b hold.Breaker
		q := &wroteQueue{answer: hold.Yes}
		r := hold.Receive{Name: "orders.fifo", Queue: q, FIFO: true, Visibility: 30 * time.Second}
		admit(t, &b, r)
		time.Sleep(time.Second)
		q.answer = hold.No
		b.Note(r.Name, hold.Response{Cause: errors.New("away"), KeyService: true, Messages: []hold.Message{
			{ID: "1", Receives: 1, Sent: time.Now(), KeyService: true, Group: "a"},
			{ID: "2", Receives: 1, Opened: true, Group: "a", Behind: "1"},
		}})
		if _, err := b.Admit(t.Context(), r); !errors.Is(err, hold.ErrHeld) {
			t.Errorf("got error %v, want ErrHeld", err)
		}
		time.Sleep(29 * time.Second) // the message is about to come back
		q.answer = hold.Yes
		if q.recovered != 0 {
			t.Errorf("recovered %d times before the hold has ended, want never", q.recovered)
		}
		permit := admit(t, &b, r)
		if q.recovered != 1 {
			t.Errorf("recovered %d times when the hold has ended, want once", q.recovered)
		}
		if permit.Single {
			t.Errorf("got %+v after the hold has ended, want the caller's number of messages", permit)
		}
	})
}

// TestWindowsOfManyPoisons: together they take a third of the time at the most,
// whether they come back at once or in turn.
func TestWindowsOfManyPoisons(t *testing.T) {
	t.Parallel()
	const gap, step = 30 * time.Second, 10 * time.Millisecond
	for _, poisons := range []int{2, 20, 64} {
		for name, spread := range map[string]time.Duration{"at once": 0, "in turn": gap} {
			t.Run(fmt.Sprint(poisons, " ", name), func(t *testing.T) {
				t.Parallel()
				run(t, func(t *testing.T) {
					var b hold.Breaker
					r := hold.Receive{Name: "orders.fifo", Queue: &wroteQueue{answer: hold.Yes}, FIFO: true}
					admit(t, &b, r)
					for i := range poisons {
						poison := hold.Message{ID: fmt.Sprint(i), Receives: 1, Sent: time.Now(), Group: fmt.Sprint(i)}
						b.Note(r.Name, hold.Response{Cause: errors.New("invalid"), Messages: []hold.Message{poison, {ID: "f", Opened: true, Group: poison.Group, Behind: poison.ID}}})
						b.Park(t.Context(), r, []hold.Message{poison})
						time.Sleep(spread / time.Duration(poisons))
					}
					for range 2 {
						b.Note(r.Name, hold.Response{Delivered: true})
					}
					if spread == 0 {
						time.Sleep(gap / 2)
					}
					var single time.Duration
					for range gap / step {
						if admit(t, &b, r).Single {
							single += step
						}
						time.Sleep(step)
					}
					if single > gap/3+step || single < gap/10 {
						t.Errorf("one message is asked for for %v of %v, want at most a third and at least a tenth", single, gap)
					}
				})
			})
		}
	}
}
