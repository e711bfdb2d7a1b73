package snsx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
)

// apiError is what SNS would answer, with the SDK's own type for it and the
// cause in its chain.
type apiError struct {
	answer smithy.APIError
	cause  error // nil: none beside the answer
}

func (e *apiError) Error() string                 { return e.ErrorCode() + ": " + e.ErrorMessage() }
func (e *apiError) ErrorCode() string             { return e.answer.ErrorCode() }
func (e *apiError) ErrorMessage() string          { return e.answer.ErrorMessage() }
func (e *apiError) ErrorFault() smithy.ErrorFault { return e.answer.ErrorFault() }

func (e *apiError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.answer}
	}
	return []error{e.answer, e.cause}
}

// invalid is the error of a parameter, with SNS's own beginning of the text.
func invalid(cause error, format string, args ...any) error {
	text := "Invalid parameter: " + fmt.Sprintf(format, args...)
	return &apiError{&types.InvalidParameterException{Message: &text}, cause}
}

// asAnswer translates what a Sealer found wrong with a message from SQS's codes
// to those of SNS. It returns other errors unchanged.
func asAnswer(err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != "InvalidParameterValue" && api.ErrorCode() != "MissingParameter" {
		return err
	}
	if api.ErrorCode() == "MissingParameter" {
		return invalid(err, "Empty message: publish at least one character")
	}
	return invalid(err, "%s", api.ErrorMessage())
}

// BatchError fails a PublishBatch that published nothing because of errors in
// its entries, which were found before a request was made. There are two cases:
//
//   - no entry could be published, and SNS would have accepted at least one
//     unsealed: callers of a batch often look at the error only;
//   - the topic is a FIFO topic and an entry could not be published: publishing
//     the others would change the order of a message group.
//
// A batch for a standard topic that published at least one entry succeeds, and
// has the other entries in the output's Failed.
//
// It is another type than [sqsx.BatchError], which is of a SendMessageBatch.
//
// It implements smithy.APIError with the code of the first failed entry.
// errors.Is and errors.As find the causes, in the order of Failed.
type BatchError struct {
	// Failed are the entries with a cause of their own, in the order of the
	// call, as the output of a partial failure has them. It is never empty, and
	// must not be modified. Entries that are not in it were not published either.
	Failed []types.BatchResultErrorEntry

	causes  []error // of Failed
	entries int     // of the call
}

// Error names the code, the number of failed entries and the first cause.
func (e *BatchError) Error() string { return e.ErrorCode() + ": " + e.ErrorMessage() }

// ErrorCode returns the code of the first failed entry.
func (e *BatchError) ErrorCode() string {
	if len(e.Failed) == 0 {
		return codeInternalError
	}
	return aws.ToString(e.Failed[0].Code)
}

// ErrorMessage counts the failed entries and quotes the first cause.
func (e *BatchError) ErrorMessage() string {
	if len(e.Failed) == 0 {
		return "no message of the batch was published"
	}
	first, rule := e.Failed[0], ""
	if len(e.Failed) < e.entries {
		rule = " (a batch for a FIFO topic is published as a whole or not at all)"
	}
	return fmt.Sprintf("no message of the batch was published, %d of %d entries failed%s; the first, %q: %s",
		len(e.Failed), e.entries, rule, aws.ToString(first.Id), aws.ToString(first.Message))
}

// ErrorFault returns smithy.FaultClient if that is the fault of all failed
// entries.
func (e *BatchError) ErrorFault() smithy.ErrorFault {
	if len(e.Failed) == 0 || slices.ContainsFunc(e.Failed, func(f types.BatchResultErrorEntry) bool { return !f.SenderFault }) {
		return smithy.FaultUnknown
	}
	return smithy.FaultClient
}

// Unwrap returns the causes, in the order of Failed.
func (e *BatchError) Unwrap() []error { return slices.Clone(e.causes) }

// codeInternalError is the code of an entry whose error has none.
const codeInternalError = "InternalError"

// failedEntry reports an entry that was not published as SNS reports one that
// it refuses.
func failedEntry(id string, err error) types.BatchResultErrorEntry {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return types.BatchResultErrorEntry{
			Id:          &id,
			Code:        aws.String(api.ErrorCode()),
			Message:     aws.String(api.ErrorMessage()),
			SenderFault: api.ErrorFault() == smithy.FaultClient,
		}
	}
	return types.BatchResultErrorEntry{Id: &id, Code: aws.String(codeInternalError), Message: aws.String(err.Error())}
}

// shorten bounds a text that was given as an ARN, for an error.
func shorten(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
