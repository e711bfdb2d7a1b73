package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
)

// topicCases are what comes to queues by SNS topics, for targets that have
// them.
func topicCases() []testCase {
	return []testCase{
		{"topics: Publish and PublishBatch, in both carriers, to several queues", fanOut},
		{"topics: a queue opens what it accepts, and nothing else", acceptedTopics},
		{"topics: a FIFO topic feeds a FIFO and a standard queue, and recognises equal messages", fifoTopic},
		{"topics: filters of clear attributes", filteredTopics},
		{"topics: dead-letter queues of a queue and of a subscription", topicDeadLetters},
		{"topics: notifications are withheld", notifications},
		{"topics: messages up to the limit of 262,144 bytes", largeTopicMessages},
	}
}

const topicSecret = "t0pic-s3cret"

// topics is the SNS of a target, with a publisher that seals.
type topics struct {
	*suite
	key    string
	sns    *sns.Client // without sealq
	sealed *sns.Client
}

func (s *suite) topics(t *testing.T, optFns ...func(*sqsx.Options)) *topics {
	t.Helper()
	key := s.key(t)
	return &topics{
		suite: s, key: key, sns: sns.NewFromConfig(s.target.SQS),
		sealed: sns.NewFromConfig(s.target.SQS, snsx.Install(s.sealer(t, key, optFns...))),
	}
}

// topic makes a topic of its own for the test.
func (s *topics) topic(t *testing.T, attributes map[string]string) (arn string) {
	t.Helper()
	name := "conformance-" + strings.ToLower(rand.Text()[:12])
	if attributes["FifoTopic"] == "true" {
		name += ".fifo"
	}
	out, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if _, err := s.sns.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: out.TopicArn}); err != nil {
			t.Errorf("delete the topic: %v", err)
		}
	})
	return *out.TopicArn
}

// subscribe has a queue, named by its ARN, get what is published, by raw
// delivery unless attributes say otherwise. They alternate name, value.
func (s *topics) subscribe(t *testing.T, topic, queue string, attributes ...string) {
	t.Helper()
	in := &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &queue, Attributes: map[string]string{"RawMessageDelivery": "true"}}
	for i := 0; i < len(attributes); i += 2 {
		in.Attributes[attributes[i]] = attributes[i+1]
	}
	if _, err := s.sns.Subscribe(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// consumer opens, at all queues, what came from these topics.
func (s *topics) consumer(t *testing.T, accepted ...string) *sqs.Client {
	t.Helper()
	sealer := s.sealer(t, s.key, func(o *sqsx.Options) { o.Policy.AcceptTopics = accepted })
	return sqs.NewFromConfig(s.target.SQS, sealer.Install)
}

func (s *topics) publish(t *testing.T, topic, text string, edits ...func(*sns.PublishInput)) {
	t.Helper()
	in := &sns.PublishInput{TopicArn: &topic, Message: &text}
	for _, edit := range edits {
		edit(in)
	}
	if _, err := s.sealed.Publish(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func kind(value string) map[string]snstypes.MessageAttributeValue {
	return map[string]snstypes.MessageAttributeValue{"kind": {DataType: aws.String("String"), StringValue: &value}}
}

// wantBodies receives as many messages as texts, and compares them in any
// order.
func (s *topics) wantBodies(t *testing.T, client *sqs.Client, url string, texts ...string) []types.Message {
	t.Helper()
	messages := s.receive(t, client, url, len(texts), everything)
	var got []string
	for _, m := range messages {
		got = append(got, aws.ToString(m.Body))
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(texts))
	if !slices.Equal(got, want) {
		t.Errorf("got %.200q, want %.200q", got, want)
	}
	return messages
}

// wantCiphertext fails the test if the secret is in a message as SQS has it.
func wantCiphertext(t *testing.T, messages []types.Message) {
	t.Helper()
	for _, m := range messages {
		if strings.Contains(aws.ToString(m.Body), topicSecret) {
			t.Errorf("plaintext in a queue: %.100q", *m.Body)
		}
	}
}

func fanOut(t *testing.T, s *suite) {
	for carrier, inBody := range map[string]bool{"attribute": false, "body": true} {
		w := s.topics(t, func(o *sqsx.Options) { o.Queues = map[string]sqsx.Policy{"arn:aws:sns:*": {BodyCarrier: inBody}} })
		topic := w.topic(t, nil)
		one, two, wire := s.queue(t, nil), s.queue(t, nil), s.queue(t, nil)
		for _, url := range []string{one, two, wire} {
			w.subscribe(t, topic, s.arn(t, url))
		}
		var texts []string
		for _, b := range smallBodies() {
			texts = append(texts, b.text+topicSecret)
		}
		binary := snstypes.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}}
		w.publish(t, topic, texts[0], func(in *sns.PublishInput) {
			in.MessageAttributes = kind("order")
			in.MessageAttributes["raw"] = binary
		})
		in := &sns.PublishBatchInput{TopicArn: &topic}
		for i, text := range texts[1:] {
			in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries, snstypes.PublishBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), Message: &text})
		}
		if !inBody && s.differs(TopicBatchLosesBinary) {
			w.wantLostHeader(t)
			for _, text := range texts[1:] {
				w.publish(t, topic, text)
			}
		} else {
			out, err := w.sealed.PublishBatch(t.Context(), in)
			if err != nil || len(out.Failed) > 0 || len(out.Successful) != len(in.PublishBatchRequestEntries) {
				t.Fatalf("%s: got %v, %v, want all published", carrier, out, err)
			}
		}
		for _, url := range []string{one, two} {
			for _, m := range w.wantBodies(t, w.consumer(t, topic), url, texts...) {
				own := len(m.MessageAttributes)
				if first := *m.Body == texts[0]; first != (own == 2) || !first && own != 0 {
					t.Errorf("%s: got %d attributes, want the publisher's", carrier, own)
				}
				if *m.Body == texts[0] && string(m.MessageAttributes["raw"].BinaryValue) != string(binary.BinaryValue) {
					t.Errorf("%s: got the Binary attribute %v, want it as published", carrier, m.MessageAttributes["raw"])
				}
			}
		}
		wantCiphertext(t, s.stored(t, wire, len(texts)))
	}
}

// wantLostHeader publishes a batch whose message must arrive without its
// header, and not be delivered.
func (s *topics) wantLostHeader(t *testing.T) {
	t.Helper()
	topic, url := s.topic(t, nil), s.queue(t, nil)
	s.subscribe(t, topic, s.arn(t, url))
	in := &sns.PublishBatchInput{TopicArn: &topic, PublishBatchRequestEntries: []snstypes.PublishBatchRequestEntry{{Id: aws.String("a"), Message: aws.String(topicSecret)}}}
	if _, err := s.sealed.PublishBatch(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := s.withheld(t, s.consumer(t, topic), url); !errors.Is(err, sqsx.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed: %s", err, TopicBatchLosesBinary)
	}
}

func acceptedTopics(t *testing.T, s *suite) {
	w := s.topics(t)
	accepted, other := w.topic(t, nil), w.topic(t, nil)
	url := s.queue(t, nil)
	w.subscribe(t, accepted, s.arn(t, url))
	w.subscribe(t, other, s.arn(t, url))
	w.publish(t, accepted, "of the accepted topic")
	w.wantBodies(t, w.consumer(t, accepted), url, "of the accepted topic")
	w.publish(t, other, "of the other")
	err := w.withheld(t, w.consumer(t, accepted), url)
	if !errors.Is(err, sqsx.ErrContextMismatch) || !strings.Contains(err.Error(), "AcceptTopics") {
		t.Errorf("got %v, want ErrContextMismatch and the remedy", err)
	}
}

// withheld receives until a message arrives, which must not open.
func (s *topics) withheld(t *testing.T, client *sqs.Client, url string) error {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url))
		if err != nil {
			return err
		}
		if len(out.Messages) > 0 {
			t.Fatalf("got %.100q, want it withheld", *out.Messages[0].Body)
		}
	}
	t.Fatalf("after %v: nothing arrived", patience)
	return nil
}

func fifoTopic(t *testing.T, s *suite) {
	key := func(o *sqsx.Options) { o.DeduplicationKey = []byte(strings.Repeat("k", 32)) }
	w := s.topics(t, key)
	topic := w.topic(t, map[string]string{"FifoTopic": "true", "ContentBasedDeduplication": "true"})
	queue, standard := s.queue(t, fifo), s.queue(t, nil)
	w.subscribe(t, topic, s.arn(t, queue))
	w.subscribe(t, topic, s.arn(t, standard))
	var want []string
	for i := range 5 {
		text := fmt.Sprintf("%s %d", topicSecret, i)
		want = append(want, text)
		for range 2 { // the second is recognised
			w.publish(t, topic, text, func(in *sns.PublishInput) { in.MessageGroupId = aws.String("g") })
		}
	}
	// Sent last, so that a sixth message would be among the others by now.
	w.publish(t, topic, "the last", func(in *sns.PublishInput) { in.MessageGroupId = aws.String("g") })
	want = append(want, "the last")
	consumer := w.consumer(t, topic)
	var got []string
	for _, m := range s.receive(t, consumer, queue, len(want), everything) {
		got = append(got, *m.Body)
	}
	if !slices.Equal(got, want) {
		t.Errorf("FIFO queue: got %q, want %q", got, want)
	}
	if s.differs(TopicKeepsDuplicates) {
		want = append(want, want[:5]...)
	}
	w.wantBodies(t, consumer, standard, want...)
}

func filteredTopics(t *testing.T, s *suite) {
	w := s.topics(t)
	topic := w.topic(t, nil)
	orders, invoices, inBody := s.queue(t, nil), s.queue(t, nil), s.queue(t, nil)
	w.subscribe(t, topic, s.arn(t, orders), "FilterPolicy", `{"kind":["order"]}`)
	w.subscribe(t, topic, s.arn(t, invoices), "FilterPolicy", `{"kind":["invoice"]}`)
	w.subscribe(t, topic, s.arn(t, inBody), "FilterPolicyScope", "MessageBody", "FilterPolicy", `{"kind":["order"]}`)
	text := func(kind string) string { return fmt.Sprintf(`{"kind":%q,"secret":%q}`, kind, topicSecret) }
	for _, k := range []string{"order", "invoice"} {
		w.publish(t, topic, text(k), func(in *sns.PublishInput) { in.MessageAttributes = kind(k) })
	}
	consumer := w.consumer(t, topic)
	w.wantBodies(t, consumer, orders, text("order"))
	w.wantBodies(t, consumer, invoices, text("invoice"))
	// What a filter of the body lets through is plaintext only.
	if _, err := w.sns.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(`{"kind":"order","plain":true}`)}); err != nil {
		t.Fatal(err)
	}
	messages := s.receive(t, s.sqs, inBody, 1, everything)
	if len(messages) != 1 || *messages[0].Body != `{"kind":"order","plain":true}` {
		t.Errorf("filter of the body: got %d messages, the first %.100q, want the plain one", len(messages), *messages[0].Body)
	}
}

func topicDeadLetters(t *testing.T, s *suite) {
	w := s.topics(t)
	topic := w.topic(t, nil)
	dead, lost := s.queue(t, nil), s.queue(t, nil)
	source := s.redrive(t, dead, 1, map[string]string{"VisibilityTimeout": "1"})
	w.subscribe(t, topic, s.arn(t, source))
	w.subscribe(t, topic, s.arn(t, lost)+"-gone", "RedrivePolicy", fmt.Sprintf(`{"deadLetterTargetArn":%q}`, s.arn(t, lost)))
	w.publish(t, topic, topicSecret, func(in *sns.PublishInput) { in.MessageAttributes = kind("order") })

	// The queue's: received once and not deleted, it is moved by a later receive.
	consumer := w.consumer(t, topic)
	for deadline := time.Now().Add(patience); ; {
		out, err := consumer.ReceiveMessage(t.Context(), receiveInput(source))
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: nothing arrived", patience)
		}
	}
	for deadline := time.Now().Add(patience); s.visible(t, dead) == 0; {
		if _, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(source)); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: nothing was moved", patience)
		}
	}
	places := map[string]string{"of the queue": dead, "of the subscription": lost}
	if s.differs(NoSubscriptionRedrive) {
		delete(places, "of the subscription")
		if n := s.visible(t, lost); n != 0 {
			t.Errorf("got %d messages, want none: %s", n, NoSubscriptionRedrive)
		}
	}
	for name, url := range places {
		messages := w.wantBodies(t, consumer, url, topicSecret)
		if got := aws.ToString(messages[0].MessageAttributes["kind"].StringValue); got != "order" {
			t.Errorf("%s: got the attribute %q, want it as published", name, got)
		}
	}
}

// visible is the number of messages that a receive would get.
func (s *suite) visible(t *testing.T, url string) int {
	t.Helper()
	out, err := s.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if _, err := fmt.Sscan(out.Attributes["ApproximateNumberOfMessages"], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func notifications(t *testing.T, s *suite) {
	w := s.topics(t)
	topic := w.topic(t, nil)
	url := s.queue(t, nil)
	w.subscribe(t, topic, s.arn(t, url), "RawMessageDelivery", "false")
	w.publish(t, topic, topicSecret)
	err := w.withheld(t, w.consumer(t, topic), url)
	if !errors.Is(err, sqsx.ErrUnsupported) || !strings.Contains(err.Error(), "RawMessageDelivery") {
		t.Errorf("got %v, want ErrUnsupported and the remedy", err)
	}
}

func largeTopicMessages(t *testing.T, s *suite) {
	w := s.topics(t)
	topic := w.topic(t, nil)
	url := s.queue(t, nil)
	w.subscribe(t, topic, s.arn(t, url))
	sizes := s.sealer(t, w.key)
	most := 262_144 * 3 / 4
	for {
		size, err := sizes.SealedSize(topic, most)
		if err != nil {
			t.Fatal(err)
		}
		if size <= 262_144 {
			break
		}
		most--
	}
	if s.differs(TopicCountsBase64) {
		_, err := w.sealed.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(strings.Repeat("x", most))})
		wantCode(t, string(TopicCountsBase64), err, "InvalidParameter")
		if _, ours := errors.AsType[*sqsx.TooLargeError](err); ours {
			t.Errorf("got %v, want the refusal of the server", err)
		}
		most -= 256 // more than base64 adds to the header, a third of 440 bytes
	}
	text := strings.Repeat("x", most)
	w.publish(t, topic, text)
	w.wantBodies(t, w.consumer(t, topic), url, text)
	_, err := w.sealed.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(strings.Repeat("x", 200_000))})
	wantCode(t, "a message over the limit", err, "InvalidParameter")
}
