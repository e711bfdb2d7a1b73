package sqsx_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// ending is how a consumer loop may recognise the end of its context.
type ending struct{ canceled, deadline, typed, marked bool }

func endingOf(err error) ending {
	_, typed := errors.AsType[*smithy.CanceledError](err)
	var mark interface{ CanceledError() bool }
	return ending{
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		typed, errors.As(err, &mark) && mark.CanceledError(),
	}
}

// TestCallersEndLooksAsOnAPlainClient: a caller that ends its context while the
// Sealer waits, for KMS or because receives are held, sees what it sees on a
// client without one while that waits for SQS. A KMS that does not answer does
// not look so.
func TestCallersEndLooksAsOnAPlainClient(t *testing.T) {
	t.Parallel()
	receive := func(ctx context.Context, c *sqs.Client, url string) error {
		_, err := poll(ctx, c, url)
		return err
	}
	send := func(ctx context.Context, c *sqs.Client, url string) error {
		_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
		return err
	}
	batch := func(ctx context.Context, c *sqs.Client, url string) error {
		_, err := c.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("1"), MessageBody: aws.String("x")}}})
		return err
	}
	hang := func(prefix string) func(*sqsxtest.Request) error {
		return func(r *sqsxtest.Request) error {
			if strings.HasPrefix(r.Action, prefix) {
				<-r.Context().Done()
				return r.Context().Err()
			}
			return nil
		}
	}
	canceled := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			if d == 0 {
				cancel()
			}
			time.AfterFunc(d, cancel)
			return ctx, cancel
		}
	}
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"canceled":        canceled(300 * time.Millisecond),
		"canceled before": canceled(0),
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 300*time.Millisecond)
		},
		"deadline before": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Now().Add(-time.Second))
		},
	} {
		for operation, call := range map[string]func(context.Context, *sqs.Client, string) error{
			"ReceiveMessage": receive, "SendMessage": send, "SendMessageBatch": batch,
		} {
			t.Run(operation+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					url := w.queue("orders")
					try := func(c *sqs.Client) error {
						t.Helper()
						ctx, cancel := end(t.Context())
						defer cancel()
						began := time.Now()
						err := call(ctx, c, url)
						if took := time.Since(began); took > 300*time.Millisecond {
							t.Errorf("took %v", took)
						}
						return err
					}
					w.server.Intercept(hang("sqs:"))
					want := endingOf(try(w.plain))
					if before := strings.HasSuffix(name, "before"); want == (ending{}) || want.typed == before {
						t.Fatalf("a plain client: got %+v, want the SDK's type if the context ends during the call", want)
					}
					for _, action := range []string{"kms:", "sqs:"} {
						w.server.Intercept(hang(action))
						for name, c := range map[string]*sqs.Client{"sealed": w.client(), "no receive errors": w.client(noReceiveErrors)} {
							err := try(c)
							if got := endingOf(err); got != want {
								t.Errorf("%s, %s hangs: got %+v, a plain client %+v: %v", name, action, got, want, err)
							}
						}
					}
					time.Sleep(time.Minute) // what was asked goes on to its own deadline
				})
			})
		}
	}

	for operation, call := range map[string]func(context.Context, *sqs.Client, string) error{
		"ReceiveMessage": receive, "SendMessage": send, "SendMessageBatch": batch,
	} {
		t.Run(operation+", KMS hangs", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server.Intercept(hang("kms:"))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := call(ctx, w.client(), w.queue("orders"))
				if got := endingOf(err); got != (ending{}) || !errors.Is(err, sqsx.ErrUnavailable) {
					t.Errorf("got %+v, want none of it, and ErrUnavailable: %v", got, err)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// TestCallersEndOfSealMessage: it fails as SendMessage does.
func TestCallersEndOfSealMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Intercept(func(r *sqsxtest.Request) error {
			<-r.Context().Done()
			return r.Context().Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.sealer().SealMessage(ctx, arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
		if got, want := endingOf(err), (ending{deadline: true, typed: true, marked: true}); got != want {
			t.Errorf("got %+v, want %+v: %v", got, want, err)
		}
		time.Sleep(time.Minute)
	})
}
