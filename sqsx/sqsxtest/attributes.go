package sqsxtest

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a message, from the SQS developer guide's "Amazon SQS message
// quotas".
const (
	maxMessageBytes   = 1 << 20 // body and attributes; also the sum over a batch, and the top of MaximumMessageSize
	maxAttributes     = 10
	maxAttributeChars = 256 // of a name, and of a type
	maxIDChars        = 128 // MessageDeduplicationId, MessageGroupId, ReceiveRequestAttemptId
	maxNumberDigits   = 38  // significant digits of a Number
)

// attributeValue is a message attribute on the wire.
type attributeValue struct {
	DataType         string   `json:",omitempty"`
	StringValue      *string  `json:",omitempty"`
	BinaryValue      []byte   `json:",omitempty"`
	StringListValues []string `json:",omitempty"`
	BinaryListValues [][]byte `json:",omitempty"`
}

func (v attributeValue) isBinary() bool { return baseType(v.DataType) == "Binary" }

// bytes is the value as it counts for sizes and digests: of a Binary attribute
// the raw bytes, not base64.
func (v attributeValue) bytes() []byte {
	if v.isBinary() {
		return v.BinaryValue
	}
	if v.StringValue == nil {
		return nil
	}
	return []byte(*v.StringValue)
}

func (v attributeValue) size() int {
	if v.isBinary() || v.StringValue == nil {
		return len(v.DataType) + len(v.BinaryValue)
	}
	return len(v.DataType) + len(*v.StringValue)
}

// baseType is the part of a type before its custom label: "Number" of
// "Number.float".
func baseType(dataType string) string {
	base, _, _ := strings.Cut(dataType, ".")
	return base
}

// attributesMD5 is the digest that SQS computes over attributes, and clients
// compare: names in order; name, type and value each with a 4-byte length;
// before the value 1 for text and 2 for Binary. It is empty if there are none.
func attributesMD5(attributes map[string]attributeValue) string {
	if len(attributes) == 0 {
		return ""
	}
	h := md5.New()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[name]
		writeSized(h, []byte(name))
		writeSized(h, []byte(v.DataType))
		if v.isBinary() {
			h.Write([]byte{2})
		} else {
			h.Write([]byte{1})
		}
		writeSized(h, v.bytes())
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writeSized(h hash.Hash, b []byte) {
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
	h.Write(b)
}

func textMD5(s string) string {
	h := md5.New()
	_, _ = io.WriteString(h, s)
	return hex.EncodeToString(h.Sum(nil))
}

// checkAttributes returns the refusal of the first attribute, by name, that SQS
// would refuse.
func checkAttributes(attributes map[string]attributeValue) error {
	if n := len(attributes); n > maxAttributes {
		return refusal("InvalidParameterValue", "Number of message attributes [%d] exceeds the allowed maximum [%d].", n, maxAttributes)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if err := checkAttributeName(name); err != nil {
			return err
		}
		if err := checkAttributeValue("user", name, attributes[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkAttributeName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case name == "":
		return refusal("InvalidParameterValue", "The message attribute name must not be empty.")
	case len(name) > maxAttributeChars:
		return refusal("InvalidParameterValue", "Length of message attribute name must be less than or equal to %d bytes; got %d.", maxAttributeChars, len(name))
	case strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon."):
		return refusal("InvalidParameterValue", "Message attribute name %q is invalid: names that start with AWS. or Amazon. are reserved.", name)
	case strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, ".."):
		return refusal("InvalidParameterValue", "Message attribute name %q is invalid: it starts or ends with a period, or has two in a row.", name)
	case strings.ContainsFunc(name, notAttributeNameRune):
		return refusal("InvalidParameterValue", "Message attribute name %q is invalid: it can only contain letters, digits, underscores, hyphens and periods.", name)
	}
	return nil
}

// notAttributeNameRune takes letters and digits for Unicode's: the developer
// guide has A-Z, a-z and 0-9, and the service also takes "attr.1øßä".
func notAttributeNameRune(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' && r != '.'
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// checkAttributeValue checks an attribute of a kind, "user" or "system".
func checkAttributeValue(kind, name string, v attributeValue) error {
	bad := func(reason string) error {
		return refusal("InvalidParameterValue", "Message (%s) attribute '%s' %s.", kind, name, reason)
	}
	switch {
	case v.DataType == "":
		return bad("must contain a non-empty type")
	case len(v.DataType) > maxAttributeChars:
		return bad("must have a type of at most " + strconv.Itoa(maxAttributeChars) + " bytes")
	case !legalText(v.DataType):
		return bad("has a type with invalid characters")
	case v.StringListValues != nil || v.BinaryListValues != nil:
		return refusal("UnsupportedOperation", "Message attribute list values are not supported.")
	}
	switch base := baseType(v.DataType); base {
	case "Binary":
		if len(v.BinaryValue) == 0 || v.StringValue != nil {
			return bad("must contain a non-empty value of type 'Binary'")
		}
	case "String", "Number":
		if v.StringValue == nil || *v.StringValue == "" || v.BinaryValue != nil {
			return bad("must contain a non-empty value of type '" + base + "'")
		}
		if !legalText(*v.StringValue) {
			// Of a body, the code is InvalidMessageContents.
			return bad("has a value with invalid characters")
		}
		if base == "Number" && !isNumber(*v.StringValue) {
			return bad("must contain a value that is a number")
		}
	default:
		return bad("must have a type that starts with String, Binary or Number")
	}
	return nil
}

// isNumber follows the developer guide: up to 38 digits of precision, between
// -10^128 and 10^126.
func isNumber(s string) bool {
	if strings.Trim(s, "0123456789.+-eE") != "" {
		return false // hexadecimal, infinities and underscores, which ParseFloat takes
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < -1e128 || f > 1e126 {
		return false
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(s), "e")
	digits := strings.Trim(strings.Replace(strings.TrimLeft(mantissa, "+-"), ".", "", 1), "0")
	return len(digits) <= maxNumberDigits
}

// legalText reports whether s has only the characters that SQS takes, which are
// those of XML 1.0.
func legalText(s string) bool {
	for i, r := range s {
		switch {
		case r == 0x9 || r == 0xA || r == 0xD || 0x20 <= r && r <= 0xD7FF || 0xE000 <= r && r <= 0xFFFC || 0x10000 <= r:
		case r == utf8.RuneError:
			// U+FFFD itself is legal; the decoder also returns it for bytes that are not
			// UTF-8.
			if _, width := utf8.DecodeRuneInString(s[i:]); width == 1 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func illegalText() error {
	return refusal("InvalidMessageContents", "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF")
}

// checkID checks a MessageGroupId, a MessageDeduplicationId or a
// ReceiveRequestAttemptId.
func checkID(parameter, id string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' }
	if id == "" || len(id) > maxIDChars || strings.ContainsFunc(id, bad) {
		return refusal("InvalidParameterValue", "Value %s for parameter %s is invalid. Reason: %s can only include alphanumeric and punctuation characters. 1 to %d in length.", id, parameter, parameter, maxIDChars)
	}
	return nil
}

// nameSet is what a receive asks for.
type nameSet struct {
	all      bool
	names    map[string]bool
	prefixes []string
}

// attributeNames understands All, .*, *, exact names and prefix.*
func attributeNames(names []string) nameSet {
	set := nameSet{names: make(map[string]bool, len(names))}
	for _, n := range names {
		if n == "All" || n == ".*" || n == "*" {
			set.all = true
		} else if prefix, ok := strings.CutSuffix(n, ".*"); ok {
			set.prefixes = append(set.prefixes, prefix)
		} else {
			set.names[n] = true
		}
	}
	return set
}

func (s nameSet) has(name string) bool {
	return s.all || s.names[name] || slices.ContainsFunc(s.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

func (s nameSet) pick(attributes map[string]attributeValue) map[string]attributeValue {
	if s.all {
		return attributes
	}
	var out map[string]attributeValue
	for name, v := range attributes {
		if s.has(name) {
			if out == nil {
				out = make(map[string]attributeValue)
			}
			out[name] = v
		}
	}
	return out
}
