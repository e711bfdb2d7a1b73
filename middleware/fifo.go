package middleware

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// groupOf returns the message group, or "" if the message does not tell.
func groupOf(msg types.Message) string {
	return msg.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
}

// holdGroups keeps the order of message groups: behind a message that is
// withheld, the rest of its group is withheld too. It writes results.
//
// A message without a group is taken for a member of every group, because
// delivering it might break the order and holding it back cannot.
func holdGroups(msgs []types.Message, results []Opened) {
	first := make(map[string]int) // group, or "" -> its first withheld message
	earliest := -1                // the first withheld message of all
	for i, msg := range msgs {
		group := groupOf(msg)
		holder, held := first[group]
		switch {
		case group == "":
			holder, held = earliest, earliest >= 0
		case !held:
			holder, held = first[""]
		}
		if held && results[i].Err == nil {
			results[i] = Opened{
				Err:       fmt.Errorf("%w: it is message %q", ErrGroupHeld, aws.ToString(msgs[holder].MessageId)),
				Temporary: results[holder].Temporary,
			}
		}
		if results[i].Err == nil {
			continue
		}
		if _, known := first[group]; !known {
			first[group] = i
		}
		if earliest < 0 {
			earliest = i
		}
	}
}
