package sqsx

import (
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// The classes of an error that concerns a message or a key. Test with
// [errors.Is], in this order, because one error may report several causes:
//
//  1. [ErrHeld] and [ErrGroupHeld]: another message is the cause; do nothing.
//  2. [ErrUnavailable], [ErrClockAhead], and the end of a context
//     (context.Canceled, context.DeadlineExceeded): nothing is known to be
//     wrong with the message or the key, and a later attempt may succeed.
//  3. [ErrInvalidMessage]: the message itself is invalid. [ErrNotSealed],
//     [ErrMalformed], [ErrUnsupported], [ErrContextMismatch],
//     [ErrNoMatchingKey], [ErrAuthentication] and [ErrExpired] match it too.
//  4. Anything else is a refusal of the key service, usually a [*RefusedError].
var (
	// ErrUnavailable is returned when the key service could not be asked or
	// could not answer. It says nothing about the message or the key, and a
	// later attempt may succeed.
	ErrUnavailable = envelope.ErrUnavailable

	// ErrInvalidMessage is the root of every error whose cause is the message
	// itself: trying again does not help. [ErrNotSealed] and those below are
	// ErrInvalidMessage, too.
	ErrInvalidMessage = envelope.ErrInvalidMessage
)

// The kinds of [ErrInvalidMessage], besides [ErrNotSealed].
var (
	// ErrMalformed is returned for bytes that are not a sealed message.
	ErrMalformed = envelope.ErrMalformed

	// ErrUnsupported is returned for a message of a version, algorithm suite or
	// feature that this version does not open.
	ErrUnsupported = envelope.ErrUnsupported

	// ErrContextMismatch is returned for a message that was sealed for another
	// queue, or under another [Options.EncryptionContext].
	ErrContextMismatch = envelope.ErrContextMismatch

	// ErrNoMatchingKey is returned for a message if the keyring can, or may,
	// decrypt none of its encrypted data keys.
	ErrNoMatchingKey = envelope.ErrNoMatchingKey

	// ErrAuthentication is returned for a message that was altered after it was
	// sealed.
	ErrAuthentication = envelope.ErrAuthentication
)

// RefusedError is a refusal of the key service: a key that is disabled or does
// not exist, or a permission that is missing. The service's own error is in the
// chain. Its fields are
//
//	KeyInfo string         // the wrapping key, for AWS KMS its ARN; empty: unknown
//	Reach   envelope.Reach // which data keys under KeyInfo it concerns
//	Err     error          // the service's own error
type RefusedError = envelope.RefusedError

// OpenError reports a message that was received but not delivered. The message
// is not deleted. Its fields are
//
//	Queue     middleware.Queue // where it was received; ARN and String name it
//	Message   types.Message    // as received, sealed, with its receipt handle; read-only
//	Temporary bool             // the message itself is not known to be invalid: try again
//	Err       error            // why, with no plaintext and no key
type OpenError = middleware.OpenError

// ReceiveError is returned when a receive got messages and none of them could
// be delivered. Its field is
//
//	Withheld []*OpenError // one for each message, never empty
type ReceiveError = middleware.ReceiveError

// BatchError is returned when a SendMessageBatch sent nothing because of its
// entries: none could be sent, or one could not and the queue is a FIFO queue.
// It is a smithy.APIError. (Package snsx has a BatchError for PublishBatch,
// package lambdax one for an invocation.) Its field is
//
//	Failed []types.BatchResultErrorEntry // those with a cause, as an output has them; read-only
type BatchError = middleware.BatchError

// TooLargeError is returned when a message, or the messages of a batch
// together, would be too large for SQS when sealed. It is a smithy.APIError
// with SQS's code. Its fields are
//
//	Batch  bool // the sum of a batch is too large, and not one message
//	Plain  int  // size in bytes, as the caller wrote it
//	Sealed int  // size in bytes, as it would travel
//	Limit  int  // on Sealed, in bytes
type TooLargeError = middleware.TooLargeError
