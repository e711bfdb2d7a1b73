package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// What hedged draws for, so that one use never gets what another one did.
const (
	randomMessageID = "sealq M"
	randomDataKey   = "sealq K"
	randomWrapIV    = "sealq I"
)

// hedgedInput is a label, 32 random bytes, the time and the count: with 55
// bytes, the most that SHA-256 takes in one block.
const hedgedInput = len(randomMessageID) + 32 + 8 + 8

// hedged returns 32 bytes that are as random as those of crypto/rand, and that
// do not repeat where those do: in two copies of one process that were resumed
// from the same snapshot of a virtual machine, and in a program that has put
// another reader in place of crypto/rand's. AES-GCM does not survive a message
// ID or an IV that is used twice under one key.
//
// SHA-256 of the random bytes, the wall clock's nanoseconds and a count is
// unpredictable if the random bytes are, and distinct if any of the three is.
// The time tells copies apart whose counts and random bytes are equal; the
// count tells draws of one process apart that happen within one tick of its
// clock. uses counts the draws under one key, which are all that must differ:
// it belongs to that key, and not to the package.
func hedged(label string, uses *atomic.Uint64) [sha256.Size]byte {
	var in [hedgedInput]byte
	n := copy(in[:], label)
	rand.Read(in[n : n+32])
	binary.BigEndian.PutUint64(in[n+32:], uint64(time.Now().UnixNano()))
	binary.BigEndian.PutUint64(in[n+40:], uses.Add(1))
	return sha256.Sum256(in[:])
}
