package sqsx_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an account of its own: a server, a key, and a client without sealq.
type world struct {
	t      testing.TB
	server *sqsxtest.Server
	cfg    aws.Config
	key    string // ARN
	kms    *kms.Client
	plain  *sqs.Client
	leaks  *sink // what Sealers of the world log and report, searched for keys
}

func newWorld(t testing.TB) *world {
	t.Helper()
	server := sqsxtest.New(t)
	t.Cleanup(settle) // before the server closes
	w := &world{t: t, server: server, cfg: server.Config()}
	w.watch()
	w.kms = kms.NewFromConfig(w.cfg)
	w.plain = sqs.NewFromConfig(w.cfg)
	w.key = w.newKey()
	return w
}

// settle lets what goes on in the background come to its end: questions to KMS,
// requests that take back what was parked. A bubble of package synctest may not
// end before, and its time is free.
func settle() {
	if bubble := time.Now().Year() == 2000; bubble { // where its clock starts
		time.Sleep(time.Minute)
	}
}

// watch learns the data keys from what KMS answers, and looks for them in what
// Sealers of the world log and report.
func (w *world) watch() {
	found := newSecrets()
	w.leaks = &sink{name: "what a Sealer logs and reports", kinds: []string{keySecret, edkSecret}, secrets: found, t: w.t, found: make(map[string]bool)}
	w.cfg.HTTPClient = &listener{w.cfg.HTTPClient, found}
}

func (w *world) newKey() string {
	w.t.Helper()
	out, err := w.kms.CreateKey(w.t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// sealer returns a Sealer that logs to where leaks are found.
func (w *world) sealer(optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	w.t.Helper()
	s, err := sqsx.NewFromConfig(w.cfg, w.key, append([]func(*sqsx.Options){w.watched}, optFns...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// watched has a Sealer log to where leaks are found.
func (w *world) watched(o *sqsx.Options) {
	o.Logger = slog.New(slog.NewJSONHandler(w.leaks, &slog.HandlerOptions{Level: slog.Level(-100)}))
	o.OnWithheld = func(_ context.Context, e *sqsx.OpenError) { w.leaks.take(e.Error()) }
}

func (w *world) client(optFns ...func(*sqsx.Options)) *sqs.Client {
	return sqs.NewFromConfig(w.cfg, w.sealer(optFns...).Install)
}

// queue creates a queue and returns its URL. attributes alternate name, value.
func (w *world) queue(name string, attributes ...string) string {
	w.t.Helper()
	in := &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{}}
	if strings.HasSuffix(name, ".fifo") {
		in.Attributes["FifoQueue"] = "true"
	}
	for i := 0; i < len(attributes); i += 2 {
		in.Attributes[attributes[i]] = attributes[i+1]
	}
	out, err := w.plain.CreateQueue(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.QueueUrl
}

// withDLQ creates a queue whose messages move to NAME-dlq after n receives.
func (w *world) withDLQ(name string, n int, attributes ...string) (source, dlq string) {
	w.t.Helper()
	suffix := "-dlq"
	base, fifo := strings.CutSuffix(name, ".fifo")
	if fifo {
		suffix += ".fifo"
	}
	dlq = w.queue(base + suffix)
	policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, arnOf(base+suffix), n)
	return w.queue(name, append(attributes, "RedrivePolicy", policy)...), dlq
}

func arnOf(queue string) string {
	return "arn:aws:sqs:" + sqsxtest.DefaultRegion + ":" + sqsxtest.DefaultAccount + ":" + queue
}

func send(t testing.TB, c *sqs.Client, url, body string) *sqs.SendMessageOutput {
	t.Helper()
	out, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// receive gets all that is there, at most ten messages.
func receive(ctx context.Context, c *sqs.Client, url string) (*sqs.ReceiveMessageOutput, error) {
	return c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
}

func bodies(messages []types.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, aws.ToString(m.Body))
	}
	return all
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// count returns the number of requests of one action, "sqs:SendMessage" or so.
func (w *world) count(action string) int { return w.server.Count(action) }

// kmsFails fails every request to KMS with err, those that administer keys
// excepted.
func kmsFails(err error) func(*sqsxtest.Request) error {
	return func(r *sqsxtest.Request) error {
		switch r.Action {
		case "kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt", "kms:DescribeKey":
			return err
		}
		return nil
	}
}
