package sqsxtest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func sendFIFO(t *testing.T, client *sqs.Client, url, group, dedup, body string) *sqs.SendMessageOutput {
	t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: &group}
	if dedup != "" {
		in.MessageDeduplicationId = &dedup
	}
	out, err := client.SendMessage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func remove(t *testing.T, client *sqs.Client, url string, messages ...types.Message) {
	t.Helper()
	for _, m := range messages {
		if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFIFOGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "VisibilityTimeout", "30")
		var last string
		for i, body := range []string{"a1", "b1", "a2", "a3", "b2"} {
			out := sendFIFO(t, client, url, body[:1], fmt.Sprint(i), body)
			if len(*out.SequenceNumber) != 20 || *out.SequenceNumber <= last {
				t.Errorf("got sequence number %s after %s, want 20 digits that grow", *out.SequenceNumber, last)
			}
			last = *out.SequenceNumber
		}
		take := func(n int32) []types.Message {
			return receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: n})
		}
		want := func(what string, messages []types.Message, want ...string) {
			t.Helper()
			if got := bodies(messages); !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
		a := take(2)
		want("two", a, "a1", "a2")
		want("group a waits", take(10), "b1", "b2")
		want("both wait", take(10))
		remove(t, client, url, a[0])
		want("a2 still in flight", take(10))
		remove(t, client, url, a[1])
		want("group a is free", take(10), "a3")
		time.Sleep(30 * time.Second)
		// In order within each group; the group whose first message is visible first
		// comes first.
		want("after the timeout", take(10), "b1", "b2", "a3")
		time.Sleep(30 * time.Second)
		b := take(10)
		time.Sleep(30 * time.Second)
		_, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: b[0].ReceiptHandle})
		wantCode(t, err, "InvalidParameterValue") // the handle has expired
	})
}

func TestDeletingFreesTheGroupForALongPoll(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "VisibilityTimeout", "600")
		sendFIFO(t, client, url, "g", "1", "first")
		sendFIFO(t, client, url, "g", "2", "second")
		first := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url})
		start := time.Now()
		time.AfterFunc(4*time.Second, func() { remove(t, client, url, first...) })
		got := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
		if !slices.Equal(bodies(got), []string{"second"}) || time.Since(start) != 4*time.Second {
			t.Errorf("got %q after %v", bodies(got), time.Since(start))
		}
	})
}

func TestFIFODelayedHeadBlocksItsGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "DelaySeconds", "60")
		sendFIFO(t, client, url, "g", "1", "first")
		if _, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"DelaySeconds": "0"}}); err != nil {
			t.Fatal(err)
		}
		sendFIFO(t, client, url, "g", "2", "second")
		in := &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10}
		if got := receive(t, client, in); len(got) != 0 {
			t.Errorf("got %q while the first message was delayed", bodies(got))
		}
		time.Sleep(time.Minute)
		if got := bodies(receive(t, client, in)); !slices.Equal(got, []string{"first", "second"}) {
			t.Errorf("got %q", got)
		}
		_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("3"), DelaySeconds: 1})
		wantCode(t, err, "InvalidParameterValue")
	})
}

func TestFIFODeduplication(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "ContentBasedDeduplication", "true")
		first := sendFIFO(t, client, url, "g", "id", "body")
		time.Sleep(5*time.Minute - 1)
		again := sendFIFO(t, client, url, "other-group", "id", "other body")
		if *again.MessageId != *first.MessageId || *again.SequenceNumber != *first.SequenceNumber {
			t.Error("a repeated ID within 5 minutes made a new message")
		}
		remove(t, client, url, receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url})...)
		sendFIFO(t, client, url, "g", "id", "body") // deletion does not end the interval
		if n := len(server.Stored(url)); n != 0 {
			t.Errorf("got %d messages, want 0", n)
		}
		time.Sleep(time.Nanosecond)
		sendFIFO(t, client, url, "g", "id", "body")
		if n := len(server.Stored(url)); n != 1 {
			t.Errorf("after 5 minutes: got %d messages, want 1", n)
		}

		// By content: SHA-256 of the body, which an explicit ID can repeat.
		sum := sha256.Sum256([]byte("content"))
		sendFIFO(t, client, url, "g", "", "content")
		sendFIFO(t, client, url, "g", "", "content")
		sendFIFO(t, client, url, "g", hex.EncodeToString(sum[:]), "anything")
		stored := server.Stored(url)
		if len(stored) != 2 || stored[1].Attributes["MessageDeduplicationId"] != hex.EncodeToString(sum[:]) {
			t.Errorf("got %q", bodies(stored))
		}

		// Within a group, if the queue says so.
		perGroup := createQueue(t, client, "g.fifo", "FifoQueue", "true", "DeduplicationScope", "messageGroup", "FifoThroughputLimit", "perMessageGroupId")
		for _, group := range []string{"a", "b", "a"} {
			sendFIFO(t, client, perGroup, group, "id", "body")
		}
		if n := len(server.Stored(perGroup)); n != 2 {
			t.Errorf("per group: got %d messages, want 2", n)
		}
	})
}

func TestReceiveRequestAttemptID(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true")
		sendFIFO(t, client, url, "g", "1", "one")
		sendFIFO(t, client, url, "g", "2", "two")
		take := func(id string) []types.Message {
			return receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, ReceiveRequestAttemptId: &id, VisibilityTimeout: 60})
		}
		first := take("x")
		time.Sleep(50 * time.Second)
		again := take("x")
		if len(again) != 2 || *again[0].ReceiptHandle != *first[0].ReceiptHandle {
			t.Fatalf("got %q, want the same messages with the same handles", bodies(again))
		}
		time.Sleep(50 * time.Second) // the retry has started the timeout again
		if got := take("y"); len(got) != 0 {
			t.Errorf("another attempt got %q", bodies(got))
		}
		spent := func(what, id string) {
			t.Helper()
			out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, ReceiveRequestAttemptId: &id})
			if out != nil {
				t.Errorf("%s: got %q", what, bodies(out.Messages))
			}
			wantCode(t, err, "InvalidParameterValue")
		}
		remove(t, client, url, again[0])
		spent("after a delete", "x")
		time.Sleep(time.Minute)
		if got := take("z"); len(got) != 1 {
			t.Fatalf("got %q, want the second message", bodies(got))
		}
		got := take("z")
		_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: got[0].ReceiptHandle, VisibilityTimeout: 30})
		if err != nil {
			t.Fatal(err)
		}
		spent("after a change of visibility", "z")
		time.Sleep(30 * time.Second)
		if got := take("w"); len(got) != 1 {
			t.Fatalf("got %q, want the second message", bodies(got))
		}
		time.Sleep(time.Minute)
		spent("after the visibility timeout", "w")
		time.Sleep(5 * time.Minute)
		if got := take("w"); len(got) != 1 {
			t.Errorf("after 5 minutes: got %q, want the second message", bodies(got))
		}
	})
}

func TestFIFOParameters(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := sqs.NewFromConfig(server.Config())
	fifo := createQueue(t, client, "q.fifo", "FifoQueue", "true")
	standard := createQueue(t, client, "q")
	long := strings.Repeat("x", 128)
	tests := map[string]struct {
		url, group, dedup, code string
	}{
		"no group":             {fifo, "", "d", "MissingParameter"},
		"no ID":                {fifo, "g", "", "InvalidParameterValue"},
		"longest":              {fifo, long, long, ""},
		"group too long":       {fifo, long + "x", "d", "InvalidParameterValue"},
		"ID too long":          {fifo, "g", long + "x", "InvalidParameterValue"},
		"space":                {fifo, "g", "a b", "InvalidParameterValue"},
		"punctuation":          {fifo, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "d", ""},
		"fair queue":           {standard, "g", "", ""},
		"standard with dedupl": {standard, "", "d", "InvalidParameterValue"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := &sqs.SendMessageInput{QueueUrl: &test.url, MessageBody: &name}
			if test.group != "" {
				in.MessageGroupId = &test.group
			}
			if test.dedup != "" {
				in.MessageDeduplicationId = &test.dedup
			}
			_, err := client.SendMessage(t.Context(), in)
			wantCode(t, err, test.code)
		})
	}
}

// TestFIFOBatchFailsAsAWhole: one entry without a group, or without any
// deduplication ID, fails the call, where any other fault of an entry fails the
// entry.
func TestFIFOBatchFailsAsAWhole(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := sqs.NewFromConfig(server.Config())
	byID := createQueue(t, client, "q.fifo", "FifoQueue", "true")
	byContent := createQueue(t, client, "content.fifo", "FifoQueue", "true", "ContentBasedDeduplication", "true")
	good := types.SendMessageBatchRequestEntry{
		Id: aws.String("good"), MessageBody: aws.String("x"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d"),
	}
	tests := map[string]struct {
		url          string
		group, dedup *string
		code         string
		sent         int
	}{
		"no group":                      {byID, nil, aws.String("e"), "InvalidParameterValue", 0},
		"no ID":                         {byID, aws.String("g"), nil, "InvalidParameterValue", 0},
		"neither":                       {byID, nil, nil, "InvalidParameterValue", 0},
		"no group, content":             {byContent, nil, nil, "InvalidParameterValue", 0},
		"an ID too long is the entry's": {byID, aws.String("g"), aws.String(strings.Repeat("x", 129)), "", 1},
		"no ID, content":                {byContent, aws.String("g"), nil, "", 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := len(server.Stored(test.url))
			out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &test.url, Entries: []types.SendMessageBatchRequestEntry{
				good,
				{Id: aws.String("it"), MessageBody: &name, MessageGroupId: test.group, MessageDeduplicationId: test.dedup},
			}})
			wantCode(t, err, test.code)
			if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); err != nil && (!ok || resp.HTTPStatusCode() != 400) {
				t.Errorf("got %v, want status 400", err)
			}
			if err == nil && len(out.Successful) != test.sent {
				t.Errorf("got %d sent, want %d", len(out.Successful), test.sent)
			}
			if got := len(server.Stored(test.url)) - before; got != test.sent {
				t.Errorf("got %d messages stored, want %d", got, test.sent)
			}
		})
	}
}

// What is visible before a message in flight can be received, and what is
// behind it waits for it.
func TestFIFOGroupGivesItsVisiblePrefix(t *testing.T) {
	for extended, want := range map[int][]string{
		0: nil,
		1: {"1"},
		2: {"1", "2"},
	} {
		t.Run(fmt.Sprintf("message %d in flight", extended+1), func(t *testing.T) {
			inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
				url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "VisibilityTimeout", "10")
				for _, body := range []string{"1", "2", "3"} {
					sendFIFO(t, client, url, "g", body, body)
				}
				in := &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10}
				got := receive(t, client, in)
				if len(got) != 3 {
					t.Fatalf("got %q, want all three", bodies(got))
				}
				_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: got[extended].ReceiptHandle, VisibilityTimeout: 40})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				prefix := receive(t, client, in)
				if !slices.Equal(bodies(prefix), want) {
					t.Errorf("got %q, want %q", bodies(prefix), want)
				}
				remove(t, client, url, prefix...)
				if got := receive(t, client, in); len(got) != 0 {
					t.Errorf("got %q, want nothing behind the message in flight", bodies(got))
				}
				remove(t, client, url, got[extended])
				if got := len(receive(t, client, in)); got != 2-len(prefix) {
					t.Errorf("got %d after it was deleted, want %d", got, 2-len(prefix))
				}
			})
		})
	}
}

func TestFIFOGroupOfAMessageGivenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true")
		for i, body := range []string{"a1", "a2", "b1"} {
			sendFIFO(t, client, url, body[:1], fmt.Sprint(i), body)
		}
		a := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 2})
		_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: a[0].ReceiptHandle, VisibilityTimeout: 0})
		if err != nil {
			t.Fatal(err)
		}
		got := bodies(receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10}))
		if want := []string{"b1", "a1"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q: a2 is in flight still", got, want)
		}
	})
}

func TestFIFOReceiveWithoutVisibilityTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *sqsxtest.Server, client *sqs.Client) {
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "VisibilityTimeout", "0")
		for i, body := range []string{"a1", "b1", "b2", "c1", "a2"} {
			sendFIFO(t, client, url, body[:1], fmt.Sprint(i), body)
		}
		for _, receives := range []struct {
			most int32
			want []string
		}{
			{3, []string{"a1", "a2", "b1"}},
			{10, []string{"c1", "a1", "a2", "b1", "b2"}},
		} {
			got := bodies(receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: receives.most}))
			if !slices.Equal(got, receives.want) {
				t.Errorf("got %q, want %q", got, receives.want)
			}
		}
	})
}

func TestPurgeForgetsDeduplicationIDs(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := sqs.NewFromConfig(server.Config())
	url := createQueue(t, client, "q.fifo", "FifoQueue", "true")
	first := sendFIFO(t, client, url, "g", "id", "first")
	if _, err := client.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &url}); err != nil {
		t.Fatal(err)
	}
	second := sendFIFO(t, client, url, "g", "id", "second")
	if got := bodies(server.Stored(url)); !slices.Equal(got, []string{"second"}) || *second.MessageId == *first.MessageId {
		t.Errorf("got %q, want the message that was sent after the purge", got)
	}
}
