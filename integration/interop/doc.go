// Package interop holds the tests that exchange messages between sealq and the
// official AWS Encryption SDKs, in both directions, directly and through a
// queue. Package drivers, beside it, installs and runs the SDKs; command
// vectors makes the test vectors of package envelope with them.
//
//	go test ./interop/...
//
// installs what is missing and runs everything. An SDK whose language is not on
// the machine is skipped, or fails the run if SEALQTEST_REQUIRE_ALL is set; an
// SDK that does not install, build or start fails it always. Before the first
// run, run go run ./interop/install, so that the minutes of installing do not
// count towards go test's limit.
//
// Every row of the table of results also sends each message with one bit
// changed, and expects it to be refused. To see the rows fail, run with
// SEALQTEST_INTEROP_BREAK=1, which changes one bit of each message on its way,
// the test vectors and what goes through a queue included. CI does that, and
// expects every row of the table to fail.
package interop
