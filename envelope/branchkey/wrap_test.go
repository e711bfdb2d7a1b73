package branchkey

import (
	"bytes"
	"encoding/hex"
	"testing"

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

	aad := appendAAD(nil, id, v, ec)
	got, err := new(workspace).wrap(branchKey, v, saltIV, dataKey, aad)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if len(got) != wrappedSize || wrappedSize != 92 {
		t.Errorf("got %d bytes, want %d, and that to be 92", len(got), wrappedSize)
	}
	back, err := new(workspace).unwrap(nil, branchKey, want, aad)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, dataKey) {
		t.Errorf("got data key %x, want %x", back, dataKey)
	}
}
