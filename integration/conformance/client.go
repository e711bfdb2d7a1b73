package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx"
)

// patience bounds every wait for something that a server does by itself.
const patience = 30 * time.Second

// suite is what a case works with: plain clients of a target, and a note of the
// differences that the case has met.
type suite struct {
	target Target
	name   string
	sqs    *sqs.Client
	kms    *kms.Client
	met    []Difference
}

func newSuite(target Target, name string) *suite {
	return &suite{target: target, name: name, sqs: sqs.NewFromConfig(target.SQS), kms: kms.NewFromConfig(target.KMS)}
}

// differs reports whether the target is said to differ so, and notes that the
// case has met it. It is called by the case's own goroutine only.
func (s *suite) differs(d Difference) bool {
	if !slices.Contains(s.target.Differences, d) {
		return false
	}
	s.met = append(s.met, d)
	return true
}

// queue makes a queue of its own for the test. Its name is random, so that runs
// against one server do not meet.
func (s *suite) queue(t *testing.T, attributes map[string]string) (url string) {
	t.Helper()
	name := "conformance-" + strings.ToLower(rand.Text()[:12])
	if attributes["FifoQueue"] == "true" {
		name += ".fifo"
	}
	out, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if _, err := s.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl}); err != nil {
			t.Errorf("delete the queue: %v", err)
		}
	})
	return *out.QueueUrl
}

var fifo = map[string]string{"FifoQueue": "true"}

// with returns a copy of attributes with one more.
func with(attributes map[string]string, name, value string) map[string]string {
	m := maps.Clone(attributes)
	if m == nil {
		m = map[string]string{}
	}
	m[name] = value
	return m
}

// redrive makes a queue whose messages go to the dead-letter queue when they
// have been received receives times.
func (s *suite) redrive(t *testing.T, deadLetter string, receives int, attributes map[string]string) (url string) {
	t.Helper()
	policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"%d"}`, s.arn(t, deadLetter), receives)
	return s.queue(t, with(attributes, "RedrivePolicy", policy))
}

func (s *suite) arn(t *testing.T, url string) string {
	t.Helper()
	out, err := s.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attributes["QueueArn"]
}

// bound returns the ARN that messages to a queue are bound to, which is the
// queue's own on AWS.
func (s *suite) bound(t *testing.T, url string) string {
	t.Helper()
	q, err := middleware.ParseQueueURL(url, s.target.SQS.Region)
	if err != nil {
		t.Fatal(err)
	}
	own, ok := strings.CutPrefix(s.arn(t, url), "arn:aws:sqs:elasticmq:")
	if s.differs(ARNsOfOneRegion) != ok {
		t.Errorf("got the Region elasticmq in the queue's ARN %t: %s", ok, ARNsOfOneRegion)
	}
	if ok && strings.HasSuffix(q.ARN(), ":"+own) || q.ARN() == s.arn(t, url) {
		return q.ARN()
	}
	t.Fatalf("got the ARN %s of queue %s, want that of its URL", s.arn(t, url), url)
	return ""
}

// key makes a KMS key and returns its ARN.
func (s *suite) key(t *testing.T) string {
	t.Helper()
	out, err := s.kms.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// sealer makes a Sealer on the target's KMS.
func (s *suite) sealer(t *testing.T, keyID string, optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	t.Helper()
	sealer, err := sqsx.NewFromConfig(s.target.KMS, keyID, append([]func(*sqsx.Options){logTo(t)}, optFns...)...)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

func logTo(t *testing.T) func(*sqsx.Options) {
	return func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)) }
}

// sealed makes a client as a service would.
func (s *suite) sealed(t *testing.T, optFns ...func(*sqsx.Options)) *sqs.Client {
	t.Helper()
	return sqs.NewFromConfig(s.target.SQS, s.sealer(t, s.key(t), optFns...).Install)
}

// stored returns the messages that lie in a queue, as they came over the wire.
// They may be taken by receiving them: the queue is of no use afterwards.
func (s *suite) stored(t *testing.T, url string, count int) []types.Message {
	t.Helper()
	if s.target.Stored == nil {
		return s.receive(t, s.sqs, url, count, everything)
	}
	messages, err := s.target.Stored(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != count {
		t.Fatalf("messages stored: got %d, want %d", len(messages), count)
	}
	return messages
}

func everything(in *sqs.ReceiveMessageInput) {
	in.MessageAttributeNames = []string{"All"}
	in.MessageSystemAttributeNames = []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}
}

// receive returns count messages, deleted from the queue as they arrive. A
// receive that fails, fails the test.
func (s *suite) receive(t *testing.T, client *sqs.Client, url string, count int, edits ...func(*sqs.ReceiveMessageInput)) []types.Message {
	t.Helper()
	var got []types.Message
	for deadline := time.Now().Add(patience); len(got) < count; {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url, edits...))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Messages {
			s.delete(t, url, m)
		}
		got = append(got, out.Messages...)
		if time.Now().After(deadline) {
			t.Fatalf("after %v: received %d messages, want %d", patience, len(got), count)
		}
	}
	return got
}

func receiveInput(url string, edits ...func(*sqs.ReceiveMessageInput)) *sqs.ReceiveMessageInput {
	in := &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 1}
	for _, edit := range edits {
		edit(in)
	}
	return in
}

func (s *suite) delete(t *testing.T, url string, m types.Message) {
	t.Helper()
	if _, err := s.sqs.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
}

// send sends one message, with what a FIFO queue needs if it is one.
func send(t *testing.T, client *sqs.Client, url, body string, attributes map[string]types.MessageAttributeValue) *sqs.SendMessageOutput {
	t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: attributes}
	if strings.HasSuffix(url, ".fifo") {
		in.MessageGroupId = aws.String("group")
		in.MessageDeduplicationId = aws.String(rand.Text())
	}
	out, err := client.SendMessage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// code is the error code of the service in err, "" if there is none. The two
// ways in which the protocols write a code count as one.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return strings.TrimPrefix(api.ErrorCode(), "AWS.SimpleQueueService.")
	}
	return ""
}

// wantCode fails the test unless err has the code.
func wantCode(t *testing.T, what string, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("%s: got error code %q (%v), want %q", what, got, err, want)
	}
}
