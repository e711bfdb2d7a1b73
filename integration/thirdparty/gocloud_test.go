package thirdparty_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	_ "unsafe" // for go:linkname

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/middleware"
	"gocloud.dev/pubsub/awssnssqs"
	"gocloud.dev/pubsub/driver"
	"gocloud.dev/pubsub/drivertest"
)

// gocloud.dev keeps the constructors that its conformance tests need to itself.

//go:linkname openSQSTopic gocloud.dev/pubsub/awssnssqs.openSQSTopic
func openSQSTopic(ctx context.Context, client *sqs.Client, url string, opts *awssnssqs.TopicOptions) driver.Topic

//go:linkname openSubscription gocloud.dev/pubsub/awssnssqs.openSubscription
func openSubscription(ctx context.Context, client *sqs.Client, url string, opts *awssnssqs.SubscriptionOptions) driver.Subscription

// TestGoCloud runs gocloud.dev's conformance tests for pub/sub drivers on its
// SQS topics and subscriptions.
func TestGoCloud(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		record(t, "gocloud.dev awssnssqs", "v0.47.0", "its conformance tests of SQS topics and subscriptions")
		client := sqs.NewFromConfig(b.cfg)
		t.Run("suite", func(t *testing.T) {
			drivertest.RunConformanceTests(t, func(context.Context, *testing.T) (drivertest.Harness, error) {
				return &goCloud{client: client}, nil
			}, nil)
		})
		b.check(t)
	})
}

// goCloud is the harness that gocloud.dev has for SQS, without its recordings.
type goCloud struct {
	client *sqs.Client
}

// queues makes the names of all harnesses distinct.
var queues atomic.Int64

func (h *goCloud) CreateTopic(ctx context.Context, _ string) (driver.Topic, func(), error) {
	name := fmt.Sprintf("gocloud-%d", queues.Add(1))
	out, err := h.client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		return nil, nil, err
	}
	topic := &goCloudTopic{Topic: openSQSTopic(ctx, h.client, *out.QueueUrl, &awssnssqs.TopicOptions{}), url: *out.QueueUrl}
	return topic, func() {
		_, _ = h.client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
	}, nil
}

// goCloudTopic remembers its queue, from which its subscription receives.
type goCloudTopic struct {
	driver.Topic
	url string
}

func (h *goCloud) CreateSubscription(ctx context.Context, topic driver.Topic, _ string) (driver.Subscription, func(), error) {
	// LocalStack answers otherwise than the service, as gocloud.dev's own
	// recordings of it show, when the visibility of a deleted message is changed.
	client := sqs.New(h.client.Options(), func(o *sqs.Options) {
		o.APIOptions = append(o.APIOptions, answerAsRecorded)
	})
	return openSubscription(ctx, client, topic.(*goCloudTopic).url, &awssnssqs.SubscriptionOptions{}), func() {}, nil
}

func answerAsRecorded(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("AnswerAsRecorded", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		out, md, err := next.HandleInitialize(ctx, in)
		if result, ok := out.Result.(*sqs.ChangeMessageVisibilityBatchOutput); ok {
			for i := range result.Failed {
				if strings.Contains(aws.ToString(result.Failed[i].Message), "not available for visibility timeout change") {
					result.Failed[i].Code = aws.String("ReceiptHandleIsInvalid")
				}
			}
		}
		return out, md, err
	}), middleware.After)
}

func (h *goCloud) MakeNonexistentTopic(ctx context.Context) (driver.Topic, error) {
	url, err := h.nonexistent(ctx)
	return &withBody{openSQSTopic(ctx, h.client, url, &awssnssqs.TopicOptions{})}, err
}

// withBody gives the empty message that the tests send to a queue that does not
// exist a body. SQS looks for the queue first; sealq, which must never let SQS
// see that a body was empty, refuses the body first.
type withBody struct{ driver.Topic }

func (t *withBody) SendBatch(ctx context.Context, messages []*driver.Message) error {
	for _, m := range messages {
		if len(m.Body) == 0 {
			m.Body = []byte("not empty")
		}
	}
	return t.Topic.SendBatch(ctx, messages)
}

func (h *goCloud) MakeNonexistentSubscription(ctx context.Context) (driver.Subscription, func(), error) {
	url, err := h.nonexistent(ctx)
	return openSubscription(ctx, h.client, url, &awssnssqs.SubscriptionOptions{}), func() {}, err
}

// nonexistent is the URL of a queue that is like others and is not there.
func (h *goCloud) nonexistent(ctx context.Context) (string, error) {
	topic, remove, err := h.CreateTopic(ctx, "")
	if err != nil {
		return "", err
	}
	defer remove()
	url := topic.(*goCloudTopic).url
	return url[:strings.LastIndex(url, "/")+1] + "nonexistent", nil
}

func (h *goCloud) Close() {}

func (h *goCloud) MaxBatchSizes() (int, int) { return 10, 10 }

func (h *goCloud) SupportsMultipleSubscriptions() bool { return false }
