package conformance

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// queueCases are about messages that move between queues, and FIFO queues.
func queueCases() []testCase {
	return []testCase{
		{"queues: a dead-letter queue's consumer opens its messages", deadLetterOpens},
		{"queues: messages moved back from the dead-letter queue open", movedBack},
		{"queues: messages moved to a third queue open with AcceptQueues", movedElsewhere},
		{"queues: a copy in another queue opens with AcceptQueues only", copied},
		{"queues: LogicalQueue and NoBinding", otherBindings},
		{"queues: a FIFO send needs a deduplication ID", deduplicationRequired},
		{"queues: DeduplicationKey recognises equal bodies", deduplicationKey},
		{"queues: FIFO order", fifoOrder},
	}
}

// accepting is the consumer of a dead-letter queue: by itself it opens the
// messages that SQS says were moved there; where a target does not say so, it
// must be told.
func (s *suite) accepting(t *testing.T, key, source string) *sqs.Client {
	t.Helper()
	strict := s.sealer(t, key)
	if !s.differs(NoSourceARN) {
		return sqs.NewFromConfig(s.target.SQS, strict.Install)
	}
	return sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) {
		o.Policy.AcceptQueues = []string{s.bound(t, source)}
	}).Install)
}

// dead sends a sealed message and lets it go to a dead-letter queue.
func (s *suite) dead(t *testing.T, attributes map[string]string) (key, source, deadLetter string) {
	t.Helper()
	key = s.key(t)
	client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install)
	deadLetter = s.queue(t, attributes)
	source = s.redrive(t, deadLetter, 1, with(attributes, "VisibilityTimeout", "0"))
	send(t, client, source, "dead", userAttributes(3))
	s.exhaust(t, source, 1)
	return key, source, deadLetter
}

func deadLetterOpens(t *testing.T, s *suite) {
	for _, attributes := range []map[string]string{nil, fifo} {
		key, source, deadLetter := s.dead(t, attributes)
		got := s.receive(t, s.accepting(t, key, source), deadLetter, 1, everything)[0]
		if *got.Body != "dead" {
			t.Errorf("got body %q", *got.Body)
		}
		wantAttributes(t, got.MessageAttributes, userAttributes(3))
	}
}

func movedBack(t *testing.T, s *suite) {
	key, source, deadLetter := s.dead(t, nil)
	if !s.move(t, deadLetter, "") {
		return
	}
	client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install)
	if got := s.receive(t, client, source, 1); *got[0].Body != "dead" {
		t.Errorf("got body %q", *got[0].Body)
	}
}

func movedElsewhere(t *testing.T, s *suite) {
	key, source, deadLetter := s.dead(t, nil)
	third := s.queue(t, nil)
	if !s.move(t, deadLetter, third) {
		return
	}
	client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) {
		o.Policy.AcceptQueues = []string{s.bound(t, source)}
	}).Install)
	if got := s.receive(t, client, third, 1); *got[0].Body != "dead" {
		t.Errorf("got body %q", *got[0].Body)
	}
}

func copied(t *testing.T, s *suite) {
	key := s.key(t)
	client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install)
	here, there := s.queue(t, nil), s.queue(t, nil)
	send(t, client, here, "copied", nil)
	m := s.stored(t, here, 1)[0]
	put := func() {
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &there, MessageBody: m.Body, MessageAttributes: m.MessageAttributes,
		}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	_, err := client.ReceiveMessage(t.Context(), receiveInput(there))
	wantClass(t, "without AcceptQueues", err, envelope.ErrContextMismatch)
	put()
	accepting := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) {
		o.Policy.AcceptQueues = []string{s.bound(t, here)}
	}).Install)
	if got := s.receive(t, accepting, there, 1); *got[0].Body != "copied" {
		t.Errorf("with AcceptQueues: got body %q", *got[0].Body)
	}
}

func otherBindings(t *testing.T, s *suite) {
	key := s.key(t)
	for what, policy := range map[string]sqsx.Policy{
		"LogicalQueue": {LogicalQueue: "orders"},
		"NoBinding":    {NoBinding: true},
	} {
		client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) { o.Policy = policy }).Install)
		here, there := s.queue(t, nil), s.queue(t, nil)
		send(t, client, here, "copied", nil)
		m := s.stored(t, here, 1)[0]
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &there, MessageBody: m.Body, MessageAttributes: m.MessageAttributes,
		}); err != nil {
			t.Fatal(err)
		}
		if got := s.receive(t, client, there, 1); *got[0].Body != "copied" {
			t.Errorf("%s: got body %q", what, *got[0].Body)
		}
	}
}

func deduplicationRequired(t *testing.T, s *suite) {
	// The service would deduplicate by a hash of the ciphertext, which never
	// repeats.
	url := s.queue(t, with(fifo, "ContentBasedDeduplication", "true"))
	client := s.sealed(t)
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageGroupId: aws.String("group")})
	wantCode(t, "without an ID", err, "InvalidParameterValue")
	if err != nil && !strings.Contains(err.Error(), "DeduplicationKey") {
		t.Errorf("got error %v, want one that names the remedy", err)
	}
	// A batch with one such entry is not sent at all: the order of the group
	// would change.
	entry := func(id string, deduplicationID *string) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{Id: &id, MessageBody: aws.String("in a batch"), MessageGroupId: aws.String("group"), MessageDeduplicationId: deduplicationID}
	}
	_, err = client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
		entry("a", aws.String(unique())), entry("b", nil), entry("c", aws.String(unique())),
	}})
	wantCode(t, "a batch with an entry without an ID", err, "InvalidParameterValue")
	send(t, client, url, "with an ID", nil)
	if got := s.receive(t, client, url, 1)[0]; *got.Body != "with an ID" {
		t.Errorf("got body %q in the queue, want none of the batch", *got.Body)
	}
}

func deduplicationKey(t *testing.T, s *suite) {
	key := s.key(t)
	secret := []byte(strings.Repeat("shared by all producers ", 2))
	url := s.queue(t, fifo)
	var first *string
	// Two producers: they share the key, not the process.
	for i := range 2 {
		client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) { o.DeduplicationKey = secret }).Install)
		for _, body := range []string{"a", "b"} {
			out, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: aws.String("group")})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 && body == "a" {
				first = out.MessageId
			}
			if i == 1 && body == "a" && !s.differs(DuplicateGetsNewID) && *out.MessageId != *first {
				t.Errorf("duplicate: got message ID %s, want the first's, %s", *out.MessageId, *first)
			}
		}
	}
	client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install)
	got := s.receive(t, client, url, 2)
	if len(got) != 2 || *got[0].Body != "a" || *got[1].Body != "b" {
		t.Errorf("got %d messages, the first %q, want a and b once each", len(got), *got[0].Body)
	}
	out, err := client.ReceiveMessage(t.Context(), receiveInput(url))
	if err != nil || len(out.Messages) != 0 {
		t.Errorf("afterwards: got %d messages and error %v, want none", len(out.Messages), err)
	}
}

func fifoOrder(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, fifo)
	bodies := smallBodies()
	for _, b := range bodies {
		send(t, client, url, b.text, nil)
	}
	for i, m := range s.receive(t, client, url, len(bodies)) {
		if *m.Body != bodies[i].text {
			t.Errorf("message %d: got another body than %q", i, bodies[i].name)
		}
	}
}
