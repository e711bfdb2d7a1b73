package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/sealq/sealq/internal/backoff"
)

func TestExponential(t *testing.T) {
	t.Parallel()
	const first, top = time.Second, 30 * time.Second
	for failures, want := range map[int]time.Duration{
		-1: first, 0: first, 1: first, 2: 2 * time.Second, 3: 4 * time.Second, 5: 16 * time.Second, 6: top, 7: top, math.MaxInt: top,
	} {
		if got := backoff.Exponential(first, top, failures); got != want {
			t.Errorf("%d failures: got %v, want %v", failures, got, want)
		}
	}
	if got := backoff.Exponential(time.Minute, time.Second, 1); got != time.Second {
		t.Errorf("first above top: got %v, want 1s", got)
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	const d = 30 * time.Second
	least, most := d, time.Duration(0)
	for range 10_000 {
		got := backoff.Jitter(d)
		least, most = min(least, got), max(most, got)
	}
	if least < d/2 || most > d {
		t.Errorf("got %v to %v, want within %v to %v", least, most, d/2, d)
	}
	if least > d/2+d/100 || most < d-d/100 {
		t.Errorf("got %v to %v of 10,000, want nearly %v to %v", least, most, d/2, d)
	}
	if got := backoff.Jitter(0); got != 0 {
		t.Errorf("no pause: got %v, want 0", got)
	}
}
