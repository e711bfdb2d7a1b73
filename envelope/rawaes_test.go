package envelope_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope"
)

func TestRawAESKeyringFormat(t *testing.T) {
	t.Parallel()
	for _, size := range []int{16, 24, 32} {
		wrapping := bytes.Repeat([]byte{7}, size)
		kr, err := envelope.NewRawAESKeyring("namespace", "name", wrapping)
		if err != nil {
			t.Fatal(err)
		}
		block, err := aes.NewCipher(wrapping)
		if err != nil {
			t.Fatal(err)
		}
		clear(wrapping) // the keyring has its copy
		aead, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		for _, ec := range []envelope.EncryptionContext{nil, {"b": "2", "a": "1"}} {
			key, err := kr.GenerateDataKey(t.Context(), ec)
			if err != nil {
				t.Fatal(err)
			}
			edk := key.EncryptedDataKeys()[0]
			if edk.ProviderID != "namespace" {
				t.Errorf("got provider ID %q", edk.ProviderID)
			}
			iv, ok := bytes.CutPrefix(edk.ProviderInfo, []byte("name\x00\x00\x00\x80\x00\x00\x00\x0c"))
			if !ok || len(iv) != 12 {
				t.Fatalf("got provider info %q", edk.ProviderInfo)
			}
			secret, err := aead.Open(nil, iv, edk.Ciphertext, serialize(ec))
			if err != nil || !bytes.Equal(secret, key.Plaintext()) {
				t.Errorf("%d-byte wrapping key: data key decrypts by hand to another: %v", size, err)
			}
		}
	}
}

func TestNewRawAESKeyringRefuses(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	tests := map[string]struct {
		namespace, name string
		key             []byte
		want            string // empty: accepted
	}{
		"namespace empty":     {"", "n", key, "needs a namespace and a name"},
		"name empty":          {"n", "", key, "needs a namespace and a name"},
		"aws-kms":             {"aws-kms", "n", key, `"aws-kms" is reserved`},
		"namespace not UTF-8": {"\xff", "n", key, "not UTF-8"},
		"name not UTF-8":      {"n", "\xff", key, "not UTF-8"},
		"namespace N":         {strings.Repeat("n", envelope.MaxProviderID), "n", key, ""},
		"namespace N+1":       {strings.Repeat("n", envelope.MaxProviderID+1), "n", key, "257 bytes, want at most 256"},
		"name N":              {"n", strings.Repeat("n", envelope.MaxProviderInfo-20), key, ""},
		"name N+1":            {"n", strings.Repeat("n", envelope.MaxProviderInfo-19), key, "2029 bytes, want at most 2028"},
		"key nil":             {"n", "n", nil, "wrapping key is 0 bytes, want 16, 24 or 32"},
		"key 31":              {"n", "n", key[:31], "wrapping key is 31 bytes"},
	}
	for name, test := range tests {
		kr, err := envelope.NewRawAESKeyring(test.namespace, test.name, test.key)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if m, err := envelope.Seal(t.Context(), kr, nil, nil); err != nil {
				t.Errorf("%s: seal: %v", name, err)
			} else if _, err := envelope.Open(t.Context(), kr, m, acceptAll); err != nil {
				t.Errorf("%s: open: %v", name, err)
			}
			continue
		}
		if err == nil || kr != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestRawAESKeyringDecrypt(t *testing.T) {
	t.Parallel()
	ec := envelope.EncryptionContext{"k": "v"}
	kr := newRaw(t, "key", 1)
	good := func() envelope.EncryptedDataKey {
		key, err := kr.GenerateDataKey(t.Context(), ec)
		if err != nil {
			t.Fatal(err)
		}
		return key.EncryptedDataKeys()[0]
	}()
	namesake := func() envelope.EncryptedDataKey { // the same name, another wrapping key
		key, err := newRaw(t, "key", 2).GenerateDataKey(t.Context(), ec)
		if err != nil {
			t.Fatal(err)
		}
		return key.EncryptedDataKeys()[0]
	}()
	with := func(change func(*envelope.EncryptedDataKey)) envelope.EncryptedDataKey {
		k := good
		k.ProviderInfo, k.Ciphertext = bytes.Clone(k.ProviderInfo), bytes.Clone(k.Ciphertext)
		change(&k)
		return k
	}
	tests := map[string]struct {
		edks []envelope.EncryptedDataKey
		ec   envelope.EncryptionContext
		want string // empty: decrypts with good
	}{
		"good":                {[]envelope.EncryptedDataKey{good}, ec, ""},
		"namesake before":     {[]envelope.EncryptedDataKey{namesake, namesake, good}, ec, ""},
		"junk around":         {[]envelope.EncryptedDataKey{testEDK, {}, good, testEDK}, ec, ""},
		"none":                {nil, ec, "none of 0"},
		"foreign":             {[]envelope.EncryptedDataKey{testEDK}, ec, "none of 1 is for the raw AES key"},
		"namesake":            {[]envelope.EncryptedDataKey{namesake}, ec, "1 of 1"},
		"other context":       {[]envelope.EncryptedDataKey{good}, envelope.EncryptionContext{"k": "w"}, "1 of 1"},
		"no context":          {[]envelope.EncryptedDataKey{good}, nil, "1 of 1"},
		"other namespace":     {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.ProviderID = "other" })}, ec, "none of 1"},
		"longer name":         {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo = append([]byte("key"), k.ProviderInfo...) })}, ec, "none of 1"},
		"tag length 64":       {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo[6] = 64 })}, ec, "none of 1"},
		"IV length 16":        {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo[10] = 16 })}, ec, "none of 1"},
		"IV short":            {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo = k.ProviderInfo[:22] })}, ec, "none of 1"},
		"IV long":             {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo = append(k.ProviderInfo, 0) })}, ec, "none of 1"},
		"IV altered":          {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.ProviderInfo[12] ^= 1 })}, ec, "1 of 1"},
		"ciphertext short":    {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.Ciphertext = k.Ciphertext[1:] })}, ec, "none of 1"},
		"ciphertext altered":  {[]envelope.EncryptedDataKey{with(func(k *envelope.EncryptedDataKey) { k.Ciphertext[0] ^= 1 })}, ec, "1 of 1"},
		"context too large":   {[]envelope.EncryptedDataKey{good}, envelope.EncryptionContext{"k": strings.Repeat("v", 8192)}, "takes 8199 bytes"},
		"context value empty": {[]envelope.EncryptedDataKey{good}, envelope.EncryptionContext{"k": ""}, "1 of 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := kr.DecryptDataKey(t.Context(), test.edks, test.ec)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				got := key.EncryptedDataKeys()
				if len(got) != 1 || !bytes.Equal(got[0].Ciphertext, good.Ciphertext) {
					t.Errorf("got %d encrypted data keys, want the one that decrypts", len(got))
				}
				return
			}
			if !errors.Is(err, envelope.ErrInvalidMessage) || !strings.Contains(err.Error(), test.want) || key != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestRawAESKeyringUnusable(t *testing.T) {
	t.Parallel()
	var none *envelope.RawAESKeyring
	for _, kr := range []*envelope.RawAESKeyring{none, new(envelope.RawAESKeyring)} {
		if _, err := kr.GenerateDataKey(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "NewRawAESKeyring") {
			t.Errorf("generate: got %v", err)
		}
		if _, err := kr.DecryptDataKey(t.Context(), nil, nil); err == nil || errors.Is(err, envelope.ErrInvalidMessage) {
			t.Errorf("decrypt: got %v", err)
		}
	}
	kr := newRaw(t, "key", 1)
	for _, key := range []*envelope.DataKey{nil, new(envelope.DataKey)} {
		if _, err := kr.WrapDataKey(t.Context(), key, nil); err == nil {
			t.Error("wrapped no data key without an error")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := envelope.Seal(ctx, kr, nil, nil); !errors.Is(err, context.Canceled) || errors.Is(err, envelope.ErrInvalidMessage) {
		t.Errorf("seal with a cancelled context: got %v", err)
	}
	if _, err := envelope.Seal(t.Context(), kr, nil, envelope.EncryptionContext{"k": strings.Repeat("v", 70000)}); err == nil {
		t.Error("sealed a context of 70,000 bytes")
	}
}

// TestRawAESKeyringOfASignedMessage: the pair with the public key is the
// format's own, and does not count towards the limits of a context.
func TestRawAESKeyringOfASignedMessage(t *testing.T) {
	t.Parallel()
	kr := newRaw(t, "key", 1)
	key, err := envelope.NewDataKey(testKey, testEDK)
	if err != nil {
		t.Fatal(err)
	}
	pairs := func(n int, publicKey string) envelope.EncryptionContext {
		ec := envelope.EncryptionContext{"aws-crypto-public-key": publicKey}
		for i := range n {
			ec[fmt.Sprint(i)] = "v"
		}
		return ec
	}
	text := strings.Repeat("A", 68)
	tests := map[string]struct {
		ec   envelope.EncryptionContext
		want string // empty: accepted
	}{
		"pairs N":          {pairs(envelope.MaxContextPairs, text), ""},
		"pairs N+1":        {pairs(envelope.MaxContextPairs+1, text), "129 pairs, want at most 128"},
		"bytes N":          {envelope.EncryptionContext{"aws-crypto-public-key": text, "k": strings.Repeat("v", envelope.MaxContextBytes-7)}, ""},
		"bytes N+1":        {envelope.EncryptionContext{"aws-crypto-public-key": text, "k": strings.Repeat("v", envelope.MaxContextBytes-6)}, "8193 bytes, want at most 8192"},
		"no public key":    {pairs(envelope.MaxContextPairs, text+"A"), "129 pairs, want at most 128"},
		"beyond its field": {pairs(0, strings.Repeat("A", 1<<16)), "65563 bytes, want at most 8192"},
	}
	for name, test := range tests {
		edk, err := kr.WrapDataKey(t.Context(), key, test.ec)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: wrap: %v", name, err)
				continue
			}
			if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{edk}, test.ec); err != nil {
				t.Errorf("%s: decrypt: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "envelope: encryption context") {
			t.Errorf("%s: wrap: got %v, want %q", name, err, test.want)
		}
		if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{testEDK}, test.ec); !errors.Is(err, envelope.ErrUnsupported) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: decrypt: got %v, want ErrUnsupported with %q", name, err, test.want)
		}
	}
}
