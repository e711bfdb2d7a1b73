package sqsx

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealq/sealq/envelope"
)

// class is why a message does not open.
type class int

const (
	invalidMessage class = iota // the message is invalid
	keyUnavailable              // the key service could not answer, there was no time to ask, or a clock is ahead
	keyRefused                  // the key service said no
	classes
)

func (c class) String() string {
	return [...]string{"message", "unavailable", "refused"}[c]
}

func classify(err error) class {
	switch {
	case envelope.IsInvalidMessage(err):
		return invalidMessage
	case errors.Is(err, envelope.ErrUnavailable), errors.Is(err, ErrClockAhead),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return keyUnavailable
	}
	return keyRefused
}

// ownDeadline makes the end of openTimeout, or of the time of OpenMessages, an
// ErrUnavailable: a consumer loop that ends with its context must be able to
// tell it from the end of that.
func ownDeadline(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("sqsx: %w: no data key in the time for opening messages", envelope.ErrUnavailable)
	}
	return err
}
