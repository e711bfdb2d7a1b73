// Package contain runs a keyring's code on a goroutine that is not its
// caller's, where nobody else could recover a panic and it would end the
// process.
package contain

import (
	"fmt"
	"runtime"

	"github.com/sealq/sealq/envelope"
)

// Run calls f, and then done with the error that f returned. If f panics or
// ends its goroutine (runtime.Goexit), done gets an [envelope.ErrUnavailable],
// because that says nothing about a key or a message. Its text begins with
// prefix and says that who did it. The value of a panic may hold anything, also
// a key, and is not shown unless it is the runtime's own.
//
// [envelope.CheckAny] does the same by itself: envelope imports nothing but the
// standard library.
func Run(prefix, who string, f func() error, done func(error)) {
	err := fmt.Errorf("%s: %w: %s ended the goroutine", prefix, envelope.ErrUnavailable, who)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("%s: %w: %s panicked: %w", prefix, envelope.ErrUnavailable, who, p)
		default:
			err = fmt.Errorf("%s: %w: %s panicked with a value of type %T", prefix, envelope.ErrUnavailable, who, p)
		}
		done(err)
	}()
	err = f()
}
