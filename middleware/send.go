package middleware

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/sealq/sealq/internal/outgoing"
)

// seal asks the codec, and checks what it returned against the limits of SQS.
// Results have maps of their own, because middlewares of tracing agents write
// into the ones they are given.
func (m *Middleware) seal(ctx context.Context, q Queue, entries []types.SendMessageBatchRequestEntry) ([]Sealed, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	ended := ctx.Err() != nil
	sealed, err := m.codec.Seal(ctx, q, slices.Clip(entries))
	if err != nil {
		return nil, cancelled(ctx, ended, err)
	}
	if len(sealed) != len(entries) {
		return nil, fmt.Errorf("middleware: codec sealed %d messages, want %d", len(sealed), len(entries))
	}
	sealed = slices.Clone(sealed)
	limit := m.maxMessageBytes(q)
	incomplete := q.FIFO() && slices.ContainsFunc(sealed, func(s Sealed) bool { return !s.AsIs && s.Err != nil })
	for i := range sealed {
		s, e := &sealed[i], entries[i]
		switch {
		case s.AsIs:
			s.Err = nil
			s.Content = Content{Body: *e.MessageBody, Attributes: maps.Clone(e.MessageAttributes), DeduplicationID: e.MessageDeduplicationId}
		case s.Err == nil:
			if s.Body == "" && *e.MessageBody != "" && !incomplete {
				return nil, fmt.Errorf("middleware: codec returned neither a body nor an error for message %d", i)
			}
			s.DeduplicationID = cmp.Or(s.DeduplicationID, e.MessageDeduplicationId)
			s.Err = checkLimits(q, e, s.Content, m.names, limit)
		}
	}
	return sealed, nil
}

// sendMessage reads what the call depends on once: otherwise, if the caller
// changed what its pointers and maps refer to, a message could go to a queue of
// another policy.
func (s *sealer) sendMessage(
	ctx context.Context, in *sqs.SendMessageInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
	if in == nil {
		in = &sqs.SendMessageInput{}
	}
	written := *in
	if written.QueueUrl == nil || written.MessageBody == nil {
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: blank(&written)})
	}
	own := &ownStrings{url: *written.QueueUrl, body: *written.MessageBody}
	written.QueueUrl = &own.url
	readOnce(&written)
	q, err := queueOfCall(ctx, own.url)
	if err != nil {
		return out, md, err
	}
	sealed, err := s.m.seal(ctx, q, []types.SendMessageBatchRequestEntry{own.entry(&written)})
	if err != nil {
		return out, md, err
	}
	message := sealed[0]
	if message.Err != nil {
		return out, md, message.Err
	}

	ctx = s.markSend(ctx, q.URL, sealed)
	out, md, err = next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: withContent(&written, message.Content)})
	if err != nil || message.AsIs {
		return out, md, err
	}
	if answer, ok := out.Result.(*sqs.SendMessageOutput); ok && answer != nil {
		// A new struct: an interceptor may have kept the pointer to this one.
		restored := *answer
		var d digester
		restored.MD5OfMessageBody, restored.MD5OfMessageAttributes = d.sent(own.body, written.MessageAttributes, message.NoDigests)
		out.Result = &restored
	}
	return out, md, nil
}

// sendMessageBatch is sendMessage for several messages.
func (s *sealer) sendMessageBatch(
	ctx context.Context, in *sqs.SendMessageBatchInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
	if in == nil {
		in = &sqs.SendMessageBatchInput{}
	}
	inner := *in
	entries, complete := ownEntries(inner.Entries)
	if inner.QueueUrl == nil || inner.Entries == nil || !complete {
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: blankBatch(&inner)})
	}
	position, err := positions(entries)
	if err != nil {
		return out, md, err
	}
	url := *inner.QueueUrl
	q, err := queueOfCall(ctx, url)
	if err != nil {
		return out, md, err
	}
	sealed, err := s.m.seal(ctx, q, entries)
	if err != nil {
		return out, md, err
	}
	failed, err := s.m.failedEntries(q, entries, sealed)
	if err != nil {
		return out, md, err
	}
	if len(failed) > 0 && len(failed) == len(entries) {
		out.Result = &sqs.SendMessageBatchOutput{Failed: failed}
		return out, md, nil
	}

	inner.QueueUrl = &url
	inner.Entries = make([]types.SendMessageBatchRequestEntry, 0, len(entries))
	sent := sealed
	if len(failed) > 0 {
		sent = slices.DeleteFunc(slices.Clone(sealed), func(message Sealed) bool { return message.Err != nil })
	}
	for i, entry := range entries {
		message := &sealed[i]
		if message.Err != nil {
			continue
		}
		entry.MessageBody = &message.Body
		entry.MessageAttributes = message.Attributes
		entry.MessageDeduplicationId = message.DeduplicationID
		inner.Entries = append(inner.Entries, entry)
	}
	out, md, err = next.HandleInitialize(s.markSend(ctx, q.URL, sent), smithymiddleware.InitializeInput{Parameters: &inner})
	if err != nil {
		return out, md, err
	}
	answer, ok := out.Result.(*sqs.SendMessageBatchOutput)
	if !ok || answer == nil {
		return out, md, nil
	}
	restored := *answer
	restored.Successful = slices.Clone(answer.Successful)
	var d digester
	for k := range restored.Successful {
		r := &restored.Successful[k]
		i, known := position[aws.ToString(r.Id)]
		switch {
		case !known:
			r.MD5OfMessageBody, r.MD5OfMessageAttributes = nil, nil
		case !sealed[i].AsIs:
			r.MD5OfMessageBody, r.MD5OfMessageAttributes = d.sent(*entries[i].MessageBody, entries[i].MessageAttributes, sealed[i].NoDigests)
		}
	}
	if len(failed) > 0 {
		restored.Failed = slices.Concat(answer.Failed, failed)
		inOrder(restored.Failed, position)
	}
	out.Result = &restored
	return out, md, nil
}

// ownStrings are the strings of one message that a call depends on, read once.
type ownStrings struct{ id, url, body string }

// readOnce replaces everything in in that the caller could change during the
// call by a copy, other than the queue and the body, which the caller of this
// function has read.
func readOnce(in *sqs.SendMessageInput) {
	in.MessageAttributes = ownAttributes(in.MessageAttributes)
	in.MessageSystemAttributes = ownSystemAttributes(in.MessageSystemAttributes)
	in.MessageDeduplicationId, in.MessageGroupId = outgoing.OwnString(in.MessageDeduplicationId), outgoing.OwnString(in.MessageGroupId)
}

// ownAttributes returns a copy of attributes that shares nothing with them, the
// values included: what is sealed and what travels must be read at one moment.
func ownAttributes(all map[string]types.MessageAttributeValue) map[string]types.MessageAttributeValue {
	own := maps.Clone(all)
	for name, v := range own {
		own[name] = ownValue(v)
	}
	return own
}

func ownValue(v types.MessageAttributeValue) types.MessageAttributeValue {
	v.DataType, v.StringValue, v.BinaryValue = outgoing.OwnString(v.DataType), outgoing.OwnString(v.StringValue), bytes.Clone(v.BinaryValue)
	v.StringListValues, v.BinaryListValues = slices.Clone(v.StringListValues), ownList(v.BinaryListValues)
	return v
}

func ownSystemAttributes(all map[string]types.MessageSystemAttributeValue) map[string]types.MessageSystemAttributeValue {
	own := maps.Clone(all)
	for name, v := range own {
		v.DataType, v.StringValue, v.BinaryValue = outgoing.OwnString(v.DataType), outgoing.OwnString(v.StringValue), bytes.Clone(v.BinaryValue)
		v.StringListValues, v.BinaryListValues = slices.Clone(v.StringListValues), ownList(v.BinaryListValues)
		own[name] = v
	}
	return own
}

func ownList(all [][]byte) [][]byte {
	own := slices.Clone(all)
	for i := range own {
		own[i] = bytes.Clone(own[i])
	}
	return own
}

// entry views a single message as a batch entry, so that a codec has one kind
// of message to seal.
func (own *ownStrings) entry(in *sqs.SendMessageInput) types.SendMessageBatchRequestEntry {
	own.id = "0"
	return types.SendMessageBatchRequestEntry{
		Id:                      &own.id,
		MessageBody:             &own.body,
		DelaySeconds:            in.DelaySeconds,
		MessageAttributes:       in.MessageAttributes,
		MessageDeduplicationId:  in.MessageDeduplicationId,
		MessageGroupId:          in.MessageGroupId,
		MessageSystemAttributes: in.MessageSystemAttributes,
	}
}

// ownEntries copies entries, with all that they refer to. It reports false if
// the SDK's own validation will refuse one, which has no ID or no body.
func ownEntries(entries []types.SendMessageBatchRequestEntry) ([]types.SendMessageBatchRequestEntry, bool) {
	copies := slices.Clone(entries)
	own := make([]ownStrings, len(copies))
	for i := range copies {
		e := &copies[i]
		if e.Id == nil || e.MessageBody == nil {
			return nil, false
		}
		own[i].id, own[i].body = *e.Id, *e.MessageBody
		e.Id, e.MessageBody = &own[i].id, &own[i].body
		e.MessageAttributes = ownAttributes(e.MessageAttributes)
		e.MessageSystemAttributes = ownSystemAttributes(e.MessageSystemAttributes)
		e.MessageDeduplicationId, e.MessageGroupId = outgoing.OwnString(e.MessageDeduplicationId), outgoing.OwnString(e.MessageGroupId)
	}
	return copies, true
}

// markSend marks a call that may send exactly these messages to this queue.
func (s *sealer) markSend(ctx context.Context, url string, sealed []Sealed) context.Context {
	c := &call{m: s.m, url: url, sent: make([]expected, len(sealed))}
	for i, message := range sealed {
		c.sent[i] = expect(message, s.m.names)
	}
	return mark(ctx, c)
}

// blank removes the plaintext from an input that the SDK's own validation is
// about to refuse: no middleware on the way there needs the body, or the
// attributes, which a codec may seal, names included. If the validation is
// missing from the stack, the guards stop the call, because it has no mark.
func blank(in *sqs.SendMessageInput) *sqs.SendMessageInput {
	out := *in
	out.MessageAttributes = nil
	out.MessageSystemAttributes = maps.Clone(in.MessageSystemAttributes)
	if in.MessageBody != nil {
		out.MessageBody = new(string)
	}
	return &out
}

// blankBatch is [blank] for a batch. No entry is left out, so that the indices
// in the SDK's message are those of the caller's slice.
func blankBatch(in *sqs.SendMessageBatchInput) *sqs.SendMessageBatchInput {
	out := *in
	out.Entries = slices.Clone(in.Entries)
	for i := range out.Entries {
		e := &out.Entries[i]
		e.MessageAttributes = nil
		e.MessageSystemAttributes = maps.Clone(e.MessageSystemAttributes)
		if e.MessageBody != nil {
			e.MessageBody = new(string)
		}
	}
	return &out
}
