package envelope

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
)

const (
	publicKeySize     = 1 + 48 // a compressed point of P-384
	publicKeyTextSize = (publicKeySize + 2) / 3 * 4
)

// parsePublicKey parses the public key that a signed message carries in its
// context.
func parsePublicKey(value string) (*ecdsa.PublicKey, error) {
	// Strict refuses stray trailing bits. A decoder skips newlines even so,
	// and the length check after it sees to those.
	point, err := base64.StdEncoding.Strict().DecodeString(value)
	if err != nil || len(value) != publicKeyTextSize {
		return nil, fmt.Errorf("%w: %s is not base64 of a compressed P-384 point", ErrMalformed, publicKeyName)
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P384(), point)
	if x == nil {
		return nil, fmt.Errorf("%w: %s is not a point of P-384", ErrMalformed, publicKeyName)
	}
	uncompressed := make([]byte, 1+48+48)
	uncompressed[0] = 4
	x.FillBytes(uncompressed[1:49])
	y.FillBytes(uncompressed[49:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), uncompressed)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not a point of P-384", ErrMalformed, publicKeyName)
	}
	return key, nil
}

// verify reports whether signature is key's over everything before the footer,
// given in parts. Anyone who has a signed message can turn its signature into
// one other valid signature of the same bytes, as with all ECDSA; nothing here
// depends on its being the only one.
func verify(key *ecdsa.PublicKey, signature []byte, signed ...[]byte) bool {
	h := sha512.New384()
	for _, part := range signed {
		h.Write(part)
	}
	return ecdsa.VerifyASN1(key, h.Sum(nil), signature)
}
