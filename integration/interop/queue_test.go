package interop_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/integration/interop/drivers"
	"github.com/sealq/sealq/integration/launch"
	"github.com/sealq/sealq/sqsx"
)

const examples = "../../examples"

// example is the folder of programs for users of another language, and how to
// run one of them.
type example struct {
	sdk    string // the ID of the SDK whose installation has its packages
	folder string
	ending string
	// prepare makes what the programs need in their folder dir, and returns the
	// interpreter.
	prepare func(t *testing.T, s *sdk, dir string) string
}

func exampleLanguages() []example {
	return []example{
		{"python", "python", ".py", func(t *testing.T, s *sdk, dir string) string {
			return filepath.Join(s.Folder(), "venv/bin/python")
		}},
		{"javascript", "javascript", ".js", func(t *testing.T, s *sdk, dir string) string {
			// Node.js looks for packages beside the program.
			if err := os.Symlink(filepath.Join(s.Folder(), "src/node_modules"), filepath.Join(dir, "node_modules")); err != nil {
				t.Fatal(err)
			}
			return "node"
		}},
	}
}

// program returns a function that runs a program of the example, such as
// "send", and returns what it prints. An exit code other than 0 is an error
// with its standard error. env is added to its environment.
func (e example) program(t *testing.T, endpoint string, env ...string) func(name string, args ...string) (string, error) {
	t.Helper()
	s := find(t, e.sdk)
	s.running(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(examples, e.folder))); err != nil {
		t.Fatal(err)
	}
	interpreter := e.prepare(t, s, dir)
	return func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), interpreter, append([]string{name + e.ending}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(append(drivers.Environ(), "AWS_ENDPOINT_URL="+endpoint), env...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", name, err, stderr.String())
		}
		return stdout.String(), err
	}
}

// world is an emulator with a key and clients: one that seals, one that does
// not.
type world struct {
	endpoint string
	key      kmsKey
	cfg      aws.Config
	plain    *sqs.Client
}

func newWorld(t *testing.T, alias string) world {
	t.Helper()
	return newWorldOn(t, emulator(t), alias)
}

func newWorldOn(t *testing.T, in *launch.Instance, alias string) world {
	t.Helper()
	cfg := in.Config()
	cfg.Retryer = nil // the SDK's own: a busy machine can make a call time out
	return world{
		endpoint: in.Endpoint,
		key:      newKMSKey(t, kms.NewFromConfig(cfg), alias),
		cfg:      cfg,
		plain:    sqs.NewFromConfig(cfg),
	}
}

// sealing returns a client with a sealer of its own.
func (w world) sealing(t *testing.T, policy sqsx.Policy) *sqs.Client {
	t.Helper()
	sealer, err := sqsx.NewFromConfig(w.cfg, w.key.alias, func(o *sqsx.Options) {
		o.Policy = policy
		o.Logger = slog.New(slog.DiscardHandler)
	})
	if err != nil {
		t.Fatal(err)
	}
	return sqs.NewFromConfig(w.cfg, sealer.Install)
}

// queue makes a queue where a message that was received can be received again
// at once.
func (w world) queue(t *testing.T, name string, attributes map[string]string) string {
	t.Helper()
	all := map[string]string{"VisibilityTimeout": "0"}
	maps.Copy(all, attributes)
	out, err := w.plain.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: all})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.QueueUrl)
}

func send(t *testing.T, client *sqs.Client, queue, body string) {
	t.Helper()
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &body}); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, client *sqs.Client, queue string) (*sqs.ReceiveMessageOutput, error) {
	t.Helper()
	return client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl:              &queue,
		WaitTimeSeconds:       5,
		MessageAttributeNames: []string{"All"},
	})
}

// take removes the one message of queue and returns it as it was on the wire.
func (w world) take(t *testing.T, queue string) types.Message {
	t.Helper()
	out, err := receive(t, w.plain, queue)
	if err != nil || len(out.Messages) != 1 {
		t.Fatalf("got %v, want one message", err)
	}
	if _, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	return out.Messages[0]
}

// relay takes the one message out of queue and sends it anew, as it arrives.
func (w world) relay(t *testing.T, queue string) {
	t.Helper()
	m := w.take(t, queue)
	body, err := base64.StdEncoding.DecodeString(aws.ToString(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	body = onTheWire(body, len(body)-1)
	in := &sqs.SendMessageInput{
		QueueUrl:          &queue,
		MessageBody:       aws.String(base64.StdEncoding.EncodeToString(body)),
		MessageAttributes: m.MessageAttributes,
	}
	if _, err := w.plain.SendMessage(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// sealedFor returns a message, whole, that sealq seals for queue. The queue is
// empty before and after.
func (w world) sealedFor(t *testing.T, queue string) []byte {
	t.Helper()
	send(t, w.sealing(t, sqsx.Policy{BodyCarrier: true}), queue, text)
	message, err := base64.StdEncoding.DecodeString(aws.ToString(w.take(t, queue).Body))
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// text is what the queue tests send.
const text = `{"order": 17, "to": "Zoë, 東京"}`

// Programs of other languages and Go programs that use sealq share a queue. The
// programs are the examples that users are given.
func TestThroughAQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "interop-queue")
	for _, e := range exampleLanguages() {
		t.Run(e.folder, func(t *testing.T) {
			t.Parallel()
			run := e.program(t, w.endpoint)
			record(t, find(t, e.sdk), "through a queue, both directions", "")

			for name, policy := range map[string]sqsx.Policy{"attribute": {}, "body": {BodyCarrier: true}} {
				queue := w.queue(t, "interop-"+e.folder+"-"+name, nil)
				send(t, w.sealing(t, policy), queue, text)
				w.relay(t, queue)
				if got, err := run("receive", queue, w.key.arn); err != nil || got != text+"\n" {
					t.Errorf("%s carrier, sent by sealq: got %q, %v, want %q", name, got, err, text+"\n")
				}
			}

			queue := w.queue(t, "interop-"+e.folder+"-back", nil)
			if _, err := run("send", queue, w.key.arn, text); err != nil {
				t.Fatal(err)
			}
			w.relay(t, queue)
			out, err := receive(t, w.sealing(t, sqsx.Policy{}), queue)
			if err != nil || len(out.Messages) != 1 || aws.ToString(out.Messages[0].Body) != text {
				t.Errorf("received by sealq: got %v, want one message with %q", err, text)
			}
		})
	}
}

// A dead-letter queue holds messages that were sealed for another queue. SQS
// says which, and readers on both sides accept that one.
func TestDeadLetterQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "interop-dlq")
	for _, e := range exampleLanguages() {
		t.Run(e.folder, func(t *testing.T) {
			t.Parallel()
			run := e.program(t, w.endpoint)
			dlq := w.queue(t, "interop-"+e.folder+"-dlq", nil)
			out, err := w.plain.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
				QueueUrl: &dlq, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
			})
			if err != nil {
				t.Fatal(err)
			}
			queue := w.queue(t, "interop-"+e.folder+"-source", map[string]string{
				"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn": %q, "maxReceiveCount": "1"}`, out.Attributes["QueueArn"]),
			})
			send(t, w.sealing(t, sqsx.Policy{}), queue, text)
			for range 2 { // the second moves it
				if _, err := w.plain.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &queue}); err != nil {
					t.Fatal(err)
				}
			}
			received, err := receive(t, w.sealing(t, sqsx.Policy{}), dlq)
			if err != nil || len(received.Messages) != 1 || aws.ToString(received.Messages[0].Body) != text {
				t.Errorf("received by sealq: got %v, want one message with %q", err, text)
			}
			if got, err := run("receive", dlq, w.key.arn); err != nil || got != text+"\n" {
				t.Errorf("received by the example: got %q, %v, want %q", got, err, text+"\n")
			}
		})
	}
}

// What the Go reader refuses, the examples refuse too, for the same reason.
func TestExamplesRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "interop-refuse")
	other := w.queue(t, "interop-refuse-other", nil)
	whole := func(m []byte) string { return base64.StdEncoding.EncodeToString(m) }
	type attribute = types.MessageAttributeValue
	binary := func(dataType string, b []byte) *attribute {
		return &attribute{DataType: &dataType, BinaryValue: b}
	}
	asText := func(s string) *attribute { return &attribute{DataType: aws.String("String"), StringValue: &s} }
	cases := map[string]struct {
		body      func(t *testing.T, queue string) string // nil: the second half of a message
		attribute func(header []byte) *attribute
		want      string
	}{
		"plaintext": {
			body: func(*testing.T, string) string { return text },
			want: "not sealed",
		},
		"copied-from-another-queue": {
			body: func(t *testing.T, _ string) string { return whole(w.sealedFor(t, other)) },
			want: "sealed for",
		},
		"changed-bit": {
			body: func(t *testing.T, queue string) string {
				m := w.sealedFor(t, queue)
				return whole(flip(m, len(m)-20))
			},
			want: "not opened",
		},
		"line-break": {
			body: func(t *testing.T, queue string) string {
				b := whole(w.sealedFor(t, queue))
				return b[:76] + "\n" + b[76:]
			},
			want: "not base64",
		},
		"header-that-is-no-header": {
			body:      func(t *testing.T, queue string) string { return whole(w.sealedFor(t, queue)) },
			attribute: func([]byte) *attribute { return asText("x") },
			want:      "has type 'String'", // though the body alone would open
		},
		"header-of-another-type": {
			attribute: func(header []byte) *attribute { return binary("Binary.x", header) }, // its bytes would open
			want:      "has type 'Binary.x'",
		},
		"header-as-text": {
			attribute: func(header []byte) *attribute { return asText(whole(header)) },
			want:      "has type 'String'",
		},
		"header-encoded-once-more": {
			attribute: func(header []byte) *attribute { return binary("Binary", []byte(whole(header))) },
			want:      "once more",
		},
		"header-of-one-byte": {
			attribute: func(header []byte) *attribute { return binary("Binary", header[:1]) },
			want:      "not opened",
		},
	}
	for _, e := range exampleLanguages() {
		t.Run(e.folder, func(t *testing.T) {
			t.Parallel()
			run := e.program(t, w.endpoint)
			for name, c := range cases {
				queue := w.queue(t, "interop-"+e.folder+"-"+name, nil)
				m, err := envelope.Split(w.sealedFor(t, queue))
				if err != nil {
					t.Fatal(err)
				}
				in := &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(whole(m.Body))}
				if c.body != nil {
					in.MessageBody = aws.String(c.body(t, queue))
				}
				if c.attribute != nil {
					in.MessageAttributes = map[string]attribute{"sealq": *c.attribute(m.Header)}
				}
				if _, err := w.plain.SendMessage(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				got, err := run("receive", queue, w.key.arn)
				if err == nil || got != "" || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: the example got %q, %v; want an error about %q", name, got, err, c.want)
				}
				if _, err := receive(t, w.sealing(t, sqsx.Policy{}), queue); !errors.Is(err, envelope.ErrInvalidMessage) {
					t.Errorf("%s: sealq got %v, want %v", name, err, envelope.ErrInvalidMessage)
				}
			}
		})
	}
}

// The tests run the examples with the packages of the drivers. Those must be
// what the examples themselves ask for.
func TestExamplePins(t *testing.T) {
	t.Parallel()
	read := func(elements ...string) string {
		b, err := os.ReadFile(filepath.Join(elements...))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	frozen := strings.Fields(read("drivers/python/requirements.txt"))
	for line := range strings.FieldsSeq(read(examples, "python/requirements.txt")) {
		if pin := strings.Replace(line, "[MPL]", "", 1); !slices.Contains(frozen, pin) {
			t.Errorf("the driver for Python does not install %s", pin)
		}
	}
	for _, file := range []string{"package.json", "package-lock.json"} {
		own := strings.ReplaceAll(read("drivers/javascript", file), "interop-driver", "sealq-example")
		if own != read(examples, "javascript", file) {
			t.Errorf("%s of the driver and of the example for JavaScript differ", file)
		}
	}
}
