// Package sqsxtest is Amazon SQS and AWS KMS in memory, for tests, as much of
// Amazon SNS as feeds queues, and as much of Amazon DynamoDB as key stores use.
//
//	server := sqsxtest.New(t)
//	client := sqs.NewFromConfig(server.Config())
//	queue, key := server.NewQueue("orders"), server.NewKey("alias/orders")
//
// The clients are the SDK's own and unchanged: requests and responses use the
// real wire protocols (awsJson 1.0 with the error codes of the query protocol
// for SQS, awsJson 1.0 with checksums for DynamoDB, awsJson 1.1 for KMS, the
// query protocol for SNS), through a transport in the same process, or a
// loopback socket ([Server.URL]). Queues, messages, keys, aliases, tables and
// items are made with the ordinary SDK calls.
//
// # What it does as the services do
//
//   - Digests: MD5 of bodies, message attributes and system attributes; on a
//     receive over the attributes that are returned.
//   - Limits: 1 MiB (or MaximumMessageSize) with attributes, the sum of a
//     batch, 10 attributes, their names, types and values, the legal
//     characters, batch IDs, queue names, tags, 120,000 messages in flight, and
//     the ranges of parameters and queue attributes; with the service's error
//     codes.
//   - Time: visibility, delays, long polling, retention. All of it follows
//     package time, so that a [testing/synctest] bubble makes hours pass in an
//     instant. There is no goroutine in the background.
//   - Dead-letter queues: a message that has been received maxReceiveCount
//     times is moved, with its ID, when it would be received once more, and has
//     DeadLetterQueueSourceArn afterwards. Move tasks bring messages back, as
//     new ones.
//   - Receipt handles: on a standard queue that of an earlier receive still
//     changes the visibility of a message in flight; once the visibility
//     timeout is over, changing it succeeds and does nothing. A FIFO queue
//     refuses expired handles.
//   - FIFO queues: order; a receive gives the messages of a group that are
//     before the first one in flight; deduplication within five minutes by ID
//     or by the SHA-256 of the body; sequence numbers; ReceiveRequestAttemptId,
//     which is refused once a message of its receive has been deleted or
//     changed or is visible again. A batch is refused as a whole if one of its
//     messages has no group, or no deduplication ID. Standard queues take a
//     MessageGroupId too (fair queues).
//   - X-Ray: the X-Amzn-Trace-Id header of a request becomes the AWSTraceHeader
//     of its messages.
//   - KMS: AES-256-GCM bound to the encryption context, HMAC keys, aliases,
//     disabled and deleted keys, rotation on demand and by schedule,
//     multi-Region replicas, tags, descriptions, key policies, grants, and dry
//     runs with IGNORE_CIPHERTEXT.
//   - SNS: topics, and queues that subscribe to them; raw delivery and
//     notifications; filter policies on attributes and bodies (exact values,
//     prefix, suffix, anything-but, exists); FIFO topics with deduplication;
//     MaximumMessageSize; dead-letter queues of subscriptions. A message that
//     its queue does not take goes there, or is lost.
//   - DynamoDB: tables by name and by ARN; GetItem, PutItem, DeleteItem, Query,
//     Scan, and TransactWriteItems with Put, Delete and ConditionCheck: all or
//     nothing, with the reasons of a cancelled one and ten minutes of
//     ClientRequestToken. Condition, filter and key condition expressions with
//     all their operators, functions and reserved words; all types of value;
//     the limits of items, keys, numbers and expressions.
//   - Accounts and Regions are separate namespaces. The Region is that of the
//     request's signature; the account is the access key ID if that is 12
//     digits, else [DefaultAccount].
//
// # What it is not
//
// Signatures are not verified and there are no permissions: any caller may use
// any queue or key that it can name, in any account. Queue policies
// (AddPermission and RemovePermission change them), key policies, grants and
// SSE settings are stored and have no effect. Nothing is throttled.
// [Server.Deny] removes a permission, [Server.CutKMS] and [Server.CutDynamoDB]
// make a service unreachable, [Server.Tamper] alters messages,
// [Server.StaleReads] makes reads of DynamoDB eventually consistent, and
// [Server.Intercept] causes every other failure that a test needs. A standard
// queue delivers in order and once, although the service promises neither; a
// message that becomes visible again is placed behind the others. Changes take
// effect at once, so a queue may be created or purged again within 60 seconds.
// Memory grows with the messages that are stored, with five minutes of
// deduplication IDs, and with a bounded log of requests.
//
// DynamoDB has no UpdateItem, no indexes, no projections and none of the
// parameters that expressions have replaced. It refuses by name what it does
// not have, and ignores no parameter. Transactions never conflict with others
// in progress. Tables are active at once.
//
// Nothing is persisted, and the package is not for production.
package sqsxtest
