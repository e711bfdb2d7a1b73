package sqsx_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// kind is a key service of one kind of data keys. It holds the data keys that
// it generated.
type kind struct {
	provider string

	mu     sync.Mutex
	keys   map[string][]byte // by encrypted data key
	err    error             // of every call
	check  error             // of CheckDecrypt
	hangs  bool              // until the caller's context ends
	asked  []string          // the providers of what DecryptDataKey was asked about
	purged int
}

func newKind(provider string) *kind { return &kind{provider: provider, keys: make(map[string][]byte)} }

func (k *kind) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	plaintext := make([]byte, envelope.DataKeySize)
	rand.Read(plaintext)
	return k.holds(plaintext)
}

// holds makes k decrypt an encrypted data key of plaintext.
func (k *kind) holds(plaintext []byte) (*envelope.DataKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	edk := envelope.EncryptedDataKey{ProviderID: k.provider, ProviderInfo: []byte("key of " + k.provider), Ciphertext: []byte(rand.Text())}
	k.keys[string(edk.Ciphertext)] = plaintext
	return envelope.NewDataKey(plaintext, edk)
}

func (k *kind) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, edk := range edks {
		k.asked = append(k.asked, edk.ProviderID)
	}
	if k.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if k.err != nil {
		return nil, k.err
	}
	for _, edk := range edks {
		if plaintext := k.keys[string(edk.Ciphertext)]; plaintext != nil {
			return envelope.NewDataKey(plaintext, edk)
		}
	}
	return nil, envelope.ErrNoMatchingKey
}

func (k *kind) CheckDecrypt(context.Context, envelope.EncryptionContext) error { return k.check }

func (k *kind) Purge() { k.purged++ }

// providers returns what DecryptDataKey was asked about since the last call.
func (k *kind) providers() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	asked := k.asked
	k.asked = nil
	return asked
}

const (
	branchProvider = "aws-kms-hierarchy"
	kmsProvider    = "aws-kms"
)

// mixture is a mixed Source and what it consists of.
type mixture struct {
	cache.Source
	branch, kms             *kind
	branchSource, kmsSource cache.Source
}

func newMixture(t *testing.T) *mixture {
	t.Helper()
	m := &mixture{branch: newKind(branchProvider), kms: newKind(kmsProvider)}
	source := func(k *kind) cache.Source {
		c, err := cache.New(k)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	m.branchSource, m.kmsSource = source(m.branch), source(m.kms)
	m.Source = sqsx.NewMixedSource(m.branchSource, m.branchSource, m.kmsSource)
	return m
}

// edks returns encrypted data keys of one new data key, one under each of
// kinds.
func edks(t *testing.T, kinds ...*kind) []envelope.EncryptedDataKey {
	t.Helper()
	plaintext := make([]byte, envelope.DataKeySize)
	rand.Read(plaintext)
	var all []envelope.EncryptedDataKey
	for _, k := range kinds {
		key, err := k.holds(plaintext)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, key.EncryptedDataKeys()...)
	}
	return all
}

func TestMixedSourceSorts(t *testing.T) {
	t.Parallel()
	other := newKind("raw")
	for name, tc := range map[string]struct {
		kinds               func(m *mixture) []*kind
		askBranch, askOfKMS []string
		opens               string
	}{
		"branch key":                  {func(m *mixture) []*kind { return []*kind{m.branch} }, []string{branchProvider}, nil, branchProvider},
		"KMS":                         {func(m *mixture) []*kind { return []*kind{m.kms} }, nil, []string{kmsProvider}, kmsProvider},
		"branch key beside another":   {func(m *mixture) []*kind { return []*kind{other, m.branch} }, []string{branchProvider}, nil, branchProvider},
		"KMS beside another":          {func(m *mixture) []*kind { return []*kind{m.kms, other} }, nil, []string{kmsProvider}, kmsProvider},
		"both, the branch key first":  {func(m *mixture) []*kind { return []*kind{m.branch, m.kms} }, []string{branchProvider}, nil, branchProvider},
		"both, the branch key last":   {func(m *mixture) []*kind { return []*kind{m.kms, m.branch} }, []string{branchProvider}, nil, branchProvider},
		"several of each and another": {func(m *mixture) []*kind { return []*kind{m.kms, other, m.branch, m.kms, m.branch} }, []string{branchProvider, branchProvider}, nil, branchProvider},
		"neither":                     {func(*mixture) []*kind { return []*kind{other, other} }, nil, nil, ""},
		"none":                        {func(*mixture) []*kind { return nil }, nil, nil, ""},
	} {
		m := newMixture(t)
		of := edks(t, tc.kinds(m)...)
		before := slices.Clone(of)
		key, err := m.DecryptDataKey(t.Context(), of, nil)
		if !slices.EqualFunc(of, before, envelope.EncryptedDataKey.Equal) {
			t.Errorf("%s: the caller's slice was changed", name)
		}
		if tc.opens == "" {
			if !errors.Is(err, envelope.ErrNoMatchingKey) || !strings.Contains(err.Error(), branchProvider) || !strings.Contains(err.Error(), `"aws-kms"`) || !strings.Contains(err.Error(), "Policy.Keyring") {
				t.Errorf("%s: got %v, want an ErrNoMatchingKey with what this process opens, and the remedy", name, err)
			}
			if stats := m.Stats(); stats.Misses != 0 {
				t.Errorf("%s: %d misses of a cache, want none", name, stats.Misses)
			}
			if _, ok := m.TryDecryptDataKey(t.Context(), of, nil); ok || m.Cached(of, nil) {
				t.Errorf("%s: found in a cache", name)
			}
			continue
		}
		if err != nil || key.EncryptedDataKeys()[0].ProviderID != tc.opens {
			t.Errorf("%s: got %v, want the data key of %s", name, err, tc.opens)
		}
		if got := m.branch.providers(); !slices.Equal(got, tc.askBranch) {
			t.Errorf("%s: the key store was asked about %q, want %q", name, got, tc.askBranch)
		}
		if got := m.kms.providers(); !slices.Equal(got, tc.askOfKMS) {
			t.Errorf("%s: KMS was asked about %q, want %q", name, got, tc.askOfKMS)
		}
		if _, ok := m.TryDecryptDataKey(t.Context(), of, nil); !ok || !m.Cached(of, nil) {
			t.Errorf("%s: not cached after it was opened", name)
		}
	}
}

// TestMixedSourceOfBothKinds: a message with data keys of both kinds.
func TestMixedSourceOfBothKinds(t *testing.T) {
	t.Parallel()
	unavailable := errors.Join(envelope.ErrUnavailable, errors.New("down"))
	refused := &envelope.RefusedError{Reach: envelope.ReachEntry, Err: errors.New("denied")}
	for name, tc := range map[string]struct {
		branch, kms error
		opens       string // "" for none
		want        error
		invalid     bool
	}{
		"branch key refused":           {refused, nil, kmsProvider, nil, false},
		"branch key unavailable":       {unavailable, nil, kmsProvider, nil, false},
		"branch key does not match":    {envelope.ErrNoMatchingKey, nil, kmsProvider, nil, false},
		"neither matches":              {envelope.ErrNoMatchingKey, envelope.ErrNoMatchingKey, "", envelope.ErrNoMatchingKey, true},
		"one unavailable":              {unavailable, envelope.ErrNoMatchingKey, "", envelope.ErrUnavailable, false},
		"the other unavailable":        {envelope.ErrNoMatchingKey, unavailable, "", envelope.ErrUnavailable, false},
		"one refused, one unavailable": {refused, unavailable, "", refused, false},
		"one refused":                  {envelope.ErrNoMatchingKey, refused, "", refused, false},
	} {
		m := newMixture(t)
		both := edks(t, m.kms, m.branch)
		m.branch.err, m.kms.err = tc.branch, tc.kms
		key, err := m.DecryptDataKey(t.Context(), both, nil)
		switch {
		case tc.opens != "":
			if err != nil || key.EncryptedDataKeys()[0].ProviderID != tc.opens {
				t.Errorf("%s: got %v, want the data key of %s", name, err, tc.opens)
			}
		case !errors.Is(err, tc.want) || envelope.IsInvalidMessage(err) != tc.invalid:
			t.Errorf("%s: got %v, want %v, invalid message %v", name, err, tc.want, tc.invalid)
		}
	}

	t.Run("a cached one is used", func(t *testing.T) {
		t.Parallel()
		m := newMixture(t)
		both := edks(t, m.branch, m.kms)
		if _, err := m.kmsSource.DecryptDataKey(t.Context(), both[1:], nil); err != nil {
			t.Fatal(err)
		}
		key, err := m.DecryptDataKey(t.Context(), both, nil)
		if err != nil || key.EncryptedDataKeys()[0].ProviderID != kmsProvider {
			t.Errorf("got %v, want the data key that is cached", err)
		}
		if asked := m.branch.providers(); len(asked) > 0 {
			t.Errorf("the key store was asked about %q, want nothing", asked)
		}
	})
	t.Run("one hangs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			m := newMixture(t)
			both := edks(t, m.branch, m.kms)
			m.branch.hangs = true
			began := time.Now()
			key, err := m.DecryptDataKey(t.Context(), both, nil)
			if err != nil || key.EncryptedDataKeys()[0].ProviderID != kmsProvider {
				t.Errorf("got %v, want the data key of KMS", err)
			}
			if d := time.Since(began); d != time.Second {
				t.Errorf("took %v, want 1s", d)
			}
			time.Sleep(time.Minute) // the fetch ends
		})
	})
	t.Run("the caller ends", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			m := newMixture(t)
			both := edks(t, m.branch, m.kms)
			m.branch.err, m.kms.hangs = refused, true
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := m.DecryptDataKey(ctx, both, nil)
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, refused) || errors.Is(err, envelope.ErrUnavailable) {
				t.Errorf("got %v, want the end of the caller's context and no verdict", err)
			}
			cancel()
			for _, of := range [][]envelope.EncryptedDataKey{both, edks(t, newKind("raw"))} {
				if _, err := m.DecryptDataKey(ctx, of, nil); !errors.Is(err, ctx.Err()) || errors.Is(err, envelope.ErrInvalidMessage) {
					t.Errorf("after its end: got %v, want no verdict", err)
				}
			}
			if err := m.CheckDecrypt(ctx, nil); !errors.Is(err, ctx.Err()) {
				t.Errorf("CheckDecrypt: got %v, want the end of the caller's context", err)
			}
			time.Sleep(time.Minute)
		})
	})
}

// TestMixedSourceCheck: who may open one kind may receive.
func TestMixedSourceCheck(t *testing.T) {
	t.Parallel()
	entry := &envelope.RefusedError{Reach: envelope.ReachEntry, Err: errors.New("denied")}
	key := &envelope.RefusedError{KeyInfo: "k", Err: errors.New("disabled")}
	down := errors.Join(envelope.ErrUnavailable, errors.New("down"))
	for name, tc := range map[string]struct {
		branch, kms error
		want        []error // in the chain; nil: yes
	}{
		"both":                     {nil, nil, nil},
		"branch keys":              {nil, entry, nil},
		"branch keys, KMS down":    {nil, down, nil},
		"KMS":                      {entry, nil, nil},
		"KMS, DynamoDB down":       {down, nil, nil},
		"neither":                  {entry, key, []error{entry, key}},
		"neither, one without say": {envelope.ErrCheckUnsupported, down, []error{envelope.ErrCheckUnsupported, down}},
	} {
		m := newMixture(t)
		m.branch.check, m.kms.check = tc.branch, tc.kms
		err := m.CheckDecrypt(t.Context(), nil)
		if (err == nil) != (tc.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
		for _, want := range tc.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v in its chain", name, err, want)
			}
		}
	}
}

// TestMixedSourceIsBoth: what is said to it reaches both, and it counts both.
func TestMixedSourceIsBoth(t *testing.T) {
	t.Parallel()
	m := newMixture(t)
	for _, seals := range []cache.Source{m.branchSource, m.kmsSource} {
		source := sqsx.NewMixedSource(seals, m.branchSource, m.kmsSource)
		want, err := seals.GenerateDataKey(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := source.GenerateDataKey(t.Context(), nil); err != nil || got != want {
			t.Errorf("got %v, %v, want the data key of the one that seals", got, err)
		}
	}
	denied := &envelope.RefusedError{Reach: envelope.ReachEntry, Err: errors.New("denied")}
	branch, kms := edks(t, m.branch), edks(t, m.kms)
	m.branch.err, m.kms.err = denied, denied
	for _, of := range [][]envelope.EncryptedDataKey{branch, kms} {
		if _, err := m.DecryptDataKey(t.Context(), of, nil); !errors.Is(err, denied) {
			t.Fatalf("got %v, want the refusal", err)
		}
	}
	m.branch.err, m.kms.err = nil, nil
	m.ForgetFailures()
	for _, of := range [][]envelope.EncryptedDataKey{branch, kms} {
		if _, err := m.DecryptDataKey(t.Context(), of, nil); err != nil {
			t.Errorf("got %v, want both to have forgotten the refusal", err)
		}
	}
	if got, a, b := m.Stats(), m.branchSource.Stats(), m.kmsSource.Stats(); got.Fetches != a.Fetches+b.Fetches || got.DecryptEntries != 2 || got.EncryptEntries != 2 || got.Refusals != 2 {
		t.Errorf("got %+v, want the sums of %+v and %+v", got, a, b)
	}
	m.Purge()
	if m.Cached(branch, nil) || m.Cached(kms, nil) || m.branch.purged != 1 || m.kms.purged != 1 {
		t.Error("Purge did not reach both")
	}
}
