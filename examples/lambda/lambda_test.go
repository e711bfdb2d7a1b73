package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestHandle sends sealed messages, and plaintext between them, into two
// queues, makes an event of what lies there, and looks at what the function
// does.
func TestHandle(t *testing.T) {
	server := sqsxtest.New(t)
	key, err := kms.NewFromConfig(server.Config()).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.NewFromConfig(server.Config(), *key.KeyMetadata.Arn, func(o *sqsx.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
	})
	if err != nil {
		t.Fatal(err)
	}
	outsider := sqs.NewFromConfig(server.Config())
	producer := sealer.Wrap(outsider)

	stored := make(map[string][]types.Message)
	for name, attributes := range map[string]map[string]string{"orders": nil, "payments.fifo": {"FifoQueue": "true"}} {
		queue, err := outsider.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range []struct {
			client      *sqs.Client
			group, body string
		}{
			{producer, "a", "first"}, {outsider, "a", "not sealed"}, {producer, "a", "second"},
			{producer, "b", "fails"}, {producer, "b", "third"},
		} {
			in := &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: &m.body}
			if attributes != nil {
				in.MessageGroupId, in.MessageDeduplicationId = &m.group, aws.String(strconv.Itoa(i))
			}
			if _, err := m.client.SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		stored[name] = server.Stored(*queue.QueueUrl)
	}

	var worked []string
	f := &function{sealer: sealer, work: func(_ context.Context, m sqsx.Message) error {
		if worked = append(worked, *m.Body); *m.Body == "fails" {
			return errors.New("no such card")
		}
		return nil
	}}
	out, err := f.handle(t.Context(), lambdaEvent(t, stored))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(worked)
	if diff := cmp.Diff([]string{"fails", "fails", "first", "first", "second", "third"}, worked); diff != "" {
		t.Errorf("worked off (-want +got):\n%s", diff)
	}
	failed := failedIDs(out)
	// What is not sealed, and what fails; on the FIFO queue what follows, too.
	want := []string{"orders/1", "orders/3", "payments.fifo/1", "payments.fifo/2", "payments.fifo/3", "payments.fifo/4"}
	if diff := cmp.Diff(want, failed); diff != "" {
		t.Errorf("reported as failed (-want +got):\n%s", diff)
	}
}

func failedIDs(out response) (ids []string) {
	for _, f := range out.Failures {
		ids = append(ids, f.ID)
	}
	slices.Sort(ids)
	return ids
}

// stage is a queue "orders" and a function that records what it works off.
type stage struct {
	server   *sqsxtest.Server
	url      string
	outsider *sqs.Client
	producer func() *sqs.Client // with data keys of its own
	*function
	worked int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{server: sqsxtest.New(t)}
	cfg := s.server.Config()
	key, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealer := func() *sqsx.Sealer {
		sealer, err := sqsx.NewFromConfig(cfg, *key.KeyMetadata.Arn, func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })
		if err != nil {
			t.Fatal(err)
		}
		return sealer
	}
	s.outsider = sqs.NewFromConfig(cfg)
	s.producer = func() *sqs.Client { return sealer().Wrap(s.outsider) }
	s.function = &function{sealer: sealer(), work: func(context.Context, sqsx.Message) error { s.worked++; return nil }}
	out, err := s.outsider.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		t.Fatal(err)
	}
	s.url = *out.QueueUrl
	return s
}

func (s *stage) send(t *testing.T, c *sqs.Client, n int) {
	t.Helper()
	for range n {
		in := &sqs.SendMessageInput{QueueUrl: &s.url, MessageBody: aws.String("x"), MessageAttributes: map[string]types.MessageAttributeValue{
			"origin": {DataType: aws.String("String"), StringValue: aws.String("web")},
		}}
		if _, err := c.SendMessage(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *stage) event(t *testing.T) event {
	t.Helper()
	return lambdaEvent(t, map[string][]types.Message{"orders": s.server.Stored(s.url)})
}

// TestNothingSucceeds returns an error, so that a mapping which does not read
// reports keeps the batch as well.
func TestNothingSucceeds(t *testing.T) {
	t.Parallel()
	errWork := errors.New("no such card")
	for name, tc := range map[string]struct {
		prepare func(*testing.T, *stage)
		want    string // in the error
	}{
		"not sealed": {func(t *testing.T, s *stage) { s.send(t, s.outsider, 3) }, "not sealed"},
		"the work fails": {func(t *testing.T, s *stage) {
			s.send(t, s.producer(), 3)
			s.work = func(context.Context, sqsx.Message) error { return errWork }
		}, errWork.Error()},
		"KMS is unreachable": {func(t *testing.T, s *stage) {
			s.send(t, s.producer(), 3)
			s.server.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "kms:Decrypt" {
					return errors.New("no route to host")
				}
				return nil
			})
		}, "key service unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				tc.prepare(t, s)
				out, err := s.handle(t.Context(), s.event(t))
				if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "none of 3 messages") {
					t.Errorf("got error %v, want one that says %q of none of 3 messages", err, tc.want)
				}
				if len(out.Failures) != 0 || s.worked != 0 {
					t.Errorf("got %v and %d messages worked off beside an error", out, s.worked)
				}
			})
		})
	}
}

// TestDigestOfAttributes alters an attribute between SQS and the function: the
// error says where the damage was done, which takes SQS's digest.
func TestDigestOfAttributes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.send(t, s.producer(), 1)
	e := s.event(t)
	if e.Records[0].AttributesMD5 == "" {
		t.Fatal("the event has no digest of the attributes")
	}
	header := e.Records[0].Attributes["sealq"]
	header.BinaryValue[len(header.BinaryValue)-1] ^= 1
	if _, err := s.handle(t.Context(), e); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got error %v, want one that speaks of the digest", err)
	}
}

// TestWrongEvents are none of SQS: an empty report would mean success.
func TestWrongEvents(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":         `{}`,
		"no records":    `{"Records": []}`,
		"of S3":         `{"Records": [{"eventSource": "aws:s3", "s3": {}}]}`,
		"no message ID": `{"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders", "body": "x"}]}`,
		"no queue":      `{"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": "x"}]}`,
	} {
		if out, err := newStage(t).handle(t.Context(), parseEvent(t, text)); err == nil {
			t.Errorf("%s: got %v, want an error", name, out)
		}
	}
}

// TestKMSHangs has a function of 15 seconds open 100 messages of 20 data keys
// while KMS does not answer, and as many of a data key that it has: these are
// worked off, the others reported, in time.
func TestKMSHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		warm := s.producer()
		s.send(t, warm, 1)
		if _, err := s.handle(t.Context(), s.event(t)); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			s.send(t, s.producer(), 5)
			s.send(t, warm, 5)
		}
		e := s.event(t)
		s.worked = 0
		s.work = func(context.Context, sqsx.Message) error { s.worked++; time.Sleep(50 * time.Millisecond); return nil }
		s.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				<-r.Context().Done()
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		out, err := s.handle(ctx, e)
		if err != nil || ctx.Err() != nil {
			t.Errorf("got error %v, context %v, want a report in time", err, ctx.Err())
		}
		if s.worked != 101 || len(out.Failures) != 100 {
			t.Errorf("worked off %d messages and reported %d, want 101 and 100", s.worked, len(out.Failures))
		}
		time.Sleep(10 * time.Second) // what was asked of KMS ends by itself
	})
}

// TestSlowWork reports what it had no time for.
func TestSlowWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.send(t, s.producer(), 10)
		s.work = func(ctx context.Context, _ sqsx.Message) error {
			s.worked++
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		out, err := s.handle(ctx, s.event(t))
		if err != nil || ctx.Err() != nil {
			t.Errorf("got error %v, context %v, want a report in time", err, ctx.Err())
		}
		if s.worked != 5 || len(out.Failures) != 6 {
			t.Errorf("worked on %d messages and reported %d, want 5, the last of them in vain, and 6", s.worked, len(out.Failures))
		}
	})
}
