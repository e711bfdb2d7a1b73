package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// The floor is the cryptography of one message called by hand, straight into
// and out of buffers of the right size, with nothing parsed, checked or
// decided: a random message ID, HKDF extract and two expands, the header's tag,
// one frame, base64.

// floorHeader has the length of the header, without its tag, that sealq writes
// in this program.
var floorHeader = make([]byte, 412)

// floorFrame is what comes before the content of a final frame.
const floorFrame = 4 + 4 + 12 + 4

func floorCipher(dataKey, id []byte) (cipher.AEAD, []byte, error) {
	prk, err := hkdf.Extract(sha512.New, dataKey, id)
	if err != nil {
		return nil, nil, err
	}
	key, err := hkdf.Expand(sha512.New, prk, "\x04\x78DERIVEKEY", 32)
	if err != nil {
		return nil, nil, err
	}
	commitment, err := hkdf.Expand(sha512.New, prk, "COMMITKEY", 32)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, commitment, err
}

func floorAAD(id []byte, size int) []byte {
	const label = "AWSKMSEncryptionClient Final Frame"
	aad := make([]byte, 0, 32+len(label)+12)
	aad = append(append(aad, id...), label...)
	aad = binary.BigEndian.AppendUint32(aad, 1)
	return binary.BigEndian.AppendUint64(aad, uint64(size))
}

func floorSeal(dataKey, plaintext []byte) (header []byte, body string, err error) {
	id := make([]byte, 32)
	rand.Read(id)
	aead, commitment, err := floorCipher(dataKey, id)
	if err != nil {
		return nil, "", err
	}
	iv := make([]byte, 12)
	out := make([]byte, 0, len(floorHeader)+16+floorFrame+len(plaintext)+16)
	out = append(out, floorHeader[:len(floorHeader)-64]...)
	out = append(append(out, id...), commitment...)
	out = aead.Seal(out, iv, nil, out)
	n := len(out)
	out = out[:n+floorFrame]
	iv[11] = 1
	out = aead.Seal(out, iv, plaintext, floorAAD(id, len(plaintext)))
	return out[:n], base64.StdEncoding.EncodeToString(out[n:]), nil
}

var errFloor = errors.New("the floor does not open")

func floorOpen(dataKey, sealed []byte, encoded string) ([]byte, error) {
	n := len(floorHeader)
	header, tag := sealed[:n], sealed[n:]
	id, want := header[n-64:n-32], header[n-32:]
	body, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	aead, commitment, err := floorCipher(dataKey, id)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment, want) != 1 {
		return nil, errFloor
	}
	iv := make([]byte, 12)
	if _, err := aead.Open(nil, iv, tag, header); err != nil {
		return nil, err
	}
	iv[11] = 1
	frame := body[floorFrame:]
	plaintext := make([]byte, 0, len(frame)-16)
	return aead.Open(plaintext, iv, frame, floorAAD(id, len(frame)-16))
}

// floorWrap wraps a new data key under a branch key.
func floorWrap(branchKey, aad []byte) ([]byte, error) {
	dataKey := make([]byte, 32)
	rand.Read(dataKey)
	out := make([]byte, 44, 92) // salt, IV and version
	rand.Read(out[:28])
	aead, err := floorWrappingCipher(branchKey, out[:16])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, out[16:28], dataKey, aad), nil
}

func floorUnwrap(branchKey, wrapped, aad []byte) ([]byte, error) {
	aead, err := floorWrappingCipher(branchKey, wrapped[:16])
	if err != nil {
		return nil, err
	}
	return aead.Open(make([]byte, 0, 32), wrapped[16:28], wrapped[44:], aad)
}

func floorWrappingCipher(branchKey, salt []byte) (cipher.AEAD, error) {
	input := make([]byte, 0, 42+sha256.Size)
	input = append(input, "\x00\x00\x00\x01aws-kms-hierarchy\x00"...)
	input = append(append(input, salt...), 0, 0, 1, 0)
	mac := hmac.New(sha256.New, branchKey)
	mac.Write(input)
	block, err := aes.NewCipher(mac.Sum(input[42:]))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
