// Package thirdparty holds tests that run other people's SQS code, unchanged,
// over clients and configurations that sealq is installed in: watermill-aws with
// its own suite for publishers and subscribers, gocloud.dev's awssnssqs with its
// own conformance tests, OpenTelemetry's otelaws on the same client in both orders,
// and smithy-go's adapters for OpenTelemetry.
package thirdparty
