package branchkey

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/contain"
	"github.com/sealq/sealq/internal/keyerr"
	"github.com/sealq/sealq/internal/keytrace"
	"github.com/sealq/sealq/internal/optfn"
)

// maxLookUps bounds the versions that one message can have looked up, beside
// those that are cached. A message names one in practice.
const maxLookUps = 3

// Options configures a [Keyring]. [New] copies the options.
type Options struct {
	// Cache is for the cache of branch keys: how long one is used before it is
	// read again, and how long in an outage. The entries are branch keys, and
	// versions of them. MaxMessages has no effect: every message has a data key of
	// its own.
	Cache cache.Options

	// BranchKeyIDs returns the id of the branch key for messages with that
	// encryption context, in place of New's id: a branch key for each tenant, for
	// example. It is called for every message that is sealed or opened; it must
	// return the same id for both, be fast, be safe for concurrent use, and not
	// modify or retain ec. For a message that is opened, ec is what the message
	// says: it is not authenticated yet.
	//
	// If it returns an error, or an id that is empty, longer than 2,048 bytes or
	// not UTF-8, then sealing fails. Opening fails with the class of the error
	// that it returned: return one that is [envelope.ErrUnavailable] if it could
	// not find out, or [envelope.ErrInvalidMessage] if no such message can be
	// valid. All else is a refusal that reaches that message only, because it may
	// be the configuration that lacks something: a message that counts as invalid
	// is one that nobody tries again. A panic is [envelope.ErrUnavailable].
	BranchKeyIDs func(ec envelope.EncryptionContext) (string, error)
}

// Keyring wraps data keys with a branch key of a [Store]. It has a cache of
// branch keys, and needs none around it. It is safe for concurrent use. Make it
// with [New].
type Keyring struct {
	store *Store
	ids   func(envelope.EncryptionContext) (string, error) // nil: always id
	id    string
	ec    envelope.EncryptionContext // of id, for the cache
	keys  *cache.Keyring             // of branch keys

	// workspaces are *workspace. A branch key that is no longer in use leaves them
	// as it leaves other memory, by the garbage collector.
	workspaces sync.Pool
}

var (
	_ envelope.Wrapper = (*Keyring)(nil)
	_ cache.Source     = (*Keyring)(nil)
)

// New returns a keyring that seals under the active version of the branch key
// branchKeyID, and opens messages under any version of it. With
// [Options.BranchKeyIDs], branchKeyID is empty.
//
// No call is made: a branch key that does not exist, or may not be used, shows
// at the first use.
func New(store *Store, branchKeyID string, optFns ...func(*Options)) (*Keyring, error) {
	if err := store.usable(); err != nil {
		return nil, err
	}
	// An error here is better than one at the first message.
	if fips140.Enforced() {
		return nil, errors.New("branchkey: GODEBUG=fips140=only refuses AES-GCM with the nonces that the message format prescribes; use fips140=on or off")
	}
	var o Options
	if err := optfn.Apply(&o, optFns); err != nil {
		return nil, fmt.Errorf("branchkey: %w", err)
	}
	switch {
	case o.BranchKeyIDs != nil && branchKeyID != "":
		return nil, fmt.Errorf("branchkey: branch key id %.300q together with Options.BranchKeyIDs: give one of them", branchKeyID)
	case o.BranchKeyIDs == nil && branchKeyID == "":
		return nil, errors.New("branchkey: the branch key id is empty: give one, or Options.BranchKeyIDs")
	case o.BranchKeyIDs == nil:
		if err := checkID(branchKeyID); err != nil {
			return nil, fmt.Errorf("branchkey: the branch key id %w", err)
		}
	}
	o.Cache.MaxMessages = 0 // a branch key that is asked for does not seal a message
	keys, err := cache.New(newSource(store), func(c *cache.Options) { *c = o.Cache })
	if err != nil {
		return nil, fmt.Errorf("branchkey: Options.Cache: %w", err)
	}
	return &Keyring{store: store, ids: o.BranchKeyIDs, id: branchKeyID, ec: sourceContext(branchKeyID), keys: keys}, nil
}

// GenerateDataKey implements [envelope.Keyring]. Every call makes a new data
// key. It reads the key store only if the active version of the branch key is
// not cached.
func (k *Keyring) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	secret := hedged(randomDataKey, &k.store.draws, nil, nil)
	defer clear(secret[:])
	edk, err := k.wrap(ctx, secret[:], ec)
	if err != nil {
		return nil, err
	}
	return envelope.NewDataKey(secret[:], edk)
}

// WrapDataKey implements [envelope.Wrapper].
func (k *Keyring) WrapDataKey(ctx context.Context, key *envelope.DataKey, ec envelope.EncryptionContext) (envelope.EncryptedDataKey, error) {
	if err := k.ready(ctx); err != nil {
		return envelope.EncryptedDataKey{}, err
	}
	secret := key.Plaintext()
	if len(secret) == 0 {
		return envelope.EncryptedDataKey{}, errors.New("branchkey: no data key to wrap: it is nil or was not made by envelope.NewDataKey")
	}
	defer clear(secret)
	return k.wrap(ctx, secret, ec)
}

func (k *Keyring) wrap(ctx context.Context, secret []byte, ec envelope.EncryptionContext) (envelope.EncryptedDataKey, error) {
	var none envelope.EncryptedDataKey
	id, err := k.branchKeyID(ec)
	if err != nil {
		return none, sealing(err)
	}
	key, err := k.keys.GenerateDataKey(ctx, k.cachedAs(id))
	if err != nil {
		return none, err
	}
	m := k.workspace()
	defer k.workspaces.Put(m)
	m.load(key)
	if err := m.bind(id, ec); err != nil {
		return none, fmt.Errorf("branchkey: %w", err)
	}
	saltIV := hedged(randomSaltIV, &k.store.draws, secret, m.aad)
	ciphertext, err := m.wrap(saltIV[:saltSize+ivSize], secret)
	if err != nil {
		return none, fmt.Errorf("branchkey: %w", err)
	}
	return envelope.EncryptedDataKey{ProviderID: ProviderID, ProviderInfo: []byte(id), Ciphertext: ciphertext}, nil
}

// DecryptDataKey implements [envelope.Keyring]. It tries the encrypted data
// keys that name the branch key, first those under versions that are cached. Of
// the other versions it reads at most 3, one after the other.
//
// A version that cannot be read is a refusal that reaches the messages under it
// only, and is remembered for 1 second, doubling to 10. Such look-ups are
// limited to 1,000 a second, after the first 1,000: beyond that they wait for
// their turn, up to 750 milliseconds. A version that has no turn in that time
// is not read, and the error is [envelope.ErrUnavailable]. A version that an
// eventually consistent read does not find gets the same error, if 100 others a
// second, after the first 100, had a consistent read. Versions that this
// keyring has read before are exempt. A second and a third version of one
// message do not wait for a turn, and are not read after one that was
// unavailable.
func (k *Keyring) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	d, err := k.begin(ec)
	if err != nil {
		return nil, err
	}
	if key := d.fromCache(ctx, edks); key != nil {
		return key, nil
	}
	return d.fromStore(ctx, edks)
}

// TryDecryptDataKey is DecryptDataKey for callers that have other work to do
// first: it never waits. It reports false if DecryptDataKey would read the key
// store or fail. See [cache.Keyring.TryDecryptDataKey].
func (k *Keyring) TryDecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, bool) {
	if k.ready(ctx) != nil {
		return nil, false
	}
	d, err := k.begin(ec)
	if err != nil {
		return nil, false
	}
	key := d.fromCache(ctx, edks)
	return key, key != nil
}

// Cached reports whether the branch key that any one of edks names is cached,
// in its version: DecryptDataKey then does not read the key store for it. (It
// may still fail, if the encrypted data key was altered.) Cached does not wait,
// starts no refresh, counts in no statistic, and does not make the branch key
// count as used.
func (k *Keyring) Cached(edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) bool {
	if k.usable() != nil {
		return false
	}
	d, err := k.begin(ec)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(edks, func(edk envelope.EncryptedDataKey) bool {
		return d.ours(&edk) && k.keys.Cached(versionsOf(&edk), nil)
	})
}

// ForgetFailures forgets the remembered refusals and outages of branch keys for
// opening. See [cache.Keyring.ForgetFailures].
func (k *Keyring) ForgetFailures() {
	if k.usable() == nil {
		k.keys.ForgetFailures()
	}
}

// Stats returns what the cache of branch keys did. A hit is a data key that was
// wrapped or unwrapped under a cached branch key, or could not be unwrapped.
func (k *Keyring) Stats() cache.Stats {
	if k.usable() != nil {
		return cache.Stats{}
	}
	return k.keys.Stats()
}

// Purge forgets every branch key, and every failure. See [envelope.Purger].
func (k *Keyring) Purge() {
	if k.usable() == nil {
		k.keys.Purge()
	}
}

// CheckDecrypt implements [envelope.DecryptChecker]: it reads from DynamoDB
// which version of the branch key for ec is active, and then that version,
// which it decrypts with KMS. So it fails if messages that are sealed now do
// not open.
func (k *Keyring) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	if err := k.ready(ctx); err != nil {
		return err
	}
	id, err := k.branchKeyID(ec)
	if err != nil {
		return fmt.Errorf("branchkey: %w: Options.BranchKeyIDs: %v", envelope.ErrCheckUnsupported, err)
	}
	err = k.keys.CheckDecrypt(ctx, k.cachedAs(id))
	keytrace.Checked(ctx, id, err)
	return err
}

// EncryptedDataKeySize returns how many bytes the encrypted data key of a
// message with that encryption context takes in its header.
func (k *Keyring) EncryptedDataKeySize(ec envelope.EncryptionContext) (int, error) {
	if err := k.usable(); err != nil {
		return 0, err
	}
	id, err := k.branchKeyID(ec)
	if err != nil {
		return 0, sealing(err)
	}
	const lengths = 3 * 2 // of the three fields
	return lengths + len(ProviderID) + len(id) + wrappedSize, nil
}

func (k *Keyring) usable() error {
	if k == nil || k.keys == nil {
		return errors.New("branchkey: Keyring is nil or zero: make it with New")
	}
	return nil
}

func (k *Keyring) ready(ctx context.Context) error {
	if err := k.usable(); err != nil {
		return err
	}
	return ctx.Err()
}

func (k *Keyring) workspace() *workspace {
	if m, ok := k.workspaces.Get().(*workspace); ok {
		return m
	}
	return new(workspace)
}

// branchKeyID returns the branch key for ec.
func (k *Keyring) branchKeyID(ec envelope.EncryptionContext) (string, error) {
	if k.ids == nil {
		return k.id, nil
	}
	return k.chooseID(ec)
}

// cachedAs is the encryption context that the active version of a branch key is
// cached under.
func (k *Keyring) cachedAs(id string) envelope.EncryptionContext {
	if k.ids == nil {
		return k.ec
	}
	return sourceContext(id)
}

// chooseID calls Options.BranchKeyIDs.
func (k *Keyring) chooseID(ec envelope.EncryptionContext) (id string, err error) {
	contain.Run("branchkey: Options.BranchKeyIDs", "the function", func() (err error) {
		id, err = k.ids(ec)
		return err
	}, func(e error) { err = e })
	if err != nil {
		return "", err
	}
	if err := checkID(id); err != nil {
		return "", fmt.Errorf("the id that it returned %w", err)
	}
	return id, nil
}

// noID is the error of a message for which the user's function returned err.
// Its class is err's.
func noID(err error) error {
	switch {
	case errors.Is(err, envelope.ErrUnavailable):
		err = fmt.Errorf("branchkey: Options.BranchKeyIDs: %w", keyerr.NotCallers(err))
	case keyerr.IsCancellation(err), keyerr.IsNetwork(err):
		err = fmt.Errorf("branchkey: Options.BranchKeyIDs: %w: %w", envelope.ErrUnavailable, keyerr.NotCallers(err))
	default:
		return fmt.Errorf("branchkey: Options.BranchKeyIDs: %w", err)
	}
	// No outage of the key service: a sender may have written a context for which
	// the function fails.
	return keyerr.NotAsked(err)
}

// opening is noID for a message that is opened.
func opening(err error) error {
	err = noID(err)
	if errors.Is(err, envelope.ErrUnavailable) || errors.Is(err, envelope.ErrInvalidMessage) {
		return err
	}
	return &envelope.RefusedError{Reach: envelope.ReachEntry, Err: err}
}

// sealing is noID for a message that is sealed, which cannot be invalid.
func sealing(err error) error {
	switch err = noID(err); {
	case errors.Is(err, envelope.ErrUnavailable):
		return err
	case errors.Is(err, envelope.ErrInvalidMessage):
		err = errors.New(err.Error())
	}
	return &envelope.RefusedError{Reach: envelope.ReachEntry, Err: err}
}
