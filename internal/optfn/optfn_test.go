package optfn_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/internal/optfn"
)

func TestApply(t *testing.T) {
	t.Parallel()
	add := func(n int) func(*[]int) { return func(o *[]int) { *o = append(*o, n) } }
	var got []int
	if err := optfn.Apply(&got, []func(*[]int){add(1), add(2)}); err != nil {
		t.Fatal(err)
	}
	err := optfn.Apply(&got, []func(*[]int){add(3), nil, add(4)})
	if want := "option function 1 is nil"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %q", err, want)
	}
	if diff := cmp.Diff([]int{1, 2, 3}, got); diff != "" {
		t.Errorf("calls differ (-want +got):\n%s", diff)
	}
	if err := optfn.Apply(&got, nil); err != nil {
		t.Errorf("no functions: got error %v", err)
	}
}
