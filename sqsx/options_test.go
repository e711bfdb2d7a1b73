package sqsx_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func queues(names ...string) map[string]sqsx.Policy {
	m := make(map[string]sqsx.Policy)
	for _, n := range names {
		m[n] = sqsx.Policy{}
	}
	return m
}

// TestOptionErrors wants each wrong setting refused at construction, with an
// error that says what to do.
func TestOptionErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		set  func(*sqsx.Options)
		text string
	}{
		"reuse period too short":             {func(o *sqsx.Options) { o.Cache.ReusePeriod = 59 * time.Second }, "1m0s"},
		"reuse period too long":              {func(o *sqsx.Options) { o.Cache.ReusePeriod = 25 * time.Hour }, "24h"},
		"context name reserved":              {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"sealq:queue": "x"} }, "reserved"},
		"context name of the format":         {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"aws-crypto-public-key": "x"} }, "reserved"},
		"context name reserved, in capitals": {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"Sealq:x": "x"} }, "reserved"},
		"context names that differ in case":  {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"App": "x", "app": "x"} }, "case"},
		"context value empty":                {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"x": ""} }, "empty"},
		"context value too long":             {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"x": strings.Repeat("v", 513)} }, "512"},
		"context not UTF-8":                  {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"x": "\xff"} }, "UTF-8"},
		"deduplication key too short":        {func(o *sqsx.Options) { o.DeduplicationKey = make([]byte, 31) }, "32"},
		"Region":                             {func(o *sqsx.Options) { o.Region = "EU West" }, "eu-central-1"},
		"names that fold alike":              {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"stage": "x", "ſtage": "x"} }, "case"},
		"reserved with a long s":             {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"ſealq:x": "x"} }, "reserved"},
		"the format's with a long s":         {func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"awſ-Crypto-x": "x"} }, "reserved"},
		"context too large": {func(o *sqsx.Options) {
			o.EncryptionContext = map[string]string{}
			for i := range 9 {
				o.EncryptionContext[fmt.Sprint(i)] = strings.Repeat("v", 512)
			}
		}, "4096"},
		"strict and no binding":          {func(o *sqsx.Options) { o.Policy.StrictQueue, o.Policy.NoBinding = true, true }, "StrictQueue"},
		"accepted queues and no binding": {func(o *sqsx.Options) { o.Policy.AcceptQueues, o.Policy.NoBinding = []string{arnOf("q")}, true }, "AcceptQueues"},
		"account":                        {func(o *sqsx.Options) { o.Account = "12345" }, "12 digits"},
		"message size":                   {func(o *sqsx.Options) { o.Policy.MaxMessageBytes = 1023 }, "1024"},
		"message size too big":           {func(o *sqsx.Options) { o.Policy.MaxMessageBytes = 1<<20 + 1 }, "1048576"},
		"logical queue is an ARN":        {func(o *sqsx.Options) { o.Policy.LogicalQueue = arnOf("q") }, "AcceptQueues"},
		"logical queue and no binding":   {func(o *sqsx.Options) { o.Policy.LogicalQueue, o.Policy.NoBinding = "q", true }, "contradict"},
		"accepted queue not an ARN":      {func(o *sqsx.Options) { o.Policy.AcceptQueues = []string{"orders"} }, "arn:PARTITION"},
		"accepts everything":             {func(o *sqsx.Options) { o.Policy.AcceptQueues = []string{"*"} }, "arn:PARTITION"},
		"nil keyring in a policy":        {func(o *sqsx.Options) { o.Policy.Keyring = (*envelope.RawAESKeyring)(nil) }, "nil"},
		"star in the middle":             {func(o *sqsx.Options) { o.Queues = queues("or*ders") }, "trailing"},
		"dot in the middle":              {func(o *sqsx.Options) { o.Queues = queues("or.ders") }, ".fifo"},
		"dot in a prefix":                {func(o *sqsx.Options) { o.Queues = queues("or.d*") }, ".fifo"},
		"FIFO suffix alone":              {func(o *sqsx.Options) { o.Queues = queues(".fifo") }, "in front"},
		"prefix of no queue":             {func(o *sqsx.Options) { o.Queues = queues(".fi*") }, "in front"},
		"ARN of a Region that is none":   {func(o *sqsx.Options) { o.Queues = queues("arn:aws:sqs:US East:000000000000:q") }, "Region"},
		"ARN prefix of no account":       {func(o *sqsx.Options) { o.Queues = queues("arn:aws:sqs:us-east-1:ord*") }, "12 digits"},
		"empty pattern":                  {func(o *sqsx.Options) { o.Queues = queues("") }, "empty"},
		"ARN of a bucket":                {func(o *sqsx.Options) { o.Queues = queues("arn:aws:s3:us-east-1:000000000000:t") }, "not the ARN of a queue"},
		"ARN of a subscription":          {func(o *sqsx.Options) { o.Queues = queues("arn:aws:sns:us-east-1:000000000000:t:1") }, "a topic name has"},
		"half an ARN":                    {func(o *sqsx.Options) { o.Queues = queues("arn:aws:sqs:us-east-1") }, "whole ARN"},
		"two spellings of one queue":     {func(o *sqsx.Options) { o.Queues = queues("orders", arnOf("orders")) }, "same queue"},
		"two spellings of one prefix":    {func(o *sqsx.Options) { o.Queues = queues("ord*", arnOf("ord*")) }, "same queue"},
		"decrypt key not an ARN": {func(o *sqsx.Options) {
			o.KMSKeyring.DecryptKeys = []string{"alias/x"}
		}, "ARN"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := sqsx.NewFromConfig(w.cfg, w.key, tc.set)
			if _, typed := errors.AsType[*sqsx.ConfigError](err); !typed || s != nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, %v, want a *ConfigError that speaks of %q", s, err, tc.text)
			}
		})
	}
	cached, err := cache.New(mustKeyring(t, w))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		keyring envelope.Keyring
		set     func(*sqsx.Options)
		text    string
	}{
		"KMS without a client of ours":   {mustKeyring(t, w), func(o *sqsx.Options) { o.KMS = []func(*kms.Options){func(*kms.Options) {}} }, "Options.KMS"},
		"KMSKeyring without one of ours": {mustKeyring(t, w), func(o *sqsx.Options) { o.KMSKeyring.StrictAlias = true }, "Options.KMSKeyring"},
		"Cache without one of ours":      {cached, func(o *sqsx.Options) { o.Cache.MaxMessages = cache.DefaultMaxMessages }, "cache.New"},
		"grant tokens":                   {mustKeyring(t, w), func(o *sqsx.Options) { o.KMSKeyring.GrantTokens = []string{"t"} }, "Options.KMSKeyring"},
		"Discovery":                      {mustKeyring(t, w), func(o *sqsx.Options) { o.KMSKeyring.Discovery.Region = "us-east-1" }, "kmskeyring.New"},
		"nil function":                   {mustKeyring(t, w), nil, "option function 0 is nil"},
		"cache that New did not make":    {&cache.Keyring{}, func(*sqsx.Options) {}, "cache.New"},
	} {
		s, err := sqsx.New(tc.keyring, tc.set)
		if _, typed := errors.AsType[*sqsx.ConfigError](err); !typed || s != nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: got %v, %v, want a *ConfigError that speaks of %q", name, s, err, tc.text)
		}
	}
	if _, err := sqsx.New(nil); err == nil {
		t.Error("New took a nil keyring")
	}
	if _, err := sqsx.New((*kmskeyring.Keyring)(nil)); err == nil {
		t.Error("New took a nil *kmskeyring.Keyring")
	}
}

// TestPolicyIsTheMostExact looks at which policy a queue gets.
func TestPolicyIsTheMostExact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := sqsx.Policy{NoSeal: true}
	sealed := sqsx.Policy{}
	for name, tc := range map[string]struct {
		fallback sqsx.Policy
		queues   map[string]sqsx.Policy
		open     map[string]bool // queue: is sent in plaintext
	}{
		"none":               {open, nil, map[string]bool{"orders": true}},
		"exact beats prefix": {sealed, map[string]sqsx.Policy{"orders": open, "ord*": sealed}, map[string]bool{"orders": true, "orders2": false}},
		"longest prefix":     {sealed, map[string]sqsx.Policy{"o*": open, "ord*": sealed, "orders-*": open}, map[string]bool{"o": true, "order": false, "orders-1": true, "x": false}},
		"ARN prefix":         {sealed, map[string]sqsx.Policy{"arn:aws:sqs:us-east-1:*": open, "arn:aws:sqs:*": sealed, "*": sealed}, map[string]bool{"orders": true}},
		"other Region":       {sealed, map[string]sqsx.Policy{"arn:aws:sqs:eu-west-1:*": open}, map[string]bool{"orders": false}},
		"name beats Region":  {sealed, map[string]sqsx.Policy{"arn:aws:sqs:us-east-1:*": sealed, "o*": open}, map[string]bool{"orders": true, "x": false}},
		"whole policy":       {sqsx.Policy{NoSeal: true}, map[string]sqsx.Policy{"orders": {AcceptPlaintext: true}}, map[string]bool{"orders": false, "x": true}},
		"case matters":       {sealed, map[string]sqsx.Policy{"Orders": open}, map[string]bool{"orders": false, "Orders": true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.sealer(func(o *sqsx.Options) { o.Policy, o.Queues = tc.fallback, tc.queues })
			for queue, want := range tc.open {
				out, err := s.SealMessage(t.Context(), arnOf(queue), &sqs.SendMessageInput{MessageBody: aws.String("x")})
				if err != nil {
					t.Fatal(err)
				}
				if got := *out.MessageBody == "x"; got != want {
					t.Errorf("%s: got plaintext %v, want %v", queue, got, want)
				}
			}
		})
	}
	t.Run("an ARN rule cannot be slipped past", func(t *testing.T) {
		s := w.sealer(func(o *sqsx.Options) { o.Policy, o.Queues = open, map[string]sqsx.Policy{arnOf("orders"): sealed} })
		if _, err := s.SealMessage(t.Context(), "orders", &sqs.SendMessageInput{MessageBody: aws.String("x")}); err == nil {
			t.Error("a bare name was sent in plaintext, though the queue may be one to be sealed")
		}
	})
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	context := map[string]string{"app": "before"}
	policies := queues("orders")
	key := bytes.Repeat([]byte("k"), 32)
	s := w.sealer(func(o *sqsx.Options) {
		o.EncryptionContext, o.Queues, o.DeduplicationKey = context, policies, key
	})
	deduplication := func() string {
		out, err := s.SealMessage(t.Context(), arnOf("orders.fifo"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
		if err != nil {
			t.Fatal(err)
		}
		return *out.MessageDeduplicationId
	}
	before := deduplication()
	context["app"] = "after"
	policies["orders"] = sqsx.Policy{NoSeal: true}
	clear(key) // as programs do with a secret that they have handed over
	if deduplication() != before {
		t.Error("the deduplication key is the caller's own slice")
	}
	url, client := w.queue("orders"), s.Wrap(w.plain)
	send(t, client, url, "x")
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId)
	if !info.Sealed || info.EncryptionContext["app"] != "before" {
		t.Errorf("got %+v, want what the options said at construction", info)
	}
}

// TestSlicesInOptionsAreCopied: Options.KMSKeyring holds slices of the
// caller's, which the constructor neither keeps nor writes.
func TestSlicesInOptionsAreCopied(t *testing.T) {
	w := newWorld(t)
	otherKey := w.server.NewKey()
	url := w.queue("orders")
	other, err := sqsx.NewFromConfig(w.cfg, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	send(t, other.Wrap(w.plain), url, "under the other key")

	for name, newSealer := range map[string]func(keyring kmskeyring.Options) (*sqsx.Sealer, error){
		"NewFromConfig": func(ko kmskeyring.Options) (*sqsx.Sealer, error) {
			return sqsx.NewFromConfig(w.cfg, w.key, func(o *sqsx.Options) { o.KMSKeyring = ko })
		},
		"NewFromEnv": func(ko kmskeyring.Options) (*sqsx.Sealer, error) {
			setenv(t, map[string]string{"SEALQ_KEY_ID": w.key, "SEALQ_DECRYPT_KEYS": w.key})
			return sqsx.NewFromEnv(w.cfg, func(o *sqsx.Options) { o.KMSKeyring = ko })
		},
	} {
		keys := append(make([]string, 0, 4), otherKey) // with room to append into
		tokens := append(make([]string, 0, 4), "before")
		s, err := newSealer(kmskeyring.Options{DecryptKeys: keys, GrantTokens: tokens})
		if err != nil {
			t.Fatal(err)
		}
		for what, slice := range map[string][]string{"DecryptKeys": keys, "GrantTokens": tokens} {
			if diff := cmp.Diff([]string{"", "", ""}, slice[1:cap(slice)]); diff != "" {
				t.Errorf("%s wrote into the caller's %s: %s", name, what, diff)
			}
		}
		keys[0], tokens[0] = w.key, "after"

		client := s.Wrap(w.plain)
		out, err := receive(t.Context(), client, url)
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("%s: got %v, want the message under the key that DecryptKeys had at construction", name, err)
		}
		if _, err := w.plain.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle, VisibilityTimeout: 0,
		}); err != nil {
			t.Fatal(err)
		}
		if body := string(w.last("kms:Decrypt").Body); !strings.Contains(body, `"before"`) || strings.Contains(body, `"after"`) {
			t.Errorf("%s: got %s, want the grant token of the time of construction", name, body)
		}
	}
}

// TestRegionOfURLs gives New, which has no config to take it from, a Region.
func TestRegionOfURLs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const url = "https://sqs.eu-west-3.amazonaws.com/111122223333/orders"
	in := &sqs.SendMessageInput{MessageBody: aws.String("x")}
	for name, optFn := range map[string]func(*sqsx.Options){"none": func(*sqsx.Options) {}, "set": func(o *sqsx.Options) { o.Region = "eu-west-3" }} {
		s, err := sqsx.New(mustKeyring(t, w), optFn)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := s.SealMessage(t.Context(), url, in)
		if name == "none" {
			if err == nil || !strings.Contains(err.Error(), "Options.Region") {
				t.Errorf("without a Region: got %v, want an error that speaks of Options.Region", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		received := []types.Message{{Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes}}
		if opened, withheld := s.OpenMessages(t.Context(), "arn:aws:sqs:eu-west-3:111122223333:orders", received); len(opened) != 1 {
			t.Errorf("what was sealed for the URL does not open for the queue's ARN: %v", withheld)
		}
	}
}

func TestEncryptionContextMustBePresentAndEqual(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	with := func(ec map[string]string) func(*sqsx.Options) {
		return func(o *sqsx.Options) { o.EncryptionContext = ec }
	}
	for name, tc := range map[string]struct {
		sent, wanted map[string]string
		opens        bool
	}{
		"equal":            {map[string]string{"app": "a"}, map[string]string{"app": "a"}, true},
		"further":          {map[string]string{"app": "a", "more": "m"}, map[string]string{"app": "a"}, true},
		"differs":          {map[string]string{"app": "a"}, map[string]string{"app": "b"}, false},
		"another spelling": {map[string]string{"APP": "a"}, map[string]string{"app": "a"}, false},
		"absent":           {nil, map[string]string{"app": "a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := w.sealer(with(tc.sent)).SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
			if err != nil {
				t.Fatal(err)
			}
			consumer := w.sealer(with(tc.wanted))
			messages, withheld := consumer.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: out.MessageBody, MessageAttributes: out.MessageAttributes}})
			if (len(messages) == 1) != tc.opens {
				t.Errorf("got %d messages, want it to open: %v", len(messages), tc.opens)
			}
			for _, e := range withheld {
				if !errors.Is(e, envelope.ErrContextMismatch) || !strings.Contains(e.Error(), "producer and consumer") || strings.Contains(e.Error(), `"a"`) {
					t.Errorf("got %v, want ErrContextMismatch without values", e)
				}
			}
		})
	}
}

func TestPolicyKeyring(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, err := envelope.NewRawAESKeyring("test", "key", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	s := w.sealer(func(o *sqsx.Options) { o.Queues = map[string]sqsx.Policy{"raw*": {Keyring: raw}} })
	client := s.Wrap(w.plain)
	requireSealed(t, w, client, w.queue("raw1"))
	requireSealed(t, w, client, w.queue("raw2"))
	if got := w.count("kms:GenerateDataKey"); got != 0 {
		t.Errorf("got %d KMS calls for queues with a keyring of their own, want none", got)
	}
	if got := s.Stats().Cache.Fetches; got != 4 {
		t.Errorf("got %d fetches through the cache, want 4", got)
	}
	requireSealed(t, w, client, w.queue("kms"))
}

func TestCacheAndKMSOptionsAreUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := 0
	s := w.sealer(func(o *sqsx.Options) {
		o.Cache.MaxMessages = 1
		o.KMS = []func(*kms.Options){func(*kms.Options) { seen++ }}
		o.KMSKeyring.GrantTokens = []string{"a-grant-token"}
	})
	url, client := w.queue("orders"), s.Wrap(w.plain)
	send(t, client, url, "x")
	send(t, client, url, "x")
	if got := w.count("kms:GenerateDataKey"); got != 2 {
		t.Errorf("got %d data keys for two messages at MaxMessages 1, want 2", got)
	}
	if seen == 0 {
		t.Error("Options.KMS was not used")
	}
	if !strings.Contains(string(w.last("kms:GenerateDataKey").Body), "a-grant-token") {
		t.Error("Options.KMSKeyring was not used")
	}
}

func (w *world) last(action string) (last sqsxtest.Request) {
	for _, r := range w.server.Requests() {
		if r.Action == action {
			last = r
		}
	}
	return last
}
