package sqsx_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// looksCancelled says how a consumer loop would take err for the end of its own
// context, or for a call that it cancelled.
func looksCancelled(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "errors.Is"
	}
	if _, ok := errors.AsType[*smithy.CanceledError](err); ok {
		return "errors.As of *smithy.CanceledError"
	}
	if _, ok := errors.AsType[*aws.RequestCanceledError](err); ok {
		return "errors.As of *aws.RequestCanceledError"
	}
	var mark interface{ CanceledError() bool }
	if errors.As(err, &mark) {
		return "errors.As of CanceledError() bool"
	}
	return ""
}

// breaking is a keyring that works until it is told to fail.
type breaking struct {
	envelope.Keyring
	err atomic.Pointer[error]
}

func (k *breaking) breakWith(err error) { k.err.Store(&err) }

func (k *breaking) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.err.Load(); err != nil {
		return nil, *err
	}
	return k.Keyring.GenerateDataKey(ctx, ec)
}

func (k *breaking) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.err.Load(); err != nil {
		return nil, *err
	}
	return k.Keyring.DecryptDataKey(ctx, edks, ec)
}

// TestKeyServiceTimeoutIsNotTheCallers: a loop that ends with its own context,
// by any of the ways that public ones tell it, goes on when the key service
// does not answer: KMS under an HTTP client that has no time-out, and a keyring
// of the user's own that passes an SDK's error on.
func TestKeyServiceTimeoutIsNotTheCallers(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*testing.T, *world) (*sqsx.Sealer, func()){
		"KMS hangs": func(t *testing.T, w *world) (*sqsx.Sealer, func()) {
			return w.sealer(), func() {
				w.server.Intercept(func(r *sqsxtest.Request) error {
					if r.Action != "kms:Decrypt" && r.Action != "kms:GenerateDataKey" {
						return nil
					}
					<-r.Context().Done()
					return r.Context().Err()
				})
			}
		},
		"a keyring's SDK error": func(t *testing.T, w *world) (*sqsx.Sealer, func()) {
			kr := &breaking{Keyring: mustKeyring(t, w)}
			s, err := sqsx.New(kr)
			if err != nil {
				t.Fatal(err)
			}
			return s, func() {
				kr.breakWith(&smithy.OperationError{ServiceID: "HSM", Err: &aws.RequestCanceledError{Err: context.DeadlineExceeded}})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url := w.queue("orders")
				send(t, w.client(), url, "x")
				sealed, header := w.sealed("orders", "x")
				s, fail := make(t, w)
				fail()
				client := s.Wrap(w.plain)
				errs := map[string]error{}
				_, errs["SendMessage"] = client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
				_, errs["ReceiveMessage"] = client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url})
				errs["Check"] = s.Check(t.Context(), arnOf("orders"))
				_, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{MessageId: aws.String("1"), Body: &sealed, MessageAttributes: sealqAttribute(header)}})
				for _, e := range withheld {
					errs["OpenMessages"] = e
				}
				for _, call := range []string{"SendMessage", "ReceiveMessage", "Check", "OpenMessages"} {
					err := errs[call]
					if !errors.Is(err, envelope.ErrUnavailable) {
						t.Errorf("%s: got %v, want ErrUnavailable", call, err)
					}
					if how := looksCancelled(err); how != "" {
						t.Errorf("%s: %v looks like the caller's own cancellation to %s", call, err, how)
					}
				}
			})
		})
	}
}

// TestOwnKeyringBridgesTheNetwork: a bare error of the network from a user's
// own keyring does not stop traffic before MaxStale.
func TestOwnKeyringBridgesTheNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kr := &breaking{Keyring: mustKeyring(t, w)}
		s, err := sqsx.New(kr)
		if err != nil {
			t.Fatal(err)
		}
		url, client := w.queue("orders"), s.Wrap(w.plain)
		pass := func() {
			t.Helper()
			send(t, client, url, "x")
			out, err := receive(t.Context(), client, url)
			if err != nil || len(out.Messages) != 1 {
				t.Fatalf("got %v, want the message", err)
			}
			if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
		pass()
		kr.breakWith(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
		for range 23 * 60 { // of the 24 hours
			time.Sleep(time.Minute)
			pass()
		}
		if st := s.Stats(); st.Cache.Refusals != 0 || st.Cache.StaleUses == 0 {
			t.Errorf("got %+v, want an outage and no refusal", st.Cache)
		}
	})
}
