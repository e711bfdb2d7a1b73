package envelopetest

import (
	"context"

	"github.com/sealq/sealq/envelope"
)

// Check returns what TestWrapper would report, by the name of the rule.
func Check(ctx context.Context, newWrapper func() envelope.Wrapper) map[string]error {
	broken := map[string]error{}
	for _, r := range keyringRules {
		if err := protect(func() error {
			return r.check(ctx, func() envelope.Keyring { return newWrapper() })
		}); err != nil {
			broken[r.name] = err
		}
	}
	for _, r := range wrapperRules {
		if err := protect(func() error { return r.check(ctx, newWrapper) }); err != nil {
			broken[r.name] = err
		}
	}
	return broken
}

// Rules returns the names of all rules.
func Rules() []string {
	var names []string
	for _, r := range keyringRules {
		names = append(names, r.name)
	}
	for _, r := range wrapperRules {
		names = append(names, r.name)
	}
	return names
}
