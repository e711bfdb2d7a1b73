package keytrace_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sealq/sealq/internal/keytrace"
)

func TestChecked(t *testing.T) {
	t.Parallel()
	errNo := errors.New("no")
	type report struct {
		info string
		err  error
	}
	var got []report
	ctx := keytrace.With(t.Context(), func(info string, err error) { got = append(got, report{info, err}) })
	inner, cancel := context.WithCancel(ctx)

	keytrace.Checked(t.Context(), "key", nil) // nobody wants to know
	keytrace.Checked(ctx, "", nil)            // of no key that messages could name
	keytrace.Checked(ctx, "a", nil)
	keytrace.Checked(inner, "b", errNo)
	cancel()
	keytrace.Checked(inner, "c", errNo) // cut short: no answer

	if want := []report{{"a", nil}, {"b", errNo}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUsed(t *testing.T) {
	t.Parallel()
	at := time.Now()
	if got := keytrace.Used(t.Context()); !got.IsZero() {
		t.Errorf("got %v of a context that does not say it", got)
	}
	if got := keytrace.Used(keytrace.WithUsed(t.Context(), at)); got != at {
		t.Errorf("got %v, want %v", got, at)
	}
}
