//lint:file-ignore SA1019 callers use the deprecated AttributeNames, so it must work

package middleware

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// systemNames are the system attributes that every receive asks for: what a
// codec and the order of message groups need to know of a message.
var systemNames = [...]types.MessageSystemAttributeName{
	types.MessageSystemAttributeNameDeadLetterQueueSourceArn,
	types.MessageSystemAttributeNameMessageGroupId,
	types.MessageSystemAttributeNameApproximateReceiveCount,
	types.MessageSystemAttributeNameSentTimestamp,
}

// asksForAll reports whether a name in MessageAttributeNames asks for every
// attribute. "*" is not documented, but SQS takes it.
func asksForAll(name string) bool { return name == "All" || name == ".*" || name == "*" }

// missingNames returns those of wanted that SQS would not return to a receive
// that asks for asked. It reads "prefix.*" narrowly, as names that start with
// "prefix.", so that in doubt a name is asked for.
func missingNames(asked, wanted []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(name string) bool {
		return slices.ContainsFunc(asked, func(a string) bool {
			prefix, wild := strings.CutSuffix(a, "*")
			return a == name || asksForAll(a) || wild && strings.HasSuffix(prefix, ".") && strings.HasPrefix(name, prefix)
		})
	})
}

// askedFor reports whether a receive that asks for asked is to see the message
// attribute of that name. It reads "prefix.*" broadly, as names that start with
// "prefix", because SQS has matched them already: nothing that it returned for
// the caller may be lost here.
func askedFor(asked []string, name string) bool {
	return slices.ContainsFunc(asked, func(a string) bool {
		prefix, wild := strings.CutSuffix(a, ".*")
		return a == name || asksForAll(a) || wild && strings.HasPrefix(name, prefix)
	})
}

// askFor writes into in what the codec and this package need to know of each
// message. The slices are new.
func askFor(in *sqs.ReceiveMessageInput, names []string) {
	in.MessageAttributeNames = slices.Concat(in.MessageAttributeNames, missingNames(in.MessageAttributeNames, names))

	// Both lists are sent, and nobody says what SQS makes of that: the one that
	// the caller uses is the one to add to, or it might hide the other.
	if len(in.MessageSystemAttributeNames) == 0 && len(in.AttributeNames) > 0 {
		in.AttributeNames = appendMissing(in.AttributeNames, types.QueueAttributeNameAll)
		return
	}
	in.MessageSystemAttributeNames = appendMissing(in.MessageSystemAttributeNames, types.MessageSystemAttributeNameAll)
}

func appendMissing[Name ~string](asked []Name, all Name) []Name {
	asked = slices.Clone(asked)
	if slices.Contains(asked, all) {
		return asked
	}
	for _, name := range systemNames {
		if !slices.Contains(asked, Name(name)) {
			asked = append(asked, Name(name))
		}
	}
	return asked
}

// receiver says what the caller of a receive is to see of each message.
type receiver struct {
	// in is the caller's input. Nil shows every attribute but the codec's.
	in *sqs.ReceiveMessageInput
	// digests says whether to fill in the MD5 fields.
	digests bool
}

// attributes returns what the caller sees of a message's attributes: a new map,
// nil if empty.
func (r receiver) attributes(all map[string]types.MessageAttributeValue, codecs []string) map[string]types.MessageAttributeValue {
	return filter(all, func(name string) bool {
		return !slices.Contains(codecs, name) && (r.in == nil || askedFor(r.in.MessageAttributeNames, name))
	})
}

// systemAttributes is the same for the attributes that SQS itself sets. Only
// those that were added to the caller's lists are taken away.
func (r receiver) systemAttributes(all map[string]string) map[string]string {
	return filter(all, func(name string) bool {
		if r.in == nil || !slices.Contains(systemNames[:], types.MessageSystemAttributeName(name)) {
			return true
		}
		return slices.Contains(r.in.MessageSystemAttributeNames, types.MessageSystemAttributeNameAll) ||
			slices.Contains(r.in.MessageSystemAttributeNames, types.MessageSystemAttributeName(name)) ||
			slices.Contains(r.in.AttributeNames, types.QueueAttributeNameAll) ||
			slices.Contains(r.in.AttributeNames, types.QueueAttributeName(name))
	})
}

func filter[V any](all map[string]V, keep func(name string) bool) map[string]V {
	var some map[string]V
	for name, v := range all {
		if keep(name) {
			if some == nil {
				some = make(map[string]V)
			}
			some[name] = v
		}
	}
	return some
}
