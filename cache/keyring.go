package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/keyerr"
	"github.com/sealq/sealq/internal/keytrace"
	"github.com/sealq/sealq/internal/optfn"
)

// Keyring is a cache in front of another [envelope.Keyring]. Make one with
// [New]. All of its methods are safe for concurrent use.
//
// It is not an [envelope.Wrapper], so that it cannot become a member of an
// [envelope.MultiKeyring], where it would hand out a key that was wrapped for
// another message. The cache goes around the multi-keyring.
type Keyring struct {
	next envelope.Keyring
	opts Options // complete and in range

	// mu guards all that follows. It is never held during a call to next, nor
	// during any wait.
	mu               sync.Mutex
	generation       *generation
	encrypt, decrypt side
	refused          *lru[reach, *failure]
	wrapping         wrappingKeys
	stats            Stats
}

// reach is what a refusal of a whole wrapping key concerns: all data keys under
// it, or those for sealing.
type reach struct {
	info     string // ProviderInfo
	sealOnly bool
}

// side is one direction: what is kept for sealing, or for opening.
type side struct {
	opens    bool
	keys     *lru[identity, *entry]
	failures *lru[identity, *failure]
	// flights are the fetches under way that further callers may join, one for
	// each distinct question. Their number is bounded by that of the callers.
	flights map[identity]*flight
}

// generation is the time between two calls of Purge. Its context is the parent
// of every fetch of that time.
type generation struct {
	ctx context.Context
	end context.CancelFunc
}

func newGeneration() *generation {
	ctx, end := context.WithCancel(context.Background())
	return &generation{ctx: ctx, end: end}
}

// New returns a cache in front of next, which must not be a [Source]. It makes
// no call and starts no goroutine. An error names the option that is out of
// range, its value, and the range.
func New(next envelope.Keyring, optFns ...func(*Options)) (*Keyring, error) {
	if next == nil {
		return nil, errors.New("cache: next keyring is nil")
	}
	if _, ok := next.(Source); ok {
		return nil, errors.New("cache: next keyring is a Source: it has a cache already, and the periods of two would add up")
	}
	var o Options
	if err := optfn.Apply(&o, optFns); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	o.complete()
	if err := o.validate(); err != nil {
		return nil, err
	}
	k := &Keyring{next: next, opts: o}
	k.encrypt = side{
		keys:     newLRU[identity, *entry](o.EncryptEntries),
		failures: newLRU[identity, *failure](o.EncryptEntries),
	}
	k.decrypt = side{
		opens:    true,
		keys:     newLRU[identity, *entry](o.DecryptEntries),
		failures: newLRU[identity, *failure](o.NegativeEntries),
	}
	k.refused = newLRU[reach, *failure](o.NegativeEntries)
	k.wrapping = newWrappingKeys(o.NegativeEntries)
	k.forget()
	return k, nil
}

// Next returns the keyring behind the cache, for questions that must not be
// answered from memory.
func (k *Keyring) Next() envelope.Keyring {
	if k == nil {
		return nil
	}
	return k.next
}

// CheckDecrypt implements [envelope.DecryptChecker]: it asks the next keyring,
// with the deadline of a fetch, and never answers from memory. If the next
// keyring is not a DecryptChecker, the error is [envelope.ErrCheckUnsupported];
// after a panic of it, or an error of the network, it is
// [envelope.ErrUnavailable].
func (k *Keyring) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	if err := k.ready(ctx); err != nil {
		return err
	}
	next, ok := k.next.(envelope.DecryptChecker)
	if !ok {
		return keyerr.NotAsked(fmt.Errorf("cache: %w: the next keyring has no CheckDecrypt", envelope.ErrCheckUnsupported))
	}
	asking, cancel := context.WithTimeout(ctx, k.opts.FetchTimeout)
	defer cancel()
	began := time.Now()
	asking = keytrace.With(asking, func(info string, err error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.wrapping.checked(info, k.decrypt.classify(err), began)
	})
	ec = ec.Clone()
	err := envelope.CheckAny(asking, func(ctx context.Context) error { return next.CheckDecrypt(ctx, ec) })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, envelope.ErrCheckUnsupported):
		return keyerr.NotCallers(err)
	case asking.Err() != nil && !errors.Is(err, envelope.ErrUnavailable):
		return noAnswer(k.opts.FetchTimeout)
	case k.decrypt.classify(err) == unavailable:
		return asUnavailable(err)
	}
	return err
}

// Purge forgets every key and every failure, and cancels the fetches under way;
// calls that wait for one of those start over. No call that begins after Purge
// gets an answer that was asked for before it. Purge does not wait. A next
// keyring that is an [envelope.Purger] is purged, too.
//
// Callers keep the plaintext keys that they hold. Memory is left to the garbage
// collector: Go cannot wipe every copy.
func (k *Keyring) Purge() {
	if k == nil || k.next == nil {
		return
	}
	// First, so that no fetch of the new generation gets what it still remembers.
	if next, ok := k.next.(envelope.Purger); ok {
		next.Purge()
	}
	k.mu.Lock()
	old := k.generation
	k.forget()
	k.mu.Unlock()
	old.end()
}

// forget begins a new generation with nothing in it.
func (k *Keyring) forget() {
	k.generation = newGeneration()
	for _, s := range []*side{&k.encrypt, &k.decrypt} {
		s.keys.clear()
		s.failures.clear()
		s.flights = make(map[identity]*flight)
	}
	k.refused.clear()
	k.wrapping.clear()
}

// GenerateDataKey implements [envelope.Keyring]. It returns the cached data key
// for ec and counts one use of it, or waits until one is fetched.
//
// Every distinct ec has a data key of its own. A context that differs from
// message to message makes the cache useless.
//
// An error is that of the next keyring, from memory with the time of the next
// attempt in front; or it is that of ctx.
func (k *Keyring) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	ids := [1]identity{contextIdentity(ec)}
	return k.get(ctx, ids[:], &query{side: &k.encrypt, ec: ec})
}

// DecryptDataKey implements [envelope.Keyring]. It returns the cached data key
// for any one of edks under ec. If there is none, it asks the next keyring, in
// one call, about all of edks that are not known to fail. If the answer takes
// longer than a second, or is unavailable although some wrapping key is known
// to answer, it asks about the edks of each wrapping key separately, in
// parallel.
//
// Errors are those of GenerateDataKey. If some of edks fail for another reason
// than an invalid message, the error has that reason, even if the message is
// invalid by the others.
func (k *Keyring) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	if len(edks) == 0 {
		return nil, fmt.Errorf("cache: %w: there is none", envelope.ErrNoMatchingKey)
	}
	var idArray [4]identity // on the stack
	return k.get(ctx, appendIdentities(idArray[:0], edks, ec), &query{side: &k.decrypt, edks: edks, ec: ec})
}

// TryDecryptDataKey is DecryptDataKey for callers that have other work to do
// first: it never waits. It returns the cached data key for any one of edks
// under ec, as DecryptDataKey would, and starts its refresh if that is due. It
// reports false if DecryptDataKey would ask the next keyring or fail.
func (k *Keyring) TryDecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, bool) {
	if k.ready(ctx) != nil {
		return nil, false
	}
	var idArray [4]identity // on the stack
	ids := appendIdentities(idArray[:0], edks, ec)
	k.mu.Lock()
	defer k.mu.Unlock()
	key := k.fromCache(ctx, ids, &query{side: &k.decrypt, edks: edks, ec: ec}, time.Now())
	if key == nil {
		return nil, false
	}
	k.stats.Hits++
	return key, true
}

func (k *Keyring) ready(ctx context.Context) error {
	if k == nil || k.next == nil {
		return errors.New("cache: Keyring was not made by New")
	}
	return ctx.Err()
}

// query is one call of a caller. Functions that take a query also take ids,
// which names what it asks about: one context for sealing, or each of edks for
// opening. It is not a field because that would move it to the heap at every
// hit.
type query struct {
	side *side
	edks []envelope.EncryptedDataKey
	ec   envelope.EncryptionContext
	part bool // of another query, which is counted already
}

// get answers q from the cache, or else from a fetch that it shares with all
// callers that ask the same.
func (k *Keyring) get(ctx context.Context, ids []identity, q *query) (*envelope.DataKey, error) {
	missed := q.part
	for {
		k.mu.Lock()
		now := time.Now()
		if key := k.fromCache(ctx, ids, q, now); key != nil {
			if !missed {
				k.stats.Hits++
			}
			k.mu.Unlock()
			return key, nil
		}
		if !missed {
			missed = true
			k.stats.Misses++
		}
		if used := keytrace.Used(ctx); used.After(k.wrapping.used) {
			k.wrapping.used = used
		}
		f, known := k.join(ctx, ids, q, now)
		if f == nil {
			if !q.part {
				k.stats.Remembered++
			}
			k.mu.Unlock()
			return nil, known.err
		}
		k.mu.Unlock()

		var silent <-chan time.Time
		if f.several {
			timer := time.NewTimer(patience - now.Sub(f.began))
			defer timer.Stop()
			silent = timer.C
		}
		select {
		case <-f.done:
		case <-f.generation.ctx.Done():
			continue
		case <-silent:
			return k.askEach(ctx, ids, q, f)
		case <-ctx.Done():
			// Only this wait ends. The fetch goes on to its own deadline: there may be
			// others, and the next caller will want the key. If it ended with its last
			// caller, callers with deadlines shorter than the key service's answers
			// would never get a key.
			return nil, ctx.Err()
		}
		switch {
		case f.purged:
			continue
		case f.class == answered:
			return f.key, nil
		case f.class == unavailable:
			k.mu.Lock()
			key := k.fromCache(ctx, ids, q, time.Now())
			k.mu.Unlock()
			if key != nil {
				return key, nil
			}
		}
		v := weightier(verdict{f.class, f.err}, known)
		if k.takesApart(q, v) {
			return k.askEach(ctx, ids, q, f)
		}
		return nil, v.err
	}
}

// fromCache returns a key that may be used without waiting, if there is one,
// and starts its refresh if that is due. It is called with k.mu held.
func (k *Keyring) fromCache(ctx context.Context, ids []identity, q *query, now time.Time) *envelope.DataKey {
	s := q.side
	best, bestStage := -1, absent
	var found *entry
	for i, id := range ids {
		e := s.keys.peek(id)
		stage := e.stage(now, &k.opts)
		if stage == spent {
			s.keys.delete(id)
			if s.opens {
				k.wrapping.used = time.Time{} // cached keys do not bridge the outage any more
			}
		}
		// Of the usable stages, an earlier one is better.
		if stage.usable() && (best < 0 || stage < bestStage) {
			best, bestStage, found = i, stage, e
		}
	}
	if best < 0 {
		return nil
	}
	id := ids[best]
	s.keys.get(id) // mark it used
	if found.refreshDue(now, bestStage) && s.flights[id] == nil {
		k.stats.Refreshes++
		k.start(ctx, ids, q, []int{best}, now)
	}
	if bestStage == stale {
		k.stats.StaleUses++
	}
	if s.opens {
		k.wrapping.used = now
	} else {
		if found.uses++; found.uses >= k.opts.MaxMessages {
			s.keys.delete(id)
		}
	}
	return found.key
}

// join returns the fetch that q waits for: one under way that asks the same, or
// a new one. It leaves out what is known to fail; known is the weightiest
// verdict on that. If nothing is left, f is nil. It is called with k.mu held.
func (k *Keyring) join(ctx context.Context, ids []identity, q *query, now time.Time) (f *flight, known verdict) {
	s := q.side
	var ask []int
	for i, id := range ids {
		if s.flights[id] == nil { // else it is being asked again
			if fl := k.knownFailure(id, q, i, now); fl != nil {
				known = weightier(known, fl.remembered(now))
				continue
			}
		}
		ask = append(ask, i)
	}
	if s.opens {
		var rest verdict
		ask, rest = k.reachable(q.edks, ask, now)
		known = weightier(known, rest)
	}
	if len(ask) == 0 {
		return nil, known
	}
	set := setIdentity(pick(ids, ask))
	if f := s.flights[set]; f != nil && f.seats > 0 {
		f.seats--
		return f, known
	}
	if fl := s.failures.get(set); fl.answers(now) {
		return nil, weightier(known, fl.remembered(now))
	}
	f = k.start(ctx, ids, q, ask, now)
	f.seats--
	return f, known
}

// knownFailure returns the remembered failure that answers the i-th part of q
// now, or nil.
func (k *Keyring) knownFailure(id identity, q *query, i int, now time.Time) *failure {
	if fl := q.side.failures.get(id); fl.answers(now) {
		return fl
	}
	if q.side.opens {
		if fl := k.refused.get(reach{info: string(q.edks[i].ProviderInfo)}); fl.answers(now) {
			return fl
		}
	}
	return nil
}

// pick returns the ids at the indexes that ask lists.
func pick(ids []identity, ask []int) []identity {
	picked := make([]identity, len(ask))
	for i, a := range ask {
		picked[i] = ids[a]
	}
	return picked
}
