package cache

import (
	"time"

	"github.com/sealq/sealq/envelope"
)

// Cached reports whether DecryptDataKey would now return a cached data key for
// any one of edks under ec, without asking the next keyring. It does not wait,
// starts no refresh, counts in no statistic, and does not make the data key
// count as used. It is safe for concurrent use.
func (k *Keyring) Cached(edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) bool {
	if k == nil || k.next == nil {
		return false
	}
	var idArray [4]identity // on the stack
	ids := appendIdentities(idArray[:0], edks, ec)
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		if k.decrypt.keys.peek(id).stage(now, &k.opts).usable() {
			return true
		}
	}
	return false
}

// ForgetFailures forgets the remembered refusals and outages of data keys for
// opening, for a caller that has just learned that the next keyring answers:
// the next call for each data key asks again. Invalid messages stay remembered,
// and so does an outage of one wrapping key while another one answered, which
// ends when that key answers. It does not wait, and is safe for concurrent use.
func (k *Keyring) ForgetFailures() {
	if k == nil || k.next == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, f := range k.decrypt.failures.all() {
		if f.class != invalid {
			k.decrypt.failures.delete(id)
		}
	}
	k.refused.clear()
	k.wrapping.forgetBridged()
}
