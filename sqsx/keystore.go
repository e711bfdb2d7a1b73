package sqsx

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
)

// KeyStore names a branch key in a key store: a DynamoDB table whose branch
// keys an AWS KMS key protects. Package branchkey describes both. Each field is
// required, except that exactly one of BranchKeyID and BranchKeyIDs is set.
// An error may call a field by its name in branchkey.StoreOptions.
type KeyStore struct {
	// Table is the name of the table, or its ARN.
	Table string

	// LogicalName is the logical name that the key store was created with. KMS
	// authenticates it with every branch key, so that all programs must use the
	// same one. It is often the table's name; a table that was restored from a
	// backup under another name keeps its logical name.
	LogicalName string

	// BranchKeyID is the branch key that messages are sealed and opened under.
	BranchKeyID string

	// KeyID is the ARN of the KMS key that protects the key store's branch keys.
	// An alias is an error: items of the table name the key. The ARN of a
	// multi-Region key stands for all its relatives.
	KeyID string

	// BranchKeyIDs chooses the branch key of each message, for a branch key for
	// each tenant or queue. binding is the name that the message is bound to, when
	// it is sealed and when it is opened: the ARN of a queue or an SNS topic, or
	// the name of Policy.LogicalQueue. It is empty for a message that is bound to
	// no queue. When a message is opened under Policy.NoBinding, binding is the
	// name in that message, which its sender chose.
	//
	// It must return the same branch key for the same name at all times, also for
	// names in Policy.AcceptQueues and AcceptTopics, or messages do not open. If
	// it returns "", the message is not sealed, or withheld. It must be safe for
	// concurrent use, and fast: every message calls it.
	BranchKeyIDs func(binding string) string
}

// NewFromKeyStore returns a Sealer whose data keys are wrapped by branch keys,
// so that AWS KMS is called for branch keys only: calls grow with the number of
// processes, and not with producers times consumers times queues, as those of
// [NewFromConfig] do. All processes, also those that only send, need the
// permissions dynamodb:GetItem on the table and kms:Decrypt with the key:
// everyone who can seal can open.
//
// It makes its own clients of DynamoDB and KMS from cfg (see [Options.DynamoDB]
// and [Options.KMS]) and makes no call before the first message. The key store
// and its branch key must exist: see package branchkey. Call [Sealer.Check] to
// find missing permissions at start.
//
// With [Options.KMSKeyring].DecryptKeys or its Discovery, the Sealer also opens
// messages with data keys of AWS KMS, which NewFromConfig seals.
// [Options.OpenKeyStore] is for the other direction. Its GrantTokens and Region
// apply to the key of the key store as well.
//
// [Options.Cache] configures the cache of branch keys, and that of data keys of
// AWS KMS if there is one. MaxMessages has no effect: each message has a data
// key of its own.
func NewFromKeyStore(cfg aws.Config, store KeyStore, optFns ...func(*Options)) (*Sealer, error) {
	o, err := applyOptions(Options{Region: cfg.Region}, optFns)
	if err != nil {
		return nil, err
	}
	return newFromKeyStore(cfg, store, "", o, nil)
}

// newFromKeyStore is NewFromKeyStore. keyID names a KMS key whose data keys are
// opened, beside those of DecryptKeys; empty: none.
func newFromKeyStore(cfg aws.Config, store KeyStore, keyID string, o Options, switches []policySwitch) (*Sealer, error) {
	if o.OpenKeyStore != nil {
		return nil, &ConfigError{errors.New("sqsx: Options.OpenKeyStore is for a Sealer that seals with data keys of AWS KMS, and this one seals under branch keys: leave it unset, and name all branch keys in one KeyStore")}
	}
	client := kms.NewFromConfig(cfg, o.KMS...)
	branch, err := store.keyring(cfg, client, &o)
	if err != nil {
		return nil, &ConfigError{err}
	}
	reader, err := kmsReader(client, keyID, &o)
	if err != nil {
		return nil, &ConfigError{err}
	}
	if reader == nil {
		return newSealer(branch, true, o, switches)
	}
	return newSealer(&mixedSource{seals: branch, branch: branch, kms: reader}, true, o, switches)
}

// keyring returns the keyring of the branch key, with a cache.
func (s KeyStore) keyring(cfg aws.Config, client *kms.Client, o *Options) (*branchkey.Keyring, error) {
	for _, field := range []struct{ name, value, want string }{
		{"Table", s.Table, "the name or the ARN of the DynamoDB table"},
		{"LogicalName", s.LogicalName, "the logical name that the key store was created with"},
		{"KeyID", s.KeyID, "the ARN of the KMS key that protects it"},
	} {
		if field.value == "" {
			return nil, fmt.Errorf("sqsx: KeyStore.%s is empty, want %s", field.name, field.want)
		}
	}
	switch {
	case s.BranchKeyID == "" && s.BranchKeyIDs == nil:
		return nil, errors.New("sqsx: KeyStore.BranchKeyID is empty, want the ID of the branch key to seal and open under, or a function in BranchKeyIDs")
	case s.BranchKeyID != "" && s.BranchKeyIDs != nil:
		return nil, errors.New("sqsx: KeyStore.BranchKeyID and BranchKeyIDs are both set: name one branch key, or choose one for each message")
	}
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg, o.DynamoDB...), client, func(so *branchkey.StoreOptions) {
		so.Table, so.LogicalName, so.KeyID = s.Table, s.LogicalName, s.KeyID
		so.Region, so.GrantTokens = o.KMSKeyring.Region, o.KMSKeyring.GrantTokens
	})
	if err != nil {
		return nil, err
	}
	return branchkey.New(store, s.BranchKeyID, func(bo *branchkey.Options) {
		bo.Cache = o.Cache
		if s.BranchKeyIDs != nil {
			bo.BranchKeyIDs = s.branchKeyID
		}
	})
}

// branchKeyID returns the branch key of a message by its encryption context. An
// error is no fault of the message: the function may not know the name yet.
func (s KeyStore) branchKeyID(ec envelope.EncryptionContext) (string, error) {
	binding := ec[queueKey]
	id := s.BranchKeyIDs(binding)
	if id == "" {
		return "", advise("make the function know this name, or find out who sends messages that are bound to it",
			"sqsx: KeyStore.BranchKeyIDs returned no branch key for %.400q", binding)
	}
	return id, nil
}

// kmsReader returns a Source that opens data keys of AWS KMS, or nil if the
// options name no key for it. keyID is a further key; empty: none.
func kmsReader(client *kms.Client, keyID string, o *Options) (cache.Source, error) {
	ko := o.KMSKeyring
	if keyID == "" && (ko.StrictAlias || ko.AliasPeriod != 0) {
		return nil, errors.New("sqsx: Options.KMSKeyring.StrictAlias and AliasPeriod are for a key that an alias names, and no alias is configured: leave them unset")
	}
	if discovers := !reflect.ValueOf(ko.Discovery).IsZero(); keyID == "" && !discovers {
		if len(ko.DecryptKeys) == 0 {
			return nil, nil
		}
		// The keyring needs a key to seal with, and seals nothing.
		keyID = ko.DecryptKeys[0]
	}
	return kmsSource(client, keyID, o)
}

// kmsSource returns a Source of data keys of AWS KMS.
func kmsSource(client *kms.Client, keyID string, o *Options) (cache.Source, error) {
	kr, err := kmskeyring.New(client, keyID, func(ko *kmskeyring.Options) { *ko = o.KMSKeyring })
	if err != nil {
		return nil, err
	}
	return cache.New(kr, func(co *cache.Options) { *co = o.Cache })
}
