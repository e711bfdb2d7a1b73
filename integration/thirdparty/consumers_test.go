package thirdparty_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsqs "github.com/ThreeDotsLabs/watermill-aws/sqs"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/awssnssqs"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// outage is how long KMS is unreachable in these tests.
const outage = 3 * time.Minute

// stage is a queue in virtual time, a producer, and a consumer's configuration.
type stage struct {
	server   *sqsxtest.Server
	url      string
	plain    *sqs.Client
	producer *sqs.Client
	consumer aws.Config
}

func newStage(t *testing.T, p sqsx.Policy) *stage {
	t.Helper()
	s := &stage{server: sqsxtest.New(t)}
	cfg := s.server.Config()
	key, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealer := func() *sqsx.Sealer {
		sealer, err := sqsx.NewFromConfig(cfg, *key.KeyMetadata.Arn, func(o *sqsx.Options) {
			o.Policy, o.Logger = p, slog.New(slog.DiscardHandler)
		})
		if err != nil {
			t.Fatal(err)
		}
		return sealer
	}
	s.plain = sqs.NewFromConfig(cfg)
	s.producer = sealer().Wrap(s.plain)
	s.consumer = cfg
	sealer().InstallConfig(&s.consumer)
	out, err := s.plain.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		t.Fatal(err)
	}
	s.url = *out.QueueUrl
	return s
}

func (s *stage) send(t *testing.T, c *sqs.Client, body string) {
	t.Helper()
	if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &s.url, MessageBody: &body}); err != nil {
		t.Error(err)
	}
}

// troubles are what a consumer meets. They end after a time, from when on a
// healthy message is in the queue.
func troubles() map[string]func(t *testing.T, s *stage) {
	return map[string]func(t *testing.T, s *stage){
		"a message that does not open": func(t *testing.T, s *stage) {
			s.send(t, s.plain, "not sealed")
			time.AfterFunc(outage, func() {
				if _, err := s.plain.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &s.url}); err != nil {
					t.Error(err)
				}
				s.send(t, s.producer, "healthy")
			})
		},
		"an outage of KMS": func(t *testing.T, s *stage) {
			s.send(t, s.producer, "healthy")
			s.server.Intercept(func(r *sqsxtest.Request) error {
				if strings.HasPrefix(r.Action, "kms:") {
					return errors.New("no route to host")
				}
				return nil
			})
			time.AfterFunc(outage, func() { s.server.Intercept(nil) })
		},
	}
}

// goCloudReceives receives until the healthy message arrives or it is too late.
// errs are those of Receive.
func goCloudReceives(ctx context.Context, sub *pubsub.Subscription) (body string, errs []error) {
	for ctx.Err() == nil {
		m, err := sub.Receive(ctx)
		if err == nil {
			m.Ack()
			return string(m.Body), errs
		}
		errs = append(errs, err)
		time.Sleep(time.Second)
	}
	return "", errs
}

// TestGoCloudSubscription shows what docs/consumers.md says of gocloud.dev: a
// subscription that has seen one error of ReceiveMessage returns it for ever,
// long after the trouble is over; with Policy.NoReceiveErrors it sees none.
func TestGoCloudSubscription(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles() {
		for _, quiet := range []bool{false, true} {
			for _, wait := range []time.Duration{0, 20 * time.Second} {
				t.Run(name+", NoReceiveErrors "+map[bool]string{false: "off", true: "on"}[quiet]+", wait "+wait.String(), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s := newStage(t, sqsx.Policy{NoReceiveErrors: quiet})
						trouble(t, s)
						sub := awssnssqs.OpenSubscription(t.Context(), sqs.NewFromConfig(s.consumer), s.url, &awssnssqs.SubscriptionOptions{WaitTime: wait})
						ctx, cancel := context.WithTimeout(t.Context(), outage+10*time.Minute)
						defer cancel()
						start := time.Now()
						body, errs := goCloudReceives(ctx, sub)
						took := time.Since(start)
						if quiet {
							if body != "healthy" || len(errs) > 0 || took > outage+90*time.Second {
								t.Errorf("got %q and errors %v after %v, want the healthy message and no error within 90s of the end of the trouble", body, errs, took)
							}
							// gocloud.dev sleeps 250 ms after an empty result.
							if got := s.server.Count("sqs:ReceiveMessage"); got > int(took/(250*time.Millisecond)) {
								t.Errorf("got %d receives in %v", got, took)
							}
						} else if body != "" || len(errs) < int(outage/time.Second) {
							t.Errorf("got %q and %d errors; want errors until the test ends: docs/consumers.md says that a subscription is dead after one", body, len(errs))
						}
						if err := sub.Shutdown(t.Context()); err != nil {
							t.Error(err)
						}
						time.Sleep(outage) // the end of the outage, for consumers that have given up
					})
				})
			}
		}
	}
}

// TestWatermillSubscriber shows that watermill-aws needs no setting: it logs an
// error of ReceiveMessage, waits, and goes on.
func TestWatermillSubscriber(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles() {
		for _, quiet := range []bool{false, true} {
			t.Run(name+", NoReceiveErrors "+map[bool]string{false: "off", true: "on"}[quiet], func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, sqsx.Policy{NoReceiveErrors: quiet})
					trouble(t, s)
					sub, err := watermillsqs.NewSubscriber(watermillsqs.SubscriberConfig{AWSConfig: s.consumer}, watermill.NopLogger{})
					if err != nil {
						t.Fatal(err)
					}
					messages, err := sub.Subscribe(t.Context(), "orders")
					if err != nil {
						t.Fatal(err)
					}
					start := time.Now()
					select {
					case m := <-messages:
						m.Ack()
						if took := time.Since(start); string(m.Payload) != "healthy" || took > outage+90*time.Second {
							t.Errorf("got %q after %v, want the healthy message within 90s of the end of the trouble", m.Payload, took)
						}
					case <-time.After(outage + 10*time.Minute):
						t.Error("the healthy message was not delivered")
					}
					time.Sleep(time.Second) // watermill-aws does not close while it delivers
					if err := sub.Close(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}
