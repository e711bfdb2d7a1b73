// Package fifo keeps the order of message groups, for the packages that need to
// know which messages of a FIFO queue's response are delivered.
package fifo

import "github.com/aws/aws-sdk-go-v2/service/sqs/types"

// HeldBehind returns, for each message of a FIFO queue's response, the index of
// the message in front of it that did not open and whose message group it is
// in, or -1. What is behind such a message is not delivered, whether it opens
// or not: the order of the group would be broken. failed reports whether the
// message of an index did not open.
//
// A message that does not tell its group is taken for a member of every group,
// because delivering it might break the order and holding it back cannot.
func HeldBehind(msgs []types.Message, failed func(i int) bool) []int {
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
		if failed(i) {
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
