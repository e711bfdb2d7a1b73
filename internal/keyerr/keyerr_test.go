package keyerr_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/internal/keyerr"
)

// TestNotCallers: by no road that errors offers does the result look like a
// cancellation, and what else is in the chain is found.
func TestNotCallers(t *testing.T) {
	t.Parallel()
	service := &smithy.GenericAPIError{Code: "ThrottlingException"}
	for name, err := range map[string]error{
		"cancelled":              context.Canceled,
		"deadline":               context.DeadlineExceeded,
		"SDK, cancelled":         &smithy.CanceledError{Err: context.Canceled},
		"SDK, by its mark alone": &smithy.CanceledError{Err: errors.New("gone")},
		"SDK, while waiting":     &aws.RequestCanceledError{Err: errors.New("gone")},
		"operation":              &smithy.OperationError{ServiceID: "KMS", Err: &aws.RequestCanceledError{Err: context.DeadlineExceeded}},
		"net/http":               &url.Error{Op: "Post", URL: "https://kms", Err: context.DeadlineExceeded},
		"beside an answer":       errors.Join(&smithy.CanceledError{Err: context.Canceled}, service),
	} {
		got := keyerr.NotCallers(fmt.Errorf("kms: %w", err))
		if errors.Is(got, context.Canceled) || errors.Is(got, context.DeadlineExceeded) || errors.Is(got, err) {
			t.Errorf("%s: by errors.Is it is a cancellation", name)
		}
		if c, ok := errors.AsType[*smithy.CanceledError](got); ok || c != nil {
			t.Errorf("%s: errors.As finds a *smithy.CanceledError", name)
		}
		if c, ok := errors.AsType[*aws.RequestCanceledError](got); ok || c != nil {
			t.Errorf("%s: errors.As finds a *aws.RequestCanceledError", name)
		}
		var mark interface{ CanceledError() bool }
		if errors.As(got, &mark) || mark != nil {
			t.Errorf("%s: errors.As finds the mark of a cancellation", name)
		}
		// An error that wraps the cancellation would reveal it as well.
		if op, ok := errors.AsType[*smithy.OperationError](got); ok {
			t.Errorf("%s: errors.As finds %v, which unwraps to a cancellation", name, op)
		}
		if !strings.Contains(got.Error(), err.Error()) {
			t.Errorf("%s: got text %q, want %q in it", name, got, err)
		}
		if n, ok := errors.AsType[net.Error](got); !ok || n.Timeout() != errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want a net.Error that tells whether it is a time-out", name, n)
		}
		api, ok := errors.AsType[smithy.APIError](got)
		if want := errors.Is(err, service); ok != want || want && api.ErrorCode() != "ThrottlingException" || errors.Is(got, service) != want {
			t.Errorf("%s: got %v, want the service's own error: %v", name, api, want)
		}
	}
	if got := keyerr.NotCallers(service); got != error(service) {
		t.Errorf("no cancellation: got %v, want it as it is", got)
	}
	if got := keyerr.NotCallers(nil); got != nil {
		t.Errorf("nil: got %v", got)
	}
}

func TestIsNetwork(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err          error
		network, cut bool
	}{
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, true, false},
		{&net.DNSError{Name: "kms"}, true, false},
		{os.NewSyscallError("connect", syscall.ECONNREFUSED), true, false},
		{os.NewSyscallError("read", syscall.ECONNRESET), true, false},
		{&url.Error{Op: "Post", Err: errors.New("tls: unknown authority")}, true, false},
		{net.ErrClosed, true, false},
		{os.ErrDeadlineExceeded, true, false},
		{io.ErrUnexpectedEOF, false, true},
		{io.EOF, false, true},
		{http.ErrBodyNotAllowed, false, false},
		{&smithy.GenericAPIError{Code: "AccessDenied"}, false, false},
		{os.ErrPermission, false, false},
		{nil, false, false},
	} {
		err := test.err
		if err != nil {
			err = fmt.Errorf("a keyring: %w", err)
		}
		if network, cut := keyerr.IsNetwork(err), keyerr.IsCut(err); network != test.network || cut != test.cut {
			t.Errorf("%v: got network %v, cut %v; want %v, %v", err, network, cut, test.network, test.cut)
		}
	}
}
