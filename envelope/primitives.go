package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// This file holds every cryptographic operation on a message except the
// verification of signatures, in the order in which a message meets them:
// derivation, commitment, header tag, frames.

// suiteID names an algorithm suite. Both of ours are AES-256-GCM under a key
// derived with HKDF-SHA512, and commit to that key.
type suiteID uint16

const (
	suiteCommit     suiteID = 0x0478 // written and read
	suiteCommitSign suiteID = 0x0578 // read: the same, and an ECDSA P-384 signature
)

const (
	messageIDSize  = 32
	commitmentSize = 32
	ivSize         = 12
	tagSize        = 16
)

// Domain separation of the two values derived from a data key: the message key,
// whose label begins with the suite ID, and the commitment.
const (
	deriveKeyLabel     = "\x04\x78DERIVEKEY" // suiteCommit
	deriveKeyLabelSign = "\x05\x78DERIVEKEY" // suiteCommitSign
	commitKeyLabel     = "COMMITKEY"
)

// What a frame's additional data says about its place in the message.
const (
	labelFrame       = "AWSKMSEncryptionClient Frame"
	labelFinalFrame  = "AWSKMSEncryptionClient Final Frame"
	labelSingleBlock = "AWSKMSEncryptionClient Single Block"
)

// messageCipher seals or opens the parts of one message. It is used by one
// goroutine.
type messageCipher struct {
	aead       cipher.AEAD
	commitment []byte
	messageID  []byte

	// aad is reused by every frame.
	aad [messageIDSize + len(labelSingleBlock) + 4 + 8]byte
	// zeroIV is the header's IV. The message key is derived from a message ID
	// of 256 random bits (see hedged), so that it seals one message only, in
	// which the header has IV 0 and frames have IVs 1, 2, 3...
	zeroIV [ivSize]byte
}

// newMessageCipher derives a message's key and key commitment from its data
// key.
func newMessageCipher(suite suiteID, key *[DataKeySize]byte, messageID []byte) (*messageCipher, error) {
	prk, err := hkdf.Extract(sha512.New, key[:], messageID)
	if err != nil {
		return nil, err
	}
	label := deriveKeyLabel
	if suite == suiteCommitSign {
		label = deriveKeyLabelSign
	}
	messageKey, err := hkdf.Expand(sha512.New, prk, label, DataKeySize)
	if err != nil {
		return nil, err
	}
	commitment, err := hkdf.Expand(sha512.New, prk, commitKeyLabel, commitmentSize)
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(messageKey)
	if err != nil {
		return nil, err
	}
	return &messageCipher{aead: aead, commitment: commitment, messageID: messageID}, nil
}

// committed reports whether commitment, from a header, is that of the message
// key. AES-GCM alone would let one ciphertext open under two keys, to two
// plaintexts.
func (c *messageCipher) committed(commitment []byte) bool {
	return subtle.ConstantTimeCompare(c.commitment, commitment) == 1
}

// appendHeaderTag appends to dst the tag that authenticates header.
func (c *messageCipher) appendHeaderTag(dst, header []byte) []byte {
	return c.aead.Seal(dst, c.zeroIV[:], nil, header)
}

// headerAuthentic reports whether tag authenticates header.
func (c *messageCipher) headerAuthentic(header, tag []byte) bool {
	_, err := c.aead.Open(nil, c.zeroIV[:], tag, header)
	return err == nil
}

// appendFrame appends to dst the ciphertext and tag of a frame.
func (c *messageCipher) appendFrame(dst []byte, f frame, plaintext []byte) []byte {
	return c.aead.Seal(dst, f.iv, plaintext, c.frameAAD(f, len(plaintext)))
}

// openFrame appends to dst the plaintext of a frame. It fails with
// [ErrAuthentication] alone.
func (c *messageCipher) openFrame(dst []byte, f frame) ([]byte, error) {
	plaintext, err := c.aead.Open(dst, f.iv, f.sealed, c.frameAAD(f, len(f.sealed)-tagSize))
	if err != nil {
		return nil, ErrAuthentication
	}
	return plaintext, nil
}

// frameAAD binds a frame to its message, its place and its length.
func (c *messageCipher) frameAAD(f frame, size int) []byte {
	aad := append(c.aad[:0], c.messageID...)
	aad = append(aad, f.label...)
	aad = binary.BigEndian.AppendUint32(aad, f.sequence)
	return binary.BigEndian.AppendUint64(aad, uint64(size))
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if err := checkFIPS(); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// checkFIPS returns an error if the process runs with GODEBUG=fips140=only,
// where this message format cannot work: the format prescribes AES-GCM nonces,
// and that mode refuses AES-GCM with any nonce but a random one of its own.
// Constructors of keyrings call it, so that the first message is not the first
// to know. GODEBUG=fips140=on is no obstacle.
func checkFIPS() error {
	if fips140.Enforced() {
		return errors.New("envelope: GODEBUG=fips140=only refuses AES-GCM with the nonces that the message format prescribes; use fips140=on or off")
	}
	return nil
}
