package sqsx

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/middleware"
)

// ErrHeld fails a receive, with no request made, on a queue of which nothing
// could be opened lately: receiving more would only raise the receive counts of
// good messages until the redrive policy moves them to the dead-letter queue.
// One receive at a time is let through to find out whether that has changed.
var ErrHeld = errors.New("sqsx: receives are held because no message of this queue opens")

// The hold, by queue. A receive that opens nothing closes it, unless something
// opened within holdAfter. Then one receiver at a time probes, after pauses that
// double from minProbePause to maxProbePause, until something opens.
const (
	holdAfter     = 60 * time.Second
	minProbePause = time.Second
	maxProbePause = 30 * time.Second

	// A probe that follows trouble with the key service first opens one of the
	// last messages again, from memory, and receives nothing while that fails:
	// an outage then costs no message a receive. Every rehearsals-th probe
	// receives all the same, because messages in memory may be hostile ones that
	// never open.
	rehearsals     = 10
	remembered     = 4    // messages kept for that, each at most 1 MiB
	maxHeldQueues  = 1024 // queues known; beyond that new ones are never held
	shortPollPause = time.Second
)

// holds keeps the holds of a Sealer. It is safe for concurrent use.
type holds struct {
	// try opens a message without delivering it.
	try func(context.Context, middleware.Queue, *types.Message) error

	mu     sync.Mutex // guards queues and what its values point to
	queues map[string]*hold
}

// hold is what is known of one queue.
type hold struct {
	lastOpened time.Time // zero: nothing ever
	closed     bool
	cause      error           // of the last message that did not open
	failed     []types.Message // the last ones that failed for no fault of their own
	probing    bool            // a receiver is out
	probes     int             // since the hold closed
	pause      time.Duration   // before the next probe
	nextProbe  time.Time
	changed    chan struct{} // closed when waiters should look again

	// On a FIFO queue a message that is at fault takes its followers in the
	// response with it, and each receive raises their counts. Until one opens,
	// messages are received singly.
	single bool
}

func newHolds(try func(context.Context, middleware.Queue, *types.Message) error) *holds {
	return &holds{try: try, queues: make(map[string]*hold)}
}

// of returns the hold of q, or nil if too many queues are known. The caller
// holds h.mu.
func (h *holds) of(q middleware.Queue) *hold {
	key := q.ARN()
	if key == "" {
		key = q.URL
	}
	s := h.queues[key]
	if s == nil && len(h.queues) < maxHeldQueues {
		s = &hold{changed: make(chan struct{})}
		h.queues[key] = s
	}
	return s
}

// wake lets waiters look again. The caller holds h.mu.
func (s *hold) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// admit lets a receive pass, makes it the probe, or makes it wait and fail.
func (h *holds) admit(ctx context.Context, q middleware.Queue, in *sqs.ReceiveMessageInput) (middleware.Admission, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.of(q)
	if s == nil {
		return middleware.Admission{}, nil
	}
	patience := shortPollPause
	if in.WaitTimeSeconds > 0 {
		patience = time.Duration(in.WaitTimeSeconds) * time.Second
	}
	giveUp := time.Now().Add(patience)
	for s.closed {
		if !s.probing && !time.Now().Before(s.nextProbe) {
			if h.probe(ctx, q, s) {
				return middleware.Admission{MaxMessages: 1, Done: func(delivered, withheld int, err error) {
					h.finish(q, true, delivered, withheld)
				}}, nil
			}
			continue
		}
		if err := h.wait(ctx, s, giveUp); err != nil {
			return middleware.Admission{}, err
		}
	}
	admission := middleware.Admission{Done: func(delivered, withheld int, err error) { h.finish(q, false, delivered, withheld) }}
	if s.single {
		admission.MaxMessages = 1
	}
	return admission, nil
}

// wait blocks until the state may have changed or a probe is due, and fails at
// giveUp. It is called, and returns, with h.mu held.
func (h *holds) wait(ctx context.Context, s *hold, giveUp time.Time) error {
	until := giveUp
	if !s.probing && s.nextProbe.Before(giveUp) {
		until = s.nextProbe
	}
	changed, cause := s.changed, s.cause
	h.mu.Unlock()
	defer h.mu.Lock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
		return nil
	case <-timer.C:
	}
	if until.Equal(giveUp) {
		return fmt.Errorf("%w; the last one: %v", ErrHeld, cause)
	}
	return nil
}

// probe takes the probe, and reports whether to receive: at once if the
// messages were at fault, else only when one of those in memory opens by now, or
// it has not for a while. It is called, and returns, with h.mu held.
func (h *holds) probe(ctx context.Context, q middleware.Queue, s *hold) bool {
	s.probing = true
	s.probes++
	if len(s.failed) == 0 || s.probes%rehearsals == 0 {
		return true
	}
	m := s.failed[s.probes%len(s.failed)]
	h.mu.Unlock()
	err := h.try(ctx, q, &m)
	h.mu.Lock()
	if err == nil || classify(err) == messageFault {
		return true
	}
	s.cause = err
	s.endProbe()
	return false
}

// endProbe lets the next probe follow after a longer pause. Half of the pause
// is random, so that a fleet does not probe in step.
func (s *hold) endProbe() {
	s.probing = false
	s.pause = min(max(2*s.pause, minProbePause), maxProbePause)
	s.nextProbe = time.Now().Add(s.pause/2 + rand.N(s.pause/2))
	s.wake()
}

// finish notes how a receive ended.
func (h *holds) finish(q middleware.Queue, probe bool, delivered, withheld int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.of(q)
	if s == nil {
		return
	}
	switch {
	case delivered > 0:
		s.lastOpened = time.Now()
		if s.closed {
			s.closed, s.probing, s.probes, s.pause = false, false, 0, 0
			s.wake()
		}
		s.cause, s.failed = nil, nil
	case withheld > 0 && probe:
		if s.closed {
			s.endProbe()
		}
	case withheld > 0 && !s.closed && time.Since(s.lastOpened) >= holdAfter:
		s.closed = true
		s.endProbe()
	case probe:
		// An empty receive, or one that SQS refused, tells nothing and costs no
		// message anything: the next may follow at once.
		s.probing = false
		s.nextProbe = time.Now()
		s.wake()
	}
}

// note remembers how messages fared.
func (h *holds) note(q middleware.Queue, messages []types.Message, opened []middleware.Opened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.of(q)
	if s == nil {
		return
	}
	faults, delivered := 0, 0
	for i, o := range opened {
		switch {
		case o.Err == nil:
			delivered++
			continue
		case o.Temporary:
			if len(s.failed) == remembered {
				s.failed = append(s.failed[:0:0], s.failed[1:]...)
			}
			s.failed = append(s.failed, messages[i])
		default:
			faults++
		}
		s.cause = o.Err
	}
	if q.FIFO() && (faults > 0 || delivered > 0) {
		s.single = faults > 0
	}
}
