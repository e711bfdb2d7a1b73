package sqsxtest

import (
	"context"
	"time"
)

// Limits of receiving.
const (
	maxReceive    = 10
	maxWait       = 20 * time.Second
	maxVisibility = 12 * time.Hour // also in all, since the receive
	maxInFlight   = 120_000
)

type receiveInput struct {
	QueueUrl                    string
	AttributeNames              []string
	MessageSystemAttributeNames []string
	MessageAttributeNames       []string
	MaxNumberOfMessages         *int32
	VisibilityTimeout           *int32
	WaitTimeSeconds             *int32
	ReceiveRequestAttemptId     string
}

type receiveOutput struct {
	Messages []receivedMessage `json:",omitempty"`
}

type receivedMessage struct {
	MessageId              string
	ReceiptHandle          string
	MD5OfBody              string
	Body                   string
	Attributes             map[string]string         `json:",omitempty"`
	MD5OfMessageAttributes string                    `json:",omitempty"`
	MessageAttributes      map[string]attributeValue `json:",omitempty"`
}

// receiveRequest is a checked receiveInput.
type receiveRequest struct {
	max        int
	visibility *time.Duration // nil: the queue's
	wait       *time.Duration // nil: the queue's
	system     nameSet
	attributes nameSet
	attempt    string
}

func (in receiveInput) check() (receiveRequest, error) {
	r := receiveRequest{max: 1, attempt: in.ReceiveRequestAttemptId}
	if n := in.MaxNumberOfMessages; n != nil {
		if *n < 1 || *n > maxReceive {
			return r, refusal("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and %d, if provided.", *n, maxReceive)
		}
		r.max = int(*n)
	}
	var err error
	if r.visibility, err = seconds("VisibilityTimeout", in.VisibilityTimeout, maxVisibility); err != nil {
		return r, err
	}
	if r.wait, err = seconds("WaitTimeSeconds", in.WaitTimeSeconds, maxWait); err != nil {
		return r, err
	}
	r.system = nameSet{names: make(map[string]bool)}
	for _, names := range [][]string{in.AttributeNames, in.MessageSystemAttributeNames} {
		for _, n := range names {
			switch n {
			case "All":
				r.system.all = true
			case "SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SequenceNumber",
				"MessageDeduplicationId", "MessageGroupId", "AWSTraceHeader", "DeadLetterQueueSourceArn",
				"SqsManagedSseEnabled": // legal, and an attribute of no message
				r.system.names[n] = true
			default:
				return r, refusal("InvalidAttributeName", "Unknown Attribute %s.", n)
			}
		}
	}
	r.attributes = attributeNames(in.MessageAttributeNames)
	if r.attempt != "" {
		return r, checkID("ReceiveRequestAttemptId", r.attempt)
	}
	return r, nil
}

func seconds(parameter string, n *int32, top time.Duration) (*time.Duration, error) {
	if n == nil {
		return nil, nil
	}
	d := time.Duration(*n) * time.Second
	if d < 0 || d > top {
		return nil, refusal("InvalidParameterValue", "Value %d for parameter %s is invalid. Reason: Must be >= 0 and <= %d, if provided.", *n, parameter, top/time.Second)
	}
	return &d, nil
}

// receiveMessage waits, without the lock, until there is a message, the wait is
// over, ctx ends, or the Server is closed.
func (s *sqsService) receiveMessage(ctx context.Context, done <-chan struct{}, c caller, in receiveInput) (any, error) {
	r, err := in.check()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for {
		out, pause, changed, err := s.tryReceive(c, in.QueueUrl, r, start)
		if err != nil || len(out.Messages) > 0 || pause <= 0 {
			return out, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		case <-done:
			err = errClosed
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// tryReceive takes what there is. If there is nothing, pause is how long the
// next try can wait unless the queue changes before.
func (s *sqsService) tryReceive(c caller, rawURL string, r receiveRequest, start time.Time) (out receiveOutput, pause time.Duration, changed <-chan struct{}, err error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, rawURL)
	if err != nil {
		return out, 0, nil, err
	}
	q.advance(now)
	visibility, wait := q.config.visibility, q.config.wait
	if r.visibility != nil {
		visibility = *r.visibility
	}
	if r.wait != nil {
		wait = *r.wait
	}
	taken, err := s.take(q, r, visibility, wait, now)
	if err != nil {
		return out, 0, nil, err
	}
	for _, m := range taken {
		attributes := r.attributes.pick(m.attributes)
		out.Messages = append(out.Messages, receivedMessage{
			MessageId:              m.id,
			ReceiptHandle:          s.receipts.handle(q.uid, m.number, m.receipt),
			MD5OfBody:              m.bodyMD5,
			Body:                   m.body,
			Attributes:             m.systemAttributes(r.system),
			MD5OfMessageAttributes: attributesMD5(attributes), // over what is returned, as clients check it
			MessageAttributes:      attributes,
		})
	}
	until := start.Add(wait)
	for _, t := range []time.Time{q.nextChange(), s.nextMove()} {
		if t.Before(until) {
			until = t
		}
	}
	if wait == 0 || !start.Add(wait).After(now) {
		return out, 0, nil, nil
	}
	return out, max(until.Sub(now), 1), q.change(), nil
}

// take receives up to r.max messages. The caller holds the mutex.
func (s *sqsService) take(q *queue, r receiveRequest, visibility, wait time.Duration, now time.Time) ([]*message, error) {
	if q.fifo != nil {
		if a, ok := q.fifo.attempts.get(r.attempt, now); ok && r.attempt != "" {
			if !a.repeats() {
				return nil, refusal("InvalidParameterValue", "Value %s for parameter ReceiveRequestAttemptId is invalid. Reason: The receiveRequestAttemptId is not valid anymore since the receive call is not retryable.", r.attempt)
			}
			for _, m := range a.messages {
				q.hide(m, inFlight, now.Add(visibility))
			}
			return a.messages, nil
		}
	} else if q.count[inFlight] >= maxInFlight && wait == 0 {
		// A long poll, and any receive from a FIFO queue, gets no error and no
		// message.
		return nil, refusal("OverLimit", "Too many messages in flight: %d.", maxInFlight)
	}
	var taken []*message
	for len(taken) < r.max && q.count[inFlight] < maxInFlight {
		e := q.ready.Front()
		if e == nil {
			break
		}
		if g, ok := e.Value.(*fifoGroup); ok {
			taken = s.takeGroup(q, g, taken, r.max, visibility, now)
			continue
		}
		m := e.Value.(*message)
		if !s.redrive(q, m, now) {
			q.deliver(m, visibility, now)
			taken = append(taken, m)
		}
	}
	if q.fifo != nil && r.attempt != "" && len(taken) > 0 {
		a := attempt{messages: taken}
		for _, m := range taken {
			a.receipts = append(a.receipts, m.receipt)
			a.changes = append(a.changes, m.changes)
		}
		q.fifo.attempts.put(r.attempt, a, now)
	}
	return taken, nil
}

// takeGroup receives messages of one group, in order, as many as there is room
// for. The group is not ready afterwards.
func (s *sqsService) takeGroup(q *queue, g *fifoGroup, taken []*message, most int, visibility time.Duration, now time.Time) []*message {
	for e := g.messages.Front(); e != nil && len(taken) < most; {
		m := e.Value.(*message)
		e = e.Next()
		if m.state != ready {
			break
		}
		if !s.redrive(q, m, now) {
			q.deliver(m, visibility, now)
			taken = append(taken, m)
		}
	}
	q.settle(g)
	return taken
}

func (q *queue) deliver(m *message, visibility time.Duration, now time.Time) {
	m.receives++
	m.receivesHere++
	m.receipt++
	m.received = now
	if m.firstReceived.IsZero() {
		m.firstReceived = now
	}
	q.hide(m, inFlight, now.Add(visibility))
}
