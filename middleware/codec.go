package middleware

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Codec turns the messages of one SQS operation into what travels, and back.
// It is the only thing that this package asks of its user, and the only place
// where keys and formats are known.
//
// Implementations must be safe for concurrent use. Arguments are read-only, the
// messages, maps and slices in them included. Results have the length and the
// order of the arguments; any other length fails the call.
type Codec interface {
	// AttributeNames lists the message attributes that the codec may add to a
	// message. Receives ask SQS for them, and they are removed from every
	// message that is delivered. [New] calls it, once.
	AttributeNames() []string

	// Seal returns what to send in place of entries. Its error is a cause
	// common to all entries: the call fails and nothing is sent. A cause that
	// concerns one entry only goes into that entry's Sealed.Err. On a FIFO
	// queue that too fails the call, by a [*BatchError] if it is a batch: the
	// other entries then need no Content.
	Seal(ctx context.Context, q Queue, entries []types.SendMessageBatchRequestEntry) ([]Sealed, error)

	// Admit is called before a receive is sent, and may wait, or refuse by an
	// error, which fails the call with no request made. client returns the
	// client of the receive, for what the codec itself has to ask of SQS.
	Admit(ctx context.Context, q Queue, in *sqs.ReceiveMessageInput, client func() *sqs.Client) (Admission, error)

	// MaxMessageBytes is the largest message that the queue takes, attributes
	// included, in bytes.
	MaxMessageBytes(q Queue) int

	// Open returns what to deliver in place of messages, at most ten. It decides
	// what to do in parallel.
	//
	// When ctx ends, the time to wait is over: Open returns, with the messages
	// that it can open without waiting, and an error for the others. It may be
	// called when ctx has ended already. The ctx of a receive never ends, because
	// the messages have arrived and are invisible to other consumers: Open keeps
	// a deadline of its own for them.
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
	// Otherwise they are digests of what the caller wrote, or is delivered.
	NoDigests bool
}

// Sealed is what becomes of one entry of a send. Its Attributes are all that
// the message travels with, the caller's included: a new map, or nil, which
// others may write into. After Seal this package checks what SQS would no
// longer notice or would answer in its own way: an empty body, a caller's
// attribute of a reserved name, the number of attributes, the sizes.
type Sealed struct {
	Content
	// AsIs says that the entry travels exactly as the caller wrote it, because
	// the queue is configured not to be sealed. Content is ignored, no limit is
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

// Opened is what becomes of one received message. Of its Attributes, those in
// AttributeNames and those that the caller did not ask for are not delivered.
type Opened struct {
	Content
	// Info is kept for the caller in the metadata of the call: see [InfoOf].
	Info any
	// Err withholds the message: it is reported, is not delivered, and stays
	// in the queue.
	Err error
	// Temporary says that Err is not the message's own fault, and that a later
	// receive may succeed.
	Temporary bool
}

// Admission is a receive's permission to go ahead.
type Admission struct {
	// MaxMessages caps the number of messages asked for. 0 leaves it as the
	// caller asked.
	MaxMessages int32
	// AttributeNames are message attributes that the codec has to see, beside
	// those of [Codec.AttributeNames]. The receive asks SQS for them, and fails
	// with [ErrBypassed] if a middleware removes one; the caller sees those that
	// it asked for.
	AttributeNames []string
	// MaxWaitSeconds caps the time that the receive waits for a message. 0 leaves
	// it as the caller asked.
	MaxWaitSeconds int32
	// EmptyInstead has the call return an empty result in place of these errors:
	// that of an Admit which returned this Admission with it and that of Done,
	// when the call has lasted for its WaitTimeSeconds, and a [*ReceiveError]. It
	// is for callers that take every error of ReceiveMessage for the end.
	EmptyInstead bool
	// Done, if not nil, runs exactly once, when the outcome is known. It runs
	// after a panic too, and if Admit returned an error with it. Its error fails
	// a receive that brought no message, and is ignored after any other.
	Done func(Outcome) error
}

// Outcome is what became of a receive.
type Outcome struct {
	Delivered int          // messages
	Withheld  []*OpenError // messages that were received and are not delivered
	Err       error        // of the call of SQS, or of Admit; or the receive did not finish
}
