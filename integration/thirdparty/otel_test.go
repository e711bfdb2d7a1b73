//lint:file-ignore SA1019 otelaws is deprecated, and in use

package thirdparty_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.opentelemetry.io/contrib/instrumentation/github.com/aws/aws-sdk-go-v2/otelaws"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
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
