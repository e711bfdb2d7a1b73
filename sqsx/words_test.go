package sqsx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// sealedBy returns a message to the queue "orders" as a Sealer seals it.
func sealedBy(t testing.TB, s *sqsx.Sealer) types.Message {
	t.Helper()
	out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("the plaintext")})
	if err != nil {
		t.Fatal(err)
	}
	return types.Message{MessageId: aws.String("m"), Body: out.MessageBody, MessageAttributes: out.MessageAttributes}
}

// explain returns what a consumer of "orders" is told of a message that does
// not open: the error, and the log line.
func explain(t testing.TB, w *world, m types.Message, optFns ...func(*sqsx.Options)) (line string, e error) {
	t.Helper()
	var log bytes.Buffer
	s := w.sealer(append(optFns, func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })...)
	_, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m})
	if len(withheld) != 1 {
		t.Fatalf("got %d messages withheld, want the one", len(withheld))
	}
	return log.String(), withheld[0].Err
}

func logical(name string) func(*sqsx.Options) {
	return func(o *sqsx.Options) { o.Policy.LogicalQueue = name }
}

func notification(message string) types.Message {
	return types.Message{MessageId: aws.String("m"), Body: aws.String(fmt.Sprintf("{\n  \"Type\" : \"Notification\",\n  \"MessageId\" : \"1\",\n  \"TopicArn\" : \"arn:aws:sns:us-east-1:000000000000:t\",\n  \"Message\" : %q\n}", message))}
}

// underAnotherContext is a keyring whose data keys are bound to a context that
// is not the message's, so that AWS KMS has the key and cannot decrypt.
type underAnotherContext struct{ envelope.Keyring }

func (k underAnotherContext) GenerateDataKey(ctx context.Context, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.Keyring.GenerateDataKey(ctx, envelope.EncryptionContext{"another": "context"})
}

// misfit is a message that does not open because two settings do not fit
// together, or because it took a way that it should not have taken.
type misfit struct {
	message   types.Message
	consumer  []func(*sqsx.Options)
	diagnosis string   // in the log line
	want      []string // in the error, and in the log line
	never     []string // in either: advice that would not help, or harm
}

func misfits(t testing.TB, w *world) map[string]misfit {
	t.Helper()
	own := func(pairs map[string]string) func(*sqsx.Options) {
		return func(o *sqsx.Options) { o.EncryptionContext = pairs }
	}
	production := own(map[string]string{"environment": "production"})
	foreign, err := sqsx.NewFromConfig(w.cfg, w.newKey())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := envelope.NewRawAESKeyring("test", "key", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	ofRaw, err := sqsx.New(raw)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := sqsx.New(underAnotherContext{mustKeyring(t, w)})
	if err != nil {
		t.Fatal(err)
	}
	sealed := sealedBy(t, w.sealer())
	bodyAlone := sealed
	bodyAlone.MessageAttributes = nil
	for _, s := range []*sqsx.Sealer{foreign, ofRaw, elsewhere} {
		if s == nil {
			t.Fatal("a producer is missing")
		}
	}
	return map[string]misfit{
		"pair absent": {sealed, []func(*sqsx.Options){production}, "sealed under another encryption context",
			[]string{"Options.EncryptionContext", "SEALQ_ENCRYPTION_CONTEXT", `has no \"environment\"`}, []string{"Options.context", "production"}},
		"pair differs": {sealedBy(t, w.sealer(own(map[string]string{"environment": "staging"}))), []func(*sqsx.Options){production}, "sealed under another encryption context",
			[]string{"Options.EncryptionContext", "SEALQ_ENCRYPTION_CONTEXT", `another value of \"environment\"`}, []string{"Options.context", "production", "staging"}},
		"LogicalQueue of the producer only": {sealedBy(t, w.sealer(logical("orders"))), nil, "sealed for another logical queue",
			[]string{"Policy.LogicalQueue", "on both"}, []string{"AcceptQueues"}},
		"LogicalQueue of the consumer only": {sealed, []func(*sqsx.Options){logical("orders")}, "sealed for another logical queue",
			[]string{"Policy.LogicalQueue", "on both", "add that ARN to Policy.AcceptQueues"}, []string{"add that queue"}},
		"two LogicalQueues": {sealedBy(t, w.sealer(logical("blue"))), []func(*sqsx.Options){logical("green")}, "sealed for another logical queue",
			[]string{"Policy.LogicalQueue", "on both"}, []string{"AcceptQueues"}},
		"NoBinding of the producer only": {sealedBy(t, w.sealer(func(o *sqsx.Options) { o.Policy.NoBinding = true })), nil, "sealed for no queue",
			[]string{"NoBinding", "SEALQ_NO_BINDING", "every queue"}, []string{"AcceptQueues"}},
		"plaintext": {types.Message{MessageId: aws.String("m"), Body: aws.String("hello")}, nil, "not sealed",
			[]string{"install sealq in its producer", "Only while producers are being migrated", "SEALQ_ACCEPT_PLAINTEXT", "anyone who may send", "forge"}, nil},
		"SNS notification": {notification("hello"), nil, "SNS notification",
			[]string{"SNS does not seal", "RawMessageDelivery", "snsx", "SealMessage", "Policy.AcceptTopics"}, []string{"AcceptPlaintext", "ACCEPT_PLAINTEXT"}},
		"SNS notification, compact": {types.Message{MessageId: aws.String("m"), Body: aws.String(`{"MessageId":"1","Type":"Notification","Message":"hello"}`)}, nil, "SNS notification",
			[]string{"SNS does not seal"}, []string{"AcceptPlaintext", "ACCEPT_PLAINTEXT"}},
		"JSON of another type": {types.Message{MessageId: aws.String("m"), Body: aws.String(`{"Type":"Order","Message":"Notification"}`)}, nil, "not sealed",
			[]string{"install sealq in its producer"}, []string{"SNS"}},
		"attribute lost": {bodyAlone, nil, "header lost",
			[]string{`\"sealq\" attribute`, "copy attributes", "MessageAttributeNames", "convert MessageAttributes", "SEALQ_BODY_CARRIER"}, nil},
		"key not configured": {sealedBy(t, foreign), nil, "sealed under a key that is not configured",
			[]string{"kmskeyring.Options.DecryptKeys", "sqsx.Options.KMSKeyring", "SEALQ_DECRYPT_KEYS"}, []string{"append("}},
		"branch key": {sealedBy(t, w.keyStore("orders").sealer()), nil, "sealed under a key that is not configured",
			[]string{"branch key", "sqsx.Options.OpenKeyStore", "SEALQ_KEY_STORE_TABLE", "SEALQ_KEY_STORE_OPEN_ONLY"}, []string{"DecryptKeys"}},
		"key of another kind": {sealedBy(t, ofRaw), nil, "sealed under a key that is not configured",
			[]string{"another kind of keyring"}, []string{"DecryptKeys"}},
		"key cannot decrypt": {sealedBy(t, elsewhere), nil, "not decrypted by its key",
			[]string{"InvalidCiphertextException", "altered"}, []string{"DecryptKeys"}},
	}
}

// TestRemedies: what a person is told at night helps, and is not dangerous.
func TestRemedies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, m := range misfits(t, w) {
		t.Run(name, func(t *testing.T) {
			line, err := explain(t, w, m.message, m.consumer...)
			if want := `msg="sealq: message withheld: ` + m.diagnosis + `"`; !strings.Contains(line, want) {
				t.Errorf("got the log line %s, want %s in it", line, want)
			}
			if !strings.Contains(line, "remedy=") || strings.Contains(line, `remedy=""`) {
				t.Errorf("the log line has no remedy: %s", line)
			}
			quoted := fmt.Sprintf("%q", err.Error()) // as in the log line
			for _, text := range []string{quoted, line} {
				for _, want := range m.want {
					if !strings.Contains(text, want) {
						t.Errorf("got %s, want %q in it", text, want)
					}
				}
				for _, never := range m.never {
					if strings.Contains(text, never) {
						t.Errorf("got %s, want no word of %q", text, never)
					}
				}
			}
		})
	}
}

// TestRemediesHelp does what the error says, where that is a setting.
func TestRemediesHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bound := sealedBy(t, w.sealer())
	for name, test := range map[string]struct {
		message  types.Message
		consumer func(*sqsx.Options)
	}{
		"the same LogicalQueue on both": {sealedBy(t, w.sealer(logical("orders"))), logical("orders")},
		"the old ARN in AcceptQueues meanwhile": {bound, func(o *sqsx.Options) {
			o.Policy = sqsx.Policy{LogicalQueue: "orders", AcceptQueues: []string{arnOf("orders")}}
		}},
		"NoBinding on the consumer, of no queue":    {sealedBy(t, w.sealer(func(o *sqsx.Options) { o.Policy.NoBinding = true })), func(o *sqsx.Options) { o.Policy.NoBinding = true }},
		"the same pairs of EncryptionContext again": {sealedBy(t, w.sealer(func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"a": "b"} })), func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"a": "b"} }},
	} {
		opened, withheld := w.sealer(test.consumer).OpenMessages(t.Context(), arnOf("orders"), []types.Message{test.message})
		if len(opened) != 1 {
			t.Errorf("%s: got %v", name, withheld)
		}
	}
	// The remedy that there is not.
	_, err := sqsx.NewFromConfig(w.cfg, w.key, func(o *sqsx.Options) { o.Policy.AcceptQueues = []string{"orders"} })
	if err == nil || !strings.Contains(err.Error(), "set the same LogicalQueue") {
		t.Errorf("a logical name in AcceptQueues: got %v, want it to speak of LogicalQueue", err)
	}
}

// TestOpenedMessagesAreRecognised gives OpenMessages what a client delivered
// opened, and what OpenMessages itself returned.
func TestOpenedMessagesAreRecognised(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log bytes.Buffer
	s := w.sealer(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	client, url := s.Wrap(w.plain), w.queue("orders")
	send(t, client, url, "one")
	send(t, w.plain, url, "never sealed")
	send(t, client, url, "two")
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	log.Reset()
	_, again := s.OpenMessages(t.Context(), arnOf("orders"), out.Messages)
	opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{sealedBy(t, s)})
	if len(opened) != 1 {
		t.Fatalf("got %v", withheld)
	}
	_, twice := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{opened[0].Message})
	if len(again) != 2 || len(twice) != 1 {
		t.Fatalf("got %d and %d messages withheld, want 2 and 1", len(again), len(twice))
	}
	for _, e := range append(again, twice...) {
		if !errors.Is(e, sqsx.ErrNotSealed) || !strings.Contains(e.Error(), "has opened the message already") || strings.Contains(e.Error(), "AcceptPlaintext") {
			t.Errorf("got %v, want ErrNotSealed that says the message was opened, and does not advise to accept plaintext", e)
		}
	}
	if line := log.String(); !strings.Contains(line, "withheld: opened already") || strings.Contains(line, "ACCEPT_PLAINTEXT") {
		t.Errorf("got the log line %s", line)
	}
	// A message without an ID is not taken for another without one.
	_, noID := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: aws.String("hello")}})
	if len(noID) != 1 || !strings.Contains(noID[0].Error(), "install sealq in its producer") {
		t.Errorf("got %v for a message without an ID", noID)
	}
}

// TestNoTimeLeft: the end of the caller's own time is not an outage of KMS.
func TestNoTimeLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log bytes.Buffer
	s := w.sealer(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	messages := slices.Repeat([]types.Message{sealedBy(t, s)}, 11) // more than are opened at once
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, withheld := s.OpenMessages(ctx, arnOf("orders"), messages)
	if len(withheld) == 0 {
		t.Fatal("all messages were opened after the caller's time")
	}
	if line := log.String(); !strings.Contains(line, "withheld: no time left") || strings.Contains(line, "KMS can be reached") {
		t.Errorf("got the log line %s", line)
	}
}

// TestQueueWithoutAccount: an emulator's URL is a full one, and has no account.
func TestQueueWithoutAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const url = "http://localhost:9324/queue/orders"
	for name, s := range map[string]*sqsx.Sealer{
		"binding": w.sealer(func(o *sqsx.Options) { o.Region = "us-east-1" }),
		"policy by ARN": w.sealer(func(o *sqsx.Options) {
			o.Region, o.Queues = "us-east-1", map[string]sqsx.Policy{arnOf("orders"): {}}
		}),
	} {
		err := s.Check(t.Context(), url)
		if err == nil {
			t.Errorf("%s: an unknown account passed", name)
			continue
		}
		for _, want := range []string{url, "no account of 12 digits", "Options.Account", "SEALQ_ACCOUNT"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", name, err, want)
			}
		}
		if strings.Contains(err.Error(), "full queue URL") {
			t.Errorf("%s: got %v, which asks for what was given", name, err)
		}
	}
}

func TestWrapOfANilClientSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.sealer().Wrap(nil)
	url := w.queue("orders")
	_, sent := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
	_, received := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url})
	_, other := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url})
	for _, err := range []error{sent, received, other} {
		if err == nil || !strings.Contains(err.Error(), "Wrap was given a nil *sqs.Client") {
			t.Errorf("got %v, want it to say that the client was nil", err)
		}
		if errors.Is(err, sqsx.ErrUninitialized) {
			t.Errorf("got %v, want no word of the Sealer, which is in order", err)
		}
	}
}

// saidTwice returns a run of words that a text has twice, or "".
func saidTwice(text string) string {
	const run = 5
	words := strings.Fields(text)
	for i := range words {
		words[i] = strings.Trim(words[i], "\"\\;:,.()")
	}
	seen := make(map[string]bool)
	for i := 0; i+run <= len(words); i++ {
		phrase := strings.Join(words[i:i+run], " ")
		if seen[phrase] {
			return phrase
		}
		seen[phrase] = true
	}
	return ""
}

// TestEachCauseIsSaidOnce: neither an error nor a log line says a thing twice.
func TestEachCauseIsSaidOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	once := func(name, text string) {
		t.Helper()
		if phrase := saidTwice(text); phrase != "" {
			t.Errorf("%s: %q is said twice in: %s", name, phrase, text)
		}
	}
	for name, m := range misfits(t, w) {
		line, err := explain(t, w, m.message, m.consumer...)
		once(name, err.Error())
		once(name+", log line", line)
	}
	for _, m := range badMessages(t, w, "orders") {
		line, err := explain(t, w, types.Message{MessageId: aws.String("m"), Body: &m.body, MessageAttributes: m.attributes})
		once(m.name, err.Error())
		once(m.name+", log line", line)
	}

	const longest = 520 // bytes; before, 755 to 861
	disabled := w.newKey()
	if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &disabled}); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{
		"alias that does not exist":  "alias/nosuch",
		"key ID that does not exist": "11112222-3333-4444-5555-666677778888",
		"disabled key":               disabled,
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		s, err := sqsx.NewFromConfig(w.cfg, keys[name])
		if err != nil {
			t.Fatal(err)
		}
		err = s.Check(t.Context(), w.queue("orders"))
		failed, ok := errors.AsType[*sqsx.CheckError](err)
		if !ok || failed.Seal == nil || failed.Open == nil {
			t.Fatalf("%s: got %v, want an error of both halves", name, err)
		}
		once(name, err.Error())
		if !strings.Contains(err.Error(), "cannot seal or open: ") || len(err.Error()) > longest {
			t.Errorf("%s: got %d bytes, want at most %d, for both halves together: %v", name, len(err.Error()), longest, err)
		}
	}
	w.server.Intercept(kmsFails(errors.New("no route")))
	err := w.sealer().Check(t.Context(), w.queue("orders"))
	if err == nil || !strings.Contains(err.Error(), "cannot seal or open: ") {
		t.Errorf("KMS unreachable: got %v, want one cause for both halves", err)
	}
	once("KMS unreachable", err.Error())
}

// TestTwoCausesAreBothSaid: what concerns one half only is not taken for the
// cause of both.
func TestTwoCausesAreBothSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Intercept(kmsFails(&smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}))
	err := w.sealer().Check(t.Context(), w.queue("orders"))
	for _, want := range []string{"cannot seal: ", "kms:GenerateDataKey", "cannot open: ", "kms:Decrypt"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
