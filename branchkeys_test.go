package sealq_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// The tests of this file show what docs/branch-keys.md, and the pages about
// branch keys in others, say.

const (
	branchTable = "sealq-branch-keys"
	branchName  = "the-logical-name"
)

// branchWorld is a server with a key store, and the clients of those who may
// write to it.
type branchWorld struct {
	*sqsxtest.Server
	cfg    aws.Config
	keyARN string
	store  *branchkey.Store
	table  *dynamodb.Client
}

func newBranchWorld(t *testing.T, ids ...string) *branchWorld {
	t.Helper()
	server := sqsxtest.New(t)
	w := &branchWorld{Server: server, cfg: server.Config(), keyARN: server.NewKey()}
	server.NewTable(branchTable, "branch-key-id", "type")
	w.table = dynamodb.NewFromConfig(w.cfg)
	store, err := branchkey.NewStore(w.table, kms.NewFromConfig(w.cfg), func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = branchTable, branchName, w.keyARN
	})
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	for _, id := range ids {
		w.create(t, id)
	}
	return w
}

func (w *branchWorld) create(t *testing.T, id string) (version string) {
	t.Helper()
	version, err := w.store.Create(t.Context(), id, map[string]string{"for": "test"})
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func (w *branchWorld) rotate(t *testing.T, id string) (version string) {
	t.Helper()
	version, err := w.store.Rotate(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func (w *branchWorld) keyStore(id string) sqsx.KeyStore {
	return sqsx.KeyStore{Table: branchTable, LogicalName: branchName, BranchKeyID: id, KeyID: w.keyARN}
}

func silent(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) }

// sealer returns a process that seals and opens under a branch key.
func (w *branchWorld) sealer(t *testing.T, store sqsx.KeyStore, optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	t.Helper()
	sealer, err := sqsx.NewFromKeyStore(w.cfg, store, append([]func(*sqsx.Options){silent}, optFns...)...)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

func (w *branchWorld) send(t *testing.T, s *sqsx.Sealer, url, body string) {
	t.Helper()
	_, err := sqs.NewFromConfig(w.cfg, s.Install).SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body})
	if err != nil {
		t.Fatal(err)
	}
}

// receive returns the bodies of one response, and deletes its messages.
func (w *branchWorld) receive(t *testing.T, s *sqsx.Sealer, url string) (bodies []string, err error) {
	t.Helper()
	client := sqs.NewFromConfig(w.cfg, s.Install)
	out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10})
	if err != nil {
		return nil, err
	}
	for _, m := range out.Messages {
		bodies = append(bodies, *m.Body)
		if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(bodies)
	return bodies, nil
}

// open returns what a process makes of the messages of a queue, and leaves them
// there.
func (w *branchWorld) open(t *testing.T, s *sqsx.Sealer, url, queue string) ([]sqsx.Message, []*sqsx.OpenError) {
	t.Helper()
	return s.OpenMessages(t.Context(), queue, w.Stored(url))
}

type itemKey struct{ id, kind string }

func (k itemKey) attributes() map[string]ddbtypes.AttributeValue {
	return map[string]ddbtypes.AttributeValue{
		"branch-key-id": &ddbtypes.AttributeValueMemberS{Value: k.id},
		"type":          &ddbtypes.AttributeValueMemberS{Value: k.kind},
	}
}

func (w *branchWorld) item(t *testing.T, id, kind string) map[string]ddbtypes.AttributeValue {
	t.Helper()
	out, err := w.table.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(branchTable), Key: itemKey{id, kind}.attributes(), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Item) == 0 {
		t.Fatalf("there is no item %q of %q", kind, id)
	}
	return out.Item
}

func (w *branchWorld) putItem(t *testing.T, item map[string]ddbtypes.AttributeValue) {
	t.Helper()
	if _, err := w.table.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(branchTable), Item: item}); err != nil {
		t.Fatal(err)
	}
}

func (w *branchWorld) deleteItem(t *testing.T, id, kind string) {
	t.Helper()
	if _, err := w.table.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(branchTable), Key: itemKey{id, kind}.attributes()}); err != nil {
		t.Fatal(err)
	}
}

// denyUnless makes KMS refuse Decrypt unless ok accepts its encryption context,
// as a condition on kms:EncryptionContext does.
func (w *branchWorld) denyUnless(t *testing.T, ok func(ec map[string]string) bool) {
	t.Helper()
	w.Intercept(func(r *sqsxtest.Request) error {
		if r.Action != "kms:Decrypt" {
			return nil
		}
		var in struct{ EncryptionContext map[string]string }
		if err := json.Unmarshal(r.Body, &in); err != nil {
			return err
		}
		if !ok(in.EncryptionContext) {
			return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized"}
		}
		return nil
	})
}

// TestActiveItemIsPutBack shows what write access to the table gives: an
// earlier active item is authentic, and undoes a rotation.
func TestActiveItemIsPutBack(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t)
	leaked := w.create(t, "orders")
	earlier := w.item(t, "orders", "branch:ACTIVE")
	w.rotate(t, "orders")
	w.putItem(t, earlier)

	url := w.NewQueue("orders")
	w.send(t, w.sealer(t, w.keyStore("orders")), url, "sealed after the rotation")
	if got := versionOf(t, w.Stored(url)[0]); got != leaked {
		t.Errorf("sealed under version %s, want the earlier one, %s", got, leaked)
	}
}

// versionOf reads the version out of a message's header, where docs/format.md
// has it.
func versionOf(t *testing.T, m types.Message) string {
	t.Helper()
	header := m.MessageAttributes["sealq"].BinaryValue
	_, rest, ok := bytes.Cut(header, []byte("\x00\x11aws-kms-hierarchy"))
	if !ok {
		t.Fatal("the message has no data key under a branch key")
	}
	id := 2 + int(rest[0])<<8 + int(rest[1])
	v := rest[id+2+28:][:16]
	return fmt.Sprintf("%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:])
}

// TestItemsCannotBeExchanged: KMS authenticates each attribute of an item, so
// nobody who can only write items makes one pass for another.
func TestItemsCannotBeExchanged(t *testing.T) {
	t.Parallel()
	text := func(s string) ddbtypes.AttributeValue { return &ddbtypes.AttributeValueMemberS{Value: s} }
	for name, change := range map[string]func(w *branchWorld, active map[string]ddbtypes.AttributeValue){
		"another branch key's": func(w *branchWorld, active map[string]ddbtypes.AttributeValue) {
			maps.Copy(active, w.item(t, "other", "branch:ACTIVE"))
			active["branch-key-id"] = text("orders")
		},
		"another's enc": func(w *branchWorld, active map[string]ddbtypes.AttributeValue) {
			active["enc"] = w.item(t, "other", "branch:ACTIVE")["enc"]
		},
		"the beacon's enc": func(w *branchWorld, active map[string]ddbtypes.AttributeValue) {
			active["enc"] = w.item(t, "orders", "beacon:ACTIVE")["enc"]
		},
		"another time": func(_ *branchWorld, active map[string]ddbtypes.AttributeValue) {
			active["create-time"] = text("2026-01-01T00:00:00.000000Z")
		},
		"another version": func(_ *branchWorld, active map[string]ddbtypes.AttributeValue) {
			active["version"] = text("branch:version:83eec007-5659-4554-bf11-699b90f41ac6")
		},
		"another context": func(_ *branchWorld, active map[string]ddbtypes.AttributeValue) {
			active["aws-crypto-ec:for"] = text("else")
		},
		"a further attribute": func(_ *branchWorld, active map[string]ddbtypes.AttributeValue) {
			active["ttl"] = &ddbtypes.AttributeValueMemberN{Value: "1"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newBranchWorld(t, "orders", "other")
			active := w.item(t, "orders", "branch:ACTIVE")
			change(w, active)
			w.putItem(t, active)
			err := w.sealer(t, w.keyStore("orders")).CheckSeal(t.Context(), w.NewQueue("orders"))
			if _, refused := errors.AsType[*sqsx.RefusedError](err); !refused {
				t.Errorf("got %v, want a refusal", err)
			}
		})
	}
	t.Run("another store's name", func(t *testing.T) {
		t.Parallel()
		w := newBranchWorld(t, "orders")
		store := w.keyStore("orders")
		store.LogicalName = branchTable
		err := w.sealer(t, store).CheckSeal(t.Context(), w.NewQueue("orders"))
		if err == nil || !strings.Contains(err.Error(), "made under another logical name") {
			t.Errorf("got %v, want one that names the logical name", err)
		}
	})
}

// TestSendOnlyRoleOfAKeyStore: the condition of docs/branch-keys.md for roles
// that only send leaves them what they need, and keeps earlier versions from
// them.
func TestSendOnlyRoleOfAKeyStore(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t, "orders")
	const arn = "arn:aws:sqs:us-east-1:000000000000:orders"
	url := w.NewQueue("orders")
	w.send(t, w.sealer(t, w.keyStore("orders")), url, "sealed before the rotation")
	w.rotate(t, "orders")
	w.denyUnless(t, func(ec map[string]string) bool { return ec["type"] == "branch:ACTIVE" })

	producer := w.sealer(t, w.keyStore("orders"))
	if err := producer.CheckSeal(t.Context(), url); err != nil {
		t.Errorf("CheckSeal: %v", err)
	}
	if opened, _ := w.open(t, producer, url, arn); len(opened) != 0 {
		t.Error("it opens a message from before the rotation")
	}
	w.send(t, producer, url, "sealed after the rotation")
}

// TestRotationsAtOnce: of two rotations, one fails and writes nothing.
func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t, "orders")
	var faster string
	w.Intercept(func(r *sqsxtest.Request) (err error) {
		if r.Action == "dynamodb:TransactWriteItems" {
			w.Intercept(nil)
			faster, err = w.store.Rotate(r.Context(), "orders")
		}
		return err
	})
	if _, err := w.store.Rotate(t.Context(), "orders"); !errors.Is(err, branchkey.ErrConflict) {
		t.Errorf("got %v, want ErrConflict", err)
	}
	active, _ := w.item(t, "orders", "branch:ACTIVE")["version"].(*ddbtypes.AttributeValueMemberS)
	if active == nil || active.Value != "branch:version:"+faster {
		t.Errorf("the active version is %v, want %s", active, faster)
	}
}

// TestReadDoesNotSeeARotation: reads of DynamoDB are eventually consistent, so
// that a consumer may not see the item of a version that is in a message.
func TestReadDoesNotSeeARotation(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t)
	version := "branch:version:" + w.create(t, "orders")
	url := w.NewQueue("orders")
	w.send(t, w.sealer(t, w.keyStore("orders")), url, "under the new version")
	item := w.item(t, "orders", version)
	w.deleteItem(t, "orders", version)
	defer w.StaleReads()()
	w.putItem(t, item)
	if got, err := w.receive(t, w.sealer(t, w.keyStore("orders")), url); err != nil || !slices.Equal(got, []string{"under the new version"}) {
		t.Errorf("got %q, %v, want the message", got, err)
	}
}

// TestBranchKeyIDIsChanged: a new name of the queue gets the new ID. Consumers
// change first, and open both.
func TestBranchKeyIDIsChanged(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t, "old", "new")
	url := w.NewQueue("orders")
	const arn = "arn:aws:sqs:us-east-1:000000000000:orders"
	store := w.keyStore("")
	store.BranchKeyIDs = func(binding string) string {
		if binding == "orders-2" {
			return "new"
		}
		return "old"
	}
	renamed := func(o *sqsx.Options) { o.Policy = sqsx.Policy{LogicalQueue: "orders-2", AcceptQueues: []string{arn}} }
	consumer := w.sealer(t, store, renamed)
	w.send(t, w.sealer(t, w.keyStore("old")), url, "1: under the old ID")
	w.send(t, w.sealer(t, store, renamed), url, "2: under the new ID")
	var got []string
	for range 2 {
		bodies, err := w.receive(t, consumer, url)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, bodies...)
	}
	slices.Sort(got)
	if want := []string{"1: under the old ID", "2: under the new ID"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestItemsInDocument: the items of a branch key have the attributes of the
// table in docs/branch-keys.md, with the same types.
func TestItemsInDocument(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t)
	version := w.create(t, "orders")
	rows := tableRows(t, read(t, "docs/branch-keys.md"), "Each branch key has these items:")
	for column, kind := range map[int]string{2: "branch:ACTIVE", 3: "branch:version:" + version, 4: "beacon:ACTIVE"} {
		want := make(map[string]string)
		for _, row := range rows {
			if row[column] != "none" {
				name, custom, _ := strings.Cut(strings.Trim(row[0], "`"), "`")
				if custom != "" {
					name += "for"
				}
				want[name] = row[1]
			}
		}
		got := make(map[string]string)
		for name, value := range w.item(t, "orders", kind) {
			got[name] = strings.TrimPrefix(fmt.Sprintf("%T", value), "*types.AttributeValueMember")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the document (-) and the table (+):\n%s", kind, diff)
		}
	}
}

// TestSizeUnderABranchKey computes the size of a message by docs/operations.md
// and docs/format.md, and before anything was fetched.
func TestSizeUnderABranchKey(t *testing.T) {
	t.Parallel()
	const id = "tenant-4711"
	w := newBranchWorld(t, id)
	url := w.NewQueue("orders")
	sealer := w.sealer(t, w.keyStore(id))
	before := len(w.Requests())
	const body = "0123456789"
	header := 92 + 2 + 4 + len("sealq:queue") + len("arn:aws:sqs:us-east-1:000000000000:orders") + 115 + len(id)
	want := len("sealq") + len("Binary") + header + 4*((len(body)+40+2)/3)
	if got, err := sealer.SealedSize(url, len(body)); err != nil || got != want {
		t.Errorf("SealedSize: got %d, %v, want %d", got, err, want)
	}
	if n := len(w.Requests()) - before; n != 0 {
		t.Errorf("SealedSize made %d requests, want none", n)
	}
	w.send(t, sealer, url, body)
	m := w.Stored(url)[0]
	if got := len("sealq") + len("Binary") + len(m.MessageAttributes["sealq"].BinaryValue) + len(*m.Body); got != want {
		t.Errorf("sealed: got %d bytes, want %d", got, want)
	}
}

// TestKeysOfAKeyStore: which KMS keys a store takes.
func TestKeysOfAKeyStore(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, s *sqsx.Sealer, url, want string) {
		t.Helper()
		if err := s.CheckSeal(t.Context(), url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want one that says %q", err, want)
		}
	}
	t.Run("alias", func(t *testing.T) {
		t.Parallel()
		w := newBranchWorld(t)
		w.NewKey("alias/branch-keys")
		store := w.keyStore("orders")
		for _, id := range []string{"alias/branch-keys", "arn:aws:kms:us-east-1:000000000000:alias/branch-keys"} {
			store.KeyID = id
			if _, err := sqsx.NewFromKeyStore(w.cfg, store); err == nil || !strings.Contains(err.Error(), "is an alias: items name the key itself") {
				t.Errorf("%s: got %v, want that it is an alias", id, err)
			}
		}
		_, keyID, _ := strings.Cut(w.keyARN, "/")
		store.KeyID = keyID
		if _, err := sqsx.NewFromKeyStore(w.cfg, store); err == nil || !strings.Contains(err.Error(), "want the ARN of a KMS key") {
			t.Errorf("a key ID: got %v, want that an ARN is needed", err)
		}
	})
	t.Run("another key, and Discovery", func(t *testing.T) {
		t.Parallel()
		w := newBranchWorld(t, "orders")
		url := w.NewQueue("orders")
		store := w.keyStore("orders")
		store.KeyID = w.NewKey()
		refused(t, w.sealer(t, store), url, "it is under the KMS key")

		reader, err := branchkey.NewStore(w.table, kms.NewFromConfig(w.cfg), func(o *branchkey.StoreOptions) {
			o.Table, o.LogicalName = branchTable, branchName
			o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: sqsxtest.DefaultRegion, Accounts: []string{sqsxtest.DefaultAccount}}
		})
		if err != nil {
			t.Fatal(err)
		}
		kr, err := branchkey.New(reader, "orders")
		if err != nil {
			t.Fatal(err)
		}
		if err := sealerOf(t)(sqsx.New(kr, silent)).Check(t.Context(), "arn:aws:sqs:us-east-1:000000000000:orders"); err != nil {
			t.Errorf("Discovery: %v", err)
		}
		if _, err := reader.Rotate(t.Context(), "orders"); err == nil || !strings.Contains(err.Error(), "only reads") {
			t.Errorf("Discovery rotates: got %v, want that it only reads", err)
		}
	})
	t.Run("multi-Region", func(t *testing.T) {
		t.Parallel()
		w := newBranchWorld(t)
		keys := kms.NewFromConfig(w.cfg)
		primary, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		w.keyARN = *primary.KeyMetadata.Arn
		replica, err := keys.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: &w.keyARN, ReplicaRegion: aws.String("eu-west-1")})
		if err != nil {
			t.Fatal(err)
		}
		admin, err := branchkey.NewStore(w.table, keys, func(o *branchkey.StoreOptions) {
			o.Table, o.LogicalName, o.KeyID = branchTable, branchName, w.keyARN
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.Create(t.Context(), "orders", map[string]string{"for": "test"}); err != nil {
			t.Fatal(err)
		}
		url := w.NewQueue("orders")
		w.send(t, w.sealer(t, w.keyStore("orders")), url, "sealed here")

		before := len(w.Requests())
		there := w.keyStore("orders")
		there.KeyID = *replica.ReplicaKeyMetadata.Arn
		if got, err := w.receive(t, w.sealer(t, there), url); err != nil || !slices.Equal(got, []string{"sealed here"}) {
			t.Errorf("with the replica: got %q, %v, want the message", got, err)
		}
		w.send(t, w.sealer(t, w.keyStore("orders")), url, "sealed here again")
		byRegion := w.sealer(t, w.keyStore("orders"), func(o *sqsx.Options) { o.KMSKeyring.Region = "eu-west-1" })
		if got, err := w.receive(t, byRegion, url); err != nil || len(got) != 1 {
			t.Errorf("with Region: got %q, %v, want the message", got, err)
		}
		regions := make(map[string]int)
		for _, r := range w.Requests()[before:] {
			if r.Action == "kms:Decrypt" {
				regions[r.Region]++
			}
		}
		if regions["eu-west-1"] != 4 || regions["us-east-1"] != 1 {
			t.Errorf("calls of KMS by Region: %v, want 4 in eu-west-1 and 1 in us-east-1", regions)
		}
	})
	t.Run("hierarchy-version", func(t *testing.T) {
		t.Parallel()
		w := newBranchWorld(t, "orders")
		active := w.item(t, "orders", "branch:ACTIVE")
		active["hierarchy-version"] = &ddbtypes.AttributeValueMemberN{Value: "2"}
		w.putItem(t, active)
		refused(t, w.sealer(t, w.keyStore("orders")), w.NewQueue("orders"), `its hierarchy-version is "2"`)
	})
	t.Run("restored under another name", func(t *testing.T) {
		t.Parallel()
		w := newBranchWorld(t, "orders")
		w.NewTable("restored", "branch-key-id", "type")
		for _, kind := range []string{"branch:ACTIVE", "beacon:ACTIVE"} {
			if _, err := w.table.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("restored"), Item: w.item(t, "orders", kind)}); err != nil {
				t.Fatal(err)
			}
		}
		store := w.keyStore("orders")
		store.Table = "restored"
		if err := w.sealer(t, store).CheckSeal(t.Context(), w.NewQueue("orders")); err != nil {
			t.Errorf("with the logical name as before: %v", err)
		}
	})
}

// TestTenantsAreSeparate: each tenant has a queue and a branch key. A tenant
// that may send to the other's queue, and has its own branch key only, makes no
// message that opens there.
func TestTenantsAreSeparate(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t, "acme", "initech")
	tenants := w.keyStore("")
	tenants.BranchKeyIDs = func(binding string) string {
		tenant, _, _ := strings.Cut(binding[strings.LastIndex(binding, ":")+1:], "-")
		return tenant
	}
	platform := w.sealer(t, tenants)
	acme, initech := w.NewQueue("acme-orders"), w.NewQueue("initech-orders")
	const initechARN = "arn:aws:sqs:us-east-1:000000000000:initech-orders"
	w.send(t, platform, acme, "for acme")
	w.send(t, platform, initech, "for initech")
	for url, want := range map[string]string{acme: "for acme", initech: "for initech"} {
		if got, err := w.receive(t, platform, url); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}

	// acme seals for initech's queue, under the branch key that it has.
	w.send(t, w.sealer(t, w.keyStore("acme")), initech, "forged")
	calls := w.Count("kms:Decrypt")
	opened, withheld := w.open(t, platform, initech, initechARN)
	if len(opened) != 0 || len(withheld) != 1 || !errors.Is(withheld[0], sqsx.ErrNoMatchingKey) {
		t.Errorf("got %d opened, withheld %v, want one ErrNoMatchingKey", len(opened), withheld)
	}
	if n := w.Count("kms:Decrypt") - calls; n != 0 {
		t.Errorf("it cost %d calls of KMS, want none", n)
	}

	// acme's role has acme's branch key only.
	w.denyUnless(t, func(ec map[string]string) bool { return ec["branch-key-id"] == "acme" && ec["tablename"] == branchName })
	if err := w.sealer(t, w.keyStore("initech")).CheckSeal(t.Context(), initech); err == nil || !strings.Contains(err.Error(), "kms:EncryptionContext:branch-key-id") {
		t.Errorf("another tenant's branch key: got %v, want a refusal that names the condition", err)
	}
	if err := w.sealer(t, w.keyStore("acme")).Check(t.Context(), acme); err != nil {
		t.Errorf("its own branch key: %v", err)
	}
}

// TestInventedVersions: messages under versions that do not exist cost reads of
// DynamoDB and no call of KMS, and are not taken for invalid.
func TestInventedVersions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBranchWorld(t, "orders")
		const arn = "arn:aws:sqs:us-east-1:000000000000:orders"
		url := w.NewQueue("orders")
		sealer := w.sealer(t, w.keyStore("orders"))
		w.send(t, sealer, url, "genuine")
		genuine := w.Stored(url)[0]
		kmsCalls, reads := w.Count("kms:Decrypt"), w.Count("dynamodb:GetItem")

		junk := make([]types.Message, 50)
		for i := range junk {
			junk[i] = inventVersion(genuine, byte(i))
		}
		opened, withheld := sealer.OpenMessages(t.Context(), arn, junk)
		if len(opened) != 0 || len(withheld) != len(junk) {
			t.Fatalf("got %d opened, %d withheld", len(opened), len(withheld))
		}
		for _, err := range withheld {
			if errors.Is(err, sqsx.ErrInvalidMessage) || !strings.Contains(err.Error(), "there is no such item") {
				t.Errorf("got %v, want that there is no such item, and not that the message is invalid", err)
			}
		}
		if n := w.Count("kms:Decrypt") - kmsCalls; n != 0 {
			t.Errorf("they cost %d calls of KMS, want none", n)
		}
		if n := w.Count("dynamodb:GetItem") - reads; n != 2*len(junk) {
			t.Errorf("they cost %d reads, want %d", n, 2*len(junk))
		}
		if opened, withheld = sealer.OpenMessages(t.Context(), arn, []types.Message{genuine}); len(opened) != 1 {
			t.Errorf("beside them, the genuine message does not open: %v", withheld)
		}
	})
}

// inventVersion returns a copy of m that names another version.
func inventVersion(m types.Message, n byte) types.Message {
	header := bytes.Clone(m.MessageAttributes["sealq"].BinaryValue)
	at := bytes.Index(header, []byte("aws-kms-hierarchy")) + len("aws-kms-hierarchy")
	at += 2 + int(header[at])<<8 + int(header[at+1]) + 2 + 28
	header[at] ^= 0xff
	header[at+1] = n
	m.MessageAttributes = maps.Clone(m.MessageAttributes)
	m.MessageAttributes["sealq"] = types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: header}
	return m
}

// TestRestoredItem is the page about an item that is missing, in time: what
// goes on, what waits, and when it comes back.
func TestRestoredItem(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{time.Second, 25 * time.Minute, 40 * time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { restoreItem(t, outage) })
		})
	}
}

// restoreItem deletes an item, and restores it. With a maxReceiveCount of 3, a
// message under it is received at once, half a minute later, and half an hour
// after that. Whatever is restored before is delivered then, at the latest;
// what is not, goes to the dead-letter queue an hour later, and opens there.
func restoreItem(t *testing.T, outage time.Duration) {
	w := newBranchWorld(t)
	first := w.create(t, "orders")
	dead := w.NewQueue("dlq")
	url := w.NewQueue("orders", "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dlq","maxReceiveCount":"3"}`)
	w.send(t, w.sealer(t, w.keyStore("orders")), url, "under the first version")
	w.rotate(t, "orders")
	lost := w.item(t, "orders", "branch:version:"+first)
	w.deleteItem(t, "orders", "branch:version:"+first)

	producer, consumer := w.sealer(t, w.keyStore("orders")), w.sealer(t, w.keyStore("orders"))
	began, failed := time.Now(), 0
	for time.Since(began) < outage {
		bodies, err := w.receive(t, consumer, url)
		if f, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
			if failed++; !f.Withheld[0].Temporary || !strings.Contains(err.Error(), "there is no such item") {
				t.Fatalf("got %v, want a ReceiveError that names the item", err)
			}
		}
		for _, body := range bodies {
			t.Errorf("received %q", body)
		}
		// Other versions, and sends, go on.
		w.send(t, producer, url, "under the second version")
		if got, err := w.receive(t, consumer, url); err != nil || !slices.Equal(got, []string{"under the second version"}) {
			t.Fatalf("received %q, %v, want the message under the other version", got, err)
		}
		time.Sleep(10 * time.Second)
	}
	if failed == 0 {
		t.Fatal("the message was not received")
	}
	w.rotate(t, "orders") // it does not help, and does no harm

	w.putItem(t, lost)
	got := ""
	for got == "" && len(w.Stored(dead)) == 0 && time.Since(began) < 3*time.Hour {
		time.Sleep(10 * time.Second)
		if bodies, err := w.receive(t, consumer, url); err == nil {
			got = strings.Join(bodies, ", ")
		}
	}
	took := time.Since(began).Round(time.Minute)
	if outage < 30*time.Minute {
		if got != "under the first version" || took > 31*time.Minute {
			t.Errorf("received %q %v after the first attempt, want the message, after 31m at most", got, took)
		}
		return
	}
	if got != "" || len(w.Stored(dead)) != 1 || took < 90*time.Minute || took > 92*time.Minute {
		t.Fatalf("received %q, and %d messages are in the dead-letter queue, after %v; want the message there, after 1h30m", got, len(w.Stored(dead)), took)
	}
	const arn = "arn:aws:sqs:us-east-1:000000000000:"
	opened, withheld := consumer.OpenMessages(t.Context(), arn+"dlq", redriven(w.Stored(dead), arn+"orders"))
	if len(opened) != 1 {
		t.Errorf("it does not open in the dead-letter queue: %v", withheld)
	}
}

// TestActiveItemIsLost: without a backup, a branch key whose active item is
// lost opens what was sealed, and can be made active again.
func TestActiveItemIsLost(t *testing.T) {
	t.Parallel()
	w := newBranchWorld(t)
	first := w.create(t, "orders")
	url := w.NewQueue("orders")
	w.send(t, w.sealer(t, w.keyStore("orders")), url, "sealed before")
	w.deleteItem(t, "orders", "branch:ACTIVE")
	err := w.sealer(t, w.keyStore("orders")).CheckSeal(t.Context(), url)
	if err == nil || !strings.Contains(err.Error(), "there is no such branch key") {
		t.Errorf("sealing: got %v, want that there is no such branch key", err)
	}
	if _, err := w.store.Rotate(t.Context(), "orders"); err == nil || !strings.Contains(err.Error(), "there is no such branch key") {
		t.Errorf("rotating: got %v, want that there is no such branch key", err)
	}

	if got, err := w.receive(t, w.sealer(t, w.keyStore("orders")), url); err != nil || !slices.Equal(got, []string{"sealed before"}) {
		t.Errorf("a new consumer: got %q, %v, want the message", got, err)
	}
	if err := w.sealer(t, w.keyStore("orders")).CheckOpen(t.Context(), url); err == nil {
		t.Error("CheckOpen does not notice")
	}

	w.deleteItem(t, "orders", "beacon:ACTIVE")
	second := w.create(t, "orders")
	if first == second {
		t.Error("the new version is the old one")
	}
	sealer := w.sealer(t, w.keyStore("orders"))
	w.send(t, sealer, url, "sealed after")
	if got, err := w.receive(t, sealer, url); err != nil || !slices.Equal(got, []string{"sealed after"}) {
		t.Errorf("got %q, %v, want the message", got, err)
	}
	if got := w.item(t, "orders", "branch:version:"+first); len(got) == 0 {
		t.Error("the item of the first version is gone")
	}
}

// TestMigrationToBranchKeys goes through the steps of docs/migration.md and
// back, in code and in the environment. Producers and consumers change one
// after the other, and every step leaves a message in the queue and in its
// dead-letter queue, which only the last one reads.
func TestMigrationToBranchKeys(t *testing.T) {
	w := newBranchWorld(t, "orders")
	old := w.NewKey("alias/orders")
	store := w.keyStore("orders")
	code := map[string]func(t *testing.T) *sqsx.Sealer{
		"before": func(t *testing.T) *sqsx.Sealer {
			return sealerOf(t)(sqsx.NewFromConfig(w.cfg, "alias/orders", silent))
		},
		"1": func(t *testing.T) *sqsx.Sealer {
			return sealerOf(t)(sqsx.NewFromConfig(w.cfg, "alias/orders", silent, func(o *sqsx.Options) { o.OpenKeyStore = &store }))
		},
		"2": func(t *testing.T) *sqsx.Sealer {
			return sealerOf(t)(sqsx.NewFromKeyStore(w.cfg, store, silent, func(o *sqsx.Options) { o.KMSKeyring.DecryptKeys = []string{old} }))
		},
		"3": func(t *testing.T) *sqsx.Sealer { return sealerOf(t)(sqsx.NewFromKeyStore(w.cfg, store, silent)) },
	}
	environment := func(variables map[string]string) func(t *testing.T) *sqsx.Sealer {
		return func(t *testing.T) *sqsx.Sealer {
			for _, name := range []string{"SEALQ_KEY_ID", "SEALQ_KEY_STORE_OPEN_ONLY", "SEALQ_KEY_STORE_TABLE", "SEALQ_KEY_STORE_NAME", "SEALQ_BRANCH_KEY_ID", "SEALQ_KEY_STORE_KEY_ID"} {
				t.Setenv(name, variables[name])
			}
			return sealerOf(t)(sqsx.NewFromEnv(w.cfg, silent))
		}
	}
	three := map[string]string{
		"SEALQ_KEY_STORE_TABLE": branchTable, "SEALQ_KEY_STORE_NAME": branchName, "SEALQ_BRANCH_KEY_ID": "orders", "SEALQ_KEY_STORE_KEY_ID": w.keyARN,
	}
	two := maps.Clone(three)
	two["SEALQ_KEY_ID"] = "alias/orders"
	one := maps.Clone(two)
	one["SEALQ_KEY_STORE_OPEN_ONLY"] = "true"
	env := map[string]func(t *testing.T) *sqsx.Sealer{
		"before": environment(map[string]string{"SEALQ_KEY_ID": "alias/orders"}),
		"1":      environment(one), "2": environment(two), "3": environment(three),
	}
	for name, steps := range map[string]map[string]func(*testing.T) *sqsx.Sealer{"code": code, "environment": env} {
		t.Run(name, func(t *testing.T) {
			dead := w.NewQueue(name + "-dlq")
			url := w.NewQueue(name, "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:`+name+`-dlq","maxReceiveCount":"1"}`, "VisibilityTimeout", "0")
			arn := "arn:aws:sqs:us-east-1:000000000000:" + name
			var kept []string // in the dead-letter queue
			step := func(from, to string) {
				t.Helper()
				a, b := steps[from](t), steps[to](t)
				for _, s := range []*sqsx.Sealer{a, b} {
					if err := s.CheckOpen(t.Context(), arn); err != nil {
						t.Errorf("from %s to %s: CheckOpen: %v", from, to, err)
					}
				}
				for _, pair := range [][2]*sqsx.Sealer{{a, a}, {a, b}, {b, a}, {b, b}} {
					w.send(t, pair[0], url, "x")
					if got, err := w.receive(t, pair[1], url); err != nil || len(got) != 1 {
						t.Errorf("from %s to %s: got %q, %v, want the message", from, to, got, err)
					}
				}
				body := "from " + from + " to " + to
				kept = append(kept, body)
				w.send(t, a, url, body)
				w.bury(t, url)
			}
			all := []string{"before", "1", "2", "3"}
			for i := range all[1:] {
				step(all[i], all[i+1])
			}
			// Step 2 opens what every step before has left.
			opened, withheld := steps["2"](t).OpenMessages(t.Context(), arn+"-dlq", redriven(w.Stored(dead), arn))
			if len(opened) != len(kept) {
				t.Errorf("opened %d of %d messages in the dead-letter queue: %v", len(opened), len(kept), withheld)
			}
			for i := len(all) - 1; i > 0; i-- {
				step(all[i], all[i-1])
			}
			opened, withheld = steps["1"](t).OpenMessages(t.Context(), arn+"-dlq", redriven(w.Stored(dead), arn))
			if len(opened) != len(kept) {
				t.Errorf("going back: opened %d of %d messages: %v", len(opened), len(kept), withheld)
			}
		})
	}
}

func sealerOf(t *testing.T) func(*sqsx.Sealer, error) *sqsx.Sealer {
	return func(s *sqsx.Sealer, err error) *sqsx.Sealer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// bury receives the message of a queue, whose visibility timeout is 0, until it
// is in the dead-letter queue.
func (w *branchWorld) bury(t *testing.T, url string) {
	t.Helper()
	plain := sqs.NewFromConfig(w.cfg)
	for range 2 {
		_, err := plain.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// redriven adds the attribute that SQS has for messages that were moved.
func redriven(messages []types.Message, source string) []types.Message {
	for i := range messages {
		messages[i].Attributes = map[string]string{"DeadLetterQueueSourceArn": source}
	}
	return messages
}

// TestBranchKeyPermissions: what a service and an administrator ask for is what
// the policies of docs/branch-keys.md grant them, no more and no less.
func TestBranchKeyPermissions(t *testing.T) {
	t.Parallel()
	var policies [][]string
	for _, m := range fence.FindAllStringSubmatch(read(t, "docs/branch-keys.md"), -1) {
		var policy struct {
			Statement []struct {
				Effect    string
				Principal any
				Action    any
			}
		}
		if m[1] != "json" || json.Unmarshal([]byte(m[2]), &policy) != nil {
			continue
		}
		var actions []string
		for _, s := range policy.Statement {
			if s.Effect != "Allow" || s.Principal != nil {
				continue
			}
			for _, a := range slices.Concat([]any{s.Action}, toSlice(s.Action)) {
				if text, ok := a.(string); ok {
					actions = append(actions, text)
				}
			}
		}
		if len(actions) > 0 {
			slices.Sort(actions)
			policies = append(policies, slices.Compact(actions))
		}
	}
	if len(policies) != 2 {
		t.Fatalf("found %d policies of roles, want the service's and the administrator's", len(policies))
	}

	w := newBranchWorld(t)
	asked := func(do func()) []string {
		before := len(w.Requests())
		do()
		var actions []string
		for _, r := range w.Requests()[before:] {
			switch r.Action {
			case "dynamodb:TransactWriteItems":
				var in struct{ TransactItems []map[string]any }
				if err := json.Unmarshal(r.Body, &in); err != nil {
					t.Fatal(err)
				}
				for _, item := range in.TransactItems {
					for kind := range item {
						actions = append(actions, "dynamodb:"+kind+"Item")
					}
				}
			case "kms:ReEncrypt":
				actions = append(actions, "kms:ReEncryptFrom", "kms:ReEncryptTo")
			default:
				if !strings.HasPrefix(r.Action, "sqs:") {
					actions = append(actions, r.Action)
				}
			}
		}
		slices.Sort(actions)
		return slices.Compact(actions)
	}
	administrator := asked(func() { w.create(t, "orders"); w.rotate(t, "orders") })
	service := asked(func() {
		url := w.NewQueue("orders")
		s := w.sealer(t, w.keyStore("orders"))
		if err := s.Check(t.Context(), url); err != nil {
			t.Error(err)
		}
		w.send(t, s, url, "x")
		if _, err := w.receive(t, s, url); err != nil {
			t.Error(err)
		}
	})
	for i, got := range [][]string{service, administrator} {
		if diff := cmp.Diff(policies[i], got); diff != "" {
			t.Errorf("policy %d grants (-) and the role asks for (+):\n%s", i+1, diff)
		}
	}
}

func toSlice(a any) []any { s, _ := a.([]any); return s }

// TestBranchKeyTexts: each text by which docs/operations.md has people find
// what to do is one of the keyrings.
func TestBranchKeyTexts(t *testing.T) {
	t.Parallel()
	var inCode []string
	for _, name := range goFiles(t, func(name string) bool {
		dir := filepath.ToSlash(filepath.Dir(name))
		return (dir == "envelope/branchkey" || dir == "envelope/kmskeyring") && !strings.HasSuffix(name, "_test.go")
	}) {
		inCode = append(inCode, literals(t, name)...)
	}
	texts := firstColumn(t, read(t, "docs/operations.md"), "What they say then:")
	for _, text := range texts {
		if !slices.ContainsFunc(inCode, func(s string) bool { return strings.Contains(s, text) }) {
			t.Errorf("no keyring says %q", text)
		}
	}
	if len(texts) < 10 {
		t.Errorf("found %d texts, want at least 10: the test looks in the wrong place", len(texts))
	}
}

// TestTableSnippets: the three ways to make the table make the same one.
func TestTableSnippets(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "docs/branch-keys.md"), "### 1. The table")
	section, _, _ = strings.Cut(section, "### 2.")
	blocks := fence.FindAllStringSubmatch(section, -1)
	if len(blocks) != 3 {
		t.Fatalf("found %d blocks, want 3", len(blocks))
	}
	word := regexp.MustCompile(`[\w-]+`)
	for _, block := range blocks {
		words := word.FindAllString(block[2], -1)
		for what, one := range map[string][]string{
			"the table's name":       {branchTable},
			"the partition key":      {"branch-key-id"},
			"the sort key":           {"type"},
			"on-demand capacity":     {"PAY_PER_REQUEST"},
			"deletion protection":    {"--deletion-protection-enabled", "DeletionProtectionEnabled", "deletion_protection_enabled"},
			"point-in-time recovery": {"PointInTimeRecoveryEnabled", "point_in_time_recovery"},
		} {
			if !slices.ContainsFunc(one, func(w string) bool { return slices.Contains(words, w) }) {
				t.Errorf("the block of %s does not set %s", block[1], what)
			}
		}
	}
}

// TestBranchKeyIsRevoked: what ends the use of a branch key in a process that
// has it, and when; and that an outage of either service does not.
func TestBranchKeyIsRevoked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault   func(t *testing.T, w *branchWorld) (end func())
		reports string // in the error of a send
		outage  bool
	}{
		"key disabled": {func(t *testing.T, w *branchWorld) func() {
			if _, err := kms.NewFromConfig(w.cfg).DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &w.keyARN}); err != nil {
				t.Fatal(err)
			}
			return func() {
				if _, err := kms.NewFromConfig(w.cfg).EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &w.keyARN}); err != nil {
					t.Fatal(err)
				}
			}
		}, "DisabledException", false},
		"kms:Decrypt denied":      {func(_ *testing.T, w *branchWorld) func() { return w.Deny("kms:Decrypt") }, "kms:Decrypt is missing", false},
		"dynamodb:GetItem denied": {func(_ *testing.T, w *branchWorld) func() { return w.Deny("dynamodb:GetItem") }, "dynamodb:GetItem on the table is missing", false},
		"active item deleted": {func(t *testing.T, w *branchWorld) func() {
			active := w.item(t, "orders", "branch:ACTIVE")
			w.deleteItem(t, "orders", "branch:ACTIVE")
			return func() { w.putItem(t, active) }
		}, "there is no such branch key", false},
		"KMS unreachable":      {func(_ *testing.T, w *branchWorld) func() { return w.CutKMS() }, "unavailable", true},
		"DynamoDB unreachable": {func(_ *testing.T, w *branchWorld) func() { return w.CutDynamoDB() }, "unavailable", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newBranchWorld(t, "orders")
				url := w.NewQueue("orders")
				sealer := w.sealer(t, w.keyStore("orders"))
				client := sqs.NewFromConfig(w.cfg, sealer.Install)
				send := func() error {
					_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
					return err
				}
				if err := send(); err != nil {
					t.Fatal(err)
				}
				end := test.fault(t, w)
				began := time.Now()
				step, least, most := 10*time.Second, 4*time.Minute, 5*time.Minute // ReusePeriod
				if test.outage {
					step, least, most = 4*time.Minute, 24*time.Hour, 24*time.Hour // MaxStale
				}
				for send() == nil && time.Since(began) < 26*time.Hour {
					time.Sleep(step)
				}
				if took := time.Since(began); took < least || took > most+step {
					t.Errorf("sends went on for %v, want %v to %v", took, least, most)
				}
				if err := send(); err == nil || !strings.Contains(err.Error(), test.reports) {
					t.Errorf("got %v, want one that says %q", err, test.reports)
				}
				end()
				time.Sleep(31 * time.Second)
				if err := send(); err != nil {
					t.Errorf("half a minute after its end: %v", err)
				}

				// At once, whatever is cached.
				end = test.fault(t, w)
				defer end()
				sealer.Purge()
				if err := send(); err == nil {
					t.Error("a send succeeded after Purge")
				}
			})
		})
	}
}

// TestKeyOfAKeyStoreIsGone compares the errors of docs/key-gone.md for a key
// store with those that a producer and a consumer get.
func TestKeyOfAKeyStoreIsGone(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "docs/key-gone.md"), "## The key of a key store")
	blocks := fence.FindAllStringSubmatch(section, -1)
	if len(blocks) == 0 {
		t.Fatal("the section has no block")
	}
	requestID := regexp.MustCompile(`RequestID: [^,]*,`)
	var got []string
	for _, fault := range []func(w *branchWorld){
		func(w *branchWorld) {
			if _, err := kms.NewFromConfig(w.cfg).DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &w.keyARN}); err != nil {
				t.Fatal(err)
			}
		},
		func(w *branchWorld) {
			if _, err := kms.NewFromConfig(w.cfg).ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &w.keyARN}); err != nil {
				t.Fatal(err)
			}
		},
		func(w *branchWorld) {
			w.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "kms:Decrypt" {
					return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized to use this key"}
				}
				return nil
			})
		},
		func(w *branchWorld) {
			w.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "dynamodb:GetItem" {
					return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized to read this table"}
				}
				return nil
			})
		},
	} {
		w := newBranchWorld(t, "orders")
		fault(w)
		url := w.NewQueue("orders")
		_, err := sqs.NewFromConfig(w.cfg, w.sealer(t, w.keyStore("orders")).Install).SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
		if err == nil {
			t.Fatal("the send succeeded")
		}
		text := requestID.ReplaceAllString(strings.ReplaceAll(err.Error(), w.keyARN, "KEY"), "RequestID: …,")
		got = append(got, text[strings.Index(text, "envelope: key refused"):])
	}
	want := strings.Split(strings.TrimSpace(blocks[0][2]), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/key-gone.md (-) and the code (+):\n%s", diff)
	}
}
