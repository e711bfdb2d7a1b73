package middleware

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/outgoing"
)

// BatchError fails a SendMessageBatch that sent nothing because of errors in
// its entries, which were found before a request was made. There are two cases:
//
//   - no entry could be sent, and SQS would have accepted at least one
//     unsealed: callers of a batch often look at the error only;
//   - the queue is a FIFO queue and an entry could not be sent: sending the
//     others would change the order of a message group. SQS does the same, for
//     an entry without a deduplication ID for instance.
//
// A batch for a standard queue that sent at least one entry succeeds, and has
// the other entries in the output's Failed.
//
// It implements smithy.APIError with the code of the first failed entry.
// errors.Is and errors.As find the causes, in the order of Failed.
type BatchError struct {
	// Failed are the entries with a cause of their own, in the order of the
	// call, as the output of a partial send has them. It is never empty, and
	// must not be modified. Entries that are not in it were not sent either.
	Failed []types.BatchResultErrorEntry

	causes  []error // of Failed
	entries int     // of the call
}

// Error names the code, the number of failed entries and the first cause.
func (e *BatchError) Error() string { return e.ErrorCode() + ": " + e.ErrorMessage() }

// ErrorCode returns the code of the first failed entry.
func (e *BatchError) ErrorCode() string {
	if len(e.Failed) == 0 {
		return internalError
	}
	return aws.ToString(e.Failed[0].Code)
}

// ErrorMessage counts the failed entries and quotes the first cause.
func (e *BatchError) ErrorMessage() string {
	if len(e.Failed) == 0 {
		return "no message of the batch was sent"
	}
	first, rule := e.Failed[0], ""
	if len(e.Failed) < e.entries {
		rule = " (a batch for a FIFO queue is sent as a whole or not at all)"
	}
	return fmt.Sprintf("no message of the batch was sent, %d of %d entries failed%s; the first, %q: %s",
		len(e.Failed), e.entries, rule, aws.ToString(first.Id), aws.ToString(first.Message))
}

// ErrorFault returns smithy.FaultClient if that is the fault of all failed
// entries.
func (e *BatchError) ErrorFault() smithy.ErrorFault {
	for _, f := range e.Failed {
		if !f.SenderFault {
			return smithy.FaultUnknown
		}
	}
	return smithy.FaultClient
}

// Unwrap returns the causes, in the order of Failed.
func (e *BatchError) Unwrap() []error { return slices.Clone(e.causes) }

// failedEntries returns the entries of a batch that cannot be sent. If it
// returns an error, the call fails and nothing is sent. Like SQS, it first
// checks the batch as a whole, including the entries that it will leave out.
func (m *Middleware) failedEntries(q Queue, entries []types.SendMessageBatchRequestEntry, sealed []Sealed) ([]types.BatchResultErrorEntry, error) {
	var failed []types.BatchResultErrorEntry
	var causes []error
	taken := false // SQS would have accepted one of the failed unsealed
	limit := m.maxMessageBytes(q)
	for i, message := range sealed {
		if message.Err != nil {
			failed = append(failed, failedEntry(entries[i].Id, message.Err))
			causes = append(causes, message.Err)
			taken = taken || wouldTake(entries[i], limit)
		}
	}
	if len(failed) > 0 {
		if err := checkCall(entries); err != nil {
			return nil, err
		}
	}
	if err := checkSum(entries, sealed); err != nil {
		return nil, err
	}
	if len(failed) > 0 && (q.FIFO() || taken && len(failed) == len(entries)) {
		return nil, &BatchError{Failed: failed, causes: causes, entries: len(entries)}
	}
	return failed, nil
}

// checkCall finds errors that SQS would answer for the whole call. SQS itself
// finds them if it gets all entries.
func checkCall(entries []types.SendMessageBatchRequestEntry) error {
	if n := len(entries); n > maxEntries {
		return &types.TooManyEntriesInBatchRequest{
			Message:           aws.String(fmt.Sprintf("Maximum number of entries per request are %d. You have sent %d.", maxEntries, n)),
			ErrorCodeOverride: aws.String("AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
		}
	}
	for _, e := range entries {
		if !awsname.IsEntryID(*e.Id) {
			return &types.InvalidBatchEntryId{
				Message:           aws.String(fmt.Sprintf("A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most %d letters long.", awsname.MaxEntryID)),
				ErrorCodeOverride: aws.String("AWS.SimpleQueueService.InvalidBatchEntryId"),
			}
		}
	}
	return nil
}

// checkSum compares the size of a batch with SQS's limit. Entries that fail
// count, because SQS checks the sum before single entries. If nothing was
// sealed, SQS itself checks it.
func checkSum(entries []types.SendMessageBatchRequestEntry, sealed []Sealed) error {
	n, ours := 0, false
	for i, message := range sealed {
		ours = ours || !message.AsIs
		if message.Body == "" { // it failed before it was sealed
			n += outgoing.Bytes(*entries[i].MessageBody, entries[i].MessageAttributes)
		} else {
			n += outgoing.Bytes(message.Body, message.Attributes)
		}
	}
	if !ours || n <= maxBytes {
		return nil
	}
	plain := 0
	for _, e := range entries {
		plain += outgoing.Bytes(*e.MessageBody, e.MessageAttributes)
	}
	return &TooLargeError{Batch: true, Plain: plain, Sealed: n, Limit: maxBytes}
}

// positions maps the entries' IDs to their places. If two entries have one ID,
// an answer could be about either of them; SQS refuses that too.
func positions(entries []types.SendMessageBatchRequestEntry) (map[string]int, error) {
	position := make(map[string]int, len(entries))
	for i, e := range entries {
		if _, twice := position[*e.Id]; twice {
			return nil, &types.BatchEntryIdsNotDistinct{
				Message:           aws.String(fmt.Sprintf("Id %s repeated.", *e.Id)),
				ErrorCodeOverride: aws.String("AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
			}
		}
		position[*e.Id] = i
	}
	return position, nil
}

// internalError is the code of an entry whose error has none.
const internalError = "InternalError"

// failedEntry reports an entry that was not sent as SQS reports one that it
// refuses.
func failedEntry(id *string, err error) types.BatchResultErrorEntry {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return types.BatchResultErrorEntry{
			Id:          id,
			Code:        aws.String(api.ErrorCode()),
			Message:     aws.String(api.ErrorMessage()),
			SenderFault: api.ErrorFault() == smithy.FaultClient,
		}
	}
	return types.BatchResultErrorEntry{Id: id, Code: aws.String(internalError), Message: aws.String(err.Error())}
}

// inOrder sorts failed entries of SQS and of this package as the call has them.
func inOrder(failed []types.BatchResultErrorEntry, position map[string]int) {
	slices.SortStableFunc(failed, func(a, b types.BatchResultErrorEntry) int {
		return cmp.Compare(position[aws.ToString(a.Id)], position[aws.ToString(b.Id)])
	})
}
