package branchkey

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/budget"
	"github.com/sealq/sealq/internal/keyerr"
	"github.com/sealq/sealq/internal/keytrace"
)

const (
	// failuresPerSecond and failureBurst bound the look-ups of versions that fail
	// and are no outage, as those of package kmskeyring bound failing calls of
	// KMS. Anyone who may send can cause them, by a new version in each message.
	// They must be many: messages wait for their turn together with those received
	// with them.
	failuresPerSecond = 1000
	failureBurst      = 1000

	// confirmsPerSecond and confirmBurst bound the consistent reads among them. An
	// eventually consistent read takes 0.5 and a consistent one 1 of the 3,000
	// read units a second that DynamoDB serves from one partition (Amazon DynamoDB
	// Developer Guide, partition key design), where all items of a branch key are.
	// So a process under a flood takes 600 at most. A consistent read is needed
	// for a version that was made a moment ago, and does not wait for a turn.
	confirmsPerSecond = 100
	confirmBurst      = 100

	// turnPatience is how long a look-up waits for its turn. It is below one
	// second, after which package cache treats a wrapping key without an answer as
	// unreachable.
	turnPatience = 750 * time.Millisecond

	// keptVersions bounds the versions that are known to exist. A process has one
	// or two for each of its branch keys.
	keptVersions = 1 << 14
)

// branchKeyProvider is the provider ID of a branch key in the cache. No message
// has it: a branch key is never the data key of a message.
const branchKeyProvider = "branch-key"

// source is a [Store] as an [envelope.Keyring], for the cache: a branch key is
// a data key whose encrypted form names its id and version. To generate one is
// to read the active version, of the branch key that the encryption context
// names.
type source struct {
	store    *Store
	lookUps  budget.Budget
	confirms budget.Budget // the consistent reads of lookUps

	mu     sync.Mutex
	exists map[lookUp]struct{} // versions that were read
}

// lookUp names a version.
type lookUp struct {
	id string
	version
}

func newSource(s *Store) *source {
	return &source{
		store:    s,
		lookUps:  budget.Budget{PerSecond: failuresPerSecond, Burst: failureBurst},
		confirms: budget.Budget{PerSecond: confirmsPerSecond, Burst: confirmBurst},
		exists:   make(map[lookUp]struct{}),
	}
}

var (
	_ envelope.Keyring        = (*source)(nil)
	_ envelope.DecryptChecker = (*source)(nil)
)

// turnless is the key of a context's mark.
type turnless struct{}

// withoutTurn marks ctx for look-ups that do not wait for a turn: those of a
// second and third version for one message. No writer names more than one, and
// a flood of messages that do must not take the turns of others.
func withoutTurn(ctx context.Context) context.Context {
	return context.WithValue(ctx, turnless{}, true)
}

// sourceContext is the encryption context that an active version is cached
// under.
func sourceContext(id string) envelope.EncryptionContext {
	return envelope.EncryptionContext{attrID: id}
}

// versionKey is a version as the encrypted form of a branch key.
func versionKey(id, v []byte) envelope.EncryptedDataKey {
	return envelope.EncryptedDataKey{ProviderID: branchKeyProvider, ProviderInfo: id, Ciphertext: v}
}

// branchKeyOf is a branch key as a data key.
func branchKeyOf(id string, v version, plaintext []byte) (*envelope.DataKey, error) {
	return envelope.NewDataKey(plaintext, versionKey([]byte(id), v[:]))
}

// GenerateDataKey returns the active version.
func (s *source) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	return s.store.read(ctx, ec[attrID], typeActive)
}

// DecryptDataKey returns the version that edks, of which there is one, names.
// It has no encryption context.
func (s *source) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	if len(edks) != 1 || len(edks[0].Ciphertext) != versionSize {
		return nil, errors.New("branchkey: not the name of one version")
	}
	id, v := string(edks[0].ProviderInfo), version(edks[0].Ciphertext)
	at, q := lookUp{id, v}, s.store.question(id, v.itemType())
	if s.known(at) {
		return s.store.read(ctx, id, v.itemType())
	}
	notNow := func(perSecond int) error {
		return keyerr.NotAsked(fmt.Errorf("branchkey: %s: %w: not looked up now: %d messages a second name versions that cannot be read, and it had no turn among them; see who sends them",
			q, envelope.ErrUnavailable, perSecond))
	}
	patient := time.Now()
	if ctx.Value(turnless{}) == nil {
		patient = patient.Add(turnPatience)
	}
	if !s.lookUps.Turn(ctx, patient) {
		return nil, notNow(failuresPerSecond)
	}
	it, found, err := s.store.find(ctx, q, false)
	confirm := !found && err == nil
	if confirm {
		if !s.confirms.Turn(ctx, time.Now()) {
			return nil, notNow(confirmsPerSecond)
		}
		it, err = s.store.findConsistently(ctx, q)
	}
	var key *envelope.DataKey
	if err == nil {
		key, err = s.store.decrypt(ctx, q, it)
	}
	if err == nil {
		s.learn(at)
	}
	if _, refused := errors.AsType[*envelope.RefusedError](err); !refused {
		s.lookUps.Refund()
		if confirm {
			s.confirms.Refund()
		}
	}
	return key, err
}

// CheckDecrypt reads the version that is active, from its own item: consumers
// need that one for what producers seal now. The active item says which version
// it is, and need not be decrypted for that.
func (s *source) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	id := ec[attrID]
	active, err := s.store.findNew(ctx, s.store.question(id, typeActive))
	if err == nil {
		_, err = s.store.read(ctx, id, active.version.itemType())
	}
	keytrace.Checked(ctx, id, err)
	return err
}

func (s *source) known(at lookUp) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.exists[at]
	return ok
}

// learn notes that a version exists. To forget them all where there are too
// many costs at most some patience.
func (s *source) learn(at lookUp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.exists) >= keptVersions {
		clear(s.exists)
	}
	s.exists[at] = struct{}{}
}
