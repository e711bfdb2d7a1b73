//lint:file-ignore SA1019 callers use the deprecated AttributeNames, so it must work

package middleware

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// systemNames are the system attributes that every receive asks for: the codec
// and the order of message groups need them.
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
// "prefix.": in doubt it asks for a name.
func missingNames(asked, wanted []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(name string) bool {
		return slices.ContainsFunc(asked, func(a string) bool {
			prefix, wild := strings.CutSuffix(a, "*")
			return a == name || asksForAll(a) || wild && strings.HasSuffix(prefix, ".") && strings.HasPrefix(name, prefix)
		})
	})
}

// asked are the three lists of names in a receive.
type asked struct {
	message []string
	system  []types.MessageSystemAttributeName
	queue   []types.QueueAttributeName // the deprecated AttributeNames
}

func askedBy(in *sqs.ReceiveMessageInput) asked {
	return asked{in.MessageAttributeNames, in.MessageSystemAttributeNames, in.AttributeNames}
}

// without returns a without the names of other, each taken out once.
func (a asked) without(other asked) asked {
	return asked{without(a.message, other.message), without(a.system, other.system), without(a.queue, other.queue)}
}

func without[Name comparable](all, some []Name) []Name {
	all = slices.Clone(all)
	for _, name := range some {
		if i := slices.Index(all, name); i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
	}
	return all
}

// askFor adds to in the names of what the codec and this package need to know
// about each message, and returns what it added. The slices are new.
func askFor(in *sqs.ReceiveMessageInput, names []string) (added asked) {
	added.message = missingNames(in.MessageAttributeNames, names)
	// Both lists are sent, and it is undocumented how SQS combines them: add to
	// the one that the caller uses, or the other might hide it.
	if len(in.MessageSystemAttributeNames) == 0 && len(in.AttributeNames) > 0 {
		added.queue = missingSystem(in.AttributeNames, types.QueueAttributeNameAll)
	} else {
		added.system = missingSystem(in.MessageSystemAttributeNames, types.MessageSystemAttributeNameAll)
	}
	in.MessageAttributeNames = slices.Concat(in.MessageAttributeNames, added.message)
	in.MessageSystemAttributeNames = slices.Concat(in.MessageSystemAttributeNames, added.system)
	in.AttributeNames = slices.Concat(in.AttributeNames, added.queue)
	return added
}

func missingSystem[Name ~string](asked []Name, all Name) []Name {
	var missing []Name
	for _, name := range systemNames {
		if !slices.Contains(asked, Name(name)) && !slices.Contains(asked, all) {
			missing = append(missing, Name(name))
		}
	}
	return missing
}
