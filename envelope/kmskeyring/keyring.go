package kmskeyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
)

// ProviderID is the [envelope.EncryptedDataKey.ProviderID] of AWS KMS, as all
// AWS Encryption SDKs write it.
const ProviderID = "aws-kms"

const (
	// maxCiphertext is the longest ciphertext that KMS decrypts, in bytes (AWS
	// KMS API Reference, Decrypt). A longer one is refused without a call.
	maxCiphertext = 6144

	// maxDecryptCalls bounds the calls that one message can cause. A message
	// has one usable entry in practice, and a few in a migration.
	maxDecryptCalls = 3
)

// Keyring wraps data keys with an AWS KMS key. It is safe for concurrent use.
// Make it with [New].
type Keyring struct {
	client Client
	opts   Options

	form   keyForm
	keyID  string   // as given to KMS; "" with Discovery
	arn    keyARN   // of keyID, if that is an ARN
	region string   // of calls with keyID; "" is the client's
	named  []keyARN // the keys that the configuration names by ARN

	resolver *resolver // of keyID, if it is not a key ARN; else nil

	// lastARN is the key that KMS last used for keyID. It is the reach of a
	// refusal, which does not say which key it is about.
	lastARN atomic.Pointer[keyARN]

	httpOnce sync.Once
	http     kms.HTTPClient
}

var (
	_ envelope.Wrapper = (*Keyring)(nil)
	_ envelope.Purger  = (*Keyring)(nil)
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
	// AES-GCM is not this package's, but a keyring that cannot seal anything is
	// better refused where it is configured than at the first message.
	if err := envelope.CheckFIPS(); err != nil {
		return nil, err
	}
	k := &Keyring{client: client}
	for _, fn := range optFns {
		fn(&k.opts)
	}
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
		return errors.New("kmskeyring: Options.StrictAlias and Options.Region have no meaning with Options.Discovery")
	}
	return k.opts.Discovery.check()
}

func (k *Keyring) configure(keyID string) error {
	var err error
	if k.form, k.arn, err = parseKeyID(keyID); err != nil {
		return err
	}
	if k.opts.StrictAlias && !k.form.alias() {
		return fmt.Errorf("kmskeyring: Options.StrictAlias with key ID %q, which is not an alias", keyID)
	}
	switch k.form {
	case formKeyARN:
		k.arn = k.arn.in(k.opts.Region)
		k.keyID, k.region = k.arn.String(), k.arn.region
		k.named = append(k.named, k.arn)
		return nil
	case formAliasARN:
		k.keyID, k.region = keyID, k.arn.region
	default:
		k.keyID, k.region = keyID, k.opts.Region
		if c, ok := k.client.(*kms.Client); ok && k.region == "" && c.Options().Region == "" {
			return fmt.Errorf("kmskeyring: no Region for key ID %q: set the client's Region (AWS_REGION), or give the key's ARN", keyID)
		}
	}
	k.resolver = &resolver{period: k.opts.AliasPeriod, fetch: k.describe}
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

// entry checks what KMS returned for the configured key and makes the
// encrypted data key of it.
func (k *Keyring) entry(q question, keyID *string, blob []byte) (envelope.EncryptedDataKey, error) {
	got, err := parseARN(aws.ToString(keyID))
	ok := err == nil && got.isKey() && (k.region == "" || got.region == k.region)
	switch k.form {
	case formKeyARN:
		ok = ok && got == k.arn
	case formAliasARN:
		ok = ok && got.partition == k.arn.partition && got.account == k.arn.account
	case formKeyID:
		ok = ok && got.keyID() == k.keyID
	}
	if !ok {
		return envelope.EncryptedDataKey{}, q.badAnswer(fmt.Sprintf("it is for key %q", shorten(aws.ToString(keyID))))
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
// wrong when an alias has moved since the last success. Guessing none would
// leave a disabled key in use for sealing, under every other encryption context.
// For opening the guess must not count: it would stop the messages of a healthy
// key each time that sealing under its broken successor is refused.
func (k *Keyring) lastKeyInfo() string {
	if k.form == formKeyARN {
		return k.keyID
	}
	if last := k.lastARN.Load(); last != nil {
		return last.String()
	}
	return ""
}

// DecryptDataKey implements [envelope.Keyring]. It makes at most 3 Decrypt
// calls, and may wait for DescribeKey, in calls that many messages share: see
// [Options.AliasPeriod] and [Options.StrictAlias].
func (k *Keyring) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	if err := callerEnded(ctx); err != nil {
		return nil, err
	}
	d := decryption{keyring: k, ec: ec}
	named, others := d.sort(edks)
	for _, next := range [...]func() []candidate{
		func() []candidate { return named },
		func() []candidate { return d.resolve(ctx, others) },
		func() []candidate { return d.follow(ctx) },
	} {
		if key, ok := d.try(ctx, next()); ok {
			return key, nil
		}
		// The caller's end is no verdict, and is not to be joined with those of
		// the keys that were asked before.
		if err := callerEnded(ctx); err != nil {
			return nil, err
		}
	}
	return nil, d.failure()
}

// Purge forgets which key an alias or a bare key ID stands for: the next message
// that depends on it asks KMS again, also one that waits for an answer now. There
// is nothing else to forget. See [envelope.Purger].
func (k *Keyring) Purge() {
	if k == nil || k.resolver == nil {
		return
	}
	k.resolver.forget()
}

// candidate is an encrypted data key and the key to ask KMS to decrypt it with.
type candidate struct {
	edk        envelope.EncryptedDataKey
	named      keyARN // by the message
	key        keyARN // the same, or its relative where the calls go
	configured bool   // key is named by the configuration, not only admitted by it
}

// decryption is the state of one DecryptDataKey call.
type decryption struct {
	keyring  *Keyring
	ec       envelope.EncryptionContext
	calls    int
	errs     []error
	rejected []keyARN // keys that the message names and the keyring may not use, each once

	// What a strict alias did not stand for when it was last asked about, and may
	// stand for now; and how many DescribeKey calls had begun before.
	unsettled []candidate
	described uint64
}

// sort splits a message's entries into those under keys that the configuration
// names, and those under other keys. It makes no call.
func (d *decryption) sort(edks []envelope.EncryptedDataKey) (named, others []candidate) {
	for _, edk := range edks {
		if edk.ProviderID != ProviderID {
			continue
		}
		// Both come from the message. Neither is repeated in the error.
		if n := len(edk.Ciphertext); n < 1 || n > maxCiphertext {
			d.fault("an encrypted data key is %d bytes, want 1 to %d", n, maxCiphertext)
			continue
		}
		arn, err := parseARN(string(edk.ProviderInfo))
		if err != nil || !arn.isKey() {
			d.fault("an encrypted data key does not name its KMS key by the key's ARN")
			continue
		}
		c := candidate{edk: edk, named: arn}
		i := slices.IndexFunc(d.keyring.named, arn.sameKey)
		if i < 0 {
			others = append(others, c)
			continue
		}
		c.key, c.configured = d.keyring.named[i], true
		named = append(named, c)
	}
	return named, others
}

// fault records a cause that is the message's.
func (d *decryption) fault(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("kmskeyring: %w: "+format, append([]any{envelope.ErrNoMatchingKey}, args...)...))
}

// reject records a key that the keyring may not use.
func (d *decryption) reject(arn keyARN) {
	if !slices.Contains(d.rejected, arn) {
		d.rejected = append(d.rejected, arn)
	}
}

// resolve finds which of the other entries the keyring may decrypt.
func (d *decryption) resolve(ctx context.Context, others []candidate) []candidate {
	k := d.keyring
	possible := others[:0:0]
	for _, c := range others {
		if k.possible(c.named) {
			possible = append(possible, c)
		} else {
			d.reject(c.named)
		}
	}
	if len(possible) == 0 || d.calls == maxDecryptCalls {
		return nil
	}
	if k.form == formNone {
		for i, c := range possible {
			possible[i].key = c.named.in(k.opts.Discovery.Region)
		}
		return possible
	}
	d.described = k.resolver.begun()
	current, err := k.resolver.resolve(ctx)
	if err != nil {
		d.errs = append(d.errs, err)
		return nil
	}
	var admitted []candidate
	for _, c := range possible {
		switch {
		case c.named.sameKey(current):
			c.key, c.configured = current, true
		case k.form.alias() && c.named.in(current.region).neighbour(current):
			if k.opts.StrictAlias {
				d.unsettled = append(d.unsettled, c)
				continue
			}
			c.key = c.named.in(current.region)
		default:
			d.reject(c.named)
			continue
		}
		admitted = append(admitted, c)
	}
	slices.SortStableFunc(admitted, func(a, b candidate) int { return cmp.Compare(rank(a), rank(b)) })
	return admitted
}

// follow asks again which key a strict alias stands for, on behalf of a message
// under another key of its account and Region. Producers follow an alias at
// once, because KMS resolves it for them; their messages are good, and must not
// be called invalid for as long as a consumer remembers the key before.
func (d *decryption) follow(ctx context.Context) []candidate {
	if len(d.unsettled) == 0 || d.calls == maxDecryptCalls {
		return nil
	}
	current, err := d.keyring.resolver.resolveAfter(ctx, d.described)
	if err != nil {
		d.errs = append(d.errs, err)
		return nil
	}
	var admitted []candidate
	for _, c := range d.unsettled {
		if !c.named.sameKey(current) {
			d.reject(c.named)
			continue
		}
		c.key, c.configured = current, true
		admitted = append(admitted, c)
	}
	return admitted
}

// rank puts the configured key first, so that entries beside it cannot use up
// the calls.
func rank(c candidate) int {
	if c.configured {
		return 0
	}
	return 1
}

// possible reports whether arn, which the configuration does not name, may be
// one that it admits, as far as that can be told without a call.
func (k *Keyring) possible(arn keyARN) bool {
	switch k.form {
	case formNone:
		d := k.opts.Discovery
		return arn.partition == d.Partition && arn.in(d.Region).region == d.Region && slices.Contains(d.Accounts, arn.account)
	case formKeyID:
		return arn.keyID() == k.keyID
	case formAliasARN:
		return arn.in(k.arn.region).neighbour(k.arn)
	case formAlias:
		return k.region == "" || arn.in(k.region).region == k.region
	}
	return false
}

// neighbour reports whether a and b are in one account and Region.
func (a keyARN) neighbour(b keyARN) bool {
	return a.partition == b.partition && a.region == b.region && a.account == b.account
}

// try asks KMS about candidates until one is decrypted, and reports whether one
// was.
func (d *decryption) try(ctx context.Context, candidates []candidate) (*envelope.DataKey, bool) {
	for _, c := range candidates {
		if d.calls == maxDecryptCalls {
			d.fault("%d decryptions failed, and no more are tried for one message", maxDecryptCalls)
			break
		}
		d.calls++
		key, err := d.keyring.decrypt(ctx, c, d.ec)
		if err == nil {
			return key, true
		}
		d.errs = append(d.errs, err)
	}
	return nil, false
}

func (k *Keyring) decrypt(ctx context.Context, c candidate, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	var out *kms.DecryptOutput
	q := question{op: opDecrypt, keyID: c.key.String(), region: c.key.region, keyInfo: c.named.String(), configured: c.configured}
	err := k.ask(ctx, q, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = k.client.Decrypt(ctx, &kms.DecryptInput{
			// Without KeyId, KMS would use whatever key the ciphertext names.
			KeyId: &q.keyID, CiphertextBlob: slices.Clone(c.edk.Ciphertext),
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
	if aws.ToString(out.KeyId) != q.keyID {
		return nil, q.badAnswer(fmt.Sprintf("it is for key %q", shorten(aws.ToString(out.KeyId))))
	}
	switch n := len(out.Plaintext); n {
	case envelope.DataKeySize:
		return envelope.NewDataKey(out.Plaintext, c.edk)
	case 0: // KMS encrypts 1 byte or more
		return nil, q.badAnswer("it has no plaintext")
	default:
		return nil, q.notADataKey(n)
	}
}

// maxSuggested bounds the keys that an error suggests to add.
const maxSuggested = 3

// failure is the error of a message of which no entry was decrypted.
func (d *decryption) failure() error {
	if len(d.rejected) > 0 {
		key := d.keyring.keyID
		if key == "" {
			key = "Options.Discovery"
		}
		text := fmt.Sprintf("the message is encrypted under keys that this keyring (%q) may not use; if you trust them:", key)
		for _, arn := range d.rejected[:min(len(d.rejected), maxSuggested)] {
			text += fmt.Sprintf(" o.DecryptKeys = append(o.DecryptKeys, %q)", arn.String())
		}
		if more := len(d.rejected) - maxSuggested; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		d.fault("%s", text)
	}
	if len(d.errs) == 0 {
		d.fault("the message has no encrypted data key of provider %q", ProviderID)
	}
	return envelope.JoinKeyErrors(d.errs...)
}
