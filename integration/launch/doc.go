// Package launch starts SQS and KMS emulators for the integration tests:
// LocalStack, ministack, moto, ElasticMQ and fauxqs.
//
// Each is installed from pinned packages into a cache folder, once, started as
// a process of its own on a free loopback port, awaited until it answers, and
// stopped by its process group. No container engine is needed. If the
// environment variable that [Emulator.EndpointVariable] names is set, the
// emulator that runs there is used as it is, and nothing is installed or
// started: that is how the tests are pointed at a container.
//
// What must be on the machine is a language toolchain: Python 3.13 for
// LocalStack, ministack and moto, Java and Maven for ElasticMQ, and npm and
// Python 3.13 (which brings the right Node.js) for fauxqs. Linux and macOS only.
package launch
