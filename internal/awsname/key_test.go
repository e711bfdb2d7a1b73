package awsname_test

import (
	"strings"
	"testing"

	"github.com/sealq/sealq/internal/awsname"
)

func TestParseKeyARN(t *testing.T) {
	t.Parallel()
	const prefix = "arn:aws:kms:us-east-1:111122223333:"
	for s, want := range map[string]bool{
		prefix + "key/1234abcd-12ab-34cd-56ef-1234567890ab":                    true,
		prefix + "key/mrk-1234abcd12ab34cd56ef1234567890ab":                    true,
		prefix + "key/custom-id":                                               true, // as emulators allow
		prefix + "alias/orders":                                                true,
		prefix + "alias/team/orders:v2_A-b":                                    true,
		"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/a":                  true,
		"arn:" + strings.Repeat("p", 32) + ":kms:us-east-1:111122223333:key/a": true,
		"arn:" + strings.Repeat("p", 33) + ":kms:us-east-1:111122223333:key/a": false,
		"arn:aws:kms:" + strings.Repeat("r", 32) + ":111122223333:key/a":       true,
		"arn:aws:kms:" + strings.Repeat("r", 33) + ":111122223333:key/a":       false,
		prefix + "key/" + strings.Repeat("k", 128):                             true,
		prefix + "key/" + strings.Repeat("k", 129):                             false,
		prefix + "alias/" + strings.Repeat("a", 250):                           true,
		prefix + "alias/" + strings.Repeat("a", 251):                           false,
		prefix + "key/" + strings.Repeat("k", 2048-len(prefix)-4):              false,
		prefix + "key/" + strings.Repeat("k", 2049-len(prefix)-4):              false,
		"":                                   false,
		"arn:":                               false,
		"arn:aws:kms:us-east-1:111122223333": false,
		"arn:aws:sqs:us-east-1:111122223333:key/a":         false,
		"arn:aws:kms:us-east-1:11112222333:key/a":          false,
		"arn:aws:kms:us-east-1:1111222233334:key/a":        false,
		"arn:aws:kms:us-east-1:11112222333x:key/a":         false,
		"arn:aws:kms::111122223333:key/a":                  false,
		"arn::kms:us-east-1:111122223333:key/a":            false,
		"arn:AWS:kms:us-east-1:111122223333:key/a":         false,
		"ARN:aws:kms:us-east-1:111122223333:key/a":         false,
		" " + prefix + "key/a":                             false,
		prefix + "key/a\n":                                 false,
		prefix + "key/a b":                                 false,
		prefix + "key/a:b":                                 false,
		prefix + "key/a/b":                                 false,
		prefix + "key/é":                                   false,
		prefix + "key/":                                    false,
		prefix + "key":                                     false,
		prefix + "alias/":                                  false,
		prefix + "alias/a\x00":                             false,
		prefix + "grant/a":                                 false,
		prefix:                                             false,
		"arn:aws:kms:us-east-1:111122223333:KEY/a":         false,
		"arn:aws:kms:us-east-1\r\nX: y:111122223333:key/a": false,
	} {
		got, err := awsname.ParseKeyARN(s)
		if (err == nil) != want || err == nil && got.String() != s {
			t.Errorf("%q: got %q and error %v, want valid: %v", s, got, err, want)
		}
		if err != nil && len(s) > 20 && strings.Contains(err.Error(), s) {
			t.Errorf("%q: the error repeats it: %v", s, err)
		}
	}
}

// FuzzParseKeyARN: what is accepted comes back byte for byte, is short, and is
// plain ASCII with nothing that a log or a terminal could take for its own.
func FuzzParseKeyARN(f *testing.F) {
	for _, s := range []string{
		"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		"arn:aws-cn:kms:cn-north-1:111122223333:alias/a/b:c",
		"arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
		"alias/orders", "arn:::::", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := awsname.ParseKeyARN(s)
		if err != nil {
			return
		}
		if got.String() != s {
			t.Errorf("%q came back as %q", s, got)
		}
		if len(s) > 512 {
			t.Errorf("accepted %d bytes", len(s))
		}
		if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }); i >= 0 {
			t.Errorf("accepted %q with %q", s, s[i])
		}
		if isKey := got.IsKey(); isKey != strings.Contains(s, ":key/") && !strings.Contains(s, ":alias/") {
			t.Errorf("%q is a key: %v", s, isKey)
		}
	})
}
