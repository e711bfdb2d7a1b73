package sqsxtest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestKMSDryRun: a dry run answers DryRunOperationException exactly where the
// operation would succeed, and the operation's own error everywhere else.
func TestKMSDryRun(t *testing.T) {
	t.Parallel()
	srv := sqsxtest.New(t)
	a := newKMSAccount(t, srv)
	ctx := t.Context()
	mac := a.newKey(t, kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}).KeyId
	ec := map[string]string{"queue": "orders"}
	blob := mustKMS(a.Encrypt(ctx, &kms.EncryptInput{KeyId: &a.id, Plaintext: []byte("x"), EncryptionContext: ec}))(t).CiphertextBlob
	tag := mustKMS(a.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: mac, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Message: []byte("x")}))(t).Mac
	grant := mustKMS(a.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &a.id, GranteePrincipal: aws.String(kmsTestRole), Operations: []types.GrantOperation{types.GrantOperationDecrypt}}))(t)
	other := a.newKey(t, kms.CreateKeyInput{}).KeyId

	yes := aws.Bool(true)
	ignore := []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}
	type call struct {
		name, action string
		mac          bool // takes an HMAC key
		admin        bool // may be done with a key in any state
		do           func(id *string) error
	}
	calls := []call{
		{name: "Decrypt", action: "kms:Decrypt", do: func(id *string) error {
			_, err := a.Decrypt(ctx, &kms.DecryptInput{DryRun: yes, KeyId: id, CiphertextBlob: blob, EncryptionContext: ec})
			return err
		}},
		{name: "Decrypt without a blob", action: "kms:Decrypt", do: func(id *string) error {
			_, err := a.Decrypt(ctx, &kms.DecryptInput{DryRun: yes, DryRunModifiers: ignore, KeyId: id, EncryptionContext: map[string]string{"any": "other"}})
			return err
		}},
		{name: "Decrypt whatever the blob", action: "kms:Decrypt", do: func(id *string) error {
			_, err := a.Decrypt(ctx, &kms.DecryptInput{DryRun: yes, DryRunModifiers: ignore, KeyId: id, CiphertextBlob: []byte("none")})
			return err
		}},
		{name: "GenerateDataKey", action: "kms:GenerateDataKey", do: func(id *string) error {
			_, err := a.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{DryRun: yes, KeyId: id, KeySpec: types.DataKeySpecAes256})
			return err
		}},
		{name: "GenerateDataKeyWithoutPlaintext", action: "kms:GenerateDataKeyWithoutPlaintext", do: func(id *string) error {
			_, err := a.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{DryRun: yes, KeyId: id, KeySpec: types.DataKeySpecAes256})
			return err
		}},
		{name: "Encrypt", action: "kms:Encrypt", do: func(id *string) error {
			_, err := a.Encrypt(ctx, &kms.EncryptInput{DryRun: yes, KeyId: id, Plaintext: []byte("x")})
			return err
		}},
		{name: "ReEncrypt from", action: "kms:ReEncrypt", do: func(id *string) error {
			_, err := a.ReEncrypt(ctx, &kms.ReEncryptInput{DryRun: yes, SourceKeyId: id, CiphertextBlob: blob, SourceEncryptionContext: ec, DestinationKeyId: other})
			return err
		}},
		{name: "ReEncrypt to", action: "kms:ReEncrypt", do: func(id *string) error {
			_, err := a.ReEncrypt(ctx, &kms.ReEncryptInput{DryRun: yes, DryRunModifiers: ignore, SourceKeyId: other, DestinationKeyId: id})
			return err
		}},
		{name: "ReEncrypt without a blob", action: "kms:ReEncrypt", do: func(id *string) error {
			_, err := a.ReEncrypt(ctx, &kms.ReEncryptInput{DryRun: yes, DryRunModifiers: ignore, SourceKeyId: id, DestinationKeyId: other})
			return err
		}},
		{name: "GenerateMac", action: "kms:GenerateMac", mac: true, do: func(id *string) error {
			_, err := a.GenerateMac(ctx, &kms.GenerateMacInput{DryRun: yes, KeyId: id, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Message: []byte("x")})
			return err
		}},
		{name: "VerifyMac", action: "kms:VerifyMac", mac: true, do: func(id *string) error {
			_, err := a.VerifyMac(ctx, &kms.VerifyMacInput{DryRun: yes, KeyId: id, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Message: []byte("x"), Mac: tag})
			return err
		}},
		{name: "CreateGrant", action: "kms:CreateGrant", do: func(id *string) error {
			_, err := a.CreateGrant(ctx, &kms.CreateGrantInput{DryRun: yes, KeyId: id, GranteePrincipal: aws.String(kmsTestRole), Operations: []types.GrantOperation{types.GrantOperationDecrypt}})
			return err
		}},
		{name: "RevokeGrant", action: "kms:RevokeGrant", admin: true, do: func(id *string) error {
			_, err := a.RevokeGrant(ctx, &kms.RevokeGrantInput{DryRun: yes, KeyId: id, GrantId: grant.GrantId})
			return err
		}},
		{name: "RetireGrant", action: "kms:RetireGrant", admin: true, do: func(id *string) error {
			_, err := a.RetireGrant(ctx, &kms.RetireGrantInput{DryRun: yes, KeyId: id, GrantId: grant.GrantId})
			return err
		}},
	}
	const would, absent = "DryRunOperationException", "1234abcd-12ab-34cd-56ef-1234567890ab"
	all := func(state, want string) {
		t.Helper()
		for _, c := range calls {
			id, want := &a.id, want
			if c.mac {
				id = mac
			}
			if c.admin {
				want = would
			}
			wantKMSCode[any](t, c.name+", "+state, want)(nil, c.do(id))
		}
	}
	all("enabled", would)
	if got := a.grants(t, kms.ListGrantsInput{KeyId: &a.id}); len(got) != 1 {
		t.Errorf("after dry runs: got %d grants, want the one", len(got))
	}
	for _, c := range calls {
		wantKMSCode[any](t, c.name+", no such key", "NotFoundException")(nil, c.do(aws.String(absent)))
		allow := srv.Deny(c.action)
		wantKMSCode[any](t, c.name+", denied", "AccessDeniedException")(nil, c.do(&a.id))
		allow()
		if !c.admin && c.action != "kms:CreateGrant" { // the grant is of one key, and can be created for both
			wrong, code := mac, "InvalidKeyUsageException"
			switch {
			case c.mac:
				wrong = &a.id
			case c.name == "Decrypt", c.name == "ReEncrypt from":
				code = "IncorrectKeyException" // the blob is of another key, whatever that is for
			}
			wantKMSCode[any](t, c.name+", a key of another use", code)(nil, c.do(wrong))
		}
	}
	for _, id := range []*string{&a.id, mac} {
		mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id}))(t)
	}
	all("disabled", "DisabledException")
	for _, id := range []*string{&a.id, mac} {
		mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id}))(t)
	}
	all("pending deletion", "KMSInvalidStateException")
}

// TestKMSDryRunOfWhatWouldFail: a dry run looks at everything that the
// operation looks at, unless it is told to ignore the blob.
func TestKMSDryRunOfWhatWouldFail(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	ec := map[string]string{"queue": "orders"}
	blob := mustKMS(a.Encrypt(ctx, &kms.EncryptInput{KeyId: &a.id, Plaintext: []byte("x"), EncryptionContext: ec}))(t).CiphertextBlob
	other := a.newKey(t, kms.CreateKeyInput{}).KeyId
	yes := aws.Bool(true)
	ignore := []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}
	for name, test := range map[string]struct {
		in   kms.DecryptInput
		code string
	}{
		"another context":              {kms.DecryptInput{DryRun: yes, CiphertextBlob: blob}, "InvalidCiphertextException"},
		"another key":                  {kms.DecryptInput{DryRun: yes, CiphertextBlob: blob, EncryptionContext: ec, KeyId: other}, "IncorrectKeyException"},
		"no blob":                      {kms.DecryptInput{DryRun: yes, KeyId: &a.id}, "ValidationException"},
		"no key to ask for":            {kms.DecryptInput{DryRun: yes, DryRunModifiers: ignore, CiphertextBlob: blob}, "ValidationException"},
		"unknown modifier":             {kms.DecryptInput{DryRun: yes, DryRunModifiers: []types.DryRunModifierType{"SKIP"}, CiphertextBlob: blob}, "ValidationException"},
		"eleven tokens":                {kms.DecryptInput{DryRun: yes, DryRunModifiers: ignore, KeyId: &a.id, GrantTokens: make([]string, 11)}, "ValidationException"},
		"the modifier without dry run": {kms.DecryptInput{DryRunModifiers: ignore, KeyId: &a.id}, "ValidationException"},
	} {
		wantKMSCode[*kms.DecryptOutput](t, name, test.code)(a.Decrypt(ctx, &test.in))
	}
	wantKMSCode[*kms.ReEncryptOutput](t, "ReEncrypt, no key to ask for", "ValidationException")(a.ReEncrypt(ctx, &kms.ReEncryptInput{DryRun: yes, DryRunModifiers: ignore, DestinationKeyId: other}))
	// Without a dry run the modifier changes nothing.
	out := mustKMS(a.Decrypt(ctx, &kms.DecryptInput{DryRun: aws.Bool(false), DryRunModifiers: ignore, CiphertextBlob: blob, EncryptionContext: ec}))(t)
	if string(out.Plaintext) != "x" {
		t.Errorf("got %q, want x", out.Plaintext)
	}
}
