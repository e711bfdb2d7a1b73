// Package sealq holds no code. It describes a module that seals the bodies of
// Amazon SQS messages in the client, for services that use aws-sdk-go-v2.
//
// # What
//
// A service gives one option to its *sqs.Client, and goes on calling
// SendMessage, SendMessageBatch and ReceiveMessage:
//
//	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
//	...
//	client := sqs.NewFromConfig(cfg, sealer.Install)
//
// What the service sends is encrypted before it leaves the process, under a
// data key from AWS KMS, and what it receives is decrypted and verified after
// it arrived. A sealed message is a message of the AWS Encryption SDK, so that
// the official SDKs open it with the same key (tested: Go, Java, JavaScript,
// Python and Rust).
//
// # Why
//
// Server-side encryption protects a queue's storage: SQS encrypts messages
// after it has received them, and decrypts them before it delivers them. With
// sealq the plaintext exists only in the producer and in the consumer, and a
// producer needs no permission to decrypt (with branch keys it does).
//
// # Packages
//
//	sqsx                  what services use: Sealer, options, policies
//	sqsx/lambdax          a handler for AWS Lambda functions: docs/lambda.md
//	sqsx/snsx             sealing in an SNS client, for topics that feed queues:
//	                      docs/sns.md
//	sqsx/internal/hold    when to receive, and which messages to park
//	sqsx/internal/content what is sealed in place of a body alone: the body, its
//	                      attributes and the time
//	sqsx/sqsxtest         SQS, SNS and KMS in memory, for tests
//	cache                 data key cache, in front of any keyring
//	envelope              the message format, keyrings, classes of errors
//	envelope/kmskeyring   data keys from AWS KMS
//	envelope/branchkey    data keys under branch keys, which KMS protects and
//	                      DynamoDB stores, for fewer KMS calls in large fleets:
//	                      docs/branch-keys.md
//	envelope/envelopetest the tests that a keyring of one's own must pass
//	middleware            interception of SQS operations: no keys, no formats;
//	                      outside the v1 promise, but for the types that sqsx
//	                      aliases
//	internal/...          one place each for what several packages need: awscall
//	                      (bounded calls of AWS, and their errors), awsname
//	                      (names of AWS), budget (limits calls that fail),
//	                      keyerr (tells network errors from refusals), keytrace
//	                      (which wrapping keys answered), fifo (order of message
//	                      groups), backoff, clock, contain (panics), optfn,
//	                      outgoing (size and copies of a message that is sent)
//	examples, integration programs to start from; tests against other software
//
// Imports go one way: sqsx/lambdax and sqsx/snsx use sqsx; sqsx uses
// middleware, cache and the keyrings; branchkey uses cache and kmskeyring;
// these use envelope; envelope uses the standard library only.
//
// # Data flow
//
//	SendMessage(in)                                   ReceiveMessage(in)
//	 middleware  Initialize/Before                     middleware  Initialize/Before
//	   copy in; never touch the caller's structs         Codec.Admit (the hold: asks KMS); copy in; ask for our attribute
//	   Codec.Seal: body -> attribute + body              next(...)          <- SDK checks MD5 of ciphertext
//	     envelope.Seal                                   Codec.Open: all messages of the response
//	       keyring.GenerateDataKey                         envelope.Open each
//	         cache hit | one fetch for all waiters           parse under limits -> binding check (no KMS call yet)
//	       HKDF(message ID) -> commit, header tag, frame     keyring.DecryptDataKey -> cache -> KMS
//	   next(copy)                                            commitment -> header tag -> frames -> signature
//	 guards: nothing unsealed is serialized            deliver | withhold | fail
//
// # Threat model
//
// In ten lines; docs/security.md has it in full:
//
//   - SQS, its operators, its storage and every intermediary see no body.
//   - A principal that may receive but not use the key sees no body; one that
//     may send but not use the key cannot make a body that is accepted.
//   - A body that was altered in any bit is not delivered, nor is one that was
//     copied into another queue.
//   - Group IDs, sizes and times are visible and not authenticated. So are
//     message attributes, unless a policy seals or authenticates them.
//   - Anyone who controls the queue can drop, repeat, delay and reorder
//     messages. Policy.MaxAge limits how old a repeated one may be.
//   - Anyone who may decrypt can also forge, for the same queue: data keys are
//     symmetric. With a branch key, anyone who seals can open and forge, for
//     all of its queues.
//   - A disabled key is noticed within the reuse period, 5 minutes by default.
//   - In an outage of KMS, cached data keys stay in use, for 24 hours by
//     default.
//   - A message that does not open is withheld and reported, never deleted.
//   - Nothing is ever sent in plaintext because something failed.
package sealq
