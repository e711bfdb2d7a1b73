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
	"testing/synctest"

	"github.com/sealq/sealq/envelope"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestGoldenSeal pins every byte that Seal writes, given what it draws its
// message ID from: the random source, the time (that of a bubble, midnight UTC
// of 2000-01-01) and the count of the data key. A change of this file is a
// change of the format, or of that draw. The latter is no change of the format:
// keep the old file under another name for TestGoldenOpen.
func TestGoldenSeal(t *testing.T) { // not parallel: it sets the random source of the process
	cryptotest.SetGlobalRandom(t, 1)
	kr := newRaw(t, "key", 1)
	var m envelope.Message
	synctest.Test(t, func(t *testing.T) {
		var err error
		m, err = envelope.Seal(t.Context(), kr, []byte("golden plaintext"), envelope.EncryptionContext{
			"sealq:queue": "arn:aws:sqs:eu-west-1:111122223333:orders",
			"B":           "1",
			"a":           "2",
		})
		if err != nil {
			t.Fatal(err)
		}
	})
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
// seal-unhedged.golden is of a release whose message IDs were the random
// source's bytes as they came.
func TestGoldenOpen(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "*.golden"))
	if err != nil || len(files) < 2 {
		t.Fatalf("got the files %q, %v, want at least 2", files, err)
	}
	for _, file := range files {
		golden, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		message, err := hex.DecodeString(strings.ReplaceAll(string(golden), "\n", ""))
		if err != nil {
			t.Fatal(err)
		}
		m, err := envelope.Split(message)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		opened, err := envelope.Open(t.Context(), newRaw(t, "key", 1), m, acceptAll)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !bytes.Equal(opened.Plaintext, []byte("golden plaintext")) || opened.EncryptionContext["a"] != "2" {
			t.Errorf("%s: got %q under %v", file, opened.Plaintext, opened.EncryptionContext)
		}
	}
}
