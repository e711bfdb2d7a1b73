package lambdax_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
)

var update = flag.Bool("update", false, "seal the bodies of testdata that begin \"seal:\"")

// recorded returns a Sealer with the key that the events of testdata are sealed
// under.
func recorded(tb testing.TB, optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	tb.Helper()
	kr, err := envelope.NewRawAESKeyring("test", "recorded events", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	quiet := func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) }
	s, err := sqsx.New(kr, append([]func(*sqsx.Options){quiet}, optFns...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestRecordedEvents reads events in the form in which the service writes them
// (recorded by LocalStack's tests against AWS: fields, names of attributes,
// digests that are absent or null), with bodies and identifiers of our own.
func TestRecordedEvents(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		worked, failed []string
		attributes     []map[string]string // of each that was worked off
	}{
		"standard.json": { // the header in an attribute, in the body, not sealed
			worked: []string{"one ü", "two"}, failed: []string{"2e1424d4-f796-459a-8184-9c92662be6da"},
			attributes: []map[string]string{{"origin": "String web", "trace": "Binary \x00\xff", "count": "Number.int 3"}, {}},
		},
		"fifo.json": { // two groups; the second message of the first is not sealed
			worked: []string{"one", "four"}, failed: []string{"00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000003"},
			attributes: []map[string]string{{}, {}},
		},
		"deadletter.json": {worked: []string{"dead"}, attributes: []map[string]string{{}}},
		"pipe.json":       {worked: []string{"piped", "piped, too"}, attributes: []map[string]string{{}, {}}},
		"record.json":     {worked: []string{"mapped"}, attributes: []map[string]string{{}}}, // of a Map state
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				text = sealBodies(t, text)
				if err := os.WriteFile(path, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var worked []string
			var attributes []map[string]string
			h := lambdax.New(recorded(t), func(_ context.Context, m lambdax.Message) error {
				worked = append(worked, *m.Body)
				got := make(map[string]string)
				for name, a := range m.MessageAttributes {
					got[name] = *a.DataType + " " + aws.ToString(a.StringValue) + string(a.BinaryValue)
				}
				attributes = append(attributes, got)
				if m.Info.SealID == "" || m.Info.Receives != 1 {
					t.Errorf("got %+v, want a SealID and one receive", m.Info)
				}
				return nil
			}, reports)
			out, err := h.Invoke(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			var got lambdax.Response
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.worked, worked); diff != "" {
				t.Errorf("worked off (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.attributes, attributes); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.failed, reported(got), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("reported (-want +got):\n%s", diff)
			}
		})
	}
}

// sealBodies seals the bodies of an event that was written by hand: those that
// begin "seal:", whose attribute "sealq" has the value "HEAD", and, for the
// other carrier, "seal in body:".
func sealBodies(t *testing.T, text []byte) []byte {
	t.Helper()
	var e lambdax.Event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	for _, r := range e.Records {
		body, carrier := "", false
		if rest, ok := strings.CutPrefix(r.Body, "seal:"); ok {
			body = rest
		} else if rest, ok := strings.CutPrefix(r.Body, "seal in body:"); ok {
			body, carrier = rest, true
		} else {
			continue
		}
		queue := r.EventSourceARN
		if source := r.Attributes["DeadLetterQueueSourceArn"]; source != "" {
			queue = source
		}
		in := &sqs.SendMessageInput{MessageBody: &body, MessageAttributes: make(map[string]types.MessageAttributeValue)}
		for name, a := range r.MessageAttributes {
			if name == "sealq" {
				continue
			}
			in.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String(a.DataType), StringValue: a.StringValue, BinaryValue: a.BinaryValue}
		}
		if strings.HasSuffix(queue, ".fifo") {
			in.MessageGroupId, in.MessageDeduplicationId = aws.String("g"), aws.String("d")
		}
		sealed, err := recorded(t, func(o *sqsx.Options) { o.Policy.BodyCarrier = carrier }).SealMessage(t.Context(), queue, in)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte(`"`+r.Body+`"`), []byte(`"`+*sealed.MessageBody+`"`), 1)
		if a, ok := sealed.MessageAttributes["sealq"]; ok {
			text = bytes.Replace(text, []byte(`"HEAD"`), []byte(`"`+base64.StdEncoding.EncodeToString(a.BinaryValue)+`"`), 1)
		}
	}
	return text
}

// TestDigestOfAttributes compares with digests that the service computed: that
// of the strings is in AWS's documentation, that of the bytes was recorded by
// LocalStack's tests against AWS. The digest tells that an attribute was
// altered after SQS.
func TestDigestOfAttributes(t *testing.T) {
	t.Parallel()
	const (
		text = `{"Author": {"stringValue": "%s", "dataType": "String"}, "Title": {"stringValue": "The Whistler", "dataType": "String"},
			"WeeksOn": {"stringValue": "6", "dataType": "Number"}}`
		textDigest  = `"d25a6aea97eb8f585bfa92d314504a92"`
		bytes       = `{"attr1": {"binaryValue": "%s", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"}}`
		bytesDigest = `"8cbe4db156db8a94db8b801b7addb984"`
		trace       = "traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"
	)
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, tc := range map[string]struct {
		attributes, digest string // JSON
		says               bool
	}{
		"strings":          {fmt.Sprintf(text, "John Grisham"), textDigest, false},
		"a string altered": {fmt.Sprintf(text, "John Grishan"), textDigest, true},
		"bytes":            {fmt.Sprintf(bytes, encode(trace)), bytesDigest, false},
		"a byte altered":   {fmt.Sprintf(bytes, encode(trace+"x")), bytesDigest, true},
		"null":             {fmt.Sprintf(bytes, encode(trace)), `null`, false},
		"empty":            {fmt.Sprintf(bytes, encode(trace)), `""`, false},
	} {
		e := fmt.Sprintf(`{"Records": [{"messageId": "1", "body": "not sealed", "md5OfMessageAttributes": %s, "attributes": {}, "messageAttributes": %s,
			"eventSource": "aws:sqs", "eventSourceARN": %q, "awsRegion": "us-east-1"}]}`, tc.digest, tc.attributes, arnOf("orders"))
		_, err := lambdax.New(recorded(t), new(recorder).work).Handle(t.Context(), parse(t, e))
		if !errors.Is(err, sqsx.ErrNotSealed) || strings.Contains(err.Error(), "do not match SQS's digest") != tc.says {
			t.Errorf("%s: got error %v, want one that speaks of the digest: %v", name, err, tc.says)
		}
	}
}

// TestLostAndSpoiltHeaders are what glue between SQS and Lambda does to
// messages. Each error says what has happened.
func TestLostAndSpoiltHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	original := lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 1, 1)).Records[0]
	header := original.MessageAttributes["sealq"]
	for name, tc := range map[string]struct {
		attributes map[string]lambdax.Attribute
		want       string
	}{
		"a replayer drops attributes": {map[string]lambdax.Attribute{}, "was lost on the way"},
		// binaryValue of an event is base64; boto3 takes a text for bytes.
		"a replayer sends binaryValue as it is": {map[string]lambdax.Attribute{"sealq": {
			DataType: "Binary", BinaryValue: []byte(base64.StdEncoding.EncodeToString(header.BinaryValue))}}, "base64"},
		"a tool writes it as text": {map[string]lambdax.Attribute{"sealq": {
			DataType: "String", StringValue: aws.String(base64.StdEncoding.EncodeToString(header.BinaryValue))}}, "String"},
	} {
		r := original
		r.MessageAttributes = tc.attributes
		_, err := lambdax.New(w.sealer(t), new(recorder).work).Handle(t.Context(), lambdax.Event{Records: []lambdax.Record{r}})
		if !errors.Is(err, sqsx.ErrInvalidMessage) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want an invalid message, and %q", name, err, tc.want)
		}
	}
}

// TestWrongEvents are errors, never an empty response, which would mean that
// all has succeeded. What they hold is not repeated.
func TestWrongEvents(t *testing.T) {
	t.Parallel()
	const secret = "the secret of this test"
	h := lambdax.New(recorded(t), new(recorder).work, reports)
	record := func(fields string) string {
		return `{"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders", "messageId": "1", "body": "x", ` + fields + `}]}`
	}
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":            {``, "cannot be read as JSON"},
		"null":               {`null`, "has no records"},
		"empty":              {`{}`, "has no records"},
		"no records":         {`{"Records": []}`, "has no records"},
		"an empty array":     {`[]`, "has no records"},
		"a test event":       {`{"key1": "` + secret + `"}`, "has no records"},
		"a schedule":         {`{"source": "aws.events", "detail": {}}`, "has no records"},
		"a text":             {`"` + secret + `"`, "is not one of SQS"},
		"cut off":            {`{"Records": [{"body": "` + secret, "cannot be read as JSON"},
		"of S3":              {`{"Records": [{"eventSource": "aws:s3", "s3": {}}]}`, `is from "aws:s3"`},
		"of SNS":             {`{"Records": [{"EventSource": "aws:sns", "Sns": {}}]}`, `is from "aws:sns"`},
		"a second of S3":     {record(`"awsRegion": ""}, {"eventSource": "aws:s3"`), "record 1 of 2"},
		"no message ID":      {record(`"messageId": ""`), "no messageId"},
		"no queue":           {record(`"eventSourceARN": ""`), "eventSourceARN"},
		"queue of another":   {record(`"eventSourceARN": "arn:aws:sns:us-east-1:000000000000:orders"`), "eventSourceARN"},
		"body is an object":  {record(`"body": {"a": "` + secret + `"}`), "without an input transformer"},
		"binary, not base64": {record(`"messageAttributes": {"a": {"dataType": "Binary", "binaryValue": "` + secret + `"}}`), "base64"},
		"a URL for an ARN":   {string(marshal(t, lambdax.NewEvent("https://sqs.us-east-1.amazonaws.com/000000000000/orders", []types.Message{{MessageId: aws.String("1")}}))), "eventSourceARN"},
	} {
		out, err := h.Invoke(t.Context(), []byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) || out != nil {
			t.Errorf("%s: got %s and error %v, want an error that says %q", name, out, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats the event: %v", name, err)
		}
		var e lambdax.Event
		if json.Unmarshal([]byte(tc.text), &e) == nil { // what lambda.Start(h.Handle) does
			if got, err := h.Handle(t.Context(), e); err == nil {
				t.Errorf("%s: Handle got %v, want an error", name, got)
			}
		}
	}
}

// TestStepFunctions: a state machine does not read a report. With the zero
// value of the options a failed record is a failed task, for Retry and Catch;
// and a task can return a message for the state sqs:sendMessage, which has no
// Binary attributes to give.
func TestStepFunctions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := recorder{does: map[string]func(context.Context) error{"m-1": fails}}
	h := lambdax.New(w.sealer(t), r.work)
	e := lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 2, 1))
	for i, wantErr := range []bool{false, true} {
		if _, err := h.Invoke(t.Context(), marshal(t, e.Records[i])); (err != nil) != wantErr {
			t.Errorf("record %d: got error %v, want one: %v", i, err, wantErr)
		}
	}
	if _, err := h.Invoke(t.Context(), marshal(t, e.Records)); !errors.Is(err, errWork) {
		t.Errorf("both, as a pipe starts a state machine: got error %v, want that of the work", err)
	}

	task := w.sealer(t, func(o *sqsx.Options) { o.Policy.BodyCarrier = true })
	out, err := task.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("from a state machine")})
	if err != nil || len(out.MessageAttributes) != 0 {
		t.Fatalf("got attributes %v and error %v, want a body alone", out.MessageAttributes, err)
	}
	msgs := w.send(t, "orders", message{w.outsider, "", *out.MessageBody})
	if _, err := h.Handle(t.Context(), event(t, "orders", msgs)); err != nil {
		t.Error(err)
	}
	if got := r.worked(); got[len(got)-1] != "from a state machine" {
		t.Errorf("worked off %q, want the message of the state machine", got)
	}
}

// TestNewEvent has the JSON of the service: lists are there and empty, digests
// only with attributes.
func TestNewEvent(t *testing.T) {
	t.Parallel()
	msgs := []types.Message{
		{
			MessageId: aws.String("1"), ReceiptHandle: aws.String("AQEB"), Body: aws.String("b"), MD5OfBody: aws.String("92eb"),
			Attributes: map[string]string{"ApproximateReceiveCount": "1"}, MD5OfMessageAttributes: aws.String("8cbe"),
			MessageAttributes: map[string]types.MessageAttributeValue{"a": {DataType: aws.String("Binary"), BinaryValue: []byte("x")}},
		},
		{MessageId: aws.String("2"), Body: aws.String("c")},
	}
	const want = `{"Records":[` +
		`{"messageId":"1","receiptHandle":"AQEB","body":"b","attributes":{"ApproximateReceiveCount":"1"},"messageAttributes":{"a":{"binaryValue":"eA==","stringListValues":[],"binaryListValues":[],"dataType":"Binary"}},"md5OfBody":"92eb","md5OfMessageAttributes":"8cbe","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:000000000000:orders","awsRegion":"us-east-1"},` +
		`{"messageId":"2","receiptHandle":"","body":"c","attributes":{},"messageAttributes":{},"md5OfBody":"","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:000000000000:orders","awsRegion":"us-east-1"}]}`
	text := marshal(t, lambdax.NewEvent(arnOf("orders"), msgs))
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("JSON differs (-want +got):\n%s", diff)
	}
	if again := marshal(t, parse(t, string(text))); !bytes.Equal(again, text) {
		t.Errorf("read and written again it is\n%s", again)
	}
}

// FuzzInvoke: no event makes it panic, and none of which nothing opens is a
// success.
func FuzzInvoke(f *testing.F) {
	names, err := filepath.Glob("testdata/*.json")
	if err != nil || len(names) == 0 {
		f.Fatal("no events found", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders", "messageId": "1", "body": "x"}]}`))
	sealer := recorded(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		worked := 0
		h := lambdax.New(sealer, func(context.Context, lambdax.Message) error { worked++; return nil }, reports)
		out, err := h.Invoke(t.Context(), text)
		if err != nil {
			return
		}
		var r lambdax.Response
		if err := json.Unmarshal(out, &r); err != nil || r.BatchItemFailures == nil {
			t.Fatalf("got %s (%v), want a response", out, err)
		}
		if worked == 0 {
			t.Fatalf("got %s, and nothing was worked off", out)
		}
	})
}
