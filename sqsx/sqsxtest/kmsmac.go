package sqsxtest

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// kmsMACAlgorithm is the one algorithm of an HMAC key: HMAC_256 knows
// HMAC_SHA_256. It is empty for other keys.
func kmsMACAlgorithm(spec types.KeySpec) types.MacAlgorithmSpec {
	bits, ok := strings.CutPrefix(string(spec), "HMAC_")
	if !ok {
		return ""
	}
	return types.MacAlgorithmSpec("HMAC_SHA_" + bits)
}

func kmsMACHash(a types.MacAlgorithmSpec) func() hash.Hash {
	switch a {
	case types.MacAlgorithmSpecHmacSha224:
		return sha256.New224
	case types.MacAlgorithmSpecHmacSha256:
		return sha256.New
	case types.MacAlgorithmSpecHmacSha384:
		return sha512.New384
	}
	return sha512.New
}

// mac computes the HMAC of RFC 2104. The key is as long as its hash.
func (m *kmsMaterial) mac(a types.MacAlgorithmSpec, message []byte) []byte {
	h := kmsMACHash(a)
	key, err := hkdf.Expand(sha256.New, m.versions[0][:], "sqsxtest kms mac "+string(a), h().Size())
	if err != nil {
		panic(err) // the length is one that HKDF can produce
	}
	mac := hmac.New(h, key)
	mac.Write(message)
	return mac.Sum(nil)
}

// macKey finds the key for an operation on a MAC.
func (k *kmsService) macKey(c kmsCaller, operation string, id *string, a types.MacAlgorithmSpec, message []byte, grantTokens []string) (*kmsKey, error) {
	if !slices.Contains(a.Values(), a) {
		return nil, kmsValidation("1 validation error detected: Value '%s' at 'macAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: %v", a, a.Values())
	}
	if err := kmsCheckLength("message", len(message), 1, kmsMaxMessage); err != nil {
		return nil, err
	}
	if err := kmsCheckCrypto(nil, grantTokens); err != nil {
		return nil, err
	}
	key, err := k.lookup(c, id)
	if err != nil {
		return nil, err
	}
	if err := kmsEnabled(key); err != nil {
		return nil, err
	}
	if key.usage != types.KeyUsageTypeGenerateVerifyMac {
		return nil, &types.InvalidKeyUsageException{Message: aws.String(key.arn() + " key usage is " + string(key.usage) + " which is not valid for " + operation + ".")}
	}
	if kmsMACAlgorithm(key.spec) != a {
		return nil, &types.InvalidKeyUsageException{Message: aws.String("Algorithm " + string(a) + " is incompatible with key spec " + string(key.spec) + ".")}
	}
	return key, nil
}

type kmsMACOutput struct {
	KeyID        string `json:"KeyId"`
	Mac          []byte
	MacAlgorithm types.MacAlgorithmSpec
}

func (k *kmsService) generateMac(c kmsCaller, in *kms.GenerateMacInput) (kmsMACOutput, error) {
	key, err := k.macKey(c, "GenerateMac", in.KeyId, in.MacAlgorithm, in.Message, in.GrantTokens)
	if err != nil {
		return kmsMACOutput{}, err
	}
	if err := kmsDryRun(in.DryRun); err != nil {
		return kmsMACOutput{}, err
	}
	return kmsMACOutput{KeyID: key.arn(), Mac: key.material.mac(in.MacAlgorithm, in.Message), MacAlgorithm: in.MacAlgorithm}, nil
}

type kmsVerifyMACOutput struct {
	KeyID        string `json:"KeyId"`
	MacAlgorithm types.MacAlgorithmSpec
	MacValid     bool
}

// verifyMac never answers that a MAC is invalid: that is an error.
func (k *kmsService) verifyMac(c kmsCaller, in *kms.VerifyMacInput) (kmsVerifyMACOutput, error) {
	if err := kmsCheckLength("mac", len(in.Mac), 1, kmsMaxBlob); err != nil {
		return kmsVerifyMACOutput{}, err
	}
	key, err := k.macKey(c, "VerifyMac", in.KeyId, in.MacAlgorithm, in.Message, in.GrantTokens)
	if err != nil {
		return kmsVerifyMACOutput{}, err
	}
	if !hmac.Equal(in.Mac, key.material.mac(in.MacAlgorithm, in.Message)) {
		return kmsVerifyMACOutput{}, &types.KMSInvalidMacException{}
	}
	if err := kmsDryRun(in.DryRun); err != nil {
		return kmsVerifyMACOutput{}, err
	}
	return kmsVerifyMACOutput{KeyID: key.arn(), MacAlgorithm: in.MacAlgorithm, MacValid: true}, nil
}
