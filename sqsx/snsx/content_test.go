package snsx_test

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
)

// TestSealAttributes: attributes travel inside, but for those that filters
// read, and consumers get them all; text and time are sealed with them.
func TestSealAttributes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q", "FilterPolicy", `{"kind":["order"]}`)
	inside := w.raw(topic, "reads-what-is-sealed", "FilterPolicy", `{"customer":[{"exists":true}]}`)
	publisher := w.publisher(policies(map[string]sqsx.Policy{topic: {SealAttributes: true, ClearAttributes: []string{"kind"}, Compress: true}}))
	attributes := map[string]types.MessageAttributeValue{
		"kind": str("order"), "customer": str(secret),
		"raw":         {DataType: aws.String("Binary"), BinaryValue: []byte(secret)},
		"traceparent": str("00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"),
	}
	text := strings.Repeat(secret, 100)
	if _, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: &text, MessageAttributes: attributes}); err != nil {
		t.Fatal(err)
	}
	if err := publishBatch(t, publisher, topic, types.PublishBatchRequestEntry{Id: aws.String("a"), Message: &text, MessageAttributes: attributes}); err != nil {
		t.Fatal(err)
	}
	w.checkWire(url)
	for _, m := range w.server.Stored(url) {
		if got, want := slices.Sorted(maps.Keys(m.MessageAttributes)), []string{"kind", "sealq", "traceparent"}; !slices.Equal(got, want) {
			t.Errorf("got the attributes %q on the wire, want %q", got, want)
		}
		if len(*m.Body) > len(text) {
			t.Errorf("got a body of %d bytes, want it compressed", len(*m.Body))
		}
	}
	if n := len(w.server.Stored(inside)); n != 0 {
		t.Errorf("a filter on a sealed attribute let %d messages through, want none", n)
	}
	consumer := w.accepts(topic)
	out, err := receive(t.Context(), consumer, url)
	if err != nil || len(out.Messages) != 2 {
		t.Fatalf("got %v, %v, want both", out, err)
	}
	for _, m := range out.Messages {
		if *m.Body != text || len(m.MessageAttributes) != 4 || *m.MessageAttributes["customer"].StringValue != secret || string(m.MessageAttributes["raw"].BinaryValue) != secret {
			t.Errorf("got %.20q with %v, want the publisher's", *m.Body, m.MessageAttributes)
		}
		if info, ok := sqsx.InfoOf(out.ResultMetadata, *m.MessageId); !ok || time.Since(info.SealedAt) > time.Minute {
			t.Errorf("got the time %v, want now", info.SealedAt)
		}
	}
}

// TestAuthenticateAttributes: what filters read arrives as it was published, or
// the message is withheld.
func TestAuthenticateAttributes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url, forged := w.raw(topic, "q"), w.server.NewQueue("forged")
	publisher := w.publisher(policies(map[string]sqsx.Policy{topic: {AuthenticateAttributes: []string{"kind"}}}))
	in := &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: map[string]types.MessageAttributeValue{"kind": str("order")}}
	if _, err := publisher.Publish(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	m := w.server.Stored(url)[0]
	changed := maps.Clone(m.MessageAttributes)
	v := changed["kind"]
	v.StringValue = aws.String("refund")
	changed["kind"] = v
	if _, err := w.plain.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &forged, MessageBody: m.Body, MessageAttributes: changed}); err != nil {
		t.Fatal(err)
	}
	consumer := sqs.NewFromConfig(w.cfg, w.sealer(func(o *sqsx.Options) {
		o.Policy = sqsx.Policy{AcceptTopics: []string{topic}, AuthenticateAttributes: []string{"kind"}}
	}).Install)
	if got := receiveBodies(t, consumer, url); !slices.Equal(got, []string{secret}) {
		t.Errorf("got %q, want the message", got)
	}
	if _, err := receive(t.Context(), consumer, forged); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("got %v, want ErrAuthentication", err)
	}
}

// TestMaxAge: consumers with MaxAge need the time of publication in the
// message. SEALQ_MAX_AGE is for all policies, and so for topics, too.
func TestMaxAge(t *testing.T) {
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	t.Setenv("SEALQ_KEY_ID", w.key)
	t.Setenv("SEALQ_MAX_AGE", "3600")
	sealer, err := sqsx.NewFromEnv(w.cfg, func(o *sqsx.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
		o.Policy.AcceptTopics = []string{topic}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sns.NewFromConfig(w.cfg, snsx.Install(sealer)).Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret)}); err != nil {
		t.Fatal(err)
	}
	if got := receiveBodies(t, sqs.NewFromConfig(w.cfg, sealer.Install), url); !slices.Equal(got, []string{secret}) {
		t.Errorf("got %q, want the message", got)
	}
}

// TestSealAttributesNeedsClearAttributes: a topic's filters would silently
// match nothing, so that the policy must say what stays in clear, though it be
// nothing. That is so for topics only, and whatever way the policy comes about.
func TestSealAttributesNeedsClearAttributes(t *testing.T) {
	const topics = "arn:aws:sns:*"
	for name, tc := range map[string]struct {
		all        map[string]sqsx.Policy
		rest       sqsx.Policy // Options.Policy
		noSeal     string      // SEALQ_NO_SEAL
		seal       string      // SEALQ_SEAL_ATTRIBUTES
		clear      string      // SEALQ_CLEAR_ATTRIBUTES
		refused    bool
		pattern    string // that the error names
		unnamed    bool   // the topic is not named by ARN: nothing is published
		attributes int    // of the caller's 2 in clear; if not refused
	}{
		"topic":                    {all: map[string]sqsx.Policy{topicARN("orders"): {SealAttributes: true}}, refused: true},
		"prefix of topics":         {all: map[string]sqsx.Policy{topics: {SealAttributes: true}}, refused: true},
		"environment":              {seal: topicARN("orders"), refused: true},
		"environment, all topics":  {seal: topics, refused: true, pattern: topics},
		"environment, everything":  {seal: "*," + topics, refused: true, pattern: topics},
		"environment, one of all":  {seal: "arn:aws:sns:us-*," + topicARN("orders"), refused: true, pattern: "arn:aws:sns:us-*"},
		"environment, on a policy": {all: map[string]sqsx.Policy{topics: {BodyCarrier: true}}, seal: topicARN("orders"), refused: true},
		"some in clear":            {all: map[string]sqsx.Policy{topics: {SealAttributes: true, ClearAttributes: []string{"a0"}}}, attributes: 1},
		"none in clear":            {all: map[string]sqsx.Policy{topics: {SealAttributes: true, ClearAttributes: []string{}}}},
		"environment, some":        {seal: topics, clear: "a1", attributes: 1},
		"environment and code":     {all: map[string]sqsx.Policy{topics: {ClearAttributes: []string{}}}, seal: topics},
		"all queues":               {all: map[string]sqsx.Policy{"*": {SealAttributes: true}}, unnamed: true},
		"the default of queues":    {rest: sqsx.Policy{SealAttributes: true}, unnamed: true},
		"queue of that name":       {all: map[string]sqsx.Policy{"orders": {SealAttributes: true}}, unnamed: true},
		"environment, queues":      {seal: "*", unnamed: true},
		"queue of another name":    {all: map[string]sqsx.Policy{"bills": {SealAttributes: true}}, attributes: 2},
		"queue by ARN":             {all: map[string]sqsx.Policy{"arn:aws:sqs:*": {SealAttributes: true}}, attributes: 2},
		"queues, and the topic":    {seal: "*", all: map[string]sqsx.Policy{topics: {}}, attributes: 2},
		"another topic":            {seal: "*", all: map[string]sqsx.Policy{topicARN("bills"): {}}, unnamed: true},
		"environment, plaintext":   {seal: "*", noSeal: topics, attributes: 2},
		"environment, no clear":    {seal: "*," + topics, clear: "none"},
		"code, none in clear":      {all: map[string]sqsx.Policy{topics: {SealAttributes: true}}, clear: "none"},
		"code, one in clear":       {all: map[string]sqsx.Policy{topicARN("orders"): {SealAttributes: true}}, clear: "a0", attributes: 1},
		"environment, code, none":  {all: map[string]sqsx.Policy{topics: {SealAttributes: true, ClearAttributes: []string{"a0"}}}, clear: "none", attributes: 1},
		"environment, all":         {seal: "*," + topics, clear: "a1", attributes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			t.Setenv("SEALQ_KEY_ID", w.key)
			t.Setenv("SEALQ_NO_SEAL", tc.noSeal)
			t.Setenv("SEALQ_SEAL_ATTRIBUTES", tc.seal)
			t.Setenv("SEALQ_CLEAR_ATTRIBUTES", tc.clear)
			sealer, err := sqsx.NewFromEnv(w.cfg, policies(tc.all), func(o *sqsx.Options) {
				o.Logger = slog.New(slog.DiscardHandler)
				o.Policy = tc.rest
			})
			if tc.refused {
				if _, ok := errors.AsType[*sqsx.ConfigError](err); !ok || !strings.Contains(err.Error(), "ClearAttributes") || !strings.Contains(err.Error(), "filter") || !strings.Contains(err.Error(), `"none"`) {
					t.Errorf("got %v, want a ConfigError with the reason and both remedies", err)
				}
				if !strings.Contains(err.Error(), strconv.Quote(tc.pattern)) && tc.pattern != "" {
					t.Errorf("got %v, want that it names the pattern %q", err, tc.pattern)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			topic := w.server.NewTopic("orders")
			url := w.raw(topic, "q")
			in := &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: manyAttributes(2)}
			_, err = sns.NewFromConfig(w.cfg, snsx.Install(sealer)).Publish(t.Context(), in)
			if tc.unnamed {
				checkNotPublished(t, w, sealer, topic, url, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := sealer.CheckSeal(t.Context(), topic); err != nil {
				t.Error(err)
			}
			attributes := w.server.Stored(url)[0].MessageAttributes
			delete(attributes, "sealq")
			if len(attributes) != tc.attributes {
				t.Errorf("got %d of the caller's attributes in clear, want %d", len(attributes), tc.attributes)
			}
		})
	}
}

// checkNotPublished: a topic whose attributes somebody may believe to be sealed
// is refused by whatever seals, and by nothing else.
func checkNotPublished(t *testing.T, w *world, sealer *sqsx.Sealer, topic, url string, err error) {
	t.Helper()
	entry := types.PublishBatchRequestEntry{Id: aws.String("a"), Message: aws.String(secret), MessageAttributes: manyAttributes(2)}
	check := sealer.Check(t.Context(), topic)
	_, size := sealer.SealedSize(topic, 1)
	for call, err := range map[string]error{
		"Publish": err, "CheckSeal": sealer.CheckSeal(t.Context(), topic), "Check": check, "SealedSize": size,
		"PublishBatch": publishBatch(t, sns.NewFromConfig(w.cfg, snsx.Install(sealer)), topic, entry),
	} {
		if _, ok := errors.AsType[*sqsx.ConfigError](err); !ok || !strings.Contains(err.Error(), topic) || !strings.Contains(err.Error(), "arn:aws:sns:*") {
			t.Errorf("%s: got %v, want a ConfigError that says to name the topic %s", call, err, topic)
		}
	}
	if failed, ok := errors.AsType[*sqsx.CheckError](check); !ok || failed.Open != nil {
		t.Errorf("Check: got %v, want that messages can be opened", check)
	}
	if err := sealer.CheckOpen(t.Context(), topic); err != nil {
		t.Errorf("CheckOpen: got %v, want nil: a consumer sends nothing to the topic", err)
	}
	if n := len(w.server.Stored(url)); n != 0 {
		t.Errorf("%d messages were published, want none", n)
	}
}
