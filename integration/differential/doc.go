// Package differential compares sealq's reader with that of the official AWS
// Encryption SDK for Go, on messages that are random and right, random and
// unusual, and random and damaged. Its tests hold that both accept the same
// messages and open them to the same bytes, but for the differences that a table
// lists with their reasons.
//
// The SDK runs in a process of its own, as a driver of package drivers.
package differential
