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

// started is an emulator, or nil and the reason.
type started struct {
	*launch.Instance
	err error
}

// sdks are all SDKs, started once for the whole run: some take a second.
// LocalStack has queues and KMS, and moto KMS and DynamoDB.
var (
	sdks             []*sdk
	localStack, moto started
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
	for name, e := range map[string]*started{"LocalStack": &localStack, "moto": &moto} {
		emulator, err := launch.Find(name)
		if err != nil {
			return 1, err
		}
		if e.Instance, e.err = emulator.Start(ctx); e.err == nil {
			defer func() { err = errors.Join(err, e.Stop()) }()
		}
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

// running returns the emulator.
func (e started) running(t *testing.T) *launch.Instance {
	t.Helper()
	require(t, e.err)
	return e.Instance
}

// emulator returns the running LocalStack.
func emulator(t *testing.T) *launch.Instance {
	t.Helper()
	return localStack.running(t)
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
