package cache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

// TestClassOfAnAnswer: what one fetch that failed is counted as, in each
// direction.
func TestClassOfAnAnswer(t *testing.T) {
	t.Parallel()
	noMatch := fmt.Errorf("fake: %w", envelope.ErrNoMatchingKey)
	const unavailable, refused, invalid = "unavailable", "refused", "invalid"
	for name, test := range map[string]struct {
		err            error
		opens, sealing string
	}{
		"unavailable":              {errDown, unavailable, unavailable},
		"a context that ended":     {context.Canceled, unavailable, unavailable},
		"a deadline":               {context.DeadlineExceeded, unavailable, unavailable},
		"refusal":                  {disabled(keyA), refused, refused},
		"unknown":                  {errDenied, refused, refused},
		"message":                  {noMatch, invalid, refused}, // to seal, there is none
		"message and unavailable":  {errors.Join(noMatch, errDown), unavailable, unavailable},
		"message and a deadline":   {errors.Join(noMatch, context.DeadlineExceeded), unavailable, unavailable},
		"refusal and unavailable":  {errors.Join(disabled(keyA), errDown), unavailable, unavailable},
		"refusal of a foreign key": {errors.Join(noMatch, disabled(keyB)), invalid, refused},
	} {
		s := newService()
		s.thenFail(test.err)
		counted := func(do func(*cache.Keyring) error) string {
			k := newCache(t, s)
			if do(k) == nil {
				return "answered"
			}
			switch st := k.Stats(); [3]uint64{st.Unavailable, st.Refusals, st.Invalid} {
			case [3]uint64{1, 0, 0}:
				return unavailable
			case [3]uint64{0, 1, 0}:
				return refused
			case [3]uint64{0, 0, 1}:
				return invalid
			default:
				return fmt.Sprintf("%+v", st)
			}
		}
		opens := counted(func(k *cache.Keyring) error {
			_, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(0)}, orders)
			return err
		})
		sealing := counted(func(k *cache.Keyring) error {
			_, err := k.GenerateDataKey(t.Context(), orders)
			return err
		})
		if opens != test.opens || sealing != test.sealing {
			t.Errorf("%s: opening is %s and sealing is %s, want %s and %s", name, opens, sealing, test.opens, test.sealing)
		}
	}
}
