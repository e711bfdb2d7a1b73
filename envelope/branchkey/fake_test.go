package branchkey_test

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type attributes = map[string]types.AttributeValue

type place struct{ id, itemType string }

// table is a DynamoDB of one table, for key stores.
type table struct {
	mu    sync.Mutex
	items map[place]attributes
	late  map[place]bool // not seen by eventually consistent reads
	calls map[string]int
	fail  func(op string) error
}

func newTable() *table {
	return &table{items: make(map[place]attributes), late: make(map[place]bool), calls: make(map[string]int)}
}

func (d *table) begin(op string) error {
	d.mu.Lock()
	d.calls[op]++
	fail := d.fail
	d.mu.Unlock()
	if fail != nil {
		return fail(op)
	}
	return nil
}

func (d *table) GetItem(ctx context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	if err := errors.Join(ctx.Err(), d.begin("GetItem")); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := placeOf(in.Key)
	if d.late[at] && !aws.ToBool(in.ConsistentRead) {
		return &dynamodb.GetItemOutput{}, nil
	}
	return &dynamodb.GetItemOutput{Item: maps.Clone(d.items[at])}, nil
}

func placeOf(key attributes) place {
	return place{key["branch-key-id"].(*types.AttributeValueMemberS).Value, key["type"].(*types.AttributeValueMemberS).Value}
}

func (d *table) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	if err := errors.Join(ctx.Err(), d.begin("TransactWriteItems")); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	failed := false
	reasons := make([]types.CancellationReason, len(in.TransactItems))
	for i, w := range in.TransactItems {
		old := d.items[placeOf(w.Put.Item)]
		met := false
		switch *w.Put.ConditionExpression {
		case "attribute_not_exists(#id)":
			met = old == nil
		case "attribute_exists(#id) AND #enc = :old":
			met = old != nil && string(old["enc"].(*types.AttributeValueMemberB).Value) == string(w.Put.ExpressionAttributeValues[":old"].(*types.AttributeValueMemberB).Value)
		}
		reasons[i].Code = aws.String("None")
		if !met {
			failed, reasons[i].Code = true, aws.String("ConditionalCheckFailed")
		}
	}
	if failed {
		return nil, &types.TransactionCanceledException{Message: aws.String("cancelled"), CancellationReasons: reasons}
	}
	for _, w := range in.TransactItems {
		d.items[placeOf(w.Put.Item)] = w.Put.Item
	}
	return &dynamodb.TransactWriteItemsOutput{}, nil
}

func (d *table) count(op string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[op]
}
