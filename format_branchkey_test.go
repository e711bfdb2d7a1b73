package sealq_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// TestFormatBranchKeyVector computes the known answer of docs/format.md as the
// document says, and shares nothing with the module.
func TestFormatBranchKeyVector(t *testing.T) {
	t.Parallel()
	row := func(label string) string { return vectorRow(t, "Under a branch key", label) }
	const provider = "aws-kms-hierarchy"
	version := unhex(t, strings.ReplaceAll(row("version"), "-", ""))
	salt, iv := unhex(t, row("salt, hex")), unhex(t, row("IV, hex"))

	mac := hmac.New(sha256.New, unhex(t, row("branch key, hex")))
	mac.Write(slices.Concat([]byte{0, 0, 0, 1}, []byte(provider), []byte{0}, salt, []byte{0, 0, 1, 0}))
	wrappingKey := mac.Sum(nil)
	if got, want := hex.EncodeToString(wrappingKey), row("wrapping key, hex"); got != want {
		t.Errorf("the wrapping key is %s, want %s", got, want)
	}

	context := counted([]byte{0, 1}, row("context name"), row("context value"))
	aad := slices.Concat([]byte(provider), []byte(row("branch key ID")), version, context)
	ciphertext := slices.Concat(salt, iv, version)
	ciphertext = gcm(t, wrappingKey).Seal(ciphertext, iv, unhex(t, row("data key, hex")), aad)
	if got, want := hex.EncodeToString(ciphertext), row("ciphertext, hex"); got != want {
		t.Errorf("the ciphertext is %s, want %s", got, want)
	}
	if got, want := len(ciphertext), 92; got != want {
		t.Errorf("the ciphertext has %d bytes, want %d", got, want)
	}
}
