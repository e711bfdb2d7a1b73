package sqsxtest

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
)

// How long the service remembers a MessageDeduplicationId or a
// ReceiveRequestAttemptId.
const deduplicationInterval = 5 * time.Minute

// fifoState is what a FIFO queue has beyond a standard one.
type fifoState struct {
	groups   map[string]*fifoGroup
	sent     memory[dedupKey, sentBefore]
	attempts memory[string, attempt]
	sequence uint64
}

// fifoGroup is a message group. It is in queue.ready while its first message
// can be received.
type fifoGroup struct {
	id       string
	messages list.List // of *message, in order of sequence
	inReady  *list.Element
}

func newFIFOState() *fifoState {
	return &fifoState{groups: make(map[string]*fifoGroup)}
}

func (q *queue) joinGroup(m *message) {
	g := q.fifo.groups[m.group]
	if g == nil {
		g = &fifoGroup{id: m.group}
		q.fifo.groups[m.group] = g
	}
	m.inGroup = g.messages.PushBack(m)
}

func (q *queue) leaveGroup(m *message) {
	g := q.fifo.groups[m.group]
	g.messages.Remove(m.inGroup)
	q.settle(g)
	if g.messages.Len() == 0 {
		delete(q.fifo.groups, g.id)
	}
}

// settle puts a group into queue.ready or takes it out. A group waits while its
// first message is in flight or delayed. What is visible before such a message
// can be received, and what is behind it cannot.
func (q *queue) settle(g *fifoGroup) {
	first := g.messages.Front()
	free := first != nil && first.Value.(*message).state == ready
	switch {
	case free && g.inReady == nil:
		g.inReady = q.ready.PushBack(g)
	case !free && g.inReady != nil:
		q.ready.Remove(g.inReady)
		g.inReady = nil
	}
}

// nextSequence returns 20 digits that grow with every message of the queue, as
// the service's do.
func (f *fifoState) nextSequence() string {
	const first = 10_000_000_000_000_000_000 // so that all have 20 digits
	f.sequence++
	return strconv.FormatUint(first+f.sequence*256, 10)
}

// dedupKey is what makes two sends the same: within the queue, or within the
// group if the queue says so.
type dedupKey struct{ group, id string }

// sentBefore is the answer for a send that repeats another.
type sentBefore struct{ messageID, sequence string }

func contentDedupID(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// attempt is what a receive with a ReceiveRequestAttemptId was given.
type attempt struct {
	messages []*message
	receipts []uint64
	changes  []uint64
}

// repeats reports whether a second receive with the same ID gets the same
// messages: all still in flight, none touched since.
func (a attempt) repeats() bool {
	for i, m := range a.messages {
		if m.state != inFlight || m.receipt != a.receipts[i] || m.changes != a.changes[i] {
			return false
		}
	}
	return len(a.messages) > 0
}

// memory remembers values for the deduplication interval.
type memory[K comparable, V any] struct {
	values map[K]*list.Element // of remembered[K, V]
	order  list.List           // the same, oldest first
}

type remembered[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
}

func (d *memory[K, V]) get(key K, now time.Time) (v V, ok bool) {
	d.prune(now)
	if e, found := d.values[key]; found {
		return e.Value.(remembered[K, V]).value, true
	}
	return v, false
}

func (d *memory[K, V]) put(key K, v V, now time.Time) {
	d.keep(key, v, now, deduplicationInterval)
}

// keep is put for another time, which must be the same for all of a memory.
func (d *memory[K, V]) keep(key K, v V, now time.Time, life time.Duration) {
	d.prune(now)
	if d.values == nil {
		d.values = make(map[K]*list.Element)
	}
	if e, found := d.values[key]; found {
		d.order.Remove(e)
	}
	d.values[key] = d.order.PushBack(remembered[K, V]{key, v, now.Add(life)})
}

func (d *memory[K, V]) prune(now time.Time) {
	for e := d.order.Front(); e != nil; e = d.order.Front() {
		r := e.Value.(remembered[K, V])
		if r.expires.After(now) {
			return
		}
		delete(d.values, r.key)
		d.order.Remove(e)
	}
}
