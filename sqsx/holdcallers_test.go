package sqsx_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// refuseHostile answers AccessDenied to anyone who wants to decrypt under a
// context that says "hostile", after some time.
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

// TestPlaintextBesideARefusedKey migrates a queue to a consumer that may not
// decrypt: the plaintext of producers that do not seal yet must not have the
// sealed messages received to the dead-letter queue.
func TestPlaintextBesideARefusedKey(t *testing.T) {
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
		if got := plain.Load(); got < 2690 {
			t.Errorf("%d plaintext messages were delivered, want all of them at full pace", got)
		}

		// With the permission, the sealed messages come back.
		w.server.Intercept(nil)
		began, opened := time.Now(), 0
		for time.Since(began) < 2*time.Minute && opened < sealed {
			out, err := poll(t.Context(), consumer, url)
			if err != nil {
				continue
			}
			for _, m := range out.Messages {
				if *m.Body == "sealed" {
					opened++
				}
				if _, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Error(err)
				}
			}
		}
		if opened < sealed {
			t.Errorf("%d of %d sealed messages were delivered within two minutes, want all", opened, sealed)
		}
	})
}

// TestJunkBehindJunkSlowsNobody sends two messages that do not open in one
// group of a FIFO queue, and healthy ones in another.
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
