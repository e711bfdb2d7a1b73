package envelope_test

import (
	"runtime"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// TestMemory keeps large messages from being copied: Seal allocates its output
// and Open its plaintext, and beyond that what a small message needs as well.
func TestMemory(t *testing.T) { // not parallel: it counts what the process allocates
	const small = 16 << 10
	kr := newCached(t)
	ctx := t.Context()
	for _, size := range []int{64 << 10, 256 << 10} {
		plaintext := make([]byte, size)
		m, err := envelope.Seal(ctx, kr, plaintext, benchContext)
		if err != nil {
			t.Fatal(err)
		}
		sealed := uint64(len(m.Header) + len(m.Body))
		if got, want := allocated(func() { envelope.Seal(ctx, kr, plaintext, benchContext) }), sealed+small; got > want {
			t.Errorf("Seal of %d bytes allocates %d bytes, want at most %d", size, got, want)
		}
		if got, want := allocated(func() { envelope.Open(ctx, kr, m, acceptAll) }), uint64(size)+small; got > want {
			t.Errorf("Open of %d bytes allocates %d bytes, want at most %d", size, got, want)
		}
	}
}

// allocated returns the bytes that one of several calls of f allocates.
func allocated(f func()) uint64 {
	const calls = 20
	var before, after runtime.MemStats
	f()
	runtime.ReadMemStats(&before)
	for range calls {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / calls
}
