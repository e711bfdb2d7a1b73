package sqsxtest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// One message through the queue: three SDK calls with all their client-side
// work.
func BenchmarkSendReceiveDelete(b *testing.B) {
	server := sqsxtest.New(b)
	client := sqs.NewFromConfig(server.Config())
	url := createQueue(b, client, "q")
	body := strings.Repeat("x", 1024)
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := client.SendMessage(b.Context(), in); err != nil {
			b.Fatal(err)
		}
		for _, m := range receive(b, client, &sqs.ReceiveMessageInput{QueueUrl: &url}) {
			if _, err := client.DeleteMessage(b.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
