package awsname

import (
	"errors"
	"fmt"
	"slices"
)

// KeyScope names KMS keys by where they are.
type KeyScope struct {
	Partition string   // "aws", "aws-cn", "aws-us-gov", ...
	Region    string   // of the keys and of the calls
	Accounts  []string // of 12 digits each
}

// Named reports whether any field is set.
func (s KeyScope) Named() bool {
	return s.Partition != "" || s.Region != "" || len(s.Accounts) > 0
}

// Check reports what is wrong with s. The error continues the name of what
// holds s, by a dot and a field.
func (s KeyScope) Check() error {
	switch {
	case !IsPartition(s.Partition):
		return fmt.Errorf(".Partition is %q, want one like \"aws\"", s.Partition)
	case !IsRegion(s.Region):
		return fmt.Errorf(".Region is %q, want one like \"eu-west-1\"", s.Region)
	case len(s.Accounts) == 0:
		return errors.New(".Accounts is empty: name the accounts whose keys you trust")
	}
	for _, account := range s.Accounts {
		if !IsAccount(account) {
			return fmt.Errorf(".Accounts has %q, want accounts of %d digits", account, AccountLength)
		}
	}
	return nil
}

// Holds reports whether a key is in s: the key itself or, of a multi-Region
// key, its replica in s.Region.
func (s KeyScope) Holds(key KeyARN) bool {
	return key.IsKey() && key.Partition == s.Partition && key.In(s.Region).Region == s.Region && slices.Contains(s.Accounts, key.Account)
}
