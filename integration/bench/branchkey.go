package main

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
)

// keyStore stands for DynamoDB and KMS: it has one branch key, in one version.
type keyStore struct {
	branchkey.DynamoDB
	branchkey.KMS
}

const (
	branchKeyID      = "bbb9baf1-03e6-4716-a586-6bf29995314b"
	branchKeyVersion = "branch:version:83eec007-5659-4554-bf11-699b90f41ac6"
)

func (keyStore) GetItem(_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	text := func(s string) *dynamodbtypes.AttributeValueMemberS {
		return &dynamodbtypes.AttributeValueMemberS{Value: s}
	}
	item := map[string]dynamodbtypes.AttributeValue{
		"enc":               &dynamodbtypes.AttributeValueMemberB{Value: make([]byte, ciphertextSize)},
		"kms-arn":           text(keyARN),
		"create-time":       text("2026-11-26T10:03:31.442848Z"),
		"hierarchy-version": &dynamodbtypes.AttributeValueMemberN{Value: "1"},
	}
	for name, value := range in.Key {
		item[name] = value
	}
	if kind, ok := in.Key["type"].(*dynamodbtypes.AttributeValueMemberS); !ok {
		return nil, errors.New("the key has no type")
	} else if kind.Value == "branch:ACTIVE" {
		item["version"] = text(branchKeyVersion)
	}
	return &dynamodb.GetItemOutput{Item: item}, nil
}

func (keyStore) Decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return &kms.DecryptOutput{KeyId: aws.String(keyARN), Plaintext: make([]byte, envelope.DataKeySize)}, nil
}

// newBranchKeyring returns a keyring with a branch key. It has a cache of its
// own.
func newBranchKeyring() (*branchkey.Keyring, error) {
	store, err := branchkey.NewStore(keyStore{}, keyStore{}, func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = "branch-keys", "branch-keys", keyARN
	})
	if err != nil {
		return nil, err
	}
	return branchkey.New(store, branchKeyID)
}
