// Package cache reuses data keys: it is an [envelope.Keyring] in front of
// another one.
package cache
