package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

// seal asks the codec, and checks what it returned against the limits of SQS.
// Results have maps of their own, since middlewares of tracing agents write
// into the ones they are given.
func (m *Middleware) seal(ctx context.Context, q Queue, entries []types.SendMessageBatchRequestEntry) ([]Sealed, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	sealed, err := m.codec.Seal(ctx, q, slices.Clip(entries))
	if err != nil {
		return nil, err
	}
	if len(sealed) != len(entries) {
		return nil, fmt.Errorf("middleware: codec sealed %d messages, want %d", len(sealed), len(entries))
	}
	sealed = slices.Clone(sealed)
	names, limit := m.codec.AttributeNames(), m.maxMessageBytes(q)
	for i := range sealed {
		s, e := &sealed[i], entries[i]
		switch {
		case s.AsIs:
			s.Err = nil
			s.Content = Content{Body: *e.MessageBody, Attributes: maps.Clone(e.MessageAttributes), DeduplicationID: e.MessageDeduplicationId}
		case s.Err == nil:
			if s.Body == "" && *e.MessageBody != "" {
				return nil, fmt.Errorf("middleware: codec returned neither a body nor an error for message %d", i)
			}
			s.Attributes = maps.Clone(s.Attributes)
			s.DeduplicationID = cmp.Or(s.DeduplicationID, e.MessageDeduplicationId)
			s.Err = checkLimits(e, s.Content, names, limit)
		}
	}
	return sealed, nil
}

func (s *sealer) sendMessage(
	ctx context.Context, in *sqs.SendMessageInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
	if in == nil || in.QueueUrl == nil || in.MessageBody == nil {
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: blank(in)})
	}
	q, err := queueOfCall(ctx, *in.QueueUrl)
	if err != nil {
		return out, md, err
	}
	sealed, err := s.m.seal(ctx, q, []types.SendMessageBatchRequestEntry{asEntry(in)})
	if err != nil {
		return out, md, err
	}
	message := sealed[0]
	if message.Err != nil {
		return out, md, message.Err
	}

	ctx = s.markSend(ctx, *in.QueueUrl, sealed)
	out, md, err = next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: withContent(in, message.Content)})
	if err != nil || message.AsIs {
		return out, md, err
	}
	if answer, ok := out.Result.(*sqs.SendMessageOutput); ok && answer != nil {
		// A new struct: an interceptor may have kept the pointer to this one.
		restored := *answer
		restored.MD5OfMessageBody, restored.MD5OfMessageAttributes = s.sentDigests(*in.MessageBody, in.MessageAttributes)
		out.Result = &restored
	}
	return out, md, nil
}

func (s *sealer) sendMessageBatch(
	ctx context.Context, in *sqs.SendMessageBatchInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
	if in == nil || in.QueueUrl == nil || in.Entries == nil || slices.ContainsFunc(in.Entries, incomplete) {
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: blankBatch(in)})
	}
	position, err := positions(in.Entries)
	if err != nil {
		return out, md, err
	}
	q, err := queueOfCall(ctx, *in.QueueUrl)
	if err != nil {
		return out, md, err
	}
	sealed, err := s.m.seal(ctx, q, in.Entries)
	if err != nil {
		return out, md, err
	}

	inner := *in
	inner.Entries = make([]types.SendMessageBatchRequestEntry, 0, len(in.Entries))
	var sent []Sealed
	var failed []types.BatchResultErrorEntry
	for i, message := range sealed {
		entry := in.Entries[i]
		if message.Err != nil {
			failed = append(failed, failedEntry(entry.Id, message.Err))
			continue
		}
		entry.MessageBody = aws.String(message.Body)
		entry.MessageAttributes = message.Attributes
		entry.MessageSystemAttributes = maps.Clone(entry.MessageSystemAttributes)
		entry.MessageDeduplicationId = message.DeduplicationID
		inner.Entries = append(inner.Entries, entry)
		sent = append(sent, message)
	}
	if len(sent) == 0 && len(failed) > 0 {
		// SQS would answer an empty batch by an error for the whole call.
		out.Result = &sqs.SendMessageBatchOutput{Failed: failed}
		return out, md, nil
	}
	if err := checkBatch(in.Entries, inner.Entries, sent); err != nil {
		return out, md, err
	}

	out, md, err = next.HandleInitialize(s.markSend(ctx, *in.QueueUrl, sent), smithymiddleware.InitializeInput{Parameters: &inner})
	if err != nil {
		return out, md, err
	}
	answer, ok := out.Result.(*sqs.SendMessageBatchOutput)
	if !ok || answer == nil {
		return out, md, nil
	}
	restored := *answer
	restored.Successful = slices.Clone(answer.Successful)
	for k := range restored.Successful {
		r := &restored.Successful[k]
		i, known := position[aws.ToString(r.Id)]
		switch {
		case !known:
			r.MD5OfMessageBody, r.MD5OfMessageAttributes = nil, nil
		case !sealed[i].AsIs:
			r.MD5OfMessageBody, r.MD5OfMessageAttributes = s.sentDigests(*in.Entries[i].MessageBody, in.Entries[i].MessageAttributes)
		}
	}
	if len(failed) > 0 {
		restored.Failed = slices.Concat(answer.Failed, failed)
		slices.SortStableFunc(restored.Failed, func(a, b types.BatchResultErrorEntry) int {
			return cmp.Compare(position[aws.ToString(a.Id)], position[aws.ToString(b.Id)])
		})
	}
	out.Result = &restored
	return out, md, nil
}

// markSend marks a call that may send exactly these messages.
func (s *sealer) markSend(ctx context.Context, url string, sealed []Sealed) context.Context {
	c := &call{m: s.m, url: url, attribute: s.m.codec.AttributeNames(), sent: make([]expected, len(sealed))}
	for i, message := range sealed {
		c.sent[i] = expect(message, c.attribute)
	}
	return mark(ctx, c)
}

func (s *sealer) sentDigests(body string, attributes map[string]types.MessageAttributeValue) (bodyMD5, attributesMD5 *string) {
	if !s.digests() {
		return nil, nil
	}
	return digestBody(body), digestAttributes(attributes)
}

// incomplete reports whether the SDK's own validation will refuse the entry.
func incomplete(e types.SendMessageBatchRequestEntry) bool {
	return e.Id == nil || e.MessageBody == nil
}

// blank prepares an input that the SDK's own validation is about to refuse,
// which it does best itself. It needs no key for that, and no middleware on the
// way there needs the plaintext. Should the validation be missing from the
// stack, the guards stop the call, since it carries no mark.
func blank(in *sqs.SendMessageInput) *sqs.SendMessageInput {
	if in == nil {
		return &sqs.SendMessageInput{}
	}
	out := *in
	out.MessageAttributes = maps.Clone(in.MessageAttributes)
	out.MessageSystemAttributes = maps.Clone(in.MessageSystemAttributes)
	if in.MessageBody != nil {
		out.MessageBody = new(string)
	}
	return &out
}

// blankBatch is [blank] for a batch. No entry is left out, so that the indices
// in the SDK's message are those of the caller's slice.
func blankBatch(in *sqs.SendMessageBatchInput) *sqs.SendMessageBatchInput {
	if in == nil {
		return &sqs.SendMessageBatchInput{}
	}
	out := *in
	out.Entries = slices.Clone(in.Entries)
	for i := range out.Entries {
		e := &out.Entries[i]
		e.MessageAttributes = maps.Clone(e.MessageAttributes)
		e.MessageSystemAttributes = maps.Clone(e.MessageSystemAttributes)
		if e.MessageBody != nil {
			e.MessageBody = new(string)
		}
	}
	return &out
}

// positions maps the entries' IDs to their places. With two entries of one ID,
// nobody can tell which of them an answer is about; SQS refuses that too.
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

// failedEntry reports an entry that was not sent in the way SQS reports one
// that it did not take.
func failedEntry(id *string, err error) types.BatchResultErrorEntry {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return types.BatchResultErrorEntry{
			Id:          id,
			Code:        aws.String(api.ErrorCode()),
			Message:     aws.String(api.ErrorMessage()),
			SenderFault: api.ErrorFault() == smithy.FaultClient,
		}
	}
	return types.BatchResultErrorEntry{Id: id, Code: aws.String("InternalError"), Message: aws.String(err.Error())}
}
