package hold_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// breaking is a queue whose keyring breaks when it is asked for the first time,
// and says yes after that.
type breaking struct {
	do    func()
	asked atomic.Int32
}

func (q *breaking) Ask(context.Context, envelope.EncryptedDataKey) (hold.Answer, error) {
	if q.asked.Add(1) == 1 {
		q.do()
	}
	return hold.Yes, nil
}

func (*breaking) Cached(envelope.EncryptedDataKey, envelope.EncryptionContext) bool { return false }
func (*breaking) Recovered()                                                        {}
func (*breaking) Attributes(context.Context) (hold.Attributes, error) {
	return hold.Attributes{}, hold.ErrDenied
}
func (*breaking) Park(context.Context, []hold.Visibility) error     { return nil }
func (*breaking) TakeBack(context.Context, []hold.Visibility) error { return nil }

// TestKeyringBreaksWhenAsked: a panic does not end the process, and a question
// that ends without an answer is asked again. Otherwise nothing would ever be
// received.
func TestKeyringBreaksWhenAsked(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(){
		"panic":  func() { panic("the secret") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var b hold.Breaker
				q := &breaking{do: do}
				began := time.Now()
				if _, err := b.Admit(ctx, hold.Receive{Name: "orders", Queue: q, Wait: longPoll}); err != nil {
					t.Fatalf("got error %v after %v, want the receive to go ahead", err, time.Since(began))
				}
				if waited := time.Since(began); waited > time.Second {
					t.Errorf("waited %v, want at most 1s", waited)
				}
				if got := q.asked.Load(); got != 2 {
					t.Errorf("asked %d times, want 2", got)
				}
			})
		})
	}
}

// elsewhere is a queue with a redrive policy whose process may not decrypt
// under its own context.
type elsewhere struct{ breaking }

func (*elsewhere) Ask(context.Context, envelope.EncryptedDataKey) (hold.Answer, error) {
	return hold.Elsewhere, errRefused
}
func (*elsewhere) Attributes(context.Context) (hold.Attributes, error) {
	return hold.Attributes{VisibilityTimeout: 30 * time.Second, Retention: 4 * 24 * time.Hour, MaxReceives: 3}, nil
}

// TestProbes: while receives are held because a message was refused under our
// own context, single messages are received: of a standard queue after pauses
// of at most 30 seconds, of a FIFO queue, where nothing is parked, once an
// hour. A message that opens under another context ends that for good.
func TestProbes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fifo        bool
		first, most time.Duration
	}{
		"standard": {false, time.Second, 30 * time.Second},
		"FIFO":     {true, time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var b hold.Breaker
				r := hold.Receive{Name: "orders", Queue: &elsewhere{}, FIFO: tc.fifo, Wait: longPoll}
				refused := hold.Response{
					Cause: errRefused, KeyService: true, Refused: true,
					Messages: []hold.Message{{ID: "1", Handle: "1", Receives: 1, Sent: time.Now(), KeyService: true}},
				}
				admit := func(want bool, most time.Duration) {
					t.Helper()
					began := time.Now()
					for {
						permit, err := b.Admit(t.Context(), r)
						waited := time.Since(began)
						switch {
						case err == nil && (permit.Single != want || waited > most):
							t.Fatalf("got %+v after %v, want Single %v after at most %v", permit, waited, want, most)
						case err == nil:
							return
						case waited > most:
							t.Fatalf("got error %v after %v, want the receive to go ahead within %v", err, waited, most)
						}
					}
				}
				fails := func() {
					b.Note("orders", refused)
					b.Park(t.Context(), r, refused.Messages)
				}
				admit(false, 0)
				fails()
				admit(true, tc.first)
				for range 8 {
					fails()
					began := time.Now()
					admit(true, tc.most)
					if tc.fifo && time.Since(began) < tc.most {
						t.Errorf("a FIFO queue was probed after %v, want %v", time.Since(began), tc.most)
					}
				}
				b.Note("orders", hold.Response{Delivered: true, Opened: dataKey(1), Foreign: true})
				fails()
				admit(false, 0)
			})
		})
	}
}

// TestEvidence: what the key service denies under this queue's name holds
// receives once a message was refused under exactly that, with no further
// question. A message that opened under another name ends that for good: this
// process decrypts elsewhere, and anyone who may send can write what is
// refused.
func TestEvidence(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T) {
		var b hold.Breaker
		q := &wroteQueue{answer: hold.Elsewhere, uncached: true}
		r := hold.Receive{Name: "orders", Queue: q}
		refused := hold.Response{Cause: errRefused, KeyService: true, Refused: true}
		admit(t, &b, r)
		b.Note(r.Name, hold.Response{Cause: errRefused, KeyService: true}) // under another name
		admit(t, &b, r)
		b.Note(r.Name, refused)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.Admit(ctx, r); !errors.Is(err, hold.ErrHeld) || len(q.patience) != 1 {
			t.Errorf("got error %v after %d questions, want ErrHeld after 1", err, len(q.patience))
		}
		b.Note(r.Name, hold.Response{Delivered: true, Opened: dataKey(0), Foreign: true})
		began := time.Now()
		if _, err := b.Admit(t.Context(), r); err != nil || time.Since(began) > 0 {
			t.Errorf("got error %v after %v when a message under another name had opened, want none at once", err, time.Since(began))
		}
		for range 3 {
			b.Note(r.Name, refused)
			time.Sleep(time.Second)
			if _, err := b.Admit(t.Context(), r); err != nil {
				t.Errorf("got error %v after another refusal, want none", err)
			}
		}
	})
}
