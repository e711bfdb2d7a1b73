package envelopetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sealq/sealq/envelope"
)

var keyringRules = []rule[envelope.Keyring]{
	{
		name:  "round trip",
		why:   "What one process seals, another with the same wrapping key must open, with any encryption context.",
		check: checkRoundTrip,
	},
	{
		name:  "empty context",
		why:   "A nil and an empty encryption context are the same context: a message's header cannot tell them apart.",
		check: checkEmptyContext,
	},
	{
		name:  "wrong context",
		why:   "The data key must be bound to its encryption context: it is what keeps a message where it belongs. Another context is ErrNoMatchingKey.",
		check: checkWrongContext,
	},
	{
		name:  "foreign key",
		why:   "An encrypted data key that is not this keyring's says nothing about the key service: it is ErrNoMatchingKey, so that the message is set aside and the consumer goes on.",
		check: checkForeignKey,
	},
	{
		name:  "altered key",
		why:   "Anyone who can send can alter an encrypted data key. The message is then invalid, ErrNoMatchingKey, and there is no panic.",
		check: checkAlteredKey,
	},
	{
		name:  "junk beside a good key",
		why:   "Encrypted data keys are alternatives, in any order: one that does not decrypt must not hide one under another wrapping key that does.",
		check: checkJunk,
	},
	{
		name:  "ended context",
		why:   "A caller that has gone must not wait for a key service, and its going is no verdict: the error wraps the context's error, and neither ErrInvalidMessage nor ErrUnavailable.",
		check: checkEnded,
	},
	{
		name:  "arguments unmodified",
		why:   "Contexts and encrypted data keys belong to the caller, who uses them concurrently and afterwards; spare capacity belongs to somebody too.",
		check: checkUnmodified,
	},
	{
		name:  "arguments not retained",
		why:   "The caller may change its arguments after the call: a keyring that remembers something must remember a copy.",
		check: checkNotRetained,
	},
	{
		name:  "concurrency",
		why:   "One keyring serves all goroutines of a process at once.",
		check: checkConcurrency,
	},
	{
		name:  "check",
		why:   "A keyring that is a DecryptChecker, asked about a key that it decrypts with, says yes or that there is no answer (ErrCheckUnsupported). Anything else stops a healthy consumer. A caller that has gone gets its context's error.",
		check: checkCheck,
	},
}

var wrapperRules = []rule[envelope.Wrapper]{
	{
		name:  "wrap",
		why:   "A Wrapper encrypts the data key that it is given, under the encryption context that it is given; with a key of its own, its entry of a multi-keyring's message would open to garbage.",
		check: checkWrap,
	},
	{
		name:  "wrap nothing",
		why:   "A generator that broke its contract must be an error, not a panic and not a wrapped key of zeros. Nor is it an outage of the key service, which would pass: nobody would look for the bug.",
		check: checkWrapNothing,
	},
	{
		name:  "wrap with ended context",
		why:   "A caller that has gone must not wait for a key service.",
		check: checkWrapEnded,
	},
	{
		name:  "wrapped keys are copies",
		why:   "What a caller does to a returned encrypted data key must not reach the next caller.",
		check: checkWrappedAreCopies,
	},
}

func checkRoundTrip(ctx context.Context, newKeyring func() envelope.Keyring) error {
	for _, ec := range []envelope.EncryptionContext{nil, {}, {"k": "v"}, newContext()} {
		key, err := generate(ctx, newKeyring(), ec)
		if err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		edks := key.EncryptedDataKeys()
		again, err := decrypt(ctx, newKeyring(), edks, ec)
		if err != nil {
			return fmt.Errorf("decrypt with another keyring of the same key, %d context pairs: %w", len(ec), err)
		}
		if !bytes.Equal(again.Plaintext(), key.Plaintext()) {
			return errors.New("another data key came back")
		}
		if bytes.Equal(key.Plaintext(), make([]byte, envelope.DataKeySize)) {
			return errors.New("the data key is all zeros")
		}
		for i, edk := range edks { // each alone: they are alternatives
			if _, err := decrypt(ctx, newKeyring(), []envelope.EncryptedDataKey{edk}, ec); err != nil {
				return fmt.Errorf("decrypt encrypted data key %d of %d alone: %w", i+1, len(edks), err)
			}
			if bytes.Contains(slices.Concat(edk.ProviderInfo, edk.Ciphertext), key.Plaintext()) {
				return errors.New("an encrypted data key holds the data key in clear")
			}
		}
	}
	return nil
}

func checkEmptyContext(ctx context.Context, newKeyring func() envelope.Keyring) error {
	none, empty := envelope.EncryptionContext(nil), envelope.EncryptionContext{}
	for _, order := range [][2]envelope.EncryptionContext{{none, empty}, {empty, none}} {
		key, err := generate(ctx, newKeyring(), order[0])
		if err != nil {
			return err
		}
		if _, err := decrypt(ctx, newKeyring(), key.EncryptedDataKeys(), order[1]); err != nil {
			return fmt.Errorf("generated under %#v, decrypted under %#v: %w", order[0], order[1], err)
		}
	}
	return nil
}

func checkWrongContext(ctx context.Context, newKeyring func() envelope.Keyring) error {
	ec := newContext()
	key, err := generate(ctx, newKeyring(), ec)
	if err != nil {
		return err
	}
	return refuseOtherContexts(ctx, newKeyring, key.EncryptedDataKeys(), ec)
}

func refuseOtherContexts(ctx context.Context, newKeyring func() envelope.Keyring, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) error {
	fewer, more, other, swapped := ec.Clone(), ec.Clone(), ec.Clone(), ec.Clone()
	delete(fewer, "purpose")
	more["more"] = "v"
	other["purpose"] = "other"
	swapped["purpose"], swapped["unique"] = ec["unique"], ec["purpose"]
	for name, wrong := range map[string]envelope.EncryptionContext{
		"a pair less": fewer, "a pair more": more, "another value": other, "swapped values": swapped, "no context": nil,
	} {
		// One keyring, asked rightly first: it must not remember the key
		// without the context.
		kr := newKeyring()
		if _, err := decrypt(ctx, kr, cloneKeys(edks), ec); err != nil {
			return err
		}
		_, err := decrypt(ctx, kr, cloneKeys(edks), wrong)
		if err := refusedAs("DecryptDataKey with "+name, err, envelope.ErrNoMatchingKey); err != nil {
			return err
		}
	}
	return nil
}

// foreignKeys are encrypted data keys of nobody.
func foreignKeys() []envelope.EncryptedDataKey {
	return []envelope.EncryptedDataKey{
		{ProviderID: "envelopetest-foreign", ProviderInfo: []byte("info"), Ciphertext: []byte("ciphertext")},
		{ProviderID: "aws-kms", ProviderInfo: []byte("arn:aws:kms:us-east-1:999999999999:key/00000000-0000-0000-0000-000000000000"), Ciphertext: make([]byte, 184)},
		{ProviderID: "aws-kms", ProviderInfo: []byte("not an ARN"), Ciphertext: []byte{0}},
		{},
	}
}

func checkForeignKey(ctx context.Context, newKeyring func() envelope.Keyring) error {
	for _, k := range foreignKeys() {
		_, err := decrypt(ctx, newKeyring(), []envelope.EncryptedDataKey{k}, newContext())
		if err := refusedAs(fmt.Sprintf("DecryptDataKey of a foreign key of provider %q", k.ProviderID), err, envelope.ErrNoMatchingKey); err != nil {
			return err
		}
	}
	for _, none := range [][]envelope.EncryptedDataKey{nil, {}} {
		_, err := decrypt(ctx, newKeyring(), none, newContext())
		if err := refusedAs("DecryptDataKey of no key", err, envelope.ErrNoMatchingKey); err != nil {
			return err
		}
	}
	return nil
}

// altered returns good in ways that do not decrypt.
func altered(good envelope.EncryptedDataKey) map[string]envelope.EncryptedDataKey {
	with := func(change func(k *envelope.EncryptedDataKey)) envelope.EncryptedDataKey {
		k := good.Clone()
		change(&k)
		return k
	}
	return map[string]envelope.EncryptedDataKey{
		"first bit of the ciphertext flipped": with(func(k *envelope.EncryptedDataKey) { k.Ciphertext[0] ^= 1 }),
		"last bit of the ciphertext flipped":  with(func(k *envelope.EncryptedDataKey) { k.Ciphertext[len(k.Ciphertext)-1] ^= 1 }),
		"ciphertext cut":                      with(func(k *envelope.EncryptedDataKey) { k.Ciphertext = k.Ciphertext[:len(k.Ciphertext)-1] }),
		"ciphertext longer":                   with(func(k *envelope.EncryptedDataKey) { k.Ciphertext = append(k.Ciphertext, 0) }),
		"no ciphertext":                       with(func(k *envelope.EncryptedDataKey) { k.Ciphertext = nil }),
		"no provider info":                    with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo = nil }),
		"provider info longer":                with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo = append(k.ProviderInfo, 'x') }),
		"another provider ID":                 with(func(k *envelope.EncryptedDataKey) { k.ProviderID += "x" }),
	}
}

func checkAlteredKey(ctx context.Context, newKeyring func() envelope.Keyring) error {
	ec := newContext()
	key, err := generate(ctx, newKeyring(), ec)
	if err != nil {
		return err
	}
	for _, good := range key.EncryptedDataKeys() {
		for name, k := range altered(good) {
			// The good one first: it must not be remembered for the altered one.
			kr := newKeyring()
			if _, err := decrypt(ctx, kr, []envelope.EncryptedDataKey{good}, ec); err != nil {
				return err
			}
			_, err := decrypt(ctx, kr, []envelope.EncryptedDataKey{k}, ec)
			if err := refusedAs("DecryptDataKey with "+name, err, envelope.ErrNoMatchingKey); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkJunk(ctx context.Context, newKeyring func() envelope.Keyring) error {
	ec := newContext()
	key, err := generate(ctx, newKeyring(), ec)
	if err != nil {
		return err
	}
	good := key.EncryptedDataKeys()[0]
	junk := altered(good)
	maps.DeleteFunc(junk, func(_ string, k envelope.EncryptedDataKey) bool {
		// No writer has two under one wrapping key: trying the first is enough.
		return k.ProviderID == good.ProviderID && bytes.Equal(k.ProviderInfo, good.ProviderInfo)
	})
	for i, k := range foreignKeys() {
		junk[fmt.Sprintf("foreign key %d", i+1)] = k
	}
	for name, k := range junk {
		for _, edks := range [][]envelope.EncryptedDataKey{{k, good}, {good, k}} {
			again, err := decrypt(ctx, newKeyring(), cloneKeys(edks), ec)
			if err != nil {
				return fmt.Errorf("a good key beside another (%s): %w", name, err)
			}
			if !bytes.Equal(again.Plaintext(), key.Plaintext()) || !again.EncryptedDataKeys()[0].Equal(good) {
				return fmt.Errorf("a good key beside another (%s): not the good one came back", name)
			}
		}
	}
	return nil
}

func checkEnded(ctx context.Context, newKeyring func() envelope.Keyring) error {
	return withEnded(ctx, func(ended context.Context) error {
		ec := newContext()
		_, err := generate(ended, newKeyring(), ec)
		if err := endedAs("GenerateDataKey", err, ended.Err()); err != nil {
			return err
		}
		key, err := generate(ctx, newKeyring(), ec)
		if err != nil {
			return err
		}
		_, err = decrypt(ended, newKeyring(), key.EncryptedDataKeys(), ec)
		return endedAs("DecryptDataKey", err, ended.Err())
	})
}

// withEnded calls f with a cancelled context and with one past its deadline.
func withEnded(ctx context.Context, f func(ended context.Context) error) error {
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	late, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
	defer cancel()
	return errors.Join(f(cancelled), f(late))
}

func endedAs(call string, err, want error) error {
	call += " with an ended context"
	if err := refusedAs(call, err, want); err != nil {
		return err
	}
	if errors.Is(err, envelope.ErrInvalidMessage) {
		return broken("%s failed with %q, which wraps %q as well", call, err, envelope.ErrInvalidMessage)
	}
	return nil
}

// guarded returns a copy of edks whose slices all have spare capacity, and
// a function that tells whether any of it was written.
func guarded(edks []envelope.EncryptedDataKey) ([]envelope.EncryptedDataKey, func() error) {
	spare := func(b []byte) []byte { return append(b[:len(b):len(b)], "spare"...)[:len(b)] }
	copies := cloneKeys(append(edks[:len(edks):len(edks)], envelope.EncryptedDataKey{ProviderID: "spare"}))
	for i, k := range copies {
		copies[i].ProviderInfo, copies[i].Ciphertext = spare(k.ProviderInfo), spare(k.Ciphertext)
	}
	whole := slices.Clone(copies)
	return copies[:len(edks)], func() error {
		for i, k := range copies {
			w := whole[i]
			same := k.Equal(w) && (i >= len(edks) || k.Equal(edks[i]))
			for _, b := range [][]byte{w.ProviderInfo, w.Ciphertext} {
				same = same && string(b[len(b):len(b)+len("spare")]) == "spare"
			}
			if !same {
				return broken("the encrypted data keys were written, or the spare capacity behind them")
			}
		}
		return nil
	}
}

func checkUnmodified(ctx context.Context, newKeyring func() envelope.Keyring) error {
	ec := newContext()
	before := ec.Clone()
	kr := newKeyring()
	key, err := generate(ctx, kr, ec)
	if err != nil {
		return err
	}
	good := key.EncryptedDataKeys()[0]
	// In an order that nobody would sort them into.
	edks, written := guarded([]envelope.EncryptedDataKey{foreignKeys()[0], good, foreignKeys()[3]})
	if _, err := decrypt(ctx, kr, edks, ec); err != nil {
		return err
	}
	if err := written(); err != nil {
		return err
	}
	edks, written = guarded([]envelope.EncryptedDataKey{foreignKeys()[0], foreignKeys()[3]})
	if _, err := decrypt(ctx, kr, edks, ec); err == nil {
		return broken("foreign keys were decrypted")
	}
	if err := written(); err != nil {
		return err
	}
	if !maps.Equal(ec, before) {
		return broken("the encryption context was written")
	}
	return nil
}

func checkNotRetained(ctx context.Context, newKeyring func() envelope.Keyring) error {
	ec := newContext()
	before := ec.Clone()
	kr := newKeyring()
	key, err := generate(ctx, kr, ec)
	if err != nil {
		return err
	}
	ec["purpose"] = "changed"
	if again, err := generate(ctx, kr, before.Clone()); err != nil {
		return fmt.Errorf("after the caller changed its context: %w", err)
	} else if _, err := decrypt(ctx, newKeyring(), again.EncryptedDataKeys(), before); err != nil {
		return fmt.Errorf("generated after the caller changed its context: %w", err)
	}
	edks, given := cloneKeys(key.EncryptedDataKeys()), before.Clone()
	kr = newKeyring()
	opened, err := decrypt(ctx, kr, edks, given)
	if err != nil {
		return err
	}
	kept := opened.EncryptedDataKeys()
	for i := range edks {
		edks[i].ProviderID = "changed"
		clear(edks[i].ProviderInfo)
		clear(edks[i].Ciphertext)
	}
	clear(given)
	if got := opened.EncryptedDataKeys(); !got[0].Equal(kept[0]) {
		return broken("a returned data key changed with the caller's argument")
	}
	if _, err := decrypt(ctx, kr, key.EncryptedDataKeys(), before); err != nil {
		return fmt.Errorf("after the caller changed its arguments: %w", err)
	}
	return nil
}

func checkConcurrency(ctx context.Context, newKeyring func() envelope.Keyring) error {
	const goroutines, contexts = 16, 4
	ecs := make([]envelope.EncryptionContext, contexts)
	for i := range ecs {
		ecs[i] = newContext()
	}
	kr := newKeyring()
	errs := make([]error, goroutines)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			errs[g] = protect(func() error {
				<-start
				for range 4 {
					ec := ecs[g%contexts].Clone() // writing to it is another rule
					key, err := generate(ctx, kr, ec)
					if err != nil {
						return err
					}
					again, err := decrypt(ctx, kr, key.EncryptedDataKeys(), ec)
					if err != nil {
						return err
					}
					if !bytes.Equal(again.Plaintext(), key.Plaintext()) {
						return broken("a data key of another call came back")
					}
				}
				return nil
			})
		})
	}
	close(start)
	wg.Wait()
	return errors.Join(errs...)
}

// someonesKey returns a data key that none of the keyrings under test made.
func someonesKey() (*envelope.DataKey, error) {
	secret := []byte("a data key of another generator!")
	return envelope.NewDataKey(secret, foreignKeys()[0])
}

func checkWrap(ctx context.Context, newWrapper func() envelope.Wrapper) error {
	key, err := someonesKey()
	if err != nil {
		return err
	}
	newKeyring := func() envelope.Keyring { return newWrapper() }
	for _, ec := range []envelope.EncryptionContext{nil, newContext()} {
		before := ec.Clone()
		edk, err := wrap(ctx, newWrapper(), key, ec)
		if err != nil {
			return fmt.Errorf("wrap: %w", err)
		}
		if !maps.Equal(ec, before) {
			return broken("the encryption context was written")
		}
		for _, edks := range [][]envelope.EncryptedDataKey{{edk}, append(key.EncryptedDataKeys(), edk)} {
			again, err := decrypt(ctx, newWrapper(), edks, ec)
			if err != nil {
				return fmt.Errorf("decrypt what was wrapped: %w", err)
			}
			if !bytes.Equal(again.Plaintext(), key.Plaintext()) {
				return broken("another data key was wrapped than the one given")
			}
		}
		if len(ec) == 0 {
			continue
		}
		if err := refuseOtherContexts(ctx, newKeyring, []envelope.EncryptedDataKey{edk}, ec); err != nil {
			return err
		}
	}
	return nil
}

func checkWrapNothing(ctx context.Context, newWrapper func() envelope.Wrapper) error {
	for _, key := range []*envelope.DataKey{nil, new(envelope.DataKey)} {
		_, err := wrap(ctx, newWrapper(), key, newContext())
		switch {
		case err == nil:
			return broken("WrapDataKey wrapped a data key that holds nothing")
		case errors.Is(err, envelope.ErrUnavailable):
			return broken("WrapDataKey of a data key that holds nothing failed with %q, which wraps %q", err, envelope.ErrUnavailable)
		}
	}
	return nil
}

func checkWrapEnded(ctx context.Context, newWrapper func() envelope.Wrapper) error {
	key, err := someonesKey()
	if err != nil {
		return err
	}
	return withEnded(ctx, func(ended context.Context) error {
		_, err := wrap(ended, newWrapper(), key, newContext())
		return endedAs("WrapDataKey", err, ended.Err())
	})
}

func checkWrappedAreCopies(ctx context.Context, newWrapper func() envelope.Wrapper) error {
	key, err := someonesKey()
	if err != nil {
		return err
	}
	ec := newContext()
	w := newWrapper()
	one, err := wrap(ctx, w, key, ec)
	if err != nil {
		return err
	}
	kept := one.Clone()
	two, err := wrap(ctx, w, key, ec)
	if err != nil {
		return err
	}
	clear(two.ProviderInfo)
	clear(two.Ciphertext)
	if !one.Equal(kept) {
		return broken("an encrypted data key changed after it had been returned")
	}
	clear(one.ProviderInfo)
	clear(one.Ciphertext)
	three, err := wrap(ctx, w, key, ec)
	if err != nil {
		return err
	}
	if _, err := decrypt(ctx, newWrapper(), []envelope.EncryptedDataKey{three}, ec); err != nil {
		return fmt.Errorf("after the caller changed what it got: %w", err)
	}
	return nil
}

// checkCheck passes keyrings that are no [envelope.DecryptChecker].
func checkCheck(ctx context.Context, newKeyring func() envelope.Keyring) error {
	checker, ok := newKeyring().(envelope.DecryptChecker)
	if !ok {
		return nil
	}
	ec := newContext()
	before := ec.Clone()
	switch err := checker.CheckDecrypt(ctx, ec); {
	case err != nil && shows(err):
		return broken("CheckDecrypt's error holds a value of the encryption context: %w", err)
	case err != nil && !errors.Is(err, envelope.ErrCheckUnsupported):
		return broken("CheckDecrypt failed with %q, want nil or an error that wraps %q", err, envelope.ErrCheckUnsupported)
	case !maps.Equal(ec, before):
		return broken("the encryption context was written")
	}
	return withEnded(ctx, func(ended context.Context) error {
		err := checker.CheckDecrypt(ended, ec)
		if err := endedAs("CheckDecrypt", err, ended.Err()); err != nil {
			return err
		}
		if errors.Is(err, envelope.ErrCheckUnsupported) {
			return broken("CheckDecrypt with an ended context failed with %q, which wraps %q as well", err, envelope.ErrCheckUnsupported)
		}
		return nil
	})
}
