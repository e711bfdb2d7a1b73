package cache_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/keyerr"
)

// checker is a service that is a DecryptChecker.
type checker struct {
	*service
	check func(context.Context, envelope.EncryptionContext) error
}

func (c checker) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	return c.check(ctx, ec)
}

// TestCheckDecrypt: the question goes through, and the answer is held to the
// contract, whatever the next keyring made of it.
func TestCheckDecrypt(t *testing.T) {
	t.Parallel()
	entry := &envelope.RefusedError{Reach: envelope.ReachEntry, Err: errDenied}
	for name, test := range map[string]struct {
		answer            error
		is                error
		unavailable, deny bool
	}{
		"yes":              {nil, nil, false, false},
		"denied":           {entry, entry, false, true},
		"unsupported":      {envelope.ErrCheckUnsupported, envelope.ErrCheckUnsupported, false, false},
		"unavailable":      {errDown, errDown, true, false},
		"network":          {&net.OpError{Op: "dial", Err: errDenied}, errDenied, true, false},
		"its own deadline": {context.DeadlineExceeded, envelope.ErrUnavailable, true, false},
		"denied, network":  {errors.Join(entry, &net.OpError{Op: "dial", Err: errDenied}), entry, true, true},
	} {
		calls := 0
		k := newCache(t, checker{newService(), func(_ context.Context, ec envelope.EncryptionContext) error {
			calls++
			ec["written"] = "by the keyring"
			return test.answer
		}})
		for range 2 { // nothing is remembered
			ec := orders.Clone()
			err := k.CheckDecrypt(t.Context(), ec)
			refused, ok := errors.AsType[*envelope.RefusedError](err)
			if !errors.Is(err, test.is) || errors.Is(err, envelope.ErrUnavailable) != test.unavailable || (ok && refused.Reach == envelope.ReachEntry) != test.deny || looksCancelled(err) != "" {
				t.Errorf("%s: got %v", name, err)
			}
			if len(ec) != len(orders) {
				t.Errorf("%s: the caller's context was written", name)
			}
		}
		if calls != 2 {
			t.Errorf("%s: the keyring was asked %d times, want 2", name, calls)
		}
	}

	if err := newCache(t, newService()).CheckDecrypt(t.Context(), orders); !errors.Is(err, envelope.ErrCheckUnsupported) || !errors.Is(err, keyerr.ErrNotAsked) {
		t.Errorf("no DecryptChecker: got %v, want ErrCheckUnsupported, and that nobody was asked", err)
	}
	k := newCache(t, checker{newService(), func(context.Context, envelope.EncryptionContext) error { panic("secret") }})
	if err := k.CheckDecrypt(t.Context(), orders); !errors.Is(err, envelope.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("panic: got %v, want ErrUnavailable without the value", err)
	}
	if err := new(cache.Keyring).CheckDecrypt(t.Context(), orders); err == nil {
		t.Error("zero keyring: got nil, want an error")
	}
}

func TestCheckDecryptEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newCache(t, checker{newService(), func(ctx context.Context, _ envelope.EncryptionContext) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		began := time.Now()
		err := k.CheckDecrypt(t.Context(), orders)
		if !errors.Is(err, envelope.ErrUnavailable) || looksCancelled(err) != "" {
			t.Errorf("hangs: got %v, want ErrUnavailable", err)
		}
		if d := time.Since(began); d != cache.DefaultFetchTimeout {
			t.Errorf("took %v, want %v", d, cache.DefaultFetchTimeout)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := k.CheckDecrypt(ctx, orders); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("caller's deadline: got %v, want it alone", err)
		}
	})
}
