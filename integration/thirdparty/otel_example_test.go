package thirdparty_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/metrics/smithyotelmetrics"
	"github.com/aws/smithy-go/tracing/smithyoteltracing"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// Metrics and spans of sealq, of the SQS client and of the KMS client go to
// OpenTelemetry by smithy-go's own adapters. A service has the providers of
// otel.GetMeterProvider and otel.GetTracerProvider, and an exporter behind
// them.
func Example_openTelemetry() {
	ctx := context.Background()
	server := sqsxtest.Start()
	defer server.Close()
	cfg := server.Config()
	key, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		log.Fatal(err)
	}
	keyID := *key.KeyMetadata.Arn
	queue, err := sqs.NewFromConfig(cfg).CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		log.Fatal(err)
	}
	reader, recorder := metric.NewManualReader(), tracetest.NewSpanRecorder()
	meters, tracers := metric.NewMeterProvider(metric.WithReader(reader)), trace.NewTracerProvider(trace.WithSpanProcessor(recorder))

	traces := smithyoteltracing.Adapt(tracers)
	sealer, err := sqsx.NewFromConfig(cfg, keyID, func(o *sqsx.Options) {
		o.MeterProvider = smithyotelmetrics.Adapt(meters)
		o.KMS = []func(*kms.Options){func(ko *kms.Options) { ko.TracerProvider = traces }}
	})
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, func(o *sqs.Options) { o.TracerProvider = traces }, sealer.Install)

	if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: aws.String("hello")}); err != nil {
		log.Fatal(err)
	}
	for _, span := range recorder.Ended() {
		if span.Name() == "sealq.Seal" {
			for _, a := range span.Attributes() {
				fmt.Println(span.Name(), a.Key, "=", a.Value.String())
			}
		}
	}
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		log.Fatal(err)
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && strings.HasPrefix(m.Name, "sealq.messages.seal") {
				fmt.Println(m.Name, sum.DataPoints[0].Value)
			}
		}
	}
	// Output:
	// sealq.Seal sealq.queue = arn:aws:sqs:us-east-1:000000000000:orders
	// sealq.Seal sealq.messages = 1
	// sealq.Seal sealq.sealed = 1
	// sealq.Seal sealq.failed = 0
	// sealq.messages.sealed 1
	// sealq.messages.seal_failed 0
}
