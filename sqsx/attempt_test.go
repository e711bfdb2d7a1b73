package sqsx_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// TestReceiveRequestAttemptID shows what docs/operations.md says of retries
// with the same ReceiveRequestAttemptId after a *ReceiveError: SQS gives the
// same messages again, and none of other groups, for minutes. With an ID for
// each receive it does not; nor with NoReceiveErrors, where there is no error.
func TestReceiveRequestAttemptID(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		quiet bool // NoReceiveErrors
		again bool // the same ID after an error
		waits bool // the other group, for minutes
	}{
		"the same ID":                       {again: true, waits: true},
		"another ID":                        {},
		"the same ID, with NoReceiveErrors": {again: true, quiet: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url := w.queue("orders.fifo")
				client := w.client()
				if tc.quiet {
					client = w.client(noReceiveErrors)
				}
				put := func(c *sqs.Client, group, body string) {
					t.Helper()
					if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &body}); err != nil {
						t.Fatal(err)
					}
				}
				put(client, "warm", "first")
				receiveAll(t, client, url, 1)
				put(w.plain, "a", "not-sealed")

				start, id := time.Now(), 0
				for n := 0; time.Since(start) < 20*time.Minute; n++ {
					if n == 1 {
						put(client, "b", "healthy")
					}
					out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
						QueueUrl: &url, MaxNumberOfMessages: 1, WaitTimeSeconds: 1, ReceiveRequestAttemptId: aws.String(fmt.Sprint("attempt-", id)),
					})
					if err == nil && len(out.Messages) == 1 {
						if took := time.Since(start); (took > time.Minute) != tc.waits {
							t.Errorf("the message of another group waited %v, want minutes: %v", took, tc.waits)
						}
						return
					}
					if err == nil || !tc.again {
						id++
					}
					time.Sleep(time.Second)
				}
				t.Error("the message of another group was not delivered")
			})
		})
	}
}
