package branchkey_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
)

func text(s string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: s} }
func number(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
func binary(s string) types.AttributeValue { return &types.AttributeValueMemberB{Value: []byte(s)} }

// edits are ways to damage an item, and what the error says of it.
func edits(otherKey string) map[string]struct {
	change func(attributes)
	want   string
} {
	type edit = struct {
		change func(attributes)
		want   string
	}
	set := func(name string, v types.AttributeValue, want string) edit {
		return edit{func(a attributes) { a[name] = v }, want}
	}
	const altered = "the item was altered, or was made under another logical name than"
	all := map[string]edit{
		"enc, a bit": {func(a attributes) {
			enc := slices.Clone(a["enc"].(*types.AttributeValueMemberB).Value)
			enc[len(enc)-1] ^= 1
			a["enc"] = &types.AttributeValueMemberB{Value: enc}
		}, altered},
		"enc, cut": {func(a attributes) {
			a["enc"] = &types.AttributeValueMemberB{Value: a["enc"].(*types.AttributeValueMemberB).Value[1:]}
		}, altered},
		"enc, empty":                      set("enc", binary(""), `it has no "enc"`),
		"kms-arn, another key":            set("kms-arn", text(otherKey), "it is under the KMS key"),
		"kms-arn, an alias":               set("kms-arn", text("arn:aws:kms:us-east-1:111122223333:alias/x"), "is not the ARN of a KMS key"),
		"kms-arn, no ARN":                 set("kms-arn", text("key"), "is not the ARN of a KMS key"),
		"create-time":                     set("create-time", text("2020-01-01T00:00:00.000000Z"), altered),
		"custom context":                  set("aws-crypto-ec:purpose", text("other"), altered),
		"custom context, one more":        set("aws-crypto-ec:more", text("x"), altered),
		"hierarchy-version 2":             set("hierarchy-version", number("2"), `its hierarchy-version is "2", and this release of sealq supports 1 only`),
		"hierarchy-version 0":             set("hierarchy-version", number("0"), "supports 1 only"),
		"an attribute tablename":          set("tablename", text(logicalName), `it has an attribute "tablename"`),
		"an attribute of one's own":       set("owner", text("shop"), `the item has the attribute "owner", which a branch key does not have: remove it`),
		"an attribute for time to live":   set("expires", number("1700000000"), `attribute "expires" has type N, want S`),
		"an attribute of a type of lists": set("tags", &types.AttributeValueMemberL{}, `attribute "tags" has type L, want S`),
		"an attribute that is binary":     set("blob", binary("x"), `attribute "blob" has type B, want S`),
		"an attribute that is NULL":       set("null", &types.AttributeValueMemberNULL{Value: true}, `attribute "null" has type NULL, want S`),
	}
	for _, name := range []string{"kms-arn", "create-time", "aws-crypto-ec:purpose"} {
		all[name+" as B"] = set(name, binary("x"), "has type B, want S")
		all[name+" as N"] = set(name, number("1"), "has type N, want S")
	}
	all["hierarchy-version as S"] = set("hierarchy-version", text("1"), "has type S, want N")
	all["enc as S"] = set("enc", text("x"), "has type S, want B")
	for _, name := range []string{"kms-arn", "create-time", "hierarchy-version"} {
		all["no "+name] = edit{func(a attributes) { delete(a, name) }, `it has no attribute "` + name + `"`}
	}
	all["no enc"] = edit{func(a attributes) { delete(a, "enc") }, `it has no "enc"`}
	all["no custom context"] = edit{func(a attributes) { delete(a, "aws-crypto-ec:purpose") }, altered}
	return all
}

// wantDamaged fails the test unless err is a refusal of one item that says
// want, and that reveals nothing.
func wantDamaged(t *testing.T, err error, want string) {
	t.Helper()
	if class(err) != "refused: entry" || envelope.IsInvalidMessage(err) {
		t.Errorf("got %q (%v), want a refusal of one entry", class(err), err)
		return
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q in it", err, want)
	}
	if !strings.Contains(err.Error(), `branch key "orders"`) || !strings.Contains(err.Error(), tableName) {
		t.Errorf("got %q, want the branch key and the table named", err)
	}
	for _, secret := range []string{"a-custom-value", "other\""} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("got %q, want no value of the custom context", err)
		}
	}
}

// TestDamagedVersion: an item of an old version that was altered refuses the
// messages under it, and no others.
func TestDamagedVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	first := w.create(store, "orders")
	old := w.seal(w.keyring(store, "orders"))
	w.rotate(store, "orders")
	healthy := w.seal(w.keyring(store, "orders"))
	before := w.item("orders", versionType(first))

	cases := edits(w.newKey(w.kms, false))
	cases["an attribute version"] = struct {
		change func(attributes)
		want   string
	}{func(a attributes) { a["version"] = text(versionType(first)) }, `it has the attribute "version"`}
	for name, test := range cases {
		w.edit("orders", versionType(first), test.change)
		kr := w.keyring(store, "orders")
		wantDamaged(t, w.open(kr, old), test.want)
		if t.Failed() {
			t.Fatal(name)
		}
		w.mustOpen(kr, healthy)
		w.mustOpen(kr, w.seal(kr))
		w.put(before)
	}
	w.mustOpen(w.keyring(store, "orders"), old)
}

// TestDamagedActive: an ACTIVE item that was altered refuses to seal. All
// versions open.
func TestDamagedActive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	first := w.create(store, "orders")
	old := w.seal(w.keyring(store, "orders"))
	w.rotate(store, "orders")
	healthy := w.seal(w.keyring(store, "orders"))
	before := w.item("orders", "branch:ACTIVE")

	type edit = struct {
		change func(attributes)
		want   string
	}
	cases := edits(w.newKey(w.kms, false))
	cases["version, another"] = edit{func(a attributes) { a["version"] = text(versionType(first)) }, "the item was altered"}
	cases["version, no UUID"] = edit{func(a attributes) { a["version"] = text("branch:version:1") }, `its version is "branch:version:1"`}
	cases["version, no prefix"] = edit{func(a attributes) { a["version"] = text(first) }, "its version is"}
	cases["version as B"] = edit{func(a attributes) { a["version"] = binary("x") }, "has type B, want S"}
	cases["no version"] = edit{func(a attributes) { delete(a, "version") }, "its version is"}
	cases["enc of the version"] = edit{func(a attributes) { a["enc"] = w.item("orders", versionType(first))["enc"] }, "the item was altered"}
	for name, test := range cases {
		w.edit("orders", "branch:ACTIVE", test.change)
		kr := w.keyring(store, "orders")
		_, err := kr.GenerateDataKey(t.Context(), ec)
		wantDamaged(t, err, test.want)
		if err := kr.CheckDecrypt(t.Context(), ec); err != nil { // only KMS notices some of them, and versions open
			wantDamaged(t, err, test.want)
		}
		_, err = store.Rotate(t.Context(), "orders")
		wantDamaged(t, err, test.want)
		if t.Failed() {
			t.Fatal(name)
		}
		w.mustOpen(kr, old)
		w.mustOpen(kr, healthy)
		w.put(before)
	}
	w.seal(w.keyring(store, "orders"))
}

// TestItemsUnderAnotherName: a version item moved to another branch key or
// version does not decrypt there, nor does one that was left as ACTIVE.
func TestItemsUnderAnotherName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	version := w.create(store, "orders")
	w.create(store, "payments")
	key := w.seal(w.keyring(store, "payments"))

	moved := w.item("orders", "branch:ACTIVE")
	moved["branch-key-id"] = text("payments")
	w.put(moved)
	_, err := w.keyring(store, "payments").GenerateDataKey(t.Context(), ec)
	if class(err) != "refused: entry" || !strings.Contains(err.Error(), "the item was altered") {
		t.Errorf("got %v, want a refusal", err)
	}
	w.mustOpen(w.keyring(store, "payments"), key)

	// What the message names decides: the other branch key's version is not
	// looked up under its own name.
	edk := forged("payments", 1)
	copy(edk.Ciphertext[28:], versionBytes(t, version))
	_, err = w.keyring(store, "payments").DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{edk}, ec)
	if class(err) != "refused: entry" || !strings.Contains(err.Error(), "there is no such item") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// answers is a DynamoDB and KMS whose answers a test changes.
type answers struct {
	*dynamodb.Client
	kms     *kms.Client
	getItem func(*dynamodb.GetItemOutput) *dynamodb.GetItemOutput
	decrypt func(*kms.DecryptOutput) *kms.DecryptOutput
}

func (a answers) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	out, err := a.Client.GetItem(ctx, in, opts...)
	if err == nil && a.getItem != nil {
		out = a.getItem(out)
	}
	return out, err
}

type kmsAnswers struct {
	*kms.Client
	answers
}

func (a kmsAnswers) Decrypt(ctx context.Context, in *kms.DecryptInput, opts ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	out, err := a.Client.Decrypt(ctx, in, opts...)
	if err == nil && a.decrypt != nil {
		out = a.decrypt(out)
	}
	return out, err
}

// TestAnswersThatDoNotFit: what comes back is compared with what was asked for.
func TestAnswersThatDoNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.store(), "orders")
	key := w.seal(w.keyring(w.store(), "orders"))
	w.create(w.store(), "payments")
	payments := w.item("payments", "branch:ACTIVE")
	for name, test := range map[string]struct {
		answers
		class, want string
	}{
		"an item of another branch key": {answers{getItem: func(*dynamodb.GetItemOutput) *dynamodb.GetItemOutput {
			return &dynamodb.GetItemOutput{Item: payments}
		}}, "refused: entry", `it is that of branch key "payments"`},
		"an id of another branch key": {answers{getItem: func(out *dynamodb.GetItemOutput) *dynamodb.GetItemOutput {
			item := maps.Clone(out.Item)
			item["branch-key-id"] = text("payments")
			return &dynamodb.GetItemOutput{Item: item}
		}}, "refused: entry", `it is that of branch key "payments"`},
		"another type": {answers{getItem: func(out *dynamodb.GetItemOutput) *dynamodb.GetItemOutput {
			item := maps.Clone(out.Item)
			item["type"] = text("beacon:ACTIVE")
			return &dynamodb.GetItemOutput{Item: item}
		}}, "refused: entry", `it has the type "beacon:ACTIVE"`},
		"no answer of DynamoDB": {answers{getItem: func(*dynamodb.GetItemOutput) *dynamodb.GetItemOutput { return nil }}, "unavailable", "it is empty"},
		"no answer of KMS":      {answers{decrypt: func(*kms.DecryptOutput) *kms.DecryptOutput { return nil }}, "unavailable", "it is empty"},
		"another key of KMS": {answers{decrypt: func(out *kms.DecryptOutput) *kms.DecryptOutput {
			out.KeyId = aws.String(*out.KeyId + "x")
			return out
		}}, "unavailable", "it is for key"},
		"no plaintext": {answers{decrypt: func(out *kms.DecryptOutput) *kms.DecryptOutput {
			out.Plaintext = nil
			return out
		}}, "unavailable", "it has no plaintext"},
		"a short plaintext": {answers{decrypt: func(out *kms.DecryptOutput) *kms.DecryptOutput {
			out.Plaintext = out.Plaintext[1:]
			return out
		}}, "refused: entry", "what was decrypted is 31 bytes, want 32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.Client, test.kms = w.ddb, w.kms
			store, err := branchkey.NewStore(test.answers, kmsAnswers{w.kms, test.answers}, w.options)
			if err != nil {
				t.Fatal(err)
			}
			kr := w.on(t).keyring(store, "orders")
			_, err = kr.GenerateDataKey(t.Context(), ec)
			for what, err := range map[string]error{"sealing": err, "opening": w.on(t).open(kr, key), "the check": kr.CheckDecrypt(t.Context(), ec)} {
				if class(err) != test.class || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got %q (%v), want %q with %q", what, class(err), err, test.class, test.want)
				}
			}
		})
	}
}

// TestKeyOfAnotherSize: what KMS decrypts may be no branch key, also if all of
// its attributes are right.
func TestKeyOfAnotherSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	item := w.item("orders", "branch:ACTIVE")
	context := map[string]string{"tablename": logicalName}
	for name, v := range item {
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			context[name] = v.Value
		case *types.AttributeValueMemberN:
			context[name] = v.Value
		}
	}
	out, err := w.kms.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &w.keyARN, Plaintext: make([]byte, 80), EncryptionContext: context})
	if err != nil {
		t.Fatal(err)
	}
	item["enc"] = &types.AttributeValueMemberB{Value: out.CiphertextBlob}
	w.put(item)
	_, err = w.keyring(store, "orders").GenerateDataKey(t.Context(), ec)
	wantDamaged(t, err, "what was decrypted is 80 bytes, want 32")
}

// TestLogicalName: it is part of what KMS binds a branch key to, and another
// one has a remedy.
func TestLogicalName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.store(), "orders")
	wrong := w.store(func(o *branchkey.StoreOptions) { o.LogicalName = "orders-restored" })
	_, err := w.keyring(wrong, "orders").GenerateDataKey(t.Context(), ec)
	wantDamaged(t, err, `another logical name than "orders-restored", which is configured: set the name that the key store was created with`)
	_, err = wrong.Rotate(t.Context(), "orders")
	wantDamaged(t, err, "another logical name than")
	if refused, ok := errors.AsType[*envelope.RefusedError](err); !ok || refused.Err == nil {
		t.Errorf("got %v, want a RefusedError", err)
	}
}
