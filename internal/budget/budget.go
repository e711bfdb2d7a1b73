// Package budget paces calls of a key service by how many have failed.
package budget

import (
	"context"
	"sync"
	"time"
)

// Budget paces calls. A call takes a token, and gives it back unless it failed:
// calls that succeed are free. When no token is left, calls wait for their
// turn, so that a process under a flood receives less and withholds nothing.
//
// Set the exported fields before the first use. All methods are safe for
// concurrent use.
type Budget struct {
	PerSecond float64 // failing calls, in the long run
	Burst     float64 // failing calls at once, after a pause

	mu     sync.Mutex // guards all below
	spent  float64    // of Burst; what exceeds it waits
	filled time.Time  // when spent was brought up to date
}

// reserve takes a token and returns how long to wait before the call. It takes
// none if that is more than patience.
func (b *Budget) reserve(now time.Time, patience time.Duration) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if gone := now.Sub(b.filled); gone > 0 {
		b.spent = max(0, b.spent-gone.Seconds()*b.PerSecond)
		b.filled = now
	}
	over := max(0, b.spent+1-b.Burst)
	wait = time.Duration(over / b.PerSecond * float64(time.Second))
	if wait > patience {
		return 0, false
	}
	b.spent++
	return wait, true
}

// Refund gives a token back.
func (b *Budget) Refund() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-1)
}

// Turn waits until a call may be made, at most until the time limit, and leaves
// half of ctx's time for the call. It reports whether it took a token: it does
// not if there is none in time, or if ctx ends.
func (b *Budget) Turn(ctx context.Context, limit time.Time) bool {
	now := time.Now()
	patience := limit.Sub(now)
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, deadline.Sub(now)/2)
	}
	wait, ok := b.reserve(now, max(patience, 0))
	if !ok || wait == 0 {
		return ok
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		b.Refund()
		return false
	}
}
