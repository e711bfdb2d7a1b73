package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/sealq/sealq/envelope"
)

// identity names an entry. It is a SHA-256 over fields that each follow their
// own length, so that no two different inputs hash the same bytes, and so that
// an entry costs the same whatever the length of its context.
type identity [sha256.Size]byte

// contextIdentity names what is kept for sealing under ec.
func contextIdentity(ec envelope.EncryptionContext) identity {
	// Both arrays stay on the stack; a larger context moves to the heap.
	var nameArray [8]string
	var fieldArray [512]byte

	names := nameArray[:0]
	for name := range ec {
		names = append(names, name)
	}
	slices.Sort(names)

	fields := binary.BigEndian.AppendUint64(fieldArray[:0], uint64(len(names)))
	for _, name := range names {
		fields = appendField(fields, name)
		fields = appendField(fields, ec[name])
	}
	return sha256.Sum256(fields)
}

// keyIdentity names what is kept for opening edk under the context that
// contextIdentity gave ec for: a message of many encrypted data keys has its
// context hashed once.
func keyIdentity(edk *envelope.EncryptedDataKey, ec identity) identity {
	var fieldArray [768]byte
	fields := appendField(fieldArray[:0], edk.ProviderID)
	fields = appendField(fields, edk.ProviderInfo)
	fields = appendField(fields, edk.Ciphertext)
	fields = append(fields, ec[:]...)
	return sha256.Sum256(fields)
}

// appendIdentities appends the name of each of edks under ec.
func appendIdentities(ids []identity, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) []identity {
	under := contextIdentity(ec)
	for i := range edks {
		ids = append(ids, keyIdentity(&edks[i], under))
	}
	return ids
}

// setIdentity names a set of encrypted data keys, in any order. A set of one
// has the name of its member.
func setIdentity(ids []identity) identity {
	if len(ids) == 1 {
		return ids[0]
	}
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b identity) int { return bytes.Compare(a[:], b[:]) })
	fields := make([]byte, 0, len(ids)*sha256.Size)
	for _, id := range ids {
		fields = append(fields, id[:]...)
	}
	return sha256.Sum256(fields)
}

func appendField[T string | []byte](fields []byte, field T) []byte {
	fields = binary.BigEndian.AppendUint64(fields, uint64(len(field)))
	return append(fields, field...)
}
