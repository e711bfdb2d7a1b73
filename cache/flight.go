package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/contain"
	"github.com/sealq/sealq/internal/keyerr"
)

// flight is one call to the next keyring, and the callers who wait for it.
//
// For opening, callers share a flight only if they ask about the same set of
// encrypted data keys. If sets that overlap shared a flight, a sender could
// make others' messages fail with his own, by adding junk beside their
// encrypted data key. So such a message causes one call of its own.
type flight struct {
	generation *generation
	began      time.Time
	set        identity
	asked      []identity
	probes     []*failure
	several    bool   // it asks about several wrapping keys, for opening
	info       string // or else about this one
	timeout    time.Duration
	// seats are the callers that may still join. When sealing, a caller is counted
	// as one use when it joins, and does not give that back if it leaves: the
	// count of MaxMessages may be too high, never too low.
	seats uint64

	done chan struct{} // closed when what follows is set
	outcome
	purged bool
}

// outcome is what a fetch came to.
type outcome struct {
	class  class
	key    *envelope.DataKey
	infos  []string // of key
	opened int      // the index in what was asked that key goes under
	err    error
}

// start begins a fetch of the parts of q that ask lists. It is called with k.mu
// held.
func (k *Keyring) start(ctx context.Context, ids []identity, q *query, ask []int, now time.Time) *flight {
	s := q.side
	asked := pick(ids, ask)
	f := &flight{
		generation: k.generation,
		began:      now,
		set:        setIdentity(asked),
		asked:      asked,
		seats:      math.MaxUint64,
		timeout:    k.opts.FetchTimeout,
		done:       make(chan struct{}),
	}
	if s.opens {
		k.wrapping.begin(f, q.edks, ask)
	} else {
		f.seats = k.opts.MaxMessages
	}
	for _, a := range ask {
		f.probe(s.failures.peek(ids[a]))
		if s.opens {
			f.probe(k.refused.peek(reach{info: string(q.edks[a].ProviderInfo)}))
		}
	}
	s.flights[f.set] = f
	k.stats.Fetches++

	// The fetch may outlive the caller and its arguments: it works on copies, and
	// keeps only the values of the caller's context, for tracing.
	ec := q.ec.Clone()
	edks := make([]envelope.EncryptedDataKey, 0, len(ask))
	if s.opens {
		for _, a := range ask {
			edks = append(edks, q.edks[a].Clone())
		}
	}
	go k.fetch(context.WithoutCancel(ctx), s, f, edks, ec)
	return f
}

// probe makes f the one that asks whether a refusal still stands.
func (f *flight) probe(fl *failure) {
	if fl != nil && fl.shared && !fl.lifted && fl.probe == nil {
		fl.probe = f
		f.probes = append(f.probes, fl)
	}
}

// fetch calls the next keyring and finishes f, whatever happens.
func (k *Keyring) fetch(ctx context.Context, s *side, f *flight, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	defer context.AfterFunc(f.generation.ctx, cancel)()

	// A panic says nothing about the key, so it counts as unavailable: a cached
	// key stays in use.
	var out outcome
	contain.Run("cache", "the keyring", func() error {
		if !s.opens {
			key, err := k.next.GenerateDataKey(ctx, ec)
			out = s.examine(ctx, f, key, err)
			return nil
		}
		key, err := k.next.DecryptDataKey(ctx, edks, ec)
		out = s.examine(ctx, f, key, err)
		if out.class == answered {
			out = matchOpened(out, edks)
		}
		return nil
	}, func(err error) {
		if err != nil {
			out = outcome{class: unavailable, err: err}
		}
		k.finish(s, f, out)
	})
}

// examine classifies an answer of the next keyring to f. ctx is the fetch's.
func (s *side) examine(ctx context.Context, f *flight, key *envelope.DataKey, err error) outcome {
	if err == nil && key == nil {
		err = errors.New("cache: the keyring returned neither a data key nor an error")
	}
	out := outcome{class: s.classify(err), key: key, err: err}
	switch {
	case out.class == unavailable && ctx.Err() != nil && !errors.Is(err, envelope.ErrUnavailable):
		out.err = noAnswer(f.timeout)
	case out.class == unavailable:
		out.err = asUnavailable(err)
	case out.class == answered:
		for _, edk := range key.EncryptedDataKeys() {
			out.infos = append(out.infos, string(edk.ProviderInfo))
		}
	}
	return out
}

// noAnswer is the error of a call to the next keyring that its deadline ended.
func noAnswer(timeout time.Duration) error {
	return fmt.Errorf("cache: %w: no answer within %v", envelope.ErrUnavailable, timeout)
}

// matchOpened finds which of edks the key was opened from. A key that is stored
// under another name would be used for messages that it does not belong to.
func matchOpened(out outcome, edks []envelope.EncryptedDataKey) outcome {
	opened := out.key.EncryptedDataKeys()
	if len(opened) == 1 {
		if i := slices.IndexFunc(edks, opened[0].Equal); i >= 0 {
			out.opened = i
			return out
		}
	}
	return outcome{class: refused, err: fmt.Errorf(
		"cache: the keyring returned a data key with %d encrypted data keys, want exactly the one of the %d asked about that it decrypted",
		len(opened), len(edks))}
}

// finish records what f came to and wakes its waiters.
func (k *Keyring) finish(s *side, f *flight, out outcome) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(f.done)
	if f.generation != k.generation {
		f.purged = true
		return
	}
	now := time.Now()
	if s.flights[f.set] == f {
		delete(s.flights, f.set)
	}
	for _, fl := range f.probes {
		fl.probe = nil
	}
	k.wrapping.end(f)
	if out.class == answered {
		if fl := k.overruled(s, f, &out); fl != nil {
			out = outcome{class: refused, err: fl.err}
		} else {
			k.keep(s, f, &out)
		}
	} else {
		k.lost(s, f, &out, now)
	}
	f.outcome = out
}

// overruled returns the refusal, if any, that arrived during f and reaches its
// key: f's older answer must not bring the key back.
func (k *Keyring) overruled(s *side, f *flight, out *outcome) *failure {
	older := func(fl *failure) bool { return fl != nil && fl.class == refused && f.began.Before(fl.at) }
	if fl := s.failures.peek(f.asked[out.opened]); older(fl) {
		return fl
	}
	for at := range s.reaches(out.infos) {
		if fl := k.refused.peek(at); older(fl) {
			return fl
		}
	}
	return nil
}

// reaches yields the reaches whose refusal forbids to use a data key under
// infos on s. That a key opens says nothing about sealing.
func (s *side) reaches(infos []string) iter.Seq[reach] {
	return func(yield func(reach) bool) {
		for _, info := range infos {
			if !yield(reach{info: info}) || !s.opens && !yield(reach{info, true}) {
				return
			}
		}
	}
}

// keep stores the key of a successful fetch.
func (k *Keyring) keep(s *side, f *flight, out *outcome) {
	id := f.asked[out.opened]
	s.failures.delete(f.set)
	s.failures.delete(id)
	for _, fl := range f.probes {
		fl.lifted = fl.lifted || !s.opens
	}
	for at := range s.reaches(out.infos) {
		if fl := k.refused.peek(at); fl != nil {
			fl.lifted = true
			k.refused.delete(at)
		}
	}
	k.wrapping.answer(out.infos, f.began)
	e := &entry{key: out.key, infos: out.infos, asked: f.began, due: refreshAge(&k.opts, s.opens)}
	if !s.opens {
		e.uses = k.opts.MaxMessages - f.seats
		if f.seats == 0 {
			return // all uses went to callers that wait
		}
	}
	k.store(s, id, e)
}

// store keeps e, and makes room for it.
func (k *Keyring) store(s *side, id identity, e *entry) {
	now := time.Now()
	// Each new key may drop two that nobody has used for MaxStale, so that these
	// leave memory however large the bound is.
	for range 2 {
		if id, old, ok := s.keys.oldest(); ok && old.stage(now, &k.opts) == spent {
			s.keys.delete(id)
		}
	}
	old, evicted := s.keys.put(id, e)
	if !evicted {
		return
	}
	k.stats.Evictions++
	if old.stage(now, &k.opts).usable() {
		k.stats.EvictedInUse++
	}
}

// lost records a fetch that brought no key.
func (k *Keyring) lost(s *side, f *flight, out *outcome, now time.Time) {
	if s.opens {
		k.wrapping.fail(f, out, now, k.opts.ReusePeriod)
	}
	switch out.class {
	case unavailable:
		k.stats.Unavailable++
		if errors.Is(out.err, keyerr.ErrNotAsked) {
			// No outage: no cached key bridges it, and no caller needs to wait.
			return
		}
		cached := false
		for _, id := range f.asked {
			if e := s.keys.peek(id); e != nil {
				e.outage.note(f.began, now)
				cached = true
			}
		}
		if !cached {
			s.remember(f, unavailable, out.err, now, &k.opts)
		}
	case invalid:
		k.stats.Invalid++
		s.remember(f, invalid, out.err, now, &k.opts)
		if len(f.asked) == 1 {
			s.keys.delete(f.asked[0])
		}
	case refused:
		k.stats.Refusals++
		k.refuse(s, f, out.err, now)
	}
}
