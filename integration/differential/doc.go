// Package differential compares sealq's reader with that of the official AWS
// Encryption SDK for Go, on random messages that are valid, unusual or damaged.
// Its tests check that both accept the same messages and return the same bytes,
// except for the differences that a table lists with their reasons.
//
// The SDK runs in a separate process, as a driver of package drivers.
package differential
