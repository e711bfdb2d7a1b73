package branchkey

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/envelope"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bind is the method, for contexts that fit.
func bind(t rapid.TB, m *workspace, id string, ec envelope.EncryptionContext) {
	t.Helper()
	if err := m.bind(id, ec); err != nil {
		t.Fatal(err)
	}
}

// TestKnownAnswer: the values were computed by another implementation, with
// HMAC and with the KBKDFHMAC of the Python package cryptography.
func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	const id = "bbb9baf1-03e6-4716-a586-6bf29995314b"
	v, ok := parseVersion("branch:version:83eec007-5659-4554-bf11-699b90f41ac6")
	if !ok {
		t.Fatal("the version was not understood")
	}
	branchKey := unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	saltIV := unhex(t, "404142434445464748494a4b4c4d4e4f606162636465666768696a6b")
	dataKey := unhex(t, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
	ec := envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:eu-central-1:111122223333:orders.fifo"}
	want := unhex(t, "404142434445464748494a4b4c4d4e4f606162636465666768696a6b83eec00756594554bf11699b90f41ac605923db15a668461d1ac89d45e58ed03bd4a4d8e7c4abf49bc2bae1419efe07aad98a4bc19d5d61a55ed212abf5e42b0")

	key, err := branchKeyOf(id, v, branchKey)
	if err != nil {
		t.Fatal(err)
	}
	m := new(workspace)
	m.load(key)
	bind(t, m, id, ec)
	got, err := m.wrap(saltIV, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if len(got) != wrappedSize || wrappedSize != 92 {
		t.Errorf("got %d bytes, want %d, and that to be 92", len(got), wrappedSize)
	}
	for range 2 { // the second time with the branch key that is remembered
		m.load(key)
		back, err := m.unwrap(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, dataKey) {
			t.Errorf("got data key %x, want %x", back, dataKey)
		}
	}
	if m.key != [32]byte{} {
		t.Error("the wrapping key was left in memory")
	}
}

// TestAAD: the additional data is the provider ID, the id, the version, and the
// pairs of the context in the order of their names' bytes.
func TestAAD(t *testing.T) {
	t.Parallel()
	v := version(bytes.Repeat([]byte{0xab}, 16))
	for name, test := range map[string]struct {
		ec   envelope.EncryptionContext
		want string
	}{
		"no pairs": {nil, ""},
		"empty":    {envelope.EncryptionContext{}, ""},
		"one":      {envelope.EncryptionContext{"a": "b"}, "\x00\x01\x00\x01a\x00\x01b"},
		"sorted":   {envelope.EncryptionContext{"é": "1", "a": "22", "B": ""}, "\x00\x03\x00\x01B\x00\x00\x00\x01a\x00\x0222\x00\x02é\x00\x011"},
	} {
		want := "aws-kms-hierarchy" + "the id" + string(v[:]) + test.want
		m := &workspace{version: v}
		bind(t, m, "the id", test.ec)
		if got := string(m.aad); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestWorkspaceIsReused: what one use leaves behind does not reach the next.
func TestWorkspaceIsReused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shared := new(workspace)
		var keys []*envelope.DataKey // two branch keys, of two versions each, as twice from the store
		for i := range 8 {
			key, err := branchKeyOf("id", version{byte(i / 2 % 2)}, bytes.Repeat([]byte{byte(i % 2)}, 32))
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
		}
		for range rapid.IntRange(1, 8).Draw(t, "uses") {
			key := rapid.SampledFrom(keys).Draw(t, "branch key")
			saltIV := rapid.SliceOfN(rapid.Byte(), 28, 28).Draw(t, "salt and IV")
			ec := envelope.EncryptionContext(rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "context"))
			dataKey := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "data key")
			wrap := func(m *workspace) []byte {
				m.load(key)
				bind(t, m, "id", ec)
				w, err := m.wrap(saltIV, dataKey)
				if err != nil {
					t.Fatal(err)
				}
				return w
			}
			got := wrap(shared)
			if want := wrap(new(workspace)); !bytes.Equal(got, want) {
				t.Fatalf("got %x, want %x", got, want)
			}
			back, err := shared.unwrap(nil, got)
			if err != nil || !bytes.Equal(back, dataKey) {
				t.Fatalf("got %x and error %v, want %x", back, err, dataKey)
			}
		}
	})
}

func TestVersionNames(t *testing.T) {
	t.Parallel()
	v := newUUID()
	if text := v.String(); len(text) != 36 || text[14] != '4' || !strings.Contains("89ab", text[19:20]) {
		t.Errorf("got %q, want a UUID of version 4", text)
	}
	if v == newUUID() {
		t.Error("the same UUID twice")
	}
	if got, ok := parseVersion(v.itemType()); !ok || got != v {
		t.Errorf("got %v and %t, want %v", got, ok, v)
	}
	for _, bad := range []string{
		"", "branch:version:", v.String(), "branch:ACTIVE", "branch:version:" + strings.ToUpper("ab"+v.String()[2:]),
		v.itemType() + "0", v.itemType()[:50], strings.ReplaceAll(v.itemType(), "-", ""), v.itemType()[:49] + "g",
		"branch:version:83eec0-075659-4554-bf11-699b90f41ac6",
	} {
		if _, ok := parseVersion(bad); ok {
			t.Errorf("%q was taken for a version", bad)
		}
	}
}
