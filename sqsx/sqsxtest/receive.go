package sqsxtest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/aws/smithy-go"
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
				"MessageDeduplicationId", "MessageGroupId", "AWSTraceHeader", "DeadLetterQueueSourceArn":
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

// receiveMessage waits, without the lock, until there is a message, the wait is over, ctx ends, or the Server is closed.
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

// tryReceive takes what there is. If there is nothing, pause is how long the next try can wait unless the queue changes before.
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
	taken, err := s.take(q, r, visibility, now)
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
func (s *sqsService) take(q *queue, r receiveRequest, visibility time.Duration, now time.Time) ([]*message, error) {
	if q.fifo != nil {
		if a, ok := q.fifo.attempts.get(r.attempt, now); ok && r.attempt != "" && a.repeats() {
			for _, m := range a.messages {
				q.hide(m, inFlight, now.Add(visibility))
			}
			return a.messages, nil
		}
	} else if q.count[inFlight] >= maxInFlight {
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

// takeGroup receives messages of one group, in order, as many as there is room for. The group is not ready afterwards.
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

type deleteInput struct{ QueueUrl, ReceiptHandle string }

func (s *sqsService) deleteMessage(c caller, in deleteInput) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	q.advance(now)
	return nil, s.delete(q, in.ReceiptHandle)
}

// delete removes a message. One that is gone already is no error, as with the service.
func (s *sqsService) delete(q *queue, handle string) error {
	m, fresh, err := s.byHandle(q, handle)
	if err != nil || m == nil {
		return err
	}
	if q.fifo != nil && (!fresh || m.state != inFlight) {
		return refusal("InvalidParameterValue", "Value %s for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.", handle)
	}
	if fresh { // a stale handle of a standard queue: the call succeeds, the message stays
		q.remove(m)
	}
	return nil
}

type visibilityInput struct {
	QueueUrl string
	visibilityEntry
}

type visibilityEntry struct {
	ReceiptHandle     string
	VisibilityTimeout *int32
}

func (s *sqsService) changeVisibility(c caller, in visibilityInput) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	q.advance(now)
	return nil, s.setVisibility(q, in.visibilityEntry, now)
}

func (s *sqsService) setVisibility(q *queue, in visibilityEntry, now time.Time) error {
	timeout, err := seconds("VisibilityTimeout", in.VisibilityTimeout, maxVisibility)
	if err != nil {
		return err
	}
	if timeout == nil {
		return refusal("MissingParameter", "The request must contain the parameter VisibilityTimeout.")
	}
	m, fresh, err := s.byHandle(q, in.ReceiptHandle)
	switch {
	case err != nil:
		return err
	case m == nil:
		return refusal("InvalidParameterValue", "Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", in.ReceiptHandle)
	case !fresh || m.state != inFlight:
		return refusal("MessageNotInflight", "The message referred to isn't in flight.")
	case now.Add(*timeout).After(m.received.Add(maxVisibility)):
		return refusal("InvalidParameterValue", "Value %d for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [%d seconds].", *timeout/time.Second, maxVisibility/time.Second)
	}
	m.changes++
	q.hide(m, inFlight, now.Add(*timeout))
	q.advance(now)
	return nil
}

type batchOutput struct {
	Successful []batchResult
	Failed     []batchError
}

type batchResult struct{ Id string }

type batchError struct {
	Id          string
	Code        string
	Message     string
	SenderFault bool
}

func newBatchError(id string, err error) batchError {
	e := batchError{Id: id, Code: "InternalError", Message: err.Error()}
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		e.Code, e.Message = apiErr.ErrorCode(), apiErr.ErrorMessage()
		e.SenderFault = apiErr.ErrorFault() != smithy.FaultServer
	}
	return e
}

type deleteBatchInput struct {
	QueueUrl string
	Entries  []struct{ Id, ReceiptHandle string }
}

func (s *sqsService) deleteMessageBatch(c caller, in deleteBatchInput) (any, error) {
	ids := make([]string, len(in.Entries))
	for i, e := range in.Entries {
		ids[i] = e.Id
	}
	return s.batch(c, in.QueueUrl, "DeleteMessageBatchRequestEntry", ids, func(q *queue, i int, _ time.Time) error {
		return s.delete(q, in.Entries[i].ReceiptHandle)
	})
}

type visibilityBatchInput struct {
	QueueUrl string
	Entries  []struct {
		Id string
		visibilityEntry
	}
}

func (s *sqsService) changeVisibilityBatch(c caller, in visibilityBatchInput) (any, error) {
	ids := make([]string, len(in.Entries))
	for i, e := range in.Entries {
		ids[i] = e.Id
	}
	return s.batch(c, in.QueueUrl, "ChangeMessageVisibilityBatchRequestEntry", ids, func(q *queue, i int, now time.Time) error {
		return s.setVisibility(q, in.Entries[i].visibilityEntry, now)
	})
}

func (s *sqsService) batch(c caller, rawURL, entryName string, ids []string, each func(q *queue, i int, now time.Time) error) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, rawURL)
	if err != nil {
		return nil, err
	}
	if err := checkBatch(entryName, ids); err != nil {
		return nil, err
	}
	q.advance(now)
	out := batchOutput{Successful: []batchResult{}, Failed: []batchError{}}
	for i, id := range ids {
		if err := each(q, i, now); err != nil {
			out.Failed = append(out.Failed, newBatchError(id, err))
		} else {
			out.Successful = append(out.Successful, batchResult{id})
		}
	}
	return out, nil
}

// receiptMaker makes receipt handles and recognises its own.
type receiptMaker struct{ key []byte }

const receiptBytes = 4 * 8 // queue, message, receive, the start of a MAC over these

func newReceiptMaker() receiptMaker {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return receiptMaker{key}
}

func (r receiptMaker) handle(queue, message, receipt uint64) string {
	b := make([]byte, 0, receiptBytes)
	b = binary.BigEndian.AppendUint64(b, queue)
	b = binary.BigEndian.AppendUint64(b, message)
	b = binary.BigEndian.AppendUint64(b, receipt)
	return base64.StdEncoding.EncodeToString(append(b, r.mac(b)...))
}

func (r receiptMaker) mac(b []byte) []byte {
	h := hmac.New(sha256.New, r.key)
	h.Write(b)
	return h.Sum(nil)[:8]
}

func (r receiptMaker) parse(handle string) (queue, message, receipt uint64, ok bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(handle)
	if err != nil || len(b) != receiptBytes || !hmac.Equal(b[24:], r.mac(b[:24])) {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), true
}

// byHandle finds the message of a receipt handle: nil if it is gone. fresh: no later receive has made the handle stale.
func (s *sqsService) byHandle(q *queue, handle string) (m *message, fresh bool, err error) {
	if handle == "" {
		return nil, false, refusal("MissingParameter", "The request must contain the parameter ReceiptHandle.")
	}
	uid, number, receipt, ok := s.receipts.parse(handle)
	if !ok || uid != q.uid {
		return nil, false, refusal("ReceiptHandleIsInvalid", "The input receipt handle \"%s\" is not a valid receipt handle.", handle)
	}
	m = q.messages[number]
	return m, m != nil && m.receipt == receipt, nil
}
