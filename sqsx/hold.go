package sqsx

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/fifo"
	"github.com/sealq/sealq/internal/keyerr"
	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// ErrHeld is returned by a receive that made no request, because the key
// service says that this process cannot decrypt, or because it has opened none
// of very many messages: receiving messages would only
// raise their receive counts until the redrive policy moves them to the
// dead-letter queue. It is also returned by a receive that found the queue
// empty while messages that did not open are parked, and nothing has been
// delivered since. The last cause is in the chain.
var ErrHeld = hold.ErrHeld

// admit asks the hold for permission to receive.
func (c *codec) admit(ctx context.Context, q middleware.Queue, policy *compiledPolicy, in *sqs.ReceiveMessageInput, client func() *sqs.Client) (middleware.Admission, error) {
	if policy.NoHold {
		return middleware.Admission{}, nil
	}
	r := hold.Receive{
		Name:       q.String(),
		Queue:      &heldQueue{c, policy, q, aws.ToString(in.QueueUrl), client},
		FIFO:       q.FIFO(),
		Plaintext:  policy.AcceptPlaintext,
		Wait:       time.Duration(in.WaitTimeSeconds) * time.Second,
		Visibility: time.Duration(in.VisibilityTimeout) * time.Second,
	}
	permit, err := c.hold.Admit(clippedSpans{ctx}, r) // several dry runs may start spans side by side
	if err != nil {
		if errors.Is(err, ErrHeld) {
			c.reporter.held(ctx, q, err)
		}
		return middleware.Admission{}, err
	}
	admission := middleware.Admission{MaxWaitSeconds: int32(permit.Wait / time.Second), Done: func(o middleware.Outcome) error {
		if len(o.Withheld) > 0 {
			c.hold.Park(ctx, r, withheldMessages(o.Withheld))
		}
		if o.Err != nil || o.Delivered > 0 || len(o.Withheld) > 0 {
			return nil
		}
		err := c.hold.Empty(r.Name)
		if err != nil {
			c.reporter.held(ctx, q, err)
		}
		return err
	}}
	if permit.Single {
		admission.MaxMessages = 1
	}
	return admission, nil
}

// note reports to the hold which messages of a response opened.
func (c *codec) note(q middleware.Queue, policy *compiledPolicy, messages []types.Message, opened []middleware.Opened, lookups []lookup) {
	var behind []int
	if q.FIFO() {
		behind = fifo.HeldBehind(messages, func(i int) bool { return opened[i].Err != nil })
	}
	binding, _ := policy.bindingName(q)
	_, mixed := policy.keyring.(*mixedSource)
	var r hold.Response
	for i, o := range opened {
		held := behind != nil && behind[i] >= 0
		if o.Err == nil && !held {
			r.Delivered = true
			if lookups[i].opened.Header != nil {
				r.Opened = lookups[i].opened
				info, _ := o.Info.(*openedInfo)
				r.Foreign = r.Foreign || info.context[queueKey] != binding
			}
		}
		if o.Err != nil && !notAsked(o.Err, o.Temporary) {
			if r.Cause == nil || o.Temporary && !r.KeyService {
				r.Cause, r.KeyService = o.Err, o.Temporary
			}
			stops := classify(o.Err) == keyRefused || mixed && errors.Is(o.Err, envelope.ErrUnavailable)
			r.Refused = r.Refused || stops && lookups[i].own && !policy.opensOtherNames()
		}
		if errors.Is(o.Err, envelope.ErrNoMatchingKey) && lookups[i].own && !policy.opensOtherNames() {
			r.Unmatched = true
		}
		if o.Err != nil || behind != nil {
			m := holdMessage(&messages[i], o.Err, o.Temporary)
			if held {
				m.Behind = aws.ToString(messages[behind[i]].MessageId)
			}
			r.Messages = append(r.Messages, m)
		}
	}
	c.hold.Note(q.String(), r)
}

func holdMessage(m *types.Message, err error, temporary bool) hold.Message {
	attribute := func(name types.MessageSystemAttributeName) string { return m.Attributes[string(name)] }
	h := hold.Message{
		ID:         aws.ToString(m.MessageId),
		Handle:     aws.ToString(m.ReceiptHandle),
		Opened:     err == nil,
		KeyService: err != nil && temporary,
		Group:      attribute(types.MessageSystemAttributeNameMessageGroupId),
	}
	h.Receives, _ = strconv.Atoi(attribute(types.MessageSystemAttributeNameApproximateReceiveCount))
	if ms, err := strconv.ParseInt(attribute(types.MessageSystemAttributeNameSentTimestamp), 10, 64); err == nil {
		h.Sent = time.UnixMilli(ms)
	}
	return h
}

// notAsked reports whether a keyring chose not to ask about the message now.
// That says nothing about the key service, and the message comes back after the
// visibility timeout.
func notAsked(err error, temporary bool) bool {
	return temporary && errors.Is(err, keyerr.ErrNotAsked)
}

func withheldMessages(withheld []*OpenError) []hold.Message {
	messages := make([]hold.Message, 0, len(withheld))
	for _, w := range withheld {
		if !notAsked(w.Err, w.Temporary) {
			messages = append(messages, holdMessage(&w.Message, w.Err, w.Temporary))
		}
	}
	return messages
}

// heldQueue is the queue of one receive, for the hold.
type heldQueue struct {
	codec  *codec
	policy *compiledPolicy
	queue  middleware.Queue
	url    string
	client func() *sqs.Client
}

// Ask implements [hold.Queue].
func (h *heldQueue) Ask(ctx context.Context, last envelope.EncryptedDataKey) (hold.Answer, error) {
	ec, err := h.codec.sendContext(h.policy, h.queue)
	if err != nil {
		return hold.Unknown, err
	}
	if m, ok := h.policy.keyring.(*mixedSource); ok {
		err = m.checkAfter(ctx, ec, last.ProviderID)
	} else {
		err = h.policy.keyring.CheckDecrypt(ctx, ec)
	}
	if !errors.Is(err, keyerr.ErrNotAsked) {
		h.codec.counters.asked.add(ctx, h.queue, 1)
	}
	switch refused, ok := errors.AsType[*envelope.RefusedError](err); {
	case err == nil:
		return hold.Yes, nil
	case errors.Is(err, envelope.ErrCheckUnsupported):
		return hold.Unknown, err
	case ok && refused.Reach == envelope.ReachEntry:
		return hold.Elsewhere, err
	case classify(err) == keyUnavailable:
		return hold.No, ownDeadline(err)
	case ok:
		return hold.No, err
	}
	return hold.Unknown, err // not an error that a DecryptChecker returns
}

// Cached implements [hold.Queue].
func (h *heldQueue) Cached(key envelope.EncryptedDataKey, ec envelope.EncryptionContext) bool {
	return h.policy.keyring.Cached([]envelope.EncryptedDataKey{key}, ec)
}

// Recovered implements [hold.Queue].
func (h *heldQueue) Recovered() { h.policy.keyring.ForgetFailures() }

// defaultRetention is that of a queue (SQS API reference: CreateQueue,
// MessageRetentionPeriod).
const defaultRetention = 4 * 24 * time.Hour

// Attributes implements [hold.Queue].
func (h *heldQueue) Attributes(ctx context.Context) (hold.Attributes, error) {
	out, err := h.client().GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &h.url,
		AttributeNames: []types.QueueAttributeName{
			types.QueueAttributeNameVisibilityTimeout,
			types.QueueAttributeNameMessageRetentionPeriod,
			types.QueueAttributeNameRedrivePolicy,
		},
	}, h.inRegion)
	if err != nil {
		remedy := "without it, messages that do not open are parked only from their second receive on"
		if h.queue.FIFO() {
			remedy = "without it, more receives ask for one message at a time after one that did not open"
		}
		return hold.Attributes{}, h.denied(ctx, "settings of the queue cannot be read", "sqs:GetQueueAttributes", remedy, err)
	}
	seconds := func(name types.QueueAttributeName) time.Duration {
		n, parseErr := strconv.Atoi(out.Attributes[string(name)])
		err = errors.Join(err, parseErr)
		return time.Duration(n) * time.Second
	}
	a := hold.Attributes{
		VisibilityTimeout: seconds(types.QueueAttributeNameVisibilityTimeout),
		Retention:         defaultRetention,
	}
	if out.Attributes[string(types.QueueAttributeNameMessageRetentionPeriod)] != "" { // emulators may not have one
		a.Retention = seconds(types.QueueAttributeNameMessageRetentionPeriod)
	}
	if policy := out.Attributes[string(types.QueueAttributeNameRedrivePolicy)]; policy != "" {
		// SQS writes the number as a number or as a string, as it was given.
		var redrive struct {
			MaxReceiveCount json.Number `json:"maxReceiveCount"`
		}
		err = errors.Join(err, json.Unmarshal([]byte(policy), &redrive))
		a.MaxReceives, _ = strconv.Atoi(redrive.MaxReceiveCount.String())
	}
	return a, err
}

// Park implements [hold.Queue].
func (h *heldQueue) Park(ctx context.Context, messages []hold.Visibility) error {
	n, err := h.changeVisibility(ctx, messages)
	h.codec.counters.parked.add(ctx, h.queue, n)
	return err
}

// TakeBack implements [hold.Queue].
func (h *heldQueue) TakeBack(ctx context.Context, messages []hold.Visibility) error {
	n, err := h.changeVisibility(ctx, messages)
	h.codec.counters.takenBack.add(ctx, h.queue, n)
	return err
}

// inRegion sends a request to the Region of the receive, which an option of the
// call may have set. A client of a FIPS pseudo-Region keeps its own: the
// queue's Region has no FIPS mark.
func (h *heldQueue) inRegion(o *sqs.Options) {
	if h.queue.Region != "" && !strings.Contains(o.Region, "fips") {
		o.Region = h.queue.Region
	}
}

// changeVisibility returns for how many of the messages it succeeded.
func (h *heldQueue) changeVisibility(ctx context.Context, messages []hold.Visibility) (int, error) {
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id:                aws.String(strconv.Itoa(i)),
			ReceiptHandle:     aws.String(m.Handle),
			VisibilityTimeout: int32(m.Timeout / time.Second),
		}
	}
	out, err := h.client().ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &h.url, Entries: entries}, h.inRegion)
	if err != nil {
		return 0, h.denied(ctx, "messages cannot be parked", "sqs:ChangeMessageVisibility",
			"without it, messages that do not open come back after the visibility timeout and reach the dead-letter queue sooner", err)
	}
	return len(out.Successful), nil
}

// denied returns hold.ErrDenied if a permission is missing, and logs that: the
// hold tries again after an hour. It returns other errors unchanged.
func (h *heldQueue) denied(ctx context.Context, what, permission, remedy string, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != "AccessDenied" && api.ErrorCode() != "AccessDeniedException" {
		return err
	}
	h.codec.log().LogAttrs(ctx, slog.LevelWarn, "sealq: "+what+": permission missing",
		slog.String("queue", h.queue.String()),
		slog.String("permission", permission),
		slog.String("error", err.Error()),
		slog.String("remedy", "grant "+permission+" on the queue to this role: "+remedy),
	)
	return errors.Join(hold.ErrDenied, err)
}
