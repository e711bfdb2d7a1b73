package sqsxtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// item is an item, or a key.
type item = map[string]types.AttributeValue

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func num(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
func bin(b string) types.AttributeValue { return &types.AttributeValueMemberB{Value: []byte(b)} }

// ddbTest is a client, and a table with a partition key p and a sort key s.
type ddbTest struct {
	*dynamodb.Client
	server *sqsxtest.Server
	table  *string
}

func newDDB(tb testing.TB) ddbTest {
	tb.Helper()
	server := sqsxtest.New(tb)
	return ddbTest{dynamodb.NewFromConfig(once(server.Config())), server, aws.String(server.NewTable("keys", "p", "s"))}
}

func (d ddbTest) put(tb testing.TB, it item) {
	tb.Helper()
	if _, err := d.PutItem(tb.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: it}); err != nil {
		tb.Fatal(err)
	}
}

func (d ddbTest) get(tb testing.TB, key item, consistent bool) item {
	tb.Helper()
	out, err := d.GetItem(tb.Context(), &dynamodb.GetItemInput{TableName: d.table, Key: key, ConsistentRead: &consistent})
	if err != nil {
		tb.Fatal(err)
	}
	return out.Item
}

func key(p, s string) item { return item{"p": str(p), "s": str(s)} }

// sameItem ignores the order of sets, which has no meaning.
var sameItem = cmp.Options{
	cmpopts.IgnoreUnexported(types.AttributeValueMemberS{}, types.AttributeValueMemberN{}, types.AttributeValueMemberB{}, types.AttributeValueMemberBOOL{},
		types.AttributeValueMemberNULL{}, types.AttributeValueMemberM{}, types.AttributeValueMemberL{}, types.AttributeValueMemberSS{},
		types.AttributeValueMemberNS{}, types.AttributeValueMemberBS{}),
	cmp.Transformer("sorted", func(v types.AttributeValueMemberSS) []string { return slices.Sorted(slices.Values(v.Value)) }),
	cmp.Transformer("sorted", func(v types.AttributeValueMemberNS) []string { return slices.Sorted(slices.Values(v.Value)) }),
	cmp.Transformer("sorted", func(v types.AttributeValueMemberBS) [][]byte {
		return slices.SortedFunc(slices.Values(v.Value), bytes.Compare)
	}),
}

// TestDynamoDBRoundTrip: all types of value come back, through the transport in
// the process and through a socket.
func TestDynamoDBRoundTrip(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	bySocket := once(d.server.Config())
	bySocket.BaseEndpoint, bySocket.HTTPClient = aws.String(d.server.URL()), sqsxtest.LoopbackClient(nil)
	want := item{
		"p": str("orders-é <&>"), "s": str("branch:ACTIVE"),
		"enc": bin("\x00\xff ciphertext"), "hierarchy-version": num("1"), "empty": str(""), "none": bin(""),
		"yes": &types.AttributeValueMemberBOOL{Value: true}, "no": &types.AttributeValueMemberBOOL{},
		"null": &types.AttributeValueMemberNULL{Value: true},
		"ss":   &types.AttributeValueMemberSS{Value: []string{"b", "a", ""}},
		"ns":   &types.AttributeValueMemberNS{Value: []string{"-1.5", "20", "3"}},
		"bs":   &types.AttributeValueMemberBS{Value: [][]byte{{0xff}, {0}, {}}},
		"l":    &types.AttributeValueMemberL{Value: []types.AttributeValue{str("x"), &types.AttributeValueMemberL{Value: []types.AttributeValue{}}}},
		"m":    &types.AttributeValueMemberM{Value: item{"inner": &types.AttributeValueMemberM{Value: item{}}, "n": num("0.5")}},
	}
	for name, cfg := range map[string]aws.Config{"in process": once(d.server.Config()), "socket": bySocket} {
		d.Client = dynamodb.NewFromConfig(cfg)
		d.put(t, want)
		got := d.get(t, item{"p": want["p"], "s": want["s"]}, true)
		if diff := cmp.Diff(want, got, sameItem); diff != "" {
			t.Errorf("%s: the item differs (-want +got):\n%s", name, diff)
		}
		old, err := d.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: d.table, Key: item{"p": want["p"], "s": want["s"]}, ReturnValues: types.ReturnValueAllOld})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, old.Attributes, sameItem); diff != "" {
			t.Errorf("%s: the item that was deleted differs (-want +got):\n%s", name, diff)
		}
		if got := d.get(t, item{"p": want["p"], "s": want["s"]}, true); got != nil {
			t.Errorf("%s: got %v after DeleteItem, want no item", name, got)
		}
	}
	first, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: key("a", "b"), ReturnValues: types.ReturnValueAllOld})
	if err != nil || first.Attributes != nil {
		t.Errorf("a first PutItem: got %v, %v, want no old item", first, err)
	}
	if _, err := d.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: d.table, Key: key("absent", "b")}); err != nil {
		t.Errorf("DeleteItem of no item: got %v, want success", err)
	}
}

func TestDynamoDBNumbers(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	digits := strings.Repeat("9", 38)
	for sent, want := range map[string]string{
		"1": "1", "01": "1", "+1.50": "1.5", "-0": "0", "0e999999999999": "0", "1e2": "100", "1.5E+1": "15", "12e-3": "0.012", ".5": "0.5", "5.": "5",
		"-120.0300": "-120.03", digits: digits, "0." + digits: "0." + digits, "1e125": "1" + strings.Repeat("0", 125), "1e-130": "0." + strings.Repeat("0", 129) + "1",
		"00" + digits + "000": digits + "000",
	} {
		it := key("n", sent)
		it["n"] = num(sent)
		d.put(t, it)
		if got := d.get(t, key("n", sent), true)["n"]; got.(*types.AttributeValueMemberN).Value != want {
			t.Errorf("%s: got %v, want %s", sent, got, want)
		}
	}
	for sent, want := range map[string]string{
		"": "cannot be converted", "x": "cannot be converted", "1e": "cannot be converted", "1e+-1": "cannot be converted", ".": "cannot be converted",
		"0x1": "cannot be converted", "1 ": "cannot be converted", "--1": "cannot be converted", "NaN": "cannot be converted", "1.2.3": "cannot be converted",
		digits + "9": "38 significant", "1e126": "overflow", "1e-131": "underflow", "1e99999999999999999999": "overflow", "1e-99999999999999999999": "underflow",
	} {
		it := key("n", "n")
		it["n"] = num(sent)
		_, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: it})
		wantInvalid(t, "number "+sent, err, want)
	}
}

// wantInvalid fails the test unless err is a ValidationException whose text
// contains want.
func wantInvalid(t *testing.T, name string, err error, want string) {
	t.Helper()
	wantCode(t, err, "ValidationException")
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want a text with %q", name, err, want)
	}
}

// TestDynamoDBRefusesItems covers values, keys and sizes at their limits.
func TestDynamoDBRefusesItems(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	with := func(v types.AttributeValue) item { return item{"p": str("p"), "s": str("s"), "v": v} }
	nested := func(levels int) types.AttributeValue {
		v := str("x")
		for range levels {
			v = &types.AttributeValueMemberL{Value: []types.AttributeValue{v}}
		}
		return v
	}
	const rest = 1 + 1 + 1 + 1 + 1 // "p", its value, "s", its value, and "v"
	for name, test := range map[string]struct {
		item item
		want string // "": accepted
	}{
		"partition key of 2048 bytes": {key(strings.Repeat("p", 2048), "s"), ""},
		"partition key of 2049 bytes": {key(strings.Repeat("p", 2049), "s"), "Size of hashkey"},
		"sort key of 1024 bytes":      {key("p", strings.Repeat("s", 1024)), ""},
		"sort key of 1025 bytes":      {key("p", strings.Repeat("s", 1025)), "Aggregated size of all range keys"},
		"empty partition key":         {key("", "s"), "cannot contain an empty string value. Key: p"},
		"empty sort key":              {key("p", ""), "cannot contain an empty string value. Key: s"},
		"no sort key":                 {item{"p": str("p")}, "Missing the key s in the item"},
		"a number as a key":           {item{"p": num("1"), "s": str("s")}, "Type mismatch for key p expected: S actual: N"},
		"item of 400 KB":              {with(str(strings.Repeat("x", 400<<10-rest))), ""},
		"item of 400 KB and one byte": {with(str(strings.Repeat("x", 400<<10-rest+1))), "Item size has exceeded"},
		"empty set":                   {with(&types.AttributeValueMemberSS{Value: []string{}}), "may not contain an empty set"},
		"duplicates in a set":         {with(&types.AttributeValueMemberNS{Value: []string{"1", "1.0"}}), "contains duplicates"},
		"NULL that is false":          {with(&types.AttributeValueMemberNULL{}), "must have the value of true"},
		"32 levels":                   {with(nested(31)), ""},
		"33 levels":                   {with(nested(32)), "Nesting Levels"},
		"no name":                     {item{"p": str("p"), "s": str("s"), "": str("v")}, "the name of an attribute"},
	} {
		_, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: test.item})
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantInvalid(t, name, err, test.want)
	}
	for name, k := range map[string]item{
		"an attribute too many": {"p": str("p"), "s": str("s"), "v": str("v")},
		"one too few":           {"p": str("p")},
		"another type":          {"p": str("p"), "s": bin("s")},
		"another name":          {"p": str("p"), "t": str("s")},
	} {
		_, err := d.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: d.table, Key: k})
		wantInvalid(t, "GetItem, "+name, err, "The provided key element does not match the schema")
		_, err = d.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: d.table, Key: k})
		wantInvalid(t, "DeleteItem, "+name, err, "The provided key element does not match the schema")
	}
	_, err := d.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: d.table, Key: key("", "s")})
	wantInvalid(t, "GetItem, empty key", err, "cannot contain an empty string value")
}

// TestDynamoDBKeyTypes: keys may be strings, numbers and binaries, and equal
// values are one key.
func TestDynamoDBKeyTypes(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	for _, kind := range []types.ScalarAttributeType{types.ScalarAttributeTypeN, types.ScalarAttributeTypeB} {
		name := aws.String("by-" + string(kind))
		_, err := d.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: name, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("k"), AttributeType: kind}},
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("k"), KeyType: types.KeyTypeHash}},
		})
		if err != nil {
			t.Fatal(err)
		}
		sent, same, empty := num("1.0"), num("1"), types.AttributeValue(num("0"))
		if kind == types.ScalarAttributeTypeB {
			sent, same, empty = bin("\xff"), bin("\xff"), bin("")
		}
		if _, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: name, Item: item{"k": sent, "v": str("x")}}); err != nil {
			t.Fatal(err)
		}
		out, err := d.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: name, Key: item{"k": same}})
		if err != nil || out.Item == nil {
			t.Errorf("%s: got %v, %v, want the item", kind, out, err)
		}
		_, err = d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: name, Item: item{"k": empty}})
		if kind == types.ScalarAttributeTypeB {
			wantInvalid(t, "empty binary", err, "cannot contain an empty binary value")
		} else if err != nil {
			t.Error(err)
		}
	}
}

func TestDynamoDBTables(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := dynamodb.NewFromConfig(once(server.Config()))
	ctx := t.Context()
	in := func(edits ...func(*dynamodb.CreateTableInput)) *dynamodb.CreateTableInput {
		in := &dynamodb.CreateTableInput{
			TableName: aws.String("keys"), BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{
				{AttributeName: aws.String("branch-key-id"), AttributeType: types.ScalarAttributeTypeS},
				{AttributeName: aws.String("type"), AttributeType: types.ScalarAttributeTypeS},
			},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("branch-key-id"), KeyType: types.KeyTypeHash},
				{AttributeName: aws.String("type"), KeyType: types.KeyTypeRange},
			},
		}
		for _, edit := range edits {
			edit(in)
		}
		return in
	}
	created, err := client.CreateTable(ctx, in())
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:dynamodb:us-east-1:000000000000:table/keys"
	if got := created.TableDescription; *got.TableArn != arn || got.TableStatus != types.TableStatusActive || got.BillingModeSummary.BillingMode != types.BillingModePayPerRequest {
		t.Errorf("got %+v, want an active table %s, paid per request", got, arn)
	}
	if err := dynamodb.NewTableExistsWaiter(client).Wait(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("keys")}, 1e9); err != nil {
		t.Errorf("waiter: %v", err)
	}
	for _, name := range []string{"keys", arn} {
		out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
		if err != nil || *out.Table.TableArn != arn || len(out.Table.KeySchema) != 2 || *out.Table.ItemCount != 0 {
			t.Errorf("DescribeTable of %s: got %v, %v", name, out, err)
		}
	}
	_, err = client.CreateTable(ctx, in())
	wantCode(t, err, "ResourceInUseException")

	provisioned := in(func(in *dynamodb.CreateTableInput) {
		in.TableName, in.BillingMode = aws.String("provisioned"), ""
		in.ProvisionedThroughput = &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(2), WriteCapacityUnits: aws.Int64(3)}
	})
	if out, err := client.CreateTable(ctx, provisioned); err != nil || *out.TableDescription.ProvisionedThroughput.WriteCapacityUnits != 3 || out.TableDescription.BillingModeSummary != nil {
		t.Errorf("provisioned: got %v, %v", out, err)
	}

	long := strings.Repeat("t", 255)
	for name, test := range map[string]struct {
		edit func(*dynamodb.CreateTableInput)
		want string
	}{
		"no name":                     {func(in *dynamodb.CreateTableInput) { in.TableName = aws.String("") }, "at least 3 characters"},
		"a name of 2 characters":      {func(in *dynamodb.CreateTableInput) { in.TableName = aws.String("kk") }, "at least 3 characters"},
		"a name of 256 characters":    {func(in *dynamodb.CreateTableInput) { in.TableName = aws.String(long + "t") }, "at most 255 characters"},
		"a name with a space":         {func(in *dynamodb.CreateTableInput) { in.TableName = aws.String("the keys") }, "regular expression"},
		"provisioned without figures": {func(in *dynamodb.CreateTableInput) { in.BillingMode = types.BillingModeProvisioned }, "must both be specified"},
		"figures without need": {func(in *dynamodb.CreateTableInput) {
			in.ProvisionedThroughput = provisioned.ProvisionedThroughput
		}, "can be specified when BillingMode is PAY_PER_REQUEST"},
		"no capacity": {func(in *dynamodb.CreateTableInput) {
			in.BillingMode, in.ProvisionedThroughput = "", &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(0), WriteCapacityUnits: aws.Int64(1)}
		}, "greater than or equal to 1"},
		"billing":            {func(in *dynamodb.CreateTableInput) { in.BillingMode = "FREE" }, "billingMode"},
		"no keys":            {func(in *dynamodb.CreateTableInput) { in.KeySchema = []types.KeySchemaElement{} }, "keySchema"},
		"RANGE first":        {func(in *dynamodb.CreateTableInput) { in.KeySchema[0].KeyType = types.KeyTypeRange }, "first KeySchemaElement is not a HASH"},
		"HASH twice":         {func(in *dynamodb.CreateTableInput) { in.KeySchema[1].KeyType = types.KeyTypeHash }, "second KeySchemaElement is not a RANGE"},
		"one name":           {func(in *dynamodb.CreateTableInput) { in.KeySchema[1].AttributeName = in.KeySchema[0].AttributeName }, "have the same name"},
		"undefined":          {func(in *dynamodb.CreateTableInput) { in.KeySchema[1].AttributeName = aws.String("sort") }, "not defined in AttributeDefinitions"},
		"defined for naught": {func(in *dynamodb.CreateTableInput) { in.KeySchema = in.KeySchema[:1] }, "does not exactly match"},
		"defined twice":      {func(in *dynamodb.CreateTableInput) { in.AttributeDefinitions[1] = in.AttributeDefinitions[0] }, "Duplicate AttributeName"},
		"a list as a key":    {func(in *dynamodb.CreateTableInput) { in.AttributeDefinitions[1].AttributeType = "L" }, "enum value set: [B, N, S]"},
		"an index": {func(in *dynamodb.CreateTableInput) {
			in.GlobalSecondaryIndexes = []types.GlobalSecondaryIndex{{IndexName: aws.String("i"), KeySchema: in.KeySchema, Projection: &types.Projection{}}}
		}, `does not support the parameter "GlobalSecondaryIndexes"`},
	} {
		_, err := client.CreateTable(ctx, in(func(in *dynamodb.CreateTableInput) { in.TableName = aws.String("other") }, test.edit))
		wantInvalid(t, name, err, test.want)
	}
	if _, err := client.CreateTable(ctx, in(func(in *dynamodb.CreateTableInput) { in.TableName = &long })); err != nil {
		t.Errorf("a name of 255 characters: %v", err)
	}

	var names []string
	pages := dynamodb.NewListTablesPaginator(client, &dynamodb.ListTablesInput{Limit: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, page.TableNames...)
	}
	if want := []string{"keys", "provisioned", long}; !slices.Equal(names, want) {
		t.Errorf("ListTables: got %q, want %q", names, want)
	}
	_, err = client.ListTables(ctx, &dynamodb.ListTablesInput{Limit: aws.Int32(101)})
	wantInvalid(t, "a page of 101", err, "between 1 and 100")

	deleted, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(arn)})
	if err != nil || deleted.TableDescription.TableStatus != types.TableStatusDeleting {
		t.Errorf("DeleteTable: got %v, %v", deleted, err)
	}
	_, err = client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("keys")})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String("keys")})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(arn), Key: item{"branch-key-id": str("a"), "type": str("b")}})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestNewTable(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	if got := len(d.server.Requests()); got != 0 {
		t.Errorf("got %d requests, want 0", got)
	}
	if want := "arn:aws:dynamodb:us-east-1:000000000000:table/keys"; *d.table != want {
		t.Errorf("got ARN %s, want %s", *d.table, want)
	}
	d.put(t, key("a", "b"))
	single := aws.String(d.server.NewTable("single", "p"))
	if _, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: single, Item: item{"p": str("a")}}); err != nil {
		t.Error(err)
	}
	wantPanic(t, "a second table of the name", "ResourceInUseException", func() { d.server.NewTable("keys", "p") })
	wantPanic(t, "no key", "keySchema", func() { d.server.NewTable("none") })
	wantPanic(t, "three keys", "keySchema", func() { d.server.NewTable("three", "a", "b", "c") })
	wantPanic(t, "a bad name", "regular expression", func() { d.server.NewTable("or ders", "p") })
	d.server.NewTable("other", "p") // a panic leaves nothing locked
}

// TestDynamoDBNamespaces: accounts and Regions are apart, and an ARN may name
// the table of another account of the Region.
func TestDynamoDBNamespaces(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := func(region, account string) ddbTest {
		cfg := once(server.Config())
		cfg.Region, cfg.Credentials = region, aws.CredentialsProviderFunc(staticCredentials(account))
		return ddbTest{dynamodb.NewFromConfig(cfg), server, aws.String("keys")}
	}
	here, there, other := client("us-east-1", "000000000000"), client("eu-central-1", "000000000000"), client("us-east-1", "111122223333")
	for name, d := range map[string]ddbTest{"here": here, "there": there, "other": other} {
		_, err := d.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: d.table, Key: key("a", "b")})
		wantCode(t, err, "ResourceNotFoundException")
		_, err = d.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: d.table, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("p"), AttributeType: "S"}, {AttributeName: aws.String("s"), AttributeType: "S"}},
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("p"), KeyType: "HASH"}, {AttributeName: aws.String("s"), KeyType: "RANGE"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		it := key("a", "b")
		it["of"] = str(name)
		d.put(t, it)
	}
	of := func(d ddbTest) string {
		return d.get(t, key("a", "b"), false)["of"].(*types.AttributeValueMemberS).Value
	}
	for name, d := range map[string]ddbTest{"here": here, "there": there, "other": other} {
		if got := of(d); got != name {
			t.Errorf("got the item of %s, want that of %s", got, name)
		}
	}
	here.table = aws.String("arn:aws:dynamodb:us-east-1:111122223333:table/keys")
	if got := of(here); got != "other" {
		t.Errorf("by ARN: got the item of %s, want that of the other account", got)
	}
	for arn, want := range map[string]string{
		"arn:aws:dynamodb:eu-central-1:000000000000:table/keys": "ResourceNotFoundException",
		"arn:aws:dynamodb:us-east-1:000000000000:keys":          "ValidationException",
		"arn:aws:dynamodb:us-east-1:000000000000:table/k":       "ValidationException",
		"arn:aws:sqs:us-east-1:000000000000:table/keys":         "ValidationException",
		"arn:aws:dynamodb:us-east-1::table/keys":                "ValidationException",
		"arn:":                                                  "ValidationException",
	} {
		_, err := here.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &arn, Key: key("a", "b")})
		wantCode(t, err, want)
	}
}

// TestDynamoDBWire: headers and bodies of answers, as other languages' SDKs
// read them.
func TestDynamoDBWire(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	server.NewTable("keys", "p", "s")
	const model, coral = "com.amazonaws.dynamodb.v20120810#", "com.amazon.coral.service#"
	const put = `{"TableName":"keys","Item":{"p":{"S":"a"},"s":{"S":"b"},"n":{"N":"1.0"}}`
	for _, test := range []struct {
		action, body string
		status       int
		want         string // a part of the answer
	}{
		{"ListTables", ``, 200, `{"TableNames":["keys"]}`},
		{"GetItem", `{"TableName":"keys","Key":{"p":{"S":"a"},"s":{"S":"b"}}}`, 200, `{}`},
		{"PutItem", put + `}`, 200, `{}`},
		{"GetItem", `{"TableName":"keys","Key":{"p":{"S":"a"},"s":{"S":"b"}},"ConsistentRead":null}`, 200, `{"Item":{"n":{"N":"1"},"p":{"S":"a"},"s":{"S":"b"}}}`},
		{"PutItem", put + `,"ConditionExpression":"attribute_not_exists(p)"}`, 400, `{"__type":"` + model + `ConditionalCheckFailedException","message":"The conditional request failed"}`},
		{"PutItem", put + `,"ConditionExpression":"attribute_not_exists(p)","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`, 400, `"Item":{"n":{"N":"1"},"p":{"S":"a"},"s":{"S":"b"}}`},
		{"TransactWriteItems", `{"TransactItems":[{"Put":` + put + `,"ConditionExpression":"attribute_not_exists(p)"}}]}`, 400,
			`{"CancellationReasons":[{"Code":"ConditionalCheckFailed","Message":"The conditional request failed"}],"Message":"Transaction cancelled, please refer cancellation reasons for specific reasons [ConditionalCheckFailed]","__type":"` + model + `TransactionCanceledException"}`},
		{"GetItem", `{"TableName":"absent","Key":{}}`, 400, `{"__type":"` + model + `ResourceNotFoundException","message":"Requested resource not found"}`},
		{"GetItem", `{"TableName":"keys","Key":{"p":{"S":"a"}}}`, 400, `{"__type":"com.amazon.coral.validate#ValidationException","message":"The provided key element does not match the schema"}`},
		{"GetItem", `{"TableName":"keys","ProjectionExpression":"p"}`, 400, `does not support the parameter \"ProjectionExpression\"`},
		{"PutItem", put + `,"Expected":{}}`, 400, `does not support the parameter \"Expected\"`},
		{"PutItem", put + `,"ReturnConsumedCapacity":"TOTAL"}`, 400, `does not support ReturnConsumedCapacity \"TOTAL\"`},
		{"PutItem", put + `,"ReturnItemCollectionMetrics":"SIZE"}`, 400, `does not support ReturnItemCollectionMetrics \"SIZE\"`},
		{"PutItem", put + `,"ReturnValues":"ALL_NEW"}`, 400, `does not support ReturnValues \"ALL_NEW\"`},
		{"PutItem", `{"TableName":"keys"}`, 400, `'Item' is required`},
		{"DeleteItem", `{"TableName":"keys"}`, 400, `'Key' is required`},
		{"GetItem", `{"Key":{}}`, 400, `'TableName' is required`},
		{"UpdateItem", `{}`, 400, `{"__type":"` + coral + `UnknownOperationException","message":"this server has no DynamoDB action \"UpdateItem\""}`},
		{"GetItem", `{`, 400, coral + `SerializationException`},
		{"GetItem", `{} {}`, 400, coral + `SerializationException`},
		{"GetItem", `{"TableName":1}`, 400, coral + `SerializationException`},
		{"PutItem", `{"TableName":"keys","Item":{"p":{"B":"?"}}}`, 400, coral + `SerializationException`},
		{"PutItem", `{"TableName":"keys","Item":{"p":{"S":1}}}`, 400, coral + `SerializationException`},
		{"PutItem", `{"TableName":"keys","Item":{"p":{}}}`, 400, `Supplied AttributeValue is empty`},
		{"PutItem", `{"TableName":"keys","Item":{"p":{"X":"a"}}}`, 400, `Supplied AttributeValue is empty`},
		{"PutItem", `{"TableName":"keys","Item":{"p":{"S":"a","N":"1"}}}`, 400, `more than one datatypes`},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body))
		r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+test.action)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s %s: got %d %s, want %d with %s", test.action, test.body, w.Code, w.Body, test.status, test.want)
		}
		if got, want := w.Header().Get("X-Amz-Crc32"), strconv.FormatUint(uint64(crc32.ChecksumIEEE(w.Body.Bytes())), 10); got != want {
			t.Errorf("%s %s: got checksum %s, want %s", test.action, test.body, got, want)
		}
		if got, want := w.Header().Get("Content-Type"), "application/x-amz-json-1.0"; got != want {
			t.Errorf("%s: got content type %s, want %s", test.action, got, want)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: got %s, want JSON", test.action, test.body, w.Body)
		}
	}
	if got := server.Count("dynamodb:PutItem"); got == 0 {
		t.Error("no request counted as dynamodb:PutItem")
	}
}

// TestDynamoDBQueryAndScan: order, conditions on keys, filters and pages.
func TestDynamoDBQueryAndScan(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	for p := range 3 {
		for s := range 4 {
			it := key(fmt.Sprint("p", p), fmt.Sprintf("branch:%d", s))
			it["n"] = num(strconv.Itoa(s))
			d.put(t, it)
		}
	}
	query := func(in *dynamodb.QueryInput) (*dynamodb.QueryOutput, error) {
		in.TableName = d.table
		if in.ExpressionAttributeValues == nil {
			in.ExpressionAttributeValues = item{}
		}
		in.ExpressionAttributeValues[":p"] = str("p1")
		return d.Query(t.Context(), in)
	}
	sorts := func(items []map[string]types.AttributeValue) string {
		var all []string
		for _, it := range items {
			all = append(all, strings.TrimPrefix(it["s"].(*types.AttributeValueMemberS).Value, "branch:"))
		}
		return strings.Join(all, "")
	}
	for condition, test := range map[string]struct {
		values  item
		filter  *string
		forward *bool
		want    string
	}{
		"p = :p":                         {nil, nil, nil, "0123"},
		"p = :p AND s = :a":              {item{":a": str("branch:2")}, nil, nil, "2"},
		"s >= :a AND p = :p":             {item{":a": str("branch:2")}, nil, nil, "23"},
		"p = :p AND s < :a":              {item{":a": str("branch:2")}, nil, aws.Bool(false), "10"},
		"p = :p AND s BETWEEN :a AND :b": {item{":a": str("branch:1"), ":b": str("branch:2")}, nil, nil, "12"},
		"p = :p AND begins_with(s, :a)":  {item{":a": str("branch:")}, aws.String("n > :n"), nil, "23"},
		"p=:p AND s > :a":                {item{":a": str("c")}, nil, nil, ""},
	} {
		in := &dynamodb.QueryInput{KeyConditionExpression: &condition, ExpressionAttributeValues: test.values, FilterExpression: test.filter, ScanIndexForward: test.forward}
		if test.filter != nil {
			in.ExpressionAttributeValues[":n"] = num("1")
		}
		out, err := query(in)
		if err != nil || sorts(out.Items) != test.want || int(out.Count) != len(out.Items) {
			t.Errorf("%s: got %v, %v, want %q", condition, out, err, test.want)
		}
	}
	for condition, want := range map[string]string{
		"s = :p":                         "missed key schema element: p",
		"p > :p":                         "Query key condition not supported",
		"p = :p OR s = :p":               "Invalid operator used in KeyConditionExpression: OR",
		"NOT p = :p":                     "Invalid operator used in KeyConditionExpression: NOT",
		"p = :p AND s <> :p":             "Invalid operator used in KeyConditionExpression: <>",
		"p = :p AND elsewhere = :p":      "missed key schema element",
		"p = :p AND s = p":               "compared with values only",
		"p = :p AND p = :p":              "missed key schema element",
		"p = :p AND s IN (:p)":           "Invalid operator used in KeyConditionExpression: IN",
		"p = :p AND size(s) = :p":        "the first operand must be the name",
		"p = :p AND s.x = :p":            "the first operand must be the name",
		"attribute_exists(s) AND p = :p": "Invalid operator used in KeyConditionExpression: attribute_exists",
		"p = :p AND contains(s,:p)":      "Invalid operator used in KeyConditionExpression: contains",
	} {
		_, err := query(&dynamodb.QueryInput{KeyConditionExpression: &condition})
		wantInvalid(t, condition, err, want)
	}
	_, err := query(&dynamodb.QueryInput{KeyConditionExpression: aws.String("p = :p AND s = :n"), ExpressionAttributeValues: item{":n": num("1")}})
	wantInvalid(t, "another type", err, "does not match schema type")
	_, err = query(&dynamodb.QueryInput{KeyConditionExpression: aws.String("p = :p"), FilterExpression: aws.String("s = :p")})
	wantInvalid(t, "filter on a key", err, "non-primary key attributes: Primary key attribute: s")
	_, err = d.Query(t.Context(), &dynamodb.QueryInput{TableName: d.table})
	wantInvalid(t, "no key condition", err, "must be specified")
	_, err = query(&dynamodb.QueryInput{KeyConditionExpression: aws.String("p = :p"), IndexName: aws.String("i")})
	wantInvalid(t, "an index", err, `does not support the parameter "IndexName"`)

	var got []string
	pages := dynamodb.NewScanPaginator(d.Client, &dynamodb.ScanInput{TableName: d.table, Limit: aws.Int32(5), ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, sorts(page.Items))
	}
	if want := []string{"01230", "12301", "23"}; !slices.Equal(got, want) {
		t.Errorf("Scan: got pages %q, want %q", got, want)
	}
	count, err := d.Scan(t.Context(), &dynamodb.ScanInput{TableName: d.table, Select: types.SelectCount, FilterExpression: aws.String("n = :n"), ExpressionAttributeValues: item{":n": num("1")}})
	if err != nil || count.Count != 3 || count.ScannedCount != 12 || count.Items != nil {
		t.Errorf("COUNT: got %v, %v, want 3 of 12", count, err)
	}
	_, err = d.Scan(t.Context(), &dynamodb.ScanInput{TableName: d.table, Limit: aws.Int32(0)})
	wantInvalid(t, "a page of none", err, "greater than or equal to 1")
	_, err = d.Scan(t.Context(), &dynamodb.ScanInput{TableName: d.table, ExclusiveStartKey: item{"p": str("a")}})
	wantInvalid(t, "no whole key", err, "The provided starting key is invalid")
	_, err = d.Scan(t.Context(), &dynamodb.ScanInput{TableName: d.table, Select: types.SelectSpecificAttributes})
	wantInvalid(t, "Select", err, `does not support Select "SPECIFIC_ATTRIBUTES"`)
}

// TestDynamoDBPageSize: an answer ends when it has more than 1 MiB of items.
func TestDynamoDBPageSize(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	for i := range 6 {
		it := key("p", strconv.Itoa(i))
		it["v"] = bin(strings.Repeat("x", 300<<10))
		d.put(t, it)
	}
	var got []int32
	pages := dynamodb.NewScanPaginator(d.Client, &dynamodb.ScanInput{TableName: d.table})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page.Count)
	}
	if want := []int32{4, 2}; !slices.Equal(got, want) {
		t.Errorf("got pages of %d items, want %d", got, want)
	}
}
