package sqsx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx/internal/content"
)

// Limits of SQS on message attributes (SQS Developer Guide, message metadata).
const (
	maxAttributeName = 256 // bytes of a name, and of a type
	maxNumberDigits  = 38  // significant digits of a Number
)

// checkAttributes returns the error, with its code, that SQS would answer to
// attributes that are sealed: the messages must stay valid if the queue is no
// longer sealed. authenticated are the names on the wire that must arrive as
// written. Errors name no other attributes, because names are sealed too.
func checkAttributes(attributes map[string]types.MessageAttributeValue, authenticated []string) error {
	if n := len(attributes); n > content.MaxAttributes {
		return invalidParameter("number of message attributes %d exceeds the limit of %d: remove an attribute", n, content.MaxAttributes)
	}
	for i, name := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[name]
		if name == attributeName {
			return invalidParameter("message attribute name %q is reserved for the sealed message: if the message is sealed already, send it with a client that has no sealer; else rename the attribute", name)
		}
		if v.StringListValues != nil || v.BinaryListValues != nil {
			return &smithy.GenericAPIError{Code: "AWS.SimpleQueueService.UnsupportedOperation", Message: "message attribute list values are not supported", Fault: smithy.FaultClient}
		}
		err := checkAttributeName(name)
		if err == nil {
			err = checkAttributeValue(v)
		}
		if err != nil {
			return invalidParameter("message attribute %d of %d, sorted by name, %w", i+1, len(attributes), err)
		}
		if slices.Contains(authenticated, name) && baseType(v) == "Number" {
			return invalidParameter("message attribute %q is a Number, whose digits SQS changes on the way, and Policy.AuthenticateAttributes names it: send a String", name)
		}
	}
	return nil
}

func baseType(v types.MessageAttributeValue) string {
	base, _, _ := strings.Cut(aws.ToString(v.DataType), ".")
	return base
}

func checkAttributeName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case name == "":
		return errors.New("has no name")
	case len(name) > maxAttributeName:
		return fmt.Errorf("has a name of %d bytes, the limit is %d", len(name), maxAttributeName)
	case strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon."):
		return errors.New("has a name that starts with \"AWS.\" or \"Amazon.\", which are reserved")
	case strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, ".."):
		return errors.New("has a name that starts or ends with a period, or has two in a row")
	case strings.ContainsFunc(name, notNameRune) || !utf8.ValidString(name):
		return errors.New("has a name with something other than letters, digits, underscores, hyphens and periods")
	}
	return nil
}

// notNameRune takes letters and digits of every script, as SQS does. (The
// developer guide has A-Z, a-z and 0-9 only.)
func notNameRune(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' && r != '.'
}

func checkAttributeValue(v types.MessageAttributeValue) error {
	dataType, base := aws.ToString(v.DataType), baseType(v)
	switch {
	case len(dataType) > maxAttributeName || !isText(dataType) || base != "String" && base != "Number" && base != "Binary":
		return fmt.Errorf("must have a type that is String, Number or Binary, or one of them with a period and a label, of at most %d bytes", maxAttributeName)
	case base == "Binary":
		if len(v.BinaryValue) == 0 || v.StringValue != nil {
			return errors.New("must have a BinaryValue that is not empty, for its type, and no StringValue")
		}
	case aws.ToString(v.StringValue) == "" || v.BinaryValue != nil:
		return errors.New("must have a StringValue that is not empty, for its type, and no BinaryValue")
	case !isText(*v.StringValue):
		return errors.New("holds characters that SQS does not take: valid are #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and #x10000 to #x10FFFF")
	case base == "Number" && !isNumber(*v.StringValue):
		return fmt.Errorf("must hold a number of at most %d digits, from -10^128 to 10^126", maxNumberDigits)
	}
	return nil
}

// isText reports whether s has only characters that SQS accepts, those of XML
// 1.0.
func isText(s string) bool {
	for _, r := range s {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return utf8.ValidString(s)
}

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

func invalidParameter(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: fmt.Errorf(format, args...).Error(), Fault: smithy.FaultClient}
}
