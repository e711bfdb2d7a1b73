package snsx_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestAcceptTopics: a queue opens what was published to the topics that its
// policy lists, and nothing else; the error names the topic and the setting.
func TestAcceptTopics(t *testing.T) {
	t.Parallel()
	orders := topicARN("orders")
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		opens  bool
		text   string // else
	}{
		"the topic":             {policy: sqsx.Policy{AcceptTopics: []string{topicARN("other"), orders}}, opens: true},
		"a prefix":              {policy: sqsx.Policy{AcceptTopics: []string{topicARN("ord*")}}, opens: true},
		"all topics":            {policy: sqsx.Policy{AcceptTopics: []string{"arn:aws:sns:*"}}, opens: true},
		"strict queue":          {policy: sqsx.Policy{AcceptTopics: []string{orders}, StrictQueue: true}, opens: true},
		"beside a logical name": {policy: sqsx.Policy{AcceptTopics: []string{orders}, LogicalQueue: "orders"}, opens: true},
		"no binding":            {policy: sqsx.Policy{NoBinding: true}, opens: true},
		"none":                  {text: "Policy.AcceptTopics"},
		"another topic":         {policy: sqsx.Policy{AcceptTopics: []string{topicARN("other")}}, text: "Policy.AcceptTopics"},
		"another Region":        {policy: sqsx.Policy{AcceptTopics: []string{strings.Replace(orders, "us-east-1", "us-west-2", 1)}}, text: "Policy.AcceptTopics"},
		"another account":       {policy: sqsx.Policy{AcceptTopics: []string{strings.Replace(orders, "000000000000", "111122223333", 1)}}, text: "Policy.AcceptTopics"},
		"a longer name":         {policy: sqsx.Policy{AcceptTopics: []string{topicARN("orders-eu")}}, text: "Policy.AcceptTopics"},
		"a queue of that name":  {policy: sqsx.Policy{AcceptQueues: []string{queueARN("orders"), "arn:aws:sqs:*"}}, text: "Policy.AcceptTopics"},
		"logical name of its":   {policy: sqsx.Policy{LogicalQueue: "orders"}, text: "Policy.AcceptTopics"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.raw(w.server.NewTopic("orders"), "orders") // the queue has the topic's name
			if err := operations(orders)["Publish"](t.Context(), w.publisher()); err != nil {
				t.Fatal(err)
			}
			consumer := sqs.NewFromConfig(w.cfg, w.sealer(func(o *sqsx.Options) { o.Policy = tc.policy }).Install)
			out, err := receive(t.Context(), consumer, url)
			if tc.opens {
				if err != nil || !slices.Equal(bodies(out.Messages), []string{secret}) {
					t.Errorf("got %v, %v, want the message", out, err)
				}
				return
			}
			if !errors.Is(err, envelope.ErrContextMismatch) || !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), orders) || strings.Contains(err.Error(), "AcceptQueues") {
				t.Errorf("got %v, want ErrContextMismatch with the topic and %q", err, tc.text)
			}
		})
	}
}

// TestAcceptTopicsIsChecked: a setting that can accept no topic is refused when
// the Sealer is made.
func TestAcceptTopicsIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		text   string
	}{
		"a name":         {sqsx.Policy{AcceptTopics: []string{"orders"}}, "arn:PARTITION:sns:REGION:ACCOUNT:NAME"},
		"all of all":     {sqsx.Policy{AcceptTopics: []string{"*"}}, "arn:PARTITION:sns:"},
		"a queue":        {sqsx.Policy{AcceptTopics: []string{queueARN("orders")}}, "AcceptQueues"},
		"a subscription": {sqsx.Policy{AcceptTopics: []string{topicARN("orders:6b0e71bd-7e97-4d97-80ce-4a0994e55286")}}, "topic name"},
		"topic as queue": {sqsx.Policy{AcceptQueues: []string{topicARN("orders")}}, "AcceptTopics"},
		"no binding":     {sqsx.Policy{AcceptTopics: []string{topicARN("orders")}, NoBinding: true}, "AcceptTopics"},
	} {
		_, err := sqsx.NewFromConfig(w.cfg, w.key, policies(map[string]sqsx.Policy{"orders": tc.policy}))
		if _, ok := errors.AsType[*sqsx.ConfigError](err); !ok || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: got %v, want a ConfigError with %q", name, err, tc.text)
		}
	}
}

// TestOneSubscribersMessageOpensAtAll: the binding is to the topic. What one
// subscriber gets, somebody who may receive from it and send to another queue
// that accepts the topic can have opened there. A queue that does not accept it
// withholds it.
func TestOneSubscribersMessageOpensAtAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	one := w.raw(topic, "one")
	two, stranger := w.server.NewQueue("two"), w.server.NewQueue("stranger")
	if err := operations(topic)["Publish"](t.Context(), w.publisher()); err != nil {
		t.Fatal(err)
	}
	message := w.server.Stored(one)[0]
	for _, url := range []string{two, stranger} {
		if _, err := w.plain.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: message.Body, MessageAttributes: message.MessageAttributes}); err != nil {
			t.Fatal(err)
		}
	}
	accepts := policies(map[string]sqsx.Policy{"one": {AcceptTopics: []string{topic}}, "two": {AcceptTopics: []string{topic}}})
	consumer := sqs.NewFromConfig(w.cfg, w.sealer(accepts).Install)
	for _, url := range []string{one, two} {
		if got := receiveBodies(t, consumer, url); !slices.Equal(got, []string{secret}) {
			t.Errorf("%s: got %q, want the message", url, got)
		}
	}
	if _, err := receive(t.Context(), consumer, stranger); !errors.Is(err, envelope.ErrContextMismatch) {
		t.Errorf("stranger: got %v, want ErrContextMismatch", err)
	}
}

// TestQueueMessagesAreNotTopicMessages: neither does what was sent to a queue
// open as if it came from a topic of that name, nor the other way round.
func TestQueueMessagesAreNotTopicMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	sealer := w.sealer()
	message := &sqs.SendMessageInput{MessageBody: aws.String(secret)}
	for name, tc := range map[string]struct{ sealedFor, openedAs string }{
		"queue's as topic's": {queueARN("orders"), topic},
		"topic's as queue's": {topic, queueARN("orders")},
	} {
		in, err := sealer.SealMessage(t.Context(), tc.sealedFor, message)
		if err != nil {
			t.Fatal(err)
		}
		m := sqstypes.Message{MessageId: aws.String("1"), Body: in.MessageBody, MessageAttributes: in.MessageAttributes}
		if opened, withheld := sealer.OpenMessages(t.Context(), tc.openedAs, []sqstypes.Message{m}); len(opened) != 0 || len(withheld) != 1 || !errors.Is(withheld[0], envelope.ErrContextMismatch) {
			t.Errorf("%s: got %d opened, %v", name, len(opened), withheld)
		}
		if opened, withheld := sealer.OpenMessages(t.Context(), tc.sealedFor, []sqstypes.Message{m}); len(opened) != 1 || len(withheld) != 0 {
			t.Errorf("%s: as itself: got %d opened, %v", name, len(opened), withheld)
		}
	}
}

// TestDeadLetterQueues: a subscription's own dead-letter queue and the queue's
// get sealed messages as they were. Both open there: that of the queue by the
// policy of its source, that of the subscription by its own.
func TestDeadLetterQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		topic := w.server.NewTopic("orders")
		dead := w.server.NewQueue("orders-dlq")
		lost := w.server.NewQueue("subscription-dlq")
		source := w.server.NewQueue("orders", "VisibilityTimeout", "1", "RedrivePolicy", sqsxtest.RedrivePolicy(dead, 1))
		w.server.Subscribe(topic, source, "RawMessageDelivery", "true")
		w.server.Subscribe(topic, "https://sqs.us-east-1.amazonaws.com/000000000000/gone", "RawMessageDelivery", "true",
			"RedrivePolicy", `{"deadLetterTargetArn":"`+queueARN("subscription-dlq")+`"}`)
		in := &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: map[string]types.MessageAttributeValue{"kind": str("order")}}
		if _, err := w.publisher().Publish(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		consumer := sqs.NewFromConfig(w.cfg, w.sealer(policies(map[string]sqsx.Policy{
			"orders":           {AcceptTopics: []string{topic}},
			"subscription-dlq": {AcceptTopics: []string{topic}},
		})).Install)
		if got := receiveBodies(t, consumer, source); len(got) != 1 { // and not deleted
			t.Fatalf("got %q, want the message", got)
		}
		time.Sleep(2 * time.Second)
		if _, err := receive(t.Context(), w.plain, source); err != nil { // moves it
			t.Fatal(err)
		}
		for name, url := range map[string]string{"of the queue": dead, "of the subscription": lost} {
			out, err := receive(t.Context(), consumer, url)
			if err != nil || !slices.Equal(bodies(out.Messages), []string{secret}) {
				t.Errorf("%s: got %v, %v, want the message", name, out, err)
				continue
			}
			if got := aws.ToString(out.Messages[0].MessageAttributes["kind"].StringValue); got != "order" {
				t.Errorf("%s: got attribute %q, want it as published", name, got)
			}
		}
		w.checkWire(source, dead, lost)
	})
}

// TestNotifications: without raw delivery SNS wraps the message in JSON. It is
// withheld, with the remedy, and stays in the queue; to open it would break its
// signature. So is plaintext that another publisher sent.
func TestNotifications(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		class  error
		want   []string
	}{
		"attribute":  {sqsx.Policy{}, envelope.ErrUnsupported, []string{"RawMessageDelivery", "signature"}},
		"body":       {sqsx.Policy{BodyCarrier: true}, envelope.ErrUnsupported, []string{"RawMessageDelivery", "signature"}},
		"not sealed": {sqsx.Policy{NoSeal: true}, sqsx.ErrNotSealed, []string{"RawMessageDelivery", "snsx", "AcceptTopics"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			topic := w.server.NewTopic("orders")
			url := w.server.NewQueue("q")
			w.server.Subscribe(topic, url)
			if err := operations(topic)["Publish"](t.Context(), w.publisher(policies(map[string]sqsx.Policy{topic: tc.policy}))); err != nil {
				t.Fatal(err)
			}
			stored := w.server.Stored(url)
			if !strings.HasPrefix(*stored[0].Body, `{"Type":"Notification"`) {
				t.Fatalf("got %.60q, want a notification", *stored[0].Body)
			}
			_, err := receive(t.Context(), w.accepts(topic), url)
			if !errors.Is(err, tc.class) {
				t.Errorf("got %v, want %v", err, tc.class)
			}
			for _, text := range tc.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("got %v, want %q in it", err, text)
				}
			}
			if got := len(w.server.Stored(url)); got != 1 {
				t.Errorf("got %d messages in the queue, want it to stay", got)
			}
		})
	}
}

// TestDirectSubscribers: a Lambda function or an HTTP endpoint that subscribes
// to the topic itself gets text and attributes, and opens them by OpenMessages
// with the topic's ARN.
func TestDirectSubscribers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.server.NewQueue("stand-in") // its notification is what they get
	w.server.Subscribe(topic, url)
	sealer := w.sealer()
	if err := operations(topic)["Publish"](t.Context(), sns.NewFromConfig(w.cfg, snsx.Install(sealer))); err != nil {
		t.Fatal(err)
	}
	var notification struct {
		Message, MessageId string
		MessageAttributes  map[string]struct{ Type, Value string }
	}
	if err := json.Unmarshal([]byte(*w.server.Stored(url)[0].Body), &notification); err != nil {
		t.Fatal(err)
	}
	m := sqstypes.Message{MessageId: &notification.MessageId, Body: &notification.Message, MessageAttributes: map[string]sqstypes.MessageAttributeValue{}}
	for name, a := range notification.MessageAttributes {
		v := sqstypes.MessageAttributeValue{DataType: &a.Type, StringValue: &a.Value}
		if a.Type == "Binary" {
			b, err := base64.StdEncoding.DecodeString(a.Value)
			if err != nil {
				t.Fatal(err)
			}
			v = sqstypes.MessageAttributeValue{DataType: &a.Type, BinaryValue: b}
		}
		m.MessageAttributes[name] = v
	}
	opened, withheld := sealer.OpenMessages(t.Context(), topic, []sqstypes.Message{m})
	if len(opened) != 1 || *opened[0].Body != secret || len(withheld) != 0 {
		t.Errorf("got %v and %v, want the message", opened, withheld)
	}
}

// TestFilters: a filter policy on clear attributes works as before. One on the
// body matches no sealed message, and nothing tells the publisher: docs/sns.md
// says so.
func TestFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	matching := w.raw(topic, "matching", "FilterPolicy", `{"kind":["order"]}`)
	others := w.raw(topic, "others", "FilterPolicy", `{"kind":["invoice"]}`)
	inBody := w.raw(topic, "in-body", "FilterPolicyScope", "MessageBody", "FilterPolicy", `{"kind":["order"]}`)
	text := `{"kind":"order","note":"` + secret + `"}`
	publish := func(c *sns.Client) {
		t.Helper()
		in := &sns.PublishInput{TopicArn: &topic, Message: &text, MessageAttributes: map[string]types.MessageAttributeValue{"kind": str("order")}}
		if _, err := c.Publish(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	for _, policy := range []sqsx.Policy{{}, {BodyCarrier: true}} {
		publish(w.publisher(policies(map[string]sqsx.Policy{topic: policy})))
	}
	w.checkWire(matching)
	if got := receiveBodies(t, w.accepts(topic), matching); !slices.Equal(got, []string{text, text}) {
		t.Errorf("got %q, want both", got)
	}
	if got := len(w.server.Stored(others)) + len(w.server.Stored(inBody)); got != 0 {
		t.Errorf("got %d messages at the others, want none", got)
	}
	publish(sns.NewFromConfig(w.cfg)) // in plaintext the filter of the body does match
	if got := len(w.server.Stored(inBody)); got != 1 {
		t.Errorf("got %d plain messages by the filter of the body, want 1", got)
	}
}

// TestFIFO: a FIFO topic recognises a sealed message that is published twice by
// a deduplication ID that is derived from text and topic, where content-based
// deduplication cannot, and hands groups, order and ID on to FIFO queues; a
// standard queue gets the messages, too.
func TestFIFO(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := func(o *sqsx.Options) { o.DeduplicationKey = []byte(strings.Repeat("k", 32)) }
	topic := w.server.NewTopic("orders.fifo", "ContentBasedDeduplication", "true")
	other := w.server.NewTopic("other.fifo", "ContentBasedDeduplication", "true")
	fifo, standard := w.server.NewQueue("q.fifo"), w.server.NewQueue("standard")
	for _, subscribed := range []string{topic, other} {
		w.server.Subscribe(subscribed, fifo, "RawMessageDelivery", "true")
	}
	w.server.Subscribe(topic, standard, "RawMessageDelivery", "true")
	publisher := w.publisher(key)
	group := aws.String("g")
	for _, text := range []string{"first", "second", "first"} {
		if _, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(text), MessageGroupId: group}); err != nil {
			t.Fatal(err)
		}
	}
	entries := []types.PublishBatchRequestEntry{
		{Id: aws.String("a"), Message: aws.String("second"), MessageGroupId: group},
		{Id: aws.String("b"), Message: aws.String("third"), MessageGroupId: group},
		{Id: aws.String("c"), Message: aws.String("third"), MessageGroupId: group, MessageDeduplicationId: aws.String("of-the-caller")},
	}
	if err := publishBatch(t, publisher, topic, entries...); err != nil {
		t.Fatal(err)
	}
	// The same text at another topic is another message.
	if _, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &other, Message: aws.String("first"), MessageGroupId: group}); err != nil {
		t.Fatal(err)
	}
	consumer := w.accepts(topic, other)
	out, err := receive(t.Context(), consumer, fifo)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bodies(out.Messages), []string{"first", "second", "third", "third", "first"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	seen := make(map[string]bool)
	for _, m := range out.Messages {
		seen[m.Attributes["MessageDeduplicationId"]] = true
		if m.Attributes["MessageGroupId"] != "g" {
			t.Errorf("got group %q, want g", m.Attributes["MessageGroupId"])
		}
	}
	if !seen["of-the-caller"] || len(seen) != 5 {
		t.Errorf("got deduplication IDs %v, want five, one the caller's", seen)
	}
	if got := len(receiveBodies(t, consumer, standard)); got != 4 {
		t.Errorf("got %d messages at the standard queue, want 4", got)
	}

	// Without a key, content-based deduplication would silently recognise nothing.
	keyless := w.publisher()
	_, err = keyless.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageGroupId: group})
	requireInvalidParameter(t, err, "FIFO topic")
	if err := publishBatch(t, keyless, topic, entries...); err == nil || !strings.Contains(err.Error(), "DeduplicationKey") {
		t.Errorf("batch: got %v, want DeduplicationKey in it", err)
	}
	if _, err := keyless.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String("x"), MessageGroupId: group, MessageDeduplicationId: aws.String("d")}); err != nil {
		t.Errorf("with an ID: %v", err)
	}
}

// TestGroupsOnStandardTopics: fair queues need the group, which stays in clear.
func TestGroupsOnStandardTopics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	publisher := w.publisher()
	if _, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageGroupId: aws.String("tenant")}); err != nil {
		t.Fatal(err)
	}
	if err := publishBatch(t, publisher, topic, types.PublishBatchRequestEntry{Id: aws.String("a"), Message: aws.String(secret), MessageGroupId: aws.String("tenant")}); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.server.Stored(url) {
		if m.Attributes["MessageGroupId"] != "tenant" {
			t.Errorf("got group %q, want the publisher's", m.Attributes["MessageGroupId"])
		}
	}
}

// TestTopicsOfRegionsAndAccounts: topics of one name are different topics, each
// with its own binding and its own policy.
func TestTopicsOfRegionsAndAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.server.NewQueue("q")
	var accepted []string
	publisher := w.sealer(policies(map[string]sqsx.Policy{"arn:aws:sns:us-west-2:*": {BodyCarrier: true}}))
	for i, place := range []struct{ region, account string }{{"us-east-1", "111122223333"}, {"us-east-1", "444455556666"}, {"us-west-2", "111122223333"}} {
		cfg := w.cfg.Copy()
		cfg.Region = place.region
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: place.account, SecretAccessKey: "x"}, nil
		})
		plain := sns.NewFromConfig(cfg)
		out, err := plain.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("orders")})
		if err != nil {
			t.Fatal(err)
		}
		in := &sns.SubscribeInput{TopicArn: out.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(queueARN("q")), Attributes: map[string]string{"RawMessageDelivery": "true"}}
		if _, err := plain.Subscribe(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		text := strconv.Itoa(i)
		if _, err := sns.NewFromConfig(cfg, snsx.Install(publisher)).Publish(t.Context(), &sns.PublishInput{TopicArn: out.TopicArn, Message: &text}); err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, *out.TopicArn)
	}
	stored := w.server.Stored(url)
	for i, attributes := range []int{1, 1, 0} {
		if got := len(stored[i].MessageAttributes); got != attributes {
			t.Errorf("message %d: got %d attributes, want %d by the policy of its Region", i, got, attributes)
		}
	}
	if got := w.contexts("kms:GenerateDataKey"); len(got) != 3 {
		t.Errorf("got data keys under %q, want one for each topic", got)
	}
	out, err := receive(t.Context(), w.accepts(accepted[0]), url)
	if err != nil || !slices.Equal(bodies(out.Messages), []string{"0"}) || len(sqsx.Withheld(out.ResultMetadata)) != 2 {
		t.Errorf("one topic accepted: got %v, %v, want its message, and two withheld", out, err)
	}
}

// TestCheckOfTopic: a publisher and a consumer learn at start what is missing.
func TestCheckOfTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := topicARN("orders")
	if err := w.sealer().Check(t.Context(), topic); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	for _, action := range []string{"kms:GenerateDataKey", "kms:Decrypt"} {
		if got := w.contexts(action); !slices.Equal(got, []string{topic}) {
			t.Errorf("%s was asked under %q, want the topic's ARN", action, got)
		}
	}
	for denied, want := range map[string]struct{ seal, open bool }{
		"kms:GenerateDataKey": {false, true},
		"kms:Decrypt":         {true, false},
	} {
		allow := w.server.Deny(denied)
		s := w.sealer()
		if err := s.CheckSeal(t.Context(), topic); (err == nil) != want.seal {
			t.Errorf("without %s: CheckSeal says %v", denied, err)
		}
		if err := s.CheckOpen(t.Context(), topic); (err == nil) != want.open {
			t.Errorf("without %s: CheckOpen says %v", denied, err)
		}
		err := s.Check(t.Context(), topic)
		if failed, ok := errors.AsType[*sqsx.CheckError](err); !ok || (failed.Seal == nil) != want.seal || (failed.Open == nil) != want.open || !strings.Contains(err.Error(), `topic "arn:`) {
			t.Errorf("without %s: Check says %v", denied, err)
		}
		allow()
	}
	if err := w.sealer(policies(map[string]sqsx.Policy{topic: {NoSeal: true}})).CheckSeal(t.Context(), topic); err != nil {
		t.Errorf("NoSeal: got %v, want nil", err)
	}
	if err := w.sealer().CheckSeal(t.Context(), topic+":subscription"); err == nil || !strings.Contains(err.Error(), "not the ARN of a topic") {
		t.Errorf("a subscription: got %v", err)
	}
}

// TestRoleForTheTopicOnly: a consumer whose role may decrypt under the topic's
// name and not under its queue's, as docs/sns.md has it, receives at full pace.
func TestRoleForTheTopicOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	w.server.Intercept(func(r *sqsxtest.Request) error {
		var in struct{ EncryptionContext map[string]string }
		if r.Action == "kms:Decrypt" && json.Unmarshal(r.Body, &in) == nil && in.EncryptionContext["sealq:queue"] != topic {
			return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized", Fault: smithy.FaultClient}
		}
		return nil
	})
	publisher, consumer := w.publisher(), w.accepts(topic)
	for i := range 3 {
		text := strconv.Itoa(i)
		if _, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: &text}); err != nil {
			t.Fatal(err)
		}
		if got := receiveBodies(t, consumer, url); !slices.Equal(got, []string{text}) {
			t.Errorf("got %q, want %q", got, text)
		}
	}
}
