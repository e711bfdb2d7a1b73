package lambdax_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is SQS and KMS in memory, with a key, and clients that seal and one
// that does not.
type world struct {
	server   *sqsxtest.Server
	key      string
	outsider *sqs.Client
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	s := sqsxtest.New(tb)
	return &world{server: s, key: s.NewKey("alias/orders"), outsider: sqs.NewFromConfig(s.Config())}
}

// sealer returns a Sealer with data keys of its own.
func (w *world) sealer(tb testing.TB, optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	tb.Helper()
	return w.sealerFor(tb, w.key, optFns...)
}

func (w *world) sealerFor(tb testing.TB, key string, optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	tb.Helper()
	quiet := func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) }
	s, err := sqsx.NewFromConfig(w.server.Config(), key, append([]func(*sqsx.Options){quiet}, optFns...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// producer returns a client with data keys of its own.
func (w *world) producer(tb testing.TB) *sqs.Client {
	tb.Helper()
	return w.sealer(tb).Wrap(w.outsider)
}

func arnOf(queue string) string {
	return "arn:aws:sqs:us-east-1:000000000000:" + queue
}

// message is a message to send; its body names it.
type message struct {
	client *sqs.Client
	group  string
	body   string
}

// send sends messages to a queue, which it makes, and returns them as they are
// received there, sealed, with all their attributes and receipt handles.
func (w *world) send(tb testing.TB, queue string, messages ...message) []types.Message {
	tb.Helper()
	url := w.server.NewQueue(queue)
	for i, m := range messages {
		in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &m.body}
		if strings.HasSuffix(queue, ".fifo") {
			in.MessageGroupId, in.MessageDeduplicationId = &m.group, aws.String(queue+strconv.Itoa(i))
		} else if m.group != "" {
			in.MessageGroupId = &m.group
		}
		if _, err := m.client.SendMessage(tb.Context(), in); err != nil {
			tb.Fatal(err)
		}
	}
	return w.receive(tb, url, len(messages))
}

func (w *world) receive(tb testing.TB, url string, n int) []types.Message {
	tb.Helper()
	var got []types.Message
	for len(got) < n {
		out, err := w.outsider.ReceiveMessage(tb.Context(), &sqs.ReceiveMessageInput{
			QueueUrl:                    &url,
			MaxNumberOfMessages:         10,
			MessageAttributeNames:       []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"},
		})
		if err != nil {
			tb.Fatal(err)
		}
		if len(out.Messages) == 0 {
			tb.Fatalf("received %d messages, want %d", len(got), n)
		}
		got = append(got, out.Messages...)
	}
	return got
}

// recorder is work that remembers the bodies that it was called with, and what
// to do for some of them.
type recorder struct {
	mu     sync.Mutex
	bodies []string
	does   map[string]func(context.Context) error
}

func (r *recorder) work(ctx context.Context, m lambdax.Message) error {
	r.mu.Lock()
	r.bodies = append(r.bodies, *m.Body)
	does := r.does[*m.Body]
	r.mu.Unlock()
	if does != nil {
		return does(ctx)
	}
	return nil
}

func (r *recorder) worked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies)
}

var errWork = errors.New("no such card")

func fails(context.Context) error  { return errWork }
func panics(context.Context) error { panic("at the disco") }

// reports is for mappings with ReportBatchItemFailures, and quiet.
func reports(o *lambdax.Options) {
	o.ReportsFailures = true
	o.Logger = slog.New(slog.DiscardHandler)
}

// failedBodies names the messages that a response reports, by what was sent.
func reported(r lambdax.Response) []string {
	ids := make([]string, len(r.BatchItemFailures))
	for i, f := range r.BatchItemFailures {
		ids[i] = f.ItemIdentifier
	}
	return ids
}

// named gives messages IDs that a test can read: "queue/0" and so on.
func named(queue string, msgs []types.Message) []types.Message {
	out := slices.Clone(msgs)
	for i := range out {
		out[i].MessageId = aws.String(fmt.Sprint(queue, "/", i))
	}
	return out
}

// event makes an event of messages of queues, and reads it from the JSON that
// Lambda would send.
func event(tb testing.TB, queue string, msgs []types.Message) lambdax.Event {
	tb.Helper()
	text, err := json.Marshal(lambdax.NewEvent(arnOf(queue), named(queue, msgs)))
	if err != nil {
		tb.Fatal(err)
	}
	return parse(tb, string(text))
}

func parse(tb testing.TB, text string) (e lambdax.Event) {
	tb.Helper()
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		tb.Fatal(err)
	}
	return e
}

// sealed returns n messages for the queue under so many data keys, in turn,
// without sending them. Their IDs and bodies are "name-0" and so on.
func (w *world) sealed(tb testing.TB, queue, name string, n, keys int) []types.Message {
	tb.Helper()
	s := w.sealer(tb)
	msgs := make([]types.Message, n)
	for key := range keys {
		s.Purge()
		for i := key; i < n; i += keys {
			in := &sqs.SendMessageInput{MessageBody: aws.String(fmt.Sprint(name, "-", i))}
			if strings.HasSuffix(queue, ".fifo") {
				in.MessageGroupId, in.MessageDeduplicationId = aws.String("g"), aws.String(strconv.Itoa(i))
			}
			out, err := s.SealMessage(tb.Context(), arnOf(queue), in)
			if err != nil {
				tb.Fatal(err)
			}
			msgs[i] = types.Message{MessageId: aws.String(fmt.Sprint(name, "-", i)), Body: out.MessageBody, MessageAttributes: out.MessageAttributes}
		}
	}
	return msgs
}

// decryptHangs has no call of kms:Decrypt answered.
func decryptHangs(r *sqsxtest.Request) error {
	if r.Action == "kms:Decrypt" {
		<-r.Context().Done()
		return r.Context().Err()
	}
	return nil
}

func marshal(tb testing.TB, v any) []byte {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}
