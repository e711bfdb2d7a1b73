package sqsxtest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// createQueue returns the URL of a new queue with attributes given as name,
// value, name, value.
func createQueue(tb testing.TB, client *sqs.Client, name string, attributes ...string) string {
	tb.Helper()
	m := make(map[string]string)
	for i := 0; i < len(attributes); i += 2 {
		m[attributes[i]] = attributes[i+1]
	}
	out, err := client.CreateQueue(tb.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: m})
	if err != nil {
		tb.Fatal(err)
	}
	return *out.QueueUrl
}

func send(tb testing.TB, client *sqs.Client, url, body string) *sqs.SendMessageOutput {
	tb.Helper()
	out, err := client.SendMessage(tb.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func receive(tb testing.TB, client *sqs.Client, in *sqs.ReceiveMessageInput) []types.Message {
	tb.Helper()
	out, err := client.ReceiveMessage(tb.Context(), in)
	if err != nil {
		tb.Fatal(err)
	}
	return out.Messages
}

func bodies(messages []types.Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, *m.Body)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	configs := map[string]func(*sqsxtest.Server) aws.Config{
		"in process": (*sqsxtest.Server).Config,
		"socket": func(s *sqsxtest.Server) aws.Config {
			cfg := s.Config()
			cfg.HTTPClient = sqsxtest.LoopbackClient(nil)
			cfg.BaseEndpoint = aws.String(s.URL())
			return cfg
		},
	}
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := sqsxtest.New(t)
			cfg := config(server)
			client := sqs.NewFromConfig(cfg)
			url := createQueue(t, client, "q")
			send(t, client, url, "one")
			batch, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{
				QueueUrl: &url,
				Entries: []types.SendMessageBatchRequestEntry{
					{Id: aws.String("a"), MessageBody: aws.String("two")},
					{Id: aws.String("b"), MessageBody: aws.String("three \u0000")},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(batch.Successful) != 1 || len(batch.Failed) != 1 || *batch.Failed[0].Code != "InvalidMessageContents" || !batch.Failed[0].SenderFault {
				t.Fatalf("got successful %v, failed %v", batch.Successful, batch.Failed)
			}
			for _, m := range receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10}) {
				if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Fatal(err)
				}
			}
			if got := server.Stored(url); len(got) != 0 {
				t.Fatalf("got %d messages after deleting all, want 0", len(got))
			}
			keys := kms.NewFromConfig(cfg)
			key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := keys.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: key.KeyMetadata.Arn, KeySpec: "AES_256"}); err != nil {
				t.Fatal(err)
			}
			if got := server.Count("kms:GenerateDataKey"); got != 1 {
				t.Fatalf("got %d, want 1", got)
			}
		})
	}
}
