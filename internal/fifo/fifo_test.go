package fifo_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/internal/fifo"
)

// TestHeldBehind: the index is that of the message that did not open itself,
// never of one that is held back, and is given for one that does not open
// either.
func TestHeldBehind(t *testing.T) {
	t.Parallel()
	type msg struct {
		group string
		fails bool
	}
	for name, tc := range map[string]struct {
		msgs []msg
		want []int
	}{
		"all open":                     {[]msg{{"a", false}, {"", false}, {"a", false}}, []int{-1, -1, -1}},
		"its group only":               {[]msg{{"a", false}, {"a", true}, {"b", false}, {"a", false}, {"a", false}}, []int{-1, -1, -1, 1, 1}},
		"fails behind another":         {[]msg{{"a", true}, {"a", true}, {"a", false}}, []int{-1, 0, 0}},
		"everything behind no group":   {[]msg{{"a", false}, {"", true}, {"a", false}, {"a", false}, {"b", true}, {"b", false}}, []int{-1, -1, 1, 1, 1, 4}},
		"no group behind everything":   {[]msg{{"a", true}, {"b", true}, {"", false}, {"c", false}}, []int{-1, -1, 0, 0}},
		"no group fails behind others": {[]msg{{"a", true}, {"", true}, {"b", false}, {"a", false}}, []int{-1, 0, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msgs := make([]types.Message, len(tc.msgs))
			for i, m := range tc.msgs {
				if m.group != "" {
					msgs[i].Attributes = map[string]string{"MessageGroupId": m.group}
				}
			}
			if diff := cmp.Diff(tc.want, fifo.HeldBehind(msgs, func(i int) bool { return tc.msgs[i].fails })); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}
