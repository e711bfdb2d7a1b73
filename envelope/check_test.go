package envelope_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/envelope"
)

func answer(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// TestCheckAnyOrder: whatever the order of the checks, errors.As finds the
// cause that a caller has to look at first, and errors.Is finds all.
func TestCheckAnyOrder(t *testing.T) {
	t.Parallel()
	service := errors.New("the service's own error")
	denied := &envelope.RefusedError{Reach: envelope.ReachEntry, Err: service}
	disabled := &envelope.RefusedError{KeyInfo: "key", Err: errors.New("disabled")}
	unavailable := fmt.Errorf("kms: %w", envelope.ErrUnavailable)
	for name, test := range map[string]struct {
		errs  []error
		first *envelope.RefusedError
	}{
		"one":                              {[]error{disabled}, disabled},
		"denied and disabled":              {[]error{denied, disabled}, denied},
		"denied, disabled and unavailable": {[]error{denied, disabled, unavailable}, denied},
		"disabled and unsupported":         {[]error{disabled, envelope.ErrCheckUnsupported}, disabled},
		"all":                              {[]error{unavailable, disabled, envelope.ErrCheckUnsupported, denied}, denied},
		"unsupported, a bare refusal":      {[]error{envelope.ErrCheckUnsupported, service}, nil},
		"unavailable, and unsupported":     {[]error{unavailable, envelope.ErrCheckUnsupported}, nil},
	} {
		for range len(test.errs) {
			test.errs = append(test.errs[1:], test.errs[0])
			var checks []func(context.Context) error
			for _, err := range test.errs {
				checks = append(checks, answer(err))
			}
			err := envelope.CheckAny(t.Context(), checks...)
			for _, want := range test.errs {
				if !errors.Is(err, want) || !strings.Contains(err.Error(), want.Error()) {
					t.Errorf("%s: got %v, want %v in it", name, err, want)
				}
			}
			if got, _ := errors.AsType[*envelope.RefusedError](err); got != test.first {
				t.Errorf("%s: got %v first, want %v", name, got, test.first)
			}
			if err := envelope.CheckAny(t.Context(), append(checks, answer(nil))...); err != nil {
				t.Errorf("%s, and a yes: got %v, want nil", name, err)
			}
		}
	}
	if err := envelope.CheckAny(t.Context()); err != envelope.ErrCheckUnsupported {
		t.Errorf("no checks: got %v, want ErrCheckUnsupported", err)
	}
	long := errors.New(strings.Repeat("x", 1<<20))
	if n := len(envelope.CheckAny(t.Context(), answer(long), answer(long)).Error()); n > 4000 {
		t.Errorf("the text is %d bytes, want at most 4000", n)
	}
}

func TestCheckAnyEndsAndWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const cleanup = 50 * time.Millisecond
		left := false
		hang := func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(cleanup)
			left = true
			return ctx.Err()
		}
		yes := func(context.Context) error { time.Sleep(time.Second); return nil }
		began := time.Now()
		if err := envelope.CheckAny(t.Context(), hang, yes); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if took := time.Since(began); took != time.Second+cleanup || !left {
			t.Errorf("returned after %v, other check returned: %v; want it after the yes and the end of the other", took, left)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := envelope.CheckAny(ctx, hang, answer(envelope.ErrUnavailable))
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("got %v, want the context's error alone", err)
		}
	})
}

func TestCheckAnyContainsPanics(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(){
		"panic":         func() { panic("secret") },
		"runtime error": func() { var p *int; *p = 1 },
		"Goexit":        runtime.Goexit,
	} {
		err := envelope.CheckAny(t.Context(), func(context.Context) error { do(); return nil })
		if !errors.Is(err, envelope.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want ErrUnavailable without the value", name, err)
		}
	}
}

// checking is a Wrapper that is a DecryptChecker.
type checking struct {
	failing
	err error
}

func (k *checking) CheckDecrypt(context.Context, envelope.EncryptionContext) error { return k.err }

func TestMultiKeyringCheckDecrypt(t *testing.T) {
	t.Parallel()
	yes, refused := &checking{}, &checking{err: &envelope.RefusedError{KeyInfo: "key", Err: errors.New("disabled")}}
	mute, raw := &failing{}, newRaw(t, "a", 1)
	for name, test := range map[string]struct {
		members []envelope.Wrapper
		want    error // nil: yes
	}{
		"yes":                      {[]envelope.Wrapper{refused, yes}, nil},
		"refused":                  {[]envelope.Wrapper{refused, refused}, refused.err},
		"one that is no checker":   {[]envelope.Wrapper{refused, mute}, envelope.ErrCheckUnsupported},
		"raw AES beside a refusal": {[]envelope.Wrapper{refused, raw}, nil},
	} {
		err := newMulti(t, test.members...).CheckDecrypt(t.Context(), nil)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		slices.Reverse(test.members)
		if err := newMulti(t, test.members...).CheckDecrypt(t.Context(), nil); !errors.Is(err, test.want) {
			t.Errorf("%s, in reverse: got %v, want %v", name, err, test.want)
		}
	}
	if err := (*envelope.MultiKeyring)(nil).CheckDecrypt(t.Context(), nil); err == nil {
		t.Error("nil keyring: got nil, want an error")
	}
}
