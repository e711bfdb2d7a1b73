package kmskeyring

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Tuner returns what a fresh keyring makes of a KMS client's HTTP client.
func Tuner(testing.TB) func(kms.HTTPClient) kms.HTTPClient {
	k := new(Keyring)
	return func(theirs kms.HTTPClient) kms.HTTPClient {
		o := kms.Options{HTTPClient: theirs}
		k.tune(&o, "")
		return o.HTTPClient
	}
}

// ParseARN returns what the parser makes of s: the same text, or an error.
func ParseARN(s string) (text string, isKey bool, err error) {
	a, err := parseARN(s)
	if err != nil {
		return "", false, err
	}
	return a.String(), a.isKey(), nil
}
