package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

// TestClassOfAnAnswer: what one fetch that failed is counted as, in each
// direction.
func TestClassOfAnAnswer(t *testing.T) {
	t.Parallel()
	noMatch := fmt.Errorf("fake: %w", envelope.ErrNoMatchingKey)
	const unavailable, refused, invalid = "unavailable", "refused", "invalid"
	for name, test := range map[string]struct {
		err            error
		opens, sealing string
	}{
		"unavailable":             {errDown, unavailable, unavailable},
		"a context that ended":    {context.Canceled, unavailable, unavailable},
		"a deadline":              {context.DeadlineExceeded, unavailable, unavailable},
		"refusal":                 {disabled(keyA), refused, refused},
		"unknown":                 {errDenied, refused, refused},
		"message":                 {noMatch, invalid, refused}, // to seal, there is none
		"message and unavailable": {errors.Join(noMatch, errDown), unavailable, unavailable},
		"message and a deadline":  {errors.Join(noMatch, context.DeadlineExceeded), unavailable, unavailable},
		"refusal and unavailable": {errors.Join(disabled(keyA), errDown), unavailable, unavailable},
		"SDK's cancellation":      {&smithy.CanceledError{Err: errors.New("gone")}, unavailable, unavailable},
		"network":                 {&net.OpError{Op: "dial", Err: errors.New("refused")}, unavailable, unavailable},
		"connection refused":      {fmt.Errorf("hsm: %w", syscall.ECONNREFUSED), unavailable, unavailable},
		"connection reset":        {fmt.Errorf("hsm: %w", os.NewSyscallError("read", syscall.ECONNRESET)), unavailable, unavailable},
		"answer cut short":        {fmt.Errorf("hsm: %w", io.ErrUnexpectedEOF), unavailable, unavailable},
		"refusal by the network":  {&envelope.RefusedError{KeyInfo: keyA, Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}, unavailable, unavailable},
		"message by the network":  {errors.Join(noMatch, &net.OpError{Op: "read", Err: errors.New("reset")}), unavailable, unavailable},
		// A short encrypted data key is the sender's doing.
		"message that is cut short": {fmt.Errorf("%w: %w", noMatch, io.ErrUnexpectedEOF), invalid, refused},
		"refusal of a foreign key":  {errors.Join(noMatch, disabled(keyB)), invalid, refused},
	} {
		s := newService()
		s.thenFail(test.err)
		counted := func(do func(*cache.Keyring) error) string {
			k := newCache(t, s)
			if do(k) == nil {
				return "answered"
			}
			switch st := k.Stats(); [3]uint64{st.Unavailable, st.Refusals, st.Invalid} {
			case [3]uint64{1, 0, 0}:
				return unavailable
			case [3]uint64{0, 1, 0}:
				return refused
			case [3]uint64{0, 0, 1}:
				return invalid
			default:
				return fmt.Sprintf("%+v", st)
			}
		}
		check := func(class string, err error) error {
			if got := errors.Is(err, envelope.ErrUnavailable); got != (class == unavailable) {
				t.Errorf("%s: got %v, want ErrUnavailable: %v", name, err, class == unavailable)
			}
			if how := looksCancelled(err); how != "" {
				t.Errorf("%s: %v looks like the caller's own cancellation to %s", name, err, how)
			}
			return err
		}
		opens := counted(func(k *cache.Keyring) error {
			_, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(0)}, orders)
			return check(test.opens, err)
		})
		sealing := counted(func(k *cache.Keyring) error {
			_, err := k.GenerateDataKey(t.Context(), orders)
			return check(test.sealing, err)
		})
		if opens != test.opens || sealing != test.sealing {
			t.Errorf("%s: opening is %s and sealing is %s, want %s and %s", name, opens, sealing, test.opens, test.sealing)
		}
	}
}

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

// TestNetworkErrorsBridge: a bare error of the network from a user's own
// keyring is an outage, in which the data key in use stays in use up to
// MaxStale.
func TestNetworkErrorsBridge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		k := newCache(t, s)
		key := generate(t, k, orders)
		decrypt(t, k, key.EncryptedDataKeys(), orders)
		s.thenFail(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
		for range 24*60 - 1 {
			time.Sleep(time.Minute)
			if got := generate(t, k, orders); !same(got, key) {
				t.Fatal("got another data key, want the one that was cached")
			}
			decrypt(t, k, key.EncryptedDataKeys(), orders)
		}
		if st := k.Stats(); st.Refusals != 0 || st.StaleUses == 0 {
			t.Errorf("got %+v, want stale uses and no refusal", st)
		}
	})
}
