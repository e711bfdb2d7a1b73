// Package thirdparty has tests that run other projects' SQS code, unchanged,
// with clients and configurations in which sealq is installed: watermill-aws
// with its own suite for publishers and subscribers, gocloud.dev's awssnssqs
// with its own conformance tests, OpenTelemetry's otelaws on the same client in
// both orders, and smithy-go's adapters for OpenTelemetry.
package thirdparty
