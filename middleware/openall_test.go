package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/middleware"
)

// openingCodec is the toy codec with another Open.
type openingCodec struct {
	*toyCodec
	open func(context.Context, []types.Message) []middleware.Opened
}

func (c openingCodec) Open(ctx context.Context, _ middleware.Queue, msgs []types.Message) []middleware.Opened {
	return c.open(ctx, msgs)
}

// asTheyAre opens every message, with its own body.
func asTheyAre(msgs []types.Message) []middleware.Opened {
	opened := make([]middleware.Opened, len(msgs))
	for i, m := range msgs {
		opened[i].Body = *m.Body
	}
	return opened
}

func numberedMessages(n int) []types.Message {
	msgs := make([]types.Message, n)
	for i := range msgs {
		msgs[i] = types.Message{MessageId: aws.String(fmt.Sprint("m", i)), Body: aws.String(fmt.Sprint(i))}
	}
	return msgs
}

// TestOpenMessagesInChunks gives the codec at most ten messages at once, at
// most a hundred in parallel, and keeps their order.
func TestOpenMessagesInChunks(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 10, 11, 95, 1003} {
		synctest.Test(t, func(t *testing.T) {
			var now, most atomic.Int64
			m := install(t, openingCodec{&toyCodec{}, func(_ context.Context, msgs []types.Message) []middleware.Opened {
				if len(msgs) > 10 || cap(msgs) != len(msgs) {
					t.Errorf("the codec got %d messages in a slice of capacity %d, want at most 10, and no more", len(msgs), cap(msgs))
				}
				if now := now.Add(int64(len(msgs))); now > most.Load() {
					most.Store(now)
				}
				time.Sleep(time.Duration(len(*msgs[0].Body)) * time.Second) // not all the same time
				now.Add(-int64(len(msgs)))
				return asTheyAre(msgs)
			}})
			start := time.Now()
			delivered, withheld := m.OpenMessages(t.Context(), testQueue, numberedMessages(n))
			if len(delivered) != n || len(withheld) != 0 {
				t.Fatalf("got %d delivered and %d withheld, want all of %d delivered", len(delivered), len(withheld), n)
			}
			for i, m := range delivered {
				if *m.Body != fmt.Sprint(i) {
					t.Fatalf("got message %s in place %d", *m.Body, i)
				}
			}
			if got, want := most.Load(), int64(min(n, 100)); got > want || got < want-9 {
				t.Errorf("%d messages: got up to %d at once, want %d", n, got, want)
			}
			if took := time.Since(start); n <= 100 && took > 2*time.Second {
				t.Errorf("%d messages: took %v, want the time of one chunk", n, took)
			}
		})
	}
}

// TestOpenMessagesWithAWrongCodec withholds what a chunk of the wrong length
// leaves in doubt, and nothing else.
func TestOpenMessagesWithAWrongCodec(t *testing.T) {
	t.Parallel()
	m := install(t, openingCodec{&toyCodec{}, func(_ context.Context, msgs []types.Message) []middleware.Opened {
		opened := asTheyAre(msgs)
		if *msgs[0].Body == "10" {
			return opened[1:]
		}
		return opened
	}})
	delivered, withheld := m.OpenMessages(t.Context(), testQueue, numberedMessages(30))
	if len(delivered) != 20 || len(withheld) != 10 || *withheld[0].Message.Body != "10" || !withheld[0].Temporary {
		t.Errorf("got %d delivered and %d withheld, want 20, and the second ten withheld as temporary", len(delivered), len(withheld))
	}
}

// TestPanicOfACodec reaches the caller of OpenMessages, who can recover.
func TestPanicOfACodec(t *testing.T) {
	t.Parallel()
	m := install(t, openingCodec{&toyCodec{}, func(_ context.Context, msgs []types.Message) []middleware.Opened {
		if *msgs[0].Body == "50" {
			panic("toy")
		}
		return asTheyAre(msgs)
	}})
	defer func() {
		if p := recover(); p != "toy" {
			t.Errorf("got panic %v, want that of the codec", p)
		}
	}()
	m.OpenMessages(t.Context(), testQueue, numberedMessages(100))
}

// TestOpenMessagesTellsTheCodecWhenToStop compares the context that the codec
// gets with that of the caller.
func TestOpenMessagesTellsTheCodecWhenToStop(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ caller, codec time.Duration }{
		"no deadline":   {0, 10 * time.Second},
		"15 seconds":    {15 * time.Second, 14500 * time.Millisecond},
		"15 minutes":    {15 * time.Minute, 15*time.Minute - 500*time.Millisecond},
		"2 seconds":     {2 * time.Second, 1900 * time.Millisecond},
		"10 ms":         {10 * time.Millisecond, 9500 * time.Microsecond},
		"over already":  {-time.Second, -1},
		"over just now": {time.Nanosecond, time.Nanosecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, start, opens := t.Context(), time.Now(), 0
				if tc.caller != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithDeadline(ctx, start.Add(tc.caller))
					defer cancel()
				}
				m := install(t, openingCodec{&toyCodec{}, func(ctx context.Context, msgs []types.Message) []middleware.Opened {
					opens++
					deadline, _ := ctx.Deadline()
					if got := deadline.Sub(start); got != tc.codec {
						t.Errorf("got %v for the codec, want %v", got, tc.codec)
					}
					<-ctx.Done()
					return []middleware.Opened{{Err: ctx.Err(), Temporary: true}}
				}})
				_, withheld := m.OpenMessages(ctx, testQueue, numberedMessages(1))
				if len(withheld) != 1 || !withheld[0].Temporary || !errors.Is(withheld[0], context.DeadlineExceeded) {
					t.Errorf("got %v, want the message withheld, temporary, for the end of its time", withheld)
				}
				if got, want := opens, tc.codec >= 0; (got == 1) != want {
					t.Errorf("the codec was called %d times, want one call: %v", got, want)
				}
			})
		})
	}
}

// TestOpenMessagesAfterTheWait goes on to give messages to a codec whose time
// to wait is over, because it may open some without waiting; and stops while
// the caller can still report.
func TestOpenMessagesAfterTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := install(t, openingCodec{&toyCodec{}, func(ctx context.Context, msgs []types.Message) []middleware.Opened {
			if *msgs[0].Body < "0200" {
				<-ctx.Done()
			}
			time.Sleep(20 * time.Millisecond) // its own work
			return asTheyAre(msgs)
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		msgs := make([]types.Message, 2000)
		for i := range msgs {
			msgs[i] = types.Message{MessageId: aws.String(fmt.Sprint(i)), Body: aws.String(fmt.Sprintf("%04d", i))}
		}
		delivered, withheld := m.OpenMessages(ctx, testQueue, msgs)
		left, _ := ctx.Deadline()
		if got := time.Until(left); got < 200*time.Millisecond {
			t.Errorf("returned %v before the deadline, want about 250ms", got)
		}
		if len(delivered)+len(withheld) != len(msgs) || len(delivered) < 1000 || len(withheld) < 100 {
			t.Errorf("got %d delivered and %d withheld, want most delivered, and the rest withheld", len(delivered), len(withheld))
		}
		for _, e := range withheld {
			if !e.Temporary || !errors.Is(e, context.DeadlineExceeded) {
				t.Fatalf("got %v, temporary %v, want the end of its time, temporary", e, e.Temporary)
			}
		}
	})
}

// TestReceiveDoesNotStopTheCodec: what SQS has handed out is opened, whatever
// becomes of the caller.
func TestReceiveDoesNotStopTheCodec(t *testing.T) {
	t.Parallel()
	fake := &fakeSQS{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "the caller's"))
	codec := openingCodec{toyCodec: &toyCodec{}}
	codec.open = func(ctx context.Context, msgs []types.Message) []middleware.Opened {
		if _, limited := ctx.Deadline(); ctx.Done() != nil || limited || ctx.Value(contextKey{}) != "the caller's" {
			t.Errorf("got a context that can end, or without the caller's values: %v", ctx)
		}
		return codec.toyCodec.Open(ctx, middleware.Queue{}, msgs)
	}
	client := fake.client(install(t, codec).Install)
	send(t, client, queueURL, secret)
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)}, func(o *sqs.Options) {
		o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
			defer cancel()
			return fake.Do(r)
		})
	})
	if err != nil || len(out.Messages) != 1 {
		t.Errorf("got %v and error %v, want the message that had arrived", out, err)
	}
}

type contextKey struct{}
