package sqsx

import (
	"encoding/json"
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// notSealed returns why a message that is not sealed is withheld. Accepting
// plaintext is not the remedy for a message that was opened already, or that
// comes from SNS, so these have their own errors.
func (c *codec) notSealed(m *types.Message) error {
	switch {
	case c.opened.has(aws.ToString(m.MessageId)):
		return errAlreadyOpened
	case isNotification(aws.ToString(m.Body)):
		return errSNSPlain
	}
	return errPlaintext
}

// recentIDs is the number of opened messages that are remembered, 8 bytes each:
// a hundred receives of ten.
const recentIDs = 1024

// recent remembers the IDs of the last messages that were opened. It only
// improves an error text: a message whose ID was forgotten gets another text.
// It is safe for concurrent use.
type recent struct {
	seed maphash.Seed
	next atomic.Uint32
	ids  [recentIDs]atomic.Uint64 // hashes; 0: none
}

func newRecent() *recent { return &recent{seed: maphash.MakeSeed()} }

func (r *recent) add(id string) {
	if id != "" {
		r.ids[r.next.Add(1)%recentIDs].Store(r.hash(id))
	}
}

func (r *recent) has(id string) bool {
	if id == "" {
		return false
	}
	want := r.hash(id)
	for i := range r.ids {
		if r.ids[i].Load() == want {
			return true
		}
	}
	return false
}

func (r *recent) hash(id string) uint64 { return maphash.String(r.seed, id) | 1 }

// notificationHead is how much of a body is looked at, in bytes. SNS writes the
// field Type first; a sender must not be able to cause more parsing just for an
// error text.
const notificationHead = 4 << 10

// isNotification recognises the JSON that SNS wraps around a message when raw
// delivery is off, by a field Type of the value "Notification" at its
// beginning.
func isNotification(body string) bool {
	head := body[:min(len(body), notificationHead)]
	if !strings.Contains(head, "Notification") {
		return false
	}
	fields := json.NewDecoder(strings.NewReader(head))
	if open, err := fields.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for fields.More() {
		name, err := fields.Token()
		if err != nil {
			return false
		}
		var value any
		if fields.Decode(&value) != nil {
			return false
		}
		if name == "Type" {
			return value == "Notification"
		}
	}
	return false
}
