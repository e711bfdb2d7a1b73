package sqsx

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// sealedKey is a data key that could not be had: what a rehearsal asks for.
type sealedKey struct {
	keys []envelope.EncryptedDataKey
	ec   envelope.EncryptionContext
}

func (k sealedKey) equal(other sealedKey) bool {
	return slices.EqualFunc(k.keys, other.keys, func(a, b envelope.EncryptedDataKey) bool {
		return a.ProviderID == b.ProviderID && bytes.Equal(a.ProviderInfo, b.ProviderInfo) && bytes.Equal(a.Ciphertext, b.Ciphertext)
	})
}

// tryRehearsal asks for one of the data keys in memory. Its error is that the
// caller gave up. It is called, and returns, with h.mu held.
func (h *holds) tryRehearsal(ctx context.Context, q middleware.Queue, s *hold) error {
	p := &probe{expires: time.Now().Add(openTimeout + probeSlack)}
	s.probe = p
	key := s.keys[rand.N(len(s.keys))]
	err := func() error {
		h.mu.Unlock()
		defer h.mu.Lock()
		return h.rehearse(ctx, q, key)
	}()
	if s.probe != p {
		return ctx.Err()
	}
	s.probe = nil
	defer s.wake()
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if err != nil && classify(err) != messageFault {
		s.cause = err
		s.nextTry = time.Now().Add(grow(&s.pause, maxPause))
		return nil
	}
	// The key service answers again. What was asked for is not asked for twice:
	// the next message shows more.
	s.keys = slices.DeleteFunc(s.keys, key.equal)
	if s.rehearsed = err == nil; s.rehearsed {
		s.endTemporaryPoison()
	}
	s.nextReceive = time.Now()
	return nil
}

// remember keeps a data key for rehearsals. Which one it replaces is left to
// chance, so that a hostile sender can push out all others only by sending far
// more messages than anyone else.
func (s *hold) remember(key sealedKey) {
	switch {
	case slices.ContainsFunc(s.keys, key.equal):
	case len(s.keys) < maxRehearsals:
		s.keys = append(s.keys, key)
	default:
		s.keys[rand.N(len(s.keys))] = key
	}
}

// sealedKeys returns the distinct data keys of messages that did not open for
// no fault of their own.
func sealedKeys(messages []types.Message, opened []middleware.Opened) []sealedKey {
	var found []sealedKey
	for i, o := range opened {
		if o.Err == nil || !o.Temporary {
			continue
		}
		m, ok, err := unload(&messages[i])
		if err != nil || !ok || len(m.Header) > maxRehearsalHeader {
			continue
		}
		header, err := envelope.ParseHeader(m.Header)
		if err != nil {
			continue
		}
		key := sealedKey{header.EncryptedDataKeys, header.EncryptionContext}
		if !slices.ContainsFunc(found, key.equal) {
			found = append(found, key)
		}
	}
	return found
}
