package content_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx/internal/content"
)

// vector is described in testdata/vectors/README.md.
type vector struct {
	Name, Producer string
	Content        []byte
	Expect         string
	Time           int64
	AllInside      bool
	Body           []byte
	BodySHA256     string
	Sealed, Clear  []struct {
		Name, Type string
		Value      []byte
	}
}

// The vectors were written by encoders in other languages.
func TestVectors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("got %v, %v, want the vectors of two languages", files, err)
	}
	var z content.Compressor
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var vectors []vector
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&vectors); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		outcomes := map[string]int{}
		for _, v := range vectors {
			outcomes[v.Expect]++
			got, err := z.Decode(string(v.Content))
			class := map[string]error{"success": nil, "malformed": envelope.ErrMalformed, "unsupported": envelope.ErrUnsupported}[v.Expect]
			if !errors.Is(err, class) {
				t.Errorf("%s: %s: got %v, want %s", file, v.Name, err, v.Expect)
			}
			if v.Expect != "success" || err != nil {
				continue
			}
			want := content.Content{Body: string(v.Body), SealsAttributes: v.AllInside, Time: time.UnixMilli(v.Time).UTC()}
			if v.BodySHA256 != "" {
				sum := sha256.Sum256([]byte(got.Body))
				if hex.EncodeToString(sum[:]) != v.BodySHA256 {
					t.Errorf("%s: %s: another body of %d bytes", file, v.Name, len(got.Body))
				}
				want.Body = got.Body
			}
			for _, a := range v.Sealed {
				want.Sealed = append(want.Sealed, content.Attribute{Name: a.Name, Type: a.Type, Value: string(a.Value)})
			}
			for _, a := range v.Clear {
				want.Clear = append(want.Clear, content.Attribute{Name: a.Name, Type: a.Type, Value: string(a.Value)})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s: %s", file, v.Name, diff)
			}
			checkDecoded(t, v.Content)
		}
		if outcomes["success"] < 5 || outcomes["malformed"] < 5 || outcomes["unsupported"] < 1 {
			t.Errorf("%s: got %v, want some of each", file, outcomes)
		}
	}
}
