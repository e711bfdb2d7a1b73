package kmskeyring

import (
	"context"
	"sync"
	"time"
)

const (
	// failuresPerSecond and failureBurst bound the Decrypt calls of a keyring that
	// fail and are not an outage. Anyone who may send can cause them, with a new
	// encrypted data key in each message, and KMS counts them like others: an
	// account may make 5,500 a second in the smallest Regions, 10,000 or more in
	// others (AWS KMS Developer Guide, request quotas, cryptographic operations
	// with symmetric keys). 1,000 is less than a fifth of that, and as much as a
	// consumer with a few receive loops needs: each loop receives 10 messages in
	// some 20 ms, the time of a receive and of a Decrypt.
	failuresPerSecond = 1000
	failureBurst      = 1000

	// turnPatience is how long a message waits for its turn. With every message of
	// a loop's response waiting at once, 75 loops fit into it. It is below one
	// second, after which package cache treats a wrapping key without an answer as
	// unreachable.
	turnPatience = 750 * time.Millisecond
)

// budget paces Decrypt calls by how many have failed. A call takes a token, and
// gives it back unless it failed: calls that KMS answers with a data key are
// free. When no token is left, calls wait for their turn, so that a process
// under a flood receives less and withholds nothing. The zero value is ready
// for use.
type budget struct {
	mu     sync.Mutex // guards all below
	spent  float64    // of failureBurst; what exceeds it waits
	filled time.Time  // when spent was brought up to date
}

// reserve takes a token and returns how long to wait before the call. It takes
// none if that is more than patience.
func (b *budget) reserve(now time.Time, patience time.Duration) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if gone := now.Sub(b.filled); gone > 0 {
		b.spent = max(0, b.spent-gone.Seconds()*failuresPerSecond)
		b.filled = now
	}
	over := max(0, b.spent+1-failureBurst)
	wait = time.Duration(over / failuresPerSecond * float64(time.Second))
	if wait > patience {
		return 0, false
	}
	b.spent++
	return wait, true
}

// refund gives a token back.
func (b *budget) refund() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-1)
}

// turn waits until a call may be made, at most until patient, and leaves half
// of ctx's time for the call. It reports whether it took a token: it does not
// if there is none in time, or if ctx ends.
func (b *budget) turn(ctx context.Context, patient time.Time) bool {
	now := time.Now()
	patience := patient.Sub(now)
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
		b.refund()
		return false
	}
}
