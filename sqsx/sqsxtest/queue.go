package sqsxtest

import (
	"cmp"
	"container/heap"
	"container/list"
	"strconv"
	"time"
)

// message is a message in a queue.
type message struct {
	number     uint64 // unique in the Server and ascending: breaks ties of time
	id         string
	body       string
	bodyMD5    string
	attributes map[string]attributeValue // never changed once sent
	trace      string                    // AWSTraceHeader
	group      string
	dedup      string
	sequence   string // of FIFO queues
	sender     string
	source     string // ARN of the queue that a redrive policy moved it from

	sent          time.Time
	firstReceived time.Time
	receives      int // in all queues: ApproximateReceiveCount
	receivesHere  int // in this queue: what maxReceiveCount is compared with

	state     state
	visibleAt time.Time // unless ready
	received  time.Time // the last receive
	receipt   uint64    // number of the last receive: older receipt handles are stale
	changes   uint64    // counts changes of visibility, which end a ReceiveRequestAttemptId

	hiddenAt int           // index in queue.hidden, -1 if ready
	inAll    *list.Element // in queue.all
	inReady  *list.Element // in queue.ready, of standard queues
	inGroup  *list.Element // in fifoGroup.messages, of FIFO queues
}

type state int

const (
	ready state = iota
	delayed
	inFlight
)

// queue holds messages so that sending, receiving and deleting take at most
// logarithmic time. All of it is guarded by the service's mutex, except config,
// which is replaced and never changed.
type queue struct {
	queueID
	uid      uint64
	config   *queueConfig
	tags     map[string]string
	created  time.Time
	modified time.Time

	messages map[uint64]*message
	all      list.List  // of *message, oldest first: the order of Stored, and of retention
	hidden   hiddenHeap // delayed and in flight, the next to appear first
	ready    list.List  // what can be received, in turn: *message, in FIFO queues *fifoGroup
	count    [3]int     // messages by state

	fifo *fifoState // of FIFO queues

	tasks   []*moveTask   // that started here, oldest first
	changed chan struct{} // closed by wake; nil while no long poll waits
}

// add puts a message into the queue, hidden for a delay.
func (q *queue) add(m *message, now time.Time, delay time.Duration) {
	q.messages[m.number] = m
	// Messages arrive in order of time, except those that keep their age on the
	// way to a dead-letter queue.
	after := q.all.Back()
	for after != nil && after.Value.(*message).sent.After(m.sent) {
		after = after.Prev()
	}
	if after == nil {
		m.inAll = q.all.PushFront(m)
	} else {
		m.inAll = q.all.InsertAfter(m, after)
	}
	m.hiddenAt = -1
	m.state = ready
	q.count[ready]++
	if q.fifo != nil {
		q.joinGroup(m)
	}
	if delay > 0 {
		q.hide(m, delayed, now.Add(delay))
	} else {
		q.show(m)
	}
	q.wake()
}

// remove takes a message out of the queue for good.
func (q *queue) remove(m *message) {
	if m.hiddenAt >= 0 {
		heap.Remove(&q.hidden, m.hiddenAt)
	}
	if m.inReady != nil {
		q.ready.Remove(m.inReady)
		m.inReady = nil
	}
	m.changes++ // ends an attempt that holds it
	q.count[m.state]--
	q.all.Remove(m.inAll)
	delete(q.messages, m.number)
	if q.fifo != nil {
		q.leaveGroup(m)
	}
	q.wake() // the rest of a group may be free now
}

// hide makes a message invisible until at; it may be so already.
func (q *queue) hide(m *message, s state, at time.Time) {
	if m.inReady != nil {
		q.ready.Remove(m.inReady)
		m.inReady = nil
	}
	q.enter(m, s)
	m.visibleAt = at
	if m.hiddenAt >= 0 {
		heap.Fix(&q.hidden, m.hiddenAt)
	} else {
		heap.Push(&q.hidden, m)
	}
	q.wake() // a long poll has to wait for another moment now
}

// show makes a message receivable. It goes behind the others: one that is given
// back again and again starves no one.
func (q *queue) show(m *message) {
	if m.hiddenAt >= 0 {
		heap.Remove(&q.hidden, m.hiddenAt)
	}
	q.enter(m, ready)
	if q.fifo != nil {
		q.settle(q.fifo.groups[m.group])
	} else {
		m.inReady = q.ready.PushBack(m)
	}
}

func (q *queue) enter(m *message, s state) {
	q.count[m.state]--
	q.count[s]++
	m.state = s
}

// advance does what time has done to the queue.
func (q *queue) advance(now time.Time) {
	for len(q.hidden) > 0 && !q.hidden[0].visibleAt.After(now) {
		q.show(q.hidden[0])
	}
	for e := q.all.Front(); e != nil; e = q.all.Front() {
		m := e.Value.(*message)
		if m.sent.Add(q.config.retention).After(now) {
			break
		}
		q.remove(m)
	}
}

// nextChange is when advance will next make a message visible.
func (q *queue) nextChange() time.Time {
	if len(q.hidden) == 0 {
		return farFuture()
	}
	return q.hidden[0].visibleAt
}

// wake has long polls look again.
func (q *queue) wake() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// change returns a channel that is closed when the queue changes.
func (q *queue) change() <-chan struct{} {
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return q.changed
}

// purge removes all messages, and the memory of their deduplication IDs.
func (q *queue) purge() {
	for e := q.all.Front(); e != nil; e = q.all.Front() {
		q.remove(e.Value.(*message))
	}
	if q.fifo != nil {
		q.fifo.sent = memory[dedupKey, sentBefore]{}
	}
}

// systemAttributes returns the system attributes that wanted names.
func (m *message) systemAttributes(wanted nameSet) map[string]string {
	out := make(map[string]string)
	put := func(name, value string) {
		if value != "" && wanted.has(name) {
			out[name] = value
		}
	}
	put("SenderId", m.sender)
	put("SentTimestamp", millis(m.sent))
	put("ApproximateReceiveCount", strconv.Itoa(m.receives))
	put("ApproximateFirstReceiveTimestamp", millis(m.firstReceived))
	put("MessageGroupId", m.group)
	put("MessageDeduplicationId", m.dedup)
	put("SequenceNumber", m.sequence)
	put("AWSTraceHeader", m.trace)
	put("DeadLetterQueueSourceArn", m.source)
	return out
}

func millis(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// hiddenHeap orders messages by the time at which they appear.
type hiddenHeap []*message

func (h hiddenHeap) Len() int { return len(h) }

func (h hiddenHeap) Less(i, j int) bool {
	return cmp.Or(h[i].visibleAt.Compare(h[j].visibleAt), cmp.Compare(h[i].number, h[j].number)) < 0
}

func (h hiddenHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].hiddenAt, h[j].hiddenAt = i, j
}

func (h *hiddenHeap) Push(x any) {
	m := x.(*message)
	m.hiddenAt = len(*h)
	*h = append(*h, m)
}

func (h *hiddenHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	m.hiddenAt = -1
	return m
}
