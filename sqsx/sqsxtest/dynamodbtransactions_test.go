package sqsxtest_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"
)

// wantType fails the test unless err has an error of that type, and returns it.
func wantType[E error](t *testing.T, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Errorf("got %v, want a %T", err, e)
	}
	return e
}

func (d ddbTest) transact(t *testing.T, items ...types.TransactWriteItem) error {
	t.Helper()
	_, err := d.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: items})
	return err
}

func (d ddbTest) putting(it item, condition string) types.TransactWriteItem {
	put := &types.Put{TableName: d.table, Item: it}
	if condition != "" {
		put.ConditionExpression = &condition
	}
	return types.TransactWriteItem{Put: put}
}

func (d ddbTest) deleting(k item, condition string) types.TransactWriteItem {
	del := &types.Delete{TableName: d.table, Key: k}
	if condition != "" {
		del.ConditionExpression = &condition
	}
	return types.TransactWriteItem{Delete: del}
}

func (d ddbTest) checking(k item, condition string) types.TransactWriteItem {
	return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: d.table, Key: k, ConditionExpression: &condition}}
}

// wantReasons fails the test unless err is a TransactionCanceledException with
// these codes.
func wantReasons(t *testing.T, err error, want ...string) []types.CancellationReason {
	t.Helper()
	cancelled := wantType[*types.TransactionCanceledException](t, err)
	if cancelled == nil {
		return nil
	}
	var got []string
	for _, r := range cancelled.CancellationReasons {
		got = append(got, aws.ToString(r.Code))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got reasons %q, want %q", got, want)
	}
	if text := "[" + strings.Join(want, ", ") + "]"; !strings.Contains(cancelled.ErrorMessage(), text) {
		t.Errorf("got message %q, want one with %q", cancelled.ErrorMessage(), text)
	}
	return cancelled.CancellationReasons
}

func TestDynamoDBTransaction(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	active := key("orders", "branch:ACTIVE")
	active["enc"] = bin("old")
	if err := d.transact(t,
		d.putting(active, "attribute_not_exists(p)"),
		d.putting(key("orders", "branch:version:1"), "attribute_not_exists(p)"),
		d.deleting(key("orders", "absent"), ""),
	); err != nil {
		t.Fatal(err)
	}
	if d.get(t, key("orders", "branch:ACTIVE"), true) == nil || d.get(t, key("orders", "branch:version:1"), true) == nil {
		t.Error("the items of the transaction are not there")
	}

	// All or nothing: the first and the last item could be written.
	guarded := d.putting(key("orders", "branch:ACTIVE"), "attribute_exists(p) AND enc = :old")
	guarded.Put.ExpressionAttributeValues = item{":old": bin("another")}
	guarded.Put.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	err := d.transact(t,
		d.putting(key("orders", "branch:version:2"), "attribute_not_exists(p)"),
		guarded,
		d.deleting(key("orders", "branch:version:1"), ""),
		d.checking(key("orders", "nothing"), "attribute_exists(p)"),
	)
	reasons := wantReasons(t, err, "None", "ConditionalCheckFailed", "None", "ConditionalCheckFailed")
	if len(reasons) == 4 {
		if got := reasons[1].Item["enc"]; got == nil || string(got.(*types.AttributeValueMemberB).Value) != "old" {
			t.Errorf("got item %v, want the one that is stored", reasons[1].Item)
		}
		if reasons[3].Item != nil || aws.ToString(reasons[3].Message) != "The conditional request failed" || reasons[0].Message != nil {
			t.Errorf("got reasons %+v", reasons)
		}
	}
	if d.get(t, key("orders", "branch:version:2"), true) != nil || d.get(t, key("orders", "branch:version:1"), true) == nil {
		t.Error("a cancelled transaction has changed an item")
	}

	guarded.Put.ExpressionAttributeValues = item{":old": bin("old")}
	if err := d.transact(t, guarded, d.deleting(key("orders", "branch:version:1"), "attribute_exists(p)"), d.checking(key("orders", "nothing"), "attribute_not_exists(p)")); err != nil {
		t.Errorf("all conditions hold: %v", err)
	}
	if d.get(t, key("orders", "branch:version:1"), true) != nil || d.get(t, key("orders", "branch:ACTIVE"), true)["enc"] != nil || d.get(t, key("orders", "nothing"), true) != nil {
		t.Error("the transaction was not carried out as written")
	}
}

func TestDynamoDBRefusesTransactions(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	many := func(n int) []types.TransactWriteItem {
		var items []types.TransactWriteItem
		for i := range n {
			items = append(items, d.putting(key("many", strconv.Itoa(i)), ""))
		}
		return items
	}
	large := func(last int) []types.TransactWriteItem {
		const each = 400 << 10
		var items []types.TransactWriteItem
		for i := range 11 {
			it, size := key("large", strconv.Itoa(i+10)), each
			if i == 10 {
				size = last
			}
			it["v"] = str(strings.Repeat("x", size-len("plarges12v")))
			items = append(items, d.putting(it, ""))
		}
		return items
	}
	both := d.putting(key("a", "b"), "")
	both.Delete = d.deleting(key("a", "c"), "").Delete
	elsewhere := d.putting(key("a", "b"), "")
	elsewhere.Put.TableName = aws.String("absent")
	someCapacity := func(in *dynamodb.TransactWriteItemsInput) {
		in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	}
	for name, test := range map[string]struct {
		items []types.TransactWriteItem
		edit  func(*dynamodb.TransactWriteItemsInput)
		code  string
		want  string
	}{
		"none":                  {[]types.TransactWriteItem{}, nil, "ValidationException", "transactItems"},
		"100":                   {many(100), nil, "", ""},
		"101":                   {many(101), nil, "ValidationException", "length less than or equal to 100"},
		"4 MB":                  {large(4<<20 - 4000<<10), nil, "", ""},
		"4 MB and one byte":     {large(4<<20 - 4000<<10 + 1), nil, "ValidationException", "4194304 bytes"},
		"two of one":            {[]types.TransactWriteItem{both}, nil, "ValidationException", "can only contain one of"},
		"nothing":               {make([]types.TransactWriteItem, 1), nil, "ValidationException", "can only contain one of"},
		"one item twice":        {[]types.TransactWriteItem{d.putting(key("a", "b"), ""), d.deleting(key("a", "b"), "")}, nil, "ValidationException", "multiple operations on one item"},
		"checked and put":       {[]types.TransactWriteItem{d.checking(key("a", "b"), "attribute_exists(p)"), d.putting(key("a", "b"), "")}, nil, "ValidationException", "multiple operations on one item"},
		"no such table":         {[]types.TransactWriteItem{d.putting(key("a", "c"), ""), elsewhere}, nil, "ResourceNotFoundException", "not found"},
		"a bad condition":       {[]types.TransactWriteItem{d.putting(key("a", "b"), "p =")}, nil, "ValidationException", "Syntax error"},
		"an unused placeholder": {[]types.TransactWriteItem{{Put: &types.Put{TableName: d.table, Item: key("a", "b"), ConditionExpression: aws.String("attribute_exists(p)"), ExpressionAttributeValues: item{":x": str("x")}}}}, nil, "ValidationException", "unused in expressions"},
		"Update":                {[]types.TransactWriteItem{{Update: &types.Update{TableName: d.table, Key: key("a", "b"), UpdateExpression: aws.String("SET v = :v")}}}, nil, "ValidationException", "does not support Update in a transaction"},
		"consumed capacity":     {many(1), someCapacity, "ValidationException", `does not support ReturnConsumedCapacity "TOTAL"`},
		"a token of 37 characters": {many(1), func(in *dynamodb.TransactWriteItemsInput) {
			in.ClientRequestToken = aws.String(strings.Repeat("t", 37))
		}, "ValidationException", "clientRequestToken"},
		"a token of 36 characters": {many(1), func(in *dynamodb.TransactWriteItemsInput) {
			in.ClientRequestToken = aws.String(strings.Repeat("t", 36))
		}, "", ""},
	} {
		in := &dynamodb.TransactWriteItemsInput{TransactItems: test.items}
		if test.edit != nil {
			test.edit(in)
		}
		_, err := d.TransactWriteItems(t.Context(), in)
		wantCode(t, err, test.code)
		if test.code != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want a text with %q", name, err, test.want)
		}
	}
	if d.get(t, key("a", "b"), true) != nil || d.get(t, key("a", "c"), true) != nil {
		t.Error("a refused transaction has written an item")
	}

	// What is wrong with an item cancels the transaction.
	tooLarge := key("a", "b")
	tooLarge["v"] = str(strings.Repeat("x", 400<<10))
	err := d.transact(t, d.putting(key("a", "c"), ""), d.putting(tooLarge, ""), d.deleting(item{"p": str("a")}, ""), d.putting(key("", "x"), ""))
	reasons := wantReasons(t, err, "None", "ValidationError", "ValidationError", "ValidationError")
	if len(reasons) == 4 && (!strings.Contains(*reasons[1].Message, "Item size has exceeded") || !strings.Contains(*reasons[2].Message, "does not match the schema") || !strings.Contains(*reasons[3].Message, "empty string")) {
		t.Errorf("got reasons %q, %q, %q", *reasons[1].Message, *reasons[2].Message, *reasons[3].Message)
	}
	if d.get(t, key("a", "c"), true) != nil {
		t.Error("a cancelled transaction has written an item")
	}
}

// TestDynamoDBRequestToken: a transaction that is sent again with its token has
// no effect and succeeds, for ten minutes.
func TestDynamoDBRequestToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDDB(t)
		send := func(token string, it item) error {
			put := d.putting(it, "attribute_not_exists(p)")
			_, err := d.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{ClientRequestToken: &token, TransactItems: []types.TransactWriteItem{put}})
			return err
		}
		for i := range 3 { // the SDK writes the attributes in another order each time
			if err := send("one", key("a", "b")); err != nil {
				t.Fatalf("call %d: %v", i+1, err)
			}
		}
		wantCode(t, send("one", key("a", "c")), "IdempotentParameterMismatchException")
		wantReasons(t, send("two", key("a", "b")), "ConditionalCheckFailed")
		time.Sleep(10*time.Minute - time.Nanosecond)
		if err := send("one", key("a", "b")); err != nil {
			t.Errorf("just before ten minutes: %v", err)
		}
		time.Sleep(time.Nanosecond)
		wantReasons(t, send("one", key("a", "b")), "ConditionalCheckFailed")

		// One that was cancelled may be sent again, and has its effect.
		if _, err := d.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: d.table, Key: key("a", "b")}); err != nil {
			t.Fatal(err)
		}
		if err := send("two", key("a", "b")); err != nil {
			t.Error(err)
		}
		if d.get(t, key("a", "b"), true) == nil {
			t.Error("the second transaction with the token of a cancelled one wrote nothing")
		}
	})
}

// TestDynamoDBConcurrentRotations: of several rotations that start from one
// ACTIVE item, one succeeds, and its version item is there. No other item is.
func TestDynamoDBConcurrentRotations(t *testing.T) {
	t.Parallel()
	const writers, rounds = 8, 20
	d := newDDB(t)
	active := func(enc string) item {
		it := key("orders", "branch:ACTIVE")
		it["enc"] = bin(enc)
		return it
	}
	d.put(t, active("0"))
	current := "0"
	for round := range rounds {
		var mu sync.Mutex
		var won []string
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				next := fmt.Sprintf("%d-%d", round, w)
				guarded := d.putting(active(next), "enc = :old")
				guarded.Put.ExpressionAttributeValues = item{":old": bin(current)}
				err := d.transact(t, d.putting(key("orders", "branch:version:"+next), "attribute_not_exists(p)"), guarded)
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					won = append(won, next)
					return
				}
				wantReasons(t, err, "None", "ConditionalCheckFailed")
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d rotations succeeded, want 1", round, len(won))
		}
		current = won[0]
		if got := string(d.get(t, key("orders", "branch:ACTIVE"), true)["enc"].(*types.AttributeValueMemberB).Value); got != current {
			t.Fatalf("round %d: got ACTIVE %s, want that of the winner, %s", round, got, current)
		}
		if d.get(t, key("orders", "branch:version:"+current), true) == nil {
			t.Fatalf("round %d: the version item of the winner is missing", round)
		}
	}
	out, err := d.Query(t.Context(), &dynamodb.QueryInput{TableName: d.table, KeyConditionExpression: aws.String("p = :p AND begins_with(s, :v)"), ExpressionAttributeValues: item{":p": str("orders"), ":v": str("branch:version:")}})
	if err != nil || out.Count != rounds {
		t.Errorf("got %v, %v, want %d version items", out.Count, err, rounds)
	}
}

// TestDynamoDBIsWhatAMapWouldBe: random writes, with conditions and in
// transactions, have on a table the results that they have on a map.
func TestDynamoDBIsWhatAMapWouldBe(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	table := 0
	rapid.Check(t, func(rt *rapid.T) {
		table++
		d := d
		d.table = aws.String(d.server.NewTable(fmt.Sprint("model-", table), "p", "s"))
		model := make(map[string]string)
		names := rapid.SampledFrom([]string{"a", "b", "c"})
		value := rapid.SampledFrom([]string{"1", "2"})
		type write struct{ kind, name, value, condition, old string }
		draw := func(name string) write {
			return write{
				rapid.SampledFrom([]string{"put", "delete", "check"}).Draw(rt, "kind"), name, value.Draw(rt, "value"),
				rapid.SampledFrom([]string{"attribute_exists(v)", "attribute_not_exists(v)", "v = :old", "v <> :old", ""}).Draw(rt, "condition"), value.Draw(rt, "old"),
			}
		}
		holds := func(w write) bool {
			v, ok := model[w.name]
			switch w.condition {
			case "attribute_exists(v)":
				return ok
			case "attribute_not_exists(v)":
				return !ok
			case "v = :old":
				return ok && v == w.old
			case "v <> :old":
				return !ok || v != w.old
			}
			return true
		}
		apply := func(w write) {
			switch w.kind {
			case "put":
				model[w.name] = w.value
			case "delete":
				delete(model, w.name)
			}
		}
		guard := func(w write) (condition *string, values item) {
			if strings.Contains(w.condition, ":old") {
				values = item{":old": str(w.old)}
			}
			if w.condition != "" {
				condition = &w.condition
			}
			return condition, values
		}
		stored := func(w write) item {
			it := key("p", w.name)
			it["v"] = str(w.value)
			return it
		}
		for range rapid.IntRange(1, 12).Draw(rt, "requests") {
			if rapid.Bool().Draw(rt, "alone") {
				w := draw(names.Draw(rt, "name"))
				condition, values := guard(w)
				var err error
				switch w.kind {
				case "put":
					_, err = d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: stored(w), ConditionExpression: condition, ExpressionAttributeValues: values})
				default:
					w.kind = "delete"
					_, err = d.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: d.table, Key: key("p", w.name), ConditionExpression: condition, ExpressionAttributeValues: values})
				}
				if (err == nil) != holds(w) {
					rt.Fatalf("%+v: got %v, want that the condition holds: %v", w, err, holds(w))
				}
				if err == nil {
					apply(w)
				}
			} else {
				var writes []write
				for _, name := range []string{"a", "b", "c"} {
					if rapid.Bool().Draw(rt, "takes part") {
						writes = append(writes, draw(name))
					}
				}
				if len(writes) == 0 {
					continue
				}
				var items []types.TransactWriteItem
				all := true
				for i, w := range writes {
					if w.kind == "check" && w.condition == "" {
						w.condition = "attribute_exists(v)"
						writes[i] = w
					}
					condition, values := guard(w)
					switch w.kind {
					case "put":
						items = append(items, types.TransactWriteItem{Put: &types.Put{TableName: d.table, Item: stored(w), ConditionExpression: condition, ExpressionAttributeValues: values}})
					case "delete":
						items = append(items, types.TransactWriteItem{Delete: &types.Delete{TableName: d.table, Key: key("p", w.name), ConditionExpression: condition, ExpressionAttributeValues: values}})
					case "check":
						items = append(items, types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: d.table, Key: key("p", w.name), ConditionExpression: condition, ExpressionAttributeValues: values}})
					}
					all = all && holds(w)
				}
				if err := d.transact(t, items...); (err == nil) != all {
					rt.Fatalf("%+v: got %v, want that all conditions hold: %v", writes, err, all)
				}
				if all {
					for _, w := range writes {
						apply(w)
					}
				}
			}
			for _, name := range []string{"a", "b", "c"} {
				got := d.get(t, key("p", name), rapid.Bool().Draw(rt, "consistent"))
				want, ok := model[name]
				if (got != nil) != ok || ok && got["v"].(*types.AttributeValueMemberS).Value != want {
					rt.Fatalf("item %s: got %v, want %q, %v", name, got, want, ok)
				}
			}
		}
	})
}
