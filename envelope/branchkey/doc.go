// Package branchkey wraps data keys with branch keys, which AWS KMS protects
// and Amazon DynamoDB stores. It is the AWS KMS hierarchical keyring of the AWS
// Encryption SDKs, whose messages and key stores it reads and writes.
//
// # Why
//
// With package kmskeyring, a fleet of P producers and C consumers makes P x C
// calls of KMS for each queue in every reuse period: each consumer has KMS
// decrypt the data keys of each producer. Here a process fetches the branch key
// once in a reuse period, by one read of DynamoDB and one Decrypt of KMS, and
// wraps and unwraps all data keys with it itself: P + C calls, for any number
// of queues.
//
// # Branch keys
//
// A [Store] is a table of branch keys. A branch key has an id and versions. One
// of them is active: it wraps the data keys of new messages. Every message
// names its version, so that it opens after [Store.Rotate] has made another one
// active. A branch key is made by [Store.Create], or by an official SDK.
//
// A [Keyring] is an [envelope.Wrapper] over one branch key of a Store, or over
// one for each tenant: see [Options.BranchKeyIDs]. It asks the Store about no
// other branch key than the configured one, whatever a message names. Every
// message has a data key of its own.
//
// # Branch keys are cached
//
// The keyring keeps branch keys in a [cache.Keyring] of its own, with all that
// package cache guarantees: refresh ahead of time, one fetch for all who wait,
// use during an outage of KMS or DynamoDB up to MaxStale, refusals that end the
// use of a key, Purge. It needs no cache around it: a disabled KMS key would be
// used for the periods of both.
//
// # What to know before
//
//   - Producers become readers. They need kms:Decrypt and dynamodb:GetItem, as
//     consumers do, and anyone who has a branch key can open and forge every
//     message under it, of all queues.
//   - KMS sees no queue. It sees the branch key's id, its version, its custom
//     context and the logical name of the key store, so key policies can tell
//     branch keys apart, by kms:EncryptionContext:branch-key-id, but not
//     queues. Give tenants that must not read each other's messages a branch
//     key each.
//   - The table is needed to open messages. Back it up (point-in-time
//     recovery), and keep every version for as long as messages under it exist,
//     in dead-letter queues too: without its version, no message opens.
//   - Anyone who may write to the table and use the KMS key can put a branch
//     key of their own in place of another. Only administrators of the key
//     store need write access.
//
// Readers and writers need kms:Decrypt on the key and dynamodb:GetItem on the
// table. Administrators also need dynamodb:PutItem,
// kms:GenerateDataKeyWithoutPlaintext, kms:ReEncryptFrom and kms:ReEncryptTo.
//
// # Items that cannot be used
//
// Every attribute of an item is verified: by its type and value, and by KMS,
// which decrypts the branch key only under exactly the attributes that it was
// encrypted with. An item that is missing, damaged, of another
// hierarchy-version than 1 or under another KMS key is a refusal that reaches
// the messages under that version alone, and that says what to do. It is never
// taken for an invalid message, and other versions stay in use. DynamoDB's
// reads are eventually consistent: an item that is not found is read again with
// a consistent read.
//
// Anyone who may send can write messages that name versions which do not exist.
// Each costs two reads of DynamoDB and no call of KMS; their number is limited:
// see [Keyring.DecryptDataKey].
//
// # Errors
//
// They are of the classes of package envelope. A refusal of the KMS key, which
// is disabled for example, reaches all versions of the branch key. A missing
// permission, of DynamoDB or KMS, reaches the item that was asked for. No error
// holds an encrypted branch key, or a value of an encryption context.
//
// # Deadlines and secrets
//
// A call of DynamoDB or KMS ends after [kmskeyring.CallTimeout], and makes two
// attempts of [kmskeyring.AttemptTimeout]. Calls never log the body of a
// request or response, whatever the client's log mode is.
//
// # What it does not do
//
// It creates no table, and changes no KMS key or custom context of a branch
// key. Branch keys are in the memory of every process that uses them, until the
// cache drops them; it cannot wipe the copies that Go, the SDK and net/http
// make.
package branchkey
