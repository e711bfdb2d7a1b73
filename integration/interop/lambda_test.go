package interop_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// The Lambda functions among the examples get events that Go has sealed.
// Package lambdax reports the same messages.
func TestLambdaFunctions(t *testing.T) {
	t.Parallel()
	const place = "arn:aws:sqs:us-east-1:000000000000:"
	server := sqsxtest.New(t)
	key := server.NewKey()
	sealer := func(bodyCarrier bool) *sqsx.Sealer {
		s, err := sqsx.NewFromConfig(server.Config(), key, func(o *sqsx.Options) {
			o.Policy.BodyCarrier = bodyCarrier
			o.Logger = slog.New(slog.DiscardHandler)
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// record is a message that was sealed for one queue and arrives from another.
	record := func(id, sealedFor, queue string, bodyCarrier bool, attributes ...string) lambdax.Record {
		in := &sqs.SendMessageInput{MessageBody: aws.String("the text of " + id), MessageAttributes: map[string]types.MessageAttributeValue{
			"origin": {DataType: aws.String("String"), StringValue: aws.String("web")},
			"trace":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255}},
		}}
		if strings.HasSuffix(sealedFor, ".fifo") {
			in.MessageGroupId, in.MessageDeduplicationId = &id, &id
		}
		m := types.Message{MessageId: &id, Body: in.MessageBody, Attributes: map[string]string{"ApproximateReceiveCount": "1"}}
		if sealedFor != "" {
			out, err := sealer(bodyCarrier).SealMessage(t.Context(), place+sealedFor, in)
			if err != nil {
				t.Fatal(err)
			}
			m.Body, m.MessageAttributes = out.MessageBody, out.MessageAttributes
		}
		for i := 0; i < len(attributes); i += 2 {
			m.Attributes[attributes[i]] = attributes[i+1]
		}
		return lambdax.NewEvent(place+queue, []types.Message{m}).Records[0]
	}
	source := []string{"DeadLetterQueueSourceArn", place + "orders"}
	mixed := []lambdax.Record{
		record("in-attribute", "orders", "orders", false), record("in-body", "orders", "orders", true),
		record("other-queue", "other", "orders", false), record("not-sealed", "", "orders", false),
		record("redriven", "orders", "orders-dlq", false, source...), record("redriven-from-another", "other", "orders-dlq", false, source...),
	}
	fifo := []lambdax.Record{
		record("a1", "orders.fifo", "orders.fifo", false, "MessageGroupId", "a"), record("a2", "", "orders.fifo", false, "MessageGroupId", "a"),
		record("a3", "orders.fifo", "orders.fifo", false, "MessageGroupId", "a"), record("b1", "orders.fifo", "orders.fifo", true, "MessageGroupId", "b"),
	}
	const none = "none of"
	for _, e := range exampleLanguages() {
		t.Run(e.folder, func(t *testing.T) {
			t.Parallel()
			run := e.program(t, server.URL(), "SEALQ_KEY_ID="+key)
			for name, tc := range map[string]struct {
				event  any
				failed []string
				err    string
			}{
				"all well": {lambdax.Event{Records: mixed[:2]}, nil, ""},
				"of a pipe, with FIFO queues": {
					slices.Concat(mixed, fifo),
					[]string{"other-queue", "not-sealed", "redriven-from-another", "a2", "a3"}, "",
				},
				"nothing succeeded": {lambdax.Event{Records: mixed[2:4]}, nil, none},
				"not of SQS":        {map[string]any{"Records": []any{map[string]any{"eventSource": "aws:s3"}}}, nil, "not an event of SQS"},
			} {
				text, err := json.Marshal(tc.event)
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(t.TempDir(), "event.json")
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := run("function", file)
				if tc.err != "" {
					if err == nil || !strings.Contains(err.Error(), tc.err) {
						t.Errorf("%s: got %q and error %v, want an error that says %q", name, out, err, tc.err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				lines := strings.Split(strings.TrimSpace(out), "\n")
				var got lambdax.Response
				if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
					t.Errorf("%s: the last line is no response: %v", name, err)
				}
				var failed []string
				for _, f := range got.BatchItemFailures {
					failed = append(failed, f.ItemIdentifier)
				}
				if diff := cmp.Diff(tc.failed, failed, cmpopts.EquateEmpty()); diff != "" || got.BatchItemFailures == nil {
					t.Errorf("%s: reported (-want +got):\n%s", name, diff)
				}
				var r lambdax.Event
				if err := json.Unmarshal(text, &r); err != nil {
					t.Fatal(err)
				}
				if worked := strings.Count(out, "order: "); worked != len(r.Records)-len(tc.failed) {
					t.Errorf("%s: worked off %d messages, want %d:\n%s", name, worked, len(r.Records)-len(tc.failed), out)
				}
			}
		})
	}
	hanging := sqsxtest.New(t)
	hanging.Intercept(func(r *sqsxtest.Request) error { <-r.Context().Done(); return errors.New("no answer") })
	for _, e := range exampleLanguages() {
		t.Run(e.folder+", KMS hangs", func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "event.json")
			text, err := json.Marshal(lambdax.Event{Records: mixed[:1]})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := e.program(t, hanging.URL(), "SEALQ_KEY_ID="+key)("function", file)
			if err == nil || !strings.Contains(err.Error(), none) {
				t.Errorf("got %q and error %v, want that nothing succeeded", out, err)
			}
		})
	}
}
