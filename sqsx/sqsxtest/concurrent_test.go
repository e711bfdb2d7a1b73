package sqsxtest_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// Producers, consumers and onlookers at once: every message arrives exactly
// once, and those of a group in order.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	const producers, each, consumers = 8, 50, 8
	for name, attributes := range map[string][]string{
		"standard": nil,
		"q.fifo":   {"FifoQueue", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := sqsxtest.New(t)
			client := sqs.NewFromConfig(server.Config())
			url := createQueue(t, client, name, attributes...)
			var wg sync.WaitGroup
			for p := range producers {
				wg.Go(func() {
					for i := range each {
						in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(fmt.Sprintf("%d %d", p, i)), MessageGroupId: aws.String(fmt.Sprint(p))}
						if attributes != nil {
							in.MessageDeduplicationId = aws.String(fmt.Sprintf("%d-%d", p, i))
						}
						if _, err := client.SendMessage(t.Context(), in); err != nil {
							t.Error(err)
						}
					}
				})
			}
			var mu sync.Mutex
			got := make(map[int]int) // messages by producer
			total := 0
			for range consumers {
				wg.Go(func() {
					for {
						mu.Lock()
						done := total == producers*each
						mu.Unlock()
						if done {
							return
						}
						out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 1})
						if err != nil {
							t.Error(err)
							return
						}
						var entries []types.DeleteMessageBatchRequestEntry
						for i, m := range out.Messages {
							var p, n int
							if _, err := fmt.Sscan(*m.Body, &p, &n); err != nil {
								t.Error(err)
							}
							mu.Lock()
							if attributes != nil && n != got[p] {
								t.Errorf("group %d: got message %d, want %d", p, n, got[p])
							}
							got[p]++
							total++
							mu.Unlock()
							entries = append(entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: m.ReceiptHandle})
						}
						if len(entries) > 0 {
							if _, err := client.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: entries}); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			for range 2 {
				wg.Go(func() {
					for range 20 {
						server.Stored(url)
						server.Requests()
						server.Intercept(func(*sqsxtest.Request) error { return nil })
						server.Intercept(nil)
					}
				})
			}
			wg.Wait()
			for p := range producers {
				if got[p] != each {
					t.Errorf("producer %d: got %d messages, want %d", p, got[p], each)
				}
			}
			if n := len(server.Stored(url)); n != 0 {
				t.Errorf("got %d messages left, want 0", n)
			}
		})
	}
}
