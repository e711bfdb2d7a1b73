package sqsx

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// openTimeout bounds the opening of one response. It leaves room for one fetch
// of the KMS keyring with all its attempts.
const openTimeout = 10 * time.Second

// codec implements middleware.Codec: it decides by policy, seals and opens by
// envelope, and packs and unpacks the carriers.
type codec struct {
	*settings
	counters *counters
	hold     hold.Breaker
	reporter *reporter
	sizes    *headerSizes
	opened   *recent
	dropped  *evictions
}

var _ middleware.Codec = (*codec)(nil)

func (c *codec) AttributeNames() []string { return []string{attributeName} }

func (c *codec) MaxMessageBytes(q middleware.Queue) int {
	policy, err := c.table.find(c.complete(q))
	switch {
	case err == nil && policy.MaxMessageBytes != 0:
		return policy.MaxMessageBytes
	case q.Topic:
		return topicMaxMessageBytes
	}
	return serviceMaxMessageBytes
}

// Seal implements middleware.Codec. Causes of one entry are found before a data
// key is asked for; trouble with the key is common to all entries.
func (c *codec) Seal(ctx context.Context, q middleware.Queue, entries []types.SendMessageBatchRequestEntry) ([]middleware.Sealed, error) {
	q = c.complete(q)
	c.counters.begin(ctx, q)
	policy, err := c.table.find(q)
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
		if sealed[i].Err = c.checkEntry(q, &entries[i]); sealed[i].Err != nil {
			refused++
		}
	}
	if refused == len(entries) || refused > 0 && q.FIFO() {
		return sealed, nil // nothing is sent
	}
	for i := range entries {
		if sealed[i].Err != nil {
			continue
		}
		if sealed[i].Content, err = c.sealEntry(ctx, policy, q, ec, &entries[i]); err != nil {
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

// checkEntry returns what the middleware cannot know: that a message is sealed
// already, and that sealing takes away what a FIFO queue needs to recognise a
// message sent twice.
func (c *codec) checkEntry(q middleware.Queue, e *types.SendMessageBatchRequestEntry) error {
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
	return nil
}

func (c *codec) sealEntry(ctx context.Context, p *compiledPolicy, q middleware.Queue, ec envelope.EncryptionContext, e *types.SendMessageBatchRequestEntry) (middleware.Content, error) {
	body := aws.ToString(e.MessageBody)
	content := middleware.Content{Attributes: e.MessageAttributes, DeduplicationID: e.MessageDeduplicationId, NoDigests: p.NoDigests}
	if q.FIFO() && content.DeduplicationID == nil {
		queue := p.LogicalQueue
		if queue == "" {
			var err error
			if queue, err = requireARN(q); err != nil {
				return middleware.Content{}, err
			}
		}
		content.DeduplicationID = aws.String(deduplicationID(c.deduplicationKey, queue, body))
	}
	m, err := envelope.Seal(ctx, p.keyring, []byte(body), ec)
	if err != nil {
		return middleware.Content{}, err
	}
	c.sizes.record(q, len(m.Header))
	if p.BodyCarrier || len(e.MessageAttributes) >= crowdedAttributes {
		content.Body = base64.StdEncoding.EncodeToString(m.Bytes())
		return content, nil
	}
	content.Body = base64.StdEncoding.EncodeToString(m.Body)
	content.Attributes = make(map[string]types.MessageAttributeValue, len(e.MessageAttributes)+1)
	maps.Copy(content.Attributes, e.MessageAttributes)
	content.Attributes[attributeName] = types.MessageAttributeValue{DataType: aws.String(attributeType), BinaryValue: m.Header}
	return content, nil
}

// Admit implements middleware.Codec.
func (c *codec) Admit(ctx context.Context, q middleware.Queue, in *sqs.ReceiveMessageInput, client func() *sqs.Client) (middleware.Admission, error) {
	q = c.complete(q)
	c.counters.begin(ctx, q)
	// What would fail every message of the response fails the call now, before
	// the messages are received and their receive counts rise.
	policy, err := c.table.find(q)
	if err == nil {
		_, err = policy.bindingName(q)
	}
	if err != nil {
		return middleware.Admission{}, err
	}
	admission, err := c.admit(ctx, q, policy, in, client)
	admission.EmptyInstead = policy.NoReceiveErrors && (err == nil || errors.Is(err, ErrHeld))
	return admission, err
}

// smallBody is the length, in bytes as received, up to which a message whose
// data key is in hand is opened where it stands: starting a goroutine takes about
// as long as that. A receive of ten of 1 KiB takes a sixth less time for it.
const smallBody = 16 << 10

// Open implements middleware.Codec. What is more than a small message under a
// data key in hand is opened in a goroutine of its own, so that messages under
// distinct data keys do not wait for one another; the cache makes one call for
// those under the same.
func (c *codec) Open(ctx context.Context, q middleware.Queue, messages []types.Message) []middleware.Opened {
	q = c.complete(q)
	c.counters.begin(ctx, q)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ctx, span := startSpan(ctx, "sealq.Open")
	opened := make([]middleware.Opened, len(messages))
	defer func() { endOpen(span, q, messages, opened) }()

	policy, err := c.table.find(q)
	var binding string
	if err == nil {
		binding, err = policy.bindingName(q)
	}
	if err != nil {
		for i := range opened {
			opened[i] = middleware.Opened{Err: err, Temporary: true}
		}
		return opened
	}
	keys := make([]hold.DataKey, len(messages))
	var wg sync.WaitGroup
	for i := range messages { // at most ten
		if len(aws.ToString(messages[i].Body)) <= smallBody || ctx.Err() != nil {
			opened[i], keys[i] = c.openMessage(ctx, policy, inHand{policy.keyring}, q, binding, &messages[i])
			if opened[i].Err != errNotInHand {
				continue
			}
		}
		wg.Go(func() { opened[i], keys[i] = c.openMessage(ctx, policy, policy.keyring, q, binding, &messages[i]) })
	}
	wg.Wait()
	if !policy.NoHold {
		c.note(q, policy, messages, opened, keys)
	}
	c.count(ctx, q, opened)
	c.dropped.look(ctx)
	return opened
}

// inHand is a cache that fails with errNotInHand instead of waiting for a data
// key.
type inHand struct{ *cache.Keyring }

var errNotInHand = errors.New("sqsx: the data key is not in hand")

func (k inHand) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx) // the time to wait is over, and this waits for nothing
	}
	key, ok := k.TryDecryptDataKey(ctx, edks, ec)
	if !ok {
		return nil, errNotInHand
	}
	return key, nil
}

// openMessage returns what m holds, or why it may not be delivered, and the data
// key that opened it. kr is the keyring of p, or that as inHand.
func (c *codec) openMessage(ctx context.Context, p *compiledPolicy, kr envelope.Keyring, q middleware.Queue, binding string, m *types.Message) (middleware.Opened, hold.DataKey) {
	withhold := func(err error) (middleware.Opened, hold.DataKey) {
		return middleware.Opened{Err: err, Temporary: classify(err) != messageFault}, hold.DataKey{}
	}
	sealed, ok, err := sealedPart(m)
	switch {
	case err != nil:
		return withhold(err)
	case !ok && !p.AcceptPlaintext:
		return withhold(c.notSealed(m))
	case !ok:
		return middleware.Opened{
			Content: middleware.Content{Body: aws.ToString(m.Body), Attributes: m.MessageAttributes, NoDigests: p.NoDigests},
			Info:    Info{Receives: receives(m)},
		}, hold.DataKey{}
	}
	result, err := envelope.Open(ctx, kr, sealed, c.accept(p, q, binding, m))
	if err != nil {
		return withhold(ownDeadline(err))
	}
	c.opened.add(aws.ToString(m.MessageId))
	return middleware.Opened{
		// The middleware takes out the attribute that it was told about.
		Content: middleware.Content{Body: string(result.Plaintext), Attributes: m.MessageAttributes, NoDigests: p.NoDigests},
		Info: Info{
			Sealed:            true,
			SealID:            sealID(result.MessageID),
			Receives:          receives(m),
			KeyProvider:       result.Key.ProviderID,
			Key:               string(result.Key.ProviderInfo),
			EncryptionContext: result.EncryptionContext,
		},
	}, hold.DataKey{Encrypted: result.Key, Header: sealed.Header}
}

// sealID is lower-case hex.
func sealID(messageID [32]byte) string {
	var text [2 * len(messageID)]byte
	hex.Encode(text[:], messageID[:])
	return string(text[:])
}

// receives is 0 if m does not tell.
func receives(m *types.Message) int {
	n, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (c *codec) count(ctx context.Context, q middleware.Queue, opened []middleware.Opened) {
	var sealed, plain int
	for _, o := range opened {
		switch info, _ := o.Info.(Info); {
		case o.Err != nil: // counted when it is reported
		case info.Sealed:
			sealed++
		default:
			plain++
		}
	}
	c.counters.opened.add(ctx, q, sealed)
	c.counters.openedPlain.add(ctx, q, plain)
}

// complete fills in the account of a queue that the caller gave by name.
func (c *codec) complete(q middleware.Queue) middleware.Queue {
	if q.Account == "" {
		q.Account = c.account
	}
	return q
}
