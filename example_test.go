package sealq_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// world starts an SQS and a KMS in memory, with a queue and a key. A service
// has a config from config.LoadDefaultConfig in its place.
func world() (server *sqsxtest.Server, cfg aws.Config, queueURL *string) {
	server = sqsxtest.Start()
	server.NewKey("alias/orders")
	return server, server.Config(), aws.String(server.NewQueue("orders"))
}

// The whole adoption, and a message that goes through a queue.
func Example() {
	ctx := context.Background()
	server, cfg, queueURL := world()
	defer server.Close()

	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)

	_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: aws.String("4711")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("in the queue:    %.11s...\n", *server.Stored(*queueURL)[0].Body)
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queueURL})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("in the consumer:", *out.Messages[0].Body)
	// Output:
	// in the queue:    /////wAAAAE...
	// in the consumer: 4711
}

// A response that holds nothing but messages that do not open is an error.
func Example_withheld() {
	ctx := context.Background()
	server, cfg, queueURL := world()
	defer server.Close()
	_, err := sqs.NewFromConfig(cfg).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: aws.String("not sealed")})
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)

	in := &sqs.ReceiveMessageInput{QueueUrl: queueURL}
	out, err := client.ReceiveMessage(ctx, in)
	if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
		for _, w := range failed.Withheld {
			log.Printf("message %s withheld: %v", *w.Message.MessageId, w.Err)
		}
	}
	fmt.Println(out == nil, errors.Is(err, sqsx.ErrNotSealed), errors.Is(err, envelope.ErrInvalidMessage))
	// Output: true true true
}

// Options are functions, as everywhere in the SDK.
func Example_options() {
	ctx := context.Background()
	server, cfg, queueURL := world()
	defer server.Close()

	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.EncryptionContext = map[string]string{"environment": "production"}
		o.Cache.ReusePeriod = 15 * time.Minute
		o.Queues = map[string]sqsx.Policy{
			"orders*": {MaxMessageBytes: 262_144},
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	client := sealer.Wrap(sqs.NewFromConfig(cfg))
	for _, size := range []int{190_000, 200_000} { // 200,000 bytes fit in plaintext only
		_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: aws.String(strings.Repeat("x", size))})
		tooLarge, ok := errors.AsType[*sqsx.TooLargeError](err)
		fmt.Println(size, ok && tooLarge.Limit == 262_144)
	}
	// Output:
	// 190000 false
	// 200000 true
}
