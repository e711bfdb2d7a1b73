package snsx_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is in every text that must not leave, and in nothing that may.
const secret = "s3cret-tex7"

// world is an account of its own: a server and a key.
type world struct {
	t      testing.TB
	server *sqsxtest.Server
	cfg    aws.Config
	key    string
	plain  *sqs.Client
}

func newWorld(t testing.TB) *world {
	t.Helper()
	server := sqsxtest.New(t)
	cfg := server.Config()
	cfg.RetryMaxAttempts = 1
	return &world{t: t, server: server, cfg: cfg, key: server.NewKey(), plain: sqs.NewFromConfig(cfg)}
}

func (w *world) sealer(optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	w.t.Helper()
	quiet := func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) }
	s, err := sqsx.NewFromConfig(w.cfg, w.key, append([]func(*sqsx.Options){quiet}, optFns...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// publisher is an SNS client that seals.
func (w *world) publisher(optFns ...func(*sqsx.Options)) *sns.Client {
	w.t.Helper()
	return sns.NewFromConfig(w.cfg, snsx.Install(w.sealer(optFns...)))
}

// policies returns an option with the policies of queues and topics.
func policies(all map[string]sqsx.Policy) func(*sqsx.Options) {
	return func(o *sqsx.Options) { o.Queues = all }
}

// raw makes a queue that gets what is published to topic, by raw delivery.
func (w *world) raw(topic, queue string, attributes ...string) (url string) {
	w.t.Helper()
	url = w.server.NewQueue(queue)
	w.server.Subscribe(topic, url, append([]string{"RawMessageDelivery", "true"}, attributes...)...)
	return url
}

// accepts is a consumer of all queues, which accept topics.
func (w *world) accepts(topics ...string) *sqs.Client {
	w.t.Helper()
	return sqs.NewFromConfig(w.cfg, w.sealer(func(o *sqsx.Options) { o.Policy.AcceptTopics = topics }).Install)
}

func receive(ctx context.Context, c *sqs.Client, url string) (*sqs.ReceiveMessageOutput, error) {
	return c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameAll},
	})
}

// receiveBodies is receive for those who want the bodies only.
func receiveBodies(t testing.TB, c *sqs.Client, url string) []string {
	t.Helper()
	out, err := receive(t.Context(), c, url)
	if err != nil {
		t.Fatal(err)
	}
	return bodies(out.Messages)
}

func bodies(messages []sqstypes.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, aws.ToString(m.Body))
	}
	return all
}

func str(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

// checkWire fails the test if the secret is in a request or in a queue.
func (w *world) checkWire(queues ...string) {
	w.t.Helper()
	published := 0
	for _, r := range w.server.Requests() {
		if strings.HasPrefix(r.Action, "sns:Publish") {
			published++
		}
		if strings.Contains(string(r.Body), secret) {
			w.t.Errorf("plaintext in a %s request", r.Action)
		}
	}
	if published == 0 {
		w.t.Error("nothing was published")
	}
	for _, url := range queues {
		for _, m := range w.server.Stored(url) {
			if strings.Contains(*m.Body, secret) {
				w.t.Errorf("plaintext in %s", url)
			}
		}
	}
}

// contexts returns the values of sealq:queue that KMS was asked under.
func (w *world) contexts(action string) []string {
	w.t.Helper()
	var all []string
	for _, r := range w.server.Requests() {
		var in struct{ EncryptionContext map[string]string }
		if r.Action != action {
			continue
		}
		if err := json.Unmarshal(r.Body, &in); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, in.EncryptionContext["sealq:queue"])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func topicARN(name string) string {
	return "arn:aws:sns:" + sqsxtest.DefaultRegion + ":" + sqsxtest.DefaultAccount + ":" + name
}

func queueARN(name string) string {
	return "arn:aws:sqs:" + sqsxtest.DefaultRegion + ":" + sqsxtest.DefaultAccount + ":" + name
}
