package middleware

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// HeldBehind returns, for each message of a FIFO queue's response, the index of
// the message in front of it that did not open and whose message group it is in,
// or -1. What is behind such a message is not delivered, whether it opens or not:
// the order of the group would be broken. results are those of Codec.Open, before
// anything is held back.
//
// A message that does not tell its group is taken for a member of every group,
// because delivering it might break the order and holding it back cannot.
func HeldBehind(msgs []types.Message, results []Opened) []int {
	behind := make([]int, len(msgs))
	front := make(map[string]int) // group, or "" -> what holds it
	first := -1                   // the first message that did not open
	for i, msg := range msgs {
		group := msg.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
		holder, held := front[group]
		switch {
		case group == "":
			holder, held = first, first >= 0
		case !held:
			holder, held = front[""]
		}
		if !held {
			holder = -1
		}
		behind[i] = holder
		if results[i].Err != nil {
			holder = i
			if first < 0 {
				first = i
			}
		}
		if _, known := front[group]; !known && holder >= 0 {
			front[group] = holder
		}
	}
	return behind
}

// holdGroups keeps the order of message groups: behind a message that is
// withheld, the rest of its group is withheld too. It writes results.
func holdGroups(msgs []types.Message, results []Opened) {
	for i, holder := range HeldBehind(msgs, results) {
		if holder >= 0 && results[i].Err == nil {
			results[i] = Opened{
				Err:       fmt.Errorf("%w: it is message %q", ErrGroupHeld, aws.ToString(msgs[holder].MessageId)),
				Temporary: results[holder].Temporary,
			}
		}
	}
}
