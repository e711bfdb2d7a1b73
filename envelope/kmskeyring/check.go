package kmskeyring

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
)

// CheckDecrypt reports whether this keyring may decrypt under the context ec
// with its own key, without anything to decrypt: by a dry run of Decrypt and, for
// an alias or key ID, the DescribeKey that decrypting needs. nil means yes.
// Errors are those of DecryptDataKey; a keyring made with [Options.Discovery]
// has no key to ask about and always returns one.
func (k *Keyring) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	if err := k.canEncrypt(); err != nil {
		return err
	}
	if k.resolver != nil {
		if _, err := k.resolver.resolve(ctx); err != nil {
			return err
		}
	}
	q := question{op: opDecrypt, keyID: k.keyID, region: k.region, keyInfo: k.lastKeyInfo(), configured: true}
	err := k.ask(ctx, q, func(ctx context.Context, opt func(*kms.Options)) error {
		_, err := k.client.Decrypt(ctx, &kms.DecryptInput{
			KeyId: &k.keyID, EncryptionContext: maps.Clone(ec), GrantTokens: slices.Clone(k.opts.GrantTokens),
			DryRun: aws.Bool(true), DryRunModifiers: []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext},
		}, opt)
		return err
	})
	// A dry run that would have succeeded is an error to KMS.
	if _, would := errors.AsType[*types.DryRunOperationException](err); would {
		return nil
	}
	return err
}
