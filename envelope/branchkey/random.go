package branchkey

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// What hedged draws for, so that one use never gets what another one did.
const (
	randomDataKey = "sealq K"
	randomSaltIV  = "sealq S"
)

// randomSize is how many bytes of crypto/rand a value is made of.
const randomSize = 32

// hedged returns 32 bytes that are as random as random, which is of
// crypto/rand, and that do not repeat where that does: in two copies of one
// process that were resumed from the same snapshot of a virtual machine, and in
// a program that has put another reader in place of crypto/rand's. AES-GCM does
// not survive a salt and an IV that are used twice under one branch key.
//
// SHA-256 of the random bytes, the wall clock's nanoseconds, a count, and what
// is to be encrypted with its additional data is unpredictable if the random
// bytes are, and distinct if any of these is. So a salt and an IV come back
// only for the same data key bound to the same context, which gives the same
// ciphertext and reveals nothing. uses counts the draws.
func hedged(label string, random *[randomSize]byte, uses *atomic.Uint64, secret, bound []byte) [sha256.Size]byte {
	var array [512]byte // on the stack; more moves to the heap
	in := append(array[:0], label...)
	in = append(in, random[:]...)
	in = binary.BigEndian.AppendUint64(in, uint64(time.Now().UnixNano()))
	in = binary.BigEndian.AppendUint64(in, uses.Add(1))
	in = append(in, secret...) // always as long, for one label
	in = append(in, bound...)
	defer clear(in)
	return sha256.Sum256(in)
}
