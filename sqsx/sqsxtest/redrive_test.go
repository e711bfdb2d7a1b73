package sqsxtest_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func arn(name string) string {
	return "arn:aws:sqs:" + sqsxtest.DefaultRegion + ":" + sqsxtest.DefaultAccount + ":" + name
}

func policy(target string, receives int) string {
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, arn(target), receives)
}

func TestRedrivePolicy(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		dead := createQueue(t, client, "dead", "MessageRetentionPeriod", "3600")
		url := createQueue(t, client, "q", "RedrivePolicy", policy("dead", 2), "VisibilityTimeout", "1")
		sent := send(t, client, url, "poison")
		send(t, client, url, "other")
		in := &sqs.ReceiveMessageInput{QueueUrl: &url}
		for range 2 {
			if got := bodies(receive(t, client, in)); !slices.Equal(got, []string{"poison"}) {
				t.Fatalf("got %q", got)
			}
			if got := receive(t, client, in); len(got) != 1 {
				t.Fatalf("got %q", bodies(got))
			}
			time.Sleep(time.Second)
		}
		if n := len(server.Stored(dead)); n != 0 {
			t.Errorf("moved %d messages before one was received once more", n)
		}
		send(t, client, dead, "direct")
		if got := receive(t, client, in); len(got) != 0 {
			t.Errorf("got %q, want both moved", bodies(got))
		}
		receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &dead}) // the direct one
		got := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &dead, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"DeadLetterQueueSourceArn", "ApproximateReceiveCount"}})
		if len(got) != 1 || *got[0].MessageId != *sent.MessageId {
			t.Fatalf("got %q, want the message with its ID", bodies(got))
		}
		if a := got[0].Attributes; a["DeadLetterQueueSourceArn"] != arn("q") || a["ApproximateReceiveCount"] != "3" {
			t.Errorf("got attributes %v", a)
		}
		// Retention counts from the first send: those that were moved go before one
		// that was sent here earlier than they were moved.
		if got := bodies(server.Stored(dead)); !slices.Equal(got, []string{"poison", "other", "direct"}) {
			t.Errorf("got %q, want them by age", got)
		}
		time.Sleep(time.Hour - 2*time.Second)
		if got := bodies(server.Stored(dead)); !slices.Equal(got, []string{"direct"}) {
			t.Errorf("got %q an hour after the first send", got)
		}
	})
}

// maxReceiveCount counts the receives from its own queue,
// ApproximateReceiveCount those from all.
func TestRedriveTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		last := createQueue(t, client, "last")
		dead := createQueue(t, client, "dead", "RedrivePolicy", policy("last", 2), "VisibilityTimeout", "0")
		url := createQueue(t, client, "q", "RedrivePolicy", policy("dead", 3), "VisibilityTimeout", "0")
		send(t, client, url, "poison")
		for range 4 {
			receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url})
		}
		for range 2 {
			if got := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &dead}); len(got) != 1 {
				t.Fatalf("got %d messages from the first dead-letter queue, want 1", len(got))
			}
		}
		receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &dead})
		stored := server.Stored(last)
		if len(stored) != 1 || stored[0].Attributes["ApproximateReceiveCount"] != "5" || stored[0].Attributes["DeadLetterQueueSourceArn"] != arn("dead") {
			t.Errorf("got %v in the last queue", stored)
		}
	})
}

func TestRedriveFIFO(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		dead := createQueue(t, client, "dead.fifo", "FifoQueue", "true")
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true", "RedrivePolicy", policy("dead.fifo", 1), "VisibilityTimeout", "10")
		poison := sendFIFO(t, client, url, "g", "1", "poison")
		sendFIFO(t, client, url, "g", "2", "healthy")
		in := &sqs.ReceiveMessageInput{QueueUrl: &url}
		receive(t, client, in)
		time.Sleep(10 * time.Second)
		if got := bodies(receive(t, client, in)); !slices.Equal(got, []string{"healthy"}) {
			t.Errorf("got %q, want the rest of the group", got)
		}
		stored := server.Stored(dead)
		if len(stored) != 1 || *stored[0].MessageId != *poison.MessageId {
			t.Fatalf("got %q in the dead-letter queue", bodies(stored))
		}
		if a := stored[0].Attributes; a["MessageGroupId"] != "g" || a["MessageDeduplicationId"] != *poison.MessageId {
			t.Errorf("got attributes %v", a)
		}
	})
}

func TestRedrivePolicyValidation(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	createQueue(t, client, "dead")
	createQueue(t, client, "dead.fifo", "FifoQueue", "true")
	createQueue(t, client, "closed", "RedriveAllowPolicy", `{"redrivePermission":"denyAll"}`)
	createQueue(t, client, "picky", "RedriveAllowPolicy", fmt.Sprintf(`{"redrivePermission":"byQueue","sourceQueueArns":[%q]}`, arn("q")))
	url := createQueue(t, client, "q")
	other := createQueue(t, client, "other")
	tests := map[string]struct{ url, policy, code string }{
		"good":            {url, policy("dead", 1000), ""},
		"count as string": {url, fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"7"}`, arn("dead")), ""},
		"no count":        {url, fmt.Sprintf(`{"deadLetterTargetArn":%q}`, arn("dead")), "InvalidParameterValue"},
		"no target":       {url, `{"maxReceiveCount":7}`, "InvalidParameterValue"},
		"count 0":         {url, policy("dead", 0), "InvalidParameterValue"},
		"count 1001":      {url, policy("dead", 1001), "InvalidParameterValue"},
		"absent":          {url, policy("absent", 1), "InvalidParameterValue"},
		"itself":          {url, policy("q", 1), ""},
		"other type":      {url, policy("dead.fifo", 1), "InvalidParameterValue"},
		"denied":          {url, policy("closed", 1), "InvalidParameterValue"},
		"allowed":         {url, policy("picky", 1), ""},
		"not allowed":     {other, policy("picky", 1), "InvalidParameterValue"},
		"not JSON":        {url, "x", "InvalidParameterValue"},
		"not an ARN":      {url, `{"deadLetterTargetArn":"dead","maxReceiveCount":1}`, "InvalidParameterValue"},
		"other Region":    {url, `{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:000000000000:dead","maxReceiveCount":1}`, "InvalidParameterValue"},
		"removed":         {url, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &test.url, Attributes: map[string]string{"RedrivePolicy": test.policy}})
			wantCode(t, err, test.code)
		})
	}
	for name, bad := range map[string]string{
		"permission": `{"redrivePermission":"some"}`,
		"sources":    `{"redrivePermission":"allowAll","sourceQueueArns":["x"]}`,
		"no sources": `{"redrivePermission":"byQueue"}`,
		"JSON":       `[`,
	} {
		t.Run("allow policy, "+name, func(t *testing.T) {
			_, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"RedriveAllowPolicy": bad}})
			wantCode(t, err, "InvalidParameterValue")
		})
	}
}

func TestListDeadLetterSourceQueues(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	dead := createQueue(t, client, "dead")
	createQueue(t, client, "unrelated")
	a := createQueue(t, client, "a", "RedrivePolicy", policy("dead", 1))
	b := createQueue(t, client, "b", "RedrivePolicy", policy("dead", 1))
	out, err := client.ListDeadLetterSourceQueues(t.Context(), &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: &dead})
	if err != nil || !slices.Equal(out.QueueUrls, []string{a, b}) {
		t.Errorf("got %v, %v; want %q", out, err, []string{a, b})
	}
}

// fillDeadLetters sends n messages through the queue q into the queue dead, and
// returns their URLs.
func fillDeadLetters(t *testing.T, client *sqs.Client, n int) (url, dead string) {
	t.Helper()
	dead = createQueue(t, client, "dead")
	url = createQueue(t, client, "q", "RedrivePolicy", policy("dead", 1), "VisibilityTimeout", "0")
	for i := range n {
		send(t, client, url, fmt.Sprint(i))
	}
	for range n + 1 {
		receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10})
	}
	if _, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"VisibilityTimeout": "30"}}); err != nil {
		t.Fatal(err)
	}
	return url, dead
}

func latestTask(t *testing.T, client *sqs.Client) types.ListMessageMoveTasksResultEntry {
	t.Helper()
	out, err := client.ListMessageMoveTasks(t.Context(), &sqs.ListMessageMoveTasksInput{SourceArn: aws.String(arn("dead"))})
	if err != nil || len(out.Results) != 1 {
		t.Fatalf("got %v, %v", out, err)
	}
	return out.Results[0]
}

func TestMoveTask(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url, dead := fillDeadLetters(t, client, 3)
		before := server.Stored(dead)
		if _, err := client.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arn("dead"))}); err != nil {
			t.Fatal(err)
		}
		task := latestTask(t, client)
		if *task.Status != "COMPLETED" || task.ApproximateNumberOfMessagesMoved != 3 || *task.ApproximateNumberOfMessagesToMove != 3 || task.TaskHandle != nil {
			t.Errorf("got %s, %d moved", *task.Status, task.ApproximateNumberOfMessagesMoved)
		}
		after := server.Stored(url)
		if !slices.Equal(bodies(after), []string{"0", "1", "2"}) || len(server.Stored(dead)) != 0 {
			t.Fatalf("got %q moved back", bodies(after))
		}
		if *after[0].MessageId == *before[0].MessageId || after[0].Attributes["ApproximateReceiveCount"] != "0" || after[0].Attributes["DeadLetterQueueSourceArn"] != "" {
			t.Errorf("a moved message is not a new one: %v", after[0].Attributes)
		}
	})
}

func TestMoveTaskWithRateAndDestination(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url, dead := fillDeadLetters(t, client, 10)
		other := createQueue(t, client, "other")
		start := func() string {
			out, err := client.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{
				SourceArn: aws.String(arn("dead")), DestinationArn: aws.String(arn("other")), MaxNumberOfMessagesPerSecond: aws.Int32(2),
			})
			if err != nil {
				t.Fatal(err)
			}
			return *out.TaskHandle
		}
		begun := time.Now()
		handle := start()
		_, err := client.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arn("dead"))})
		wantCode(t, err, "InvalidParameterValue")

		// A receiver of the destination is woken by the moves.
		for i := range 3 {
			got := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &other, WaitTimeSeconds: 20})
			if want := time.Duration(i) * time.Second / 2; len(got) != 1 || time.Since(begun).Round(time.Millisecond) != want {
				t.Errorf("message %d: got %q after %v, want it after %v", i, bodies(got), time.Since(begun), want)
			}
		}
		task := latestTask(t, client)
		if *task.Status != "RUNNING" || *task.TaskHandle != handle || *task.DestinationArn != arn("other") || *task.MaxNumberOfMessagesPerSecond != 2 {
			t.Errorf("got %s %d", *task.Status, task.ApproximateNumberOfMessagesMoved)
		}
		cancelled, err := client.CancelMessageMoveTask(t.Context(), &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle})
		if err != nil || cancelled.ApproximateNumberOfMessagesMoved != 3 {
			t.Errorf("got %v, %v", cancelled, err)
		}
		_, err = client.CancelMessageMoveTask(t.Context(), &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle})
		wantCode(t, err, "ResourceNotFoundException")
		encode := base64.StdEncoding.EncodeToString
		for handle, code := range map[string]string{
			"foobared":                       "InvalidParameterValue",
			encode([]byte("x")):              "InvalidParameterValue",
			encode([]byte(`{"taskId":"1"}`)): "InvalidParameterValue",
			encode([]byte(`{"taskId":"1","sourceArn":"` + arn("absent") + `"}`)): "ResourceNotFoundException",
			encode([]byte(`{"taskId":"1","sourceArn":"` + arn("dead") + `"}`)):   "ResourceNotFoundException",
		} {
			_, err = client.CancelMessageMoveTask(t.Context(), &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle})
			wantCode(t, err, code)
		}
		time.Sleep(time.Hour)
		if n := len(server.Stored(dead)); n != 7 {
			t.Errorf("got %d left after cancelling, want 7", n)
		}
		start()
		time.Sleep(time.Minute)
		if n := len(server.Stored(other)); n != 10 {
			t.Errorf("got %d in the destination, want 10", n)
		}
		if *latestTask(t, client).Status != "COMPLETED" || len(server.Stored(url)) != 0 {
			t.Error("the second task did not complete")
		}
	})
}

func TestMoveTaskRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
		url, dead := fillDeadLetters(t, client, 1)
		createQueue(t, client, "x.fifo", "FifoQueue", "true")
		start := func(in *sqs.StartMessageMoveTaskInput) error {
			_, err := client.StartMessageMoveTask(t.Context(), in)
			return err
		}
		source := aws.String(arn("dead"))
		wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arn("absent"))}), "ResourceNotFoundException")
		wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: aws.String("dead")}), "InvalidParameterValue")
		wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arn("q"))}), "InvalidParameterValue") // not a dead-letter queue
		wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: source, DestinationArn: source}), "InvalidParameterValue")
		wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: source, DestinationArn: aws.String(arn("x.fifo"))}), "InvalidParameterValue")
		wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: source, DestinationArn: aws.String(arn("absent"))}), "ResourceNotFoundException")
		for _, rate := range []int32{0, 501} {
			wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: source, MaxNumberOfMessagesPerSecond: &rate}), "InvalidParameterValue")
		}

		// A message that was sent straight to the dead-letter queue has no way back;
		// the others have gone it.
		send(t, client, dead, "direct")
		wantCode(t, start(&sqs.StartMessageMoveTaskInput{SourceArn: source}), "")
		task := latestTask(t, client)
		if *task.Status != "FAILED" || *task.FailureReason != "CouldNotDetermineMessageSource" || len(server.Stored(url)) != 1 {
			t.Errorf("got %s, %d moved back", *task.Status, len(server.Stored(url)))
		}
	})
}
