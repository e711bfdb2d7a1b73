package middleware

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Codec turns the messages of one SQS operation into what is sent, and back. It
// is all that a user of this package implements, and the only part that knows
// keys and formats.
//
// Implementations must be safe for concurrent use. Arguments are read-only, the
// messages, maps and slices in them included. Results have the length and the
// order of the arguments; any other length fails the call.
type Codec interface {
	// AttributeNames lists the message attributes that the codec may add to a
	// message. Receives ask SQS for them, and they are removed from every
	// message that is delivered. [New] calls it, once.
	AttributeNames() []string

	// Seal returns what to send instead of entries. Its error is a cause common to
	// all entries: the call fails and nothing is sent. An error of one entry only
	// goes into that entry's Sealed.Err. On a FIFO queue that fails the call too,
	// with a [*BatchError] if it is a batch: the other entries then need no
	// Content.
	Seal(ctx context.Context, q Queue, entries []types.SendMessageBatchRequestEntry) ([]Sealed, error)

	// Admit is called before a receive is sent. It may wait, or return an error,
	// which fails the call without a request. client returns the client of the
	// receive, for the codec's own calls of SQS.
	Admit(ctx context.Context, q Queue, in *sqs.ReceiveMessageInput, client func() *sqs.Client) (Admission, error)

	// MaxMessageBytes is the largest message that the queue takes, attributes
	// included, in bytes.
	MaxMessageBytes(q Queue) int

	// Open returns what to deliver instead of messages, at most ten. It decides
	// what to do in parallel.
	//
	// When ctx ends, Open stops waiting: it returns the messages that it can open
	// without waiting, and an error for each of the others. It may be called when
	// ctx has ended already. The ctx of a receive never ends, because the messages
	// have arrived and are invisible to other consumers: Open keeps a deadline of
	// its own for them.
	Open(ctx context.Context, q Queue, messages []types.Message) []Opened
}

// Content is all of a message that a [Codec] may change.
type Content struct {
	// Body is the whole message body.
	Body string
	// Attributes are all message attributes, those that the codec does not change
	// included.
	Attributes map[string]types.MessageAttributeValue
	// DeduplicationID is for sends only. Nil leaves the caller's.
	DeduplicationID *string
	// NoDigests leaves the MD5 fields of this message in the output nil.
	// Otherwise they are digests of what the caller wrote, or gets.
	NoDigests bool
}

// Sealed is the result for one entry of a send. Its Attributes are all that are
// sent with the message, the caller's included: a new map, or nil, which others
// may write into. After Seal this package checks what SQS could no longer
// check, or would report in another way: an empty body, a caller's attribute of
// a reserved name, the number of attributes, the sizes.
type Sealed struct {
	Content
	// AsIs says that the entry is sent exactly as the caller wrote it, because the
	// queue is configured not to be sealed. Content is ignored, no limit is
	// checked, and what SQS answers reaches the caller unchanged.
	AsIs bool
	// Guarded are names of message attributes, beside those of
	// [Codec.AttributeNames], that the message must leave with as they are in
	// Content, or without if they are not there. A middleware that changes one
	// after Seal fails the call with [ErrBypassed]. They must not be modified.
	Guarded []string
	// Err fails this entry only, or on a FIFO queue the call. If it is a
	// smithy.APIError, its code, message and fault become those of the failed
	// batch entry; otherwise the code is InternalError. It must hold no
	// plaintext: callers log it.
	Err error
}

// Opened is the result for one received message. Attributes in AttributeNames,
// and those that the caller did not ask for, are not delivered.
type Opened struct {
	Content
	// Info is kept for the caller in the metadata of the call: see [InfoOf].
	Info any
	// Err withholds the message: it is reported, is not delivered, and stays
	// in the queue.
	Err error
	// Temporary says that the message is not known to be invalid, and that a later
	// receive may succeed.
	Temporary bool
}

// Admission is a receive's permission to go ahead.
type Admission struct {
	// MaxMessages caps the number of messages of the request. 0 leaves the
	// caller's number.
	MaxMessages int32
	// AttributeNames are message attributes that the codec has to see, beside
	// those of [Codec.AttributeNames]. The receive asks SQS for them, and fails
	// with [ErrBypassed] if a middleware removes one; the caller sees those that
	// it asked for.
	AttributeNames []string
	// MaxWaitSeconds caps the time that the receive waits for a message. 0 leaves
	// the caller's time.
	MaxWaitSeconds int32
	// EmptyInstead makes the call return an empty result instead of a
	// [*ReceiveError], and, after its WaitTimeSeconds, instead of an error of Done
	// or of the Admit that returned this Admission. It is for callers that stop at
	// any error of ReceiveMessage.
	EmptyInstead bool
	// Done, if not nil, runs exactly once, when the outcome is known. It also runs
	// after a panic, and if Admit returned it together with an error. Its error
	// fails a receive that brought no message, and is ignored after any other.
	Done func(Outcome) error
}

// Outcome is the result of a receive.
type Outcome struct {
	Delivered int          // messages
	Withheld  []*OpenError // messages that were received and are not delivered
	Err       error        // of the call of SQS, or of Admit; or the receive did not finish
}
