package branchkey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/optfn"
)

// maxID is the longest branch key id, in bytes: that of a partition key (Amazon
// DynamoDB Developer Guide, constraints), and what a message has room for.
const maxID = 2048

// StoreOptions configures a [Store]. [NewStore] copies the options, slices
// included: changing them afterwards has no effect.
type StoreOptions struct {
	// Table is the DynamoDB table, by its name or ARN. An ARN fixes the Region of
	// the calls, whatever the Region of the client. Required.
	Table string

	// LogicalName is the logical name of the key store, to which KMS binds every
	// branch key. It is the same for all clients of the key store, in all
	// languages, and for ever: also after the table was restored under another
	// name. It is often, and need not be, the name of the first table. Required.
	LogicalName string

	// KeyID is the ARN of the KMS key that the branch keys are encrypted under. An
	// alias is refused, because items name the key. The ARN of a multi-Region key
	// stands for all its relatives: an item may name any of them, and the calls go
	// to this one. Required, unless Discovery is set.
	KeyID string

	// Region is the Region of the calls to KMS if KeyID is a multi-Region key,
	// whose replica there is used. It does not affect other keys. Empty: the
	// Region in KeyID.
	Region string

	// Discovery reads branch keys under any key of the named accounts that an item
	// names, in place of KeyID. Create and Rotate need KeyID.
	Discovery kmskeyring.Discovery

	// GrantTokens are passed to KMS with every call, at most 10: a grant that was
	// made a moment ago works at once with its token.
	GrantTokens []string
}

// Store is a key store: branch keys in a DynamoDB table, each encrypted under a
// KMS key. It is not an [envelope.Keyring], so that nothing can be sealed under
// a branch key itself: see [New]. It remembers no branch key. It is safe for
// concurrent use. Make it with [NewStore].
type Store struct {
	ddb  DynamoDB
	kms  KMS
	opts StoreOptions

	tableRegion string           // of calls to DynamoDB; "" is the client's
	key         awsname.KeyARN   // that KMS calls name; zero with Discovery
	scope       awsname.KeyScope // Discovery

	ddbTransport, kmsTransport awscall.Transport

	draws atomic.Uint64 // of random values, for all keyrings over the store
}

// NewStore returns the key store that the options name. It makes no call: a
// table or key that does not exist shows at the first use.
//
// Several keyrings may share a Store.
func NewStore(ddb DynamoDB, kmsClient KMS, optFns ...func(*StoreOptions)) (*Store, error) {
	if c, ok := ddb.(*dynamodb.Client); ddb == nil || ok && c == nil {
		return nil, errors.New("branchkey: the DynamoDB client is nil: give one made by dynamodb.NewFromConfig")
	}
	if c, ok := kmsClient.(*kms.Client); kmsClient == nil || ok && c == nil {
		return nil, errors.New("branchkey: the KMS client is nil: give one made by kms.NewFromConfig")
	}
	var o StoreOptions
	if err := optfn.Apply(&o, optFns); err != nil {
		return nil, fmt.Errorf("branchkey: %w", err)
	}
	o.GrantTokens = slices.Clone(o.GrantTokens) // the functions may have kept &o
	o.Discovery.Accounts = slices.Clone(o.Discovery.Accounts)
	s := &Store{ddb: ddb, kms: kmsClient, opts: o, scope: awsname.KeyScope(o.Discovery)}
	if err := s.configureTable(); err != nil {
		return nil, err
	}
	if err := s.configureKey(); err != nil {
		return nil, err
	}
	if err := awscall.CheckGrantTokens(o.GrantTokens); err != nil {
		return nil, fmt.Errorf("branchkey: StoreOptions.GrantTokens%w", err)
	}
	return s, nil
}

func (s *Store) configureTable() error {
	table := s.opts.Table
	if table == "" {
		return errors.New("branchkey: StoreOptions.Table is empty: give the name or ARN of the key store's table")
	}
	if arn, err := awsname.ParseTableARN(table); err == nil {
		s.tableRegion = arn.Region
	} else if len(table) > 4 && table[:4] == "arn:" {
		return fmt.Errorf("branchkey: StoreOptions.Table %.300q: %w", table, err)
	} else if err := awsname.CheckTableName(table); err != nil {
		return fmt.Errorf("branchkey: StoreOptions.Table %.300q: %w", table, err)
	} else if c, ok := s.ddb.(*dynamodb.Client); ok && c.Options().Region == "" {
		return fmt.Errorf("branchkey: no Region for table %q: set the DynamoDB client's Region (AWS_REGION), or give the table's ARN", table)
	}
	switch {
	case s.opts.LogicalName == "":
		return errors.New("branchkey: StoreOptions.LogicalName is empty: give the logical name that the key store was created with, which may differ from the table's name")
	case !utf8.ValidString(s.opts.LogicalName):
		return errors.New("branchkey: StoreOptions.LogicalName is not UTF-8")
	}
	return nil
}

func (s *Store) configureKey() error {
	o := &s.opts
	if s.scope.Named() {
		if o.KeyID != "" || o.Region != "" {
			return errors.New("branchkey: StoreOptions.KeyID and StoreOptions.Region have no meaning with StoreOptions.Discovery, which takes the key that each item names: leave them out; Discovery has a Region of its own")
		}
		if err := s.scope.Check(); err != nil {
			return fmt.Errorf("branchkey: StoreOptions.Discovery%w", err)
		}
		return nil
	}
	if o.Region != "" && !awsname.IsRegion(o.Region) {
		return fmt.Errorf("branchkey: StoreOptions.Region is %q, want one like \"eu-west-1\"", o.Region)
	}
	if o.KeyID == "" {
		return errors.New("branchkey: StoreOptions.KeyID is empty: give the ARN of the KMS key that protects the key store (or StoreOptions.Discovery, to read only)")
	}
	key, err := awsname.ParseKeyARN(o.KeyID)
	switch {
	case err == nil && key.IsKey():
		s.key = key.In(o.Region)
		return nil
	case err == nil, awsname.IsAlias(o.KeyID):
		return fmt.Errorf("branchkey: StoreOptions.KeyID %q is an alias: items name the key itself, so give the key's ARN (aws kms describe-key --key-id %[1]s)", o.KeyID)
	}
	return fmt.Errorf("branchkey: StoreOptions.KeyID %.300q: want the ARN of a KMS key: %w", o.KeyID, err)
}

func (s *Store) usable() error {
	if s == nil || s.ddb == nil {
		return errors.New("branchkey: Store is nil or zero: make it with NewStore")
	}
	return nil
}

// checkID returns an error if id cannot be that of a branch key. The error
// continues a sentence about it.
func checkID(id string) error {
	switch {
	case id == "":
		return errors.New("is empty")
	case len(id) > maxID:
		return fmt.Errorf("is %d bytes, want at most %d", len(id), maxID)
	case !utf8.ValidString(id):
		return errors.New("is not UTF-8")
	}
	return nil
}

// The operations of DynamoDB and KMS.
const (
	opGetItem            = "GetItem"
	opTransactWriteItems = "TransactWriteItems"
	opDecrypt            = "Decrypt"
	opGenerate           = "GenerateDataKeyWithoutPlaintext"
	opReEncrypt          = "ReEncrypt"
)

func (s *Store) question(id, itemType string) question {
	return question{
		table: s.opts.Table, id: id, itemType: itemType, logical: s.opts.LogicalName,
		oneKey: !s.scope.Named(),
	}
}

// askDynamoDB makes one call of DynamoDB.
func (s *Store) askDynamoDB(ctx context.Context, q question, call func(context.Context, func(*dynamodb.Options)) error) error {
	tune := func(o *dynamodb.Options) {
		if s.tableRegion != "" {
			o.Region = s.tableRegion
		}
		o.ClientLogMode = awscall.LogMode(o.ClientLogMode)
		o.Retryer = awscall.Retryer(o.Retryer)
		o.HTTPClient = s.ddbTransport.Bounded(o.HTTPClient)
	}
	return awscall.Do(ctx,
		func(ctx context.Context) error { return call(ctx, tune) },
		func(err error) error { return classifyDynamoDB(q, err) })
}

// askKMS makes one call of KMS, in the Region of key.
func (s *Store) askKMS(ctx context.Context, q question, key awsname.KeyARN, call func(context.Context, func(*kms.Options)) error) error {
	tune := func(o *kms.Options) {
		o.Region = key.Region
		o.ClientLogMode = awscall.LogMode(o.ClientLogMode)
		o.Retryer = awscall.Retryer(o.Retryer)
		o.HTTPClient = s.kmsTransport.Bounded(o.HTTPClient)
	}
	return awscall.Do(ctx,
		func(ctx context.Context) error { return call(ctx, tune) },
		func(err error) error { return classifyKMS(q, err) })
}

// read returns the branch key of an item, encrypted form and all: see
// branchKeyOf.
func (s *Store) read(ctx context.Context, id, itemType string) (*envelope.DataKey, error) {
	q := s.question(id, itemType)
	it, err := s.findNew(ctx, q)
	if err != nil {
		return nil, err
	}
	return s.decrypt(ctx, q, it)
}

// findNew returns an item that may be new: a read is eventually consistent
// unless it says otherwise. The item is not decrypted, and so not
// authenticated.
func (s *Store) findNew(ctx context.Context, q question) (item, error) {
	it, found, err := s.find(ctx, q, false)
	if !found && err == nil {
		return s.findConsistently(ctx, q)
	}
	return it, err
}

// findConsistently is findNew with a consistent read only.
func (s *Store) findConsistently(ctx context.Context, q question) (item, error) {
	it, found, err := s.find(ctx, q, true)
	if !found && err == nil {
		err = q.notFound()
	}
	return it, err
}

func (s *Store) find(ctx context.Context, q question, consistent bool) (it item, found bool, err error) {
	attributes, err := s.get(ctx, q, consistent)
	if err != nil || len(attributes) == 0 {
		return item{}, false, err
	}
	it, err = s.parse(q, attributes)
	return it, true, err
}

// get reads an item. Without an item, the attributes are empty.
func (s *Store) get(ctx context.Context, q question, consistent bool) (map[string]types.AttributeValue, error) {
	q.op = opGetItem
	var out *dynamodb.GetItemOutput
	err := s.askDynamoDB(ctx, q, func(ctx context.Context, opt func(*dynamodb.Options)) (err error) {
		out, err = s.ddb.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &s.opts.Table, ConsistentRead: &consistent,
			Key: map[string]types.AttributeValue{
				attrID:   &types.AttributeValueMemberS{Value: q.id},
				attrType: &types.AttributeValueMemberS{Value: q.itemType},
			},
		}, opt)
		return err
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, q.badAnswer("it is empty")
	}
	return out.Item, nil
}

func (q question) notFound() error {
	if q.itemType == typeActive {
		return q.refused(errors.New("there is no such branch key"), "check the id and the name of the table, or create the branch key with branchkey.Store.Create")
	}
	return q.refused(errors.New("there is no such item, also by a consistent read"),
		"a version made in another Region arrives with the replication of the global table; one that was deleted must be restored from a backup of the table, because messages under it open with nothing else")
}

// decrypt returns the branch key of it.
func (s *Store) decrypt(ctx context.Context, q question, it item) (*envelope.DataKey, error) {
	keyARN := it.key.String()
	q = q.with(opDecrypt, keyARN)
	q.unknown = it.unknown
	var out *kms.DecryptOutput
	err := s.askKMS(ctx, q, it.key, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = s.kms.Decrypt(ctx, &kms.DecryptInput{
			// Without KeyId, KMS would use whatever key the ciphertext names.
			KeyId: &keyARN, CiphertextBlob: it.enc, EncryptionContext: it.context,
			GrantTokens: slices.Clone(s.opts.GrantTokens),
		}, opt)
		return err
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, q.badAnswer("it is empty")
	}
	defer clear(out.Plaintext)
	if got := aws.ToString(out.KeyId); got != keyARN {
		return nil, q.badAnswer(fmt.Sprintf("it is for key %q", awscall.Shorten(got)))
	}
	switch n := len(out.Plaintext); n {
	case branchKeySize:
		return branchKeyOf(q.id, it.version, out.Plaintext)
	case 0: // KMS encrypts 1 byte or more
		return nil, q.badAnswer("it has no plaintext")
	default:
		return nil, q.damaged("what was decrypted is %d bytes, want %d: %s", n, branchKeySize, restoreRemedy)
	}
}
