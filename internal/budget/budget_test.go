package budget_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/internal/budget"
)

// TestTurns: calls that fail are paced, calls that succeed are free, and no
// caller waits longer than its limit.
func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &budget.Budget{PerSecond: 10, Burst: 5}
		turn := func(patience time.Duration) (bool, time.Duration) {
			begin := time.Now()
			ok := b.Turn(t.Context(), begin.Add(patience))
			return ok, time.Since(begin)
		}
		for i := range 5 {
			if ok, d := turn(0); !ok || d != 0 {
				t.Errorf("failure %d: got %t after %v, want its turn at once", i, ok, d)
			}
		}
		if ok, d := turn(99 * time.Millisecond); ok || d != 0 {
			t.Errorf("one more: got %t after %v, want no turn, at once", ok, d)
		}
		if ok, d := turn(100 * time.Millisecond); !ok || d != 100*time.Millisecond {
			t.Errorf("one more: got %t after %v, want its turn after 100ms", ok, d)
		}
		b.Refund()
		if ok, d := turn(0); !ok || d != 0 {
			t.Errorf("after one that succeeded: got %t after %v, want its turn at once", ok, d)
		}
		time.Sleep(time.Hour)
		for range 5 {
			if ok, _ := turn(0); !ok {
				t.Error("after a pause: got no turn")
			}
		}
		if ok, _ := turn(0); ok {
			t.Error("after a pause: got more than the burst")
		}
	})
}

// TestTurnOfACallerThatGoes is given back, and half of a caller's time is left
// for the call.
func TestTurnOfACallerThatGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &budget.Budget{PerSecond: 1, Burst: 1}
		patient := time.Now().Add(time.Hour)
		if !b.Turn(t.Context(), patient) {
			t.Fatal("got no turn")
		}
		short, cancel := context.WithTimeout(t.Context(), 1999*time.Millisecond)
		defer cancel()
		if b.Turn(short, patient) {
			t.Error("got a turn that would have left less than half of the time")
		}
		going, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if b.Turn(going, patient) {
				t.Error("got a turn after it had gone")
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
		begin := time.Now()
		if !b.Turn(t.Context(), patient) || time.Since(begin) != time.Second {
			t.Errorf("the next one waited %v, want 1s: the turn was not given back", time.Since(begin))
		}
	})
}
