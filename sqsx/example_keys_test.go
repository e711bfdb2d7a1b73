package sqsx_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
)

// Messages are sealed under a KMS key and under a key of one's own beside it,
// as a way out of a Region: either opens them.
func ExampleNew() {
	ctx := context.Background()
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	inKMS, err := kmskeyring.New(kms.NewFromConfig(cfg), "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	spare, err := envelope.NewRawAESKeyring("example.com", "spare", make([]byte, 32)) // from a vault, not zeros
	if err != nil {
		log.Fatal(err)
	}
	both, err := envelope.NewMultiKeyring(inKMS, spare)
	if err != nil {
		log.Fatal(err)
	}
	producer, err := sqsx.New(both)
	if err != nil {
		log.Fatal(err)
	}
	consumer, err := sqsx.New(spare)
	if err != nil {
		log.Fatal(err)
	}

	_, err = sqs.NewFromConfig(cfg, producer.Install).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")})
	if err != nil {
		log.Fatal(err)
	}
	out, err := sqs.NewFromConfig(cfg, consumer.Install).ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*out.Messages[0].Body)
	// Output: hello
}

// InfoOf tells whether a message was sealed, under which key, and the context
// that its producer gave it.
func ExampleInfoOf() {
	ctx := context.Background()
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.EncryptionContext = map[string]string{"environment": "test"}
	})
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")}); err != nil {
		log.Fatal(err)
	}
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
	if err != nil {
		log.Fatal(err)
	}
	info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId)
	fmt.Println(info.Sealed, info.KeyProvider, info.EncryptionContext["environment"])
	// Output: true aws-kms test
}

// After Purge the next message asks KMS again.
func ExampleSealer_Purge() {
	ctx := context.Background()
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	for range 3 {
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")}); err != nil {
			log.Fatal(err)
		}
		fmt.Println("sealed:", sealer.Stats().Sealed, "data keys fetched:", sealer.Stats().Cache.Fetches)
		if sealer.Stats().Sealed == 2 {
			sealer.Purge()
		}
	}
	// Output:
	// sealed: 1 data keys fetched: 1
	// sealed: 2 data keys fetched: 1
	// sealed: 3 data keys fetched: 2
}

// A message that would be too large once sealed fails before a request is made,
// and the error has both sizes.
func ExampleTooLargeError() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) { o.Policy.MaxMessageBytes = 1024 })
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	_, err = client.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String(strings.Repeat("x", 1000))})
	if tooLarge, ok := errors.AsType[*sqsx.TooLargeError](err); ok {
		fmt.Println(tooLarge.Plain, "bytes as written, more than", tooLarge.Limit, "sealed:", tooLarge.Sealed > tooLarge.Limit)
	}
	// Output: 1000 bytes as written, more than 1024 sealed: true
}
