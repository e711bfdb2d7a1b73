package contain_test

import (
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/contain"
)

func TestRun(t *testing.T) {
	t.Parallel()
	unavailable := "test: " + envelope.ErrUnavailable.Error() + ": the keyring "
	for name, test := range map[string]struct {
		f    func() error
		want string
		is   error
	}{
		"no error":      {func() error { return nil }, "", nil},
		"error":         {func() error { return io.EOF }, "EOF", io.EOF},
		"panic":         {func() error { panic("the secret") }, unavailable + "panicked with a value of type string", envelope.ErrUnavailable},
		"runtime error": {func() error { var none []int; _ = none[len(none)]; return nil }, unavailable + "panicked: runtime error: index out of range [0] with length 0", envelope.ErrUnavailable},
		"Goexit":        {func() error { runtime.Goexit(); return nil }, unavailable + "ended the goroutine", envelope.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan error, 1)
			go contain.Run("test", "the keyring", test.f, func(err error) { got <- err })
			err := <-got
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != test.want || !errors.Is(err, test.is) {
				t.Errorf("got error %q, want %q", text, test.want)
			}
		})
	}
}
