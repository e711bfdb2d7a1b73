package kmskeyring_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// only answers the given action with an error, and lets all others through.
func only(action string, err error) func(*sqsxtest.Request) error {
	return func(r *sqsxtest.Request) error {
		if r.Action == action {
			return err
		}
		return nil
	}
}

func TestAliasIsRemembered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		period, want time.Duration
	}{
		"default":    {0, 5 * time.Minute},
		"one hour":   {time.Hour, time.Hour},
		"one second": {time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				oldID, _ := w.key(client, false)
				newID, newARN := w.key(client, false)
				w.alias(client, "alias/orders", oldID)
				kr := w.keyring(client, "alias/orders", func(o *kmskeyring.Options) {
					o.StrictAlias, o.AliasPeriod = true, test.period
				})
				old, fresh := w.generate(w.keyring(client, oldID)), w.generate(w.keyring(client, newARN))
				w.opens(kr, old)
				w.repoint(client, "alias/orders", newID)

				time.Sleep(test.want - 1)
				w.opens(kr, old)
				w.refuses(kr, fresh)
				if n := w.srv.Count("kms:DescribeKey"); n != 1 {
					t.Errorf("within the period: %d DescribeKey calls, want 1", n)
				}
				time.Sleep(1)
				w.opens(kr, fresh)
				w.refuses(kr, old)
				if n := w.srv.Count("kms:DescribeKey"); n != 2 {
					t.Errorf("after the period: %d DescribeKey calls, want 2", n)
				}
			})
		})
	}
}

func TestKeyARNNeedsNoDescribeKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	_, other := w.key(client, false)
	w.opens(w.keyring(client, arn), w.generate(w.keyring(client, arn)))
	// Nor does a message that cannot match a key ID, or one of DecryptKeys.
	foreign := w.generate(w.keyring(client, other))
	w.refuses(w.keyring(client, id), foreign)
	w.opens(w.keyring(client, id, func(o *kmskeyring.Options) { o.DecryptKeys = []string{other} }), foreign)
	if n := w.srv.Count("kms:DescribeKey"); n != 0 {
		t.Errorf("%d DescribeKey calls, want none", n)
	}
}

func TestOneDescribeKeyForAllWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		id, _ := w.key(client, false)
		w.alias(client, "alias/orders", id)
		kr := w.keyring(client, "alias/orders")
		key := w.generate(kr)
		w.srv.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:DescribeKey" {
				time.Sleep(time.Second)
			}
			return nil
		})
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := kr.DecryptDataKey(first, key.EncryptedDataKeys(), ec); !errors.Is(err, context.Canceled) {
				t.Errorf("the first caller, which gave up: got %v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		for range 63 {
			wg.Go(func() { w.opens(kr, key) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if n := w.srv.Count("kms:DescribeKey"); n != 1 {
			t.Errorf("%d DescribeKey calls, want 1", n)
		}
	})
}

func TestDescribeKeyFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err         error
		want, text  string
		keepsAnswer bool // after a good one
	}{
		"unavailable":  {answer(500, "KMSInternalException"), "unavailable", "alias/orders", true},
		"throttled":    {answer(400, "ThrottlingException"), "unavailable", "alias/orders", true},
		"no such name": {answer(400, "NotFoundException"), "refused: unknown reach", "check the name", false},
		"forbidden":    {answer(400, "AccessDeniedException"), "refused: entry", "kms:DescribeKey", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				id, _ := w.key(client, false)
				otherID, otherARN := w.key(client, false)
				w.alias(client, "alias/orders", id)
				with := func(o *kmskeyring.Options) { o.DecryptKeys = []string{otherARN} }
				kr := w.keyring(client, "alias/orders", with)
				key, named := w.generate(kr), w.generate(w.keyring(client, otherID))
				fail := only("kms:DescribeKey", test.err)
				w.srv.Intercept(fail)

				_, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
				if got := class(t.Context(), err); got != test.want || !strings.Contains(err.Error(), test.text) {
					t.Errorf("got class %q (%v), want %q and %q in the text", got, err, test.want, test.text)
				}
				w.opens(kr, named) // the configuration names its key: no DescribeKey

				// A minute of a busy consumer, 100 messages a second.
				start := w.srv.Count("kms:DescribeKey")
				for range 60 * 100 {
					if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); class(t.Context(), err) != test.want {
						t.Fatalf("got %v, want class %q", err, test.want)
					}
					time.Sleep(10 * time.Millisecond)
				}
				// Waits of at least 0.5, 1, 2, 4, 8, 15, 15, 15 seconds; two attempts each.
				if n := w.srv.Count("kms:DescribeKey") - start; n < 2 || n > 16 {
					t.Errorf("%d DescribeKey requests in a minute of failures, want 2 to 16", n)
				}

				w.srv.Intercept(nil)
				time.Sleep(30 * time.Second)
				w.opens(kr, key)

				// And now that an answer is known:
				w.srv.Intercept(fail)
				time.Sleep(5 * time.Minute)
				_, err = kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
				if test.keepsAnswer && err != nil || !test.keepsAnswer && class(t.Context(), err) != test.want {
					t.Errorf("with an answer known: got %v, want to go on with it: %v", err, test.keepsAnswer)
				}
			})
		})
	}
}

func TestDescribeKeyAnswersForAnotherKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	otherID, _ := w.key(client, false)
	key := w.generate(w.keyring(client, arn))
	for name, redirect := range map[string]*string{"another key": &otherID, "nothing": nil} {
		kr := w.keyring(redirecting{client, redirect}, id)
		if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); !errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
}

// redirecting describes another key than it is asked for.
type redirecting struct {
	kmskeyring.Client
	to *string
}

func (c redirecting) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, optFns ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	if c.to == nil {
		return &kms.DescribeKeyOutput{}, nil
	}
	return c.Client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: c.to}, optFns...)
}
