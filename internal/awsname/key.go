package awsname

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxKeyARN is the longest KeyId that KMS takes, in bytes (AWS KMS API
	// Reference, Decrypt).
	maxKeyARN = 2048

	// maxAlias is the longest alias, "alias/" included, in bytes (AWS KMS API
	// Reference, CreateAlias).
	maxAlias = 256

	// maxKeyID bounds the key ID in an ARN. IDs are a UUID of 36 bytes or "mrk-"
	// and 32 digits; emulators allow others.
	maxKeyID = 128

	keyPrefix = "key/"
	mrkPrefix = "mrk-"

	// AliasPrefix starts every alias.
	AliasPrefix = "alias/"

	// ReservedAliasPrefix starts the aliases of AWS managed keys.
	ReservedAliasPrefix = "alias/aws/"
)

// KeyARN is the ARN of a KMS key or alias. One key has one ARN, so that two of
// them can be compared by ==.
type KeyARN struct{ ARN }

// ParseKeyARN reads the ARN of a KMS key or alias. String of the result returns
// s. An error does not repeat s.
func ParseKeyARN(s string) (KeyARN, error) {
	if len(s) > maxKeyARN {
		return KeyARN{}, fmt.Errorf("key ARN is %d bytes, want at most %d", len(s), maxKeyARN)
	}
	arn, err := parseARN(s, "kms")
	switch {
	case err == errNotARN:
		return KeyARN{}, errors.New("not an ARN of a KMS key (arn:partition:kms:region:account:key/id)")
	case err != nil:
		return KeyARN{}, fmt.Errorf("key ARN %w", err)
	}
	a := KeyARN{arn}
	if a.IsKey() && isKeyID(a.KeyID()) || IsAlias(a.Resource) {
		return a, nil
	}
	return KeyARN{}, errors.New("key ARN names neither a key (key/...) nor an alias (alias/...)")
}

// IsKey reports whether a names a key, and not an alias.
func (a KeyARN) IsKey() bool { return strings.HasPrefix(a.Resource, keyPrefix) }

// KeyID returns the ID of the key that a names.
func (a KeyARN) KeyID() string { return strings.TrimPrefix(a.Resource, keyPrefix) }

// MultiRegion reports whether a names a multi-Region key.
func (a KeyARN) MultiRegion() bool { return a.IsKey() && strings.HasPrefix(a.KeyID(), mrkPrefix) }

// In returns the relative of a multi-Region key in region, and any other ARN as
// it is.
func (a KeyARN) In(region string) KeyARN {
	if a.MultiRegion() && region != "" {
		a.Region = region
	}
	return a
}

// SameKey reports whether a and b are one key, or relatives of one multi-Region
// key, which have one ID and one key material.
func (a KeyARN) SameKey(b KeyARN) bool { return a.IsKey() && a.In(b.Region) == b }

// Neighbour reports whether a and b are in one account and Region.
func (a KeyARN) Neighbour(b KeyARN) bool {
	return a.Partition == b.Partition && a.Region == b.Region && a.Account == b.Account
}

func isKeyID(s string) bool {
	return s != "" && len(s) <= maxKeyID && only(s, letters+digits+"-")
}

// IsAlias reports whether s is an alias, for example "alias/orders".
func IsAlias(s string) bool {
	name, ok := strings.CutPrefix(s, AliasPrefix)
	return ok && name != "" && len(s) <= maxAlias && only(name, letters+digits+":/_-")
}

// LooksLikeKeyID reports whether s is a key ID as KMS itself makes them: a
// UUID, or the ID of a multi-Region key. It tells a key ID from an alias whose
// prefix was forgotten.
func LooksLikeKeyID(s string) bool {
	const hexDigits = digits + "abcdefABCDEF"
	if id, ok := strings.CutPrefix(s, mrkPrefix); ok {
		return len(id) == 32 && only(id, hexDigits)
	}
	groups := strings.Split(s, "-")
	if len(s) != 36 || len(groups) != 5 {
		return false
	}
	for i, n := range [...]int{8, 4, 4, 4, 12} {
		if len(groups[i]) != n || !only(groups[i], hexDigits) {
			return false
		}
	}
	return true
}
