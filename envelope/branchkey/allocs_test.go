package branchkey_test

import (
	"runtime/debug"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// maxMoreAllocs is how many allocations a message may take under a branch key
// beyond those under a data key of KMS, both of them cached. Today it is 14 for
// sealing and 12 for opening.
const maxMoreAllocs = 16

// TestAllocations counts them. Counts do not depend on the machine; times do,
// and integration/bench compares them.
func TestAllocations(t *testing.T) { // not parallel: it counts what the process allocates
	if raceEnabled() {
		t.Skip("the race detector allocates")
	}
	body := make([]byte, 1<<10)
	accept := func(envelope.EncryptionContext) error { return nil }
	seal, open := make(map[string]float64), make(map[string]float64)
	for name, kr := range keyrings(t) {
		m, err := envelope.Seal(t.Context(), kr, body, ec)
		if err != nil {
			t.Fatal(err)
		}
		counted := func(call func() error) float64 {
			return testing.AllocsPerRun(100, func() {
				if err := call(); err != nil {
					t.Fatal(err)
				}
			})
		}
		seal[name] = counted(func() error { _, err := envelope.Seal(t.Context(), kr, body, ec); return err })
		open[name] = counted(func() error { _, err := envelope.Open(t.Context(), kr, m, accept); return err })
	}
	for call, counts := range map[string]map[string]float64{"Seal": seal, "Open": open} {
		got, base := counts["branch key"], counts["KMS data key"]
		if got == 0 || base == 0 || got > base+maxMoreAllocs {
			t.Errorf("%s: got %v allocations, want at most %v and %d more", call, got, base, maxMoreAllocs)
		}
		t.Logf("%s: %v allocations, %v under a data key of KMS", call, got, base)
	}
}

// raceEnabled reports whether this is a build for the race detector.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
