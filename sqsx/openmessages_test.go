package sqsx_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// sealedBatch returns n messages for the queue "orders" under the given number
// of data keys, in turn. size is that of each body, in bytes.
func sealedBatch(t testing.TB, s *sqsx.Sealer, name string, n, keys, size int) []types.Message {
	t.Helper()
	batch := make([]types.Message, n)
	for key := range keys {
		s.Purge()
		for i := key; i < n; i += keys {
			out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", size))})
			if err != nil {
				t.Fatal(err)
			}
			batch[i] = types.Message{MessageId: aws.String(fmt.Sprint(name, "-", i)), Body: out.MessageBody, MessageAttributes: out.MessageAttributes}
		}
	}
	return batch
}

// interleave takes one of a and one of b in turn.
func interleave(a, b []types.Message) []types.Message {
	var all []types.Message
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			all = append(all, a[i])
		}
		if i < len(b) {
			all = append(all, b[i])
		}
	}
	return all
}

// decryptHangs has no call of kms:Decrypt answered.
func decryptHangs(r *sqsxtest.Request) error {
	if r.Action == "kms:Decrypt" {
		<-r.Context().Done()
		return r.Context().Err()
	}
	return nil
}

// TestOpenMessagesEndsBeforeItsDeadline opens messages under data keys that KMS
// does not answer for, beside others whose data key is cached. The first are
// withheld while their caller still has time to say so, the others delivered.
func TestOpenMessagesEndsBeforeItsDeadline(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		hanging, keys, cached, size int
		time                        time.Duration // of the caller; 0: no deadline
		atMost                      time.Duration
	}{
		"100 under 20 keys":      {100, 20, 100, 10, 15 * time.Second, 14750 * time.Millisecond},
		"1,000 under 1,000 keys": {1000, 1000, 1000, 10, 15 * time.Second, 14750 * time.Millisecond},
		"bodies above 16 KiB":    {300, 300, 300, 20 << 10, 15 * time.Second, 14750 * time.Millisecond},
		"one message":            {1, 1, 1, 10, 3 * time.Second, 2925 * time.Millisecond},
		"little time":            {100, 20, 100, 10, 200 * time.Millisecond, 195 * time.Millisecond},
		"no deadline":            {1000, 1000, 1000, 10, 0, 10 * time.Second},
		"a distant deadline":     {100, 20, 100, 10, 15 * time.Minute, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				consumer := w.sealer()
				cached := sealedBatch(t, w.sealer(), "cached", tc.cached, 1, tc.size)
				if opened, _ := consumer.OpenMessages(t.Context(), arnOf("orders"), cached[:1]); len(opened) != 1 {
					t.Fatal("the data key of the messages that are to be delivered is not cached")
				}
				hanging := sealedBatch(t, w.sealer(), "hanging", tc.hanging, tc.keys, tc.size)
				w.server.Intercept(decryptHangs)

				ctx := t.Context()
				if tc.time > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.time)
					defer cancel()
				}
				defer time.Sleep(10 * time.Second) // what was asked of KMS ends by itself
				start := time.Now()
				opened, withheld := consumer.OpenMessages(ctx, arnOf("orders"), interleave(hanging, cached))
				took := time.Since(start)
				if took > tc.atMost {
					t.Errorf("took %v, want at most %v", took, tc.atMost)
				}
				if err := ctx.Err(); err != nil {
					t.Errorf("the caller's context has ended (%v): nothing could be reported", err)
				}
				if len(opened) != tc.cached || len(withheld) != tc.hanging {
					t.Errorf("got %d opened and %d withheld, want %d and %d", len(opened), len(withheld), tc.cached, tc.hanging)
				}
				for i, m := range opened {
					if want := fmt.Sprint("cached-", i); *m.MessageId != want {
						t.Fatalf("opened: got message %s, want %s", *m.MessageId, want)
					}
				}
				for i, e := range withheld {
					if want := fmt.Sprint("hanging-", i); *e.Message.MessageId != want {
						t.Fatalf("withheld: got message %s, want %s", *e.Message.MessageId, want)
					}
					if !e.Temporary || !errors.Is(e, envelope.ErrUnavailable) || errors.Is(e, context.DeadlineExceeded) {
						t.Fatalf("got %v, temporary %v; want ErrUnavailable, temporary, and not the end of the caller's context", e, e.Temporary)
					}
				}
			})
		})
	}
}

// TestOpenMessagesIsCancelled ends with its caller.
func TestOpenMessagesIsCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		consumer := w.sealer()
		batch := sealedBatch(t, w.sealer(), "hanging", 1000, 1000, 10)
		w.server.Intercept(decryptHangs)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		opened, withheld := consumer.OpenMessages(ctx, arnOf("orders"), batch)
		if took := time.Since(start); len(opened) != 0 || len(withheld) != len(batch) || took != time.Second {
			t.Errorf("got %d opened and %d withheld after %v, want all withheld after 1s", len(opened), len(withheld), took)
		}
		for _, e := range withheld {
			if !e.Temporary || !errors.Is(e, context.Canceled) {
				t.Fatalf("got %v, temporary %v, want context.Canceled, temporary", e, e.Temporary)
			}
		}
		asked := w.count("kms:Decrypt")
		time.Sleep(10 * time.Second) // what was asked of KMS ends by itself
		if got := w.count("kms:Decrypt"); got != asked || got > 100 {
			t.Errorf("KMS was asked %d times, %d of them afterwards; want at most 100, and 0", got, got-asked)
		}
	})
}

// TestOpenMessagesInParallel opens many messages of as many data keys: KMS gets
// more than one response's questions at once, and not all of them.
func TestOpenMessagesInParallel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const latency = 20 * time.Millisecond
		w := newWorld(t)
		batch := sealedBatch(t, w.sealer(), "m", 1000, 1000, 10)
		var now, most atomic.Int64
		var mu sync.Mutex
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				mu.Lock()
				most.Store(max(most.Load(), now.Add(1)))
				mu.Unlock()
				time.Sleep(latency)
				now.Add(-1)
			}
			return nil
		})
		start := time.Now()
		opened, withheld := w.sealer().OpenMessages(t.Context(), arnOf("orders"), batch)
		took := time.Since(start)
		if len(opened) != len(batch) || len(withheld) != 0 {
			t.Errorf("got %d opened and %d withheld, want all %d opened", len(opened), len(withheld), len(batch))
		}
		if took > 10*latency || most.Load() > 100 {
			t.Errorf("took %v with up to %d questions at once; want 10 times %v, and 100", took, most.Load(), latency)
		}
	})
}
