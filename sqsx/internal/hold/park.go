package hold

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// How long messages are parked, by the receive count from SQS. A message that
// is received every time it is visible again reaches the dead-letter queue of a
// redrive policy with maxReceiveCount 3 after 1 h 45 min.
const (
	// Because of the key service: 15 minutes, doubling with each receive.
	keyParking = 15 * time.Minute
	// Invalid messages: 5 minutes, 40 minutes, 1 hour. Only a process that has
	// never opened a message of the queue parks them, because its own settings may
	// be wrong. Others leave them to the redrive policy.
	invalidParking = 5 * time.Minute
	maxParking     = time.Hour
)

const (
	visibilityTimeout = 2 * time.Second // of one call of SQS
	retryDenied       = time.Hour       // after which a missing permission is tried again
	retryFailed       = time.Minute     // attributes that could not be read
	attributesAge     = time.Hour       // after which they are read again
	takeBackBatch     = 10              // messages in one call of SQS
	takeBackPause     = 5 * time.Second // before a failed request is tried once more
	backMemory        = 2 * maxParking  // for messages that were taken back

	// A message is parked for at most an eighth of its remaining retention, so
	// that it is received about a dozen times before it expires.
	retentionShare = 8
)

// parking is what is known about the parked messages of a queue.
type parking struct {
	out      []*parked
	back     map[string]time.Time // when messages were taken back, by ID: it happens once to each
	deniedAt time.Time            // zero: not known to be denied

	attributes Attributes
	known      bool      // attributes have been read
	nextRead   time.Time // not before
}

// parked is a message that this process has parked.
type parked struct {
	id     string
	handle string // "" if it is not to be taken back
	done   bool   // the request that parks it has ended, so taking it back cannot overtake it
	first  bool   // it was parked when it was received for the first time
	at     time.Time
	until  time.Time
}

// Park makes messages that did not open invisible for longer, with one request.
// withheld are those that were withheld from the response of one receive.
// Messages of FIFO queues are not parked: a parked one would block its message
// group.
func (b *Breaker) Park(ctx context.Context, r Receive, withheld []Message) {
	b.mu.Lock()
	q := b.queues[r.Name]
	now := time.Now()
	skip := q == nil || len(withheld) == 0 || !r.FIFO && !q.parks(withheld, now)
	b.mu.Unlock()
	if skip {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), visibilityTimeout)
	defer cancel()
	b.readAttributes(ctx, r.Queue, q, now)
	if r.FIFO {
		return // they say when a poison comes back
	}

	b.mu.Lock()
	b.expire(q, now)
	var changes []Visibility
	var added []*parked
	for _, m := range withheld {
		if len(q.parking.out)+len(added) >= maxParked || m.Handle == "" {
			break
		}
		timeout := q.parkingTime(m, r.Visibility, now)
		if timeout <= 0 {
			continue
		}
		changes = append(changes, Visibility{m.Handle, timeout})
		p := &parked{id: m.ID, first: m.Receives == 1, at: now, until: now.Add(timeout)}
		if m.KeyService && now.Sub(q.parking.back[m.ID]) >= backMemory && b.handles < maxHandles {
			p.handle = m.Handle
			b.handles++
		}
		added = append(added, p)
	}
	q.parking.out = append(q.parking.out, added...)
	b.mu.Unlock()
	if len(changes) == 0 {
		return
	}
	err := r.Queue.Park(ctx, changes)
	b.mu.Lock()
	if errors.Is(err, ErrDenied) {
		q.parking.deniedAt = now
		b.forget(q, func(p *parked) bool { return slices.Contains(added, p) })
	}
	for _, p := range added {
		p.done = true
	}
	var back []Visibility
	if q.asking.answer == Yes && q.asking.at.After(now) { // meanwhile
		back = b.toTakeBack(q, false, time.Now())
	}
	b.mu.Unlock()
	if len(back) > 0 {
		go takeBack(r.Queue, back) // as after a question; the receive does not wait
	}
}

// parks reports whether any of the messages may have to be parked.
func (q *state) parks(withheld []Message, now time.Time) bool {
	if denied := q.parking.deniedAt; !denied.IsZero() && now.Sub(denied) < retryDenied {
		return false
	}
	return q.opened.IsZero() || slices.ContainsFunc(withheld, func(m Message) bool { return m.KeyService })
}

// parkingTime returns for how long to park m, or 0. It is called with the mutex
// held.
func (q *state) parkingTime(m Message, visibility time.Duration, now time.Time) time.Duration {
	receives := max(m.Receives, 1)
	var d time.Duration
	switch {
	case m.KeyService && receives == 1 && !q.asking.at.IsZero() && q.asking.answer == Unknown:
		// Nothing will show when the key service answers again. It may have been a
		// blip, for which the visibility timeout of the queue is long enough.
		return 0
	case m.KeyService && q.asking.doubtful() && !q.noRedrive():
		d = maxParking // single messages are still received
	case m.KeyService:
		d = doubled(keyParking, receives-1)
	case q.opened.IsZero() && !q.wrong.stepsBack():
		d = doubled(invalidParking, 3*(receives-1))
	default:
		return 0
	}
	age := max(now.Sub(m.Sent), 0) // the clocks of SQS and of this process differ
	if !q.parking.known {
		// The average time between two receives is at least the visibility
		// timeout, which must not be shortened.
		if receives == 1 || m.Sent.IsZero() || d < age/time.Duration(receives-1) {
			return 0
		}
		return d
	}
	if q.parking.attributes.MaxReceives == 1 {
		return 0 // any next receive would dead-letter it
	}
	if !m.Sent.IsZero() {
		d = min(d, (q.parking.attributes.Retention-age)/retentionShare)
	}
	if d <= max(visibility, q.parking.attributes.VisibilityTimeout) {
		return 0
	}
	return d
}

// doubled doubles d the given number of times, up to maxParking.
func doubled(d time.Duration, times int) time.Duration {
	for range times {
		if d >= maxParking {
			break
		}
		d *= 2
	}
	return min(d, maxParking)
}

// readAttributes reads the settings of the queue, unless they are known, or
// could not be read lately. Receives that find them unknown at the same time
// all read them: the messages of the first ones must be parked too.
func (b *Breaker) readAttributes(ctx context.Context, queue Queue, q *state, now time.Time) {
	p := &q.parking
	b.mu.Lock()
	recent := now.Before(p.nextRead)
	b.mu.Unlock()
	if recent {
		return
	}
	attributes, err := queue.Attributes(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		p.attributes, p.known, p.nextRead = attributes, true, now.Add(attributesAge)
	case errors.Is(err, ErrDenied):
		p.known, p.nextRead = false, now.Add(retryDenied)
	default:
		p.nextRead = now.Add(retryFailed)
	}
}

// expire forgets the messages that are visible again. It is called with b.mu
// held.
func (b *Breaker) expire(q *state, now time.Time) {
	b.forget(q, func(p *parked) bool { return !now.Before(p.until) })
}

// forget forgets parked messages. It is called with b.mu held.
func (b *Breaker) forget(q *state, which func(*parked) bool) {
	q.parking.out = slices.DeleteFunc(q.parking.out, func(p *parked) bool {
		if !which(p) {
			return false
		}
		if p.handle != "" {
			b.handles--
		}
		return true
	})
}

// Empty returns the error of a receive that brought no message: while messages
// are parked by this process, and nothing has opened since, the queue must not
// look empty.
func (b *Breaker) Empty(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[name]
	if q == nil {
		return nil
	}
	q.quiet = true
	q.groups.missed++
	if len(q.parking.out) == 0 {
		return nil
	}
	b.expire(q, time.Now())
	if !slices.ContainsFunc(q.parking.out, func(p *parked) bool { return !q.delivered.After(p.at) }) {
		return nil
	}
	return refusal(q.cause)
}

// toTakeBack returns the messages that were parked in vain, because the key
// service says that this process may decrypt. Those of a hold that has ended
// become visible at once. If the key service never said no, the cause may have
// been a blip, or it may last: a message that was then received for the first
// time becomes visible after the visibility timeout of the queue, as if it had
// not been parked. Each message is taken back once only: if a dry run succeeds
// although decrypting fails, that costs the message one receive. It is called
// with b.mu held.
func (b *Breaker) toTakeBack(q *state, held bool, now time.Time) []Visibility {
	b.expire(q, now)
	maps.DeleteFunc(q.parking.back, func(_ string, at time.Time) bool { return now.Sub(at) >= backMemory })
	var back []Visibility
	for _, p := range q.parking.out {
		if p.handle == "" || !p.done || !held && !p.first {
			continue
		}
		if len(q.parking.back) >= maxParked {
			q.parking.forgetOldest()
		}
		var timeout time.Duration
		if !held {
			timeout = q.parking.attributes.VisibilityTimeout
		}
		back = append(back, Visibility{p.handle, timeout})
		if q.parking.back == nil {
			q.parking.back = make(map[string]time.Time)
		}
		q.parking.back[p.id] = now
		p.handle, p.until = "", now.Add(timeout)
		b.handles--
	}
	b.expire(q, now)
	return back
}

// forgetOldest makes room for one more message in back.
func (p *parking) forgetOldest() {
	var oldest string
	for id, at := range p.back {
		if oldest == "" || at.Before(p.back[oldest]) {
			oldest = id
		}
	}
	delete(p.back, oldest)
}

// takeBack makes messages visible again. A request that fails is made once
// more, after the others: some still fail when an outage of the network ends.
// Messages that fail again become visible when their parking ends.
func takeBack(queue Queue, messages []Visibility) {
	for try := range 2 {
		if try > 0 && len(messages) > 0 {
			time.Sleep(takeBackPause)
		}
		var failed []Visibility
		for batch := range slices.Chunk(messages, takeBackBatch) {
			ctx, cancel := context.WithTimeout(context.Background(), visibilityTimeout)
			if err := queue.TakeBack(ctx, batch); err != nil {
				failed = append(failed, batch...)
			}
			cancel()
		}
		messages = failed
	}
}

// A process that opens nothing, beside others that do, must step back: it
// receives single messages at intervals, does not compete in long polls, and
// does not park messages that are invalid to it. It recognises this by messages
// that were just sent and are received for the first time: another process
// drains the queue.
const (
	stepBackAfter = 1000             // of those that did not open
	justSent      = 60 * time.Second // an older message has waited for a consumer
	oldInARow     = 3                // older messages, not parked, show that no other process drains it
	stepBackWait  = time.Second      // for a message
)

// wrongness is the evidence for wrong settings of this process.
type wrongness struct {
	fresh       int       // messages that were just sent and did not open
	old         int       // others since the last of those
	steps       int       // receives since it steps back
	nextReceive time.Time // no receive before; zero: at once
}

// note learns from a response. never says that nothing has ever opened.
func (w *wrongness) note(r Response, never bool, now time.Time) {
	if !never || r.Delivered {
		*w = wrongness{}
		return
	}
	for _, m := range r.Messages {
		switch age := now.Sub(m.Sent); {
		case age < justSent:
			if m.Receives == 1 {
				w.fresh, w.old = w.fresh+1, 0
			}
		case !mayHaveBeenParked(m.Receives, age):
			// The first receive of an older message shows at once that no other process
			// drains the queue.
			if w.old++; m.Receives == 1 || w.old >= oldInARow {
				*w = wrongness{}
			}
		}
	}
}

// mayHaveBeenParked reports whether a message may have been parked as invalid
// at every second of its receives before, by processes with wrong settings:
// then it is old although another process drains the queue. Of two such
// receives one may be that of a process which steps back, and parks none.
func mayHaveBeenParked(receives int, age time.Duration) bool {
	var parked time.Duration
	for n := range receives / 2 {
		parked += doubled(invalidParking, 3*n)
		if parked > age+justSent { // the clock of SQS may be another
			return false
		}
	}
	return parked > 0
}

func (w *wrongness) stepsBack() bool { return w.fresh >= stepBackAfter }

// step reports whether this process steps back and receives one message at a
// time, and if so makes the next receive wait.
func (w *wrongness) step(now time.Time) bool {
	if !w.stepsBack() {
		return false
	}
	w.steps++
	w.nextReceive = now.Add(pause(w.steps))
	return true
}
