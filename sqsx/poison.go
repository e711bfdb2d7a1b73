package sqsx

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/middleware"
)

// Bounds on what is remembered of a FIFO queue.
const (
	maxPoisonGroups = 64 // message groups
	poisonMemory    = 10 * time.Minute
)

// poison is a message that does not open and was in front of others of its
// message group: each response that holds it takes those with it, and raises
// their receive counts.
type poison struct {
	messageID string
	temporary bool
	until     time.Time // when to forget it
}

// groupOf returns the message group, or "" if the message does not tell.
func groupOf(m *types.Message) string {
	return m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
}

// notePoison remembers the message groups in which others were held back, until
// the next message of the group is delivered. Only others that are not at fault
// themselves count: junk behind junk takes nobody with it.
func (s *queueState) notePoison(messages []types.Message, opened []middleware.Opened, behind []int, now time.Time) {
	for i, o := range opened {
		group := groupOf(&messages[i])
		known, isKnown := s.poison[group]
		switch front := behind[i]; {
		case front >= 0 && o.Err != nil && !o.Temporary:
		case front >= 0:
			s.setPoison(group, &messages[front], opened[front].Temporary, now)
		case o.Err != nil && isKnown:
			s.setPoison(group, &messages[i], o.Temporary, now)
		case o.Err == nil && isKnown && group != "":
			delete(s.poison, group)
			if known.temporary && known.messageID == aws.ToString(messages[i].MessageId) {
				s.endTemporaryPoison()
			}
		}
	}
}

func (s *queueState) setPoison(group string, m *types.Message, temporary bool, now time.Time) {
	if s.poison == nil {
		s.poison = make(map[string]poison)
	}
	if _, known := s.poison[group]; !known && len(s.poison) >= maxPoisonGroups {
		group = "" // for all that find no room, and for no group: no message that opens ends it
		if all, some := s.poison[group]; some {
			temporary = temporary && all.temporary
		}
	}
	s.poison[group] = poison{aws.ToString(m.MessageId), temporary, now.Add(poisonMemory)}
}

// endTemporaryPoison is called when what the key service would not decrypt is
// decrypted: the others need not come back to this process to prove it, which
// they do not if another process receives them.
func (s *queueState) endTemporaryPoison() {
	for group, p := range s.poison {
		if p.temporary {
			delete(s.poison, group)
		}
	}
}

// single reports whether messages are to be received one at a time.
func (s *queueState) single(now time.Time) bool {
	for group, p := range s.poison {
		if !now.Before(p.until) {
			delete(s.poison, group)
		}
	}
	return len(s.poison) > 0
}
