package sqsx_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
)

// A batch for a FIFO queue has an entry without a deduplication ID. SQS fails
// the whole call, and so does sealq; the error has the entry.
func ExampleBatchError() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	_, err = client.SendMessageBatch(context.Background(), &sqs.SendMessageBatchInput{
		QueueUrl: aws.String(queueURL + ".fifo"),
		Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("first"), MessageBody: aws.String("one"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("1")},
			{Id: aws.String("second"), MessageBody: aws.String("two"), MessageGroupId: aws.String("g")},
		},
	})
	if batch, ok := errors.AsType[*sqsx.BatchError](err); ok {
		for _, entry := range batch.Failed {
			fmt.Println(*entry.Id, *entry.Code)
		}
	}
	// Output: second InvalidParameterValue
}
