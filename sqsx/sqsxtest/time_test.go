package sqsxtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// inBubble runs f with a queue whose clock is the bubble's.
func inBubble(t *testing.T, f func(t *testing.T, server *sqsxtest.Server, client *sqs.Client)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		f(t, server, sqs.NewFromConfig(server.Config()))
	})
}

func counts(t *testing.T, client *sqs.Client, url string) [3]string {
	t.Helper()
	out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	a := out.Attributes
	return [3]string{a["ApproximateNumberOfMessages"], a["ApproximateNumberOfMessagesNotVisible"], a["ApproximateNumberOfMessagesDelayed"]}
}

func TestVisibilityTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q", "VisibilityTimeout", "40")
		send(t, client, url, "m")
		in := &sqs.ReceiveMessageInput{QueueUrl: &url, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}}
		sent := time.Now()
		time.Sleep(time.Second)
		first := receive(t, client, in)
		if len(first) != 1 {
			t.Fatalf("got %d messages, want 1", len(first))
		}
		if got, want := counts(t, client, url), [3]string{"0", "1", "0"}; got != want {
			t.Errorf("got counts %v, want %v", got, want)
		}
		time.Sleep(40*time.Second - 1)
		if got := receive(t, client, in); len(got) != 0 {
			t.Error("the message was visible before its timeout")
		}
		time.Sleep(time.Nanosecond)
		second := receive(t, client, in)
		if len(second) != 1 {
			t.Fatal("the message was not visible after its timeout")
		}
		if *second[0].ReceiptHandle == *first[0].ReceiptHandle {
			t.Error("got the same receipt handle twice")
		}
		want := map[string]string{
			"SenderId":                         sqsxtest.DefaultAccount,
			"SentTimestamp":                    fmt.Sprint(sent.UnixMilli()),
			"ApproximateFirstReceiveTimestamp": fmt.Sprint(sent.Add(time.Second).UnixMilli()),
			"ApproximateReceiveCount":          "2",
		}
		if diff := cmp.Diff(want, second[0].Attributes); diff != "" {
			t.Errorf("system attributes (-want +got):\n%s", diff)
		}

		// The handle of the first receive is stale: deleting with it succeeds and
		// does nothing.
		if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: first[0].ReceiptHandle}); err != nil {
			t.Error(err)
		}
		if len(server.Stored(url)) != 1 {
			t.Fatal("a stale handle deleted the message")
		}
		// That of the last one deletes even after the timeout, as long as nobody has
		// received the message since, and may do so twice.
		time.Sleep(time.Hour)
		for range 2 {
			if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: second[0].ReceiptHandle}); err != nil {
				t.Error(err)
			}
		}
		if len(server.Stored(url)) != 0 {
			t.Error("the message is still there")
		}
	})
}

func TestChangeVisibility(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q")
		send(t, client, url, "m")
		in := &sqs.ReceiveMessageInput{QueueUrl: &url, VisibilityTimeout: 100}
		change := func(handle *string, seconds int32) error {
			_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: handle, VisibilityTimeout: seconds})
			return err
		}
		m := receive(t, client, in)[0]
		wantCode(t, change(m.ReceiptHandle, 10), "")
		time.Sleep(10 * time.Second)
		wantCode(t, change(m.ReceiptHandle, 10), "") // too late, and no error
		if got := receive(t, client, in); len(got) != 1 {
			t.Fatal("a change that came too late hid the message")
		}
		wantCode(t, change(m.ReceiptHandle, 0), "") // the handle of the first receive still does it
		again := receive(t, client, in)[0]
		time.Sleep(time.Minute)
		wantCode(t, change(again.ReceiptHandle, 12*3600-60+1), "InvalidParameterValue") // 12 hours in all
		wantCode(t, change(again.ReceiptHandle, 12*3600-60), "")
		wantCode(t, change(again.ReceiptHandle, 12*3600+1), "InvalidParameterValue")
		wantCode(t, change(again.ReceiptHandle, -1), "InvalidParameterValue")
		wantCode(t, change(again.ReceiptHandle, 0), "")
		last := receive(t, client, in)[0] // at once
		wantCode(t, change(aws.String("junk"), 1), "ReceiptHandleIsInvalid")

		other := createQueue(t, client, "other")
		_, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &other, ReceiptHandle: last.ReceiptHandle})
		wantCode(t, err, "ReceiptHandleIsInvalid")

		out, err := client.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
			{Id: aws.String("good"), ReceiptHandle: last.ReceiptHandle, VisibilityTimeout: 5},
			{Id: aws.String("bad"), ReceiptHandle: aws.String("junk"), VisibilityTimeout: 5},
		}})
		if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "bad" || *out.Failed[0].Code != "ReceiptHandleIsInvalid" {
			t.Errorf("got %+v, %v", out, err)
		}
		deleted, err := client.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: []types.DeleteMessageBatchRequestEntry{
			{Id: aws.String("good"), ReceiptHandle: last.ReceiptHandle},
			{Id: aws.String("bad"), ReceiptHandle: aws.String("junk")},
		}})
		if err != nil || len(deleted.Successful) != 1 || len(deleted.Failed) != 1 || len(server.Stored(url)) != 0 {
			t.Errorf("got %+v, %v", deleted, err)
		}
		wantCode(t, change(last.ReceiptHandle, 1), "InvalidParameterValue") // deleted
	})
}

// FIFO queues take no handle whose time is over, as with DeleteMessage.
func TestChangeVisibilityOfFIFO(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "VisibilityTimeout", "10")
		sendFIFO(t, client, url, "g", "1", "m")
		change := func(m types.Message) error {
			_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 10})
			return err
		}
		in := &sqs.ReceiveMessageInput{QueueUrl: &url}
		first := receive(t, client, in)[0]
		wantCode(t, change(first), "")
		time.Sleep(10 * time.Second)
		wantCode(t, change(first), "InvalidParameterValue")
		second := receive(t, client, in)[0]
		wantCode(t, change(first), "InvalidParameterValue")
		wantCode(t, change(second), "")
		remove(t, client, url, second)
		wantCode(t, change(second), "InvalidParameterValue")
	})
}

func TestZeroVisibilityTakesEachMessageOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q", "VisibilityTimeout", "0")
		send(t, client, url, "a")
		send(t, client, url, "b")
		for range 2 {
			got := bodies(receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10}))
			if want := []string{"a", "b"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

func TestDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q", "DelaySeconds", "5")
		send(t, client, url, "queue's")
		own := func(seconds int32) error {
			_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("own"), DelaySeconds: seconds})
			return err
		}
		wantCode(t, own(900), "")
		wantCode(t, own(901), "InvalidParameterValue")
		wantCode(t, own(-1), "InvalidParameterValue")
		if got, want := counts(t, client, url), [3]string{"0", "0", "2"}; got != want {
			t.Errorf("got counts %v, want %v", got, want)
		}
		if got := len(server.Stored(url)); got != 2 {
			t.Errorf("got %d stored, want 2", got)
		}
		in := &sqs.ReceiveMessageInput{QueueUrl: &url}
		time.Sleep(5*time.Second - 1)
		if got := receive(t, client, in); len(got) != 0 {
			t.Errorf("got %q before the delay was over", bodies(got))
		}
		time.Sleep(time.Nanosecond)
		if got := bodies(receive(t, client, in)); !slices.Equal(got, []string{"queue's"}) {
			t.Errorf("got %q after 5 s", got)
		}
	})
}

func TestLongPolling(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q", "ReceiveMessageWaitTimeSeconds", "3")
		poll := func(ctx context.Context, wait int32) (int, time.Duration, error) {
			start := time.Now()
			out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: wait, VisibilityTimeout: 10})
			if err != nil {
				return 0, time.Since(start), err
			}
			return len(out.Messages), time.Since(start), nil
		}
		if n, took, err := poll(t.Context(), 0); n != 0 || took != 3*time.Second || err != nil { // 0 is not sent: the queue's own wait
			t.Errorf("an empty queue: got %d after %v, %v", n, took, err)
		}
		if n, took, err := poll(t.Context(), 20); n != 0 || took != 20*time.Second || err != nil {
			t.Errorf("an empty queue: got %d after %v, %v", n, took, err)
		}
		_, _, err := poll(t.Context(), 21)
		wantCode(t, err, "InvalidParameterValue")

		time.AfterFunc(7*time.Second, func() { send(t, client, url, "m") })
		if n, took, err := poll(t.Context(), 20); n != 1 || took != 7*time.Second || err != nil {
			t.Errorf("a send: got %d after %v, %v", n, took, err)
		}
		if n, took, err := poll(t.Context(), 20); n != 1 || took != 10*time.Second || err != nil {
			t.Errorf("a visibility timeout: got %d after %v, %v", n, took, err)
		}
		held := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20, VisibilityTimeout: 600})[0]
		time.AfterFunc(4*time.Second, func() {
			if _, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: held.ReceiptHandle}); err != nil {
				t.Error(err)
			}
		})
		if n, took, err := poll(t.Context(), 20); n != 1 || took != 4*time.Second || err != nil {
			t.Errorf("a message given back: got %d after %v, %v", n, took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, took, err := poll(ctx, 20); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("a caller that gives up: got %v after %v", err, took)
		}

		// Every waiting receiver gets one of as many messages.
		time.Sleep(time.Hour)
		if _, err := client.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &url}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if n, took, err := poll(t.Context(), 20); n != 1 || took != time.Second || err != nil {
					t.Errorf("five receivers: got %d after %v, %v", n, took, err)
				}
			})
		}
		time.Sleep(time.Second)
		for i := range 5 {
			send(t, client, url, strconv.Itoa(i))
		}
		wg.Wait()

		time.AfterFunc(time.Second, func() {
			if _, err := client.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
				t.Error(err)
			}
		})
		_, took, err := poll(t.Context(), 20)
		wantCode(t, err, "AWS.SimpleQueueService.NonExistentQueue")
		if took != time.Second {
			t.Errorf("a deleted queue: took %v, want 1s", took)
		}
	})
}

func TestRetention(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q", "MessageRetentionPeriod", "60")
		send(t, client, url, "old")
		time.Sleep(30 * time.Second)
		send(t, client, url, "new")
		receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url}) // being in flight does not help
		time.Sleep(30*time.Second - 1)
		if got := bodies(server.Stored(url)); !slices.Equal(got, []string{"old", "new"}) {
			t.Errorf("got %q before the period is over", got)
		}
		time.Sleep(time.Nanosecond)
		if got := bodies(server.Stored(url)); !slices.Equal(got, []string{"new"}) {
			t.Errorf("got %q after 60 s", got)
		}
		if got, want := counts(t, client, url), [3]string{"1", "0", "0"}; got != want {
			t.Errorf("got counts %v, want %v", got, want)
		}
	})
}
