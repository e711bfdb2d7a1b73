package sqsxtest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// kmsTags is the tags of a key, with those of a request added.
func kmsTags(old map[string]string, tags []types.Tag) (map[string]string, error) {
	all := make(map[string]string, len(old)+len(tags))
	for _, t := range tags {
		key, value := aws.ToString(t.TagKey), aws.ToString(t.TagValue)
		if err := kmsCheckLength("tagKey", len(key), 1, kmsMaxTagKey); err != nil {
			return nil, err
		}
		if err := kmsCheckLength("tagValue", len(value), 0, kmsMaxTagValue); err != nil {
			return nil, err
		}
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return nil, kmsTagException("Tags beginning with aws: are reserved")
		}
		if _, twice := all[key]; twice {
			return nil, kmsTagException("Duplicate tag keys")
		}
		all[key] = value
	}
	for key, value := range old {
		if _, replaced := all[key]; !replaced {
			all[key] = value
		}
	}
	if len(all) > kmsMaxTags {
		return nil, kmsTagException("Too many tags")
	}
	return all, nil
}

func kmsTagException(text string) error {
	return &types.TagException{Message: aws.String(text)}
}

func (k *kmsService) tagResource(c kmsCaller, in *kms.TagResourceInput) (kmsEmpty, error) {
	key, err := k.changeable(c, in.KeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	tags, err := kmsTags(key.tags, in.Tags)
	if err != nil {
		return kmsEmpty{}, err
	}
	key.tags = tags
	return kmsEmpty{}, nil
}

func (k *kmsService) untagResource(c kmsCaller, in *kms.UntagResourceInput) (kmsEmpty, error) {
	for _, name := range in.TagKeys {
		if err := kmsCheckLength("tagKeys", len(name), 1, kmsMaxTagKey); err != nil {
			return kmsEmpty{}, err
		}
	}
	key, err := k.changeable(c, in.KeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	for _, name := range in.TagKeys {
		delete(key.tags, name)
	}
	return kmsEmpty{}, nil
}

type kmsTag struct{ TagKey, TagValue string }

type kmsListTagsOutput struct {
	NextMarker string `json:",omitempty"`
	Tags       []kmsTag
	Truncated  bool
}

func (k *kmsService) listResourceTags(c kmsCaller, in *kms.ListResourceTagsInput) (kmsListTagsOutput, error) {
	key, err := k.owned(c, in.KeyId)
	if err != nil {
		return kmsListTagsOutput{}, err
	}
	all := []kmsTag{}
	for name, value := range key.tags {
		all = append(all, kmsTag{name, value})
	}
	name := func(t kmsTag) string { return t.TagKey }
	slices.SortFunc(all, func(a, b kmsTag) int { return cmp.Compare(name(a), name(b)) })
	page, next, err := kmsPage(all, name, in.Marker, in.Limit, kmsMaxListTags, kmsMaxListTags)
	return kmsListTagsOutput{Tags: page, NextMarker: next, Truncated: next != ""}, err
}
