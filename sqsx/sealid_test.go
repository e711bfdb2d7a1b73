package sqsx_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// headerOf returns the header of a sealed message in either carrier.
func headerOf(t *testing.T, m types.Message) *envelope.Header {
	t.Helper()
	b := m.MessageAttributes["sealq"].BinaryValue
	if b == nil {
		whole, err := base64.StdEncoding.DecodeString(*m.Body)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := envelope.Split(whole)
		if err != nil {
			t.Fatal(err)
		}
		b = parts.Header
	}
	h, err := envelope.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestSealID follows two messages with one body through a redelivery, into the
// dead-letter queue and back: each keeps its SealID, and Receives is SQS's
// count.
func TestSealID(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]sqsx.Policy{"attribute": {}, "body": {BodyCarrier: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				const visibility = time.Minute
				url, dlq := w.withDLQ("orders", 2, "VisibilityTimeout", "60")
				client := w.client(func(o *sqsx.Options) { o.Policy = policy })
				send(t, client, url, "the same body")
				send(t, client, url, "the same body")
				var want []string // SealIDs; SQS gives moved messages other message IDs
				for _, m := range w.server.Stored(url) {
					id := headerOf(t, m).MessageID
					want = append(want, hex.EncodeToString(id[:]))
				}
				slices.Sort(want)
				if len(slices.Compact(slices.Clone(want))) != 2 {
					t.Fatalf("two messages with one body have the SealIDs %q, want two", want)
				}
				// received checks what arrives in queue, and returns the counts.
				received := func(queue string) []int {
					out, err := receive(t.Context(), client, queue)
					if err != nil || len(out.Messages) != 2 {
						t.Fatalf("got %v, want two messages", err)
					}
					var counts []int
					var seen []string
					for _, m := range out.Messages {
						info, _ := sqsx.InfoOf(out.ResultMetadata, *m.MessageId)
						if got := strconv.Itoa(info.Receives); got != m.Attributes["ApproximateReceiveCount"] {
							t.Errorf("got %s receives, want those of SQS, %s", got, m.Attributes["ApproximateReceiveCount"])
						}
						seen = append(seen, info.SealID)
						counts = append(counts, info.Receives)
					}
					if slices.Sort(seen); !slices.Equal(seen, want) {
						t.Errorf("got SealIDs %q, want %q", seen, want)
					}
					time.Sleep(visibility)
					return counts
				}
				for n := 1; n <= 2; n++ {
					if got := received(url); !slices.Equal(got, []int{n, n}) {
						t.Errorf("delivery %d: got %v receives", n, got)
					}
				}
				if out, err := receive(t.Context(), client, url); err != nil || len(out.Messages) != 0 {
					t.Fatalf("got %v, want that both messages move to the dead-letter queue", err)
				}
				received(dlq)
				if _, err := w.plain.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnOf("orders-dlq"))}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				received(url)
			})
		})
	}
}

// TestSealIDWithoutAClient: SealMessage and OpenMessages agree with the header,
// and Receives is 0 where the message does not tell.
func TestSealIDWithoutAClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, policy := range map[string]sqsx.Policy{"attribute": {}, "body": {BodyCarrier: true}} {
		s := w.sealer(func(o *sqsx.Options) { o.Policy = policy; o.Policy.AcceptPlaintext = true })
		out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
		if err != nil {
			t.Fatal(err)
		}
		m := types.Message{Body: out.MessageBody, MessageAttributes: out.MessageAttributes}
		id := headerOf(t, m).MessageID
		copied, plain := m, types.Message{Body: aws.String("plaintext"), Attributes: map[string]string{"ApproximateReceiveCount": "3"}}
		copied.Attributes = map[string]string{"ApproximateReceiveCount": "7"}
		opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m, copied, plain})
		if len(opened) != 3 {
			t.Fatalf("got %v", withheld)
		}
		for i, want := range []sqsx.Info{{SealID: hex.EncodeToString(id[:])}, {SealID: hex.EncodeToString(id[:]), Receives: 7}, {Receives: 3}} {
			if got := opened[i].Info; got.SealID != want.SealID || got.Receives != want.Receives {
				t.Errorf("%s, message %d: got %q and %d receives, want %q and %d", name, i, got.SealID, got.Receives, want.SealID, want.Receives)
			}
		}
		for _, text := range []string{"", "-1", "many", "99999999999999999999"} {
			plain.Attributes = map[string]string{"ApproximateReceiveCount": text}
			opened, _ := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{plain})
			if len(opened) != 1 || opened[0].Info.Receives != 0 {
				t.Errorf("receive count %q: got %+v, want it delivered with 0 receives", text, opened)
			}
		}
	}
}

// TestSealIDIsAuthenticated: a message with another message ID in its header
// does not open, in either carrier.
func TestSealIDIsAuthenticated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const at = 3 // of the message ID, after version and suite
	for name, policy := range map[string]sqsx.Policy{"attribute": {}, "body": {BodyCarrier: true}} {
		s := w.sealer(func(o *sqsx.Options) { o.Policy = policy })
		out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
		if err != nil {
			t.Fatal(err)
		}
		m := types.Message{Body: out.MessageBody, MessageAttributes: out.MessageAttributes}
		before := headerOf(t, m).MessageID
		if header := m.MessageAttributes["sealq"].BinaryValue; header != nil {
			header[at] ^= 1
		} else {
			b, _ := base64.StdEncoding.DecodeString(*m.Body)
			b[at] ^= 1
			m.Body = aws.String(base64.StdEncoding.EncodeToString(b))
		}
		if headerOf(t, m).MessageID == before {
			t.Fatal("the message ID was not changed")
		}
		opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m})
		if len(opened) != 0 || len(withheld) != 1 || !errors.Is(withheld[0], envelope.ErrAuthentication) {
			t.Errorf("%s: got %d opened and %v, want ErrAuthentication", name, len(opened), withheld)
		}
	}
}

// TestReceivesUnasked: Info has the count also where the caller does not ask
// SQS for it, and does not see the attribute.
func TestReceivesUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	client := w.client()
	send(t, client, url, "x")
	out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url})
	if err != nil || len(out.Messages) != 1 {
		t.Fatalf("got %v, want one message", err)
	}
	info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId)
	if info.Receives != 1 || len(out.Messages[0].Attributes) != 0 {
		t.Errorf("got %d receives and %v, want 1 and no attributes", info.Receives, out.Messages[0].Attributes)
	}
}
