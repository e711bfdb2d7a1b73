package sqsxtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

type kmsMaterialID [32]byte

// kmsMaterial is the secret of a key, shared by the replicas of a multi-Region
// key. A rotation adds a version; old blobs open with theirs.
type kmsMaterial struct {
	id       kmsMaterialID
	versions [][kmsMaterialKeySize]byte
	rotation kmsRotation // automatic
	onDemand int         // rotations
}

func newKMSMaterial() *kmsMaterial {
	m := new(kmsMaterial)
	rand.Read(m.id[:])
	m.rotate()
	return m
}

func (m *kmsMaterial) rotate() {
	var secret [kmsMaterialKeySize]byte
	rand.Read(secret[:])
	m.versions = append(m.versions, secret)
}

// versionID is the KeyMaterialId of a version: 64 hexadecimal digits.
func (m *kmsMaterial) versionID(version uint32) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(slices.Clone(m.id[:]), version))
	return hex.EncodeToString(sum[:])
}

func (m *kmsMaterial) current() uint32   { return uint32(len(m.versions) - 1) }
func (m *kmsMaterial) currentID() string { return m.versionID(m.current()) }

// A blob is: prefix, material ID, material version, salt, nonce, ciphertext and
// tag. It is as long as the service's and starts with the same bytes.
const (
	kmsBlobPrefix    = "\x01\x02\x02\x00\x78"
	kmsNonceSize     = 12
	kmsTagSize       = 16
	kmsVersionOffset = len(kmsBlobPrefix) + len(kmsMaterialID{})
	kmsSaltOffset    = kmsVersionOffset + 4
	kmsNonceOffset   = kmsBlobOverhead - kmsTagSize - kmsNonceSize
)

func (m *kmsMaterial) seal(plaintext []byte, context map[string]string) []byte {
	version := m.current()
	blob := make([]byte, kmsNonceOffset+kmsNonceSize)
	copy(blob, kmsBlobPrefix)
	copy(blob[len(kmsBlobPrefix):], m.id[:])
	binary.BigEndian.PutUint32(blob[kmsVersionOffset:], version)
	rand.Read(blob[kmsSaltOffset:])
	return m.aead(version, blob).Seal(blob, blob[kmsNonceOffset:], plaintext, kmsAAD(blob, context))
}

func (m *kmsMaterial) open(version uint32, blob []byte, context map[string]string) ([]byte, bool) {
	head := blob[:kmsNonceOffset+kmsNonceSize]
	plaintext, err := m.aead(version, head).Open(nil, head[kmsNonceOffset:], blob[len(head):], kmsAAD(head, context))
	return plaintext, err == nil
}

func (m *kmsMaterial) aead(version uint32, head []byte) cipher.AEAD {
	key, err := hkdf.Key(sha256.New, m.versions[version][:], head[kmsSaltOffset:kmsNonceOffset], "sqsxtest kms blob", kmsMaterialKeySize)
	if err != nil {
		panic(err) // the length is a constant that HKDF can produce
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func kmsAAD(head []byte, context map[string]string) []byte {
	aad := slices.Clone(head)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		for _, s := range []string{name, context[name]} {
			aad = binary.BigEndian.AppendUint32(aad, uint32(len(s)))
			aad = append(aad, s...)
		}
	}
	return aad
}

// usable finds a key for a cryptographic operation.
func (k *kmsService) usable(c kmsCaller, id *string, context map[string]string, grantTokens []string) (*kmsKey, error) {
	if err := kmsCheckCrypto(context, grantTokens); err != nil {
		return nil, err
	}
	key, err := k.lookup(c, id)
	if err != nil {
		return nil, err
	}
	return key, kmsUsable(key)
}

func kmsCheckCrypto(context map[string]string, grantTokens []string) error {
	size := 0
	for name, value := range context {
		size += len(name) + len(value)
	}
	if size > kmsMaxContextBytes {
		return kmsValidation("the encryption context is %d bytes, must be at most %d", size, kmsMaxContextBytes)
	}
	return kmsCheckLength("grantTokens", len(grantTokens), 0, kmsMaxGrantTokens)
}

func kmsUsable(key *kmsKey) error {
	if err := kmsEnabled(key); err != nil {
		return err
	}
	if !key.symmetric() {
		return &types.InvalidKeyUsageException{Message: aws.String(key.arn() + " is not a symmetric encryption key.")}
	}
	return nil
}

// kmsDryRun ends a request that would have succeeded.
func kmsDryRun(dryRun *bool) error {
	if aws.ToBool(dryRun) {
		return &types.DryRunOperationException{Message: aws.String("The request would have succeeded, but the DryRun option is set.")}
	}
	return nil
}

// kmsIgnoresCiphertext reports whether a request asks about the key and the
// caller only, with nothing to decrypt. The modifier has no meaning without a
// dry run; with one, the request must name the key, for which it is asked.
func kmsIgnoresCiphertext(dryRun *bool, modifiers []types.DryRunModifierType, keyID *string) (bool, error) {
	for _, m := range modifiers {
		if !slices.Contains(m.Values(), m) {
			return false, kmsValidation("1 validation error detected: Value '%.100s' at 'dryRunModifiers' failed to satisfy constraint: Member must satisfy enum value set: %v", m, m.Values())
		}
	}
	if !aws.ToBool(dryRun) || !slices.Contains(modifiers, types.DryRunModifierTypeIgnoreCiphertext) {
		return false, nil
	}
	if keyID == nil {
		return false, kmsValidation("The key ID is required when DryRunModifiers is IGNORE_CIPHERTEXT.")
	}
	return true, nil
}

type kmsDataKeyOutput struct {
	CiphertextBlob []byte
	KeyID          string `json:"KeyId"`
	KeyMaterialID  string `json:"KeyMaterialId"`
	Plaintext      []byte `json:",omitempty"`
}

func (k *kmsService) generateDataKey(c kmsCaller, in *kms.GenerateDataKeyInput) (kmsDataKeyOutput, error) {
	if in.Recipient != nil {
		return kmsDataKeyOutput{}, &types.UnsupportedOperationException{Message: aws.String("this server has no enclaves")}
	}
	n := 0
	switch {
	case (in.KeySpec != "") == (in.NumberOfBytes != nil):
		return kmsDataKeyOutput{}, kmsValidation("Please specify either number of bytes or key spec.")
	case in.NumberOfBytes != nil:
		n = int(*in.NumberOfBytes)
		if n < 1 || n > kmsMaxNumberOfBytes {
			return kmsDataKeyOutput{}, kmsValidation("1 validation error detected: Value at 'numberOfBytes' is %d, must be between 1 and %d", n, kmsMaxNumberOfBytes)
		}
	case in.KeySpec == types.DataKeySpecAes256:
		n = 32
	case in.KeySpec == types.DataKeySpecAes128:
		n = 16
	default:
		return kmsDataKeyOutput{}, kmsValidation("1 validation error detected: Value '%s' at 'keySpec' is not one of AES_256, AES_128", in.KeySpec)
	}
	key, err := k.usable(c, in.KeyId, in.EncryptionContext, in.GrantTokens)
	if err != nil {
		return kmsDataKeyOutput{}, err
	}
	if err := kmsDryRun(in.DryRun); err != nil {
		return kmsDataKeyOutput{}, err
	}
	plaintext := make([]byte, n)
	rand.Read(plaintext)
	return kmsDataKeyOutput{
		Plaintext: plaintext, CiphertextBlob: key.material.seal(plaintext, in.EncryptionContext),
		KeyID: key.arn(), KeyMaterialID: key.material.currentID(),
	}, nil
}

func (k *kmsService) generateDataKeyWithoutPlaintext(c kmsCaller, in *kms.GenerateDataKeyWithoutPlaintextInput) (kmsDataKeyOutput, error) {
	out, err := k.generateDataKey(c, &kms.GenerateDataKeyInput{
		KeyId: in.KeyId, KeySpec: in.KeySpec, NumberOfBytes: in.NumberOfBytes,
		EncryptionContext: in.EncryptionContext, GrantTokens: in.GrantTokens, DryRun: in.DryRun,
	})
	out.Plaintext = nil
	return out, err
}

// kmsAlgorithm checks the algorithm of a request: symmetric keys know one.
func kmsAlgorithm(a types.EncryptionAlgorithmSpec) error {
	if a != "" && a != types.EncryptionAlgorithmSpecSymmetricDefault {
		return &types.InvalidKeyUsageException{Message: aws.String("the algorithm " + string(a) + " is not one of a symmetric encryption key.")}
	}
	return nil
}

type kmsEncryptOutput struct {
	CiphertextBlob      []byte
	EncryptionAlgorithm types.EncryptionAlgorithmSpec
	KeyID               string `json:"KeyId"`
}

func (k *kmsService) encrypt(c kmsCaller, in *kms.EncryptInput) (kmsEncryptOutput, error) {
	if err := kmsCheckLength("plaintext", len(in.Plaintext), 1, kmsMaxPlaintext); err != nil {
		return kmsEncryptOutput{}, err
	}
	key, err := k.usable(c, in.KeyId, in.EncryptionContext, in.GrantTokens)
	if err != nil {
		return kmsEncryptOutput{}, err
	}
	if err := kmsAlgorithm(in.EncryptionAlgorithm); err != nil {
		return kmsEncryptOutput{}, err
	}
	if err := kmsDryRun(in.DryRun); err != nil {
		return kmsEncryptOutput{}, err
	}
	return kmsEncryptOutput{
		CiphertextBlob:      key.material.seal(in.Plaintext, in.EncryptionContext),
		EncryptionAlgorithm: types.EncryptionAlgorithmSpecSymmetricDefault,
		KeyID:               key.arn(),
	}, nil
}

// openBlob decrypts blob with the key that id names, or, without one, with the
// key that blob names.
func (k *kmsService) openBlob(c kmsCaller, id *string, blob []byte, context map[string]string, grantTokens []string) (plaintext []byte, key *kmsKey, version uint32, err error) {
	if err := kmsCheckLength("ciphertextBlob", len(blob), 1, kmsMaxBlob); err != nil {
		return nil, nil, 0, err
	}
	if err := kmsCheckCrypto(context, grantTokens); err != nil {
		return nil, nil, 0, err
	}
	if id != nil {
		if key, err = k.lookup(c, id); err != nil {
			return nil, nil, 0, err
		}
		if err := kmsEnabled(key); err != nil {
			return nil, nil, 0, err
		}
	}
	invalid := &types.InvalidCiphertextException{}
	if len(blob) <= kmsBlobOverhead || string(blob[:len(kmsBlobPrefix)]) != kmsBlobPrefix {
		return nil, nil, 0, invalid
	}
	material, ok := k.materials[kmsMaterialID(blob[len(kmsBlobPrefix):kmsVersionOffset])]
	if !ok {
		return nil, nil, 0, invalid
	}
	if key == nil {
		if key = k.keyOf(c, material); key == nil {
			return nil, nil, 0, kmsAccessDenied("The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
		}
		if err := kmsUsable(key); err != nil {
			return nil, nil, 0, err
		}
	}
	if key.material != material {
		return nil, nil, 0, &types.IncorrectKeyException{Message: aws.String("The key ID in the request does not identify a CMK that can perform this operation.")}
	}
	if version = binary.BigEndian.Uint32(blob[kmsVersionOffset:]); int(version) >= len(material.versions) {
		return nil, nil, 0, invalid
	}
	if plaintext, ok = material.open(version, blob, context); !ok {
		return nil, nil, 0, invalid
	}
	return plaintext, key, version, nil
}

func (k *kmsService) keyOf(c kmsCaller, m *kmsMaterial) *kmsKey {
	k.sweep()
	for _, key := range k.keys {
		if key.material == m && key.region == c.region {
			return key
		}
	}
	return nil
}

type kmsDecryptOutput struct {
	EncryptionAlgorithm types.EncryptionAlgorithmSpec
	KeyID               string `json:"KeyId"`
	KeyMaterialID       string `json:"KeyMaterialId"`
	Plaintext           []byte
}

func (k *kmsService) decrypt(c kmsCaller, in *kms.DecryptInput) (kmsDecryptOutput, error) {
	if in.Recipient != nil {
		return kmsDecryptOutput{}, &types.UnsupportedOperationException{Message: aws.String("this server has no enclaves")}
	}
	ignored, err := kmsIgnoresCiphertext(in.DryRun, in.DryRunModifiers, in.KeyId)
	if err != nil {
		return kmsDecryptOutput{}, err
	}
	if ignored {
		if _, err := k.usable(c, in.KeyId, in.EncryptionContext, in.GrantTokens); err != nil {
			return kmsDecryptOutput{}, err
		}
		return kmsDecryptOutput{}, kmsDryRun(in.DryRun)
	}
	plaintext, key, version, err := k.openBlob(c, in.KeyId, in.CiphertextBlob, in.EncryptionContext, in.GrantTokens)
	if err != nil {
		return kmsDecryptOutput{}, err
	}
	if err := kmsAlgorithm(in.EncryptionAlgorithm); err != nil {
		return kmsDecryptOutput{}, err
	}
	if err := kmsDryRun(in.DryRun); err != nil {
		return kmsDecryptOutput{}, err
	}
	return kmsDecryptOutput{
		EncryptionAlgorithm: types.EncryptionAlgorithmSpecSymmetricDefault,
		KeyID:               key.arn(), KeyMaterialID: key.material.versionID(version), Plaintext: plaintext,
	}, nil
}

type kmsReEncryptOutput struct {
	CiphertextBlob                 []byte
	DestinationEncryptionAlgorithm types.EncryptionAlgorithmSpec
	DestinationKeyMaterialID       string `json:"DestinationKeyMaterialId"`
	KeyID                          string `json:"KeyId"`
	SourceEncryptionAlgorithm      types.EncryptionAlgorithmSpec
	SourceKeyID                    string `json:"SourceKeyId"`
	SourceKeyMaterialID            string `json:"SourceKeyMaterialId"`
}

func (k *kmsService) reEncrypt(c kmsCaller, in *kms.ReEncryptInput) (kmsReEncryptOutput, error) {
	ignored, err := kmsIgnoresCiphertext(in.DryRun, in.DryRunModifiers, in.SourceKeyId)
	if err != nil {
		return kmsReEncryptOutput{}, err
	}
	var (
		plaintext []byte
		source    *kmsKey
		version   uint32
	)
	if ignored {
		source, err = k.usable(c, in.SourceKeyId, in.SourceEncryptionContext, in.GrantTokens)
	} else {
		plaintext, source, version, err = k.openBlob(c, in.SourceKeyId, in.CiphertextBlob, in.SourceEncryptionContext, in.GrantTokens)
	}
	if err != nil {
		return kmsReEncryptOutput{}, err
	}
	destination, err := k.usable(c, in.DestinationKeyId, in.DestinationEncryptionContext, in.GrantTokens)
	if err != nil {
		return kmsReEncryptOutput{}, err
	}
	for _, a := range []types.EncryptionAlgorithmSpec{in.SourceEncryptionAlgorithm, in.DestinationEncryptionAlgorithm} {
		if err := kmsAlgorithm(a); err != nil {
			return kmsReEncryptOutput{}, err
		}
	}
	if err := kmsDryRun(in.DryRun); err != nil {
		return kmsReEncryptOutput{}, err
	}
	return kmsReEncryptOutput{
		CiphertextBlob:                 destination.material.seal(plaintext, in.DestinationEncryptionContext),
		DestinationEncryptionAlgorithm: types.EncryptionAlgorithmSpecSymmetricDefault,
		DestinationKeyMaterialID:       destination.material.currentID(),
		KeyID:                          destination.arn(),
		SourceEncryptionAlgorithm:      types.EncryptionAlgorithmSpecSymmetricDefault,
		SourceKeyID:                    source.arn(),
		SourceKeyMaterialID:            source.material.versionID(version),
	}, nil
}

type kmsRandomOutput struct{ Plaintext []byte }

func (k *kmsService) generateRandom(_ kmsCaller, in *kms.GenerateRandomInput) (kmsRandomOutput, error) {
	n := int(aws.ToInt32(in.NumberOfBytes))
	if n < 1 || n > kmsMaxNumberOfBytes {
		return kmsRandomOutput{}, kmsValidation("1 validation error detected: Value at 'numberOfBytes' is %d, must be between 1 and %d", n, kmsMaxNumberOfBytes)
	}
	out := kmsRandomOutput{Plaintext: make([]byte, n)}
	rand.Read(out.Plaintext)
	return out, nil
}
