package sqsxtest_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// What is asked of a key beside using it: rotation, tags, policy, description.

func (a kmsAccount) rotation(t *testing.T, id *string) *kms.GetKeyRotationStatusOutput {
	t.Helper()
	return mustKMS(a.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: id}))(t)
}

// material is the ID of the material that a key encrypts with.
func (a kmsAccount) material(t *testing.T, id *string) string {
	t.Helper()
	return *mustKMS(a.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id}))(t).KeyMetadata.CurrentKeyMaterialId
}

func (a kmsAccount) newKey(t *testing.T, in kms.CreateKeyInput) *types.KeyMetadata {
	t.Helper()
	return mustKMS(a.CreateKey(t.Context(), &in))(t).KeyMetadata
}

const day = 24 * time.Hour

// TestKMSAutomaticRotation: what was encrypted before a rotation is decrypted
// after it, new blobs have new material, and a rotation on demand does not move
// the schedule.
func TestKMSAutomaticRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newKMSAccount(t, sqsxtest.New(t))
		ctx := t.Context()
		if got := a.rotation(t, &a.id); got.KeyRotationEnabled || got.NextRotationDate != nil || got.RotationPeriodInDays != nil || *got.KeyId != a.arn {
			t.Errorf("a new key: got %+v, want no rotation of %s", got, a.arn)
		}
		blob := mustKMS(a.Encrypt(ctx, &kms.EncryptInput{KeyId: &a.id, Plaintext: []byte("x")}))(t).CiphertextBlob
		first := a.material(t, &a.id)

		mustKMS(a.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &a.id}))(t)
		start := time.Now()
		got := a.rotation(t, &a.id)
		if !got.KeyRotationEnabled || aws.ToInt32(got.RotationPeriodInDays) != 365 || !got.NextRotationDate.Equal(start.Add(365*day)) {
			t.Errorf("got %v in %d days at %v, want true in 365 at %v", got.KeyRotationEnabled, aws.ToInt32(got.RotationPeriodInDays), got.NextRotationDate, start.Add(365*day))
		}
		time.Sleep(365*day - 1)
		mustKMS(a.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &a.id}))(t)
		demanded := a.material(t, &a.id)
		if demanded == first {
			t.Error("RotateKeyOnDemand changed nothing")
		}
		time.Sleep(time.Nanosecond)
		rotated := a.material(t, &a.id)
		if rotated == demanded || rotated == first {
			t.Error("no automatic rotation after 365 days")
		}
		if got := a.rotation(t, &a.id); !got.NextRotationDate.Equal(start.Add(2 * 365 * day)) {
			t.Errorf("next rotation: got %v, want %v", got.NextRotationDate, start.Add(2*365*day))
		}
		if out := mustKMS(a.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob}))(t); *out.KeyMaterialId != first || string(out.Plaintext) != "x" {
			t.Errorf("an old blob: got %q with material %s, want x with %s", out.Plaintext, *out.KeyMaterialId, first)
		}

		mustKMS(a.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &a.id}))(t)
		time.Sleep(366 * day)
		if a.material(t, &a.id) != rotated || a.rotation(t, &a.id).KeyRotationEnabled {
			t.Error("rotated after DisableKeyRotation")
		}
	})
}

// TestKMSRotationOfUnusableKeys: a key that is not enabled is not rotated, and
// makes up for it once.
func TestKMSRotationOfUnusableKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newKMSAccount(t, sqsxtest.New(t))
		ctx := t.Context()
		mustKMS(a.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &a.id, RotationPeriodInDays: aws.Int32(90)}))(t)
		first := a.material(t, &a.id)
		mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &a.id}))(t)
		time.Sleep(200 * day)
		if a.material(t, &a.id) != first || !a.rotation(t, &a.id).KeyRotationEnabled {
			t.Error("disabled: got a rotation, or a status that is off; want neither")
		}
		mustKMS(a.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &a.id}))(t)
		second := a.material(t, &a.id)
		if second == first {
			t.Error("enabled again after two periods: want a rotation at once")
		}
		if want := time.Now().Add(90 * day); !a.rotation(t, &a.id).NextRotationDate.Equal(want) {
			t.Errorf("next rotation: got %v, want %v", a.rotation(t, &a.id).NextRotationDate, want)
		}

		mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &a.id}))(t)
		if a.rotation(t, &a.id).KeyRotationEnabled {
			t.Error("pending deletion: got status true, want false")
		}
		mustKMS(a.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &a.id}))(t)
		if !a.rotation(t, &a.id).KeyRotationEnabled {
			t.Error("deletion cancelled: got status false, want true")
		}
	})
}

func TestKMSRotationErrors(t *testing.T) {
	t.Parallel()
	srv := sqsxtest.New(t)
	a := newKMSAccount(t, srv)
	ctx := t.Context()
	enable := func(name, code string, id *string, days *int32) {
		t.Helper()
		_, err := a.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: days})
		if code == "" && err == nil {
			return
		}
		wantKMSCode[any](t, name, code)(nil, err)
	}
	enable("89 days", "ValidationException", &a.id, aws.Int32(89))
	enable("90 days", "", &a.id, aws.Int32(90))
	enable("2,560 days", "", &a.id, aws.Int32(2560))
	enable("2,561 days", "ValidationException", &a.id, aws.Int32(2561))
	enable("an alias", "ValidationException", aws.String("alias/orders"), nil)
	enable("no key", "NotFoundException", aws.String("1234abcd-12ab-34cd-56ef-1234567890ab"), nil)

	mac := a.newKey(t, kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}).KeyId
	enable("an HMAC key", "UnsupportedOperationException", mac, nil)
	wantKMSCode[*kms.GetKeyRotationStatusOutput](t, "status of an HMAC key", "UnsupportedOperationException")(a.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: mac}))

	// The keys of a multi-Region key share what the primary says.
	primary := a.newKey(t, kms.CreateKeyInput{MultiRegion: aws.Bool(true)}).KeyId
	mustKMS(a.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: primary, ReplicaRegion: aws.String("us-west-2")}))(t)
	west := kmsAccount{Client: kmsClient(srv, "us-west-2", kmsTestAccount)}
	wantKMSCode[*kms.EnableKeyRotationOutput](t, "a replica", "UnsupportedOperationException")(west.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: primary}))
	enable("its primary", "", primary, nil)
	if !west.rotation(t, primary).KeyRotationEnabled {
		t.Error("a replica's status: got false, want the primary's true")
	}

	// Another account may look, and not touch.
	foreign := kmsClient(srv, "us-east-1", "444455556666")
	mustKMS(foreign.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &a.arn}))(t)
	wantKMSCode[*kms.DisableKeyRotationOutput](t, "another account", "AccessDeniedException")(foreign.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &a.arn}))

	for range 25 {
		mustKMS(a.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &a.id}))(t)
	}
	wantKMSCode[*kms.RotateKeyOnDemandOutput](t, "the 26th rotation", "LimitExceededException")(a.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &a.id}))

	mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: mac}))(t)
	enable("a disabled HMAC key", "DisabledException", mac, nil) // its state comes first
	mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &a.id}))(t)
	wantKMSCode[*kms.DisableKeyRotationOutput](t, "pending deletion", "KMSInvalidStateException")(a.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &a.id}))
}

func kmsTagList(pairs ...string) []types.Tag {
	var tags []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, types.Tag{TagKey: &pairs[i], TagValue: &pairs[i+1]})
	}
	return tags
}

// tags lists the tags of a key in pages of size n.
func (a kmsAccount) tags(t *testing.T, id *string, n int32) map[string]string {
	t.Helper()
	got := make(map[string]string)
	pages := kms.NewListResourceTagsPaginator(a.Client, &kms.ListResourceTagsInput{KeyId: id, Limit: &n})
	for pages.HasMorePages() {
		page := mustKMS(pages.NextPage(t.Context()))(t).Tags
		if len(page) > int(n) {
			t.Errorf("got a page of %d tags, want at most %d", len(page), n)
		}
		for _, tag := range page {
			got[*tag.TagKey] = *tag.TagValue
		}
	}
	return got
}

func TestKMSTags(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	key := a.newKey(t, kms.CreateKeyInput{Tags: kmsTagList("team", "orders", "cost", "17")}).KeyId
	mustKMS(a.TagResource(ctx, &kms.TagResourceInput{KeyId: key, Tags: kmsTagList("cost", "18", "env", "")}))(t)
	mustKMS(a.UntagResource(ctx, &kms.UntagResourceInput{KeyId: key, TagKeys: []string{"team", "absent"}}))(t)
	if diff := cmp.Diff(map[string]string{"cost": "18", "env": ""}, a.tags(t, key, 1)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if got := a.tags(t, &a.id, 50); len(got) != 0 {
		t.Errorf("a key without tags: got %v", got)
	}

	tag := func(name, code string, id *string, tags []types.Tag) {
		t.Helper()
		wantKMSCode[*kms.TagResourceOutput](t, name, code)(a.TagResource(ctx, &kms.TagResourceInput{KeyId: id, Tags: tags}))
	}
	tag("twice", "TagException", key, kmsTagList("a", "1", "a", "2"))
	tag("reserved", "TagException", key, kmsTagList("AWS:a", "1"))
	tag("empty key", "ValidationException", key, kmsTagList("", "1"))
	tag("key of 129", "ValidationException", key, kmsTagList(strings.Repeat("k", 129), "1"))
	tag("value of 257", "ValidationException", key, kmsTagList("a", strings.Repeat("v", 257)))
	tag("an alias", "ValidationException", aws.String("alias/orders"), kmsTagList("a", "1"))
	mustKMS(a.TagResource(ctx, &kms.TagResourceInput{KeyId: key, Tags: kmsTagList(strings.Repeat("k", 128), strings.Repeat("v", 256))}))(t)

	var many []types.Tag
	want := a.tags(t, key, 50)
	for i := range 50 - len(want) {
		many = append(many, kmsTagList(fmt.Sprint("n", i), "x")...)
		want[fmt.Sprint("n", i)] = "x"
	}
	mustKMS(a.TagResource(ctx, &kms.TagResourceInput{KeyId: key, Tags: many}))(t)
	tag("the 51st", "TagException", key, kmsTagList("one more", ""))
	mustKMS(a.TagResource(ctx, &kms.TagResourceInput{KeyId: key, Tags: kmsTagList("cost", "19")}))(t) // replaces
	want["cost"] = "19"
	if got := a.tags(t, key, 7); !maps.Equal(got, want) {
		t.Errorf("got %d tags, want %d: %s", len(got), len(want), cmp.Diff(want, got))
	}
	wantKMSCode[*kms.CreateKeyOutput](t, "CreateKey with 51", "TagException")(a.CreateKey(ctx, &kms.CreateKeyInput{Tags: append(many, kmsTagList("a", "", "b", "", "c", "", "d", "")...)}))
	wantKMSCode[*kms.ListResourceTagsOutput](t, "51 a page", "ValidationException")(a.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: key, Limit: aws.Int32(51)}))
	wantKMSCode[*kms.UntagResourceOutput](t, "untag an empty key", "ValidationException")(a.UntagResource(ctx, &kms.UntagResourceInput{KeyId: key, TagKeys: []string{""}}))

	mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: key}))(t)
	mustKMS(a.UntagResource(ctx, &kms.UntagResourceInput{KeyId: key, TagKeys: []string{"env"}}))(t)
	mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key}))(t)
	tag("pending deletion", "KMSInvalidStateException", key, kmsTagList("a", "1"))
	wantKMSCode[*kms.UntagResourceOutput](t, "untag, pending deletion", "KMSInvalidStateException")(a.UntagResource(ctx, &kms.UntagResourceInput{KeyId: key, TagKeys: []string{"cost"}}))
	if got := a.tags(t, key, 50); got["cost"] != "19" {
		t.Errorf("pending deletion: got %v, want the tags", got)
	}
}

// TestKMSReplicaHasItsOwn: policy, tags and grants belong to one Region's key.
func TestKMSReplicaHasItsOwn(t *testing.T) {
	t.Parallel()
	srv := sqsxtest.New(t)
	a := newKMSAccount(t, srv)
	west := kmsAccount{Client: kmsClient(srv, "us-west-2", kmsTestAccount)}
	ctx := t.Context()
	primary := a.newKey(t, kms.CreateKeyInput{MultiRegion: aws.Bool(true), Tags: kmsTagList("team", "orders")})
	mustKMS(a.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: primary.KeyId, GranteePrincipal: aws.String(kmsTestRole), Operations: []types.GrantOperation{types.GrantOperationDecrypt}}))(t)
	const policy = `{"Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}`
	out := mustKMS(a.ReplicateKey(ctx, &kms.ReplicateKeyInput{
		KeyId: primary.KeyId, ReplicaRegion: aws.String("us-west-2"), Policy: aws.String(policy), Tags: kmsTagList("side", "west"),
	}))(t)
	if *out.ReplicaPolicy != policy {
		t.Errorf("replica's policy: got %s, want %s", *out.ReplicaPolicy, policy)
	}
	mustKMS(west.TagResource(ctx, &kms.TagResourceInput{KeyId: primary.KeyId, Tags: kmsTagList("env", "test")}))(t)
	if diff := cmp.Diff(map[string]string{"side": "west", "env": "test"}, west.tags(t, primary.KeyId, 50)); diff != "" {
		t.Errorf("replica's tags (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"team": "orders"}, a.tags(t, primary.KeyId, 50)); diff != "" {
		t.Errorf("primary's tags (-want +got):\n%s", diff)
	}
	if got := mustKMS(west.ListGrants(ctx, &kms.ListGrantsInput{KeyId: primary.KeyId}))(t); len(got.Grants) != 0 {
		t.Errorf("replica: got %d grants, want 0", len(got.Grants))
	}
	got := mustKMS(a.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: primary.KeyId}))(t)
	if !strings.Contains(*got.Policy, "arn:aws:iam::"+kmsTestAccount+":root") {
		t.Errorf("primary's policy: got %s, want the default one", *got.Policy)
	}
}

func TestKMSKeyPolicy(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	policy := func(id *string) string {
		t.Helper()
		out := mustKMS(a.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: id}))(t)
		if *out.PolicyName != "default" {
			t.Errorf("got policy name %q, want default", *out.PolicyName)
		}
		return *out.Policy
	}
	if got := policy(&a.id); !strings.Contains(got, `"AWS" : "arn:aws:iam::`+kmsTestAccount+`:root"`) || !strings.Contains(got, `"Action" : "kms:*"`) {
		t.Errorf("a key made without a policy: got %s, want the service's default", got)
	}
	const own = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"kms:Decrypt","Resource":"*"}]}`
	key := a.newKey(t, kms.CreateKeyInput{Policy: aws.String(own)}).KeyId
	if got := policy(key); got != own {
		t.Errorf("a key made with a policy: got %s, want %s", got, own)
	}
	mustKMS(a.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &a.id, PolicyName: aws.String("default"), Policy: aws.String(own)}))(t)
	if got := policy(&a.id); got != own {
		t.Errorf("after PutKeyPolicy: got %s, want %s", got, own)
	}
	if out := mustKMS(a.ListKeyPolicies(ctx, &kms.ListKeyPoliciesInput{KeyId: &a.id}))(t); len(out.PolicyNames) != 1 || out.PolicyNames[0] != "default" || out.Truncated {
		t.Errorf("ListKeyPolicies: got %v, want default", out.PolicyNames)
	}
	// It is kept, and has no effect: see Server.Deny.
	mustKMS(a.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key, KeySpec: types.DataKeySpecAes256}))(t)

	padded := func(n int) string { return own + strings.Repeat(" ", n-len(own)) }
	mustKMS(a.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key, Policy: aws.String(padded(32 << 10))}))(t)
	for name, test := range map[string]struct{ policy, code string }{
		"no JSON":        {"{", "MalformedPolicyDocumentException"},
		"an array":       {"[]", "MalformedPolicyDocumentException"},
		"no statement":   {"{}", "MalformedPolicyDocumentException"},
		"no principal":   {`{"Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}`, "MalformedPolicyDocumentException"},
		"no effect":      {`{"Statement":[{"Principal":"*","Action":"kms:*","Resource":"*"}]}`, "MalformedPolicyDocumentException"},
		"above 32 KiB":   {padded(32<<10 + 1), "LimitExceededException"},
		"above 128 KiB":  {padded(131_073), "ValidationException"},
		"empty":          {"", "ValidationException"},
		"not of Latin-1": {strings.Replace(own, "2012", "Ω", 1), "ValidationException"},
	} {
		wantKMSCode[*kms.PutKeyPolicyOutput](t, name, test.code)(a.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key, Policy: &test.policy}))
		wantKMSCode[*kms.CreateKeyOutput](t, "CreateKey: "+name, test.code)(a.CreateKey(ctx, &kms.CreateKeyInput{Policy: &test.policy}))
	}
	wantKMSCode[*kms.GetKeyPolicyOutput](t, "another name", "NotFoundException")(a.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: key, PolicyName: aws.String("other")}))
	wantKMSCode[*kms.PutKeyPolicyOutput](t, "put another name", "NotFoundException")(a.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key, PolicyName: aws.String("other"), Policy: aws.String(own)}))
	wantKMSCode[*kms.GetKeyPolicyOutput](t, "an alias", "ValidationException")(a.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: aws.String("alias/orders")}))
	mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key}))(t)
	mustKMS(a.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key, Policy: aws.String(own)}))(t) // in any state
}

func TestKMSUpdateKeyDescription(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	update := func(text string) error {
		_, err := a.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &a.id, Description: &text})
		return err
	}
	for _, text := range []string{"payments", "", strings.Repeat("d", 8192)} {
		if err := update(text); err != nil {
			t.Fatal(err)
		}
		if got := *mustKMS(a.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &a.id}))(t).KeyMetadata.Description; got != text {
			t.Errorf("got description %.20q, want %.20q", got, text)
		}
	}
	wantKMSCode[any](t, "8,193 bytes", "ValidationException")(nil, update(strings.Repeat("d", 8193)))
	mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &a.id}))(t)
	if err := update("late"); !errors.As(err, new(*types.KMSInvalidStateException)) {
		t.Errorf("pending deletion: got %v, want KMSInvalidStateException", err)
	}
}
