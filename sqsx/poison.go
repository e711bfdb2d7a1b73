package sqsx

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/middleware"
)

// notePoison remembers the message groups in which a message is at fault, until
// one of the group opens: then it is no longer in front.
func (s *hold) notePoison(messages []types.Message, opened []middleware.Opened, now time.Time) {
	group := func(i int) string {
		return messages[i].Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
	}
	for i, o := range opened {
		if o.Err == nil {
			delete(s.poison, group(i))
		}
	}
	for i, o := range opened {
		if o.Err == nil || o.Temporary {
			continue
		}
		if s.poison == nil {
			s.poison = make(map[string]time.Time)
		}
		name := group(i)
		if _, known := s.poison[name]; !known && len(s.poison) >= maxPoisonGroups {
			name = "" // no group has this name: ended by time only
		}
		s.poison[name] = now.Add(poisonMemory)
	}
}

// single reports whether messages are to be received one at a time.
func (s *hold) single(now time.Time) bool {
	for group, until := range s.poison {
		if !now.Before(until) {
			delete(s.poison, group)
		}
	}
	return len(s.poison) > 0
}
