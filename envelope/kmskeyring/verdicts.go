package kmskeyring

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
)

// Whoever may send to a queue can write messages whose encrypted data keys KMS
// does not decrypt, each a call. So the keyring remembers what KMS said of each,
// and asks about no more than so many that fail.
const (
	// failuresPerSecond and failureBurst bound the Decrypt calls of a keyring
	// that fail by a message's fault. An account may make 5,500 to 100,000
	// Decrypt calls a second, by Region (AWS KMS Developer Guide, request
	// quotas): a hundred a second are a small part of that, and more than a
	// consumer meets but in an attack.
	failuresPerSecond = 100
	failureBurst      = 1000

	// keptFailures has room for all that can fail within refusalPeriod, so that
	// no flood makes the keyring forget: 100 x 300 + 1,000.
	keptFailures = 1 << 15

	// keptOpened is how many of the encrypted data keys that were decrypted are
	// exempt from the bound: those that a cache asks about again.
	keptOpened = 1 << 14

	// factPeriod is for what stays true: that a ciphertext was not made under
	// this key and encryption context. It is the longest visibility timeout of
	// a queue, so that a message is not asked about at every receive.
	factPeriod = 12 * time.Hour

	// refusalPeriod is for what may change: a permission, the state of a key.
	refusalPeriod = 5 * time.Minute
)

// verdicts is what KMS said of encrypted data keys. It takes 3 MB when it is
// full. The zero value is ready for use.
type verdicts struct {
	mu     sync.Mutex // guards all below
	failed recent[verdict]
	opened recent[struct{}]

	spent  float64   // of failureBurst
	filled time.Time // when spent was brought up to date
}

// verdict is why KMS did not decrypt.
type verdict struct {
	until time.Time
	fact  bool
}

// fingerprint names an encrypted data key under one KMS key and encryption
// context: a SHA-256, cut to 128 bits.
type fingerprint [16]byte

// contextHash is what all fingerprints of one message have in common.
func contextHash(ec envelope.EncryptionContext) [sha256.Size]byte {
	var fields []byte
	for _, name := range slices.Sorted(maps.Keys(ec)) {
		fields = appendField(fields, name)
		fields = appendField(fields, ec[name])
	}
	return sha256.Sum256(fields)
}

func fingerprintOf(c candidate, ec [sha256.Size]byte) fingerprint {
	fields := appendField(make([]byte, 0, 512), c.key.String())
	fields = appendField(fields, string(c.edk.Ciphertext))
	sum := sha256.Sum256(append(fields, ec[:]...))
	return fingerprint(sum[:len(fingerprint{})])
}

func appendField(fields []byte, field string) []byte {
	fields = binary.BigEndian.AppendUint64(fields, uint64(len(field)))
	return append(fields, field...)
}

// known returns the failure that is remembered of an encrypted data key.
func (v *verdicts) known(id fingerprint, now time.Time) (verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	failed, ok := v.failed.get(id)
	return failed, ok && now.Before(failed.until)
}

// mayAsk reports whether KMS may be asked about an encrypted data key of which no
// failure is known.
func (v *verdicts) mayAsk(id fingerprint, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.opened.get(id); ok {
		return true
	}
	v.refill(now)
	return v.spent < failureBurst
}

// note records what KMS said.
func (v *verdicts) note(id fingerprint, err error, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err == nil:
		v.opened.put(id, struct{}{}, keptOpened)
		v.failed.forget(id)
	case envelope.MessageAtFault(err):
		v.refill(now)
		v.spent++ // also beyond the bound, by those that were asked about together
		failed := verdict{now.Add(refusalPeriod), isFact(err)}
		if failed.fact {
			failed.until = now.Add(factPeriod)
		}
		v.failed.put(id, failed, keptFailures)
	}
}

// refill makes up for the time since the last call. v.mu is held.
func (v *verdicts) refill(now time.Time) {
	if gone := now.Sub(v.filled); gone > 0 {
		v.spent = max(0, v.spent-gone.Seconds()*failuresPerSecond)
		v.filled = now
	}
}

// forget forgets what KMS said. How much was asked stays counted.
func (v *verdicts) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failed, v.opened = recent[verdict]{}, recent[struct{}]{}
}

// isFact reports whether what KMS said of a ciphertext stays true. Without KMS's
// own error it was decrypted, and is no data key.
func isFact(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return !ok || api.ErrorCode() == "InvalidCiphertextException" || api.ErrorCode() == "IncorrectKeyException"
}

// recent is a map of bounded size that drops what was put in first.
type recent[V any] struct {
	values map[fingerprint]placed[V]
	ring   []fingerprint // in the order of put, from next on once it is full
	next   int
}

type placed[V any] struct {
	value V
	at    int // in ring; what ring holds elsewhere is out of date
}

func (r *recent[V]) get(id fingerprint) (V, bool) {
	p, ok := r.values[id]
	return p.value, ok
}

func (r *recent[V]) put(id fingerprint, v V, limit int) {
	if r.values == nil {
		r.values = make(map[fingerprint]placed[V])
	}
	if len(r.ring) < limit {
		r.values[id] = placed[V]{v, len(r.ring)}
		r.ring = append(r.ring, id)
		return
	}
	if oldest := r.ring[r.next]; r.values[oldest].at == r.next {
		delete(r.values, oldest)
	}
	r.ring[r.next] = id
	r.values[id] = placed[V]{v, r.next}
	r.next = (r.next + 1) % limit
}

func (r *recent[V]) forget(id fingerprint) { delete(r.values, id) }
