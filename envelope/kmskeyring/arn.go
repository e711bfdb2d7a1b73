package kmskeyring

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxARNLength is the longest KeyId that KMS takes, in bytes (AWS KMS API
	// Reference, Decrypt).
	maxARNLength = 2048

	// maxAliasLength is the longest alias, "alias/" included, in bytes (AWS KMS
	// API Reference, CreateAlias).
	maxAliasLength = 256

	// maxKeyIDLength bounds the key ID in an ARN. IDs are a UUID of 36 bytes or
	// "mrk-" and 32 digits; emulators allow others.
	maxKeyIDLength = 128

	// maxPartLength bounds a partition and a Region, of which the longest today
	// are shorter than 20 bytes.
	maxPartLength = 32

	accountLength = 12

	keyPrefix   = "key/"
	aliasPrefix = "alias/"
	mrkPrefix   = "mrk-"

	// reservedAliasPrefix starts the aliases of AWS managed keys.
	reservedAliasPrefix = "alias/aws/"
)

// keyARN is the ARN of a KMS key or alias. It is comparable: one key has one
// spelling.
type keyARN struct {
	partition, region, account string
	resource                   string // key/... or alias/...
}

var errNotKeyARN = errors.New("not an ARN of a KMS key (arn:partition:kms:region:account:key/id)")

// parseARN is strict, because ARNs come out of messages that anybody may write:
// what it returns is short and plain ASCII, and String gives s back.
func parseARN(s string) (keyARN, error) {
	if len(s) > maxARNLength {
		return keyARN{}, fmt.Errorf("key ARN is %d bytes, want at most %d", len(s), maxARNLength)
	}
	rest, ok := strings.CutPrefix(s, "arn:")
	if !ok {
		return keyARN{}, errNotKeyARN
	}
	// The resource is last and may hold colons: aliases do.
	parts := strings.SplitN(rest, ":", 5)
	if len(parts) != 5 || parts[1] != "kms" {
		return keyARN{}, errNotKeyARN
	}
	a := keyARN{partition: parts[0], region: parts[2], account: parts[3], resource: parts[4]}
	switch {
	case !validPart(a.partition):
		return keyARN{}, errors.New("key ARN has no valid partition")
	case !validPart(a.region):
		return keyARN{}, errors.New("key ARN has no valid Region")
	case !validAccount(a.account):
		return keyARN{}, fmt.Errorf("key ARN has no valid account, which is %d digits", accountLength)
	case a.isKey() && validKeyID(a.keyID()), validAlias(a.resource):
		return a, nil
	}
	return keyARN{}, errors.New("key ARN names neither a key (key/...) nor an alias (alias/...)")
}

func (a keyARN) String() string {
	return "arn:" + a.partition + ":kms:" + a.region + ":" + a.account + ":" + a.resource
}

func (a keyARN) isKey() bool       { return strings.HasPrefix(a.resource, keyPrefix) }
func (a keyARN) keyID() string     { return strings.TrimPrefix(a.resource, keyPrefix) }
func (a keyARN) multiRegion() bool { return a.isKey() && strings.HasPrefix(a.keyID(), mrkPrefix) }

// in returns the relative of a multi-Region key in region, and any other ARN as
// it is.
func (a keyARN) in(region string) keyARN {
	if a.multiRegion() && region != "" {
		a.region = region
	}
	return a
}

// sameKey reports whether a and b are one key, or relatives of one multi-Region
// key, which have one ID and one key material.
func (a keyARN) sameKey(b keyARN) bool { return a.isKey() && a.in(b.region) == b }

// neighbour reports whether a and b are in one account and Region.
func (a keyARN) neighbour(b keyARN) bool {
	return a.partition == b.partition && a.region == b.region && a.account == b.account
}

func validPart(s string) bool {
	return s != "" && len(s) <= maxPartLength && only(s, "abcdefghijklmnopqrstuvwxyz0123456789-")
}

func validAccount(s string) bool { return len(s) == accountLength && only(s, digits) }

func validKeyID(s string) bool {
	return s != "" && len(s) <= maxKeyIDLength && only(s, letters+digits+"-")
}

func validAlias(s string) bool {
	name, ok := strings.CutPrefix(s, aliasPrefix)
	return ok && name != "" && len(s) <= maxAliasLength && only(name, letters+digits+":/_-")
}

// looksLikeKeyID tells a key ID from an alias whose prefix was forgotten: KMS
// itself makes only UUIDs and multi-Region IDs.
func looksLikeKeyID(s string) bool {
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

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// only reports whether every byte of s is in set.
func only(s, set string) bool {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}
