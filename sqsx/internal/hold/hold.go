// Package hold keeps a consumer that cannot open messages from moving them to
// the dead-letter queue, and keeps messages that do not open from slowing down
// those that do. Every receive raises the receive counts of its messages, and
// the redrive policy of a queue uses that count.
//
// Two mechanisms do it:
//
//   - Ask (ask.go). The key service is asked, by a dry run that needs no
//     message, whether this process may decrypt. While it says no, nothing is
//     received.
//   - Park (park.go). A message that does not open is made invisible for much
//     longer than the visibility timeout of its queue. SQS stores that, so it
//     applies to all processes of all consumers.
//
// For FIFO queues the key service is asked, but messages are not parked,
// because a parked message blocks its message group: see fifo.go.
//
// The package does not know AWS: a [Queue] makes the calls.
package hold

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/backoff"
)

// ErrHeld is returned for a receive that is held, and for one that comes back
// empty while messages of the queue are parked and nothing has opened since.
var ErrHeld = errors.New("sqsx: receives are held because no message of this queue opens")

// ErrDenied is returned by a [Queue] whose process lacks a permission of SQS.
var ErrDenied = errors.New("hold: permission denied")

// A receive that is held waits as long as it would wait for a message, and then
// fails.
const (
	shortPollWait = time.Second      // WaitTimeSeconds is 0
	maxWait       = 20 * time.Second // the longest WaitTimeSeconds of SQS
)

// Pauses double from minPause to maxPause, and each is shortened by up to a
// half at random, so that a fleet does not ask in step.
const (
	minPause = time.Second
	maxPause = 30 * time.Second
)

// Bounds on memory. A queue beyond the bound is never held, and its messages
// are not parked. A queue without a receive for idleQueue is forgotten.
const (
	maxQueues  = 4096
	idleQueue  = time.Minute
	maxParked  = 1000      // messages of one queue: parked ones count as in flight, of which SQS allows 120,000
	maxHandles = 10 * 1000 // receipt handles of all queues; each takes about 1 KiB
)

// Queue is one queue, and the key service behind it. Implementations must be
// safe for concurrent use.
type Queue interface {
	// Ask asks the key service whether this process may decrypt messages that are
	// sealed for the queue. last is the data key of the last message that opened,
	// or zero if that is not known. The error is the reason of any answer but Yes.
	Ask(ctx context.Context, last envelope.EncryptedDataKey) (Answer, error)

	// Cached reports whether messages under the data key open without the key
	// service. It does not wait.
	Cached(key envelope.EncryptedDataKey, ec envelope.EncryptionContext) bool

	// Recovered is called before receives continue after a No of the key service:
	// remembered refusals and outages are out of date.
	Recovered()

	// Attributes reads the settings of the queue. The error is ErrDenied if that
	// is not permitted.
	Attributes(ctx context.Context) (Attributes, error)

	// Park makes messages invisible for longer, at most ten of them. The error is
	// ErrDenied if that is not permitted. A failure for single messages is not an
	// error.
	Park(ctx context.Context, messages []Visibility) error

	// TakeBack makes parked messages visible sooner. It is otherwise like Park.
	TakeBack(ctx context.Context, messages []Visibility) error
}

// Attributes are the settings of a queue that parking depends on.
type Attributes struct {
	VisibilityTimeout time.Duration // of a receive that does not ask for another
	Retention         time.Duration // of a message, from when it was sent
	MaxReceives       int           // of the redrive policy; 0: none
}

// Visibility is how long a message stays invisible, from now on.
type Visibility struct {
	Handle  string        // receipt handle
	Timeout time.Duration // 0: it is visible at once
}

// DataKey is what opened a message: an encrypted data key and the header of the
// message.
type DataKey struct {
	Encrypted envelope.EncryptedDataKey // that was decrypted
	Header    []byte                    // as it was received; more may follow it
}

// Receive is one call of ReceiveMessage.
type Receive struct {
	Name       string        // of the queue: its ARN, or else its URL
	Queue      Queue         // for the hold's own calls
	FIFO       bool          // it is a FIFO queue
	Plaintext  bool          // plaintext is delivered: messages arrive that need no key
	Wait       time.Duration // WaitTimeSeconds
	Visibility time.Duration // that the call asks for; 0: the queue's
}

// Response is what the hold needs to know about a response.
type Response struct {
	Delivered  bool      // at least one message
	Opened     DataKey   // of one that was sealed and is delivered; zero: none
	Foreign    bool      // one opened under another context than this process seals with
	Cause      error     // of one that did not open, one because of the key service if there is any; nil: all opened
	KeyService bool      // Cause is an error of the key service
	Refused    bool      // a message under exactly the context that this process seals with supports the answer Elsewhere
	Unmatched  bool      // a message under that context has no data key of a configured key
	Messages   []Message // those that did not open; of a FIFO queue all
}

// Message is one message of a response.
type Message struct {
	ID         string    // message ID
	Handle     string    // receipt handle
	Receives   int       // how often it was received, this time included; 0: unknown
	Sent       time.Time // zero: unknown
	Opened     bool      // it opened, whether it is delivered or not
	KeyService bool      // it did not open because of the key service; otherwise it is invalid

	// On FIFO queues.
	Group  string // message group; "": unknown
	Behind string // the ID of the message in front of it that holds it back; "": none
}

// Breaker decides about the receives of a process. The zero value is ready for
// use. It is safe for concurrent use.
type Breaker struct {
	mu      sync.Mutex // guards all below
	queues  map[string]*state
	handles int
}

// state is what is known about one queue.
type state struct {
	queue   Queue         // of the last receive
	used    time.Time     // by the last receive
	changed chan struct{} // closed when waiting receives should look again

	opened    time.Time // the last sealed message; zero: never any
	delivered time.Time // the last message; zero: never any
	lastKey   openKey   // that opened one lately
	cause     error     // of the last message that did not open
	quiet     bool      // the last receive brought no message

	asking  asking
	parking parking
	groups  groups
	wrong   wrongness
}

// Permit allows a receive.
type Permit struct {
	Single bool          // ask for one message
	Wait   time.Duration // the longest, for a message; 0: as long as the receive asks for
}

// Admit waits until the receive may go ahead, or for as long as it would wait
// for a message; then it fails with ErrHeld and the last cause. If ctx ends
// sooner, the error is ctx's, joined with ErrHeld if the queue is held.
func (b *Breaker) Admit(ctx context.Context, r Receive) (Permit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.state(r)
	if q == nil {
		return Permit{}, nil
	}
	patience := min(max(r.Wait, shortPollWait), maxWait)
	giveUp := time.Now().Add(patience)
	var held error // the last refusal, if the queue was held then
	for {
		now := time.Now()
		if q.asking.due(now) {
			b.ask(ctx, q)
		}
		var until time.Time
		h, probe := q.asking.hold, false
		if h != nil && (q.bridges(r, now) || q.noRedrive()) {
			h = nil
		}
		if h != nil && q.asking.doubtful() {
			probe = !now.Before(h.nextProbe(r.FIFO))
		}
		switch next := q.wrong.nextReceive; {
		case h != nil && !probe:
			held, until = refusal(h.err), h.next
			if q.asking.out {
				until = giveUp
			}
			if q.asking.doubtful() && h.nextProbe(r.FIFO).Before(until) {
				until = h.nextProbe(r.FIFO)
			}
		case q.asking.hold == nil && q.asking.out && !q.bridges(r, now):
			until = now.Add(askTimeout) // the answer is worth the wait
		case now.Before(next):
			held, until = refusal(q.cause), next
		default:
			// A long poll that its caller cuts short can lose messages in transit. The
			// caller's next receive does not wait here, and has all its time.
			if deadline, ok := ctx.Deadline(); ok && held != nil && deadline.Sub(now) < r.Wait {
				return Permit{}, held
			}
			if probe {
				h.probes, h.probed = h.probes+1, now
				return Permit{Single: true}, nil
			}
			if q.wrong.step(now) {
				return Permit{Single: true, Wait: stepBackWait}, nil
			}
			return Permit{Single: q.single(r, now)}, nil
		}
		if held != nil {
			if !now.Before(giveUp) {
				return Permit{}, held
			}
			if giveUp.Before(until) {
				until = giveUp
			}
		}
		if err := b.wait(ctx, q, until); err != nil {
			if held != nil {
				// A loop that reads the end of its own time as an empty queue can tell the
				// difference by this.
				err = fmt.Errorf("%w; %w", held, err)
			}
			return Permit{}, err
		}
	}
}

func refusal(cause error) error { return fmt.Errorf("%w; the last cause: %w", ErrHeld, cause) }

// single reports whether to ask for one message because of a FIFO group.
func (q *state) single(r Receive, now time.Time) bool {
	var wait time.Duration
	if q.quiet { // otherwise it will not wait
		wait = r.Wait
	}
	return q.groups.single(now, max(r.Visibility, q.parking.attributes.VisibilityTimeout), wait)
}

// bridgeFor is how long after the last message that opened receives go on while
// the key service says no. It is less than keyParking, so that a message which
// does not open is received once.
const bridgeFor = 10 * time.Minute

// bridges reports whether receives go on while the key service says no: there
// is plaintext to deliver, or a data key that opened a message lately is
// cached, and more messages under it may follow. Messages that do not open
// meanwhile are parked.
func (q *state) bridges(r Receive, now time.Time) bool {
	if r.Plaintext {
		return true
	}
	k := q.lastKey
	return k.encrypted.Ciphertext != nil && now.Sub(q.opened) < bridgeFor && r.Queue.Cached(k.encrypted, k.context)
}

// noRedrive reports whether receives go on although a message was refused under
// our own context: the queue has no redrive policy, so no receive count moves a
// message. Most dead-letter queues have none.
func (q *state) noRedrive() bool {
	return q.asking.doubtful() && q.parking.known && q.parking.attributes.MaxReceives == 0
}

// state returns the state of the receive's queue, or nil if there is no room
// for it. It is called with b.mu held.
func (b *Breaker) state(r Receive) *state {
	now := time.Now()
	if q := b.queues[r.Name]; q != nil {
		q.queue, q.used = r.Queue, now
		return q
	}
	if len(b.queues) >= maxQueues {
		for name, q := range b.queues {
			if b.idle(q, now) {
				delete(b.queues, name)
				break
			}
		}
		if len(b.queues) >= maxQueues {
			return nil
		}
	}
	q := &state{queue: r.Queue, used: now, changed: make(chan struct{})}
	// If plaintext is delivered, there may be no message that needs a key.
	q.asking.doubt = !r.Plaintext
	if b.queues == nil {
		b.queues = make(map[string]*state)
	}
	b.queues[r.Name] = q
	return q
}

// idle reports whether q may be forgotten.
func (b *Breaker) idle(q *state, now time.Time) bool {
	b.expire(q, now)
	return now.Sub(q.used) > idleQueue && !q.asking.out && q.asking.hold == nil && len(q.parking.out) == 0
}

// Note learns from a response that had messages. It ignores queues without an
// earlier Admit.
func (b *Breaker) Note(name string, r Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[name]
	if q == nil {
		return
	}
	now := time.Now()
	q.quiet = false
	q.groups.note(r.Messages, now)
	if r.Delivered {
		q.delivered = now
	}
	if r.Opened.Header != nil {
		q.opened = now
		q.asking.opened(r.Foreign)
		q.wake()
		if !q.lastKey.encrypted.Equal(r.Opened.Encrypted) {
			q.lastKey = r.Opened.remembered()
		}
	}
	if r.Cause != nil {
		q.cause = r.Cause
	}
	// If the configured key is missing, that a message has another one shows that
	// the wrong key is configured.
	if r.Unmatched && q.opened.IsZero() && q.asking.answer == Elsewhere {
		r.Refused = true
	}
	if r.KeyService || r.Refused {
		q.asking.failed(r, now)
	}
	q.wrong.note(r, q.opened.IsZero(), now)
}

// openKey is a data key, and the context that it is bound to.
type openKey struct {
	encrypted envelope.EncryptedDataKey
	context   envelope.EncryptionContext
}

// maxKeyHeader bounds the remembered header of a message, in bytes.
const maxKeyHeader = 8 << 10

// remembered returns what to remember of k: nothing, if it takes too much
// memory.
func (k DataKey) remembered() openKey {
	m, err := envelope.Split(k.Header)
	if err != nil || len(m.Header) > maxKeyHeader {
		return openKey{}
	}
	// Take the context of the header: for a signed message it is larger than the
	// one that the receiver sees, and the data key is bound to all of it.
	header, err := envelope.ParseHeader(m.Header)
	if err != nil {
		return openKey{}
	}
	return openKey{k.Encrypted.Clone(), header.EncryptionContext}
}

// wake makes waiting receives look again.
func (q *state) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// wait blocks until something has changed, or until the given time. It is
// called, and returns, with b.mu held.
func (b *Breaker) wait(ctx context.Context, q *state, until time.Time) error {
	changed := q.changed
	b.mu.Unlock()
	defer b.mu.Lock()
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

// pause returns the pause after so many failures in a row.
func pause(failures int) time.Duration {
	return backoff.Jitter(backoff.Exponential(minPause, maxPause, failures))
}
