package snsx_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestPublishSeals: what a publisher hands to Publish and PublishBatch reaches
// an ordinary sealed consumer by raw delivery, with its attributes, in both
// carriers, and nobody on the way sees it. It is bound to the topic's ARN,
// under the name that key policies demand.
func TestPublishSeals(t *testing.T) {
	t.Parallel()
	for carrier, policy := range map[string]sqsx.Policy{"attribute": {}, "body": {BodyCarrier: true}} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			topic := w.server.NewTopic("orders")
			url := w.raw(topic, "billing")
			publisher := w.publisher(policies(map[string]sqsx.Policy{topic: policy}))
			in := &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret + " 1"), Subject: aws.String("clear"), MessageAttributes: map[string]types.MessageAttributeValue{"kind": str("order")}}
			if _, err := publisher.Publish(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			out, err := publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: &topic, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{
				{Id: aws.String("a"), Message: aws.String(secret + " 2")},
				{Id: aws.String("b"), Message: aws.String(secret + " 3"), MessageAttributes: map[string]types.MessageAttributeValue{"kind": str("invoice")}},
			}})
			if err != nil || len(out.Successful) != 2 || len(out.Failed) != 0 {
				t.Fatalf("got %+v, %v, want two published", out, err)
			}
			w.checkWire(url)

			got, err := receive(t.Context(), w.accepts(topic), url)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{secret + " 1", secret + " 2", secret + " 3"}
			if diff := cmp.Diff(want, bodies(got.Messages)); diff != "" {
				t.Errorf("bodies (-want +got):\n%s", diff)
			}
			for i, kind := range []string{"order", "", "invoice"} {
				if got := aws.ToString(got.Messages[i].MessageAttributes["kind"].StringValue); got != kind {
					t.Errorf("message %d: got attribute %q, want %q", i, got, kind)
				}
				info, ok := sqsx.InfoOf(got.ResultMetadata, *got.Messages[i].MessageId)
				if !ok || !info.Sealed || info.EncryptionContext["sealq:queue"] != topic {
					t.Errorf("message %d: got %+v, want it sealed for %s", i, info, topic)
				}
			}
			if got := w.contexts("kms:GenerateDataKey"); !slices.Equal(got, []string{topic}) {
				t.Errorf("data keys were asked for under %q, want the topic's ARN", got)
			}
			if n := w.server.Count("kms:GenerateDataKey"); n != 1 {
				t.Errorf("got %d data keys for three messages, want 1", n)
			}
		})
	}
}

// TestTargetArn: some libraries (watermill-aws) name the topic in TargetArn.
func TestTargetArn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "billing")
	if _, err := w.publisher().Publish(t.Context(), &sns.PublishInput{TargetArn: &topic, Message: aws.String(secret)}); err != nil {
		t.Fatal(err)
	}
	w.checkWire(url)
	if got := receiveBodies(t, w.accepts(topic), url); !slices.Equal(got, []string{secret}) {
		t.Errorf("got %q, want the message", got)
	}
}

// TestWhatIsNoTopicIsRefused: what no consumer could open is not sent, neither
// sealed nor in plaintext, and the error says what to do. No request is made.
func TestWhatIsNoTopicIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	message := aws.String(secret)
	publisher := w.publisher(policies(map[string]sqsx.Policy{"*": {NoSeal: true}}))
	for name, tc := range map[string]struct {
		in   sns.PublishInput
		want string
	}{
		"text message":             {sns.PublishInput{PhoneNumber: aws.String("+4930123456"), Message: message}, "client that has no Sealer"},
		"text message and topic":   {sns.PublishInput{PhoneNumber: aws.String("+4930123456"), TopicArn: &topic, Message: message}, "client that has no Sealer"},
		"push notification":        {sns.PublishInput{TargetArn: aws.String("arn:aws:sns:us-east-1:000000000000:endpoint/GCM/app/5e3e9847-3183-3f18-a7e8-671c3a57d4b3"), Message: message}, "client that has no Sealer"},
		"subscription":             {sns.PublishInput{TopicArn: aws.String(topic + ":6b0e71bd-7e97-4d97-80ce-4a0994e55286"), Message: message}, "not the ARN of a topic"},
		"queue":                    {sns.PublishInput{TopicArn: aws.String(queueARN("orders")), Message: message}, "not the ARN of a topic"},
		"topic by its name":        {sns.PublishInput{TopicArn: aws.String("orders"), Message: message}, "not the ARN of a topic"},
		"white space":              {sns.PublishInput{TopicArn: aws.String(topic + " "), Message: message}, "not the ARN of a topic"},
		"very long":                {sns.PublishInput{TopicArn: aws.String(topic + strings.Repeat("x", 10_000)), Message: message}, "not the ARN of a topic"},
		"two topics":               {sns.PublishInput{TopicArn: &topic, TargetArn: aws.String(topicARN("other")), Message: message}, "one topic"},
		"nothing":                  {sns.PublishInput{Message: message}, "TopicArn"},
		"a text for each protocol": {sns.PublishInput{TopicArn: &topic, MessageStructure: aws.String("json"), Message: aws.String(`{"default":"` + secret + `"}`)}, "MessageStructure"},
		"empty":                    {sns.PublishInput{TopicArn: &topic, Message: aws.String("")}, "Empty message"},
		"attribute sealq":          {sns.PublishInput{TopicArn: &topic, Message: message, MessageAttributes: map[string]types.MessageAttributeValue{"sealq": str("x")}}, "reserved"},
		"11 attributes":            {sns.PublishInput{TopicArn: &topic, Message: message, MessageAttributes: manyAttributes(11)}, "number of message attributes 11"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publisher.Publish(t.Context(), &tc.in)
			requireInvalidParameter(t, err, tc.want)
			if err != nil && (strings.Contains(err.Error(), "4930123456") || len(err.Error()) > 1000) {
				t.Errorf("got %d bytes of error: %v, want it short and without the number", len(err.Error()), err)
			}
			entry := types.PublishBatchRequestEntry{Id: aws.String("a"), Message: tc.in.Message, MessageStructure: tc.in.MessageStructure, MessageAttributes: tc.in.MessageAttributes}
			if tc.in.TopicArn == nil || tc.in.PhoneNumber != nil || tc.in.TargetArn != nil {
				return
			}
			out, err := publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: tc.in.TopicArn, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{entry}})
			if *tc.in.Message == "" { // SNS would not take it either
				if err != nil || len(out.Failed) != 1 || *out.Failed[0].Code != "InvalidParameter" {
					t.Errorf("batch: got %+v, %v, want the entry failed", out, err)
				}
				return
			}
			requireInvalidParameter(t, err, tc.want)
		})
	}
	if n := w.server.Count("sns:Publish") + w.server.Count("sns:PublishBatch"); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// requireInvalidParameter checks that SNS's own code and type are in the chain.
func requireInvalidParameter(t *testing.T, err error, text string) {
	t.Helper()
	api, isAPI := errors.AsType[smithy.APIError](err)
	if !isAPI || api.ErrorCode() != "InvalidParameter" || api.ErrorFault() != smithy.FaultClient || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v, want InvalidParameter with %q in its text", err, text)
	}
	if _, typed := errors.AsType[*types.InvalidParameterException](err); !typed {
		t.Errorf("no *types.InvalidParameterException in %v", err)
	}
}

func manyAttributes(n int) map[string]types.MessageAttributeValue {
	all := make(map[string]types.MessageAttributeValue, n)
	for i := range n {
		all["a"+strconv.Itoa(i)] = str("v")
	}
	return all
}

// TestSDKValidates: what the SDK's own validation refuses gets its error, and
// nothing is sealed for it.
func TestSDKValidates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	publisher, topic := w.publisher(), w.server.NewTopic("orders")
	for name, call := range map[string]func() error{
		"nil": func() error { _, err := publisher.Publish(t.Context(), nil); return err },
		"no message": func() error {
			_, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic})
			return err
		},
		"nil batch": func() error { _, err := publisher.PublishBatch(t.Context(), nil); return err },
		"no entries": func() error {
			_, err := publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: &topic})
			return err
		},
		"entry without text": func() error {
			return publishBatch(t, publisher, topic, types.PublishBatchRequestEntry{Id: aws.String("a")})
		},
		"entry without ID": func() error {
			return publishBatch(t, publisher, topic, types.PublishBatchRequestEntry{Message: aws.String(secret)})
		},
		"no topic": func() error {
			_, err := publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{PublishBatchRequestEntries: []types.PublishBatchRequestEntry{{Id: aws.String("a"), Message: aws.String(secret)}}})
			return err
		},
	} {
		err := call()
		if _, ok := errors.AsType[smithy.InvalidParamsError](err); !ok || strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: got %v, want smithy.InvalidParamsError", name, err)
		}
	}
	if n := len(w.server.Requests()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
	// What SNS itself finds it says itself.
	err := publishBatch(t, publisher, topic)
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "EmptyBatchRequest" {
		t.Errorf("an empty batch: got %v, want SNS's EmptyBatchRequest", err)
	}
}

// TestAttributesOfInvalidCalls: a call that the SDK itself refuses shows
// attributes, which may be ones that are sealed, neither to middlewares inside
// the sealer nor in its error.
func TestAttributesOfInvalidCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	seen := 0
	spy := func(o *sns.Options) {
		o.APIOptions = append(o.APIOptions, func(s *smithymiddleware.Stack) error {
			return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("spy", func(
				ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
			) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
				seen++
				switch p := in.Parameters.(type) {
				case *sns.PublishInput:
					if p.MessageAttributes != nil {
						t.Errorf("a middleware inside saw %d attributes", len(p.MessageAttributes))
					}
				case *sns.PublishBatchInput:
					for _, e := range p.PublishBatchRequestEntries {
						if e.MessageAttributes != nil {
							t.Errorf("a middleware inside saw %d attributes of an entry", len(e.MessageAttributes))
						}
					}
				}
				return next.HandleInitialize(ctx, in)
			}), smithymiddleware.Before)
		})
	}
	sealer := w.sealer(policies(map[string]sqsx.Policy{topic: {SealAttributes: true, ClearAttributes: []string{}}}))
	publisher := sns.NewFromConfig(w.cfg, spy, snsx.Install(sealer))
	calls := 0
	for name, value := range map[string]types.MessageAttributeValue{"typed": str(secret), "untyped": {StringValue: aws.String(secret)}} {
		a := map[string]types.MessageAttributeValue{"patient": value}
		healthy := types.PublishBatchRequestEntry{Id: aws.String("a"), Message: aws.String("m"), MessageAttributes: a}
		for _, call := range []func() error{
			func() error {
				_, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, MessageAttributes: a})
				return err
			},
			func() error {
				return publishBatch(t, publisher, topic, healthy, types.PublishBatchRequestEntry{Id: aws.String("b"), MessageAttributes: a})
			},
			func() error {
				return publishBatch(t, publisher, topic, healthy, types.PublishBatchRequestEntry{Message: aws.String("m")})
			},
			func() error {
				_, err := publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{PublishBatchRequestEntries: []types.PublishBatchRequestEntry{healthy}})
				return err
			},
		} {
			calls++
			err := call()
			if _, ok := errors.AsType[smithy.InvalidParamsError](err); !ok || strings.Contains(err.Error(), "patient") || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: got %v, want the SDK's error without the attribute", name, err)
			}
		}
	}
	if seen != calls {
		t.Errorf("the middleware inside saw %d calls, want %d", seen, calls)
	}
}

func publishBatch(t *testing.T, c *sns.Client, topic string, entries ...types.PublishBatchRequestEntry) error {
	t.Helper()
	if entries == nil {
		entries = []types.PublishBatchRequestEntry{}
	}
	_, err := c.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: &topic, PublishBatchRequestEntries: entries})
	return err
}

// TestCallersInputIsNotWritten compares inputs before and after, slices with
// spare capacity and maps included.
func TestCallersInputIsNotWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders.fifo")
	publisher := w.publisher(func(o *sqsx.Options) { o.DeduplicationKey = make([]byte, 32) })
	single := func() *sns.PublishInput {
		return &sns.PublishInput{TopicArn: aws.String(topic), Message: aws.String(secret), MessageGroupId: aws.String("g"), MessageAttributes: manyAttributes(3)}
	}
	batch := func() *sns.PublishBatchInput {
		entries := make([]types.PublishBatchRequestEntry, 2, 8)
		for i := range entries {
			entries[i] = types.PublishBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), Message: aws.String(secret + strconv.Itoa(i)), MessageGroupId: aws.String("g"), MessageAttributes: manyAttributes(i)}
		}
		return &sns.PublishBatchInput{TopicArn: aws.String(topic), PublishBatchRequestEntries: entries}
	}
	ignore := cmpopts.IgnoreUnexported(sns.PublishInput{}, sns.PublishBatchInput{}, types.PublishBatchRequestEntry{}, types.MessageAttributeValue{})
	one, many := single(), batch()
	if _, err := publisher.Publish(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if _, err := publisher.PublishBatch(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(single(), one, ignore); diff != "" {
		t.Errorf("Publish changed its input (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(batch(), many, ignore); diff != "" {
		t.Errorf("PublishBatch changed its input (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(make([]types.PublishBatchRequestEntry, 6), many.PublishBatchRequestEntries[2:8], ignore); diff != "" {
		t.Errorf("PublishBatch wrote behind the entries:\n%s", diff)
	}
}

// TestNamesAreOfQueues: a policy that is written for the queue "orders", for
// all queues, or for every queue that has no other, does not publish the topic
// "orders" in plaintext, from wherever it comes. One that names the topic's ARN
// does, byte for byte.
func TestNamesAreOfQueues(t *testing.T) {
	for name, tc := range map[string]struct {
		set    func(*sqsx.Options)
		env    string // SEALQ_NO_SEAL
		sealed bool
	}{
		"name":              {set: policies(map[string]sqsx.Policy{"orders": {NoSeal: true}}), sealed: true},
		"prefix":            {set: policies(map[string]sqsx.Policy{"ord*": {NoSeal: true}}), sealed: true},
		"star":              {set: policies(map[string]sqsx.Policy{"*": {NoSeal: true}}), sealed: true},
		"queue's ARN":       {set: policies(map[string]sqsx.Policy{queueARN("orders"): {NoSeal: true}}), sealed: true},
		"all other queues":  {set: func(o *sqsx.Options) { o.Policy.NoSeal = true }, sealed: true},
		"environment, name": {env: "orders", sealed: true},
		"environment, star": {env: "*", sealed: true},
		"environment, ARNs": {env: "arn:aws:sqs:*", sealed: true},

		"topic's ARN":          {set: policies(map[string]sqsx.Policy{topicARN("orders"): {NoSeal: true}})},
		"prefix of topics":     {set: policies(map[string]sqsx.Policy{"arn:aws:sns:*": {NoSeal: true}})},
		"environment, topic":   {env: topicARN("orders")},
		"environment, topics":  {env: "arn:aws:sns:*"},
		"exact before prefix":  {set: policies(map[string]sqsx.Policy{"arn:aws:sns:*": {NoSeal: true}, topicARN("orders"): {}}), sealed: true},
		"beside a queue":       {set: policies(map[string]sqsx.Policy{"orders": {}, topicARN("orders"): {NoSeal: true}})},
		"beside a queue's ARN": {set: policies(map[string]sqsx.Policy{queueARN("orders"): {NoSeal: true}, topicARN("orders"): {}}), sealed: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			topic := w.server.NewTopic("orders")
			url := w.raw(topic, "billing")
			t.Setenv("SEALQ_KEY_ID", w.key)
			t.Setenv("SEALQ_NO_SEAL", tc.env)
			set := func(o *sqsx.Options) {
				o.Logger = slog.New(slog.DiscardHandler)
				if tc.set != nil {
					tc.set(o)
				}
			}
			sealer, err := sqsx.NewFromEnv(w.cfg, set)
			if err != nil {
				t.Fatal(err)
			}
			in := &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: manyAttributes(2)}
			if _, err := sns.NewFromConfig(w.cfg, snsx.Install(sealer)).Publish(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			got := w.server.Stored(url)[0]
			if plain := *got.Body == secret && len(got.MessageAttributes) == 2; plain == tc.sealed {
				t.Errorf("got %q with %d attributes, want it sealed: %t", *got.Body, len(got.MessageAttributes), tc.sealed)
			}
			if policy, err := sealer.PolicyOf(topic); err != nil || policy.NoSeal == tc.sealed {
				t.Errorf("PolicyOf: got NoSeal %t, %v", policy.NoSeal, err)
			}
			stats := sealer.Stats()
			if (stats.Sealed == 1) != tc.sealed || (stats.SentPlain == 1) == tc.sealed {
				t.Errorf("got %d sealed and %d in plaintext", stats.Sealed, stats.SentPlain)
			}
		})
	}
}

// TestNoSealPassesAll: to a topic that is not sealed goes what the caller
// wrote, also what sealing would refuse.
func TestNoSealPassesAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("open")
	url := w.raw(topic, "q")
	publisher := w.publisher(policies(map[string]sqsx.Policy{topic: {NoSeal: true}}))
	structured := sns.PublishInput{TopicArn: &topic, MessageStructure: aws.String("json"), Message: aws.String(`{"default":"x","sqs":"for queues"}`)}
	if _, err := publisher.Publish(t.Context(), &structured); err != nil {
		t.Fatal(err)
	}
	if err := publishBatch(t, publisher, topic,
		types.PublishBatchRequestEntry{Id: aws.String("a"), Message: structured.Message, MessageStructure: aws.String("json")},
		types.PublishBatchRequestEntry{Id: aws.String("b"), Message: aws.String("eleven"), MessageAttributes: manyAttributes(11)}, // lost on the way, as without sealq
		types.PublishBatchRequestEntry{Id: aws.String("c"), Message: aws.String("plain")},
	); err != nil {
		t.Fatal(err)
	}
	if got, want := bodies(w.server.Stored(url)), []string{"for queues", "for queues", "plain"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String("")}); err == nil || !strings.Contains(err.Error(), "Empty message") || strings.Contains(err.Error(), "sealq") {
		t.Errorf("got %v, want what SNS answers", err)
	}
	if n := w.server.Count("kms:GenerateDataKey"); n != 0 {
		t.Errorf("got %d data keys, want none", n)
	}
}

// TestNoKeyNoMessage: without a data key nothing is published, and the error is
// the key service's.
func TestNoKeyNoMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	publisher := w.publisher()
	w.server.Deny("kms:GenerateDataKey")
	_, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret)})
	if refused, ok := errors.AsType[*sqsx.RefusedError](err); !ok || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v (%v), want the refusal of KMS", err, refused)
	}
	err = publishBatch(t, publisher, topic, types.PublishBatchRequestEntry{Id: aws.String("a"), Message: aws.String(secret)})
	if _, ok := errors.AsType[*sqsx.RefusedError](err); !ok {
		t.Errorf("batch: got %v, want the refusal of KMS", err)
	}
	if n := w.server.Count("sns:Publish") + w.server.Count("sns:PublishBatch"); n != 0 {
		t.Errorf("got %d requests to SNS, want none", n)
	}
}

// TestRetriesPublishTheSameBytes: a call is sealed once, so that a FIFO topic
// recognises the repetition of a request whose answer was lost.
func TestRetriesPublishTheSameBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.RetryMaxAttempts = 3
	w.cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
	topic := w.server.NewTopic("orders.fifo")
	publisher := w.publisher(func(o *sqsx.Options) { o.DeduplicationKey = make([]byte, 32) })
	lost := 0
	w.server.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "sns:Publish" && lost < 2 {
			lost++
			return sqsxtest.ErrResponseLost
		}
		return nil
	})
	url := w.server.NewQueue("q.fifo")
	w.server.Subscribe(topic, url, "RawMessageDelivery", "true")
	if _, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageGroupId: aws.String("g")}); err != nil {
		t.Fatal(err)
	}
	sent := make(map[string]int)
	for _, r := range w.server.Requests() {
		if r.Action == "sns:Publish" {
			sent[string(r.Body)]++
		}
	}
	if len(sent) != 1 || w.server.Count("sns:Publish") != 3 || len(w.server.Stored(url)) != 1 {
		t.Errorf("got %d bodies in %d requests and %d messages, want 1, 3 and 1", len(sent), w.server.Count("sns:Publish"), len(w.server.Stored(url)))
	}
}

// TestCompressOnTopics: what a topic would not take as it was written is not
// published compressed either, alone or in a batch. What it takes is.
func TestCompressOnTopics(t *testing.T) {
	t.Parallel()
	const usual = 262_144
	for name, tc := range map[string]struct {
		limit   int // MaximumMessageSize and Policy.MaxMessageBytes; 0: the usual
		bodies  []int
		refused bool
	}{
		"limit":                             {0, []int{usual}, false},
		"a byte more":                       {0, []int{usual + 1}, true},
		"what a queue takes":                {0, []int{1 << 20}, true},
		"larger limit":                      {1 << 20, []int{1 << 20}, false},
		"smaller limit":                     {2048, []int{2048}, false},
		"smaller limit, a byte more":        {2048, []int{2049}, true},
		"batch of the limit":                {0, []int{usual / 2, usual / 2}, false},
		"batch, a byte more":                {0, []int{usual / 2, usual/2 + 1}, true},
		"batch, smaller limit":              {2048, []int{1024, 1024}, false},
		"batch, smaller limit, a byte more": {2048, []int{1024, 1025}, true},
		"batch, larger limit":               {1 << 20, []int{1 << 19, 1 << 19}, false},
		"batch, larger limit, a byte more":  {1 << 20, []int{1 << 19, 1<<19 + 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var settings []string
			if tc.limit != 0 {
				settings = []string{"MaximumMessageSize", strconv.Itoa(tc.limit)}
			}
			topic := w.server.NewTopic("orders", settings...)
			url := w.raw(topic, "q")
			publisher := w.publisher(policies(map[string]sqsx.Policy{topic: {Compress: true, MaxMessageBytes: tc.limit}}))
			publish := func(c *sns.Client) error {
				if len(tc.bodies) == 1 {
					_, err := c.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(strings.Repeat("0", tc.bodies[0]))})
					return err
				}
				var entries []types.PublishBatchRequestEntry
				for i, n := range tc.bodies {
					entries = append(entries, types.PublishBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), Message: aws.String(strings.Repeat("0", n))})
				}
				return publishBatch(t, c, topic, entries...)
			}
			if err := publish(sns.NewFromConfig(w.cfg)); (err != nil) != tc.refused {
				t.Errorf("as written: got %v, refused by SNS: want %t", err, tc.refused)
			}
			before := len(w.server.Stored(url))
			err := publish(publisher)
			if _, tooLarge := errors.AsType[*sqsx.TooLargeError](err); tooLarge != tc.refused || err != nil && !tc.refused {
				t.Errorf("got %v, a *TooLargeError: want %t", err, tc.refused)
			}
			want := len(tc.bodies)
			if tc.refused {
				want = 0
			}
			if got := len(w.server.Stored(url)) - before; got != want {
				t.Errorf("got %d messages, want %d", got, want)
			}
		})
	}
}

// TestSizes: a topic takes 262,144 bytes unless its MaximumMessageSize says
// otherwise, attributes and what sealing adds included. The limit is found
// before the request, at the very byte where SNS has it, by SNS's code.
func TestSizes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limit  int
		policy sqsx.Policy
		topic  []string
	}{
		"default":            {limit: 262_144},
		"default, body":      {limit: 262_144, policy: sqsx.Policy{BodyCarrier: true}},
		"MaximumMessageSize": {limit: 1 << 20, policy: sqsx.Policy{MaxMessageBytes: 1 << 20}, topic: []string{"MaximumMessageSize", "1048576"}},
		"smaller":            {limit: 4096, policy: sqsx.Policy{MaxMessageBytes: 4096}, topic: []string{"MaximumMessageSize", "4096"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			topic := w.server.NewTopic("orders", tc.topic...)
			url := w.raw(topic, "q")
			sealer := w.sealer(policies(map[string]sqsx.Policy{topic: tc.policy}))
			publisher := sns.NewFromConfig(w.cfg, snsx.Install(sealer))
			publish := func(n int) error {
				_, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(strings.Repeat("x", n)), MessageAttributes: manyAttributes(3)})
				return err
			}
			if err := publish(1); err != nil { // SealedSize is exact from now on
				t.Fatal(err)
			}
			attributes := 3 * len("a0Stringv")
			most := 0
			for n := tc.limit / 2; n < tc.limit; n++ {
				size, err := sealer.SealedSize(topic, n)
				if err != nil {
					t.Fatal(err)
				}
				if size+attributes > tc.limit {
					most = n - 1
					break
				}
			}
			if err := publish(most); err != nil {
				t.Errorf("%d bytes: %v, want it published", most, err)
			}
			err := publish(most + 1)
			requireInvalidParameter(t, err, "limit of the topic")
			if tooLarge, ok := errors.AsType[*sqsx.TooLargeError](err); !ok || tooLarge.Limit != tc.limit || tooLarge.Plain != most+1+attributes {
				t.Errorf("got %+v, want the sizes and the limit %d", tooLarge, tc.limit)
			}
			if got := len(w.server.Stored(url)); got != 2 {
				t.Errorf("got %d messages, want 2", got)
			}

			// The sum of a batch has the same limit.
			half := types.PublishBatchRequestEntry{Id: aws.String("a"), Message: aws.String(strings.Repeat("x", most/2+100))}
			other := half
			other.Id = aws.String("b")
			if err := publishBatch(t, publisher, topic, half); err != nil {
				t.Error(err)
			}
			err = publishBatch(t, publisher, topic, half, other)
			api, ok := errors.AsType[smithy.APIError](err)
			if _, typed := errors.AsType[*types.BatchRequestTooLongException](err); !ok || !typed || api.ErrorCode() != "BatchRequestTooLong" {
				t.Errorf("got %v, want BatchRequestTooLong", err)
			}
			if n := w.server.Count("sns:PublishBatch"); n != 1 {
				t.Errorf("got %d batches, want 1: the other was stopped before", n)
			}
		})
	}
}

// TestBatchFailures: an entry that cannot be sealed fails alone, in its place
// and with SNS's code; if none is left, or the topic is a FIFO topic, the call
// fails.
func TestBatchFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealedBefore := func(topic string) string {
		in, err := w.sealer(policies(map[string]sqsx.Policy{"arn:aws:sns:*": {BodyCarrier: true}})).SealMessage(t.Context(), topic, &sqs.SendMessageInput{MessageBody: aws.String("x"), MessageDeduplicationId: aws.String("d")})
		if err != nil {
			t.Fatal(err)
		}
		return *in.MessageBody
	}
	group := aws.String("g")
	entries := func(topic string, ids ...string) []types.PublishBatchRequestEntry {
		var all []types.PublishBatchRequestEntry
		for _, id := range ids {
			e := types.PublishBatchRequestEntry{Id: aws.String(id), Message: aws.String(secret), MessageGroupId: group, MessageDeduplicationId: nil}
			if strings.HasSuffix(topic, ".fifo") {
				e.MessageDeduplicationId = aws.String(id)
			}
			switch {
			case strings.HasPrefix(id, "sealed"):
				e.Message = aws.String(sealedBefore(topic))
			case strings.HasPrefix(id, "json"):
				e.MessageStructure = aws.String("json")
			case strings.HasPrefix(id, "eleven"):
				e.MessageAttributes = manyAttributes(11)
			}
			all = append(all, e)
		}
		return all
	}
	publisher := w.publisher()
	standard, fifo := w.server.NewTopic("orders"), w.server.NewTopic("orders.fifo")
	url := w.raw(standard, "q")

	out, err := publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: &standard, PublishBatchRequestEntries: entries(standard, "good1", "json1", "sealed1", "good2", "eleven1")})
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, f := range out.Failed {
		failed = append(failed, *f.Id)
		if *f.Code != "InvalidParameter" || !f.SenderFault || *f.Message == "" || strings.Contains(*f.Message, secret) {
			t.Errorf("got %s %q, sender's fault %t", *f.Code, *f.Message, f.SenderFault)
		}
	}
	if want := []string{"json1", "sealed1", "eleven1"}; !slices.Equal(failed, want) || len(out.Successful) != 2 {
		t.Errorf("got %q failed and %d published, want %q and 2", failed, len(out.Successful), want)
	}
	if got := receiveBodies(t, w.accepts(standard), url); !slices.Equal(got, []string{secret, secret}) {
		t.Errorf("got %q, want the two good ones", got)
	}

	// What SNS itself reports stands among them, in the order of the call.
	throttled := withStack(func(s *smithymiddleware.Stack) error {
		return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("throttle", func(
			ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
		) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
			out, md, err := next.HandleInitialize(ctx, in)
			if answer, ok := out.Result.(*sns.PublishBatchOutput); ok {
				answer.Successful, answer.Failed = answer.Successful[1:], []types.BatchResultErrorEntry{{Id: answer.Successful[0].Id, Code: aws.String("Throttled")}}
			}
			return out, md, err
		}), smithymiddleware.After)
	})
	out, err = publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: &standard, PublishBatchRequestEntries: entries(standard, "json1", "good1", "sealed1", "good2")}, throttled)
	if err != nil {
		t.Fatal(err)
	}
	failed = nil
	for _, f := range out.Failed {
		failed = append(failed, *f.Id)
	}
	if want := []string{"json1", "good1", "sealed1"}; !slices.Equal(failed, want) || len(out.Successful) != 1 {
		t.Errorf("got %q failed and %d published, want %q and 1", failed, len(out.Successful), want)
	}

	before := w.server.Count("sns:PublishBatch")
	for name, tc := range map[string]struct {
		topic string
		ids   []string
		code  string
	}{
		"none left":                {standard, []string{"json1", "sealed1"}, "InvalidParameter"},
		"FIFO topic":               {fifo, []string{"good1", "sealed1"}, "InvalidParameter"},
		"FIFO topic, json":         {fifo, []string{"json1", "good1"}, "InvalidParameter"},
		"two of one ID":            {standard, []string{"good1", "good1"}, "BatchEntryIdsNotDistinct"},
		"11 entries, one bad":      {standard, []string{"json1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}, "TooManyEntriesInBatchRequest"},
		"an ID with a dot and bad": {standard, []string{"json1", "a.b"}, "InvalidBatchEntryId"},
	} {
		_, err := publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: &tc.topic, PublishBatchRequestEntries: entries(tc.topic, tc.ids...)})
		api, ok := errors.AsType[smithy.APIError](err)
		if !ok || api.ErrorCode() != tc.code || api.ErrorFault() != smithy.FaultClient || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v, want %s", name, err, tc.code)
		}
		batch, isBatch := errors.AsType[*snsx.BatchError](err)
		if isBatch != (tc.code == "InvalidParameter") || isBatch && len(batch.Failed) == 0 {
			t.Errorf("%s: got %v, want a BatchError: %t", name, err, tc.code == "InvalidParameter")
		}
	}
	if got := w.server.Count("sns:PublishBatch"); got != before {
		t.Errorf("got %d requests, want none", got-before)
	}
	// SNS itself says what it finds in a batch that can be sealed whole.
	_, err = publisher.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: &standard, PublishBatchRequestEntries: entries(standard, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")})
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "TooManyEntriesInBatchRequest" || w.server.Count("sns:PublishBatch") != before+1 {
		t.Errorf("got %v, want SNS's TooManyEntriesInBatchRequest", err)
	}
}

// TestCallerChangesInputMeanwhile: what a call depends on is read once, so that
// a caller that goes on to write does not have a message go to a topic of
// another policy, or in plaintext.
func TestCallerChangesInputMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic, open := w.server.NewTopic("orders"), w.server.NewTopic("open")
	orders, others := w.raw(topic, "orders-q"), w.raw(open, "open-q")
	in := &sns.PublishInput{TopicArn: aws.String(topic), Message: aws.String(secret), MessageAttributes: manyAttributes(1)}
	for name, v := range in.MessageAttributes {
		v.DataType, v.StringValue = aws.String("String"), aws.String("before")
		in.MessageAttributes[name] = v
	}
	in.MessageAttributes["bytes"] = types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: []byte("before")}
	w.server.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "kms:GenerateDataKey" { // while the call waits for its data key
			for _, v := range in.MessageAttributes {
				if v.StringValue != nil {
					*v.StringValue = "later!"
				}
				copy(v.BinaryValue, "later!")
			}
			*in.TopicArn, *in.Message = open, secret+" changed"
			in.MessageAttributes["more"], in.MessageAttributes["sealq"] = str(secret), str("x")
		}
		return nil
	})
	if _, err := w.publisher().Publish(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	w.checkWire(orders, others)
	for name, v := range w.server.Stored(orders)[0].MessageAttributes {
		if name != "sealq" && aws.ToString(v.StringValue)+string(v.BinaryValue) != "before" {
			t.Errorf("published attribute %q with a value that the caller set during the call", name)
		}
	}
	if got := receiveBodies(t, w.accepts(topic), orders); !slices.Equal(got, []string{secret}) {
		t.Errorf("got %q, want the message as it was when the call began", got)
	}
	if got := len(w.server.Stored(others)); got != 0 {
		t.Errorf("got %d messages at the other topic, want none", got)
	}

	// Nor does the guard take for the caller's what was sealed.
	*in.TopicArn, *in.Message = topic, secret
	delete(in.MessageAttributes, "sealq")
	lose := inside(func(input any) { delete(input.(*sns.PublishInput).MessageAttributes, "sealq") })
	if _, err := w.publisher().Publish(t.Context(), in, lose); !errors.Is(err, sqsx.ErrBypassed) {
		t.Errorf("got %v, want ErrBypassed", err)
	}
}

// TestCancelled: a call whose context ended publishes nothing.
func TestCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.publisher().Publish(ctx, &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if n := w.server.Count("sns:Publish"); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}
