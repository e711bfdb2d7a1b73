// Package sqsx seals what an SQS client of aws-sdk-go-v2 sends, and opens what
// it receives, with data keys from AWS KMS:
//
//	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
//	...
//	client := sqs.NewFromConfig(cfg, sealer.Install)
//
// client is a plain *sqs.Client. SendMessage, SendMessageBatch and
// ReceiveMessage take and return plaintext; SQS, its operators, its logs and
// everyone who may receive from the queue see ciphertext. All other operations
// are as before. [Sealer.Wrap] does the same for a client that other code made,
// [Sealer.InstallConfig] for every client of a config, and [Sealer.SealMessage]
// and [Sealer.OpenMessages] for messages that are sent or received without a
// client; [Sealer.SealEntries] is for batches. [Sealer.SealedSize] tells how
// large a message gets, and [Sealer.PolicyOf] which [Policy] a queue has.
// Package sqsx/lambdax does it for AWS Lambda. [Sealer.Check] reports
// at start what is missing; [Sealer.CheckSeal] and [Sealer.CheckOpen] do so for
// roles that only send or only receive.
//
// # Sending
//
// A message is sealed or the send fails; no error makes sealq send plaintext.
// One data key seals many messages, for five minutes unless [Options.Cache]
// says otherwise, so that KMS calls are rare, and no send waits for a key to be
// renewed. If one entry of a batch is invalid, only that entry fails, with the
// code that SQS uses; if the key cannot be used, the call fails. A batch for a
// FIFO queue is sent as a whole or not at all. A batch in which no entry can be
// sent is an error: see [BatchError].
//
// # Receiving
//
// A message is delivered exactly as it was sent, or it is withheld: it is not
// in the output and not deleted, so it becomes visible again. If that repeats,
// the queue's redrive policy moves it to the dead-letter queue. Healthy
// messages in the same response are delivered. Withheld messages are reported
// by [Withheld] on the output, by [Options.OnWithheld], and by a log line that
// names the cause and the remedy. If messages arrived and none can be
// delivered, the call fails with a [*ReceiveError] that carries them, so that
// the queue does not look empty. For consumers that stop at any error,
// Policy.NoReceiveErrors returns an empty result instead.
//
//	out, err := client.ReceiveMessage(ctx, in)
//	if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
//		report(failed.Withheld) // nothing was delivered
//	} else if err == nil {
//		report(sqsx.Withheld(out.ResultMetadata)) // beside what was delivered
//	}
//
// Each report has the message as received, why it did not open (Err), and
// whether to try again (Temporary). The comment of [ErrUnavailable] lists the
// classes of Err, and the order to test them in.
//
// # Failures of the key
//
// While KMS cannot be reached, cached data keys stay in use, for 24 hours
// unless configured otherwise. A key that KMS refuses (disabled, no permission)
// is no longer used after the reuse period at the latest. While KMS says that
// this process cannot decrypt, nothing is received ([ErrHeld];
// docs/operations.md has the exceptions), and messages that do not open are
// made invisible for 5 minutes to an hour. So a wrong setting or an outage does
// not move all messages to the dead-letter queue. Policy.NoHold switches that
// off.
//
// # Branch keys
//
// [NewFromKeyStore] wraps data keys under a branch key of a DynamoDB table, and
// not with AWS KMS: large fleets call KMS less often, and everyone who can seal
// can open. [Options.OpenKeyStore] opens such messages during a migration.
// docs/branch-keys.md says when to use them. What this page says of KMS then
// holds for KMS and DynamoDB together.
//
// # Permissions
//
// Sending needs kms:GenerateDataKey, receiving kms:Decrypt, and receiving with
// a key that is named by alias or key ID also kms:DescribeKey. Receiving also
// needs sqs:ChangeMessageVisibility and sqs:GetQueueAttributes, for messages
// that do not open. With branch keys, both need kms:Decrypt and
// dynamodb:GetItem in place of the permissions of KMS above.
//
// # Tests
//
// Package sqsx/sqsxtest is SQS, KMS, SNS and DynamoDB in memory, for tests of
// services that use sealq and of those that do not.
//
// # Policy
//
// [Policy] says per queue what is sealed and what is accepted. Its zero value
// seals bodies and leaves attributes in clear. Messages are bound to their
// queue: a message that is copied into another queue does not open there,
// unless SQS itself moved it there by redrive, or [Policy.AcceptQueues] lists
// its queue. To migrate a queue in use, set [Policy.AcceptPlaintext] for a
// time; docs/migration.md has the steps.
//
// Messages also reach queues by SNS topics. Package sqsx/snsx seals in the
// publisher, and [Policy.AcceptTopics] lists the topics that a queue subscribes
// to. A topic's own policy is found by its ARN only.
//
// Sealed content is the format used when Policy.SealAttributes,
// AuthenticateAttributes, Compress or MaxAge is set: what is encrypted is the
// body with its attributes and the time of sealing, and not the body alone.
//
// # What it does not do
//
// Message attributes stay visible, unless Policy.SealAttributes is set. Message
// group and deduplication IDs, sizes and times are always visible. Anyone who
// controls the queue can withhold, repeat or reorder messages, but not read or
// change them. A middleware that is added in front of this one sees plaintext.
//
// # Stability
//
// OpenError, ReceiveError, BatchError, TooLargeError and SealedEntry are
// aliases of types of package middleware. That package is outside the promise
// of compatibility of version 1; these types, and those of their fields, are
// inside.
package sqsx
