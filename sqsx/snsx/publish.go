package snsx

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/outgoing"
	"github.com/sealq/sealq/sqsx"
)

const (
	// maxAttributes is the most message attributes with which raw delivery hands a
	// message to a queue. SNS accepts more, and then delivers nothing. Source: SNS
	// Developer Guide, message attributes.
	maxAttributes = 10
	// maxEntries is the number of entries of a batch. Source: SNS API reference,
	// PublishBatch.
	maxEntries = 10
	// structureJSON is the MessageStructure of a message with a text for each
	// protocol.
	structureJSON = "json"
)

// publisher is the middleware in the Initialize step.
type publisher struct{ sealer *sqsx.Sealer }

func (*publisher) ID() string { return ID }

// HandleInitialize seals what is published. A call with an unknown input
// continues without a mark, so that the guards stop it if it is one of the two
// operations.
func (p *publisher) HandleInitialize(
	ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
	switch input := in.Parameters.(type) {
	case *sns.PublishInput:
		return p.publish(ctx, input, next)
	case *sns.PublishBatchInput:
		return p.publishBatch(ctx, input, next)
	}
	return next.HandleInitialize(ctx, in)
}

// message is the part of a message that decides how it is sealed, read once: if
// the caller changes what its pointers and maps refer to, the call does not
// change.
type message struct {
	id         string
	body       string
	structure  string // MessageStructure
	attributes map[string]types.MessageAttributeValue
	group      *string
	dedup      *string
}

// ownAttributes returns a copy of attributes that shares nothing with them, the
// values included: what is sealed and what travels must be read at one moment.
func ownAttributes(all map[string]types.MessageAttributeValue) map[string]types.MessageAttributeValue {
	own := maps.Clone(all)
	for name, v := range own {
		own[name] = types.MessageAttributeValue{DataType: outgoing.OwnString(v.DataType), StringValue: outgoing.OwnString(v.StringValue), BinaryValue: bytes.Clone(v.BinaryValue)}
	}
	return own
}

// entry is the message as a Sealer takes it.
func (m *message) entry() sqstypes.SendMessageBatchRequestEntry {
	e := sqstypes.SendMessageBatchRequestEntry{
		Id:                     &m.id,
		MessageBody:            &m.body,
		MessageDeduplicationId: m.dedup,
		MessageGroupId:         m.group,
	}
	if m.attributes != nil {
		e.MessageAttributes = make(map[string]sqstypes.MessageAttributeValue, len(m.attributes))
		for name, v := range m.attributes {
			e.MessageAttributes[name] = sqstypes.MessageAttributeValue{DataType: v.DataType, StringValue: v.StringValue, BinaryValue: v.BinaryValue}
		}
	}
	return e
}

// bytes is the size of the message as it was written.
func (m *message) bytes() int { return outgoing.Bytes(m.body, m.entry().MessageAttributes) }

// attributesOf returns attributes as SNS has them, in a map of its own.
func attributesOf(all map[string]sqstypes.MessageAttributeValue) map[string]types.MessageAttributeValue {
	if all == nil {
		return nil
	}
	own := make(map[string]types.MessageAttributeValue, len(all))
	for name, v := range all {
		own[name] = types.MessageAttributeValue{DataType: v.DataType, StringValue: v.StringValue, BinaryValue: v.BinaryValue}
	}
	return own
}

// seal returns what to publish instead of messages. The error of one message is
// in its Err.
func (p *publisher) seal(ctx context.Context, topic string, policy sqsx.Policy, messages []message) ([]sqsx.SealedEntry, error) {
	if len(messages) == 0 {
		return nil, nil // SNS answers that the batch is empty
	}
	sealed := make([]sqsx.SealedEntry, len(messages))
	var entries []sqstypes.SendMessageBatchRequestEntry
	var places []int // of entries in messages
	for i := range messages {
		if messages[i].structure == structureJSON && !policy.NoSeal {
			sealed[i].Err = invalid(nil, "MessageStructure is %q: SNS takes such a message apart and sends no attributes with it, so that it cannot be sealed: leave MessageStructure out, or publish it with a client that has no Sealer", structureJSON)
			continue
		}
		entries, places = append(entries, messages[i].entry()), append(places, i)
	}
	if len(entries) == 0 || len(entries) < len(messages) && awsname.IsFIFO(topic) {
		return sealed, nil // nothing is published
	}
	results, err := p.sealer.SealEntries(ctx, topic, entries)
	if err != nil {
		return nil, err
	}
	for k, i := range places {
		if sealed[i] = results[k]; sealed[i].Err != nil {
			sealed[i].Err = asAnswer(sealed[i].Err)
		}
	}
	return sealed, nil
}

// policyOf returns the policy of a topic.
func (p *publisher) policyOf(topic string) (sqsx.Policy, error) {
	if _, err := awsname.ParseTopicARN(topic); err != nil {
		return sqsx.Policy{}, invalid(nil, "%q is not the ARN of a topic, and only what is published to a topic can be sealed: give a TopicArn, and publish to endpoints with a client that has no Sealer", shorten(topic))
	}
	return p.sealer.PolicyOf(topic)
}

// publish seals a single message.
func (p *publisher) publish(
	ctx context.Context, in *sns.PublishInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
	if in == nil {
		in = &sns.PublishInput{}
	}
	written := *in
	if written.Message == nil {
		// The SDK's own validation refuses it. If that is missing from the stack, the
		// guards stop the call, because it has no mark. The policy may seal the
		// attributes.
		written.MessageAttributes = nil
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: &written})
	}
	to, err := destinationOf(&written)
	if err != nil {
		return out, md, err
	}
	policy, err := p.policyOf(to.topic())
	if err != nil {
		return out, md, err
	}
	m := message{
		id: "0", body: *written.Message, structure: aws.ToString(written.MessageStructure),
		attributes: ownAttributes(written.MessageAttributes), group: outgoing.OwnString(written.MessageGroupId), dedup: outgoing.OwnString(written.MessageDeduplicationId),
	}
	sealed, err := p.seal(ctx, to.topic(), policy, []message{m})
	if err != nil {
		return out, md, err
	}
	if sealed[0].Err != nil {
		return out, md, sealed[0].Err
	}
	inner := written
	inner.TopicArn, inner.TargetArn = to.pointers()
	inner.Message = aws.String(sealed[0].Body)
	inner.MessageAttributes = attributesOf(sealed[0].Attributes)
	inner.MessageGroupId, inner.MessageDeduplicationId = m.group, sealed[0].DeduplicationID
	inner.MessageStructure = written.MessageStructure
	if m.structure != "" {
		inner.MessageStructure = &m.structure
	}
	c := &call{sealer: p.sealer, to: to, sent: []expected{expect(&m, sealed[0])}}
	return next.HandleInitialize(mark(ctx, c), smithymiddleware.InitializeInput{Parameters: &inner})
}

// publishBatch is publish for several messages.
func (p *publisher) publishBatch(
	ctx context.Context, in *sns.PublishBatchInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
	if in == nil {
		in = &sns.PublishBatchInput{}
	}
	inner := *in
	entries := slices.Clone(inner.PublishBatchRequestEntries)
	messages, complete := messagesOf(entries)
	if inner.TopicArn == nil || entries == nil || !complete {
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: blankBatch(&inner, entries)})
	}
	position := make(map[string]int, len(messages))
	for i, m := range messages {
		if _, twice := position[m.id]; twice { // nobody could tell which an answer is about
			return out, md, &apiError{answer: &types.BatchEntryIdsNotDistinctException{Message: aws.String("Two or more batch entries in the request have the same Id.")}}
		}
		position[m.id] = i
	}
	topic := *inner.TopicArn
	policy, err := p.policyOf(topic)
	if err != nil {
		return out, md, err
	}
	sealed, err := p.seal(ctx, topic, policy, messages)
	if err != nil {
		return out, md, err
	}
	failed, err := failedEntries(topic, policy, messages, sealed)
	if err != nil {
		return out, md, err
	}
	if len(failed) > 0 && len(failed) == len(messages) {
		out.Result = &sns.PublishBatchOutput{Failed: failed}
		return out, md, nil
	}

	c := &call{sealer: p.sealer, to: destination{topicARN: topic}}
	inner.TopicArn = &topic
	inner.PublishBatchRequestEntries = make([]types.PublishBatchRequestEntry, 0, len(entries))
	for i, entry := range entries {
		if sealed[i].Err != nil {
			continue
		}
		m := &messages[i]
		entry.Id = &m.id
		entry.Message = aws.String(sealed[i].Body)
		entry.MessageAttributes = attributesOf(sealed[i].Attributes)
		entry.MessageGroupId, entry.MessageDeduplicationId = m.group, sealed[i].DeduplicationID
		if entry.MessageStructure != nil {
			entry.MessageStructure = &m.structure
		}
		inner.PublishBatchRequestEntries = append(inner.PublishBatchRequestEntries, entry)
		c.sent = append(c.sent, expect(m, sealed[i]))
	}
	out, md, err = next.HandleInitialize(mark(ctx, c), smithymiddleware.InitializeInput{Parameters: &inner})
	if err != nil || len(failed) == 0 {
		return out, md, err
	}
	if answer, ok := out.Result.(*sns.PublishBatchOutput); ok && answer != nil {
		// A new struct: an interceptor may have kept the pointer to this one.
		whole := *answer
		whole.Failed = slices.Concat(answer.Failed, failed)
		slices.SortStableFunc(whole.Failed, func(a, b types.BatchResultErrorEntry) int {
			return cmp.Compare(position[aws.ToString(a.Id)], position[aws.ToString(b.Id)])
		})
		out.Result = &whole
	}
	return out, md, nil
}

// messagesOf reads entries. It reports false if the SDK's own validation will
// refuse one, which has no ID or no message.
func messagesOf(entries []types.PublishBatchRequestEntry) ([]message, bool) {
	messages := make([]message, len(entries))
	for i, e := range entries {
		if e.Id == nil || e.Message == nil {
			return nil, false
		}
		messages[i] = message{
			id: *e.Id, body: *e.Message, structure: aws.ToString(e.MessageStructure),
			attributes: ownAttributes(e.MessageAttributes), group: outgoing.OwnString(e.MessageGroupId), dedup: outgoing.OwnString(e.MessageDeduplicationId),
		}
	}
	return messages, true
}

// blankBatch removes the plaintext from an input that the SDK's own validation
// is about to refuse: no middleware on the way there needs the body, or the
// attributes, which the policy may seal, names included.
func blankBatch(in *sns.PublishBatchInput, entries []types.PublishBatchRequestEntry) *sns.PublishBatchInput {
	out := *in
	out.PublishBatchRequestEntries = entries
	for i := range entries {
		e := &entries[i]
		e.MessageAttributes = nil
		if e.Message != nil {
			e.Message = new(string)
		}
	}
	return &out
}

// failedEntries returns the entries of a batch that cannot be published. If it
// returns an error, the call fails and nothing is published. Like SNS, it first
// checks the batch as a whole, including the entries that it will leave out.
func failedEntries(topic string, policy sqsx.Policy, messages []message, sealed []sqsx.SealedEntry) ([]types.BatchResultErrorEntry, error) {
	var failed []types.BatchResultErrorEntry
	var causes []error
	taken := false // SNS would have accepted one of the failed unsealed
	for i, s := range sealed {
		if s.Err != nil {
			m := &messages[i]
			failed = append(failed, failedEntry(m.id, s.Err))
			causes = append(causes, s.Err)
			taken = taken || m.body != "" && m.bytes() <= policy.MaxMessageBytes
		}
	}
	if len(failed) > 0 { // else SNS itself looks
		if err := checkBatch(messages); err != nil {
			return nil, err
		}
	}
	if err := checkSum(policy.MaxMessageBytes, messages, sealed); err != nil {
		return nil, err
	}
	if len(failed) > 0 && (awsname.IsFIFO(topic) || taken && len(failed) == len(messages)) {
		return nil, &BatchError{Failed: failed, causes: causes, entries: len(messages)}
	}
	return failed, nil
}

// checkBatch finds errors that SNS would answer for the whole call.
func checkBatch(messages []message) error {
	if len(messages) > maxEntries {
		return &apiError{answer: &types.TooManyEntriesInBatchRequestException{Message: aws.String("The batch request contains more entries than permissible.")}}
	}
	for _, m := range messages {
		if !awsname.IsEntryID(m.id) {
			return &apiError{answer: &types.InvalidBatchEntryIdException{Message: aws.String("The Id of a batch entry in a batch request doesn't abide by the specification.")}}
		}
	}
	return nil
}

// checkSum compares the size of a batch with the topic's limit. If nothing was
// sealed, SNS itself checks it.
func checkSum(limit int, messages []message, sealed []sqsx.SealedEntry) error {
	n, plain, ours := 0, 0, false
	for i, s := range sealed {
		written := messages[i].bytes()
		plain += written
		ours = ours || !s.AsIs
		if s.Body == "" { // it failed before it was sealed
			n += written
		} else {
			n += outgoing.Bytes(s.Body, s.Attributes)
		}
	}
	if !ours || n <= limit {
		return nil
	}
	text := fmt.Sprintf("The length of all the messages put together is more than the limit. The messages of the batch are %d bytes sealed (%d as written), the limit of the topic is %d: publish fewer or smaller messages in one batch, or raise the topic's MaximumMessageSize and Policy.MaxMessageBytes", n, plain, limit)
	return &apiError{&types.BatchRequestTooLongException{Message: &text}, &sqsx.TooLargeError{Batch: true, Plain: plain, Sealed: n, Limit: limit}}
}

// destination is where a message is published to, as the call spells it. Some
// libraries give a topic in TargetArn.
type destination struct{ topicARN, targetARN string }

func (d destination) topic() string { return cmp.Or(d.topicARN, d.targetARN) }

// pointers returns the two fields of an input.
func (d destination) pointers() (topic, target *string) {
	if d.topicARN != "" {
		topic = &d.topicARN
	}
	if d.targetARN != "" {
		target = &d.targetARN
	}
	return topic, target
}

func destinationOf(in *sns.PublishInput) (destination, error) {
	d := destination{aws.ToString(in.TopicArn), aws.ToString(in.TargetArn)}
	switch {
	case aws.ToString(in.PhoneNumber) != "":
		return d, invalid(nil, "PhoneNumber is set, and a text message cannot be sealed: send it with a client that has no Sealer")
	case d.topic() == "":
		return d, invalid(nil, "TopicArn or TargetArn Reason: no value for required parameter")
	case d.topicARN != "" && d.targetARN != "":
		return d, invalid(nil, "TopicArn and TargetArn are both set, and a message goes to one topic: set TopicArn only")
	}
	return d, nil
}

// call is what the guards compare a call with. It belongs to one call and is
// used by one goroutine at a time.
type call struct {
	sealer  *sqsx.Sealer
	to      destination // that the policy was found for
	sent    []expected
	checked bool // by the guard in the Serialize step
}

// expected is what one message must look like when it is serialized.
type expected struct {
	body      string
	structure string
	added     map[string]types.MessageAttributeValue // by the sealer, and guarded ones; nothing shared
	absent    []string                               // guarded ones that the message does not have
	asIs      bool
}

func expect(m *message, s sqsx.SealedEntry) expected {
	e := expected{body: s.Body, structure: m.structure, asIs: s.AsIs}
	for name, v := range s.Attributes {
		if _, own := m.attributes[name]; !own || !s.AsIs && slices.Contains(s.Guarded, name) {
			if e.added == nil {
				e.added = make(map[string]types.MessageAttributeValue, 1)
			}
			e.added[name] = types.MessageAttributeValue{DataType: outgoing.OwnString(v.DataType), StringValue: outgoing.OwnString(v.StringValue), BinaryValue: bytes.Clone(v.BinaryValue)}
		}
	}
	for _, name := range s.Guarded {
		if _, present := s.Attributes[name]; !present && !s.AsIs {
			e.absent = append(e.absent, name)
		}
	}
	return e
}

// check compares the input that is about to be serialized with what was sealed.
func (c *call) check(input any) error {
	switch in := input.(type) {
	case *sns.PublishInput:
		to, err := destinationOf(in)
		if err != nil || to != c.to {
			return c.moved()
		}
		return c.checkEntries(types.PublishBatchRequestEntry{Message: in.Message, MessageAttributes: in.MessageAttributes, MessageStructure: in.MessageStructure})
	case *sns.PublishBatchInput:
		if aws.ToString(in.TopicArn) != c.to.topicARN {
			return c.moved()
		}
		return c.checkEntries(in.PublishBatchRequestEntries...)
	}
	return fmt.Errorf("%w: a middleware inside the sealer replaced the input by a %T", sqsx.ErrBypassed, input)
}

// moved is the error of a message that would go to another topic, of another
// policy, or one that its consumers do not accept.
func (c *call) moved() error {
	return fmt.Errorf("%w: a middleware inside the sealer changed the topic from %q: let it run outside", sqsx.ErrBypassed, c.to.topic())
}

func (c *call) checkEntries(entries ...types.PublishBatchRequestEntry) error {
	if len(entries) != len(c.sent) {
		return fmt.Errorf("%w: %d messages are about to be published, %d were sealed", sqsx.ErrBypassed, len(entries), len(c.sent))
	}
	for i, e := range entries {
		want := c.sent[i]
		if e.Message == nil || *e.Message != want.body {
			return fmt.Errorf("%w: message %d is not the one that was sealed: a middleware inside the sealer changed it", sqsx.ErrBypassed, i)
		}
		if aws.ToString(e.MessageStructure) != want.structure {
			return fmt.Errorf("%w: a middleware inside the sealer changed the MessageStructure of message %d", sqsx.ErrBypassed, i)
		}
		for name, sealed := range want.added {
			if got, present := e.MessageAttributes[name]; !present || !sameValue(got, sealed) {
				return fmt.Errorf("%w: attribute %q of message %d is not the one that was sealed: a middleware inside the sealer changed it", sqsx.ErrBypassed, name, i)
			}
		}
		for _, name := range want.absent {
			if _, present := e.MessageAttributes[name]; present {
				return fmt.Errorf("%w: message %d was sealed without the attribute %q: a middleware inside the sealer added it", sqsx.ErrBypassed, i, name)
			}
		}
		// Tracers add attributes inside the sealer, after it counted them.
		if n := len(e.MessageAttributes); n > maxAttributes && !want.asIs {
			return invalid(nil, "message %d is about to be published with %d message attributes, and raw delivery discards a message with more than %d: a middleware inside the sealer added some; leave room for them", i, n, maxAttributes)
		}
	}
	return nil
}

func sameValue(a, b types.MessageAttributeValue) bool {
	return aws.ToString(a.DataType) == aws.ToString(b.DataType) &&
		aws.ToString(a.StringValue) == aws.ToString(b.StringValue) &&
		bytes.Equal(a.BinaryValue, b.BinaryValue)
}
