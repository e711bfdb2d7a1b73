package hold_test

import (
	"context"
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

func (q *breaking) Ask(context.Context) (hold.Answer, error) {
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
