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
	"github.com/sealq/sealq/internal/backoff"
	"github.com/sealq/sealq/internal/budget"
)

// Anyone who may send to a queue can write messages whose encrypted data keys
// KMS does not decrypt, and each costs a call. So the keyring remembers what
// KMS said about each, and limits calls that fail: see package budget.
const (
	// failuresPerSecond and failureBurst bound the Decrypt calls of a keyring that
	// fail and are not an outage. Anyone who may send can cause them, with a new
	// encrypted data key in each message, and KMS counts them like others: an
	// account may make 5,500 a second in the smallest Regions, 10,000 or more in
	// others (AWS KMS Developer Guide, request quotas, cryptographic operations
	// with symmetric keys). 1,000 is less than a fifth of that, and as much as a
	// consumer with a few receive loops needs: each loop receives 10 messages in
	// some 20 ms, the time of a receive and of a Decrypt.
	failuresPerSecond = 1000
	failureBurst      = 1000

	// turnPatience is how long a message waits for its turn. With every message of
	// a loop's response waiting at once, 75 loops fit into it. It is below one
	// second, after which package cache treats a wrapping key without an answer as
	// unreachable.
	turnPatience = 750 * time.Millisecond

	// keptFailures has room for all failures within refusalPeriod, so that no
	// flood makes the keyring forget one sooner. They take about 24 MB.
	keptFailures = failureBurst + failuresPerSecond*int(refusalPeriod/time.Second)

	// keptOpened is how many decrypted encrypted data keys are remembered: the
	// bound does not apply to them when a cache asks about them again.
	keptOpened = 1 << 14

	// keptScopes is the number of pairs of key and encryption context that are
	// remembered as denied or granted. A consumer has a few.
	keptScopes = 1 << 10

	// factPeriod is for failures that cannot change: the ciphertext was not made
	// under this key and encryption context. It is the longest visibility timeout
	// of a queue, so that a message is not asked about at every receive.
	factPeriod = 12 * time.Hour

	// refusalPeriod is for failures that can change: a permission, the state of a
	// key.
	refusalPeriod = 5 * time.Minute

	// A denial of a configured key and an encryption context is the answer to all
	// messages under both for 1 second, doubling to 5. That is short, because a
	// newly granted permission must soon take effect.
	minDenial = time.Second
	maxDenial = 5 * time.Second

	// maxDenied is how often a message is asked about while its key is denied.
	// Then it is not asked about for refusalPeriod: a sender can give each message
	// a context of its own.
	maxDenied = maxDecryptCalls
)

// verdicts is what KMS said of encrypted data keys. All but the budget is ready
// for use as its zero value.
type verdicts struct {
	budget budget.Budget

	mu     sync.Mutex // guards all below
	failed recent[verdict]
	opened recent[struct{}]

	// By scope. A sender without the key can make denials, but no grant.
	denied  recent[denial]
	granted recent[int64] // when this process was allowed, in Unix seconds
}

// verdict is why KMS did not decrypt. It is small, because a flood creates very
// many.
type verdict struct {
	until  uint32 // in Unix seconds, to the year 2106
	reason reason
	times  uint8 // how often KMS denied it
}

type reason uint8

const (
	isFact       reason = iota // stays true
	isRefused                  // by a key that the configuration does not name
	accessDenied               // by a key that it names
	invalidGrant               // the same, because of Options.GrantTokens
)

// denies reports whether KMS denied the key and context, and did not look at
// the ciphertext.
func (r reason) denies() bool { return r == accessDenied || r == invalidGrant }

// denial is the state of a scope that KMS denied to this process.
type denial struct {
	at    time.Time // the last one
	until time.Time // answered from memory before that
	count int       // in a row
	err   error     // of RefusedError
}

// fingerprint is a SHA-256, cut to 128 bits.
type fingerprint [16]byte

// subject is what KMS is asked about.
type subject struct {
	id    fingerprint // of an encrypted data key under one KMS key and context
	scope fingerprint // of the KMS key and the context: what a permission is for
}

// contextHash is what all subjects of one message have in common.
func contextHash(ec envelope.EncryptionContext) [sha256.Size]byte {
	var fields []byte
	for _, name := range slices.Sorted(maps.Keys(ec)) {
		fields = appendField(fields, name)
		fields = appendField(fields, ec[name])
	}
	return sha256.Sum256(fields)
}

func subjectOf(c candidate, ec [sha256.Size]byte) subject {
	scope := scopeOf(c.key.String(), ec)
	return subject{fingerprintOf(append(scope[:], c.edk.Ciphertext...)), scope}
}

func scopeOf(key string, ec [sha256.Size]byte) fingerprint {
	return fingerprintOf(append(appendField(nil, key), ec[:]...))
}

func fingerprintOf(b []byte) fingerprint {
	sum := sha256.Sum256(b)
	return fingerprint(sum[:len(fingerprint{})])
}

func appendField(fields []byte, field string) []byte {
	fields = binary.BigEndian.AppendUint64(fields, uint64(len(field)))
	return append(fields, field...)
}

// known returns the failure that is remembered of s, or nil.
func (v *verdicts) known(s subject, q question, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.answer(s, q, now)
}

// answer is known. v.mu is held.
func (v *verdicts) answer(s subject, q question, now time.Time) error {
	failed, isFailed := v.failed.get(s.id)
	isFailed = isFailed && now.Unix() < int64(failed.until)
	if isFailed && !failed.reason.denies() {
		return q.remembered(failed.reason)
	}
	if !q.configured {
		return nil
	}
	denied, _ := v.denied.get(s.scope)
	if isFailed && failed.times >= maxDenied {
		// This does not need denied, which a flood can make the keyring forget.
		granted, ok := v.granted.get(s.scope)
		if at := int64(failed.until) - int64(refusalPeriod/time.Second); !ok || granted < at {
			denied.until = time.Unix(int64(failed.until), 0)
		}
	}
	if !now.Before(denied.until) {
		return nil
	}
	if denied.err == nil {
		denied.err = q.deniedBefore(failed.reason)
	}
	return q.denied(denied.err, denied.until.Sub(now))
}

// begin is called right before a call, and returns a failure that has become
// known since. If there is none, this call asks on behalf of all that the
// denial concerns, and the others are answered from memory meanwhile. After a
// denial that is over for longer than denials last, all ask: the messages of
// one receive that follows a repair would otherwise be refused because one of
// them is being asked about.
func (v *verdicts) begin(s subject, q question, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.answer(s, q, now); err != nil {
		return err
	}
	if denied, ok := v.denied.get(s.scope); ok && now.Sub(denied.until) <= maxDenial {
		denied.until = now.Add(minDenial)
		v.denied.set(s.scope, denied)
	}
	return nil
}

// exempt reports whether an encrypted data key has been decrypted before.
func (v *verdicts) exempt(s subject) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.opened.get(s.id)
	return ok
}

// note records the answer to a call that began at asked, and reports whether it
// is a failure that counts.
func (v *verdicts) note(s subject, err error, asked, now time.Time) (failed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		v.opened.put(s.id, struct{}{}, keptOpened)
		v.failed.forget(s.id)
		v.grant(s.scope, now)
		return false
	}
	why, refused, ok := reasonOf(err)
	if !ok {
		return false
	}
	failure := verdict{until: unix(now.Add(refusalPeriod)), reason: why}
	if why.denies() {
		before, _ := v.failed.get(s.id)
		failure.times = min(before.times+1, maxDenied)
		v.deny(s.scope, refused.Err, asked, now)
	} else {
		// KMS looked at the ciphertext, so it no longer denies the key.
		v.denied.forget(s.scope)
	}
	if why == isFact {
		failure.until = unix(now.Add(factPeriod))
	}
	v.failed.put(s.id, failure, keptFailures)
	return true
}

// deny records a denial. v.mu is held.
func (v *verdicts) deny(scope fingerprint, err error, asked, now time.Time) {
	denied, again := v.denied.get(scope)
	if again && asked.Before(denied.at) {
		return // calls that were made side by side are one denial
	}
	denied.count++
	denied.at, denied.err = now, err
	denied.until = now.Add(backoff.Exponential(minDenial, maxDenial, denied.count))
	if again {
		v.denied.set(scope, denied)
	} else {
		v.denied.put(scope, denied, keptScopes)
	}
}

// grant records that this process may decrypt in scope. v.mu is held.
func (v *verdicts) grant(scope fingerprint, now time.Time) {
	v.denied.forget(scope)
	if _, ok := v.granted.get(scope); ok {
		v.granted.set(scope, now.Unix())
	} else {
		v.granted.put(scope, now.Unix(), keptScopes)
	}
}

// allowed records that KMS allows key and ec.
func (v *verdicts) allowed(key string, ec envelope.EncryptionContext, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.grant(scopeOf(key, contextHash(ec)), now)
}

// forget forgets what KMS said. It keeps the budget.
func (v *verdicts) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failed, v.opened = recent[verdict]{}, recent[struct{}]{}
	v.denied, v.granted = recent[denial]{}, recent[int64]{}
}

func unix(t time.Time) uint32 { return uint32(t.Unix()) }

// reasonOf returns why KMS did not decrypt, and the refusal if KMS denied it.
// It reports false for an outage, and for a refusal of a whole key.
func reasonOf(err error) (reason, *envelope.RefusedError, bool) {
	var code string
	api, answered := errors.AsType[smithy.APIError](err)
	if answered {
		code = api.ErrorCode()
	}
	if envelope.IsInvalidMessage(err) {
		// Without KMS's own error it was decrypted, and is no data key.
		if !answered || code == "InvalidCiphertextException" || code == "IncorrectKeyException" {
			return isFact, nil, true
		}
		return isRefused, nil, true
	}
	refused, ok := errors.AsType[*envelope.RefusedError](err)
	if !ok || refused.Reach != envelope.ReachEntry {
		return 0, nil, false
	}
	if code == "InvalidGrantTokenException" || code == "InvalidGrantIdException" {
		return invalidGrant, refused, true
	}
	return accessDenied, refused, true
}

// recent is a map of bounded size that drops what was put in first.
type recent[V any] struct {
	values map[fingerprint]placed[V]
	ring   []fingerprint // in the order of put, from next on once it is full
	next   int
}

type placed[V any] struct {
	value V
	at    int32 // in ring; what ring holds elsewhere is out of date
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
		r.values[id] = placed[V]{v, int32(len(r.ring))}
		r.ring = append(r.ring, id)
		return
	}
	if oldest := r.ring[r.next]; int(r.values[oldest].at) == r.next {
		delete(r.values, oldest)
	}
	r.ring[r.next] = id
	r.values[id] = placed[V]{v, int32(r.next)}
	r.next = (r.next + 1) % limit
}

// set changes the value of an id that is there.
func (r *recent[V]) set(id fingerprint, v V) {
	p := r.values[id]
	p.value = v
	r.values[id] = p
}

func (r *recent[V]) forget(id fingerprint) { delete(r.values, id) }
