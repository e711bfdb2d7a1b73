package sqsxtest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"
)

// ddbValue is an attribute value. It is never changed, so items may share it.
type ddbValue struct {
	kind    string // S, N, B, BOOL, NULL, M, L, SS, NS or BS
	text    string // of S; the bytes of B; N in its shortest decimal form
	flag    bool   // of BOOL
	members []ddbValue
	fields  ddbItem // of M
}

// ddbItem is an item, a key, or what a document holds: values by attribute
// name. It is never changed.
type ddbItem map[string]ddbValue

// UnmarshalJSON refuses what DynamoDB refuses of an item's values, with the
// service's errors.
func (item *ddbItem) UnmarshalJSON(text []byte) error {
	fields, err := ddbFields(text, 0)
	*item = fields
	return err
}

func ddbFields(text []byte, depth int) (ddbItem, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	if raw == nil { // null
		return nil, nil
	}
	fields := make(ddbItem, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if n := len(name); n < 1 || n > ddbMaxAttributeName {
			return nil, ddbInvalid("One or more parameter values were invalid: the name of an attribute has %d bytes, must have between 1 and %d", n, ddbMaxAttributeName)
		}
		v, err := ddbParse(raw[name], depth)
		if err != nil {
			return nil, err
		}
		fields[name] = v
	}
	return fields, nil
}

// ddbParse reads a value: an object whose one field is named after the type.
func ddbParse(text []byte, depth int) (ddbValue, error) {
	if depth >= ddbMaxNesting {
		return ddbValue{}, ddbInvalid("Nesting Levels have exceeded supported limits")
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return ddbValue{}, err
	}
	maps.DeleteFunc(raw, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	if len(raw) > 1 {
		return ddbValue{}, ddbInvalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
	}
	for kind, content := range raw {
		return ddbParseKind(kind, content, depth)
	}
	return ddbValue{}, ddbInvalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
}

func ddbParseKind(kind string, content []byte, depth int) (ddbValue, error) {
	v := ddbValue{kind: kind}
	var err error
	switch kind {
	case "S":
		err = json.Unmarshal(content, &v.text)
	case "N":
		if err = json.Unmarshal(content, &v.text); err == nil {
			v.text, err = ddbNumber(v.text)
		}
	case "B":
		var b []byte
		err = json.Unmarshal(content, &b)
		v.text = string(b)
	case "BOOL":
		err = json.Unmarshal(content, &v.flag)
	case "NULL":
		if err = json.Unmarshal(content, &v.flag); err == nil && !v.flag {
			err = ddbInvalid("One or more parameter values were invalid: Null attribute value types must have the value of true")
		}
	case "M":
		v.fields, err = ddbFields(content, depth+1)
	case "L":
		err = v.parseMembers(content, func(text []byte) (ddbValue, error) { return ddbParse(text, depth+1) })
	case "SS", "NS", "BS":
		err = v.parseSet(content)
	default:
		// No such type: as the service sees it, nothing is set.
		err = ddbInvalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	}
	return v, err
}

func (v *ddbValue) parseMembers(content []byte, parse func([]byte) (ddbValue, error)) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(content, &raw); err != nil {
		return err
	}
	v.members = make([]ddbValue, len(raw))
	for i, text := range raw {
		var err error
		if v.members[i], err = parse(text); err != nil {
			return err
		}
	}
	return nil
}

// parseSet reads a set. Its members are sorted, so that equal sets are equal
// values; the service keeps no order either.
func (v *ddbValue) parseSet(content []byte) error {
	of := strings.TrimSuffix(v.kind, "S")
	if err := v.parseMembers(content, func(text []byte) (ddbValue, error) { return ddbParseKind(of, text, 0) }); err != nil {
		return err
	}
	if len(v.members) == 0 {
		return ddbInvalid("One or more parameter values were invalid: An AttributeValue may not contain an empty set")
	}
	slices.SortFunc(v.members, ddbValue.compare)
	for i := range v.members[1:] {
		if v.members[i].text == v.members[i+1].text {
			return ddbInvalid("One or more parameter values were invalid: Input collection of type %s contains duplicates.", v.kind)
		}
	}
	return nil
}

// MarshalJSON is the value as the wire has it.
func (v ddbValue) MarshalJSON() ([]byte, error) {
	var content any
	switch v.kind {
	case "S", "N":
		content = v.text
	case "B":
		content = []byte(v.text)
	case "BOOL", "NULL":
		content = v.flag
	case "M":
		content = v.fields
	case "L":
		content = v.members
	default: // a set
		texts := make([]string, len(v.members))
		for i, m := range v.members {
			texts[i] = m.text
			if v.kind == "BS" {
				texts[i] = base64.StdEncoding.EncodeToString([]byte(m.text))
			}
		}
		content = texts
	}
	return json.Marshal(map[string]any{v.kind: content})
}

// equal compares as "=" does.
func (v ddbValue) equal(w ddbValue) bool {
	return v.kind == w.kind && v.text == w.text && v.flag == w.flag &&
		slices.EqualFunc(v.members, w.members, ddbValue.equal) && maps.EqualFunc(v.fields, w.fields, ddbValue.equal)
}

// ordered reports whether values of the kind can be less than one another.
func ddbOrdered(kind string) bool { return kind == "S" || kind == "N" || kind == "B" }

// compare orders two values of the same ordered kind: numbers by value, strings
// and binaries by their bytes.
func (v ddbValue) compare(w ddbValue) int {
	if v.kind != "N" {
		return strings.Compare(v.text, w.text)
	}
	a, b := v.text, w.text
	switch minusA, minusB := a[0] == '-', b[0] == '-'; {
	case minusA && minusB:
		a, b = b[1:], a[1:]
	case minusA:
		return -1
	case minusB:
		return 1
	}
	wholeA, restA, _ := strings.Cut(a, ".")
	wholeB, restB, _ := strings.Cut(b, ".")
	if len(wholeA) != len(wholeB) {
		return len(wholeA) - len(wholeB)
	}
	if wholeA != wholeB {
		return strings.Compare(wholeA, wholeB)
	}
	return strings.Compare(restA, restB) // neither ends in a zero
}

// size is what the value counts towards the size of an item: developer guide,
// "DynamoDB item sizes and formats".
func (v ddbValue) size() int {
	switch v.kind {
	case "S", "B":
		return len(v.text)
	case "N":
		digits := strings.Trim(strings.Replace(strings.TrimPrefix(v.text, "-"), ".", "", 1), "0")
		n := (len(digits)+1)/2 + 1
		if v.text[0] == '-' {
			n++
		}
		return n
	case "BOOL", "NULL":
		return 1
	case "M":
		return 3 + len(v.fields) + v.fields.size()
	}
	n := 0
	for _, m := range v.members {
		n += m.size()
	}
	if v.kind == "L" {
		n += 3 + len(v.members)
	}
	return n
}

func (item ddbItem) size() int {
	n := 0
	for name, v := range item {
		n += len(name) + v.size()
	}
	return n
}

// ddbNumber returns the decimal form of a number that the service returns for
// it: no exponent, no needless zeros.
func ddbNumber(text string) (string, error) {
	invalid := ddbInvalid("The parameter cannot be converted to a numeric value: %.100s", text)
	s, sign := text, ""
	switch {
	case strings.HasPrefix(s, "-"):
		s, sign = s[1:], "-"
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		power := s[i+1:]
		if digits := strings.TrimLeft(power, "+-"); len(power)-len(digits) > 1 || !ddbDigits(digits) {
			return "", invalid
		}
		var err error
		if exponent, err = strconv.Atoi(power); err != nil || exponent > 1e6 || exponent < -1e6 {
			// Far outside what a number can be, and far from overflowing an int.
			exponent = 1e6
			if power[0] == '-' {
				exponent = -1e6
			}
		}
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	all := whole + fraction
	if !ddbDigits(all) {
		return "", invalid
	}
	// The value is 0.digits times ten to the power of point.
	digits := strings.TrimLeft(all, "0")
	point := len(whole) + exponent - (len(all) - len(digits))
	digits = strings.TrimRight(digits, "0")
	switch magnitude := point - 1; {
	case digits == "":
		return "0", nil
	case magnitude > ddbMaxNumberMagnitude:
		return "", ddbInvalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
	case magnitude < ddbMinNumberMagnitude:
		return "", ddbInvalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
	case len(digits) > ddbMaxDigits:
		return "", ddbInvalid("Attempting to store more than %d significant digits in a Number", ddbMaxDigits)
	case point <= 0:
		return sign + "0." + strings.Repeat("0", -point) + digits, nil
	case point >= len(digits):
		return sign + digits + strings.Repeat("0", point-len(digits)), nil
	}
	return sign + digits[:point] + "." + digits[point:], nil
}

func ddbDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// ddbOperands are the values of ExpressionAttributeValues.
type ddbOperands map[string]ddbValue

// UnmarshalJSON is that of an item, and says in its errors where they are.
func (o *ddbOperands) UnmarshalJSON(text []byte) error {
	fields, err := ddbFields(text, 0)
	if refused, ok := err.(smithy.APIError); ok {
		return ddbInvalid("ExpressionAttributeValues contains invalid value: %s", refused.ErrorMessage())
	}
	*o = ddbOperands(fields)
	return err
}
