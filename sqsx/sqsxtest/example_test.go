package sqsxtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// worker is the service under test: it takes orders from a queue, and leaves
// those that it cannot handle.
type worker struct {
	client *sqs.Client
	queue  string
	handle func(order string) error
}

func (w *worker) poll(ctx context.Context) error {
	out, err := w.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &w.queue, WaitTimeSeconds: 20})
	if err != nil {
		return err
	}
	for _, m := range out.Messages {
		if w.handle(*m.Body) != nil {
			continue
		}
		if _, err := w.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &w.queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
			return err
		}
	}
	return nil
}

// TestWorker is what a test of one's own service looks like. In a synctest
// bubble visibility timeouts cost no time.
func TestWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		client := sqs.NewFromConfig(server.Config())
		queue := server.NewQueue("orders", "VisibilityTimeout", "30")
		send(t, client, queue, "one pallet")

		tries := 0
		w := &worker{client: client, queue: queue, handle: func(string) error {
			if tries++; tries == 1 {
				return errors.New("warehouse closed")
			}
			return nil
		}}
		start := time.Now()
		for len(server.Stored(queue)) > 0 {
			if err := w.poll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if tries != 2 || time.Since(start) != 30*time.Second {
			t.Errorf("got %d tries in %v, want a second one after the visibility timeout", tries, time.Since(start))
		}
	})
}

// A program uses Start; a test uses New, which closes the Server by itself.
func Example() {
	server := sqsxtest.Start()
	defer server.Close()
	ctx := context.Background()
	client := sqs.NewFromConfig(server.Config())

	w := &worker{client: client, queue: server.NewQueue("orders"), handle: func(order string) error {
		fmt.Println("handled:", order)
		return nil
	}}
	_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &w.queue, MessageBody: aws.String("one pallet")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stored:", len(server.Stored(w.queue)))
	if err := w.poll(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stored:", len(server.Stored(w.queue)))
	for _, r := range server.Requests() {
		fmt.Println(r.Action, r.Region)
	}
	// Output:
	// stored: 1
	// handled: one pallet
	// stored: 0
	// sqs:SendMessage us-east-1
	// sqs:ReceiveMessage us-east-1
	// sqs:DeleteMessage us-east-1
}

// A program that is not a test closes its Server by itself.
func ExampleStart() {
	server := sqsxtest.Start()
	defer server.Close()
	client := sqs.NewFromConfig(server.Config())
	out, err := client.CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*out.QueueUrl)
	// Output: https://sqs.us-east-1.amazonaws.com/000000000000/orders
}

func ExampleNew() {
	// In a test file. The Server is closed when the test ends.
	_ = func(t *testing.T) {
		server := sqsxtest.New(t)
		client := sqs.NewFromConfig(server.Config())
		queue := server.NewQueue("orders")
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("one pallet")}); err != nil {
			t.Fatal(err)
		}
		if got := len(server.Stored(queue)); got != 1 {
			t.Errorf("got %d stored messages, want 1", got)
		}
	}
	// Output:
}

// KMS is served beside SQS, and both by their whole APIs.
func ExampleServer_Config() {
	server := sqsxtest.Start()
	defer server.Close()
	ctx := context.Background()
	client := kms.NewFromConfig(server.Config())

	key, err := client.CreateKey(ctx, &kms.CreateKeyInput{Description: aws.String("orders")})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.KeyMetadata.KeyId, KeySpec: kmstypes.DataKeySpecAes256})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(out.Plaintext), *out.KeyId == *key.KeyMetadata.Arn)
	// Output: 32 true
}

// sealedClient is what the examples below test: it seals what it sends.
func sealedClient(server *sqsxtest.Server, keyID string) (*sqs.Client, error) {
	sealer, err := sqsx.NewFromConfig(server.Config(), keyID, func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	if err != nil {
		return nil, err
	}
	return sqs.NewFromConfig(server.Config(), sealer.Install), nil
}

// A key with an alias, in one line.
func ExampleServer_NewKey() {
	server := sqsxtest.Start()
	defer server.Close()
	arn := server.NewKey("alias/orders")
	out, err := kms.NewFromConfig(server.Config()).DescribeKey(context.Background(), &kms.DescribeKeyInput{KeyId: aws.String("alias/orders")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*out.KeyMetadata.Arn == arn, out.KeyMetadata.KeyState)
	// Output: true Enabled
}

// A queue with a dead-letter queue.
func ExampleServer_NewQueue() {
	server := sqsxtest.Start()
	defer server.Close()
	dead := server.NewQueue("orders-dead")
	queue := server.NewQueue("orders", "VisibilityTimeout", "0", "RedrivePolicy", sqsxtest.RedrivePolicy(dead, 2))

	ctx, client := context.Background(), sqs.NewFromConfig(server.Config())
	if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("one pallet")}); err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("received:", len(out.Messages))
	}
	fmt.Println("dead:", *server.Stored(dead)[0].Body)
	// Output:
	// received: 1
	// received: 1
	// received: 0
	// dead: one pallet
}

// A queue gets what is published to a topic, as it was published.
func ExampleServer_NewTopic() {
	server := sqsxtest.Start()
	defer server.Close()
	topic, queue := server.NewTopic("orders"), server.NewQueue("billing")
	server.Subscribe(topic, queue, "RawMessageDelivery", "true")

	client := sns.NewFromConfig(server.Config())
	if _, err := client.Publish(context.Background(), &sns.PublishInput{TopicArn: &topic, Message: aws.String("hello")}); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range server.Stored(queue) {
		fmt.Println(*m.Body)
	}
	// Output: hello
}

// keyItem is the key of an item in the examples.
func keyItem(id, kind string) map[string]ddbtypes.AttributeValue {
	return map[string]ddbtypes.AttributeValue{
		"branch-key-id": &ddbtypes.AttributeValueMemberS{Value: id},
		"type":          &ddbtypes.AttributeValueMemberS{Value: kind},
	}
}

// A table, and a transaction that is refused as a whole because one of its
// items exists.
func ExampleServer_NewTable() {
	server := sqsxtest.Start()
	defer server.Close()
	ctx := context.Background()
	client := dynamodb.NewFromConfig(server.Config())
	table := server.NewTable("keys", "branch-key-id", "type")
	fmt.Println(table)

	put := func(kind string) ddbtypes.TransactWriteItem {
		return ddbtypes.TransactWriteItem{Put: &ddbtypes.Put{
			TableName: &table, Item: keyItem("orders", kind),
			ConditionExpression:      aws.String("attribute_not_exists(#id)"),
			ExpressionAttributeNames: map[string]string{"#id": "branch-key-id"},
		}}
	}
	_, err := client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []ddbtypes.TransactWriteItem{put("branch:ACTIVE"), put("branch:version:1")},
	})
	fmt.Println(err)
	_, err = client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []ddbtypes.TransactWriteItem{put("branch:version:2"), put("branch:ACTIVE")},
	})
	if cancelled, ok := errors.AsType[*ddbtypes.TransactionCanceledException](err); ok {
		for _, reason := range cancelled.CancellationReasons {
			fmt.Println(*reason.Code)
		}
	}
	// Output:
	// arn:aws:dynamodb:us-east-1:000000000000:table/keys
	// <nil>
	// None
	// ConditionalCheckFailed
}

// A reader meets an item that was written a moment ago. It has to read again,
// consistently, before it may say that there is none.
func ExampleServer_StaleReads() {
	server := sqsxtest.Start()
	defer server.Close()
	ctx := context.Background()
	client := dynamodb.NewFromConfig(server.Config())
	table := server.NewTable("keys", "branch-key-id", "type")

	fresh := server.StaleReads()
	if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: keyItem("orders", "branch:version:1")}); err != nil {
		fmt.Println(err)
		return
	}
	found := func(consistent bool) bool {
		out, err := client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &table, Key: keyItem("orders", "branch:version:1"), ConsistentRead: &consistent,
		})
		return err == nil && out.Item != nil
	}
	fmt.Println(found(false), found(true))
	fresh()
	fmt.Println(found(false))
	// Output:
	// false true
	// true
}

// What a client of DynamoDB gets in an outage.
func ExampleServer_CutDynamoDB() {
	server := sqsxtest.Start()
	defer server.Close()
	defer server.CutDynamoDB()() // in a test: t.Cleanup(server.CutDynamoDB())

	client := dynamodb.NewFromConfig(server.Config(), func(o *dynamodb.Options) { o.RetryMaxAttempts = 1 })
	_, err := client.ListTables(context.Background(), nil)
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED))
	// Output: true
}

// What a service does without a permission.
func ExampleServer_Deny() {
	server := sqsxtest.Start()
	defer server.Close()
	allow := server.Deny("kms:GenerateDataKey")

	queue := server.NewQueue("orders")
	client, err := sealedClient(server, server.NewKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	in := &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("one pallet")}
	_, err = client.SendMessage(context.Background(), in)
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		fmt.Println(apiErr.ErrorCode())
	}

	allow()
	client, err = sealedClient(server, server.NewKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.SendMessage(context.Background(), in)
	fmt.Println(err)
	// Output:
	// AccessDeniedException
	// <nil>
}

// What a service does in an outage.
func ExampleServer_CutKMS() {
	server := sqsxtest.Start()
	defer server.Close()
	defer server.CutKMS()() // in a test: t.Cleanup(server.CutKMS())

	queue := server.NewQueue("orders")
	client, err := sealedClient(server, server.NewKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("one pallet")})
	fmt.Println(errors.Is(err, envelope.ErrUnavailable), len(server.Stored(queue)))
	// Output: true 0
}

// What a consumer does with a message that somebody altered on its way.
func ExampleServer_Tamper() {
	server := sqsxtest.Start()
	defer server.Close()
	queue := server.NewQueue("orders", "VisibilityTimeout", "0")
	client, err := sealedClient(server, server.NewKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("one pallet")}); err != nil {
		fmt.Println(err)
		return
	}

	restore := server.Tamper(queue)
	_, err = client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue})
	fmt.Println(errors.Is(err, envelope.ErrAuthentication))

	restore()
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue, WaitTimeSeconds: 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*out.Messages[0].Body)
	// Output:
	// true
	// one pallet
}

// Any other fault: here KMS throttles, and SQS does not.
func ExampleServer_Intercept() {
	server := sqsxtest.Start()
	defer server.Close()
	server.Intercept(func(r *sqsxtest.Request) error {
		if strings.HasPrefix(r.Action, "kms:") {
			return &smithy.GenericAPIError{Code: "ThrottlingException", Message: "Rate exceeded"}
		}
		return nil
	})
	cfg := server.Config()
	cfg.RetryMaxAttempts = 1
	_, err := kms.NewFromConfig(cfg).GenerateRandom(context.Background(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(8)})
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		fmt.Println(apiErr.ErrorCode() + ": " + apiErr.ErrorMessage())
	}
	// Output: ThrottlingException: Rate exceeded
}

// The socket is for other processes, and for what a transport in the same
// process cannot show.
func ExampleServer_URL() {
	server := sqsxtest.Start()
	defer server.Close()
	cfg := server.Config()
	cfg.BaseEndpoint = aws.String(server.URL())
	cfg.HTTPClient = sqsxtest.LoopbackClient(nil)
	out, err := sqs.NewFromConfig(cfg).CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*out.QueueUrl == server.URL()+"/queue/us-east-1/000000000000/orders")
	// Output: true
}

// Any SDK client whose server is on the same machine, such as LocalStack. Here
// an httptest.Server stands for it.
func ExampleLoopbackClient() {
	server := sqsxtest.Start()
	defer server.Close()
	local := httptest.NewServer(server)
	defer local.Close()

	cfg := aws.Config{
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		BaseEndpoint: aws.String(local.URL), // http://localhost:4566
		HTTPClient:   sqsxtest.LoopbackClient(nil),
	}
	out, err := sqs.NewFromConfig(cfg).ListQueues(context.Background(), &sqs.ListQueuesInput{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(out.QueueUrls))
	// Output: 0
}
