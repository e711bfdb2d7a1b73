package envelope_test

import (
	"testing"

	"github.com/sealq/sealq/envelope"
)

func TestEncryptedDataKeyEqual(t *testing.T) {
	t.Parallel()
	key := envelope.EncryptedDataKey{ProviderID: "id", ProviderInfo: []byte("info"), Ciphertext: []byte("text")}
	for name, test := range map[string]struct {
		a, b envelope.EncryptedDataKey
		want bool
	}{
		"itself":             {key, key, true},
		"same bytes":         {key, envelope.EncryptedDataKey{ProviderID: "id", ProviderInfo: []byte("info"), Ciphertext: []byte("text")}, true},
		"zero":               {envelope.EncryptedDataKey{}, envelope.EncryptedDataKey{}, true},
		"nil and empty":      {envelope.EncryptedDataKey{ProviderInfo: []byte{}}, envelope.EncryptedDataKey{Ciphertext: []byte{}}, true},
		"provider ID":        {key, envelope.EncryptedDataKey{ProviderID: "other", ProviderInfo: key.ProviderInfo, Ciphertext: key.Ciphertext}, false},
		"provider info":      {key, envelope.EncryptedDataKey{ProviderID: "id", ProviderInfo: []byte("inf"), Ciphertext: key.Ciphertext}, false},
		"ciphertext":         {key, envelope.EncryptedDataKey{ProviderID: "id", ProviderInfo: key.ProviderInfo, Ciphertext: []byte("texT")}, false},
		"split another way":  {key, envelope.EncryptedDataKey{ProviderID: "id", ProviderInfo: []byte("infot"), Ciphertext: []byte("ext")}, false},
		"nothing of another": {key, envelope.EncryptedDataKey{}, false},
	} {
		if test.a.Equal(test.b) != test.want || test.b.Equal(test.a) != test.want {
			t.Errorf("%s: want %v, both ways", name, test.want)
		}
	}
}

func TestEncryptedDataKeyClone(t *testing.T) {
	t.Parallel()
	key := envelope.EncryptedDataKey{ProviderID: "id", ProviderInfo: []byte("info"), Ciphertext: []byte("text")}
	clone, kept := key.Clone(), key.Clone()
	if !clone.Equal(key) {
		t.Errorf("got %v, want %v", clone, key)
	}
	clear(key.ProviderInfo)
	clear(key.Ciphertext)
	if !clone.Equal(kept) {
		t.Error("a clone changed with its original")
	}
	// Nor does one slice of a clone reach the other.
	_ = append(clone.ProviderInfo, 'x')
	if !clone.Equal(kept) {
		t.Error("an append to one slice of a clone changed the other")
	}
	if zero := (envelope.EncryptedDataKey{}).Clone(); !zero.Equal(envelope.EncryptedDataKey{}) {
		t.Errorf("got %v, want the zero value", zero)
	}
}
