package hold

import (
	"context"
	"time"

	"github.com/sealq/sealq/internal/backoff"
	"github.com/sealq/sealq/internal/contain"
)

// Answer is the key service's answer to the question whether this process may
// decrypt.
type Answer int

// Answers.
const (
	// Unknown is no answer: the keyring cannot be asked, or the service did not
	// understand the question. Receives are not held, and only parking protects
	// messages.
	Unknown Answer = iota
	// Yes: it may.
	Yes
	// No: the service is unreachable, throttles or fails, or it refuses the whole
	// key. Nothing that is received would open.
	No
	// Elsewhere: not under the context that this process seals with. After a
	// message was refused under exactly that context, it counts as No. Before
	// that, this process may be the consumer of a dead-letter queue, which
	// decrypts under the name of the source queue only. It
	// still may be after that, because anyone who may send can write such a
	// message: see doubtful.
	//
	// It is also the answer of a process that opens data keys of two kinds, if one
	// kind does not open, and messages of this queue are not known to be of the
	// other.
	//
	// And it is the answer if the configured key does not exist as far as new
	// messages go. A process that has opened nothing, and receives a message under
	// another key, then has the wrong key configured: see Response.Unmatched.
	Elsewhere
)

// askTimeout bounds a question. The deadlines of callers do not, because the
// answer is for all of them. It leaves room for one call of AWS KMS with all
// its attempts.
const askTimeout = 10 * time.Second

// asking is what is known about the key service.
//
// It is asked before the first receive, and after a response with messages that
// did not open because of it: at most once in minPause. While it says no, it is
// asked again after pauses that double from minPause to maxPause.
type asking struct {
	doubt    bool // ask
	out      bool // a question is under way
	at       time.Time
	answer   Answer // the last one
	evidence bool   // a message was refused under our own context
	foreign  bool   // a message opened under another context: this process decrypts elsewhere
	hold     *held  // nil: the last answer was not No
}

// held exists only while the key service says no.
type held struct {
	err      error
	refusals int       // in a row
	next     time.Time // no question before

	probes int       // receives of one message, while the answer is Elsewhere
	probed time.Time // the last of them; at first, when the hold began
}

// nextProbe returns when a message may be received although receives are held.
// Messages of a FIFO queue are not parked, so a probe comes as seldom as a
// parked message would.
func (h *held) nextProbe(fifo bool) time.Time {
	if fifo {
		return h.probed.Add(maxParking)
	}
	return h.probed.Add(backoff.Exponential(minPause, maxPause, h.probes+1))
}

// doubtful reports whether receives are held only because a message was refused
// under our own context. Anyone who may send can write such a message. So
// single messages are still received, and parked for an hour: one that opens
// under another context ends the hold.
func (a *asking) doubtful() bool { return a.hold != nil && a.answer == Elsewhere }

// due reports whether it is time to ask.
func (a *asking) due(now time.Time) bool {
	switch {
	case a.out:
		return false
	case a.hold != nil:
		return !now.Before(a.hold.next)
	}
	return a.doubt && (a.at.IsZero() || now.Sub(a.at) >= minPause)
}

// failed notes that messages did not open because of the key service.
func (a *asking) failed(r Response, now time.Time) {
	a.doubt = true
	a.evidence = a.evidence || r.Refused && !a.foreign
	if a.evidence && a.answer == Elsewhere && a.hold == nil {
		a.refused(r.Cause, now) // now that there is evidence, the answer means No
	}
}

// opened notes that a message opened. Anyone who may send can write a message
// with our own context that is refused, but nobody without a key can write one
// that opens under another. So a message that opened under another context ends
// that evidence for good.
func (a *asking) opened(foreign bool) {
	a.evidence = false
	a.foreign = a.foreign || foreign
	if foreign && a.answer == Elsewhere {
		a.hold = nil
	}
}

// refused starts or continues to hold receives.
func (a *asking) refused(err error, now time.Time) {
	if a.hold == nil {
		a.hold = &held{probed: now}
	}
	a.hold.err = err
	a.hold.refusals++
	a.hold.next = now.Add(pause(a.hold.refusals))
}

// ask asks the key service in a goroutine of its own, and then takes back what
// was parked in vain. It is called with b.mu held.
func (b *Breaker) ask(ctx context.Context, q *state) {
	q.asking.out, q.asking.doubt = true, false
	queue, held, last := q.queue, q.asking.hold != nil, q.lastKey.encrypted
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	go func() {
		defer cancel()
		answer := No // if the keyring panics, as if it is unreachable
		contain.Run("sqsx: CheckDecrypt", "the keyring", func() (err error) {
			answer, err = queue.Ask(ctx, last)
			return err
		}, func(err error) {
			if answer == Yes && held {
				queue.Recovered()
			}
			b.mu.Lock()
			back := b.answered(q, answer, err, time.Now())
			b.mu.Unlock()
			takeBack(queue, back)
		})
	}()
}

// answered applies an answer, and returns which messages to take back. It is
// called with b.mu held.
func (b *Breaker) answered(q *state, answer Answer, err error, now time.Time) []Visibility {
	a := &q.asking
	a.out, a.at, a.answer = false, now, answer
	defer q.wake()
	if answer == No || answer == Elsewhere && a.evidence {
		a.refused(err, now)
		return nil
	}
	ended := a.hold != nil
	a.hold = nil
	if answer != Yes {
		return nil
	}
	a.evidence = false
	if ended {
		q.groups.clear()
	}
	return b.toTakeBack(q, ended, now)
}
