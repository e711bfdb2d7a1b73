package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestHandle sends sealed messages, and plaintext between them, into two queues,
// makes an event of what lies there, and looks at what the function does.
func TestHandle(t *testing.T) {
	server := sqsxtest.New(t)
	key, err := kms.NewFromConfig(server.Config()).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.NewFromConfig(server.Config(), *key.KeyMetadata.Arn, func(o *sqsx.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
	})
	if err != nil {
		t.Fatal(err)
	}
	outsider := sqs.NewFromConfig(server.Config())
	producer := sealer.Wrap(outsider)

	stored := make(map[string][]types.Message)
	for name, attributes := range map[string]map[string]string{"orders": nil, "payments.fifo": {"FifoQueue": "true"}} {
		queue, err := outsider.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range []struct {
			client      *sqs.Client
			group, body string
		}{
			{producer, "a", "first"}, {outsider, "a", "not sealed"}, {producer, "a", "second"},
			{producer, "b", "fails"}, {producer, "b", "third"},
		} {
			in := &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: &m.body}
			if attributes != nil {
				in.MessageGroupId, in.MessageDeduplicationId = &m.group, aws.String(strconv.Itoa(i))
			}
			if _, err := m.client.SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		stored[name] = server.Stored(*queue.QueueUrl)
	}

	var worked []string
	f := &function{sealer: sealer, work: func(_ context.Context, m types.Message) error {
		if worked = append(worked, *m.Body); *m.Body == "fails" {
			return errors.New("no such card")
		}
		return nil
	}}
	out, err := f.handle(t.Context(), lambdaEvent(t, stored))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(worked)
	if diff := cmp.Diff([]string{"fails", "fails", "first", "first", "second", "third"}, worked); diff != "" {
		t.Errorf("worked off (-want +got):\n%s", diff)
	}
	var failed []string
	for _, f := range out.Failures {
		failed = append(failed, f.ID)
	}
	slices.Sort(failed)
	// What is not sealed, and what fails; on the FIFO queue what follows, too.
	want := []string{"orders/1", "orders/3", "payments.fifo/1", "payments.fifo/2", "payments.fifo/3", "payments.fifo/4"}
	if diff := cmp.Diff(want, failed); diff != "" {
		t.Errorf("reported as failed (-want +got):\n%s", diff)
	}
}
