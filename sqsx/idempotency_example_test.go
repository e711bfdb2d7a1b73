package sqsx_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

// A consumer that does the work of each sealed message once, although somebody
// who controls the queue sends a copy of it.
func ExampleInfo() {
	ctx := context.Background()
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("order 4711")}); err != nil {
		log.Fatal(err)
	}
	plain := sqs.NewFromConfig(cfg)
	stored, err := plain.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL, MessageAttributeNames: []string{"All"}, VisibilityTimeout: 1})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := plain.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: stored.Messages[0].Body, MessageAttributes: stored.Messages[0].MessageAttributes}); err != nil {
		log.Fatal(err)
	}

	worked := make(map[string]bool) // in production a conditional write to a database
	for deleted := 0; deleted < 2; {
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL, MaxNumberOfMessages: 10, WaitTimeSeconds: 2})
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range out.Messages {
			info, ok := sqsx.InfoOf(out.ResultMetadata, *m.MessageId)
			if !ok || !info.Sealed {
				log.Fatal("no SealID: the client has no Sealer, or its policy accepts plaintext")
			}
			if !worked[info.SealID] {
				fmt.Println("work off", *m.Body)
				worked[info.SealID] = true
			}
			if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &queueURL, ReceiptHandle: m.ReceiptHandle}); err != nil {
				log.Fatal(err)
			}
			deleted++
		}
	}
	fmt.Println(len(worked), "message")
	// Output:
	// work off order 4711
	// 1 message
}
