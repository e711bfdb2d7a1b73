package conformance

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// safetyCases are about what must not happen whatever else does: that a sealer
// is lost unnoticed, and that a queue that does not open is drained.
func safetyCases() []testCase {
	return []testCase{
		{"safety: a client that lost its Sealer, or has two, makes no request", sealerLost},
		{"safety: a queue in which nothing opens does not look empty, and what opens is delivered", held},
		{"safety: StrictQueue withholds what redrive brought", strictQueue},
		{"safety: NoSeal sends byte for byte", noSeal},
		{"safety: what opens is delivered beside what KMS refuses", besideRefused},
	}
}

func sealerLost(t *testing.T, s *suite) {
	url := s.queue(t, again)
	sealer, other := s.sealer(t, s.key(t)), s.sealer(t, s.key(t))
	client := sqs.NewFromConfig(s.target.SQS, sealer.Install)
	cleared := func(o *sqs.Options) { o.APIOptions = nil }
	for what, tc := range map[string]struct {
		client *sqs.Client
		optFns []func(*sqs.Options)
		want   error
	}{
		"APIOptions cleared for one call": {client, []func(*sqs.Options){cleared}, sqsx.ErrBypassed},
		"APIOptions cleared in a copy":    {sqs.New(client.Options(), cleared), nil, sqsx.ErrBypassed},
		"two Sealers":                     {sqs.NewFromConfig(s.target.SQS, sealer.Install, other.Install), nil, sqsx.ErrInstalledTwice},
		"a nil Sealer":                    {sqs.NewFromConfig(s.target.SQS, (*sqsx.Sealer)(nil).Install), nil, sqsx.ErrUninitialized},
	} {
		_, err := tc.client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("plaintext")}, tc.optFns...)
		wantClass(t, what+", send", err, tc.want)
		_, err = tc.client.ReceiveMessage(t.Context(), receiveInput(url), tc.optFns...)
		wantClass(t, what+", receive", err, tc.want)
	}
	out, err := s.sqs.ReceiveMessage(t.Context(), receiveInput(url))
	if err != nil || len(out.Messages) != 0 {
		t.Errorf("got %v and error %v, want that nothing was sent", out, err)
	}
}

func held(t *testing.T, s *suite) {
	client := s.sealed(t)
	url := s.queue(t, nil)
	send(t, s.sqs, url, "not sealed", nil)
	// Nothing has opened yet in this process, so the message is parked. While it
	// is, the queue does not look empty.
	var failed *sqsx.ReceiveError
	for deadline := time.Now().Add(patience); ; {
		_, err := client.ReceiveMessage(t.Context(), receiveInput(url))
		if errors.Is(err, sqsx.ErrHeld) {
			wantClass(t, "held", err, sqsx.ErrNotSealed)
			break
		}
		var ok bool
		if failed, ok = errors.AsType[*sqsx.ReceiveError](err); !ok {
			t.Fatalf("got error %v, want a *ReceiveError", err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: no receive was held", patience)
		}
	}
	if failed == nil {
		t.Fatal("the first receive of a process was held, and its key is in order")
	}

	s.delete(t, url, failed.Withheld[0].Message)
	send(t, client, url, "sealed", nil)
	for deadline := time.Now().Add(patience); ; {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url))
		if err == nil && len(out.Messages) == 1 {
			if *out.Messages[0].Body != "sealed" {
				t.Errorf("got body %q", *out.Messages[0].Body)
			}
			return
		}
		if err != nil && !errors.Is(err, sqsx.ErrHeld) {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: a message that opens was not delivered: %v", patience, err)
		}
	}
}

func strictQueue(t *testing.T, s *suite) {
	key, _, deadLetter := s.dead(t, nil)
	strict := sqs.NewFromConfig(s.target.SQS, s.sealer(t, key, func(o *sqsx.Options) { o.Policy.StrictQueue = true }).Install)
	_, err := strict.ReceiveMessage(t.Context(), receiveInput(deadLetter))
	wantClass(t, "StrictQueue", err, envelope.ErrContextMismatch)
}

func noSeal(t *testing.T, s *suite) {
	url, attributes := s.queue(t, nil), userAttributes(10)
	client := s.sealed(t, func(o *sqsx.Options) { o.Policy.NoSeal = true })
	bodies := smallBodies()
	if s.differs(EmojiRefused) {
		bodies = slices.DeleteFunc(bodies, func(b body) bool { return strings.ContainsFunc(b.text, func(r rune) bool { return r > 0xffff }) })
	}
	want := map[string]bool{}
	for _, b := range bodies {
		sent := send(t, client, url, b.text, attributes)
		wantSent(t, b, attributes, sent.MD5OfMessageBody, sent.MD5OfMessageAttributes)
		want[b.text] = true
	}
	for _, m := range s.stored(t, url, len(want)) {
		if !want[*m.Body] {
			t.Errorf("a body of %d bytes is not as it was sent", len(*m.Body))
		}
		delete(want, *m.Body)
		wantAttributes(t, m.MessageAttributes, attributes)
	}
}

func besideRefused(t *testing.T, s *suite) {
	good, refused := s.key(t), s.key(t)
	url := s.queue(t, nil)
	for key, text := range map[string]string{good: "good", refused: "refused"} {
		send(t, sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install), url, text, nil)
	}
	s.disable(t, refused)
	if s.differs(UnavailableKeysWork) {
		return
	}
	client := sqs.NewFromConfig(s.target.SQS, s.sealer(t, good, func(o *sqsx.Options) {
		o.KMSKeyring.DecryptKeys = []string{refused}
	}).Install)
	var delivered []string
	var withheld []*sqsx.OpenError
	// Most servers hand out both at once, and some one after the other.
	for deadline := time.Now().Add(patience); len(delivered)+len(withheld) < 2; {
		out, err := client.ReceiveMessage(t.Context(), receiveInput(url))
		if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
			withheld = append(withheld, failed.Withheld...)
		} else if err == nil {
			withheld = append(withheld, sqsx.Withheld(out.ResultMetadata)...)
			for _, m := range out.Messages {
				delivered = append(delivered, *m.Body)
			}
		} else if !errors.Is(err, sqsx.ErrHeld) {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: delivered %q, withheld %v", patience, delivered, withheld)
		}
	}
	if len(delivered) != 1 || delivered[0] != "good" {
		t.Errorf("delivered %q, want the one under the key that is enabled", delivered)
	}
	if len(withheld) != 1 || !withheld[0].Temporary || errors.Is(withheld[0], envelope.ErrInvalidMessage) {
		t.Errorf("withheld %v, want the other one, temporary", withheld)
	}
}
