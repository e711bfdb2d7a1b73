package main

import (
	"context"
	"encoding/json"
	"log"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// pause is how long the consumer waits after a receive that failed.
const pause = time.Second

// consumer works off the orders of a queue.
type consumer struct {
	client   *sqs.Client
	queueURL string
	handle   func(context.Context, order) error
}

// run receives until ctx ends.
func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		out, err := c.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl:              &c.queueURL,
			MaxNumberOfMessages:   10,
			WaitTimeSeconds:       20,
			MessageAttributeNames: []string{"source"},
		})
		if err != nil {
			if ctx.Err() == nil {
				log.Printf("receive: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		for _, m := range out.Messages {
			// What has been received is finished, even if the service is to stop.
			if err := c.work(context.WithoutCancel(ctx), m); err != nil {
				log.Printf("order %s: %v", aws.ToString(m.MessageId), err)
			}
		}
	}
}

// work handles one message and deletes it. A message that fails stays in the
// queue, and the redrive policy takes care of it if that goes on.
func (c *consumer) work(ctx context.Context, m types.Message) error {
	var o order
	if err := json.Unmarshal([]byte(aws.ToString(m.Body)), &o); err != nil {
		return err
	}
	if err := c.handle(ctx, o); err != nil {
		return err
	}
	_, err := c.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &c.queueURL, ReceiptHandle: m.ReceiptHandle})
	return err
}
