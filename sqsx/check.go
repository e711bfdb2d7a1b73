package sqsx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// CheckError reports what a service cannot do with a queue. At least one of its
// fields is not nil.
type CheckError struct {
	Queue string // as given to Check
	Seal  error  // why messages to the queue cannot be sealed
	Open  error  // why messages from the queue cannot be opened
}

// Error names the halves that fail and why.
func (e *CheckError) Error() string {
	if sameCause(e.Seal, e.Open) {
		return fmt.Sprintf("sqsx: queue %q: cannot seal or open: %v", e.Queue, e.Seal)
	}
	var parts []string
	if e.Seal != nil {
		parts = append(parts, fmt.Sprintf("cannot seal: %v", e.Seal))
	}
	if e.Open != nil {
		parts = append(parts, fmt.Sprintf("cannot open: %v", e.Open))
	}
	return fmt.Sprintf("sqsx: queue %q: %s", e.Queue, strings.Join(parts, "; "))
}

// sameCause reports whether two errors tell of one thing, so that one text will
// do: they are one, or the key service gave one answer to two questions, or to
// none. A missing permission is of one question only.
func sameCause(a, b error) bool {
	if a == nil || b == nil {
		return false
	}
	if a == b {
		return true
	}
	x, y := answers(a), answers(b)
	switch {
	case len(x) == 0 && len(y) == 0:
		return errors.Is(a, envelope.ErrUnavailable) && errors.Is(b, envelope.ErrUnavailable)
	case len(x) != 1 || len(y) != 1:
		return false
	}
	return x[0].ErrorCode() == y[0].ErrorCode() && x[0].ErrorMessage() == y[0].ErrorMessage() &&
		!strings.HasPrefix(x[0].ErrorCode(), "AccessDenied")
}

// answers returns the answers of services in the tree of err.
func answers(err error) []smithy.APIError {
	if answer, ok := err.(smithy.APIError); ok {
		return []smithy.APIError{answer}
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			return answers(inner)
		}
	case interface{ Unwrap() []error }:
		var found []smithy.APIError
		for _, inner := range u.Unwrap() {
			found = append(found, answers(inner)...)
		}
		return found
	}
	return nil
}

// Unwrap returns the errors of both halves.
func (e *CheckError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Seal, e.Open} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// errOpenUnchecked stands for the half that could not be tried.
var errOpenUnchecked = errors.New("not checked: this role cannot generate a data key to decrypt")

// Check reports whether this process can seal messages to queue and open
// messages from it, by generating and decrypting a data key under the context
// of that queue. queue is an ARN, or a URL if [Options.Region] is known. It
// returns nil or a [*CheckError], so that a role that only sends, or only
// receives, can look at its half. The error says which permission is missing.
//
//	if failed, ok := errors.AsType[*sqsx.CheckError](err); ok && failed.Open != nil {
//		log.Fatal(failed.Open) // a receiver; a sender looks at failed.Seal
//	}
//
// Where generating is refused, a keyring is asked about decrypting alone if it
// is an [envelope.DecryptChecker], as that of AWS KMS is. It is enough then that
// one of its keys may be used.
//
// Check goes through the data key cache. While data keys are in hand it makes no
// call and reports what is true, that messages can be sealed and opened. What
// fails is asked of KMS again after one second at the earliest, later ten; a
// role that may only receive costs a Decrypt call for each key that it may
// decrypt with, a dry run, at each Check.
func (s *Sealer) Check(ctx context.Context, queue string) error {
	result := &CheckError{Queue: queue}
	q, err := s.queue(queue)
	if err == nil {
		err = s.codec.check(ctx, q, result)
	}
	if err != nil {
		result.Seal, result.Open = err, err
	}
	if result.Seal == nil && result.Open == nil {
		return nil
	}
	return result
}

// check fills in result. Its error is one of configuration, common to both
// halves.
func (c *codec) check(ctx context.Context, q middleware.Queue, result *CheckError) error {
	c.counters.begin(ctx, q)
	policy, err := c.table.find(q)
	if err != nil {
		return err
	}
	ec, err := c.sendContext(policy, q)
	if err != nil {
		return err
	}
	key, err := policy.keyring.GenerateDataKey(ctx, ec)
	switch {
	case err == nil:
		_, result.Open = policy.keyring.DecryptDataKey(ctx, key.EncryptedDataKeys(), ec)
		return nil
	case !policy.NoSeal:
		result.Seal = err
	}
	result.Open = policy.keyring.CheckDecrypt(ctx, ec)
	if errors.Is(result.Open, envelope.ErrCheckUnsupported) {
		// An emulator that knows no dry run objects to the missing ciphertext. It
		// would not look at that if it refused the key.
		if missesCiphertext(result.Open) {
			result.Open = nil
		} else {
			result.Open = fmt.Errorf("%w: %w", errOpenUnchecked, result.Open)
		}
	}
	return nil
}

func missesCiphertext(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains([]string{"ValidationException", "InvalidCiphertextException", "IncorrectKeyException"}, api.ErrorCode())
}
