package kmskeyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
)

// CheckDecrypt implements [envelope.DecryptChecker]. It asks about the
// configured key and those of [Options.DecryptKeys], all at once: by a dry run
// of Decrypt for each and, for an alias or key ID, the DescribeKey that
// decrypting needs (its answer may be the remembered one). The first yes is the
// answer, and ends the other questions.
//
// It takes up to twice [CallTimeout]. A keyring made with [Options.Discovery]
// may decrypt under keys that it does not know by name: unless a key of
// DecryptKeys may be used, the error is [envelope.ErrCheckUnsupported].
func (k *Keyring) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	if err := k.usable(); err != nil {
		return err
	}
	if err := callerEnded(ctx); err != nil {
		return err
	}
	askCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	asks := k.checks(ec)
	answers := make(chan error, len(asks))
	for _, ask := range asks {
		go protect(opDecrypt, func() error { return ask(askCtx) }, func(err error) { answers <- err })
	}
	var errs []error
	yes := false
	for range asks { // all of them: no goroutine is left behind
		if err := <-answers; err != nil {
			errs = append(errs, err)
			continue
		}
		yes = true
		cancel()
	}
	if yes {
		return nil
	}
	if err := callerEnded(ctx); err != nil {
		return err
	}
	if k.form == formNone {
		errs = append(errs, fmt.Errorf("kmskeyring: %w: Options.Discovery names no key to ask about", envelope.ErrCheckUnsupported))
	}
	return joinChecks(errs)
}

// checks returns the questions of CheckDecrypt, one for each wrapping key.
func (k *Keyring) checks(ec envelope.EncryptionContext) []func(context.Context) error {
	var asks []func(context.Context) error
	if k.form != formNone {
		asks = append(asks, func(ctx context.Context) error {
			if k.resolver != nil {
				if _, err := k.resolver.resolve(ctx); err != nil {
					return err
				}
			}
			return k.dryRun(ctx, question{keyID: k.keyID, region: k.region, keyInfo: k.lastKeyInfo()}, ec)
		})
	}
	for i, arn := range k.named {
		if arn == k.arn || slices.Contains(k.named[:i], arn) {
			continue // asked about already
		}
		asks = append(asks, func(ctx context.Context) error {
			return k.dryRun(ctx, question{keyID: arn.String(), region: arn.region, keyInfo: arn.String()}, ec)
		})
	}
	return asks
}

// dryRun asks KMS whether Decrypt with the key of q would be allowed. nil means
// yes.
func (k *Keyring) dryRun(ctx context.Context, q question, ec envelope.EncryptionContext) error {
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
		return nil
	}
	if err == nil {
		return q.checkUnsupported(errors.New("it succeeded, with nothing to decrypt"))
	}
	return err
}

// joinChecks returns the error of a check of several keys, none of which said
// yes. errors.Is and errors.As find all of errs, and first the one that leaves
// the most hope: the order of [envelope.DecryptChecker].
func joinChecks(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	slices.SortStableFunc(errs, func(a, b error) int { return cmp.Compare(hopeless(a), hopeless(b)) })
	return checkErrors(errs)
}

func hopeless(err error) int {
	refused, ok := errors.AsType[*envelope.RefusedError](err)
	switch {
	case errors.Is(err, envelope.ErrCheckUnsupported):
		return 0
	case ok && refused.EntryOnly:
		return 1
	case errors.Is(err, envelope.ErrUnavailable):
		return 2
	}
	return 3
}

// checkErrors are what several keys said.
type checkErrors []error

func (e checkErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return "kmskeyring: none of the keys may be used: " + strings.Join(texts, "; ")
}

func (e checkErrors) Unwrap() []error { return e }
