package sqsx_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
)

// badMessage is a message that must not be delivered.
type badMessage struct {
	name       string
	body       string
	attributes map[string]types.MessageAttributeValue
	want       error
	text       string // in the error
}

// badMessages returns one of each kind. All are made from real sealed ones.
func badMessages(t testing.TB, w *world, queue string) []badMessage {
	t.Helper()
	sealFor := func(s *sqsx.Sealer, queue string) (string, map[string]types.MessageAttributeValue) {
		out, err := s.SealMessage(t.Context(), arnOf(queue), &sqs.SendMessageInput{MessageBody: aws.String("the plaintext")})
		if err != nil {
			t.Fatal(err)
		}
		return *out.MessageBody, out.MessageAttributes
	}
	header := func(b []byte) map[string]types.MessageAttributeValue {
		return map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("Binary"), BinaryValue: b}}
	}
	text := func(s string) map[string]types.MessageAttributeValue {
		return map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("String"), StringValue: &s}}
	}
	flipped := func(b []byte, i int) []byte { b = bytes.Clone(b); b[i] ^= 1; return b }

	good, goodAttributes := sealFor(w.sealer(), queue)
	goodHeader := goodAttributes["sealq"].BinaryValue
	goodBody, _ := base64.StdEncoding.DecodeString(good)
	whole := append(bytes.Clone(goodHeader), goodBody...)

	foreignKey, err := sqsx.NewFromConfig(w.cfg, w.newKey())
	if err != nil {
		t.Fatal(err)
	}
	foreignBody, foreignAttributes := sealFor(foreignKey, queue)
	otherBody, otherAttributes := sealFor(w.sealer(), "another-queue")

	raw, err := envelope.NewRawAESKeyring("test", "key", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	rawSealer, err := sqsx.New(raw)
	if err != nil {
		t.Fatal(err)
	}
	rawBody, rawAttributes := sealFor(rawSealer, queue)

	future, err := envelope.Seal(t.Context(), mustKeyring(t, w), []byte("compressed"), envelope.EncryptionContext{"sealq:queue": arnOf(queue), "sealq:compression": "zstd"})
	if err != nil {
		t.Fatal(err)
	}
	unbound, err := envelope.Seal(t.Context(), mustKeyring(t, w), []byte("unbound"), envelope.EncryptionContext{"tenant": "x"})
	if err != nil {
		t.Fatal(err)
	}
	shouting, err := envelope.Seal(t.Context(), mustKeyring(t, w), []byte("x"), envelope.EncryptionContext{"sealq:queue": arnOf(queue), "SEALQ:QUEUE": arnOf("another-queue")})
	if err != nil {
		t.Fatal(err)
	}
	long, err := envelope.Seal(t.Context(), mustKeyring(t, w), []byte("x"), envelope.EncryptionContext{"sealq:queue": arnOf(queue), "ſealq:queue": arnOf("another-queue")})
	if err != nil {
		t.Fatal(err)
	}
	// The count of encrypted data keys follows the context: version 1 byte,
	// suite 2, message ID 32, context length 2, context.
	at := 37 + int(goodHeader[35])<<8 + int(goodHeader[36])
	manyKeys := bytes.Clone(goodHeader)
	manyKeys[at], manyKeys[at+1] = 0xff, 0xff

	sns := func(message string, attributes string) string {
		encoded, _ := json.Marshal(message)
		return fmt.Sprintf(`{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:us-east-1:000000000000:t","Message":%s%s}`, encoded, attributes)
	}
	b64 := base64.StdEncoding.EncodeToString
	return []badMessage{
		{"tampered body", b64(flipped(goodBody, 30)), header(goodHeader), envelope.ErrAuthentication, ""},
		{"tampered header", good, header(flipped(goodHeader, 10)), envelope.ErrAuthentication, ""},
		{"tampered whole in the body", b64(flipped(whole, len(whole)-1)), nil, envelope.ErrAuthentication, ""},
		{"truncated body", b64(goodBody[:len(goodBody)-1]), header(goodHeader), envelope.ErrMalformed, ""},
		{"truncated header", good, header(goodHeader[:len(goodHeader)-1]), envelope.ErrMalformed, ""},
		{"truncated whole in the body", b64(whole[:100]), nil, envelope.ErrMalformed, ""},
		{"halves of two messages", foreignBody, header(goodHeader), envelope.ErrAuthentication, ""},
		{"key of the same account", foreignBody, foreignAttributes, envelope.ErrNoMatchingKey, "DecryptKeys"},
		{"key of another provider", rawBody, rawAttributes, envelope.ErrNoMatchingKey, ""},
		{"wrong queue", otherBody, otherAttributes, envelope.ErrContextMismatch, "AcceptQueues"},
		{"no queue", b64(unbound.Body), header(unbound.Header), envelope.ErrContextMismatch, "NoBinding"},
		{"attribute lost", good, nil, envelope.ErrMalformed, "attribute was lost"},
		{"attribute of another type", good, map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("String"), StringValue: aws.String("x")}}, envelope.ErrMalformed, "Binary"},
		{"attribute beside plaintext", "plaintext", header(goodHeader), envelope.ErrMalformed, "base64"},
		{"line breaks in base64", good[:20] + "\n" + good[20:], header(goodHeader), envelope.ErrMalformed, "line breaks"},
		{"unpadded base64", strings.TrimRight(b64(append(goodBody, 0)), "="), header(goodHeader), envelope.ErrMalformed, ""},
		{"unknown sealq: context", b64(future.Body), header(future.Header), envelope.ErrUnsupported, "upgrade"},
		{"plaintext", "hello", nil, sqsx.ErrNotSealed, ""},
		{"SNS envelope with the attribute", sns(good, `,"MessageAttributes":{"sealq":{"Type":"Binary","Value":"AA=="}}`), nil, envelope.ErrUnsupported, "RawMessageDelivery"},
		{"SNS envelope with a sealed body", sns(b64(whole), ""), nil, envelope.ErrUnsupported, "RawMessageDelivery"},
		{"SNS envelope, attribute lost", sns(good, ""), nil, envelope.ErrUnsupported, "RawMessageDelivery"},
		{"65,535 keys", good, header(manyKeys), envelope.ErrInvalidMessage, "65535"},
		{"sealed body in quotation marks", `"` + b64(whole) + `"`, nil, envelope.ErrMalformed, "rewrites bodies"},
		{"sealed body after a line break", "\n" + b64(whole), nil, envelope.ErrMalformed, "rewrites bodies"},
		{"half a message in quotation marks", `"` + good + `"`, nil, envelope.ErrMalformed, "rewrites bodies"},
		{"SNS envelope with odd attributes", sns("plain", `,"MessageAttributes":{"sealq":"x","other":1}`), nil, envelope.ErrUnsupported, "RawMessageDelivery"},
		{"SNS envelope with attributes as a list", sns("plain", `,"MessageAttributes":[{"Name":"sealq"}]`), nil, envelope.ErrUnsupported, "RawMessageDelivery"},
		{"another spelling of sealq: that folds", b64(long.Body), header(long.Header), envelope.ErrUnsupported, "upgrade"},
		{"another spelling of sealq:", b64(shouting.Body), header(shouting.Header), envelope.ErrUnsupported, "upgrade"},
		{"a later version of the format", good, header(append([]byte{3}, goodHeader[1:]...)), envelope.ErrUnsupported, "upgrade"},
		{"header in base64 once more", good, header([]byte(b64(goodHeader))), envelope.ErrMalformed, "binaryValue"},
		{"header in base64 twice more", good, header([]byte(b64([]byte(b64(goodHeader))))), envelope.ErrMalformed, "binaryValue"},
		{"header in hex", good, header([]byte(hex.EncodeToString(goodHeader))), envelope.ErrMalformed, "binaryValue"},
		{"header as text in base64", good, text(b64(goodHeader)), envelope.ErrMalformed, "decode it where the message was copied"},
		{"header as text in hex", good, text(hex.EncodeToString(goodHeader)), envelope.ErrMalformed, "decode it where the message was copied"},
		{"body in base64 once more", b64([]byte(good)), header(goodHeader), envelope.ErrMalformed, "base64 of its base64"},
		{"body in hex", hex.EncodeToString(goodBody), header(goodHeader), envelope.ErrMalformed, "hex"},
		{"whole in base64 once more", b64([]byte(b64(whole))), nil, envelope.ErrMalformed, "base64 of its base64"},
		{"whole in hex", hex.EncodeToString(whole), nil, envelope.ErrMalformed, "hex"},
		{"version 1, lines broken", "AYADeI" + strings.Repeat("A", 70) + "\r\n" + strings.Repeat("A", 20), nil, envelope.ErrUnsupported, "version 1"},
		{"version 1", "AYADeI" + strings.Repeat("A", 98), nil, envelope.ErrUnsupported, "version 1"},
	}
}

func mustKeyring(t testing.TB, w *world) envelope.Keyring {
	t.Helper()
	kr, err := kmskeyring.New(w.kms, w.key)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}

func (w *world) put(url string, m badMessage) {
	w.t.Helper()
	if _, err := w.plain.SendMessage(w.t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &m.body, MessageAttributes: m.attributes}); err != nil {
		w.t.Fatal(err)
	}
}

// TestBadMessagesAreWithheld puts each kind beside a healthy message: the
// healthy one is delivered, the bad one reported by metadata, callback and log.
func TestBadMessagesAreWithheld(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{false, true} {
		for i, bad := range badMessages(t, newWorld(t), "orders") {
			if accept && errors.Is(bad.want, sqsx.ErrNotSealed) {
				continue
			}
			t.Run(fmt.Sprintf("%s/accept plaintext %v", bad.name, accept), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				url := w.queue("orders")
				var log bytes.Buffer
				var called []*sqsx.OpenError
				client := w.client(func(o *sqsx.Options) {
					o.Logger = slog.New(slog.NewTextHandler(&log, nil))
					o.OnWithheld = func(_ context.Context, e *sqsx.OpenError) { called = append(called, e) }
					o.Policy.AcceptPlaintext = accept
				})
				w.put(url, badMessages(t, w, "orders")[i])
				send(t, client, url, "healthy")

				out, err := receive(t.Context(), client, url)
				if err != nil {
					t.Fatal(err)
				}
				if got := bodies(out.Messages); !slices.Equal(got, []string{"healthy"}) {
					t.Fatalf("got %q delivered, want the healthy message", got)
				}
				withheld := sqsx.Withheld(out.ResultMetadata)
				if len(withheld) != 1 || len(called) != 1 || withheld[0] != called[0] {
					t.Fatalf("got %d in the metadata and %d calls of OnWithheld, want the same one", len(withheld), len(called))
				}
				e := withheld[0]
				if !errors.Is(e, bad.want) || !errors.Is(e, envelope.ErrInvalidMessage) || e.Temporary {
					t.Errorf("got %v (temporary %v), want %v, not temporary", e, e.Temporary, bad.want)
				}
				if !strings.Contains(e.Error(), bad.text) {
					t.Errorf("the error does not speak of %q: %v", bad.text, e)
				}
				if e.Message.ReceiptHandle == nil {
					t.Error("the withheld message has no receipt handle")
				}
				if !strings.Contains(log.String(), "remedy=") || !strings.Contains(log.String(), arnOf("orders")) {
					t.Errorf("the log line names no remedy or not the queue: %s", log.String())
				}
				for _, text := range []string{e.Error(), log.String()} {
					if strings.Contains(text, "the plaintext") {
						t.Errorf("plaintext in %q", text)
					}
				}
			})
		}
	}
}

// TestBadMessagesReachTheDeadLetterQueue lets each kind be received until the
// redrive policy moves it. On the way every receive fails, and carries it.
func TestBadMessagesReachTheDeadLetterQueue(t *testing.T) {
	t.Parallel()
	for i, bad := range badMessages(t, newWorld(t), "orders") {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, dlq := w.withDLQ("orders", 3)
				client := w.client()
				w.put(url, badMessages(t, w, "orders")[i])
				failures := 0
				for start := time.Now(); len(w.server.Stored(url)) > 0 && time.Since(start) < 12*time.Hour; {
					out, err := receive(t.Context(), client, url)
					switch failed, ok := errors.AsType[*sqsx.ReceiveError](err); {
					case ok:
						failures++
						if len(failed.Withheld) != 1 || !errors.Is(err, bad.want) {
							t.Errorf("got %v, want the one message for %v", err, bad.want)
						}
					case errors.Is(err, sqsx.ErrHeld):
					case err != nil:
						t.Fatal(err)
					case len(out.Messages) > 0:
						t.Fatalf("got %q delivered", bodies(out.Messages))
					}
					time.Sleep(31 * time.Second) // the visibility timeout is 30 s
				}
				if failures != 3 {
					t.Errorf("got %d receives with a *ReceiveError, want 3", failures)
				}
				if got := len(w.server.Stored(dlq)); got != 1 {
					t.Errorf("got %d messages in the dead-letter queue, want 1", got)
				}
				if got := len(w.server.Stored(url)); got != 0 {
					t.Errorf("got %d messages in the queue, want none", got)
				}
			})
		})
	}
}

// TestDeadLetterQueue follows good messages of a broken consumer: they are
// opened from the dead-letter queue, and again after a move back or elsewhere.
func TestDeadLetterQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, dlq := w.withDLQ("orders", 1)
		elsewhere := w.queue("elsewhere")
		// NoHold: what does not open is to come back after the visibility timeout.
		client := w.client(func(o *sqsx.Options) { o.Policy.NoHold = true })
		strict := w.client(func(o *sqsx.Options) { o.Policy.StrictQueue, o.Policy.NoHold = true, true })
		accepting := w.client(func(o *sqsx.Options) {
			o.Queues = map[string]sqsx.Policy{"elsewhere": {AcceptQueues: []string{arnOf("orders")}}}
		})
		send(t, client, url, "good")

		get := func(c *sqs.Client, url string) ([]string, error) {
			out, err := receive(t.Context(), c, url)
			if err != nil {
				time.Sleep(40 * time.Second)
				return nil, err
			}
			time.Sleep(40 * time.Second) // let it become visible again
			return bodies(out.Messages), nil
		}
		want := []string{"good"}
		if got, err := get(client, url); err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %q, %v from the queue", got, err)
		}
		if got, err := get(client, url); err != nil || len(got) > 0 {
			t.Fatalf("got %q, %v, want the message to be in the dead-letter queue", got, err)
		}
		if got, err := get(client, dlq); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v from the dead-letter queue", got, err)
		}
		if _, err := get(strict, dlq); !errors.Is(err, envelope.ErrContextMismatch) {
			t.Errorf("got %v with StrictQueue, want ErrContextMismatch", err)
		}

		move := func(from, to string) {
			t.Helper()
			in := &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnOf(from))}
			if to != "" {
				in.DestinationArn = aws.String(arnOf(to))
			}
			if _, err := client.StartMessageMoveTask(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		move("orders-dlq", "elsewhere")
		if _, err := get(client, elsewhere); !errors.Is(err, envelope.ErrContextMismatch) {
			t.Errorf("got %v from a queue that the message was moved to, want ErrContextMismatch", err)
		}
		if got, err := get(accepting, elsewhere); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v with AcceptQueues", got, err)
		}

		send(t, client, url, "good")
		get(client, url)
		get(client, url)
		move("orders-dlq", "")
		if got, err := get(client, url); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v after the move back", got, err)
		}
	})
}

// TestDeadLetterQueueOfALogicalQueue has the dead-letter queue accept what its
// source's policy writes.
func TestDeadLetterQueueOfALogicalQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, dlq := w.withDLQ("orders", 1)
		client := w.client(func(o *sqsx.Options) { o.Queues = map[string]sqsx.Policy{"orders": {LogicalQueue: "all-orders"}} })
		send(t, client, url, "good")
		for range 2 {
			if _, err := receive(t.Context(), client, url); err != nil {
				t.Fatal(err)
			}
			time.Sleep(31 * time.Second)
		}
		out, err := receive(t.Context(), client, dlq)
		if err != nil || !slices.Equal(bodies(out.Messages), []string{"good"}) {
			t.Errorf("got %v", err)
		}
	})
}

// TestFIFOGroupIsHeldBehindABadMessage keeps the order that the user bought.
func TestFIFOGroupIsHeldBehindABadMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders.fifo"), w.client()
	put := func(c *sqs.Client, group, body string) {
		t.Helper()
		if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &body}); err != nil {
			t.Fatal(err)
		}
	}
	put(client, "a", "a1")
	put(w.plain, "a", "poison")
	put(client, "a", "a2")
	put(client, "b", "b1")
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	got := bodies(out.Messages)
	slices.Sort(got)
	if !slices.Equal(got, []string{"a1", "b1"}) {
		t.Errorf("got %q, want a1 and b1", got)
	}
	var poison, held int
	for _, e := range sqsx.Withheld(out.ResultMetadata) {
		switch {
		case errors.Is(e, sqsx.ErrNotSealed):
			poison++
		case errors.Is(e, sqsx.ErrGroupHeld) && !errors.Is(e, envelope.ErrInvalidMessage):
			held++
		}
	}
	if poison != 1 || held != 1 {
		t.Errorf("got %d poison and %d held, want one each", poison, held)
	}
}

// TestNoBindingOpensWhatNamesNoQueue is the policy for messages of producers
// that are not sealq.
func TestNoBindingOpensWhatNamesNoQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealed, err := envelope.Seal(t.Context(), mustKeyring(t, w), []byte("x"), envelope.EncryptionContext{"tenant": "a"})
	if err != nil {
		t.Fatal(err)
	}
	messages := []types.Message{{Body: aws.String(base64.StdEncoding.EncodeToString(sealed.Bytes()))}}
	for noBinding, want := range map[bool]int{false: 0, true: 1} {
		s := w.sealer(func(o *sqsx.Options) { o.Policy.NoBinding = noBinding })
		if opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), messages); len(opened) != want {
			t.Errorf("NoBinding %v: got %d opened and %v withheld, want %d opened", noBinding, len(opened), withheld, want)
		}
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	client := w.client(func(o *sqsx.Options) {
		o.Policy.AcceptPlaintext = true
		o.EncryptionContext = map[string]string{"app": "test"}
	})
	send(t, client, url, "sealed")
	sealed, err := envelope.ParseHeader(w.server.Stored(url)[0].MessageAttributes["sealq"].BinaryValue)
	if err != nil {
		t.Fatal(err)
	}
	send(t, w.plain, url, "plain")
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Messages) != 2 {
		t.Fatalf("got %d messages, want 2", len(out.Messages))
	}
	for _, m := range out.Messages {
		info, ok := sqsx.InfoOf(out.ResultMetadata, *m.MessageId)
		if !ok {
			t.Fatalf("no Info for %q", *m.Body)
		}
		want := sqsx.Info{Receives: 1}
		if *m.Body == "sealed" {
			want = sqsx.Info{Sealed: true, SealID: hex.EncodeToString(sealed.MessageID[:]), Receives: 1, KeyProvider: "aws-kms", Key: w.key, EncryptionContext: map[string]string{"app": "test", "sealq:queue": arnOf("orders")}}
		}
		if diff := cmp.Diff(want, info); diff != "" {
			t.Errorf("%q: %s", *m.Body, diff)
		}
	}
	if _, ok := sqsx.InfoOf(out.ResultMetadata, "no such message"); ok {
		t.Error("there is Info for a message that was not received")
	}
}

// TestInfoOfRawAESKeyring: the key is the name that it was configured with, and
// not that name with an IV that differs from one data key to the next.
func TestInfoOfRawAESKeyring(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"k1", "k1\x00\x00\x00", strings.Repeat("long", 100)} {
		w := newWorld(t)
		url := w.queue("orders")
		kr, err := envelope.NewRawAESKeyring("example.com", name, make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		s, err := sqsx.New(kr)
		if err != nil {
			t.Fatal(err)
		}
		client := s.Wrap(w.plain)
		send(t, client, url, "x")
		out, err := receive(t.Context(), client, url)
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("got %v, %v, want the message", out, err)
		}
		info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId)
		if info.KeyProvider != "example.com" || info.Key != name {
			t.Errorf("got key %q of %q, want %q of %q", info.Key, info.KeyProvider, name, "example.com")
		}
	}
}
