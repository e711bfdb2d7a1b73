package sqsxtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// kmsGrant is kept to be listed, retired and revoked. It permits nothing,
// because nothing is forbidden; its tokens are taken, and not looked at, by
// cryptographic operations.
type kmsGrant struct {
	id         string
	issuer     string // account
	created    time.Time
	name       string
	operations []types.GrantOperation
	constraint *kmsGrantConstraints
	principals kmsGrantPrincipals
}

// kmsGrantPrincipals is who the grant speaks of, "" for nobody.
type kmsGrantPrincipals struct{ grantee, granteeService, retiring, retiringService string }

type kmsGrantConstraints struct {
	EncryptionContextEquals map[string]string `json:",omitempty"`
	EncryptionContextSubset map[string]string `json:",omitempty"`
	SourceArn               string            `json:",omitempty"`
}

// same reports whether two requests ask for one grant: those of one name do,
// unless they differ in what they grant.
func (g *kmsGrant) same(o *kmsGrant) bool {
	return g.name != "" && g.name == o.name && g.principals == o.principals &&
		slices.Equal(slices.Sorted(slices.Values(g.operations)), slices.Sorted(slices.Values(o.operations))) &&
		g.constraint.same(o.constraint)
}

func (c *kmsGrantConstraints) same(o *kmsGrantConstraints) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.SourceArn == o.SourceArn && maps.Equal(c.EncryptionContextEquals, o.EncryptionContextEquals) &&
		maps.Equal(c.EncryptionContextSubset, o.EncryptionContextSubset)
}

// token returns a new grant token: the ID of its grant and what makes it
// unique.
func (g *kmsGrant) token() string {
	id, _ := hex.DecodeString(g.id)
	return base64.StdEncoding.EncodeToString(append(id, rand.Text()...))
}

// kmsGrantOperations lists the operations that a grant for a key can permit.
func kmsGrantOperations(key *kmsKey) []types.GrantOperation {
	all := []types.GrantOperation{types.GrantOperationCreateGrant, types.GrantOperationDescribeKey, types.GrantOperationRetireGrant}
	switch {
	case key.usage == types.KeyUsageTypeGenerateVerifyMac:
		return append(all, types.GrantOperationGenerateMac, types.GrantOperationVerifyMac)
	case key.usage == types.KeyUsageTypeSignVerify:
		return append(all, types.GrantOperationSign, types.GrantOperationVerify, types.GrantOperationGetPublicKey)
	case key.usage == types.KeyUsageTypeKeyAgreement:
		return append(all, types.GrantOperationDeriveSharedSecret, types.GrantOperationGetPublicKey)
	}
	all = append(all, types.GrantOperationEncrypt, types.GrantOperationDecrypt, types.GrantOperationReEncryptFrom, types.GrantOperationReEncryptTo)
	if !key.symmetric() {
		return append(all, types.GrantOperationGetPublicKey)
	}
	return append(all, types.GrantOperationGenerateDataKey, types.GrantOperationGenerateDataKeyWithoutPlaintext,
		types.GrantOperationGenerateDataKeyPair, types.GrantOperationGenerateDataKeyPairWithoutPlaintext)
}

// check checks the form of what a request says about principals. AWS services
// are named by a host; those that are older than the service fields were
// grantees all the same.
func (p kmsGrantPrincipals) check() error {
	service := func(principal string) bool { return strings.Contains(principal, ".amazonaws.com") }
	for _, principal := range []string{p.grantee, p.granteeService, p.retiring, p.retiringService} {
		if err := kmsCheckLength("principal", len(principal), 0, kmsMaxPrincipal); err != nil {
			return err
		}
	}
	for _, principal := range []string{p.grantee, p.retiring} {
		if principal != "" && !strings.HasPrefix(principal, "arn:") && !service(principal) {
			return &types.InvalidArnException{Message: aws.String("Invalid principal: it is no ARN")}
		}
	}
	for _, principal := range []string{p.granteeService, p.retiringService} {
		if principal != "" && !service(principal) {
			return kmsValidation("the service principal %.300s is not the name of a service", principal)
		}
	}
	switch {
	case (p.grantee == "") == (p.granteeService == ""):
		return kmsValidation("Specify either GranteePrincipal or GranteeServicePrincipal.")
	case p.retiring != "" && p.retiringService != "":
		return kmsValidation("Specify either RetiringPrincipal or RetiringServicePrincipal.")
	}
	return nil
}

// kmsGrantOf checks a request, and returns the grant that it asks for.
func kmsGrantOf(in *kms.CreateGrantInput, key *kmsKey) (*kmsGrant, error) {
	g := &kmsGrant{name: aws.ToString(in.Name), operations: slices.Clone(in.Operations), principals: kmsGrantPrincipals{
		grantee: aws.ToString(in.GranteePrincipal), granteeService: aws.ToString(in.GranteeServicePrincipal),
		retiring: aws.ToString(in.RetiringPrincipal), retiringService: aws.ToString(in.RetiringServicePrincipal),
	}}
	p := g.principals
	if err := p.check(); err != nil {
		return nil, err
	}
	if ok, _ := regexp.MatchString(`^[a-zA-Z0-9:/_-]{0,256}$`, g.name); !ok {
		return nil, kmsValidation("1 validation error detected: Value '%.300s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$", g.name)
	}
	if c := in.Constraints; c != nil {
		g.constraint = &kmsGrantConstraints{
			EncryptionContextEquals: maps.Clone(c.EncryptionContextEquals),
			EncryptionContextSubset: maps.Clone(c.EncryptionContextSubset),
			SourceArn:               aws.ToString(c.SourceArn),
		}
	}
	switch {
	case p.granteeService != "" && (g.constraint == nil || g.constraint.SourceArn == "" || p.retiring+p.retiringService == ""):
		return nil, kmsValidation("GranteeServicePrincipal needs a SourceArn constraint, and RetiringPrincipal or RetiringServicePrincipal.")
	case len(g.operations) == 0:
		return nil, kmsValidation("1 validation error detected: Value at 'operations' failed to satisfy constraint: Member must not be null")
	}
	allowed := kmsGrantOperations(key)
	for _, o := range g.operations {
		if !slices.Contains(allowed, o) {
			return nil, kmsValidation("the operation %s cannot be granted for a key of spec %s and usage %s", o, key.spec, key.usage)
		}
	}
	return g, kmsCheckConstraint(g.constraint, key)
}

func kmsCheckConstraint(c *kmsGrantConstraints, key *kmsKey) error {
	if c == nil {
		return nil
	}
	for _, context := range []map[string]string{c.EncryptionContextEquals, c.EncryptionContextSubset} {
		if len(context) > 0 && !key.symmetric() {
			return kmsValidation("a key of spec %s has no encryption context to constrain", key.spec)
		}
		if len(context) > kmsMaxConstraintPairs {
			return kmsValidation("a constraint has %d pairs, must have at most %d", len(context), kmsMaxConstraintPairs)
		}
		for _, value := range context {
			if err := kmsCheckLength("encryptionContext", len(value), 0, kmsMaxConstraintValue); err != nil {
				return err
			}
		}
	}
	return nil
}

type kmsCreateGrantOutput struct {
	GrantID    string `json:"GrantId"`
	GrantToken string
}

func (k *kmsService) createGrant(c kmsCaller, in *kms.CreateGrantInput) (kmsCreateGrantOutput, error) {
	if err := kmsCheckCrypto(nil, in.GrantTokens); err != nil {
		return kmsCreateGrantOutput{}, err
	}
	key, err := k.named(c, in.KeyId)
	if err != nil {
		return kmsCreateGrantOutput{}, err
	}
	if err := kmsEnabled(key); err != nil {
		return kmsCreateGrantOutput{}, err
	}
	g, err := kmsGrantOf(in, key)
	if err != nil {
		return kmsCreateGrantOutput{}, err
	}
	if err := kmsDryRun(in.DryRun); err != nil {
		return kmsCreateGrantOutput{}, err
	}
	if i := slices.IndexFunc(key.grants, g.same); i >= 0 {
		g = key.grants[i]
	} else {
		var id [32]byte
		rand.Read(id[:])
		g.id, g.issuer, g.created = hex.EncodeToString(id[:]), c.account, time.Now()
		key.grants = append(key.grants, g)
	}
	return kmsCreateGrantOutput{GrantID: g.id, GrantToken: g.token()}, nil
}

type kmsGrantListEntry struct {
	Constraints              *kmsGrantConstraints `json:",omitempty"`
	CreationDate             *kmsTime
	GrantID                  string `json:"GrantId"`
	GranteePrincipal         string `json:",omitempty"`
	GranteeServicePrincipal  string `json:",omitempty"`
	IssuingAccount           string
	KeyID                    string `json:"KeyId"`
	Name                     string `json:",omitempty"`
	Operations               []types.GrantOperation
	RetiringPrincipal        string `json:",omitempty"`
	RetiringServicePrincipal string `json:",omitempty"`
}

type kmsListGrantsOutput struct {
	Grants     []kmsGrantListEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

// grantEntries appends the grants of the key that are to be listed.
func (key *kmsKey) grantEntries(all []kmsGrantListEntry, keep func(*kmsGrant) bool) []kmsGrantListEntry {
	for _, g := range key.grants {
		if keep(g) {
			all = append(all, kmsGrantListEntry{
				Constraints: g.constraint, CreationDate: kmsTimeOf(g.created), GrantID: g.id,
				GranteePrincipal: g.principals.grantee, GranteeServicePrincipal: g.principals.granteeService,
				IssuingAccount: "arn:" + partitionOf(key.region) + ":iam::" + g.issuer + ":root",
				KeyID:          key.arn(), Name: g.name, Operations: g.operations,
				RetiringPrincipal: g.principals.retiring, RetiringServicePrincipal: g.principals.retiringService,
			})
		}
	}
	return all
}

func kmsGrantID(e kmsGrantListEntry) string { return e.GrantID }

func (k *kmsService) listGrants(c kmsCaller, in *kms.ListGrantsInput) (kmsListGrantsOutput, error) {
	key, err := k.named(c, in.KeyId)
	if err != nil {
		return kmsListGrantsOutput{}, err
	}
	if in.GrantId != nil {
		if _, err := key.grant(*in.GrantId); err != nil {
			return kmsListGrantsOutput{}, err
		}
	}
	all := key.grantEntries([]kmsGrantListEntry{}, func(g *kmsGrant) bool {
		return (in.GrantId == nil || *in.GrantId == g.id) &&
			(in.GranteePrincipal == nil || *in.GranteePrincipal == g.principals.grantee) &&
			(in.GranteeServicePrincipal == nil || *in.GranteeServicePrincipal == g.principals.granteeService)
	})
	page, next, err := kmsPage(all, kmsGrantID, in.Marker, in.Limit, kmsDefaultListGrants, kmsMaxListGrants)
	return kmsListGrantsOutput{Grants: page, NextMarker: next, Truncated: next != ""}, err
}

func (k *kmsService) listRetirableGrants(c kmsCaller, in *kms.ListRetirableGrantsInput) (kmsListGrantsOutput, error) {
	k.sweep()
	retiring := aws.ToString(in.RetiringPrincipal)
	if err := kmsCheckLength("retiringPrincipal", len(retiring), 1, kmsMaxPrincipal); err != nil {
		return kmsListGrantsOutput{}, err
	}
	all := []kmsGrantListEntry{}
	for ref, key := range k.keys {
		if ref.account == c.account && ref.region == c.region {
			all = key.grantEntries(all, func(g *kmsGrant) bool { return g.principals.retiring == retiring })
		}
	}
	slices.SortFunc(all, func(a, b kmsGrantListEntry) int { return strings.Compare(a.GrantID, b.GrantID) })
	page, next, err := kmsPage(all, kmsGrantID, in.Marker, in.Limit, kmsDefaultListGrants, kmsMaxListGrants)
	return kmsListGrantsOutput{Grants: page, NextMarker: next, Truncated: next != ""}, err
}

// grant finds a grant of the key, and returns where it is.
func (key *kmsKey) grant(id string) (int, error) {
	if ok, _ := regexp.MatchString(`^[0-9a-f]{64}$`, id); !ok {
		return 0, &types.InvalidGrantIdException{Message: aws.String("the grant ID is not 64 hexadecimal digits")}
	}
	i := slices.IndexFunc(key.grants, func(g *kmsGrant) bool { return g.id == id })
	if i < 0 {
		return 0, kmsNotFound("Grant ID %s not found", id)
	}
	return i, nil
}

func (k *kmsService) revokeGrant(c kmsCaller, in *kms.RevokeGrantInput) (kmsEmpty, error) {
	return k.deleteGrant(c, in.KeyId, aws.ToString(in.GrantId), in.DryRun)
}

// retireGrant takes a token, or the IDs of the grant and its key.
func (k *kmsService) retireGrant(c kmsCaller, in *kms.RetireGrantInput) (kmsEmpty, error) {
	if (in.GrantToken == nil) == (in.GrantId == nil || in.KeyId == nil) {
		return kmsEmpty{}, kmsValidation("Specify either the grant token, or the grant ID and the key ID.")
	}
	if in.GrantToken == nil {
		return k.deleteGrant(c, in.KeyId, *in.GrantId, in.DryRun)
	}
	k.sweep()
	token, _ := base64.StdEncoding.DecodeString(*in.GrantToken)
	for _, key := range k.keys {
		for _, g := range key.grants {
			if len(token) > 32 && hex.EncodeToString(token[:32]) == g.id && key.region == c.region {
				return k.deleteGrant(c, aws.String(key.arn()), g.id, in.DryRun)
			}
		}
	}
	return kmsEmpty{}, &types.InvalidGrantTokenException{Message: aws.String("the grant token is not valid")}
}

func (k *kmsService) deleteGrant(c kmsCaller, keyID *string, id string, dryRun *bool) (kmsEmpty, error) {
	key, err := k.named(c, keyID)
	if err != nil {
		return kmsEmpty{}, err
	}
	i, err := key.grant(id)
	if err != nil {
		return kmsEmpty{}, err
	}
	if err := kmsDryRun(dryRun); err != nil {
		return kmsEmpty{}, err
	}
	key.grants = slices.Delete(key.grants, i, i+1)
	return kmsEmpty{}, nil
}
