package main

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// teller is a fleet of one producer and one consumer on an embedded server.
type teller struct {
	out                io.Writer
	server             *sqsxtest.Server
	producer, consumer *sqs.Client
	queues             []string // URLs
}

// story creates a branch key, uses it, and rotates it.
func story(ctx context.Context, out io.Writer, _ []string) error {
	server := sqsxtest.Start()
	defer server.Close()
	cfg := server.Config()
	const table, id = "sealq-branch-keys", "orders"
	server.NewTable(table, "branch-key-id", "type")
	keyARN := server.NewKey()

	// The administrator.
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = table, table, keyARN
	})
	if err != nil {
		return err
	}
	if _, err := store.Create(ctx, id, map[string]string{"team": "orders"}); err != nil {
		return err
	}
	fmt.Fprintf(out, "1. created the branch key %q in the table %q\n", id, table)

	// The services, each with a Sealer of its own.
	t := &teller{out: out, server: server}
	sealers := make([]*sqsx.Sealer, 2)
	for i := range sealers {
		sealers[i], err = sqsx.NewFromKeyStore(cfg, sqsx.KeyStore{Table: table, LogicalName: table, BranchKeyID: id, KeyID: keyARN})
		if err != nil {
			return err
		}
	}
	t.producer = sqs.NewFromConfig(cfg, sealers[0].Install)
	t.consumer = sqs.NewFromConfig(cfg, sealers[1].Install)
	for _, name := range []string{"orders", "invoices", "refunds"} {
		t.queues = append(t.queues, server.NewQueue(name))
	}
	if err := t.exchange(ctx, "2"); err != nil {
		return err
	}
	if err := t.exchange(ctx, "3"); err != nil {
		return err
	}

	// A message waits in its queue during the rotation.
	if err := t.send(ctx, t.queues[0], "sealed before the rotation"); err != nil {
		return err
	}
	if _, err := store.Rotate(ctx, id); err != nil {
		return err
	}
	sealers[0].Purge() // or its ReusePeriod ends
	if err := t.send(ctx, t.queues[0], "sealed after the rotation"); err != nil {
		return err
	}
	for i := range 2 {
		body, err := t.receive(ctx, t.queues[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d. received %q\n", 4+i, body)
	}
	fmt.Fprintln(out, "For a service on AWS: docs/branch-keys.md")
	return nil
}

// exchange sends and receives 100 messages in each queue.
func (t *teller) exchange(ctx context.Context, number string) error {
	before, n := t.server.Count("kms:Decrypt"), 0
	for _, queue := range t.queues {
		for range 100 {
			if err := t.send(ctx, queue, "order 4711"); err != nil {
				return err
			}
			if _, err := t.receive(ctx, queue); err != nil {
				return err
			}
			n++
		}
	}
	fmt.Fprintf(t.out, "%s. sent and received %d messages through %d queues, with %d calls of KMS\n",
		number, n, len(t.queues), t.server.Count("kms:Decrypt")-before)
	return nil
}

func (t *teller) send(ctx context.Context, queue, body string) error {
	_, err := t.producer.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &body})
	return err
}

// receive receives one message, and deletes it.
func (t *teller) receive(ctx context.Context, queue string) (body string, err error) {
	out, err := t.consumer.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue, WaitTimeSeconds: 1})
	if err != nil {
		return "", err
	}
	if len(out.Messages) != 1 {
		return "", fmt.Errorf("received %d messages, want 1", len(out.Messages))
	}
	m := out.Messages[0]
	_, err = t.consumer.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: m.ReceiptHandle})
	return aws.ToString(m.Body), err
}
