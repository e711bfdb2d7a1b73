package middleware

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/internal/fifo"
)

// holdGroups keeps the order of message groups: after a withheld message it
// withholds the rest of the group. It writes results.
func holdGroups(msgs []types.Message, results []Opened) {
	for i, holder := range fifo.HeldBehind(msgs, func(i int) bool { return results[i].Err != nil }) {
		if holder >= 0 && results[i].Err == nil {
			results[i] = Opened{
				Err:       fmt.Errorf("%w: it is message %q", ErrGroupHeld, aws.ToString(msgs[holder].MessageId)),
				Temporary: results[holder].Temporary,
			}
		}
	}
}
