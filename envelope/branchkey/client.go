package branchkey

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// DynamoDB is what a [Store] calls of Amazon DynamoDB. A *dynamodb.Client has
// it.
//
// Implementations must be safe for concurrent use. They should apply the option
// functions, which set the store's Region, attempts and log mode; an
// implementation that does not must set these itself. Outputs belong to the
// store. An error that comes from the service is a smithy.APIError; all others
// mean that the service could not be asked.
type DynamoDB interface {
	// GetItem reads a branch key. A Store that only reads calls nothing else.
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	// TransactWriteItems writes the items of a new branch key, or of a new version
	// of one.
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

// KMS is what a [Store] calls of AWS KMS. A *kms.Client has it. The rules for
// implementations are those of [DynamoDB]; the store overwrites the plaintext
// in outputs.
type KMS interface {
	// Decrypt decrypts a branch key. A Store that only reads calls nothing else.
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
	// GenerateDataKeyWithoutPlaintext makes a branch key, encrypted.
	GenerateDataKeyWithoutPlaintext(context.Context, *kms.GenerateDataKeyWithoutPlaintextInput, ...func(*kms.Options)) (*kms.GenerateDataKeyWithoutPlaintextOutput, error)
	// ReEncrypt encrypts a branch key under the encryption context of another
	// item, and verifies the active item before a rotation.
	ReEncrypt(context.Context, *kms.ReEncryptInput, ...func(*kms.Options)) (*kms.ReEncryptOutput, error)
}

var (
	_ DynamoDB = (*dynamodb.Client)(nil)
	_ KMS      = (*kms.Client)(nil)
)
