package interop_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/integration/interop/drivers"
	"github.com/sealq/sealq/integration/launch"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// service is a KMS and a DynamoDB at one endpoint.
type service struct {
	name     string
	endpoint string
	config   aws.Config
}

// services are those that key stores of branch keys are tried on.
func services() []struct {
	name string
	use  func(t *testing.T) service
} {
	return []struct {
		name string
		use  func(t *testing.T) service
	}{
		{"moto", func(t *testing.T) service {
			in := moto.running(t)
			return service{"moto", in.Endpoint, in.Config()}
		}},
		{"sqsxtest", func(t *testing.T) service {
			server := sqsxtest.New(t)
			return service{"sqsxtest", server.URL(), server.Config()}
		}},
	}
}

// keyStore is a key store of branch keys as both sides configure it.
type keyStore struct {
	drivers.KeyStore
	sealq *branchkey.Store
	ddb   *dynamodb.Client
	kms   *kms.Client
}

// newKeyStore returns a key store with a KMS key of its own. Its table is not
// made yet.
func newKeyStore(t *testing.T, on service, name string) keyStore {
	t.Helper()
	k := keyStore{ddb: dynamodb.NewFromConfig(on.config), kms: kms.NewFromConfig(on.config)}
	key, err := k.kms.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	return k.configured(t, drivers.KeyStore{
		Table:       name + "-" + rand.Text()[:8], // an emulator can outlive a run
		LogicalName: name + ", logical",
		Key:         aws.ToString(key.KeyMetadata.Arn),
		Endpoint:    on.endpoint,
		Region:      region,
	})
}

// configured returns k with another configuration.
func (k keyStore) configured(t *testing.T, s drivers.KeyStore) keyStore {
	t.Helper()
	var err error
	k.KeyStore = s
	k.sealq, err = branchkey.NewStore(k.ddb, k.kms, func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = s.Table, s.LogicalName, s.Key
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k keyStore) createTable(t *testing.T) {
	t.Helper()
	if _, err := launch.CreateKeyStoreTable(t.Context(), k.ddb, k.Table); err != nil {
		t.Fatal(err)
	}
}

// keys returns one branch key in new keyrings, which have cached nothing.
func (k keyStore) keys(t *testing.T, id, name string) pair {
	t.Helper()
	kr, err := branchkey.New(k.sealq, id)
	if err != nil {
		t.Fatal(err)
	}
	theirs := drivers.BranchKey(k.KeyStore, id)
	return pair{name, kr, theirs, theirs}
}

// side is one of the two that create and rotate branch keys.
type side struct {
	create func(id string, context map[string]string) (string, error)
	rotate func(id string) error
}

func sealqSide(t *testing.T, k keyStore) side {
	return side{
		create: func(id string, context map[string]string) (string, error) {
			if id == "" {
				id = "3b2ad1d4-8f0c-4c7e-9d4c-5f2a1f0e7b11"
			}
			_, err := k.sealq.Create(t.Context(), id, context)
			return id, err
		},
		rotate: func(id string) error {
			_, err := k.sealq.Rotate(t.Context(), id)
			return err
		},
	}
}

func driverSide(d *drivers.Driver, k keyStore) side {
	return side{
		create: func(id string, context map[string]string) (string, error) {
			return d.CreateBranchKey(k.KeyStore, id, context)
		},
		rotate: func(id string) error { return d.RotateBranchKey(k.KeyStore, id) },
	}
}

// branchKeys are the branch keys that each side makes: one with an ID of its
// own choice, and one whose ID and context are not ASCII.
func branchKeys() map[string]map[string]string {
	return map[string]map[string]string{
		"":            nil,
		"orders-é-鍵🔑": {"department": "Zürich", "straße": "鍵"},
	}
}

// Rows of the table of results.
const (
	itsOwnBranchKeys = "branch keys that it made and rotated, both directions, on "
	sealqsBranchKeys = "branch keys that sealq made and rotated, both directions, on "
)

// Branch keys that one side has made and rotated are used by the other, for
// messages in both directions.
func TestBranchKeys(t *testing.T) {
	t.Parallel()
	for _, on := range services() {
		for _, s := range sdks {
			t.Run(on.name+"/"+s.ID, func(t *testing.T) {
				t.Parallel()
				d := s.running(t)
				where := on.use(t)
				if !s.BranchKeys {
					t.Run("refuses", func(t *testing.T) { refusesBranchKeys(t, s, where) })
					return
				}
				t.Run("its own", func(t *testing.T) {
					k := newKeyStore(t, where, "interop-"+s.ID+"-own")
					outcome := ""
					if s.CreatesNoTable {
						outcome = "except for the table, which it cannot make"
					}
					record(t, s, itsOwnBranchKeys+where.name, outcome)
					err := d.CreateKeyStore(k.KeyStore)
					if s.CreatesNoTable {
						if !refused(err) {
							t.Errorf("make the table: got %v, want the refusal that it is known for", err)
						}
						k.createTable(t)
					} else if err != nil {
						t.Fatal(err)
					}
					for id, context := range branchKeys() {
						useBranchKey(t, d, k, id, context, driverSide(d, k), sealqSide(t, k))
					}
				})
				t.Run("of sealq", func(t *testing.T) {
					k := newKeyStore(t, where, "interop-"+s.ID+"-sealq")
					record(t, s, sealqsBranchKeys+where.name, "")
					k.createTable(t)
					for id, context := range branchKeys() {
						useBranchKey(t, d, k, id, context, sealqSide(t, k), driverSide(d, k))
					}
				})
			})
		}
	}
}

// useBranchKey lets owner make a branch key and rotate it. Messages under both
// versions go in both directions, and so do those under a third version, which
// the other side has made.
func useBranchKey(t *testing.T, d *drivers.Driver, k keyStore, id string, context map[string]string, owner, other side) {
	t.Helper()
	id, err := owner.create(id, context)
	if err != nil {
		t.Fatal(err)
	}
	first := k.keys(t, id, "first version")
	earlier, version1 := sealBoth(t, d, first)
	if err := owner.rotate(id); err != nil {
		t.Fatal(err)
	}
	second := k.keys(t, id, "second version")
	for _, r := range earlier.opened(d, second) { // by readers that did not know the first version
		r.check(t)
	}
	for i, ec := range contexts() {
		bySealq(d, second, ec, random(100)).check(t)
		byDriver(d, second, suites[i%len(suites)], 0, ec, random(100)).check(t)
	}
	_, version2 := sealBoth(t, d, second)
	if err := other.rotate(id); err != nil {
		t.Fatal(err)
	}
	if _, cached := sealBoth(t, d, second); cached != version2 {
		t.Error("after a rotation, keyrings that have cached a branch key seal under another version")
	}
	rows, version3 := sealBoth(t, d, k.keys(t, id, "third version"))
	if version1 == version2 || version2 == version3 {
		t.Error("after a rotation, new keyrings seal under the old version")
	}
	for _, r := range rows {
		r.check(t)
		checkBranchKeyFields(t, r.row)
	}
	k.checkLogicalName(t, d, id, rows)
	k.checkItems(t, id, context, 3)
}

// sealed is a row whose message is made already.
type sealed struct {
	row
	message  []byte
	byDriver bool
}

type sealedRows []sealed

// sealBoth makes a message on either side, and one with a signature, and
// returns the version of the branch key, which is the same for all.
func sealBoth(t *testing.T, d *drivers.Driver, keys pair) (rows sealedRows, version string) {
	t.Helper()
	for _, s := range []sealed{
		{row: bySealq(d, keys, contexts()[0], random(100))},
		{row: byDriver(d, keys, "0478", 0, contexts()[0], random(100)), byDriver: true},
		{row: byDriver(d, keys, "0578", 0, contexts()[0], random(100)), byDriver: true},
	} {
		var err error
		if s.message, err = s.seal(); err != nil {
			t.Fatalf("%s: seal: %v", s.name, err)
		}
		s.seal = func() ([]byte, error) { return s.message, nil }
		rows = append(rows, s)
		v := branchKeyVersion(t, s.message)
		if version == "" {
			version = v
		}
		if v != version {
			t.Errorf("%s: sealed under version %s, the other side under %s", s.name, v, version)
		}
	}
	return rows, version
}

// opened returns rows as other keyrings open them.
func (rows sealedRows) opened(d *drivers.Driver, keys pair) sealedRows {
	rows = slices.Clone(rows)
	for i := range rows {
		if rows[i].name += ", opened with " + keys.name; rows[i].byDriver {
			rows[i].open = byDriver(d, keys, "", 0, rows[i].context, nil).open
		} else {
			rows[i].open = bySealq(d, keys, rows[i].context, nil).open
		}
	}
	return rows
}

// edk returns the one encrypted data key of a message and where it starts.
func edk(t *testing.T, message []byte) (envelope.EncryptedDataKey, int) {
	t.Helper()
	m, err := envelope.Split(message)
	if err != nil {
		t.Fatal(err)
	}
	h, err := envelope.ParseHeader(m.Header)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(h.EncryptedDataKeys); n != 1 || h.EncryptedDataKeys[0].ProviderID != branchkey.ProviderID {
		t.Fatalf("got %d encrypted data keys, want one under a branch key", n)
	}
	return h.EncryptedDataKeys[0], strings.Index(string(m.Header), branchkey.ProviderID)
}

// The ciphertext of an encrypted data key under a branch key.
const (
	saltSize    = 16
	nonceSize   = 12
	versionSize = 16
	dataKeySize = 32
)

func branchKeyVersion(t *testing.T, message []byte) string {
	t.Helper()
	k, _ := edk(t, message)
	return hex.EncodeToString(k.Ciphertext[saltSize+nonceSize:][:versionSize])
}

// checkBranchKeyFields changes a bit in each field of the encrypted data key.
func checkBranchKeyFields(t *testing.T, r row) {
	t.Helper()
	message, err := r.seal()
	if err != nil {
		t.Fatal(err)
	}
	k, at := edk(t, message)
	at += len(k.ProviderID)
	fields := []struct {
		name string
		at   int
	}{
		{"provider ID", at - 1},
		{"branch key ID", at + 2},
		{"salt", at + 2 + len(k.ProviderInfo) + 2},
		{"nonce", at + 2 + len(k.ProviderInfo) + 2 + saltSize},
		{"version", at + 2 + len(k.ProviderInfo) + 2 + saltSize + nonceSize},
		{"data key", at + 2 + len(k.ProviderInfo) + 2 + saltSize + nonceSize + versionSize},
		{"tag", at + 2 + len(k.ProviderInfo) + 2 + saltSize + nonceSize + versionSize + dataKeySize},
	}
	if err := r.receive(onTheWire(message, fields[2].at)); err != nil {
		t.Errorf("%s: open: %v", r.name, err)
	}
	for _, f := range fields {
		if err := r.receive(flip(message, f.at)); !refused(err) {
			t.Errorf("%s, bit changed in the %s: got %v, want a refusal", r.name, f.name, err)
		}
	}
}

// checkLogicalName expects that neither side gets a branch key from the table
// under another logical name, which is part of what KMS authenticates.
func (k keyStore) checkLogicalName(t *testing.T, d *drivers.Driver, id string, rows sealedRows) {
	t.Helper()
	other := k.KeyStore
	other.LogicalName += " of another store"
	for _, r := range rows.opened(d, k.configured(t, other).keys(t, id, "another logical name")) {
		if _, _, err := r.open(r.message); !refused(err) || errors.Is(err, envelope.ErrInvalidMessage) {
			t.Errorf("%s: got %v, want a refusal that does not blame the message", r.name, err)
		}
	}
}

// checkItems compares the items of a branch key with the format: their
// attributes and types, and how many versions there are.
func (k keyStore) checkItems(t *testing.T, id string, context map[string]string, versions int) {
	t.Helper()
	out, err := k.ddb.Query(t.Context(), &dynamodb.QueryInput{
		TableName:                 &k.Table,
		KeyConditionExpression:    aws.String("#id = :id"),
		ExpressionAttributeNames:  map[string]string{"#id": "branch-key-id"},
		ExpressionAttributeValues: map[string]types.AttributeValue{":id": &types.AttributeValueMemberS{Value: id}},
	})
	if err != nil {
		t.Fatal(err)
	}
	common := []string{"branch-key-id S", "create-time S", "enc B", "hierarchy-version N", "kms-arn S", "type S"}
	for name := range context {
		common = append(common, "aws-crypto-ec:"+name+" S")
	}
	want := map[string][]string{"branch:ACTIVE": append([]string{"version S"}, common...), "beacon:ACTIVE": common}
	got := map[string][]string{}
	for _, item := range out.Items {
		var attributes []string
		for name, value := range item {
			kind := strings.TrimPrefix(fmt.Sprintf("%T", value), "*types.AttributeValueMember")
			attributes = append(attributes, name+" "+kind)
		}
		sort, _ := item["type"].(*types.AttributeValueMemberS)
		got[sort.Value] = attributes
		if strings.HasPrefix(sort.Value, "branch:version:") {
			want[sort.Value] = common
		}
	}
	for _, m := range []map[string][]string{want, got} {
		for name, attributes := range m {
			m[name] = slices.Sorted(slices.Values(attributes))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("items of %s (-want +got):\n%s", id, diff)
	}
	if got := len(out.Items) - 2; got != versions {
		t.Errorf("items of %s: got %d versions, want %d", id, got, versions)
	}
}

// refusesBranchKeys sends a message under a branch key to an SDK that has no
// such keys. Its refusal is all that there is to see.
func refusesBranchKeys(t *testing.T, s *sdk, where service) {
	t.Helper()
	const outcome = "knows no branch keys, and refuses the message"
	record(t, s, itsOwnBranchKeys+where.name, outcome)
	record(t, s, sealqsBranchKeys+where.name, outcome)
	k := newKeyStore(t, where, "interop-"+s.ID)
	k.createTable(t)
	id, err := sealqSide(t, k).create("orders", map[string]string{"department": "Zürich"})
	if err != nil {
		t.Fatal(err)
	}
	keys := k.keys(t, id, "first version")
	keys.decrypt = drivers.KMS(k.Key, k.Endpoint, k.Region)
	r := bySealq(s.driver, keys, contexts()[0], random(100))
	message, err := r.seal()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(keys.sealq, r.context, onTheWire(message, len(message)-1)); err != nil {
		t.Errorf("sealq: got %v, want it opened", err)
	}
	if err := r.receive(message); !refused(err) {
		t.Errorf("%s: got %v, want a refusal", s.ID, err)
	}
}

// Programs of other languages and Go programs that use sealq share a queue and
// a branch key. The programs are the examples that users are given.
func TestBranchKeysThroughAQueue(t *testing.T) {
	t.Parallel()
	in := moto.running(t)
	w := newWorldOn(t, in, "interop-branch-"+rand.Text()[:8])
	k := newKeyStore(t, service{"moto", in.Endpoint, in.Config()}, "interop-queue")
	k.createTable(t)
	id, err := sealqSide(t, k).create("orders-é", map[string]string{"department": "Zürich"})
	if err != nil {
		t.Fatal(err)
	}
	store := sqsx.KeyStore{Table: k.Table, LogicalName: k.LogicalName, BranchKeyID: id, KeyID: k.Key}
	sealer, err := sqsx.NewFromKeyStore(w.cfg, store, func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.NewFromConfig(w.cfg, sealer.Install)
	for _, e := range exampleLanguages() {
		t.Run(e.folder, func(t *testing.T) {
			t.Parallel()
			run := e.program(t, in.Endpoint,
				"SEALQ_KEY_STORE_TABLE="+k.Table, "SEALQ_KEY_STORE_NAME="+k.LogicalName, "SEALQ_BRANCH_KEY_ID="+id)
			record(t, find(t, e.sdk), "branch keys, through a queue, both directions", "")
			queue := w.queue(t, "interop-branch-"+e.folder+"-"+rand.Text()[:8], nil)

			send(t, client, queue, text)
			w.relay(t, queue)
			if got, err := run("receive", queue, k.Key); err != nil || got != text+"\n" {
				t.Errorf("sent by sealq: got %q, %v, want %q", got, err, text+"\n")
			}
			if _, err := run("send", queue, k.Key, text); err != nil {
				t.Fatal(err)
			}
			m := w.take(t, queue)
			message, err := base64.StdEncoding.DecodeString(aws.ToString(m.Body))
			if err != nil {
				t.Fatal(err)
			}
			edk(t, message) // it is under a branch key
			message = onTheWire(message, len(message)-1)
			if _, err := w.plain.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String(base64.StdEncoding.EncodeToString(message))}); err != nil {
				t.Fatal(err)
			}
			out, err := receive(t, client, queue)
			if err != nil || len(out.Messages) != 1 || aws.ToString(out.Messages[0].Body) != text {
				t.Errorf("received by sealq: got %v, want one message with %q", err, text)
			}
		})
	}
}

// Programs that move from KMS data keys to branch keys, or back, open both
// kinds for a while. A message with both opens with either.
func TestBranchKeysBesideKMSKeys(t *testing.T) {
	t.Parallel()
	for _, s := range sdks {
		if !s.BranchKeys {
			continue
		}
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			d := s.running(t)
			in := moto.running(t)
			record(t, s, "branch keys beside KMS keys, both directions", "")
			k := newKeyStore(t, service{"moto", in.Endpoint, in.Config()}, "interop-"+s.ID+"-both")
			k.createTable(t)
			id, err := sealqSide(t, k).create("", nil)
			if err != nil {
				t.Fatal(err)
			}
			under := k.keys(t, id, "branch key")
			kmsKey := pair{"KMS key", newKMSKeyring(t, k.kms, k.Key), drivers.KMS(k.Key, k.Endpoint, k.Region), drivers.Keyring{}}
			both := drivers.Multi(under.encrypt, kmsKey.encrypt)
			for _, keys := range []pair{under, kmsKey} {
				keys.name += ", opened with both"
				keys.decrypt = both
				bySealq(d, keys, contexts()[0], random(100)).check(t)
				keys.name = strings.Replace(keys.name, "opened", "sealed", 1)
				keys.encrypt = both
				byDriver(d, keys, "0478", 0, contexts()[0], random(100)).check(t)
			}
		})
	}
}

// What docs/other-languages.md says of branch keys is in the programs that the
// tests run: each name in the program that its row links to, and each block of
// code, line by line.
func TestBranchKeysDocument(t *testing.T) {
	t.Parallel()
	const docs = "../../docs"
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	_, section, found := strings.Cut(read(filepath.Join(docs, "other-languages.md")), "\n## Branch keys\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/other-languages.md has no section on branch keys")
	}
	link := regexp.MustCompile(`^\| [^|]+ \| \[[^\]]+\]\(([^)]+)\) \|(.*)\|$`)
	code := regexp.MustCompile("`([^`]+)`")
	programs := ""
	rows := 0
	for line := range strings.SplitSeq(section, "\n") {
		m := link.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rows++
		program := read(filepath.Join(docs, m[1]))
		programs += program
		if driver := map[string]string{".py": "python/driver.py", ".js": "javascript/driver.js"}[filepath.Ext(m[1])]; driver != "" {
			program += read(filepath.Join("drivers", driver)) // the examples do not create and rotate
		}
		for _, name := range code.FindAllStringSubmatch(m[2], -1) {
			if !strings.Contains(program, name[1]+"(") {
				t.Errorf("%s does not call %s", m[1], name[1])
			}
		}
	}
	var want int
	for _, s := range sdks {
		if s.BranchKeys {
			want++
		}
	}
	if rows != want {
		t.Errorf("got %d programs, want one of each SDK that knows branch keys: %d", rows, want)
	}
	blocks := regexp.MustCompile("(?s)\n```(?:python|js)\n(.*?)```\n").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Errorf("got %d blocks of code, want those of Python and JavaScript", len(blocks))
	}
	indent := regexp.MustCompile(`(?m)^[ \t]+`)
	programs = indent.ReplaceAllString(programs, "")
	for _, block := range blocks {
		if !strings.Contains(programs, indent.ReplaceAllString(block[1], "")) {
			t.Errorf("no program has this code:\n%s", block[1])
		}
	}
}
