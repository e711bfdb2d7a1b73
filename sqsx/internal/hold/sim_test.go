package hold_test

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// The tests of this package run fleets of consumers against a model of a queue
// and of a key service, in virtual time. The tests of package sqsx run the same
// hold with real clients and a server.

// How long things take in the model.
const (
	requestTime = 10 * time.Millisecond // one request to SQS or to the key service
	hangTime    = 5 * time.Second       // one request to a key service that hangs
	workTime    = 2 * time.Millisecond  // one message in the application
	errorPause  = time.Second           // of a loop, after an error
	longPoll    = 20 * time.Second
)

// simQueue is a queue of SQS: visibility timeouts, receive counts, a redrive
// policy, retention, and the limit on messages in flight.
type simQueue struct {
	visibility, retention time.Duration
	maxReceives           int // 0: no redrive policy
	random                bool
	rnd                   *rand.Rand

	mu       sync.Mutex // guards all below
	messages int        // ever sent
	ready    readyHeap
	flight   flightHeap
	inFlight int
	peak     int // of inFlight
	dead     []*simMessage
	expired  int
	changed  chan struct{}

	receives, changes int // requests
	denied            bool
}

// maxInFlight is SQS's limit for a standard queue.
const maxInFlight = 120000

type simMessage struct {
	seq       float64 // the order in which it is handed out
	id        int
	junk      bool
	key       int  // data key; 0 is the one that every process knows
	foreign   bool // under a wrapping key that is refused, beside a healthy one
	forged    bool // it says that it was sealed for this queue, and is refused
	sent      time.Time
	visibleAt time.Time
	receives  int
	handle    int // of the last receive
	gone      bool
	byProcess map[int]int // receives
	delivered time.Time
}

type readyHeap []*simMessage

func (h readyHeap) Len() int           { return len(h) }
func (h readyHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h readyHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *readyHeap) Push(x any)        { *h = append(*h, x.(*simMessage)) }
func (h *readyHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	*h = old[:len(old)-1]
	return m
}

// inFlightMessage is an entry of flightHeap; it is void if the message's
// visibility has changed since.
type inFlightMessage struct {
	m  *simMessage
	at time.Time
}

type flightHeap []inFlightMessage

func (h flightHeap) Len() int           { return len(h) }
func (h flightHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h flightHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *flightHeap) Push(x any)        { *h = append(*h, x.(inFlightMessage)) }
func (h *flightHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	*h = old[:len(old)-1]
	return m
}

func newSimQueue(maxReceives int, random bool) *simQueue {
	return &simQueue{
		visibility: 30 * time.Second, retention: 4 * 24 * time.Hour, maxReceives: maxReceives,
		random: random, rnd: rand.New(rand.NewPCG(1, 2)), changed: make(chan struct{}),
	}
}

func (q *simQueue) send(messages ...*simMessage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range messages {
		q.messages++
		m.id, m.sent, m.byProcess = q.messages, time.Now(), map[int]int{}
		q.makeReady(m)
	}
	q.wake()
}

func (q *simQueue) makeReady(m *simMessage) {
	m.seq = float64(m.id)
	if q.random {
		m.seq = q.rnd.Float64()
	}
	heap.Push(&q.ready, m)
}

func (q *simQueue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// surface makes messages visible whose time has come, and returns when the next
// one is.
func (q *simQueue) surface(now time.Time) time.Time {
	for len(q.flight) > 0 {
		e := q.flight[0]
		if e.m.gone || !e.m.visibleAt.Equal(e.at) {
			heap.Pop(&q.flight)
			continue
		}
		if now.Before(e.at) {
			return e.at
		}
		heap.Pop(&q.flight)
		e.m.visibleAt = time.Time{}
		q.inFlight--
		q.makeReady(e.m)
	}
	return now.Add(time.Hour)
}

func (q *simQueue) hide(m *simMessage, until time.Time) {
	if m.visibleAt.IsZero() {
		q.inFlight++
		q.peak = max(q.peak, q.inFlight)
	}
	m.visibleAt = until
	heap.Push(&q.flight, inFlightMessage{m, until})
}

// simReceived is what a receive returns for a message.
type simReceived struct {
	m        *simMessage
	receives int
	handle   string
}

// receive is a long poll.
func (q *simQueue) receive(ctx context.Context, process, most int, wait time.Duration) []simReceived {
	time.Sleep(requestTime)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.receives++
	giveUp := time.Now().Add(wait)
	for {
		now := time.Now()
		next := q.surface(now)
		var got []simReceived
		for len(got) < most && len(q.ready) > 0 && q.inFlight < maxInFlight {
			m := heap.Pop(&q.ready).(*simMessage)
			switch {
			case now.Sub(m.sent) >= q.retention:
				m.gone = true
				q.expired++
				continue
			case q.maxReceives > 0 && m.receives >= q.maxReceives:
				m.gone = true
				q.dead = append(q.dead, m)
				continue
			}
			m.receives++
			m.handle++
			m.byProcess[process]++
			q.hide(m, now.Add(q.visibility))
			got = append(got, simReceived{m, m.receives, handleOf(m)})
		}
		if len(got) > 0 || !now.Before(giveUp) || ctx.Err() != nil {
			return got
		}
		if giveUp.Before(next) {
			next = giveUp
		}
		changed := q.changed
		q.mu.Unlock()
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		// Each waiting receive is the first to look equally often.
		time.Sleep(rand.N(5 * time.Millisecond))
		q.mu.Lock()
	}
}

func (q *simQueue) delete(m *simMessage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.gone {
		return
	}
	m.gone, m.delivered = true, time.Now()
	if m.visibleAt.IsZero() {
		// It is ready again, and found to be gone when its turn comes; take it
		// out, or it would be received once more.
		for i, r := range q.ready {
			if r == m {
				heap.Remove(&q.ready, i)
				break
			}
		}
		return
	}
	q.inFlight--
}

func (q *simQueue) changeVisibility(byHandle map[string]*simMessage, changes []hold.Visibility) {
	time.Sleep(requestTime)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changes++
	now := time.Now()
	q.surface(now)
	for _, c := range changes {
		m := byHandle[c.Handle]
		if m == nil || m.gone || m.visibleAt.IsZero() || c.Handle != handleOf(m) {
			continue
		}
		m.visibleAt = now.Add(c.Timeout)
		if c.Timeout == 0 {
			m.visibleAt = time.Time{}
			q.inFlight--
			q.makeReady(m)
		} else {
			heap.Push(&q.flight, inFlightMessage{m, m.visibleAt})
		}
	}
	q.wake()
}

func handleOf(m *simMessage) string { return fmt.Sprint(m.id, "/", m.handle) }

// keyService is one wrapping key of a key service, and what is wrong with it.
type keyService struct {
	mu       sync.Mutex // guards all below
	state    serviceState
	throttle float64 // the share of Decrypt that is throttled, a dry run never
	askable  bool    // it understands a dry run
	asked    map[int][]time.Time
}

type serviceState int

const (
	healthy     serviceState = iota
	unreachable              // it cannot be reached
	hanging                  // it does not answer
	disabled                 // the key is
	denied                   // this role lacks kms:Decrypt for this queue
	denied2                  // for the name of this queue, but not for those of messages (a dead-letter queue)
)

func (k *keyService) set(s serviceState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = s
}

func (k *keyService) get() (serviceState, float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state, k.throttle
}

var errRefused = errors.New("refused")

// decrypt is the answer to a request that is not a dry run.
func (k *keyService) decrypt(foreign bool) error {
	state, throttle := k.get()
	if state == hanging {
		time.Sleep(hangTime)
		return envelope.ErrUnavailable
	}
	time.Sleep(requestTime)
	switch {
	case foreign:
		return errRefused
	case state == unreachable, throttle > 0 && rand.Float64() < throttle:
		return envelope.ErrUnavailable
	case state == disabled, state == denied:
		return errRefused
	}
	return nil
}

// process is one process of a consumer: a hold, a cache of data keys, and
// loops.
type process struct {
	f     *fleet
	id    int
	wrong bool // its settings are: it can open nothing
	plain bool // it accepts plaintext: junk is delivered
	noHold,
	noPark bool

	hold hold.Breaker

	mu      sync.Mutex // guards all below
	cached  map[int]bool
	handles map[string]*simMessage
	results map[string]int // of receives: "delivered", "withheld", "held", "empty"
}

// Ask implements hold.Queue.
func (p *process) Ask(context.Context, envelope.EncryptedDataKey) (hold.Answer, error) {
	k := p.f.service
	k.mu.Lock()
	state, askable := k.state, k.askable
	if askable {
		k.asked[p.id] = append(k.asked[p.id], time.Now())
	}
	k.mu.Unlock()
	if !askable {
		return hold.Unknown, errors.New("cannot be asked")
	}
	switch state {
	case unreachable:
		time.Sleep(requestTime)
		return hold.No, envelope.ErrUnavailable
	case hanging:
		time.Sleep(hangTime)
		return hold.No, envelope.ErrUnavailable
	case disabled:
		time.Sleep(requestTime)
		return hold.No, errRefused
	case denied, denied2:
		time.Sleep(requestTime)
		return hold.Elsewhere, errRefused
	}
	time.Sleep(requestTime)
	return hold.Yes, nil
}

// Cached implements hold.Queue.
func (p *process) Cached(key envelope.EncryptedDataKey, _ envelope.EncryptionContext) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cached[int(key.Ciphertext[0])]
}

// Recovered implements hold.Queue: the model remembers no failures.
func (p *process) Recovered() {}

// Attributes implements hold.Queue.
func (p *process) Attributes(context.Context) (hold.Attributes, error) {
	time.Sleep(requestTime)
	q := p.f.queue
	if q.denied {
		return hold.Attributes{}, hold.ErrDenied
	}
	return hold.Attributes{VisibilityTimeout: q.visibility, Retention: q.retention, MaxReceives: q.maxReceives}, nil
}

// Park implements hold.Queue.
func (p *process) Park(_ context.Context, changes []hold.Visibility) error {
	if p.noPark {
		return hold.ErrDenied
	}
	p.change(changes)
	return nil
}

// TakeBack implements hold.Queue.
func (p *process) TakeBack(_ context.Context, changes []hold.Visibility) error {
	p.change(changes)
	return nil
}

func (p *process) change(changes []hold.Visibility) {
	p.mu.Lock()
	byHandle := make(map[string]*simMessage, len(changes))
	for _, c := range changes {
		byHandle[c.Handle] = p.handles[c.Handle]
	}
	p.mu.Unlock()
	p.f.queue.changeVisibility(byHandle, changes)
}

// open returns why a message does not open, and whether the cause is the key
// service.
func (p *process) open(m *simMessage) (err error, keyService bool) {
	switch {
	case m.junk && p.plain:
		return nil, false
	case m.junk || p.wrong:
		return errors.New("invalid"), false
	}
	p.mu.Lock()
	cached := p.cached[m.key] && !m.foreign
	p.mu.Unlock()
	if cached {
		return nil, false
	}
	err = p.f.service.decrypt(m.foreign || m.forged)
	p.mu.Lock()
	defer p.mu.Unlock()
	state, _ := p.f.service.get()
	switch {
	case err == nil:
		p.cached[m.key] = true
	case err == errRefused && !m.foreign && !m.forged && state == disabled:
		clear(p.cached) // a refusal of the whole key ends its data keys
	}
	return err, err != nil
}

func (p *process) count(result string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results[result]++
}

func (p *process) counted(result string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.results[result]
}

// loop receives until the fleet ends.
func (p *process) loop(ctx context.Context) {
	for ctx.Err() == nil {
		r := hold.Receive{Name: "queue", Queue: p, Plaintext: p.plain, Wait: longPoll}
		most, wait := 10, longPoll
		if !p.noHold {
			permit, err := p.hold.Admit(ctx, r)
			if err != nil {
				p.count("held")
				sleep(ctx, errorPause)
				continue
			}
			if permit.Single {
				most = 1
			}
			if permit.Wait > 0 {
				wait = permit.Wait
			}
		}
		got := p.f.queue.receive(ctx, p.id, most, wait)
		if ctx.Err() != nil {
			return
		}
		if len(got) == 0 {
			if !p.noHold && p.hold.Empty("queue") != nil {
				p.count("held")
				sleep(ctx, errorPause)
			} else {
				p.count("empty")
			}
			continue
		}
		p.consume(ctx, r, got)
	}
}

func (p *process) consume(ctx context.Context, r hold.Receive, got []simReceived) {
	var response hold.Response
	var withheld []hold.Message
	var delivered []*simMessage
	errs, byService := make([]error, len(got)), make([]bool, len(got))
	var wg sync.WaitGroup
	for i, g := range got {
		wg.Go(func() { errs[i], byService[i] = p.open(g.m) })
	}
	wg.Wait()
	for i, g := range got {
		m, err, keyService := g.m, errs[i], byService[i]
		state, _ := p.f.service.get()
		if err == nil {
			delivered = append(delivered, m)
			response.Delivered = true
			if !m.junk {
				response.Opened = dataKey(m.key)
				response.Foreign = state == denied2
			}
			continue
		}
		if response.Cause == nil || keyService && !response.KeyService {
			response.Cause, response.KeyService = err, keyService
		}
		response.Refused = response.Refused || m.forged || err == errRefused && !m.foreign && state == denied
		w := hold.Message{ID: fmt.Sprint(m.id), Handle: g.handle, Receives: g.receives, Sent: m.sent, KeyService: keyService}
		withheld = append(withheld, w)
		p.mu.Lock()
		p.handles[w.Handle] = m
		p.mu.Unlock()
	}
	response.Messages = withheld
	if !p.noHold {
		p.hold.Note("queue", response)
		if len(withheld) > 0 {
			p.hold.Park(ctx, r, withheld)
		}
	}
	for _, m := range delivered {
		time.Sleep(workTime)
		p.f.queue.delete(m)
	}
	if len(delivered) == 0 {
		p.count("withheld")
		sleep(ctx, errorPause)
		return
	}
	p.count("delivered")
}

// keyHeader is the header of some message: the hold takes the context from it.
var keyHeader = sync.OnceValue(func() []byte {
	kr, err := envelope.NewRawAESKeyring("n", "k", make([]byte, 32))
	if err != nil {
		panic(err)
	}
	m, err := envelope.Seal(context.Background(), kr, []byte("x"), nil)
	if err != nil {
		panic(err)
	}
	return m.Header
})

func dataKey(key int) hold.DataKey {
	return hold.DataKey{Encrypted: envelope.EncryptedDataKey{ProviderID: "p", Ciphertext: []byte{byte(key)}}, Header: keyHeader()}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// fleet is the processes that consume one queue.
type fleet struct {
	t         *testing.T
	queue     *simQueue
	service   *keyService
	processes []*process
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

func newFleet(t *testing.T, maxReceives int, random bool) *fleet {
	f := &fleet{t: t, queue: newSimQueue(maxReceives, random), service: &keyService{askable: true, asked: map[int][]time.Time{}}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

func (f *fleet) start(processes, loops int, configure func(*process)) []*process {
	var started []*process
	for range processes {
		p := &process{f: f, id: len(f.processes), cached: map[int]bool{}, handles: map[string]*simMessage{}, results: map[string]int{}}
		if configure != nil {
			configure(p)
		}
		f.processes = append(f.processes, p)
		started = append(started, p)
		for range loops {
			f.wg.Go(func() { p.loop(f.ctx) })
		}
	}
	return started
}

func (f *fleet) end() {
	f.cancel()
	f.wg.Wait()
	time.Sleep(15 * time.Second) // questions that are under way end
}

// restart replaces all processes.
func (f *fleet) restart(processes, loops int, configure func(*process)) {
	f.end()
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.start(processes, loops, configure)
}

func (f *fleet) send(n int, m simMessage) []*simMessage {
	messages := make([]*simMessage, n)
	for i := range messages {
		c := m
		messages[i] = &c
	}
	f.queue.send(messages...)
	return messages
}

// warm has every process open a message, under data key 0, which it then knows.
func (f *fleet) warm() {
	for _, p := range f.processes {
		p.mu.Lock()
		p.cached[0] = true
		p.mu.Unlock()
	}
	cold := func() (n int) {
		for _, p := range f.processes {
			p.mu.Lock()
			if p.results["delivered"] == 0 {
				n++
			}
			p.mu.Unlock()
		}
		return n
	}
	for n := 0; cold() > 0; n++ {
		if n == 5000 {
			f.t.Fatalf("%d processes have opened nothing", cold())
		}
		f.send(40, simMessage{})
		time.Sleep(time.Second)
	}
	time.Sleep(time.Minute)
}

// trickle sends a message every so often, for so long.
func (f *fleet) trickle(every, length time.Duration, m simMessage) []*simMessage {
	var all []*simMessage
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(every) {
		all = append(all, f.send(1, m)...)
	}
	return all
}

// dead returns how many of the messages are in the dead-letter queue.
func dead(messages []*simMessage, f *fleet) int {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	n := 0
	for _, d := range f.queue.dead {
		for _, m := range messages {
			if d == m {
				n++
			}
		}
	}
	return n
}

// tally is what a queue has counted.
type tally struct{ receives, expired, peak int }

func (f *fleet) tally() tally {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	return tally{f.queue.receives, f.queue.expired, f.queue.peak}
}

// look returns copies of messages, which loops may change meanwhile.
func (f *fleet) look(messages []*simMessage) []simMessage {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	copies := make([]simMessage, len(messages))
	for i, m := range messages {
		copies[i] = *m
		copies[i].byProcess = maps.Clone(m.byProcess)
	}
	return copies
}

// pending returns how many of the messages are not delivered.
func (f *fleet) pending(messages []*simMessage) int {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	n := 0
	for _, m := range messages {
		if m.delivered.IsZero() {
			n++
		}
	}
	return n
}

// waits returns the longest time that a message waited, and how many waited for
// longer than limit. One that is not delivered has waited until now.
func (f *fleet) waits(messages []*simMessage, limit time.Duration) (longest time.Duration, over int) {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	for _, m := range messages {
		d := time.Since(m.sent)
		if !m.delivered.IsZero() {
			d = m.delivered.Sub(m.sent)
		}
		longest = max(longest, d)
		if d > limit {
			over++
		}
	}
	return longest, over
}

// lastAfter waits until all messages are delivered, at most for patience, and
// returns how long after now the last one was.
func (f *fleet) lastAfter(messages []*simMessage, patience time.Duration) time.Duration {
	start := time.Now()
	for time.Since(start) < patience && f.pending(messages) > 0 {
		time.Sleep(time.Second)
	}
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	var last time.Duration
	for _, m := range messages {
		if m.delivered.IsZero() {
			return patience
		}
		last = max(last, m.delivered.Sub(start))
	}
	return last
}

// orders runs a test with messages handed out oldest first, and at random.
func orders(t *testing.T, name string, test func(t *testing.T, random bool)) {
	t.Helper()
	for _, random := range []bool{false, true} {
		order := "oldest first"
		if random {
			order = "random order"
		}
		t.Run(name+", "+order, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, random) })
		})
	}
}

// run runs a test in a bubble of virtual time of its own.
func run(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
