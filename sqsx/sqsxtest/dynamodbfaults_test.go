package sqsxtest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestDenyDynamoDB: a transaction needs the permissions of its items, and has
// none of its own.
func TestDenyDynamoDB(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	calls := map[string]func() error{
		"GetItem": func() error {
			_, err := d.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: d.table, Key: key("a", "b")})
			return err
		},
		"PutItem": func() error {
			_, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: key("a", "b")})
			return err
		},
		"a transaction that puts":    func() error { return d.transact(t, d.putting(key("a", "c"), "")) },
		"a transaction that deletes": func() error { return d.transact(t, d.deleting(key("a", "c"), "")) },
		"a transaction that puts and checks": func() error {
			return d.transact(t, d.putting(key("a", "d"), ""), d.checking(key("a", "e"), "attribute_not_exists(p)"))
		},
	}
	const puts, deletes, checks = "a transaction that puts", "a transaction that deletes", "a transaction that puts and checks"
	for denied, want := range map[string][]string{
		"dynamodb:GetItem":            {"GetItem"},
		"dynamodb:PutItem":            {"PutItem", puts, checks},
		"dynamodb:DeleteItem":         {deletes},
		"dynamodb:ConditionCheckItem": {checks},
		"dynamodb:TransactWriteItems": {puts, deletes, checks},
		"dynamodb:Transact*":          {puts, deletes, checks},
		"dynamodb:*Item*":             nil, // a star is at the end only, and this one is refused below
		"dynamodb:*":                  {"GetItem", "PutItem", puts, deletes, checks},
		"dynamodb:DescribeTable":      nil,
	} {
		if strings.Count(denied, "*") > 1 {
			wantPanic(t, denied, "no action", func() { d.server.Deny(denied) })
			continue
		}
		allow := d.server.Deny(denied)
		for name, call := range calls {
			err, refused := call(), false
			for _, w := range want {
				refused = refused || w == name
			}
			if !refused {
				if err != nil {
					t.Errorf("%s denied: %s: %v", denied, name, err)
				}
				continue
			}
			wantCode(t, err, "AccessDeniedException")
			wantStatus(t, err, 400)
			if err == nil || !strings.Contains(err.Error(), "is not authorized to perform: dynamodb:") {
				t.Errorf("%s denied: %s: got %v, want an error that names the action", denied, name, err)
			}
		}
		allow()
	}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("all allowed: %s: %v", name, err)
		}
	}
	wantPanic(t, "UpdateItem", "no action", func() { d.server.Deny("dynamodb:UpdateItem") })
	d.server.Deny("dynamodb:ConditionCheckItem")()
}

func TestCutDynamoDB(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	bySocket := once(d.server.Config())
	bySocket.BaseEndpoint, bySocket.HTTPClient = aws.String(d.server.URL()), sqsxtest.LoopbackClient(nil)
	for name, test := range map[string]struct {
		cfg  aws.Config
		want error
	}{
		"in process": {once(d.server.Config()), syscall.ECONNREFUSED},
		"socket":     {bySocket, syscall.ECONNRESET},
	} {
		client := dynamodb.NewFromConfig(test.cfg)
		list := func() error {
			_, err := client.ListTables(t.Context(), nil)
			return err
		}
		restore := d.server.CutDynamoDB()
		if err := list(); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if test.want == syscall.ECONNREFUSED && !strings.Contains(list().Error(), "Server.CutDynamoDB") {
			t.Errorf("%s: got %v, want the cause", name, list())
		}
		if _, err := kms.NewFromConfig(test.cfg).ListKeys(t.Context(), nil); err != nil {
			t.Errorf("%s: KMS is cut too: %v", name, err)
		}
		kmsToo := d.server.CutKMS()
		if err := list(); !errors.Is(err, test.want) {
			t.Errorf("%s, KMS cut too: got %v, want %v", name, err, test.want)
		}
		kmsToo()
		restore()
		restore()
		if err := list(); err != nil {
			t.Errorf("%s: restored: %v", name, err)
		}
	}
}

// TestInterceptDynamoDB: the errors of the SDK arrive as the service writes
// them, cancellation reasons included.
func TestInterceptDynamoDB(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	for _, test := range []struct {
		fault  error
		code   string
		status int
	}{
		{&types.ProvisionedThroughputExceededException{Message: aws.String("slow down")}, "ProvisionedThroughputExceededException", 400},
		{&types.ThrottlingException{}, "ThrottlingException", 400},
		{&types.RequestLimitExceeded{}, "RequestLimitExceeded", 400},
		{&types.InternalServerError{}, "InternalServerError", 500},
		{&types.ResourceNotFoundException{}, "ResourceNotFoundException", 400},
		{&types.TransactionConflictException{}, "TransactionConflictException", 400},
		{&smithy.GenericAPIError{Code: "UnrecognizedClientException"}, "UnrecognizedClientException", 400},
		{&smithy.GenericAPIError{Code: "ServiceUnavailable"}, "ServiceUnavailable", 503},
		{&types.TransactionInProgressException{Message: aws.String("wait")}, "TransactionInProgressException", 400},
	} {
		d.server.Intercept(func(*sqsxtest.Request) error { return test.fault })
		_, err := d.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: d.table, Key: key("a", "b")})
		wantCode(t, err, test.code)
		wantStatus(t, err, test.status)
	}
	d.server.Intercept(func(*sqsxtest.Request) error {
		return &types.TransactionCanceledException{Message: aws.String("cancelled [None, TransactionConflict]"), CancellationReasons: []types.CancellationReason{
			{Code: aws.String("None")}, {Code: aws.String("TransactionConflict"), Message: aws.String("Transaction is ongoing for the item")},
		}}
	})
	reasons := wantReasons(t, d.transact(t, d.putting(key("a", "b"), ""), d.putting(key("a", "c"), "")), "None", "TransactionConflict")
	if len(reasons) == 2 && aws.ToString(reasons[1].Message) != "Transaction is ongoing for the item" {
		t.Errorf("got reason %+v", reasons[1])
	}
	d.server.Intercept(func(*sqsxtest.Request) error { return &smithy.GenericAPIError{Code: "TransactionCanceledException"} })
	wantCode(t, d.transact(t, d.putting(key("a", "b"), "")), "TransactionCanceledException")
}

// TestDynamoDBResponseLost: a transaction whose answer is lost is carried out
// once. The SDK sends it again with its token, and the second one succeeds.
func TestDynamoDBResponseLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the retry's backoff takes no time
		server := sqsxtest.New(t)
		d := ddbTest{dynamodb.NewFromConfig(server.Config()), server, aws.String(server.NewTable("keys", "p", "s"))}
		var calls atomic.Int32
		server.Intercept(func(*sqsxtest.Request) error {
			if calls.Add(1) == 1 {
				return sqsxtest.ErrResponseLost
			}
			return nil
		})
		if err := d.transact(t, d.putting(key("a", "b"), "attribute_not_exists(p)")); err != nil {
			t.Error(err)
		}
		if got := calls.Load(); got != 2 {
			t.Errorf("got %d requests, want 2", got)
		}
		if d.get(t, key("a", "b"), true) == nil {
			t.Error("the item is missing")
		}
	})
}

// TestStaleReads: what is not read consistently is old until the end; all else
// is new.
func TestStaleReads(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	numbered := func(n string) item {
		it := key("a", "b")
		it["n"] = num(n)
		return it
	}
	want := func(what string, consistent bool, want string) {
		t.Helper()
		got := "no item"
		if it := d.get(t, key("a", "b"), consistent); it != nil {
			got = it["n"].(*types.AttributeValueMemberN).Value
		}
		if got != want {
			t.Errorf("%s, ConsistentRead %v: got %s, want %s", what, consistent, got, want)
		}
		scan, err := d.Scan(t.Context(), &dynamodb.ScanInput{TableName: d.table, ConsistentRead: &consistent})
		if err != nil || scan.Count == 0 != (want == "no item") {
			t.Errorf("%s: Scan, ConsistentRead %v: got %v, %v", what, consistent, scan, err)
		}
	}
	fresh := d.server.StaleReads()
	d.put(t, numbered("1"))
	want("a new item", false, "no item")
	want("a new item", true, "1")
	fresh()
	want("at the end", false, "1")

	fresh = d.server.StaleReads()
	d.put(t, numbered("2"))
	again := d.server.StaleReads() // the first state stays
	d.put(t, numbered("3"))
	want("written twice", false, "1")
	want("written twice", true, "3")
	third := d.putting(numbered("4"), "n = :three")
	third.Put.ExpressionAttributeValues = item{":three": num("3")}
	if err := d.transact(t, third); err != nil {
		t.Errorf("a condition sees what was written last: %v", err)
	}
	fresh()
	fresh()
	want("ended once of twice", false, "1")
	again()
	want("ended twice", false, "4")

	fresh = d.server.StaleReads()
	defer fresh()
	if _, err := d.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: d.table, Key: key("a", "b")}); err != nil {
		t.Fatal(err)
	}
	want("deleted", false, "4")
	want("deleted", true, "no item")
	d.table = aws.String(d.server.NewTable("later", "p", "s"))
	d.put(t, numbered("5"))
	want("a table that is newer", false, "no item")
	want("a table that is newer", true, "5")
}

// TestDynamoDBConcurrently is for the race detector.
func TestDynamoDBConcurrently(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				k := key("a", fmt.Sprint(j%4))
				for _, end := range []func(){d.server.StaleReads(), d.server.CutDynamoDB(), d.server.Deny("dynamodb:Scan")} {
					defer end()
				}
				d.server.NewTable(fmt.Sprintf("t-%d-%d", i, j), "p")
				_, _ = d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: k})
				_, _ = d.Scan(t.Context(), &dynamodb.ScanInput{TableName: d.table})
				_ = d.transact(t, d.deleting(k, "attribute_exists(p)"))
			}
		})
	}
	wg.Wait()
	d.put(t, key("a", "b"))
	if got := d.get(t, key("a", "b"), false); got == nil {
		t.Error("all is lifted: the item is not there")
	}
}
