package lambdax

import (
	"container/heap"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sealq/sealq/sqsx"
)

// errGroupFailed is the error of a message of a FIFO queue that opened, after a
// failure in its message group.
var errGroupFailed = fmt.Errorf("lambdax: a message before it in its message group failed: %w", sqsx.ErrGroupHeld)

// workOff calls the work for the messages that opened, Parallel at once, in the
// order of the event where possible.
func (b *batch) workOff() {
	ctx, cancel := b.until(b.works)
	defer cancel()
	s := newSchedule(b.items)
	var workers sync.WaitGroup
	for range min(b.o.Parallel, s.len()) {
		workers.Go(func() {
			for it := s.next(nil); it != nil; it = s.next(it) {
				b.workOn(ctx, s, it)
			}
		})
	}
	workers.Wait()
}

// workOn calls the work for one message, unless it could not end in time or a
// message before it in its group has failed.
func (b *batch) workOn(ctx context.Context, s *schedule, it *item) {
	if s.failed(it.group) {
		it.err = errGroupFailed
		b.failed(it)
		return
	}
	start := time.Now()
	if err := ctx.Err(); err != nil {
		it.err = fmt.Errorf("%w: %w", ErrNotStarted, err)
	} else if !b.works.IsZero() && b.works.Sub(start) < s.longest() {
		it.err = ErrNotStarted
	} else {
		it.err = call(func() error { return b.work(ctx, it.Message) })
		s.took(time.Since(start))
	}
	if it.err != nil {
		s.fail(it.group)
		b.failed(it)
	}
}

// call calls f on a goroutine of its own, because runtime.Goexit would end that
// of the caller, and returns its error, or a *PanicError.
func call(f func() error) error {
	done := make(chan error, 1)
	go func() {
		returned := false
		defer func() {
			if !returned {
				done <- &PanicError{Value: recover(), Stack: debug.Stack()}
			}
		}()
		err := f()
		returned = true
		done <- err
	}()
	return <-done
}

// recovered calls f on the caller's goroutine, and returns what it panicked
// with.
func recovered(f func()) (p *PanicError) {
	returned := false
	defer func() {
		if !returned {
			if v := recover(); v != nil {
				p = &PanicError{Value: v, Stack: debug.Stack()}
			}
		}
	}()
	f()
	returned = true
	return nil
}

// schedule hands out messages, the first of the event that is ready. One
// message of a message group is ready at a time.
type schedule struct {
	mu    sync.Mutex
	items []*item
	ready indexes
	// follow has, for each group with a message that is ready or in work, the
	// indexes of the next ones, in order.
	follow map[string][]int
	broken map[string]bool // groups in which a message failed
	most   time.Duration   // the longest call of the work so far
}

func newSchedule(items []*item) *schedule {
	s := &schedule{items: items, follow: make(map[string][]int), broken: make(map[string]bool)}
	for i, it := range items {
		if !it.opened {
			continue
		}
		if it.group == "" {
			s.ready = append(s.ready, i)
			continue
		}
		if next, known := s.follow[it.group]; known {
			s.follow[it.group] = append(next, i)
			continue
		}
		s.follow[it.group] = nil
		s.ready = append(s.ready, i)
	}
	return s // ready is sorted, which is a heap
}

// len is how many messages can be worked on at once. It is at its largest
// before the first is handed out.
func (s *schedule) len() int { return len(s.ready) }

// next returns the message to work on next, or nil. done is the one that the
// caller has finished, or nil: the next of its group is then ready.
func (s *schedule) next(done *item) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done != nil && done.group != "" {
		if next := s.follow[done.group]; len(next) > 0 {
			s.follow[done.group] = next[1:]
			heap.Push(&s.ready, next[0])
		}
	}
	if len(s.ready) == 0 {
		return nil // the worker on its group gets what becomes ready later
	}
	return s.items[heap.Pop(&s.ready).(int)]
}

func (s *schedule) fail(group string) {
	if group == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[group] = true
}

func (s *schedule) failed(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken[group]
}

func (s *schedule) took(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = max(s.most, d)
}

// longest is the time that a call of the work may take, by those so far.
func (s *schedule) longest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// indexes is a heap of indexes, the smallest first.
type indexes []int

func (x indexes) Len() int           { return len(x) }
func (x indexes) Less(i, j int) bool { return x[i] < x[j] }
func (x indexes) Swap(i, j int)      { x[i], x[j] = x[j], x[i] }
func (x *indexes) Push(i any)        { *x = append(*x, i.(int)) }
func (x *indexes) Pop() any {
	last := len(*x) - 1
	i := (*x)[last]
	*x = (*x)[:last]
	return i
}
