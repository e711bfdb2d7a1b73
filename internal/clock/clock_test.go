package clock_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/sealq/sealq/internal/clock"
)

// asleep returns t as time.Now would return it on a machine that was suspended
// for d seconds: the wall clock has gone on, the monotonic clock has not.
func asleep(t time.Time, d int64) time.Time {
	// The first word of a Time with a monotonic reading holds the seconds of
	// the wall clock above 30 bits of nanoseconds.
	words := (*[3]int64)(unsafe.Pointer(&t))
	words[0] += d << 30
	return t
}

func TestElapsed(t *testing.T) {
	t.Parallel()
	from := time.Now()
	for name, test := range map[string]struct {
		to   time.Time
		want time.Duration
	}{
		"both clocks go on":        {from.Add(time.Minute), time.Minute},
		"suspended":                {asleep(from.Add(time.Second), 36_000), 10*time.Hour + time.Second},
		"the wall clock, set back": {asleep(from.Add(time.Minute), -36_000), time.Minute},
		"no time":                  {from, 0},
	} {
		if got := clock.Elapsed(from, test.to); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		if mono := test.to.Sub(from); name == "suspended" && mono != time.Second {
			t.Errorf("%s: the monotonic clocks differ by %v, want 1s: this test is of no use", name, mono)
		}
	}
}
