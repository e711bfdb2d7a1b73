// Package kmskeyring wraps data keys with AWS KMS keys. Its [Keyring] is an
// [envelope.Wrapper] over the four KMS operations of [Client], which
// [*kms.Client] has.
//
// # Naming the key
//
// [New] takes a key ID, a key ARN, an alias or an alias ARN, of this account or
// another. The encrypted data keys it writes name the key's ARN as KMS returned
// it, so the keyrings of the official AWS Encryption SDKs open them in strict
// mode.
//
// An ARN fixes the Region of the calls, whatever the Region of the client. A
// multi-Region key can be used in any of its Regions: see [Options.Region].
// AWS managed keys (alias/aws/...) cannot be used from clients at all and are
// refused by New: create a customer managed key.
//
// # Which keys a message may name
//
// A message says which keys its data key is encrypted under, and anyone may
// write a message. The keyring asks KMS only about these:
//
//   - the configured key, and its multi-Region relatives;
//   - those of [Options.DecryptKeys], and their multi-Region relatives;
//   - for an alias: any key of the account and Region that the alias points
//     into. Pointing an alias at a new key is AWS's own way to rotate, and what
//     was sealed before must still open;
//   - those of [Options.Discovery].
//
// The rule for aliases trusts everyone who may encrypt under any key of that
// account and Region that this role may decrypt under: limit the role's
// kms:Decrypt to the right keys, by the Resource of its policy.
// [Options.StrictAlias] narrows the rule to the key that the alias points at
// now.
//
// It skips all other entries without a call. If none is left, the error is
// [envelope.ErrNoMatchingKey], with the line of configuration to add.
//
// A bare key ID or an alias must be resolved before it can be compared, by
// DescribeKey, so a role that opens messages needs kms:DescribeKey beside
// kms:Decrypt. With a key ARN it does not.
//
// # Errors
//
// They are of the classes of package envelope. The service's own error stays in
// the chain: errors.As finds a [*types.DisabledException]. Refusals are
// [*envelope.RefusedError]; a refusal to seal with an alias reaches keys for
// sealing only, because the alias may have moved. A refusal for a key that a
// message names and the configuration does not is [envelope.ErrNoMatchingKey]:
// nobody can stop a consumer by naming a key that refuses it.
//
// # Deadlines and secrets
//
// An SDK call to KMS has no limit on the time of an answer. The keyring's calls
// do: [CallTimeout], and two attempts of [AttemptTimeout]. They never log the
// body of a request or response, which holds the plaintext data key, whatever
// the client's log mode is.
//
// # What it does not do
//
// It does not remember data keys, so every call of it is a call to KMS: put a
// cache around it. It does remember encrypted data keys that KMS did not
// decrypt: see [Keyring.DecryptDataKey]. It cannot wipe the copies of a data
// key that the SDK and net/http make.
package kmskeyring
