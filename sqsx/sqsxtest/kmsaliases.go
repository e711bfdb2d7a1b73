package sqsxtest

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

type kmsAliasRef struct{ account, region, name string }

func (r kmsAliasRef) arn() string {
	return "arn:" + partitionOf(r.region) + ":kms:" + r.region + ":" + r.account + ":" + r.name
}

type kmsAlias struct {
	target           kmsKeyRef // in the alias's own account and Region
	created, updated time.Time
}

// kmsAliasName checks a name against the rules of CreateAlias.
func kmsAliasName(name *string) (string, error) {
	n := aws.ToString(name)
	if err := kmsCheckLength("aliasName", len(n), 1, kmsMaxAliasLength); err != nil {
		return "", err
	}
	if !strings.HasPrefix(n, "alias/") {
		return "", kmsValidation(`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	}
	if ok, _ := regexp.MatchString(`^alias/[a-zA-Z0-9:/_-]+$`, n); !ok {
		return "", &types.InvalidAliasNameException{Message: aws.String("an alias is alias/ and a name of letters, digits, '/', '_', ':' and '-'")}
	}
	if strings.HasPrefix(n, kmsReservedAliasPrefix) {
		return "", kmsAccessDenied("aliases that start with %s belong to AWS", kmsReservedAliasPrefix)
	}
	return n, nil
}

func (k *kmsService) createAlias(c kmsCaller, in *kms.CreateAliasInput) (kmsEmpty, error) {
	name, err := kmsAliasName(in.AliasName)
	if err != nil {
		return kmsEmpty{}, err
	}
	key, err := k.changeable(c, in.TargetKeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	ref := kmsAliasRef{c.account, c.region, name}
	if _, ok := k.aliases[ref]; ok {
		return kmsEmpty{}, &types.AlreadyExistsException{Message: aws.String("An alias with the name " + ref.arn() + " already exists")}
	}
	now := time.Now()
	k.aliases[ref] = &kmsAlias{target: key.kmsKeyRef, created: now, updated: now}
	return kmsEmpty{}, nil
}

func (k *kmsService) updateAlias(c kmsCaller, in *kms.UpdateAliasInput) (kmsEmpty, error) {
	name, err := kmsAliasName(in.AliasName)
	if err != nil {
		return kmsEmpty{}, err
	}
	key, err := k.changeable(c, in.TargetKeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	ref := kmsAliasRef{c.account, c.region, name}
	alias, ok := k.aliases[ref]
	if !ok {
		return kmsEmpty{}, kmsNotFound("Alias %s is not found.", ref.arn())
	}
	if old := k.keys[alias.target]; old.usage != key.usage || (old.spec == types.KeySpecSymmetricDefault) != (key.spec == types.KeySpecSymmetricDefault) {
		return kmsEmpty{}, kmsValidation("an alias can be moved to a key of the same type and usage only")
	}
	alias.target, alias.updated = key.kmsKeyRef, time.Now()
	return kmsEmpty{}, nil
}

func (k *kmsService) deleteAlias(c kmsCaller, in *kms.DeleteAliasInput) (kmsEmpty, error) {
	k.sweep()
	name, err := kmsAliasName(in.AliasName)
	if err != nil {
		return kmsEmpty{}, err
	}
	ref := kmsAliasRef{c.account, c.region, name}
	if _, ok := k.aliases[ref]; !ok {
		return kmsEmpty{}, kmsNotFound("Alias %s is not found.", ref.arn())
	}
	delete(k.aliases, ref)
	return kmsEmpty{}, nil
}

type kmsAliasListEntry struct {
	AliasArn        string
	AliasName       string
	CreationDate    *kmsTime
	LastUpdatedDate *kmsTime
	TargetKeyID     string `json:"TargetKeyId"`
}

type kmsListAliasesOutput struct {
	Aliases    []kmsAliasListEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

func (k *kmsService) listAliases(c kmsCaller, in *kms.ListAliasesInput) (kmsListAliasesOutput, error) {
	k.sweep()
	var only *kmsKey
	if in.KeyId != nil {
		key, err := k.owned(c, in.KeyId)
		if err != nil {
			return kmsListAliasesOutput{}, err
		}
		only = key
	}
	all := []kmsAliasListEntry{}
	for ref, alias := range k.aliases {
		if ref.account != c.account || ref.region != c.region || only != nil && alias.target != only.kmsKeyRef {
			continue
		}
		all = append(all, kmsAliasListEntry{
			AliasArn: ref.arn(), AliasName: ref.name, TargetKeyID: alias.target.id,
			CreationDate: kmsTimeOf(alias.created), LastUpdatedDate: kmsTimeOf(alias.updated),
		})
	}
	name := func(e kmsAliasListEntry) string { return e.AliasName }
	slices.SortFunc(all, func(a, b kmsAliasListEntry) int { return cmp.Compare(name(a), name(b)) })
	page, next, err := kmsPage(all, name, in.Marker, in.Limit, kmsDefaultListAliases, kmsMaxListAliases)
	return kmsListAliasesOutput{Aliases: page, NextMarker: next, Truncated: next != ""}, err
}
