package sqsx_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// The whole of a call on the test server, without sealing and with it. What
// sealing costs is measured in integration/bench, against servers that do less.

func BenchmarkSendMessage(b *testing.B) {
	for name, client := range benchClients(b) {
		b.Run(name, func(b *testing.B) {
			body := strings.Repeat("x", 1<<10)
			in := &sqs.SendMessageInput{QueueUrl: client.url, MessageBody: &body}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := client.SendMessage(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReceiveMessage(b *testing.B) {
	for name, client := range benchClients(b) {
		b.Run(name, func(b *testing.B) {
			body := strings.Repeat("x", 1<<10)
			for range 10 {
				send(b, client.Client, *client.url, body)
			}
			in := &sqs.ReceiveMessageInput{QueueUrl: client.url, MaxNumberOfMessages: 10}
			b.ReportAllocs()
			b.SetBytes(int64(10 * len(body)))
			for b.Loop() {
				if out, err := client.ReceiveMessage(b.Context(), in); err != nil || len(out.Messages) != 10 {
					b.Fatalf("got %v, want ten messages", err)
				}
			}
		})
	}
}

type benchClient struct {
	*sqs.Client
	url *string
}

// benchClients returns a plain and a sealing client, each with a queue whose
// messages can be received again at once.
func benchClients(b *testing.B) map[string]benchClient {
	w := newWorld(b)
	plain, sealed := w.queue("plain", "VisibilityTimeout", "0"), w.queue("sealed", "VisibilityTimeout", "0")
	return map[string]benchClient{"plain": {w.plain, &plain}, "sealed": {w.client(), &sealed}}
}
