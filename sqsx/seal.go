package sqsx

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// Seal implements middleware.Codec. It finds errors of single entries before it
// requests a data key; an error of the key concerns all entries.
func (c *codec) Seal(ctx context.Context, q middleware.Queue, entries []types.SendMessageBatchRequestEntry) ([]middleware.Sealed, error) {
	q = c.complete(q)
	c.counters.begin(ctx, q)
	policy, err := c.table.findToSeal(q)
	if err != nil {
		return nil, err
	}
	sealed := make([]middleware.Sealed, len(entries))
	if policy.NoSeal {
		for i := range sealed {
			sealed[i].AsIs = true
		}
		c.counters.sentPlain.add(ctx, q, len(entries))
		return sealed, nil
	}
	ctx, span := startSpan(ctx, "sealq.Seal")
	done := 0
	defer func() { endSeal(span, q, len(entries), done) }()

	ec, err := c.sendContext(policy, q)
	if err != nil {
		return nil, err
	}
	done, refused := 0, 0
	for i := range entries {
		if sealed[i].Err = c.checkEntry(policy, q, &entries[i]); sealed[i].Err != nil {
			refused++
		}
	}
	if refused == len(entries) || refused > 0 && q.FIFO() {
		return sealed, nil // nothing is sent
	}
	s := sending{codec: c, policy: policy, queue: q, context: ec, bare: headerSize(ec, 0), compress: policy.compresses(q.Topic, entries)}
	guarded := slices.Clone(policy.AuthenticateAttributes)
	for i := range entries {
		if sealed[i].Err != nil {
			continue
		}
		sealed[i].Guarded = guarded
		if sealed[i].Content, err = s.seal(ctx, &entries[i]); err != nil {
			c.counters.sealFailed.add(ctx, q, len(entries))
			done = 0 // nothing is sent
			return nil, err
		}
		done++
	}
	c.counters.sealed.add(ctx, q, done)
	c.dropped.look(ctx)
	return sealed, nil
}

// checkEntry returns errors that the middleware cannot find: the message is
// sealed already; sealing would defeat the content-based deduplication of a
// FIFO queue; SQS would refuse attributes that are sealed.
func (c *codec) checkEntry(p *compiledPolicy, q middleware.Queue, e *types.SendMessageBatchRequestEntry) error {
	if err := sealedAlready(aws.ToString(e.MessageBody)); err != nil {
		return err
	}
	if q.FIFO() && e.MessageDeduplicationId == nil && c.deduplicationKey == nil {
		noun := "queue"
		if q.Topic {
			noun = "topic"
		}
		return &smithy.GenericAPIError{
			Code:    "InvalidParameterValue", // as SQS answers where content-based deduplication is off
			Message: fmt.Sprintf("a message to the FIFO %s %q has no MessageDeduplicationId: content-based deduplication cannot recognise sealed bodies, whose bytes differ at every send; set MessageDeduplicationId, or set Options.DeduplicationKey to have it derived", noun, q.Name),
			Fault:   smithy.FaultClient,
		}
	}
	if p.writesContent() {
		return checkAttributes(e.MessageAttributes, p.listedOnWire())
	}
	return nil
}

// sending is one call that sends sealed messages.
type sending struct {
	*codec
	policy  *compiledPolicy
	queue   middleware.Queue
	context envelope.EncryptionContext // of each message
	bare    int                        // size in bytes of a header without encrypted data keys

	compress bool // bodies, if that makes them smaller
}

func (s *sending) seal(ctx context.Context, e *types.SendMessageBatchRequestEntry) (middleware.Content, error) {
	body := aws.ToString(e.MessageBody)
	deduplication, err := s.deduplicationID(e, body)
	if err != nil {
		return middleware.Content{}, err
	}
	plaintext, err := s.plaintext(e)
	if err != nil {
		return middleware.Content{}, err
	}
	m, err := envelope.Seal(ctx, s.policy.keyring, plaintext, s.context)
	if err != nil {
		return middleware.Content{}, err
	}
	s.policy.keySize.note(len(m.Header) - s.bare)
	content := pack(m, s.policy.wireAttributes(e.MessageAttributes), s.policy.BodyCarrier)
	content.DeduplicationID, content.NoDigests = deduplication, s.policy.NoDigests
	return content, nil
}

// deduplicationID returns the one of e, or derives one if e has none and the
// queue needs it.
func (s *sending) deduplicationID(e *types.SendMessageBatchRequestEntry, body string) (*string, error) {
	if e.MessageDeduplicationId != nil || !s.queue.FIFO() {
		return e.MessageDeduplicationId, nil
	}
	queue := s.policy.LogicalQueue
	if queue == "" {
		var err error
		if queue, err = requireARN(s.queue); err != nil {
			return nil, err
		}
	}
	return aws.String(deduplicationID(s.deduplicationKey, queue, body)), nil
}
