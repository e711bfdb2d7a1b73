package sqsx

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/middleware"
)

// ErrHeld fails a receive, with no request made, on a queue of which nothing
// opens: receiving more would only raise the receive counts of good messages
// until the redrive policy moves them to the dead-letter queue. One receive at a
// time is let through to find out whether that has changed. The error of the
// last message that did not open is in the chain.
var ErrHeld = errors.New("sqsx: receives are held because no message of this queue opens")

// How a hold is ended. A hold that the key service caused is rehearsed: a data
// key that could not be decrypted is asked for again, from memory, which costs
// no message a receive. Apart from that, and far less often if there is
// something to rehearse, one message is risked: it may be that what is in memory
// belongs to a hostile message that never opens. All pauses start at minPause,
// double, and are shortened by up to a half at random, so that a fleet does not
// move in step.
const (
	minPause      = time.Second
	maxPause      = 30 * time.Second // between rehearsals; and receives, with nothing to rehearse
	maxRiskPause  = 5 * time.Minute  // between receives while rehearsals fail, or if nothing ever opened
	quietLift     = 15 * time.Minute // no failure for so long and the queue is empty: nothing left to protect
	probeSlack    = 30 * time.Second // a probe that takes so much longer than it should is given up
	scoutPatience = time.Second      // see queueState.scouted
)

// How long a held receive waits before it fails: as long as its caller would
// wait for a message.
const (
	shortPollPatience = time.Second
	maxPatience       = 20 * time.Second // the longest WaitTimeSeconds of SQS
)

// maxQueues bounds what is known. With all of them held, a further queue is never
// held.
//
// A hostile sender can fill a queue's memory with up to 115 KiB, measured: five
// headers of maxRehearsalHeader, as much again and more for the maps of their
// encryption contexts, and 20 KiB of poison. So all is at most 120 MiB, beside the
// last error of each queue, and comes to that only if so many FIFO queues are
// held and are all sent the worst.
const maxQueues = 1024

// holds keeps what a Sealer knows of its queues, and which of them are held. It
// is safe for concurrent use.
type holds struct {
	// How a rehearsal asks for a data key: as a message would, or past the cache,
	// where what is in hand would hide that the key service does not answer.
	askCache, askKeyring askFunc

	mu     sync.Mutex // guards queues and what its values point to
	queues map[string]*queueState
}

// queueState is what is known of one queue.
type queueState struct {
	lastDelivered time.Time     // of any message; this and the next two zero: never
	lastOpened    time.Time     // of one that was sealed
	lastFailed    time.Time     // of a response of which nothing was delivered, or nothing opened
	changed       chan struct{} // closed when those who wait should look again

	// The first receive of a process goes ahead as a scout. Others follow when it
	// has shown what comes of it, or at scoutUntil: with a wrong setting, each
	// start of a process would otherwise cost as many receives as it has
	// goroutines.
	scouted    bool
	scoutUntil time.Time // zero: no scout is out

	witness sealedKey // of a message that opened lately; zero: none
	hold    *hold     // nil: the queue is open

	// On a FIFO queue, by message group. While there is any, messages are
	// received singly.
	poison map[string]poison
}

// hold exists only while its queue is held: to end it is to forget it.
type hold struct {
	cause     error // of the last message that did not open
	temporary bool  // the key service is the cause

	keys  []sealedKey // to rehearse; empty if messages are at fault
	probe *probe      // who is out to rehearse or to receive, or nil

	rehearsed            bool          // the last rehearsal went well
	pause, risk          time.Duration // the last one before a rehearsal, before a receive
	nextTry, nextReceive time.Time     // no rehearsal before, no receive before
}

// probe is the right to find out whether a hold can end. It expires, so that a
// caller who never returns cannot keep a queue held.
type probe struct{ expires time.Time }

func newHolds(askCache, askKeyring askFunc) *holds {
	return &holds{askCache: askCache, askKeyring: askKeyring, queues: make(map[string]*queueState)}
}

func holdKey(q middleware.Queue) string {
	if arn := q.ARN(); arn != "" {
		return arn
	}
	return q.URL
}

// state returns what is known of q, or nil if there is no room for it. It is
// called with h.mu held.
func (h *holds) state(q middleware.Queue) *queueState {
	key := holdKey(q)
	if s := h.queues[key]; s != nil {
		return s
	}
	if len(h.queues) >= maxQueues {
		for other, s := range h.queues {
			if s.hold == nil && time.Since(s.lastDelivered) > faultGrace {
				delete(h.queues, other)
				break
			}
		}
		if len(h.queues) >= maxQueues {
			return nil
		}
	}
	s := &queueState{changed: make(chan struct{})}
	h.queues[key] = s
	return s
}

// admit lets a receive pass, sends it ahead as a scout or a probe, or makes it
// wait and fail.
func (h *holds) admit(ctx context.Context, q middleware.Queue, in *sqs.ReceiveMessageInput) (middleware.Admission, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.state(q)
	if s == nil {
		return middleware.Admission{}, nil
	}
	polling := min(time.Duration(max(in.WaitTimeSeconds, 0))*time.Second, maxPatience)
	giveUp := time.Now().Add(max(polling, shortPollPatience))
	for waited := false; ; waited = true {
		now := time.Now()
		var err error
		switch todo, until := s.next(now); todo {
		case stepPass:
			return h.pass(s, now), nil
		case stepFollow:
			// Whoever has less time than a scout that finds nothing need not spend
			// it here.
			if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) && until.Sub(now) <= scoutPatience {
				return h.pass(s, now), nil
			}
			err = h.wait(ctx, s, until)
		case stepRehearse:
			err = h.tryRehearsal(ctx, q, s)
		case stepProbe:
			// A long poll that its caller cuts short can lose what is on its way.
			// The caller's next receive need not wait, and has all its time.
			if deadline, ok := ctx.Deadline(); waited && ok && deadline.Sub(now) < polling {
				return middleware.Admission{}, s.hold.err()
			}
			return h.sendProbe(s, now.Add(polling+probeSlack)), nil
		case stepWait:
			if !now.Before(giveUp) {
				return middleware.Admission{}, s.hold.err()
			}
			cause := s.hold.err()
			if err = h.wait(ctx, s, earliest(giveUp, until)); err != nil {
				// A loop that takes the end of its own time for an empty queue
				// can tell by this.
				err = fmt.Errorf("%w; %w", cause, err)
			}
		}
		if err != nil {
			return middleware.Admission{}, err
		}
	}
}

// step is what a receive may do now.
type step int

const (
	stepPass     step = iota
	stepFollow        // wait for the scout
	stepWait          // held: wait, as long as the caller has patience
	stepRehearse      // held: ask for a data key
	stepProbe         // held: receive one message
)

// next returns what a receive may do now. If that is to wait, the time is when
// to ask again.
func (s *queueState) next(now time.Time) (step, time.Time) {
	switch {
	case s.hold != nil:
		return s.hold.next(now)
	case now.Before(s.scoutUntil):
		return stepFollow, s.scoutUntil
	}
	return stepPass, now
}

// next is the same for a queue that is held.
func (h *hold) next(now time.Time) (step, time.Time) {
	if h.probe != nil && now.Before(h.probe.expires) {
		return stepWait, h.probe.expires
	}
	next := h.nextReceive
	if len(h.keys) > 0 {
		if !now.Before(h.nextTry) {
			return stepRehearse, now
		}
		next = earliest(h.nextTry, h.nextReceive)
	}
	if !now.Before(h.nextReceive) {
		return stepProbe, now
	}
	return stepWait, next
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// err is that of a receive that is not let through.
func (h *hold) err() error { return fmt.Errorf("%w; the last cause: %w", ErrHeld, h.cause) }

// pass admits an ordinary receive, the first one as a scout.
func (h *holds) pass(s *queueState, now time.Time) middleware.Admission {
	if !s.scouted {
		s.scouted, s.scoutUntil = true, now.Add(scoutPatience)
	}
	admission := middleware.Admission{Done: func(int, int, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		s.endScout()
	}}
	if s.single(now) {
		admission.MaxMessages = 1
	}
	return admission
}

// extendScout gives those who wait for a scout the time it takes to open what it
// brought.
func (h *holds) extendScout(q middleware.Queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.queues[holdKey(q)]; s != nil && !s.scoutUntil.IsZero() {
		s.scoutUntil = time.Now().Add(openTimeout)
	}
}

// endScout lets those follow who wait for a scout.
func (s *queueState) endScout() {
	if !s.scoutUntil.IsZero() {
		s.scoutUntil = time.Time{}
		s.wake()
	}
}

// sendProbe admits one receive of one message.
func (h *holds) sendProbe(s *queueState, expires time.Time) middleware.Admission {
	p := &probe{expires}
	s.hold.probe = p
	return middleware.Admission{MaxMessages: 1, Done: func(delivered, withheld int, err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !s.isOut(p) {
			return
		}
		s.hold.probe = nil
		// An empty queue costs no message anything: the next probe may follow at
		// once. Nor does a receive that SQS refuses.
		empty := err == nil && delivered == 0 && withheld == 0
		if empty && (s.hold.rehearsed || time.Since(s.lastFailed) >= quietLift) {
			s.lift()
			s.scouted = false
		}
		s.wake()
	}}
}

// isOut reports whether p is still to show whether the hold can end: no other
// probe has taken its place, and nothing else has ended the hold.
func (s *queueState) isOut(p *probe) bool { return s.hold != nil && s.hold.probe == p }

// wake lets those who wait look again.
func (s *queueState) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait blocks until something has changed, or it is time. It is called, and
// returns, with h.mu held.
func (h *holds) wait(ctx context.Context, s *queueState, until time.Time) error {
	changed := s.changed
	h.mu.Unlock()
	defer h.mu.Lock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer.C:
	}
	return nil
}
