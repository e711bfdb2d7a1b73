package lambdax

import (
	"errors"
	"fmt"
	"runtime"
)

// ErrNotStarted is returned for a message that opened but whose work was not
// started: less time was left than the longest call of this invocation took, or
// the invocation was cancelled.
var ErrNotStarted = errors.New("lambdax: the work was not started: not enough time was left")

// BatchError fails an invocation, so that Lambda keeps all messages of the
// event. Lambda shows its text and "BatchError" as the error's type. It has
// nothing to do with [sqsx.BatchError], which is of a SendMessageBatch.
type BatchError struct {
	Messages int // in the event
	Failed   int // of them, at least 1

	// Errs has the cause for each message that failed, in the order of the
	// event: what Options.OnError is given. It has Failed elements.
	Errs []error
}

// Error counts the messages and quotes the first cause.
func (e *BatchError) Error() string {
	if e.Failed == e.Messages {
		return fmt.Sprintf("lambdax: none of %d messages succeeded, so that all stay in the queue; the first: %v", e.Messages, e.Errs[0])
	}
	return fmt.Sprintf("lambdax: %d of %d messages failed, and all stay in the queue, because Options.ReportsFailures is not set; the first: %v", e.Failed, e.Messages, e.Errs[0])
}

// Unwrap returns the causes.
func (e *BatchError) Unwrap() []error { return e.Errs }

// PanicError is the error of a message for which the work panicked. Its text
// shows the value of the panic only if the runtime made it, because any other
// may hold plaintext.
type PanicError struct {
	Value any    // of the panic; nil if the work ended its goroutine (runtime.Goexit)
	Stack []byte // of the goroutine, as runtime/debug.Stack formats it
}

// Error says that the work panicked, and with what type of value.
func (e *PanicError) Error() string {
	switch v := e.Value.(type) {
	case nil:
		return "lambdax: ended its goroutine (runtime.Goexit)"
	case runtime.Error:
		return "lambdax: panicked: " + v.Error()
	default:
		return fmt.Sprintf("lambdax: panicked with a value of type %T", v)
	}
}

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
