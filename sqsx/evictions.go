package sqsx

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sealq/sealq/cache"
)

// evictions watches for data keys that the caches had to drop although they
// were in use: from then on messages cost calls to the key service, and no
// other signal shows it.
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
