package lambdax

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/internal/optfn"
	"github.com/sealq/sealq/sqsx"
)

// defaultReserve leaves a function of 15 seconds enough time for a call of AWS
// KMS with its two attempts (5 seconds).
const defaultReserve = 5 * time.Second

// Options configure a [Handler]. The zero value is safe with every event source
// mapping.
type Options struct {
	// Reserve is kept for the work and the report, between the end of opening and
	// the function's deadline. It matters while AWS KMS does not answer: it is the
	// time to process messages under cached data keys. It is never more than half
	// of the time that the invocation has. 0 means 5 seconds; a negative value is
	// an error.
	Reserve time.Duration

	// Parallel is how many calls of the work run at once. On a FIFO queue they are
	// of different message groups, and each group is processed in its order. 0
	// means 1, which keeps the order of the event; a negative value is an error.
	Parallel int

	// ReportsFailures says that the event source mapping has
	// ReportBatchItemFailures among its FunctionResponseTypes, or that the
	// function is the target of a pipe. Then messages that failed are reported,
	// and those that succeeded are deleted. Without it any failure is an error,
	// and Lambda keeps the whole batch, those that succeeded included.
	//
	// Do not set it for a mapping that does not have it: Lambda would ignore the
	// report and delete the messages that failed.
	ReportsFailures bool

	// ReportAll reports all messages as failed if none succeeded, and returns no
	// error, so that the function's metric Errors does not count an outage. It
	// needs ReportsFailures. With a mapping that lacks ReportBatchItemFailures, an
	// outage would delete the backlog.
	ReportAll bool

	// BackOff returns for how long a message that failed stays invisible from now
	// on. It is called for messages that may succeed later: those whose work
	// failed, and those that did not open although they are not invalid
	// (sqsx.OpenError.Temporary), whose Body is sealed. It is not called for
	// invalid messages, or for those whose work was not started. On a FIFO queue,
	// the rest of the message group gets the same time. receives counts the
	// receives of the message, this one included, and is at least 1.
	//
	// 0 or less leaves the queue's visibility timeout. Times are rounded up to
	// seconds, and are at most 11 h 40 min: SQS allows 12 hours since the receive,
	// and a batching window and an invocation may have passed already.
	//
	// It needs SQS, and the permission sqs:ChangeMessageVisibility. A request
	// that fails is logged, and the message comes back after the queue's
	// visibility timeout. BackOff must not panic; if it does, the same happens.
	BackOff func(m Message, receives int) time.Duration

	// SQS is the client for BackOff. A Sealer may be installed in it or not. Its
	// Region does not matter, its endpoint does.
	SQS *sqs.Client

	// OnError is called for each message that did not succeed, with the cause:
	// a *sqsx.OpenError, whose message is sealed; a *PanicError; ErrNotStarted;
	// sqsx.ErrGroupHeld for what follows a failure in its message group; else
	// what the work returned. It may be called by several goroutines at once. If
	// it is nil, an invocation that reports messages which opened and failed logs
	// the number of failures and the first cause. A Sealer logs what it does not
	// open in either case, and aws-lambda-go the error of an invocation.
	OnError func(ctx context.Context, m Message, err error)

	// Logger is for the lines of this package. nil means slog.Default at the
	// time of the line.
	Logger *slog.Logger
}

// newOptions applies fns and checks the result.
func newOptions(fns []func(*Options)) (Options, error) {
	var o Options
	if err := optfn.Apply(&o, fns); err != nil {
		return o, &sqsx.ConfigError{Err: fmt.Errorf("lambdax: %w", err)}
	}
	var err error
	switch {
	case o.Reserve < 0:
		err = fmt.Errorf("lambdax: Options.Reserve is %v, want 0 (5 seconds) or more", o.Reserve)
	case o.Parallel < 0:
		err = fmt.Errorf("lambdax: Options.Parallel is %d, want 0 (one at a time) or more", o.Parallel)
	case o.ReportAll && !o.ReportsFailures:
		err = errors.New("lambdax: Options.ReportAll needs Options.ReportsFailures: a mapping without ReportBatchItemFailures ignores the report, and deletes what it names")
	case o.BackOff != nil && o.SQS == nil:
		err = errors.New("lambdax: Options.BackOff needs a client to change the visibility of messages with: set Options.SQS")
	}
	if err != nil {
		return o, &sqsx.ConfigError{Err: err}
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	o.Parallel = max(o.Parallel, 1)
	return o, nil
}

func (o Options) log() *slog.Logger {
	if o.Logger == nil {
		return slog.Default()
	}
	return o.Logger
}
