package envelope_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/sealq/sealq/envelope"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestGoldenSeal pins every byte that Seal writes, given its randomness. A
// change of this file is a change of the format.
func TestGoldenSeal(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	kr := newRaw(t, "key", 1)
	m, err := envelope.Seal(t.Context(), kr, []byte("golden plaintext"), envelope.EncryptionContext{
		"sealq:queue": "arn:aws:sqs:eu-west-1:111122223333:orders",
		"B":           "1",
		"a":           "2",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := hex.EncodeToString(m.Header) + "\n" + hex.EncodeToString(m.Body) + "\n"
	file := filepath.Join("testdata", "seal.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestGoldenOpen: what any release sealed, every later one opens.
func TestGoldenOpen(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile(filepath.Join("testdata", "seal.golden"))
	if err != nil {
		t.Fatal(err)
	}
	message, err := hex.DecodeString(strings.ReplaceAll(string(golden), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	m, err := envelope.Split(message)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := envelope.Open(t.Context(), newRaw(t, "key", 1), m, acceptAll)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(opened.Plaintext, []byte("golden plaintext")) || opened.EncryptionContext["a"] != "2" {
		t.Errorf("got %q under %v", opened.Plaintext, opened.EncryptionContext)
	}
}
