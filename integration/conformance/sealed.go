package conformance

import (
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/sqsx"
)

// sealedCases are the main job: what is sent comes back, and only ciphertext
// lies in the queue.
func sealedCases() []testCase {
	cases := []testCase{
		{"sealed: inputs are not changed", inputsUnchanged},
		{"sealed: filters of message attributes", sealedFilters},
		{"sealed: system attributes", sealedSystemAttributes},
		{"sealed: an empty queue is no error", emptyQueue},
		{"sealed: refused before a request is made", refusedLocally},
		{"sealed: one entry of a batch refused, the others sent", refusedEntry},
		{"sealed: both carriers are read whatever the option", carriers},
		{"sealed: SealMessage and OpenMessages without a client", withoutClient},
	}
	for _, queue := range []struct {
		kind       string
		attributes map[string]string
	}{{"standard", nil}, {"FIFO", fifo}} {
		for _, n := range []int{0, 5, 8, 9, 10} {
			what := fmt.Sprintf("%s queue, %d attributes", queue.kind, n)
			cases = append(cases,
				testCase{"sealed: bodies alone, " + what, func(t *testing.T, s *suite) { alone(t, s, queue.attributes, n) }},
				testCase{"sealed: bodies in batches of 10, " + what, func(t *testing.T, s *suite) { batched(t, s, queue.attributes, n) }},
			)
		}
	}
	return cases
}

func alone(t *testing.T, s *suite, queue map[string]string, n int) {
	client, attributes := s.sealed(t), userAttributes(n)
	url := s.queue(t, queue)
	sent := map[string]body{}
	for _, b := range allBodies() {
		out := send(t, client, url, b.text, attributes)
		wantSent(t, b, attributes, out.MD5OfMessageBody, out.MD5OfMessageAttributes)
		sent[*out.MessageId] = b
	}
	s.wantReceived(t, client, url, sent, attributes)

	url = s.queue(t, queue)
	var bodies []body
	for _, b := range allBodies() {
		send(t, client, url, b.text, attributes)
		bodies = append(bodies, b)
	}
	wantNoPlaintext(t, s.stored(t, url, len(bodies)), bodies, n)
}

func batched(t *testing.T, s *suite, queue map[string]string, n int) {
	for _, bodies := range [][]body{smallBodies(), largeBatch()} {
		batch(t, s, queue, bodies, n)
	}
}

func batch(t *testing.T, s *suite, queue map[string]string, ten []body, n int) {
	t.Helper()
	client, attributes := s.sealed(t), userAttributes(n)
	sendBatch := func(url string) map[string]body {
		in := batchOf(url, ten, attributes)
		out, err := client.SendMessageBatch(t.Context(), in)
		if err != nil || len(out.Failed) > 0 || len(out.Successful) != len(in.Entries) {
			t.Fatalf("SendMessageBatch: got %d of %d entries sent, error %v", len(out.Successful), len(in.Entries), err)
		}
		bodies := map[string]body{} // by entry ID
		for i, b := range ten {
			bodies[*in.Entries[i].Id] = b
		}
		sent := map[string]body{}
		for _, entry := range out.Successful {
			b := bodies[*entry.Id]
			wantSent(t, b, attributes, entry.MD5OfMessageBody, entry.MD5OfMessageAttributes)
			sent[*entry.MessageId] = b
		}
		return sent
	}
	url := s.queue(t, queue)
	s.wantReceived(t, client, url, sendBatch(url), attributes)

	url = s.queue(t, queue)
	sendBatch(url)
	wantNoPlaintext(t, s.stored(t, url, len(ten)), ten, n)
}

func batchOf(url string, bodies []body, attributes map[string]types.MessageAttributeValue) *sqs.SendMessageBatchInput {
	in := &sqs.SendMessageBatchInput{QueueUrl: &url}
	for i, b := range bodies {
		entry := types.SendMessageBatchRequestEntry{
			Id: aws.String(fmt.Sprintf("entry-%d", i)), MessageBody: aws.String(b.text), MessageAttributes: attributes,
		}
		if strings.HasSuffix(url, ".fifo") {
			entry.MessageGroupId = aws.String("group")
			entry.MessageDeduplicationId = aws.String(unique())
		}
		in.Entries = append(in.Entries, entry)
	}
	return in
}

// wantSent wants the digests that the service gives for what the caller wrote.
func wantSent(t *testing.T, b body, attributes map[string]types.MessageAttributeValue, gotBody, gotAttributes *string) {
	t.Helper()
	if got, want := aws.ToString(gotBody), bodyMD5(b.text); got != want {
		t.Errorf("%s: MD5OfMessageBody: got %s, want %s", b.name, got, want)
	}
	if diff := cmp.Diff(attributesMD5(attributes), gotAttributes); diff != "" {
		t.Errorf("%s: MD5OfMessageAttributes: -want +got:\n%s", b.name, diff)
	}
}

// wantReceived wants each message that was sent, by message ID, as it was
// written.
func (s *suite) wantReceived(t *testing.T, client *sqs.Client, url string, sent map[string]body, attributes map[string]types.MessageAttributeValue) {
	t.Helper()
	for _, m := range s.receive(t, client, url, len(sent), everything) {
		b, ok := sent[*m.MessageId]
		if !ok {
			t.Fatalf("message %s was received twice, or not sent", *m.MessageId)
		}
		delete(sent, *m.MessageId)
		if *m.Body != b.text {
			t.Errorf("%s: the body received is not the one sent", b.name)
		}
		if got, want := aws.ToString(m.MD5OfBody), bodyMD5(b.text); got != want {
			t.Errorf("%s: MD5OfBody: got %s, want %s", b.name, got, want)
		}
		wantAttributes(t, m.MessageAttributes, attributes)
		if diff := cmp.Diff(attributesMD5(attributes), m.MD5OfMessageAttributes); diff != "" {
			t.Errorf("%s: MD5OfMessageAttributes: -want +got:\n%s", b.name, diff)
		}
	}
}

// wantNoPlaintext looks for every 16-byte piece of the bodies in everything
// that travels of sealed messages, as it is and decoded from base64. The user's
// own attributes travel in clear and are not looked at.
func wantNoPlaintext(t *testing.T, stored []types.Message, bodies []body, n int) {
	t.Helper()
	pieces := map[[16]byte]string{}
	for _, b := range bodies {
		for i := 0; i+16 <= len(b.text); i++ {
			pieces[[16]byte([]byte(b.text[i:i+16]))] = b.name
		}
	}
	if len(pieces) == 0 {
		t.Fatal("nothing to look for")
	}
	look := func(where string, data []byte) {
		for i := 0; i+16 <= len(data); i++ {
			if name, found := pieces[[16]byte(data[i:i+16])]; found {
				t.Errorf("%s holds 16 bytes of the plaintext %q", where, name)
				return
			}
		}
	}
	for _, m := range stored {
		look("a stored body", []byte(*m.Body))
		decoded, err := base64.StdEncoding.DecodeString(*m.Body)
		if err != nil {
			t.Errorf("a stored body is not base64: %v", err)
		}
		look("a stored body, decoded,", decoded)
		header, inAttribute := m.MessageAttributes["sealq"]
		if want := n < 9; inAttribute != want {
			t.Errorf("with %d attributes: header in an attribute: got %t, want %t", n, inAttribute, want)
		}
		look("a stored attribute", header.BinaryValue)
		if want := n; inAttribute && len(m.MessageAttributes) != want+1 || !inAttribute && len(m.MessageAttributes) != want {
			t.Errorf("attributes stored: got %d, want the user's %d and at most one more", len(m.MessageAttributes), want)
		}
	}
}

func inputsUnchanged(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, nil)
	attributes := userAttributes(3)
	single := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: attributes}
	batch := batchOf(url, smallBodies()[:2], attributes)
	receive := receiveInput(url, func(in *sqs.ReceiveMessageInput) {
		in.MessageAttributeNames = append(make([]string, 0, 8), "app.attribute-0")
		in.MessageSystemAttributeNames = append(make([]types.MessageSystemAttributeName, 0, 8), "SentTimestamp")
	})
	copyOf := func() (sqs.SendMessageInput, []types.SendMessageBatchRequestEntry, map[string]types.MessageAttributeValue, []string, []types.MessageSystemAttributeName) {
		return *single, append([]types.SendMessageBatchRequestEntry(nil), batch.Entries...), maps.Clone(attributes),
			append([]string(nil), receive.MessageAttributeNames[:8]...),
			append([]types.MessageSystemAttributeName(nil), receive.MessageSystemAttributeNames[:8]...)
	}
	single0, entries0, attributes0, names0, system0 := copyOf()
	if _, err := client.SendMessage(t.Context(), single); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SendMessageBatch(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if _, err := client.ReceiveMessage(t.Context(), receive); err != nil {
		t.Fatal(err)
	}
	single1, entries1, attributes1, names1, system1 := copyOf()
	ignore := cmpopts.IgnoreUnexported(sqs.SendMessageInput{}, types.MessageAttributeValue{}, types.SendMessageBatchRequestEntry{})
	for what, pair := range map[string][2]any{
		"SendMessageInput": {single0, single1},
		"batch entries":    {entries0, entries1},
		"attributes":       {attributes0, attributes1},
		"attribute names, spare capacity included":        {names0, names1},
		"system attribute names, spare capacity included": {system0, system1},
	} {
		if diff := cmp.Diff(pair[0], pair[1], ignore); diff != "" {
			t.Errorf("%s changed: -before +after:\n%s", what, diff)
		}
	}
}

func sealedFilters(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, again)
	all := userAttributes(4)
	send(t, client, url, "body", all)
	one := map[string]types.MessageAttributeValue{"app.attribute-1": all["app.attribute-1"]}
	for _, tc := range []struct {
		filter []string
		want   map[string]types.MessageAttributeValue
	}{
		{nil, nil},
		{[]string{"app.attribute-1"}, one},
		{[]string{"app.attribute-1", "sealq"}, one},
		{[]string{"app.*"}, all},
		{[]string{"All"}, all},
	} {
		want := tc.want
		if len(tc.filter) > 0 && tc.filter[0] == "app.*" && s.differs(PrefixFilterReturnsNone) {
			want = nil
		}
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url, func(in *sqs.ReceiveMessageInput) { in.MessageAttributeNames = tc.filter }))
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("filter %q: got %d messages and error %v, want 1", tc.filter, len(out.Messages), err)
		}
		if got := *out.Messages[0].Body; got != "body" {
			t.Errorf("filter %q: got body %q", tc.filter, got)
		}
		wantAttributes(t, out.Messages[0].MessageAttributes, want)
		if diff := cmp.Diff(attributesMD5(want), out.Messages[0].MD5OfMessageAttributes); diff != "" {
			t.Errorf("filter %q: MD5OfMessageAttributes: -want +got:\n%s", tc.filter, diff)
		}
		if len(want) == 0 && out.Messages[0].MessageAttributes != nil {
			t.Errorf("filter %q: got an empty map of attributes, want nil", tc.filter)
		}
	}
}

func sealedSystemAttributes(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, again)
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("body"),
		MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
			"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String(traceHeader)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	names := func(m map[string]string) []string {
		var all []string
		for _, name := range []string{"AWSTraceHeader", "ApproximateReceiveCount", "MessageGroupId", "SentTimestamp", "DeadLetterQueueSourceArn"} {
			if _, ok := m[name]; ok {
				all = append(all, name)
			}
		}
		return all
	}
	trace := []string{"AWSTraceHeader"}
	if s.differs(NoTraceHeader) {
		trace = nil
	}
	for what, tc := range map[string]struct {
		edit func(*sqs.ReceiveMessageInput)
		want []string
	}{
		"none": {func(*sqs.ReceiveMessageInput) {}, nil},
		"one": {func(in *sqs.ReceiveMessageInput) {
			in.MessageSystemAttributeNames = []types.MessageSystemAttributeName{"SentTimestamp"}
		}, []string{"SentTimestamp"}},
		"one in the deprecated list": {func(in *sqs.ReceiveMessageInput) {
			//lint:ignore SA1019 callers still use it
			in.AttributeNames = []types.QueueAttributeName{"SentTimestamp"}
		}, []string{"SentTimestamp"}},
		"the trace header": {func(in *sqs.ReceiveMessageInput) {
			in.MessageSystemAttributeNames = []types.MessageSystemAttributeName{"AWSTraceHeader"}
		}, trace},
	} {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url, tc.edit))
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("%s: got %d messages and error %v, want 1", what, len(out.Messages), err)
		}
		if diff := cmp.Diff(tc.want, names(out.Messages[0].Attributes)); diff != "" {
			t.Errorf("%s asked for: -want +got:\n%s", what, diff)
		}
	}
}

func emptyQueue(t *testing.T, s *suite) {
	out, err := s.sealed(t).ReceiveMessage(t.Context(), receiveInput(s.queue(t, nil)))
	if err != nil || len(out.Messages) != 0 {
		t.Errorf("got %d messages and error %v, want neither", len(out.Messages), err)
	}
}

func refusedLocally(t *testing.T, s *suite) {
	const name = "limited-*"
	client := s.sealed(t, func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{name: {MaxMessageBytes: 4096}}
	})
	url := s.queue(t, nil)
	limited := url[:strings.LastIndex(url, "/")+1] + "limited-" + unique()
	reserved := map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("String"), StringValue: aws.String("x")}}
	for what, tc := range map[string]struct {
		url, body  string
		attributes map[string]types.MessageAttributeValue
		code       string
	}{
		"empty body":                           {url, "", nil, "MissingParameter"},
		"11 attributes":                        {url, "body", userAttributes(11), "InvalidParameterValue"},
		"the reserved attribute":               {url, "body", reserved, "InvalidParameterValue"},
		"a body that is too large once sealed": {url, kibibytes(800), nil, "InvalidParameterValue"},
		// The queue does not exist: a request would get another answer.
		"a body over the queue's own limit": {limited, kibibytes(4), nil, "InvalidParameterValue"},
	} {
		_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &tc.url, MessageBody: &tc.body, MessageAttributes: tc.attributes})
		wantCode(t, what, err, tc.code)
	}
	in := batchOf(url, []body{{"a", kibibytes(400)}, {"b", kibibytes(400)}}, nil)
	_, err := client.SendMessageBatch(t.Context(), in)
	wantCode(t, "a batch that is too large once sealed", err, "BatchRequestTooLong")
	out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url))
	if err != nil || len(out.Messages) != 0 {
		t.Errorf("in the queue: got %d messages and error %v, want none", len(out.Messages), err)
	}
}

func refusedEntry(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, nil)
	in := batchOf(url, []body{{"a", "first"}, {"b", "with 11 attributes"}, {"c", "third"}}, nil)
	in.Entries[1].MessageAttributes = userAttributes(11)
	out, err := client.SendMessageBatch(t.Context(), in)
	if err != nil || len(out.Successful) != 2 || len(out.Failed) != 1 {
		t.Fatalf("got %d sent and %d failed, error %v; want 2 and 1", len(out.Successful), len(out.Failed), err)
	}
	if failed := out.Failed[0]; *failed.Id != *in.Entries[1].Id || *failed.Code != "InvalidParameterValue" || !failed.SenderFault {
		t.Errorf("failed: got entry %s with code %s, sender's fault %t", *failed.Id, *failed.Code, failed.SenderFault)
	}
	for _, m := range s.receive(t, client, url, 2) {
		if *m.Body != "first" && *m.Body != "third" {
			t.Errorf("received %q", *m.Body)
		}
	}
}

func carriers(t *testing.T, s *suite) {
	key := s.key(t)
	attribute := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install)
	whole := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) { o.Policy.BodyCarrier = true }).Install)
	for what, pair := range map[string][2]*sqs.Client{
		"attribute carrier, read with the option": {attribute, whole},
		"body carrier, read without":              {whole, attribute},
	} {
		url := s.queue(t, again)
		send(t, pair[0], url, "body", userAttributes(1))
		if got := s.receive(t, pair[1], url, 1); *got[0].Body != "body" {
			t.Errorf("%s: got %q", what, *got[0].Body)
		}
	}
	url := s.queue(t, nil)
	send(t, whole, url, "body", userAttributes(1))
	stored := s.stored(t, url, 1)[0]
	if _, ok := stored.MessageAttributes["sealq"]; ok || !strings.HasPrefix(*stored.Body, "AgR4") {
		t.Errorf("body carrier: got attributes %d and a body that starts %.4q, want no attribute of ours and AgR4", len(stored.MessageAttributes), *stored.Body)
	}
}

func withoutClient(t *testing.T, s *suite) {
	sealer := s.sealer(t, s.key(t))
	url := s.queue(t, nil)
	in, err := sealer.SealMessage(t.Context(), url, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: userAttributes(2)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.sqs.SendMessage(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	received := s.receive(t, s.sqs, url, 1, everything)
	opened, withheld := sealer.OpenMessages(t.Context(), s.bound(t, url), received)
	if len(opened) != 1 || len(withheld) != 0 {
		t.Fatalf("got %d opened and %v withheld, want 1 and none", len(opened), withheld)
	}
	if *opened[0].Body != "body" {
		t.Errorf("got body %q", *opened[0].Body)
	}
	wantAttributes(t, opened[0].MessageAttributes, userAttributes(2))
}
