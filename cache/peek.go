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
