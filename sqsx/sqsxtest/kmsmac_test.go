package sqsxtest_test

import (
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestKMSMac(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	for spec, test := range map[types.KeySpec]struct {
		algorithm types.MacAlgorithmSpec
		size      int
	}{
		types.KeySpecHmac224: {types.MacAlgorithmSpecHmacSha224, 28},
		types.KeySpecHmac256: {types.MacAlgorithmSpecHmacSha256, 32},
		types.KeySpecHmac384: {types.MacAlgorithmSpecHmacSha384, 48},
		types.KeySpecHmac512: {types.MacAlgorithmSpecHmacSha512, 64},
	} {
		create := func() *types.KeyMetadata {
			return a.newKey(t, kms.CreateKeyInput{KeySpec: spec, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
		}
		key := create()
		if got := key.MacAlgorithms; len(got) != 1 || got[0] != test.algorithm || len(key.EncryptionAlgorithms) != 0 {
			t.Errorf("%s: got algorithms %v and %v, want %s", spec, got, key.EncryptionAlgorithms, test.algorithm)
		}
		generate := func(id *string, message string) *kms.GenerateMacOutput {
			return mustKMS(a.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: id, MacAlgorithm: test.algorithm, Message: []byte(message)}))(t)
		}
		out := generate(key.KeyId, "order 4711")
		if len(out.Mac) != test.size || *out.KeyId != *key.Arn || out.MacAlgorithm != test.algorithm {
			t.Errorf("%s: got %d bytes of %s under %s, want %d of %s under %s", spec, len(out.Mac), out.MacAlgorithm, *out.KeyId, test.size, test.algorithm, *key.Arn)
		}
		if !bytes.Equal(out.Mac, generate(key.Arn, "order 4711").Mac) {
			t.Errorf("%s: one message has two MACs", spec)
		}
		for name, other := range map[string][]byte{"message": generate(key.KeyId, "order 4712").Mac, "key": generate(create().KeyId, "order 4711").Mac} {
			if bytes.Equal(out.Mac, other) {
				t.Errorf("%s: another %s has the same MAC", spec, name)
			}
		}

		verify := func(message string, mac []byte) (*kms.VerifyMacOutput, error) {
			return a.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: key.KeyId, MacAlgorithm: test.algorithm, Message: []byte(message), Mac: mac})
		}
		if got := mustKMS(verify("order 4711", out.Mac))(t); !got.MacValid || *got.KeyId != *key.Arn || got.MacAlgorithm != test.algorithm {
			t.Errorf("%s: got valid %v under %s by %s", spec, got.MacValid, *got.KeyId, got.MacAlgorithm)
		}
		for i := range out.Mac {
			bad := bytes.Clone(out.Mac)
			bad[i] ^= 1
			wantKMSCode[*kms.VerifyMacOutput](t, "a bit", "KMSInvalidMacException")(verify("order 4711", bad))
		}
		wantKMSCode[*kms.VerifyMacOutput](t, "shorter", "KMSInvalidMacException")(verify("order 4711", out.Mac[1:]))
		wantKMSCode[*kms.VerifyMacOutput](t, "another message", "KMSInvalidMacException")(verify("order 4712", out.Mac))
	}
}

func TestKMSMacErrors(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	key := a.newKey(t, kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}).KeyId
	const sha256, sha512 = types.MacAlgorithmSpecHmacSha256, types.MacAlgorithmSpecHmacSha512
	both := func(name, code string, id *string, algorithm types.MacAlgorithmSpec, message int) {
		t.Helper()
		m := make([]byte, message)
		wantKMSCode[*kms.GenerateMacOutput](t, "GenerateMac: "+name, code)(a.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: id, MacAlgorithm: algorithm, Message: m}))
		wantKMSCode[*kms.VerifyMacOutput](t, "VerifyMac: "+name, code)(a.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: id, MacAlgorithm: algorithm, Message: m, Mac: make([]byte, 32)}))
	}
	mustKMS(a.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: key, MacAlgorithm: sha256, Message: make([]byte, 4096)}))(t)
	both("4,097 bytes", "ValidationException", key, sha256, 4097)
	both("0 bytes", "ValidationException", key, sha256, 0)
	both("no algorithm", "ValidationException", key, "INVALID", 1)
	both("another algorithm", "InvalidKeyUsageException", key, sha512, 1)
	both("an encryption key", "InvalidKeyUsageException", &a.id, sha256, 1)
	both("no key", "NotFoundException", aws.String("key_id"), sha256, 1)
	wantKMSCode[*kms.VerifyMacOutput](t, "a MAC of 6,145 bytes", "ValidationException")(a.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: key, MacAlgorithm: sha256, Message: []byte("x"), Mac: make([]byte, 6145)}))
	wantKMSCode[*kms.VerifyMacOutput](t, "a MAC of 0 bytes", "ValidationException")(a.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: key, MacAlgorithm: sha256, Message: []byte("x"), Mac: []byte{}}))

	mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: key}))(t)
	both("disabled", "DisabledException", key, sha256, 1)
	mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key}))(t)
	both("pending deletion", "KMSInvalidStateException", key, sha256, 1)
}
