package kmskeyring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/keytrace"
)

// CheckDecrypt implements [envelope.DecryptChecker]. It asks about the
// configured key and those of [Options.DecryptKeys], all at once: by a dry run
// of Decrypt for each and, for an alias or key ID, the DescribeKey that
// decrypting needs, if the last one failed. The first yes is the answer, and
// ends the other questions.
//
// It takes up to twice [CallTimeout]. A keyring made with [Options.Discovery]
// may decrypt under keys whose names it does not know: the error is
// [envelope.ErrCheckUnsupported], unless a key of DecryptKeys may be used.
func (k *Keyring) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	if err := k.usable(); err != nil {
		return err
	}
	if err := awscall.Ended(ctx); err != nil {
		return err
	}
	err := envelope.CheckAny(ctx, k.checks(ec)...)
	if ended := awscall.Ended(ctx); err != nil && ended != nil {
		return ended
	}
	return err
}

// checks returns the questions of CheckDecrypt, one for each wrapping key.
func (k *Keyring) checks(ec envelope.EncryptionContext) []func(context.Context) error {
	checks := []func(context.Context) error{func(ctx context.Context) error {
		if k.form == formNone {
			return fmt.Errorf("kmskeyring: %w: Options.Discovery names no key to ask about", envelope.ErrCheckUnsupported)
		}
		key := k.arn
		if k.resolver != nil {
			var err error
			if key, err = k.resolver.check(ctx); err != nil {
				return err
			}
		}
		return k.dryRun(ctx, question{keyID: k.keyID, region: k.region, keyInfo: k.lastKeyInfo()}, key, ec)
	}}
	for i, arn := range k.named {
		if arn == k.arn || slices.Contains(k.named[:i], arn) {
			continue // asked about already
		}
		checks = append(checks, func(ctx context.Context) error {
			return k.dryRun(ctx, question{keyID: arn.String(), region: arn.Region, keyInfo: arn.String()}, arn, ec)
		})
	}
	return checks
}

// dryRun asks KMS whether Decrypt with the key of q, which is key, would be
// allowed. nil means yes; remembered denials then end.
func (k *Keyring) dryRun(ctx context.Context, q question, key awsname.KeyARN, ec envelope.EncryptionContext) error {
	q.op, q.configured, q.dryRun, q.understood = opDecrypt, true, true, k.dryRuns.Load()
	err := k.ask(ctx, q, func(ctx context.Context, opt func(*kms.Options)) error {
		_, err := k.client.Decrypt(ctx, &kms.DecryptInput{
			KeyId: &q.keyID, EncryptionContext: maps.Clone(ec), GrantTokens: slices.Clone(k.opts.GrantTokens),
			DryRun: aws.Bool(true), DryRunModifiers: []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext},
		}, opt)
		return err
	})
	// A dry run that would have succeeded is an error to KMS.
	if _, would := errors.AsType[*types.DryRunOperationException](err); would {
		k.dryRuns.Store(true)
		k.verdicts.allowed(key.String(), ec, time.Now())
		keytrace.Checked(ctx, key.String(), nil)
		return nil
	}
	if err == nil {
		return q.checkUnsupported(errors.New("it succeeded, with nothing to decrypt"))
	}
	keytrace.Checked(ctx, key.String(), err)
	return err
}
