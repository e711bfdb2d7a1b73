package lambdax

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/sqsx"
)

// Message is what the work gets: a message that opened. The work owns its
// memory, and may keep and change it.
type Message struct {
	sqsx.Message
	QueueARN string // where it was received; in a dead-letter queue, of that queue
}

// Handler opens the messages of an event, calls the work for each, and tells
// Lambda what failed. Make one with [New], outside of the function's handler,
// and give it to lambda.Start. It is safe for concurrent use, keeps nothing
// between invocations, and has no goroutines outside of them.
type Handler struct {
	sealer *sqsx.Sealer
	work   func(context.Context, Message) error
	o      Options
	err    error // of New; every invocation fails with it
}

// New returns a Handler. With invalid settings, a nil Sealer or a nil work,
// every invocation fails with a [*sqsx.ConfigError] before anything is opened.
// [Handler.Err] returns that error at the start.
//
// work is called once for each message that opened, and its message is deleted
// if it returns nil. It runs on a goroutine of its own; if it panics, its
// message has failed. Its context ends before the function's deadline, by 1
// second or, if that is less, by a tenth of the time that the invocation had at
// its start, which leaves time to report. If work does not return then, Lambda
// ends the whole invocation, and all messages of the event come again. No work
// is started when less time is left than the longest call of this invocation
// took.
func New(s *sqsx.Sealer, work func(context.Context, Message) error, optFns ...func(*Options)) *Handler {
	o, err := newOptions(optFns)
	switch {
	case err != nil:
	case s == nil:
		err = &sqsx.ConfigError{Err: errors.New("lambdax: New was given a nil *sqsx.Sealer: check the error of the constructor that made it")}
	case work == nil:
		err = &sqsx.ConfigError{Err: errors.New("lambdax: New was given no work: give it a function that is called for each message")}
	}
	return &Handler{sealer: s, work: work, o: o, err: err}
}

var errUninitialized = errors.New("lambdax: the Handler is nil or its zero value: make one with New")

// Err returns the error that every invocation fails with: of settings that New
// refused, of a nil Sealer or a nil work, or of a Handler that New did not
// make. It is nil if there is none. Call it after New, so that a function with
// such an error fails at its start.
func (h *Handler) Err() error {
	if h == nil || h.sealer == nil && h.err == nil {
		return errUninitialized
	}
	return h.err
}

// Invoke makes a *Handler the lambda.Handler of github.com/aws/aws-lambda-go.
// It is [Handler.Handle] for the JSON of an event and of a response.
func (h *Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var e Event
	// Not by json.Unmarshal, which would read the text once more.
	if err := e.UnmarshalJSON(payload); err != nil {
		return nil, err
	}
	r, err := h.Handle(ctx, e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// Handle opens the messages of e, calls the work for each, and returns those
// that failed. An error keeps all of them in the queue; it is a [*BatchError]
// if messages failed, and another one if e is not an event of SQS or the
// Handler is not usable. e is not changed.
//
// ctx should have the deadline of the function, as that of lambda.Start has.
// Without one, opening waits for AWS KMS for 10 seconds, and the work has no
// limit.
func (h *Handler) Handle(ctx context.Context, e Event) (Response, error) {
	if err := h.Err(); err != nil {
		return Response{}, err
	}
	if err := e.check(); err != nil {
		return Response{}, err
	}
	b := newBatch(h, ctx, e)
	b.open()
	b.workOff()
	b.backOff()
	return b.answer()
}

// A part of the time that is left, reportShare and at most maxReport, is kept
// for the report after the last work has ended.
const (
	reportShare = 10
	maxReport   = time.Second
)

// batch is one invocation.
type batch struct {
	*Handler
	ctx      context.Context
	items    []*item // in the order of the event
	opens    time.Time
	works    time.Time // these three are zero if the invocation has no deadline
	deadline time.Time
}

// item is one message of an event. The work and the hooks own the memory of its
// Message; the handler's own fields are separate.
type item struct {
	Message  // what the work gets; until it is opened, what was received
	id       string
	handle   string // the receipt handle
	receives int    // 0: unknown
	group    string // of a FIFO queue: its messages with the same group wait for each other
	opened   bool
	err      error // nil: the work has succeeded
}

func newBatch(h *Handler, ctx context.Context, e Event) *batch {
	b := &batch{Handler: h, ctx: ctx, items: make([]*item, len(e.Records))}
	for i, r := range e.Records {
		n := receives(r)
		b.items[i] = &item{
			Message: Message{
				Message:  sqsx.Message{Message: r.message(), Info: sqsx.Info{Receives: n}},
				QueueARN: r.EventSourceARN,
			},
			id:       r.MessageID,
			handle:   r.ReceiptHandle,
			receives: n,
			group:    r.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)],
			err:      ErrNotStarted,
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline), 0)
		b.deadline = deadline
		b.opens = deadline.Add(-min(h.o.Reserve, left/2))
		b.works = deadline.Add(-min(maxReport, left/reportShare))
	}
	return b
}

func receives(r Record) int {
	n, err := strconv.Atoi(r.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// until returns the invocation's context with an earlier deadline, or without a
// further one if deadline is zero.
func (b *batch) until(deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return context.WithCancel(b.ctx)
	}
	return context.WithDeadline(b.ctx, deadline)
}

// open opens the messages of one queue after the other, all within the time for
// opening. A mapping has one queue.
func (b *batch) open() {
	ctx, cancel := b.until(b.opens)
	defer cancel()
	var queues []string
	of := make(map[string][]*item)
	for _, it := range b.items {
		if of[it.QueueARN] == nil {
			queues = append(queues, it.QueueARN)
		}
		of[it.QueueARN] = append(of[it.QueueARN], it)
	}
	for _, arn := range queues {
		b.openQueue(ctx, arn, of[arn])
	}
}

// openQueue opens the messages of one queue. OpenMessages returns two lists in
// order: messages that opened, and errors of the others.
func (b *batch) openQueue(ctx context.Context, arn string, items []*item) {
	group(arn, items)
	msgs := make([]types.Message, len(items))
	for i, it := range items {
		msgs[i] = it.Message.Message.Message
	}
	opened, withheld := b.sealer.OpenMessages(ctx, arn, msgs)
	for i, it := range items {
		// By the pointer to its ID, and not by the ID: two records of one event
		// can have the same.
		record := msgs[i].MessageId
		switch {
		case len(opened) > 0 && opened[0].MessageId == record:
			it.Message.Message, opened = opened[0], opened[1:]
			it.opened = true
			continue
		case len(withheld) > 0 && withheld[0].Message.MessageId == record:
			it.err, withheld = withheld[0], withheld[1:]
		default:
			it.err = errUnaccounted
		}
	}
	for _, it := range items {
		if !it.opened {
			b.failed(it)
		}
	}
}

// group makes the message groups of a queue those of the whole event, or none.
func group(arn string, items []*item) {
	// A message without a group ID may be of any group: treat all as one group.
	one := slices.ContainsFunc(items, func(it *item) bool { return it.group == "" })
	for _, it := range items {
		switch {
		case !isFIFO(arn):
			// A standard queue has group IDs too, for fair queues: they
			// say nothing about order.
			it.group = ""
		case one:
			it.group = arn
		default:
			it.group = arn + " " + it.group
		}
	}
}

// errUnaccounted should not happen: every message that is given to OpenMessages
// is in one of its results. With this error the message stays in the queue.
var errUnaccounted = errors.New("lambdax: the message was neither opened nor withheld")

func isFIFO(arn string) bool {
	a, err := awsname.ParseQueueARN(arn)
	return err == nil && awsname.IsFIFO(a.Resource)
}

// failed calls the caller's hook for a message that did not succeed.
func (b *batch) failed(it *item) {
	if b.o.OnError == nil {
		return
	}
	if p := recovered(func() { b.o.OnError(b.ctx, it.Message, it.err) }); p != nil {
		b.o.log().ErrorContext(b.ctx, "sealq: OnError of lambdax panicked", slog.String("error", p.Error()), slog.String("message_id", it.id))
	}
}

// answer is the response or the error of the invocation.
func (b *batch) answer() (Response, error) {
	r := Response{BatchItemFailures: []Failure{}}
	named := make(map[string]bool)
	var errs []error
	for _, it := range b.items {
		if it.err == nil {
			continue
		}
		errs = append(errs, it.err)
		if !named[it.id] {
			named[it.id] = true
			r.BatchItemFailures = append(r.BatchItemFailures, Failure{it.id})
		}
	}
	failed, all := len(errs), len(b.items)
	if failed > 0 && (!b.o.ReportsFailures || failed == all && !b.o.ReportAll) {
		return Response{}, &BatchError{Messages: all, Failed: failed, Errs: errs}
	}
	b.log(failed)
	return r, nil
}

// log writes one line for the messages that opened and are reported as failed,
// unless there is a hook. For those that did not open, the Sealer writes lines.
func (b *batch) log(failed int) {
	if b.o.OnError != nil {
		return
	}
	for _, it := range b.items {
		if it.err == nil || !it.opened {
			continue
		}
		b.o.log().WarnContext(b.ctx, "sealq: messages reported as failed",
			slog.String("queue", it.QueueARN),
			slog.Int("failed", failed),
			slog.Int("of", len(b.items)),
			slog.String("message_id", it.id),
			slog.String("error", it.err.Error()),
		)
		return
	}
}
