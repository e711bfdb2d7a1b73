package envelopetest_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/envelopetest"
)

func newRaw(key []byte) envelope.Wrapper {
	kr, err := envelope.NewRawAESKeyring("test", "key", key)
	if err != nil {
		panic(err)
	}
	return kr
}

func TestRawAESKeyring(t *testing.T) {
	t.Parallel()
	for _, size := range []int{16, 24, 32} {
		envelopetest.TestWrapper(t, func(*testing.T) envelope.Wrapper { return newRaw(make([]byte, size)) })
	}
}

func TestMultiKeyring(t *testing.T) {
	t.Parallel()
	envelopetest.TestKeyring(t, func(t *testing.T) envelope.Keyring {
		other, err := envelope.NewRawAESKeyring("test", "other", make([]byte, 16))
		if err != nil {
			t.Fatal(err)
		}
		kr, err := envelope.NewMultiKeyring(newRaw(make([]byte, 32)), other)
		if err != nil {
			t.Fatal(err)
		}
		return kr
	})
}

type (
	edks = []envelope.EncryptedDataKey
	ec   = envelope.EncryptionContext
)

// flawed is a good keyring, but for the functions that are set.
type flawed struct {
	good     envelope.Wrapper
	generate func(context.Context, ec) (*envelope.DataKey, error)
	decrypt  func(context.Context, edks, ec) (*envelope.DataKey, error)
	wrap     func(context.Context, *envelope.DataKey, ec) (envelope.EncryptedDataKey, error)
	check    func(context.Context, ec) error
}

func (f *flawed) CheckDecrypt(ctx context.Context, c ec) error {
	if f.check != nil {
		return f.check(ctx, c)
	}
	return ctx.Err()
}

func (f *flawed) GenerateDataKey(ctx context.Context, c ec) (*envelope.DataKey, error) {
	if f.generate != nil {
		return f.generate(ctx, c)
	}
	return f.good.GenerateDataKey(ctx, c)
}

func (f *flawed) DecryptDataKey(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
	if f.decrypt != nil {
		return f.decrypt(ctx, k, c)
	}
	return f.good.DecryptDataKey(ctx, k, c)
}

func (f *flawed) WrapDataKey(ctx context.Context, key *envelope.DataKey, c ec) (envelope.EncryptedDataKey, error) {
	if f.wrap != nil {
		return f.wrap(ctx, key, c)
	}
	return f.good.WrapDataKey(ctx, key, c)
}

// TestBrokenKeyrings breaks every rule, and wants the suite to say so.
func TestBrokenKeyrings(t *testing.T) {
	t.Parallel()
	good := newRaw(make([]byte, 32))
	refused := errors.New("refused")
	tests := map[string]struct {
		broken []string // at least these rules
		make   func(f *flawed)
	}{
		"each its own wrapping key": {[]string{"round trip", "wrap"}, func(f *flawed) {
			key := make([]byte, 32)
			rand.Read(key)
			f.good = newRaw(key)
		}},
		"binds nothing": {[]string{"wrong context", "wrap"}, func(f *flawed) {
			f.generate = func(ctx context.Context, _ ec) (*envelope.DataKey, error) { return good.GenerateDataKey(ctx, nil) }
			f.decrypt = func(ctx context.Context, k edks, _ ec) (*envelope.DataKey, error) {
				return good.DecryptDataKey(ctx, k, nil)
			}
			f.wrap = func(ctx context.Context, key *envelope.DataKey, _ ec) (envelope.EncryptedDataKey, error) {
				return good.WrapDataKey(ctx, key, nil)
			}
		}},
		"tells nil from empty": {[]string{"empty context"}, func(f *flawed) {
			f.generate = func(ctx context.Context, c ec) (*envelope.DataKey, error) {
				if c == nil {
					c = ec{"nil": "nil"}
				}
				return good.GenerateDataKey(ctx, c)
			}
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				if c == nil {
					c = ec{"nil": "nil"}
				}
				return good.DecryptDataKey(ctx, k, c)
			}
		}},
		"remembers without the context": {[]string{"wrong context"}, func(f *flawed) {
			var seen sync.Map
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				if len(k) > 0 {
					if key, ok := seen.Load(string(k[0].Ciphertext)); ok {
						return key.(*envelope.DataKey), nil
					}
				}
				key, err := good.DecryptDataKey(ctx, k, c)
				if err == nil && len(k) > 0 {
					seen.Store(string(k[0].Ciphertext), key)
				}
				return key, err
			}
		}},
		"foreign key is a refusal": {[]string{"foreign key", "altered key", "wrong context"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, err := good.DecryptDataKey(ctx, k, c)
				if errors.Is(err, envelope.ErrNoMatchingKey) {
					err = refused
				}
				return key, err
			}
		}},
		"foreign key is an outage as well": {[]string{"foreign key"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, err := good.DecryptDataKey(ctx, k, c)
				if err != nil {
					err = errors.Join(err, envelope.ErrUnavailable)
				}
				return key, err
			}
		}},
		"foreign key is nothing": {[]string{"foreign key", "wrong context"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, _ := good.DecryptDataKey(ctx, k, c)
				return key, nil
			}
		}},
		"first key only": {[]string{"junk beside a good key", "wrap"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				return good.DecryptDataKey(ctx, k[:min(1, len(k))], c)
			}
		}},
		"panics on no key": {[]string{"foreign key"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				_ = k[0]
				return good.DecryptDataKey(ctx, k, c)
			}
		}},
		"panics on a short ciphertext": {[]string{"altered key"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				for _, k := range k {
					if k.ProviderID == "test" {
						_ = k.Ciphertext[0]
					}
				}
				return good.DecryptDataKey(ctx, k, c)
			}
		}},
		"returns all encrypted keys": {[]string{"junk beside a good key"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, err := good.DecryptDataKey(ctx, k, c)
				if err != nil {
					return nil, err
				}
				return envelope.NewDataKey(key.Plaintext(), k...)
			}
		}},
		"returns the wrong encrypted key": {[]string{"round trip"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, err := good.DecryptDataKey(ctx, k, c)
				if err != nil {
					return nil, err
				}
				return envelope.NewDataKey(key.Plaintext(), envelope.EncryptedDataKey{ProviderID: "p"})
			}
		}},
		"returns a key and an error": {[]string{"foreign key"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, err := good.DecryptDataKey(ctx, k, c)
				if err != nil {
					key = new(envelope.DataKey)
				}
				return key, err
			}
		}},
		"returns neither": {[]string{"round trip", "empty context"}, func(f *flawed) {
			f.generate = func(context.Context, ec) (*envelope.DataKey, error) { return nil, nil }
		}},
		"writes clear keys": {[]string{"round trip"}, func(f *flawed) {
			f.generate = func(context.Context, ec) (*envelope.DataKey, error) {
				secret := []byte("the data key in clear: 32 bytes.")
				return envelope.NewDataKey(secret, envelope.EncryptedDataKey{ProviderID: "clear", Ciphertext: secret})
			}
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				return envelope.NewDataKey(k[0].Ciphertext, k[0])
			}
		}},
		"ignores ctx": {[]string{"ended context", "wrap with ended context"}, func(f *flawed) {
			f.generate = func(_ context.Context, c ec) (*envelope.DataKey, error) {
				return good.GenerateDataKey(context.Background(), c)
			}
			f.wrap = func(_ context.Context, key *envelope.DataKey, c ec) (envelope.EncryptedDataKey, error) {
				return good.WrapDataKey(context.Background(), key, c)
			}
		}},
		"decrypt ignores ctx": {[]string{"ended context"}, func(f *flawed) {
			f.decrypt = func(_ context.Context, k edks, c ec) (*envelope.DataKey, error) {
				return good.DecryptDataKey(context.Background(), k, c)
			}
		}},
		"ended ctx is an outage": {[]string{"ended context"}, func(f *flawed) {
			f.generate = func(ctx context.Context, c ec) (*envelope.DataKey, error) {
				if err := ctx.Err(); err != nil {
					return nil, fmt.Errorf("%w: %w", envelope.ErrUnavailable, err)
				}
				return good.GenerateDataKey(ctx, c)
			}
		}},
		"ended ctx is the message's fault": {[]string{"ended context"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				if err := ctx.Err(); err != nil {
					return nil, fmt.Errorf("%w: %w", envelope.ErrNoMatchingKey, err)
				}
				return good.DecryptDataKey(ctx, k, c)
			}
		}},
		"adds to the context": {[]string{"arguments unmodified"}, func(f *flawed) {
			f.generate = func(ctx context.Context, c ec) (*envelope.DataKey, error) {
				key, err := good.GenerateDataKey(ctx, c)
				if c != nil {
					c["added"] = "x"
				}
				return key, err
			}
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				c = c.Clone()
				delete(c, "added")
				return good.DecryptDataKey(ctx, k, c)
			}
		}},
		"sorts the keys": {[]string{"arguments unmodified"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				slices.SortFunc(k, func(a, b envelope.EncryptedDataKey) int { return -strings.Compare(a.ProviderID, b.ProviderID) })
				return good.DecryptDataKey(ctx, k, c)
			}
		}},
		"appends to the keys": {[]string{"arguments unmodified"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				return good.DecryptDataKey(ctx, append(k, envelope.EncryptedDataKey{}), c)
			}
		}},
		"appends to a ciphertext": {[]string{"arguments unmodified"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				for _, k := range k {
					_ = append(k.Ciphertext, "tag"...)
				}
				return good.DecryptDataKey(ctx, k, c)
			}
		}},
		"decrypts in place": {[]string{"arguments unmodified"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, err := good.DecryptDataKey(ctx, k, c)
				for _, k := range k {
					clear(k.Ciphertext)
				}
				return key, err
			}
		}},
		"retains the first context": {[]string{"arguments not retained"}, func(f *flawed) {
			var mu sync.Mutex
			kept := map[string]ec{}
			f.generate = func(ctx context.Context, c ec) (*envelope.DataKey, error) {
				mu.Lock()
				defer mu.Unlock()
				if _, ok := kept[c["unique"]]; !ok {
					kept[c["unique"]] = c
				}
				return good.GenerateDataKey(ctx, kept[c["unique"]])
			}
		}},
		"not for concurrent use": {[]string{"concurrency"}, func(f *flawed) {
			var users, calls atomic.Int32
			f.generate = func(ctx context.Context, c ec) (*envelope.DataKey, error) {
				defer users.Add(-1)
				if users.Add(1) > 1 {
					return nil, errors.New("busy")
				}
				// The first caller stays until there is a second, or it is
				// plain that there will be none.
				calls.Add(1)
				for i := 0; i < 1000 && users.Load() == 1; i++ {
					good.GenerateDataKey(ctx, c)
				}
				return good.GenerateDataKey(ctx, c)
			}
		}},
		"shows the context": {[]string{"wrong context"}, func(f *flawed) {
			f.decrypt = func(ctx context.Context, k edks, c ec) (*envelope.DataKey, error) {
				key, err := good.DecryptDataKey(ctx, k, c)
				if err != nil {
					err = fmt.Errorf("%w (context %v)", err, c)
				}
				return key, err
			}
		}},
		"check is a refusal": {[]string{"check"}, func(f *flawed) {
			f.check = func(context.Context, ec) error { return refused }
		}},
		"check blames a message": {[]string{"check"}, func(f *flawed) {
			f.check = func(context.Context, ec) error { return envelope.ErrNoMatchingKey }
		}},
		"check adds to the context": {[]string{"check"}, func(f *flawed) {
			f.check = func(ctx context.Context, c ec) error { c["added"] = "x"; return ctx.Err() }
		}},
		"check ignores ctx": {[]string{"check"}, func(f *flawed) {
			f.check = func(context.Context, ec) error { return nil }
		}},
		"check with ended ctx is unsupported": {[]string{"check"}, func(f *flawed) {
			f.check = func(ctx context.Context, _ ec) error {
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("%w: %w", envelope.ErrCheckUnsupported, err)
				}
				return nil
			}
		}},
		"wraps its own key": {[]string{"wrap"}, func(f *flawed) {
			f.wrap = func(ctx context.Context, _ *envelope.DataKey, c ec) (envelope.EncryptedDataKey, error) {
				key, err := good.GenerateDataKey(ctx, c)
				if err != nil {
					return envelope.EncryptedDataKey{}, err
				}
				return key.EncryptedDataKeys()[0], nil
			}
		}},
		"wraps nothing": {[]string{"wrap nothing"}, func(f *flawed) {
			f.wrap = func(ctx context.Context, key *envelope.DataKey, c ec) (envelope.EncryptedDataKey, error) {
				if len(key.Plaintext()) == 0 {
					key, _ = envelope.NewDataKey(make([]byte, 32), envelope.EncryptedDataKey{})
				}
				return good.WrapDataKey(ctx, key, c)
			}
		}},
		"wrap panics on nothing": {[]string{"wrap nothing"}, func(f *flawed) {
			f.wrap = func(ctx context.Context, key *envelope.DataKey, c ec) (envelope.EncryptedDataKey, error) {
				_ = key.Plaintext()[0]
				return good.WrapDataKey(ctx, key, c)
			}
		}},
		"wrapping nothing is an outage": {[]string{"wrap nothing"}, func(f *flawed) {
			f.wrap = func(ctx context.Context, key *envelope.DataKey, c ec) (envelope.EncryptedDataKey, error) {
				if len(key.Plaintext()) == 0 {
					return envelope.EncryptedDataKey{}, fmt.Errorf("%w: missing required field", envelope.ErrUnavailable)
				}
				return good.WrapDataKey(ctx, key, c)
			}
		}},
		"wraps into one buffer": {[]string{"wrapped keys are copies"}, func(f *flawed) {
			buffer := make([]byte, 48)
			f.wrap = func(ctx context.Context, key *envelope.DataKey, c ec) (envelope.EncryptedDataKey, error) {
				edk, err := good.WrapDataKey(ctx, key, c)
				if err == nil {
					edk.Ciphertext = buffer[:copy(buffer, edk.Ciphertext)]
				}
				return edk, err
			}
		}},
	}
	covered := map[string]bool{}
	for _, test := range tests {
		for _, rule := range test.broken {
			covered[rule] = true
		}
	}
	for _, rule := range envelopetest.Rules() {
		if !covered[rule] {
			t.Errorf("no keyring here breaks the rule %q", rule)
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := envelopetest.Check(t.Context(), func() envelope.Wrapper {
				f := &flawed{good: good}
				test.make(f)
				return f
			})
			for _, rule := range test.broken {
				if got[rule] == nil {
					t.Errorf("rule %q is broken, and the suite does not say so; it says %v", rule, got)
				}
			}
		})
	}
	t.Run("check unsupported", func(t *testing.T) {
		t.Parallel()
		got := envelopetest.Check(t.Context(), func() envelope.Wrapper {
			return &flawed{good: good, check: func(ctx context.Context, _ ec) error { return cmp.Or(ctx.Err(), envelope.ErrCheckUnsupported) }}
		})
		if len(got) != 0 {
			t.Errorf("a keyring that cannot be asked is said to break %v", got)
		}
	})
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		if got := envelopetest.Check(t.Context(), func() envelope.Wrapper { return &flawed{good: good} }); len(got) != 0 {
			t.Errorf("a good keyring is said to break %v", got)
		}
	})
}

func ExampleTestWrapper() {
	// In a test file of the keyring's package:
	_ = func(t *testing.T) {
		envelopetest.TestWrapper(t, func(t *testing.T) envelope.Wrapper {
			kr, err := envelope.NewRawAESKeyring("example", "key-1", make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			return kr
		})
	}
	// Output:
}
