package sqsx_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/internal/content"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

type attributes = map[string]types.MessageAttributeValue

func stringAttribute(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

func numberAttribute(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("Number"), StringValue: &s}
}

func binaryAttribute(b ...byte) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: b}
}

// withPolicy is an option.
func withPolicy(p sqsx.Policy) func(*sqsx.Options) {
	return func(o *sqsx.Options) { o.Policy = p }
}

var ignoreNoSmithy = cmpopts.IgnoreUnexported(types.MessageAttributeValue{})

func sendWith(t testing.TB, c *sqs.Client, url, body string, a attributes) *sqs.SendMessageOutput {
	t.Helper()
	out, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: a})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// receiveOne receives the one message of a queue, with these names.
func receiveOne(t testing.TB, c *sqs.Client, url string, names ...string) (types.Message, sqsx.Info) {
	t.Helper()
	out, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MessageAttributeNames: names})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Messages) != 1 {
		t.Fatalf("got %d messages, want 1", len(out.Messages))
	}
	info, _ := sqsx.InfoOf(out.ResultMetadata, aws.ToString(out.Messages[0].MessageId))
	return out.Messages[0], info
}

// sealContent puts content onto a queue, as some other writer may have written
// it.
func (w *world) sealContent(queue string, plaintext []byte, ec envelope.EncryptionContext, wire attributes) {
	w.t.Helper()
	full := envelope.EncryptionContext{"sealq:queue": arnOf(queue), "sealq:content": "1"}
	maps.Copy(full, ec)
	m, err := envelope.Seal(w.t.Context(), mustKeyring(w.t, w), plaintext, full)
	if err != nil {
		w.t.Fatal(err)
	}
	all := attributes{"sealq": binaryAttribute(m.Header...)}
	maps.Copy(all, wire)
	url := w.url(queue)
	sendWith(w.t, w.plain, url, base64.StdEncoding.EncodeToString(m.Body), all)
}

func (w *world) url(queue string) string {
	w.t.Helper()
	out, err := w.plain.GetQueueUrl(w.t.Context(), &sqs.GetQueueUrlInput{QueueName: &queue})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.QueueUrl
}

func encode(t testing.TB, c content.Content, compress bool) []byte {
	t.Helper()
	var z content.Compressor
	if c.Time.IsZero() {
		c.Time = time.Now()
	}
	b, err := z.Encode(c, compress)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// order has attributes of each type, one that others read, and those of
// tracers, set by the caller.
func order() attributes {
	return attributes{
		"tenant":      stringAttribute("the secret tenant"),
		"amount":      numberAttribute("01.50"),
		"signature":   binaryAttribute(0, 255, 128),
		"kind":        stringAttribute("order"),
		"route.to":    stringAttribute("east"),
		"traceparent": stringAttribute("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
		"X-B3-Flags":  stringAttribute("1"),
		"baggage":     stringAttribute("user=the secret user"),
	}
}

// Attributes travel inside, names included, other than those that the policy
// and tracers need in clear. A consumer of any policy gets all of them as they
// were written, with digests of that.
func TestSealedAttributes(t *testing.T) {
	t.Parallel()
	for name, carrier := range map[string]bool{"attribute": false, "body": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders")
			producer := w.client(withPolicy(sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"kind", "route.*"}, BodyCarrier: carrier}))
			before := time.Now().Truncate(time.Millisecond)
			written := order()
			sent := sendWith(t, producer, url, "the secret body", written)
			after := time.Now()
			if diff := cmp.Diff(order(), written, ignoreNoSmithy); diff != "" {
				t.Errorf("the caller's attributes were changed: %s", diff)
			}

			stored := w.server.Stored(url)[0]
			want := []string{"X-B3-Flags", "kind", "route.to", "traceparent"}
			if !carrier {
				want = append(want, "sealq")
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(stored.MessageAttributes))); diff != "" {
				t.Errorf("on the wire: %s", diff)
			}
			if text := fmt.Sprint(aws.ToString(stored.Body), stored.MessageAttributes); strings.Contains(text, "secret") || strings.Contains(text, "tenant") {
				t.Errorf("what is sealed is on the wire: %s", text)
			}

			for name, policy := range map[string]sqsx.Policy{"zero": {}, "same": {SealAttributes: true, MaxAge: time.Hour}, "no digests": {NoDigests: true}} {
				got, info := receiveOne(t, w.client(withPolicy(policy)), url, "All")
				if aws.ToString(got.Body) != "the secret body" {
					t.Errorf("%s: got body %q", name, aws.ToString(got.Body))
				}
				if diff := cmp.Diff(order(), got.MessageAttributes, ignoreNoSmithy); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
				if diff := cmp.Diff([]string{"amount", "baggage", "kind", "route.to", "signature", "tenant"}, info.AuthenticatedAttributes); diff != "" {
					t.Errorf("%s: authenticated: %s", name, diff)
				}
				if info.SealedAt.Before(before) || info.SealedAt.After(after) || info.SealedAt.Location() != time.UTC {
					t.Errorf("%s: sealed at %v, want from %v to %v in UTC", name, info.SealedAt, before, after)
				}
				if info.EncryptionContext["sealq:content"] != "1" {
					t.Errorf("%s: got context %v", name, info.EncryptionContext)
				}
				if policy.NoDigests {
					if got.MD5OfBody != nil || got.MD5OfMessageAttributes != nil {
						t.Errorf("%s: got digests", name)
					}
				} else if aws.ToString(got.MD5OfBody) != md5Hex("the secret body") || aws.ToString(got.MD5OfMessageAttributes) != aws.ToString(sent.MD5OfMessageAttributes) {
					t.Errorf("%s: digests are not of what is delivered", name)
				}
				if _, err := w.plain.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: got.ReceiptHandle}); err != nil {
					t.Fatal(err)
				}
			}

			// The digests of a send are those of the same message without sealing.
			plainly := sendWith(t, w.plain, w.queue("twin"), "the secret body", order())
			if got, want := aws.ToString(sent.MD5OfMessageAttributes), aws.ToString(plainly.MD5OfMessageAttributes); got != want {
				t.Errorf("MD5OfMessageAttributes of the send is %s, want %s", got, want)
			}
		})
	}
}

// TestSealedAttributesOfInvalidCalls: a call that the SDK itself refuses shows
// sealed attributes, those of the other entries included, neither to
// middlewares inside the Sealer nor in its error.
func TestSealedAttributesOfInvalidCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	seen := 0
	spy := func(o *sqs.Options) {
		o.APIOptions = append(o.APIOptions, func(s *smithymiddleware.Stack) error {
			return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("spy", func(
				ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
			) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
				seen++
				switch p := in.Parameters.(type) {
				case *sqs.SendMessageInput:
					if p.MessageAttributes != nil {
						t.Errorf("a middleware inside saw %d attributes", len(p.MessageAttributes))
					}
				case *sqs.SendMessageBatchInput:
					for _, e := range p.Entries {
						if e.MessageAttributes != nil {
							t.Errorf("a middleware inside saw %d attributes of an entry", len(e.MessageAttributes))
						}
					}
				}
				return next.HandleInitialize(ctx, in)
			}), smithymiddleware.Before)
		})
	}
	client := sqs.NewFromConfig(w.cfg, spy, w.sealer(withPolicy(sqsx.Policy{SealAttributes: true})).Install)
	typed, untyped := attributes{"patient": stringAttribute("secret")}, attributes{"patient": {StringValue: aws.String("secret")}}
	calls := 0
	for name, a := range map[string]attributes{"typed": typed, "untyped": untyped} {
		healthy := types.SendMessageBatchRequestEntry{Id: aws.String("a"), MessageBody: aws.String("body"), MessageAttributes: a}
		for _, call := range []func() error{
			func() error {
				_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageAttributes: a})
				return err
			},
			func() error {
				_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{MessageBody: aws.String("body"), MessageAttributes: a})
				return err
			},
			func() error {
				_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{healthy, {Id: aws.String("b"), MessageAttributes: a}}})
				return err
			},
			func() error {
				_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{healthy, {MessageBody: aws.String("body")}}})
				return err
			},
			func() error {
				_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{Entries: []types.SendMessageBatchRequestEntry{healthy}})
				return err
			},
		} {
			calls++
			err := call()
			if _, ok := errors.AsType[smithy.InvalidParamsError](err); !ok || strings.Contains(err.Error(), "patient") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v, want the SDK's error without the attribute", name, err)
			}
		}
	}
	if seen != calls {
		t.Errorf("the middleware inside saw %d calls, want %d", seen, calls)
	}
}

// Sealed attributes are delivered to a receive that asks for them, in each form
// that SQS knows: the same queue without sealing is the rule.
func TestSealedAttributesByName(t *testing.T) {
	t.Parallel()
	all := attributes{"a": stringAttribute("1"), "a.b": stringAttribute("2"), "a.b.c": numberAttribute("3"), "ab": binaryAttribute(4), "b": stringAttribute("5")}
	for _, policy := range []sqsx.Policy{{SealAttributes: true}, {SealAttributes: true, ClearAttributes: []string{"a.*"}}, {Compress: true}, {SealAttributes: true, ClearAttributes: []string{"*"}, AuthenticateAttributes: []string{"b", "ab"}}} {
		for _, names := range [][]string{
			nil, {"All"}, {".*"}, {"*"}, {"a"}, {"a", "b"}, {"a.*"}, {"a.b.*"}, {"b.*"}, {"unknown"}, {"unknown.*"}, {"a", "a.*", "unknown"}, {"sealq"}, {"A"},
		} {
			t.Run(fmt.Sprint(policy.ClearAttributes, policy.Compress, names), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				sealed, twin := w.queue("orders"), w.queue("twin")
				client := w.client(withPolicy(policy))
				sendWith(t, client, sealed, "body", all)
				sendWith(t, w.plain, twin, "body", all)
				got, _ := receiveOne(t, client, sealed, names...)
				want, _ := receiveOne(t, w.plain, twin, names...)
				if diff := cmp.Diff(want.MessageAttributes, got.MessageAttributes, ignoreNoSmithy, cmpopts.EquateEmpty()); diff != "" {
					t.Error(diff)
				}
				if got, want := aws.ToString(got.MD5OfMessageAttributes), aws.ToString(want.MD5OfMessageAttributes); got != want {
					t.Errorf("MD5OfMessageAttributes is %q, want %q", got, want)
				}
			})
		}
	}
}

// Content is written where a policy asks for something of it, and nowhere else.
func TestContentByPolicyOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		want   string
	}{
		"zero":         {sqsx.Policy{}, ""},
		"clear only":   {sqsx.Policy{ClearAttributes: []string{"x"}}, ""},
		"undated only": {sqsx.Policy{AcceptUndated: true}, ""},
		"seal":         {sqsx.Policy{SealAttributes: true}, "1"},
		"authenticate": {sqsx.Policy{AuthenticateAttributes: []string{"x"}}, "1"},
		"compress":     {sqsx.Policy{Compress: true}, "1"},
		"age":          {sqsx.Policy{MaxAge: time.Hour}, "1"},
	} {
		sealer := w.sealer(withPolicy(tc.policy))
		out, err := sealer.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("body"), MessageAttributes: attributes{"x": stringAttribute("1")}})
		if err != nil {
			t.Fatal(err)
		}
		h, err := envelope.ParseHeader(out.MessageAttributes["sealq"].BinaryValue)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.EncryptionContext["sealq:content"]; got != tc.want {
			t.Errorf("%s: sealq:content is %q, want %q", name, got, tc.want)
		}
		opened, withheld := w.sealer().OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: out.MessageBody, MessageAttributes: out.MessageAttributes}})
		if len(opened) != 1 || aws.ToString(opened[0].Body) != "body" || len(opened[0].MessageAttributes) != 1 {
			t.Errorf("%s: got %v, %v, want the message", name, opened, withheld)
			continue
		}
		if got := opened[0].Info.SealedAt.IsZero(); got != (tc.want == "") {
			t.Errorf("%s: sealed at %v", name, opened[0].Info.SealedAt)
		}
	}
	// NoSeal is the way back, whatever else is set.
	out, err := w.sealer(withPolicy(sqsx.Policy{NoSeal: true, SealAttributes: true, Compress: true, MaxAge: time.Hour})).
		SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("body"), MessageAttributes: order()})
	if err != nil || aws.ToString(out.MessageBody) != "body" || !cmp.Equal(out.MessageAttributes, order(), ignoreNoSmithy) {
		t.Errorf("NoSeal: got %v, %v, want the message as it was written", out, err)
	}
}

// One pair in the context, the same for all messages: one data key.
func TestContentTakesOneDataKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	client := w.client(withPolicy(sqsx.Policy{SealAttributes: true, Compress: true}))
	for _, body := range []string{"short", strings.Repeat("long ", 1000), "again"} {
		sendWith(t, client, url, body, nil)
		sendWith(t, client, url, body, order())
	}
	if n := w.count("kms:GenerateDataKey"); n != 1 {
		t.Errorf("got %d data keys, want 1", n)
	}
	for range 6 {
		receiveOne(t, client, url)
	}
	if n := w.count("kms:Decrypt"); n > 2 { // one of them is the question before the first receive
		t.Errorf("got %d calls of Decrypt, want at most 2", n)
	}
}

// Who may send to the queue, and has no key, sends the bytes of a sealed
// message with other attributes on the wire.
func TestAttributesOfOthers(t *testing.T) {
	t.Parallel()
	sealing := sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"kind", "region"}}
	listing := sqsx.Policy{AuthenticateAttributes: []string{"kind", "region"}}
	compressing := sqsx.Policy{Compress: true}
	both := sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"kind"}, AuthenticateAttributes: []string{"tenant"}}
	sent := attributes{"kind": stringAttribute("order"), "tenant": stringAttribute("acme"), "traceparent": stringAttribute("00-1")}
	set := func(name string, v types.MessageAttributeValue) func(attributes) {
		return func(a attributes) { a[name] = v }
	}
	remove := func(name string) func(attributes) { return func(a attributes) { delete(a, name) } }
	for name, tc := range map[string]struct {
		producer, consumer sqsx.Policy
		alter              func(attributes)
		want               func(attributes) // what becomes of sent
		err                error
	}{
		"added, all inside":                        {sealing, sqsx.Policy{}, set("admin", stringAttribute("true")), nil, nil},
		"added, not all inside":                    {compressing, sqsx.Policy{}, set("admin", stringAttribute("true")), set("admin", stringAttribute("true")), nil},
		"added, and listed":                        {compressing, listing, set("region", stringAttribute("eu")), nil, nil},
		"added, all inside, and listed":            {sealing, listing, set("region", stringAttribute("eu")), nil, nil},
		"a tracer's added":                         {sealing, sqsx.Policy{}, set("_datadog", stringAttribute("{}")), set("_datadog", stringAttribute("{}")), nil},
		"a tracer's changed":                       {sealing, listing, set("traceparent", stringAttribute("00-2")), set("traceparent", stringAttribute("00-2")), nil},
		"a tracer's, in other letters":             {sealing, sqsx.Policy{}, set("x-b3-traceid", stringAttribute("1")), set("x-b3-traceid", stringAttribute("1")), nil},
		"like a tracer's":                          {sealing, sqsx.Policy{}, set("traceparent2", stringAttribute("1")), nil, nil},
		"baggage is nobody's":                      {sealing, sqsx.Policy{}, set("baggage", stringAttribute("1")), nil, nil},
		"clear one changed":                        {sealing, sqsx.Policy{}, set("kind", stringAttribute("refund")), nil, nil},
		"clear one removed":                        {sealing, sqsx.Policy{}, remove("kind"), nil, nil},
		"clear one changed, not all inside":        {compressing, sqsx.Policy{}, set("kind", stringAttribute("refund")), nil, nil},
		"sealed one put on the wire":               {sealing, sqsx.Policy{}, set("tenant", stringAttribute("evil")), nil, nil},
		"listed, as sent":                          {sealing, listing, func(attributes) {}, nil, nil},
		"listed, changed":                          {sealing, listing, set("kind", stringAttribute("refund")), nil, sqsx.ErrAuthentication},
		"listed, of another type":                  {sealing, listing, set("kind", types.MessageAttributeValue{DataType: aws.String("String.x"), StringValue: aws.String("order")}), nil, sqsx.ErrAuthentication},
		"listed, as bytes":                         {sealing, listing, set("kind", binaryAttribute([]byte("order")...)), nil, sqsx.ErrAuthentication},
		"listed, removed":                          {sealing, listing, remove("kind"), nil, sqsx.ErrAuthentication},
		"listed, changed, not all inside":          {compressing, listing, set("kind", stringAttribute("refund")), nil, sqsx.ErrAuthentication},
		"listed, sealed, and put on the wire":      {sealing, sqsx.Policy{AuthenticateAttributes: []string{"tenant"}}, set("tenant", stringAttribute("evil")), nil, sqsx.ErrAuthentication},
		"listed, sealed, and not on the wire":      {sealing, sqsx.Policy{AuthenticateAttributes: []string{"tenant"}}, func(attributes) {}, nil, nil},
		"listed and sealed, as sent":               {both, both, func(attributes) {}, nil, nil},
		"listed and sealed, put on the wire":       {both, both, set("tenant", stringAttribute("evil")), nil, sqsx.ErrAuthentication},
		"listed and sealed, a body-only message":   {sqsx.Policy{}, both, set("tenant", stringAttribute("evil")), remove("tenant"), nil},
		"sealed, a body-only message":              {sqsx.Policy{}, sealing, set("tenant", stringAttribute("evil")), set("tenant", stringAttribute("evil")), nil},
		"listed, and the body alone is sealed":     {sqsx.Policy{}, listing, func(attributes) {}, remove("kind"), nil},
		"added, and the body alone is sealed":      {sqsx.Policy{}, sqsx.Policy{}, set("admin", stringAttribute("true")), set("admin", stringAttribute("true")), nil},
		"many added, all inside":                   {sealing, sqsx.Policy{}, func(a attributes) { a["1"], a["2"] = stringAttribute("1"), stringAttribute("2") }, nil, nil},
		"the consumer's SealAttributes is no rule": {compressing, sealing, func(attributes) {}, nil, nil},
	} {
		for carrier, body := range map[string]bool{"attribute": false, "body": true} {
			t.Run(name+", "+carrier+" carrier", func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				url := w.queue("orders")
				producer := tc.producer
				producer.BodyCarrier = body
				sealed, err := w.sealer(withPolicy(producer)).SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: sent})
				if err != nil {
					t.Fatal(err)
				}
				tc.alter(sealed.MessageAttributes)
				if _, err := w.plain.SendMessage(t.Context(), sealed); err != nil {
					t.Fatal(err)
				}
				want := maps.Clone(sent)
				if tc.want != nil {
					tc.want(want)
				}

				// A receive asks SQS itself for what has to be authentic: the
				// outcome is the same whatever its caller asks for.
				client := w.client(withPolicy(tc.consumer))
				for _, names := range [][]string{{"All"}, {"kind", "tenant"}, nil} {
					out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MessageAttributeNames: names, VisibilityTimeout: 1})
					if tc.err != nil {
						if !errors.Is(err, tc.err) {
							t.Fatalf("asked for %v: got %v, %v, want %v", names, out, err, tc.err)
						}
						if strings.Contains(err.Error(), "refund") || strings.Contains(err.Error(), "evil") {
							t.Errorf("the error quotes a value: %v", err)
						}
					} else {
						if err != nil || len(out.Messages) != 1 {
							t.Fatalf("asked for %v: got %v, %v, want the message", names, out, err)
						}
						expect := maps.Clone(want)
						maps.DeleteFunc(expect, func(name string, _ types.MessageAttributeValue) bool {
							return !slices.Contains(names, name) && !slices.Contains(names, "All")
						})
						if diff := cmp.Diff(expect, out.Messages[0].MessageAttributes, ignoreNoSmithy, cmpopts.EquateEmpty()); diff != "" {
							t.Errorf("asked for %v: %s", names, diff)
						}
						if _, err := w.plain.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
							t.Fatal(err)
						}
						continue
					}
					re, _ := errors.AsType[*sqsx.ReceiveError](err)
					if _, err := w.plain.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: re.Withheld[0].Message.ReceiptHandle}); err != nil {
						t.Fatal(err)
					}
				}

				// OpenMessages sees what its caller has.
				stored := w.server.Stored(url)[0]
				opened, withheld := w.sealer(withPolicy(tc.consumer)).OpenMessages(t.Context(), arnOf("orders"), []types.Message{stored})
				switch {
				case tc.err != nil:
					if len(withheld) != 1 || !errors.Is(withheld[0], tc.err) || withheld[0].Temporary {
						t.Errorf("OpenMessages: got %v, %v, want %v", opened, withheld, tc.err)
					}
				case len(opened) != 1:
					t.Errorf("OpenMessages: got %v, want the message", withheld)
				default:
					if diff := cmp.Diff(want, opened[0].MessageAttributes, ignoreNoSmithy); diff != "" {
						t.Errorf("OpenMessages: %s", diff)
					}
					for _, forged := range []string{"admin", "_datadog", "traceparent"} {
						if slices.Contains(opened[0].Info.AuthenticatedAttributes, forged) {
							t.Errorf("%s is called authentic", forged)
						}
					}
				}
			})
		}
	}
}

// TestGuardsOfAuthenticatedAttributes: a middleware inside the Sealer that
// changes a listed attribute, or keeps a receive from asking for it, fails the
// call. Otherwise messages would fail that nobody has forged.
func TestGuardsOfAuthenticatedAttributes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	inside := func(edit func(any)) func(*sqs.Options) {
		return func(o *sqs.Options) {
			o.APIOptions = append(o.APIOptions, func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("inside", func(
					ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
				) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
					edit(in.Parameters)
					return next.HandleInitialize(ctx, in)
				}), smithymiddleware.Before)
			})
		}
	}
	s := w.sealer(withPolicy(sqsx.Policy{AuthenticateAttributes: []string{"kind"}}))
	normalises := sqs.NewFromConfig(w.cfg, inside(func(input any) {
		input.(*sqs.SendMessageInput).MessageAttributes["kind"] = stringAttribute("normalised")
	}), s.Install)
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: attributes{"kind": stringAttribute("order")}}
	if _, err := normalises.SendMessage(t.Context(), in); !errors.Is(err, sqsx.ErrBypassed) {
		t.Errorf("send: got %v, want ErrBypassed", err)
	}
	if got := len(w.server.Stored(url)); got != 0 {
		t.Errorf("got %d messages, want none", got)
	}
	client := sqs.NewFromConfig(w.cfg, s.Install)
	if _, err := client.SendMessage(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	narrows := sqs.NewFromConfig(w.cfg, inside(func(input any) {
		input.(*sqs.ReceiveMessageInput).MessageAttributeNames = []string{"sealq", "traceparent"}
	}), s.Install)
	if _, err := narrows.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MessageAttributeNames: []string{"kind"}}); !errors.Is(err, sqsx.ErrBypassed) {
		t.Errorf("receive: got %v, want ErrBypassed", err)
	}
	got, info := receiveOne(t, client, url, "kind") // it was not received before
	if info.Receives != 1 || aws.ToString(got.MessageAttributes["kind"].StringValue) != "order" {
		t.Errorf("got %d receives and %v, want the first with the attribute", info.Receives, got.MessageAttributes)
	}
}

// TestCallerChangesAttributesMeanwhile: the caller changes values of attributes
// while a send waits for its data key. The message is the one that the call
// began with: what is sealed is what travels.
func TestCallerChangesAttributesMeanwhile(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]sqsx.Policy{
		"authenticated":    {AuthenticateAttributes: []string{"kind", "bytes"}},
		"sealed, in clear": {SealAttributes: true, ClearAttributes: []string{"*"}, AuthenticateAttributes: []string{"kind", "bytes"}},
		"sealed":           {SealAttributes: true},
		"neither":          {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, batch := range []bool{false, true} {
				w := newWorld(t)
				url := w.queue("orders")
				want := func() attributes {
					return attributes{"kind": stringAttribute("order"), "bytes": binaryAttribute(1, 2, 3)}
				}
				a := want()
				w.server.Intercept(func(r *sqsxtest.Request) error {
					if r.Action == "kms:GenerateDataKey" {
						*a["kind"].StringValue = "refund"
						a["bytes"].BinaryValue[0] = 9
					}
					return nil
				})
				client := w.client(withPolicy(policy))
				var digest *string
				if batch {
					out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("a"), MessageBody: aws.String("body"), MessageAttributes: a}}})
					if err != nil {
						t.Fatal(err)
					}
					digest = out.Successful[0].MD5OfMessageAttributes
				} else {
					digest = sendWith(t, client, url, "body", a).MD5OfMessageAttributes
				}
				got, _ := receiveOne(t, client, url, "All")
				if diff := cmp.Diff(want(), got.MessageAttributes, ignoreNoSmithy); diff != "" {
					t.Errorf("batch %t: %s", batch, diff)
				}
				if aws.ToString(digest) != aws.ToString(got.MD5OfMessageAttributes) {
					t.Errorf("batch %t: got digest %s of the send, want that of what was sent", batch, aws.ToString(digest))
				}
			}
		})
	}
}

// A Number changes on its way through SQS, so that it cannot be demanded as it
// was sent.
func TestAuthenticatedNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	policy := sqsx.Policy{AuthenticateAttributes: []string{"amount"}}
	out, err := w.client(withPolicy(policy)).SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("number"), MessageBody: aws.String("1"), MessageAttributes: attributes{"amount": numberAttribute("1.50")}},
		{Id: aws.String("text"), MessageBody: aws.String("2"), MessageAttributes: attributes{"amount": stringAttribute("1.50")}},
	}})
	if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || aws.ToString(out.Failed[0].Code) != "InvalidParameterValue" || !strings.Contains(aws.ToString(out.Failed[0].Message), `"amount" is a Number`) {
		t.Fatalf("got %+v, %v, want the Number refused", out, err)
	}
	receiveOne(t, w.client(withPolicy(policy)), url)

	// From a producer whose policy does not list it.
	sealed, err := w.sealer(withPolicy(sqsx.Policy{Compress: true})).SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("3"), MessageAttributes: attributes{"amount": numberAttribute("1.50")}})
	if err != nil {
		t.Fatal(err)
	}
	sealed.MessageAttributes["amount"] = numberAttribute("1.5") // as SQS writes it
	if _, err := w.plain.SendMessage(t.Context(), sealed); err != nil {
		t.Fatal(err)
	}
	_, err = receive(t.Context(), w.client(withPolicy(policy)), url)
	if !errors.Is(err, sqsx.ErrAuthentication) || !strings.Contains(err.Error(), "send a String") {
		t.Errorf("got %v, want an error that says what to send", err)
	}
	// One that is sealed does not change on the way, listed or not.
	both := sqsx.Policy{SealAttributes: true, AuthenticateAttributes: []string{"amount"}}
	sendWith(t, w.client(withPolicy(both)), w.queue("sealed"), "5", attributes{"amount": numberAttribute("01.50")})
	m, _ := receiveOne(t, w.client(withPolicy(both)), w.url("sealed"), "All")
	if v := aws.ToString(m.MessageAttributes["amount"].StringValue); v != "01.50" {
		t.Errorf("sealed and listed: got %s, want 01.50", v)
	}
	// Where it is not listed, it comes as it was written.
	sendWith(t, w.client(withPolicy(sqsx.Policy{SealAttributes: true})), w.queue("twin"), "4", attributes{"amount": numberAttribute("01.50")})
	got, _ := receiveOne(t, w.client(), w.url("twin"), "All")
	if v := aws.ToString(got.MessageAttributes["amount"].StringValue); v != "01.50" {
		t.Errorf("got %s, want 01.50", v)
	}
}

func numbered(n int) attributes {
	a := attributes{}
	for i := range n {
		a[fmt.Sprintf("a%02d", i)] = stringAttribute("v")
	}
	return a
}

// SQS takes ten attributes of a message. So does a queue where they are sealed.
func TestTenAttributes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		n      int
		wire   int // attributes of the message on the wire
	}{
		"10 sealed":                   {sqsx.Policy{SealAttributes: true}, 10, 1},
		"8 in clear":                  {sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"a0*"}}, 8, 9},
		"9 in clear: body carrier":    {sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"a0*"}}, 9, 9},
		"10 in clear: body carrier":   {sqsx.Policy{Compress: true}, 10, 10},
		"10 sealed, body carrier":     {sqsx.Policy{SealAttributes: true, BodyCarrier: true}, 10, 0},
		"10 in clear, authenticated":  {sqsx.Policy{AuthenticateAttributes: slices.Sorted(maps.Keys(numbered(10)))}, 10, 10},
		"11 sealed":                   {sqsx.Policy{SealAttributes: true}, 11, -1},
		"11 sealed, body carrier":     {sqsx.Policy{SealAttributes: true, BodyCarrier: true}, 11, -1},
		"11, one of them in clear":    {sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"a00"}}, 11, -1},
		"11 in clear":                 {sqsx.Policy{Compress: true}, 11, -1},
		"11 where the body is sealed": {sqsx.Policy{}, 11, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders")
			client := w.client(withPolicy(tc.policy))
			_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: numbered(tc.n)})
			if tc.wire < 0 {
				if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "InvalidParameterValue" || w.count("sqs:SendMessage") != 0 {
					t.Errorf("got %v, want InvalidParameterValue, and no request", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := len(w.server.Stored(url)[0].MessageAttributes); got != tc.wire {
				t.Errorf("got %d attributes on the wire, want %d", got, tc.wire)
			}
			got, _ := receiveOne(t, client, url, "All")
			if diff := cmp.Diff(numbered(tc.n), got.MessageAttributes, ignoreNoSmithy); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTenAttributesWhateverIsAdded: who has no key replays a message with other
// attributes on the wire. A consumer gets those that are inside, and never more
// in all than SQS takes, so that it can send on what it received.
func TestTenAttributesWhateverIsAdded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		n      int    // of the sender's attributes
		added  string // the beginning of nine names
		want   int    // of the added ones
	}{
		"all inside, tracers'":            {sqsx.Policy{SealAttributes: true}, 10, "X-B3-", 0},
		"all inside, room for some":       {sqsx.Policy{SealAttributes: true}, 8, "X-B3-", 2},
		"all inside, room for all":        {sqsx.Policy{SealAttributes: true}, 1, "X-B3-", 9},
		"all inside, others":              {sqsx.Policy{SealAttributes: true}, 1, "other-", 0},
		"not all inside":                  {sqsx.Policy{Compress: true}, 10, "other-", 0},
		"not all inside, room for some":   {sqsx.Policy{Compress: true}, 7, "other-", 3},
		"authenticated, sealed, for some": {sqsx.Policy{SealAttributes: true, AuthenticateAttributes: []string{"a00"}}, 9, "X-B3-", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url, next := w.queue("orders"), w.queue("next")
			client := w.client(withPolicy(tc.policy))
			sendWith(t, client, url, "body", numbered(tc.n))
			seen := w.server.Stored(url)[0]
			receiveOne(t, client, url)
			replayed := attributes{}
			if header, ok := seen.MessageAttributes["sealq"]; ok {
				replayed["sealq"] = header
			}
			want := numbered(tc.n)
			for i := range 9 {
				name := fmt.Sprint(tc.added, i)
				replayed[name] = stringAttribute("added")
				if i < tc.want {
					want[name] = stringAttribute("added")
				}
			}
			sendWith(t, w.plain, url, *seen.Body, replayed)
			got, _ := receiveOne(t, client, url, "All")
			if diff := cmp.Diff(want, got.MessageAttributes, ignoreNoSmithy); diff != "" {
				t.Error(diff)
			}
			sendWith(t, client, next, *got.Body, got.MessageAttributes)
		})
	}
}

// What SQS refuses of attributes it refuses sealed as well: by the same code,
// on the same server.
func TestInvalidSealedAttributes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	client := w.client(withPolicy(sqsx.Policy{SealAttributes: true}))
	typed := func(dataType, value string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: &dataType, StringValue: &value}
	}
	long := strings.Repeat("n", 256)
	refused := 0
	for name, a := range map[string]attributes{
		"good":                          {"a.b-c_1": stringAttribute("v"), "ünlaut": numberAttribute("-1e10"), "b": binaryAttribute(0)},
		"label":                         {"a": typed("Number.int", "1"), "b": typed("String.é", "1")},
		"longest name":                  {long: stringAttribute("v")},
		"name too long":                 {long + "n": stringAttribute("v")},
		"name empty":                    {"": stringAttribute("v")},
		"name of AWS":                   {"AWS.x": stringAttribute("v")},
		"name of Amazon, in lower":      {"amazon.x": stringAttribute("v")},
		"name starts with a period":     {".a": stringAttribute("v")},
		"name ends with a period":       {"a.": stringAttribute("v")},
		"name with two periods":         {"a..b": stringAttribute("v")},
		"name with a space":             {"a b": stringAttribute("v")},
		"name with a slash":             {"a/b": stringAttribute("v")},
		"type empty":                    {"a": typed("", "v")},
		"another type":                  {"a": typed("Boolean", "true")},
		"type like String":              {"a": typed("Strings", "true")},
		"type in lower case":            {"a": typed("string", "v")},
		"longest type":                  {"a": typed("String."+long[7:], "v")},
		"type too long":                 {"a": typed("String."+long[6:], "v")},
		"type with a control character": {"a": typed("String.\x01", "v")},
		"text empty":                    {"a": stringAttribute("")},
		"no text":                       {"a": {DataType: aws.String("String")}},
		"bytes for text":                {"a": {DataType: aws.String("String"), BinaryValue: []byte("v")}},
		"text and bytes":                {"a": {DataType: aws.String("String"), StringValue: aws.String("v"), BinaryValue: []byte("v")}},
		"no bytes":                      {"a": {DataType: aws.String("Binary")}},
		"bytes empty":                   {"a": {DataType: aws.String("Binary"), BinaryValue: []byte{}}},
		"text for bytes":                {"a": {DataType: aws.String("Binary"), StringValue: aws.String("v")}},
		"control character":             {"a": stringAttribute("a\x00b")},
		"tab and line feed":             {"a": stringAttribute("a\tb\nc\r")},
		"U+FFFE":                        {"a": stringAttribute("\ufffe")},
		"U+FFFD":                        {"a": stringAttribute("\ufffd")},
		"beyond the BMP":                {"a": stringAttribute("🔑")},
		"number":                        {"a": numberAttribute("0.5")},
		"no number":                     {"a": numberAttribute("five")},
		"hexadecimal":                   {"a": numberAttribute("0x10")},
		"infinity":                      {"a": numberAttribute("Inf")},
		"38 digits":                     {"a": numberAttribute(strings.Repeat("9", 38))},
		"39 digits":                     {"a": numberAttribute(strings.Repeat("9", 39))},
		"number too large":              {"a": numberAttribute("1e127")},
		"number too small":              {"a": numberAttribute("-2e128")},
		"list":                          {"a": {DataType: aws.String("String"), StringValue: aws.String("v"), StringListValues: []string{"v"}}},
		"second of two":                 {"a": stringAttribute("v"), "b": numberAttribute("v")},
	} {
		in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: a}
		code := func(err error) string {
			if err == nil {
				return ""
			}
			api, ok := errors.AsType[smithy.APIError](err)
			if !ok {
				return err.Error()
			}
			return api.ErrorCode()
		}
		_, plainly := w.plain.SendMessage(t.Context(), in)
		_, sealed := client.SendMessage(t.Context(), in)
		if code(plainly) != code(sealed) {
			t.Errorf("%s: got %v, want as without sealing, %v", name, sealed, plainly)
		}
		if sealed != nil {
			refused++
		}
	}
	if refused < 20 {
		t.Errorf("%d refused, want most", refused)
	}
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: attributes{"sealq": stringAttribute("v")}}); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Errorf("got %v, want the name refused", err)
	}
	// A name is sealed, and in no error.
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageAttributes: attributes{"secretname": numberAttribute("secretvalue")}})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want an error without what is sealed", err)
	}
}

func randomText(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.N(256))
	}
	return base64.RawStdEncoding.EncodeToString(b)[:n]
}

// A body is compressed where that makes the message smaller. What SQS would not
// take as it was written is not sent: the way back stays open.
func TestCompress(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	zeros := func(n int) string { return strings.Repeat("0", n) }
	for name, tc := range map[string]struct {
		bodies  []string
		max     int
		wire    int // at most, the first message
		refused bool
	}{
		"short":                             {[]string{"short"}, 0, 600, false},
		"long":                              {[]string{zeros(100_000)}, 0, 900, false},
		"random":                            {[]string{randomText(3000)}, 0, 5000, false},
		"1 MiB":                             {[]string{zeros(mib)}, 0, 3000, false},
		"1 MiB and a byte":                  {[]string{zeros(mib + 1)}, 0, 0, true},
		"queue of 2 KiB":                    {[]string{zeros(2048)}, 2048, 2048, false},
		"queue of 2 KiB and a byte":         {[]string{zeros(2049)}, 2048, 0, true},
		"batch of 1 MiB":                    {[]string{zeros(mib / 2), zeros(mib / 2)}, 0, 3000, false},
		"batch of 1 MiB and a byte":         {[]string{zeros(mib / 2), zeros(mib/2 + 1)}, 0, 0, true},
		"900 KiB, too large if only sealed": {[]string{zeros(900 << 10)}, 0, 3000, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders")
			client := w.client(withPolicy(sqsx.Policy{Compress: true, MaxMessageBytes: tc.max}))
			in := &sqs.SendMessageBatchInput{QueueUrl: &url}
			for i, body := range tc.bodies {
				in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: &body})
			}
			_, err := client.SendMessageBatch(t.Context(), in)
			if tc.refused {
				if len(tc.bodies) == 1 {
					_, err = client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &tc.bodies[0]})
				}
				if _, ok := errors.AsType[*sqsx.TooLargeError](err); !ok || w.count("sqs:SendMessageBatch")+w.count("sqs:SendMessage") != 0 {
					t.Errorf("got %v, want a *TooLargeError, and no request", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			stored := w.server.Stored(url)
			if got := len(aws.ToString(stored[0].Body)) + len(stored[0].MessageAttributes["sealq"].BinaryValue); got > tc.wire {
				t.Errorf("got %d bytes on the wire, want at most %d", got, tc.wire)
			}
			for _, want := range tc.bodies {
				if got, _ := receiveOne(t, w.client(), url); aws.ToString(got.Body) != want {
					t.Errorf("got a body of %d bytes, want %d", len(aws.ToString(got.Body)), len(want))
				}
			}
		})
	}
}

// What a reader must not deliver, sealed by somebody who has the key.
func TestContentRefused(t *testing.T) {
	t.Parallel()
	good := encode(t, content.Content{Body: "body", Sealed: []content.Attribute{{Name: "a", Type: "String", Value: "v"}}}, false)
	bomb := encode(t, content.Content{Body: strings.Repeat("x", 1<<20)}, true)
	bomb[17+3]++ // a byte more than 1 MiB is declared
	for name, tc := range map[string]struct {
		plaintext []byte
		ec        envelope.EncryptionContext
		want      error
		text      string
	}{
		"next version":   {good, envelope.EncryptionContext{"sealq:content": "2"}, sqsx.ErrUnsupported, "sealq:content"},
		"no number":      {good, envelope.EncryptionContext{"sealq:content": "one"}, sqsx.ErrUnsupported, "sealq:content"},
		"other letters":  {good, envelope.EncryptionContext{"Sealq:Content": "1"}, sqsx.ErrUnsupported, "Sealq:Content"},
		"unknown flag":   {append([]byte{4}, good[1:]...), nil, sqsx.ErrUnsupported, "flags"},
		"a body alone":   {[]byte("a body"), nil, sqsx.ErrInvalidMessage, "sealed content"},
		"nothing":        {nil, nil, sqsx.ErrMalformed, "sealed content"},
		"above 1 MiB":    {bomb, nil, sqsx.ErrMalformed, "sealed content"},
		"cut attributes": {good[:20], nil, sqsx.ErrMalformed, "sealed content"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders")
			w.sealContent("orders", tc.plaintext, tc.ec, nil)
			_, err := receive(t.Context(), w.client(), url)
			if !errors.Is(err, tc.want) || !errors.Is(err, sqsx.ErrInvalidMessage) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, want %v about %q", err, tc.want, tc.text)
			}
			if len(w.server.Stored(url)) != 1 {
				t.Error("the message is gone")
			}
		})
	}
}

// Messages are of any age without MaxAge, and with it of one that their sealed
// time tells.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy  sqsx.Policy
		age     time.Duration
		undated bool
		want    error
	}{
		"no limit":                  {sqsx.Policy{}, 1000 * time.Hour, false, nil},
		"no limit, in the future":   {sqsx.Policy{}, -1000 * time.Hour, false, nil},
		"just young enough":         {sqsx.Policy{MaxAge: time.Hour}, time.Hour, false, nil},
		"just too old":              {sqsx.Policy{MaxAge: time.Hour}, time.Hour + time.Millisecond, false, sqsx.ErrExpired},
		"5 minutes in the future":   {sqsx.Policy{MaxAge: time.Hour}, -5 * time.Minute, false, nil},
		"more than that":            {sqsx.Policy{MaxAge: time.Hour}, -5*time.Minute - time.Millisecond, false, sqsx.ErrClockAhead},
		"undated":                   {sqsx.Policy{MaxAge: time.Hour}, 0, true, sqsx.ErrExpired},
		"undated, accepted":         {sqsx.Policy{MaxAge: time.Hour, AcceptUndated: true}, 0, true, nil},
		"too old, undated accepted": {sqsx.Policy{MaxAge: time.Hour, AcceptUndated: true}, 2 * time.Hour, false, sqsx.ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url := w.queue("orders")
				if tc.undated {
					send(t, w.client(), url, "body")
				} else {
					w.sealContent("orders", encode(t, content.Content{Body: "body", Time: time.Now().Add(-tc.age)}, false), nil, nil)
				}
				decrypts := w.count("kms:Decrypt")
				s := w.sealer(withPolicy(tc.policy))
				opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), w.server.Stored(url))
				if tc.undated && tc.want != nil && w.count("kms:Decrypt") != decrypts {
					t.Error("KMS was asked for a message that holds no time")
				}
				if tc.want == nil {
					if len(opened) != 1 {
						t.Errorf("got %v, want the message", withheld)
					}
					return
				}
				if len(withheld) != 1 || !errors.Is(withheld[0], tc.want) {
					t.Fatalf("got %v, %v, want %v", opened, withheld, tc.want)
				}
				ahead := tc.want == sqsx.ErrClockAhead
				if withheld[0].Temporary != ahead || errors.Is(withheld[0], sqsx.ErrInvalidMessage) == ahead || errors.Is(withheld[0], sqsx.ErrUnavailable) {
					t.Errorf("got %v, temporary %t", withheld[0], withheld[0].Temporary)
				}
				if stats := s.Stats(); ahead && (stats.WithheldUnavailable != 1 || stats.WithheldRefused != 0) || !ahead && stats.WithheldMessage != 1 {
					t.Errorf("got %+v", stats)
				}
				if !ahead {
					return
				}
				time.Sleep(time.Millisecond)
				if opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), w.server.Stored(url)); len(opened) != 1 {
					t.Errorf("a millisecond later: got %v, want the message", withheld)
				}
			})
		})
	}
}

// TestMaxAgeOfAnyYear: no time that content can hold is taken for a recent one,
// however far ahead it is. Its error says so.
func TestMaxAgeOfAnyYear(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, year := range []int{2200, 2291, 2293, 2400, 2600, 9999} {
			queue := fmt.Sprint("orders-", year)
			url := w.queue(queue)
			at := time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC)
			w.sealContent(queue, encode(t, content.Content{Body: "body", Time: at}, false), nil, nil)
			for _, limit := range []time.Duration{time.Second, time.Hour, math.MaxInt64} {
				s := w.sealer(withPolicy(sqsx.Policy{MaxAge: limit}))
				opened, withheld := s.OpenMessages(t.Context(), arnOf(queue), w.server.Stored(url))
				if len(opened) != 0 || len(withheld) != 1 || !errors.Is(withheld[0], sqsx.ErrClockAhead) {
					t.Fatalf("sealed in %d, MaxAge %v: got %d messages, %v, want %v", year, limit, len(opened), withheld, sqsx.ErrClockAhead)
				}
				if text := withheld[0].Error(); !regexp.MustCompile(`at least \d+h59m59s from now`).MatchString(text) && !strings.Contains(text, "at least 2562047h47m16s from now") {
					t.Errorf("sealed in %d: got %q, want how far ahead it is", year, text)
				}
			}
		}
	})
}

// An expired message reaches the dead-letter queue, where another policy opens
// it. Redrive makes a new message for SQS, and does not make it younger.
func TestExpiredThroughRedrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, dlq := w.withDLQ("orders", 2, "VisibilityTimeout", "1")
		client := w.client(func(o *sqsx.Options) {
			o.Policy = sqsx.Policy{MaxAge: time.Hour}
			o.Queues = map[string]sqsx.Policy{"orders-dlq": {}}
		})
		send(t, client, url, "late")
		time.Sleep(time.Hour + time.Second)
		drained := func() {
			t.Helper()
			for len(w.server.Stored(dlq)) == 0 {
				if _, err := receive(t.Context(), client, url); err != nil && !errors.Is(err, sqsx.ErrExpired) {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
			}
		}
		drained()
		if _, err := w.plain.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnOf("orders-dlq"))}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if len(w.server.Stored(url)) != 1 {
			t.Fatal("the message was not moved back")
		}
		drained()
		got, info := receiveOne(t, client, dlq)
		if aws.ToString(got.Body) != "late" || time.Since(info.SealedAt) < time.Hour {
			t.Errorf("got %q, sealed at %v", aws.ToString(got.Body), info.SealedAt)
		}
	})
}

// A producer's clock that is ahead costs time, and no message: it is parked, as
// where a key is not to be had.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, dlq := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
		w.sealContent("orders", encode(t, content.Content{Body: "early", Time: time.Now().Add(30 * time.Minute)}, false), nil, nil)
		client := w.client(withPolicy(sqsx.Policy{MaxAge: 24 * time.Hour}))
		began := time.Now()
		for time.Since(began) < 3*time.Hour {
			out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
			if err == nil && len(out.Messages) == 1 {
				if early := time.Since(began); early < 25*time.Minute {
					t.Errorf("delivered after %v, want 25 minutes at least", early)
				}
				return
			}
			if err != nil && !errors.Is(err, sqsx.ErrClockAhead) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		t.Errorf("not delivered, %d in the dead-letter queue", len(w.server.Stored(dlq)))
	})
}

// An ID is derived of what the caller wrote, and not of what is sealed, which
// holds a time.
func TestDeduplicationOfContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders.fifo")
	key := bytes.Repeat([]byte{7}, 32)
	ids := map[string]bool{}
	for _, policy := range []sqsx.Policy{{}, {SealAttributes: true}, {Compress: true, MaxAge: time.Hour}} {
		client := w.client(func(o *sqsx.Options) { o.Policy, o.DeduplicationKey = policy, key })
		for _, a := range []attributes{nil, {"a": stringAttribute("v")}} {
			if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body"), MessageGroupId: aws.String("g"), MessageAttributes: a}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, m := range w.server.Stored(url) {
		ids[m.Attributes["MessageDeduplicationId"]] = true
	}
	if len(ids) != 1 || len(w.server.Stored(url)) != 1 {
		t.Errorf("got %d messages and IDs %v, want one of each", len(w.server.Stored(url)), ids)
	}
}

// SealedMessageSize is what SQS counts, and SealedSize is it without
// attributes.
func TestSizeOfContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, policy := range []sqsx.Policy{
		{}, {BodyCarrier: true}, {SealAttributes: true}, {SealAttributes: true, BodyCarrier: true},
		{SealAttributes: true, ClearAttributes: []string{"kind", "route.*"}}, {MaxAge: time.Hour}, {NoSeal: true, SealAttributes: true},
	} {
		queue := fmt.Sprint("orders-", i)
		url := w.queue(queue)
		s := w.sealer(withPolicy(policy))
		client := s.Wrap(w.plain)
		for _, a := range []attributes{nil, order(), numbered(10)} {
			in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("a body of some length"), MessageAttributes: a}
			estimate, err := s.SealedMessageSize(arnOf(queue), in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			stored := w.server.Stored(url)
			m := stored[len(stored)-1]
			want := len(aws.ToString(m.Body))
			for name, v := range m.MessageAttributes {
				want += len(name) + len(aws.ToString(v.DataType)) + len(aws.ToString(v.StringValue)) + len(v.BinaryValue)
			}
			got, err := s.SealedMessageSize(arnOf(queue), in)
			if err != nil || got != want || estimate < want {
				t.Errorf("policy %d, %d attributes: got %d, %v, estimated %d, want %d", i, len(a), got, err, estimate, want)
			}
			if a == nil {
				if got, err := s.SealedSize(arnOf(queue), len(*in.MessageBody)); err != nil || got != want {
					t.Errorf("policy %d: SealedSize got %d, %v, want %d", i, got, err, want)
				}
			}
		}
	}
}

// Tracers write on the wire, inside and outside of the Sealer, and find what
// they wrote.
func TestTracersBesideSealedAttributes(t *testing.T) {
	t.Parallel()
	for name, carrier := range map[string]bool{"attribute": false, "body": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders")
			s := w.sealer(withPolicy(sqsx.Policy{SealAttributes: true, BodyCarrier: carrier}))
			var seen []string // by the tracer outside
			client := sqs.NewFromConfig(w.cfg, s.Install, tracingAgent("_datadog", false, nil), tracingAgent("traceparent", true, &seen))
			sendWith(t, client, url, "body", attributes{"tenant": stringAttribute("acme")})
			got, info := receiveOne(t, client, url, "All")
			if diff := cmp.Diff([]string{"_datadog", "tenant", "traceparent"}, slices.Sorted(maps.Keys(got.MessageAttributes))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"tenant"}, info.AuthenticatedAttributes); diff != "" {
				t.Error(diff)
			}
			if !slices.Contains(seen, "tenant") || slices.Contains(seen, "sealq") {
				t.Errorf("a tracer outside sees %v, want what the caller does", seen)
			}
		})
	}
}

// Each of several messages on a FIFO queue, with groups, in order.
func TestContentOnFIFO(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders.fifo")
	client := w.client(withPolicy(sqsx.Policy{SealAttributes: true, Compress: true, MaxAge: time.Hour}))
	in := &sqs.SendMessageBatchInput{QueueUrl: &url}
	var want []string
	for i := range 6 {
		body := strings.Repeat(fmt.Sprint(i), 100)
		want = append(want, body)
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(fmt.Sprint(i)), MessageBody: &body, MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String(fmt.Sprint(i)),
			MessageAttributes: attributes{"n": numberAttribute(fmt.Sprint(i))},
		})
	}
	if _, err := client.SendMessageBatch(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, bodies(out.Messages)); diff != "" {
		t.Error(diff)
	}
	for i, m := range out.Messages {
		if got := aws.ToString(m.MessageAttributes["n"].StringValue); got != fmt.Sprint(i) {
			t.Errorf("message %d has n = %s", i, got)
		}
	}
}

// Content that a dead-letter queue's consumer reads is the source's.
func TestContentInDeadLetterQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, dlq := w.withDLQ("orders", 1, "VisibilityTimeout", "0")
	policy := sqsx.Policy{SealAttributes: true, ClearAttributes: []string{"kind"}, AuthenticateAttributes: []string{"kind"}, MaxAge: time.Hour}
	client := w.client(withPolicy(policy))
	sendWith(t, client, url, "body", order())
	for range 2 {
		if _, err := w.plain.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url}); err != nil {
			t.Fatal(err)
		}
	}
	got, info := receiveOne(t, client, dlq, "All")
	if diff := cmp.Diff(order(), got.MessageAttributes, ignoreNoSmithy); diff != "" || info.SealedAt.IsZero() {
		t.Errorf("sealed at %v: %s", info.SealedAt, diff)
	}
}

// Plaintext that is accepted has no content: its attributes are as they arrive,
// and MaxAge does not concern it.
func TestPlaintextBesideContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	sendWith(t, w.plain, url, "body", order())
	client := w.client(withPolicy(sqsx.Policy{AcceptPlaintext: true, SealAttributes: true, ClearAttributes: []string{"kind"}, AuthenticateAttributes: []string{"kind"}, MaxAge: time.Hour}))
	got, info := receiveOne(t, client, url, "All")
	// "kind" too: who can forge a message can forge its attributes.
	if diff := cmp.Diff(order(), got.MessageAttributes, ignoreNoSmithy); diff != "" || info.Sealed || info.AuthenticatedAttributes != nil {
		t.Errorf("got %+v: %s", info, diff)
	}
}

// InfoOf gives copies.
func TestInfoOfContentIsACopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	client := w.client(withPolicy(sqsx.Policy{SealAttributes: true}))
	sendWith(t, client, url, "body", attributes{"a": stringAttribute("v")})
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	id := aws.ToString(out.Messages[0].MessageId)
	info, _ := sqsx.InfoOf(out.ResultMetadata, id)
	info.AuthenticatedAttributes[0] = "changed"
	if again, _ := sqsx.InfoOf(out.ResultMetadata, id); again.AuthenticatedAttributes[0] != "a" {
		t.Error("a caller's change is seen by the next")
	}
}

func TestContentSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		text   string
	}{
		"a number without a unit":  {sqsx.Policy{MaxAge: 3600}, "at least 1s"},
		"negative":                 {sqsx.Policy{MaxAge: -time.Hour}, "at least 1s"},
		"clear, no name":           {sqsx.Policy{ClearAttributes: []string{""}}, "ClearAttributes"},
		"clear, star inside":       {sqsx.Policy{ClearAttributes: []string{"a*b"}}, "ClearAttributes"},
		"clear, two stars":         {sqsx.Policy{ClearAttributes: []string{"a**"}}, "ClearAttributes"},
		"clear, space":             {sqsx.Policy{ClearAttributes: []string{"a b"}}, "ClearAttributes"},
		"authenticate, pattern":    {sqsx.Policy{AuthenticateAttributes: []string{"a*"}}, "patterns"},
		"authenticate, sealq":      {sqsx.Policy{AuthenticateAttributes: []string{"sealq"}}, "AuthenticateAttributes"},
		"authenticate, a tracer's": {sqsx.Policy{AuthenticateAttributes: []string{"traceparent"}}, "tracers"},
	} {
		_, err := sqsx.NewFromConfig(w.cfg, w.key, withPolicy(tc.policy))
		if _, typed := errors.AsType[*sqsx.ConfigError](err); !typed || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: got %v, want a *ConfigError about %q", name, err, tc.text)
		}
	}
	for name, policy := range map[string]sqsx.Policy{
		"sealed, listed": {SealAttributes: true, ClearAttributes: []string{"b"}, AuthenticateAttributes: []string{"a"}},
		"patterns":       {SealAttributes: true, ClearAttributes: []string{"*", "a.*", "b*", "c"}, AuthenticateAttributes: []string{"d"}},
		"second":         {MaxAge: time.Second},
	} {
		if _, err := sqsx.NewFromConfig(w.cfg, w.key, withPolicy(policy)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The Sealer keeps copies.
	clear, listed := []string{"kind"}, []string{"kind"}
	s := w.sealer(withPolicy(sqsx.Policy{SealAttributes: true, ClearAttributes: clear, AuthenticateAttributes: listed}))
	clear[0], listed[0] = "changed", "changed"
	out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("body"), MessageAttributes: attributes{"kind": stringAttribute("v")}})
	if err != nil || len(out.MessageAttributes) != 2 {
		t.Errorf("got %v, %v, want the attribute in clear", out, err)
	}
}

// On a FIFO queue an expired message stands in the way of those behind it,
// unless it is moved away. Check says so.
func TestCheckWarnsOfMaxAgeOnFIFO(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		queue  string
		policy sqsx.Policy
		want   bool
	}{
		"FIFO with MaxAge":     {"orders.fifo", sqsx.Policy{MaxAge: time.Hour}, true},
		"FIFO":                 {"orders.fifo", sqsx.Policy{SealAttributes: true}, false},
		"standard with MaxAge": {"orders", sqsx.Policy{MaxAge: time.Hour}, false},
	} {
		for _, check := range []func(*sqsx.Sealer, context.Context, string) error{(*sqsx.Sealer).Check, (*sqsx.Sealer).CheckOpen} {
			var log bytes.Buffer
			s := w.sealer(withPolicy(tc.policy), func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			if err := check(s, t.Context(), arnOf(tc.queue)); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "MaxAge") && strings.Contains(log.String(), "dead-letter queue"); got != tc.want {
				t.Errorf("%s: got log %q, want a warning: %t", name, log.String(), tc.want)
			}
		}
	}
}

// tracingAgent adds an attribute of its own to what is sent, and asks for it on
// receives, as agents do that instrument the SDK. seen are the attributes of
// what it receives.
func tracingAgent(name string, outside bool, seen *[]string) func(*sqs.Options) {
	agent := smithymiddleware.InitializeMiddlewareFunc("agent "+name, func(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
		switch in := in.Parameters.(type) {
		case *sqs.SendMessageInput:
			if in.MessageAttributes == nil {
				in.MessageAttributes = attributes{}
			}
			in.MessageAttributes[name] = stringAttribute("trace")
		case *sqs.ReceiveMessageInput:
			in.MessageAttributeNames = append(slices.Clip(in.MessageAttributeNames), name)
		}
		out, md, err := next.HandleInitialize(ctx, in)
		if answer, ok := out.Result.(*sqs.ReceiveMessageOutput); ok && seen != nil {
			for _, m := range answer.Messages {
				*seen = slices.AppendSeq(*seen, maps.Keys(m.MessageAttributes))
			}
		}
		return out, md, err
	})
	where := smithymiddleware.After
	if outside {
		where = smithymiddleware.Before
	}
	return func(o *sqs.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *smithymiddleware.Stack) error { return stack.Initialize.Add(agent, where) })
	}
}

// A role that may not decrypt for a queue stops receiving from it when a
// message was refused under the queue's own context: whatever producers and
// this consumer write beside the body.
func TestOwnContextWhateverTheContent(t *testing.T) {
	t.Parallel()
	plain, sealing := sqsx.Policy{}, sqsx.Policy{SealAttributes: true}
	for name, tc := range map[string]struct{ producer, consumer sqsx.Policy }{
		"neither":  {plain, plain},
		"producer": {sealing, plain},
		"consumer": {plain, sealing},
		"both":     {sealing, sealing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, _ := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
				for range 40 {
					send(t, w.client(withPolicy(tc.producer)), url, "body")
				}
				w.server.Deny("kms:Decrypt")
				consumer := w.client(withPolicy(tc.consumer))
				held := false
				for range 10 {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					_, err := receive(ctx, consumer, url)
					cancel()
					held = held || errors.Is(err, sqsx.ErrHeld)
				}
				received := 0
				for _, m := range w.server.Stored(url) {
					if m.Attributes["ApproximateReceiveCount"] != "0" {
						received++
					}
				}
				// In the next 100 seconds, 7 single receives at most.
				if !held || received < 10 || received > 17 {
					t.Errorf("held: %t, %d messages were received, want held after one response of ten", held, received)
				}
			})
		})
	}
}

func TestContentFromEnvironment(t *testing.T) {
	t.Parallel()
	clear := []string{"kind"}
	in := sqsx.Options{Queues: map[string]sqsx.Policy{"orders": {ClearAttributes: clear[:1:1], MaxAge: time.Minute}, "bills": {SealAttributes: true, ClearAttributes: []string{"kind"}, AuthenticateAttributes: []string{"kind"}}}}
	_, policy, err := sqsx.FromEnvironment(in, []string{
		"SEALQ_SEAL_ATTRIBUTES=orders", "SEALQ_COMPRESS=orders, log-*", "SEALQ_ACCEPT_UNDATED=log-*", "SEALQ_CLEAR_ATTRIBUTES=route.*, region", "SEALQ_MAX_AGE=86400",
	})
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for queue, want := range map[string]sqsx.Policy{
		"orders": {SealAttributes: true, Compress: true, ClearAttributes: []string{"kind", "route.*", "region"}, MaxAge: day},
		"bills":  {SealAttributes: true, ClearAttributes: []string{"kind", "route.*", "region"}, AuthenticateAttributes: []string{"kind"}, MaxAge: day},
		"log-1":  {Compress: true, AcceptUndated: true, ClearAttributes: []string{"route.*", "region"}, MaxAge: day},
		"other":  {ClearAttributes: []string{"route.*", "region"}, MaxAge: day},
	} {
		if diff := cmp.Diff(want, policy(arnOf(queue))); diff != "" {
			t.Errorf("%s: %s", queue, diff)
		}
	}
	for _, environ := range [][]string{
		{"SEALQ_MAX_AGE=0"}, {"SEALQ_MAX_AGE=1h"}, {"SEALQ_CLEAR_ATTRIBUTES=a*b"}, {"SEALQ_SEAL_ATTRIBUTES=true"},
	} {
		o := sqsx.Options{Queues: map[string]sqsx.Policy{"listed": {AuthenticateAttributes: []string{"tenant"}}}}
		if _, _, err := sqsx.FromEnvironment(o, environ); err == nil {
			t.Errorf("%v: no error", environ)
		}
	}
	// What is listed may be sealed.
	o := sqsx.Options{Queues: map[string]sqsx.Policy{"listed": {AuthenticateAttributes: []string{"tenant"}}}}
	if _, _, err := sqsx.FromEnvironment(o, []string{"SEALQ_SEAL_ATTRIBUTES=listed"}); err != nil {
		t.Error(err)
	}
}
