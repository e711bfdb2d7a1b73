// Package optfn applies the option functions of a constructor.
package optfn

import "fmt"

// Apply calls fns with o, in their order. A nil function is an error; those in
// front of it have been called.
func Apply[Options any](o *Options, fns []func(*Options)) error {
	for i, fn := range fns {
		if fn == nil {
			return fmt.Errorf("option function %d is nil", i)
		}
		fn(o)
	}
	return nil
}
