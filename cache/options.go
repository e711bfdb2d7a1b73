package cache

import (
	"fmt"
	"math"
	"time"
)

// Options configures a [Keyring]. The zero value of every field is the safe
// default. New reads the options once and keeps a copy.
type Options struct {
	// ReusePeriod is how long a data key is used, for sealing and for opening,
	// before the key service is asked again. It is also the longest time for
	// which a change at the key service (a disabled key, a removed permission)
	// goes unnoticed while the service can be reached.
	//
	// From 1 minute to 24 hours; 0 means [DefaultReusePeriod]. It counts from the
	// moment the key was asked for.
	ReusePeriod time.Duration

	// MaxMessages is how many messages are sealed under one data key; every answer
	// of GenerateDataKey counts as one. When nine tenths are used up, a new key is
	// fetched in the background. Opening is not counted: it protects nothing new
	// with the key.
	//
	// From 1 (no reuse) to 2^32; 0 means [DefaultMaxMessages].
	MaxMessages uint64

	// MaxStale is how long a data key may be used after its last successful
	// fetch while the key service answers [envelope.ErrUnavailable], the
	// ReusePeriod included. A refusal always ends the use of a key at once.
	//
	// At least ReusePeriod, or [NoStale], or [Unlimited]; 0 means
	// [DefaultMaxStale]; a ReusePeriod of the same length then leaves no time to
	// bridge an outage.
	MaxStale time.Duration

	// EncryptEntries bounds the data keys kept for sealing: one for each distinct
	// encryption context. The least recently used is dropped first. Beyond the
	// bound each message may cost a fetch: see [Stats].EvictedInUse.
	//
	// From 1 to 1,048,576; 0 means [DefaultEncryptEntries].
	EncryptEntries int

	// DecryptEntries bounds the data keys kept for opening: one for each
	// distinct encrypted data key and context that was opened.
	//
	// From 1 to 1,048,576; 0 means [DefaultDecryptEntries].
	DecryptEntries int

	// NegativeEntries bounds what is remembered of fetches that failed, for
	// opening. It is separate from DecryptEntries, so that a flood of messages
	// that do not open cannot evict a key. Failures of sealing are bounded by
	// EncryptEntries.
	//
	// From 1 to 1,048,576; 0 means [DefaultNegativeEntries].
	NegativeEntries int

	// FetchTimeout is the deadline of one call to the next keyring. It is not the
	// caller's, because the call serves many callers; a caller's own deadline ends
	// only that caller's wait.
	//
	// From 1 to 15 seconds; 0 means [DefaultFetchTimeout].
	FetchTimeout time.Duration
}

// Ranges and defaults of [Options].
const (
	// The range and the default of the reuse period are those of the
	// KmsDataKeyReusePeriodSeconds attribute of an SQS queue.
	minReusePeriod     = time.Minute
	maxReusePeriod     = 24 * time.Hour
	DefaultReusePeriod = 5 * time.Minute

	// 2^32 is the limit of NIST SP 800-38D, section 8.3, for one AES-GCM key with
	// random nonces, and the message limit of the AWS Encryption SDK's caching. It
	// is a wide bound here: a data key only derives the keys that encrypt, one for
	// each message.
	maxMaxMessages     uint64 = 1 << 32
	DefaultMaxMessages        = maxMaxMessages

	DefaultMaxStale = 24 * time.Hour

	// A data key takes about 820 bytes of memory, as long as it is there: 53 MB
	// and 13 MB at the default bounds. They are meant to limit contexts that
	// differ from message to message, not fleets with many queues.
	maxEntries             = 1 << 20
	DefaultEncryptEntries  = 1 << 16
	DefaultDecryptEntries  = 1 << 14
	DefaultNegativeEntries = 1024

	// A refresh starts at least one FetchTimeout before its key expires, so
	// the top is a quarter of the shortest ReusePeriod.
	minFetchTimeout     = time.Second
	maxFetchTimeout     = 15 * time.Second
	DefaultFetchTimeout = 10 * time.Second
)

// Values of [Options.MaxStale] that are not durations.
const (
	// Unlimited uses a key for as long as the outage lasts, which is what
	// server-side encryption of SQS does.
	Unlimited time.Duration = math.MaxInt64

	// NoStale never uses a key beyond its ReusePeriod: an outage of the key
	// service that is longer stops sending and receiving.
	NoStale time.Duration = -1
)

// complete replaces zeros by defaults.
func (o *Options) complete() {
	setDefault(&o.ReusePeriod, DefaultReusePeriod)
	setDefault(&o.MaxMessages, DefaultMaxMessages)
	setDefault(&o.MaxStale, DefaultMaxStale)
	setDefault(&o.EncryptEntries, DefaultEncryptEntries)
	setDefault(&o.DecryptEntries, DefaultDecryptEntries)
	setDefault(&o.NegativeEntries, DefaultNegativeEntries)
	setDefault(&o.FetchTimeout, DefaultFetchTimeout)
}

func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

// validate checks options that are complete.
func (o *Options) validate() error {
	switch {
	case o.ReusePeriod < minReusePeriod || o.ReusePeriod > maxReusePeriod:
		return fmt.Errorf("cache: ReusePeriod is %v, want %v to %v", o.ReusePeriod, minReusePeriod, maxReusePeriod)
	case o.MaxMessages > maxMaxMessages:
		return fmt.Errorf("cache: MaxMessages is %d, want 1 to %d", o.MaxMessages, maxMaxMessages)
	case o.MaxStale != NoStale && o.MaxStale < o.ReusePeriod:
		return fmt.Errorf("cache: MaxStale is %v, want at least the ReusePeriod of %v, or NoStale, or Unlimited", o.MaxStale, o.ReusePeriod)
	case o.FetchTimeout < minFetchTimeout || o.FetchTimeout > maxFetchTimeout:
		return fmt.Errorf("cache: FetchTimeout is %v, want %v to %v", o.FetchTimeout, minFetchTimeout, maxFetchTimeout)
	}
	for _, bound := range []struct {
		name  string
		value int
	}{
		{"EncryptEntries", o.EncryptEntries},
		{"DecryptEntries", o.DecryptEntries},
		{"NegativeEntries", o.NegativeEntries},
	} {
		if bound.value < 1 || bound.value > maxEntries {
			return fmt.Errorf("cache: %s is %d, want 1 to %d", bound.name, bound.value, maxEntries)
		}
	}
	return nil
}
