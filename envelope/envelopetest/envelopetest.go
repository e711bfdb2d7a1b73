package envelopetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// TestKeyring tests a Keyring. newKeyring returns a new keyring on every call;
// all that it returns must be able to open what any of them sealed, as the
// processes of one service can.
func TestKeyring(t *testing.T, newKeyring func(t *testing.T) envelope.Keyring) {
	t.Helper()
	for _, r := range keyringRules {
		t.Run(r.name, func(t *testing.T) {
			report(t, r.name, r.why, func() error {
				return r.check(t.Context(), func() envelope.Keyring { return newKeyring(t) })
			})
		})
	}
}

// TestWrapper tests a Wrapper: as a Keyring, and then what it wraps. newWrapper
// is as in [TestKeyring].
func TestWrapper(t *testing.T, newWrapper func(t *testing.T) envelope.Wrapper) {
	t.Helper()
	TestKeyring(t, func(t *testing.T) envelope.Keyring { return newWrapper(t) })
	for _, r := range wrapperRules {
		t.Run(r.name, func(t *testing.T) {
			report(t, r.name, r.why, func() error {
				return r.check(t.Context(), func() envelope.Wrapper { return newWrapper(t) })
			})
		})
	}
}

// rule is one clause of the contract.
type rule[K any] struct {
	name, why string
	check     func(ctx context.Context, newKeyring func() K) error
}

func report(t *testing.T, name, why string, check func() error) {
	t.Helper()
	if err := protect(check); err != nil {
		t.Errorf("%s: %v\n%s", name, err, why)
	}
}

// protect turns a panic of the implementation into an error. A newKeyring that
// calls t.Fatal is no panic, and passes.
func protect(check func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return check()
}

// contextValue stands in the contexts of every call that should fail, so that
// it can be looked for in errors.
const contextValue = "a-value-that-no-error-shows"

// newContext returns an encryption context that no earlier call has used, so
// that a keyring with a cache has nothing cached for it.
func newContext() envelope.EncryptionContext {
	return envelope.EncryptionContext{
		"purpose": contextValue,
		"é":       "日本",
		"unique":  rand.Text(),
	}
}

// generate calls GenerateDataKey and checks what holds for every call.
func generate(ctx context.Context, kr envelope.Keyring, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	key, err := kr.GenerateDataKey(ctx, ec)
	return key, checkResult("GenerateDataKey", key, err)
}

// decrypt calls DecryptDataKey and checks what holds for every call: a key
// comes with exactly the one encrypted data key that was decrypted.
func decrypt(ctx context.Context, kr envelope.Keyring, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	before := cloneKeys(edks)
	key, err := kr.DecryptDataKey(ctx, edks, ec)
	if err := checkResult("DecryptDataKey", key, err); err != nil {
		return nil, err
	}
	got := key.EncryptedDataKeys()
	if len(got) != 1 {
		return nil, broken("DecryptDataKey returned a data key with %d encrypted forms, want only the one that it decrypted", len(got))
	}
	if !slices.ContainsFunc(before, got[0].Equal) {
		return nil, broken("DecryptDataKey returned a data key whose encrypted form is none of those given")
	}
	return key, nil
}

// wrap calls WrapDataKey and checks what holds for every call.
func wrap(ctx context.Context, w envelope.Wrapper, key *envelope.DataKey, ec envelope.EncryptionContext) (envelope.EncryptedDataKey, error) {
	edk, err := w.WrapDataKey(ctx, key, ec)
	switch {
	case err != nil && shows(err):
		return edk, broken("WrapDataKey's error holds a value of the encryption context: %w", err)
	case err != nil:
		return edk, err
	case edk.ProviderID == "" || len(edk.Ciphertext) == 0:
		return edk, broken("WrapDataKey returned neither an encrypted data key nor an error")
	}
	return edk, nil
}

// checkResult returns err, or what is wrong with key and err in any case.
func checkResult(call string, key *envelope.DataKey, err error) error {
	switch {
	case err != nil && key != nil:
		return broken("%s returned both a data key and an error: %w", call, err)
	case err != nil && shows(err):
		return broken("%s's error holds a value of the encryption context: %w", call, err)
	case err == nil && len(key.Plaintext()) == 0:
		return broken("%s returned neither a data key nor an error", call)
	}
	return err
}

// brokenError is a broken rule, as opposed to an error that the implementation
// may rightly have returned.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

func broken(format string, args ...any) error { return brokenError{fmt.Errorf(format, args...)} }

// refusedAs returns nil if err is the error that a call should have failed
// with.
func refusedAs(call string, err, want error) error {
	if b, ok := errors.AsType[brokenError](err); ok {
		return b
	}
	switch {
	case err == nil:
		return broken("%s succeeded, want an error that wraps %q", call, want)
	case !errors.Is(err, want):
		return broken("%s failed with %q, want an error that wraps %q", call, err, want)
	case errors.Is(err, envelope.ErrUnavailable):
		return broken("%s failed with %q, which wraps %q as well", call, err, envelope.ErrUnavailable)
	}
	return nil
}

func shows(err error) bool { return strings.Contains(err.Error(), contextValue) }

func cloneKeys(edks []envelope.EncryptedDataKey) []envelope.EncryptedDataKey {
	clones := make([]envelope.EncryptedDataKey, len(edks))
	for i, k := range edks {
		clones[i] = k.Clone()
	}
	return clones
}
