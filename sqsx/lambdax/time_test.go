package lambdax_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// interleave takes one of a and one of b in turn; both have the same length.
func interleave(a, b []types.Message) []types.Message {
	var all []types.Message
	for i := range a {
		all = append(all, a[i], b[i])
	}
	return all
}

// TestKMSHangs has messages of new data keys, for which KMS does not answer,
// beside as many under a cached one, in functions of several timeouts. The
// cached ones are worked off and the others reported, before the function's
// deadline.
func TestKMSHangs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		hanging, keys int
		timeout       time.Duration
		reserve       time.Duration
		opening       time.Duration // until the work begins, at most
	}{
		"15 seconds":                  {100, 20, 15 * time.Second, 0, 10 * time.Second},
		"1,000 keys":                  {1000, 1000, 15 * time.Second, 0, 10 * time.Second},
		"3 seconds, Lambda's default": {10, 10, 3 * time.Second, 0, 1500 * time.Millisecond},
		"another reserve":             {100, 20, time.Minute, 50 * time.Second, 30 * time.Second},
		"a small reserve":             {100, 20, 15 * time.Second, 2 * time.Second, 13 * time.Second},
		"15 minutes":                  {100, 20, 15 * time.Minute, 0, 15*time.Minute - 5*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				sealer := w.sealer(t)
				cached := w.sealed(t, "orders", "cached", tc.hanging, 1)
				if opened, _ := sealer.OpenMessages(t.Context(), arnOf("orders"), cached[:1]); len(opened) != 1 {
					t.Fatal("the data key of the messages that are to be worked off is not cached")
				}
				hanging := w.sealed(t, "orders", "hanging", tc.hanging, tc.keys)
				w.server.Intercept(decryptHangs)
				defer time.Sleep(10 * time.Second) // what was asked of KMS ends by itself

				ctx, cancel := context.WithTimeout(t.Context(), tc.timeout)
				defer cancel()
				start := time.Now()
				var opened time.Duration
				r := new(recorder)
				h := lambdax.New(sealer, func(ctx context.Context, m lambdax.Message) error {
					if opened == 0 {
						opened = time.Since(start)
					}
					time.Sleep(time.Millisecond)
					return r.work(ctx, m)
				}, reports, func(o *lambdax.Options) { o.Reserve = tc.reserve })
				got, err := h.Handle(ctx, lambdax.NewEvent(arnOf("orders"), interleave(hanging, cached)))
				if err != nil || ctx.Err() != nil {
					t.Errorf("got error %v, context %v, want a report in time", err, ctx.Err())
				}
				if opened > tc.opening {
					t.Errorf("the work began after %v, want %v at most", opened, tc.opening)
				}
				if len(r.worked()) != tc.hanging || len(got.BatchItemFailures) != tc.hanging {
					t.Errorf("worked off %d and reported %d, want %d each", len(r.worked()), len(got.BatchItemFailures), tc.hanging)
				}
			})
		})
	}
}

// TestKMSHangsForAll is an error in time: nothing succeeded.
func TestKMSHangsForAll(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			e := lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 100, 100))
			w.server.Intercept(decryptHangs)
			defer time.Sleep(10 * time.Second) // what was asked of KMS ends by itself
			ctx := t.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			start := time.Now()
			_, err := lambdax.New(w.sealer(t), new(recorder).work, reports).Handle(ctx, e)
			if !errors.Is(err, sqsx.ErrUnavailable) || ctx.Err() != nil {
				t.Errorf("got error %v, context %v, want ErrUnavailable in time", err, ctx.Err())
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("timeout %v: took %v, want 10s at most", timeout, took)
			}
		})
	}
}

// TestNoWorkThatCannotFinish has work that takes longer than the time there is
// for all of it. None is started when less time is left than the longest took,
// so that none is cut off; what was not started is reported.
func TestNoWorkThatCannotFinish(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		timeout, work time.Duration
		parallel      int
		want          int // worked off, of 10
	}{
		"3 of 15 seconds":        {15 * time.Second, 3 * time.Second, 1, 4},
		"two at once":            {15 * time.Second, 3 * time.Second, 2, 8},
		"as long as there is":    {15 * time.Second, 7 * time.Second, 1, 2},
		"short ones":             {15 * time.Second, time.Second, 1, 10},
		"3 seconds, the default": {3 * time.Second, time.Second, 1, 2},
	} {
		for _, queue := range []string{"orders", "orders.fifo"} {
			t.Run(name+" "+queue, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					msgs := w.sealed(t, queue, "m", 10, 1)
					for i := range msgs {
						msgs[i].Attributes = map[string]string{"MessageGroupId": fmt.Sprint("g", i%2)}
					}
					ctx, cancel := context.WithTimeout(t.Context(), tc.timeout)
					defer cancel()
					var ended, cut atomic.Int64
					var causes []error
					h := lambdax.New(w.sealer(t), func(ctx context.Context, _ lambdax.Message) error {
						select {
						case <-time.After(tc.work):
							ended.Add(1)
							return nil
						case <-ctx.Done():
							cut.Add(1)
							return ctx.Err()
						}
					}, reports, func(o *lambdax.Options) {
						o.Parallel = tc.parallel
						var mu sync.Mutex
						o.OnError = func(_ context.Context, _ lambdax.Message, err error) {
							mu.Lock()
							defer mu.Unlock()
							causes = append(causes, err)
						}
					})
					got, err := h.Handle(ctx, lambdax.NewEvent(arnOf(queue), msgs))
					if err != nil || ctx.Err() != nil {
						t.Errorf("got error %v, context %v, want a report in time", err, ctx.Err())
					}
					if int(ended.Load()) != tc.want || cut.Load() != 0 || len(got.BatchItemFailures) != 10-tc.want {
						t.Errorf("got %d ended, %d cut off, %d reported; want %d, none, %d", ended.Load(), cut.Load(), len(got.BatchItemFailures), tc.want, 10-tc.want)
					}
					for _, err := range causes {
						if !errors.Is(err, lambdax.ErrNotStarted) && !errors.Is(err, sqsx.ErrGroupHeld) {
							t.Errorf("got cause %v, want ErrNotStarted, or ErrGroupHeld behind it", err)
						}
					}
				})
			})
		}
	}
}

// TestContextOfTheWork ends before the function's deadline, by a second or a
// tenth of the time, so that a failure at its end can still be reported.
func TestContextOfTheWork(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]time.Duration{
		15 * time.Second: 14 * time.Second,
		3 * time.Second:  2700 * time.Millisecond,
		15 * time.Minute: 15*time.Minute - time.Second,
		0:                0, // no deadline
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			ctx, start := t.Context(), time.Now()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			h := lambdax.New(w.sealer(t), func(ctx context.Context, m lambdax.Message) error {
				deadline, limited := ctx.Deadline()
				if limited != (timeout > 0) || limited && deadline.Sub(start) != want {
					t.Errorf("timeout %v: got %v for the work, want %v", timeout, deadline.Sub(start), want)
				}
				if *m.Body == "m-1" && limited {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}, reports)
			got, err := h.Handle(ctx, lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 2, 1)))
			if err != nil || ctx.Err() != nil {
				t.Errorf("timeout %v: got error %v, context %v, want a report in time", timeout, err, ctx.Err())
			}
			if n := len(got.BatchItemFailures); n != 0 && timeout == 0 || n != 1 && timeout > 0 {
				t.Errorf("timeout %v: got %v", timeout, got)
			}
		})
	}
}

// TestCancelled starts no work for an invocation that is over.
func TestCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealer := w.sealer(t)
	e := lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 5, 1))
	ctx, cancel := context.WithCancel(t.Context())
	r := recorder{does: map[string]func(context.Context) error{"m-1": func(context.Context) error { cancel(); return nil }}}
	got, err := lambdax.New(sealer, r.work, reports).Handle(ctx, e)
	if diff := cmp.Diff([]string{"m-2", "m-3", "m-4"}, reported(got)); err != nil || diff != "" {
		t.Errorf("got error %v, reported (-want +got):\n%s", err, diff)
	}
	r = recorder{}
	if _, err := lambdax.New(sealer, r.work, reports).Handle(ctx, e); !errors.Is(err, context.Canceled) || len(r.worked()) > 0 {
		t.Errorf("got error %v, and %q worked off, want context.Canceled and none", err, r.worked())
	}
}

// TestColdStart counts the calls of KMS and SQS that the first event of a
// process takes, and what a check in the function's initialization takes off
// it.
func TestColdStart(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		alias, check bool
		init, first  []string
	}{
		"key ARN":        {false, false, nil, []string{"kms:Decrypt"}},
		"alias":          {true, false, nil, []string{"kms:DescribeKey", "kms:Decrypt"}},
		"key ARN, check": {false, true, []string{"kms:Decrypt"}, []string{"kms:Decrypt"}}, // the first is a dry run
		"alias, check":   {true, true, []string{"kms:DescribeKey", "kms:Decrypt"}, []string{"kms:Decrypt"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			e := lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 10, 1))
			calls := func() (actions []string) {
				for _, r := range w.server.Requests() {
					actions = append(actions, r.Action)
				}
				return actions
			}
			key := w.key
			if tc.alias {
				key = "alias/orders"
			}
			before := len(calls())
			sealer := w.sealerFor(t, key)
			h := lambdax.New(sealer, new(recorder).work)
			if tc.check {
				if err := sealer.CheckOpen(t.Context(), arnOf("orders")); err != nil {
					t.Fatal(err)
				}
			}
			initialized := len(calls())
			for i, want := range [][]string{tc.first, nil} { // the second event is warm
				began := len(calls())
				if _, err := h.Handle(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, slices.Clip(calls()[began:]), emptyIsNil); diff != "" {
					t.Errorf("event %d: calls (-want +got):\n%s", i, diff)
				}
			}
			if diff := cmp.Diff(tc.init, calls()[before:initialized], emptyIsNil); diff != "" {
				t.Errorf("initialization: calls (-want +got):\n%s", diff)
			}
		})
	}
}

var emptyIsNil = cmp.Transformer("emptyIsNil", func(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
})

// TestTenThousand is the largest event of a standard queue, under one data key
// and under a thousand, of which KMS decrypts each once and at most 100 at a
// time.
func TestTenThousand(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	t.Parallel()
	for _, keys := range []int{1, 1000} {
		synctest.Test(t, func(t *testing.T) {
			const latency = 20 * time.Millisecond
			w := newWorld(t)
			e := lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 10_000, keys))
			var now, most atomic.Int64
			w.server.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "kms:Decrypt" {
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(latency)
					now.Add(-1)
				}
				return nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			r, start := new(recorder), time.Now()
			got, err := lambdax.New(w.sealer(t), r.work, reports).Handle(ctx, e)
			if err != nil || len(got.BatchItemFailures) != 0 || len(r.worked()) != 10_000 {
				t.Errorf("%d keys: got %d reported, %d worked off and error %v, want all 10,000 worked off", keys, len(got.BatchItemFailures), len(r.worked()), err)
			}
			if calls := w.server.Count("kms:Decrypt"); calls != keys || most.Load() > 100 {
				t.Errorf("%d keys: got %d calls, %d at once; want %d, 100 at most", keys, calls, most.Load(), keys)
			}
			if took, limit := time.Since(start), time.Duration(keys)*latency; took > limit {
				t.Errorf("%d keys: took %v of waiting for KMS, want %v at most", keys, took, limit)
			}
		})
	}
}
