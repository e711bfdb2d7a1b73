package sqsxtest_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// publisher is a plain SNS client that does not wait between attempts.
func publisher(server *sqsxtest.Server) *sns.Client {
	cfg := server.Config()
	cfg.RetryMaxAttempts = 1
	return sns.NewFromConfig(cfg)
}

func publish(t *testing.T, c *sns.Client, topic, text string, attributes map[string]types.MessageAttributeValue) *sns.PublishOutput {
	t.Helper()
	out, err := c.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: &text, MessageAttributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func strAttr(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

// TestSNS drives the life of a topic with the SDK's own client, in process and
// through a socket.
func TestSNS(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(*sqsxtest.Server) aws.Config{
		"in process": (*sqsxtest.Server).Config,
		"socket": func(s *sqsxtest.Server) aws.Config {
			cfg := s.Config()
			cfg.BaseEndpoint, cfg.HTTPClient = aws.String(s.URL()), sqsxtest.LoopbackClient(nil)
			return cfg
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := sqsxtest.New(t)
			client := sns.NewFromConfig(config(server))
			ctx := t.Context()
			topic, err := client.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("orders"), Attributes: map[string]string{"DisplayName": "x & <y>"}})
			if err != nil || *topic.TopicArn != "arn:aws:sns:us-east-1:000000000000:orders" {
				t.Fatalf("got %v, %v", topic, err)
			}
			if again, err := client.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("orders")}); err != nil || *again.TopicArn != *topic.TopicArn {
				t.Errorf("created again: got %v, %v, want the same topic", again, err)
			}
			if _, err := client.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: topic.TopicArn, AttributeName: aws.String("MaximumMessageSize"), AttributeValue: aws.String("1024")}); err != nil {
				t.Error(err)
			}
			attributes, err := client.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: topic.TopicArn})
			if err != nil || attributes.Attributes["DisplayName"] != "x & <y>" || attributes.Attributes["MaximumMessageSize"] != "1024" {
				t.Errorf("got %v, %v", attributes, err)
			}
			queue := server.NewQueue("q")
			sub, err := client.Subscribe(ctx, &sns.SubscribeInput{
				TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:000000000000:q"),
				Attributes: map[string]string{"RawMessageDelivery": "true"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if list, err := client.ListSubscriptionsByTopic(ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: topic.TopicArn}); err != nil || len(list.Subscriptions) != 1 || *list.Subscriptions[0].SubscriptionArn != *sub.SubscriptionArn {
				t.Errorf("got %v, %v, want the subscription", list, err)
			}
			binary := types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}}
			publish(t, client, *topic.TopicArn, "raw & <text>", map[string]types.MessageAttributeValue{"b": binary, "s": strAttr("v")})
			if _, err := client.SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{SubscriptionArn: sub.SubscriptionArn, AttributeName: aws.String("RawMessageDelivery"), AttributeValue: aws.String("false")}); err != nil {
				t.Fatal(err)
			}
			if got, err := client.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: sub.SubscriptionArn}); err != nil || got.Attributes["RawMessageDelivery"] != "false" {
				t.Errorf("got %v, %v", got, err)
			}
			batch, err := client.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: topic.TopicArn, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{
				{Id: aws.String("a"), Message: aws.String("wrapped"), Subject: aws.String("subject"), MessageAttributes: map[string]types.MessageAttributeValue{"b": binary}},
			}})
			if err != nil || len(batch.Successful) != 1 || *batch.Successful[0].Id != "a" {
				t.Fatalf("got %v, %v", batch, err)
			}
			stored := server.Stored(queue)
			if len(stored) != 2 {
				t.Fatalf("got %d messages, want 2", len(stored))
			}
			if diff := cmp.Diff([]byte{0, 1, 255}, stored[0].MessageAttributes["b"].BinaryValue); diff != "" || *stored[0].Body != "raw & <text>" || *stored[0].MessageAttributes["s"].StringValue != "v" {
				t.Errorf("raw: got %q, %v", *stored[0].Body, stored[0].MessageAttributes)
			}
			var notification struct {
				Type, MessageId, TopicArn, Subject, Message string
				MessageAttributes                           map[string]struct{ Type, Value string }
			}
			if err := json.Unmarshal([]byte(*stored[1].Body), &notification); err != nil {
				t.Fatal(err)
			}
			if notification.Type != "Notification" || notification.Message != "wrapped" || notification.Subject != "subject" || notification.TopicArn != *topic.TopicArn ||
				notification.MessageId != *batch.Successful[0].MessageId || notification.MessageAttributes["b"].Value != "AAH/" || len(stored[1].MessageAttributes) != 0 {
				t.Errorf("not raw: got %+v and %d attributes", notification, len(stored[1].MessageAttributes))
			}
			if _, err := client.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: sub.SubscriptionArn}); err != nil {
				t.Error(err)
			}
			publish(t, client, *topic.TopicArn, "nobody", nil)
			if got := len(server.Stored(queue)); got != 2 {
				t.Errorf("got %d messages after Unsubscribe, want 2", got)
			}
			if topics, err := client.ListTopics(ctx, &sns.ListTopicsInput{}); err != nil || len(topics.Topics) != 1 {
				t.Errorf("got %v, %v, want the topic", topics, err)
			}
			if _, err := client.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: topic.TopicArn}); err != nil {
				t.Error(err)
			}
			_, err = client.Publish(ctx, &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("x")})
			if _, ok := errors.AsType[*types.NotFoundException](err); !ok {
				t.Errorf("a deleted topic: got %v, want NotFoundException", err)
			}
		})
	}
}

// TestSNSRefuses has what the service refuses refused with its codes.
func TestSNSRefuses(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := publisher(server)
	ctx := t.Context()
	topic, fifo := server.NewTopic("orders"), server.NewTopic("orders.fifo")
	queue := server.NewQueue("q")
	sub := server.Subscribe(topic, queue)
	west := server.Config()
	west.Region, west.RetryMaxAttempts = "us-west-2", 1
	one := aws.String("x")
	entry := func(id, message string) types.PublishBatchRequestEntry {
		return types.PublishBatchRequestEntry{Id: &id, Message: &message}
	}
	publishIt := func(in sns.PublishInput) error { _, err := client.Publish(ctx, &in); return err }
	batch := func(arn string, entries ...types.PublishBatchRequestEntry) error {
		_, err := client.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &arn, PublishBatchRequestEntries: entries})
		return err
	}
	create := func(name string, attributes map[string]string) error {
		_, err := client.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: attributes})
		return err
	}
	set := func(name, value string) error {
		_, err := client.SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{SubscriptionArn: &sub, AttributeName: &name, AttributeValue: &value})
		return err
	}
	eleven := make([]types.PublishBatchRequestEntry, 11)
	for i := range eleven {
		eleven[i] = entry(strconv.Itoa(i), "x")
	}
	for name, tc := range map[string]struct {
		err  error
		code string
	}{
		"empty message": {publishIt(sns.PublishInput{TopicArn: &topic, Message: aws.String("")}), "InvalidParameter"},
		"no topic":      {publishIt(sns.PublishInput{Message: one}), "InvalidParameter"},
		"no ARN":        {publishIt(sns.PublishInput{TopicArn: aws.String("orders"), Message: one}), "InvalidParameter"},
		"unknown topic": {publishIt(sns.PublishInput{TopicArn: aws.String(topic + "x"), Message: one}), "NotFound"},
		"another Region": {func() error {
			_, err := sns.NewFromConfig(west).Publish(ctx, &sns.PublishInput{TopicArn: &topic, Message: one})
			return err
		}(), "InvalidParameter"},
		"too long":             {publishIt(sns.PublishInput{TopicArn: &topic, Message: aws.String(strings.Repeat("x", 262_145))}), "InvalidParameter"},
		"attribute of no type": {publishIt(sns.PublishInput{TopicArn: &topic, Message: one, MessageAttributes: map[string]types.MessageAttributeValue{"a": {DataType: aws.String("x"), StringValue: one}}}), "ParameterValueInvalid"},
		"ID on standard":       {publishIt(sns.PublishInput{TopicArn: &topic, Message: one, MessageDeduplicationId: one}), "InvalidParameter"},
		"no group":             {publishIt(sns.PublishInput{TopicArn: &fifo, Message: one, MessageDeduplicationId: one}), "InvalidParameter"},
		"no ID":                {publishIt(sns.PublishInput{TopicArn: &fifo, Message: one, MessageGroupId: one}), "InvalidParameter"},
		"no default text":      {publishIt(sns.PublishInput{TopicArn: &topic, Message: aws.String(`{"sqs":"x"}`), MessageStructure: aws.String("json")}), "InvalidParameter"},
		"empty batch":          {batch(topic, []types.PublishBatchRequestEntry{}...), "EmptyBatchRequest"},
		"11 entries":           {batch(topic, eleven...), "TooManyEntriesInBatchRequest"},
		"one ID twice":         {batch(topic, entry("a", "x"), entry("a", "x")), "BatchEntryIdsNotDistinct"},
		"ID with a dot":        {batch(topic, entry("a.b", "x")), "InvalidBatchEntryId"},
		"one bad of two":       {batch(topic, entry("a", "x"), entry("b", "")), "InvalidParameter"},
		"batch too long":       {batch(topic, entry("a", strings.Repeat("x", 131_073)), entry("b", strings.Repeat("x", 131_072))), "BatchRequestTooLong"},
		"topic name":           {create("a b", nil), "InvalidParameter"},
		"FIFO without suffix":  {create("x", map[string]string{"FifoTopic": "true"}), "InvalidParameter"},
		"suffix without FIFO":  {create("x.fifo", nil), "InvalidParameter"},
		"MaximumMessageSize":   {create("x", map[string]string{"MaximumMessageSize": "1048577"}), "InvalidParameter"},
		"other attributes":     {create("orders", map[string]string{"DisplayName": "other"}), "InvalidParameter"},
		"filter is no JSON":    {set("FilterPolicy", "{"), "InvalidParameter"},
		"nested filter":        {set("FilterPolicy", `{"a":{"b":["c"]}}`), "InvalidParameter"},
		"unknown condition":    {set("FilterPolicy", `{"a":[{"numeric":["=",1]}]}`), "InvalidParameter"},
		"raw is maybe":         {set("RawMessageDelivery", "maybe"), "InvalidParameter"},
		"no dead letters":      {set("RedrivePolicy", `{"deadLetterTargetArn":"x"}`), "InvalidParameter"},
		"e-mail": {func() error {
			_, err := client.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("email"), Endpoint: one})
			return err
		}(), "InvalidParameter"},
		"FIFO queue of a standard topic": {func() error {
			_, err := client.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:000000000000:q.fifo")})
			return err
		}(), "InvalidParameter"},
		"unknown subscription": {func() error {
			_, err := client.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: aws.String(topic + ":x")})
			return err
		}(), "NotFound"},
		"unknown operation": {func() error {
			_, err := client.ListPhoneNumbersOptedOut(ctx, &sns.ListPhoneNumbersOptedOutInput{})
			return err
		}(), "InvalidAction"},
	} {
		if api, ok := errors.AsType[smithy.APIError](tc.err); !ok || api.ErrorCode() != tc.code || api.ErrorFault() != smithy.FaultClient && tc.code != "InvalidAction" && tc.code != "ParameterValueInvalid" {
			t.Errorf("%s: got %v, want %s", name, tc.err, tc.code)
		}
	}
	if got := len(server.Stored(queue)); got != 0 {
		t.Errorf("got %d messages, want none", got)
	}
	allow := server.Deny("sns:Publish")
	for name, err := range map[string]error{"Publish": publishIt(sns.PublishInput{TopicArn: &topic, Message: one}), "PublishBatch": batch(topic, entry("a", "x"))} {
		if _, ok := errors.AsType[*types.AuthorizationErrorException](err); !ok {
			t.Errorf("%s without the permission: got %v, want AuthorizationErrorException", name, err)
		}
	}
	allow()
	if err := publishIt(sns.PublishInput{PhoneNumber: aws.String("+49"), Message: one}); err != nil {
		t.Errorf("a text message: %v", err)
	}
	wantPanic(t, "Deny", "no action", func() { server.Deny("sns:Publisch") })
	wantPanic(t, "NewTopic", "Topic Name", func() { server.NewTopic("a b") })
	wantPanic(t, "NewTopic", "no value", func() { server.NewTopic("x", "DisplayName") })
	wantPanic(t, "Subscribe", "not exist", func() { server.Subscribe(topic+"x", queue) })
}

// TestSNSFilters has policies on attributes and on bodies.
func TestSNSFilters(t *testing.T) {
	t.Parallel()
	attributes := map[string]types.MessageAttributeValue{
		"kind": strAttr("order"), "n": {DataType: aws.String("Number"), StringValue: aws.String("5.0")},
		"tags": {DataType: aws.String("String.Array"), StringValue: aws.String(`["a","b"]`)},
		"bin":  {DataType: aws.String("Binary"), BinaryValue: []byte("x")},
	}
	const body = `{"kind":"order","n":5,"inner":{"deep":true},"tags":["a","b"]}`
	for policy, want := range map[string]struct{ byAttributes, byBody bool }{
		`{"kind":["order"]}`:                              {true, true},
		`{"kind":["invoice","order"]}`:                    {true, true},
		`{"kind":["invoice"]}`:                            {false, false},
		`{"kind":["order"],"n":[5]}`:                      {true, true},
		`{"kind":["order"],"n":[6]}`:                      {false, false},
		`{"kind":[{"prefix":"or"}]}`:                      {true, true},
		`{"kind":[{"suffix":"der"}]}`:                     {true, true},
		`{"kind":[{"prefix":"der"}]}`:                     {false, false},
		`{"kind":[{"anything-but":"invoice"}]}`:           {true, true},
		`{"kind":[{"anything-but":["invoice","order"]}]}`: {false, false},
		`{"tags":["b"]}`:                                  {true, true},
		`{"tags":["c"]}`:                                  {false, false},
		`{"none":[{"exists":false}]}`:                     {true, true},
		`{"kind":[{"exists":true}]}`:                      {true, true},
		`{"bin":[{"exists":true}]}`:                       {false, false}, // Binary attributes do not count
		`{"none":["x"]}`:                                  {false, false},
	} {
		for scope, expected := range map[string]bool{"MessageAttributes": want.byAttributes, "MessageBody": want.byBody} {
			server := sqsxtest.New(t)
			topic, queue := server.NewTopic("t"), server.NewQueue("q")
			server.Subscribe(topic, queue, "FilterPolicyScope", scope, "FilterPolicy", policy)
			publish(t, publisher(server), topic, body, attributes)
			if got := len(server.Stored(queue)) == 1; got != expected {
				t.Errorf("%s by %s: delivered %t, want %t", policy, scope, got, expected)
			}
		}
	}
	server := sqsxtest.New(t)
	topic, queue := server.NewTopic("t"), server.NewQueue("q")
	server.Subscribe(topic, queue, "FilterPolicyScope", "MessageBody", "FilterPolicy", `{"inner":{"deep":[true]}}`)
	for _, b := range []string{body, `{"inner":{"deep":false}}`, `{"inner":1}`, "no JSON"} {
		publish(t, publisher(server), topic, b, nil)
	}
	if got := len(server.Stored(queue)); got != 1 {
		t.Errorf("nested: got %d messages, want 1", got)
	}
}

// TestSNSDeliversOrGivesUp: what its queue does not take goes to the
// dead-letter queue of the subscription, or is lost.
func TestSNSDeliversOrGivesUp(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	topic := server.NewTopic("t")
	small, dead, good := server.NewQueue("small", "MaximumMessageSize", "1024"), server.NewQueue("dead"), server.NewQueue("good")
	server.Subscribe(topic, small, "RawMessageDelivery", "true", "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead"}`)
	server.Subscribe(topic, "https://sqs.us-east-1.amazonaws.com/000000000000/gone")
	server.Subscribe(topic, good, "RawMessageDelivery", "true")
	eleven := make(map[string]types.MessageAttributeValue)
	for i := range 11 {
		eleven["a"+strconv.Itoa(i)] = strAttr("v")
	}
	client := publisher(server)
	publish(t, client, topic, "fits", nil)
	publish(t, client, topic, strings.Repeat("x", 2000), nil)
	publish(t, client, topic, "11 attributes", eleven)
	for name, want := range map[string]struct {
		queue string
		n     int
	}{"small": {small, 1}, "dead": {dead, 1}, "good": {good, 2}} {
		if got := len(server.Stored(want.queue)); got != want.n {
			t.Errorf("%s: got %d messages, want %d", name, got, want.n)
		}
	}
}

// TestSNSFIFO: deduplication lasts five minutes, by ID or content, and the
// queue gets group, ID and order.
func TestSNSFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		topic := server.NewTopic("t.fifo", "ContentBasedDeduplication", "true")
		fifo, standard := server.NewQueue("q.fifo"), server.NewQueue("q")
		server.Subscribe(topic, fifo, "RawMessageDelivery", "true")
		server.Subscribe(topic, standard, "RawMessageDelivery", "true")
		client := publisher(server)
		send := func(body string, id *string) *sns.PublishOutput {
			out, err := client.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: &body, MessageGroupId: aws.String("g"), MessageDeduplicationId: id})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		first := send("a", nil)
		if again := send("a", nil); *again.MessageId != *first.MessageId || *again.SequenceNumber != *first.SequenceNumber {
			t.Error("a duplicate got an answer of its own")
		}
		if second := send("b", nil); *second.SequenceNumber <= *first.SequenceNumber {
			t.Errorf("got sequence numbers %s and %s, want them ascending", *first.SequenceNumber, *second.SequenceNumber)
		}
		send("a", aws.String("own"))
		time.Sleep(5*time.Minute + time.Second)
		send("a", nil)
		var got []string
		for _, m := range server.Stored(fifo) {
			got = append(got, *m.Body+" "+m.Attributes["MessageGroupId"]+" "+m.Attributes["MessageDeduplicationId"][:3])
		}
		const hash = "ca9" // SHA-256 of "a" is ca978112...
		if diff := cmp.Diff([]string{"a g " + hash, "b g 3e2", "a g own", "a g " + hash}, got); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
		if got := len(server.Stored(standard)); got != 4 {
			t.Errorf("got %d messages at the standard queue, want 4", got)
		}
	})
}

// FuzzServeSNS: whatever form arrives, the answer is XML, and an error has a
// code. Nothing panics.
func FuzzServeSNS(f *testing.F) {
	server := sqsxtest.New(f)
	topic := url.QueryEscape(server.NewTopic("t"))
	server.Subscribe(server.NewTopic("t.fifo", "ContentBasedDeduplication", "true"), server.NewQueue("q.fifo"))
	sub := url.QueryEscape(server.Subscribe("arn:aws:sns:us-east-1:000000000000:t", server.NewQueue("q"), "RawMessageDelivery", "true"))
	for _, body := range []string{
		"Action=Publish&TopicArn=" + topic + "&Message=x&MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.DataType=Binary&MessageAttributes.entry.1.Value.BinaryValue=AA%3D%3D",
		"Action=Publish&TargetArn=" + topic + ".fifo&Message=%7B%22default%22%3A%22x%22%7D&MessageStructure=json&MessageGroupId=g",
		"Action=PublishBatch&TopicArn=" + topic + "&PublishBatchRequestEntries.member.1.Id=a&PublishBatchRequestEntries.member.1.Message=x",
		"Action=CreateTopic&Name=n&Attributes.entry.1.key=FifoTopic&Attributes.entry.1.value=false",
		"Action=Subscribe&Protocol=sqs&TopicArn=" + topic + "&Endpoint=arn%3Aaws%3Asqs%3Aus-east-1%3A000000000000%3Aq2",
		"Action=SetSubscriptionAttributes&SubscriptionArn=" + sub + "&AttributeName=FilterPolicy&AttributeValue=%7B%22a%22%3A%5B%7B%22prefix%22%3A%22x%22%7D%5D%7D",
		"Action=GetSubscriptionAttributes&SubscriptionArn=" + sub, "Action=ListSubscriptionsByTopic&TopicArn=" + topic, "Action=ListTopics",
		"Action=SetTopicAttributes&TopicArn=" + topic + "&AttributeName=DisplayName&AttributeValue=%00%01", "Action=%3Cx%3E", "", "%",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "https://sns.us-east-1.amazonaws.com/", strings.NewReader("Version=2010-03-31&"+body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if strings.Contains(w.Header().Get("Content-Type"), "json") {
			return // the form could not be read, so that it is nobody's
		}
		dec := xml.NewDecoder(w.Body)
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
		}
		if w.Code >= 500 {
			t.Fatalf("got status %d", w.Code)
		}
	})
}
