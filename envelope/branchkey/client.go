package branchkey

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// DynamoDB is what a [Store] calls of Amazon DynamoDB. A *dynamodb.Client has
// it. A Store that only reads calls GetItem alone. Implementations must be safe
// for concurrent use.
type DynamoDB interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

// KMS is what a [Store] calls of AWS KMS. A *kms.Client has it. A Store that
// only reads calls Decrypt alone. Implementations must be safe for concurrent
// use.
type KMS interface {
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
	GenerateDataKeyWithoutPlaintext(context.Context, *kms.GenerateDataKeyWithoutPlaintextInput, ...func(*kms.Options)) (*kms.GenerateDataKeyWithoutPlaintextOutput, error)
	ReEncrypt(context.Context, *kms.ReEncryptInput, ...func(*kms.Options)) (*kms.ReEncryptOutput, error)
}

var (
	_ DynamoDB = (*dynamodb.Client)(nil)
	_ KMS      = (*kms.Client)(nil)
)
