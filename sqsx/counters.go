package sqsx

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go/metrics"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/middleware"
)

// Stats counts what a Sealer has done since it was made.
type Stats struct {
	Sealed      uint64 // messages sealed
	SentPlain   uint64 // messages sent in plaintext, on NoSeal queues
	SealFailed  uint64 // messages not sent because no data key was available
	Opened      uint64 // sealed messages opened, including those withheld behind another of their group
	OpenedPlain uint64 // messages delivered that were not sealed (AcceptPlaintext)

	// Messages received but not delivered, by cause. Healthy ones behind another
	// of their group ([ErrGroupHeld]) are in none of these.
	WithheldMessage     uint64 // the message's own
	WithheldUnavailable uint64 // the key service could not answer, there was no time to ask, or the producer's clock is ahead
	WithheldRefused     uint64 // the key service said no, or a setting is wrong

	Held      uint64 // receives that failed with ErrHeld
	Asked     uint64 // questions to the key service whether this process may decrypt
	Parked    uint64 // messages that were made invisible for longer because they did not open
	TakenBack uint64 // parked messages that were made visible again because the key service said yes

	// Receives that returned an empty result instead of an error
	// (NoReceiveErrors). The messages that they withheld, and receives that were
	// held, are counted above too.
	Emptied uint64

	Cache cache.Stats // of all data key caches together
}

// Stats returns the counts so far. They are read one after the other, so they
// may disagree by messages in flight.
func (s *Sealer) Stats() Stats {
	if s == nil || s.codec == nil {
		return Stats{}
	}
	c := s.codec.counters
	stats := Stats{
		Sealed:              c.sealed.n.Load(),
		SentPlain:           c.sentPlain.n.Load(),
		SealFailed:          c.sealFailed.n.Load(),
		Opened:              c.opened.n.Load(),
		OpenedPlain:         c.openedPlain.n.Load(),
		WithheldMessage:     c.withheld[invalidMessage].n.Load(),
		WithheldUnavailable: c.withheld[keyUnavailable].n.Load(),
		WithheldRefused:     c.withheld[keyRefused].n.Load(),
		Held:                c.held.n.Load(),
		Asked:               c.asked.n.Load(),
		Parked:              c.parked.n.Load(),
		TakenBack:           c.takenBack.n.Load(),
		Emptied:             c.emptied.n.Load(),
	}
	for _, kr := range s.codec.caches() {
		addStats(&stats.Cache, kr.Stats())
	}
	return stats
}

func addStats(sum *cache.Stats, s cache.Stats) {
	sum.Hits += s.Hits
	sum.Misses += s.Misses
	sum.Fetches += s.Fetches
	sum.Refreshes += s.Refreshes
	sum.StaleUses += s.StaleUses
	sum.Unavailable += s.Unavailable
	sum.Refusals += s.Refusals
	sum.Invalid += s.Invalid
	sum.Remembered += s.Remembered
	sum.Evictions += s.Evictions
	sum.EvictedInUse += s.EvictedInUse
	sum.EncryptEntries += s.EncryptEntries
	sum.DecryptEntries += s.DecryptEntries
	sum.NegativeEntries += s.NegativeEntries
}

// meterScope names this package to a MeterProvider.
const meterScope = "github.com/sealq/sealq/sqsx"

// counters are the counts of Stats, each also an instrument of the meter.
type counters struct {
	sealed, sentPlain, sealFailed, opened, openedPlain counter
	held, emptied, asked, parked, takenBack            counter
	withheld                                           [classes]counter

	instruments []*counter // all that the meter has; nil: no meter

	mu    sync.Mutex // guards begun
	begun map[middleware.Queue]struct{}
}

// maxBegun bounds the memory of queues whose counters began. Each takes the
// bytes of its names and about a hundred more. With more queues some begin
// again, which does not change their counts.
const maxBegun = 8192

// begin starts every counter of a queue at 0 with the queue's first use: an
// alarm on an increase would miss the first event of a counter that starts with
// it.
func (c *counters) begin(ctx context.Context, q middleware.Queue) {
	if c.instruments == nil || !c.isNew(q) {
		return
	}
	for _, counter := range c.instruments {
		counter.measure(ctx, q, 0)
	}
}

// isNew reports whether this is the first use of q.
func (c *counters) isNew(q middleware.Queue) bool {
	if q.Partition != "" && q.Region != "" && q.Account != "" && q.Name != "" {
		q.URL = "" // there is an ARN, and many URLs stand for it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.begun[q]; known {
		return false
	}
	if c.begun == nil || len(c.begun) >= maxBegun {
		c.begun = make(map[middleware.Queue]struct{})
	}
	c.begun[q] = struct{}{}
	return true
}

// counter counts for Stats and, if there is a meter, for it too.
type counter struct {
	n          atomic.Uint64
	instrument metrics.Int64Counter // nil: no meter
	cause      string               // a property of the measurement, if not empty
}

func (c *counter) add(ctx context.Context, q middleware.Queue, n int) {
	if n == 0 {
		return
	}
	c.n.Add(uint64(n))
	if c.instrument != nil {
		c.measure(ctx, q, n)
	}
}

func (c *counter) measure(ctx context.Context, q middleware.Queue, n int) {
	c.instrument.Add(ctx, int64(n), func(o *metrics.RecordMetricOptions) {
		o.Properties.Set("queue", q.String())
		if c.cause != "" {
			o.Properties.Set("cause", c.cause)
		}
	})
}

func newCounters(provider metrics.MeterProvider, caches []cache.Source) (*counters, error) {
	c := &counters{}
	if provider == nil {
		return c, nil
	}
	meter := provider.Meter(meterScope)
	instruments := []struct {
		name, description string
		counters          []*counter
	}{
		{"sealq.messages.sealed", "messages sealed", []*counter{&c.sealed}},
		{"sealq.messages.sent_plaintext", "messages sent unsealed on NoSeal queues", []*counter{&c.sentPlain}},
		{"sealq.messages.seal_failed", "messages not sent because no data key was available", []*counter{&c.sealFailed}},
		{"sealq.messages.opened", "sealed messages opened", []*counter{&c.opened}},
		{"sealq.messages.received_plaintext", "unsealed messages delivered", []*counter{&c.openedPlain}},
		{"sealq.receives.held", "receives that failed with ErrHeld", []*counter{&c.held}},
		{"sealq.receives.emptied", "receives that returned an empty result in place of an error", []*counter{&c.emptied}},
		{"sealq.hold.asked", "questions to the key service whether this process may decrypt", []*counter{&c.asked}},
		{"sealq.messages.parked", "messages put out of the way because they did not open", []*counter{&c.parked}},
		{"sealq.messages.taken_back", "parked messages made visible again", []*counter{&c.takenBack}},
		{"sealq.messages.withheld", "messages received but not delivered", []*counter{&c.withheld[invalidMessage], &c.withheld[keyUnavailable], &c.withheld[keyRefused]}},
	}
	for i := range c.withheld {
		c.withheld[i].cause = class(i).String()
	}
	for _, spec := range instruments {
		instrument, err := meter.Int64Counter(spec.name, func(o *metrics.InstrumentOptions) {
			o.Description = spec.description
		})
		if err != nil {
			return nil, fmt.Errorf("sqsx: MeterProvider: instrument %s: %w", spec.name, err)
		}
		for _, counter := range spec.counters {
			counter.instrument = instrument
			c.instruments = append(c.instruments, counter)
		}
	}
	return c, observeCaches(meter, caches)
}

// observeCaches registers the caches' own counts. The meter reads them when it
// collects, so that they cost a cache hit nothing.
func observeCaches(meter metrics.Meter, caches []cache.Source) error {
	observed := []struct {
		name, description string
		value             func(cache.Stats) uint64
	}{
		{"sealq.keys.hits", "data keys answered from the cache", func(s cache.Stats) uint64 { return s.Hits }},
		{"sealq.keys.misses", "data keys that had to be fetched first", func(s cache.Stats) uint64 { return s.Misses }},
		{"sealq.keys.fetches", "fetches of data keys from the keyring", func(s cache.Stats) uint64 { return s.Fetches }},
		{"sealq.keys.refreshes", "fetches in the background, before expiry", func(s cache.Stats) uint64 { return s.Refreshes }},
		{"sealq.keys.stale_uses", "uses of data keys beyond the reuse period in an outage", func(s cache.Stats) uint64 { return s.StaleUses }},
		{"sealq.keys.refusals", "refusals of the key service", func(s cache.Stats) uint64 { return s.Refusals }},
		{"sealq.keys.evictions", "data keys dropped to keep within the bounds", func(s cache.Stats) uint64 { return s.Evictions }},
		{"sealq.keys.evicted_in_use", "data keys dropped that were still in use", func(s cache.Stats) uint64 { return s.EvictedInUse }},
	}
	for _, spec := range observed {
		_, err := meter.Int64AsyncCounter(spec.name, func(ctx context.Context, o metrics.Int64Observer) {
			var sum cache.Stats
			for _, c := range caches {
				addStats(&sum, c.Stats())
			}
			o.Observe(ctx, int64(spec.value(sum)))
		}, func(o *metrics.InstrumentOptions) { o.Description = spec.description })
		if err != nil {
			return fmt.Errorf("sqsx: MeterProvider: instrument %s: %w", spec.name, err)
		}
	}
	return nil
}

// evictions watches for data keys that the caches dropped although they were in
// use: messages then cost calls of the key service, and nothing else shows it.
type evictions struct {
	*settings
	next   atomic.Int64  // when to look again, in nanoseconds since 1970
	logged atomic.Uint64 // cache.Stats.EvictedInUse at the last line
}

// look logs a line, at most one every logInterval, if data keys in use were
// dropped since the last.
func (e *evictions) look(ctx context.Context) {
	now, due := time.Now().UnixNano(), e.next.Load()
	if now < due || !e.next.CompareAndSwap(due, now+int64(logInterval)) {
		return
	}
	var sum cache.Stats
	for _, kr := range e.caches() {
		addStats(&sum, kr.Stats())
	}
	dropped := sum.EvictedInUse - e.logged.Swap(sum.EvictedInUse)
	if dropped == 0 {
		return
	}
	logger := e.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(ctx, slog.LevelWarn, "sealq: data keys in use were dropped to make room: messages cost calls of the key service",
		slog.Uint64("dropped_since_last_line", dropped),
		slog.Int("keys_for_sealing", sum.EncryptEntries),
		slog.Int("keys_for_opening", sum.DecryptEntries),
		slog.String("remedy", "raise EncryptEntries or DecryptEntries (Options.Cache), whichever is reached"),
	)
}
