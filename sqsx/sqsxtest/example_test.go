package sqsxtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// worker is the service under test: it takes orders from a queue, and leaves those that it cannot handle.
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

// TestWorker is what a test of one's own service looks like. In a synctest bubble visibility timeouts cost no time.
func TestWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		client := sqs.NewFromConfig(server.Config())
		queue := createQueue(t, client, "orders", "VisibilityTimeout", "30")
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

	created, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := &worker{client: client, queue: *created.QueueUrl, handle: func(order string) error {
		fmt.Println("handled:", order)
		return nil
	}}
	_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &w.queue, MessageBody: aws.String("one pallet")})
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
	// sqs:CreateQueue us-east-1
	// sqs:SendMessage us-east-1
	// sqs:ReceiveMessage us-east-1
	// sqs:DeleteMessage us-east-1
}

// KMS is served beside SQS.
func ExampleServer_Config() {
	server := sqsxtest.Start()
	defer server.Close()
	ctx := context.Background()
	client := kms.NewFromConfig(server.Config())

	key, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: key.KeyMetadata.KeyId})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: aws.String("alias/orders"), KeySpec: kmstypes.DataKeySpecAes256})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(out.Plaintext), *out.KeyId == *key.KeyMetadata.Arn)
	// Output: 32 true
}

// Refuse what an IAM policy would refuse.
func ExampleServer_Intercept() {
	server := sqsxtest.Start()
	defer server.Close()
	server.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "sqs:SendMessage" {
			return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no identity-based policy allows the sqs:SendMessage action"}
		}
		return nil
	})
	client := sqs.NewFromConfig(server.Config())
	_, err := client.SendMessage(context.Background(), &sqs.SendMessageInput{
		QueueUrl:    aws.String("https://sqs.us-east-1.amazonaws.com/000000000000/orders"),
		MessageBody: aws.String("one pallet"),
	})
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		fmt.Println(apiErr.ErrorCode() + ": " + apiErr.ErrorMessage())
	}
	// Output: AccessDeniedException: no identity-based policy allows the sqs:SendMessage action
}

// The socket is for other processes, and for what a transport in the same process cannot show.
func ExampleServer_URL() {
	server := sqsxtest.Start()
	defer server.Close()
	cfg := server.Config()
	cfg.BaseEndpoint = aws.String(server.URL())
	cfg.HTTPClient = nil
	out, err := sqs.NewFromConfig(cfg).CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*out.QueueUrl == server.URL()+"/queue/us-east-1/000000000000/orders")
	// Output: true
}
