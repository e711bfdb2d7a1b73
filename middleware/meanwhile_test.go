package middleware_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/sealq/sealq/middleware"
)

// moments are where a caller's other goroutine may change the input of a call
// in progress: while the codec works, before and after the guard has looked,
// and while a response is on its way.
var moments = []string{"codec", "inside", "guard", "serializer", "response"}

// meanwhile returns a client that runs change at one moment of each call.
func meanwhile(t *testing.T, moment string, change func()) (*sqs.Client, *fakeSQS, *toyCodec) {
	t.Helper()
	once := func(at string) {
		if at == moment {
			change()
		}
	}
	fake, codec := &fakeSQS{}, &toyCodec{before: func() { once("codec") }}
	fake.fail = func(int, string) *failure { once("response"); return nil }
	client := fake.client(withStack(func(s *smithymiddleware.Stack) error {
		// Before the sealer is there: what its guard runs is this one.
		own, ok := s.Serialize.Get("OperationSerializer")
		if !ok {
			t.Error("the stack has no serializer")
		}
		_, err := s.Serialize.Swap("OperationSerializer", laterSerializer{own, func() { once("serializer") }})
		return err
	}), install(t, codec).Install, withStack(func(s *smithymiddleware.Stack) error {
		if err := s.Initialize.Add(initialize("inside", func(any) { once("inside") }), smithymiddleware.After); err != nil {
			return err
		}
		return s.Serialize.Add(serialize("guard", func(*smithymiddleware.SerializeInput) { once("guard") }), smithymiddleware.Before)
	}))
	return client, fake, codec
}

// laterSerializer runs change between the guard and the SDK's serializer.
type laterSerializer struct {
	smithymiddleware.SerializeMiddleware
	change func()
}

func (l laterSerializer) HandleSerialize(
	ctx context.Context, in smithymiddleware.SerializeInput, next smithymiddleware.SerializeHandler,
) (smithymiddleware.SerializeOutput, smithymiddleware.Metadata, error) {
	l.change()
	return l.SerializeMiddleware.HandleSerialize(ctx, in, next)
}

// wireQueue is the queue of the one request.
func wireQueue(t *testing.T, fake *fakeSQS) string {
	t.Helper()
	if len(fake.requests) != 1 {
		t.Fatalf("got requests %v, want one", fake.ops())
	}
	var in struct{ QueueUrl string }
	if err := json.Unmarshal(fake.requests[0].body, &in); err != nil {
		t.Fatal(err)
	}
	return in.QueueUrl
}

// TestCallerChangesTheInputMeanwhile has the caller change what its pointers
// and slices refer to during a call: the queue that the policy was found for
// and the body that was sealed are what travels.
func TestCallerChangesTheInputMeanwhile(t *testing.T) {
	t.Parallel()
	const elsewhere = "https://sqs.us-east-1.amazonaws.com/123456789012/elsewhere"
	const later = "a later thought"
	// What a caller keeps pointers to, and how it changes that.
	values := func() map[string]types.MessageAttributeValue {
		return map[string]types.MessageAttributeValue{"user": stringValue("v"), "bytes": binaryValue([]byte("before"))}
	}
	trace := func() map[string]types.MessageSystemAttributeValue {
		return map[string]types.MessageSystemAttributeValue{"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1")}}
	}
	changeValues := func(user map[string]types.MessageAttributeValue, system map[string]types.MessageSystemAttributeValue, group, deduplication *string) {
		*user["user"].StringValue, *user["user"].DataType = later, "Number"
		copy(user["bytes"].BinaryValue, "later!")
		*system["AWSTraceHeader"].StringValue = later
		*group, *deduplication = later, later
	}
	checkStored := func(t *testing.T, fake *fakeSQS) {
		t.Helper()
		got := fake.stored[0].MessageAttributes
		if aws.ToString(got["user"].StringValue) != "v" || aws.ToString(got["user"].DataType) != "String" || string(got["bytes"].BinaryValue) != "before" {
			t.Errorf("got attributes %v, want those at the start", dump(got))
		}
	}
	for _, moment := range moments {
		for name, asIs := range map[string]bool{"sealed": false, "as is": true} {
			t.Run(moment+"/SendMessage/"+name, func(t *testing.T) {
				t.Parallel()
				user, system, group, deduplication := values(), trace(), aws.String("g"), aws.String("d")
				in := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageAttributes: user, MessageSystemAttributes: system, MessageGroupId: group, MessageDeduplicationId: deduplication}
				client, fake, codec := meanwhile(t, moment, func() {
					changeValues(user, system, group, deduplication)
					*in.QueueUrl, *in.MessageBody = elsewhere, later
					user["later"] = stringValue(later)
					in.QueueUrl, in.MessageBody = nil, nil
				})
				codec.asIs = asIs
				out, err := client.SendMessage(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				if got := wireQueue(t, fake); got != queueURL {
					t.Errorf("sent to %s, want the queue that the policy was found for", got)
				}
				if strings.Contains(fake.wire(), secret) != asIs || strings.Contains(fake.wire(), later) {
					t.Errorf("got on the wire %s", fake.wire())
				}
				checkStored(t, fake)
				wantDigests := [2]string{md5Hex([]byte(secret)), attributesMD5(values())}
				if got := [2]string{*out.MD5OfMessageBody, *out.MD5OfMessageAttributes}; got != wantDigests {
					t.Errorf("got digests %s, want %s of what was sent", got, wantDigests)
				}
			})
			t.Run(moment+"/SendMessageBatch/"+name, func(t *testing.T) {
				t.Parallel()
				user, system, group, deduplication := values(), trace(), aws.String("g"), aws.String("d")
				in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{
					{Id: aws.String("a"), MessageBody: aws.String(secret), MessageAttributes: user, MessageSystemAttributes: system, MessageGroupId: group, MessageDeduplicationId: deduplication},
					{Id: aws.String("b"), MessageBody: aws.String(secret)},
				}}
				client, fake, codec := meanwhile(t, moment, func() {
					changeValues(user, system, group, deduplication)
					*in.QueueUrl, *in.Entries[0].MessageBody, *in.Entries[0].Id = elsewhere, later, "later"
					user["later"] = stringValue(later)
					in.Entries[1] = types.SendMessageBatchRequestEntry{Id: aws.String("c"), MessageBody: aws.String(later)}
					in.QueueUrl, in.Entries = nil, nil
				})
				codec.asIs = asIs
				out, err := client.SendMessageBatch(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				if got := wireQueue(t, fake); got != queueURL {
					t.Errorf("sent to %s, want the queue that the policy was found for", got)
				}
				if strings.Contains(fake.wire(), secret) != asIs || strings.Contains(fake.wire(), later) {
					t.Errorf("got on the wire %s", fake.wire())
				}
				checkStored(t, fake)
				for i, want := range []string{"a", "b"} {
					if got := out.Successful[i]; *got.Id != want || *got.MD5OfMessageBody != md5Hex([]byte(secret)) {
						t.Errorf("got %s with digest %s, want %s with that of what was sent", *got.Id, *got.MD5OfMessageBody, want)
					}
				}
			})
		}
		t.Run(moment+"/ReceiveMessage", func(t *testing.T) {
			t.Parallel()
			in := &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)}
			change := func() { *in.QueueUrl = elsewhere; in.QueueUrl = nil }
			client, fake, codec := meanwhile(t, moment, change)
			if moment == "codec" {
				codec.admit = func(*sqs.ReceiveMessageInput) (middleware.Admission, error) {
					change()
					return middleware.Admission{}, nil
				}
			}
			if _, err := client.ReceiveMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if got := wireQueue(t, fake); got != queueURL {
				t.Errorf("received from %s, want the queue that the policy was found for", got)
			}
		})
	}
}

// TestSealMessageOfAChangingInput is the same without a client.
func TestSealMessageOfAChangingInput(t *testing.T) {
	t.Parallel()
	value := stringValue("v")
	in := &sqs.SendMessageInput{MessageBody: aws.String(secret), MessageAttributes: map[string]types.MessageAttributeValue{"user": value}}
	codec := &toyCodec{before: func() { *in.MessageBody, *value.StringValue = "", "later"; in.MessageBody = nil }}
	out, err := install(t, codec).SealMessage(t.Context(), testQueue, in)
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(out.MessageAttributes["user"].StringValue); got != "v" {
		t.Errorf("got the attribute %q, want %q as at the start", got, "v")
	}
	want, err := install(t, &toyCodec{}).SealMessage(t.Context(), testQueue, &sqs.SendMessageInput{MessageBody: aws.String(secret)})
	if err != nil || *out.MessageBody != *want.MessageBody {
		t.Errorf("got %q and %v, want what the input held at the start, %q", *out.MessageBody, err, *want.MessageBody)
	}
}
