package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// This file is what any service has. Nothing in it knows of sealq.

func (w *world) send(ctx context.Context, client *sqs.Client, body string) error {
	_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: &body})
	return err
}

// thousand sends and receives 1,000 messages in batches of ten.
func (w *world) thousand(ctx context.Context, client *sqs.Client) (received int, err error) {
	for batch := range 100 {
		in := &sqs.SendMessageBatchInput{QueueUrl: w.url}
		for i := range 10 {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
				Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(fmt.Sprintf("order %d", 10*batch+i)),
			})
		}
		out, err := client.SendMessageBatch(ctx, in)
		if err != nil {
			return 0, err
		}
		if len(out.Failed) > 0 {
			return 0, fmt.Errorf("%d of 10 messages not sent, the first: %s", len(out.Failed), aws.ToString(out.Failed[0].Message))
		}
	}
	for began := time.Now(); received < 1000; {
		bodies, err := w.consume(ctx, client)
		// Where an answer was lost on its way, its messages come back when their
		// visibility timeout of 30 seconds ends.
		if err != nil && (!errors.Is(err, errEmpty) || time.Since(began) > time.Minute) {
			return received, err
		}
		received += len(bodies)
	}
	return received, nil
}

var errEmpty = errors.New("the queue is empty")

// consume receives up to ten messages, and deletes them.
func (w *world) consume(ctx context.Context, client *sqs.Client) (bodies []string, err error) {
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: w.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 2})
	if err != nil {
		return nil, err
	}
	if len(out.Messages) == 0 {
		return nil, errEmpty
	}
	for _, m := range out.Messages {
		bodies = append(bodies, *m.Body)
		if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: w.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			return bodies, err
		}
	}
	return bodies, nil
}

// peek shows what the outsider sees of the next message, and puts it back.
func (w *world) peek(ctx context.Context) (m types.Message, err error) {
	out, err := w.outsider.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: w.url, WaitTimeSeconds: 2, MessageAttributeNames: []string{"All"}})
	if err != nil {
		return m, err
	}
	if len(out.Messages) == 0 {
		return m, errEmpty
	}
	m = out.Messages[0]
	_, err = w.outsider.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: w.url, ReceiptHandle: m.ReceiptHandle})
	return m, err
}

// forge sends what the outsider saw, with one character of the body changed.
func (w *world) forge(ctx context.Context) error {
	body := []byte(*w.seen.Body)
	if body[50] == 'A' {
		body[50] = 'B'
	} else {
		body[50] = 'A'
	}
	_, err := w.outsider.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: w.url, MessageBody: aws.String(string(body)), MessageAttributes: w.seen.MessageAttributes,
	})
	return err
}
