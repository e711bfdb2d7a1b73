package sealq_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

// A service asks at start whether it may seal and open.
func Example_check() {
	ctx := context.Background()
	server, cfg, url := world()
	defer server.Close()
	queueURL := *url
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}

	if err := sealer.Check(ctx, queueURL); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	// Output: ready
}

// The key was changed by configuration: messages under the old one still open.
func Example_decryptKeys() {
	ctx := context.Background()
	server, cfg, queueURL := world()
	defer server.Close()
	keys := kms.NewFromConfig(cfg)
	old, err := keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/orders")})
	if err != nil {
		log.Fatal(err)
	}
	next, err := keys.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		log.Fatal(err)
	}
	oldKeyARN, newKeyARN := *old.KeyMetadata.Arn, *next.KeyMetadata.Arn
	before, err := sqsx.NewFromConfig(cfg, oldKeyARN)
	if err != nil {
		log.Fatal(err)
	}
	in := &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: aws.String("sealed under the old key")}
	if _, err := sqs.NewFromConfig(cfg, before.Install).SendMessage(ctx, in); err != nil {
		log.Fatal(err)
	}

	sealer, err := sqsx.NewFromConfig(cfg, newKeyARN, func(o *sqsx.Options) {
		o.KMSKeyring.DecryptKeys = []string{oldKeyARN}
	})
	if err != nil {
		log.Fatal(err)
	}
	out, err := sqs.NewFromConfig(cfg, sealer.Install).ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queueURL})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*out.Messages[0].Body)
	// Output: sealed under the old key
}

// A queue that is being migrated, and its dead-letter queue.
func Example_migration() {
	ctx := context.Background()
	server, cfg, queueURL := world()
	defer server.Close()
	in := &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: aws.String("sent by an old producer")}
	if _, err := sqs.NewFromConfig(cfg).SendMessage(ctx, in); err != nil {
		log.Fatal(err)
	}

	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{
			"orders":     {AcceptPlaintext: true},
			"orders-dlq": {AcceptPlaintext: true},
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	out, err := sqs.NewFromConfig(cfg, sealer.Install).ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queueURL})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*out.Messages[0].Body, sealer.Stats().OpenedPlain)
	// Output: sent by an old producer 1
}
