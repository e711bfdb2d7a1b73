package sqsx

import (
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/middleware"
)

// When a hold begins: a response held messages, none was delivered, and none has
// been for so long. Where the key service is the cause, plaintext does not count.
const (
	// Where messages are at fault, a queue on which a bad one turns up now and
	// then is not held.
	faultGrace = 60 * time.Second
	// Where the key service is, it is wrong to wait: with a visibility timeout
	// of some seconds, messages would be received to the dead-letter queue
	// before a minute is over. A hold that was not needed ends with the first
	// rehearsal. A busy queue is not held for a hostile message in between.
	outageGrace = time.Second
)

// judgement is what a response has shown.
type judgement struct {
	delivered bool      // at least one message
	opened    openedKey // of one that is delivered and was sealed; zero: none

	cause     error       // of a message that did not open, the key service's if it is that of any
	temporary bool        // cause is no message's own
	keys      []sealedKey // to rehearse: none, if any sealed message is delivered
}

// judge sums up how the messages of a response fared. behind comes from
// [middleware.HeldBehind], and is nil for a standard queue: what is held back is
// not delivered, whether it opens or not, and so does not count.
func judge(messages []types.Message, opened []middleware.Opened, keys []openedKey, behind []int) judgement {
	var j judgement
	for i, o := range opened {
		if o.Err == nil && (behind == nil || behind[i] < 0) {
			j.delivered = true
			if !keys[i].isZero() {
				j.opened = keys[i]
			}
		}
		if o.Err != nil && (j.cause == nil || o.Temporary && !j.temporary) {
			j.cause, j.temporary = o.Err, o.Temporary
		}
	}
	if j.opened.isZero() && j.temporary {
		j.keys = sealedKeys(messages, opened)
	}
	return j
}

// note draws the conclusions from a response that held messages.
func (h *holds) note(q middleware.Queue, messages []types.Message, opened []middleware.Opened, keys []openedKey) {
	var behind []int
	if q.FIFO() {
		behind = middleware.HeldBehind(messages, opened)
	}
	found := judge(messages, opened, keys, behind)

	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.queues[holdKey(q)]
	if s == nil {
		return
	}
	now := time.Now()
	if behind != nil {
		s.notePoison(messages, opened, behind, now)
	}
	if found.delivered {
		s.lastDelivered = now
	}
	// Plaintext that is accepted says nothing about keys: while the key service
	// is the cause, it must not have sealed messages received until the redrive
	// policy takes them.
	switch {
	case !found.opened.isZero():
		s.lastOpened = now
		s.replaceWitness(found.opened)
		s.lift()
	case found.delivered && !found.temporary:
		if s.hold != nil && !s.hold.temporary {
			s.lift()
		}
	default:
		s.fail(found, now)
		return
	}
	s.endScout()
}

// fail holds the queue, or goes on to.
func (s *queueState) fail(found judgement, now time.Time) {
	s.lastFailed = now
	good, grace := s.lastDelivered, faultGrace
	if found.temporary {
		good, grace = s.lastOpened, outageGrace
	}
	if s.hold == nil {
		if now.Sub(good) < grace {
			return
		}
		s.hold = &hold{}
	}
	s.hold.prolong(found, good.IsZero(), now)
	s.endScout()
}

// prolong makes the next rehearsal and the next receive wait, for longer each
// time. It begins a hold, too.
func (h *hold) prolong(found judgement, neverOpened bool, now time.Time) {
	h.cause, h.temporary = found.cause, found.temporary
	for _, key := range found.keys {
		h.remember(key)
	}
	if now.Before(h.nextReceive) {
		return // it was received before the hold began
	}
	h.rehearsed = false
	h.nextTry = now.Add(grow(&h.pause, maxPause))
	top := maxPause
	if len(h.keys) > 0 || neverOpened { // never opened: more likely a wrong setting than a wrong message
		top = maxRiskPause
	}
	h.nextReceive = now.Add(grow(&h.risk, top))
}

// grow doubles a pause, and returns it with jitter.
func grow(pause *time.Duration, top time.Duration) time.Duration {
	*pause = min(max(2**pause, minPause), top)
	return *pause/2 + rand.N(*pause/2)
}

// lift ends the hold.
func (s *queueState) lift() {
	if s.hold != nil {
		s.hold = nil
		s.wake()
	}
}
