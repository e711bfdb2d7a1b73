package middleware

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/internal/outgoing"
)

const (
	// maxAttributes is the most message attributes that SQS accepts on one
	// message. Source: SQS Developer Guide, message metadata.
	maxAttributes = 10
	// maxBytes is the largest message, and the largest sum of a batch, that SQS
	// accepts, attributes included, 1 MiB. A queue's MaximumMessageSize lowers it
	// for messages, never for batches. Source: SQS API reference, SendMessage and
	// SendMessageBatch.
	maxBytes = 1 << 20
	// maxEntries is the number of entries of a batch. Source: SQS API reference,
	// SendMessageBatch.
	maxEntries = 10
)

// TooLargeError reports a message, or the messages of a batch together, that
// SQS would refuse for their size. It was found before a request was made.
//
// It implements smithy.APIError with the code that SQS answers:
// InvalidParameterValue for a message, and for a batch
// AWS.SimpleQueueService.BatchRequestTooLong, where errors.As also finds a
// *types.BatchRequestTooLong.
//
// Sizes are in bytes and count the body and the name, type and value of every
// attribute.
type TooLargeError struct {
	Batch  bool // the sum of a batch is too large, and not one message
	Plain  int  // as the caller wrote it
	Sealed int  // as it would travel
	Limit  int  // on Sealed

	topic bool // the limit is that of a topic
}

// Error names the code and the sizes.
func (e *TooLargeError) Error() string { return e.ErrorCode() + ": " + e.ErrorMessage() }

// ErrorCode returns SQS's code.
func (e *TooLargeError) ErrorCode() string {
	if e.Batch {
		return "AWS.SimpleQueueService.BatchRequestTooLong"
	}
	return "InvalidParameterValue"
}

// ErrorMessage names the sizes and the remedy.
func (e *TooLargeError) ErrorMessage() string {
	if e.Batch {
		return fmt.Sprintf("the messages of the batch are %d bytes sealed (%d as written), the limit is %d: send fewer or smaller messages in one batch", e.Sealed, e.Plain, e.Limit)
	}
	return fmt.Sprintf("the message is %d bytes sealed (%d as written), the limit of the %s is %d: send a smaller message (sealing adds a third and a header)", e.Sealed, e.Plain, Queue{Topic: e.topic}.noun(), e.Limit)
}

// ErrorFault returns smithy.FaultClient.
func (e *TooLargeError) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }

// Unwrap returns the SDK's own type for a batch, and nil for a message, for
// which the SDK has none.
func (e *TooLargeError) Unwrap() error {
	if !e.Batch {
		return nil
	}
	return &types.BatchRequestTooLong{Message: aws.String(e.ErrorMessage()), ErrorCodeOverride: aws.String(e.ErrorCode())}
}

// maxMessageBytes is the codec's limit, capped at SQS's own.
func (m *Middleware) maxMessageBytes(q Queue) int {
	if n := m.codec.MaxMessageBytes(q); n > 0 {
		return min(n, maxBytes)
	}
	return maxBytes
}

// checkLimits checks one sealed entry against SQS's limits, and the caller's
// entry too: a sealed message is never empty, so SQS itself would not notice an
// empty one.
func checkLimits(q Queue, e types.SendMessageBatchRequestEntry, c Content, names []string, limit int) error {
	if *e.MessageBody == "" {
		return errNoBody()
	}
	for _, name := range names {
		if _, taken := e.MessageAttributes[name]; taken {
			return invalidParameter("message attribute name %q is reserved for the sealed message: if the message is sealed already, send it with a client that has no sealer; else rename the attribute", name)
		}
	}
	if n := len(c.Attributes); n > maxAttributes {
		return invalidParameter("number of message attributes %d exceeds the limit of %d (%d as written): remove an attribute", n, maxAttributes, len(e.MessageAttributes))
	}
	if n := outgoing.Bytes(c.Body, c.Attributes); n > limit {
		return &TooLargeError{Plain: outgoing.Bytes(*e.MessageBody, e.MessageAttributes), Sealed: n, Limit: limit, topic: q.Topic}
	}
	return nil
}

// wouldTake reports whether SQS would accept an entry as the caller wrote it,
// by the limits that this package checks.
func wouldTake(e types.SendMessageBatchRequestEntry, limit int) bool {
	return *e.MessageBody != "" && len(e.MessageAttributes) <= maxAttributes && outgoing.Bytes(*e.MessageBody, e.MessageAttributes) <= limit
}

// errNoBody has SQS's code for an empty body.
func errNoBody() error {
	return &smithy.GenericAPIError{
		Code:    "MissingParameter",
		Message: "the message body is empty, which SQS does not take: send at least one character",
		Fault:   smithy.FaultClient,
	}
}

func invalidParameter(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}
