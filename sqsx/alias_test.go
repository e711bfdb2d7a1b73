package sqsx_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// aliased makes the world's key "alias/orders", which stands for the key that
// it returns.
func (w *world) aliased() (target string) {
	w.t.Helper()
	target, w.key = w.key, "alias/orders"
	if _, err := w.kms.CreateAlias(w.t.Context(), &kms.CreateAliasInput{AliasName: &w.key, TargetKeyId: &target}); err != nil {
		w.t.Fatal(err)
	}
	return target
}

func (w *world) repoint(target string) {
	w.t.Helper()
	if _, err := w.kms.UpdateAlias(w.t.Context(), &kms.UpdateAliasInput{AliasName: &w.key, TargetKeyId: &target}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sealedBy(s *sqsx.Sealer, body string) types.Message {
	w.t.Helper()
	out, err := s.SealMessage(w.t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: &body})
	if err != nil {
		w.t.Fatal(err)
	}
	return types.Message{MessageId: aws.String("1"), Body: out.MessageBody, MessageAttributes: out.MessageAttributes}
}

// openedBy returns why m does not open, or nil.
func (w *world) openedBy(s *sqsx.Sealer, m types.Message) *sqsx.OpenError {
	opened, withheld := s.OpenMessages(w.t.Context(), arnOf("orders"), []types.Message{m})
	if len(opened)+len(withheld) != 1 {
		w.t.Fatalf("got %d messages and %d errors for one message", len(opened), len(withheld))
	}
	if len(withheld) > 0 {
		return withheld[0]
	}
	return nil
}

// TestAliasOfABrokenKey sends and receives in one process. The alias is pointed
// at a key that cannot be used: sending stops, and the backlog under the
// healthy key before is delivered, to the last message.
func TestAliasOfABrokenKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.aliased()
		s := w.sealer()
		backlog := w.sealedBy(s, "backlog")
		broken := w.newKey()
		w.repoint(broken)
		if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &broken}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		for i := range 600 { // a minute
			if _, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("new")}); err == nil {
				t.Fatal("sealed under a disabled key")
			}
			if err := w.openedBy(s, backlog); err != nil {
				t.Fatalf("open %d: %v", i, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// TestStrictAliasIsRepointed: the consumer asked which key the alias stands for
// a moment before it is moved. It delivers what producers seal after that.
func TestStrictAliasIsRepointed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.aliased()
		consumer := w.sealer(func(o *sqsx.Options) {
			o.KMSKeyring.StrictAlias = true
		})
		if err := w.openedBy(consumer, w.sealedBy(w.sealer(), "before")); err != nil {
			t.Fatal(err)
		}
		w.repoint(w.newKey())
		for range 3 { // producers, each with a data key of its own
			if err := w.openedBy(consumer, w.sealedBy(w.sealer(), "after")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestPurgeForgetsTheAlias: the key that a strict alias stood for is not
// trusted any more, by a process that was told to end all access.
func TestPurgeForgetsTheAlias(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.aliased()
		consumer := w.sealer(func(o *sqsx.Options) {
			o.KMSKeyring.StrictAlias = true
		})
		m := w.sealedBy(w.sealer(), "by a user of the old key")
		if err := w.openedBy(consumer, m); err != nil {
			t.Fatal(err)
		}
		w.repoint(w.newKey())
		consumer.Purge()
		if err := w.openedBy(consumer, m); err == nil || err.Temporary {
			t.Errorf("after Purge: got %v, want an invalid message", err)
		}
	})
}

// TestStrictAliasUnderJunk: junk that names other keys of the account, one
// message in ten, makes healthy messages beside it wait only where a junk
// message waits for the alias, and such waits become rare. A move of the alias
// is followed meanwhile.
func TestStrictAliasUnderJunk(t *testing.T) {
	t.Parallel()
	for _, loops := range []int{1, 4} {
		t.Run(fmt.Sprintf("loops %d", loops), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { strictAliasUnderJunk(t, loops) })
		})
	}
}

func strictAliasUnderJunk(t *testing.T, loops int) {
	const perSecond, seconds = 200, 20
	w := newWorld(t)
	url := w.queue("orders")
	w.aliased()
	client := w.client(func(o *sqsx.Options) {
		o.KMSKeyring.StrictAlias = true
	})
	producer := w.client()
	body, header := w.sealed("orders", "good")
	junk := 0
	sendJunk := func() {
		junk++
		w.put(url, badMessage{body: body, attributes: sealqAttribute(altered(t, header, func(h *envelope.Header) {
			h.EncryptedDataKeys[0].ProviderInfo = fmt.Appendf(nil, "arn:aws:kms:%s:%s:key/00000000-0000-4000-8000-%012d", sqsxtest.DefaultRegion, sqsxtest.DefaultAccount, junk)
		}))})
	}
	w.server.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "kms:DescribeKey" {
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	ctx, stop := context.WithCancel(t.Context())
	var delivered, late atomic.Int32
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for ctx.Err() == nil {
				out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
				if err != nil {
					continue
				}
				for _, m := range out.Messages {
					sent, err := time.Parse(time.RFC3339Nano, *m.Body)
					if err != nil {
						t.Errorf("body %q: %v", *m.Body, err)
					}
					delivered.Add(1)
					if time.Since(sent) >= 250*time.Millisecond {
						late.Add(1)
					}
					client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle})
				}
			}
		})
	}
	for range seconds * 10 {
		for i := range perSecond / 10 {
			if i%10 == 5 {
				sendJunk()
			}
			send(t, producer, url, time.Now().Format(time.RFC3339Nano))
		}
		time.Sleep(time.Second / 10)
	}
	time.Sleep(2 * time.Second)
	t.Logf("%d loops: %d of %d delivered, %d of them after 250ms or later", loops, delivered.Load(), perSecond*seconds, late.Load())
	mayBeLate := delivered.Load() / 10
	if loops == 1 { // nobody else receives while a junk message waits
		mayBeLate = delivered.Load() / 3
	}
	if got := delivered.Load(); got < 190*seconds || late.Load() > mayBeLate {
		t.Errorf("%d delivered, %d of them late; want at least %d, and at most %d late", got, late.Load(), 190*seconds, mayBeLate)
	}
	if n := w.count("kms:DescribeKey"); n > seconds+4 {
		t.Errorf("%d DescribeKey calls, want at most one a second", n)
	}

	// What is received in the second before the move is known comes back once.
	const moved = 100
	w.repoint(w.newKey())
	producer = w.client()
	delivered.Store(0)
	for range moved {
		sendJunk()
		send(t, producer, url, time.Now().Format(time.RFC3339Nano))
		time.Sleep(time.Second / 50)
	}
	if got := delivered.Load(); got < moved/4 {
		t.Errorf("%d of %d messages under the new key delivered within two seconds, want a quarter", got, moved)
	}
	time.Sleep(35 * time.Second)
	if got := delivered.Load(); got != moved {
		t.Errorf("%d of %d messages under the new key delivered after a visibility timeout, want all", got, moved)
	}
	stop()
	wg.Wait()
}
