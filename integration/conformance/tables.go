package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/integration/launch"
)

// tableCases use the plain SDK, and fix what key stores rely on, for targets
// that have DynamoDB.
func tableCases() []testCase {
	return []testCase{
		{"DynamoDB: items come back as they were written, at once if the read is consistent", itemsComeBack},
		{"DynamoDB: a table is named by its ARN", tableARN},
		{"DynamoDB: a transaction writes all of its items or none, and says why", transactions},
		{"DynamoDB: an item is replaced only while it is the one that was read", guardedPut},
		{"DynamoDB: a transaction that is sent twice has one effect", requestToken},
		{"DynamoDB: tables and items that do not exist", nothingThere},
		{"DynamoDB: conditions and keys that are invalid are refused", invalidWrites},
	}
}

// tables is the DynamoDB of a target, with a table of its own for the test.
type tables struct {
	*suite
	*dynamodb.Client
	name, arn string
}

func (s *suite) tables(t *testing.T) *tables {
	t.Helper()
	tb := &tables{suite: s, Client: dynamodb.NewFromConfig(s.target.KMS), name: "conformance-" + unique()}
	var err error
	if tb.arn, err = launch.CreateKeyStoreTable(t.Context(), tb.Client, tb.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if _, err := tb.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &tb.name}); err != nil {
			t.Errorf("delete the table: %v", err)
		}
	})
	if err := dynamodb.NewTableExistsWaiter(tb.Client).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &tb.name}, patience); err != nil {
		t.Fatal(err)
	}
	return tb
}

type item = map[string]ddbtypes.AttributeValue

func str(s string) ddbtypes.AttributeValue { return &ddbtypes.AttributeValueMemberS{Value: s} }

func itemKey(id, kind string) item { return item{"branch-key-id": str(id), "type": str(kind)} }

// branchItem is an item as key stores write it.
func branchItem(id, kind string, enc string) item {
	it := itemKey(id, kind)
	it["enc"] = &ddbtypes.AttributeValueMemberB{Value: []byte(enc)}
	it["hierarchy-version"] = &ddbtypes.AttributeValueMemberN{Value: "1"}
	it["aws-crypto-ec:team"] = str("Geschäft")
	return it
}

func (tb *tables) put(it item, condition string, values item) ddbtypes.TransactWriteItem {
	return ddbtypes.TransactWriteItem{Put: &ddbtypes.Put{
		TableName: &tb.name, Item: it, ConditionExpression: &condition,
		ExpressionAttributeNames: map[string]string{"#id": "branch-key-id"}, ExpressionAttributeValues: values,
	}}
}

// Conditions of the specification of key stores.
const (
	ifNew    = "attribute_not_exists(#id)"
	ifExists = "attribute_exists(#id)"
	ifSame   = "attribute_exists(#id) AND enc = :old"
)

func (tb *tables) transact(t *testing.T, items ...ddbtypes.TransactWriteItem) error {
	t.Helper()
	_, err := tb.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: items})
	return err
}

func (tb *tables) read(t *testing.T, table string, key item) item {
	t.Helper()
	out, err := tb.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

// wantItem compares items by the values that they hold.
func wantItem(t *testing.T, what string, got, want item) {
	t.Helper()
	if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

func plain(it item) map[string]string {
	out := make(map[string]string)
	for name, v := range it {
		switch v := v.(type) {
		case *ddbtypes.AttributeValueMemberS:
			out[name] = "S " + v.Value
		case *ddbtypes.AttributeValueMemberN:
			out[name] = "N " + v.Value
		case *ddbtypes.AttributeValueMemberB:
			out[name] = fmt.Sprintf("B %x", v.Value)
		default:
			out[name] = fmt.Sprintf("%T", v)
		}
	}
	return out
}

func itemsComeBack(t *testing.T, s *suite) {
	tb := s.tables(t)
	want := branchItem("bestellungen-é", "branch:ACTIVE", "\x00\xff\x01 ciphertext")
	if err := tb.transact(t, tb.put(want, ifNew, nil)); err != nil {
		t.Fatal(err)
	}
	wantItem(t, "ConsistentRead", tb.read(t, tb.name, itemKey("bestellungen-é", "branch:ACTIVE")), want)
	out, err := tb.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &tb.name, Key: itemKey("bestellungen-é", "branch:ACTIVE")})
	if err != nil {
		t.Fatal(err)
	}
	wantItem(t, "GetItem", out.Item, want)
}

func tableARN(t *testing.T, s *suite) {
	tb := s.tables(t)
	want := branchItem("orders", "branch:ACTIVE", "x")
	put := tb.put(want, ifNew, nil)
	put.Put.TableName = &tb.arn
	if err := tb.transact(t, put); err != nil {
		t.Fatalf("TransactWriteItems: %v", err)
	}
	wantItem(t, "by name", tb.read(t, tb.name, itemKey("orders", "branch:ACTIVE")), want)
	wantItem(t, "by ARN", tb.read(t, tb.arn, itemKey("orders", "branch:ACTIVE")), want)
}

// wantCancelled fails the test unless err says of each item of a transaction
// why it was cancelled.
func wantCancelled(t *testing.T, what string, err error, codes ...string) {
	t.Helper()
	cancelled, ok := errors.AsType[*ddbtypes.TransactionCanceledException](err)
	if !ok {
		t.Errorf("%s: got error %v, want a TransactionCanceledException", what, err)
		return
	}
	var got []string
	for _, r := range cancelled.CancellationReasons {
		got = append(got, aws.ToString(r.Code))
	}
	if !slices.Equal(got, codes) {
		t.Errorf("%s: got reasons %q, want %q", what, got, codes)
	}
}

func transactions(t *testing.T, s *suite) {
	tb := s.tables(t)
	first := branchItem("orders", "branch:version:1", "v1")
	if err := tb.transact(t, tb.put(first, ifNew, nil), tb.put(branchItem("orders", "branch:ACTIVE", "a1"), ifNew, nil), tb.put(branchItem("orders", "beacon:ACTIVE", "b1"), ifNew, nil)); err != nil {
		t.Fatal(err)
	}
	err := tb.transact(t,
		tb.put(branchItem("orders", "branch:version:2", "v2"), ifNew, nil),
		tb.put(branchItem("orders", "branch:version:1", "other"), ifNew, nil),
		tb.put(branchItem("orders", "branch:ACTIVE", "a2"), ifExists, nil),
	)
	wantCancelled(t, "the second exists", err, "None", "ConditionalCheckFailed", "None")
	wantItem(t, "the first item", tb.read(t, tb.name, itemKey("orders", "branch:version:2")), nil)
	wantItem(t, "the second item", tb.read(t, tb.name, itemKey("orders", "branch:version:1")), first)
	wantItem(t, "the third item", tb.read(t, tb.name, itemKey("orders", "branch:ACTIVE")), branchItem("orders", "branch:ACTIVE", "a1"))

	check := ddbtypes.TransactWriteItem{ConditionCheck: &ddbtypes.ConditionCheck{
		TableName: &tb.name, Key: itemKey("orders", "branch:version:2"), ConditionExpression: aws.String(ifExists), ExpressionAttributeNames: map[string]string{"#id": "branch-key-id"},
	}}
	remove := ddbtypes.TransactWriteItem{Delete: &ddbtypes.Delete{TableName: &tb.name, Key: itemKey("orders", "beacon:ACTIVE")}}
	wantCancelled(t, "an item that is only checked", tb.transact(t, remove, check), "None", "ConditionalCheckFailed")
	wantItem(t, "what was not deleted", tb.read(t, tb.name, itemKey("orders", "beacon:ACTIVE")), branchItem("orders", "beacon:ACTIVE", "b1"))

	err = tb.transact(t, tb.put(branchItem("orders", "branch:version:3", "a"), ifNew, nil), tb.put(branchItem("orders", "branch:version:3", "b"), ifNew, nil))
	wantCode(t, "one item twice", err, "ValidationException")
}

func guardedPut(t *testing.T, s *suite) {
	tb := s.tables(t)
	if err := tb.transact(t, tb.put(branchItem("orders", "branch:ACTIVE", "a1"), ifNew, nil)); err != nil {
		t.Fatal(err)
	}
	old := func(enc string) item { return item{":old": &ddbtypes.AttributeValueMemberB{Value: []byte(enc)}} }
	rotate := func(from, to string) error {
		return tb.transact(t, tb.put(branchItem("orders", "branch:version:"+to, to), ifNew, nil), tb.put(branchItem("orders", "branch:ACTIVE", to), ifSame, old(from)))
	}
	if err := rotate("a1", "a2"); err != nil {
		t.Fatal(err)
	}
	wantCancelled(t, "an item that was replaced meanwhile", rotate("a1", "a3"), "None", "ConditionalCheckFailed")
	wantItem(t, "the item", tb.read(t, tb.name, itemKey("orders", "branch:ACTIVE")), branchItem("orders", "branch:ACTIVE", "a2"))
	wantItem(t, "the version of the second", tb.read(t, tb.name, itemKey("orders", "branch:version:a3")), nil)

	put := &dynamodb.PutItemInput{
		TableName: &tb.name, Item: branchItem("orders", "branch:ACTIVE", "a4"), ConditionExpression: aws.String(ifSame),
		ExpressionAttributeNames: map[string]string{"#id": "branch-key-id"}, ExpressionAttributeValues: old("a1"),
	}
	_, err := tb.PutItem(t.Context(), put)
	wantCode(t, "PutItem", err, "ConditionalCheckFailedException")
	put.ExpressionAttributeValues = old("a2")
	if _, err := tb.PutItem(t.Context(), put); err != nil {
		t.Errorf("PutItem: %v", err)
	}
}

func requestToken(t *testing.T, s *suite) {
	tb := s.tables(t)
	send := func(enc string) error {
		_, err := tb.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{
			ClientRequestToken: aws.String("rotation-1"), TransactItems: []ddbtypes.TransactWriteItem{tb.put(branchItem("orders", "branch:ACTIVE", enc), ifNew, nil)},
		})
		return err
	}
	if err := send("a1"); err != nil {
		t.Fatal(err)
	}
	if s.differs(RequestTokensIgnored) {
		wantCancelled(t, "again", send("a1"), "ConditionalCheckFailed")
		return
	}
	if err := send("a1"); err != nil {
		t.Errorf("again: got error %v, want none", err)
	}
	wantCode(t, "another request with the token", send("a2"), "IdempotentParameterMismatchException")
}

func nothingThere(t *testing.T, s *suite) {
	tb := s.tables(t)
	wantItem(t, "an item that does not exist", tb.read(t, tb.name, itemKey("orders", "branch:ACTIVE")), nil)
	absent := "conformance-" + unique()
	_, err := tb.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &absent, Key: itemKey("orders", "branch:ACTIVE")})
	wantCode(t, "GetItem", err, "ResourceNotFoundException")
	put := tb.put(branchItem("orders", "branch:ACTIVE", "x"), ifNew, nil)
	put.Put.TableName = &absent
	wantCode(t, "TransactWriteItems", tb.transact(t, put), "ResourceNotFoundException")
	_, err = tb.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &absent})
	wantCode(t, "DescribeTable", err, "ResourceNotFoundException")
}

func invalidWrites(t *testing.T, s *suite) {
	tb := s.tables(t)
	values := item{":old": str("x")}
	for what, test := range map[string]struct {
		item      item
		condition string
		values    item
		accepted  Difference // "": by none
		status500 bool       // by some
	}{
		"an unused value":             {branchItem("orders", "branch:ACTIVE", "x"), ifNew, values, UnusedValuesAccepted, false},
		"a value that is not defined": {branchItem("orders", "branch:ACTIVE", "x"), ifSame, nil, "", true},
		"a reserved word":             {branchItem("orders", "branch:ACTIVE", "x"), ifNew + " AND type <> :old", values, "", false},
		"no such function":            {branchItem("orders", "branch:ACTIVE", "x"), ifNew + " AND length(enc) > :old", values, "", false},
		"an incomplete condition":     {branchItem("orders", "branch:ACTIVE", "x"), ifNew + " AND enc =", nil, "", true},
		"an empty sort key":           {branchItem("orders", "", "x"), ifNew, nil, "", false},
		"no sort key":                 {item{"branch-key-id": str("orders")}, ifNew, nil, "", false},
		"a partition key of 2049":     {branchItem(string(bytes.Repeat([]byte("x"), 2049)), "branch:ACTIVE", "x"), ifNew, nil, "", false},
		"an item of 400 KB and more":  {branchItem("orders", "branch:ACTIVE", string(make([]byte, 400<<10))), ifNew, nil, "", false},
	} {
		put := tb.put(test.item, test.condition, test.values).Put
		_, err := tb.PutItem(t.Context(), &dynamodb.PutItemInput{
			TableName: put.TableName, Item: put.Item, ConditionExpression: put.ConditionExpression,
			ExpressionAttributeNames: put.ExpressionAttributeNames, ExpressionAttributeValues: put.ExpressionAttributeValues,
		})
		if test.status500 && s.differs(ExpressionErrorsAre500) {
			if response, ok := errors.AsType[*smithyhttp.ResponseError](err); !ok || response.HTTPStatusCode() != 500 {
				t.Errorf("%s: got error %v, want status 500: %s", what, err, ExpressionErrorsAre500)
			}
			continue
		}
		s.wantRefused(t, what, err, "ValidationException", test.accepted)
	}
}
