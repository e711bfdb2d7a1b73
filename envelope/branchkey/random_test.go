package branchkey

import (
	"encoding/hex"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

// TestRandomSourceThatRepeats draws as two copies of one process do that were
// resumed from the same snapshot, or as a program does that put another reader
// in place of crypto/rand's: the random bytes are the same each time. A salt
// and an IV that come back for another data key give both away.
func TestRandomSourceThatRepeats(t *testing.T) { // not parallel: it sets the random source of the process
	one, other := make([]byte, 32), append(make([]byte, 31), 1)
	synctest.Test(t, func(t *testing.T) {
		// The clock of a bubble stands still, as a coarse one does between ticks.
		draw := func(uses *atomic.Uint64, secret, bound []byte) string {
			cryptotest.SetGlobalRandom(t, 1)
			drawn := hedged(randomSaltIV, uses, secret, bound)
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
		cryptotest.SetGlobalRandom(t, 1)
		a := hedged(randomDataKey, new(atomic.Uint64), nil, nil)
		cryptotest.SetGlobalRandom(t, 1)
		if b := hedged(randomSaltIV, new(atomic.Uint64), nil, nil); a == b {
			t.Error("a data key came out as a salt and an IV")
		}
		// Both are random: two copies at the same moment with other random bytes.
		other := func(label string) [32]byte {
			cryptotest.SetGlobalRandom(t, 2)
			return hedged(label, new(atomic.Uint64), nil, nil)
		}
		cryptotest.SetGlobalRandom(t, 1)
		if hedged(randomDataKey, new(atomic.Uint64), nil, nil) == other(randomDataKey) {
			t.Error("other random bytes gave the same data key")
		}
		cryptotest.SetGlobalRandom(t, 1)
		if hedged(randomSaltIV, new(atomic.Uint64), nil, nil) == other(randomSaltIV) {
			t.Error("other random bytes gave the same salt and IV")
		}
	})
}
