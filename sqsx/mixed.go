package sqsx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/internal/keytrace"
)

// mixedSource is a [cache.Source] of two others: it opens data keys that branch
// keys wrapped and data keys that AWS KMS encrypted, and seals with one of the
// two. With it a fleet changes from one to the other while messages of both are
// in its queues.
//
// Encrypted data keys are sorted by their provider ID in front of the caches of
// the two, so that neither remembers anything about data keys of the other.
type mixedSource struct {
	seals  cache.Source // one of the following
	branch cache.Source // for provider ID "aws-kms-hierarchy"
	kms    cache.Source // for provider ID "aws-kms"

	// When each last opened a message: the other one then lets no message wait for
	// a key service that does not answer.
	branchUsed, kmsUsed lastUse
}

// lastUse is a time that only grows. It is safe for concurrent use.
type lastUse struct {
	mu sync.Mutex
	at time.Time
}

// note notes the use of a key, if there is one.
func (l *lastUse) note(key *envelope.DataKey) {
	if key == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = time.Now()
}

// beside returns a context that says it.
func (l *lastUse) beside(ctx context.Context) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		return ctx
	}
	return keytrace.WithUsed(ctx, l.at)
}

func (m *mixedSource) openBranch(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	key, err := m.branch.DecryptDataKey(m.kmsUsed.beside(ctx), edks, ec)
	m.branchUsed.note(key)
	return key, err
}

func (m *mixedSource) openKMS(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	key, err := m.kms.DecryptDataKey(m.branchUsed.beside(ctx), edks, ec)
	m.kmsUsed.note(key)
	return key, err
}

var _ cache.Source = (*mixedSource)(nil)

// GenerateDataKey implements [envelope.Keyring].
func (m *mixedSource) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	return m.seals.GenerateDataKey(ctx, ec)
}

// patience is how long a message that has data keys of both kinds waits for one
// kind before it asks for the other as well.
const patience = time.Second

// DecryptDataKey implements [envelope.Keyring]. A message that has data keys of
// both kinds opens by a cached one, or else by its branch key, or else by AWS
// KMS. KMS is also asked if there is no answer about the branch key within a
// second: a message has data keys of both kinds so that it opens while the
// service of one of them is unavailable.
func (m *mixedSource) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	branch, kms := sortByKind(edks)
	switch {
	case len(branch) == 0 && len(kms) == 0:
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return nil, errOtherKind()
	case len(kms) == 0:
		return m.openBranch(ctx, branch, ec)
	case len(branch) == 0:
		return m.openKMS(ctx, kms, ec)
	}
	if key, ok := m.try(ctx, branch, kms, ec); ok {
		return key, nil
	}
	return m.decryptBoth(ctx, branch, kms, ec)
}

// errOtherKind is the error of a message that has no data key of either kind.
func errOtherKind() error {
	return advise("it opens with the kind of keyring that sealed it: if the message is yours, set that one in Policy.Keyring for this queue",
		"sqsx: %w: the message has no encrypted data key of provider %q or %q, and this process opens no others", envelope.ErrNoMatchingKey, branchkey.ProviderID, kmskeyring.ProviderID)
}

func (m *mixedSource) decryptBoth(ctx context.Context, branch, kms []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	type answer struct {
		kind int
		key  *envelope.DataKey
		err  error
	}
	asking, cancel := context.WithCancel(ctx)
	answers := make(chan answer, 2)
	var workers sync.WaitGroup
	defer workers.Wait() // they end with asking
	defer cancel()
	ask := func(kind int, open func(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error), edks []envelope.EncryptedDataKey) {
		workers.Go(func() {
			key, err := open(asking, edks, ec)
			answers <- answer{kind, key, err}
		})
	}
	ask(0, m.openBranch, branch)
	slow := time.NewTimer(patience)
	defer slow.Stop()

	var errs [2]error
	asked, answered := 1, 0
	for answered < 2 {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.key, nil
			}
			errs[a.kind] = a.err
			answered++
		case <-slow.C:
		}
		// The end of the caller's context is no verdict: do not join it with those
		// that arrived before.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if asked == 1 {
			ask(1, m.openKMS, kms)
			asked++
		}
	}
	return nil, envelope.JoinKeyErrors(errs[:]...)
}

// TryDecryptDataKey implements [cache.Source].
func (m *mixedSource) TryDecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, bool) {
	branch, kms := sortByKind(edks)
	return m.try(ctx, branch, kms, ec)
}

func (m *mixedSource) try(ctx context.Context, branch, kms []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, bool) {
	if len(branch) > 0 {
		if key, ok := m.branch.TryDecryptDataKey(ctx, branch, ec); ok {
			m.branchUsed.note(key)
			return key, true
		}
	}
	if len(kms) > 0 {
		key, ok := m.kms.TryDecryptDataKey(ctx, kms, ec)
		m.kmsUsed.note(key)
		return key, ok
	}
	return nil, false
}

// Cached implements [cache.Source].
func (m *mixedSource) Cached(edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) bool {
	branch, kms := sortByKind(edks)
	return len(branch) > 0 && m.branch.Cached(branch, ec) || len(kms) > 0 && m.kms.Cached(kms, ec)
}

// CheckDecrypt implements [envelope.DecryptChecker]. A yes about one kind is a
// yes. The hold asks with checkAfter.
func (m *mixedSource) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return envelope.CheckAny(ctx,
		func(ctx context.Context) error { return m.branch.CheckDecrypt(ctx, ec) },
		func(ctx context.Context) error { return m.kms.CheckDecrypt(ctx, ec) })
}

// checkAfter asks on behalf of a queue whose last opened message was of kind
// last, a provider ID; empty: none is known. It returns nil if both kinds open,
// or if last opens: while a fleet changes from one kind to the other, messages
// of the other may never arrive, and its permissions may be gone. Those that do
// arrive are withheld one by one.
//
// If only the other kind opens, the error is a refusal of some messages, and
// not of all, also in an outage. Most messages of the queue may be of the kind
// that does not open, and receiving them would raise their receive counts for
// as long as that lasts.
func (m *mixedSource) checkAfter(ctx context.Context, ec envelope.EncryptionContext, last string) error {
	kinds := [...]struct {
		source         cache.Source
		provider, name string
	}{
		{m.branch, branchkey.ProviderID, "branch keys"},
		{m.kms, kmskeyring.ProviderID, "data keys of AWS KMS"},
	}
	var errs [len(kinds)]error
	asking, enough := context.WithCancel(ctx)
	defer enough()
	var workers sync.WaitGroup
	for i, k := range kinds {
		workers.Go(func() {
			// CheckAny of one is for its handling of panics.
			errs[i] = envelope.CheckAny(asking, func(ctx context.Context) error { return k.source.CheckDecrypt(ctx, ec) })
			if errs[i] == nil && k.provider == last {
				enough()
			}
		})
	}
	workers.Wait()
	for i, k := range kinds {
		other := 1 - i
		switch {
		case errs[i] != nil:
		case errs[other] == nil, k.provider == last, errors.Is(errs[other], envelope.ErrCheckUnsupported):
			return nil
		default:
			return &envelope.RefusedError{Reach: envelope.ReachEntry, Err: fmt.Errorf("sqsx: messages under %s do not open: %w", kinds[other].name, errs[other])}
		}
	}
	// Neither opens.
	return envelope.CheckAny(ctx,
		func(context.Context) error { return errs[0] },
		func(context.Context) error { return errs[1] })
}

// ForgetFailures implements [cache.Source].
func (m *mixedSource) ForgetFailures() {
	m.branch.ForgetFailures()
	m.kms.ForgetFailures()
}

// Purge implements [envelope.Purger].
func (m *mixedSource) Purge() {
	m.branch.Purge()
	m.kms.Purge()
}

// Stats implements [cache.Source]: it returns the sums of both.
func (m *mixedSource) Stats() cache.Stats {
	sum := m.branch.Stats()
	addStats(&sum, m.kms.Stats())
	return sum
}

// sortByKind splits the encrypted data keys of a message. It leaves out those
// of other kinds.
func sortByKind(edks []envelope.EncryptedDataKey) (branch, kms []envelope.EncryptedDataKey) {
	of := func(provider string) []envelope.EncryptedDataKey {
		isOther := func(edk envelope.EncryptedDataKey) bool { return edk.ProviderID != provider }
		if !slices.ContainsFunc(edks, isOther) { // nearly always: without a copy
			return edks
		}
		return slices.DeleteFunc(slices.Clone(edks), isOther)
	}
	return of(branchkey.ProviderID), of(kmskeyring.ProviderID)
}
