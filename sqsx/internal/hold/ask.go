package hold

import (
	"context"
	"time"

	"github.com/sealq/sealq/internal/backoff"
	"github.com/sealq/sealq/internal/contain"
)

// Answer is what the key service says to the question whether this process may
// decrypt.
type Answer int

// Answers.
const (
	// Unknown is no answer: the keyring cannot be asked, or the service did not
	// understand the question. Nothing is held, and parking protects.
	Unknown Answer = iota
	// Yes: it may.
	Yes
	// No: the service is unreachable, throttles or fails, or it refuses the whole
	// key. Nothing that is received would open.
	No
	// Elsewhere: not under the context that this process seals with. It is a No
	// once a message was refused under exactly that context. Before, it may be
	// the consumer of a dead-letter queue, which decrypts under the name of the
	// source queue only. It still may be after that, because anyone who may send
	// can write such a message: see probes.
	Elsewhere
)

// askTimeout bounds a question. No caller's time does, since the answer is for
// all of them. It leaves room for one call of AWS KMS with all its attempts.
const askTimeout = 10 * time.Second

// asking is what is known of the key service.
//
// It is asked before the first receive, and after a response with messages that
// did not open for its sake: at most once in minPause. While it says no, it is
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
// A message of a FIFO queue is not parked, so it is not received again before it
// would be if it were.
func (h *held) nextProbe(fifo bool) time.Time {
	if fifo {
		return h.probed.Add(maxParking)
	}
	return h.probed.Add(backoff.Exponential(minPause, maxPause, h.probes+1))
}

// doubtful reports whether receives are held only because a message was refused
// under our own context. Anyone who may send can write one. So single messages
// are still received, and parked for the longest time: one that opens under
// another context ends the hold.
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

// failed notes that messages did not open for the sake of the key service.
func (a *asking) failed(r Response, now time.Time) {
	a.doubt = true
	a.evidence = a.evidence || r.Refused && !a.foreign
	if a.evidence && a.answer == Elsewhere && a.hold == nil {
		a.refused(r.Cause, now) // as the answer has it, now that there is evidence
	}
}

// opened notes that a message opened. Anyone who may send can write a message
// with our own context that is refused; nobody without a key writes one that
// opens under another. So that ends what the refusal seemed to show, for good.
func (a *asking) opened(foreign bool) {
	a.evidence = false
	a.foreign = a.foreign || foreign
	if foreign && a.answer == Elsewhere {
		a.hold = nil
	}
}

// refused begins to hold receives, or goes on to.
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
	queue, held := q.queue, q.asking.hold != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	go func() {
		defer cancel()
		answer := No // of a keyring that panics, as of one that is unreachable
		contain.Run("sqsx: CheckDecrypt", "the keyring", func() (err error) {
			answer, err = queue.Ask(ctx)
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

// answered draws the conclusions from an answer, and returns which messages to
// take back. It is called with b.mu held.
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
