package thirdparty_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-aws/sqs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/sealq/sealq/integration/matrix"
)

// TestWatermill runs the suite that watermill has for every publisher and
// subscriber, with the features that watermill-aws claims in its own tests. It
// does not run on the in-process server: a subscriber of watermill-aws that is
// closed between a receive and its delivery waits for ever, and a server
// without any latency makes that happen.
func TestWatermill(t *testing.T) {
	onLocalStack(t, func(t *testing.T, b *backend) {
		record(t, "watermill-aws", "v1.0.1", "its publisher and subscriber suite")
		create := func(t *testing.T) (message.Publisher, message.Subscriber) {
			// Its default, 30 s, is too long for tests that wait for a redelivery.
			attributes := sqs.QueueConfigAttributes{VisibilityTimeout: "1"}
			publisher, err := sqs.NewPublisher(sqs.PublisherConfig{AWSConfig: b.cfg, CreateQueueConfig: attributes}, watermill.NopLogger{})
			if err != nil {
				t.Fatal(err)
			}
			subscriber, err := sqs.NewSubscriber(sqs.SubscriberConfig{AWSConfig: b.cfg, QueueConfigAttributes: attributes}, watermill.NopLogger{})
			if err != nil {
				t.Fatal(err)
			}
			return publisher, subscriber
		}
		t.Run("suite", func(t *testing.T) {
			tests.TestPubSub(t, tests.Features{
				GuaranteedOrder:                     true,
				GuaranteedOrderWithSingleSubscriber: true,
				Persistent:                          true,
				ForceShort:                          true,
			}, create, nil)
		})
		b.check(t)
	})
}

// record adds a row that names the server.
func record(t *testing.T, subject, version, what string) {
	t.Helper()
	server := t.Name()[len("Test"):]
	for i := range server {
		if server[i] == '/' {
			server = server[i+1:]
			break
		}
	}
	matrix.Record(t, matrix.Row{Section: matrix.ThirdParty, Subject: subject, Version: version, What: what + ", on " + server})
}
