package envelope

import (
	"context"
	"errors"
	"fmt"
)

// Every error of this module that concerns a message or a key belongs to one
// of three classes, told apart with [errors.Is] alone. Check them in this
// order, because a keyring that tried several keys may report several causes.
// [IsInvalidMessage] checks all that the third class needs:
//
//  1. [ErrUnavailable]: the key service could not be asked or could not answer.
//  2. The caller's own context has ended: nothing is known. (A deadline of the
//     keyring's own is ErrUnavailable, and never matches the caller's.)
//  3. [ErrInvalidMessage]: the message is invalid.
//  4. Anything else is a refusal: the key service answered, and said no.
var (
	// ErrInvalidMessage is the root of every error whose cause is the message
	// itself. Retrying cannot help, and cached data keys stay in use.
	ErrInvalidMessage = errors.New("envelope: invalid message")

	// ErrMalformed is returned when bytes are not a message of this format.
	ErrMalformed = fmt.Errorf("%w: malformed", ErrInvalidMessage)

	// ErrUnsupported is returned when a message has a version, algorithm suite or
	// feature that this version does not open.
	ErrUnsupported = fmt.Errorf("%w: unsupported", ErrInvalidMessage)

	// ErrContextMismatch is returned when a message has another encryption context
	// than the receiver requires.
	ErrContextMismatch = fmt.Errorf("%w: encryption context mismatch", ErrInvalidMessage)

	// ErrNoMatchingKey is returned when the keyring can, or may, decrypt none of
	// the encrypted data keys of a message.
	ErrNoMatchingKey = fmt.Errorf("%w: no encrypted data key matches the keyring", ErrInvalidMessage)

	// ErrAuthentication is returned when a message was altered, or was sealed
	// under another data key. It is one value for the key commitment, the header
	// tag, every frame and the signature, so that a forger does not learn which
	// check failed.
	ErrAuthentication = fmt.Errorf("%w: authentication failed", ErrInvalidMessage)

	// ErrUnavailable is returned when the key service could not be asked or could
	// not answer. It says nothing about the message or the key: cached data keys
	// stay in use, and a later attempt may succeed.
	ErrUnavailable = errors.New("envelope: key service unavailable")

	// ErrCheckUnsupported is returned when it is impossible to find out without a
	// message whether this process may decrypt. Only [DecryptChecker] returns it.
	// It belongs to none of the three classes: it says nothing about any message
	// or key.
	ErrCheckUnsupported = errors.New("envelope: decryption cannot be checked without a message")
)

// IsInvalidMessage reports whether err means that the message itself is
// invalid: it is [ErrInvalidMessage], and neither [ErrUnavailable] nor the
// error of a context. Trying again cannot help then. It may help with every
// other error.
func IsInvalidMessage(err error) bool {
	return errors.Is(err, ErrInvalidMessage) &&
		!errors.Is(err, ErrUnavailable) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// Reach says which data keys a [RefusedError] concerns. Later releases may add
// values: read one that is not known here as [ReachKey].
type Reach uint8

const (
	// ReachKey is every data key under [RefusedError.KeyInfo], for sealing and
	// for opening: the wrapping key is disabled, deleted or of the wrong kind.
	ReachKey Reach = iota

	// ReachSeal is the data keys for sealing under [RefusedError.KeyInfo]; those
	// for opening stay. A keyring uses it if its sealing key may change: the
	// refusal of an alias says nothing about the key that it pointed at before,
	// because it may have moved since.
	ReachSeal

	// ReachEntry is the operation (generate or decrypt) and the data key that
	// were asked for, and nothing else, whatever [RefusedError.KeyInfo] is. A
	// missing permission is of this kind: permission to decrypt says nothing
	// about permission to generate.
	ReachEntry
)

// RefusedError is a refusal whose reach is known. A [Keyring] returns it when
// the key service said no, so that a cache can drop the data keys that the
// refusal reaches and no others.
type RefusedError struct {
	// KeyInfo is the [EncryptedDataKey.ProviderInfo] of the wrapping key that
	// was refused. Empty: it is unknown, and the refusal concerns only the
	// request that was refused.
	KeyInfo string

	// Reach says which data keys under KeyInfo the refusal concerns. The zero
	// value is [ReachKey], all of them.
	Reach Reach

	// Err is the service's own error. It is never nil.
	Err error
}

// Error returns the text of the underlying error.
func (e *RefusedError) Error() string { return "envelope: key refused: " + e.Err.Error() }

// Unwrap returns the service's own error.
func (e *RefusedError) Unwrap() error { return e.Err }
