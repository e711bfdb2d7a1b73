package branchkey_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tableName   = "branch-keys"
	logicalName = "orders-key-store"

	ours   = sqsxtest.DefaultAccount
	theirs = "444455556666"
)

var ec = envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:us-east-1:111122223333:orders"}

type attributes = map[string]types.AttributeValue

// world is a KMS with a key, and a table.
type world struct {
	t        testing.TB
	srv      *sqsxtest.Server
	kms      *kms.Client
	ddb      *dynamodb.Client
	keyARN   string
	tableARN string
}

func newWorld(t testing.TB) *world {
	srv := sqsxtest.New(t)
	w := &world{t: t, srv: srv, kms: kms.NewFromConfig(srv.Config()), ddb: dynamodb.NewFromConfig(srv.Config())}
	w.keyARN = w.newKey(w.kms, false)
	w.tableARN = srv.NewTable(tableName, "branch-key-id", "type")
	return w
}

// on returns w for a test of its own.
func (w *world) on(t testing.TB) *world {
	copied := *w
	copied.t = t
	return &copied
}

func (w *world) config(region, account string) aws.Config {
	cfg := w.srv.Config()
	cfg.Region = region
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: account, SecretAccessKey: "secret"}, nil
	})
	return cfg
}

func (w *world) newKey(c *kms.Client, multiRegion bool) (arn string) {
	w.t.Helper()
	out, err := c.CreateKey(w.t.Context(), &kms.CreateKeyInput{MultiRegion: &multiRegion})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

func (w *world) disable(arn string) {
	w.t.Helper()
	if _, err := w.kms.DisableKey(w.t.Context(), &kms.DisableKeyInput{KeyId: &arn}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) enable(arn string) {
	w.t.Helper()
	if _, err := w.kms.EnableKey(w.t.Context(), &kms.EnableKeyInput{KeyId: &arn}); err != nil {
		w.t.Fatal(err)
	}
}

// options are those of the world's key store.
func (w *world) options(o *branchkey.StoreOptions) {
	o.Table, o.LogicalName, o.KeyID = tableName, logicalName, w.keyARN
}

func (w *world) store(optFns ...func(*branchkey.StoreOptions)) *branchkey.Store {
	w.t.Helper()
	s, err := branchkey.NewStore(w.ddb, w.kms, append([]func(*branchkey.StoreOptions){w.options}, optFns...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// create makes a branch key and returns its version.
func (w *world) create(s *branchkey.Store, id string) string {
	w.t.Helper()
	version, err := s.Create(w.t.Context(), id, map[string]string{"purpose": "a-custom-value"})
	if err != nil {
		w.t.Fatal(err)
	}
	return version
}

func (w *world) rotate(s *branchkey.Store, id string) string {
	w.t.Helper()
	version, err := s.Rotate(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return version
}

func (w *world) keyring(s *branchkey.Store, id string, optFns ...func(*branchkey.Options)) *branchkey.Keyring {
	w.t.Helper()
	k, err := branchkey.New(s, id, optFns...)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) seal(kr envelope.Keyring) *envelope.DataKey {
	w.t.Helper()
	key, err := kr.GenerateDataKey(w.t.Context(), ec)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

// open returns the error of opening key's only encrypted form.
func (w *world) open(kr envelope.Keyring, key *envelope.DataKey) error {
	w.t.Helper()
	got, err := kr.DecryptDataKey(w.t.Context(), key.EncryptedDataKeys(), ec)
	if err == nil && !bytes.Equal(got.Plaintext(), key.Plaintext()) {
		w.t.Fatal("another data key came back")
	}
	return err
}

// mustOpen fails the test unless key opens.
func (w *world) mustOpen(kr envelope.Keyring, key *envelope.DataKey) {
	w.t.Helper()
	if err := w.open(kr, key); err != nil {
		w.t.Fatal(err)
	}
}

// versionType is the sort key of the item of a version.
func versionType(version string) string { return "branch:version:" + version }

func itemKey(id, itemType string) attributes {
	return attributes{
		"branch-key-id": &types.AttributeValueMemberS{Value: id},
		"type":          &types.AttributeValueMemberS{Value: itemType},
	}
}

// item returns an item of the table; nil if there is none.
func (w *world) item(id, itemType string) attributes {
	w.t.Helper()
	out, err := w.ddb.GetItem(w.t.Context(), &dynamodb.GetItemInput{TableName: aws.String(tableName), Key: itemKey(id, itemType), ConsistentRead: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Item
}

// edit changes an item of the table, behind the back of the key store.
func (w *world) edit(id, itemType string, change func(attributes)) {
	w.t.Helper()
	item := w.item(id, itemType)
	if item == nil {
		w.t.Fatalf("no item %q %q", id, itemType)
	}
	change(item)
	w.put(item)
}

func (w *world) put(item attributes) {
	w.t.Helper()
	if _, err := w.ddb.PutItem(w.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: item}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(id, itemType string) {
	w.t.Helper()
	if _, err := w.ddb.DeleteItem(w.t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(tableName), Key: itemKey(id, itemType)}); err != nil {
		w.t.Fatal(err)
	}
}

// items returns how many items the table has.
func (w *world) items() int {
	w.t.Helper()
	out, err := w.ddb.Scan(w.t.Context(), &dynamodb.ScanInput{TableName: aws.String(tableName)})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(out.Items)
}

// calls returns how many calls f makes that read branch keys.
func (w *world) calls(f func()) (getItem, decrypt int) {
	w.t.Helper()
	g, d := w.srv.Count("dynamodb:GetItem"), w.srv.Count("kms:Decrypt")
	f()
	return w.srv.Count("dynamodb:GetItem") - g, w.srv.Count("kms:Decrypt") - d
}

// wantCalls fails the test unless f makes that many calls.
func (w *world) wantCalls(what string, getItem, decrypt int, f func()) {
	w.t.Helper()
	if g, d := w.calls(f); g != getItem || d != decrypt {
		w.t.Errorf("%s: %d GetItem and %d Decrypt calls, want %d and %d", what, g, d, getItem, decrypt)
	}
}

// sent returns the bodies of the requests of an action.
func (w *world) sent(action string) []map[string]any {
	w.t.Helper()
	var bodies []map[string]any
	for _, r := range w.srv.Requests() {
		if r.Action != action {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			w.t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// class names the class of an error, in the order that package envelope
// prescribes.
func class(err error) string {
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, envelope.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "caller"
	case errors.Is(err, envelope.ErrInvalidMessage):
		return "message"
	}
	if refused, ok := errors.AsType[*envelope.RefusedError](err); ok {
		switch refused.Reach {
		case envelope.ReachEntry:
			return "refused: entry"
		case envelope.ReachKey:
			return "refused: key " + refused.KeyInfo
		}
		return "refused: another reach"
	}
	return "refused: no reach"
}

// answer is an error of a service.
func answer(status int, code string) error {
	return statusError{&smithy.GenericAPIError{Code: code, Message: "as the test wants it", Fault: smithy.FaultServer}, status}
}

type statusError struct {
	smithy.APIError
	status int
}

func (e statusError) HTTPStatusCode() int { return e.status }
func (e statusError) Unwrap() error       { return e.APIError }

// failing has the service answer every request of an action with err.
func (w *world) failing(action string, err error) {
	w.srv.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == action {
			return err
		}
		return nil
	})
}

// forged is an encrypted data key under a version that does not exist.
func forged(id string, n int) envelope.EncryptedDataKey {
	ciphertext := make([]byte, 92)
	copy(ciphertext[28:], fmt.Sprintf("%016d", n))
	return envelope.EncryptedDataKey{ProviderID: branchkey.ProviderID, ProviderInfo: []byte(id), Ciphertext: ciphertext}
}

// versionBytes are a version as encrypted data keys name it.
func versionBytes(t testing.TB, version string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(version, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
