package conformance

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// kmsCases use the plain SDK, and fix what the KMS keyring relies on.
func kmsCases() []testCase {
	return []testCase{
		{"KMS: data keys under all forms of key ID", keyIDForms},
		{"KMS: the encryption context is bound", contextBound},
		{"KMS: a changed blob is refused", blobBound},
		{"KMS: the key named must be the blob's", keyBound},
		{"KMS: disabled keys and keys that await deletion are refused", keyStates},
		{"KMS: multi-Region keys", multiRegion},
		{"KMS: a data key that nobody has seen is encrypted again under another context", reEncrypted},
	}
}

var someContext = map[string]string{"sealq:queue": "arn:aws:sqs:us-east-1:000000000000:q", "z": "ä", "a": "b"}

func (s *suite) dataKey(t *testing.T, keyID string) *kms.GenerateDataKeyOutput {
	t.Helper()
	out, err := s.kms.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{
		KeyId: &keyID, KeySpec: kmstypes.DataKeySpecAes256, EncryptionContext: someContext,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Plaintext) != 32 {
		t.Fatalf("data key: got %d bytes, want 32", len(out.Plaintext))
	}
	return out
}

func (s *suite) decrypt(t *testing.T, keyID string, blob []byte, ec map[string]string) (*kms.DecryptOutput, error) {
	return s.kms.Decrypt(t.Context(), &kms.DecryptInput{KeyId: &keyID, CiphertextBlob: blob, EncryptionContext: ec})
}

func (s *suite) alias(t *testing.T, keyID string) string {
	t.Helper()
	name := "alias/conformance-" + unique()
	if _, err := s.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &keyID}); err != nil {
		t.Fatal(err)
	}
	return name
}

// forms returns a key's ID in every form that the API takes.
func forms(keyARN, alias string) map[string]string {
	prefix, id, _ := strings.Cut(keyARN, ":key/")
	return map[string]string{"key ID": id, "key ARN": keyARN, "alias": alias, "alias ARN": prefix + ":" + alias}
}

func keyIDForms(t *testing.T, s *suite) {
	key := s.key(t)
	for form, id := range forms(key, s.alias(t, key)) {
		generated := s.dataKey(t, id)
		if *generated.KeyId != key {
			t.Errorf("%s: GenerateDataKey: got key ID %q, want the ARN %q", form, *generated.KeyId, key)
		}
		opened, err := s.decrypt(t, id, generated.CiphertextBlob, someContext)
		if err != nil {
			t.Errorf("%s: Decrypt: %v", form, err)
			continue
		}
		if !bytes.Equal(opened.Plaintext, generated.Plaintext) || *opened.KeyId != key {
			t.Errorf("%s: Decrypt: got another key, or the key ID %q, want %q", form, *opened.KeyId, key)
		}
	}
}

func contextBound(t *testing.T, s *suite) {
	key := s.key(t)
	blob := s.dataKey(t, key).CiphertextBlob
	for name, ec := range map[string]map[string]string{
		"none":         nil,
		"one missing":  {"sealq:queue": someContext["sealq:queue"], "z": "ä"},
		"one more":     {"sealq:queue": someContext["sealq:queue"], "z": "ä", "a": "b", "c": "d"},
		"another case": {"sealq:queue": someContext["sealq:queue"], "z": "Ä", "a": "b"},
	} {
		_, err := s.decrypt(t, key, blob, ec)
		wantCode(t, name, err, "InvalidCiphertextException")
	}
}

func blobBound(t *testing.T, s *suite) {
	key := s.key(t)
	blob := s.dataKey(t, key).CiphertextBlob
	blob[len(blob)-1] ^= 1
	_, err := s.decrypt(t, key, blob, someContext)
	s.wantRefused(t, "last byte changed", err, "InvalidCiphertextException", TamperedBlobDecrypts)
}

func keyBound(t *testing.T, s *suite) {
	blob := s.dataKey(t, s.key(t)).CiphertextBlob
	_, err := s.decrypt(t, s.key(t), blob, someContext)
	switch {
	case s.differs(WrongKeyIDIsAccessDenied):
		wantCode(t, "another key", err, "AccessDeniedException")
	default:
		s.wantRefused(t, "another key", err, "IncorrectKeyException", WrongKeyIDDecrypts)
	}
}

// reEncrypted is how key stores make a branch key: one key under two contexts.
func reEncrypted(t *testing.T, s *suite) {
	key, other := s.key(t), s.key(t)
	version, active := map[string]string{"type": "branch:version:1", "tablename": "ä"}, map[string]string{"type": "branch:ACTIVE", "tablename": "ä"}
	generated, err := s.kms.GenerateDataKeyWithoutPlaintext(t.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{
		KeyId: &key, NumberOfBytes: aws.Int32(32), EncryptionContext: version,
	})
	if err != nil {
		t.Fatal(err)
	}
	if *generated.KeyId != key {
		t.Errorf("GenerateDataKeyWithoutPlaintext: got key ID %q, want the ARN %q", *generated.KeyId, key)
	}
	in := kms.ReEncryptInput{
		CiphertextBlob: generated.CiphertextBlob, SourceKeyId: &key, SourceEncryptionContext: version,
		DestinationKeyId: &key, DestinationEncryptionContext: active,
	}
	moved, err := s.kms.ReEncrypt(t.Context(), &in)
	if s.differs(NoReEncrypt) {
		wantCode(t, "ReEncrypt", err, "InvalidAction")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if *moved.SourceKeyId != key || *moved.KeyId != key {
		t.Errorf("ReEncrypt: got key IDs %q and %q, want the ARN %q", *moved.SourceKeyId, *moved.KeyId, key)
	}
	open := func(what string, blob []byte, ec map[string]string) []byte {
		out, err := s.decrypt(t, key, blob, ec)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return out.Plaintext
	}
	before, after := open("before", generated.CiphertextBlob, version), open("after", moved.CiphertextBlob, active)
	if len(before) != 32 || !bytes.Equal(before, after) {
		t.Errorf("got %d bytes before and %d after, want the same 32", len(before), len(after))
	}
	_, err = s.decrypt(t, key, moved.CiphertextBlob, version)
	wantCode(t, "the first context, after", err, "InvalidCiphertextException")

	wrong := in
	wrong.SourceEncryptionContext = active
	_, err = s.kms.ReEncrypt(t.Context(), &wrong)
	wantCode(t, "another source context", err, "InvalidCiphertextException")
	wrong = in
	wrong.SourceKeyId = &other
	_, err = s.kms.ReEncrypt(t.Context(), &wrong)
	s.wantRefused(t, "another source key", err, "IncorrectKeyException", AnySourceKeyReEncrypts)
}

func keyStates(t *testing.T, s *suite) {
	disabled, doomed := s.key(t), s.key(t)
	disabledBlob, doomedBlob := s.dataKey(t, disabled).CiphertextBlob, s.dataKey(t, doomed).CiphertextBlob
	s.disable(t, disabled)
	if _, err := s.kms.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: bareID(doomed)}); err != nil {
		t.Fatal(err)
	}
	generate := func(key string) error {
		_, err := s.kms.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256})
		return err
	}
	decrypt := func(key string, blob []byte) error {
		_, err := s.decrypt(t, key, blob, someContext)
		return err
	}
	s.wantRefused(t, "disabled: GenerateDataKey", generate(disabled), "DisabledException", UnavailableKeysWork)
	s.wantRefused(t, "disabled: Decrypt", decrypt(disabled, disabledBlob), "DisabledException", UnavailableKeysWork)
	s.wantRefused(t, "awaiting deletion: GenerateDataKey", generate(doomed), "KMSInvalidStateException", UnavailableKeysWork)
	s.wantRefused(t, "awaiting deletion: Decrypt", decrypt(doomed, doomedBlob), "KMSInvalidStateException", UnavailableKeysWork)

	s.enable(t, disabled)
	if err := decrypt(disabled, disabledBlob); err != nil {
		t.Errorf("enabled again: Decrypt: %v", err)
	}
}

// bareID is the key ID in a key's ARN: some emulators take no ARN where a key
// is administered.
func bareID(keyARN string) *string {
	_, id, _ := strings.Cut(keyARN, ":key/")
	return &id
}

func (s *suite) disable(t *testing.T, key string) {
	t.Helper()
	if _, err := s.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: bareID(key)}); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) enable(t *testing.T, key string) {
	t.Helper()
	if _, err := s.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: bareID(key)}); err != nil {
		t.Fatal(err)
	}
}

const replicaRegion = "eu-west-1"

// replicate makes a multi-Region key and a replica of it, and returns the ARNs
// of both.
func (s *suite) replicate(t *testing.T) (primary, replica string) {
	t.Helper()
	out, err := s.kms.CreateKey(t.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.kms.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{
		KeyId: out.KeyMetadata.KeyId, ReplicaRegion: aws.String(replicaRegion),
	}); err != nil {
		t.Fatal(err)
	}
	primary = *out.KeyMetadata.Arn
	return primary, strings.Replace(primary, ":"+s.target.KMS.Region+":", ":"+replicaRegion+":", 1)
}

func multiRegion(t *testing.T, s *suite) {
	primary, replica := s.replicate(t)
	generated := s.dataKey(t, primary)
	there := kms.NewFromConfig(s.target.KMS, func(o *kms.Options) { o.Region = replicaRegion })
	opened, err := there.Decrypt(t.Context(), &kms.DecryptInput{KeyId: &replica, CiphertextBlob: generated.CiphertextBlob, EncryptionContext: someContext})
	if s.differs(ReplicasCannotDecrypt) {
		wantCode(t, "Decrypt by the replica", err, "AccessDeniedException")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(opened.Plaintext, generated.Plaintext) || *opened.KeyId != replica {
		t.Errorf("Decrypt by the replica: got another key, or the key ID %q, want %q", *opened.KeyId, replica)
	}
}
