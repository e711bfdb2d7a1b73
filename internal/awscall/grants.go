package awscall

import "fmt"

// The bounds of grant tokens are of the AWS KMS API Reference, Decrypt.
const (
	maxGrantTokens = 10
	maxGrantToken  = 8192 // bytes
)

// CheckGrantTokens reports what is wrong with the grant tokens of a call of
// KMS. The error continues the name of what holds them, and does not repeat
// one.
func CheckGrantTokens(tokens []string) error {
	if len(tokens) > maxGrantTokens {
		return fmt.Errorf(" has %d tokens, want at most %d", len(tokens), maxGrantTokens)
	}
	for i, token := range tokens {
		if token == "" || len(token) > maxGrantToken {
			return fmt.Errorf("[%d] is %d bytes, want 1 to %d", i, len(token), maxGrantToken)
		}
	}
	return nil
}
