package sqsx

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// Bounds on what is remembered of a queue, in bytes of a message header and in
// data keys. One that opened a message comes on top.
const (
	maxRehearsalHeader = 8 << 10
	maxRehearsals      = 4
)

// sealedKey is a data key that could not be had: what a rehearsal asks for.
type sealedKey struct {
	keys []envelope.EncryptedDataKey
	ec   envelope.EncryptionContext
}

func (k sealedKey) equal(other sealedKey) bool {
	return slices.EqualFunc(k.keys, other.keys, envelope.EncryptedDataKey.Equal)
}

// openedKey is the data key that opened a message, and the header that it was
// in. The zero value is that of a message which was not sealed.
type openedKey struct {
	key    envelope.EncryptedDataKey
	header []byte
}

func (k openedKey) isZero() bool { return k.header == nil }

// replaceWitness keeps of k what it takes to ask for it again.
func (s *queueState) replaceWitness(k openedKey) {
	if k.isZero() || len(k.header) > maxRehearsalHeader {
		return
	}
	if len(s.witness.keys) > 0 && s.witness.keys[0].Equal(k.key) {
		return
	}
	// The context of the header: that of a signed message is larger than the one
	// that its receiver sees, and the data key is bound to all of it.
	header, err := envelope.ParseHeader(k.header)
	if err != nil {
		return
	}
	s.witness = sealedKey{[]envelope.EncryptedDataKey{k.key.Clone()}, header.EncryptionContext}
}

// askFunc asks a keyring of a queue for a data key.
type askFunc func(context.Context, middleware.Queue, sealedKey) error

// rehearsal asks for a data key again, and judges the answer.
func (h *holds) rehearsal(ctx context.Context, q middleware.Queue, key, witness sealedKey) (verdict, error) {
	err := h.askCache(ctx, q, key)
	switch {
	case err == nil:
		return answered, nil
	case classify(err) == messageFault:
		return ownFault, err
	case classify(err) == keyUnavailable || len(witness.keys) == 0:
		return stillAway, err
	}
	// A refusal may be about this message alone: its sender chose the context,
	// and which of the keys that are configured. What opened a message before,
	// asked of the key service itself, tells that from a key that is gone.
	if h.askKeyring(ctx, q, witness) == nil {
		return ownFault, err
	}
	return stillAway, err
}

// verdict is what a rehearsal has shown.
type verdict int

const (
	stillAway verdict = iota
	answered          // the data key can be had again
	ownFault          // it cannot, and no other is concerned
)

// tryRehearsal asks for one of the data keys in memory. Its error is that the
// caller gave up. It is called, and returns, with h.mu held.
func (h *holds) tryRehearsal(ctx context.Context, q middleware.Queue, s *queueState) error {
	p := &probe{time.Now().Add(openTimeout + probeSlack)}
	s.hold.probe = p
	key, witness := s.hold.keys[rand.N(len(s.hold.keys))], s.witness
	found, err := func() (verdict, error) {
		h.mu.Unlock()
		defer h.mu.Lock()
		return h.rehearsal(ctx, q, key, witness)
	}()
	if !s.isOut(p) {
		return ctx.Err()
	}
	s.hold.probe = nil
	defer s.wake()
	if ended := ctx.Err(); ended != nil {
		// A caller with less time than an answer takes must not keep the next
		// one from risking a receive.
		s.hold.nextTry = time.Now().Add(grow(&s.hold.pause, maxPause))
		return ended
	}
	if found == stillAway {
		s.hold.cause = err
		s.hold.nextTry = time.Now().Add(grow(&s.hold.pause, maxPause))
		return nil
	}
	// The key service answers. What was asked for is not asked for twice: the
	// next message shows more.
	s.hold.keys = slices.DeleteFunc(s.hold.keys, key.equal)
	s.hold.nextReceive = time.Now()
	s.hold.rehearsed = found == answered
	switch {
	case found == answered:
		s.endTemporaryPoison()
	case time.Since(s.lastDelivered) < faultGrace: // as after any message at fault
		s.lift()
	}
	return nil
}

// remember keeps a data key for rehearsals. Which one it replaces is left to
// chance, so that a hostile sender can push out all others only by sending far
// more messages than anyone else.
func (h *hold) remember(key sealedKey) {
	switch {
	case slices.ContainsFunc(h.keys, key.equal):
	case len(h.keys) < maxRehearsals:
		h.keys = append(h.keys, key)
	default:
		h.keys[rand.N(len(h.keys))] = key
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
		m, ok, err := sealedPart(&messages[i])
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
