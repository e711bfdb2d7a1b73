package sqsxtest

import (
	"context"
	"sync"
)

// Bounds of what [Server.Requests] remembers, so that a long run has flat
// memory.
const (
	maxLoggedRequests = 16_384
	maxLoggedBytes    = 64 << 20
	// An action comes from the wire: junk must not fill the counters.
	maxCountedActions = 1_024
)

// requestLog is a ring that holds the last requests.
type requestLog struct {
	mu     sync.Mutex
	ring   []Request // grows to maxLoggedRequests, then wraps
	first  int       // index of the oldest
	length int
	bytes  int
	counts map[string]int
}

func (l *requestLog) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = make(map[string]int)
	}
	if _, known := l.counts[r.Action]; known || len(l.counts) < maxCountedActions {
		l.counts[r.Action]++
	}
	size := r.size()
	for l.length > 0 && (l.length == maxLoggedRequests || l.bytes+size > maxLoggedBytes) {
		l.dropOldest()
	}
	// While the ring has never wrapped, it grows by append; afterwards its size is
	// fixed.
	at := l.first + l.length
	if at == len(l.ring) && len(l.ring) < maxLoggedRequests {
		l.ring = append(l.ring, r)
	} else {
		l.ring[at%len(l.ring)] = r
	}
	l.length++
	l.bytes += size
}

func (l *requestLog) dropOldest() {
	l.bytes -= l.ring[l.first].size()
	l.ring[l.first] = Request{}
	l.first = (l.first + 1) % len(l.ring)
	l.length--
}

func (l *requestLog) all() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Request, 0, l.length)
	for i := range l.length {
		out = append(out, l.ring[(l.first+i)%len(l.ring)].clone(context.Background()))
	}
	return out
}

func (l *requestLog) count(action string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[action]
}

func (r *Request) size() int {
	n := len(r.Body) + len(r.Action)
	for name, values := range r.Header {
		n += len(name)
		for _, v := range values {
			n += len(v)
		}
	}
	return n
}
