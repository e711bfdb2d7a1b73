package launch

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// CreateKeyStoreTable creates a table as a key store of branch keys needs it,
// and returns its ARN. It may not be ready for use yet.
func CreateKeyStoreTable(ctx context.Context, client *dynamodb.Client, name string) (arn string, err error) {
	id, sort := aws.String("branch-key-id"), aws.String("type")
	out, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:   &name,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: id, AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: sort, AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: id, KeyType: types.KeyTypeHash},
			{AttributeName: sort, KeyType: types.KeyTypeRange},
		},
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.TableDescription.TableArn), nil
}
