// Package conformance is one suite for everything that speaks SQS and KMS, and
// SNS or DynamoDB too: the in-process server of sqsx/sqsxtest and the emulators
// of package launch.
//
// Its cases are of two kinds. "protocol" cases use the plain SDK: they describe
// what sealq relies on, and check that the in-process server does it. The
// others use sealq as a service does, through an ordinary *sqs.Client, and
// check what the user gets and what is in the queue.
//
// [Target.Differences] lists where a target behaves differently from the
// service. Each case asserts the difference instead, so that it fails when the
// emulator is fixed. A difference that no case has met fails the run. Nothing
// is skipped.
package conformance
