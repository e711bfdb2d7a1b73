package envelope_test

import (
	"bytes"
	"errors"
	"maps"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// TestRequiredEncryptionContext makes a message as some official SDKs do with a
// required encryption context: a pair is authenticated, with the data key and
// with the header, and not written into it. There is no way to give Open such a
// pair: the message does not open, and is invalid, whatever the keyring says.
func TestRequiredEncryptionContext(t *testing.T) {
	t.Parallel()
	written := map[string]string{"sealq:queue": "arn:aws:sqs:eu-west-1:111122223333:orders"}
	required := map[string]string{"tenant": "a"}
	all := maps.Clone(written)
	maps.Copy(all, required)

	raw := newRaw(t, "key", 1)
	key, err := envelope.NewDataKey(testKey, testEDK)
	if err != nil {
		t.Fatal(err)
	}
	build := func(ec map[string]string) envelope.Message {
		edk, err := raw.WrapDataKey(t.Context(), key, all)
		if err != nil {
			t.Fatal(err)
		}
		m := message{ec: ec, keys: []envelope.EncryptedDataKey{edk}}.build(t)
		if !maps.Equal(ec, all) {
			header := m.Header[:len(m.Header)-16]
			aead, _ := derive(t, 0x0478, testKey, testID)
			authenticated := append(bytes.Clone(header), serialize(required)...)
			copy(m.Header[len(header):], aead.Seal(nil, make([]byte, 12), nil, authenticated))
		}
		return m
	}
	m := build(written)
	if _, err := envelope.Open(t.Context(), raw, m, acceptAll); !errors.Is(err, envelope.ErrNoMatchingKey) {
		t.Errorf("a keyring that binds data keys to the context: got %v, want ErrNoMatchingKey", err)
	}
	if _, err := envelope.Open(t.Context(), &staticKeyring{}, m, acceptAll); err != envelope.ErrAuthentication {
		t.Errorf("a keyring that does not: got %v, want ErrAuthentication", err)
	}
	// With the pair in the header it is an ordinary message.
	if _, err := envelope.Open(t.Context(), raw, build(all), acceptAll); err != nil {
		t.Errorf("the same pair, written: %v", err)
	}
}
