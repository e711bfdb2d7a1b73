package sqsx_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/metrics"
	"github.com/aws/smithy-go/tracing"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
)

// meter collects measurements by instrument, queue and cause. What it does not
// override it does not have: an instrument of another kind would panic.
type meter struct {
	metrics.Meter

	mu    sync.Mutex
	sums  map[string]int64
	async map[string]metrics.Int64Callback
}

func newMeter() *meter {
	return &meter{sums: make(map[string]int64), async: make(map[string]metrics.Int64Callback)}
}

type provider struct{ m metrics.Meter }

func (p provider) Meter(string, ...metrics.MeterOption) metrics.Meter { return p.m }

func (m *meter) Int64Counter(name string, _ ...metrics.InstrumentOption) (metrics.Int64Counter, error) {
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

// tracer notes the names of spans, nested as they are.
type tracer struct {
	mu    sync.Mutex
	spans []string
}

func (p *tracer) Tracer(string, ...tracing.TracerOption) tracing.Tracer { return p }

func (p *tracer) StartSpan(ctx context.Context, name string, _ ...tracing.SpanOption) (context.Context, tracing.Span) {
	p.mu.Lock()
	p.spans = append(p.spans, name)
	p.mu.Unlock()
	_, span := tracing.StartSpan(context.Background(), name)
	return tracing.WithSpan(ctx, span), span
}

func TestSpans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spans := &tracer{}
	s := w.sealer()
	client := sqs.NewFromConfig(w.cfg, s.Install, func(o *sqs.Options) { o.TracerProvider = spans })
	requireSealed(t, w, client, w.queue("orders"))
	for _, want := range []string{"sealq.Seal", "sealq.Open"} {
		if !strings.Contains(strings.Join(spans.spans, ","), want) {
			t.Errorf("got spans %v, want %s among them", spans.spans, want)
		}
	}
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
