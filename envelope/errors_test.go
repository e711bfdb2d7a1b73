package envelope_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/sealq/sealq/envelope"
)

func TestIsInvalidMessage(t *testing.T) {
	t.Parallel()
	refused := &envelope.RefusedError{Err: errors.New("disabled")}
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"nil":              {nil, false},
		"root":             {envelope.ErrInvalidMessage, true},
		"malformed":        {envelope.ErrMalformed, true},
		"unsupported":      {envelope.ErrUnsupported, true},
		"context mismatch": {envelope.ErrContextMismatch, true},
		"no matching key":  {envelope.ErrNoMatchingKey, true},
		"authentication":   {envelope.ErrAuthentication, true},
		"wrapped":          {fmt.Errorf("app: %w: its own text", envelope.ErrMalformed), true},
		"unavailable":      {envelope.ErrUnavailable, false},
		"cancelled":        {context.Canceled, false},
		"deadline":         {context.DeadlineExceeded, false},
		"refusal":          {refused, false},
		"unknown":          {errors.New("unknown"), false},

		// Of several causes, one that is not the message's decides.
		"and unavailable": {errors.Join(envelope.ErrNoMatchingKey, envelope.ErrUnavailable), false},
		"and cancelled":   {fmt.Errorf("%w: %w", envelope.ErrNoMatchingKey, context.Canceled), false},
		"and deadline":    {fmt.Errorf("%w: %w", context.DeadlineExceeded, envelope.ErrNoMatchingKey), false},
		// But not a refusal, which may be that of a key that only the message names.
		"and a refusal": {fmt.Errorf("%w: %w", envelope.ErrNoMatchingKey, refused), true},
	} {
		if got := envelope.IsInvalidMessage(test.err); got != test.want {
			t.Errorf("%s: got %v of %v, want %v", name, got, test.err, test.want)
		}
	}
}
