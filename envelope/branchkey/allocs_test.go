package branchkey_test

import (
	"runtime/debug"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// maxMoreAllocs is how many allocations a message may take under a branch key
// beyond those under a data key of KMS, both of them cached. Today it is 12 for
// either.
const maxMoreAllocs = 16

// TestAllocations counts them. Counts do not depend on the machine; times do,
// and integration/bench compares them.
func TestAllocations(t *testing.T) { // not parallel: it counts what the process allocates
	if raceEnabled() {
		t.Skip("the race detector allocates")
	}
	body := make([]byte, 1<<10)
	var seal, open []float64 // under a data key, under a branch key
	for _, kr := range warmKeyrings(t) {
		m, err := envelope.Seal(t.Context(), kr.keyring, body, ec)
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
		seal = append(seal, counted(func() error { _, err := envelope.Seal(t.Context(), kr.keyring, body, ec); return err }))
		open = append(open, counted(func() error { _, err := envelope.Open(t.Context(), kr.keyring, m, acceptAll); return err }))
	}
	for call, counts := range map[string][]float64{"Seal": seal, "Open": open} {
		base, got := counts[0], counts[1]
		if got > base+maxMoreAllocs {
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
