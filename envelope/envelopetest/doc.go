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
// Each rule is a subtest; what fails says which rule was broken and why the rule
// exists. Run it with the race detector too.
//
// The tests hold an implementation to the interface's contract with a key
// service that works. How it classifies the faults of its own key service is
// for its own tests.
package envelopetest
