//lint:file-ignore SA1019 callers use the deprecated AttributeNames, so it must work

package middleware_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/middleware"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	queueURL = "https://sqs.us-east-1.amazonaws.com/123456789012/orders"
	queueARN = "arn:aws:sqs:us-east-1:123456789012:orders"
	fifoURL  = queueURL + ".fifo"
)

// fakeSQS speaks SQS's wire protocol as an aws.HTTPClient: real serializers,
// real digests, real attribute filters, no socket.
type fakeSQS struct {
	mu       sync.Mutex
	requests []request
	stored   []types.Message
	fail     func(n int, op string) *failure // n counts requests from 1
}

type request struct {
	op   string
	body []byte
}

type failure struct {
	status  int
	code    string
	entries map[string]string // batch entry ID -> code
}

func (f *fakeSQS) Do(r *http.Request) (*http.Response, error) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, request{op, body})
	var fault *failure
	if f.fail != nil {
		fault = f.fail(len(f.requests), op)
	}
	if fault != nil && fault.code != "" {
		return respond(fault.status, map[string]any{"__type": "com.amazonaws.sqs#" + fault.code, "message": "injected"}), nil
	}
	switch op {
	case "SendMessage":
		var in sqs.SendMessageInput
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		return respond(200, f.store(in.MessageBody, in.MessageAttributes, in.MessageGroupId)), nil
	case "SendMessageBatch":
		var in sqs.SendMessageBatchInput
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		if len(in.Entries) == 0 {
			return respond(400, map[string]any{"__type": "com.amazonaws.sqs#EmptyBatchRequest"}), nil
		}
		var ok, failed []map[string]any
		for _, e := range in.Entries {
			if fault != nil && fault.entries[*e.Id] != "" {
				failed = append(failed, map[string]any{"Id": e.Id, "Code": fault.entries[*e.Id], "SenderFault": false})
				continue
			}
			r := f.store(e.MessageBody, e.MessageAttributes, e.MessageGroupId)
			r["Id"] = e.Id
			ok = append(ok, r)
		}
		return respond(200, map[string]any{"Successful": ok, "Failed": failed}), nil
	case "ReceiveMessage":
		var in sqs.ReceiveMessageInput
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		return respond(200, f.receive(&in)), nil
	}
	return respond(200, map[string]any{}), nil
}

func respond(status int, v any) *http.Response {
	b, _ := json.Marshal(v)
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(bytes.NewReader(b))}
}

func (f *fakeSQS) store(body *string, attributes map[string]types.MessageAttributeValue, group *string) map[string]any {
	msg := types.Message{
		MessageId:         aws.String(fmt.Sprintf("message-%d", len(f.stored))),
		ReceiptHandle:     aws.String(fmt.Sprintf("receipt-%d", len(f.stored))),
		Body:              body,
		MessageAttributes: attributes,
		Attributes:        map[string]string{"SenderId": "me", "SentTimestamp": "1700000000000", "ApproximateReceiveCount": "1"},
	}
	if group != nil {
		msg.Attributes["MessageGroupId"] = *group
	}
	f.stored = append(f.stored, msg)
	out := map[string]any{"MessageId": msg.MessageId, "MD5OfMessageBody": md5Hex([]byte(*body))}
	if len(attributes) > 0 {
		out["MD5OfMessageAttributes"] = attributesMD5(attributes)
	}
	return out
}

func (f *fakeSQS) receive(in *sqs.ReceiveMessageInput) map[string]any {
	var msgs []map[string]any
	for _, m := range f.stored[:min(len(f.stored), int(max(1, in.MaxNumberOfMessages)))] {
		attributes := maps.Clone(m.MessageAttributes)
		maps.DeleteFunc(attributes, func(name string, _ types.MessageAttributeValue) bool {
			return !slices.ContainsFunc(in.MessageAttributeNames, func(a string) bool {
				prefix, wild := strings.CutSuffix(a, ".*")
				return a == name || a == "All" || a == "*" || wild && strings.HasPrefix(name, prefix)
			})
		})
		system := maps.Clone(m.Attributes)
		maps.DeleteFunc(system, func(name string, _ string) bool {
			return !slices.Contains(in.AttributeNames, types.QueueAttributeName(name)) && !slices.Contains(in.AttributeNames, "All") &&
				!slices.Contains(in.MessageSystemAttributeNames, types.MessageSystemAttributeName(name)) && !slices.Contains(in.MessageSystemAttributeNames, "All")
		})
		msg := map[string]any{"MessageId": m.MessageId, "ReceiptHandle": m.ReceiptHandle, "Body": m.Body, "MD5OfBody": md5Hex([]byte(*m.Body))}
		if len(attributes) > 0 {
			wire := make(map[string]any)
			for name, v := range attributes {
				wire[name] = map[string]any{"DataType": v.DataType, "StringValue": v.StringValue, "BinaryValue": v.BinaryValue}
			}
			msg["MessageAttributes"], msg["MD5OfMessageAttributes"] = wire, attributesMD5(attributes)
		}
		if len(system) > 0 {
			msg["Attributes"] = system
		}
		msgs = append(msgs, msg)
	}
	if msgs == nil {
		return map[string]any{}
	}
	return map[string]any{"Messages": msgs}
}

// ops returns the operations that were requested, in order.
func (f *fakeSQS) ops() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops := []string{}
	for _, r := range f.requests {
		ops = append(ops, r.op)
	}
	return ops
}

func (f *fakeSQS) wire() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, r := range f.requests {
		b.Write(r.body)
	}
	return b.String()
}

func (f *fakeSQS) options() sqs.Options {
	return sqs.Options{
		Region:      "us-east-1",
		HTTPClient:  f,
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
		Retryer:     aws.NopRetryer{},
	}
}

func (f *fakeSQS) client(optFns ...func(*sqs.Options)) *sqs.Client {
	return sqs.New(f.options(), optFns...)
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

func attributesMD5(attributes map[string]types.MessageAttributeValue) string {
	var b bytes.Buffer
	put := func(p []byte) {
		binary.Write(&b, binary.BigEndian, uint32(len(p)))
		b.Write(p)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[name]
		put([]byte(name))
		put([]byte(aws.ToString(v.DataType)))
		if v.BinaryValue != nil {
			b.WriteByte(2)
			put(v.BinaryValue)
		} else {
			b.WriteByte(1)
			put([]byte(aws.ToString(v.StringValue)))
		}
	}
	return md5Hex(b.Bytes())
}

// toyCodec turns every bit of a body over, and keeps a counter in one Binary
// attribute. Its hooks make it fail in every way that a codec can.
type toyCodec struct {
	mu        sync.Mutex
	seals     int
	opens     int
	limit     int
	asIs      bool
	noDigests bool
	before    func()                                           // runs as Seal begins
	seal      func(e types.SendMessageBatchRequestEntry) error // that entry's error
	common    error                                            // the whole call's error
	admit     func(*sqs.ReceiveMessageInput) (middleware.Admission, error)
	open      func(msg types.Message) (err error, temporary bool)
	result    func([]middleware.Opened) []middleware.Opened
	guarded   []string // attributes of each sealed message
}

const toyName = "toy"

var errTampered = errors.New("toy: not sealed by this codec")

func (*toyCodec) AttributeNames() []string { return []string{toyName} }

func (c *toyCodec) MaxMessageBytes(middleware.Queue) int { return c.limit }

func (c *toyCodec) Admit(_ context.Context, _ middleware.Queue, in *sqs.ReceiveMessageInput, _ func() *sqs.Client) (middleware.Admission, error) {
	if c.admit == nil {
		return middleware.Admission{}, nil
	}
	return c.admit(in)
}

func (c *toyCodec) Seal(_ context.Context, q middleware.Queue, entries []types.SendMessageBatchRequestEntry) ([]middleware.Sealed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before != nil {
		c.before()
	}
	if c.common != nil {
		return nil, c.common
	}
	sealed := make([]middleware.Sealed, len(entries))
	for i, e := range entries {
		if c.asIs {
			sealed[i].AsIs = true
			continue
		}
		if c.seal != nil {
			if sealed[i].Err = c.seal(e); sealed[i].Err != nil {
				continue
			}
		}
		c.seals++
		attributes := maps.Clone(e.MessageAttributes)
		if attributes == nil {
			attributes = make(map[string]types.MessageAttributeValue)
		}
		attributes[toyName] = binaryValue([]byte(fmt.Sprintf("%s#%d", q.ARN(), c.seals)))
		sealed[i].Guarded = c.guarded
		sealed[i].Content = middleware.Content{Body: base64.StdEncoding.EncodeToString(flip(*e.MessageBody)), Attributes: attributes, NoDigests: c.noDigests}
	}
	return sealed, nil
}

func (c *toyCodec) Open(_ context.Context, _ middleware.Queue, msgs []types.Message) []middleware.Opened {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opens++
	opened := make([]middleware.Opened, len(msgs))
	for i, m := range msgs {
		header, sealed := m.MessageAttributes[toyName]
		body, err := base64.StdEncoding.DecodeString(aws.ToString(m.Body))
		if !sealed || err != nil {
			opened[i].Err = errTampered
			continue
		}
		opened[i].Content = middleware.Content{Body: string(flip(string(body))), Attributes: m.MessageAttributes, NoDigests: c.noDigests}
		opened[i].Info = string(header.BinaryValue)
		if c.open != nil {
			if err, temporary := c.open(m); err != nil {
				opened[i] = middleware.Opened{Err: err, Temporary: temporary}
			}
		}
	}
	if c.result != nil {
		return c.result(opened)
	}
	return opened
}

func flip(s string) []byte {
	b := []byte(s)
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

func stringValue(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(s)}
}

func binaryValue(b []byte) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: b}
}

func install(t testing.TB, c middleware.Codec, optFns ...func(*middleware.Options)) *middleware.Middleware {
	t.Helper()
	m, err := middleware.New(c, optFns...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// setup returns a client with the toy codec installed, and what is behind it.
func setup(t testing.TB, optFns ...func(*sqs.Options)) (*sqs.Client, *fakeSQS, *toyCodec) {
	t.Helper()
	fake, codec := &fakeSQS{}, &toyCodec{}
	return fake.client(append([]func(*sqs.Options){install(t, codec).Install}, optFns...)...), fake, codec
}

func send(t testing.TB, client *sqs.Client, url string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		in := &sqs.SendMessageInput{QueueUrl: aws.String(url), MessageBody: aws.String(body)}
		if _, err := client.SendMessage(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
}
