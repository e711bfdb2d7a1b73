package branchkey

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awscall"
)

// createTimeLayout is how the official libraries write create-time.
const createTimeLayout = "2006-01-02T15:04:05.000000Z"

// Create makes a branch key and returns its first version, a UUID. id names it
// for ever, in every message: 1 to 2,048 bytes of UTF-8.
//
// The pairs of custom, the custom context of the branch key, are bound to it in
// KMS under their names with "aws-crypto-ec:" in front. They are in clear in
// the table, in requests to KMS and in its audit log. An id that is not a UUID
// needs at least one pair, as with the AWS Encryption SDKs. (An empty id is an
// error: where the SDKs would choose a UUID, give one.)
//
// It makes 3 calls of KMS and one transaction of DynamoDB, so that a failure
// leaves nothing behind. The error is [ErrConflict] if the branch key exists,
// and that of the class of its cause otherwise. After [envelope.ErrUnavailable]
// the branch key may exist: call Create again to find out.
func (s *Store) Create(ctx context.Context, id string, custom map[string]string) (version string, err error) {
	if err := s.canWrite(); err != nil {
		return "", err
	}
	if err := checkCustom(id, custom); err != nil {
		return "", err
	}
	common := map[string]string{
		contextTable:  s.opts.LogicalName,
		attrID:        id,
		attrKMSARN:    s.key.String(),
		attrHierarchy: hierarchyVersion,
	}
	for name, value := range custom {
		common[attrCustom+name] = value
	}
	n, err := s.newVersion(ctx, id, common)
	if err != nil {
		return "", err
	}
	// The beacon key is for searchable encryption of databases. The official
	// libraries make it with every branch key.
	beacon := with(n.version.context, attrType, typeBeacon)
	beaconKey, err := s.generate(ctx, s.question(id, typeBeacon), beacon)
	if err != nil {
		return "", err
	}
	const absent = "attribute_not_exists(#id)"
	err = s.write(ctx, s.question(id, ""), "the branch key exists already",
		s.put(n.version, absent, nil),
		s.put(n.active, absent, nil),
		s.put(newItem{beacon, beaconKey}, absent, nil))
	if err != nil {
		return "", err
	}
	return n.name.String(), nil
}

// Rotate makes a new version of a branch key, and returns it, a UUID. Producers
// use it from their next refresh on; what was sealed under earlier versions
// opens as before, so long as their items exist.
//
// Before it writes, it verifies the active item with KMS. It keeps the branch
// key's custom context and KMS key. It makes 3 calls of KMS, a consistent read
// and one transaction of DynamoDB, so that a failure leaves nothing behind. The
// error is [ErrConflict] if somebody else has rotated the branch key meanwhile,
// and that of the class of its cause otherwise. After [envelope.ErrUnavailable]
// the branch key may have been rotated.
func (s *Store) Rotate(ctx context.Context, id string) (version string, err error) {
	if err := s.canWrite(); err != nil {
		return "", err
	}
	if err := checkID(id); err != nil {
		return "", fmt.Errorf("branchkey: the branch key id %w", err)
	}
	q := s.question(id, typeActive)
	old, err := s.findConsistently(ctx, q)
	if err != nil {
		return "", err
	}
	q.unknown = old.unknown
	if _, err := s.reEncrypt(ctx, q, old.enc, old.context, old.context); err != nil {
		return "", err
	}
	common := maps.Clone(old.context)
	delete(common, attrVersion)
	n, err := s.newVersion(ctx, id, common)
	if err != nil {
		return "", err
	}
	err = s.write(ctx, s.question(id, ""), "another rotation has won",
		s.put(n.version, "attribute_not_exists(#id)", nil),
		s.put(n.active, "attribute_exists(#id) AND #enc = :old", old.enc))
	if err != nil {
		return "", err
	}
	return n.name.String(), nil
}

func (s *Store) canWrite() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.scope.Named() {
		return errors.New("branchkey: a Store with StoreOptions.Discovery only reads: to create and rotate, make one with StoreOptions.KeyID")
	}
	return nil
}

// checkCustom returns an error if a branch key cannot have that id and custom
// context. It names names, but no values.
func checkCustom(id string, custom map[string]string) error {
	if id == "" {
		return errors.New("branchkey: the branch key id is empty: give a new UUID, or a name and a custom context")
	}
	if err := checkID(id); err != nil {
		return fmt.Errorf("branchkey: the branch key id %w", err)
	}
	if _, isUUID := parseVersion(versionPrefix + id); !isUUID && len(custom) == 0 {
		return fmt.Errorf("branchkey: branch key id %.300q has no custom context: the key store's specification demands one for ids that are not UUIDs; give at least one pair, for example what the branch key is for", id)
	}
	for name, value := range custom {
		switch {
		case name == "" || !utf8.ValidString(name):
			return fmt.Errorf("branchkey: the custom context has the name %q, want UTF-8 that is not empty", name)
		case strings.HasPrefix(name, attrCustom):
			return fmt.Errorf("branchkey: the custom context has the name %q: leave out %q, which Create adds", name, attrCustom)
		case value == "" || !utf8.ValidString(value):
			return fmt.Errorf("branchkey: the value of %q in the custom context is empty or not UTF-8", name)
		}
	}
	return nil
}

// newItem is an item that is not written yet.
type newItem struct {
	context map[string]string
	enc     []byte
}

// newVersion is the two items of a version that is about to become active.
type newVersion struct {
	name            version
	version, active newItem
}

// newVersion makes a version. common is what its items have in common with all
// of the branch key.
func (s *Store) newVersion(ctx context.Context, id string, common map[string]string) (newVersion, error) {
	n := newVersion{name: newUUID()}
	common = with(common, attrCreateTime, time.Now().UTC().Format(createTimeLayout))
	n.version.context = with(common, attrType, n.name.itemType())
	n.active.context = with(with(common, attrType, typeActive), attrVersion, n.name.itemType())
	q := s.question(id, n.name.itemType())
	var err error
	if n.version.enc, err = s.generate(ctx, q, n.version.context); err != nil {
		return newVersion{}, err
	}
	// The same branch key, under the context of the other item.
	n.active.enc, err = s.reEncrypt(ctx, q, n.version.enc, n.version.context, n.active.context)
	return n, err
}

// newUUID returns a random UUID (version 4). DynamoDB makes sure that it is
// new.
func newUUID() version {
	var v version
	rand.Read(v[:])
	v[6] = v[6]&0x0f | 0x40
	v[8] = v[8]&0x3f | 0x80
	return v
}

// with returns a copy of pairs with one more.
func with(pairs map[string]string, name, value string) map[string]string {
	pairs = maps.Clone(pairs)
	pairs[name] = value
	return pairs
}

// generate has KMS make a branch key, which never leaves it in clear.
func (s *Store) generate(ctx context.Context, q question, ec map[string]string) ([]byte, error) {
	keyARN := s.key.String()
	q = q.with(opGenerate, keyARN)
	var out *kms.GenerateDataKeyWithoutPlaintextOutput
	err := s.askKMS(ctx, q, s.key, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = s.kms.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{
			KeyId: &keyARN, NumberOfBytes: aws.Int32(branchKeySize), EncryptionContext: maps.Clone(ec),
			GrantTokens: slices.Clone(s.opts.GrantTokens),
		}, opt)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case out == nil:
		return nil, q.badAnswer("it is empty")
	}
	return q.checkEncrypted(out.KeyId, out.CiphertextBlob)
}

// reEncrypt has KMS encrypt a branch key under another context.
func (s *Store) reEncrypt(ctx context.Context, q question, enc []byte, from, to map[string]string) ([]byte, error) {
	keyARN := s.key.String()
	q = q.with(opReEncrypt, keyARN)
	var out *kms.ReEncryptOutput
	err := s.askKMS(ctx, q, s.key, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = s.kms.ReEncrypt(ctx, &kms.ReEncryptInput{
			CiphertextBlob: bytes.Clone(enc),
			SourceKeyId:    &keyARN, SourceEncryptionContext: maps.Clone(from),
			DestinationKeyId: &keyARN, DestinationEncryptionContext: maps.Clone(to),
			GrantTokens: slices.Clone(s.opts.GrantTokens),
		}, opt)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case out == nil:
		return nil, q.badAnswer("it is empty")
	}
	return q.checkEncrypted(out.KeyId, out.CiphertextBlob)
}

// checkEncrypted returns what KMS encrypted, after checking the answer.
func (q question) checkEncrypted(keyID *string, blob []byte) ([]byte, error) {
	if got := aws.ToString(keyID); got != q.keyARN {
		return nil, q.badAnswer(fmt.Sprintf("it is for key %q", awscall.Shorten(got)))
	}
	if len(blob) == 0 {
		return nil, q.badAnswer("it has no ciphertext")
	}
	return blob, nil
}

// put writes an item under a condition. old is the value of ":old" in it.
func (s *Store) put(n newItem, condition string, old []byte) types.TransactWriteItem {
	attributes := map[string]types.AttributeValue{attrEnc: &types.AttributeValueMemberB{Value: n.enc}}
	for name, value := range n.context {
		switch name {
		case contextTable:
		case attrHierarchy:
			attributes[name] = &types.AttributeValueMemberN{Value: value}
		default:
			attributes[name] = &types.AttributeValueMemberS{Value: value}
		}
	}
	p := &types.Put{
		TableName: &s.opts.Table, Item: attributes, ConditionExpression: &condition,
		ExpressionAttributeNames: map[string]string{"#id": attrID},
	}
	if old != nil {
		p.ExpressionAttributeNames["#enc"] = attrEnc
		p.ExpressionAttributeValues = map[string]types.AttributeValue{":old": &types.AttributeValueMemberB{Value: old}}
	}
	return types.TransactWriteItem{Put: p}
}

// write writes all of the items, or none. unmet says what it means that a
// condition is not met.
func (s *Store) write(ctx context.Context, q question, unmet string, items ...types.TransactWriteItem) error {
	q.op = opTransactWriteItems
	err := s.askDynamoDB(ctx, q, func(ctx context.Context, opt func(*dynamodb.Options)) error {
		// The client adds a token, so that a second attempt does not write twice.
		_, err := s.ddb.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items}, opt)
		return err
	})
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok {
		return q.cancelled(cancelled, unmet)
	}
	if errors.Is(err, envelope.ErrUnavailable) {
		return fmt.Errorf("%w; it is not known whether the items were written", err)
	}
	return err
}

// cancelled is the error of a transaction that DynamoDB cancelled. Nothing was
// written.
func (q question) cancelled(err *types.TransactionCanceledException, unmet string) error {
	reason := func(codes ...string) bool {
		return slices.ContainsFunc(err.CancellationReasons, func(r types.CancellationReason) bool {
			return slices.Contains(codes, aws.ToString(r.Code))
		})
	}
	switch {
	case reason("ConditionalCheckFailed"):
		return fmt.Errorf("%w: %s: %s; nothing was written: %w", ErrConflict, q, unmet, err)
	case reason("TransactionConflict"):
		return fmt.Errorf("%w: %s: another call is writing the same items; nothing was written: %w", ErrConflict, q, err)
	case reason("ThrottlingError", "ProvisionedThroughputExceeded", "InternalServerError"):
		return q.unavailable(err, "nothing was written")
	}
	return q.refused(err, "nothing was written")
}
