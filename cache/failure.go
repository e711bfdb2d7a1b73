package cache

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/backoff"
	"github.com/sealq/sealq/internal/keyerr"
)

// class is what a fetch came to. A higher class outweighs a lower one where a
// message has several encrypted data keys.
type class int

const (
	answered    class = iota // a data key
	invalid                  // the message is invalid
	refused                  // the key service said no
	unavailable              // the key service could not be asked
)

// classify sorts an answer of the next keyring, by the cause and not by the
// class that the keyring gave it.
func (s *side) classify(err error) class {
	switch {
	case err == nil:
		return answered
	// The fetch has a context of its own, which no caller ended. If it ended, or
	// the network failed, the key service has given no verdict.
	case errors.Is(err, envelope.ErrUnavailable), keyerr.IsCancellation(err), keyerr.IsNetwork(err),
		keyerr.IsCut(err) && !errors.Is(err, envelope.ErrInvalidMessage):
		return unavailable
	// A request to seal has no message that could be invalid.
	case s.opens && envelope.IsInvalidMessage(err):
		return invalid
	default:
		return refused
	}
}

// asUnavailable makes err, of class unavailable, an [envelope.ErrUnavailable]
// that does not look like a caller's own cancellation.
func asUnavailable(err error) error {
	hidden := keyerr.NotCallers(err)
	if errors.Is(hidden, envelope.ErrUnavailable) {
		return hidden
	}
	return fmt.Errorf("cache: %w: %w", envelope.ErrUnavailable, hidden)
}

// failure is the memory of fetches that did not bring a key. It belongs to one
// fetch (an encryption context, or a set of encrypted data keys), or is shared
// by all that a refusal of a whole wrapping key reaches.
type failure struct {
	shared bool
	class  class
	err    error
	count  int       // consecutive ones of this class
	at     time.Time // of the last one
	until  time.Time // answers from memory before that

	// probe is the fetch that asks, after until, whether a refusal still
	// stands. One asks for all: the others are answered from memory meanwhile.
	probe *flight
	// lifted ends that: a fetch succeeded, so the others need not wait for a
	// probe.
	lifted bool
}

const (
	// A refusal is remembered for 1 s, and twice as long each further time, up
	// to 10 s: a disabled key is not asked for on every send, and a key that
	// is enabled again is noticed soon.
	minRefusal = time.Second
	maxRefusal = 10 * time.Second

	// An outage without a cached key fails the callers, so it is remembered for a
	// much shorter time than one with a cached key. The first failure is not
	// remembered at all: a blip fails only the callers that were waiting. From the
	// second on callers are paced, up to a second: an endpoint that refuses
	// connections at once would otherwise be called as often as the application
	// sends.
	minOutage = 100 * time.Millisecond
	maxOutage = time.Second

	// An invalid message stays invalid; this only has to outlast a few
	// redeliveries. It ends because a keyring's configuration can change (an alias
	// can move). A shorter ReusePeriod shortens it.
	maxInvalid = 5 * time.Minute
)

// again records one more failure, of a fetch that began at asked.
func (f *failure) again(c class, err error, asked, now time.Time, o *Options) {
	if f.class == c && f.count > 0 && asked.Before(f.at) {
		return // fetches that ran side by side are one failure
	}
	if f.class != c {
		f.count = 0
	}
	f.class, f.err, f.at, f.lifted = c, err, now, false
	f.count++
	var memory time.Duration
	switch {
	case c == invalid:
		memory = min(maxInvalid, o.ReusePeriod)
	case c == refused:
		memory = backoff.Exponential(minRefusal, maxRefusal, f.count)
	case f.count > 1:
		memory = backoff.Jitter(backoff.Exponential(minOutage, maxOutage, f.count-1))
	}
	f.until = now.Add(memory)
}

// answers reports whether callers get the failure from memory.
func (f *failure) answers(now time.Time) bool {
	return f != nil && (now.Before(f.until) || f.probe != nil)
}

// verdict is a failure as a caller gets it; the zero verdict is none. It is
// taken from a failure while k.mu is held.
type verdict struct {
	class class
	err   error
}

// remembered is the verdict on a call that was not made. The service's own
// error stays in the chain.
func (f *failure) remembered(now time.Time) verdict {
	return verdict{f.class, fmt.Errorf("cache: answered from memory, next attempt in %v: %w",
		max(f.until.Sub(now), 0).Round(time.Millisecond), f.err)}
}

// weightier returns the one that decides a caller's error.
func weightier(a, b verdict) verdict {
	if b.class > a.class {
		return b
	}
	return a
}

// refusals returns every refusal in the tree of err: a keyring that tried
// several keys may report several.
func refusals(err error) []*envelope.RefusedError {
	var found []*envelope.RefusedError
	if r, ok := err.(*envelope.RefusedError); ok {
		found = append(found, r)
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			found = append(found, refusals(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			found = append(found, refusals(inner)...)
		}
	}
	return found
}

// refuse drops every key that the refusal reaches and remembers it. It is
// called with k.mu held.
func (k *Keyring) refuse(s *side, f *flight, err error, now time.Time) {
	// Drop the keys that were asked about, whatever the reach. Which one of a set
	// was refused is unknown; all of them were due for a fetch anyway.
	for _, id := range f.asked {
		s.keys.delete(id)
	}
	s.remember(f, refused, err, now, &k.opts)

	for _, r := range refusals(err) {
		if r.Reach == envelope.ReachEntry || r.KeyInfo == "" {
			continue
		}
		sealOnly := r.Reach == envelope.ReachSeal
		at := reach{r.KeyInfo, sealOnly}
		shared := k.refused.get(at)
		if shared == nil {
			shared = &failure{shared: true}
			k.refused.put(at, shared)
		}
		shared.again(refused, err, f.began, now, &k.opts)
		// Which wrapping key sealing will get is not known before the fetch, so the
		// refusal is remembered for the contexts that last got this one. Opening
		// finds it by the name in the encrypted data key.
		if !s.opens {
			s.failures.put(f.set, shared)
		}
		reached := []*side{&k.encrypt, &k.decrypt}
		if sealOnly {
			reached = reached[:1]
			// Contexts that wait for what f probed wait for the next probe, which
			// is of this refusal: f has answered for all of them.
			for id, fl := range k.encrypt.failures.all() {
				if slices.Contains(f.probes, fl) {
					k.encrypt.failures.put(id, shared)
				}
			}
		}
		for _, side := range reached {
			for id, e := range side.keys.all() {
				if !slices.Contains(e.infos, r.KeyInfo) {
					continue
				}
				side.keys.delete(id)
				if !side.opens {
					side.failures.put(id, shared)
				}
			}
		}
	}
}

// remember records a failure of the fetch f as a whole. A set of encrypted data
// keys is remembered as exactly that set: a keyring may give up before it has
// tried all of them, so nothing is known of a single one.
func (s *side) remember(f *flight, c class, err error, now time.Time, o *Options) {
	fl := s.failures.get(f.set)
	if fl == nil || fl.shared {
		fl = new(failure)
	}
	fl.again(c, err, f.began, now, o)
	s.failures.put(f.set, fl)
}
