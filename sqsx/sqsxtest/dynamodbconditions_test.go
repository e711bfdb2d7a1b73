package sqsxtest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// conditionItem is what the conditions of the tests are about.
func conditionItem() item {
	return item{
		"p": str("orders"), "s": str("branch:ACTIVE"),
		"enc": bin("\x01\x02"), "n": num("10"), "neg": num("-2.5"), "txt": str("abc"), "yes": &types.AttributeValueMemberBOOL{Value: true},
		"nil":  &types.AttributeValueMemberNULL{Value: true},
		"tags": &types.AttributeValueMemberSS{Value: []string{"a", "b"}}, "nums": &types.AttributeValueMemberNS{Value: []string{"1", "2"}},
		"l":              &types.AttributeValueMemberL{Value: []types.AttributeValue{str("x"), &types.AttributeValueMemberM{Value: item{"deep": num("7")}}}},
		"m":              &types.AttributeValueMemberM{Value: item{"leaf": str("y")}},
		"hyphenated-key": str("h"),
	}
}

// conditionValues are what the conditions of the tests may refer to.
var conditionValues = item{
	":abc": str("abc"), ":ab": str("ab"), ":b": str("b"), ":x": str("x"), ":y": str("y"), ":empty": str(""),
	":ten": num("1e1"), ":seven": num("7"), ":nine": num("9.999"), ":eleven": num("11"), ":neg": num("-2.50"), ":neg3": num("-3"), ":two": num("2"),
	":enc": bin("\x01\x02"), ":enc1": bin("\x01"), ":yes": &types.AttributeValueMemberBOOL{Value: true}, ":null": &types.AttributeValueMemberNULL{Value: true},
	":S": str("S"), ":N": str("N"), ":Q": str("Q"), ":tags": &types.AttributeValueMemberSS{Value: []string{"b", "a"}},
	":l": &types.AttributeValueMemberL{Value: []types.AttributeValue{str("x")}},
}

var conditionNames = map[string]string{"#h": "hyphenated-key", "#type": "type", "#l": "l", "#deep": "deep", "#empty": ""}

// check puts the item of the tests again if the condition holds. It passes the
// placeholders that the condition has in it, and no others.
func check(t *testing.T, d ddbTest, condition string) error {
	t.Helper()
	in := &dynamodb.PutItemInput{TableName: d.table, Item: conditionItem(), ConditionExpression: &condition}
	for name, value := range conditionValues {
		if mentions(condition, name) {
			if in.ExpressionAttributeValues == nil {
				in.ExpressionAttributeValues = item{}
			}
			in.ExpressionAttributeValues[name] = value
		}
	}
	for name, value := range conditionNames {
		if mentions(condition, name) {
			if in.ExpressionAttributeNames == nil {
				in.ExpressionAttributeNames = map[string]string{}
			}
			in.ExpressionAttributeNames[name] = value
		}
	}
	_, err := d.PutItem(t.Context(), in)
	return err
}

// mentions reports whether an expression has the placeholder in it.
func mentions(expression, placeholder string) bool {
	for {
		_, rest, ok := strings.Cut(expression, placeholder)
		if !ok {
			return false
		}
		if rest == "" || !strings.ContainsAny(rest[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") {
			return true
		}
		expression = rest
	}
}

func TestDynamoDBConditions(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	d.put(t, conditionItem())
	for condition, want := range map[string]bool{
		"attribute_exists(p)": true, "attribute_exists(gone)": false, "attribute_not_exists(gone)": true, "attribute_not_exists(enc)": false,
		"attribute_exists(#h)": true, "attribute_not_exists(#type)": true,
		"attribute_exists(m.leaf)": true, "attribute_exists(m.gone)": false, "attribute_exists(l[1].deep)": true, "attribute_exists(l[2])": false,
		"attribute_exists(#l[1].#deep)": true, "attribute_exists(txt[0])": false, "attribute_exists(txt.a)": false, "attribute_exists(l[99999999999])": false,

		"enc = :enc": true, "enc = :enc1": false, "enc <> :enc1": true, "enc = :abc": false, ":enc = enc": true,
		"txt = :abc": true, "n = :ten": true, "neg = :neg": true, "yes = :yes": true, "nil = :null": true, "tags = :tags": true, "l = :l": false, "l[0] = :x": true,
		"gone = :abc": false, "gone <> :abc": true, "NOT gone = :abc": true, "gone < :abc": false, "m.leaf = :y": true, "txt = s": false,

		"n < :eleven": true, "n < :ten": false, "n <= :ten": true, "n > :nine": true, "n >= :eleven": false, "neg < :nine": true, "neg > :neg3": true, "n > :neg3": true,
		"neg < :neg3": false, "txt < :b": true, "enc > :enc1": true, "txt < :ten": false, "l[1].deep >= :seven": true, "n > neg": true, "yes > n": false,

		"n BETWEEN :nine AND :eleven": true, "n BETWEEN :ten AND :ten": true, "n between :two and :nine": false, "txt BETWEEN :nine AND :eleven": false,
		"txt IN (:ab, :abc)": true, "txt in (:ab)": false, "gone IN (:ab)": false, "n IN (:abc, :ten)": true, "txt IN (gone, :ab)": false,

		"begins_with(txt, :ab)": true, "begins_with(txt, :b)": false, "begins_with(enc, :enc1)": true, "begins_with(n, :ab)": false, "begins_with(txt, :empty)": true, "begins_with(gone, :ab)": false,
		"contains(txt, :b)": true, "contains(tags, :b)": true, "contains(tags, :ab)": false, "contains(nums, :two)": true, "contains(l, :x)": true, "contains(n, :ten)": false, "contains(m, :y)": false,
		"attribute_type(txt, :S)": true, "attribute_type(n, :S)": false, "attribute_type(n, :N)": true, "attribute_type(gone, :N)": false,
		"size(txt) = :two": false, "size(enc) = :two": true, "size(l) = :two": true, "size(tags) >= :two": true, "size(m) < :two": true, "size(n) = :two": false, "size(gone) = :two": false,

		"attribute_exists(p) AND enc = :enc": true, "attribute_exists(p) and enc = :enc1": false, "enc = :enc1 OR txt = :abc": true, "enc = :enc1 or txt = :ab": false,
		// AND binds before OR, NOT before both.
		"txt = :abc OR txt = :ab AND enc = :enc1": true, "(txt = :abc OR txt = :ab) AND enc = :enc1": false,
		"NOT txt = :ab AND enc = :enc": true, "NOT (txt = :abc AND enc = :enc)": false, "NOT NOT txt = :abc": true, "not attribute_exists(gone)": true,
		"(enc = :enc)": true, " \t(\n attribute_exists ( p )\r)": true, "(txt = :abc) AND (enc = :enc)": true, "((txt = :abc) AND enc = :enc)": true,
	} {
		err := check(t, d, condition)
		if want {
			if err != nil {
				t.Errorf("%s: got %v, want that it holds", condition, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: holds, want that it does not", condition)
			continue
		}
		wantCode(t, err, "ConditionalCheckFailedException")
	}
}

// TestDynamoDBConditionOfNoItem: what a key store writes first.
func TestDynamoDBConditionOfNoItem(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	in := &dynamodb.PutItemInput{
		TableName: d.table, Item: key("a", "b"), ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		ConditionExpression: aws.String("attribute_exists(#key)"), ExpressionAttributeNames: map[string]string{"#key": "p"},
	}
	_, err := d.PutItem(t.Context(), in)
	if failed := wantType[*types.ConditionalCheckFailedException](t, err); failed != nil && failed.Item != nil {
		t.Errorf("got %v, want no item in the error", failed.Item)
	}
	in.ConditionExpression = aws.String("attribute_not_exists(#key)")
	if _, err := d.PutItem(t.Context(), in); err != nil {
		t.Errorf("attribute_not_exists: got %v, want success", err)
	}
	_, err = d.PutItem(t.Context(), in)
	if failed := wantType[*types.ConditionalCheckFailedException](t, err); failed != nil && len(failed.Item) != 2 {
		t.Errorf("got %v, want the item in the error", failed.Item)
	}
	in.ReturnValuesOnConditionCheckFailure = ""
	_, err = d.PutItem(t.Context(), in)
	if failed := wantType[*types.ConditionalCheckFailedException](t, err); failed != nil && failed.Item != nil {
		t.Errorf("got %v, want no item in the error: it was not asked for", failed.Item)
	}
	_, err = d.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: d.table, Key: key("a", "b"), ConditionExpression: aws.String("attribute_exists(gone)")})
	wantCode(t, err, "ConditionalCheckFailedException")
	if d.get(t, key("a", "b"), true) == nil {
		t.Error("the item is deleted although the condition does not hold")
	}
}

func TestDynamoDBRefusesConditions(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	d.put(t, conditionItem())
	repeated := func(n int) string { return strings.Repeat("attribute_exists(p) AND ", n) + "attribute_exists(p)" }
	for condition, want := range map[string]string{
		"": "The expression can not be empty", " ": "Syntax error", "p": "Syntax error", "p =": "Syntax error; token: \"<EOF>\"", "= :abc": "Syntax error", "p = = :abc": "Syntax error",
		"p = :abc p": "Syntax error; token: \"p\"", "p = :abc)": "Syntax error", "(p = :abc": "Syntax error", "p ! :abc": "Syntax error; token: \"!\"", "p = :abc AND": "Syntax error",
		"p-x = :abc": "Syntax error; token: \"-\"", "p = 'x'": "Syntax error", "1p = :abc": "Syntax error", "l[x] = :abc": "Syntax error", "l[-1] = :abc": "Syntax error", "l[0 = :abc": "Syntax error",
		"p BETWEEN :abc :abc": "Syntax error", "p IN :abc": "Syntax error", "p IN ()": "Syntax error", "m. = :abc": "Syntax error", "AND = :abc": "Syntax error", "NOT": "Syntax error", "é = :abc": "Syntax error",
		"p = :nowhere":                              "attribute value used in expression is not defined; attribute value: :nowhere",
		"#nowhere = :abc":                           "attribute name used in the document path is not defined; attribute name: #nowhere",
		"#empty = :abc":                             "an attribute name cannot be empty",
		"type = :abc":                               "Attribute name is a reserved keyword; reserved keyword: type",
		"m.Values = :abc":                           "reserved keyword: Values",
		"((p = :abc))":                              "redundant parentheses",
		"(p) = :abc":                                "does not support parentheses around one operand",
		"p = p":                                     "must be distinct from the remaining operands for this operator or function; operator: =, first operand: [p]",
		"l[0].x <> l[0].x":                          "first operand: [l, [0], x]",
		"begins_with(p, p)":                         "must be distinct",
		"length(p)":                                 "Invalid function name; function: length",
		"Size(p) = :ten":                            "Invalid function name; function: Size",
		"size(p)":                                   "not allowed to be used this way in an expression; function: size",
		"size(size(p)) = :ten":                      "not allowed to be used this way in an expression; function: size",
		"attribute_exists(p) = :yes":                "not allowed to be used this way in an expression; function: attribute_exists",
		":yes = attribute_exists(p)":                "not allowed to be used this way in an expression; function: attribute_exists",
		"attribute_exists(:abc)":                    "requires a document path; operator or function: attribute_exists",
		"attribute_exists(p, n)":                    "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of operands: 2",
		"begins_with(p)":                            "number of operands: 1",
		"begins_with(p, :ten)":                      "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
		"attribute_type(p, :ten)":                   "operator or function: attribute_type, operand type: N",
		"attribute_type(p, txt)":                    "operator or function: attribute_type, operand type: a document path",
		"attribute_type(p, :Q)":                     "Invalid attribute type name found; type: Q",
		"size(:ten) = :ten":                         "operator or function: size, operand type: N",
		"p < :yes":                                  "operator or function: <, operand type: BOOL",
		"p BETWEEN :tags AND :tags":                 "operator or function: BETWEEN, operand type: SS",
		"p BETWEEN :abc AND :ten":                   "requires same data type",
		"p BETWEEN :eleven AND :ten":                "upper bound to be greater than or equal to lower bound",
		"p IN (" + strings.Repeat("n,", 100) + "n)": "number of operands: 101",
		repeated(149) + " OR p = :abc OR p = :abc":  "too many operators; operator count: 303",
		strings.Repeat(" ", 4088) + "p = :abc ":     "Expression size has exceeded the maximum allowed size; expression size: 4097",
		strings.Repeat("(", 4096):                   "Syntax error",
		strings.Repeat("NOT ", 1024):                "Syntax error",
	} {
		wantInvalid(t, condition[:min(len(condition), 60)], check(t, d, condition), want)
	}
	for _, condition := range []string{repeated(149), "p IN (" + strings.Repeat("n,", 99) + "n) OR attribute_exists(p)", strings.Repeat(" ", 4077) + "attribute_exists(p)"} {
		if err := check(t, d, condition); err != nil {
			t.Errorf("%.60s: at the limit: %v", condition, err)
		}
	}
}

// TestDynamoDBPlaceholders: those that are unused or malformed are refused, as
// are placeholders without an expression.
func TestDynamoDBPlaceholders(t *testing.T) {
	t.Parallel()
	d := newDDB(t)
	exists := aws.String("attribute_not_exists(p)")
	for name, test := range map[string]struct {
		condition *string
		names     map[string]string
		values    item
		want      string
	}{
		"unused name":     {exists, map[string]string{"#b": "b", "#a": "a"}, nil, "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a, #b}"},
		"unused value":    {exists, nil, item{":a": str("a")}, "Value provided in ExpressionAttributeValues unused in expressions: keys: {:a}"},
		"malformed name":  {exists, map[string]string{"a": "a"}, nil, `ExpressionAttributeNames contains invalid key: Syntax error; key: "a"`},
		"malformed value": {exists, nil, item{":": str("a")}, `ExpressionAttributeValues contains invalid key: Syntax error; key: ":"`},
		"names alone":     {nil, map[string]string{"#a": "a"}, nil, "ExpressionAttributeNames can only be specified when using expressions"},
		"values alone":    {nil, nil, item{":a": str("a")}, "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null"},
		"no names":        {exists, map[string]string{}, nil, "ExpressionAttributeNames must not be empty"},
		"no values":       {exists, nil, item{}, "ExpressionAttributeValues must not be empty"},
		"a bad value":     {aws.String("p = :a"), nil, item{":a": num("x")}, "ExpressionAttributeValues contains invalid value: The parameter cannot be converted"},
	} {
		_, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: key("a", "b"), ConditionExpression: test.condition, ExpressionAttributeNames: test.names, ExpressionAttributeValues: test.values})
		wantInvalid(t, name, err, test.want)
	}
	if got := d.get(t, key("a", "b"), true); got != nil {
		t.Errorf("got %v after requests that were refused, want no item", got)
	}
	_, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: d.table, Item: key("a", "b"), ReturnValuesOnConditionCheckFailure: "SOME"})
	wantInvalid(t, "ReturnValuesOnConditionCheckFailure", err, `does not support ReturnValuesOnConditionCheckFailure "SOME"`)
}

// FuzzDynamoDBCondition: whatever the condition, the answer is that it holds,
// that it does not, or that it is invalid.
func FuzzDynamoDBCondition(f *testing.F) {
	d := newDDB(f)
	d.put(f, conditionItem())
	for _, condition := range []string{
		"attribute_not_exists(#h)", "attribute_exists(p) AND enc = :enc", "NOT (n BETWEEN :ten AND :ten OR txt IN (:ab, :abc))", "size(l[1].#deep) >= :ten",
		"contains(tags, :b)", "begins_with ( txt , :ab )", "((p = :abc))", "(p) = :abc", "attribute_type(m.leaf, :S) and not gone <> :x", "l[99999999999999999999] = :x",
	} {
		f.Add(condition)
	}
	f.Fuzz(func(t *testing.T, condition string) {
		err := check(t, d, condition)
		if err == nil || strings.Contains(err.Error(), "ConditionalCheckFailedException") || strings.Contains(err.Error(), "ValidationException") {
			return
		}
		t.Errorf("%q: got %v", condition, err)
	})
}
