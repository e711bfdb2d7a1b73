package middleware

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// cancelled returns err, of the codec, as the SDK would if ctx had ended while
// it waited for SQS: some loops end at the SDK's type. ended says that ctx had
// ended before the call, for which the SDK has no type. The end of a codec's
// own time is another error, which the codec must not report as one of a
// context.
func cancelled(ctx context.Context, ended bool, err error) error {
	if ended || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	if _, ok := errors.AsType[*smithy.CanceledError](err); ok {
		return err
	}
	return &smithy.CanceledError{Err: err}
}

// OpenError reports one message that was received but not delivered. The
// message is not deleted: it becomes visible again when its visibility timeout
// ends, and if this repeats, the queue's redrive policy moves it to the
// dead-letter queue.
type OpenError struct {
	// Queue is the queue that the message was received from.
	Queue Queue
	// Message is the message as SQS sent it, sealed, with its receipt handle.
	// It must not be modified.
	Message types.Message
	// Temporary says that the message itself is not known to be invalid.
	Temporary bool
	// Err says why. It holds neither plaintext nor key material.
	Err error
}

// Error names the message, the queue and the cause.
func (e *OpenError) Error() string {
	return fmt.Sprintf("sealq: message %q of queue %q withheld: %v", aws.ToString(e.Message.MessageId), e.Queue, e.Err)
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }

// ReceiveError fails a ReceiveMessage call that received messages but could
// deliver none. It carries all of them, because a failed SDK call has no output
// and no metadata.
type ReceiveError struct {
	Withheld []*OpenError // never empty
}

// Error counts the messages and quotes the first cause.
func (e *ReceiveError) Error() string {
	if len(e.Withheld) == 1 {
		return "sealq: the one message received could not be delivered: " + e.Withheld[0].Error()
	}
	return fmt.Sprintf("sealq: none of the %d messages received could be delivered; the first: %v", len(e.Withheld), e.Withheld[0])
}

// Unwrap returns every withheld message's error.
func (e *ReceiveError) Unwrap() []error {
	errs := make([]error, len(e.Withheld))
	for i, w := range e.Withheld {
		errs[i] = w
	}
	return errs
}

// ErrGroupHeld is returned for a healthy message of a FIFO queue that is
// withheld because a message before it in its message group was withheld:
// delivering it would break the order of the group.
var ErrGroupHeld = errors.New("sealq: held back behind a withheld message of its message group")

// ErrBypassed is returned when a call would have sent a message unsealed, or
// received one without opening it: an option or another middleware removed or
// undid this one. No request was made.
//
// The usual causes are an option that sets APIOptions instead of appending to
// it, a middleware that clears a step of the stack, and a middleware inside the
// sealer that replaces bodies.
var ErrBypassed = errors.New("sealq: the call bypasses the sealer and was stopped")

// ErrInstalledTwice is returned for the calls of a client in which two
// different middlewares are installed: a message would be sealed twice. No
// request was made.
var ErrInstalledTwice = errors.New("sealq: two different sealers are installed in one client: install one, for all queues")

// ErrUninitialized is returned for every call of a nil or zero [Middleware]. No
// request was made.
var ErrUninitialized = errors.New("sealq: the sealer is nil or its zero value: make one with its constructor, and check the constructor's error")
