//lint:file-ignore SA1019 otelaws is deprecated, and in use

package thirdparty_test

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/metrics/smithyotelmetrics"
	"github.com/aws/smithy-go/tracing/smithyoteltracing"
	"go.opentelemetry.io/contrib/instrumentation/github.com/aws/aws-sdk-go-v2/otelaws"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestOtel instruments a sealed client, before and after sealq is installed.
// The spans know the queue, and nothing of the bodies.
func TestOtel(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		record(t, "otelaws", "v0.72.0", "its instrumentation before and after sealq")
		const secret = "a body that no span must hold"
		plain := b.cfg
		plain.ServiceOptions = nil // where InstallConfig has put sealq
		for name, install := range map[string]func(cfg *aws.Config, instrument func(*aws.Config)){
			"before": func(cfg *aws.Config, instrument func(*aws.Config)) { instrument(cfg); b.sealer.InstallConfig(cfg) },
			"after":  func(cfg *aws.Config, instrument func(*aws.Config)) { b.sealer.InstallConfig(cfg); instrument(cfg) },
		} {
			spans := tracetest.NewSpanRecorder()
			provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
			cfg := plain.Copy()
			install(&cfg, func(cfg *aws.Config) {
				otelaws.AppendMiddlewares(&cfg.APIOptions, otelaws.WithTracerProvider(provider), otelaws.WithAttributeBuilder(otelaws.SQSAttributeBuilder))
			})
			client := sqs.NewFromConfig(cfg)
			queue := "otel-" + name
			out, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &queue})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: aws.String(secret)}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: out.QueueUrl, WaitTimeSeconds: 5})
			if err != nil || len(got.Messages) != 1 || *got.Messages[0].Body != secret {
				t.Fatalf("%s: received %d messages, error %v; want the one sent", name, len(got.Messages), err)
			}
			seen := map[string]bool{}
			for _, span := range spans.Ended() {
				seen[span.Name()] = true
				for _, a := range span.Attributes() {
					if strings.Contains(a.Value.String(), secret) {
						t.Errorf("%s: span %q has the body in attribute %q", name, span.Name(), a.Key)
					}
				}
			}
			if !seen["SQS.SendMessage"] || !seen["SQS.ReceiveMessage"] {
				t.Errorf("%s: spans: got %v, want those of the send and the receive", name, seen)
			}
			if err := provider.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		b.check(t)
	})
}

// TestOtelAdapters runs sealq under the adapters of smithy-go that
// docs/operations.md has the lines for, with the caller's own span around all:
// who is whose child, what spans and counters say, and that nothing of a body
// or of a context is in them.
func TestOtelAdapters(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	cfg := server.Config()
	key, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	const queueARN = "arn:aws:sqs:us-east-1:000000000000:orders"
	plain := sqs.NewFromConfig(cfg)
	queue, err := plain.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		t.Fatal(err)
	}

	const secret, contextValue = "a body that no span must hold", "a context value that no span must hold"
	reader, recorder := metric.NewManualReader(), tracetest.NewSpanRecorder()
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	tracers := trace.NewTracerProvider(trace.WithSpanProcessor(recorder))
	traces := smithyoteltracing.Adapt(tracers)
	sealer, err := sqsx.NewFromConfig(cfg, *key.KeyMetadata.Arn, func(o *sqsx.Options) {
		o.MeterProvider = smithyotelmetrics.Adapt(meters)
		o.KMS = []func(*kms.Options){func(ko *kms.Options) { ko.TracerProvider = traces }}
		o.EncryptionContext = map[string]string{"tenant": contextValue}
		o.Logger = slog.New(slog.DiscardHandler)
	})
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, func(o *sqs.Options) { o.TracerProvider = traces }, sealer.Install)

	ctx, root := tracers.Tracer("service").Start(t.Context(), "handle")
	send := func(c *sqs.Client, body string) {
		t.Helper()
		if _, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	send(client, secret)
	begun := counts(t, reader)
	send(plain, secret)
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10})
	if err != nil || len(out.Messages) != 1 {
		t.Fatalf("received %v, error %v; want the sealed message alone", out, err)
	}
	root.End()

	// Each counter is there from the first use on, at 0.
	for name, want := range map[string]int64{
		"sealq.messages.sealed": 1, "sealq.messages.sent_plaintext": 0, "sealq.messages.seal_failed": 0, "sealq.messages.opened": 0,
		"sealq.messages.received_plaintext": 0, "sealq.receives.held": 0,
		"sealq.messages.withheld message": 0, "sealq.messages.withheld unavailable": 0, "sealq.messages.withheld refused": 0,
	} {
		if got, exists := begun[name+" "+queueARN]; !exists || got != want {
			t.Errorf("%s after the first send: got %d (exists: %v), want %d", name, got, exists, want)
		}
	}
	ended := counts(t, reader)
	for name, want := range map[string]int64{
		"sealq.messages.opened " + queueARN: 1, "sealq.messages.withheld message " + queueARN: 1,
		"sealq.keys.fetches ": 2, "sealq.keys.evictions ": 0,
	} {
		if got, exists := ended[name]; !exists || got != want {
			t.Errorf("%s: got %d (exists: %v), want %d; all: %v", name, got, exists, want, ended)
		}
	}

	byID, byName := make(map[string]trace.ReadOnlySpan), make(map[string]trace.ReadOnlySpan)
	for _, span := range recorder.Ended() {
		byID[span.SpanContext().SpanID().String()] = span
		byName[span.Name()] = span
		for _, a := range span.Attributes() {
			if text := a.Value.String(); strings.Contains(text, secret) || strings.Contains(text, contextValue) {
				t.Errorf("span %q says %q in its attribute %q", span.Name(), text, a.Key)
			}
		}
	}
	for child, parents := range map[string][]string{
		"sealq.Seal":          {"SQS.SendMessage", "handle"},
		"KMS.GenerateDataKey": {"sealq.Seal", "SQS.SendMessage", "handle"},
		"sealq.Open":          {"SQS.ReceiveMessage", "handle"},
		"KMS.Decrypt":         {"sealq.Open", "SQS.ReceiveMessage", "handle"},
	} {
		span := byName[child]
		if span == nil {
			t.Errorf("there is no span %q", child)
			continue
		}
		var got []string
		for up := byID[span.Parent().SpanID().String()]; up != nil; up = byID[up.Parent().SpanID().String()] {
			got = append(got, up.Name())
		}
		if !slices.Equal(got, parents) {
			t.Errorf("%q is under %q, want %q", child, got, parents)
		}
	}
	for name, want := range map[string]struct {
		status     codes.Code
		attributes map[string]string
	}{
		"sealq.Seal": {codes.Unset, map[string]string{"sealq.queue": queueARN, "sealq.messages": "1", "sealq.sealed": "1", "sealq.failed": "0"}},
		"sealq.Open": {codes.Error, map[string]string{"sealq.queue": queueARN, "sealq.messages": "2", "sealq.delivered": "1", "sealq.withheld": "1"}},
	} {
		span := byName[name]
		if span == nil {
			continue // said above
		}
		got := make(map[string]string)
		for _, a := range span.Attributes() {
			got[string(a.Key)] = a.Value.String()
		}
		if !maps.Equal(got, want.attributes) || span.Status().Code != want.status {
			t.Errorf("%s: got %v, status %v; want %v, status %v", name, got, span.Status().Code, want.attributes, want.status)
		}
	}
}

// counts returns the counters by name, cause if there is one, and queue.
func counts(t *testing.T, reader *metric.ManualReader) map[string]int64 {
	t.Helper()
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]int64)
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || !sum.IsMonotonic {
				t.Errorf("%s is no counter", m.Name)
				continue
			}
			for _, point := range sum.DataPoints {
				name := m.Name
				if cause, ok := point.Attributes.Value("cause"); ok {
					name += " " + cause.AsString()
				}
				queue, _ := point.Attributes.Value("queue")
				all[name+" "+queue.AsString()] = point.Value
			}
		}
	}
	return all
}
