package thirdparty_test

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsns "github.com/ThreeDotsLabs/watermill-aws/sns"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/awssnssqs"

	"github.com/sealq/sealq/integration/matrix"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
)

// TestPublishers has the SNS publishers of libraries publish through a client
// that seals, unchanged, and an ordinary sealed consumer open what arrives.
func TestPublishers(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		for library, tc := range map[string]struct {
			version string
			publish func(t *testing.T, topic string, texts []string)
		}{
			// It names the topic in TargetArn.
			"watermill-aws": {"v1.0.1", func(t *testing.T, topic string, texts []string) {
				cfg := b.cfg.Copy()
				cfg.ServiceOptions = nil // only its own option seals
				publisher, err := wsns.NewPublisher(wsns.PublisherConfig{
					AWSConfig:     cfg,
					OptFns:        []func(*sns.Options){snsx.Install(b.sealer)},
					TopicResolver: wsns.TransparentTopicResolver{},
				}, watermill.NopLogger{})
				if err != nil {
					t.Fatal(err)
				}
				for _, text := range texts {
					m := message.NewMessage(rand.Text(), []byte(text))
					m.Metadata.Set("kind", "order")
					if err := publisher.Publish(topic, m); err != nil {
						t.Fatal(err)
					}
				}
			}},
			"gocloud.dev awssnssqs": {"v0.47.0", func(t *testing.T, arn string, texts []string) {
				topic := awssnssqs.OpenSNSTopic(t.Context(), sns.NewFromConfig(b.cfg, snsx.Install(b.sealer)), arn, nil)
				defer topic.Shutdown(t.Context())
				for _, text := range texts {
					if err := topic.Send(t.Context(), &pubsub.Message{Body: []byte(text), Metadata: map[string]string{"kind": "order"}}); err != nil {
						t.Fatal(err)
					}
				}
			}},
		} {
			server := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
			t.Run(library, func(t *testing.T) {
				matrix.Record(t, matrix.Row{Section: matrix.ThirdParty, Subject: library, Version: tc.version, What: "its SNS publisher, on " + server})
				topic, url := rawTopic(t, b)
				texts := []string{"s3cret-1", "s3cret-2", `{"json": "s3cret-3"}`}
				tc.publish(t, topic, texts)
				sealer, err := sqsx.NewFromConfig(b.cfg, b.key, func(o *sqsx.Options) { o.Policy.AcceptTopics = []string{topic} })
				if err != nil {
					t.Fatal(err)
				}
				plain := b.cfg.Copy()
				plain.ServiceOptions = nil
				consumer := sqs.NewFromConfig(plain, sealer.Install)
				var got []string
				for deadline := time.Now().Add(30 * time.Second); len(got) < len(texts) && time.Now().Before(deadline); {
					out, err := consumer.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 1, MessageAttributeNames: []string{"All"}})
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range out.Messages {
						got = append(got, *m.Body)
						if v := aws.ToString(m.MessageAttributes["kind"].StringValue); v != "order" {
							t.Errorf("got the attribute kind %q, want what the library was given", v)
						}
						if _, err := consumer.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
							t.Fatal(err)
						}
					}
				}
				slices.Sort(got)
				slices.Sort(texts)
				if !slices.Equal(got, texts) {
					t.Errorf("got %q, want %q", got, texts)
				}
				if stats := sealer.Stats(); stats.Opened != uint64(len(texts)) || stats.OpenedPlain != 0 {
					t.Errorf("got %d sealed and %d plain messages, want %d sealed", stats.Opened, stats.OpenedPlain, len(texts))
				}
				if n := b.wire.secrets.Load(); n != 0 {
					t.Errorf("got %d requests with plaintext, want none", n)
				}
			})
		}
	})
}

// rawTopic makes a topic, and a queue that gets what is published to it.
func rawTopic(t *testing.T, b *backend) (topic, url string) {
	t.Helper()
	name := strings.ToLower(rand.Text()[:12])
	plain := sns.NewFromConfig(b.cfg)
	created, err := plain.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := sqs.NewFromConfig(b.cfg).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	in := &sns.SubscribeInput{
		TopicArn: created.TopicArn, Protocol: aws.String("sqs"),
		Endpoint:   aws.String(strings.Replace(*created.TopicArn, ":sns:", ":sqs:", 1)),
		Attributes: map[string]string{"RawMessageDelivery": "true"},
	}
	if _, err := plain.Subscribe(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return *created.TopicArn, *queue.QueueUrl
}
