package conformance

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// protocolCases use the plain SDK, and fix what sealq relies on.
func protocolCases() []testCase {
	return []testCase{
		{"SQS: digests of bodies and attributes", digests},
		{"SQS: filters of message attributes", attributeFilters},
		{"SQS: 10 attributes are accepted, 11 refused", attributeCount},
		{"SQS: reserved attribute names are refused", attributeNames},
		{"SQS: 1 MiB is the limit, attributes included", messageSize},
		{"SQS: 1 MiB is the limit of a batch", batchSize},
		{"SQS: characters of a body", characters},
		{"SQS: visibility timeout and receive count", visibility},
		{"SQS: system attributes", systemAttributes},
		{"SQS: FIFO order, groups and deduplication", fifoProtocol},
		{"SQS: a FIFO batch with a message without a deduplication ID is refused", fifoBatch},
		{"SQS: a FIFO group gives the messages before one in flight", fifoPrefix},
		{"SQS: redrive to a dead-letter queue and back", redriveProtocol},
	}
}

// again is a queue whose messages can be received again at once.
var again = map[string]string{"VisibilityTimeout": "0"}

const maxMessageBytes = 1 << 20 // SQS API reference: SendMessage

func digests(t *testing.T, s *suite) {
	url := s.queue(t, nil)
	attributes := userAttributes(7)
	sent := send(t, s.sqs, url, "body", attributes)
	got := s.receive(t, s.sqs, url, 1, everything)[0]
	for what, pair := range map[string][2]*string{
		"sent MD5OfMessageBody":           {sent.MD5OfMessageBody, aws.String(bodyMD5("body"))},
		"sent MD5OfMessageAttributes":     {sent.MD5OfMessageAttributes, attributesMD5(attributes)},
		"received MD5OfBody":              {got.MD5OfBody, aws.String(bodyMD5("body"))},
		"received MD5OfMessageAttributes": {got.MD5OfMessageAttributes, attributesMD5(attributes)},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
	wantAttributes(t, got.MessageAttributes, attributes)
}

// wantAttributes takes nil and empty for equal: servers answer both.
func wantAttributes(t *testing.T, got, want map[string]types.MessageAttributeValue) {
	t.Helper()
	ignore := cmpopts.IgnoreUnexported(types.MessageAttributeValue{})
	if diff := cmp.Diff(want, got, ignore, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("message attributes: -want +got:\n%s", diff)
	}
}

func attributeFilters(t *testing.T, s *suite) {
	url := s.queue(t, again)
	text := func(value string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
	}
	all := map[string]types.MessageAttributeValue{"a.x": text("1"), "a.y": text("2"), "b": text("3")}
	only := func(names ...string) map[string]types.MessageAttributeValue {
		m := maps.Clone(all)
		maps.DeleteFunc(m, func(name string, _ types.MessageAttributeValue) bool { return !slices.Contains(names, name) })
		return m
	}
	send(t, s.sqs, url, "body", all)
	for _, tc := range []struct {
		filter []string
		want   map[string]types.MessageAttributeValue
	}{
		{nil, nil},
		{[]string{"b"}, only("b")},
		{[]string{"b", "absent"}, only("b")},
		{[]string{"a.*"}, only("a.x", "a.y")},
		{[]string{"a.*", "b"}, all},
		{[]string{"All"}, all},
		{[]string{".*"}, all},
	} {
		want, digest := tc.want, attributesMD5(tc.want)
		prefix := slices.Contains(tc.filter, "a.*")
		switch {
		case tc.filter == nil && s.differs(NoFilterReturnsAll):
			want = all
		case prefix && s.differs(PrefixFilterReturnsNone):
			want = only(slices.DeleteFunc(slices.Clone(tc.filter), func(f string) bool { return f == "a.*" })...)
			digest = attributesMD5(want)
		}
		if s.differs(DigestOfAllAttributes) {
			digest = attributesMD5(all)
		}
		out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url, func(in *sqs.ReceiveMessageInput) { in.MessageAttributeNames = tc.filter }))
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("filter %q: got %d messages and error %v, want 1", tc.filter, len(out.Messages), err)
		}
		wantAttributes(t, out.Messages[0].MessageAttributes, want)
		if diff := cmp.Diff(digest, out.Messages[0].MD5OfMessageAttributes); diff != "" {
			t.Errorf("filter %q: MD5OfMessageAttributes: -want +got:\n%s", tc.filter, diff)
		}
	}
}

// trySend is a send that may fail.
func (s *suite) trySend(t *testing.T, url, body string, attributes map[string]types.MessageAttributeValue) error {
	_, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: attributes})
	return err
}

// wantRefused wants err to have the code, or, if the target is said to accept
// what the service refuses, to be nil.
func (s *suite) wantRefused(t *testing.T, what string, err error, want string, accepted Difference) {
	t.Helper()
	if !s.differs(accepted) {
		s.wantServiceCode(t, what, err, want)
	} else if err != nil {
		t.Errorf("%s: got error %v, want none: %s", what, err, accepted)
	}
}

// wantServiceCode wants err to be the service's refusal with that code, or, of
// a target with codes of its own, with any other.
func (s *suite) wantServiceCode(t *testing.T, what string, err error, want string) {
	t.Helper()
	if s.kmsCode(want) || !s.differs(OtherErrorCodes) {
		wantCode(t, what, err, want)
		return
	}
	if got := code(err); got == "" || got == want {
		t.Errorf("%s: got error code %q (%v), want another than %q: %s", what, got, err, want, OtherErrorCodes)
	}
}

// kmsCode tells the codes of KMS, which may be another server.
func (s *suite) kmsCode(code string) bool { return strings.HasSuffix(code, "Exception") }

func attributeCount(t *testing.T, s *suite) {
	url := s.queue(t, nil)
	if err := s.trySend(t, url, "body", userAttributes(10)); err != nil {
		t.Errorf("10 attributes: %v", err)
	}
	s.wantRefused(t, "11 attributes", s.trySend(t, url, "body", userAttributes(11)), "InvalidParameterValue", ElevenAttributesAccepted)
}

func attributeNames(t *testing.T, s *suite) {
	url := s.queue(t, nil)
	try := func(name string) error {
		return s.trySend(t, url, "body", map[string]types.MessageAttributeValue{
			name: {DataType: aws.String("String"), StringValue: aws.String("x")},
		})
	}
	for _, name := range []string{"AWS.x", "amazon.x", ".x", "x.", "x..y"} {
		if name == "x..y" && s.differs(ConsecutiveDotsAccepted) {
			if err := try(name); err != nil {
				t.Errorf("%s: got error %v, want none: %s", name, err, ConsecutiveDotsAccepted)
			}
			continue
		}
		s.wantRefused(t, name, try(name), "InvalidParameterValue", AttributeNamesUnchecked)
	}
}

func messageSize(t *testing.T, s *suite) {
	url := s.queue(t, nil)
	if err := s.trySend(t, url, strings.Repeat("x", maxMessageBytes), nil); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	s.wantServiceCode(t, "1 MiB and 1 byte", s.trySend(t, url, strings.Repeat("x", maxMessageBytes+1), nil), "InvalidParameterValue")
	attribute := map[string]types.MessageAttributeValue{"name": {DataType: aws.String("Binary"), BinaryValue: make([]byte, 90)}}
	attribute["name"].BinaryValue[0] = 1
	const size = len("name") + len("Binary") + 90 // a Binary value counts as it is, not as base64
	full := s.trySend(t, url, strings.Repeat("x", maxMessageBytes-size), attribute)
	if s.differs(BinaryCountsAsBase64) {
		wantCode(t, "1 MiB with attributes", full, "InvalidParameterValue")
	} else if full != nil {
		t.Errorf("1 MiB with attributes: %v", full)
	}
	s.wantRefused(t, "1 MiB and 1 byte with attributes",
		s.trySend(t, url, strings.Repeat("x", maxMessageBytes-size+1), attribute), "InvalidParameterValue", AttributesNotCounted)
}

func batchSize(t *testing.T, s *suite) {
	url := s.queue(t, nil)
	batch := func(sizes ...int) error {
		in := &sqs.SendMessageBatchInput{QueueUrl: &url}
		for i, size := range sizes {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
				Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(strings.Repeat("x", size)),
			})
		}
		_, err := s.sqs.SendMessageBatch(t.Context(), in)
		return err
	}
	if err := batch(maxMessageBytes/2, maxMessageBytes/2); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	s.wantServiceCode(t, "1 MiB and 1 byte", batch(maxMessageBytes/2, maxMessageBytes/2+1), "BatchRequestTooLong")
}

func characters(t *testing.T, s *suite) {
	url := s.queue(t, nil)
	if err := s.trySend(t, url, "\t\n\r \u20ac \ufffd", nil); err != nil {
		t.Errorf("allowed characters: %v", err)
	}
	emoji := s.trySend(t, url, "\U0001F469\u200D\U0001F52C", nil)
	if s.differs(EmojiRefused) {
		if emoji == nil {
			t.Errorf("emoji: got no error: %s", EmojiRefused)
		}
	} else if emoji != nil {
		t.Errorf("emoji: %v", emoji)
	}
	for _, body := range []string{"\x00", "a\x01", "\x0b", "\x1f", "\ufffe", "\uffff"} {
		s.wantRefused(t, fmt.Sprintf("%q", body), s.trySend(t, url, body, nil), "InvalidMessageContents", ForbiddenCharactersPass)
	}
}

func visibility(t *testing.T, s *suite) {
	url := s.queue(t, map[string]string{"VisibilityTimeout": "30"})
	send(t, s.sqs, url, "body", nil)
	for receives := 1; receives <= 3; receives++ {
		out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url, everything))
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("receive %d: got %d messages and error %v, want 1", receives, len(out.Messages), err)
		}
		m := out.Messages[0]
		if got := m.Attributes["ApproximateReceiveCount"]; got != fmt.Sprint(receives) {
			t.Errorf("receive %d: ApproximateReceiveCount: got %q", receives, got)
		}
		out, err = s.sqs.ReceiveMessage(t.Context(), receiveInput(url))
		if err != nil || len(out.Messages) != 0 {
			t.Fatalf("while it is in flight: got %d messages and error %v, want none", len(out.Messages), err)
		}
		if _, err := s.sqs.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0,
		}); err != nil {
			t.Fatal(err)
		}
	}
}

const traceHeader = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

func systemAttributes(t *testing.T, s *suite) {
	url := s.queue(t, again)
	_, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("body"),
		MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
			"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String(traceHeader)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	receive := func(edit func(*sqs.ReceiveMessageInput)) map[string]string {
		out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url, edit))
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("got %d messages and error %v, want 1", len(out.Messages), err)
		}
		return out.Messages[0].Attributes
	}
	if got := receive(func(*sqs.ReceiveMessageInput) {}); len(got) != 0 {
		t.Errorf("none asked for: got %v", got)
	}
	names := []types.MessageSystemAttributeName{"SentTimestamp", "AWSTraceHeader"}
	got := receive(func(in *sqs.ReceiveMessageInput) { in.MessageSystemAttributeNames = names })
	if sent := got["SentTimestamp"]; len(sent) != 13 || strings.Trim(sent, "0123456789") != "" {
		t.Errorf("SentTimestamp: got %q, want milliseconds", sent)
	}
	want := traceHeader
	if s.differs(NoTraceHeader) {
		want = ""
	}
	if got["AWSTraceHeader"] != want {
		t.Errorf("AWSTraceHeader: got %q, want %q", got["AWSTraceHeader"], want)
	}
	if count := len(got); count != 2 && want != "" || count != 1 && want == "" {
		t.Errorf("got %v, want what was asked for and nothing else", got)
	}
	// sealq adds its own names to whichever list the caller uses.
	got = receive(func(in *sqs.ReceiveMessageInput) {
		//lint:ignore SA1019 callers still use it
		in.AttributeNames = []types.QueueAttributeName{"SentTimestamp", "ApproximateReceiveCount"}
	})
	if got["SentTimestamp"] == "" || got["ApproximateReceiveCount"] == "" {
		t.Errorf("asked for in the deprecated list: got %v", got)
	}
}

func fifoProtocol(t *testing.T, s *suite) {
	url := s.queue(t, fifo)
	put := func(group, id, body string) *sqs.SendMessageOutput {
		out, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &id,
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := put("a", "1", "a1")
	duplicate := put("a", "1", "another body")
	put("a", "2", "a2")
	put("b", "3", "b1")
	if s.differs(DuplicateGetsNewID) {
		if *first.MessageId == *duplicate.MessageId {
			t.Errorf("duplicate: got the first message's ID: %s", DuplicateGetsNewID)
		}
	} else if *first.MessageId != *duplicate.MessageId {
		t.Errorf("duplicate: got message ID %s, want the first's, %s", *duplicate.MessageId, *first.MessageId)
	}
	one := func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 1 }
	out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url, one))
	if err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != "a1" {
		t.Fatalf("first receive: got %d messages and error %v, want a1", len(out.Messages), err)
	}
	held := out.Messages[0]
	out, err = s.sqs.ReceiveMessage(t.Context(), receiveInput(url))
	if err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != "b1" {
		t.Fatalf("while group a is in flight: got %d messages and error %v, want b1", len(out.Messages), err)
	}
	s.delete(t, url, out.Messages[0])
	s.delete(t, url, held)
	if got := s.receive(t, s.sqs, url, 1); *got[0].Body != "a2" {
		t.Errorf("after a1 is deleted: got %q, want a2", *got[0].Body)
	}
}

// fifoBatch: the whole call fails, though other faults of an entry fail the
// entry alone.
func fifoBatch(t *testing.T, s *suite) {
	url := s.queue(t, fifo)
	entry := func(id string, deduplicationID *string) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{
			Id: &id, MessageBody: &id, MessageGroupId: aws.String("group"), MessageDeduplicationId: deduplicationID,
		}
	}
	batch := func(entries ...types.SendMessageBatchRequestEntry) error {
		_, err := s.sqs.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries})
		return err
	}
	const refused = "InvalidParameterValue"
	s.wantRefused(t, "none has an ID", batch(entry("a", nil), entry("b", nil)), refused, BatchSplit)
	s.wantRefused(t, "one has no ID", batch(entry("c", aws.String("1")), entry("d", nil)), refused, BatchSplit)
	if err := batch(entry("e", aws.String("2"))); err != nil {
		t.Fatal(err)
	}
	want := "e"
	if s.differs(BatchSplit) {
		want = "c"
	}
	if got := s.receive(t, s.sqs, url, 1); *got[0].Body != want {
		t.Errorf("got %q first, want %q", *got[0].Body, want)
	}
}

func fifoPrefix(t *testing.T, s *suite) {
	url := s.queue(t, fifo)
	for _, body := range []string{"1", "2", "3"} {
		send(t, s.sqs, url, body, nil)
	}
	receive := func(what string, want ...string) []types.Message {
		t.Helper()
		out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range out.Messages {
			got = append(got, *m.Body)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: got %q, want %q", what, got, want)
		}
		return out.Messages
	}
	if s.differs(GroupOneByOne) {
		receive("at first", "1")
		return
	}
	got := receive("at first", "1", "2", "3")
	for _, m := range []types.Message{got[0], got[2]} {
		if _, err := s.sqs.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0,
		}); err != nil {
			t.Fatal(err)
		}
	}
	const what = "while the second is in flight"
	switch {
	case s.differs(GroupWaitsWhole):
		receive(what)
	case s.differs(GroupOvertakes):
		receive(what, "1", "3")
	default:
		receive(what, "1")
	}
}

func redriveProtocol(t *testing.T, s *suite) {
	deadLetter := s.queue(t, nil)
	source := s.redrive(t, deadLetter, 1, again)
	send(t, s.sqs, source, "body", userAttributes(3))
	s.exhaust(t, source, 1)

	want := s.arn(t, source)
	if s.differs(NoSourceARN) {
		want = ""
	}
	var moved types.Message
	for deadline := time.Now().Add(patience); moved.Body == nil && time.Now().Before(deadline); {
		out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(deadLetter, everything))
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) > 0 {
			moved = out.Messages[0]
		}
	}
	if moved.Body == nil {
		t.Fatal("the message did not reach the dead-letter queue")
	}
	if got := moved.Attributes["DeadLetterQueueSourceArn"]; got != want {
		t.Errorf("DeadLetterQueueSourceArn: got %q, want %q", got, want)
	}
	wantAttributes(t, moved.MessageAttributes, userAttributes(3))
	if _, err := s.sqs.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &deadLetter, ReceiptHandle: moved.ReceiptHandle, VisibilityTimeout: 0,
	}); err != nil {
		t.Fatal(err)
	}

	if !s.move(t, deadLetter, "") {
		return
	}
	back := s.receive(t, s.sqs, source, 1, everything)[0]
	if *back.Body != "body" {
		t.Errorf("after the move task: got body %q", *back.Body)
	}
	wantAttributes(t, back.MessageAttributes, userAttributes(3))
}

// exhaust receives a queue's messages without deleting them until it has none
// left: they have gone to the dead-letter queue. Its visibility timeout is 0.
func (s *suite) exhaust(t *testing.T, url string, receives int) {
	t.Helper()
	for range receives + 1 {
		if _, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url)); err != nil {
			t.Fatal(err)
		}
	}
}

// move starts a move task from a dead-letter queue, to where its messages came
// from or to another queue, and reports whether the target has such tasks.
func (s *suite) move(t *testing.T, deadLetter, destination string) bool {
	t.Helper()
	in := &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(s.arn(t, deadLetter))}
	if destination != "" {
		in.DestinationArn = aws.String(s.arn(t, destination))
	}
	_, err := s.sqs.StartMessageMoveTask(t.Context(), in)
	if s.differs(NoMoveTask) {
		if err == nil {
			t.Errorf("StartMessageMoveTask: got no error: %s", NoMoveTask)
		}
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// unique makes a deduplication ID or a name.
func unique() string { return strings.ToLower(rand.Text()) }
