package branchkey

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
)

// decryption is the state of one DecryptDataKey call. The encrypted data keys
// are arguments of its methods, and not a field: that would move them to the
// heap with every message.
type decryption struct {
	keyring *Keyring
	ec      envelope.EncryptionContext
	id      string
	missing []int // indexes of those under versions that are not cached
	errs    []error
}

func (k *Keyring) begin(ec envelope.EncryptionContext) (decryption, error) {
	id, err := k.branchKeyID(ec)
	if err != nil {
		return decryption{}, opening(err)
	}
	return decryption{keyring: k, ec: ec, id: id}, nil
}

// ours reports whether edk may be under the branch key.
func (d *decryption) ours(edk *envelope.EncryptedDataKey) bool {
	return edk.ProviderID == ProviderID && string(edk.ProviderInfo) == d.id && len(edk.Ciphertext) == wrappedSize
}

// versionsOf names the version that edk is under, for the cache.
func versionsOf(edk *envelope.EncryptedDataKey) []envelope.EncryptedDataKey {
	return []envelope.EncryptedDataKey{versionKey(edk.ProviderInfo, edk.Ciphertext[saltSize+ivSize:sealedAt])}
}

// fromCache tries those of edks whose versions are cached.
func (d *decryption) fromCache(ctx context.Context, edks []envelope.EncryptedDataKey) *envelope.DataKey {
	for i := range edks {
		edk := &edks[i]
		if !d.ours(edk) {
			continue
		}
		branchKey, ok := d.keyring.keys.TryDecryptDataKey(ctx, versionsOf(edk), nil)
		if !ok {
			d.missing = append(d.missing, i)
			continue
		}
		if key := d.open(edk, branchKey); key != nil {
			return key
		}
	}
	return nil
}

// fromStore tries the others. It reads at most maxLookUps versions, and none
// after one about which the key store could not be asked: a sender chooses how
// many versions a message names, and the messages received with it wait.
func (d *decryption) fromStore(ctx context.Context, edks []envelope.EncryptedDataKey) (*envelope.DataKey, error) {
	var versions []version // each once
	var branchKeys []*envelope.DataKey
	tooMany := false
	for _, i := range d.missing {
		edk := &edks[i]
		v := wrapped(edk.Ciphertext).version()
		at := slices.Index(versions, v)
		if at < 0 && len(versions) == maxLookUps {
			tooMany = true
			continue
		}
		if at < 0 {
			asking := ctx
			if len(versions) > 0 {
				asking = withoutTurn(ctx)
			}
			branchKey, err := d.keyring.keys.DecryptDataKey(asking, versionsOf(edk), nil)
			// The end of the caller's context is no verdict: do not join it with those
			// on other versions.
			if ended := ctx.Err(); err != nil && ended != nil {
				return nil, ended
			}
			if err != nil {
				d.errs = append(d.errs, err)
			}
			// The next one would wait for the same services.
			if errors.Is(err, envelope.ErrUnavailable) {
				break
			}
			at = len(versions)
			versions, branchKeys = append(versions, v), append(branchKeys, branchKey)
		}
		if branchKeys[at] == nil {
			continue
		}
		if key := d.open(edk, branchKeys[at]); key != nil {
			return key, nil
		}
	}
	if tooMany {
		d.fault("the message names more than %d versions of branch key %q that are not cached, and no more are read for one message", maxLookUps, d.id)
	}
	return nil, d.failure(edks)
}

// open returns the data key that edk holds, or nil.
func (d *decryption) open(edk *envelope.EncryptedDataKey, branchKey *envelope.DataKey) *envelope.DataKey {
	w := wrapped(edk.Ciphertext)
	m := d.keyring.workspace()
	defer d.keyring.workspaces.Put(m)
	m.load(branchKey) // of the version that edk names: the cache has it under that name
	if err := m.bind(d.id, d.ec); err != nil {
		d.errs = append(d.errs, fmt.Errorf("branchkey: %w: %w", envelope.ErrUnsupported, err))
		return nil
	}
	secret, err := m.unwrap(make([]byte, 0, envelope.DataKeySize), w)
	defer clear(secret)
	if err != nil {
		d.fault("an encrypted data key does not decrypt under branch key %q (%s): the message was sealed under another encryption context, or was altered", d.id, w.version().itemType())
		return nil
	}
	key, err := envelope.NewDataKey(secret, *edk)
	if err != nil {
		d.errs = append(d.errs, err)
	}
	return key
}

// fault records why the message is invalid.
func (d *decryption) fault(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("branchkey: %w: "+format, append([]any{envelope.ErrNoMatchingKey}, args...)...))
}

// failure is the error of a message of which no encrypted data key was
// decrypted.
func (d *decryption) failure(edks []envelope.EncryptedDataKey) error {
	if len(d.errs) == 0 {
		named, ofKey, ofKMS := 0, 0, 0
		for _, edk := range edks {
			if edk.ProviderID == kmskeyring.ProviderID {
				ofKMS++
			}
			if edk.ProviderID == ProviderID {
				named++
				if string(edk.ProviderInfo) == d.id {
					ofKey++
				}
			}
		}
		switch { // nothing that the message says is repeated
		case named == 0 && ofKMS > 0:
			d.fault("the message was sealed with a data key of AWS KMS (provider %q): if its KMS key is yours, open it with a keyring of package kmskeyring (with sqsx: sqsx.Options.KMSKeyring.DecryptKeys, or SEALQ_DECRYPT_KEYS)", kmskeyring.ProviderID)
		case named == 0:
			d.fault("the message has no encrypted data key of provider %q: it was sealed with another kind of keyring, and opens with one of that kind", ProviderID)
		case ofKey == 0:
			d.fault("the message is under another branch key than %q, which is the one for its encryption context: if it is yours, see which branch key id its producer has", d.id)
		default:
			d.fault("an encrypted data key under branch key %q is not %d bytes", d.id, wrappedSize)
		}
	}
	return envelope.JoinKeyErrors(d.errs...)
}
