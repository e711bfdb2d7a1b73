package branchkey

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/awsname"
)

// The attributes of an item (specification, branch-key-store.md). All but enc
// are the KMS encryption context of enc, and so is the key store's logical
// name, under a name that no item may have.
const (
	attrID         = "branch-key-id"
	attrType       = "type"
	attrVersion    = "version"
	attrEnc        = "enc"
	attrKMSARN     = "kms-arn"
	attrCreateTime = "create-time"
	attrHierarchy  = "hierarchy-version"
	attrCustom     = "aws-crypto-ec:" // and a name
	contextTable   = "tablename"
)

// The types of a branch key's items, beside [version.itemType].
const (
	typeActive = "branch:ACTIVE"
	typeBeacon = "beacon:ACTIVE"
)

// hierarchyVersion is the form of items that this package reads and writes.
const hierarchyVersion = "1"

// item is an item of a key store, as far as it can be verified without KMS.
type item struct {
	context map[string]string // the KMS encryption context of enc
	enc     []byte
	key     awsname.KeyARN // that enc is under
	version version
	unknown []string // attributes that the specification does not have
}

// parse verifies every attribute of the item that q asks for.
func (s *Store) parse(q question, attributes map[string]types.AttributeValue) (item, error) {
	it := item{context: map[string]string{contextTable: s.opts.LogicalName}}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		text, isText, wrong := "", false, ""
		switch a := attributes[name].(type) {
		case *types.AttributeValueMemberS:
			text, isText, wrong = a.Value, true, "S"
		case *types.AttributeValueMemberN:
			text, wrong = a.Value, "N"
		case *types.AttributeValueMemberB:
			if name == attrEnc {
				it.enc = a.Value
				continue
			}
			wrong = "B"
		default:
			wrong = strings.TrimPrefix(fmt.Sprintf("%T", a), "*types.AttributeValueMember")
		}
		switch name {
		case contextTable:
			return item{}, q.damaged("it has an attribute %q, which an item must not have: it is the name under which KMS gets the logical name of the key store", name)
		case attrEnc:
			return item{}, q.damaged("attribute %q has type %s, want B: %s", name, wrong, restoreRemedy)
		case attrHierarchy:
			if wrong != "N" {
				return item{}, q.damaged("attribute %q has type %s, want N: %s", name, wrong, restoreRemedy)
			}
		default:
			if !isText {
				return item{}, q.damaged("attribute %q has type %s, want S: an item has no attributes but those of its branch key; remove it if it was added, or %s", awscall.Shorten(name), wrong, restoreRemedy)
			}
		}
		it.context[name] = text
		if !known(name) {
			it.unknown = append(it.unknown, name)
		}
	}
	for _, name := range []string{attrID, attrType, attrKMSARN, attrCreateTime, attrHierarchy} {
		if _, ok := it.context[name]; !ok {
			return item{}, q.damaged("it has no attribute %q: %s", name, restoreRemedy)
		}
	}
	if v := it.context[attrHierarchy]; v != hierarchyVersion {
		return item{}, q.damaged("its %s is %q, and this release of sealq supports %s only: use a release that supports it, or a key store of %[1]s %[3]s", attrHierarchy, awscall.Shorten(v), hierarchyVersion)
	}
	if got := it.context[attrID]; got != q.id {
		return item{}, q.damaged("it is that of branch key %q", awscall.Shorten(got))
	}
	if got := it.context[attrType]; got != q.itemType {
		return item{}, q.damaged("it has the type %q", awscall.Shorten(got))
	}
	if len(it.enc) == 0 {
		return item{}, q.damaged("it has no %q, the encrypted branch key: %s", attrEnc, restoreRemedy)
	}
	if err := it.parseVersion(q); err != nil {
		return item{}, err
	}
	if err := s.admit(q, &it); err != nil {
		return item{}, err
	}
	return it, nil
}

// known reports whether the specification has the attribute.
func known(name string) bool {
	switch name {
	case attrID, attrType, attrVersion, attrEnc, attrKMSARN, attrCreateTime, attrHierarchy:
		return true
	}
	return strings.HasPrefix(name, attrCustom)
}

// parseVersion finds the version whose key enc is: a version item says so by
// its type, and the ACTIVE item by an attribute.
func (it *item) parseVersion(q question) error {
	name, named := it.context[attrVersion]
	if q.itemType != typeActive {
		if named {
			return q.damaged("it has the attribute %q, which only the item %q has: %s", attrVersion, typeActive, restoreRemedy)
		}
		name = q.itemType
	}
	v, ok := parseVersion(name)
	if !ok {
		return q.damaged("its version is %q, want %q and a UUID in lower case: %s", awscall.Shorten(name), versionPrefix, restoreRemedy)
	}
	it.version = v
	return nil
}

// admit finds the KMS key to ask. An item names it, and anyone who can write
// items could name one of their own.
func (s *Store) admit(q question, it *item) error {
	named, err := awsname.ParseKeyARN(it.context[attrKMSARN])
	switch {
	case err != nil || !named.IsKey():
		return q.damaged("its %s is not the ARN of a KMS key: %s", attrKMSARN, restoreRemedy)
	case s.scope.Named():
		if !s.scope.Holds(named) {
			return q.refused(fmt.Errorf("it is under the KMS key %q, which StoreOptions.Discovery does not name", named), "if the key is yours, add its account, or correct the Region")
		}
		it.key = named.In(s.scope.Region)
	case !named.SameKey(s.key):
		return q.refused(fmt.Errorf("it is under the KMS key %q, and not under %q, which is configured", named, s.key), "if the key is yours, configure its ARN; while a key store changes from one key to another, use branchkey.StoreOptions.Discovery")
	default:
		it.key = s.key
	}
	return nil
}
