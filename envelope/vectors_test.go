package envelope_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// vector is one entry of testdata/vectors/*.json; the README there describes
// it.
type vector struct {
	Name     string `json:"name"`
	Producer string `json:"producer"`
	Keyring  struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		Key       string `json:"key"`
	} `json:"keyring"`
	Message   []byte            `json:"message"`
	Expect    string            `json:"expect"`
	Plaintext []byte            `json:"plaintext"`
	Context   map[string]string `json:"context"`
}

var vectorErrors = map[string]error{
	"success":          nil,
	"malformed":        envelope.ErrMalformed,
	"unsupported":      envelope.ErrUnsupported,
	"context-mismatch": envelope.ErrContextMismatch,
	"no-matching-key":  envelope.ErrNoMatchingKey,
	"authentication":   envelope.ErrAuthentication,
}

func TestVectors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no file of test vectors in testdata/vectors")
	}
	seen := map[string]bool{}
	for _, file := range files {
		vectors := readVectors(t, file)
		if len(vectors) == 0 {
			t.Errorf("%s holds no vector", file)
		}
		for _, v := range vectors {
			if seen[v.Name] {
				t.Errorf("%s: a second vector is named %q", file, v.Name)
			}
			seen[v.Name] = true
			t.Run(v.Name, func(t *testing.T) { testVector(t, v) })
		}
	}
}

func readVectors(t *testing.T, file string) []vector {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&vectors); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return vectors
}

func testVector(t *testing.T, v vector) {
	want, ok := vectorErrors[v.Expect]
	if !ok {
		t.Fatalf("unknown expectation %q", v.Expect)
	}
	if v.Keyring.Kind != "raw-aes" {
		t.Fatalf("unknown keyring kind %q", v.Keyring.Kind)
	}
	key, err := hex.DecodeString(v.Keyring.Key)
	if err != nil {
		t.Fatal(err)
	}
	kr, err := envelope.NewRawAESKeyring(v.Keyring.Namespace, v.Keyring.Name, key)
	if err != nil {
		t.Fatal(err)
	}
	accept := func(ec envelope.EncryptionContext) error {
		if !maps.Equal(ec, v.Context) {
			return fmt.Errorf("%w: got %v, want %v", envelope.ErrContextMismatch, ec, v.Context)
		}
		return nil
	}
	m, err := envelope.Split(v.Message)
	var opened envelope.Opened
	if err == nil {
		opened, err = envelope.Open(t.Context(), kr, m, accept)
	}
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("got error %v, want %v", err, want)
	}
	if want != nil {
		if opened.Plaintext != nil {
			t.Errorf("got %d bytes of plaintext with an error", len(opened.Plaintext))
		}
		return
	}
	if !bytes.Equal(opened.Plaintext, v.Plaintext) {
		t.Errorf("got plaintext %q, want %q", opened.Plaintext, v.Plaintext)
	}
	h, err := envelope.ParseHeader(m.Header)
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(again, m.Header) {
		return
	}
	// Only a context that the producer did not sort may come back otherwise.
	if second, err := envelope.ParseHeader(again); err != nil || len(again) != len(m.Header) || !maps.Equal(second.EncryptionContext, h.EncryptionContext) {
		t.Errorf("header of %d bytes marshals to %d other bytes (%v)", len(m.Header), len(again), err)
	}
}
