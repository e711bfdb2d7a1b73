package branchkey_test

import (
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/envelopetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	w.create(store, "é")
	byTenant := func(o *branchkey.Options) {
		o.BranchKeyIDs = func(envelope.EncryptionContext) (string, error) { return "orders", nil }
	}
	for name, test := range map[string]struct {
		id     string
		optFns []func(*branchkey.Options)
	}{
		"one branch key":        {"orders", nil},
		"id that is not ASCII":  {"é", nil},
		"a function of the ids": {"", []func(*branchkey.Options){byTenant}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			envelopetest.TestWrapper(t, func(t *testing.T) envelope.Wrapper {
				return w.on(t).keyring(store, test.id, test.optFns...)
			})
		})
	}
}
