package interop_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/integration/interop/drivers"
)

// The vectors that package envelope is tested with mean the same to the SDKs:
// what is to open opens in each of them as in sealq, and what is forged opens
// in none. What is merely malformed is left out, since the SDKs differ over it.
func TestVectors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../envelope/testdata/vectors/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	type vector struct {
		Name               string
		Keyring            struct{ Namespace, Name, Key string }
		Message, Plaintext []byte
		Expect             string
		Context            map[string]string
	}
	var vectors []vector
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var some []vector
		if err := json.Unmarshal(content, &some); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		vectors = append(vectors, some...)
	}
	for _, s := range sdks {
		if s.ProcessPerMessage {
			continue // its library is that of python-legacy
		}
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			d := s.running(t)
			record(t, s, "test vectors", "")
			tried := map[string]int{}
			for _, v := range vectors {
				key, err := hex.DecodeString(v.Keyring.Key)
				if err != nil {
					t.Fatal(err)
				}
				message := v.Message
				if v.Expect == "success" {
					message = onTheWire(message, len(message)-1)
				}
				opened, err := d.Decrypt(drivers.RawAES(v.Keyring.Namespace, v.Keyring.Name, key), message)
				switch v.Expect {
				case "success":
					delete(opened.Context, publicKey)
					if err != nil || !bytes.Equal(opened.Plaintext, v.Plaintext) || !maps.Equal(opened.Context, v.Context) {
						t.Errorf("%s: got %v, want it opened", v.Name, err)
					}
					kr, err := envelope.NewRawAESKeyring(v.Keyring.Namespace, v.Keyring.Name, key)
					if err != nil {
						t.Fatal(err)
					}
					if got, _, err := open(kr, v.Context, v.Message); err != nil || !bytes.Equal(got, opened.Plaintext) {
						t.Errorf("%s: sealq got %v, want it opened to the same", v.Name, err)
					}
				case "authentication", "no-matching-key":
					if !refused(err) {
						t.Errorf("%s: got %v, want a refusal", v.Name, err)
					}
				default:
					continue
				}
				tried[v.Expect]++
			}
			if tried["success"] == 0 || tried["authentication"] == 0 || tried["no-matching-key"] == 0 {
				t.Errorf("tried %v, want some of each", tried)
			}
		})
	}
}
