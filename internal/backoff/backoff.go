// Package backoff has the pauses between attempts after failures.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Exponential returns the pause after so many failures in a row: first after
// one, twice as long after each further one, top at the most. It is first for
// failures below one.
func Exponential(first, top time.Duration, failures int) time.Duration {
	d := first
	for range failures - 1 {
		if d >= top {
			break
		}
		d *= 2
	}
	return min(d, top)
}

// Jitter returns a random duration from d/2 up to d, so that processes which
// failed at the same moment do not try again at the same moment. d must not be
// negative.
func Jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
