package branchkey_test

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// plain returns an item as text, with the type of each attribute, without what
// differs each time.
func plain(a attributes) map[string]string {
	texts := make(map[string]string)
	for name, v := range a {
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			texts[name] = "S " + v.Value
		case *types.AttributeValueMemberN:
			texts[name] = "N " + v.Value
		case *types.AttributeValueMemberB:
			texts[name] = "B"
		}
	}
	return texts
}

// kmsContext is the encryption context that an item's key is bound to.
func kmsContext(a attributes) map[string]string {
	context := map[string]string{"tablename": logicalName}
	for name, v := range plain(a) {
		if name != "enc" {
			context[name] = v[2:]
		}
	}
	return context
}

// decrypts asks KMS for the key of an item.
func (w *world) decrypts(a attributes) []byte {
	w.t.Helper()
	out, err := w.kms.Decrypt(w.t.Context(), &kms.DecryptInput{
		KeyId: &w.keyARN, CiphertextBlob: a["enc"].(*types.AttributeValueMemberB).Value, EncryptionContext: kmsContext(a),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Plaintext
}

// TestCreate: the three items are those of the specification.
func TestCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	custom := map[string]string{"purpose": "orders", "é": "日本"}
	version, err := w.store().Create(t.Context(), "orders-é", custom)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"purpose": "orders", "é": "日本"}; !maps.Equal(custom, want) {
		t.Errorf("the custom context was written: %v", custom)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(version) {
		t.Errorf("got version %q, want a UUID", version)
	}
	active, decryptOnly, beacon := w.item("orders-é", "branch:ACTIVE"), w.item("orders-é", versionType(version)), w.item("orders-é", "beacon:ACTIVE")
	created := plain(active)["create-time"]
	if !regexp.MustCompile(`^S \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`).MatchString(created) {
		t.Errorf("got create-time %q", created)
	}
	want := func(itemType string) map[string]string {
		return map[string]string{
			"branch-key-id": "S orders-é", "type": "S " + itemType, "enc": "B", "kms-arn": "S " + w.keyARN,
			"create-time": created, "hierarchy-version": "N 1",
			"aws-crypto-ec:purpose": "S orders", "aws-crypto-ec:é": "S 日本",
		}
	}
	wantActive := want("branch:ACTIVE")
	wantActive["version"] = "S " + versionType(version)
	for _, test := range []struct{ got, want map[string]string }{
		{plain(active), wantActive}, {plain(decryptOnly), want(versionType(version))}, {plain(beacon), want("beacon:ACTIVE")},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("item (-want +got):\n%s", diff)
		}
	}
	if w.items() != 3 {
		t.Errorf("got %d items, want 3", w.items())
	}
	a, v, b := w.decrypts(active), w.decrypts(decryptOnly), w.decrypts(beacon)
	if len(a) != 32 || string(a) != string(v) || string(b) == string(a) || len(b) != 32 {
		t.Errorf("got keys of %d, %d and %d bytes, equal %t and %t, want the same one for ACTIVE and its version, and another for beacons",
			len(a), len(v), len(b), string(a) == string(v), string(a) == string(b))
	}
	for action, n := range map[string]int{"kms:GenerateDataKeyWithoutPlaintext": 2, "kms:ReEncrypt": 1, "dynamodb:TransactWriteItems": 1, "dynamodb:GetItem": 3 /* of this test */} {
		if got := w.srv.Count(action); got != n {
			t.Errorf("%d calls of %s, want %d", got, action, n)
		}
	}
	kr := w.keyring(w.store(), "orders-é")
	w.mustOpen(kr, w.seal(kr))
}

func TestCreateRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	pair := map[string]string{"purpose": "orders"}
	for name, test := range map[string]struct {
		id     string
		custom map[string]string
		want   string
	}{
		"empty id":                       {"", pair, "give a new UUID, or a name and a custom context"},
		"a name without custom context":  {"orders", nil, "has no custom context"},
		"an upper case UUID without one": {"BBB9BAF1-03e6-4716-a586-6bf29995314b", nil, "has no custom context"},
		"an id that is too long":         {strings.Repeat("x", 2049), pair, "is 2049 bytes, want at most 2048"},
		"an id that is not UTF-8":        {"\xff", pair, "is not UTF-8"},
		"an empty name":                  {"orders", map[string]string{"": "secret"}, `has the name ""`},
		"a name that is not UTF-8":       {"orders", map[string]string{"\xff": "secret"}, "want UTF-8"},
		"a name with the prefix":         {"orders", map[string]string{"aws-crypto-ec:x": "secret"}, "which Create adds"},
		"an empty value":                 {"orders", map[string]string{"x": ""}, `the value of "x"`},
		"a value that is not UTF-8":      {"orders", map[string]string{"x": "secret\xff"}, `the value of "x"`},
	} {
		_, err := store.Create(t.Context(), test.id, test.custom)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q in it and no value", name, err, test.want)
		}
	}
	if _, err := store.Rotate(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("Rotate: got %v", err)
	}
	if n := len(w.sent("kms:GenerateDataKeyWithoutPlaintext")) + len(w.sent("dynamodb:GetItem")); n != 0 {
		t.Errorf("%d calls for these, want none", n)
	}
	if _, err := store.Create(t.Context(), "bbb9baf1-03e6-4716-a586-6bf29995314b", nil); err != nil {
		t.Errorf("a UUID without custom context: %v", err)
	}
	if _, err := store.Create(t.Context(), strings.Repeat("é", 1024), pair); err != nil {
		t.Errorf("an id of 2,048 bytes: %v", err)
	}
}

// TestCreateTwice: a branch key is never overwritten, not even a part of it.
func TestCreateTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	key := w.seal(w.keyring(store, "orders"))
	for _, lost := range []string{"", "branch:ACTIVE"} { // any of its items is enough
		if lost != "" {
			w.remove("orders", lost)
		}
		before := w.items()
		_, err := store.Create(t.Context(), "orders", map[string]string{"x": "y"})
		if !errors.Is(err, branchkey.ErrConflict) || !strings.Contains(err.Error(), "exists already; nothing was written") {
			t.Errorf("without %q: got %v, want ErrConflict", lost, err)
		}
		if w.items() != before {
			t.Errorf("without %q: got %d items, want %d", lost, w.items(), before)
		}
	}
	w.mustOpen(w.keyring(store, "orders"), key)
}

// TestRotate: a new version takes over, and all of the branch key stays.
func TestRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	first := w.create(store, "orders")
	old := w.seal(w.keyring(store, "orders"))
	oldActive, oldVersion, beacon := w.item("orders", "branch:ACTIVE"), w.item("orders", versionType(first)), w.item("orders", "beacon:ACTIVE")
	getItems := w.srv.Count("dynamodb:GetItem")
	second := w.rotate(store, "orders")
	if second == first {
		t.Fatal("the same version")
	}
	for action, n := range map[string]int{"kms:GenerateDataKeyWithoutPlaintext": 2 + 1, "kms:ReEncrypt": 1 + 2, "dynamodb:TransactWriteItems": 1 + 1, "dynamodb:GetItem": getItems + 1} {
		if got := w.srv.Count(action); got != n {
			t.Errorf("%d calls of %s, want %d", got, action, n)
		}
	}
	if reads := w.sent("dynamodb:GetItem"); reads[len(reads)-1]["ConsistentRead"] != true {
		t.Error("the active item was not read consistently")
	}

	active := w.item("orders", "branch:ACTIVE")
	want := plain(oldActive)
	want["version"], want["create-time"] = "S "+versionType(second), plain(active)["create-time"]
	if diff := cmp.Diff(want, plain(active)); diff != "" {
		t.Errorf("ACTIVE (-want +got):\n%s", diff)
	}
	newVersion := w.item("orders", versionType(second))
	delete(want, "version")
	want["type"] = "S " + versionType(second)
	if diff := cmp.Diff(want, plain(newVersion)); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
	if string(w.decrypts(active)) != string(w.decrypts(newVersion)) {
		t.Error("ACTIVE has another key than its version")
	}
	if string(w.decrypts(active)) == string(w.decrypts(oldVersion)) {
		t.Error("the new version has the key of the old one")
	}
	for itemType, before := range map[string]attributes{versionType(first): oldVersion, "beacon:ACTIVE": beacon} {
		if diff := cmp.Diff(plain(before), plain(w.item("orders", itemType))); diff != "" || string(w.decrypts(before)) != string(w.decrypts(w.item("orders", itemType))) {
			t.Errorf("%s has changed: %s", itemType, diff)
		}
	}
	kr := w.keyring(store, "orders")
	w.mustOpen(kr, old)
	if got := w.seal(kr).EncryptedDataKeys()[0].Ciphertext[28:44]; string(got) != string(versionBytes(t, second)) {
		t.Errorf("sealed under version %x, want %s", got, second)
	}
}

// TestRotateAtOnce: of two rotations one wins, the other changes nothing, and
// no ACTIVE is without its version.
func TestRotateAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	const rotations = 4
	var read sync.WaitGroup // all of them have read ACTIVE before any writes
	read.Add(rotations)
	w.srv.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "dynamodb:TransactWriteItems" {
			read.Done()
			read.Wait()
		}
		return nil
	})
	versions, errs := make([]string, rotations), make([]error, rotations)
	var wg sync.WaitGroup
	for i := range rotations {
		wg.Go(func() { versions[i], errs[i] = store.Rotate(t.Context(), "orders") })
	}
	wg.Wait()
	w.srv.Intercept(nil)
	won := ""
	for i, err := range errs {
		switch {
		case err == nil && won == "":
			won = versions[i]
		case err == nil:
			t.Error("two rotations won")
		case !errors.Is(err, branchkey.ErrConflict) || !strings.Contains(err.Error(), "another rotation has won; nothing was written") || versions[i] != "":
			t.Errorf("got version %q and error %v, want ErrConflict", versions[i], err)
		}
	}
	if got := plain(w.item("orders", "branch:ACTIVE"))["version"]; got != "S "+versionType(won) {
		t.Errorf("ACTIVE has version %q, want %q", got, won)
	}
	if w.items() != 4 {
		t.Errorf("got %d items, want 4: the losers left something", w.items())
	}
}

// TestRotateNothing: what is not there, or not one's own, is not rotated.
func TestRotateNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.store().Rotate(t.Context(), "orders")
	if class(err) != "refused: entry" || !strings.Contains(err.Error(), "there is no such branch key") {
		t.Errorf("got %v, want a refusal", err)
	}
	if w.items() != 0 {
		t.Error("something was written")
	}
}

// TestWriteFailures: whichever call fails, nothing is left behind, and the
// error has the class of its cause.
func TestWriteFailures(t *testing.T) {
	t.Parallel()
	calls := []string{"kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt", "dynamodb:TransactWriteItems"}
	for _, action := range calls {
		for _, test := range []struct {
			err         error
			class, want string
		}{
			{answer(500, "InternalServerError"), "unavailable", ""},
			{answer(400, "ThrottlingException"), "unavailable", ""},
			{errors.New("cut"), "unavailable", ""},
			{answer(400, "AccessDeniedException"), "refused: entry", "the permission"},
			{answer(400, "UnrecognizedClientException"), "unavailable", "credentials"},
			{answer(400, "SomethingNew"), "refused: entry", "SomethingNew"},
		} {
			t.Run(action+" "+test.class, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				store := w.store()
				w.create(store, "payments")
				w.failing(action, test.err)
				_, err := store.Create(t.Context(), "orders", map[string]string{"purpose": "a-custom-value"})
				_, err2 := store.Rotate(t.Context(), "payments")
				w.srv.Intercept(nil)
				for call, err := range map[string]error{"Create": err, "Rotate": err2} {
					if class(err) != test.class || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "a-custom-value") {
						t.Errorf("%s: got %q (%v), want %q with %q", call, class(err), err, test.class, test.want)
					}
					if says := strings.Contains(err.Error(), "not known whether the items were written"); says != (test.class == "unavailable" && action == "dynamodb:TransactWriteItems") {
						t.Errorf("%s: got %q, want the doubt to be named where there is one, and only there", call, err)
					}
				}
				if w.items() != 3 {
					t.Errorf("got %d items, want the 3 of before", w.items())
				}
				w.create(store, "orders")
				w.rotate(store, "payments")
			})
		}
	}
}

// TestAnswerOfATransactionThatWasLost: the second attempt is the same request,
// so that it does not fail on what the first has written.
func TestAnswerOfATransactionThatWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	lose := func() {
		var once sync.Once
		w.srv.Intercept(func(r *sqsxtest.Request) (err error) {
			if r.Action == "dynamodb:TransactWriteItems" {
				once.Do(func() { err = sqsxtest.ErrResponseLost })
			}
			return err
		})
	}
	lose()
	w.create(store, "orders")
	lose()
	version := w.rotate(store, "orders")
	if got := plain(w.item("orders", "branch:ACTIVE"))["version"]; got != "S "+versionType(version) {
		t.Errorf("ACTIVE has version %q, want %q", got, version)
	}
}

// TestCancelledTransactions: DynamoDB cancels for reasons that are no conflict
// of ours, too.
func TestCancelledTransactions(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"ConditionalCheckFailed":        "conflict",
		"TransactionConflict":           "conflict",
		"ThrottlingError":               "unavailable",
		"ProvisionedThroughputExceeded": "unavailable",
		"InternalServerError":           "unavailable",
		"ValidationError":               "refused: entry",
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			store, err := branchkey.NewStore(cancelling{w.ddb, code}, w.kms, w.options)
			if err != nil {
				t.Fatal(err)
			}
			_, err = store.Create(t.Context(), "orders", map[string]string{"purpose": "orders"})
			got := class(err)
			if errors.Is(err, branchkey.ErrConflict) {
				got = "conflict"
			}
			if got != want || !strings.Contains(err.Error(), "nothing was written") {
				t.Errorf("got %q (%v), want %q", got, err, want)
			}
			if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); !ok || aws.ToString(cancelled.CancellationReasons[1].Code) != code {
				t.Errorf("got %v, want the service's own error in the chain", err)
			}
		})
	}
}

// TestWhoMayNotWrite: a store that takes the key that each item names has none
// to create with.
func TestWhoMayNotWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.store(), "orders")
	reader, err := branchkey.NewStore(w.ddb, w.kms, func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName = tableName, logicalName
		o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: "us-east-1", Accounts: []string{ours}}
	})
	if err != nil {
		t.Fatal(err)
	}
	_, create := reader.Create(t.Context(), "payments", map[string]string{"x": "y"})
	_, rotate := reader.Rotate(t.Context(), "orders")
	for _, err := range []error{create, rotate} {
		if err == nil || !strings.Contains(err.Error(), "make one with StoreOptions.KeyID") {
			t.Errorf("got %v, want the remedy", err)
		}
	}
	kr := w.keyring(reader, "orders")
	w.mustOpen(kr, w.seal(kr))
	if w.items() != 3 {
		t.Errorf("got %d items, want 3", w.items())
	}
	for name, s := range map[string]*branchkey.Store{"nil": nil, "zero": new(branchkey.Store)} {
		_, create := s.Create(t.Context(), "orders", nil)
		_, rotate := s.Rotate(t.Context(), "orders")
		_, use := branchkey.New(s, "orders")
		for _, err := range []error{create, rotate, use} {
			if err == nil || !strings.Contains(err.Error(), "make it with NewStore") {
				t.Errorf("%s: got %v, want the remedy", name, err)
			}
		}
	}
}

// TestGrantTokens are passed with every call, and NewStore's copy is used.
func TestGrantTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tokens := []string{"first", "second"}
	store := w.store(func(o *branchkey.StoreOptions) { o.GrantTokens = tokens })
	tokens[0] = "changed"
	w.create(store, "orders")
	w.rotate(store, "orders")
	w.seal(w.keyring(store, "orders"))
	n := 0
	for _, action := range []string{"kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt", "kms:Decrypt"} {
		for _, body := range w.sent(action) {
			n++
			got, _ := body["GrantTokens"].([]any)
			if !slices.Equal(got, []any{"first", "second"}) {
				t.Errorf("%s: got grant tokens %v", action, got)
			}
		}
	}
	if n != 3+3+1 {
		t.Errorf("%d calls of KMS, want 7", n)
	}
}

// cancelling is a DynamoDB that cancels every transaction.
type cancelling struct {
	*dynamodb.Client
	code string
}

func (c cancelling) TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	return nil, &types.TransactionCanceledException{
		Message:             aws.String("cancelled"),
		CancellationReasons: []types.CancellationReason{{Code: aws.String("None")}, {Code: &c.code}},
	}
}
