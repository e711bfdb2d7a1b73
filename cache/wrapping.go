package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/clock"
	"github.com/sealq/sealq/internal/keyerr"
)

// This file keeps a message under an unreachable wrapping key, one of another
// Region for example, from delaying the messages received with it. It
// identifies wrapping keys by the name that messages have for them,
// ProviderInfo. A question is one call to the next keyring, a flight
// (flight.go).
//
// One wrapping key. A question that fails for an outage begins an outage of
// that key: messages under it fail at once, and one at a time asks again, the
// probe. No further message waits for a question that has had no answer for
// patience. This holds only while another wrapping key is known to answer, by a
// data key or by a yes to CheckDecrypt, or while messages open with cached keys
// and the question had no answer for patience. Otherwise the outage is general,
// and data keys are paced instead (failure.go), so that its end is noticed
// sooner.
//
// Several wrapping keys in one message. They are one question, because that
// costs one call if the first of them opens the message. But its result says
// nothing about a single one of them. So if it has no answer within patience,
// or fails for an outage, each wrapping key is asked about alone (askEach). The
// message then opens by the first key that answers, and the outage is recorded
// for its own key.

const (
	// patience is how long a question may take before no further message waits for
	// it, and before one about several wrapping keys is taken apart.
	patience = time.Second

	// probeTimeout bounds a question about a wrapping key that could not be
	// asked about before, for which a message waits.
	probeTimeout = 3 * time.Second

	// maxAnswered bounds the memory of which wrapping keys answered. Two are
	// enough to know, for any key, that another one answered.
	maxAnswered = 64

	// maxUsed is for how long the use of a cached key says that others will open
	// with cached keys. It is longer than a receive that waits for all its keys.
	maxUsed = time.Minute
)

// wrappingKeys is what opening knows of wrapping keys.
type wrappingKeys struct {
	answered *lru[string, time.Time] // when the last question that it answered began
	outages  *lru[string, *keyOutage]
	out      map[string][]*flight // questions about it alone, the oldest first
	used     time.Time            // when a message last opened with a cached key
}

// keyOutage is the outage of one wrapping key.
type keyOutage struct {
	outage
	err    error
	probe  *flight // in flight; nil if there is none
	bridge bool    // recorded for cached keys in use alone: no other wrapping key answered
}

func newWrappingKeys(limit int) wrappingKeys {
	return wrappingKeys{answered: newLRU[string, time.Time](maxAnswered), outages: newLRU[string, *keyOutage](limit)}
}

func (w *wrappingKeys) clear() {
	w.answered.clear()
	w.outages.clear()
	w.out = make(map[string][]*flight)
	w.used = time.Time{}
}

// forgetBridged forgets the outages that were recorded for cached keys in use
// alone. They may be of the whole key service, which answers again.
func (w *wrappingKeys) forgetBridged() {
	for info, known := range w.outages.all() {
		if known.bridge {
			w.outages.delete(info)
		}
	}
}

// alone reports whether other messages are known to open while info has an
// outage, so that they must not wait for questions about it: by a cached key in
// the last minute, or under another wrapping key that answers.
func (w *wrappingKeys) alone(info string, now time.Time, period time.Duration) bool {
	return w.cachedInUse(now, period) || w.otherAnswers(info, now, period)
}

// cachedInUse reports whether a message opened with a cached key lately.
func (w *wrappingKeys) cachedInUse(now time.Time, period time.Duration) bool {
	return !w.used.IsZero() && clock.Elapsed(w.used, now) < min(period, maxUsed)
}

// otherAnswers reports whether another wrapping key answered in the last reuse
// period, and has not failed since.
func (w *wrappingKeys) otherAnswers(info string, now time.Time, period time.Duration) bool {
	for other, at := range w.answered.all() {
		if other != info {
			return clock.Elapsed(at, now) < period // the latest of them
		}
	}
	return false
}

// reachable returns the indexes in ask of edks that may be asked about, and the
// verdict on the others.
func (k *Keyring) reachable(edks []envelope.EncryptedDataKey, ask []int, now time.Time) (reachable []int, rest verdict) {
	w := &k.wrapping
	var probes []int // of outages that are due to be asked about again
	for _, a := range ask {
		info := string(edks[a].ProviderInfo)
		if !w.alone(info, now, k.opts.ReusePeriod) {
			reachable = append(reachable, a)
			continue
		}
		if known := w.outages.get(info); known != nil {
			if now.Before(known.next) || known.probe != nil {
				rest = weightier(rest, known.verdict(now))
			} else {
				probes = append(probes, a)
			}
			continue
		}
		if flights := w.out[info]; len(flights) > 0 && now.Sub(flights[0].began) >= patience {
			rest = weightier(rest, verdict{unavailable, fmt.Errorf(
				"cache: %w: a question about this wrapping key has had no answer for %v, and no further message waits for one",
				envelope.ErrUnavailable, now.Sub(flights[0].began).Round(time.Millisecond))})
			continue
		}
		reachable = append(reachable, a)
	}
	if len(probes) == 0 {
		return reachable, rest
	}
	// A probe asks about one wrapping key only, so that its answer is about that
	// key. If another key may open the message at once, no probe is made; if that
	// key fails, askEach makes it.
	for _, a := range probes {
		info := string(edks[a].ProviderInfo)
		if len(reachable) == 0 || string(edks[reachable[0]].ProviderInfo) == info {
			reachable = append(reachable, a)
		} else {
			rest = weightier(rest, w.outages.peek(info).verdict(now))
		}
	}
	return reachable, rest
}

// verdict is for a message that is not asked about.
func (o *keyOutage) verdict(now time.Time) verdict {
	return verdict{unavailable, fmt.Errorf("cache: this wrapping key cannot be asked about, next attempt in %v: %w",
		max(o.next.Sub(now), 0).Round(time.Millisecond), o.err)}
}

// begin notes that f asks about those of edks that ask lists.
func (w *wrappingKeys) begin(f *flight, edks []envelope.EncryptedDataKey, ask []int) {
	info := string(edks[ask[0]].ProviderInfo)
	f.several = slices.ContainsFunc(ask, func(a int) bool { return string(edks[a].ProviderInfo) != info })
	if f.several {
		return // no answer would be about one of them
	}
	f.info = info
	w.out[info] = append(w.out[info], f)
	if known := w.outages.peek(info); known != nil && known.probe == nil {
		known.probe = f
		f.timeout = min(f.timeout, probeTimeout)
	}
}

// end notes that f is over.
func (w *wrappingKeys) end(f *flight) {
	if f.several {
		return
	}
	flights := slices.DeleteFunc(w.out[f.info], func(other *flight) bool { return other == f })
	if len(flights) > 0 {
		w.out[f.info] = flights
	} else {
		delete(w.out, f.info)
	}
	if known := w.outages.peek(f.info); known != nil && known.probe == f {
		known.probe = nil
	}
}

// answer notes that a fetch which began at asked brought a data key under
// infos.
func (w *wrappingKeys) answer(infos []string, asked time.Time) {
	for _, info := range infos {
		w.answered.put(info, asked)
		w.outages.delete(info)
	}
}

// fail notes a fetch for opening that brought no data key.
func (w *wrappingKeys) fail(f *flight, out *outcome, now time.Time, period time.Duration) {
	if f.several || errors.Is(out.err, keyerr.ErrNotAsked) {
		return
	}
	if out.class != unavailable {
		w.outages.delete(f.info) // a verdict is an answer
		return
	}
	w.answered.delete(f.info)
	// Cached keys in use count only if the question hung: one that fails at once
	// delays no other message, and is asked again sooner as a general outage.
	hung := now.Sub(f.began) >= patience
	bridge := !w.otherAnswers(f.info, now, period)
	if bridge && !(hung && w.cachedInUse(now, period)) {
		w.outages.delete(f.info)
		return
	}
	known := w.outages.peek(f.info)
	if known == nil {
		known = &keyOutage{}
		w.outages.put(f.info, known)
	}
	known.note(f.began, now)
	known.err = out.err
	known.bridge = bridge
}

// checked notes what came of a CheckDecrypt that began at asked. A yes does not
// end an outage: decrypting is allowed, but may still fail.
func (w *wrappingKeys) checked(info string, c class, asked time.Time) {
	switch c {
	case answered:
		w.answered.put(info, asked)
	case unavailable:
		w.answered.delete(info)
	}
}

// takesApart reports whether q, for which v is the verdict, is to be asked
// again about each of its wrapping keys: it has several, and the outage of one
// would be its own.
func (k *Keyring) takesApart(q *query, v verdict) bool {
	if !q.side.opens || v.class != unavailable || errors.Is(v.err, keyerr.ErrNotAsked) {
		return false
	}
	several := slices.ContainsFunc(q.edks, func(edk envelope.EncryptedDataKey) bool {
		return !bytes.Equal(edk.ProviderInfo, q.edks[0].ProviderInfo)
	})
	if !several {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	return slices.ContainsFunc(q.edks, func(edk envelope.EncryptedDataKey) bool {
		return k.wrapping.alone(string(edk.ProviderInfo), now, k.opts.ReusePeriod)
	})
}

// askEach asks about each wrapping key of q alone, all at once, and returns the
// first data key. f, a question about several of them, may still bring it, but
// is not waited for.
func (k *Keyring) askEach(ctx context.Context, ids []identity, q *query, f *flight) (*envelope.DataKey, error) {
	var infos []string
	parts := make(map[string][]int) // of q
	for i, edk := range q.edks {
		info := string(edk.ProviderInfo)
		if parts[info] == nil {
			infos = append(infos, info)
		}
		parts[info] = append(parts[info], i)
	}

	type answer struct {
		part int
		key  *envelope.DataKey
		err  error
	}
	answers := make(chan answer, len(infos))
	asking, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait() // they end with asking
	defer cancel()
	for i, info := range infos {
		partIDs := pick(ids, parts[info])
		part := &query{side: q.side, ec: q.ec, part: true}
		for _, p := range parts[info] {
			part.edks = append(part.edks, q.edks[p])
		}
		workers.Go(func() {
			key, err := k.get(asking, partIDs, part)
			answers <- answer{i, key, err}
		})
	}

	errs := make([]error, len(infos)) // in the order of the message
	whole := f.done
	for missing := len(infos); missing > 0; {
		select {
		case a := <-answers:
			missing--
			if a.key != nil {
				return a.key, nil
			}
			errs[a.part] = a.err
		case <-whole:
			if f.class == answered && !f.purged {
				return f.key, nil
			}
			whole = nil
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, envelope.JoinKeyErrors(errs...)
}
