// Package launch starts SQS and KMS emulators for the integration tests:
// LocalStack, ministack, moto, ElasticMQ and fauxqs.
//
// Each is installed from pinned packages into a cache folder, once, started as
// a separate process on a free loopback port, and stopped by its process group.
// Tests wait until it answers. No container engine is needed. If the
// environment variable that [Emulator.EndpointVariable] names is set, the
// emulator that runs there is used, and nothing is installed or started. That
// is how to run the tests against a container.
//
// The machine must have a language toolchain: Python 3.13 for LocalStack,
// ministack and moto, Java and Maven for ElasticMQ, and npm and Python 3.13
// (which brings the right Node.js) for fauxqs. Linux and macOS only.
package launch
