package cache

// Stats is a snapshot of what a [Keyring] has done since it was made, and of
// what it holds. Counters only grow; Purge does not reset them.
//
// Every call of GenerateDataKey or DecryptDataKey counts as a hit or a miss,
// unless its own context ends it. A call of TryDecryptDataKey counts as a hit
// if it returns a key, and otherwise not at all: the DecryptDataKey that
// follows counts.
type Stats struct {
	// Hits counts calls answered at once with a cached data key, StaleUses among
	// them.
	Hits uint64
	// Misses counts calls that found no data key to use: they waited for a
	// fetch, or got an error from memory.
	Misses uint64
	// Fetches counts calls to the next keyring, Refreshes among them.
	Fetches uint64
	// Refreshes counts fetches made in the background for a key in use.
	Refreshes uint64
	// StaleUses counts uses of a key beyond its ReusePeriod, because the key
	// service was unavailable. While it grows, changes at the key service go
	// unnoticed.
	StaleUses uint64
	// Unavailable counts fetches that ended in envelope.ErrUnavailable.
	Unavailable uint64
	// Refusals counts fetches that the key service refused.
	Refusals uint64
	// Invalid counts fetches that found the message invalid.
	Invalid uint64
	// Remembered counts calls answered with an error from memory.
	Remembered uint64
	// Evictions counts data keys that were dropped to make room.
	Evictions uint64
	// EvictedInUse counts those of them that could have been used again without
	// a fetch. If it grows, there are more distinct encryption contexts, or data
	// keys of other processes, than EncryptEntries or DecryptEntries has room
	// for, and each message may cost a call of the key service.
	EvictedInUse uint64

	// EncryptEntries and DecryptEntries are the numbers of cached data keys.
	// NegativeEntries is the number of remembered failures.
	EncryptEntries, DecryptEntries, NegativeEntries int
}

// Stats returns a snapshot. It is cheap, and safe for concurrent use.
func (k *Keyring) Stats() Stats {
	if k == nil || k.next == nil {
		return Stats{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	s.EncryptEntries = k.encrypt.keys.len()
	s.DecryptEntries = k.decrypt.keys.len()
	s.NegativeEntries = k.encrypt.failures.len() + k.decrypt.failures.len() + k.refused.len() + k.wrapping.outages.len()
	return s
}
