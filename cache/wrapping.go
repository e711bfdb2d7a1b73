package cache

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/clock"
	"github.com/sealq/sealq/internal/keyerr"
)

// A message under a wrapping key whose service cannot be reached, one of another
// Region for example, must not hold up those received with it.
const (
	// patience is how long a question about a wrapping key may be out before no
	// further message waits for an answer.
	patience = time.Second

	// probeTimeout bounds a question about a wrapping key that could not be
	// asked about before, for which a message waits.
	probeTimeout = 3 * time.Second

	// maxAnswered bounds the memory of which wrapping keys answered. Two are
	// enough to know of any one that another did.
	maxAnswered = 64
)

// wrappingKeys is what opening knows of wrapping keys, by ProviderInfo. It
// counts only while another wrapping key is known to answer: otherwise the outage
// is everybody's, and the data keys themselves are paced.
type wrappingKeys struct {
	answered *lru[string, time.Time] // when the last fetch with a key began
	outages  *lru[string, *keyOutage]
	out      map[string][]*flight // about one wrapping key alone, the oldest first
}

// keyOutage is the outage of one wrapping key.
type keyOutage struct {
	outage
	err   error
	probe *flight // in flight; nil if there is none
}

func newWrappingKeys(limit int) wrappingKeys {
	return wrappingKeys{answered: newLRU[string, time.Time](maxAnswered), outages: newLRU[string, *keyOutage](limit)}
}

func (w *wrappingKeys) clear() {
	w.answered.clear()
	w.outages.clear()
	w.out = make(map[string][]*flight)
}

// alone reports whether an outage of info would be its own: another wrapping key
// answered in the last reuse period, and has not failed since.
func (w *wrappingKeys) alone(info string, now time.Time, period time.Duration) bool {
	for other, at := range w.answered.all() {
		if other != info {
			return clock.Elapsed(at, now) < period // the latest of them
		}
	}
	return false
}

// reachable returns those of edks that ask lists which may be asked about, and
// the verdict on the others.
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
	// A probe is about one wrapping key, so that its answer is about that, and is
	// not made where another may open the message at once.
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

// verdict is told to a message that is not asked about.
func (o *keyOutage) verdict(now time.Time) verdict {
	return verdict{unavailable, fmt.Errorf("cache: this wrapping key cannot be asked about, next attempt in %v: %w",
		max(o.next.Sub(now), 0).Round(time.Millisecond), o.err)}
}

// begin notes that f asks about those of edks that ask lists.
func (w *wrappingKeys) begin(f *flight, edks []envelope.EncryptedDataKey, ask []int) {
	info := string(edks[ask[0]].ProviderInfo)
	for _, a := range ask[1:] {
		if string(edks[a].ProviderInfo) != info {
			return // no answer would be about one of them
		}
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
	if f.info == "" {
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

// answer notes that a fetch which began at asked brought a data key under infos.
func (w *wrappingKeys) answer(infos []string, asked time.Time) {
	for _, info := range infos {
		w.answered.put(info, asked)
		w.outages.delete(info)
	}
}

// fail notes a fetch that brought no data key.
func (w *wrappingKeys) fail(f *flight, out *outcome, now time.Time, period time.Duration) {
	if f.info == "" || errors.Is(out.err, keyerr.ErrNotAsked) {
		return
	}
	if out.class != unavailable {
		w.outages.delete(f.info) // a verdict is an answer
		return
	}
	w.answered.delete(f.info)
	if !w.alone(f.info, now, period) {
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
}
