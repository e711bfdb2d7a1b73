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
// are as before. [Sealer.Wrap] does the same to a client that somebody else
// made, [Sealer.InstallConfig] to every client of a config, and
// [Sealer.SealMessage] and [Sealer.OpenMessages] to messages that travel without
// a client; package sqsx/lambdax is a handler for AWS Lambda. [Sealer.Check]
// tells at start what is missing; [Sealer.CheckSeal] and [Sealer.CheckOpen] do
// for roles that only send or only receive.
//
// # Sending
//
// A message is sealed or the send fails; nothing is ever sent in plaintext
// because something went wrong. One data key seals many messages, for five
// minutes unless [Options.Cache] says otherwise, so that KMS is asked rarely, and
// no send waits for a key to be renewed. A batch entry that cannot be sealed for
// a reason of its own fails alone, with the code that SQS uses; trouble with the
// key fails the call. A batch for a FIFO queue is sent as a whole or not at
// all, and one of which nothing can be sent is an error: see [BatchError].
//
// # Receiving
//
// A message is delivered exactly as it was sent, or it is withheld: it is not in
// the output, and it is not deleted, so that it becomes visible again, and the
// queue's redrive policy moves it to the dead-letter queue if this keeps
// happening. Healthy messages beside it are delivered. What was withheld is
// reported by [Withheld] on the output, by [Options.OnWithheld], and by a log line
// that names the cause and the remedy. If a receive got messages and none can be
// delivered, the call fails with a [*ReceiveError] that carries them: messages
// that did not open never look like none, unless a consumer that stops at any
// error needs that (Policy.NoReceiveErrors).
//
//	out, err := client.ReceiveMessage(ctx, in)
//	if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
//		report(failed.Withheld) // nothing was delivered
//	} else if err == nil {
//		report(sqsx.Withheld(out.ResultMetadata)) // beside what was delivered
//	}
//
// Each carries the message as received, why it did not open (Err), and whether
// to try again (Temporary). Err tells the class of the cause, asked with errors.Is
// in this order: [ErrHeld] and [ErrGroupHeld] say that another message is in the
// way; [ErrUnavailable] is an outage; [ErrInvalidMessage] means that the message
// itself is invalid; anything else is a refusal of the key service, see
// [RefusedError].
//
// # Trouble with the key
//
// While KMS cannot be reached, data keys already in memory stay in use, for 24
// hours unless configured otherwise. A key that KMS refuses (disabled, no permission) is
// dropped when that is noticed, at the latest after the reuse period. While KMS
// says that this process cannot decrypt, nothing is received ([ErrHeld]), and
// messages that do not open are made invisible for 5 minutes to an hour, so that
// a wrong setting or an outage does not drain the queue into its dead-letter
// queue. Policy.NoHold switches that off.
//
// # Permissions
//
// Sending needs kms:GenerateDataKey, receiving kms:Decrypt, and receiving with a
// key that is named by alias or key ID also kms:DescribeKey. Of SQS, receiving
// needs sqs:ChangeMessageVisibility and sqs:GetQueueAttributes besides, for
// messages that do not open.
//
// # Tests
//
// Package sqsx/sqsxtest is SQS and KMS in memory, for tests of services that use
// sealq and of those that do not.
//
// # Policy
//
// [Policy] says per queue what is sealed and what is accepted; its zero value is
// the strictest. Messages are bound to their queue: copied into another they do
// not open there, unless SQS itself brought them there by redrive, or
// [Policy.AcceptQueues] lists their origin. Migration of a queue in use goes
// through [Policy.AcceptPlaintext]; docs/migration.md has the order of steps.
//
// # What it does not do
//
// Message attributes, message group and deduplication IDs, sizes and times stay
// visible. Whoever controls the queue can withhold, repeat or reorder messages,
// but not read or change them. A middleware that is added in front of this one
// sees what the application sees.
package sqsx
