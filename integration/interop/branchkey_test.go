package interop_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/integration/interop/drivers"
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
	id, sort := aws.String("branch-key-id"), aws.String("type")
	_, err := k.ddb.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:   &k.Table,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: id, AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: sort, AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: id, KeyType: types.KeyTypeHash},
			{AttributeName: sort, KeyType: types.KeyTypeRange},
		},
	})
	if err != nil {
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
	earlier := []row{bySealq(d, first, contexts()[0], random(100))}
	for _, suite := range suites {
		earlier = append(earlier, byDriver(d, first, suite, 0, contexts()[0], random(100)))
	}
	messages, versions := [][]byte{}, []string{}
	for _, r := range earlier {
		m, err := r.seal()
		if err != nil {
			t.Fatalf("%s: seal: %v", r.name, err)
		}
		messages = append(messages, m)
		versions = append(versions, branchKeyVersion(t, m))
	}
	if err := owner.rotate(id); err != nil {
		t.Fatal(err)
	}
	second := k.keys(t, id, "second version")
	for i, r := range earlier { // for readers that did not know the first version
		if i == 0 {
			r.open = bySealq(d, second, r.context, nil).open
		} else {
			r.open = byDriver(d, second, "", 0, r.context, nil).open
		}
		r.seal = func() ([]byte, error) { return messages[i], nil }
		r.name += ", opened after a rotation"
		r.check(t)
	}
	for _, ec := range contexts() {
		bySealq(d, second, ec, random(100)).check(t)
		for _, suite := range suites {
			byDriver(d, second, suite, 0, ec, random(100)).check(t)
		}
	}
	both := func(keys pair) []row {
		rows := []row{bySealq(d, keys, contexts()[0], random(100)), byDriver(d, keys, suites[0], 0, contexts()[0], random(100))}
		for _, r := range rows {
			m, err := r.seal()
			if err != nil {
				t.Fatalf("%s: seal: %v", r.name, err)
			}
			versions = append(versions, branchKeyVersion(t, m))
		}
		return rows
	}
	both(second)
	if err := other.rotate(id); err != nil {
		t.Fatal(err)
	}
	rows := both(k.keys(t, id, "third version"))
	for _, r := range rows {
		r.check(t)
		checkBranchKeyFields(t, r)
	}
	if n := len(slices.Compact(versions)); n != 3 {
		t.Errorf("got messages under %d versions of the branch key in turn, want 3: each side seals under the newest", n)
	}
	k.checkLogicalName(t, d, id, rows)
	k.checkItems(t, id, context, 3)
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
func (k keyStore) checkLogicalName(t *testing.T, d *drivers.Driver, id string, rows []row) {
	t.Helper()
	other := k.KeyStore
	other.LogicalName += " of another store"
	keys := k.configured(t, other).keys(t, id, "another logical name")
	for i, open := range []func([]byte) ([]byte, map[string]string, error){
		bySealq(d, keys, rows[0].context, nil).open,
		byDriver(d, keys, "", 0, rows[1].context, nil).open,
	} {
		m, err := rows[i].seal()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := open(m); !refused(err) || errors.Is(err, envelope.ErrInvalidMessage) {
			t.Errorf("%s, by a reader with another logical name: got %v, want a refusal that does not blame the message", rows[i].name, err)
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
