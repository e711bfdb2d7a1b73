package branchkey

import (
	"crypto/rand"
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

// hedged returns 32 bytes that are as random as those of crypto/rand, and that
// do not repeat where those do: in two copies of one process that were resumed
// from the same snapshot of a virtual machine, and in a program that has put
// another reader in place of crypto/rand's. AES-GCM does not survive a salt and
// an IV that are used twice under one branch key.
//
// SHA-256 of 32 random bytes, the wall clock's nanoseconds, a count, and what
// is to be encrypted with its additional data is unpredictable if the random
// bytes are, and distinct if any of these is. So a salt and an IV come back
// only for the same data key bound to the same context, which gives the same
// ciphertext and reveals nothing. uses counts the draws.
func hedged(label string, uses *atomic.Uint64, secret, bound []byte) [sha256.Size]byte {
	var array [512]byte // on the stack; more moves to the heap
	n := copy(array[:], label)
	rand.Read(array[n : n+32])
	in := binary.BigEndian.AppendUint64(array[:n+32], uint64(time.Now().UnixNano()))
	in = binary.BigEndian.AppendUint64(in, uses.Add(1))
	in = append(in, secret...) // always as long, for one label
	in = append(in, bound...)
	defer clear(in)
	return sha256.Sum256(in)
}
