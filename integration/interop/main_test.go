package interop_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/sealq/sealq/integration/interop/drivers"
	"github.com/sealq/sealq/integration/launch"
)

// sdk is an SDK as the tests see it: running, or the reason why it is not.
type sdk struct {
	drivers.Installed
	driver *drivers.Driver
	err    error
}

// sdks are all SDKs, started once for the whole run: some take a second.
// localStack is the emulator, or nil and the reason.
var (
	sdks          []*sdk
	localStack    *launch.Instance
	localStackErr error
)

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	ctx := context.Background()
	installed, err := drivers.Install(ctx, drivers.All())
	if err != nil {
		return 1, err
	}
	for _, in := range installed {
		s := &sdk{Installed: in}
		sdks = append(sdks, s)
		if !in.Cached && in.Err == nil {
			fmt.Printf("interop: installed %s %s in %.0fs\n", in.Name, in.Version, in.Took.Seconds())
		}
		if s.driver, s.err = in.Start(); s.err == nil {
			defer func() { err = errors.Join(err, s.driver.Stop()) }()
		}
	}
	emulator, err := launch.Find("LocalStack")
	if err != nil {
		return 1, err
	}
	if localStack, localStackErr = emulator.Start(ctx); localStackErr == nil {
		defer func() { err = errors.Join(err, localStack.Stop()) }()
	}
	return m.Run(), nil
}

// running returns the SDK's driver. Only a missing toolchain is a reason to
// skip, and not in CI.
func (s *sdk) running(t *testing.T) *drivers.Driver {
	t.Helper()
	require(t, s.err)
	return s.driver
}

// emulator returns the running LocalStack.
func emulator(t *testing.T) *launch.Instance {
	t.Helper()
	require(t, localStackErr)
	return localStack
}

func require(t *testing.T, err error) {
	t.Helper()
	missing := errors.Is(err, drivers.ErrPrerequisite) || errors.Is(err, launch.ErrPrerequisite)
	switch {
	case err == nil:
	case missing && os.Getenv(launch.RequireVariable) == "":
		t.Skipf("%v (with %s=1 this is a failure)", err, launch.RequireVariable)
	default:
		t.Fatal(err)
	}
}

// find returns one SDK.
func find(t *testing.T, id string) *sdk {
	t.Helper()
	for _, s := range sdks {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("no SDK %q", id)
	return nil
}
