package sqsxtest

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"time"
)

const (
	maxMoveRate  = 500 // messages a second
	maxTasksKept = 10  // of one source queue; also what ListMessageMoveTasks returns at most
)

// moveTask moves messages out of a dead-letter queue. With a rate it is carried
// out bit by bit, whenever the service is looked at.
type moveTask struct {
	handle      string
	source      *queue
	destination *queueID // nil: where each message came from
	rate        int      // messages a second; 0: all at once
	started     time.Time
	status      string
	failure     string
	moved       int
	toMove      int
}

type startMoveInput struct {
	SourceArn                    string
	DestinationArn               string
	MaxNumberOfMessagesPerSecond *int32
}

type taskHandle struct{ TaskHandle string }

func (s *sqsService) startMove(c caller, in startMoveInput) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	source, err := s.findARN("SourceArn", in.SourceArn)
	if err != nil {
		return nil, err
	}
	t := &moveTask{source: source, started: now, status: "RUNNING"}
	if n := in.MaxNumberOfMessagesPerSecond; n != nil {
		if *n < 1 || *n > maxMoveRate {
			return nil, refusal("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: Must be between 1 and %d.", *n, maxMoveRate)
		}
		t.rate = int(*n)
	}
	if !s.isDeadLetterQueue(source.queueID) {
		return nil, refusal("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
	}
	if in.DestinationArn != "" {
		destination, err := s.findARN("DestinationArn", in.DestinationArn)
		if err != nil {
			return nil, err
		}
		if destination == source {
			return nil, refusal("InvalidParameterValue", "Source queue arn and destination queue arn must be different.")
		}
		if destination.config.fifo != source.config.fifo {
			return nil, refusal("InvalidParameterValue", "Source and destination must be of the same type, standard or FIFO.")
		}
		t.destination = &destination.queueID
	}
	if slices.ContainsFunc(s.moving, func(other *moveTask) bool { return other.source == source }) {
		return nil, refusal("InvalidParameterValue", "There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
	}
	source.advance(now)
	t.toMove = source.count[ready]
	t.handle = newTaskHandle(in.SourceArn)
	source.tasks = append(source.tasks, t)
	if len(source.tasks) > maxTasksKept {
		source.tasks = slices.Delete(source.tasks, 0, 1)
	}
	s.moving = append(s.moving, t)
	s.advanceMoves(now)
	return taskHandle{t.handle}, nil
}

// advanceMoves carries out what is due of the running tasks. The caller holds
// the mutex.
func (s *sqsService) advanceMoves(now time.Time) {
	if len(s.moving) == 0 {
		return
	}
	for _, t := range s.moving {
		s.advanceMove(t, now)
	}
	s.moving = slices.DeleteFunc(s.moving, func(t *moveTask) bool { return t.status != "RUNNING" })
}

func (s *sqsService) advanceMove(t *moveTask, now time.Time) {
	if s.queues[t.source.queueID] != t.source {
		t.status, t.failure = "FAILED", "AWS.SimpleQueueService.NonExistentQueue"
		return
	}
	t.source.advance(now)
	due := math.MaxInt
	if t.rate > 0 {
		due = int(now.Sub(t.started).Seconds()*float64(t.rate)) + 1
	}
	for t.moved < due && t.status == "RUNNING" {
		m := t.source.firstReady()
		if m == nil {
			t.status = "COMPLETED"
			return
		}
		s.move(t, m, now)
	}
	if t.source.firstReady() == nil {
		t.status = "COMPLETED"
	}
}

func (s *sqsService) move(t *moveTask, m *message, now time.Time) {
	var destination *queue
	if t.destination != nil {
		destination = s.queues[*t.destination]
	} else if id, ok := parseQueueARN(m.source); ok {
		destination = s.queues[id]
	} else {
		t.status, t.failure = "FAILED", "CouldNotDetermineMessageSource"
		return
	}
	if destination == nil || destination.config.fifo != t.source.config.fifo {
		t.status, t.failure = "FAILED", "AWS.SimpleQueueService.NonExistentQueue"
		return
	}
	destination.advance(now)
	t.source.remove(m)
	// A moved message is a new one to its queue, as the documentation has it: ID,
	// age and counts start again.
	moved := &message{
		number:     s.nextSerial(),
		id:         newUUID(),
		body:       m.body,
		bodyMD5:    m.bodyMD5,
		attributes: m.attributes,
		trace:      m.trace,
		group:      m.group,
		dedup:      m.dedup,
		sender:     m.sender,
		sent:       now,
	}
	if destination.fifo != nil {
		moved.sequence = destination.fifo.nextSequence()
	}
	destination.add(moved, now, 0)
	t.moved++
}

// nextMove is when a paced task will next move a message.
func (s *sqsService) nextMove() time.Time {
	next := farFuture()
	for _, t := range s.moving {
		at := t.started.Add(time.Duration(float64(t.moved) / float64(t.rate) * float64(time.Second)))
		if at.Before(next) {
			next = at
		}
	}
	return next
}

func farFuture() time.Time { return time.Unix(math.MaxInt32, 0) }

// firstReady is the next message that a receive would get: nil if there is
// none.
func (q *queue) firstReady() *message {
	e := q.ready.Front()
	if e == nil {
		return nil
	}
	if g, ok := e.Value.(*fifoGroup); ok {
		return g.messages.Front().Value.(*message)
	}
	return e.Value.(*message)
}

func (s *sqsService) isDeadLetterQueue(id queueID) bool {
	for _, q := range s.queues {
		if q.config.redrive != nil && q.config.redrive.target == id {
			return true
		}
	}
	return false
}

func (s *sqsService) findARN(parameter, arn string) (*queue, error) {
	if arn == "" {
		return nil, missing(parameter)
	}
	id, ok := parseQueueARN(arn)
	if !ok {
		return nil, refusal("InvalidParameterValue", "Value %s for parameter %s is invalid. Reason: It is not the ARN of a queue.", arn, parameter)
	}
	if q := s.queues[id]; q != nil {
		return q, nil
	}
	return nil, refusal("ResourceNotFoundException", "The resource that you specified for the %s parameter doesn't exist.", parameter)
}

type listMovesInput struct {
	SourceArn  string
	MaxResults *int32
}

type listMovesOutput struct{ Results []moveResult }

type moveResult struct {
	ApproximateNumberOfMessagesMoved  int
	ApproximateNumberOfMessagesToMove int
	DestinationArn                    string `json:",omitempty"`
	FailureReason                     string `json:",omitempty"`
	MaxNumberOfMessagesPerSecond      int    `json:",omitempty"`
	SourceArn                         string
	StartedTimestamp                  int64 // milliseconds
	Status                            string
	TaskHandle                        string `json:",omitempty"` // while it runs
}

func (s *sqsService) listMoves(c caller, in listMovesInput) (any, error) {
	limit := 1
	if in.MaxResults != nil {
		if limit = int(*in.MaxResults); limit < 1 || limit > maxTasksKept {
			return nil, refusal("InvalidParameterValue", "Value %d for parameter MaxResults is invalid. Reason: Must be between 1 and %d.", limit, maxTasksKept)
		}
	}
	s.lock()
	defer s.mu.Unlock()
	q, err := s.findARN("SourceArn", in.SourceArn)
	if err != nil {
		return nil, err
	}
	out := listMovesOutput{Results: []moveResult{}}
	for _, t := range slices.Backward(q.tasks) { // the latest first
		if len(out.Results) == limit {
			break
		}
		r := moveResult{
			ApproximateNumberOfMessagesMoved:  t.moved,
			ApproximateNumberOfMessagesToMove: t.toMove,
			FailureReason:                     t.failure,
			MaxNumberOfMessagesPerSecond:      t.rate,
			SourceArn:                         q.arn(),
			StartedTimestamp:                  t.started.UnixMilli(),
			Status:                            t.status,
		}
		if t.destination != nil {
			r.DestinationArn = t.destination.arn()
		}
		if t.status == "RUNNING" {
			r.TaskHandle = t.handle
		}
		out.Results = append(out.Results, r)
	}
	return out, nil
}

type cancelMoveOutput struct{ ApproximateNumberOfMessagesMoved int }

func (s *sqsService) cancelMove(c caller, in taskHandle) (any, error) {
	if in.TaskHandle == "" {
		return nil, missing("TaskHandle")
	}
	sourceARN, ok := parseTaskHandle(in.TaskHandle)
	if !ok {
		return nil, refusal("InvalidParameterValue", "Value for parameter TaskHandle is invalid.")
	}
	s.lock()
	defer s.mu.Unlock()
	if _, err := s.findARN("SourceArn", sourceARN); err != nil {
		return nil, err
	}
	for _, t := range s.moving {
		if t.handle == in.TaskHandle {
			t.status = "CANCELLED"
			s.moving = slices.DeleteFunc(s.moving, func(o *moveTask) bool { return o == t })
			return cancelMoveOutput{t.moved}, nil
		}
	}
	return nil, refusal("ResourceNotFoundException", "Task does not exist.")
}

// newTaskHandle returns a handle that is made as the service makes its own.
func newTaskHandle(sourceARN string) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"taskId":"` + newUUID() + `","sourceArn":"` + sourceARN + `"}`))
}

func parseTaskHandle(handle string) (sourceARN string, ok bool) {
	text, err := base64.StdEncoding.DecodeString(handle)
	if err != nil {
		return "", false
	}
	var doc struct {
		TaskID    string `json:"taskId"`
		SourceARN string `json:"sourceArn"`
	}
	if json.Unmarshal(text, &doc) != nil || doc.TaskID == "" || doc.SourceARN == "" {
		return "", false
	}
	return doc.SourceARN, true
}
