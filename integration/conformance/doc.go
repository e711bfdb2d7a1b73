// Package conformance is one suite for everything that speaks SQS and KMS: the
// in-process server of sqsx/sqsxtest and the emulators of package launch.
//
// Its cases are of two kinds. "protocol" cases use the plain SDK: they fix what
// sealq relies on, and hold the in-process server to it. The others use sealq as
// a service does, through an ordinary *sqs.Client, and look at what the user
// gets and at what lies in the queue.
//
// A target that does something else than the service says so in
// [Target.Differences]. Each case asserts the difference instead, so that a
// repaired emulator is noticed, and a difference that no case has met fails the
// run. Nothing is skipped.
package conformance
