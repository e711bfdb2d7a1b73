package kmskeyring_test

import (
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/envelopetest"
	"github.com/sealq/sealq/envelope/kmskeyring"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, true)
	w.alias(client, "alias/orders", id)
	west := w.replicate(client, id, "us-west-2")
	for name, keyID := range map[string]string{
		"key ARN": arn, "key ID": id, "alias": "alias/orders", "replica": west,
		"alias ARN": "arn:aws:kms:us-east-1:" + ours + ":alias/orders",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			envelopetest.TestWrapper(t, func(t *testing.T) envelope.Wrapper {
				return world{t, w.srv}.keyring(client, keyID)
			})
		})
	}
	t.Run("multi-keyring", func(t *testing.T) {
		t.Parallel()
		_, other := w.key(client, false)
		envelopetest.TestKeyring(t, func(t *testing.T) envelope.Keyring {
			w := world{t, w.srv}
			kr, err := envelope.NewMultiKeyring(w.keyring(client, arn), w.keyring(client, other))
			if err != nil {
				t.Fatal(err)
			}
			return kr
		})
	})
}

// TestMultiKeyringFailover: a message under two keys opens while one of them
// refuses or cannot be asked.
func TestMultiKeyringFailover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	firstID, first := w.key(client, false)
	_, second := w.key(client, false)
	multi, err := envelope.NewMultiKeyring(w.keyring(client, first), w.keyring(client, second))
	if err != nil {
		t.Fatal(err)
	}
	key := w.generate(multi)
	if n := len(key.EncryptedDataKeys()); n != 2 {
		t.Fatalf("%d encrypted data keys, want 2", n)
	}
	w.disable(client, firstID)
	for name, kr := range map[string]envelope.Keyring{
		"multi-keyring": multi,
		"DecryptKeys": w.keyring(client, first, func(o *kmskeyring.Options) {
			o.DecryptKeys = []string{second}
		}),
	} {
		if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
