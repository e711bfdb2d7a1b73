package middleware

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

// errUnfinished is the outcome of a receive that a panic ended.
var errUnfinished = errors.New("middleware: the receive did not finish")

func (s *sealer) receiveMessage(
	ctx context.Context, in *sqs.ReceiveMessageInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
	own := &struct {
		in  sqs.ReceiveMessageInput
		url string
	}{}
	inner := &own.in
	if in != nil {
		*inner = *in
	}
	if inner.QueueUrl == nil {
		// The SDK's own validation refuses the call, or else the guards do.
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: inner})
	}
	// Read once: a caller that changes it meanwhile would otherwise receive
	// from a queue of another policy.
	own.url = *inner.QueueUrl
	inner.QueueUrl = &own.url
	q, err := queueOfCall(ctx, own.url)
	if err != nil {
		return out, md, err
	}

	admission, err := s.m.codec.Admit(ctx, q, inner)
	outcome := struct {
		delivered, withheld int
		err                 error
	}{err: errUnfinished}
	if admission.Done != nil {
		// Deferred, so that it runs after a panic too: a codec that counts
		// receives in flight must not lose one.
		defer func() { admission.Done(outcome.delivered, outcome.withheld, outcome.err) }()
	}
	if err != nil {
		outcome.err = err
		return out, md, err
	}

	names := s.m.codec.AttributeNames()
	added := askFor(inner, names)
	if admission.MaxMessages > 0 && inner.MaxNumberOfMessages > admission.MaxMessages {
		inner.MaxNumberOfMessages = admission.MaxMessages
	}
	c := &call{m: s.m, url: q.URL, attribute: names}
	out, md, err = next.HandleInitialize(mark(ctx, c), smithymiddleware.InitializeInput{Parameters: inner})
	outcome.err = err
	if err != nil {
		return out, md, err
	}
	answer, ok := out.Result.(*sqs.ReceiveMessageOutput)
	if !ok || answer == nil {
		outcome.err = fmt.Errorf("%w: a middleware inside the sealer replaced the output by a %T", ErrBypassed, out.Result)
		return smithymiddleware.InitializeOutput{}, md, outcome.err
	}
	if len(answer.Messages) == 0 {
		return out, md, nil
	}

	outcome.err = errUnfinished
	asked := c.asked.without(added)
	opened := s.m.open(ctx, q, answer.Messages, receiver{asked: &asked})
	outcome.delivered, outcome.withheld, outcome.err = len(opened.delivered), len(opened.withheld), nil
	s.m.report(ctx, opened.withheld)
	if len(opened.delivered) == 0 {
		// Never an empty result: it would look like an empty queue while the
		// messages drift to the dead-letter queue.
		return smithymiddleware.InitializeOutput{}, md, &ReceiveError{Withheld: opened.withheld}
	}
	if len(opened.withheld) > 0 {
		md.Set(withheldKey{}, opened.withheld)
	}
	if len(opened.infos) > 0 {
		md.Set(infoKey{}, opened.infos)
	}
	restored := *answer
	restored.Messages = opened.delivered
	out.Result = &restored
	return out, md, nil
}

// maxReceived is the most messages of one response of SQS (SQS API reference:
// ReceiveMessage, MaxNumberOfMessages).
const maxReceived = 10

// openAll gives the codec no more messages at once than a receive has: its
// deadline is made for those. A larger batch, as Lambda has them, takes as long
// as it takes, and what is left when its caller's time is up is withheld.
func (m *Middleware) openAll(ctx context.Context, q Queue, msgs []types.Message) ([]Opened, error) {
	all := make([]Opened, 0, len(msgs))
	for chunk := range slices.Chunk(msgs, maxReceived) {
		if err := ctx.Err(); err != nil && len(all) > 0 {
			for range chunk {
				all = append(all, Opened{Err: err, Temporary: true})
			}
			continue
		}
		results := m.codec.Open(ctx, q, slices.Clip(chunk))
		if len(results) != len(chunk) {
			return nil, fmt.Errorf("middleware: codec opened %d messages, want %d", len(results), len(chunk))
		}
		all = append(all, results...)
	}
	return all, nil
}

// report calls the caller's hook.
func (m *Middleware) report(ctx context.Context, withheld []*OpenError) {
	if m.onWithheld == nil {
		return
	}
	for _, w := range withheld {
		m.onWithheld(ctx, w)
	}
}

// openedMessages is a response, sorted into what is delivered and what is not.
type openedMessages struct {
	delivered []types.Message
	withheld  []*OpenError
	infos     map[string]any // by message ID, of the delivered ones
}

func (m *Middleware) open(ctx context.Context, q Queue, msgs []types.Message, r receiver) openedMessages {
	if len(msgs) == 0 {
		return openedMessages{}
	}
	results, err := m.openAll(ctx, q, msgs)
	if err != nil {
		return openedMessages{withheld: withholdAll(q, msgs, err)}
	}
	if q.FIFO() {
		holdGroups(msgs, results)
	}

	names := m.codec.AttributeNames()
	var o openedMessages
	for i, result := range results {
		if result.Err != nil {
			w := withhold(q, msgs[i], result.Err, result.Temporary)
			if digestsAllowed() && !errors.Is(result.Err, ErrGroupHeld) {
				w.Err = annotate(w.Err, msgs[i])
			}
			o.withheld = append(o.withheld, w)
			continue
		}
		o.delivered = append(o.delivered, r.deliver(msgs[i], result.Content, names))
		if o.infos == nil {
			o.infos = make(map[string]any, len(msgs))
		}
		id := aws.ToString(msgs[i].MessageId)
		if _, twice := o.infos[id]; twice {
			// SQS does not do that. Whoever does must not have what is known of
			// one message said of another.
			result.Info = nil
		}
		o.infos[id] = result.Info
	}
	return o
}

// deliver returns msg with another content, as the receiver is to see it.
func (r receiver) deliver(msg types.Message, c Content, codecs []string) types.Message {
	msg.Body = aws.String(c.Body)
	msg.MessageAttributes = r.attributes(c.Attributes, codecs)
	msg.Attributes = r.systemAttributes(msg.Attributes)
	// SQS's digests cover the sealed body and the codec's attributes.
	msg.MD5OfBody, msg.MD5OfMessageAttributes = nil, nil
	if !c.NoDigests && digestsAllowed() {
		msg.MD5OfBody, msg.MD5OfMessageAttributes = digestBody(c.Body), digestAttributes(msg.MessageAttributes)
	}
	return msg
}

func withhold(q Queue, msg types.Message, err error, temporary bool) *OpenError {
	return &OpenError{Queue: q, Message: msg, Temporary: temporary, Err: err}
}

func withholdAll(q Queue, msgs []types.Message, err error) []*OpenError {
	withheld := make([]*OpenError, len(msgs))
	for i, msg := range msgs {
		withheld[i] = withhold(q, msg, err, true)
	}
	return withheld
}

// annotate adds a finding that only the digest tells: the SDK compares SQS's
// digest of the body, and nobody compares that of the attributes.
func annotate(err error, msg types.Message) error {
	if msg.MD5OfMessageAttributes == nil || aws.ToString(digestAttributes(msg.MessageAttributes)) == *msg.MD5OfMessageAttributes {
		return err
	}
	return fmt.Errorf("%w (and its attributes do not match SQS's digest of them: they were altered between SQS and this process)", err)
}
