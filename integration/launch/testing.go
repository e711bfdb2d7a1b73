package launch

import (
	"errors"
	"os"
	"testing"
)

// RequireVariable names the environment variable that turns a missing
// toolchain from a reason to skip into a failure. CI sets it.
const RequireVariable = "SEALQTEST_REQUIRE_ALL"

// Use returns a running instance for a test, and stops it when the test ends.
// Without the emulator's toolchain the test is skipped, unless
// SEALQTEST_REQUIRE_ALL is set; an emulator that cannot be installed or does
// not start fails it.
func Use(tb testing.TB, e Emulator) *Instance {
	tb.Helper()
	in, err := e.Start(tb.Context())
	if errors.Is(err, ErrPrerequisite) && os.Getenv(RequireVariable) == "" {
		tb.Skipf("%v (with %s=1 this is a failure)", err, RequireVariable)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := in.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return in
}
