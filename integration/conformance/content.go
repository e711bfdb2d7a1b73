package conformance

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
)

// contentCases are what is sealed beside the body.
func contentCases() []testCase {
	var cases []testCase
	for _, queue := range []struct {
		kind       string
		attributes map[string]string
	}{{"standard", nil}, {"FIFO", fifo}} {
		for carrier, inBody := range map[string]bool{"attribute": false, "body": true} {
			cases = append(cases, testCase{
				fmt.Sprintf("sealed content: attributes, %s queue, %s carrier", queue.kind, carrier),
				func(t *testing.T, s *suite) { contentAttributes(t, s, queue.attributes, inBody) },
			})
		}
	}
	return append(cases,
		testCase{"sealed content: filters of message attributes", contentFilters},
		testCase{"sealed content: an attribute in clear is authenticated", contentAuthenticated},
		testCase{"sealed content: compressed bodies", contentCompressed},
	)
}

// content returns a client, and one of another process with the zero policy.
func (s *suite) content(t *testing.T, policy sqsx.Policy) (writer, reader *sqs.Client) {
	t.Helper()
	key := s.key(t)
	writer = sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) { o.Policy = policy }).Install)
	return writer, sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install)
}

func contentAttributes(t *testing.T, s *suite, queue map[string]string, inBody bool) {
	for _, n := range []int{0, 1, 10} {
		writer, reader := s.content(t, sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"app.attribute-0"}, BodyCarrier: inBody, MaxAge: time.Hour})
		url, all := s.queue(t, queue), userAttributes(n)
		out := send(t, writer, url, "body", all)
		if diff := cmp.Diff(attributesMD5(all), out.MD5OfMessageAttributes); diff != "" {
			t.Errorf("%d attributes: MD5OfMessageAttributes of the send: -want +got:\n%s", n, diff)
		}
		received := s.receive(t, reader, url, 1, everything)[0]
		if got := *received.Body; got != "body" {
			t.Errorf("%d attributes: got body %q", n, got)
		}
		wantAttributes(t, received.MessageAttributes, all)
		if diff := cmp.Diff(attributesMD5(all), received.MD5OfMessageAttributes); diff != "" {
			t.Errorf("%d attributes: MD5OfMessageAttributes: -want +got:\n%s", n, diff)
		}
	}
	writer, _ := s.content(t, sqsx.Policy{SealAttributes: true, BodyCarrier: inBody})
	url := s.queue(t, queue)
	send(t, writer, url, "body", userAttributes(10))
	for name := range s.stored(t, url, 1)[0].MessageAttributes {
		if name != "sealq" {
			t.Errorf("the attribute %q is in the queue", name)
		}
	}
}

func contentFilters(t *testing.T, s *suite) {
	writer, reader := s.content(t, sqsx.Policy{SealAttributes: true})
	url, all := s.queue(t, again), userAttributes(4)
	send(t, writer, url, "body", all)
	for _, tc := range []struct {
		filter []string
		want   map[string]types.MessageAttributeValue
	}{
		{nil, nil},
		{[]string{"app.attribute-1"}, map[string]types.MessageAttributeValue{"app.attribute-1": all["app.attribute-1"]}},
		{[]string{"app.*"}, all},
		{[]string{".*"}, all},
		{[]string{"All"}, all},
		{[]string{"other"}, nil},
	} {
		out, err := reader.ReceiveMessage(t.Context(), receiveInput(url, func(in *sqs.ReceiveMessageInput) { in.MessageAttributeNames = tc.filter }))
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("filter %q: got %v, want 1 message", tc.filter, err)
		}
		wantAttributes(t, out.Messages[0].MessageAttributes, tc.want)
		if diff := cmp.Diff(attributesMD5(tc.want), out.Messages[0].MD5OfMessageAttributes); diff != "" {
			t.Errorf("filter %q: MD5OfMessageAttributes: -want +got:\n%s", tc.filter, diff)
		}
	}
}

// contentAuthenticated has SQS return the attribute to a receive that does not
// ask for it.
func contentAuthenticated(t *testing.T, s *suite) {
	policy := sqsx.Policy{AuthenticateAttributes: []string{"kind"}}
	client, _ := s.content(t, policy)
	url := s.queue(t, nil)
	kind := func(value string) map[string]types.MessageAttributeValue {
		return map[string]types.MessageAttributeValue{"kind": {DataType: aws.String("String"), StringValue: &value}}
	}
	send(t, client, url, "body", kind("order"))
	if got := s.receive(t, client, url, 1)[0]; *got.Body != "body" {
		t.Errorf("got body %q", *got.Body)
	}

	sealed := s.queue(t, nil)
	send(t, client, sealed, "body", kind("order"))
	forged := s.stored(t, sealed, 1)[0]
	forged.MessageAttributes["kind"] = kind("refund")["kind"]
	in := &sqs.SendMessageInput{QueueUrl: &sealed, MessageBody: forged.Body, MessageAttributes: map[string]types.MessageAttributeValue{"kind": forged.MessageAttributes["kind"], "sealq": forged.MessageAttributes["sealq"]}}
	if _, err := s.sqs.SendMessage(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	refused := false
	for range 2 {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(sealed))
		var withheld []*sqsx.OpenError
		if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
			withheld = failed.Withheld
		} else if err == nil {
			withheld = sqsx.Withheld(out.ResultMetadata)
		}
		for _, w := range withheld {
			refused = refused || errors.Is(w, sqsx.ErrAuthentication)
		}
	}
	if !refused {
		t.Error("a changed attribute was not refused")
	}
}

func contentCompressed(t *testing.T, s *suite) {
	writer, reader := s.content(t, sqsx.Policy{Compress: true})
	url := s.queue(t, nil)
	body := strings.Repeat(`{"order": 17, "to": "Zoë, 東京"} `, 2000)
	send(t, writer, url, body, nil)
	if n := len(*s.stored(t, url, 1)[0].Body); n > len(body)/10 {
		t.Errorf("%d bytes are in the queue for a body of %d", n, len(body))
	}
	url = s.queue(t, nil)
	send(t, writer, url, body, nil)
	if got := s.receive(t, reader, url, 1)[0]; *got.Body != body {
		t.Errorf("got a body of %d bytes, want %d", len(*got.Body), len(body))
	}
}
