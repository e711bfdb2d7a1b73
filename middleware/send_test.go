//lint:file-ignore SA1019 callers use the deprecated AttributeNames, so it must work

package middleware_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/middleware"
)

// spare returns s with room behind it that holds a value of its own, so that a
// write into the caller's backing array shows.
func spare[T any](s []T, behind T) []T { return append(s, behind)[:len(s)] }

func TestInputsAreNotWritten(t *testing.T) {
	t.Parallel()
	attributes := func() map[string]types.MessageAttributeValue {
		return map[string]types.MessageAttributeValue{"user": stringValue("v"), "raw": binaryValue(spare([]byte{1, 2}, 3))}
	}
	system := func() map[string]types.MessageSystemAttributeValue {
		return map[string]types.MessageSystemAttributeValue{"other": {DataType: aws.String("String"), StringValue: aws.String("v")}}
	}
	single := func() *sqs.SendMessageInput {
		return &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageAttributes: attributes(), MessageSystemAttributes: system(), DelaySeconds: 3}
	}
	batch := func() *sqs.SendMessageBatchInput {
		return &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: spare([]types.SendMessageBatchRequestEntry{
			{Id: aws.String("a"), MessageBody: aws.String(secret), MessageAttributes: attributes(), MessageSystemAttributes: system()},
			{Id: aws.String("b"), MessageBody: aws.String("")}, // fails locally: entries are filtered
			{Id: aws.String("c"), MessageBody: aws.String(secret)},
		}, types.SendMessageBatchRequestEntry{Id: aws.String("behind")})}
	}
	receive := func() *sqs.ReceiveMessageInput {
		return &sqs.ReceiveMessageInput{
			QueueUrl:                    aws.String(queueURL),
			MaxNumberOfMessages:         10,
			MessageAttributeNames:       spare([]string{"user"}, "behind"),
			AttributeNames:              spare([]types.QueueAttributeName{"SenderId"}, "behind"),
			MessageSystemAttributeNames: spare([]types.MessageSystemAttributeName{"SenderId"}, "behind"),
		}
	}
	for name, asIs := range map[string]bool{"sealed": false, "as is": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// An agent that writes into what it is given, inside the sealer.
			client, _, codec := setup(t, withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(tracer(10), smithymiddleware.After)
			}))
			codec.asIs = asIs
			one, several, ask := single(), batch(), receive()
			if _, err := client.SendMessage(t.Context(), one); err != nil {
				t.Fatal(err)
			}
			if asIs {
				several.Entries[1].MessageBody = aws.String("x")
			}
			if _, err := client.SendMessageBatch(t.Context(), several); err != nil {
				t.Fatal(err)
			}
			codec.admit = func(*sqs.ReceiveMessageInput) (middleware.Admission, error) {
				return middleware.Admission{MaxMessages: 1}, nil
			}
			_, err := client.ReceiveMessage(t.Context(), ask)
			if asIs != (err != nil) { // what went as is does not open
				t.Fatalf("receive: %v", err)
			}
			want := batch()
			if asIs {
				want.Entries[1].MessageBody = aws.String("x")
			}
			if !reflect.DeepEqual(one, single()) || !reflect.DeepEqual(several, want) || !reflect.DeepEqual(ask, receive()) {
				t.Error("an input was written")
			}
			if !reflect.DeepEqual(several.Entries[:4], want.Entries[:4]) ||
				!slices.Equal(ask.MessageAttributeNames[:2], receive().MessageAttributeNames[:2]) ||
				!slices.Equal(ask.AttributeNames[:2], receive().AttributeNames[:2]) ||
				!slices.Equal(ask.MessageSystemAttributeNames[:2], receive().MessageSystemAttributeNames[:2]) ||
				one.MessageAttributes["raw"].BinaryValue[:3][2] != 3 {
				t.Error("the room behind a slice was written")
			}
		})
	}
}

// TestDigests holds outputs to what the caller would have seen without the
// middleware, with digests that are known from elsewhere.
func TestDigests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		attributes map[string]types.MessageAttributeValue
		want       *string
	}{
		"none":  {nil, nil},
		"empty": {map[string]types.MessageAttributeValue{}, nil},
		// The example of SendMessage in the SQS API reference.
		"API reference": {map[string]types.MessageAttributeValue{
			"my_attribute_name_1": stringValue("my_attribute_value_1"),
			"my_attribute_name_2": stringValue("my_attribute_value_2"),
		}, aws.String("c48838208d2b4e14e3ca0093a8443f09")},
		// Returned by the service, quoted in an issue of the SDK for Ruby.
		"the service": {map[string]types.MessageAttributeValue{"baz": stringValue("qux")}, aws.String("16bd0283a5b4962721ccd3efe4bc6257")},
		"binary and number": {map[string]types.MessageAttributeValue{
			"b": binaryValue([]byte{0, 1, 0xff}),
			"n": {DataType: aws.String("Number.int"), StringValue: aws.String("7")},
		}, aws.String(attributesMD5(map[string]types.MessageAttributeValue{
			"b": binaryValue([]byte{0, 1, 0xff}),
			"n": {DataType: aws.String("Number.int"), StringValue: aws.String("7")},
		}))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Also where the SDK compares no digests: a plain client has SQS's
			// in its outputs then, too.
			for _, choice := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
				disabled, none := choice[0], choice[1]
				client, _, codec := setup(t, func(o *sqs.Options) { o.DisableMessageChecksumValidation = disabled })
				codec.noDigests = none
				wantBody, want := aws.String(md5Hex([]byte(secret))), tc.want
				if none {
					wantBody, want = nil, nil
				}
				one, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageAttributes: tc.attributes})
				if err != nil {
					t.Fatal(err)
				}
				several, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{
					{Id: aws.String("a"), MessageBody: aws.String(secret), MessageAttributes: tc.attributes},
				}})
				if err != nil {
					t.Fatal(err)
				}
				received, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MessageAttributeNames: []string{"All"}})
				if err != nil {
					t.Fatal(err)
				}
				for what, got := range map[string][2]*string{
					"SendMessage":      {one.MD5OfMessageBody, one.MD5OfMessageAttributes},
					"SendMessageBatch": {several.Successful[0].MD5OfMessageBody, several.Successful[0].MD5OfMessageAttributes},
					"ReceiveMessage":   {received.Messages[0].MD5OfBody, received.Messages[0].MD5OfMessageAttributes},
				} {
					if diff := cmp.Diff([2]*string{wantBody, want}, got); diff != "" {
						t.Errorf("%s, validation disabled %t, NoDigests %t: digests differ (-want +got):\n%s", what, disabled, none, diff)
					}
				}
			}
		})
	}
}

func apiError(code, message string) error {
	return &smithy.GenericAPIError{Code: code, Message: message, Fault: smithy.FaultClient}
}

func TestBatchPartialFailure(t *testing.T) {
	t.Parallel()
	entry := func(id, body string) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{Id: aws.String(id), MessageBody: aws.String(body)}
	}
	failed := func(id, code string, sender bool) types.BatchResultErrorEntry {
		return types.BatchResultErrorEntry{Id: aws.String(id), Code: aws.String(code), SenderFault: sender}
	}
	reserved := entry("reserved", "x")
	reserved.MessageAttributes = map[string]types.MessageAttributeValue{toyName: stringValue("mine")}
	many := entry("many", "x")
	many.MessageAttributes = make(map[string]types.MessageAttributeValue)
	for i := range 10 {
		many.MessageAttributes[string(rune('a'+i))] = stringValue("v")
	}
	for name, tc := range map[string]struct {
		entries  []types.SendMessageBatchRequestEntry
		seal     func(types.SendMessageBatchRequestEntry) error
		remote   map[string]string
		wantOK   []string
		wantFail []types.BatchResultErrorEntry
		requests int
	}{
		"all sent": {
			entries: []types.SendMessageBatchRequestEntry{entry("a", "1"), entry("b", "2")},
			wantOK:  []string{"a", "b"}, requests: 1,
		},
		"each local cause": {
			entries: []types.SendMessageBatchRequestEntry{entry("empty", ""), entry("a", "1"), reserved, many, entry("large", strings.Repeat("x", 2000))},
			wantOK:  []string{"a"}, requests: 1,
			wantFail: []types.BatchResultErrorEntry{
				failed("empty", "MissingParameter", true),
				failed("reserved", "InvalidParameterValue", true),
				failed("many", "InvalidParameterValue", true),
				failed("large", "InvalidParameterValue", true),
			},
		},
		"the codec's own cause": {
			entries: []types.SendMessageBatchRequestEntry{entry("a", "1"), entry("b", "2"), entry("c", "3")},
			seal: func(e types.SendMessageBatchRequestEntry) error {
				switch *e.Id {
				case "a":
					return apiError("AWS.SimpleQueueService.Made.Up", "because")
				case "c":
					return errors.New("no code")
				}
				return nil
			},
			wantOK: []string{"b"}, requests: 1,
			wantFail: []types.BatchResultErrorEntry{failed("a", "AWS.SimpleQueueService.Made.Up", true), failed("c", "InternalError", false)},
		},
		"one local, one remote, in the caller's order": {
			entries: []types.SendMessageBatchRequestEntry{entry("a", "1"), entry("b", "2"), entry("c", "")},
			remote:  map[string]string{"b": "ServiceUnavailable"},
			wantOK:  []string{"a"}, requests: 1,
			wantFail: []types.BatchResultErrorEntry{failed("b", "ServiceUnavailable", false), failed("c", "MissingParameter", true)},
		},
		"local before remote": {
			entries: []types.SendMessageBatchRequestEntry{entry("a", ""), entry("b", "2")},
			remote:  map[string]string{"b": "ServiceUnavailable"}, requests: 1,
			wantFail: []types.BatchResultErrorEntry{failed("a", "MissingParameter", true), failed("b", "ServiceUnavailable", false)},
		},
		"all local": {
			entries:  []types.SendMessageBatchRequestEntry{entry("a", ""), entry("b", "")},
			wantFail: []types.BatchResultErrorEntry{failed("a", "MissingParameter", true), failed("b", "MissingParameter", true)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, codec := setup(t)
			codec.limit, codec.seal = 1024, tc.seal
			fake.fail = func(int, string) *failure { return &failure{entries: tc.remote} }
			out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: tc.entries})
			if err != nil {
				t.Fatal(err)
			}
			var ok []string
			for _, s := range out.Successful {
				ok = append(ok, *s.Id)
			}
			if diff := cmp.Diff(tc.wantOK, ok); diff != "" {
				t.Errorf("successful differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantFail, out.Failed, cmpopts.IgnoreUnexported(types.BatchResultErrorEntry{}),
				cmpopts.IgnoreFields(types.BatchResultErrorEntry{}, "Message")); diff != "" {
				t.Errorf("failed differ (-want +got):\n%s", diff)
			}
			if got := len(fake.requests); got != tc.requests {
				t.Errorf("got %d requests, want %d", got, tc.requests)
			}
		})
	}
}

func TestSendErrors(t *testing.T) {
	t.Parallel()
	noKey := errors.New("no key")
	for name, tc := range map[string]struct {
		body      string
		attribute string
		common    error
		entry     error
		wantCode  string
		want      error
	}{
		"empty":           {wantCode: "MissingParameter"},
		"too large":       {body: strings.Repeat("x", 2000), wantCode: "InvalidParameterValue"},
		"reserved name":   {body: "x", attribute: toyName, wantCode: "InvalidParameterValue"},
		"codec's entry":   {body: "x", entry: apiError("Code", ""), wantCode: "Code"},
		"common":          {body: "x", common: noKey, want: noKey},
		"entry, untyped":  {body: "x", entry: noKey, want: noKey},
		"common, and bad": {common: noKey, want: noKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, codec := setup(t)
			codec.limit, codec.common = 1024, tc.common
			codec.seal = func(types.SendMessageBatchRequestEntry) error { return tc.entry }
			in := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(tc.body)}
			if tc.attribute != "" {
				in.MessageAttributes = map[string]types.MessageAttributeValue{tc.attribute: stringValue("v")}
			}
			_, err := client.SendMessage(t.Context(), in)
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got error %v, want %v", err, tc.want)
			}
			if api, ok := errors.AsType[smithy.APIError](err); tc.wantCode != "" && (!ok || api.ErrorCode() != tc.wantCode || api.ErrorFault() != smithy.FaultClient) {
				t.Errorf("got error %v, want an APIError of code %s", err, tc.wantCode)
			}
			if got := fake.ops(); len(got) != 0 {
				t.Errorf("got requests %v, want none", got)
			}
		})
	}
}

func TestCommonCauseFailsTheBatch(t *testing.T) {
	t.Parallel()
	client, fake, codec := setup(t)
	codec.common = errors.New("no key")
	if err := operations["SendMessageBatch"](t.Context(), client); !errors.Is(err, codec.common) {
		t.Errorf("got error %v, want %v", err, codec.common)
	}
	if got := fake.ops(); len(got) != 0 {
		t.Errorf("got requests %v, want none", got)
	}
}

// sealedBytes is the size of a message of n plaintext bytes sealed by the toy:
// base64, and the attribute's name, type and value.
func sealedBytes(n int) int {
	return (n+2)/3*4 + len(toyName) + len("Binary") + len(queueARN+"#1")
}

func TestMessageLimit(t *testing.T) {
	t.Parallel()
	const n = 3000
	for name, tc := range map[string]struct {
		limit int // of the codec
		bytes int // of the plaintext
		ok    bool
	}{
		"at the limit":              {limit: sealedBytes(n), bytes: n, ok: true},
		"one over":                  {limit: sealedBytes(n) - 1, bytes: n},
		"no limit: 1 MiB, under":    {bytes: (1<<20 - 100) / 4 * 3, ok: true},
		"no limit: 1 MiB, over":     {bytes: 1 << 20 / 4 * 3},
		"a limit over 1 MiB, under": {limit: 1 << 30, bytes: (1<<20 - 100) / 4 * 3, ok: true},
		"a limit over 1 MiB, over":  {limit: 1 << 30, bytes: 1 << 20 / 4 * 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _, codec := setup(t)
			codec.limit = tc.limit
			_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(strings.Repeat("x", tc.bytes))})
			if tc.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			tooLarge, ok := errors.AsType[*middleware.TooLargeError](err)
			if !ok {
				t.Fatalf("got error %v, want a TooLargeError", err)
			}
			limit := tc.limit
			if limit == 0 || limit > 1<<20 {
				limit = 1 << 20
			}
			if want := (middleware.TooLargeError{Plain: tc.bytes, Sealed: sealedBytes(tc.bytes), Limit: limit}); *tooLarge != want {
				t.Errorf("got %+v, want %+v", *tooLarge, want)
			}
		})
	}
}

func TestBatchLimit(t *testing.T) {
	t.Parallel()
	// Two messages that are 1 MiB together, to the byte.
	const half = (1<<20)/2 - len(toyName) - len("Binary") - len(queueARN+"#1")
	const first = half / 4 * 3
	pad := half - half/4*4 // base64 comes in steps of 4: the rest is an attribute
	for name, tc := range map[string]struct {
		over int
		asIs bool
		ok   bool
	}{
		"at the limit":    {ok: true},
		"one over":        {over: 1},
		"as is, one over": {over: 1, asIs: true, ok: true}, // SQS answers, not we
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, codec := setup(t)
			codec.asIs = tc.asIs
			entry := func(id string, more int) types.SendMessageBatchRequestEntry {
				e := types.SendMessageBatchRequestEntry{Id: aws.String(id), MessageBody: aws.String(strings.Repeat("x", first-24))}
				e.MessageAttributes = map[string]types.MessageAttributeValue{"p": stringValue(strings.Repeat("p", 32+pad-len("p")-len("String")+more))}
				return e
			}
			in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{entry("a", 0), entry("b", tc.over)}}
			_, err := client.SendMessageBatch(t.Context(), in)
			if tc.ok {
				if err != nil || len(fake.requests) != 1 {
					t.Errorf("got error %v and %d requests, want none and 1", err, len(fake.requests))
				}
				return
			}
			sdk, isSDK := errors.AsType[*types.BatchRequestTooLong](err)
			ours, isOurs := errors.AsType[*middleware.TooLargeError](err)
			api, isAPI := errors.AsType[smithy.APIError](err)
			if !isSDK || !isOurs || !isAPI {
				t.Fatalf("got error %v, want a TooLargeError that is a BatchRequestTooLong", err)
			}
			const code = "AWS.SimpleQueueService.BatchRequestTooLong"
			if sdk.ErrorCode() != code || api.ErrorCode() != code {
				t.Errorf("got codes %s and %s, want %s", sdk.ErrorCode(), api.ErrorCode(), code)
			}
			if ours.Sealed != 1<<20+1 || ours.Limit != 1<<20 {
				t.Errorf("got %+v, want 1 MiB and 1 byte, over 1 MiB", *ours)
			}
			if got := fake.ops(); len(got) != 0 {
				t.Errorf("got requests %v, want none", got)
			}
		})
	}
}

// TestValidationIsTheSDKs compares errors with those of a plain client, and
// looks for plaintext and key use on the way there.
func TestValidationIsTheSDKs(t *testing.T) {
	t.Parallel()
	entries := func(e ...types.SendMessageBatchRequestEntry) *sqs.SendMessageBatchInput {
		return &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: e}
	}
	good := types.SendMessageBatchRequestEntry{Id: aws.String("a"), MessageBody: aws.String(secret)}
	attributes := map[string]types.MessageAttributeValue{"launch": stringValue(secret), "b": binaryValue([]byte(secret))}
	for name, invoke := range map[string]func(context.Context, *sqs.Client) error{
		"send nil": func(ctx context.Context, c *sqs.Client) error { _, err := c.SendMessage(ctx, nil); return err },
		"send no body": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(queueURL)})
			return err
		},
		"send no queue": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessage(ctx, &sqs.SendMessageInput{MessageBody: aws.String(secret)})
			return err
		},
		"send no body, attributes": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageAttributes: attributes})
			return err
		},
		"send no queue, attributes": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessage(ctx, &sqs.SendMessageInput{MessageBody: aws.String(secret), MessageAttributes: attributes})
			return err
		},
		"send untyped attribute": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageAttributes: map[string]types.MessageAttributeValue{"a": {}}})
			return err
		},
		"batch nil": func(ctx context.Context, c *sqs.Client) error { _, err := c.SendMessageBatch(ctx, nil); return err },
		"batch no entries": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL)})
			return err
		},
		"batch no ID": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessageBatch(ctx, entries(good, types.SendMessageBatchRequestEntry{MessageBody: aws.String(secret)}))
			return err
		},
		"batch no body": func(ctx context.Context, c *sqs.Client) error {
			_, err := c.SendMessageBatch(ctx, entries(good, good, types.SendMessageBatchRequestEntry{Id: aws.String("b")}))
			return err
		},
		"batch no body, attributes": func(ctx context.Context, c *sqs.Client) error {
			healthy, bodiless := good, types.SendMessageBatchRequestEntry{Id: aws.String("b"), MessageAttributes: attributes}
			healthy.MessageAttributes = attributes
			_, err := c.SendMessageBatch(ctx, entries(healthy, bodiless))
			return err
		},
		"batch no queue, attributes": func(ctx context.Context, c *sqs.Client) error {
			healthy := good
			healthy.MessageAttributes = attributes
			_, err := c.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{Entries: []types.SendMessageBatchRequestEntry{healthy}})
			return err
		},
		"receive nil": func(ctx context.Context, c *sqs.Client) error { _, err := c.ReceiveMessage(ctx, nil); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := invoke(t.Context(), (&fakeSQS{}).client())
			client, _, codec := setup(t, withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Insert(initialize("spy", func(p any) {
					if strings.Contains(dump(p), "launch") {
						t.Error("plaintext inside the sealer")
					}
				}), middleware.ID, smithymiddleware.After)
			}))
			got := invoke(t.Context(), client)
			if want == nil || got == nil || got.Error() != want.Error() {
				t.Errorf("got error %v, want %v", got, want)
			}
			if codec.seals != 0 && name != "send untyped attribute" {
				t.Errorf("got %d seals, want none", codec.seals)
			}

			// Without the SDK's validation, nothing may leave either.
			client, fake, _ := setup(t, withStack(func(s *smithymiddleware.Stack) error {
				_, err := s.Initialize.Remove("OperationInputValidation")
				return err
			}))
			if err := invoke(t.Context(), client); err == nil && strings.Contains(fake.wire(), secret) {
				t.Error("plaintext on the wire without validation")
			}
		})
	}
}

func TestBatchOfNothingIsForSQS(t *testing.T) {
	t.Parallel()
	client, fake, _ := setup(t)
	_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{}})
	if _, ok := errors.AsType[*types.EmptyBatchRequest](err); !ok || len(fake.requests) != 1 {
		t.Errorf("got error %v and %d requests, want SQS's EmptyBatchRequest and 1", err, len(fake.requests))
	}
}

func TestDuplicateIDs(t *testing.T) {
	t.Parallel()
	client, fake, _ := setup(t)
	e := types.SendMessageBatchRequestEntry{Id: aws.String("a"), MessageBody: aws.String(secret)}
	_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{e, e}})
	typed, ok := errors.AsType[*types.BatchEntryIdsNotDistinct](err)
	if !ok || typed.ErrorCode() != "AWS.SimpleQueueService.BatchEntryIdsNotDistinct" {
		t.Errorf("got error %v, want BatchEntryIdsNotDistinct with SQS's code", err)
	}
	if got := fake.ops(); len(got) != 0 {
		t.Errorf("got requests %v, want none", got)
	}
}

// TestAsIs compares a queue that is not sealed with a client that has no
// middleware: the wire, the output and the error are the same.
func TestAsIs(t *testing.T) {
	t.Parallel()
	attributes := map[string]types.MessageAttributeValue{toyName: stringValue("the caller's own")}
	for i := range 10 {
		attributes[string(rune('a'+i))] = stringValue("v")
	}
	for name, invoke := range map[string]func(context.Context, *sqs.Client) (any, error){
		"SendMessage": func(ctx context.Context, c *sqs.Client) (any, error) {
			out, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(fifoURL), MessageBody: aws.String(""), MessageAttributes: attributes,
				MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d")})
			if out != nil {
				out.ResultMetadata = smithymiddleware.Metadata{}
			}
			return out, err
		},
		"SendMessageBatch": func(ctx context.Context, c *sqs.Client) (any, error) {
			out, err := c.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{
				{Id: aws.String("a"), MessageBody: aws.String(strings.Repeat("x", 1<<20+1)), MessageAttributes: attributes},
				{Id: aws.String("b"), MessageBody: aws.String("refused")},
				{Id: aws.String("c"), MessageBody: aws.String("plain"), MessageDeduplicationId: aws.String("d")},
			}})
			if out != nil {
				out.ResultMetadata = smithymiddleware.Metadata{}
			}
			return out, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, codec := setup(t)
			codec.asIs = true
			plain := &fakeSQS{}
			fail := func(int, string) *failure { return &failure{entries: map[string]string{"b": "Refused"}} }
			fake.fail, plain.fail = fail, fail
			want, wantErr := invoke(t.Context(), plain.client())
			got, err := invoke(t.Context(), client)
			if err != nil || wantErr != nil {
				t.Fatalf("got errors %v and %v, want none", err, wantErr)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got output %+v, want %+v", got, want)
			}
			if got, want := fake.wire(), plain.wire(); len(got) != len(want) {
				t.Errorf("got %d bytes on the wire, want %d", len(got), len(want))
			}
			if !reflect.DeepEqual(fake.stored, plain.stored) {
				t.Error("what was stored differs from what a plain client stores")
			}
		})
	}
}

func TestDeduplicationID(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ codec, caller, want *string }{
		"the caller's stays":   {nil, aws.String("mine"), aws.String("mine")},
		"the codec's is taken": {aws.String("made"), nil, aws.String("made")},
		"none":                 {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := install(t, deduplicator{&toyCodec{}, tc.codec})
			in := &sqs.SendMessageInput{MessageBody: aws.String(secret), MessageDeduplicationId: tc.caller}
			out, err := m.SealMessage(t.Context(), middleware.Queue{}, in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, out.MessageDeduplicationId); diff != "" {
				t.Errorf("MessageDeduplicationId differs (-want +got):\n%s", diff)
			}
		})
	}
}

type deduplicator struct {
	*toyCodec
	id *string
}

func (d deduplicator) Seal(ctx context.Context, q middleware.Queue, entries []types.SendMessageBatchRequestEntry) ([]middleware.Sealed, error) {
	sealed, err := d.toyCodec.Seal(ctx, q, entries)
	for i := range sealed {
		sealed[i].DeduplicationID = d.id
	}
	return sealed, err
}

// TestCodecThatSharesMaps returns the caller's own map, as a codec may that
// adds no attribute, and appends to its argument.
func TestCodecThatSharesMaps(t *testing.T) {
	t.Parallel()
	codec := brokenCodec{&toyCodec{}, func(entries []types.SendMessageBatchRequestEntry) []middleware.Sealed {
		sealed := make([]middleware.Sealed, len(entries))
		for i, e := range entries {
			sealed[i].Content = middleware.Content{Body: "sealed", Attributes: e.MessageAttributes}
		}
		_ = append(entries, types.SendMessageBatchRequestEntry{Id: aws.String("codec")})
		return sealed
	}}
	client := (&fakeSQS{}).client(install(t, codec).Install, withStack(func(s *smithymiddleware.Stack) error {
		return s.Initialize.Add(tracer(10), smithymiddleware.After)
	}))
	attributes := map[string]types.MessageAttributeValue{"user": stringValue("v")}
	entries := spare([]types.SendMessageBatchRequestEntry{{Id: aws.String("a"), MessageBody: aws.String(secret), MessageAttributes: attributes}},
		types.SendMessageBatchRequestEntry{Id: aws.String("behind")})
	if _, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: entries}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageAttributes: attributes}); err != nil {
		t.Fatal(err)
	}
	if len(attributes) != 1 || *entries[:2][1].Id != "behind" {
		t.Errorf("got attributes %v and %q behind the entries, want both as they were", attributes, *entries[:2][1].Id)
	}
}

// brokenCodec misbehaves on sends.
type brokenCodec struct {
	*toyCodec
	seal func(entries []types.SendMessageBatchRequestEntry) []middleware.Sealed
}

func (b brokenCodec) Seal(_ context.Context, _ middleware.Queue, entries []types.SendMessageBatchRequestEntry) ([]middleware.Sealed, error) {
	return b.seal(entries), nil
}

func TestBrokenCodecSendsNothing(t *testing.T) {
	t.Parallel()
	for name, seal := range map[string]func([]types.SendMessageBatchRequestEntry) []middleware.Sealed{
		"nothing": func([]types.SendMessageBatchRequestEntry) []middleware.Sealed { return nil },
		"too many": func(e []types.SendMessageBatchRequestEntry) []middleware.Sealed {
			return make([]middleware.Sealed, len(e)+1)
		},
		"zero": func(e []types.SendMessageBatchRequestEntry) []middleware.Sealed {
			return make([]middleware.Sealed, len(e))
		},
		"panic": func([]types.SendMessageBatchRequestEntry) []middleware.Sealed { panic("toy") },
	} {
		for _, op := range []string{"SendMessage", "SendMessageBatch"} {
			t.Run(name+"/"+op, func(t *testing.T) {
				t.Parallel()
				fake := &fakeSQS{}
				client := fake.client(install(t, brokenCodec{&toyCodec{}, seal}).Install)
				panicked, err := func() (panicked any, err error) {
					defer func() { panicked = recover() }()
					return nil, operations[op](t.Context(), client)
				}()
				if (panicked != nil) != (name == "panic") {
					t.Errorf("got panic %v", panicked)
				}
				if strings.Contains(fake.wire(), "launch") || len(fake.requests) != 0 {
					t.Errorf("got requests %v, want none", fake.ops())
				}
				if err == nil && panicked == nil {
					t.Error("got no error")
				}
			})
		}
	}
}

// TestDigestsOfAnyLength: bodies and attributes are hashed in blocks, and the
// digest does not depend on where a block ends.
func TestDigestsOfAnyLength(t *testing.T) {
	t.Parallel()
	client, _, _ := setup(t)
	const block = 1 << 10
	var entries []types.SendMessageBatchRequestEntry
	for i, n := range []int{1, block - 1, block, block + 1, 2*block - 1, 2 * block, 5*block + 3} {
		text := strings.Repeat("0123456789", n/10+1)[:n]
		entries = append(entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(text),
			MessageAttributes: map[string]types.MessageAttributeValue{"s": {DataType: aws.String("String"), StringValue: aws.String(text)}, "b": binaryValue([]byte(text))},
		})
	}
	out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: entries})
	if err != nil || len(out.Successful) != len(entries) {
		t.Fatalf("got %d sent, %v, want %d", len(out.Successful), err, len(entries))
	}
	for i, r := range out.Successful {
		text := *entries[i].MessageBody
		if got, want := aws.ToString(r.MD5OfMessageBody), md5Hex([]byte(text)); got != want {
			t.Errorf("body of %d bytes: got %q, want %q", len(text), got, want)
		}
		if got, want := aws.ToString(r.MD5OfMessageAttributes), attributesMD5(entries[i].MessageAttributes); got != want {
			t.Errorf("attributes of %d bytes: got %q, want %q", len(text), got, want)
		}
	}
}
