// Package keyerr tells what an error of a key service is about, whatever
// keyring it comes from.
package keyerr

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"syscall"
)

// ErrNotAsked marks an error for which nobody asked the key service. If it is
// an envelope.ErrUnavailable, it is no outage: a keyring chose not to ask now.
// It has no text of its own.
var ErrNotAsked error = notAsked{}

type notAsked struct{}

func (notAsked) Error() string { return "not asked" }

// NotAsked returns err so that it is [ErrNotAsked] too.
func NotAsked(err error) error { return &notAskedError{err} }

type notAskedError struct{ error }

func (e *notAskedError) Unwrap() error        { return e.error }
func (e *notAskedError) Is(target error) bool { return target == ErrNotAsked }

// cancellation is how the AWS SDK marks a call that a context ended
// (smithy.CanceledError, aws.RequestCanceledError).
type cancellation interface{ CanceledError() bool }

// IsCancellation reports whether err says that a context has ended, or that a
// call was cancelled.
func IsCancellation(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var mark cancellation
	return errors.As(err, &mark)
}

// IsNetwork reports whether err is the network's: what it says of the key
// service is that it was not reached, or that its answer was lost.
func IsNetwork(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, errno := range [...]error{
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
		syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, net.ErrClosed,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// IsCut reports whether err says that an answer ended too early. Decoding a
// short encrypted data key says the same, so it is the network's only where the
// keyring does not blame the message.
func IsCut(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// NotCallers returns err so that it does not look like the end of the caller's
// own context: a consumer loop that ends with its context would end. errors.Is
// and errors.As find in the result what they find in err, except what is, or
// wraps, a cancellation. It is a net.Error if err is one. An err that is no
// cancellation is returned as it is.
func NotCallers(err error) error {
	if !IsCancellation(err) {
		return err
	}
	return &notCallers{err}
}

type notCallers struct{ err error }

func (e *notCallers) Error() string { return e.err.Error() }

// Timeout and Temporary make it a net.Error: that of err may be a context's.
func (e *notCallers) Timeout() bool {
	timed, ok := errors.AsType[net.Error](e.err)
	return ok && timed.Timeout()
}

func (e *notCallers) Temporary() bool { return true }

func (e *notCallers) Is(target error) bool {
	return !IsCancellation(target) && errors.Is(e.err, target)
}

func (e *notCallers) As(target any) bool {
	if !errors.As(e.err, target) {
		return false
	}
	found := reflect.ValueOf(target).Elem()
	if err, ok := found.Interface().(error); !ok || !IsCancellation(err) {
		return true
	}
	found.SetZero()
	return false
}
