package awsname_test

import (
	"strings"
	"testing"

	"github.com/sealq/sealq/internal/awsname"
)

func TestTableNames(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/"
	for _, name := range []string{"abc", "Branch_Keys-1.x", strings.Repeat("x", 255)} {
		if err := awsname.CheckTableName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		got, err := awsname.ParseTableARN(arn + name)
		if err != nil || got.Region != "eu-central-1" || got.String() != arn+name {
			t.Errorf("%q: got %v and error %v", arn+name, got, err)
		}
	}
	for _, name := range []string{"", "ab", strings.Repeat("x", 256), "a b c", "abc/index/x", "é-keys", "arn:aws"} {
		if awsname.CheckTableName(name) == nil {
			t.Errorf("%q was taken for the name of a table", name)
		}
		if _, err := awsname.ParseTableARN(arn + name); err == nil {
			t.Errorf("%q was taken for the ARN of a table", arn+name)
		}
	}
	for _, bad := range []string{
		"", "keys", "arn:aws:kms:eu-central-1:111122223333:key/x", "arn:aws:dynamodb:eu-central-1:1111:table/keys",
		"arn:aws:dynamodb::111122223333:table/keys", "arn:aws:dynamodb:eu-central-1:111122223333:keys",
	} {
		if _, err := awsname.ParseTableARN(bad); err == nil {
			t.Errorf("%q was taken for the ARN of a table", bad)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("got %v, want an error that does not repeat the text", err)
		}
	}
}

func TestKeyScope(t *testing.T) {
	t.Parallel()
	scope := awsname.KeyScope{Partition: "aws", Region: "eu-west-1", Accounts: []string{"111122223333"}}
	if err := scope.Check(); err != nil || !scope.Named() || (awsname.KeyScope{}).Named() {
		t.Errorf("got %v", err)
	}
	for arn, want := range map[string]bool{
		"arn:aws:kms:eu-west-1:111122223333:key/1234abcd":                           true,
		"arn:aws:kms:eu-west-1:444455556666:key/1234abcd":                           false,
		"arn:aws:kms:us-east-1:111122223333:key/1234abcd":                           false,
		"arn:aws-cn:kms:eu-west-1:111122223333:key/1234abcd":                        false,
		"arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890": true,
		"arn:aws:kms:eu-west-1:111122223333:alias/orders":                           false,
	} {
		key, err := awsname.ParseKeyARN(arn)
		if err != nil {
			t.Fatal(err)
		}
		if got := scope.Holds(key); got != want {
			t.Errorf("%s: got %t, want %t", arn, got, want)
		}
	}
}
