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
	const none = -1
	groups := make(map[string]int)    // group -> its first withheld message
	earliest, ungrouped := none, none // first withheld message, and first one without a group
	for i, msg := range msgs {
		group := groupOf(msg)
		holder, held := groups[group]
		switch {
		case group == "":
			holder, held = earliest, earliest != none
		case !held:
			holder, held = ungrouped, ungrouped != none
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
		if _, known := groups[group]; !known && group != "" {
			groups[group] = i
		}
		if group == "" && ungrouped == none {
			ungrouped = i
		}
		if earliest == none {
			earliest = i
		}
	}
}
