package cache

import (
	"context"

	"github.com/sealq/sealq/envelope"
)

// Source is an [envelope.Keyring] that answers from memory. [*Keyring] is one,
// and so is a keyring that keeps keys in a cache of its own. A program needs no
// other cache in front of it: [New] refuses a Source as next, because the
// periods of two caches would add up.
//
// A Source promises what the documentation of this package says of Keyring: its
// period bounds how long a change at the key service goes unnoticed; it uses
// what it has while the key service is unavailable, within a bound; callers
// that miss together wait for one fetch, which has a deadline of its own; its
// memory is bounded; and it returns at once what a caller may use. Its errors
// have the classes that envelope.ErrUnavailable lists. It must be comparable,
// as a pointer is, and safe for concurrent use. It must not modify or retain
// the arguments of its methods.
type Source interface {
	envelope.Keyring

	// CheckDecrypt asks the key service, and never answers from memory. If there
	// is nothing to ask about, the error is [envelope.ErrCheckUnsupported].
	envelope.DecryptChecker

	// Purge forgets every key and every failure. Calls that wait for a fetch start
	// over.
	envelope.Purger

	// TryDecryptDataKey is DecryptDataKey for callers that have other work to do
	// first: it never waits. It returns the data key if DecryptDataKey would
	// return it without waiting for the key service, and starts a refresh that is
	// due. It reports false if DecryptDataKey would ask the key service or fail.
	TryDecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, bool)

	// Cached reports whether DecryptDataKey would now return a data key for any
	// one of edks under ec without asking the key service. It does not wait,
	// starts no refresh, counts in no statistic, and does not make what it finds
	// count as used.
	Cached(edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) bool

	// ForgetFailures forgets remembered refusals and outages of opening, for a
	// caller that has just learned that the key service answers. Invalid messages
	// stay remembered. It does not wait.
	ForgetFailures()

	// Stats returns a snapshot of the counts, and is cheap.
	Stats() Stats
}

var _ Source = (*Keyring)(nil)
