// Package envelopetest has the tests that an implementation of
// [envelope.Keyring] or [envelope.Wrapper] must pass. Call [TestKeyring] or
// [TestWrapper] from a test of the implementation:
//
//	func TestConformance(t *testing.T) {
//		envelopetest.TestWrapper(t, func(t *testing.T) envelope.Wrapper {
//			return newMyKeyring(t, theSameKeyEveryTime)
//		})
//	}
//
// Each rule is a subtest. A failure says which rule was broken and why the rule
// exists. Run it with the race detector too.
//
// The tests check the interface's contract with a key service that works. An
// implementation must test by itself how it classifies faults of its key
// service.
package envelopetest
