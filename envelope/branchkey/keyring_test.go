package branchkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/internal/keyerr"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	ids := func(o *branchkey.Options) {
		o.BranchKeyIDs = func(envelope.EncryptionContext) (string, error) { return "orders", nil }
	}
	for name, test := range map[string]struct {
		id     string
		optFns []func(*branchkey.Options)
		want   string
	}{
		"no id":                  {"", nil, "the branch key id is empty: give one, or Options.BranchKeyIDs"},
		"an id and a function":   {"orders", []func(*branchkey.Options){ids}, "together with Options.BranchKeyIDs"},
		"an id that is too long": {strings.Repeat("x", 2049), nil, "is 2049 bytes, want at most 2048"},
		"an id that is no UTF-8": {"\xff", nil, "is not UTF-8"},
		"a nil function":         {"orders", []func(*branchkey.Options){nil}, "option function 0 is nil"},
		"an option of the cache": {"orders", []func(*branchkey.Options){func(o *branchkey.Options) { o.Cache.ReusePeriod = time.Second }},
			"Options.Cache: cache: ReusePeriod is 1s, want 1m0s to 24h0m0s"},
	} {
		if _, err := branchkey.New(store, test.id, test.optFns...); err == nil || !strings.HasPrefix(err.Error(), "branchkey: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
	for name, kr := range map[string]*branchkey.Keyring{"nil": nil, "zero": new(branchkey.Keyring)} {
		kr.Purge()
		kr.ForgetFailures()
		if kr.Cached(nil, ec) || kr.Stats() != (cache.Stats{}) {
			t.Errorf("%s: something is cached", name)
		}
		if _, ok := kr.TryDecryptDataKey(t.Context(), nil, ec); ok {
			t.Errorf("%s: something was decrypted", name)
		}
		for _, err := range []error{
			second(kr.GenerateDataKey(t.Context(), ec)), second(kr.DecryptDataKey(t.Context(), nil, ec)),
			second(kr.WrapDataKey(t.Context(), nil, ec)), kr.CheckDecrypt(t.Context(), ec), second(kr.EncryptedDataKeySize(ec)),
		} {
			if err == nil || !strings.Contains(err.Error(), "make it with New") {
				t.Errorf("%s: got %v, want the remedy", name, err)
			}
		}
	}
}

// TestCalls: a branch key is read once, for any number of messages and
// contexts, and every message has a data key of its own.
func TestCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	version := w.create(store, "orders")
	kr := w.keyring(store, "orders", func(o *branchkey.Options) { o.Cache.MaxMessages = 1 }) // has no effect
	seen := make(map[string]bool)
	var keys []*envelope.DataKey
	w.wantCalls("sealing 50 messages", 1, 1, func() {
		for i := range 50 {
			key, err := kr.GenerateDataKey(t.Context(), envelope.EncryptionContext{"queue": fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
			edk := key.EncryptedDataKeys()[0]
			if edk.ProviderID != "aws-kms-hierarchy" || string(edk.ProviderInfo) != "orders" || len(edk.Ciphertext) != 92 || !bytes.Equal(edk.Ciphertext[28:44], versionBytes(t, version)) {
				t.Fatalf("got encrypted data key %q %q %x", edk.ProviderID, edk.ProviderInfo, edk.Ciphertext)
			}
			for _, part := range []string{string(key.Plaintext()), string(edk.Ciphertext[:16]), string(edk.Ciphertext[16:28])} {
				if seen[part] {
					t.Fatalf("a data key, a salt or an IV came twice: %x", part)
				}
				seen[part] = true
			}
		}
	})
	w.wantCalls("opening them", 1, 1, func() {
		for i, key := range keys {
			if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), envelope.EncryptionContext{"queue": fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if s := kr.Stats(); s.Fetches != 2 || s.EncryptEntries != 1 || s.DecryptEntries != 1 {
		t.Errorf("got %+v, want two branch keys by two fetches", s)
	}
	w.wantCalls("after Purge", 2, 2, func() {
		kr.Purge()
		w.mustOpen(kr, w.seal(kr))
	})
	w.wantCalls("the check, twice", 4, 2, func() {
		for range 2 {
			if err := kr.CheckDecrypt(t.Context(), ec); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestTryDecryptDataKey never asks.
func TestTryDecryptDataKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	kr := w.keyring(store, "orders")
	key := w.seal(kr)
	edks := key.EncryptedDataKeys()
	w.wantCalls("cold", 0, 0, func() {
		if _, ok := kr.TryDecryptDataKey(t.Context(), edks, ec); ok || kr.Cached(edks, ec) {
			t.Error("cold: there is a branch key")
		}
	})
	w.mustOpen(kr, key)
	w.wantCalls("warm", 0, 0, func() {
		got, ok := kr.TryDecryptDataKey(t.Context(), edks, ec)
		if !ok || !bytes.Equal(got.Plaintext(), key.Plaintext()) || !kr.Cached(edks, ec) {
			t.Error("warm: there is no branch key")
		}
		if _, ok := kr.TryDecryptDataKey(t.Context(), edks, nil); ok {
			t.Error("opened under another context")
		}
		if _, ok := kr.TryDecryptDataKey(t.Context(), []envelope.EncryptedDataKey{forged("orders", 1), edks[0]}, ec); !ok {
			t.Error("an entry under another version hides one that opens")
		}
		if kr.Cached([]envelope.EncryptedDataKey{forged("orders", 1)}, ec) || kr.Cached(nil, ec) {
			t.Error("a version that does not exist is cached")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := kr.TryDecryptDataKey(ended, edks, ec); ok {
			t.Error("opened for a caller that has gone")
		}
	})
}

// TestEncryptedDataKeySize is what a message header gets longer by.
func TestEncryptedDataKeySize(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	for _, id := range []string{"a", "orders-é", strings.Repeat("x", 2048)} {
		w.create(store, id)
		kr := w.keyring(store, id)
		m, err := envelope.Seal(t.Context(), kr, nil, ec)
		if err != nil {
			t.Fatal(err)
		}
		key, err := envelope.NewDataKey(make([]byte, 32), envelope.EncryptedDataKey{ProviderID: "p", Ciphertext: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		short, err := envelope.Seal(t.Context(), fixedKey{key}, nil, ec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := kr.EncryptedDataKeySize(ec)
		if want := len(m.Header) - (len(short.Header) - (6 + 1 + 0 + 1)); err != nil || got != want {
			t.Errorf("id of %d bytes: got %d and error %v, want %d", len(id), got, err, want)
		}
	}
}

type fixedKey struct{ key *envelope.DataKey }

func (k fixedKey) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.key, nil
}

func (k fixedKey) DecryptDataKey(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.key, nil
}

// TestRotation: producers go on with what is cached, consumers follow the
// message, and both versions open.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	producer, consumer := w.keyring(store, "orders"), w.keyring(store, "orders")
	old := w.seal(producer)
	w.mustOpen(consumer, old)
	w.rotate(store, "orders")
	w.wantCalls("after the rotation", 0, 0, func() { w.mustOpen(consumer, w.seal(producer)) })
	restarted := w.keyring(store, "orders")
	w.wantCalls("a new producer and the consumer", 2, 2, func() {
		for range 3 {
			w.mustOpen(consumer, w.seal(restarted))
			w.mustOpen(consumer, old)
		}
	})
}

// TestInvalidMessages are no refusals, and cost no call once the version is
// cached.
func TestInvalidMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	w.create(store, "payments")
	kr := w.keyring(store, "orders")
	key := w.seal(kr)
	w.mustOpen(kr, key)
	good := key.EncryptedDataKeys()[0]
	other := w.seal(w.keyring(store, "payments")).EncryptedDataKeys()[0]
	altered := func(i int) envelope.EncryptedDataKey {
		edk := good.Clone()
		edk.Ciphertext[i] ^= 1
		return edk
	}
	cut, renamed, ofKMS, long := good.Clone(), good.Clone(), good.Clone(), good.Clone()
	cut.Ciphertext = cut.Ciphertext[:91]
	long.Ciphertext = append(long.Ciphertext, 0)
	renamed.ProviderID, ofKMS.ProviderID = "raw", "aws-kms"
	for name, test := range map[string]struct {
		edks []envelope.EncryptedDataKey
		ec   envelope.EncryptionContext
		want string
	}{
		"no key":                {nil, ec, "no encrypted data key of provider"},
		"another provider":      {[]envelope.EncryptedDataKey{renamed}, ec, "no encrypted data key of provider"},
		"of KMS":                {[]envelope.EncryptedDataKey{renamed, ofKMS}, ec, "sealed with a data key of AWS KMS"},
		"another branch key":    {[]envelope.EncryptedDataKey{other}, ec, `under another branch key than "orders"`},
		"salt":                  {[]envelope.EncryptedDataKey{altered(0)}, ec, "does not decrypt under branch key"},
		"IV":                    {[]envelope.EncryptedDataKey{altered(16)}, ec, "does not decrypt under branch key"},
		"data key":              {[]envelope.EncryptedDataKey{altered(44)}, ec, "does not decrypt under branch key"},
		"tag":                   {[]envelope.EncryptedDataKey{altered(91)}, ec, "does not decrypt under branch key"},
		"cut":                   {[]envelope.EncryptedDataKey{cut}, ec, "is not 92 bytes"},
		"longer":                {[]envelope.EncryptedDataKey{long}, ec, "is not 92 bytes"},
		"another context":       {[]envelope.EncryptedDataKey{good}, envelope.EncryptionContext{"a": "secret"}, "under another encryption context"},
		"no context":            {[]envelope.EncryptedDataKey{good}, nil, "under another encryption context"},
		"a context too long":    {[]envelope.EncryptedDataKey{good}, envelope.EncryptionContext{"a": strings.Repeat("secret", 20000)}, "65,535"},
		"many that do not open": {[]envelope.EncryptedDataKey{other, altered(0), renamed, cut, altered(91)}, ec, "does not decrypt"},
	} {
		w.wantCalls(name, 0, 0, func() {
			_, err := kr.DecryptDataKey(t.Context(), test.edks, test.ec)
			if class(err) != "message" || !envelope.IsInvalidMessage(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %q (%v), want an invalid message with %q", name, class(err), err, test.want)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "payments") {
				t.Errorf("%s: got %v, want nothing that the message says", name, err)
			}
		})
	}
	w.wantCalls("a good one among them", 0, 0, func() {
		if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{other, altered(0), good}, ec); err != nil {
			t.Error(err)
		}
	})
	if _, err := kr.GenerateDataKey(t.Context(), envelope.EncryptionContext{strings.Repeat("x", 1<<16): "v"}); err == nil || envelope.IsInvalidMessage(err) {
		t.Errorf("sealing under a context that does not fit: got %v, want an error", err)
	}
}

// TestTenants: each has its branch key, and nobody gets another's.
func TestTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	tenants := []string{"blue", "red"}
	for _, tenant := range tenants {
		w.create(store, "tenant-"+tenant)
	}
	kr := w.keyring(store, "", func(o *branchkey.Options) {
		o.BranchKeyIDs = func(ec envelope.EncryptionContext) (string, error) { return "tenant-" + ec["tenant"], nil }
	})
	keys := make(map[string]*envelope.DataKey)
	for range 2 { // cold and warm, in turns
		for _, tenant := range tenants {
			key, err := kr.GenerateDataKey(t.Context(), envelope.EncryptionContext{"tenant": tenant})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(key.EncryptedDataKeys()[0].ProviderInfo); got != "tenant-"+tenant {
				t.Fatalf("%s got the branch key %q", tenant, got)
			}
			keys[tenant] = key
			if _, err := w.keyring(store, "tenant-"+tenant).DecryptDataKey(t.Context(), key.EncryptedDataKeys(), envelope.EncryptionContext{"tenant": tenant}); err != nil {
				t.Fatal(err)
			}
			if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), envelope.EncryptionContext{"tenant": tenant}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The message of one tenant in the name of the other.
	swapped := keys["blue"].EncryptedDataKeys()[0]
	_, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{swapped}, envelope.EncryptionContext{"tenant": "red"})
	if class(err) != "message" {
		t.Errorf("got %v, want an invalid message", err)
	}
	swapped.ProviderInfo = []byte("tenant-red")
	_, err = kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{swapped}, envelope.EncryptionContext{"tenant": "red"})
	if class(err) != "refused: entry" || !strings.Contains(err.Error(), "no such item") {
		t.Errorf("got %v, want a version of blue not to be one of red", err)
	}
	// The refusal of one tenant does not reach the other.
	w.edit("tenant-red", "branch:ACTIVE", func(a attributes) { a["create-time"] = text("never") })
	kr.Purge()
	for tenant, want := range map[string]string{"red": "refused: entry", "blue": "none"} {
		if _, err := kr.GenerateDataKey(t.Context(), envelope.EncryptionContext{"tenant": tenant}); class(err) != want {
			t.Errorf("%s: got %q (%v), want %q", tenant, class(err), err, want)
		}
	}
}

// TestBranchKeyIDs: what goes wrong in the user's function keeps its class.
func TestBranchKeyIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	key := w.seal(w.keyring(store, "orders"))
	cause := errors.New("cause")
	for name, test := range map[string]struct {
		id         string
		err        error
		panics     any
		seal, open string
		want       string
	}{
		"empty id":           {id: "", seal: "refused: entry", open: "refused: entry", want: "the id that it returned is empty"},
		"id that is long":    {id: strings.Repeat("x", 2049), seal: "refused: entry", open: "refused: entry", want: "is 2049 bytes, want at most 2048"},
		"id that is no UTF8": {id: "\xff", seal: "refused: entry", open: "refused: entry", want: "is not UTF-8"},
		"any error":          {err: cause, seal: "refused: entry", open: "refused: entry", want: "cause"},
		"unavailable":        {err: fmt.Errorf("%w: directory down", envelope.ErrUnavailable), seal: "unavailable", open: "unavailable", want: "directory down"},
		"network":            {err: &net.OpError{Op: "dial", Err: cause}, seal: "unavailable", open: "unavailable", want: "cause"},
		"a deadline":         {err: context.DeadlineExceeded, seal: "unavailable", open: "unavailable", want: "deadline"},
		"invalid":            {err: fmt.Errorf("%w: no tenant", envelope.ErrContextMismatch), seal: "refused: entry", open: "message", want: "no tenant"},
		"panic":              {panics: "secret", seal: "unavailable", open: "unavailable", want: "panicked with a value of type string"},
		"runtime panic":      {panics: 0, seal: "unavailable", open: "unavailable", want: "panicked"},
	} {
		kr := w.keyring(store, "", func(o *branchkey.Options) {
			o.BranchKeyIDs = func(envelope.EncryptionContext) (string, error) {
				switch p := test.panics.(type) {
				case string:
					panic(p)
				case int:
					_ = make([]int, p)[1]
				}
				return test.id, test.err
			}
		})
		w.wantCalls(name, 0, 0, func() {
			_, size := kr.EncryptedDataKeySize(ec)
			for what, err := range map[string]error{"sealing": second(kr.GenerateDataKey(t.Context(), ec)), "wrapping": second(kr.WrapDataKey(t.Context(), key, ec)), "size": size} {
				if class(err) != test.seal || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "Options.BranchKeyIDs") || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s, %s: got %q (%v), want %q with %q", name, what, class(err), err, test.seal, test.want)
				}
				// It must not look like an outage of the key service: a sender may have
				// written a context for which the function fails.
				if errors.Is(err, keyerr.ErrNotAsked) != (test.seal == "unavailable") {
					t.Errorf("%s, %s: got %v, want an error of one that was not asked if it is unavailable", name, what, err)
				}
			}
			if err := w.open(kr, key); class(err) != test.open || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, opening: got %q (%v), want %q with %q", name, class(err), err, test.open, test.want)
			}
			if err := kr.CheckDecrypt(t.Context(), ec); !errors.Is(err, envelope.ErrCheckUnsupported) || envelope.IsInvalidMessage(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, the check: got %v, want ErrCheckUnsupported: nobody was asked", name, err)
			}
			if _, ok := kr.TryDecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); ok || kr.Cached(key.EncryptedDataKeys(), ec) {
				t.Errorf("%s: something was cached", name)
			}
		})
	}
}

// TestSecrecy: nothing prints a key.
func TestSecrecy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	kr := w.keyring(store, "orders")
	key := w.seal(kr)
	w.mustOpen(kr, key)
	secrets := [][]byte{w.decrypts(w.item("orders", "branch:ACTIVE")), key.Plaintext()}
	var printed []string
	for _, v := range []any{store, struct{ K *branchkey.Keyring }{kr}, kr, key} {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			printed = append(printed, fmt.Sprintf(verb, v))
		}
		if b, err := json.Marshal(v); err == nil {
			printed = append(printed, string(b))
		}
	}
	for _, text := range printed {
		for _, secret := range secrets {
			decimal := strings.Trim(fmt.Sprint(secret), "[]")
			for _, form := range []string{string(secret), fmt.Sprintf("%x", secret), decimal, strings.ReplaceAll(fmt.Sprintf("%#v", secret), "[]byte", "")} {
				if strings.Contains(text, form) {
					t.Errorf("a key was printed in %.200s", text)
				}
			}
		}
	}
}

// TestConcurrency: many goroutines, two tenants, rotations and Purges.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "tenant-0")
	w.create(store, "tenant-1")
	kr := w.keyring(store, "", func(o *branchkey.Options) {
		o.BranchKeyIDs = func(ec envelope.EncryptionContext) (string, error) { return "tenant-" + ec["tenant"], nil }
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			ec := envelope.EncryptionContext{"tenant": fmt.Sprint(g % 2)}
			for i := range 40 {
				key, err := kr.GenerateDataKey(t.Context(), ec)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
				if err != nil || !bytes.Equal(got.Plaintext(), key.Plaintext()) {
					t.Errorf("got another data key, or error %v", err)
					return
				}
				switch {
				case g == 0 && i%10 == 5:
					kr.Purge()
				case g == 1 && i%20 == 5:
					if _, err := store.Rotate(t.Context(), "tenant-1"); err != nil {
						t.Error(err)
					}
				case g == 2 && i%10 == 0:
					if err := kr.CheckDecrypt(t.Context(), ec); err != nil {
						t.Error(err)
					}
					kr.ForgetFailures()
					kr.Stats()
				}
			}
		})
	}
	wg.Wait()
}
