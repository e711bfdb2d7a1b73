package branchkey_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
)

// recording is a file of testdata/vectors; the README there describes it. It is
// a DynamoDB that has the items, and a KMS that knows what they decrypt to.
type recording struct {
	Producer    string           `json:"producer"`
	LogicalName string           `json:"logicalName"`
	KMSKey      string           `json:"kmsKey"`
	Items       []recordedItem   `json:"items"`
	Vectors     []recordedVector `json:"vectors"`

	// What is not needed to read panics.
	branchkey.DynamoDB `json:"-"`
	branchkey.KMS      `json:"-"`
}

type recordedItem struct {
	Item      map[string]recordedAttribute `json:"item"`
	Context   map[string]string            `json:"context"`
	Plaintext string                       `json:"plaintext"`
}

type recordedAttribute struct {
	S *string
	N *string
	B []byte
}

type recordedVector struct {
	Name      string            `json:"name"`
	BranchKey string            `json:"branchKey"`
	Message   []byte            `json:"message"`
	Expect    string            `json:"expect"`
	Plaintext []byte            `json:"plaintext"`
	Context   map[string]string `json:"context"`
}

func (r *recording) GetItem(_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	key := func(name string) string { return in.Key[name].(*types.AttributeValueMemberS).Value }
	for _, recorded := range r.Items {
		if *recorded.Item["branch-key-id"].S != key("branch-key-id") || *recorded.Item["type"].S != key("type") {
			continue
		}
		item := map[string]types.AttributeValue{}
		for name, value := range recorded.Item {
			switch {
			case value.S != nil:
				item[name] = &types.AttributeValueMemberS{Value: *value.S}
			case value.N != nil:
				item[name] = &types.AttributeValueMemberN{Value: *value.N}
			default:
				item[name] = &types.AttributeValueMemberB{Value: value.B}
			}
		}
		return &dynamodb.GetItemOutput{Item: item}, nil
	}
	return &dynamodb.GetItemOutput{}, nil
}

func (r *recording) Decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	for _, recorded := range r.Items {
		if !bytes.Equal(recorded.Item["enc"].B, in.CiphertextBlob) {
			continue
		}
		if aws.ToString(in.KeyId) != r.KMSKey || !maps.Equal(in.EncryptionContext, recorded.Context) {
			break
		}
		plaintext, err := hex.DecodeString(recorded.Plaintext)
		return &kms.DecryptOutput{KeyId: &r.KMSKey, Plaintext: plaintext}, err
	}
	return nil, &kmstypes.InvalidCiphertextException{}
}

func readRecording(t *testing.T, file string) *recording {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := new(recording)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}

// keyring returns a keyring over the key store as its SDK was configured. It
// has cached nothing.
func (r *recording) keyring(t *testing.T, id string) *branchkey.Keyring {
	t.Helper()
	s, err := branchkey.NewStore(r, r, func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = "branch-keys", r.LogicalName, r.KMSKey
	})
	if err != nil {
		t.Fatal(err)
	}
	kr, err := branchkey.New(s, id)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}

// What the official SDKs seal under branch keys opens here, and what was
// altered is refused. None of it needs a service.
func TestVectors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file of test vectors in testdata/vectors (%v)", err)
	}
	seen := map[string]bool{}
	outcomes := map[string]int{}
	for _, file := range files {
		r := readRecording(t, file)
		if len(r.Vectors) == 0 || len(r.Items) == 0 {
			t.Errorf("%s holds %d vectors and %d items", file, len(r.Vectors), len(r.Items))
		}
		for _, v := range r.Vectors {
			if seen[v.Name] {
				t.Errorf("%s: a second vector is named %q", file, v.Name)
			}
			seen[v.Name] = true
			outcomes[v.Expect]++
			t.Run(v.Name, func(t *testing.T) { testRecordedVector(t, r, v) })
		}
	}
	for _, outcome := range []string{"success", "refused", "no-matching-key", "authentication", "context-mismatch"} {
		if outcomes[outcome] == 0 {
			t.Errorf("no vector has the outcome %q", outcome)
		}
	}
}

func testRecordedVector(t *testing.T, r *recording, v recordedVector) {
	accept := func(ec envelope.EncryptionContext) error {
		if !maps.Equal(ec, v.Context) {
			return fmt.Errorf("%w: got %v, want %v", envelope.ErrContextMismatch, ec, v.Context)
		}
		return nil
	}
	m, err := envelope.Split(v.Message)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := envelope.Open(t.Context(), r.keyring(t, v.BranchKey), m, accept)
	refused, isRefused := errors.AsType[*envelope.RefusedError](err)
	want := map[string]error{
		"no-matching-key":  envelope.ErrNoMatchingKey,
		"authentication":   envelope.ErrAuthentication,
		"context-mismatch": envelope.ErrContextMismatch,
	}[v.Expect]
	switch {
	case v.Expect == "success":
		if err != nil || !bytes.Equal(opened.Plaintext, v.Plaintext) {
			t.Errorf("got %q, %v, want %q", opened.Plaintext, err, v.Plaintext)
		}
		return
	case v.Expect == "refused":
		// It may be a version that is a second old: not the message's fault.
		if !isRefused || refused.Reach != envelope.ReachEntry || envelope.IsInvalidMessage(err) {
			t.Errorf("got error %v, want a refusal of the version alone", err)
		}
	case want == nil:
		t.Fatalf("unknown expectation %q", v.Expect)
	default:
		if !errors.Is(err, want) || !envelope.IsInvalidMessage(err) {
			t.Errorf("got error %v, want %v", err, want)
		}
	}
	if opened.Plaintext != nil {
		t.Errorf("got %d bytes of plaintext with an error", len(opened.Plaintext))
	}
}

// The active items of the SDKs' key stores are read here, too: sealq seals
// under the version that they name, and the version's own item opens that.
func TestVectorsActive(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	active := 0
	for _, file := range files {
		r := readRecording(t, file)
		for _, recorded := range r.Items {
			if *recorded.Item["type"].S != "branch:ACTIVE" {
				continue
			}
			active++
			id := *recorded.Item["branch-key-id"].S
			m, err := envelope.Seal(t.Context(), r.keyring(t, id), []byte("sealed here"), nil)
			if err != nil {
				t.Fatalf("%s, branch key %s: %v", r.Producer, id, err)
			}
			accept := func(envelope.EncryptionContext) error { return nil }
			if _, err := envelope.Open(t.Context(), r.keyring(t, id), m, accept); err != nil {
				t.Errorf("%s, branch key %s: %v", r.Producer, id, err)
			}
			h, err := envelope.ParseHeader(m.Header)
			if err != nil {
				t.Fatal(err)
			}
			v := h.EncryptedDataKeys[0].Ciphertext[28:44]
			want := fmt.Sprintf("branch:version:%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:])
			if got := *recorded.Item["version"].S; got != want {
				t.Errorf("%s, branch key %s: sealed under %s, want %s", r.Producer, id, want, got)
			}
		}
	}
	if active < 2 {
		t.Errorf("got %d active items, want those of two branch keys of each file", active)
	}
}
