package kmskeyring_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// hostile returns encrypted data keys that KMS does not decrypt, as anybody can
// write them: sixteen under the key of good, and no two messages have one
// alike.
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

// TestFailingCallsAreBounded: calls that fail wait for their turn, 1,000 a
// second after the first 1,000. What has none in 750 ms is left for later at
// once, which is no verdict. What was decrypted before waits for nothing.
func TestFailingCallsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const burst, perSecond, patience, during = 1000, 1000, 750 * time.Millisecond, 2 * time.Second
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		_, arn := w.key(client, false)
		kr, producer := w.keyring(client, arn), w.keyring(client, arn)
		opened := w.generate(producer)
		w.opens(kr, opened)
		good := opened.EncryptedDataKeys()[0]
		var next atomic.Int32
		var left atomic.Int32
		junk := func() (waited time.Duration) {
			start := time.Now()
			_, err := kr.DecryptDataKey(t.Context(), hostile(good, int(next.Add(1))), ec)
			waited = time.Since(start)
			switch class(t.Context(), err) {
			case "message":
			case "unavailable":
				left.Add(1)
				if !strings.Contains(err.Error(), "not asked now: 1000 messages a second do not decrypt") || waited != 0 {
					t.Errorf("got %v after %v, want the reason at once", err, waited)
				}
			default:
				t.Errorf("got %v, want ErrNoMatchingKey or ErrUnavailable", err)
			}
			return waited
		}
		// flood asks about so many at once and returns how many calls that made.
		flood := func(n int) (calls int) {
			before, unasked := w.srv.Count("kms:Decrypt"), left.Load()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					if waited := junk(); waited > patience {
						t.Errorf("waited %v, want %v at most", waited, patience)
					}
				})
			}
			wg.Wait()
			calls = w.srv.Count("kms:Decrypt") - before
			if got := int(left.Load() - unasked); calls+got != n {
				t.Errorf("%d calls and %d left for later, want %d in all", calls, got, n)
			}
			return calls
		}
		if got, want := flood(3*burst), burst+int(patience.Seconds()*perSecond); got != want {
			t.Errorf("at once: %d calls, want %d", got, want)
		}
		start := time.Now()
		w.opens(kr, opened) // a cache asks about it again
		if got := time.Since(start); got != 0 {
			t.Errorf("a data key that was decrypted before waited %v", got)
		}

		// Loops that wait are slowed down, and withhold nothing.
		before, unasked := w.srv.Count("kms:Decrypt"), left.Load()
		end := time.Now().Add(during)
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				for time.Now().Before(end) {
					if waited := junk(); waited > 50*time.Millisecond {
						t.Errorf("one of 40 waited %v, want 40ms", waited)
					}
				}
			})
		}
		healthy := 0
		for time.Now().Before(end) {
			start := time.Now()
			w.opens(kr, w.generate(producer))
			healthy++
			if got := time.Since(start); got > 50*time.Millisecond {
				t.Errorf("a new data key waited %v, want 40ms", got)
			}
		}
		wg.Wait()
		if got := w.srv.Count("kms:Decrypt") - before - healthy; got < 2*perSecond-100 || got > 2*perSecond+100 {
			t.Errorf("%d calls in %v, want %d", got, during, 2*perSecond)
		}
		if got := left.Load() - unasked; got != 0 {
			t.Errorf("%d messages left for later, want none", got)
		}

		kr.Purge()
		if got := flood(burst); got > perSecond {
			t.Errorf("after Purge: %d calls, want %d: that frees no budget", got, perSecond)
		}
		time.Sleep(time.Minute)
		if got, want := flood(3*burst), burst+int(patience.Seconds()*perSecond); got != want {
			t.Errorf("a minute later: %d calls, want %d", got, want)
		}
	})
}

// TestTurnIsWithinTheCallersTime: a call keeps half of the caller's time, and a
// caller that ends leaves its turn to others.
func TestTurnIsWithinTheCallersTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		_, arn := w.key(client, false)
		kr, producer := w.keyring(client, arn), w.keyring(client, arn)
		good := w.generate(producer).EncryptedDataKeys()[0]
		for n := range 1000 {
			kr.DecryptDataKey(t.Context(), hostile(good, n), ec)
		}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for n := range 300 {
			wg.Go(func() {
				if _, err := kr.DecryptDataKey(ctx, hostile(good, 1000+n), ec); err != context.Canceled {
					t.Errorf("cancelled: got %v, want context.Canceled", err)
				}
			})
		}
		synctest.Wait()
		for limit, want := range map[time.Duration]string{500 * time.Millisecond: "unavailable", 700 * time.Millisecond: "none"} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				start := time.Now()
				_, err := kr.DecryptDataKey(ctx, w.generate(producer).EncryptedDataKeys(), ec)
				if got := class(ctx, err); got != want || time.Since(start) > limit/2 {
					t.Errorf("caller with %v: got %v after %v, want %s within half", limit, err, time.Since(start), want)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		start := time.Now()
		w.opens(kr, w.generate(producer))
		if got := time.Since(start); got > 10*time.Millisecond {
			t.Errorf("waited %v for the turns of those that were cancelled", got)
		}
		wg.Wait()
	})
}

// TestSuccessesCostNoBudget: a process that starts under a large backlog opens
// it as fast as KMS answers.
func TestSuccessesCostNoBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers, each, latency = 100, 30, 10 * time.Millisecond
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		_, arn := w.key(client, false)
		kr, producer := w.keyring(client, arn), w.keyring(client, arn)
		w.srv.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				time.Sleep(latency)
			}
			return nil
		})
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					start := time.Now()
					w.opens(kr, w.generate(producer))
					if got := time.Since(start); got != latency {
						t.Errorf("took %v, want %v", got, latency)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestOutagesAndRefusalsCostNoBudget: what is not the message's fault is not
// remembered, and leaves nothing for later.
func TestOutagesAndRefusalsCostNoBudget(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"KMSInternalException", "DisabledException"} {
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

// deniedWorld has a keyring, and data keys whose Decrypt KMS denies for as long
// as denied reports so of the encryption context.
func deniedWorld(t *testing.T, denied func(envelope.EncryptionContext) bool) (w world, kr, producer *kmskeyring.Keyring) {
	w = newWorld(t)
	client := w.client("us-east-1", ours)
	_, arn := w.key(client, false)
	w.srv.Intercept(func(r *sqsxtest.Request) error {
		if r.Action != "kms:Decrypt" {
			return nil
		}
		var in struct{ EncryptionContext envelope.EncryptionContext }
		if err := json.Unmarshal(r.Body, &in); err != nil {
			t.Error(err)
		}
		if !denied(in.EncryptionContext) {
			return nil
		}
		return answer(400, "AccessDeniedException")
	})
	return w, w.keyring(client, arn), w.keyring(client, arn)
}

// TestDenialIsRemembered: one call asks for all messages under a key and
// context that are denied, after 1 to 5 seconds. Messages under another context
// open meanwhile, and all do within 5 seconds of a grant.
func TestDenialIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var granted atomic.Bool
		w, kr, producer := deniedWorld(t, func(in envelope.EncryptionContext) bool { return len(in) == 1 && !granted.Load() })
		other := envelope.EncryptionContext{"sealq:queue": ec["sealq:queue"], "tenant": "1"}
		refused := func() {
			t.Helper()
			_, err := kr.DecryptDataKey(t.Context(), w.generate(producer).EncryptedDataKeys(), ec)
			api, ok := errors.AsType[smithy.APIError](err)
			if class(t.Context(), err) != "refused: entry" || !ok || api.ErrorCode() != "AccessDeniedException" {
				t.Fatalf("got %v, want the refusal", err)
			}
		}
		for range 600 { // a minute
			refused()
			time.Sleep(100 * time.Millisecond)
		}
		if n := w.srv.Count("kms:Decrypt"); n < 10 || n > 16 { // after 1 s, 2 s, 4 s, and every 5 s
			t.Errorf("%d calls in a minute, want 10 to 16", n)
		}
		for range 10 {
			key, err := producer.GenerateDataKey(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), other); err != nil {
				t.Fatalf("under another context: %v", err)
			}
			refused()
		}
		granted.Store(true)
		time.Sleep(5 * time.Second)
		w.opens(kr, w.generate(producer))
		granted.Store(false)
		refused() // at once
	})
}

// TestOldDenialIsOfNoMessage: the messages of the first receive after a repair
// all open. That one of them is being asked about is no reason to refuse the
// others, if the denial is minutes old.
func TestOldDenialIsOfNoMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var granted atomic.Bool
		w, kr, producer := deniedWorld(t, func(envelope.EncryptionContext) bool {
			time.Sleep(50 * time.Millisecond) // side by side
			return !granted.Load()
		})
		var keys [10]*envelope.DataKey
		for i := range keys {
			keys[i] = w.generate(producer)
		}
		decrypt := func() (failed int64) {
			var failures atomic.Int64
			var receive sync.WaitGroup
			for _, key := range keys {
				receive.Go(func() {
					if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); err != nil {
						failures.Add(1)
					}
				})
			}
			receive.Wait()
			return failures.Load()
		}
		if n := decrypt(); n != 10 {
			t.Fatalf("%d of 10 failed, want all", n)
		}
		time.Sleep(30 * time.Minute)
		granted.Store(true)
		if n := decrypt(); n != 0 {
			t.Errorf("%d of 10 failed half an hour later, want none", n)
		}
	})
}

// TestCheckDecryptEndsDenial: what the key service says now counts, also for
// messages that were denied again and again.
func TestCheckDecryptEndsDenial(t *testing.T) {
	t.Parallel()
	for _, alias := range []bool{false, true} {
		t.Run(fmt.Sprintf("alias %v", alias), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var granted atomic.Bool
				w, kr, producer := deniedWorld(t, func(envelope.EncryptionContext) bool { return !granted.Load() })
				key := w.generate(producer)
				if alias {
					client := w.client("us-east-1", ours)
					w.alias(client, "alias/orders", info(key))
					kr = w.keyring(client, "alias/orders")
				}
				for range 100 {
					if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); class(t.Context(), err) != "refused: entry" {
						t.Fatalf("got %v, want the refusal", err)
					}
					time.Sleep(time.Second)
				}
				if err := kr.CheckDecrypt(t.Context(), ec); err == nil {
					t.Fatal("CheckDecrypt: got nil, want the refusal: it is not answered from memory")
				}
				granted.Store(true)
				if err := kr.CheckDecrypt(t.Context(), ec); err != nil {
					t.Fatal(err)
				}
				w.opens(kr, key)
			})
		})
	}
}

// TestDeniedJunkIsAskedThrice: a sender can give each message an encryption
// context of its own. Then it costs three calls, and one in five minutes after
// that.
func TestDeniedJunkIsAskedThrice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const junk, receives = 2000, 10
		var granted atomic.Bool
		w, kr, producer := deniedWorld(t, func(envelope.EncryptionContext) bool { return !granted.Load() })
		own := w.generate(producer)
		good := own.EncryptedDataKeys()[0]
		for range receives { // every visibility timeout
			for n := range junk {
				in := envelope.EncryptionContext{"n": fmt.Sprint(n)}
				if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{good}, in); class(t.Context(), err) != "refused: entry" {
					t.Fatalf("got %v, want the refusal", err)
				}
				time.Sleep(2 * time.Millisecond)
			}
			time.Sleep(26 * time.Second)
		}
		if got := w.srv.Count("kms:Decrypt"); got != 3*junk {
			t.Errorf("%d calls for %d messages, want 3 for each", got, junk)
		}
		time.Sleep(5 * time.Minute)
		granted.Store(true)
		w.opens(kr, own)
		in := envelope.EncryptionContext{"n": "1"}
		if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{good}, in); class(t.Context(), err) != "message" {
			t.Errorf("five minutes later: got %v, want what KMS says now", err)
		}
	})
}

// TestDenialsCostBudget: junk that is denied is paced like other junk.
func TestDenialsCostBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, kr, producer := deniedWorld(t, func(envelope.EncryptionContext) bool { return true })
		good := w.generate(producer).EncryptedDataKeys()[0]
		var wg sync.WaitGroup
		for n := range 3000 {
			wg.Go(func() {
				_, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{good}, envelope.EncryptionContext{"n": fmt.Sprint(n)})
				if got := class(t.Context(), err); got != "refused: entry" && got != "unavailable" {
					t.Errorf("got %v, want the refusal or ErrUnavailable", err)
				}
			})
		}
		wg.Wait()
		if got := w.srv.Count("kms:Decrypt"); got != 1750 {
			t.Errorf("%d calls within 750 ms, want 1,750", got)
		}
	})
}
