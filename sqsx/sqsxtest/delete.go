package sqsxtest

import (
	"errors"
	"time"

	"github.com/aws/smithy-go"
)

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

// delete removes a message. One that is gone already is no error, as with the
// service.
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
		return missing("VisibilityTimeout")
	}
	m, fresh, err := s.byHandle(q, in.ReceiptHandle)
	switch {
	case err != nil:
		return err
	case m == nil, q.fifo != nil && (!fresh || m.state != inFlight):
		return refusal("InvalidParameterValue", "Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", in.ReceiptHandle)
	case m.state != inFlight:
		return nil // too late: the message stays visible
	case now.Add(*timeout).After(m.received.Add(maxVisibility)):
		return refusal("InvalidParameterValue", "Value %d for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [%d seconds].", *timeout/time.Second, maxVisibility/time.Second)
	}
	// On a standard queue the handle of an earlier receive does it too.
	m.changes++
	q.hide(m, inFlight, now.Add(*timeout))
	q.advance(now)
	return nil
}

type batchOutput struct {
	Successful []batchResult `json:",omitempty"`
	Failed     []batchError  `json:",omitempty"`
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
	var out batchOutput
	for i, id := range ids {
		if err := each(q, i, now); err != nil {
			out.Failed = append(out.Failed, newBatchError(id, err))
		} else {
			out.Successful = append(out.Successful, batchResult{id})
		}
	}
	return out, nil
}
