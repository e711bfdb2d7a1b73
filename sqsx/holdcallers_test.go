package sqsx_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// refuseHostile answers AccessDenied to whoever wants to decrypt under a context
// that says "hostile", after some time.
func refuseHostile(takes time.Duration) func(*sqsxtest.Request) error {
	return func(r *sqsxtest.Request) error {
		if r.Action != "kms:Decrypt" {
			return nil
		}
		time.Sleep(takes)
		if strings.Contains(string(r.Body), "hostile") {
			return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
		}
		return nil
	}
}

func asHostile(o *sqsx.Options) { o.EncryptionContext = map[string]string{"who": "hostile"} }

// TestRehearsalLongerThanItsCallersWait holds a queue by one refused message, for
// receivers that give up before a rehearsal has shown that it is that message
// alone: one receive is risked now and then all the same.
func TestRehearsalLongerThanItsCallersWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, producer, consumer := w.queue("orders"), w.client(), w.client()
		w.server.Intercept(refuseHostile(600 * time.Millisecond))
		get := func() int {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			out, err := receive(ctx, consumer, url)
			if err != nil {
				return 0
			}
			for _, m := range out.Messages {
				if _, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Error(err)
				}
			}
			return len(out.Messages)
		}
		send(t, producer, url, "good")
		if get() != 1 {
			t.Fatal("the first message was not delivered")
		}
		time.Sleep(61 * time.Second)
		send(t, w.client(asHostile), url, "hostile")
		get()
		const sent = 60
		delivered := 0
		for range sent {
			send(t, producer, url, "good")
			for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
				delivered += get()
			}
		}
		if delivered < sent-5 {
			t.Errorf("%d of %d messages were delivered within an hour", delivered, sent)
		}
		time.Sleep(time.Minute) // what the last caller left under way ends
	})
}

// TestPlaintextDoesNotEndAHoldOfTheKey migrates a queue to a consumer that may
// not decrypt: the plaintext of producers that do not seal yet must not have the
// sealed messages received to the dead-letter queue.
func TestPlaintextDoesNotEndAHoldOfTheKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, dlq := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
		producer := w.client()
		consumer := w.client(func(o *sqsx.Options) { o.Policy.AcceptPlaintext = true })
		w.server.Intercept(kmsFails(nil))
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var plain atomic.Int64
		var wg sync.WaitGroup
		loop(ctx, &wg, 4, consumer, url, func(out *sqs.ReceiveMessageOutput, err error) {
			if err != nil {
				return
			}
			for _, m := range out.Messages {
				plain.Add(1)
				if _, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Error(err)
				}
			}
		})
		sealed := 0
		for i := 0; ctx.Err() == nil; i++ {
			if i%10 == 9 {
				send(t, producer, url, "sealed")
				sealed++
			} else {
				send(t, w.plain, url, "plaintext")
			}
			time.Sleep(200 * time.Millisecond)
		}
		wg.Wait()
		dead := len(w.server.Stored(dlq))
		t.Logf("%d of %d sealed messages in the dead-letter queue, %d plaintext messages delivered", dead, sealed, plain.Load())
		if dead > 0 {
			t.Errorf("%d of %d sealed messages went to the dead-letter queue, want none", dead, sealed)
		}
		if plain.Load() == 0 {
			t.Error("no plaintext was delivered")
		}

		// With the permission, all goes on.
		w.server.Intercept(nil)
		began := time.Now()
		for time.Since(began) < 6*time.Minute {
			if out, err := poll(t.Context(), consumer, url); err == nil && len(out.Messages) == 10 {
				return
			}
		}
		t.Error("full receives did not come back within six minutes")
	})
}

// TestShortCallersAndTheHold looks at callers whose own time is shorter than what
// a hold, or the first receive of a process, has them wait.
func TestShortCallersAndTheHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, sealer := w.queue("orders"), w.sealer()
		client := sealer.Wrap(w.plain)
		held(t, w, client, url)
		for range 8 { // pauses grow beyond the time of the caller below
			poll(t.Context(), client, url)
		}
		before := sealer.Stats().Held
		ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
		defer cancel()
		err := errOf(receive(ctx, client, url))
		if !errors.Is(err, sqsx.ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want ErrHeld and the caller's deadline", err)
		}
		if got := sealer.Stats().Held - before; got != 1 {
			t.Errorf("counted %d held receives, want 1", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		var wg sync.WaitGroup
		wg.Go(func() { poll(t.Context(), client, url) }) // the first, on an empty queue
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url}); err != nil || len(out.Messages) != 0 {
			t.Errorf("got %v, want what SQS answers at once: nothing", err)
		}
		wg.Wait()
	})
}

// panicking is a keyring that refuses one context, and panics at others once it
// is told to.
type panicking struct {
	envelope.Keyring
	armed  atomic.Bool
	panics atomic.Int64
}

func (p *panicking) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if ec["who"] == "hostile" {
		return nil, errors.New("refused")
	}
	if p.armed.Load() {
		p.panics.Add(1)
		panic("out of order")
	}
	return p.Keyring.DecryptDataKey(ctx, edks, ec)
}

// TestPanicOfAKeyringDuringARehearsal does not end the consumer's loop.
func TestPanicOfAKeyringDuringARehearsal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url := w.queue("orders")
		kr := &panicking{Keyring: mustKeyring(t, w)}
		s, err := sqsx.New(kr, func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })
		if err != nil {
			t.Fatal(err)
		}
		client := s.Wrap(w.plain)
		send(t, client, url, "good")
		receiveAll(t, client, url, 1)
		time.Sleep(61 * time.Second)
		other, err := sqsx.New(kr, asHostile)
		if err != nil {
			t.Fatal(err)
		}
		send(t, other.Wrap(w.plain), url, "hostile")
		kr.armed.Store(true)
		for range 60 {
			time.Sleep(time.Second)
			if _, err := receive(t.Context(), client, url); err != nil && !isWithheld(err) && !errors.Is(err, sqsx.ErrHeld) {
				t.Fatalf("got %v", err)
			}
		}
		if kr.panics.Load() == 0 {
			t.Error("the key that opened a message before was not asked for")
		}
	})
}

// TestJunkBehindJunkSlowsNobody sends two messages that do not open in one group
// of a FIFO queue, and healthy ones in another.
func TestJunkBehindJunkSlowsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, _ := w.withDLQ("orders.fifo", 3)
		put := func(c *sqs.Client, group, id string) {
			if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(id), MessageGroupId: &group, MessageDeduplicationId: &id}); err != nil {
				t.Fatal(err)
			}
		}
		producer, consumer := w.client(), w.client()
		put(producer, "good", "first")
		put(w.plain, "junk", "junk-1")
		put(w.plain, "junk", "junk-2")
		if out, err := receive(t.Context(), consumer, url); err != nil || len(out.Messages) != 1 {
			t.Fatalf("got %v, want the healthy message beside the junk", err)
		}
		var r recorder
		w.server.Intercept(r.record(nil))
		for range 3 {
			if _, err := receive(t.Context(), consumer, url); err != nil && !isWithheld(err) {
				t.Fatal(err)
			}
		}
		for _, a := range r.snapshot() {
			if a.max != 10 {
				t.Errorf("a receive asked for %d messages, want the caller's 10", a.max)
			}
		}
	})
}
