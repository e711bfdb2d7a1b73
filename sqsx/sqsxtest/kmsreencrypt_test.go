package sqsxtest_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestKMSBranchKey: what a key store calls of KMS. One key is encrypted under
// two contexts, and nobody has seen it.
func TestKMSBranchKey(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	version := map[string]string{"branch-key-id": "orders", "type": "branch:version:1", "tablename": "keys"}
	active := map[string]string{"branch-key-id": "orders", "type": "branch:ACTIVE", "version": "branch:version:1", "tablename": "keys"}
	generated := mustKMS(a.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &a.arn, NumberOfBytes: aws.Int32(32), EncryptionContext: version}))(t)
	if *generated.KeyId != a.arn || len(generated.CiphertextBlob) != 184 || len(aws.ToString(generated.KeyMaterialId)) != 64 {
		t.Errorf("got key %s, %d bytes of ciphertext, material %v, want %s and 184", *generated.KeyId, len(generated.CiphertextBlob), generated.KeyMaterialId, a.arn)
	}
	moved := mustKMS(a.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: generated.CiphertextBlob, SourceKeyId: &a.arn, SourceEncryptionContext: version,
		DestinationKeyId: &a.arn, DestinationEncryptionContext: active,
	}))(t)
	if *moved.SourceKeyId != a.arn || *moved.KeyId != a.arn || moved.SourceEncryptionAlgorithm != types.EncryptionAlgorithmSpecSymmetricDefault || moved.DestinationEncryptionAlgorithm != types.EncryptionAlgorithmSpecSymmetricDefault {
		t.Errorf("ReEncrypt: got %+v, want both keys %s", moved, a.arn)
	}
	open := func(blob []byte, ec map[string]string) []byte {
		t.Helper()
		return mustKMS(a.Decrypt(ctx, &kms.DecryptInput{KeyId: &a.arn, CiphertextBlob: blob, EncryptionContext: ec}))(t).Plaintext
	}
	first, second := open(generated.CiphertextBlob, version), open(moved.CiphertextBlob, active)
	if len(first) != 32 || !bytes.Equal(first, second) {
		t.Errorf("got %d bytes under one context, and others under the other, want the same 32", len(first))
	}
	wantKMSCode[*kms.DecryptOutput](t, "the other's context", "InvalidCiphertextException")(a.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, EncryptionContext: version}))
	other := mustKMS(a.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &a.arn, NumberOfBytes: aws.Int32(32), EncryptionContext: version}))(t)
	if bytes.Equal(open(other.CiphertextBlob, version), first) {
		t.Error("two calls generated one key")
	}
}

func TestKMSReEncryptErrors(t *testing.T) {
	t.Parallel()
	srv := sqsxtest.New(t)
	a := newKMSAccount(t, srv)
	ctx := t.Context()
	key := func() *string { return mustKMS(a.CreateKey(ctx, &kms.CreateKeyInput{}))(t).KeyMetadata.Arn }
	other, disabled, doomed := key(), key(), key()
	mac := a.newKey(t, kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}).KeyId
	ec := map[string]string{"type": "branch:ACTIVE"}
	seal := func(key *string) []byte {
		return mustKMS(a.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("x"), EncryptionContext: ec}))(t).CiphertextBlob
	}
	blob, ofDisabled, ofDoomed := seal(&a.arn), seal(disabled), seal(doomed)
	mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: disabled}))(t)
	mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: doomed}))(t)
	damaged := bytes.Clone(blob)
	damaged[len(damaged)-1] ^= 1
	absent := aws.String("1234abcd-12ab-34cd-56ef-1234567890ab")
	for name, test := range map[string]struct {
		code string // "": success
		edit func(*kms.ReEncryptInput)
	}{
		"as it is":            {"", func(*kms.ReEncryptInput) {}},
		"no source key named": {"", func(in *kms.ReEncryptInput) { in.SourceKeyId = nil }},
		"aliases": {"", func(in *kms.ReEncryptInput) {
			in.SourceKeyId, in.DestinationKeyId = aws.String("alias/orders"), aws.String("alias/orders")
		}},
		"another context":                {"InvalidCiphertextException", func(in *kms.ReEncryptInput) { in.SourceEncryptionContext = nil }},
		"damaged":                        {"InvalidCiphertextException", func(in *kms.ReEncryptInput) { in.CiphertextBlob = damaged }},
		"no blob of KMS":                 {"InvalidCiphertextException", func(in *kms.ReEncryptInput) { in.CiphertextBlob = []byte("x") }},
		"another source key":             {"IncorrectKeyException", func(in *kms.ReEncryptInput) { in.SourceKeyId = other }},
		"source key disabled":            {"DisabledException", func(in *kms.ReEncryptInput) { in.CiphertextBlob, in.SourceKeyId = ofDisabled, disabled }},
		"source key disabled, not named": {"DisabledException", func(in *kms.ReEncryptInput) { in.CiphertextBlob, in.SourceKeyId = ofDisabled, nil }},
		"source key pending deletion":    {"KMSInvalidStateException", func(in *kms.ReEncryptInput) { in.CiphertextBlob, in.SourceKeyId = ofDoomed, doomed }},
		"no such source key":             {"NotFoundException", func(in *kms.ReEncryptInput) { in.SourceKeyId = absent }},
		"destination disabled":           {"DisabledException", func(in *kms.ReEncryptInput) { in.DestinationKeyId = disabled }},
		"destination pending deletion":   {"KMSInvalidStateException", func(in *kms.ReEncryptInput) { in.DestinationKeyId = doomed }},
		"no such destination":            {"NotFoundException", func(in *kms.ReEncryptInput) { in.DestinationKeyId = absent }},
		"destination for MACs":           {"InvalidKeyUsageException", func(in *kms.ReEncryptInput) { in.DestinationKeyId = mac }},
		"an algorithm of other keys": {"InvalidKeyUsageException", func(in *kms.ReEncryptInput) {
			in.DestinationEncryptionAlgorithm = types.EncryptionAlgorithmSpecRsaesOaepSha256
		}},
		"eleven grant tokens": {"ValidationException", func(in *kms.ReEncryptInput) { in.GrantTokens = make([]string, 11) }},
		"a context of 8193 bytes": {"ValidationException", func(in *kms.ReEncryptInput) {
			in.DestinationEncryptionContext = map[string]string{"a": strings.Repeat("x", 8192)}
		}},
		"a blob of 6145 bytes": {"ValidationException", func(in *kms.ReEncryptInput) { in.CiphertextBlob = make([]byte, 6145) }},
	} {
		in := &kms.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: &a.arn, SourceEncryptionContext: ec, DestinationKeyId: other}
		test.edit(in)
		_, err := a.ReEncrypt(ctx, in)
		if test.code == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantKMSCode[any](t, name, test.code)(nil, err)
	}
	for _, denied := range []string{"kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKeyWithoutPlaintext"} {
		allow := srv.Deny(denied)
		_, err := a.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: ec, DestinationKeyId: other})
		if denied == "kms:GenerateDataKeyWithoutPlaintext" {
			_, err = a.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: other, NumberOfBytes: aws.Int32(32)})
		}
		wantKMSCode[any](t, denied+" denied", "AccessDeniedException")(nil, err)
		allow()
	}
	for n, code := range map[int32]string{0: "ValidationException", 1: "", 1024: "", 1025: "ValidationException"} {
		_, err := a.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: other, NumberOfBytes: &n})
		wantCode(t, err, code)
	}
}
