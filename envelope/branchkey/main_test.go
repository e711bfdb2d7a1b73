package branchkey_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const logicalName = "orders-key-store"

var ec = envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:us-east-1:111122223333:orders"}

// world is a KMS with a key, and a table.
type world struct {
	t      testing.TB
	srv    *sqsxtest.Server
	kms    *kms.Client
	ddb    *table
	keyARN string
}

func newWorld(t testing.TB) *world {
	srv := sqsxtest.New(t)
	w := &world{t: t, srv: srv, kms: kms.NewFromConfig(srv.Config()), ddb: newTable()}
	w.keyARN = w.key(false)
	return w
}

// on returns w for a test of its own.
func (w *world) on(t testing.TB) *world {
	copied := *w
	copied.t = t
	return &copied
}

func (w *world) key(multiRegion bool) (arn string) {
	w.t.Helper()
	out, err := w.kms.CreateKey(w.t.Context(), &kms.CreateKeyInput{MultiRegion: &multiRegion})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

func (w *world) disable(arn string) {
	w.t.Helper()
	if _, err := w.kms.DisableKey(w.t.Context(), &kms.DisableKeyInput{KeyId: &arn}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) store(optFns ...func(*branchkey.StoreOptions)) *branchkey.Store {
	w.t.Helper()
	s, err := branchkey.NewStore(w.ddb, w.kms, append([]func(*branchkey.StoreOptions){func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = "keys", logicalName, w.keyARN
	}}, optFns...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// create makes a branch key and returns its version.
func (w *world) create(s *branchkey.Store, id string) string {
	w.t.Helper()
	version, err := s.Create(w.t.Context(), id, map[string]string{"purpose": "orders"})
	if err != nil {
		w.t.Fatal(err)
	}
	return version
}

func (w *world) rotate(s *branchkey.Store, id string) string {
	w.t.Helper()
	version, err := s.Rotate(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return version
}

func (w *world) keyring(s *branchkey.Store, id string, optFns ...func(*branchkey.Options)) *branchkey.Keyring {
	w.t.Helper()
	k, err := branchkey.New(s, id, optFns...)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) seal(kr envelope.Keyring) *envelope.DataKey {
	w.t.Helper()
	key, err := kr.GenerateDataKey(w.t.Context(), ec)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) open(kr envelope.Keyring, key *envelope.DataKey) error {
	w.t.Helper()
	got, err := kr.DecryptDataKey(w.t.Context(), key.EncryptedDataKeys(), ec)
	if err == nil && string(got.Plaintext()) != string(key.Plaintext()) {
		w.t.Fatal("another data key came back")
	}
	return err
}

// edit changes an item of the table.
func (w *world) edit(id, itemType string, change func(attributes)) {
	w.t.Helper()
	w.ddb.mu.Lock()
	defer w.ddb.mu.Unlock()
	old := w.ddb.items[place{id, itemType}]
	if old == nil {
		w.t.Fatalf("no item %q %q", id, itemType)
	}
	item := maps.Clone(old)
	change(item)
	w.ddb.items[place{id, itemType}] = item
}

// class names the class of an error, in the order that package envelope
// prescribes.
func class(err error) string {
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, envelope.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "caller"
	case errors.Is(err, envelope.ErrInvalidMessage):
		return "message"
	}
	if refused, ok := errors.AsType[*envelope.RefusedError](err); ok {
		if refused.Reach == envelope.ReachEntry {
			return "refused: entry"
		}
		if refused.KeyInfo != "" {
			return "refused: " + refused.KeyInfo
		}
		return "refused: unknown reach"
	}
	return "refused: no reach"
}

