package conformance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx"
)

// receiveCases are about messages that do not open: each is withheld alone,
// reported, and left to the queue's redrive policy.
func receiveCases() []testCase {
	cases := []testCase{
		{"received: nothing deliverable is an error that carries the messages", nothingDeliverable},
		{"received: plaintext where it is accepted", acceptPlaintext},
		{"received: a withheld message holds its FIFO group", groupHeld},
	}
	for _, bad := range badMessages() {
		cases = append(cases, testCase{"withheld: " + bad.name, func(t *testing.T, s *suite) { withheld(t, s, bad) }})
	}
	return cases
}

// badMessage makes a message that must not open, for one queue and key.
type badMessage struct {
	name string
	make func(t *testing.T, s *suite, b bench) *sqs.SendMessageInput
	want error
}

// bench is what bad messages are made of.
type bench struct {
	url, arn, key string
	sealed        func() envelope.Message // a good message, sealed for the queue
}

// carry puts a sealed message into the attribute carrier.
func carry(m envelope.Message) *sqs.SendMessageInput {
	return &sqs.SendMessageInput{
		MessageBody: aws.String(base64.StdEncoding.EncodeToString(m.Body)),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"sealq": {DataType: aws.String("Binary"), BinaryValue: m.Header},
		},
	}
}

func badMessages() []badMessage {
	return []badMessage{
		{"body changed", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			m := b.sealed()
			m.Body[len(m.Body)-20] ^= 1
			return carry(m)
		}, envelope.ErrAuthentication},
		{"header changed", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			m := b.sealed()
			m.Header[len(m.Header)-1] ^= 1
			return carry(m)
		}, envelope.ErrAuthentication},
		{"truncated", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			m := b.sealed()
			m.Body = m.Body[:len(m.Body)-1]
			return carry(m)
		}, envelope.ErrMalformed},
		{"header and body of different messages", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			return carry(envelope.Message{Header: b.sealed().Header, Body: b.sealed().Body})
		}, envelope.ErrAuthentication},
		{"sealed under another key", func(t *testing.T, s *suite, b bench) *sqs.SendMessageInput {
			return carry(s.seal(t, s.key(t), map[string]string{"sealq:queue": b.arn}))
		}, envelope.ErrNoMatchingKey},
		{"names a key of another account", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			m := b.sealed()
			foreign := strings.Replace(b.key, ":000000000000:", ":999999999999:", 1)
			if foreign == b.key {
				foreign = strings.Replace(b.key, ":123456789012:", ":999999999999:", 1)
			}
			m.Header = []byte(strings.Replace(string(m.Header), b.key, foreign, 1))
			return carry(m)
		}, envelope.ErrNoMatchingKey},
		{"sealed for another queue", func(t *testing.T, s *suite, b bench) *sqs.SendMessageInput {
			return carry(s.seal(t, b.key, map[string]string{"sealq:queue": b.arn + "-other"}))
		}, envelope.ErrContextMismatch},
		{"names no queue", func(t *testing.T, s *suite, b bench) *sqs.SendMessageInput {
			return carry(s.seal(t, b.key, map[string]string{"tenant": "seven"}))
		}, envelope.ErrContextMismatch},
		{"of a later release", func(t *testing.T, s *suite, b bench) *sqs.SendMessageInput {
			return carry(s.seal(t, b.key, map[string]string{"sealq:queue": b.arn, "sealq:compression": "zstd"}))
		}, envelope.ErrUnsupported},
		{"attribute lost", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			in := carry(b.sealed())
			in.MessageAttributes = nil
			return in
		}, envelope.ErrMalformed},
		{"attribute of another type", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			in := carry(b.sealed())
			in.MessageAttributes["sealq"] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("x")}
			return in
		}, envelope.ErrMalformed},
		{"65,535 encrypted data keys", func(_ *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			m := b.sealed()
			m.Header = manyKeys(m.Header)
			return carry(m)
		}, envelope.ErrUnsupported},
		{"plaintext", func(*testing.T, *suite, bench) *sqs.SendMessageInput {
			return &sqs.SendMessageInput{MessageBody: aws.String("a body that nobody must see")}
		}, sqsx.ErrNotSealed},
		{"SNS notification around a sealed message", func(t *testing.T, _ *suite, b bench) *sqs.SendMessageInput {
			in := carry(b.sealed())
			notification, err := json.Marshal(map[string]any{
				"Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
				"TopicArn": "arn:aws:sns:us-east-1:000000000000:topic", "Message": *in.MessageBody,
				"MessageAttributes": map[string]any{"sealq": map[string]string{
					"Type": "Binary", "Value": base64.StdEncoding.EncodeToString(in.MessageAttributes["sealq"].BinaryValue),
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			return &sqs.SendMessageInput{MessageBody: aws.String(string(notification))}
		}, envelope.ErrUnsupported},
	}
}

// seal makes a message with any context, as a producer other than sealq might.
func (s *suite) seal(t *testing.T, key string, ec envelope.EncryptionContext) envelope.Message {
	t.Helper()
	keyring, err := kmskeyring.New(kms.NewFromConfig(s.target.KMS), key)
	if err != nil {
		t.Fatal(err)
	}
	m, err := envelope.Seal(t.Context(), keyring, []byte("a body that nobody must see"), ec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// manyKeys replaces the one encrypted data key of a header by 65,535 short
// ones. The count stands just before the first provider ID, "aws-kms" and its
// length.
func manyKeys(header []byte) []byte {
	at := strings.Index(string(header), "\x00\x07aws-kms") - 2
	const one = "\x00\x01p\x00\x01k\x00\x01c" // provider ID, provider info, ciphertext
	return slices.Concat(header[:at], []byte{0xff, 0xff}, []byte(strings.Repeat(one, 65_535)), header[at+2:])
}

// withheld sends one bad message and a healthy one, and watches both until the
// bad one is in the dead-letter queue.
func withheld(t *testing.T, s *suite, bad badMessage) {
	var mu sync.Mutex
	var called []error
	key := s.key(t)
	sealer := s.sealer(t, key, func(o *sqsx.Options) {
		o.OnWithheld = func(_ context.Context, e *sqsx.OpenError) {
			mu.Lock()
			defer mu.Unlock()
			called = append(called, e)
		}
	})
	client := sqs.NewFromConfig(s.target.SQS, sealer.Install)
	deadLetter := s.queue(t, nil)
	url := s.redrive(t, deadLetter, 3, again)
	q, err := middleware.ParseQueueURL(url, s.target.SQS.Region)
	if err != nil {
		t.Fatal(err)
	}
	arn := q.ARN() // what the queue's messages are bound to
	in := bad.make(t, s, bench{url: url, arn: arn, key: key, sealed: func() envelope.Message {
		return s.seal(t, key, map[string]string{"sealq:queue": arn})
	}})
	in.QueueUrl = &url
	sent, err := s.sqs.SendMessage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}

	// The first receive may bring either message or both; the healthy one opens
	// and is deleted, the bad one comes back until it is moved.
	send(t, client, url, "healthy", nil)
	var healthy, reported int
	for deadline := time.Now().Add(patience); ; {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url))
		var bads []*sqsx.OpenError
		switch e, failed := errors.AsType[*sqsx.ReceiveError](err); {
		case failed:
			bads = e.Withheld
		case errors.Is(err, sqsx.ErrHeld):
			continue // it has waited
		case err != nil:
			t.Fatal(err)
		default:
			bads = sqsx.Withheld(out.ResultMetadata)
			for _, m := range out.Messages {
				if *m.Body != "healthy" {
					t.Fatalf("delivered %q", *m.Body)
				}
				healthy++
				s.delete(t, url, m)
			}
		}
		for _, e := range bads {
			reported++
			if *e.Message.MessageId != *sent.MessageId || e.Message.ReceiptHandle == nil || e.Queue.ARN() != arn {
				t.Errorf("reported message %s of %q, want %s of %q with its receipt handle", *e.Message.MessageId, e.Queue.ARN(), *sent.MessageId, arn)
			}
			if !errors.Is(e, bad.want) || !errors.Is(e, envelope.ErrInvalidMessage) || e.Temporary {
				t.Errorf("reported %v (temporary %t), want a %v that is not temporary", e, e.Temporary, bad.want)
			}
			if strings.Contains(e.Error(), "nobody must see") {
				t.Errorf("the error holds plaintext: %v", e)
			}
		}
		if healthy > 0 && reported > 0 && err == nil && len(out.Messages) == 0 && len(bads) == 0 {
			break // the queue is empty
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %d healthy delivered, %d bad reported, and the queue is not empty", patience, healthy, reported)
		}
	}
	if healthy != 1 {
		t.Errorf("healthy message: delivered %d times, want once", healthy)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(called) != reported {
		t.Errorf("OnWithheld: called %d times, want %d, as often as reported", len(called), reported)
	}
	moved := s.receive(t, s.sqs, deadLetter, 1, everything)[0]
	if *moved.Body != *in.MessageBody {
		t.Error("the dead-letter queue holds another body than was sent")
	}
}

func nothingDeliverable(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, nil)
	for range 3 {
		send(t, s.sqs, url, "plaintext", nil)
	}
	_, err := client.ReceiveMessage(t.Context(), receiveInput(url))
	e, ok := errors.AsType[*sqsx.ReceiveError](err)
	if !ok || len(e.Withheld) == 0 || !errors.Is(err, sqsx.ErrNotSealed) {
		t.Fatalf("ReceiveMessage: got error %v, want a *ReceiveError of messages that are not sealed", err)
	}
	for _, w := range e.Withheld {
		// What a quarantine would do with it.
		s.delete(t, url, w.Message)
	}
}

func acceptPlaintext(t *testing.T, s *suite) {
	key := s.key(t)
	accepting := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) { o.Policy.AcceptPlaintext = true }).Install)
	rollback := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) { o.Policy.NoSeal = true }).Install)
	sealing := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install)
	url := s.queue(t, nil)
	attributes := userAttributes(10)
	plain := send(t, rollback, url, "plain", attributes)
	sealed := send(t, sealing, url, "sealed", nil)
	want := map[string]string{*plain.MessageId: "plain", *sealed.MessageId: "sealed"}
	for deadline := time.Now().Add(patience); len(want) > 0; {
		out, err := accepting.ReceiveMessage(t.Context(), receiveInput(url, everything))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Messages {
			if *m.Body != want[*m.MessageId] {
				t.Errorf("got body %q, want %q", *m.Body, want[*m.MessageId])
			}
			info, ok := sqsx.InfoOf(out.ResultMetadata, *m.MessageId)
			if !ok || info.Sealed != (*m.Body == "sealed") || info.Sealed && info.Key != key {
				t.Errorf("%s: InfoOf: got %+v and %t", *m.Body, info, ok)
			}
			if *m.Body == "plain" {
				wantAttributes(t, m.MessageAttributes, attributes)
			}
			delete(want, *m.MessageId)
			s.delete(t, url, m)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not received: %v", patience, want)
		}
	}
}

func groupHeld(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, with(fifo, "VisibilityTimeout", "30"))
	put := func(client *sqs.Client, group, text string) {
		t.Helper()
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &url, MessageBody: &text, MessageGroupId: &group, MessageDeduplicationId: aws.String(unique()),
		}); err != nil {
			t.Fatal(err)
		}
	}
	put(client, "b", "other group")
	put(client, "a", "first")
	put(s.sqs, "a", "plaintext")
	put(client, "a", "behind it")
	var delivered []string
	var held []error
	for deadline := time.Now().Add(patience); len(delivered) < 2 || len(held) < 1; {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url))
		if e, failed := errors.AsType[*sqsx.ReceiveError](err); failed {
			for _, w := range e.Withheld {
				held = append(held, w)
			}
		} else if err != nil {
			t.Fatal(err)
		} else {
			for _, m := range out.Messages {
				delivered = append(delivered, *m.Body)
				s.delete(t, url, m)
			}
			for _, w := range sqsx.Withheld(out.ResultMetadata) {
				held = append(held, w)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: delivered %q, withheld %v", patience, delivered, held)
		}
	}
	if slices.Contains(delivered, "behind it") || slices.Contains(delivered, "plaintext") {
		t.Errorf("delivered %q, want neither the plaintext nor what is behind it", delivered)
	}
	for _, err := range held {
		if !errors.Is(err, sqsx.ErrNotSealed) && !errors.Is(err, sqsx.ErrGroupHeld) {
			t.Errorf("withheld for %v, want ErrNotSealed or ErrGroupHeld", err)
		}
	}
}
