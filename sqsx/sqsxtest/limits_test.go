//lint:file-ignore SA1019 callers use the deprecated fields, so they must work

package sqsxtest_test

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
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

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

type attributes = map[string]types.MessageAttributeValue

func text(dataType, value string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: &dataType, StringValue: &value}
}

func blob(dataType string, value []byte) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: &dataType, BinaryValue: value}
}

func TestMessageLimits(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	url := createQueue(t, client, "q")
	small := createQueue(t, client, "small", "MaximumMessageSize", "1024")
	many := func(n int) attributes {
		m := make(attributes)
		for i := range n {
			m[fmt.Sprintf("a%d", i)] = text("String", "v")
		}
		return m
	}
	one := func(name string, v types.MessageAttributeValue) attributes { return attributes{name: v} }
	const invalid, contents = "InvalidParameterValue", "InvalidMessageContents"
	tests := map[string]struct {
		url, body  string
		attributes attributes
		code       string
	}{
		"empty body":        {url, "", nil, "MissingParameter"},
		"1 MiB":             {url, strings.Repeat("x", mib), nil, ""},
		"1 MiB + 1":         {url, strings.Repeat("x", mib+1), nil, invalid},
		"with attributes":   {url, strings.Repeat("x", mib-1-6-3), one("n", blob("Binary", []byte("abc"))), ""},
		"with attributes+1": {url, strings.Repeat("x", mib-1-6-2), one("n", blob("Binary", []byte("abc"))), invalid},
		"quoted, 1 MiB":     {url, strings.Repeat(`"`, mib), nil, ""},
		"queue's limit":     {small, strings.Repeat("é", 512), nil, ""},
		"queue's limit + 1": {small, strings.Repeat("é", 512) + "x", nil, invalid},

		"legal characters": {url, "\t\n\r \uD7FF\uE000\uFFFD\U00010000\U0010FFFF 👩‍👩‍👧 e\u0301", nil, ""},
		"NUL":              {url, "a\x00", nil, contents},
		"U+000B":           {url, "\v", nil, contents},
		"U+FFFE":           {url, "\uFFFE", nil, contents},
		"U+FFFF":           {url, "\uFFFF", nil, contents},

		"10 attributes":         {url, "x", many(10), ""},
		"11 attributes":         {url, "x", many(11), invalid},
		"name of 256":           {url, "x", one(strings.Repeat("n", 256), text("String", "v")), ""},
		"name of 257":           {url, "x", one(strings.Repeat("n", 257), text("String", "v")), invalid},
		"every legal character": {url, "x", one("azAZ09_-.x", text("String", "v")), ""},
		"space in name":         {url, "x", one("a b", text("String", "v")), invalid},
		"letters beyond ASCII":  {url, "x", one("attr.1øßä", text("String", "v")), ""},
		"a section sign":        {url, "x", one("a§b", text("String", "v")), invalid},
		"an emoji":              {url, "x", one("a😀b", text("String", "v")), invalid},
		"reserved name":         {url, "x", one("aWs.x", text("String", "v")), invalid},
		"other reserved name":   {url, "x", one("AMAZON.x", text("String", "v")), invalid},
		"not reserved":          {url, "x", one("awsx", text("String", "v")), ""},
		"leading period":        {url, "x", one(".a", text("String", "v")), invalid},
		"trailing period":       {url, "x", one("a.", text("String", "v")), invalid},
		"two periods":           {url, "x", one("a..b", text("String", "v")), invalid},
		"empty name":            {url, "x", one("", text("String", "v")), invalid},

		"custom types":           {url, "x", attributes{"a": text("String.json", "{}"), "b": text("Number.float", "1.5"), "c": blob("Binary.png", []byte{0})}, ""},
		"type of 256":            {url, "x", one("a", text("String."+strings.Repeat("t", 249), "v")), ""},
		"type of 257":            {url, "x", one("a", text("String."+strings.Repeat("t", 250), "v")), invalid},
		"no type":                {url, "x", one("a", text("", "v")), invalid},
		"unknown type":           {url, "x", one("a", text("Text", "v")), invalid},
		"type by prefix only":    {url, "x", one("a", text("Stringy", "v")), invalid},
		"empty string":           {url, "x", one("a", text("String", "")), invalid},
		"empty binary":           {url, "x", one("a", blob("Binary", []byte{})), invalid},
		"no value":               {url, "x", one("a", types.MessageAttributeValue{DataType: aws.String("String")}), invalid},
		"binary value of String": {url, "x", one("a", blob("String", []byte("v"))), invalid},
		"illegal in a value":     {url, "x", one("a", text("String", "a\b,\v")), invalid}, // not InvalidMessageContents
		"illegal in a number":    {url, "x", one("a", text("Number", "1\x00")), invalid},
		"illegal in a type":      {url, "x", one("a", text("String.\x01", "v")), invalid},
		"list value":             {url, "x", one("a", types.MessageAttributeValue{DataType: aws.String("String"), StringListValues: []string{"x"}}), "AWS.SimpleQueueService.UnsupportedOperation"},
		"numbers":                {url, "x", attributes{"a": text("Number", "-1.5e10"), "b": text("Number", "0"), "c": text("Number", ".5"), "d": text("Number", "+007")}, ""},
		"38 digits":              {url, "x", one("a", text("Number", strings.Repeat("9", 38))), ""},
		"39 digits":              {url, "x", one("a", text("Number", strings.Repeat("9", 39))), invalid},
		"not a number":           {url, "x", one("a", text("Number", "ten")), invalid},
		"hexadecimal":            {url, "x", one("a", text("Number", "0x10")), invalid},
		"infinity":               {url, "x", one("a", text("Number", "Inf")), invalid},
		"a number too large":     {url, "x", one("a", text("Number", "1e127")), invalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &test.url, MessageBody: &test.body, MessageAttributes: test.attributes})
			wantCode(t, err, test.code)

			// The same in a batch fails that entry alone.
			out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &test.url, Entries: []types.SendMessageBatchRequestEntry{
				{Id: aws.String("it"), MessageBody: &test.body, MessageAttributes: test.attributes},
			}})
			if tooLong, ok := errors.AsType[*types.BatchRequestTooLong](err); ok && test.code == invalid {
				wantCode(t, tooLong, "AWS.SimpleQueueService.BatchRequestTooLong")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.code == "" && len(out.Failed) > 0:
				t.Errorf("batch: got %s, want success", *out.Failed[0].Message)
			case test.code != "" && len(out.Failed) == 0:
				t.Errorf("batch: got success, want %s", test.code)
			case test.code != "" && !strings.HasSuffix(test.code, *out.Failed[0].Code):
				t.Errorf("batch: got %s, want %s", *out.Failed[0].Code, test.code)
			}
		})
	}
}

func TestBatchLimits(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	url := createQueue(t, client, "q")
	entries := func(ids ...string) (out []types.SendMessageBatchRequestEntry) {
		for _, id := range ids {
			out = append(out, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: aws.String("x")})
		}
		return out
	}
	of := func(sizes ...int) []types.SendMessageBatchRequestEntry {
		var ids []string
		for i := range sizes {
			ids = append(ids, fmt.Sprint(i))
		}
		out := entries(ids...)
		for i, n := range sizes {
			out[i].MessageBody = aws.String(strings.Repeat("x", n))
		}
		return out
	}
	numbers := strings.Split("0 1 2 3 4 5 6 7 8 9 10", " ")
	const prefix = "AWS.SimpleQueueService."
	tests := map[string]struct {
		entries []types.SendMessageBatchRequestEntry
		code    string
	}{
		"10":            {entries(numbers[:10]...), ""},
		"11":            {entries(numbers...), prefix + "TooManyEntriesInBatchRequest"},
		"none":          {[]types.SendMessageBatchRequestEntry{}, prefix + "EmptyBatchRequest"},
		"ID of 80":      {entries(strings.Repeat("i", 80)), ""},
		"ID of 81":      {entries(strings.Repeat("i", 81)), prefix + "InvalidBatchEntryId"},
		"legal ID":      {entries("aZ09-_"), ""},
		"ID with dot":   {entries("a.b"), prefix + "InvalidBatchEntryId"},
		"empty ID":      {entries(""), prefix + "InvalidBatchEntryId"},
		"same ID twice": {entries("a", "b", "a"), prefix + "BatchEntryIdsNotDistinct"},
		"1 MiB":         {of(1<<19, 1<<19), ""},
		"1 MiB + 1":     {of(1<<19, 1<<19+1), prefix + "BatchRequestTooLong"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: test.entries})
			wantCode(t, err, test.code)
			if err == nil && (out.Failed != nil || len(out.Successful) != len(test.entries)) {
				t.Errorf("got %d sent, failed %v, want nil", len(out.Successful), out.Failed)
			}
		})
	}
	if _, err := client.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: []types.DeleteMessageBatchRequestEntry{}}); err == nil {
		t.Error("an empty DeleteMessageBatch: got success")
	}
}

func TestReceiveParameters(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	url := createQueue(t, client, "q")
	tests := map[string]struct {
		in   sqs.ReceiveMessageInput
		code string
	}{
		"10 messages":       {sqs.ReceiveMessageInput{MaxNumberOfMessages: 10}, ""},
		"11 messages":       {sqs.ReceiveMessageInput{MaxNumberOfMessages: 11}, "InvalidParameterValue"},
		"-1 messages":       {sqs.ReceiveMessageInput{MaxNumberOfMessages: -1}, "InvalidParameterValue"},
		"12 hours":          {sqs.ReceiveMessageInput{VisibilityTimeout: 43_200}, ""},
		"12 hours + 1":      {sqs.ReceiveMessageInput{VisibilityTimeout: 43_201}, "InvalidParameterValue"},
		"wait -1":           {sqs.ReceiveMessageInput{WaitTimeSeconds: -1}, "InvalidParameterValue"},
		"unknown attribute": {sqs.ReceiveMessageInput{MessageSystemAttributeNames: []types.MessageSystemAttributeName{"X"}}, "InvalidAttributeName"},
		"unknown, old list": {sqs.ReceiveMessageInput{AttributeNames: []types.QueueAttributeName{"X"}}, "InvalidAttributeName"},
		"attempt ID":        {sqs.ReceiveMessageInput{ReceiveRequestAttemptId: aws.String("a b")}, "InvalidParameterValue"},
		"a queue's own":     {sqs.ReceiveMessageInput{AttributeNames: []types.QueueAttributeName{"SqsManagedSseEnabled"}}, ""},
		"another queue's":   {sqs.ReceiveMessageInput{AttributeNames: []types.QueueAttributeName{"VisibilityTimeout"}}, "InvalidAttributeName"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.in.QueueUrl = &url
			_, err := client.ReceiveMessage(t.Context(), &test.in)
			wantCode(t, err, test.code)
		})
	}
}

// digest is the algorithm of the SQS developer guide, written a second time.
func digest(m attributes) string {
	var b []byte
	put := func(s string) { b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) }
	for _, name := range slices.Sorted(maps.Keys(m)) {
		put(name)
		put(*m[name].DataType)
		if v := m[name]; v.StringValue != nil {
			b = append(b, 1)
			put(*v.StringValue)
		} else {
			b = append(b, 2)
			put(string(v.BinaryValue))
		}
	}
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

func TestDigests(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	url := createQueue(t, client, "q")
	tests := map[string]struct {
		attributes attributes
		want       string
	}{
		// From the API reference of SendMessage.
		"reference": {attributes{"my_attribute_name_1": text("String", "my_attribute_value_1"), "my_attribute_name_2": text("String", "my_attribute_value_2")}, "c48838208d2b4e14e3ca0093a8443f09"},
		// Returned by the service, and quoted in a bug report against an SDK.
		"service": {attributes{"baz": text("String", "qux")}, "16bd0283a5b4962721ccd3efe4bc6257"},
		"all types": {attributes{"b": blob("Binary.x", []byte{0, 255}), "n": text("Number", "1"), "s": text("String.é", "ü")},
			digest(attributes{"b": blob("Binary.x", []byte{0, 255}), "n": text("Number", "1"), "s": text("String.é", "ü")})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
				QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: test.attributes,
				MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
					"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1-2-3")},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if *out.MD5OfMessageAttributes != test.want {
				t.Errorf("got %s, want %s", *out.MD5OfMessageAttributes, test.want)
			}
			if want := digest(attributes{"AWSTraceHeader": text("String", "Root=1-2-3")}); *out.MD5OfMessageSystemAttributes != want {
				t.Errorf("system attributes: got %s, want %s", *out.MD5OfMessageSystemAttributes, want)
			}
		})
	}
	out := send(t, client, url, "plain")
	if out.MD5OfMessageAttributes != nil || out.MD5OfMessageSystemAttributes != nil || out.SequenceNumber != nil {
		t.Errorf("got %+v for a message without attributes", out)
	}
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
		"Other": {DataType: aws.String("String"), StringValue: aws.String("x")},
	}})
	wantCode(t, err, "InvalidParameterValue")
}

func TestReceivedAttributes(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := sqs.NewFromConfig(server.Config())
	url := createQueue(t, client, "q", "VisibilityTimeout", "0")
	all := attributes{"foo": text("String", "1"), "foo.bar": text("Number", "2"), "bar": blob("Binary", []byte{3})}
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: all,
		MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
			"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1-2-3")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		names []string
		want  []string
	}{
		"none":     {nil, nil},
		"exact":    {[]string{"foo"}, []string{"foo"}},
		"case":     {[]string{"Foo"}, nil},
		"two":      {[]string{"foo", "bar", "absent"}, []string{"bar", "foo"}},
		"prefix":   {[]string{"foo.*"}, []string{"foo", "foo.bar"}},
		"All":      {[]string{"All"}, []string{"bar", "foo", "foo.bar"}},
		"dot star": {[]string{".*"}, []string{"bar", "foo", "foo.bar"}},
		"star":     {[]string{"*"}, []string{"bar", "foo", "foo.bar"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url, MessageAttributeNames: test.names})[0]
			want := make(attributes)
			for _, n := range test.want {
				want[n] = all[n]
			}
			if diff := cmp.Diff(want, got.MessageAttributes, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(types.MessageAttributeValue{})); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			switch {
			case len(want) == 0 && (got.MessageAttributes != nil || got.MD5OfMessageAttributes != nil):
				t.Errorf("got %v with digest %v, want nil", got.MessageAttributes, got.MD5OfMessageAttributes)
			case len(want) > 0 && *got.MD5OfMessageAttributes != digest(want):
				t.Errorf("got digest %s, want that of the returned attributes", *got.MD5OfMessageAttributes)
			}
			if got.Attributes != nil {
				t.Errorf("got system attributes %v that were not asked for", got.Attributes)
			}
		})
	}
	got := receive(t, client, &sqs.ReceiveMessageInput{
		QueueUrl:                    &url,
		AttributeNames:              []types.QueueAttributeName{"SenderId"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"AWSTraceHeader", "MessageGroupId"},
	})[0]
	if diff := cmp.Diff(map[string]string{"SenderId": sqsxtest.DefaultAccount, "AWSTraceHeader": "Root=1-2-3"}, got.Attributes); diff != "" {
		t.Errorf("both lists of system attributes (-want +got):\n%s", diff)
	}

	stored := server.Stored(url)[0]
	if diff := cmp.Diff(all, stored.MessageAttributes, cmpopts.IgnoreUnexported(types.MessageAttributeValue{})); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if *stored.Body != "body" || *stored.MD5OfBody != hex.EncodeToString(sum("body")) || *stored.MD5OfMessageAttributes != digest(all) || stored.ReceiptHandle != nil {
		t.Errorf("got stored %v", stored)
	}
	stored.MessageAttributes["bar"].BinaryValue[0] = 9 // a copy
	if server.Stored(url)[0].MessageAttributes["bar"].BinaryValue[0] != 3 {
		t.Error("Stored returned its own bytes")
	}
}

func sum(s string) []byte {
	m := md5.Sum([]byte(s))
	return m[:]
}

// At 120,000 messages in flight, a short poll of a standard queue is refused. A
// long poll waits for one to be deleted, and a FIFO queue gives nothing.
func TestInFlightLimit(t *testing.T) {
	const limit = 120_000
	for name, attributes := range map[string][]string{
		"q":      nil,
		"q.fifo": {"FifoQueue", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, server *sqsxtest.Server, client *sqs.Client) {
				url := createQueue(t, client, name, attributes...)
				if err := server.PutInFlight(url, limit-1); err != nil {
					t.Fatal(err)
				}
				entries := make([]types.SendMessageBatchRequestEntry, 3)
				for i, id := range []string{"x", "y", "z"} {
					entries[i] = types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &id, MessageGroupId: &id}
					if attributes != nil {
						entries[i].MessageDeduplicationId = &id
					}
				}
				if _, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries}); err != nil {
					t.Fatal(err)
				}
				in := &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, VisibilityTimeout: 3600}
				last := receive(t, client, in)
				if got := bodies(last); !slices.Equal(got, []string{"x"}) {
					t.Fatalf("got %q, want the one that makes %d", got, limit)
				}
				out, err := client.ReceiveMessage(t.Context(), in)
				if attributes == nil {
					wantCode(t, err, "OverLimit")
				} else if err != nil || len(out.Messages) != 0 {
					t.Errorf("short poll: got %v, %v, want nothing", out, err)
				}
				in.WaitTimeSeconds = 20
				start := time.Now()
				if got := receive(t, client, in); len(got) != 0 || time.Since(start) != 20*time.Second {
					t.Errorf("long poll: got %q after %v, want nothing after 20s", bodies(got), time.Since(start))
				}
				start = time.Now()
				time.AfterFunc(7*time.Second, func() { remove(t, client, url, last...) })
				if got := bodies(receive(t, client, in)); !slices.Equal(got, []string{"y"}) || time.Since(start) != 7*time.Second {
					t.Errorf("after a delete: got %q after %v, want one after 7s", got, time.Since(start))
				}
			})
		})
	}
}
