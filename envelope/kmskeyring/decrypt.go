package kmskeyring

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/keyerr"
)

const (
	// maxDecryptCalls bounds the calls that one message can cause, each about
	// another key. A message has one usable entry in practice, and a few in a
	// migration.
	maxDecryptCalls = 3

	// branchKeyProvider is the provider ID of package branchkey, which imports
	// this one.
	branchKeyProvider = "aws-kms-hierarchy"

	// maxSuggested bounds the keys that an error suggests to add.
	maxSuggested = 3
)

// DecryptDataKey implements [envelope.Keyring]. It makes at most 3 Decrypt
// calls, one for each KMS key that edks name. If several entries name one key,
// it tries only the first: no writer encrypts a data key twice under one key.
// It may wait for DescribeKey, in calls that many messages share: see
// [Options.AliasPeriod] and [Options.StrictAlias].
//
// If KMS does not decrypt an entry because the message is invalid, the keyring
// remembers that: for 12 hours if it cannot change, and otherwise for 5
// minutes. If KMS denies a configured key for an encryption context, all
// entries under both get that answer for 1 second, doubling to 5, or until
// [Keyring.CheckDecrypt] finds that it is allowed; an entry that was denied
// three times is not asked about for 5 more minutes.
//
// A keyring makes at most 1,000 such failing calls a second, after the first
// 1,000. Beyond that, calls wait for their turn, up to 750 milliseconds in one
// DecryptDataKey and half of ctx's time; calls that succeed are not counted. An
// entry that has no turn in that time is not asked about, and the error is
// [envelope.ErrUnavailable]. Those that this keyring has decrypted before are
// exempt.
func (k *Keyring) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	if err := awscall.Ended(ctx); err != nil {
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
		// The end of the caller's context is no verdict: do not join it with those of
		// the keys that were asked before.
		if err := awscall.Ended(ctx); err != nil {
			return nil, err
		}
	}
	return nil, d.failure()
}

// candidate is an encrypted data key and the key to ask KMS to decrypt it with.
type candidate struct {
	edk        envelope.EncryptedDataKey
	named      awsname.KeyARN // by the message
	key        awsname.KeyARN // the same, or its relative where the calls go
	configured bool           // key is named by the configuration, not only admitted by it
}

// decryption is the state of one DecryptDataKey call.
type decryption struct {
	keyring  *Keyring
	ec       envelope.EncryptionContext
	ecHash   *[sha256.Size]byte // of ec; nil: not needed yet
	tried    []awsname.KeyARN   // each once, whether or not it took a call
	asked    bool               // KMS, to decrypt
	patient  time.Time          // until when it waits for its turns; zero: for none yet
	errs     []error
	rejected []awsname.KeyARN // keys that the message names and the keyring may not use, each once

	underBranchKey bool // one of the entries is

	// Entries under keys that a strict alias did not point at when it was last
	// asked about, and may point at now; and how many DescribeKey calls had begun
	// before.
	unsettled []candidate
	described uint64
}

// sort splits a message's entries into those under keys that the configuration
// names, and those under other keys. It makes no call.
func (d *decryption) sort(edks []envelope.EncryptedDataKey) (named, others []candidate) {
	for _, edk := range edks {
		if edk.ProviderID != ProviderID {
			d.underBranchKey = d.underBranchKey || edk.ProviderID == branchKeyProvider
			continue
		}
		// Both come from the message. Neither is repeated in the error.
		if n := len(edk.Ciphertext); n < 1 || n > maxCiphertext {
			d.fault("an encrypted data key is %d bytes, want 1 to %d", n, maxCiphertext)
			continue
		}
		arn, err := awsname.ParseKeyARN(string(edk.ProviderInfo))
		if err != nil || !arn.IsKey() {
			d.fault("an encrypted data key does not name its KMS key by the key's ARN")
			continue
		}
		c := candidate{edk: edk, named: arn}
		i := slices.IndexFunc(d.keyring.named, arn.SameKey)
		if i < 0 {
			others = append(others, c)
			continue
		}
		c.key, c.configured = d.keyring.named[i], true
		named = append(named, c)
	}
	return named, others
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
	if len(possible) == 0 || d.exhausted() {
		return nil
	}
	if k.form == formNone {
		for i, c := range possible {
			possible[i].key = c.named.In(k.opts.Discovery.Region)
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
		case c.named.SameKey(current):
			c.key, c.configured = current, true
		case k.form.alias() && c.named.In(current.Region).Neighbour(current):
			if k.opts.StrictAlias {
				d.unsettled = append(d.unsettled, c)
				continue
			}
			c.key = c.named.In(current.Region)
		default:
			d.reject(c.named)
			continue
		}
		admitted = append(admitted, c)
	}
	slices.SortStableFunc(admitted, func(a, b candidate) int { return cmp.Compare(rank(a), rank(b)) })
	return admitted
}

// possible reports whether the configuration may admit arn, which it does not
// name. It makes no call.
func (k *Keyring) possible(arn awsname.KeyARN) bool {
	switch k.form {
	case formNone:
		return k.opts.Discovery.scope().Holds(arn)
	case formKeyID:
		return arn.KeyID() == k.keyID
	case formAliasARN:
		return arn.In(k.arn.Region).Neighbour(k.arn)
	case formAlias:
		return k.region == "" || arn.In(k.region).Region == k.region
	}
	return false
}

// rank puts the configured key first, so that other entries cannot use up the
// calls.
func rank(c candidate) int {
	if c.configured {
		return 0
	}
	return 1
}

// follow asks again which key a strict alias stands for, on behalf of a message
// under another key of its account and Region. Producers use the alias's new
// key at once, because KMS resolves it for them. Their messages are valid, and
// must not count as invalid while a consumer remembers the old key.
func (d *decryption) follow(ctx context.Context) []candidate {
	if len(d.unsettled) == 0 || d.exhausted() {
		return nil
	}
	current, err := d.keyring.resolver.resolveAfter(ctx, d.described, func(current awsname.KeyARN) bool {
		return slices.ContainsFunc(d.unsettled, func(c candidate) bool { return c.named.SameKey(current) })
	})
	if errors.Is(err, errPaced) {
		q := question{op: opDescribeKey, keyID: d.keyring.keyID, region: d.keyring.region}
		err = q.notAsked("the message is under another key than the alias stood for; KMS is asked about that once a second, and at most one message waits for it")
	}
	if err != nil {
		d.errs = append(d.errs, err)
		return nil
	}
	var admitted []candidate
	for _, c := range d.unsettled {
		if !c.named.SameKey(current) {
			d.reject(c.named)
			continue
		}
		c.key, c.configured = current, true
		admitted = append(admitted, c)
	}
	return admitted
}

// try asks KMS about candidates until one is decrypted, and reports whether one
// was.
func (d *decryption) try(ctx context.Context, candidates []candidate) (*envelope.DataKey, bool) {
	for _, c := range candidates {
		if slices.Contains(d.tried, c.key) {
			continue
		}
		if d.exhausted() {
			d.fault("%d decryptions failed, and no more are tried for one message", maxDecryptCalls)
			break
		}
		d.tried = append(d.tried, c.key)
		key, err := d.ask(ctx, c)
		if err == nil {
			return key, true
		}
		d.errs = append(d.errs, err)
	}
	return nil, false
}

// exhausted reports whether the message has had its calls. A remembered failure
// counts as a call; otherwise the next receive would ask about the entries
// after it.
func (d *decryption) exhausted() bool { return len(d.tried) == maxDecryptCalls }

// ask asks KMS about c, unless its answer is known, or too many have failed.
func (d *decryption) ask(ctx context.Context, c candidate) (*envelope.DataKey, error) {
	if d.ecHash == nil {
		hash := contextHash(d.ec)
		d.ecHash = &hash
	}
	q, s, verdicts := c.question(), subjectOf(c, *d.ecHash), &d.keyring.verdicts
	if err := verdicts.known(s, q, time.Now()); err != nil {
		return nil, err
	}
	exempt := verdicts.exempt(s)
	if !exempt {
		if d.patient.IsZero() {
			d.patient = time.Now().Add(turnPatience)
		}
		if !verdicts.budget.Turn(ctx, d.patient) {
			return nil, q.notAsked(fmt.Sprintf("%d messages a second do not decrypt, and it had no turn among them; see who sends them", failuresPerSecond))
		}
	}
	asked := time.Now()
	err := verdicts.begin(s, q, asked)
	var key *envelope.DataKey
	failed := false
	if err == nil {
		d.asked = true
		key, err = d.keyring.decrypt(ctx, c, d.ec)
		failed = verdicts.note(s, err, asked, time.Now())
	}
	if !exempt && !failed {
		verdicts.budget.Refund()
	}
	return key, err
}

func (c candidate) question() question {
	return question{op: opDecrypt, keyID: c.key.String(), region: c.key.Region, keyInfo: c.named.String(), configured: c.configured}
}

func (k *Keyring) decrypt(ctx context.Context, c candidate, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	var out *kms.DecryptOutput
	q := c.question()
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
		return nil, q.badAnswer(fmt.Sprintf("it is for key %q", awscall.Shorten(aws.ToString(out.KeyId))))
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

// failure is the error of a message of which no entry was decrypted.
func (d *decryption) failure() error {
	if len(d.rejected) > 0 {
		key := d.keyring.keyID
		if key == "" {
			key = "Options.Discovery"
		}
		var arns []string
		for _, arn := range d.rejected[:min(len(d.rejected), maxSuggested)] {
			arns = append(arns, strconv.Quote(arn.String()))
		}
		names := strings.Join(arns, ", ")
		if more := len(d.rejected) - maxSuggested; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		d.fault("the message is encrypted under keys that this keyring (%q) may not use (%s): %s", key, trustRemedy, names)
	}
	if len(d.errs) == 0 && d.underBranchKey {
		d.fault("the message was sealed under a branch key (provider %q): %s", branchKeyProvider, branchKeyRemedy)
	}
	if len(d.errs) == 0 {
		d.fault("the message has no encrypted data key of provider %q: it was sealed with another kind of keyring, and opens with one of that kind", ProviderID)
	}
	err := envelope.JoinKeyErrors(d.errs...)
	if !d.asked && envelope.IsInvalidMessage(err) {
		return keyerr.NotAsked(err) // a cache must not take it for an answer of KMS
	}
	return err
}

// fault records why the message is invalid.
func (d *decryption) fault(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("kmskeyring: %w: "+format, append([]any{envelope.ErrNoMatchingKey}, args...)...))
}

// reject records a key that the keyring may not use.
func (d *decryption) reject(arn awsname.KeyARN) {
	if !slices.Contains(d.rejected, arn) {
		d.rejected = append(d.rejected, arn)
	}
}
