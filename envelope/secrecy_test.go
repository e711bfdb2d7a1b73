package envelope_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// prints returns v as every way of printing shows it.
func prints(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "%s", "%q", "%d", "%o", "%b", "%c", "%U", "%T", "%p", "% x", "%t", "%e", "%!"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	out["Sprint"] = fmt.Sprint(v)
	out["error"] = fmt.Errorf("error: %v %s", v, v).Error()
	if b, err := json.Marshal(v); err == nil {
		out["json"] = string(b)
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("message", "value", v, slog.Group("group", "value", v))
		out[name] = b.String()
	}
	return out
}

func spellings(secret []byte) []string {
	half := secret[:len(secret)/2] // also a part of it is a leak
	list := func(format, sep string) string {
		var s []string
		for _, c := range half[:4] {
			s = append(s, fmt.Sprintf(format, c))
		}
		return strings.Join(s, sep)
	}
	word := binary.BigEndian.Uint32(half)
	return []string{
		string(half[:4]), hex.EncodeToString(half[:4]), strings.ToUpper(hex.EncodeToString(half[:4])),
		base64.StdEncoding.EncodeToString(half[:6]),
		list("%d", " "), list("%d", ","), list("0x%x", ", "), list("%02x", " "), list("%c", " "), list("%o", " "), list("%b", " "), list("%U", " "),
		fmt.Sprint(word), fmt.Sprintf("%x", word), // a word of an AES key schedule
	}
}

func TestNothingPrintsKeys(t *testing.T) {
	t.Parallel()
	secret := []byte("?!=+~ a key that prints as text.")
	key, err := envelope.NewDataKey(secret, testEDK)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := envelope.NewRawAESKeyring("namespace", "name", secret)
	if err != nil {
		t.Fatal(err)
	}
	multi, err := envelope.NewMultiKeyring(raw, raw)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{
		"DataKey":                  key,
		"DataKey by value":         *key,
		"DataKey exported field":   struct{ Key *envelope.DataKey }{key},
		"DataKey unexported field": struct{ key *envelope.DataKey }{key},
		"DataKey value field":      struct{ key envelope.DataKey }{*key},
		"DataKey embedded":         struct{ *envelope.DataKey }{key},
		"DataKey value embedded":   struct{ envelope.DataKey }{*key},
		"DataKey in pointer":       &struct{ key envelope.DataKey }{*key},
		"DataKey slice":            []*envelope.DataKey{key},
		"DataKey value slice":      []envelope.DataKey{*key},
		"DataKey map":              map[string]envelope.DataKey{"k": *key},
		"DataKey any":              []any{key, *key},
		"RawAESKeyring":            raw,
		"RawAESKeyring by value":   *raw,
		"RawAESKeyring field":      struct{ kr *envelope.RawAESKeyring }{raw},
		"RawAESKeyring value":      &struct{ kr envelope.RawAESKeyring }{*raw},
		"RawAESKeyring interface":  struct{ kr envelope.Keyring }{raw},
		"MultiKeyring":             multi,
		"MultiKeyring by value":    *multi,
	}
	for name, v := range values {
		for how, text := range prints(v) {
			for _, s := range spellings(secret) {
				if strings.Contains(text, s) {
					t.Errorf("%s printed with %s shows %q:\n%s", name, how, s, text)
				}
			}
		}
	}
	if got := fmt.Sprintf("%v %s %d", key, key, key); got != strings.TrimSpace(strings.Repeat("envelope.DataKey(redacted) ", 3)) {
		t.Errorf("got %q", got)
	}
	// The test can fail: bytes that are not hidden are found.
	open := struct{ key []byte }{secret}
	for how, text := range prints(open) {
		found := false
		for _, s := range spellings(secret) {
			found = found || strings.Contains(text, s)
		}
		switch how {
		case "%v", "%+v", "%#v", "%x", "%X", "%s", "%d", "%o", "%b", "%c", "%U", "Sprint":
			if !found {
				t.Errorf("test is wrong: no spelling of the key is found in %s:\n%s", how, text)
			}
		}
	}
}

func TestDataKeyIsImmutable(t *testing.T) {
	t.Parallel()
	secret := bytes.Clone(testKey)
	edk := envelope.EncryptedDataKey{ProviderID: "p", ProviderInfo: []byte("i"), Ciphertext: []byte("c")}
	edks := []envelope.EncryptedDataKey{edk}
	key, err := envelope.NewDataKey(secret, edks...)
	if err != nil {
		t.Fatal(err)
	}
	clear(secret)
	edk.ProviderInfo[0], edk.Ciphertext[0], edks[0].ProviderID = 'x', 'x', "x"
	clear(key.Plaintext())
	got := key.EncryptedDataKeys()
	got[0].ProviderInfo[0], got[0].Ciphertext[0], got[0].ProviderID = 'x', 'x', "x"
	again := key.EncryptedDataKeys()[0]
	if _ = append(again.ProviderInfo, 'x'); string(again.Ciphertext) != "c" {
		t.Error("appending to ProviderInfo overwrites Ciphertext")
	}
	if !bytes.Equal(key.Plaintext(), testKey) {
		t.Error("plaintext changed")
	}
	if e := key.EncryptedDataKeys()[0]; e.ProviderID != "p" || string(e.ProviderInfo) != "i" || string(e.Ciphertext) != "c" {
		t.Errorf("encrypted data key changed to %v", e)
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := envelope.NewDataKey(make([]byte, n), testEDK); err == nil {
			t.Errorf("data key of %d bytes accepted", n)
		}
	}
	if _, err := envelope.NewDataKey(testKey); err == nil {
		t.Error("data key without an encrypted form accepted")
	}
}
