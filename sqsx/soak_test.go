package sqsx_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// The long form is
//
//	go test ./sqsx -run TestSoak -soak=1000000 -v -timeout 60m
var soakMessages = flag.Int("soak", defaultSoak, "messages of TestSoak")

const defaultSoak = 2000

// soak is producers and consumers that never stop for long, and their world,
// which is never well for long. The clock is that of a synctest bubble: waiting
// costs nothing, and what it shows in an hour takes seconds.
type soak struct {
	t        *testing.T
	w        *world
	url, dlq string

	next     atomic.Int64 // index of the next message
	accepted atomic.Int64 // sends that succeeded
	target   atomic.Int64 // producers rest while that many are accepted
	stopped  atomic.Bool

	mu     sync.Mutex // guards all below
	states []uint8    // by index of the message
	fault  struct {
		kms, sqs error
		odds     int // one SQS request in so many fails
	}
	delivered, duplicates, damaged, leaks, restarts, faults, fromDLQ int
	errs                                                             map[string]int
}

// States of a message; they add up.
const (
	soakAccepted  = 1
	soakDelivered = 2
)

// body is different for every index, and known from it.
func soakBody(i int64) string {
	return fmt.Sprintf("%s %d %s", secret, i, strings.Repeat("x", int(i%400)))
}

func (s *soak) intercept(r *sqsxtest.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if holdsSecret(r.Body) {
		s.leaks++
	}
	if strings.HasPrefix(r.Action, "kms:") {
		return s.fault.kms
	}
	if s.fault.sqs != nil && rand.N(s.fault.odds) == 0 {
		return s.fault.sqs
	}
	return nil
}

func (s *soak) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, sqsx.ErrHeld):
		s.errs["held"]++
	case errors.Is(err, context.Canceled):
		s.errs["ended by a restart"]++
	default:
		if _, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
			s.errs["nothing of a response opened"]++
			return
		}
		s.errs["other"]++
	}
}

func (s *soak) produce(ctx context.Context, client *sqs.Client) {
	for ctx.Err() == nil {
		time.Sleep(rand.N(300 * time.Millisecond))
		if s.accepted.Load() >= s.target.Load() {
			continue
		}
		in := &sqs.SendMessageBatchInput{QueueUrl: &s.url}
		first := s.next.Add(10) - 10
		for i := range int64(10) {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
				Id: aws.String(strconv.FormatInt(i, 10)), MessageBody: aws.String(soakBody(first + i)),
				MessageAttributes: userAttributes(int((first + i) % 4)),
			})
		}
		out, err := client.SendMessageBatch(ctx, in)
		if err != nil {
			s.note(err)
			continue
		}
		s.mu.Lock()
		for len(s.states) < int(first)+10 {
			s.states = append(s.states, 0)
		}
		for _, r := range out.Successful {
			i, _ := strconv.ParseInt(*r.Id, 10, 64)
			s.states[first+i] |= soakAccepted
		}
		s.mu.Unlock()
		s.accepted.Add(int64(len(out.Successful)))
	}
}

func (s *soak) consume(ctx context.Context, client *sqs.Client, url string) {
	for ctx.Err() == nil {
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 5, MessageAttributeNames: []string{"All"},
		})
		if err != nil {
			s.note(err)
			time.Sleep(rand.N(time.Second))
			continue
		}
		if len(out.Messages) == 0 {
			continue
		}
		remove := &sqs.DeleteMessageBatchInput{QueueUrl: &url}
		for i, m := range out.Messages {
			if s.deliver(m, url) {
				remove.Entries = append(remove.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
			}
		}
		if len(remove.Entries) == 0 {
			continue
		}
		if _, err := client.DeleteMessageBatch(ctx, remove); err != nil {
			s.note(err)
		}
	}
}

func (s *soak) deliver(m types.Message, url string) bool {
	var i int64 = -1
	fmt.Sscanf(strings.TrimPrefix(*m.Body, secret), "%d", &i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 || *m.Body != soakBody(i) || len(m.MessageAttributes) != int(i%4) {
		s.damaged++
		return false
	}
	for len(s.states) <= int(i) {
		s.states = append(s.states, 0)
	}
	if s.states[i]&soakDelivered != 0 {
		s.duplicates++
		return true
	}
	s.states[i] |= soakDelivered
	s.delivered++
	if url == s.dlq {
		s.fromDLQ++
	}
	return true
}

// undelivered returns how many messages were accepted and not delivered.
func (s *soak) undelivered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, state := range s.states {
		if state == soakAccepted {
			n++
		}
	}
	return n
}

// disturb changes what fails, every few seconds.
func (s *soak) disturb(ctx context.Context) {
	network := errors.New("connection reset")
	kmsFaults := []error{
		nil, nil, nil, nil, network, sqsxtest.ErrResponseLost,
		&smithy.GenericAPIError{Code: "ThrottlingException"}, &smithy.GenericAPIError{Code: "KMSInternalException"},
		&smithy.GenericAPIError{Code: "DisabledException"}, &smithy.GenericAPIError{Code: "AccessDeniedException"},
	}
	sqsFaults := []error{
		nil, network, sqsxtest.ErrResponseLost, sqsxtest.ErrResponseLost,
		&smithy.GenericAPIError{Code: "InternalError", Fault: smithy.FaultServer}, &smithy.GenericAPIError{Code: "RequestThrottled"},
	}
	for ctx.Err() == nil {
		s.mu.Lock()
		s.fault.kms, s.fault.sqs = kmsFaults[rand.N(len(kmsFaults))], sqsFaults[rand.N(len(sqsFaults))]
		s.fault.odds = 2 + rand.N(20)
		s.faults++
		s.mu.Unlock()
		pause(ctx, 5*time.Second+rand.N(25*time.Second))
	}
	s.mu.Lock()
	s.fault.kms, s.fault.sqs = nil, nil
	s.mu.Unlock()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// live runs one process after another in the same place: each has a Sealer, and
// so data keys and a hold, of its own, and ends in the middle of what it does.
func (s *soak) live(run func(context.Context, *sqs.Client)) {
	for !s.stopped.Load() {
		ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second+rand.N(5*time.Minute))
		run(ctx, s.w.client())
		cancel()
		s.mu.Lock()
		s.restarts++
		s.mu.Unlock()
	}
}

// TestSoak sends messages through producers and consumers that are restarted,
// and services that fail, at random. Ten times on the way the faults end, the
// queues drain, and memory and goroutines are counted.
func TestSoak(t *testing.T) {
	long := *soakMessages > defaultSoak
	if !long {
		t.Parallel()
	}
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := &soak{t: t, w: w, errs: make(map[string]int)}
		s.url, s.dlq = w.withDLQ("soak", 5)
		w.server.Intercept(s.intercept)
		start := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { s.live(s.produce) })
		}
		for i := range 6 {
			url := s.url
			if i == 0 {
				url = s.dlq
			}
			wg.Go(func() { s.live(func(ctx context.Context, c *sqs.Client) { s.consume(ctx, c, url) }) })
		}
		const checks = 10
		var heaps [checks]uint64
		var goroutines [checks]int
		for i := range checks {
			s.target.Store(int64(*soakMessages) * int64(i+1) / checks)
			ctx, end := context.WithCancel(t.Context())
			var faults sync.WaitGroup
			faults.Go(func() { s.disturb(ctx) })
			for s.accepted.Load() < s.target.Load() {
				time.Sleep(5 * time.Second)
			}
			end()
			faults.Wait()
			// After an outage of minutes a hold may risk a message only every
			// five minutes, and a message may be invisible for half of one.
			for healed := time.Now(); s.undelivered() > 0 && time.Since(healed) < time.Hour; {
				time.Sleep(5 * time.Second)
			}
			if lost := s.undelivered(); lost > 0 {
				t.Errorf("%d messages were accepted and did not arrive within an hour after the last fault", lost)
				break
			}
			heaps[i], goroutines[i] = heapNow(), runtime.NumGoroutine()
			if long {
				t.Logf("%8d accepted: heap %5.1f MiB, %d goroutines", s.accepted.Load(), float64(heaps[i])/(1<<20), goroutines[i])
			}
		}
		s.stopped.Store(true)
		wg.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.leaks > 0 {
			t.Errorf("%d requests held plaintext", s.leaks)
		}
		if s.damaged > 0 {
			t.Errorf("%d messages were delivered that nobody sent so", s.damaged)
		}
		// The fake remembers its last 64 MiB of requests, which fill in the first
		// tenths.
		if early, last := max(heaps[2], heaps[3]), heaps[checks-1]; long && last > early+early/4 {
			t.Errorf("the heap grew from %d to %d bytes", early, last)
		}
		if first, last := goroutines[0], goroutines[checks-1]; long && last > first+20 {
			t.Errorf("goroutines grew from %d to %d", first, last)
		}
		t.Logf("%d accepted, %d delivered (%d from the dead-letter queue), %d duplicates, 0 lost, %d of plaintext; %d processes, %d changes of what fails, %v of simulated time",
			s.accepted.Load(), s.delivered, s.fromDLQ, s.duplicates, s.leaks, s.restarts, s.faults, time.Since(start).Round(time.Second))
		t.Logf("requests: %d sends, %d receives, %d GenerateDataKey, %d Decrypt; errors the callers saw: %v", w.server.Count("sqs:SendMessageBatch"),
			w.server.Count("sqs:ReceiveMessage"), w.server.Count("kms:GenerateDataKey"), w.server.Count("kms:Decrypt"), s.errs)
	})
	t.Logf("took %v", time.Since(began).Round(time.Second))
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
