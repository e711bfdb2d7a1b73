package sqsxtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

const (
	kmsTestRole    = "arn:aws:iam::111122223333:role/orders"
	kmsTestRetirer = "arn:aws:iam::111122223333:role/admin"
)

func (a kmsAccount) grants(t *testing.T, in kms.ListGrantsInput) []types.GrantListEntry {
	t.Helper()
	var all []types.GrantListEntry
	pages := kms.NewListGrantsPaginator(a.Client, &in)
	for pages.HasMorePages() {
		all = append(all, mustKMS(pages.NextPage(t.Context()))(t).Grants...)
	}
	return all
}

func TestKMSGrants(t *testing.T) {
	t.Parallel()
	srv := sqsxtest.New(t)
	a := newKMSAccount(t, srv)
	ctx := t.Context()
	create := func(edit func(*kms.CreateGrantInput)) *kms.CreateGrantOutput {
		t.Helper()
		in := &kms.CreateGrantInput{KeyId: &a.id, GranteePrincipal: aws.String(kmsTestRole), Operations: []types.GrantOperation{types.GrantOperationDecrypt, types.GrantOperationGenerateDataKey}}
		if edit != nil {
			edit(in)
		}
		return mustKMS(a.CreateGrant(ctx, in))(t)
	}
	first, second := create(nil), create(nil)
	if len(*first.GrantId) != 64 || *first.GrantId == *second.GrantId || *first.GrantToken == *second.GrantToken {
		t.Errorf("two grants without a name: got IDs %s and %s, want two of 64 digits, and two tokens", *first.GrantId, *second.GrantId)
	}
	named := func(in *kms.CreateGrantInput) {
		in.Name, in.RetiringPrincipal = aws.String("orders"), aws.String(kmsTestRetirer)
		in.Constraints = &types.GrantConstraints{EncryptionContextSubset: map[string]string{"sealq:queue": "orders"}}
	}
	third, again := create(named), create(func(in *kms.CreateGrantInput) { named(in); slices.Reverse(in.Operations) })
	if *third.GrantId != *again.GrantId || *third.GrantToken == *again.GrantToken {
		t.Errorf("asked twice by one name: got IDs %s and %s, want one with two tokens", *third.GrantId, *again.GrantId)
	}
	other := create(func(in *kms.CreateGrantInput) {
		named(in)
		in.Constraints.EncryptionContextSubset["sealq:queue"] = "payments"
	})
	if *other.GrantId == *third.GrantId {
		t.Error("one name for two constraints: got one grant, want two")
	}

	if got := a.grants(t, kms.ListGrantsInput{KeyId: &a.arn, Limit: aws.Int32(1)}); len(got) != 4 || *got[0].GrantId != *first.GrantId {
		t.Errorf("got %d grants, want 4, the oldest first", len(got))
	}
	one := a.grants(t, kms.ListGrantsInput{KeyId: &a.id, GrantId: third.GrantId})
	if len(one) != 1 {
		t.Fatalf("by ID: got %d grants, want 1", len(one))
	}
	g := one[0]
	if *g.KeyId != a.arn || *g.Name != "orders" || *g.GranteePrincipal != kmsTestRole || *g.RetiringPrincipal != kmsTestRetirer ||
		*g.IssuingAccount != "arn:aws:iam::"+kmsTestAccount+":root" || g.CreationDate == nil || len(g.Operations) != 2 ||
		g.Constraints.EncryptionContextSubset["sealq:queue"] != "orders" {
		t.Errorf("got %+v", g)
	}
	if got := a.grants(t, kms.ListGrantsInput{KeyId: &a.id, GranteePrincipal: aws.String(kmsTestRetirer)}); len(got) != 0 {
		t.Errorf("of another grantee: got %d grants, want 0", len(got))
	}
	retirable := mustKMS(a.ListRetirableGrants(ctx, &kms.ListRetirableGrantsInput{RetiringPrincipal: aws.String(kmsTestRetirer)}))(t)
	if len(retirable.Grants) != 2 {
		t.Errorf("got %d retirable grants, want 2", len(retirable.Grants))
	}

	// Each token of a grant retires it; so do its ID and its key's; revoking does
	// not need a token.
	mustKMS(a.RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: again.GrantToken}))(t)
	wantKMSCode[*kms.RetireGrantOutput](t, "by the other token, afterwards", "InvalidGrantTokenException")(a.RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: third.GrantToken}))
	mustKMS(a.RetireGrant(ctx, &kms.RetireGrantInput{GrantId: first.GrantId, KeyId: &a.arn}))(t)
	mustKMS(a.RevokeGrant(ctx, &kms.RevokeGrantInput{GrantId: second.GrantId, KeyId: &a.id}))(t)
	if got := a.grants(t, kms.ListGrantsInput{KeyId: &a.id}); len(got) != 1 || *got[0].GrantId != *other.GrantId {
		t.Errorf("in the end: got %d grants, want the one that was left", len(got))
	}

	// Another account may, by the key's ARN.
	foreign := kmsAccount{Client: kmsClient(srv, "us-east-1", "444455556666")}
	out := mustKMS(foreign.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &a.arn, GranteePrincipal: aws.String(kmsTestRole), Operations: []types.GrantOperation{types.GrantOperationDecrypt}}))(t)
	got := foreign.grants(t, kms.ListGrantsInput{KeyId: &a.arn, GrantId: out.GrantId})
	if len(got) != 1 || *got[0].IssuingAccount != "arn:aws:iam::444455556666:root" {
		t.Errorf("another account's grant: got %+v", got)
	}
	mustKMS(foreign.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &a.arn, KeySpec: types.DataKeySpecAes256, GrantTokens: []string{*out.GrantToken}}))(t)
}

func TestKMSGrantErrors(t *testing.T) {
	t.Parallel()
	a := newKMSAccount(t, sqsxtest.New(t))
	ctx := t.Context()
	const decrypt = types.GrantOperationDecrypt
	mac := a.newKey(t, kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}).KeyId
	pairs := make(map[string]string)
	for _, r := range "abcdefghi" {
		pairs[string(r)] = ""
	}
	for name, test := range map[string]struct {
		code string
		edit func(*kms.CreateGrantInput)
	}{
		"an alias":     {"ValidationException", func(in *kms.CreateGrantInput) { in.KeyId = aws.String("alias/orders") }},
		"no key":       {"NotFoundException", func(in *kms.CreateGrantInput) { in.KeyId = aws.String("invalid") }},
		"no operation": {"ValidationException", func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{} }},
		"another key's": {"ValidationException", func(in *kms.CreateGrantInput) {
			in.Operations = []types.GrantOperation{decrypt, types.GrantOperationSign}
		}},
		"Decrypt of an HMAC key": {"ValidationException", func(in *kms.CreateGrantInput) { in.KeyId = mac }},
		"a context for HMAC": {"ValidationException", func(in *kms.CreateGrantInput) {
			in.KeyId, in.Operations = mac, []types.GrantOperation{types.GrantOperationGenerateMac}
			in.Constraints = &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "b"}}
		}},
		"no grantee":   {"ValidationException", func(in *kms.CreateGrantInput) { in.GranteePrincipal = nil }},
		"two grantees": {"ValidationException", func(in *kms.CreateGrantInput) { in.GranteeServicePrincipal = aws.String("ec2.amazonaws.com") }},
		"two retirers": {"ValidationException", func(in *kms.CreateGrantInput) {
			in.RetiringPrincipal, in.RetiringServicePrincipal = aws.String(kmsTestRole), aws.String("ec2.amazonaws.com")
		}},
		"no ARN":     {"InvalidArnException", func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String("somebody") }},
		"long ARN":   {"ValidationException", func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String("arn:" + strings.Repeat("a", 253)) }},
		"no service": {"ValidationException", func(in *kms.CreateGrantInput) { in.RetiringServicePrincipal = aws.String("somebody") }},
		"a bare service": {"ValidationException", func(in *kms.CreateGrantInput) {
			in.GranteePrincipal, in.GranteeServicePrincipal = nil, aws.String("ec2.amazonaws.com")
		}},
		"name":      {"ValidationException", func(in *kms.CreateGrantInput) { in.Name = aws.String("two words") }},
		"long name": {"ValidationException", func(in *kms.CreateGrantInput) { in.Name = aws.String(strings.Repeat("n", 257)) }},
		"nine pairs": {"ValidationException", func(in *kms.CreateGrantInput) {
			in.Constraints = &types.GrantConstraints{EncryptionContextEquals: pairs}
		}},
		"long value": {"ValidationException", func(in *kms.CreateGrantInput) {
			in.Constraints = &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": strings.Repeat("v", 385)}}
		}},
		"eleven tokens": {"ValidationException", func(in *kms.CreateGrantInput) { in.GrantTokens = slices.Repeat([]string{"t"}, 11) }},
	} {
		in := &kms.CreateGrantInput{KeyId: &a.id, GranteePrincipal: aws.String(kmsTestRole), Operations: []types.GrantOperation{decrypt}}
		test.edit(in)
		wantKMSCode[*kms.CreateGrantOutput](t, name, test.code)(a.CreateGrant(ctx, in))
	}
	mustKMS(a.CreateGrant(ctx, &kms.CreateGrantInput{
		KeyId: &a.id, GranteeServicePrincipal: aws.String("ec2.amazonaws.com"), RetiringServicePrincipal: aws.String("ec2.amazonaws.com"),
		Operations: []types.GrantOperation{decrypt}, Constraints: &types.GrantConstraints{SourceArn: aws.String("arn:aws:ec2:us-east-1:111122223333:instance/i-1")},
	}))(t)

	absent := strings.Repeat("0", 64)
	wantKMSCode[*kms.RevokeGrantOutput](t, "no such grant", "NotFoundException")(a.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &a.id, GrantId: &absent}))
	wantKMSCode[*kms.RevokeGrantOutput](t, "no grant ID", "InvalidGrantIdException")(a.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &a.id, GrantId: aws.String("x")}))
	wantKMSCode[*kms.ListGrantsOutput](t, "list no such grant", "NotFoundException")(a.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &a.id, GrantId: &absent}))
	wantKMSCode[*kms.ListGrantsOutput](t, "101 a page", "ValidationException")(a.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &a.id, Limit: aws.Int32(101)}))
	wantKMSCode[*kms.RetireGrantOutput](t, "neither token nor IDs", "ValidationException")(a.RetireGrant(ctx, &kms.RetireGrantInput{GrantId: &absent}))
	wantKMSCode[*kms.RetireGrantOutput](t, "no token", "InvalidGrantTokenException")(a.RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: aws.String("AAAA")}))

	in := &kms.CreateGrantInput{KeyId: &a.id, GranteePrincipal: aws.String(kmsTestRole), Operations: []types.GrantOperation{decrypt}}
	mustKMS(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &a.id}))(t)
	wantKMSCode[*kms.CreateGrantOutput](t, "disabled", "DisabledException")(a.CreateGrant(ctx, in))
	mustKMS(a.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &a.id}))(t)
	wantKMSCode[*kms.CreateGrantOutput](t, "pending deletion", "KMSInvalidStateException")(a.CreateGrant(ctx, in))
	if got := a.grants(t, kms.ListGrantsInput{KeyId: &a.id}); len(got) != 1 {
		t.Errorf("pending deletion: got %d grants, want the one", len(got))
	}
}
