package kmskeyring

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/optfn"
)

// ProviderID is the [envelope.EncryptedDataKey.ProviderID] of AWS KMS, as all
// AWS Encryption SDKs write it.
const ProviderID = "aws-kms"

// maxCiphertext is the longest ciphertext that KMS decrypts, in bytes (AWS KMS
// API Reference, Decrypt). A longer one is refused without a call.
const maxCiphertext = 6144

// Keyring wraps data keys with an AWS KMS key. It is safe for concurrent use.
// Make it with [New].
type Keyring struct {
	client Client
	opts   Options

	form   keyForm
	keyID  string           // as given to KMS; "" with Discovery
	arn    awsname.KeyARN   // of keyID, if that is an ARN
	region string           // of calls with keyID; "" is the client's
	named  []awsname.KeyARN // the keys that the configuration names by ARN

	resolver *resolver // of keyID, if it is not a key ARN; else nil

	// lastARN is the key that KMS last used for keyID: a refusal does not say
	// which key it is about, and is taken to be about this one.
	lastARN atomic.Pointer[awsname.KeyARN]

	dryRuns atomic.Bool // KMS has understood one

	verdicts verdicts // of encrypted data keys

	transport awscall.Transport
}

var (
	_ envelope.Wrapper        = (*Keyring)(nil)
	_ envelope.Purger         = (*Keyring)(nil)
	_ envelope.DecryptChecker = (*Keyring)(nil)
)

// New returns a keyring that generates and wraps data keys with the key that
// keyID names: a key ID, key ARN, alias ("alias/orders") or alias ARN. With
// [Options.Discovery] keyID is empty, and the keyring decrypts only.
//
// No call is made: a key that does not exist, or may not be used, shows at the
// first use.
func New(client Client, keyID string, optFns ...func(*Options)) (*Keyring, error) {
	if c, ok := client.(*kms.Client); client == nil || ok && c == nil {
		return nil, errors.New("kmskeyring: client is nil: give one made by kms.NewFromConfig")
	}
	// This package does not use AES-GCM, but an error here is better than one at
	// the first message.
	if fips140.Enforced() {
		return nil, errors.New("kmskeyring: GODEBUG=fips140=only refuses AES-GCM with the nonces that the message format prescribes; use fips140=on or off")
	}
	var o Options
	if err := optfn.Apply(&o, optFns); err != nil {
		return nil, fmt.Errorf("kmskeyring: %w", err)
	}
	k := &Keyring{client: client, opts: o.clone()} // the functions may have kept &o
	k.verdicts.budget.PerSecond, k.verdicts.budget.Burst = failuresPerSecond, failureBurst
	if err := k.opts.check(); err != nil {
		return nil, err
	}
	var err error
	if k.named, err = k.opts.decryptKeys(); err != nil {
		return nil, err
	}
	if k.opts.Discovery.used() {
		err = k.discover(keyID)
	} else {
		err = k.configure(keyID)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Keyring) discover(keyID string) error {
	if keyID != "" {
		return fmt.Errorf("kmskeyring: key ID %q together with Options.Discovery: a discovery keyring decrypts only and has no key of its own", keyID)
	}
	if k.opts.StrictAlias || k.opts.Region != "" {
		return errors.New("kmskeyring: Options.StrictAlias and Options.Region have no meaning with Options.Discovery: leave them out; Discovery has a Region of its own")
	}
	return k.opts.Discovery.check()
}

func (k *Keyring) configure(keyID string) error {
	var err error
	if k.form, k.arn, err = parseKeyID(keyID); err != nil {
		return err
	}
	if k.opts.StrictAlias && !k.form.alias() {
		return fmt.Errorf("kmskeyring: Options.StrictAlias with key ID %q, which is not an alias: leave it out, since only an alias can move to another key", keyID)
	}
	switch k.form {
	case formKeyARN:
		k.arn = k.arn.In(k.opts.Region)
		k.keyID, k.region = k.arn.String(), k.arn.Region
		k.named = append(k.named, k.arn)
		return nil
	case formAliasARN:
		k.keyID, k.region = keyID, k.arn.Region
	default:
		k.keyID, k.region = keyID, k.opts.Region
		if c, ok := k.client.(*kms.Client); ok && k.region == "" && c.Options().Region == "" {
			return fmt.Errorf("kmskeyring: no Region for key ID %q: set the client's Region (AWS_REGION), or give the key's ARN", keyID)
		}
	}
	k.resolver = &resolver{period: k.opts.AliasPeriod, fetch: k.describe, now: time.Now}
	return nil
}

// GenerateDataKey implements [envelope.Keyring] by one call of KMS.
func (k *Keyring) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.canEncrypt(); err != nil {
		return nil, err
	}
	var out *kms.GenerateDataKeyOutput
	q := k.sealQuestion(opGenerateDataKey)
	err := k.ask(ctx, q, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = k.client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
			KeyId: &k.keyID, NumberOfBytes: aws.Int32(envelope.DataKeySize),
			EncryptionContext: maps.Clone(ec), GrantTokens: slices.Clone(k.opts.GrantTokens),
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
	entry, err := k.entry(q, out.KeyId, out.CiphertextBlob)
	if err != nil {
		return nil, err
	}
	if len(out.Plaintext) != envelope.DataKeySize {
		return nil, q.badAnswer(fmt.Sprintf("the data key is %d bytes, want %d", len(out.Plaintext), envelope.DataKeySize))
	}
	return envelope.NewDataKey(out.Plaintext, entry)
}

// WrapDataKey implements [envelope.Wrapper] by one Encrypt call of KMS.
func (k *Keyring) WrapDataKey(ctx context.Context, key *envelope.DataKey, ec envelope.EncryptionContext) (envelope.EncryptedDataKey, error) {
	if err := k.canEncrypt(); err != nil {
		return envelope.EncryptedDataKey{}, err
	}
	plaintext := key.Plaintext()
	if len(plaintext) == 0 {
		// The SDK refuses to send it, which would look like an outage.
		return envelope.EncryptedDataKey{}, errors.New("kmskeyring: no data key to wrap: it is nil or was not made by envelope.NewDataKey")
	}
	defer clear(plaintext)
	var out *kms.EncryptOutput
	q := k.sealQuestion(opEncrypt)
	err := k.ask(ctx, q, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = k.client.Encrypt(ctx, &kms.EncryptInput{
			KeyId: &k.keyID, Plaintext: plaintext,
			EncryptionContext: maps.Clone(ec), GrantTokens: slices.Clone(k.opts.GrantTokens),
		}, opt)
		return err
	})
	if err != nil {
		return envelope.EncryptedDataKey{}, err
	}
	if out == nil {
		return envelope.EncryptedDataKey{}, q.badAnswer("it is empty")
	}
	return k.entry(q, out.KeyId, out.CiphertextBlob)
}

func (k *Keyring) usable() error {
	if k == nil || k.client == nil {
		return errors.New("kmskeyring: keyring is nil or zero: make it with New")
	}
	return nil
}

func (k *Keyring) canEncrypt() error {
	if err := k.usable(); err != nil {
		return err
	}
	if k.form == formNone {
		return errors.New("kmskeyring: a keyring made with Options.Discovery decrypts only: to seal, make one with a key ID")
	}
	return nil
}

// entry makes an encrypted data key of what KMS returned for the configured
// key, after checking it.
func (k *Keyring) entry(q question, keyID *string, blob []byte) (envelope.EncryptedDataKey, error) {
	got, err := awsname.ParseKeyARN(aws.ToString(keyID))
	ok := err == nil && got.IsKey() && (k.region == "" || got.Region == k.region)
	switch k.form {
	case formKeyARN:
		ok = ok && got == k.arn
	case formAliasARN:
		ok = ok && got.Partition == k.arn.Partition && got.Account == k.arn.Account
	case formKeyID:
		ok = ok && got.KeyID() == k.keyID
	}
	if !ok {
		return envelope.EncryptedDataKey{}, q.badAnswer(fmt.Sprintf("it is for key %q", awscall.Shorten(aws.ToString(keyID))))
	}
	if len(blob) < 1 || len(blob) > maxCiphertext {
		return envelope.EncryptedDataKey{}, q.badAnswer(fmt.Sprintf("the encrypted data key is %d bytes, want 1 to %d", len(blob), maxCiphertext))
	}
	k.lastARN.Store(&got)
	return envelope.EncryptedDataKey{ProviderID: ProviderID, ProviderInfo: []byte(got.String()), Ciphertext: blob}, nil
}

func (k *Keyring) sealQuestion(op operation) question {
	return question{op: op, keyID: k.keyID, region: k.region, keyInfo: k.lastKeyInfo(), sealOnly: k.form.alias(), configured: true}
}

// lastKeyInfo is the best guess at which key a refusal of keyID is about. It is
// wrong if an alias has moved since the last success. Without a guess, a
// disabled key would stay in use for sealing under every other encryption
// context. The guess is not used for opening: a refusal to seal under a broken
// new key would stop the messages under the healthy old one.
func (k *Keyring) lastKeyInfo() string {
	if k.form == formKeyARN {
		return k.keyID
	}
	if last := k.lastARN.Load(); last != nil {
		return last.String()
	}
	return ""
}

// Purge forgets which key an alias or a bare key ID stands for: the next
// message that needs it asks KMS again, and so does one that waits for an
// answer now. It also forgets which encrypted data keys KMS did not decrypt.
// See [envelope.Purger].
func (k *Keyring) Purge() {
	if k == nil {
		return
	}
	k.verdicts.forget()
	if k.resolver != nil {
		k.resolver.forget()
	}
}
