package sqsxtest_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// modelMessage is a message as a plain list knows it.
type modelMessage struct {
	body, group string
	visibleAt   time.Time
	handle      *string // nil before the first receive
}

func (m *modelMessage) hidden() bool   { return m.visibleAt.After(time.Now()) }
func (m *modelMessage) inFlight() bool { return m.handle != nil && m.hidden() }

// model is a queue as a list that is searched from the front.
type model struct {
	fifo     bool
	messages []*modelMessage
}

// receivable returns the messages that a receive without a limit would get, by
// group.
func (q *model) receivable() map[string][]string {
	out := make(map[string][]string)
	blocked := make(map[string]bool)
	for _, m := range q.messages {
		switch {
		case blocked[m.group]:
		case m.hidden():
			blocked[m.group] = q.fifo // what is behind it waits
		default:
			out[m.group] = append(out[m.group], m.body)
		}
	}
	return out
}

// withoutDeadline hides the Deadline method, which must not be called in a
// bubble.
type withoutDeadline struct{ testing.TB }

// Random operations on a queue and on a list of messages have the same results.
func TestQueueIsWhatAListWouldBe(t *testing.T) {
	t.Parallel()
	for name, attributes := range map[string][]string{"q": nil, "q.fifo": {"FifoQueue", "true"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rapid.Check(withoutDeadline{t}, func(rt *rapid.T) {
					server := sqsxtest.Start()
					defer server.Close()
					client := sqs.NewFromConfig(server.Config())
					url := createQueue(t, client, name, attributes...)
					compare(t, rt, server, client, url, &model{fifo: attributes != nil})
				})
			})
		})
	}
}

func compare(t *testing.T, rt *rapid.T, server *sqsxtest.Server, client *sqs.Client, url string, want *model) {
	sent := 0
	pick := func() (int, *modelMessage) {
		if len(want.messages) == 0 {
			rt.Skip("no message")
		}
		i := rapid.IntRange(0, len(want.messages)-1).Draw(rt, "message")
		if want.messages[i].handle == nil {
			rt.Skip("never received")
		}
		return i, want.messages[i]
	}
	rt.Repeat(map[string]func(*rapid.T){
		"send": func(rt *rapid.T) {
			sent++
			m := &modelMessage{body: fmt.Sprint(sent)}
			in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &m.body}
			if want.fifo {
				m.group = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "group")
				in.MessageGroupId, in.MessageDeduplicationId = &m.group, &m.body
			} else {
				in.DelaySeconds = rapid.Int32Range(0, 2).Draw(rt, "delay")
				m.visibleAt = time.Now().Add(time.Duration(in.DelaySeconds) * time.Second)
			}
			if _, err := client.SendMessage(t.Context(), in); err != nil {
				rt.Fatal(err)
			}
			want.messages = append(want.messages, m)
		},
		"receive": func(rt *rapid.T) {
			most := rapid.Int32Range(1, 10).Draw(rt, "max")
			visibility := rapid.Int32Range(1, 4).Draw(rt, "visibility")
			can := want.receivable()
			total := 0
			for _, g := range can {
				total += len(g)
			}
			out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: most, VisibilityTimeout: visibility})
			if err != nil {
				rt.Fatal(err)
			}
			if len(out.Messages) != min(int(most), total) {
				rt.Fatalf("got %q, want %d of %v", bodies(out.Messages), most, can)
			}
			for _, got := range out.Messages {
				i := slices.IndexFunc(want.messages, func(m *modelMessage) bool { return m.body == *got.Body })
				if i < 0 {
					rt.Fatalf("got the deleted message %q", *got.Body)
				}
				m := want.messages[i]
				at := slices.Index(can[m.group], m.body)
				if at < 0 || want.fifo && at > 0 {
					rt.Fatalf("got %q out of turn, want one of %v", m.body, can)
				}
				can[m.group] = slices.Delete(can[m.group], at, at+1)
				m.handle, m.visibleAt = got.ReceiptHandle, time.Now().Add(time.Duration(visibility)*time.Second)
			}
		},
		"delete": func(rt *rapid.T) {
			i, m := pick()
			_, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.handle})
			if want.fifo && !m.inFlight() {
				if err == nil {
					rt.Fatal("an expired handle deleted a message of a FIFO queue")
				}
				return
			}
			if err != nil {
				rt.Fatal(err)
			}
			want.messages = slices.Delete(want.messages, i, i+1)
		},
		"change": func(rt *rapid.T) {
			_, m := pick()
			timeout := rapid.Int32Range(0, 3).Draw(rt, "timeout")
			_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: m.handle, VisibilityTimeout: timeout})
			if want := m.inFlight() || !want.fifo; (err == nil) != want {
				rt.Fatalf("got %v for a message in flight: %t, want success: %t", err, m.inFlight(), want)
			}
			if m.inFlight() {
				m.visibleAt = time.Now().Add(time.Duration(timeout) * time.Second)
			}
		},
		"sleep": func(rt *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 4).Draw(rt, "half seconds")) * time.Second / 2)
		},
		"": func(rt *rapid.T) {
			var all []string
			var state [3]int
			for _, m := range want.messages {
				all = append(all, m.body)
				switch {
				case m.inFlight():
					state[1]++
				case m.hidden():
					state[2]++
				default:
					state[0]++
				}
			}
			if got := bodies(server.Stored(url)); !slices.Equal(got, all) {
				rt.Fatalf("got stored %q, want %q", got, all)
			}
			got := counts(t, client, url)
			if want := [3]string{fmt.Sprint(state[0]), fmt.Sprint(state[1]), fmt.Sprint(state[2])}; got != want {
				rt.Fatalf("got counts %v, want %v", got, want)
			}
		},
	})
}
