package sqsx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/metrics"
	"github.com/aws/smithy-go/tracing"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
)

// meter collects measurements by instrument, queue and cause. What it does not
// override it does not have: an instrument of another kind would panic.
type meter struct {
	metrics.Meter

	counters []string // names

	mu    sync.Mutex
	sums  map[string]int64
	zeros map[string]int // measurements of 0
	async map[string]metrics.Int64Callback
}

func newMeter() *meter {
	return &meter{sums: make(map[string]int64), zeros: make(map[string]int), async: make(map[string]metrics.Int64Callback)}
}

type provider struct{ m metrics.Meter }

func (p provider) Meter(string, ...metrics.MeterOption) metrics.Meter { return p.m }

func (m *meter) Int64Counter(name string, _ ...metrics.InstrumentOption) (metrics.Int64Counter, error) {
	m.counters = append(m.counters, name)
	return instrument{m, name}, nil
}

func (m *meter) Int64AsyncCounter(name string, f metrics.Int64Callback, _ ...metrics.InstrumentOption) (metrics.AsyncInstrument, error) {
	m.async[name] = f
	return nil, nil
}

type instrument struct {
	m    *meter
	name string
}

func (i instrument) Add(ctx context.Context, n int64, opts ...metrics.RecordMetricOption) {
	i.Observe(ctx, n, opts...)
}

func (i instrument) Observe(_ context.Context, n int64, opts ...metrics.RecordMetricOption) {
	var o metrics.RecordMetricOptions
	for _, opt := range opts {
		opt(&o)
	}
	key := i.name
	for _, property := range []string{"queue", "cause"} {
		if v, ok := o.Properties.Get(property).(string); ok {
			key += " " + v
		}
	}
	i.m.mu.Lock()
	defer i.m.mu.Unlock()
	i.m.sums[key] += n
	if n == 0 {
		i.m.zeros[key]++
	}
}

// collect reads the instruments that are asked, and returns all that is not 0.
func (m *meter) collect(ctx context.Context) map[string]int64 {
	for name, f := range m.async {
		f(ctx, instrument{m, name})
	}
	maps.DeleteFunc(m.sums, func(_ string, n int64) bool { return n == 0 })
	return m.sums
}

func TestMetricsAndStats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	meter := newMeter()
	s := w.sealer(func(o *sqsx.Options) {
		o.MeterProvider = provider{meter}
		o.Queues = map[string]sqsx.Policy{"open": {NoSeal: true, AcceptPlaintext: true}}
	})
	client := s.Wrap(w.plain)
	sealed, open := w.queue("sealed"), w.queue("open")
	send(t, client, sealed, "x")
	send(t, client, sealed, "x")
	send(t, client, open, "x")
	send(t, w.plain, sealed, "plaintext")
	for _, url := range []string{sealed, open} {
		if _, err := receive(t.Context(), client, url); err != nil {
			t.Fatal(err)
		}
	}
	w.server.Intercept(kmsFails(errors.New("no route")))
	s.Purge()
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &sealed, MessageBody: aws.String("x")}); err == nil {
		t.Fatal("sent without a key")
	}
	want := map[string]int64{
		"sealq.messages.sealed " + arnOf("sealed"):                2,
		"sealq.messages.seal_failed " + arnOf("sealed"):           1,
		"sealq.messages.sent_plaintext " + arnOf("open"):          1,
		"sealq.messages.opened " + arnOf("sealed"):                2,
		"sealq.messages.received_plaintext " + arnOf("open"):      1,
		"sealq.messages.withheld " + arnOf("sealed") + " message": 1,
		"sealq.hold.asked " + arnOf("sealed"):                     1,
		"sealq.keys.hits":                                         2,
		"sealq.keys.misses":                                       3,
		"sealq.keys.fetches":                                      3,
	}
	got := meter.collect(t.Context())
	// The second of two messages may find its key, or wait for the fetch.
	got["sealq.keys.hits"], got["sealq.keys.misses"] = got["sealq.keys.hits"]+got["sealq.keys.misses"]-3, 3
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics: %s", diff)
	}
	stats := s.Stats()
	if stats.Sealed != 2 || stats.SentPlain != 1 || stats.SealFailed != 1 || stats.Opened != 2 || stats.OpenedPlain != 1 || stats.WithheldMessage != 1 || stats.Cache.Fetches != 3 || stats.Cache.Unavailable != 1 {
		t.Errorf("got %+v", stats)
	}
}

// TestCountersBeginAtZero: an alarm on the increase of a counter does not see
// the first event if the counter begins with it. So all of a queue's begin with
// its first use, once.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	meter := newMeter()
	s := w.sealer(func(o *sqsx.Options) {
		o.MeterProvider = provider{meter}
		o.Queues = map[string]sqsx.Policy{"unsealed": {NoSeal: true}}
	})
	client := s.Wrap(w.plain)
	for _, name := range []string{"sent-to", "unsealed"} {
		send(t, client, w.queue(name), "x")
	}
	if _, err := receive(t.Context(), client, w.queue("received-from")); err != nil {
		t.Fatal(err)
	}
	s.OpenMessages(t.Context(), arnOf("opened"), []types.Message{{Body: aws.String("plaintext")}})
	if err := s.Check(t.Context(), arnOf("checked")); err != nil {
		t.Fatal(err)
	}
	begun := func() map[string]int {
		meter.mu.Lock()
		defer meter.mu.Unlock()
		return maps.Clone(meter.zeros)
	}
	before := begun()
	for _, queue := range []string{"sent-to", "unsealed", "received-from", "opened", "checked"} {
		for _, counter := range meter.counters {
			series := []string{""}
			if counter == "sealq.messages.withheld" {
				series = []string{" message", " unavailable", " refused"}
			}
			for _, cause := range series {
				if key := counter + " " + arnOf(queue) + cause; before[key] != 1 {
					t.Errorf("%s: got %d measurements of 0 after the first use, want 1", key, before[key])
				}
			}
		}
	}
	if len(meter.counters) < 7 {
		t.Errorf("got the counters %v, want all", meter.counters)
	}
	// Another use, and another URL of a queue, begin nothing anew.
	send(t, client, w.queue("sent-to"), "y")
	send(t, client, "https://queue.amazonaws.com/000000000000/sent-to", "z")
	if diff := cmp.Diff(before, begun()); diff != "" {
		t.Errorf("measurements of 0 after further uses: %s", diff)
	}
}

// TestCountersOfAQueueWithoutAnARN: a queue without an account, which is bound
// to a logical name, is called by its URL.
func TestCountersOfAQueueWithoutAnARN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	meter := newMeter()
	s := w.sealer(logical("orders"), func(o *sqsx.Options) { o.MeterProvider, o.Region = provider{meter}, w.cfg.Region })
	const url = "http://localhost:9324/queue/orders"
	if _, err := s.SealMessage(t.Context(), url, &sqs.SendMessageInput{MessageBody: aws.String("x")}); err != nil {
		t.Fatal(err)
	}
	if got := meter.collect(t.Context()); got["sealq.messages.sealed "+url] != 1 {
		t.Errorf("got %v, want one message sealed for %s", got, url)
	}
}

type failingMeter struct{ metrics.Meter }

func (m *failingMeter) Int64Counter(string, ...metrics.InstrumentOption) (metrics.Int64Counter, error) {
	return nil, errors.New("no counters today")
}

func TestMeterThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := sqsx.NewFromConfig(w.cfg, w.key, func(o *sqsx.Options) { o.MeterProvider = provider{&failingMeter{}} }); err == nil || !strings.Contains(err.Error(), "no counters today") {
		t.Errorf("got %v, want the meter's error", err)
	}
}

// tracer collects spans as they end.
type tracer struct {
	mu    sync.Mutex
	ended []spanSeen
}

// spanSeen is what a span said.
type spanSeen struct {
	Name       string
	Properties map[string]any
	Failed     bool
}

func (p *tracer) Tracer(string, ...tracing.TracerOption) tracing.Tracer { return p }

func (p *tracer) StartSpan(ctx context.Context, name string, _ ...tracing.SpanOption) (context.Context, tracing.Span) {
	span := &tracedSpan{tracer: p, seen: spanSeen{Name: name, Properties: make(map[string]any)}}
	return tracing.WithSpan(ctx, span), span
}

// named returns what the ended spans of a name said, and forgets all spans.
func (p *tracer) named(name string) []spanSeen {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := slices.DeleteFunc(p.ended, func(s spanSeen) bool { return s.Name != name })
	p.ended = nil
	return found
}

type tracedSpan struct {
	tracing.Span // what is not overridden is not called
	tracer       *tracer

	mu    sync.Mutex
	seen  spanSeen
	ended bool
}

func (s *tracedSpan) Name() string                 { return s.seen.Name }
func (s *tracedSpan) Context() tracing.SpanContext { return tracing.SpanContext{} }

func (s *tracedSpan) SetProperty(k, v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// As in OpenTelemetry, an ended span takes nothing. A KMS client without a
	// tracer adds a request ID of its own to the span around it.
	if name := fmt.Sprint(k); !s.ended && strings.HasPrefix(name, "sealq.") {
		s.seen.Properties[name] = v
	}
}

func (s *tracedSpan) SetStatus(status tracing.SpanStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Failed = status == tracing.SpanStatusError
}

func (s *tracedSpan) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended { // the SDK ends some of its own twice
		return
	}
	s.ended = true
	s.tracer.mu.Lock()
	defer s.tracer.mu.Unlock()
	s.tracer.ended = append(s.tracer.ended, s.seen)
}

// TestSpans: a span says which queue, how many messages, and what became of
// them, and is one of an error if not all went well.
func TestSpans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spans := &tracer{}
	client := sqs.NewFromConfig(w.cfg, w.sealer().Install, func(o *sqs.Options) { o.TracerProvider = spans })
	orders, fifo := w.queue("orders"), w.queue("orders.fifo")
	want := func(what, name, queue string, messages int, well string, n int, ill string) {
		t.Helper()
		expected := []spanSeen{{
			Name:       name,
			Properties: map[string]any{"sealq.queue": arnOf(queue), "sealq.messages": messages, well: n, ill: messages - n},
			Failed:     n < messages,
		}}
		if diff := cmp.Diff(expected, spans.named(name)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	sealed := func(what, queue string, messages, n int) {
		t.Helper()
		want(what, "sealq.Seal", queue, messages, "sealq.sealed", n, "sealq.failed")
	}
	opened := func(what, queue string, messages, n int) {
		t.Helper()
		want(what, "sealq.Open", queue, messages, "sealq.delivered", n, "sealq.withheld")
	}

	send(t, client, orders, "one")
	sealed("a send", "orders", 1, 1)
	twice := sealedBy(t, w.sealer(func(o *sqsx.Options) { o.Policy.BodyCarrier = true }))
	if _, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &orders, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: aws.String("two")},
		{Id: aws.String("b"), MessageBody: twice.Body},
	}}); err != nil {
		t.Fatal(err)
	}
	sealed("a batch with an entry that is sealed already", "orders", 2, 1)
	if _, err := receive(t.Context(), client, orders); err != nil {
		t.Fatal(err)
	}
	opened("a receive", "orders", 2, 2)

	w.put(orders, badMessage{body: "plaintext"})
	send(t, client, orders, "three")
	if _, err := receive(t.Context(), client, orders); err != nil {
		t.Fatal(err)
	}
	opened("a receive with plaintext", "orders", 2, 1)

	sendTo := func(c *sqs.Client, body string) {
		t.Helper()
		if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &fifo, MessageBody: &body, MessageGroupId: aws.String("g"), MessageDeduplicationId: &body}); err != nil {
			t.Fatal(err)
		}
	}
	sendTo(w.plain, "plaintext")
	sendTo(client, "behind-it")
	spans.named("")
	if _, err := receive(t.Context(), client, fifo); err == nil {
		t.Fatal("a group was delivered from its second message on")
	}
	opened("a FIFO group behind plaintext", "orders.fifo", 2, 0)

	w.server.Intercept(kmsFails(errors.New("no route")))
	fresh := sqs.NewFromConfig(w.cfg, w.sealer().Install, func(o *sqs.Options) { o.TracerProvider = spans })
	if _, err := fresh.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &orders, MessageBody: aws.String("x")}); err == nil {
		t.Fatal("sent without a key")
	}
	sealed("a send without a data key", "orders", 1, 0)
}

// TestSpansOfOneReceiveDoNotRace opens messages of several data keys inside
// spans of the caller's, with KMS traced, too. The race detector judges.
func TestSpansOfOneReceiveDoNotRace(t *testing.T) {
	t.Parallel()
	for depth := range 5 {
		w := newWorld(t)
		url, spans := w.queue("orders"), &tracer{}
		for range 5 {
			send(t, w.client(), url, "x")
		}
		ctx := t.Context()
		for range depth {
			ctx, _ = spans.StartSpan(ctx, "of the caller")
		}
		s := w.sealer(func(o *sqsx.Options) {
			o.KMS = []func(*kms.Options){func(ko *kms.Options) { ko.TracerProvider = spans }}
		})
		client := sqs.NewFromConfig(w.cfg, s.Install, func(o *sqs.Options) { o.TracerProvider = spans })
		out, err := receive(ctx, client, url)
		if err != nil || len(out.Messages) != 5 {
			t.Errorf("depth %d: got %v", depth, err)
		}
	}
}

// TestLogLinesAreRateLimited counts lines for one kind of trouble, and for two.
func TestLogLinesAreRateLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var log bytes.Buffer
		s := w.sealer(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		url := w.queue("orders")
		client := s.Wrap(w.plain)
		lines := func() int { n := strings.Count(log.String(), "\n"); log.Reset(); return n }
		for range 5 {
			send(t, w.plain, url, "plaintext")
		}
		send(t, client, url, "good")
		if _, err := receive(t.Context(), client, url); err != nil {
			t.Fatal(err)
		}
		if got := lines(); got != 1 {
			t.Errorf("got %d lines for five messages of one kind, want 1", got)
		}
		time.Sleep(31 * time.Second)
		if _, err := receive(t.Context(), client, url); err != nil {
			t.Fatal(err)
		}
		if text := log.String(); !strings.Contains(text, "more_since_last_line=4") || lines() != 1 {
			t.Errorf("got %q, want one line that counts the four left out", text)
		}
	})
}

func TestLogGoesToTheDefaultLogger(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	w := newWorld(t)
	client := w.client(func(o *sqsx.Options) { o.Logger = nil })
	url := w.queue("orders")
	send(t, w.plain, url, "plaintext")
	if _, err := receive(t.Context(), client, url); err == nil {
		t.Fatal("plaintext was delivered")
	}
	if !strings.Contains(log.String(), "not sealed") {
		t.Errorf("got %q", log.String())
	}
}
