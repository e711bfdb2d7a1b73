package lambda_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

const queueARN = "arn:aws:sqs:us-east-1:000000000000:orders"

// world is KMS, and sealed messages of the queue "orders".
type world struct {
	server *sqsxtest.Server
	key    string
	sealer *sqsx.Sealer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{server: sqsxtest.New(t)}
	w.key = w.server.NewKey("alias/orders")
	var err error
	if w.sealer, err = sqsx.NewFromConfig(w.server.Config(), w.key); err != nil {
		t.Fatal(err)
	}
	return w
}

// event is one of aws-lambda-go's own type, with a sealed message for each
// body, whose ID is the body, and a last one that is not sealed.
func (w *world) event(t *testing.T, bodies ...string) []byte {
	t.Helper()
	var e events.SQSEvent
	for _, body := range bodies {
		in, err := w.sealer.SealMessage(t.Context(), queueARN, &sqs.SendMessageInput{MessageBody: &body, MessageAttributes: map[string]types.MessageAttributeValue{
			"origin": {DataType: aws.String("String"), StringValue: aws.String("web")},
		}})
		if err != nil {
			t.Fatal(err)
		}
		m := events.SQSMessage{MessageId: body, Body: *in.MessageBody, MessageAttributes: make(map[string]events.SQSMessageAttribute)}
		for name, a := range in.MessageAttributes {
			m.MessageAttributes[name] = events.SQSMessageAttribute{StringValue: a.StringValue, BinaryValue: a.BinaryValue, DataType: *a.DataType}
		}
		e.Records = append(e.Records, m)
	}
	e.Records = append(e.Records, events.SQSMessage{MessageId: "not sealed", Body: "not sealed"})
	for i := range e.Records {
		e.Records[i].EventSource, e.Records[i].EventSourceARN, e.Records[i].AWSRegion = "aws:sqs", queueARN, "us-east-1"
		e.Records[i].Attributes = map[string]string{"ApproximateReceiveCount": "1"}
	}
	return marshal(t, e)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestStart runs a function by lambda.Start, of a Handler and of its method
// Handle: a report, an error, the array of a pipe, and the next event after a
// failed one, in the same process.
func TestStart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Handler", "Handle"} {
		for _, reports := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/reports=%v", name, reports), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				f := start(t, w.server, w.key, name, reports)
				array := func(event []byte) []byte {
					var e struct{ Records json.RawMessage }
					if err := json.Unmarshal(event, &e); err != nil {
						t.Fatal(err)
					}
					return e.Records
				}
				mixed := w.event(t, "one", "fails", "panics", "two")
				const partial = `{"batchItemFailures":[{"itemIdentifier":"fails"},{"itemIdentifier":"panics"},{"itemIdentifier":"not sealed"}]}`
				for i, tc := range []struct {
					payload []byte
					want    string // of the response; empty: an error
					message string // in the error
				}{
					{mixed, partial, "3 of 5 messages failed"},
					{array(mixed), partial, "3 of 5 messages failed"},
					{w.event(t), "", "none of 1 messages succeeded"},
					{[]byte(`{}`), "", "the event has no records"},
					{mixed, partial, "3 of 5 messages failed"}, // the process goes on after errors
				} {
					got := f.invoke(t, tc.payload)
					if !reports {
						tc.want = ""
					}
					if tc.want != "" {
						if got.kind != "response" || strings.TrimSpace(string(got.body)) != tc.want {
							t.Errorf("event %d: got %s %s, want %s", i, got.kind, got.body, tc.want)
						}
						continue
					}
					var failure struct{ ErrorType, ErrorMessage string }
					if err := json.Unmarshal(got.body, &failure); err != nil || got.kind != "error" || !strings.Contains(failure.ErrorMessage, tc.message) {
						t.Errorf("event %d: got %s %s, want an error that says %q", i, got.kind, got.body, tc.message)
					}
					if strings.Contains(tc.message, "messages") && failure.ErrorType != "BatchError" {
						t.Errorf("event %d: got error type %q, want BatchError", i, failure.ErrorType)
					}
				}
				f.stop()
				for _, line := range []string{`worked on "one", request request-1, in time: true`, `worked on "two", request request-5, in time: true`} {
					if !strings.Contains(f.output(), line) {
						t.Errorf("the function did not print %s", line)
					}
				}
				if got := w.server.Count("kms:Decrypt"); got != 1 {
					t.Errorf("got %d calls of kms:Decrypt, want 1 for all events of the process", got)
				}
			})
		}
	}
}

// TestHandlersOfWrappers: instrumentation takes a function or the interface,
// and gives lambda.NewHandler another.
func TestHandlersOfWrappers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var worked []string
	h := lambdax.New(w.sealer, func(_ context.Context, m lambdax.Message) error {
		worked = append(worked, *m.Body)
		return nil
	}, func(o *lambdax.Options) { o.ReportsFailures = true })
	const want = `{"batchItemFailures":[{"itemIdentifier":"not sealed"}]}`
	for name, wrapped := range map[string]any{
		"the interface": lambda.Handler(h),
		"the method":    h.Handle,
		"a function around it": func(ctx context.Context, e lambdax.Event) (lambdax.Response, error) {
			return h.Handle(ctx, e)
		},
		"a function of JSON": func(ctx context.Context, payload json.RawMessage) (json.RawMessage, error) {
			out, err := h.Invoke(ctx, payload)
			return out, err
		},
	} {
		worked = nil
		got, err := lambda.NewHandler(wrapped).Invoke(t.Context(), w.event(t, "one"))
		if err != nil || strings.TrimSpace(string(got)) != want || !slices.Equal(worked, []string{"one"}) {
			t.Errorf("%s: got %s and error %v, worked off %q; want %s", name, got, err, worked, want)
		}
	}
}

// TestEventsAreThoseOfTheLibrary compares our types with those of
// aws-lambda-go: what one writes the other reads.
func TestEventsAreThoseOfTheLibrary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := w.event(t, "one", "two")
	var ours lambdax.Event
	if err := json.Unmarshal(theirs, &ours); err != nil {
		t.Fatal(err)
	}
	var before, after events.SQSEvent
	for text, e := range map[string]*events.SQSEvent{string(theirs): &before, string(marshal(t, ours)): &after} {
		if err := json.Unmarshal([]byte(text), e); err != nil {
			t.Fatal(err)
		}
	}
	ignoreEmptyLists := cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.Last().String(), "ListValues") }, cmp.Ignore())
	if diff := cmp.Diff(before, after, ignoreEmptyLists); diff != "" || len(after.Records) != 3 {
		t.Errorf("theirs (-) and ours (+) differ:\n%s", diff)
	}
	var response events.SQSEventResponse
	if err := json.Unmarshal(marshal(t, lambdax.Response{BatchItemFailures: []lambdax.Failure{{ItemIdentifier: "1"}}}), &response); err != nil || len(response.BatchItemFailures) != 1 || response.BatchItemFailures[0].ItemIdentifier != "1" {
		t.Errorf("they read %+v (%v), want the failure", response, err)
	}
}
