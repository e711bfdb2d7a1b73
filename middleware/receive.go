package middleware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

// errUnfinished is the outcome of a receive that a panic ended.
var errUnfinished = errors.New("middleware: the receive did not finish")

func (s *sealer) receiveMessage(
	ctx context.Context, in *sqs.ReceiveMessageInput, next smithymiddleware.InitializeHandler,
) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
	began := time.Now()
	own := &struct {
		in  sqs.ReceiveMessageInput
		url string
	}{}
	inner := &own.in
	if in != nil {
		*inner = *in
	}
	if inner.QueueUrl == nil {
		// The SDK's own validation refuses the call, or the guards do.
		return next.HandleInitialize(ctx, smithymiddleware.InitializeInput{Parameters: inner})
	}
	// Read once: a caller that changes it meanwhile would otherwise receive
	// from a queue of another policy.
	own.url = *inner.QueueUrl
	inner.QueueUrl = &own.url
	q, err := queueOfCall(ctx, own.url)
	if err != nil {
		return smithymiddleware.InitializeOutput{}, smithymiddleware.Metadata{}, err
	}
	wait := inner.WaitTimeSeconds
	out, md, quiet, err := s.receive(ctx, q, inner, next)
	if quiet {
		return s.empty(ctx, q, wait, began, md, err)
	}
	return out, md, err
}

// receive makes the request, if the codec admits it, and changes inner for
// that. If quiet is set, the caller gets an empty result instead of err.
func (s *sealer) receive(
	ctx context.Context, q Queue, inner *sqs.ReceiveMessageInput, next smithymiddleware.InitializeHandler,
) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, quiet bool, err error) {
	ended := ctx.Err() != nil
	admission, err := s.m.codec.Admit(ctx, q, inner, s.client)
	outcome := Outcome{Err: errUnfinished}
	if admission.Done != nil {
		// Deferred, so that it runs after a panic too: a codec that counts
		// receives in flight must not lose one.
		defer func() {
			failed := admission.Done(outcome)
			if failed != nil && outcome.Err == nil && outcome.Delivered == 0 && len(outcome.Withheld) == 0 {
				out, quiet, err = smithymiddleware.InitializeOutput{}, admission.EmptyInstead, failed
			}
		}()
	}
	if err != nil {
		err = cancelled(ctx, ended, err)
		outcome.Err = err
		return out, md, admission.EmptyInstead, err
	}

	names := slices.Concat(s.m.names, admission.AttributeNames)
	added := askFor(inner, names)
	if admission.MaxMessages > 0 && inner.MaxNumberOfMessages > admission.MaxMessages {
		inner.MaxNumberOfMessages = admission.MaxMessages
	}
	if admission.MaxWaitSeconds > 0 && inner.WaitTimeSeconds > admission.MaxWaitSeconds {
		inner.WaitTimeSeconds = admission.MaxWaitSeconds
	}
	c := &call{m: s.m, url: q.URL, names: names}
	out, md, err = next.HandleInitialize(mark(ctx, c), smithymiddleware.InitializeInput{Parameters: inner})
	outcome.Err = err
	if err != nil {
		return out, md, false, err
	}
	answer, ok := out.Result.(*sqs.ReceiveMessageOutput)
	if !ok || answer == nil {
		outcome.Err = fmt.Errorf("%w: a middleware inside the sealer replaced the output by a %T", ErrBypassed, out.Result)
		return smithymiddleware.InitializeOutput{}, md, false, outcome.Err
	}
	if len(answer.Messages) == 0 {
		return out, md, false, nil
	}

	outcome.Err = errUnfinished
	asked := c.asked.without(added)
	// The messages have left the queue for the length of their visibility
	// timeout, so they are opened even if the caller's context has just ended.
	detached := context.WithoutCancel(ctx)
	results := s.m.open(detached, detached, q, answer.Messages)
	opened := s.m.sort(q, answer.Messages, results, receiver{asked: &asked})
	outcome = Outcome{Delivered: len(opened.delivered), Withheld: opened.withheld}
	s.m.report(ctx, opened.withheld)
	if len(opened.delivered) == 0 {
		// Not an empty result, unless it is asked for: the queue would look empty
		// while the messages move to the dead-letter queue.
		return smithymiddleware.InitializeOutput{}, md, admission.EmptyInstead, &ReceiveError{Withheld: opened.withheld}
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
	return out, md, false, nil
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

// open has the codec open msgs. The codec waits for data keys until waiting
// ends; what it has not been given when ctx ends is withheld.
func (m *Middleware) open(ctx, waiting context.Context, q Queue, msgs []types.Message) []Opened {
	if len(msgs) > maxReceived {
		return m.openChunks(ctx, waiting, q, msgs)
	}
	err := ctx.Err()
	if err == nil {
		opened := m.codec.Open(waiting, q, slices.Clip(msgs))
		if len(opened) == len(msgs) {
			return opened
		}
		err = fmt.Errorf("middleware: codec opened %d messages, want %d", len(opened), len(msgs))
	} else {
		err = fmt.Errorf("middleware: no time was left to open the message: %w", err)
	}
	return slices.Repeat([]Opened{{Err: err, Temporary: true}}, len(msgs))
}

// openedMessages is a response, sorted into what is delivered and what is not.
type openedMessages struct {
	delivered []types.Message
	withheld  []*OpenError
	infos     []messageInfo // one for each of delivered
}

// sort separates what is delivered from what is not. It writes results.
func (m *Middleware) sort(q Queue, msgs []types.Message, results []Opened, r receiver) openedMessages {
	if q.FIFO() {
		holdGroups(msgs, results)
	}

	var o openedMessages
	var d digester
	for i, result := range results {
		if result.Err != nil {
			w := withhold(q, msgs[i], result.Err, result.Temporary)
			if digestsAllowed() && !errors.Is(result.Err, ErrGroupHeld) {
				w.Err = annotate(w.Err, msgs[i])
			}
			o.withheld = append(o.withheld, w)
			continue
		}
		if o.delivered == nil {
			o.delivered = make([]types.Message, 0, len(msgs)-i)
			o.infos = make([]messageInfo, 0, len(msgs)-i)
		}
		o.delivered = append(o.delivered, r.deliver(msgs[i], result.Content, m.names, &d))
		o.infos = append(o.infos, messageInfo{aws.ToString(msgs[i].MessageId), result.Info})
	}
	return o
}

// receiver says what the caller of a receive sees of each message.
type receiver struct {
	// asked is what went to SQS less what askFor added: what the caller asked
	// for, and middlewares inside this one, tracing agents for instance. Nil
	// shows every attribute but the codec's.
	asked *asked
}

// deliver returns msg with another content, as the receiver sees it.
func (r receiver) deliver(msg types.Message, c Content, codecs []string, d *digester) types.Message {
	msg.MessageAttributes = r.attributes(c.Attributes, codecs)
	msg.Attributes = r.systemAttributes(msg.Attributes)
	own := &struct{ body, md5 string }{body: c.Body} // one allocation
	msg.Body = &own.body
	// SQS's digests cover the sealed body and the codec's attributes.
	msg.MD5OfBody, msg.MD5OfMessageAttributes = nil, nil
	if !c.NoDigests && digestsAllowed() {
		own.md5 = d.body(c.Body)
		msg.MD5OfBody, msg.MD5OfMessageAttributes = &own.md5, d.attributes(msg.MessageAttributes)
	}
	return msg
}

// attributes returns what the caller sees of a message's attributes: a new map,
// nil if empty.
func (r receiver) attributes(all map[string]types.MessageAttributeValue, codecs []string) map[string]types.MessageAttributeValue {
	return filter(all, func(name string) bool {
		return !slices.Contains(codecs, name) && (r.asked == nil || askedFor(r.asked.message, name))
	})
}

// systemAttributes is the same for the attributes that SQS itself sets.
func (r receiver) systemAttributes(all map[string]string) map[string]string {
	return filter(all, func(name string) bool {
		if r.asked == nil || !slices.Contains(systemNames[:], types.MessageSystemAttributeName(name)) {
			return true
		}
		return slices.Contains(r.asked.system, types.MessageSystemAttributeNameAll) ||
			slices.Contains(r.asked.system, types.MessageSystemAttributeName(name)) ||
			slices.Contains(r.asked.queue, types.QueueAttributeNameAll) ||
			slices.Contains(r.asked.queue, types.QueueAttributeName(name))
	})
}

func filter[V any](all map[string]V, keep func(name string) bool) map[string]V {
	var some map[string]V
	for name, v := range all {
		if keep(name) {
			if some == nil {
				some = make(map[string]V)
			}
			some[name] = v
		}
	}
	return some
}

// askedFor reports whether a receive that asks for asked sees the message
// attribute of that name. It reads "prefix.*" broadly, as names that start with
// "prefix": SQS has matched them already, and nothing that it returned for the
// caller may be dropped here.
func askedFor(asked []string, name string) bool {
	return slices.ContainsFunc(asked, func(a string) bool {
		prefix, wild := strings.CutSuffix(a, ".*")
		return a == name || asksForAll(a) || wild && strings.HasPrefix(name, prefix)
	})
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

// annotate adds what only the digest of the attributes shows. The SDK compares
// SQS's digest of the body, but not that of the attributes.
func annotate(err error, msg types.Message) error {
	var d digester
	if msg.MD5OfMessageAttributes == nil || aws.ToString(d.attributes(msg.MessageAttributes)) == *msg.MD5OfMessageAttributes {
		return err
	}
	return fmt.Errorf("%w (and its attributes do not match SQS's digest of them: they were altered between SQS and this process)", err)
}
