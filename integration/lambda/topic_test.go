package lambda_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/integration/launch"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/snsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// orderSecret is in the body and in an attribute of the order.
const orderSecret = "s3cret-order"

// TestOrderFromTopicToFunction has an order with attributes go from an SNS
// topic to a queue and to a function under aws-lambda-go. On no wire is
// anything of it but ciphertext, and the attribute that a filter reads.
func TestOrderFromTopicToFunction(t *testing.T) {
	t.Parallel()
	t.Run("sqsxtest", func(t *testing.T) { orderFromTopic(t, sqsxtest.New(t).Config()) })
	t.Run("LocalStack", func(t *testing.T) {
		e, err := launch.Find("LocalStack")
		if err != nil {
			t.Fatal(err)
		}
		orderFromTopic(t, launch.Use(t, e).Config())
	})
}

func orderFromTopic(t *testing.T, cfg aws.Config) {
	ctx := t.Context()
	wires := &tap{next: cfg.HTTPClient}
	cfg.HTTPClient = wires
	key, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	name := "orders-" + strings.ToLower(rand.Text()[:12])
	plain, queues := sns.NewFromConfig(cfg), sqs.NewFromConfig(cfg)
	topic, err := plain.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	arn := strings.Replace(*topic.TopicArn, ":sns:", ":sqs:", 1)
	if _, err := plain.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: &arn,
		Attributes: map[string]string{"RawMessageDelivery": "true", "FilterPolicy": `{"kind":["order"]}`},
	}); err != nil {
		t.Fatal(err)
	}

	// The publisher
	sealer, err := sqsx.NewFromConfig(cfg, *key.KeyMetadata.Arn, func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{*topic.TopicArn: {SealAttributes: true, ClearAttributes: []string{"kind"}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) snstypes.MessageAttributeValue {
		return snstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
	}
	if _, err := sns.NewFromConfig(cfg, snsx.Install(sealer)).Publish(ctx, &sns.PublishInput{
		TopicArn: topic.TopicArn, Message: aws.String(`{"order":"` + orderSecret + `"}`),
		MessageAttributes: map[string]snstypes.MessageAttributeValue{"kind": text("order"), "customer": text(orderSecret)},
	}); err != nil {
		t.Fatal(err)
	}

	// What Lambda's poller does, which has no key: it asks for all attributes.
	var record types.Message
	for deadline := time.Now().Add(30 * time.Second); record.Body == nil; {
		out, err := queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: queue.QueueUrl, WaitTimeSeconds: 1, MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 1 {
			record = out.Messages[0]
		} else if time.Now().After(deadline) {
			t.Fatal("nothing arrived in 30 seconds")
		}
	}
	m := events.SQSMessage{
		MessageId: *record.MessageId, ReceiptHandle: *record.ReceiptHandle, Body: *record.Body, Attributes: record.Attributes,
		EventSource: "aws:sqs", EventSourceARN: arn, AWSRegion: "us-east-1", MessageAttributes: make(map[string]events.SQSMessageAttribute),
	}
	for name, a := range record.MessageAttributes {
		m.MessageAttributes[name] = events.SQSMessageAttribute{StringValue: a.StringValue, BinaryValue: a.BinaryValue, DataType: *a.DataType}
	}
	event := marshal(t, events.SQSEvent{Records: []events.SQSMessage{m}})
	wires.look(event)

	// The function
	opener, err := sqsx.NewFromConfig(cfg, *key.KeyMetadata.Arn, func(o *sqsx.Options) { o.Policy.AcceptTopics = []string{*topic.TopicArn} })
	if err != nil {
		t.Fatal(err)
	}
	var got []lambdax.Message
	function := lambda.NewHandler(lambdax.New(opener, func(_ context.Context, m lambdax.Message) error {
		got = append(got, m)
		return nil
	}, func(o *lambdax.Options) { o.ReportsFailures = true }).Handle)
	answer, err := function.Invoke(ctx, event)
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ BatchItemFailures []any }
	if err := json.Unmarshal(answer, &report); err != nil || len(report.BatchItemFailures) != 0 {
		t.Errorf("got the answer %s, want no failure", answer)
	}
	if len(got) != 1 || *got[0].Body != `{"order":"`+orderSecret+`"}` {
		t.Fatalf("got %v, want the order", got)
	}
	attributes := got[0].MessageAttributes
	if len(attributes) != 2 || *attributes["kind"].StringValue != "order" || *attributes["customer"].StringValue != orderSecret {
		t.Errorf("got the attributes %v, want the publisher's", attributes)
	}
	if got[0].Info.EncryptionContext["sealq:queue"] != *topic.TopicArn || got[0].Info.SealedAt.IsZero() {
		t.Errorf("got %+v, want the topic and the time", got[0].Info)
	}
	wires.check(t)
}

// tap looks at all that goes through an HTTP client, in both directions.
type tap struct {
	next aws.HTTPClient

	mu             sync.Mutex // guards what follows
	seen, revealed int        // bodies, and those with the secret
}

func (w *tap) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		w.look(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := w.next.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if err := response.Body.Close(); err != nil {
		return nil, err
	}
	w.look(body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// look searches for the secret, as it is and in base64.
func (w *tap) look(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	revealed := bytes.Contains(body, []byte(orderSecret))
	for i := range 3 { // at each place in a group of three bytes
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", i) + orderSecret))
		revealed = revealed || bytes.Contains(body, []byte(encoded[4:len(encoded)-4]))
	}
	if revealed {
		w.revealed++
	}
}

func (w *tap) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen < 10 || w.revealed > 0 {
		t.Errorf("saw %d bodies on the wires, %d with plaintext; want some, and none", w.seen, w.revealed)
	}
}
