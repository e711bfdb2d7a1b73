// Package clock measures time for what must not outlive it.
package clock

import "time"

// Elapsed returns the time from one moment to a later one, for a memory that
// ends for security's sake. The monotonic clock stands still while a machine is
// suspended, or restored from a snapshot, and the wall clock can be set back:
// the longer of the two never keeps anything beyond its time.
func Elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}
