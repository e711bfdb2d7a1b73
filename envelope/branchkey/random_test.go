package branchkey

import (
	"encoding/hex"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRandomSourceThatRepeats draws as two copies of one process do that were
// resumed from the same snapshot, or as a program does that put another reader
// in place of crypto/rand's: the random bytes are the same each time. A salt
// and an IV that come back for another data key give both away.
func TestRandomSourceThatRepeats(t *testing.T) {
	t.Parallel()
	var random [randomSize]byte
	one, other := make([]byte, 32), append(make([]byte, 31), 1)
	synctest.Test(t, func(t *testing.T) {
		// The clock of a bubble stands still, as a coarse one does between ticks.
		draw := func(uses *atomic.Uint64, secret, bound []byte) string {
			drawn := hedged(randomSaltIV, &random, uses, secret, bound)
			return hex.EncodeToString(drawn[:saltSize+ivSize])
		}
		uses := new(atomic.Uint64)
		first := draw(uses, one, []byte("bound"))
		for what, got := range map[string]string{
			"the next draw of the process":      draw(uses, one, []byte("bound")),
			"a copy, another data key":          draw(new(atomic.Uint64), other, []byte("bound")),
			"a copy, another context":           draw(new(atomic.Uint64), one, []byte("bound elsewhere")),
			"a copy, the context in two places": draw(new(atomic.Uint64), one, append([]byte("bound"), 0)),
		} {
			if got == first {
				t.Errorf("%s: salt and IV came back", what)
			}
		}
		if got := draw(new(atomic.Uint64), one, []byte("bound")); got != first {
			t.Errorf("a copy that does the same: got another salt and IV, so the test compares nothing")
		}
		time.Sleep(time.Nanosecond)
		if draw(new(atomic.Uint64), one, []byte("bound")) == first {
			t.Error("a copy a nanosecond later: salt and IV came back")
		}
		if a, b := hedged(randomDataKey, &random, new(atomic.Uint64), nil, nil), hedged(randomSaltIV, &random, new(atomic.Uint64), nil, nil); a == b {
			t.Error("a data key came out as a salt and an IV")
		}
	})
}
