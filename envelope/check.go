package envelope

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// DecryptChecker is an optional interface of a [Keyring]. It says whether this
// process may decrypt, without a message. Look for it by a type assertion.
type DecryptChecker interface {
	// CheckDecrypt asks the key service now, under ec, and about every wrapping
	// key that the keyring decrypts with and knows by name. It returns nil if any
	// one of them may be used. Otherwise look at the error in this order, because
	// a keyring of several wrapping keys may report several causes:
	//
	//  1. ctx's own error: ctx ended, and there is no answer.
	//  2. [ErrCheckUnsupported]: the question has no answer. The key service does
	//     not know such questions (an emulator), or the keyring has no wrapping
	//     key to ask about. Messages may open or not; only an attempt shows it.
	//  3. A [*RefusedError] with [ReachEntry]: this process may not decrypt under
	//     ec. It may be allowed to under another context.
	//  4. [ErrUnavailable]: the key service could not be reached, or answered
	//     that it is throttling, failing or does not accept the credentials.
	//  5. A [*RefusedError] of any other [Reach]: the wrapping key is disabled,
	//     deleted or unknown to the key service. Messages under it open in no
	//     context.
	//
	// A key service that fails because it does not know the question looks the
	// same as one that fails: so long as it has never answered such a question,
	// its internal errors (with HTTP, the statuses from 500) are
	// ErrCheckUnsupported.
	//
	// It must be safe for concurrent use, must not modify or retain ec, must
	// honour ctx, and must bound the time that the key service takes, as
	// DecryptDataKey does. It must not return a remembered answer, and must leave
	// no goroutine behind. [CheckAny] has what a keyring of several wrapping keys
	// needs.
	CheckDecrypt(ctx context.Context, ec EncryptionContext) error
}

// CheckAny returns the answer of a [DecryptChecker] with several wrapping keys.
// checks ask about one of them each, and run at the same time. The first that
// returns nil is a yes: ctx ends for the others, and CheckAny returns nil once
// they have returned. Without a yes, the error is that of ctx if it has ended,
// and else errors.Is and errors.As find all errors of checks in it, those first
// that DecryptChecker says to look at first.
//
// A panic in a check is [ErrUnavailable]. Without checks, CheckAny returns
// [ErrCheckUnsupported].
func CheckAny(ctx context.Context, checks ...func(context.Context) error) error {
	if len(checks) == 0 {
		return ErrCheckUnsupported
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(checks))
	for _, check := range checks {
		go func() {
			// A panic on this goroutine would end the process. Its value may hold
			// anything and is not shown unless it is the runtime's own.
			err := fmt.Errorf("envelope: %w: the check ended its goroutine", ErrUnavailable)
			defer func() {
				switch p := recover().(type) {
				case nil:
				case runtime.Error:
					err = fmt.Errorf("envelope: %w: the check panicked: %w", ErrUnavailable, p)
				default:
					err = fmt.Errorf("envelope: %w: the check panicked with a value of type %T", ErrUnavailable, p)
				}
				answers <- err
			}()
			err = check(asking)
		}()
	}
	errs := make([]error, 0, len(checks))
	for range checks { // all of them: no goroutine is left behind
		if err := <-answers; err != nil {
			errs = append(errs, err)
		} else {
			cancel()
		}
	}
	if len(errs) < len(checks) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(errs) == 1 {
		return errs[0]
	}
	slices.SortStableFunc(errs, func(a, b error) int { return cmp.Compare(checkOrder(a), checkOrder(b)) })
	return checkErrors(errs)
}

// checkOrder is the place of err in the order of [DecryptChecker].
func checkOrder(err error) int {
	refused, ok := errors.AsType[*RefusedError](err)
	switch {
	case errors.Is(err, ErrCheckUnsupported):
		return 2
	case ok && refused.Reach == ReachEntry:
		return 3
	case errors.Is(err, ErrUnavailable):
		return 4
	}
	return 5
}

// checkErrors are what several checks said.
type checkErrors []error

func (e checkErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return shortened("envelope: no wrapping key may decrypt: " + strings.Join(texts, "; "))
}

func (e checkErrors) Unwrap() []error { return e }
