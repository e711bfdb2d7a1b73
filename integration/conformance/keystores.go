package conformance

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
)

// keyStoreCases are about branch keys, for targets that have DynamoDB.
func keyStoreCases() []testCase {
	return []testCase{
		{"key stores: messages of all versions of a branch key open", rotatedBranchKey},
		{"key stores: one rotation of two at once succeeds", rotationConflict},
		{"key stores: a branch key is created once", branchKeyExists},
		{"key stores: items that are missing or altered are refused", brokenItems},
		{"key stores: sealed messages go through a queue", branchKeyQueue},
	}
}

// keyStore is a key store in a table of its own.
type keyStore struct {
	*tables
	keys branchkey.KMS
	key  string
}

func (s *suite) keyStore(t *testing.T) *keyStore {
	t.Helper()
	k := &keyStore{s.tables(t), s.kms, s.key(t)}
	if s.differs(NoReEncrypt) {
		k.keys = decryptAndEncrypt{s.kms}
	}
	return k
}

// decryptAndEncrypt has the effect of ReEncrypt by two other calls.
type decryptAndEncrypt struct{ *kms.Client }

func (c decryptAndEncrypt) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, optFns ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	opened, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: in.CiphertextBlob, KeyId: in.SourceKeyId, EncryptionContext: in.SourceEncryptionContext}, optFns...)
	if err != nil {
		return nil, err
	}
	sealed, err := c.Encrypt(ctx, &kms.EncryptInput{Plaintext: opened.Plaintext, KeyId: in.DestinationKeyId, EncryptionContext: in.DestinationEncryptionContext}, optFns...)
	if err != nil {
		return nil, err
	}
	return &kms.ReEncryptOutput{CiphertextBlob: sealed.CiphertextBlob, SourceKeyId: opened.KeyId, KeyId: sealed.KeyId}, nil
}

// open opens the store as a process would that has just started.
func (k *keyStore) open(t *testing.T, optFns ...func(*branchkey.StoreOptions)) *branchkey.Store {
	t.Helper()
	store, err := branchkey.NewStore(k.Client, k.keys, append([]func(*branchkey.StoreOptions){func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = k.name, "conformance", k.key
	}}, optFns...)...)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (k *keyStore) keyring(t *testing.T, id string, optFns ...func(*branchkey.StoreOptions)) *branchkey.Keyring {
	t.Helper()
	keyring, err := branchkey.New(k.open(t, optFns...), id)
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

func (k *keyStore) create(t *testing.T, id string) (version string) {
	t.Helper()
	version, err := k.open(t).Create(t.Context(), id, map[string]string{"team": "Geschäft"})
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func (k *keyStore) rotate(t *testing.T, id string) (version string) {
	t.Helper()
	version, err := k.open(t).Rotate(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

var someMessageContext = envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:us-east-1:000000000000:q"}

func seal(t *testing.T, keyring envelope.Keyring, plaintext string) envelope.Message {
	t.Helper()
	m, err := envelope.Seal(t.Context(), keyring, []byte(plaintext), someMessageContext)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func unseal(t *testing.T, keyring envelope.Keyring, m envelope.Message) (string, error) {
	t.Helper()
	opened, err := envelope.Open(t.Context(), keyring, m, func(envelope.EncryptionContext) error { return nil })
	return string(opened.Plaintext), err
}

func rotatedBranchKey(t *testing.T, s *suite) {
	k := s.keyStore(t)
	versions := []string{k.create(t, "orders")}
	messages := []envelope.Message{seal(t, k.keyring(t, "orders"), "0")}
	for range 2 {
		versions = append(versions, k.rotate(t, "orders"))
		messages = append(messages, seal(t, k.keyring(t, "orders"), string(rune('0'+len(messages)))))
	}
	for i, v := range versions {
		if k.read(t, k.name, itemKey("orders", "branch:version:"+v)) == nil {
			t.Errorf("version %d: its item is missing", i)
		}
	}
	active := k.read(t, k.name, itemKey("orders", "branch:ACTIVE"))
	if got, ok := active["version"].(*ddbtypes.AttributeValueMemberS); !ok || got.Value != "branch:version:"+versions[2] {
		t.Errorf("ACTIVE: got version %v, want %s", active["version"], versions[2])
	}
	for name, opt := range map[string]func(*branchkey.StoreOptions){
		"as configured":   func(*branchkey.StoreOptions) {},
		"by ARN of table": func(o *branchkey.StoreOptions) { o.Table = k.arn },
	} {
		for i, m := range messages {
			got, err := unseal(t, k.keyring(t, "orders", opt), m)
			if err != nil || got != string(rune('0'+i)) {
				t.Errorf("%s: message %d: got %q and error %v", name, i, got, err)
			}
		}
	}
}

func rotationConflict(t *testing.T, s *suite) {
	k := s.keyStore(t)
	k.create(t, "orders")
	// Both have read the same ACTIVE item when the first one writes.
	slow := &slowWrites{Client: k.Client, first: func() { k.rotate(t, "orders") }}
	store, err := branchkey.NewStore(slow, k.keys, func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = k.name, "conformance", k.key
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Rotate(t.Context(), "orders")
	wantClass(t, "the second", err, branchkey.ErrConflict)
	if got, err := unseal(t, k.keyring(t, "orders"), seal(t, k.keyring(t, "orders"), "x")); err != nil || got != "x" {
		t.Errorf("after it: got %q and error %v", got, err)
	}
}

func branchKeyExists(t *testing.T, s *suite) {
	k := s.keyStore(t)
	k.create(t, "orders")
	before := k.read(t, k.name, itemKey("orders", "branch:ACTIVE"))
	_, err := k.open(t).Create(t.Context(), "orders", map[string]string{"team": "another"})
	wantClass(t, "Create again", err, branchkey.ErrConflict)
	wantItem(t, "ACTIVE", k.read(t, k.name, itemKey("orders", "branch:ACTIVE")), before)
}

// wantRefusal wants an error that says that the key store is wrong, and not the
// message.
func wantRefusal(t *testing.T, what string, err error) {
	t.Helper()
	if _, ok := errors.AsType[*envelope.RefusedError](err); !ok || errors.Is(err, envelope.ErrInvalidMessage) {
		t.Errorf("%s: got error %v, want a RefusedError that leaves the message valid", what, err)
	}
}

func brokenItems(t *testing.T, s *suite) {
	k := s.keyStore(t)
	version := k.create(t, "orders")
	m := seal(t, k.keyring(t, "orders"), "x")
	key := itemKey("orders", "branch:version:"+version)
	item := k.read(t, k.name, key)

	_, err := unseal(t, k.keyring(t, "orders", func(o *branchkey.StoreOptions) { o.LogicalName = "another" }), m)
	wantRefusal(t, "another logical name", err)
	_, err = envelope.Seal(t.Context(), k.keyring(t, "payments"), []byte("x"), someMessageContext)
	wantRefusal(t, "no such branch key", err)

	edit := func(name string, value ddbtypes.AttributeValue) {
		t.Helper()
		edited := maps.Clone(item)
		edited[name] = value
		if _, err := k.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &k.name, Item: edited}); err != nil {
			t.Fatal(err)
		}
	}
	edit("aws-crypto-ec:team", str("another"))
	_, err = unseal(t, k.keyring(t, "orders"), m)
	wantRefusal(t, "an altered attribute", err)
	enc := bytes.Clone(item["enc"].(*ddbtypes.AttributeValueMemberB).Value)
	enc[len(enc)-1] ^= 1
	edit("enc", &ddbtypes.AttributeValueMemberB{Value: enc})
	_, err = unseal(t, k.keyring(t, "orders"), m)
	if !s.differs(TamperedBlobDecrypts) {
		wantRefusal(t, "an altered enc", err)
	} else {
		// KMS has decrypted another branch key than the one that was encrypted.
		wantClass(t, "an altered enc", err, envelope.ErrInvalidMessage)
	}

	if _, err := k.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &k.name, Key: key}); err != nil {
		t.Fatal(err)
	}
	_, err = unseal(t, k.keyring(t, "orders"), m)
	wantRefusal(t, "no version item", err)
	edit("enc", item["enc"])
	if got, err := unseal(t, k.keyring(t, "orders"), m); err != nil || got != "x" {
		t.Errorf("restored: got %q and error %v", got, err)
	}
}

func branchKeyQueue(t *testing.T, s *suite) {
	k := s.keyStore(t)
	k.create(t, "orders")
	url := s.queue(t, nil)
	client := func() *sqs.Client {
		sealer, err := sqsx.NewFromKeyStore(s.target.KMS, sqsx.KeyStore{
			Table: k.name, LogicalName: "conformance", KeyID: k.key, BranchKeyID: "orders",
		}, logTo(t))
		if err != nil {
			t.Fatal(err)
		}
		return sqs.NewFromConfig(s.target.SQS, sealer.Install)
	}
	send(t, client(), url, "before the rotation", nil)
	k.rotate(t, "orders")
	send(t, client(), url, "after the rotation", nil)
	got := map[string]bool{}
	for _, m := range s.receive(t, client(), url, 2) {
		got[aws.ToString(m.Body)] = true
	}
	if !got["before the rotation"] || !got["after the rotation"] {
		t.Errorf("got %v, want both messages", got)
	}
}

// slowWrites is a DynamoDB whose first transaction comes after something else.
type slowWrites struct {
	*dynamodb.Client
	first func()
}

func (w *slowWrites) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, optFns ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	w.first()
	return w.Client.TransactWriteItems(ctx, in, optFns...)
}
