package kmskeyring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
)

// hostile returns encrypted data keys that KMS does not decrypt, as anybody can
// write them: sixteen under the key of good, and no two messages have one alike.
func hostile(good envelope.EncryptedDataKey, n int) []envelope.EncryptedDataKey {
	edks := make([]envelope.EncryptedDataKey, 16)
	for i := range edks {
		edks[i] = good
		edks[i].Ciphertext = append(slices.Clone(good.Ciphertext), fmt.Sprint(n, " ", i)...)
	}
	return edks
}

// quickly refuses what hostile returns without asking.
type quickly struct {
	kmskeyring.Client
	refused int
}

func (c *quickly) Decrypt(ctx context.Context, in *kms.DecryptInput, optFns ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	if strings.HasSuffix(string(in.CiphertextBlob), " 0") {
		c.refused++
		return nil, &types.InvalidCiphertextException{}
	}
	return c.Client.Decrypt(ctx, in, optFns...)
}

// TestFloodOfHostileMessages: 30,000 in five minutes, each received four times,
// cost a call each, and delay no message of a new data key.
func TestFloodOfHostileMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const flood, receives = 30_000, 4
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		_, arn := w.key(client, false)
		quick := &quickly{Client: client}
		kr, producer := w.keyring(quick, arn), w.keyring(client, arn)
		good := w.generate(producer).EncryptedDataKeys()[0]
		healthy := 0
		receive := func(n int) {
			if n < 0 || n >= flood {
				return
			}
			if _, err := kr.DecryptDataKey(t.Context(), hostile(good, n), ec); !errors.Is(err, envelope.ErrNoMatchingKey) {
				t.Fatalf("got %v, want ErrNoMatchingKey", err)
			}
		}
		const every = 5 * time.Minute / flood
		for n := range flood + (receives-1)*int(30*time.Second/every) {
			for again := range receives { // every visibility timeout
				receive(n - again*int(30*time.Second/every))
			}
			if n%1000 == 0 {
				w.opens(kr, w.generate(producer))
				healthy++
			}
			time.Sleep(every)
		}
		if got, of := w.srv.Count("kms:Decrypt"), quick.refused; got != healthy || of != flood {
			t.Errorf("%d Decrypt calls for %d healthy messages and %d for %d hostile ones, want one for each", got, healthy, of, flood)
		}
	})
}

// TestFailingCallsAreBounded: beyond the bound a message is left for later, which
// is no verdict, and no data key that was decrypted before is.
func TestFailingCallsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const burst, perSecond = 1000, 100
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		_, arn := w.key(client, false)
		kr, producer := w.keyring(client, arn), w.keyring(client, arn)
		opened, fresh := w.generate(producer), w.generate(producer)
		w.opens(kr, opened)
		good := opened.EncryptedDataKeys()[0]
		next := 0
		flood := func(n int) (calls int) {
			before := w.srv.Count("kms:Decrypt")
			left := 0
			for range n {
				_, err := kr.DecryptDataKey(t.Context(), hostile(good, next), ec)
				next++
				switch class(t.Context(), err) {
				case "message":
				case "unavailable":
					left++
					if !strings.Contains(err.Error(), "not asked now: 100 messages a second do not decrypt") {
						t.Fatalf("got %v, want the reason", err)
					}
				default:
					t.Fatalf("got %v, want ErrNoMatchingKey or ErrUnavailable", err)
				}
			}
			calls = w.srv.Count("kms:Decrypt") - before
			if calls+left != n {
				t.Errorf("%d calls and %d left for later, want %d in all", calls, left, n)
			}
			return calls
		}
		if got := flood(3 * burst); got != burst {
			t.Errorf("at once: %d calls, want %d", got, burst)
		}
		w.opens(kr, opened) // a cache asks about it again
		if _, err := kr.DecryptDataKey(t.Context(), fresh.EncryptedDataKeys(), ec); class(t.Context(), err) != "unavailable" {
			t.Errorf("a new data key: got %v, want it left for later", err)
		}
		for range 5 {
			time.Sleep(time.Second)
			w.opens(kr, fresh) // within a hundredth of a second
			if got := flood(perSecond * 3); got != perSecond {
				t.Errorf("in a second: %d calls, want %d", got, perSecond)
			}
		}
		kr.Purge()
		if got := flood(burst); got != 0 {
			t.Errorf("after Purge: %d calls, want none: that frees no budget", got)
		}
		time.Sleep(time.Minute)
		if got := flood(3 * burst); got != burst {
			t.Errorf("a minute later: %d calls, want %d", got, burst)
		}
	})
}

// TestOutagesAndRefusalsCostNoBudget: what is not the message's fault is not
// remembered, and leaves nothing for later.
func TestOutagesAndRefusalsCostNoBudget(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"KMSInternalException", "DisabledException", "AccessDeniedException"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				_, arn := w.key(client, false)
				kr := w.keyring(client, arn)
				key := w.generate(kr)
				w.srv.Intercept(only("kms:Decrypt", answer(400, code)))
				for range 2000 {
					if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); errors.Is(err, envelope.ErrInvalidMessage) || strings.Contains(err.Error(), "not asked") {
						t.Fatalf("got %v, want KMS's answer", err)
					}
				}
				w.srv.Intercept(nil)
				w.opens(kr, key)
			})
		})
	}
}
