package sqsxtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// kmsAccount is a client of one account and Region, with a key and an alias.
type kmsAccount struct {
	*kms.Client
	id, arn string
}

const kmsTestAccount = "111122223333"

func kmsClient(srv *sqsxtest.Server, region, account string) *kms.Client {
	cfg := srv.Config()
	cfg.Region = region
	cfg.RetryMaxAttempts = 1
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: account, SecretAccessKey: "secret"}, nil
	})
	return kms.NewFromConfig(cfg)
}

func newKMSAccount(t *testing.T, srv *sqsxtest.Server) kmsAccount {
	t.Helper()
	a := kmsAccount{Client: kmsClient(srv, "us-east-1", kmsTestAccount)}
	out := mustKMS(a.CreateKey(t.Context(), &kms.CreateKeyInput{Description: aws.String("orders")}))(t)
	a.id, a.arn = *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
	mustKMS(a.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: &a.id}))(t)
	return a
}

func mustKMS[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantKMSCode fails the test unless err is the service's error of that code.
func wantKMSCode[T any](t *testing.T, name, code string) func(T, error) {
	return func(_ T, err error) {
		t.Helper()
		if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != code {
			t.Errorf("%s: got %v, want %s", name, err, code)
		}
	}
}

func TestKMSDataKeys(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx, ec := t.Context(), map[string]string{"queue": "orders", "tenant": "blue"}
	for _, keyID := range []string{a.id, a.arn, "alias/orders", "arn:aws:kms:us-east-1:111122223333:alias/orders"} {
		out := mustKMS(a.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &keyID, KeySpec: types.DataKeySpecAes256, EncryptionContext: ec}))(t)
		if *out.KeyId != a.arn || len(out.Plaintext) != 32 || len(out.CiphertextBlob) != 184 || len(aws.ToString(out.KeyMaterialId)) != 64 {
			t.Errorf("%s: got key %q, %d bytes of plaintext and %d of ciphertext, want %q, 32 and 184", keyID, *out.KeyId, len(out.Plaintext), len(out.CiphertextBlob), a.arn)
		}
		for _, decryptID := range []*string{nil, &keyID, &a.arn} {
			back := mustKMS(a.Decrypt(ctx, &kms.DecryptInput{KeyId: decryptID, CiphertextBlob: out.CiphertextBlob, EncryptionContext: ec}))(t)
			if !bytes.Equal(back.Plaintext, out.Plaintext) || *back.KeyId != a.arn {
				t.Errorf("%s: decrypted to another key, or under %q", keyID, *back.KeyId)
			}
		}
	}
	without := mustKMS(a.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &a.id, NumberOfBytes: aws.Int32(64)}))(t)
	if back := mustKMS(a.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: without.CiphertextBlob}))(t); len(back.Plaintext) != 64 {
		t.Errorf("got %d bytes, want 64", len(back.Plaintext))
	}
	random := mustKMS(a.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(24)}))(t)
	if len(random.Plaintext) != 24 {
		t.Errorf("got %d random bytes, want 24", len(random.Plaintext))
	}
}

func TestKMSCiphertextIsBound(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	other := mustKMS(a.CreateKey(t.Context(), &kms.CreateKeyInput{}))(t).KeyMetadata.KeyId
	ec := map[string]string{"queue": "orders", "tenant": "blue"}
	sealed := mustKMS(a.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &a.id, Plaintext: []byte("secret"), EncryptionContext: ec}))(t).CiphertextBlob
	decrypt := func(id *string, blob []byte, ec map[string]string) (*kms.DecryptOutput, error) {
		return a.Decrypt(t.Context(), &kms.DecryptInput{KeyId: id, CiphertextBlob: blob, EncryptionContext: ec})
	}
	for name, ec := range map[string]map[string]string{
		"none": nil, "less": {"queue": "orders"}, "another value": {"queue": "orders", "tenant": "red"},
		"more": {"queue": "orders", "tenant": "blue", "x": "y"}, "moved border": {"queue": "ordersX", "tenan": "tblue"},
	} {
		wantKMSCode[*kms.DecryptOutput](t, "context: "+name, "InvalidCiphertextException")(decrypt(nil, sealed, ec))
	}
	for i := range sealed {
		tampered := slices.Clone(sealed)
		tampered[i] ^= 0x80
		wantKMSCode[*kms.DecryptOutput](t, fmt.Sprint("byte ", i), "InvalidCiphertextException")(decrypt(&a.id, tampered, ec))
	}
	for n := 1; n < len(sealed); n++ {
		wantKMSCode[*kms.DecryptOutput](t, fmt.Sprint("first ", n), "InvalidCiphertextException")(decrypt(&a.id, sealed[:n], ec))
	}
	wantKMSCode[*kms.DecryptOutput](t, "another key", "IncorrectKeyException")(decrypt(other, sealed, ec))
}

func TestKMSLimits(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	encrypt := func(n int) (*kms.EncryptOutput, error) {
		return a.Encrypt(ctx, &kms.EncryptInput{KeyId: &a.id, Plaintext: make([]byte, n)})
	}
	decrypt := func(n int) (*kms.DecryptOutput, error) {
		return a.Decrypt(ctx, &kms.DecryptInput{KeyId: &a.id, CiphertextBlob: make([]byte, n)})
	}
	generate := func(in kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error) {
		in.KeyId = &a.id
		return a.GenerateDataKey(ctx, &in)
	}
	mustKMS(encrypt(4096))(t)
	wantKMSCode[*kms.EncryptOutput](t, "4,097 bytes", "ValidationException")(encrypt(4097))
	wantKMSCode[*kms.EncryptOutput](t, "0 bytes", "ValidationException")(encrypt(0))
	wantKMSCode[*kms.DecryptOutput](t, "blob of 6,144", "InvalidCiphertextException")(decrypt(6144))
	wantKMSCode[*kms.DecryptOutput](t, "blob of 6,145", "ValidationException")(decrypt(6145))
	wantKMSCode[*kms.DecryptOutput](t, "blob of 0", "ValidationException")(decrypt(0))
	mustKMS(generate(kms.GenerateDataKeyInput{NumberOfBytes: aws.Int32(1024)}))(t)
	const want = "ValidationException"
	wantKMSCode[*kms.GenerateDataKeyOutput](t, "1,025 bytes", want)(generate(kms.GenerateDataKeyInput{NumberOfBytes: aws.Int32(1025)}))
	wantKMSCode[*kms.GenerateDataKeyOutput](t, "0 bytes", want)(generate(kms.GenerateDataKeyInput{NumberOfBytes: aws.Int32(0)}))
	wantKMSCode[*kms.GenerateDataKeyOutput](t, "no size", want)(generate(kms.GenerateDataKeyInput{}))
	wantKMSCode[*kms.GenerateDataKeyOutput](t, "two sizes", want)(generate(kms.GenerateDataKeyInput{NumberOfBytes: aws.Int32(32), KeySpec: types.DataKeySpecAes256}))
	wantKMSCode[*kms.GenerateDataKeyOutput](t, "eleven grant tokens", want)(generate(kms.GenerateDataKeyInput{KeySpec: types.DataKeySpecAes256, GrantTokens: slices.Repeat([]string{"t"}, 11)}))
	mustKMS(generate(kms.GenerateDataKeyInput{KeySpec: types.DataKeySpecAes256, GrantTokens: []string{"t"}}))(t)
	wantKMSCode[*kms.GenerateDataKeyOutput](t, "dry run", "DryRunOperationException")(generate(kms.GenerateDataKeyInput{KeySpec: types.DataKeySpecAes256, DryRun: aws.Bool(true)}))
}

func TestKMSNames(t *testing.T) {
	t.Parallel()
	srv := sqsxtest.New(t)
	a := newKMSAccount(t, srv)
	const absent = "1234abcd-12ab-34cd-56ef-1234567890ab"
	for id, code := range map[string]string{
		absent:        "NotFoundException",
		"fake-key-id": "NotFoundException",
		"alias/none":  "NotFoundException",
		"arn:aws:kms:us-east-1:111122223333:key/" + absent: "NotFoundException",
		"arn:aws:kms:us-east-1:999999999999:key/" + a.id:   "NotFoundException",
		"arn:aws:kms:eu-west-1:111122223333:key/" + a.id:   "NotFoundException",
		"arn:aws:kms:us-east-1:111122223333:alias/none":    "NotFoundException",
		"arn:aws:sqs:us-east-1:111122223333:orders":        "InvalidArnException",
		"arn:aws:kms:us-east-1:111122223333:grant/x":       "InvalidArnException",
		"alias/aws/sqs":           "AccessDeniedException",
		strings.Repeat("x", 2049): "ValidationException",
	} {
		wantKMSCode[*kms.DescribeKeyOutput](t, fmt.Sprintf("%.60s", id), code)(a.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id}))
	}

	// Another account uses the key by its ARN, and may not administer it.
	foreign := kmsClient(srv, "us-east-1", "444455556666")
	out := mustKMS(foreign.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &a.arn, KeySpec: types.DataKeySpecAes256}))(t)
	if *out.KeyId != a.arn {
		t.Errorf("got key %q, want %q", *out.KeyId, a.arn)
	}
	wantKMSCode[*kms.GenerateDataKeyOutput](t, "the bare ID", "NotFoundException")(foreign.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &a.id, KeySpec: types.DataKeySpecAes256}))
	wantKMSCode[*kms.DisableKeyOutput](t, "DisableKey", "AccessDeniedException")(foreign.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &a.arn}))
}

func TestKMSKeyStates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newKMSAccount(t, sqsxtest.New(t))
		ctx := t.Context()
		blob := mustKMS(a.Encrypt(ctx, &kms.EncryptInput{KeyId: &a.id, Plaintext: []byte("x")}))(t).CiphertextBlob
		use := func(name, code string) {
			t.Helper()
			for _, id := range []*string{nil, &a.id} {
				_, err := a.Decrypt(ctx, &kms.DecryptInput{KeyId: id, CiphertextBlob: blob})
				if code == "" && err != nil {
					t.Errorf("%s: %v", name, err)
				} else if code != "" {
					if id == nil && code == "NotFoundException" {
						code = "AccessDeniedException" // the caller named no key that is not there
					}
					wantKMSCode[any](t, name, code)(nil, err)
					if id == nil && code == "AccessDeniedException" {
						code = "NotFoundException"
					}
				}
			}
		}
		state := func() types.KeyState {
			return mustKMS(a.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &a.id}))(t).KeyMetadata.KeyState
		}
		mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &a.id}))(t)
		use("disabled", "DisabledException")
		mustKMS(a.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &a.id}))(t)
		use("enabled", "")

		wantKMSCode[*kms.ScheduleKeyDeletionOutput](t, "6 days", "ValidationException")(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &a.id, PendingWindowInDays: aws.Int32(6)}))
		out := mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &a.id, PendingWindowInDays: aws.Int32(7)}))(t)
		if want := time.Now().AddDate(0, 0, 7); !out.DeletionDate.Equal(want) || out.KeyState != types.KeyStatePendingDeletion {
			t.Errorf("got deletion at %v in state %s, want %v and PendingDeletion", out.DeletionDate, out.KeyState, want)
		}
		use("pending deletion", "KMSInvalidStateException")
		wantKMSCode[*kms.EnableKeyOutput](t, "EnableKey", "KMSInvalidStateException")(a.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &a.id}))
		mustKMS(a.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &a.id}))(t)
		if got := state(); got != types.KeyStateDisabled {
			t.Errorf("after CancelKeyDeletion: state %s, want Disabled", got)
		}
		mustKMS(a.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &a.id}))(t)
		use("enabled again", "")

		mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &a.id, PendingWindowInDays: aws.Int32(7)}))(t)
		time.Sleep(7*24*time.Hour - 1)
		use("the last moment", "KMSInvalidStateException")
		time.Sleep(time.Nanosecond)
		use("gone", "NotFoundException")
		if out := mustKMS(a.ListAliases(ctx, &kms.ListAliasesInput{}))(t); len(out.Aliases) != 0 {
			t.Errorf("%d aliases are left, want none", len(out.Aliases))
		}
	})
}

func TestKMSKeyUsage(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	for spec, usage := range map[types.KeySpec]types.KeyUsageType{
		types.KeySpecRsa2048: types.KeyUsageTypeEncryptDecrypt, types.KeySpecHmac256: types.KeyUsageTypeGenerateVerifyMac,
	} {
		key := mustKMS(a.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage}))(t).KeyMetadata
		wantKMSCode[*kms.GenerateDataKeyOutput](t, string(spec), "InvalidKeyUsageException")(a.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: types.DataKeySpecAes256}))
	}
	for _, in := range []kms.CreateKeyInput{
		{KeySpec: types.KeySpecHmac256}, // no usage
		{KeySpec: types.KeySpecRsa2048},
		{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeEncryptDecrypt},
		{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
		{KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
		{KeySpec: "HMAC_random", KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
	} {
		name := fmt.Sprintf("CreateKey %s, %s", in.KeySpec, in.KeyUsage)
		wantKMSCode[*kms.CreateKeyOutput](t, name, "ValidationException")(a.CreateKey(t.Context(), &in))
	}
}

func TestKMSAliases(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	other := *mustKMS(a.CreateKey(ctx, &kms.CreateKeyInput{}))(t).KeyMetadata.KeyId
	create := func(name, target string) (*kms.CreateAliasOutput, error) {
		return a.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &target})
	}
	wantKMSCode[*kms.CreateAliasOutput](t, "again", "AlreadyExistsException")(create("alias/orders", other))
	wantKMSCode[*kms.CreateAliasOutput](t, "reserved", "AccessDeniedException")(create("alias/aws/orders", other))
	wantKMSCode[*kms.CreateAliasOutput](t, "no prefix", "ValidationException")(create("orders", other))
	wantKMSCode[*kms.CreateAliasOutput](t, "character", "InvalidAliasNameException")(create("alias/or ders", other))
	wantKMSCode[*kms.CreateAliasOutput](t, "257 bytes", "ValidationException")(create("alias/"+strings.Repeat("a", 251), other))
	mustKMS(create("alias/"+strings.Repeat("a", 250), other))(t)
	wantKMSCode[*kms.CreateAliasOutput](t, "to an alias", "ValidationException")(create("alias/second", "alias/orders"))
	wantKMSCode[*kms.CreateAliasOutput](t, "no key", "NotFoundException")(create("alias/second", "1234abcd-12ab-34cd-56ef-1234567890ab"))

	mustKMS(a.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: &other}))(t)
	got := mustKMS(a.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/orders")}))(t)
	if *got.KeyMetadata.KeyId != other {
		t.Errorf("after UpdateAlias: key %q, want %q", *got.KeyMetadata.KeyId, other)
	}
	if out := mustKMS(a.ListAliases(ctx, &kms.ListAliasesInput{KeyId: &other}))(t); len(out.Aliases) != 2 {
		t.Errorf("got %d aliases of the key, want 2", len(out.Aliases))
	}
	var names []string
	pages := kms.NewListAliasesPaginator(a.Client, &kms.ListAliasesInput{Limit: aws.Int32(1)})
	for pages.HasMorePages() {
		for _, entry := range mustKMS(pages.NextPage(ctx))(t).Aliases {
			names = append(names, *entry.AliasName)
		}
	}
	if len(names) != 2 || !slices.IsSorted(names) {
		t.Errorf("one a page: got %.40q, want two in order", names)
	}
	mustKMS(a.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/orders")}))(t)
	wantKMSCode[*kms.UpdateAliasOutput](t, "deleted", "NotFoundException")(a.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: &other}))
	if out := mustKMS(a.ListKeys(ctx, &kms.ListKeysInput{}))(t); len(out.Keys) != 2 {
		t.Errorf("got %d keys, want 2", len(out.Keys))
	}
}

func TestKMSMultiRegion(t *testing.T) {
	t.Parallel()
	srv := sqsxtest.New(t)
	a := newKMSAccount(t, srv)
	west := kmsClient(srv, "us-west-2", kmsTestAccount)
	ctx := t.Context()
	primary := mustKMS(a.CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)}))(t).KeyMetadata
	if !strings.HasPrefix(*primary.KeyId, "mrk-") || len(*primary.KeyId) != 36 {
		t.Errorf("key ID %q, want mrk- and 32 digits", *primary.KeyId)
	}
	blob := mustKMS(a.Encrypt(ctx, &kms.EncryptInput{KeyId: primary.KeyId, Plaintext: []byte("x")}))(t).CiphertextBlob
	wantKMSCode[*kms.DecryptOutput](t, "before there is a replica", "NotFoundException")(west.Decrypt(ctx, &kms.DecryptInput{KeyId: primary.KeyId, CiphertextBlob: blob}))

	replicate := func(c *kms.Client, id *string, region string) (*kms.ReplicateKeyOutput, error) {
		return c.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: id, ReplicaRegion: &region})
	}
	replica := mustKMS(replicate(a.Client, primary.KeyId, "us-west-2"))(t).ReplicaKeyMetadata
	if want := strings.Replace(*primary.Arn, "us-east-1", "us-west-2", 1); *replica.Arn != want {
		t.Errorf("replica %q, want %q", *replica.Arn, want)
	}
	if c := replica.MultiRegionConfiguration; c.MultiRegionKeyType != types.MultiRegionKeyTypeReplica || *c.PrimaryKey.Arn != *primary.Arn || len(c.ReplicaKeys) != 1 {
		t.Errorf("got %+v, want a replica of %q", c, *primary.Arn)
	}
	out := mustKMS(west.Decrypt(ctx, &kms.DecryptInput{KeyId: primary.KeyId, CiphertextBlob: blob}))(t)
	if *out.KeyId != *replica.Arn || string(out.Plaintext) != "x" {
		t.Errorf("decrypted %q under %q, want x under %q", out.Plaintext, *out.KeyId, *replica.Arn)
	}
	wantKMSCode[*kms.ReplicateKeyOutput](t, "twice", "AlreadyExistsException")(replicate(a.Client, primary.KeyId, "us-west-2"))
	wantKMSCode[*kms.ReplicateKeyOutput](t, "a replica", "UnsupportedOperationException")(replicate(west, primary.KeyId, "eu-west-1"))
	wantKMSCode[*kms.ReplicateKeyOutput](t, "a single-Region key", "UnsupportedOperationException")(replicate(a.Client, &a.id, "us-west-2"))

	// Each Region's key has a state of its own.
	mustKMS(west.DisableKey(ctx, &kms.DisableKeyInput{KeyId: replica.KeyId}))(t)
	wantKMSCode[*kms.DecryptOutput](t, "disabled replica", "DisabledException")(west.Decrypt(ctx, &kms.DecryptInput{KeyId: primary.KeyId, CiphertextBlob: blob}))
	mustKMS(a.Decrypt(ctx, &kms.DecryptInput{KeyId: primary.KeyId, CiphertextBlob: blob}))(t)
	pending := mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: primary.KeyId}))(t)
	if pending.KeyState != types.KeyStatePendingReplicaDeletion {
		t.Errorf("primary: state %s, want PendingReplicaDeletion", pending.KeyState)
	}
}

func TestKMSRotationAndReEncrypt(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	old := mustKMS(a.Encrypt(ctx, &kms.EncryptInput{KeyId: &a.id, Plaintext: []byte("x")}))(t).CiphertextBlob
	before := mustKMS(a.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: old}))(t)
	if out := mustKMS(a.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &a.id}))(t); *out.KeyId != a.arn {
		t.Errorf("RotateKeyOnDemand: got key %q, want %q", *out.KeyId, a.arn)
	}
	after := mustKMS(a.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: old}))(t)
	fresh := mustKMS(a.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &a.id, KeySpec: types.DataKeySpecAes256}))(t)
	if *after.KeyMaterialId != *before.KeyMaterialId || *fresh.KeyMaterialId == *before.KeyMaterialId {
		t.Error("a rotation must give new blobs a new material ID, and leave old ones theirs")
	}

	other := mustKMS(a.CreateKey(ctx, &kms.CreateKeyInput{}))(t).KeyMetadata
	moved := mustKMS(a.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: old, DestinationKeyId: other.KeyId, DestinationEncryptionContext: map[string]string{"a": "b"},
	}))(t)
	if *moved.SourceKeyId != a.arn || *moved.KeyId != *other.Arn {
		t.Errorf("moved from %q to %q, want from %q to %q", *moved.SourceKeyId, *moved.KeyId, a.arn, *other.Arn)
	}
	out := mustKMS(a.Decrypt(ctx, &kms.DecryptInput{KeyId: other.KeyId, CiphertextBlob: moved.CiphertextBlob, EncryptionContext: map[string]string{"a": "b"}}))(t)
	if string(out.Plaintext) != "x" {
		t.Errorf("got %q, want x", out.Plaintext)
	}
}

func TestKMSUnknownAction(t *testing.T) {
	t.Parallel()
	client := kmsClient(sqsxtest.New(t), "us-east-1", kmsTestAccount)
	wantKMSCode[*kms.SignOutput](t, "Sign", "UnknownOperationException")(client.Sign(t.Context(), &kms.SignInput{
		KeyId: aws.String("x"), Message: []byte("x"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
	}))
}
