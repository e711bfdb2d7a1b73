package lambdax_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
)

// TestPartialBatch has messages that open and that do not, and work that fails
// and panics, in a standard and in a FIFO queue.
func TestPartialBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for queue, tc := range map[string]struct{ worked, failed []string }{
		"orders": {
			worked: []string{"first", "second", "fails", "third", "panics", "fourth"},
			failed: []string{"orders/1", "orders/3", "orders/5"},
		},
		// What follows a failure in its group waits; other groups go on.
		"orders.fifo": {
			worked: []string{"first", "fails", "panics"},
			failed: []string{"orders.fifo/1", "orders.fifo/2", "orders.fifo/3", "orders.fifo/4", "orders.fifo/5", "orders.fifo/6"},
		},
	} {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			sealing := w.producer(t)
			e := event(t, queue, w.send(t, queue,
				message{sealing, "a", "first"}, message{w.outsider, "a", "not sealed"}, message{sealing, "a", "second"},
				message{sealing, "b", "fails"}, message{sealing, "b", "third"},
				message{sealing, "c", "panics"}, message{sealing, "c", "fourth"}))
			r := recorder{does: map[string]func(context.Context) error{"fails": fails, "panics": panics}}
			got, err := lambdax.New(w.sealer(t), r.work, reports).Handle(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.worked, r.worked()); diff != "" {
				t.Errorf("worked off (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.failed, reported(got)); diff != "" {
				t.Errorf("reported (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInvoke returns the JSON that Lambda wants: an empty list, not null, when
// all has succeeded.
func TestInvoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealing := w.producer(t)
	msgs := w.send(t, "orders", message{sealing, "", "one"}, message{w.outsider, "", "not sealed"})
	h := lambdax.New(w.sealer(t), new(recorder).work, reports)
	for want, msgs := range map[string][]types.Message{
		`{"batchItemFailures":[]}`:                              msgs[:1],
		`{"batchItemFailures":[{"itemIdentifier":"orders/1"}]}`: msgs,
	} {
		got, err := h.Invoke(t.Context(), marshal(t, lambdax.NewEvent(arnOf("orders"), named("orders", msgs))))
		if err != nil || string(got) != want {
			t.Errorf("got %s and error %v, want %s", got, err, want)
		}
	}
}

// TestNothingSucceeded is an error, whatever the cause: a mapping that ignores
// reports would delete the batch, in an outage the backlog.
func TestNothingSucceeded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare func(*testing.T, *world, *recorder) []types.Message
		want    error
	}{
		"not sealed": {func(t *testing.T, w *world, _ *recorder) []types.Message {
			return w.send(t, "orders", message{w.outsider, "", "a"}, message{w.outsider, "", "b"})
		}, sqsx.ErrNotSealed},
		"the work fails": {func(t *testing.T, w *world, r *recorder) []types.Message {
			r.does = map[string]func(context.Context) error{"a": fails, "b": fails}
			return w.send(t, "orders", message{w.producer(t), "", "a"}, message{w.producer(t), "", "b"})
		}, errWork},
		"KMS is unreachable": {func(t *testing.T, w *world, _ *recorder) []types.Message {
			msgs := w.send(t, "orders", message{w.producer(t), "", "a"}, message{w.producer(t), "", "b"})
			w.server.CutKMS()
			return msgs
		}, sqsx.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, r := newWorld(t), new(recorder)
				e := event(t, "orders", tc.prepare(t, w, r))
				for _, optFns := range [][]func(*lambdax.Options){nil, {reports}} {
					got, err := lambdax.New(w.sealer(t), r.work, optFns...).Handle(t.Context(), e)
					batch, ok := errors.AsType[*lambdax.BatchError](err)
					if !ok || batch.Messages != 2 || batch.Failed != 2 || len(batch.Errs) != 2 || !errors.Is(err, tc.want) {
						t.Errorf("got error %v, want a *BatchError of 2 messages for %v", err, tc.want)
					}
					if err != nil && !strings.Contains(err.Error(), "none of 2 messages succeeded") {
						t.Errorf("got error %v, want one that counts", err)
					}
					if got.BatchItemFailures != nil {
						t.Errorf("got %v beside an error", got)
					}
				}
				got, err := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) { o.ReportAll = true }).Handle(t.Context(), e)
				if diff := cmp.Diff([]string{"orders/0", "orders/1"}, reported(got)); err != nil || diff != "" {
					t.Errorf("with ReportAll: got error %v, reported (-want +got):\n%s", err, diff)
				}
				time.Sleep(10 * time.Second) // what was asked of KMS ends by itself
			})
		})
	}
}

// TestMappingWithoutReports is the zero value of the options: any failure keeps
// the whole batch, and the rest is worked off all the same, so that nobody who
// may only send can keep it from being done.
func TestMappingWithoutReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealing := w.producer(t)
	msgs := w.send(t, "orders", message{w.outsider, "", "not sealed"}, message{sealing, "", "one"}, message{sealing, "", "two"})
	r := new(recorder)
	h := lambdax.New(w.sealer(t), r.work)
	got, err := h.Handle(t.Context(), event(t, "orders", msgs))
	batch, ok := errors.AsType[*lambdax.BatchError](err)
	if !ok || batch.Failed != 1 || batch.Messages != 3 || got.BatchItemFailures != nil || !errors.Is(err, sqsx.ErrNotSealed) {
		t.Errorf("got %v and error %v, want a *BatchError of 1 of 3 messages", got, err)
	}
	if err != nil && !strings.Contains(err.Error(), "Options.ReportsFailures is not set") {
		t.Errorf("got error %v, want one that names the option", err)
	}
	if diff := cmp.Diff([]string{"one", "two"}, r.worked()); diff != "" {
		t.Errorf("worked off (-want +got):\n%s", diff)
	}
	if got, err := h.Handle(t.Context(), event(t, "orders", msgs[1:])); err != nil || got.BatchItemFailures == nil || len(got.BatchItemFailures) != 0 {
		t.Errorf("without a failure: got %v and error %v, want an empty list", got, err)
	}
}

// TestMessage is what the work gets: the plaintext, what is known of it, and
// the queue.
func TestMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := event(t, "orders.fifo", w.send(t, "orders.fifo", message{w.producer(t), "g", "hello"}))
	before := marshal(t, e)
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "the caller's")
	var ids []string
	h := lambdax.New(w.sealer(t), func(ctx context.Context, m lambdax.Message) error {
		if *m.Body != "hello" || m.QueueARN != arnOf("orders.fifo") || *m.MessageId != "orders.fifo/0" || m.Attributes["MessageGroupId"] != "g" {
			t.Errorf("got body %q of queue %q, attributes %v", *m.Body, m.QueueARN, m.Attributes)
		}
		if !m.Info.Sealed || len(m.Info.SealID) != 64 || m.Info.Receives != 1 || m.Info.Key != w.key {
			t.Errorf("got %+v, want what is known of a message sealed under %s", m.Info, w.key)
		}
		if ctx.Value(key{}) != "the caller's" {
			t.Error("the context has lost the caller's values")
		}
		ids = append(ids, m.Info.SealID)
		*m.Body = "changed"
		clear(m.Attributes)
		clear(m.MessageAttributes)
		return nil
	})
	for range 2 { // delivered twice
		if _, err := h.Handle(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("got SealIDs %q, want the same twice", ids)
	}
	if after := marshal(t, e); !bytes.Equal(before, after) {
		t.Errorf("the event has changed:\n%s\n%s", before, after)
	}
}

// TestPanics are failures of their messages, whatever the value, and so is the
// end of the goroutine. What is said of them holds no value.
func TestPanics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealing := w.producer(t)
	ways := map[string]func(context.Context) error{
		"a string":  func(context.Context) error { panic("the secret of this test") },
		"an error":  func(context.Context) error { panic(errWork) },
		"a runtime": func(context.Context) error { return []error{}[len(errWork.Error())] },
		"nil":       func(context.Context) error { panic(nil) },
		"the end":   func(context.Context) error { runtime.Goexit(); return nil },
	}
	var messages []message
	for _, body := range slices.Sorted(maps.Keys(ways)) {
		messages = append(messages, message{sealing, "", body})
	}
	messages = append(messages, message{sealing, "", "goes on"})
	r := recorder{does: ways}
	var mu sync.Mutex
	got := make(map[string]error)
	out, err := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) {
		o.Parallel = 3
		o.OnError = func(_ context.Context, m lambdax.Message, err error) {
			mu.Lock()
			defer mu.Unlock()
			got[*m.Body] = err
		}
	}).Handle(t.Context(), event(t, "orders", w.send(t, "orders", messages...)))
	if err != nil || len(out.BatchItemFailures) != len(ways) {
		t.Fatalf("got %v and error %v, want all but one reported", out, err)
	}
	for body, wants := range map[string]string{
		"a string":  "panicked with a value of type string",
		"an error":  "panicked with a value of type *errors.errorString",
		"a runtime": "index out of range",
		"nil":       "panic called with nil argument",
		"the end":   "ended its goroutine",
	} {
		p, ok := errors.AsType[*lambdax.PanicError](got[body])
		if !ok || !strings.Contains(p.Error(), wants) || !strings.Contains(string(p.Stack), "handler_test.go") {
			t.Errorf("%s: got error %v, want a *PanicError that says %q, with the stack", body, got[body], wants)
		}
		if strings.Contains(fmt.Sprint(got[body]), "secret") {
			t.Errorf("%s: the error shows the value: %v", body, got[body])
		}
	}
	if !errors.Is(got["an error"], errWork) {
		t.Errorf("got %v, want the error that it panicked with in its chain", got["an error"])
	}
	if !slices.Contains(r.worked(), "goes on") {
		t.Error("the message behind the panics was not worked off")
	}
}

// TestOnError gets every failure with its cause, also where the invocation
// fails, and may change the message, and panic.
func TestOnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealing := w.producer(t)
	e := event(t, "orders.fifo", w.send(t, "orders.fifo",
		message{sealing, "a", "fails"}, message{sealing, "a", "behind"}, message{sealing, "b", "fine"},
		message{w.outsider, "c", "not sealed"}, message{sealing, "c", "behind it"}))
	before := marshal(t, e)
	want := map[string]error{
		"orders.fifo/0": errWork, "orders.fifo/1": sqsx.ErrGroupHeld, "orders.fifo/3": sqsx.ErrNotSealed, "orders.fifo/4": sqsx.ErrGroupHeld,
	}
	for name, optFn := range map[string]func(*lambdax.Options){"reported": reports, "an error": func(*lambdax.Options) {}} {
		r := recorder{does: map[string]func(context.Context) error{"fails": fails}}
		got := make(map[string]error)
		var log bytes.Buffer
		out, err := lambdax.New(w.sealer(t), r.work, optFn, func(o *lambdax.Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o.OnError = func(_ context.Context, m lambdax.Message, err error) {
				if got[strings.Clone(*m.MessageId)] = err; m.QueueARN != arnOf("orders.fifo") {
					t.Errorf("got queue %q", m.QueueARN)
				}
				*m.MessageId, *m.ReceiptHandle = "another", "another"
				clear(m.Attributes)
				for _, a := range m.MessageAttributes {
					clear(a.BinaryValue)
				}
				clear(m.MessageAttributes)
				panic("the secret of this test")
			}
		}).Handle(t.Context(), e)
		if (err != nil) != (name == "an error") {
			t.Errorf("%s: got error %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("%s: causes (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), reported(out)); err == nil && diff != "" {
			t.Errorf("%s: reported (-want +got):\n%s", name, diff)
		}
		if lines := log.String(); strings.Count(lines, "OnError of lambdax panicked") != 4 || strings.Contains(lines, "secret") {
			t.Errorf("%s: got log %s, want a line for each panic, without its value", name, lines)
		}
		if after := marshal(t, e); !bytes.Equal(before, after) {
			t.Errorf("%s: the event has changed:\n%s\n%s", name, before, after)
		}
	}
}

// TestHookEndsItsGoroutine: what a worker that is gone has not done is
// reported.
func TestHookEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := recorder{does: map[string]func(context.Context) error{"m-1": fails}}
	got, err := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) {
		o.OnError = func(context.Context, lambdax.Message, error) { runtime.Goexit() }
	}).Handle(t.Context(), lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 4, 1)))
	if diff := cmp.Diff([]string{"m-1", "m-2", "m-3"}, reported(got)); err != nil || diff != "" {
		t.Errorf("got error %v, reported (-want +got):\n%s", err, diff)
	}
}

// TestLogsWithoutOnError is one line for an invocation, however many failed,
// and none for what the Sealer has logged already.
func TestLogsWithoutOnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealing := w.producer(t)
	msgs := w.send(t, "orders", message{w.outsider, "", "not sealed"}, message{sealing, "", "fails"}, message{sealing, "", "fails"}, message{sealing, "", "fine"})
	r := recorder{does: map[string]func(context.Context) error{"fails": fails}}
	var log bytes.Buffer
	h := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	if _, err := h.Handle(t.Context(), event(t, "orders", msgs)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`msg="sealq: messages reported as failed"`, "queue=" + arnOf("orders"), "failed=3", "of=4", "message_id=orders/1", `error="no such card"`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("got log %s, want one with %s", &log, part)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("got %d lines, want one:\n%s", n, &log)
	}
	log.Reset()
	if _, err := h.Handle(t.Context(), event(t, "orders", msgs[:3])); err == nil || log.Len() > 0 {
		t.Errorf("got error %v and log %q, want an error, which the caller logs, and no line", err, &log)
	}
	for _, msgs := range [][]types.Message{msgs[3:], {msgs[0], msgs[3]}} {
		if _, err := h.Handle(t.Context(), event(t, "orders", msgs)); err != nil || log.Len() > 0 {
			t.Errorf("got error %v and log %q, want neither", err, &log)
		}
	}
}

// TestParallel counts how many calls of the work run at once.
func TestParallel(t *testing.T) {
	t.Parallel()
	for parallel, wants := range map[int]struct{ standard, fifo int64 }{0: {1, 1}, 1: {1, 1}, 3: {3, 3}, 100: {20, 4}} {
		for _, queue := range []string{"orders", "orders.fifo"} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				msgs := w.sealed(t, queue, "m", 20, 1)
				for i := range msgs {
					msgs[i].Attributes = map[string]string{"MessageGroupId": fmt.Sprint("g", i%4)}
				}
				var now, most atomic.Int64
				var mu sync.Mutex
				order := make(map[string][]string)
				h := lambdax.New(w.sealer(t), func(_ context.Context, m lambdax.Message) error {
					mu.Lock()
					most.Store(max(most.Load(), now.Add(1)))
					group := m.Attributes["MessageGroupId"]
					order[group] = append(order[group], *m.Body)
					mu.Unlock()
					time.Sleep(time.Second)
					now.Add(-1)
					return nil
				}, func(o *lambdax.Options) { o.Parallel = parallel })
				start := time.Now()
				if _, err := h.Handle(t.Context(), lambdax.NewEvent(arnOf(queue), msgs)); err != nil {
					t.Fatal(err)
				}
				want := wants.standard
				if queue == "orders.fifo" {
					want = wants.fifo // there are four groups
					for g := range 4 {
						var in []string
						for i := g; i < 20; i += 4 {
							in = append(in, fmt.Sprint("m-", i))
						}
						if diff := cmp.Diff(in, order[fmt.Sprint("g", g)]); diff != "" {
							t.Errorf("group %d is out of order (-want +got):\n%s", g, diff)
						}
					}
				}
				if got := most.Load(); got != want {
					t.Errorf("Parallel %d, %s: got %d calls at once, want %d", parallel, queue, got, want)
				}
				if took, limit := time.Since(start), time.Duration((20+want-1)/want)*time.Second; took > limit {
					t.Errorf("Parallel %d, %s: took %v, want %v", parallel, queue, took, limit)
				}
			})
		}
	}
}

// TestGroupsOfAStandardQueue are for fair queues: they say nothing about order,
// so that a failure holds back nobody.
func TestGroupsOfAStandardQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	msgs := w.sealed(t, "orders", "m", 3, 1)
	for i := range msgs {
		msgs[i].Attributes = map[string]string{"MessageGroupId": "tenant"}
	}
	r := recorder{does: map[string]func(context.Context) error{"m-0": fails}}
	got, err := lambdax.New(w.sealer(t), r.work, reports).Handle(t.Context(), lambdax.NewEvent(arnOf("orders"), msgs))
	if diff := cmp.Diff([]string{"m-0"}, reported(got)); err != nil || diff != "" {
		t.Errorf("got error %v, reported (-want +got):\n%s", err, diff)
	}
}

// TestFIFOMessageWithoutAGroup may be of any group: a failure holds back all
// that follow.
func TestFIFOMessageWithoutAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	msgs := w.sealed(t, "orders.fifo", "m", 4, 1)
	for i := range msgs {
		if i != 2 {
			msgs[i].Attributes = map[string]string{"MessageGroupId": fmt.Sprint(i)}
		}
	}
	r := recorder{does: map[string]func(context.Context) error{"m-1": fails}}
	got, err := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) { o.Parallel = 4 }).Handle(t.Context(), lambdax.NewEvent(arnOf("orders.fifo"), msgs))
	if diff := cmp.Diff([]string{"m-1", "m-2", "m-3"}, reported(got)); err != nil || diff != "" {
		t.Errorf("got error %v, reported (-want +got):\n%s", err, diff)
	}
}

// TestWorkMayChangeItsMessage, as all that it gets is its own: what is reported
// and made invisible, and the order of groups, do not depend on it.
func TestWorkMayChangeItsMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealing := w.producer(t)
	msgs := w.send(t, "orders.fifo", message{sealing, "a", "0"}, message{sealing, "a", "1"}, message{sealing, "b", "2"}, message{sealing, "b", "3"})
	h := lambdax.New(w.sealer(t), func(_ context.Context, m lambdax.Message) error {
		*m.MessageId, *m.ReceiptHandle = "orders.fifo/2", "another"
		m.Attributes["MessageGroupId"] = "b"
		if *m.Body == "0" {
			return errWork
		}
		return nil
	}, reports, func(o *lambdax.Options) {
		o.SQS, o.BackOff = w.outsider, func(lambdax.Message, int) time.Duration { return time.Minute }
	})
	got, err := h.Handle(t.Context(), event(t, "orders.fifo", msgs))
	if diff := cmp.Diff([]string{"orders.fifo/0", "orders.fifo/1"}, reported(got)); err != nil || diff != "" {
		t.Errorf("got error %v, reported (-want +got):\n%s", err, diff)
	}
	var handles []string
	for _, r := range w.visibilityRequests(t) {
		for _, e := range r.Entries {
			handles = append(handles, e.ReceiptHandle)
		}
	}
	if diff := cmp.Diff([]string{*msgs[0].ReceiptHandle, *msgs[1].ReceiptHandle}, handles); diff != "" {
		t.Errorf("made invisible (-want +got):\n%s", diff)
	}
}

// TestInvocationsShareNothing: a group that failed in one invocation is not
// held back in the next one or in one at the same time.
func TestInvocationsShareNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	msgs := w.sealed(t, "orders.fifo", "m", 4, 1)
	for i := range msgs {
		msgs[i].Attributes = map[string]string{"MessageGroupId": "g"}
	}
	r := recorder{does: map[string]func(context.Context) error{"m-0": fails}}
	h := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) { o.Parallel, o.ReportAll = 2, true })
	var invocations sync.WaitGroup
	for range 8 {
		invocations.Go(func() {
			for _, tc := range []struct {
				msgs []types.Message
				want int
			}{{msgs[:2], 2}, {msgs[1:], 0}} {
				got, err := h.Handle(t.Context(), lambdax.NewEvent(arnOf("orders.fifo"), tc.msgs))
				if err != nil || len(got.BatchItemFailures) != tc.want {
					t.Errorf("got %v and error %v, want %d reported", got, err, tc.want)
				}
			}
		})
	}
	invocations.Wait()
}

// TestRefusedSettings fail every invocation before anything is opened.
func TestRefusedSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealer, work := w.sealer(t), new(recorder).work
	e := lambdax.NewEvent(arnOf("orders"), w.sealed(t, "orders", "m", 1, 1))
	asked := w.server.Count("kms:Decrypt")
	with := func(fn func(*lambdax.Options)) *lambdax.Handler { return lambdax.New(sealer, work, fn) }
	for want, h := range map[string]*lambdax.Handler{
		"option function 0 is nil": lambdax.New(sealer, work, nil),
		"nil *sqsx.Sealer":         lambdax.New(nil, work),
		"no work":                  lambdax.New(sealer, nil),
		"Options.Reserve is -1s":   with(func(o *lambdax.Options) { o.Reserve = -time.Second }),
		"Options.Parallel is -1":   with(func(o *lambdax.Options) { o.Parallel = -1 }),
		"set Options.SQS": with(func(o *lambdax.Options) {
			o.BackOff = func(lambdax.Message, int) time.Duration { return 0 }
		}),
		"Options.ReportAll needs Options.ReportsFailures": with(func(o *lambdax.Options) { o.ReportAll = true }),
	} {
		got, err := h.Handle(t.Context(), e)
		if _, ok := errors.AsType[*sqsx.ConfigError](err); !ok || !strings.Contains(err.Error(), want) || got.BatchItemFailures != nil {
			t.Errorf("got %v and error %v, want a *ConfigError that says %q", got, err, want)
		}
		if _, err := h.Invoke(t.Context(), marshal(t, e)); err == nil {
			t.Errorf("Invoke: got no error, want one that says %q", want)
		}
		if early := h.Err(); early == nil || early != err {
			t.Errorf("Err: got %v, want the error of an invocation: %v", early, err)
		}
	}
	if err := lambdax.New(sealer, work).Err(); err != nil {
		t.Errorf("Err: got %v of a Handler that works, want nil", err)
	}
	for _, h := range []*lambdax.Handler{nil, {}} {
		if err := h.Err(); err == nil || !strings.Contains(err.Error(), "make one with New") {
			t.Errorf("Err: got %v of a nil or zero Handler", err)
		}
		if _, err := h.Handle(t.Context(), e); err == nil || !strings.Contains(err.Error(), "make one with New") {
			t.Errorf("got error %v of a nil or zero Handler", err)
		}
	}
	if got := w.server.Count("kms:Decrypt"); got != asked {
		t.Errorf("KMS was asked %d times, want none", got-asked)
	}
	var none sqsx.Sealer
	if _, err := lambdax.New(&none, work).Handle(t.Context(), e); !errors.Is(err, sqsx.ErrUninitialized) {
		t.Errorf("got error %v of a zero Sealer, want ErrUninitialized", err)
	}
}

// TestNothingIsLost draws events at random and compares with the rules: what
// was not worked off with success is reported or is an error, each message is
// worked on at most once, and groups keep their order.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealer := w.sealer(t)
	pool := map[string][]types.Message{}
	for _, queue := range []string{"orders", "orders.fifo"} {
		pool[queue] = w.sealed(t, queue, "m", 25, 3)
	}
	other := w.sealed(t, "other", "other", 1, 1)[0]
	rapid.Check(t, func(t *rapid.T) {
		queue := rapid.SampledFrom([]string{"orders", "orders.fifo"}).Draw(t, "queue")
		fates := rapid.SliceOfN(rapid.SampledFrom([]string{"ok", "ok", "fails", "panics", "not sealed", "other queue"}), 1, 25).Draw(t, "fates")
		options := lambdax.Options{
			Parallel:        rapid.IntRange(0, 5).Draw(t, "parallel"),
			ReportsFailures: rapid.Bool().Draw(t, "reports"),
			OnError:         func(context.Context, lambdax.Message, error) {},
		}
		options.ReportAll = options.ReportsFailures && rapid.Bool().Draw(t, "report all")
		msgs := slices.Clone(pool[queue][:len(fates)])
		groups := make([]string, len(msgs))
		for i, fate := range fates {
			id := msgs[i].MessageId
			switch fate {
			case "not sealed":
				msgs[i] = types.Message{Body: &fates[i]}
			case "other queue":
				msgs[i] = other
			}
			msgs[i].MessageId = id
			groups[i] = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "group")
			msgs[i].Attributes = map[string]string{"MessageGroupId": groups[i]}
		}

		// The rules.
		var want []string
		broken := make(map[string]bool)
		for i, fate := range fates {
			if fate != "ok" || queue == "orders.fifo" && broken[groups[i]] {
				broken[groups[i]] = true
				want = append(want, *msgs[i].MessageId)
			}
		}
		wantErr := len(want) > 0 && !options.ReportsFailures || len(want) == len(msgs) && !options.ReportAll

		var mu sync.Mutex
		var worked []string
		succeeded := make(map[string]bool)
		h := lambdax.New(sealer, func(_ context.Context, m lambdax.Message) error {
			mu.Lock()
			defer mu.Unlock()
			worked = append(worked, *m.MessageId)
			i := slices.IndexFunc(msgs, func(o types.Message) bool { return *o.MessageId == *m.MessageId })
			switch fates[i] {
			case "fails":
				return errWork
			case "panics":
				panic(errWork)
			}
			succeeded[*m.MessageId] = true
			return nil
		}, func(o *lambdax.Options) { *o = options })
		got, err := h.Handle(context.Background(), lambdax.NewEvent(arnOf(queue), msgs))

		if (err != nil) != wantErr {
			t.Fatalf("got error %v, want one: %v", err, wantErr)
		}
		if diff := cmp.Diff(want, reported(got), cmpopts.EquateEmpty()); err == nil && diff != "" {
			t.Fatalf("reported (-want +got):\n%s", diff)
		}
		if batch, ok := errors.AsType[*lambdax.BatchError](err); ok && batch.Failed != len(want) {
			t.Fatalf("got %d failed, want %d", batch.Failed, len(want))
		}
		for _, m := range msgs {
			if succeeded[*m.MessageId] == slices.Contains(want, *m.MessageId) {
				t.Fatalf("%s succeeded: %v, want the opposite", *m.MessageId, succeeded[*m.MessageId])
			}
		}
		if slices.Sort(worked); len(slices.Compact(slices.Clone(worked))) != len(worked) {
			t.Fatalf("worked on %q, want each once", worked)
		}
	})
}

// TestSameMessageTwice is in one event if SQS delivered it twice within a
// batching window: it is reported once.
func TestSameMessageTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	msgs := w.sealed(t, "orders", "m", 2, 1)
	r := recorder{does: map[string]func(context.Context) error{"m-0": fails}}
	got, err := lambdax.New(w.sealer(t), r.work, reports).Handle(t.Context(), lambdax.NewEvent(arnOf("orders"), []types.Message{msgs[0], msgs[1], msgs[0]}))
	if diff := cmp.Diff([]string{"m-0"}, reported(got)); err != nil || diff != "" {
		t.Errorf("got error %v, reported (-want +got):\n%s", err, diff)
	}
}

// TestRecordsOfOneID: what is known of one record is not said of another one
// that has its ID, whatever its receipt handle: its error, its message group
// and its receipt handle.
func TestRecordsOfOneID(t *testing.T) {
	t.Parallel()
	for name, sameHandle := range map[string]bool{"two receipt handles": false, "one receipt handle": true} {
		for _, junkFirst := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", junk first ", junkFirst), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				msgs := w.sealed(t, "orders.fifo", "m", 4, 1)
				for i, group := range []string{"a", "b", "a", "b"} {
					msgs[i].Attributes = map[string]string{"MessageGroupId": group}
					msgs[i].ReceiptHandle = aws.String(fmt.Sprint("handle-", i))
				}
				junk, fails1 := 0, 1
				if !junkFirst {
					junk, fails1 = 1, 0
				}
				msgs[junk].Body = aws.String("junk")
				msgs[1].MessageId = msgs[0].MessageId
				if sameHandle {
					msgs[1].ReceiptHandle = msgs[0].ReceiptHandle
				}
				r := recorder{does: map[string]func(context.Context) error{fmt.Sprint("m-", fails1): fails}}
				var mu sync.Mutex
				told := make(map[string]error) // by message group
				h := lambdax.New(w.sealer(t), r.work, reports, func(o *lambdax.Options) {
					o.SQS = w.outsider
					o.BackOff = func(lambdax.Message, int) time.Duration { return time.Minute }
					o.OnError = func(_ context.Context, m lambdax.Message, err error) {
						mu.Lock()
						defer mu.Unlock()
						if group := m.Attributes["MessageGroupId"]; told[group] == nil {
							told[group] = err
						}
						if withheld, ok := errors.AsType[*sqsx.OpenError](err); ok && withheld.Message.Attributes["MessageGroupId"] != m.Attributes["MessageGroupId"] {
							t.Errorf("group %s was told of an error of group %s", m.Attributes["MessageGroupId"], withheld.Message.Attributes["MessageGroupId"])
						}
					}
				})
				if _, err := h.Handle(t.Context(), lambdax.NewEvent(arnOf("orders.fifo"), msgs)); err != nil {
					if _, all := errors.AsType[*lambdax.BatchError](err); !all {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff([]string{fmt.Sprint("m-", fails1)}, r.worked()); diff != "" {
					t.Errorf("worked on (-want +got):\n%s", diff)
				}
				groups := []string{"a", "b"}
				if !errors.Is(told[groups[junk]], sqsx.ErrInvalidMessage) || !errors.Is(told[groups[fails1]], errWork) {
					t.Errorf("got errors %v, want of group %s that it is invalid, and of the other that of the work", told, groups[junk])
				}
				var hidden []string
				for _, r := range w.visibilityRequests(t) {
					for _, e := range r.Entries {
						hidden = append(hidden, e.ReceiptHandle)
					}
				}
				want := []string{*msgs[fails1].ReceiptHandle, fmt.Sprint("handle-", fails1+2)} // not of what is invalid
				if diff := cmp.Diff(want, hidden); diff != "" {
					t.Errorf("made invisible (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestQueueOfAnotherAccount: the record names the queue, so that its messages
// open in whatever account the function is.
func TestQueueOfAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const arn = "arn:aws:sqs:us-east-1:111122223333:orders"
	in, err := w.sealer(t).SealMessage(t.Context(), arn, &sqs.SendMessageInput{MessageBody: aws.String("hello")})
	if err != nil {
		t.Fatal(err)
	}
	r := new(recorder)
	msgs := []types.Message{{MessageId: aws.String("1"), Body: in.MessageBody, MessageAttributes: in.MessageAttributes}}
	if _, err := lambdax.New(w.sealer(t), r.work).Handle(t.Context(), lambdax.NewEvent(arn, msgs)); err != nil || len(r.worked()) != 1 {
		t.Errorf("got error %v, worked off %q", err, r.worked())
	}
	if _, err := lambdax.New(w.sealer(t), r.work).Handle(t.Context(), lambdax.NewEvent(arnOf("orders"), msgs)); !errors.Is(err, sqsx.ErrContextMismatch) {
		t.Errorf("as one of the same name in this account: got error %v, want ErrContextMismatch", err)
	}
}

// TestSeveralQueues are in one event only if somebody made it: each message is
// opened as one of its own queue.
func TestSeveralQueues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.sealed(t, "a", "a", 2, 1), w.sealed(t, "b", "b", 2, 1)
	e := lambdax.NewEvent(arnOf("a"), []types.Message{a[0], a[1]})
	more := lambdax.NewEvent(arnOf("b"), []types.Message{b[0], b[1]})
	wrong := lambdax.NewEvent(arnOf("b"), []types.Message{{MessageId: a[0].MessageId, Body: a[0].Body, MessageAttributes: a[0].MessageAttributes}})
	wrong.Records[0].MessageID = "a-0 in b"
	e.Records = []lambdax.Record{e.Records[0], more.Records[0], wrong.Records[0], e.Records[1], more.Records[1]}
	r := new(recorder)
	got, err := lambdax.New(w.sealer(t), r.work, reports).Handle(t.Context(), e)
	if diff := cmp.Diff([]string{"a-0 in b"}, reported(got)); err != nil || diff != "" {
		t.Errorf("got error %v, reported (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"a-0", "b-0", "a-1", "b-1"}, r.worked()); diff != "" {
		t.Errorf("worked off (-want +got):\n%s", diff)
	}
}
