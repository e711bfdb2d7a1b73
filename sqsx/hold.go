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
// opens: receiving more would only raise the receive counts of good messages
// until the redrive policy moves them to the dead-letter queue. One receive at a
// time is let through to find out whether that has changed. The error of the
// last message that did not open is in the chain.
var ErrHeld = errors.New("sqsx: receives are held because no message of this queue opens")

// When a hold closes: a response held messages, none opened, and none has opened
// for so long.
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
	quietLift     = 15 * time.Minute // without a failure, and an empty queue: the hold has no object
	probeSlack    = 30 * time.Second // a probe that takes so much longer than it should is given up
	scoutPatience = time.Second      // see hold.ahead
)

// How long a held receive waits before it fails: as long as its caller would
// wait for a message.
const (
	shortPollPatience = time.Second
	maxPatience       = 20 * time.Second // the longest WaitTimeSeconds of SQS
)

// Bounds on memory, which a hostile sender fills. Together at most 40 MiB, and
// that only if so many queues are held.
const (
	maxQueues          = 1024    // known; with all of them held, a further queue is never held
	maxRehearsals      = 4       // data keys remembered of a queue, and one that opened a message
	maxRehearsalHeader = 8 << 10 // bytes of a message header whose data key is remembered
)

// holds keeps the holds of a Sealer. It is safe for concurrent use.
type holds struct {
	// How a rehearsal asks for a data key: as a message would, or past the cache,
	// where what is in hand would hide that the key service does not answer.
	askCache, askKeyring askFunc

	mu     sync.Mutex // guards queues and what its values point to
	queues map[string]*hold
}

// hold is what is known of one queue.
type hold struct {
	lastOpened, lastFailed time.Time     // zero: never
	changed                chan struct{} // closed when those who wait should look again

	// The first receive of a process goes ahead, and others follow when it has
	// shown what comes of it, or at this time: with a wrong setting, each start
	// of a process would otherwise cost as many receives as it has goroutines.
	scouted bool
	ahead   time.Time

	witness     openedKey // of a message that was delivered lately; zero: none
	closed      bool
	cause       error       // of the last message that did not open
	keys        []sealedKey // to rehearse; empty if messages are at fault
	probe       *probe      // who is out to rehearse or to receive, or nil
	rehearsed   bool        // the last rehearsal went well
	pause, risk time.Duration
	nextTry     time.Time // no rehearsal before
	nextReceive time.Time

	// On a FIFO queue, by message group. While there is any, messages are
	// received singly.
	poison map[string]poison
}

// probe is the right to end a hold. It expires, so that a caller who never
// returns cannot keep a queue closed.
type probe struct{ expires time.Time }

func newHolds(askCache, askKeyring askFunc) *holds {
	return &holds{askCache: askCache, askKeyring: askKeyring, queues: make(map[string]*hold)}
}

func holdKey(q middleware.Queue) string {
	if arn := q.ARN(); arn != "" {
		return arn
	}
	return q.URL
}

// of returns the hold of q, or nil if there is no room for it. It is called
// with h.mu held.
func (h *holds) of(q middleware.Queue) *hold {
	key := holdKey(q)
	if s := h.queues[key]; s != nil {
		return s
	}
	if len(h.queues) >= maxQueues {
		for other, s := range h.queues {
			if !s.closed && time.Since(s.lastOpened) > faultGrace {
				delete(h.queues, other)
				break
			}
		}
		if len(h.queues) >= maxQueues {
			return nil
		}
	}
	s := &hold{changed: make(chan struct{})}
	h.queues[key] = s
	return s
}

// admit lets a receive pass, sends it ahead as a probe, or makes it wait and
// fail.
func (h *holds) admit(ctx context.Context, q middleware.Queue, in *sqs.ReceiveMessageInput) (middleware.Admission, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.of(q)
	if s == nil {
		return middleware.Admission{}, nil
	}
	polling := min(time.Duration(max(in.WaitTimeSeconds, 0))*time.Second, maxPatience)
	giveUp := time.Now().Add(max(polling, shortPollPatience))
	for waited := false; ; waited = true {
		now := time.Now()
		switch {
		case !s.closed && (!s.scouted || !now.Before(s.ahead)):
			return h.pass(q, s, now), nil
		case !s.closed:
			if err := h.wait(ctx, s, s.ahead); err != nil {
				return middleware.Admission{}, err
			}
			continue
		case s.probe != nil && now.Before(s.probe.expires):
		case len(s.keys) > 0 && !now.Before(s.nextTry):
			if err := h.tryRehearsal(ctx, q, s); err != nil {
				return middleware.Admission{}, err
			}
			continue
		case !now.Before(s.nextReceive):
			// A long poll that its caller cuts short can lose what is on its way.
			// The caller's next receive need not wait, and has all its time.
			if deadline, ok := ctx.Deadline(); waited && ok && deadline.Sub(now) < polling {
				return middleware.Admission{}, s.held()
			}
			return h.sendProbe(q, s, now.Add(polling+probeSlack)), nil
		}
		if !now.Before(giveUp) {
			return middleware.Admission{}, s.held()
		}
		if err := h.wait(ctx, s, earliest(giveUp, s.due(now))); err != nil {
			return middleware.Admission{}, err
		}
	}
}

func (s *hold) held() error { return fmt.Errorf("%w; the last cause: %w", ErrHeld, s.cause) }

// due is when the next probe may set out.
func (s *hold) due(now time.Time) time.Time {
	switch {
	case s.probe != nil && now.Before(s.probe.expires):
		return s.probe.expires
	case len(s.keys) > 0:
		return earliest(s.nextTry, s.nextReceive)
	}
	return s.nextReceive
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// pass admits an ordinary receive.
func (h *holds) pass(q middleware.Queue, s *hold, now time.Time) middleware.Admission {
	if !s.scouted {
		s.scouted, s.ahead = true, now.Add(scoutPatience)
	}
	admission := middleware.Admission{Done: func(int, int, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		s.settle()
	}}
	if s.single(now) {
		admission.MaxMessages = 1
	}
	return admission
}

// settle lets those follow who waited for the first receive.
func (s *hold) settle() {
	if !s.ahead.IsZero() {
		s.ahead = time.Time{}
		s.wake()
	}
}

// wake lets those who wait look again.
func (s *hold) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait blocks until something has changed, or it is time. It is called, and
// returns, with h.mu held.
func (h *holds) wait(ctx context.Context, s *hold, until time.Time) error {
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

// sendProbe admits one receive of one message.
func (h *holds) sendProbe(q middleware.Queue, s *hold, expires time.Time) middleware.Admission {
	p := &probe{expires: expires}
	s.probe = p
	return middleware.Admission{MaxMessages: 1, Done: func(delivered, withheld int, err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if s.probe != p {
			return
		}
		s.probe = nil
		// An empty queue costs no message anything: the next probe may follow at
		// once. Nor does a receive that SQS refuses.
		empty := err == nil && delivered == 0 && withheld == 0
		if s.closed && empty && (s.rehearsed || time.Since(s.lastFailed) >= quietLift) {
			s.lift()
			s.scouted = false
		}
		s.wake()
	}}
}

// grow doubles a pause, and returns it with jitter.
func grow(pause *time.Duration, top time.Duration) time.Duration {
	*pause = min(max(2**pause, minPause), top)
	return *pause/2 + rand.N(*pause/2)
}

// arrived gives those who wait for the first receive the time it takes to open
// what it brought.
func (h *holds) arrived(q middleware.Queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.queues[holdKey(q)]; s != nil && !s.ahead.IsZero() {
		s.ahead = time.Now().Add(openTimeout)
	}
}

// note learns how the messages of a response fared. What opens behind a message
// of its group that does not is not delivered, and so does not count.
func (h *holds) note(q middleware.Queue, messages []types.Message, opened []middleware.Opened, openedKeys []openedKey) {
	var cause error
	var keys []sealedKey
	var witness openedKey
	some, temporary := false, false
	var behind []int
	if q.FIFO() {
		behind = middleware.HeldBehind(messages, opened)
	}
	for i, o := range opened {
		if o.Err == nil && (behind == nil || behind[i] < 0) {
			some, witness = true, openedKeys[i]
		}
		if o.Err != nil && (cause == nil || o.Temporary && !temporary) {
			cause, temporary = o.Err, o.Temporary
		}
	}
	if !some && temporary {
		keys = sealedKeys(messages, opened)
	}

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
	if some {
		s.lastOpened = now
		s.witness.replace(witness)
		s.lift()
		s.settle()
		return
	}
	s.lastFailed, s.cause = now, cause
	grace := faultGrace
	if temporary {
		grace = outageGrace
	}
	if !s.closed && now.Sub(s.lastOpened) < grace {
		return
	}
	for _, key := range keys {
		s.remember(key)
	}
	if s.closed && now.Before(s.nextReceive) {
		return // it was received before the hold closed, or while it was open
	}
	s.closed, s.rehearsed = true, false
	s.nextTry = now.Add(grow(&s.pause, maxPause))
	top := maxPause
	if len(s.keys) > 0 || s.lastOpened.IsZero() { // never opened: more likely a wrong setting than a wrong message
		top = maxRiskPause
	}
	s.nextReceive = now.Add(grow(&s.risk, top))
	s.settle()
}

// lift ends the hold.
func (s *hold) lift() {
	if !s.closed {
		return
	}
	s.closed, s.rehearsed, s.probe, s.keys, s.cause = false, false, nil, nil, nil
	s.pause, s.risk = 0, 0
	s.wake()
}
