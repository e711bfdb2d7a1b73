package awsname

import (
	"errors"
	"strings"
)

// The bounds of a table's name, in characters (Amazon DynamoDB API Reference,
// CreateTable).
const (
	minTableName = 3
	maxTableName = 255

	tablePrefix = "table/"
)

// CheckTableName applies the rules of CreateTable.
func CheckTableName(name string) error {
	switch {
	case len(name) < minTableName || len(name) > maxTableName:
		return errors.New("a table name has 3 to 255 characters")
	case !only(name, letters+digits+"_-."):
		return errors.New("a table name has letters, digits, \"_\", \"-\" and \".\" only")
	}
	return nil
}

// ParseTableARN reads the ARN of a DynamoDB table. String of the result returns
// s. An error does not repeat s.
func ParseTableARN(s string) (ARN, error) {
	a, err := parseARN(s, "dynamodb")
	if err == errNotARN {
		return ARN{}, errors.New("not the ARN of a DynamoDB table (arn:partition:dynamodb:region:account:table/name)")
	}
	if err != nil {
		return ARN{}, err
	}
	name, ok := strings.CutPrefix(a.Resource, tablePrefix)
	if !ok {
		return ARN{}, errors.New("not the ARN of a table (arn:partition:dynamodb:region:account:table/name)")
	}
	if err := CheckTableName(name); err != nil {
		return ARN{}, err
	}
	return a, nil
}
