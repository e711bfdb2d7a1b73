package sqsx_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
)

// aliased makes the world's key "alias/orders", which stands for the key that it
// returns.
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
// at a key that cannot be used: sending stops, and the backlog under the healthy
// key before is delivered, to the last message.
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
			o.KMSKeyring = func(k *kmskeyring.Options) { k.StrictAlias = true }
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

// TestPurgeForgetsTheAlias: the key that a strict alias stood for is not trusted
// any more, by a process that was told to end all access.
func TestPurgeForgetsTheAlias(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.aliased()
		consumer := w.sealer(func(o *sqsx.Options) {
			o.KMSKeyring = func(k *kmskeyring.Options) { k.StrictAlias = true }
		})
		m := w.sealedBy(w.sealer(), "by whoever has the old key")
		if err := w.openedBy(consumer, m); err != nil {
			t.Fatal(err)
		}
		w.repoint(w.newKey())
		consumer.Purge()
		if err := w.openedBy(consumer, m); err == nil || err.Temporary {
			t.Errorf("after Purge: got %v, want a message that is at fault", err)
		}
	})
}
