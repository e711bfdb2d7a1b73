package cache

import (
	"math/rand/v2"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/backoff"
	"github.com/sealq/sealq/internal/clock"
)

// entry is a cached data key.
type entry struct {
	key *envelope.DataKey
	// infos are the ProviderInfos of the key's encrypted forms: a refusal of
	// any of those wrapping keys reaches this entry.
	infos []string
	// asked is when the fetch that brought the key began. Counting from there,
	// a slow answer shortens the life of a key and never lengthens it.
	asked time.Time
	// due is the age at which a refresh falls due.
	due time.Duration
	// uses counts hand-outs, the waiters of the fetch included.
	uses   uint64
	outage outage
}

// stage is where an entry stands in its life.
type stage int

const (
	absent  stage = iota // no such entry
	fresh                // use it
	due                  // use it, and refresh it in the background
	expired              // fetch, and wait
	stale                // use it, and retry in the background
	spent                // forget it
)

// usable reports whether a key may be handed out without waiting.
func (s stage) usable() bool { return s == fresh || s == due || s == stale }

// stage is the life of a key, drawn in the package documentation.
func (e *entry) stage(now time.Time, o *Options) stage {
	if e == nil {
		return absent
	}
	age := clock.Elapsed(e.asked, now)
	switch {
	case age < e.due && e.uses < prefetchAt(o.MaxMessages):
		return fresh
	case age < o.ReusePeriod:
		return due
	case o.MaxStale == NoStale || age >= o.MaxStale:
		return spent
	case e.outage.count > 0 && clock.Elapsed(e.outage.last, now) < o.ReusePeriod:
		// An outage is evidence for one ReusePeriod. After that the next use asks
		// again, and waits: no key is used more than one ReusePeriod after the key
		// service was last asked about it.
		return stale
	default:
		return expired
	}
}

// refreshDue reports whether a background fetch may start. An outage paces it.
func (e *entry) refreshDue(now time.Time, s stage) bool {
	return (s == due || s == stale) && !now.Before(e.outage.next)
}

// refreshAge is the age at which a refresh falls due: early enough that it has
// its answer before the key expires, and at a random point of a twentieth of
// the ReusePeriod, so that a fleet that was started together does not ask
// together. Sealing uses the twentieth before that of opening: a consumer then
// receives a producer's next key before it would ask about the last one again.
func refreshAge(o *Options, opens bool) time.Duration {
	spread := o.ReusePeriod / 20
	age := o.ReusePeriod - o.FetchTimeout - rand.N(spread)
	if !opens {
		age -= spread
	}
	return age
}

// prefetchAt is the number of uses at which a refresh falls due.
func prefetchAt(maxMessages uint64) uint64 { return maxMessages - maxMessages/10 }

// outage counts the answers of [envelope.ErrUnavailable] since the key was
// fetched.
type outage struct {
	count int
	last  time.Time // when the last one arrived
	next  time.Time // no retry before
}

const (
	minRetry = time.Second
	maxRetry = 30 * time.Second
)

// note records that a fetch which began at asked found the service unavailable.
func (o *outage) note(asked, now time.Time) {
	if o.count > 0 && asked.Before(o.last) {
		return // fetches that ran side by side are one failure
	}
	o.count++
	o.last = now
	o.next = now.Add(backoff.Jitter(backoff.Exponential(minRetry, maxRetry, o.count)))
}
