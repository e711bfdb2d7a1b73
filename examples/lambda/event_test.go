package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// lambdaEvent makes an event of the messages in queues, as Lambda writes it, and
// reads it. Messages are called "orders/0", "orders/1" and so on.
func lambdaEvent(t *testing.T, queues map[string][]types.Message) (e event) {
	t.Helper()
	var records []any
	for name, messages := range queues {
		for i, m := range messages {
			attributes := make(map[string]any)
			for name, a := range m.MessageAttributes {
				attributes[name] = map[string]any{
					"stringValue": a.StringValue, "binaryValue": a.BinaryValue, "dataType": a.DataType,
					"stringListValues": []string{}, "binaryListValues": []string{},
				}
			}
			records = append(records, map[string]any{
				"messageId": fmt.Sprintf("%s/%d", name, i), "receiptHandle": "AQEB", "body": m.Body, "md5OfBody": m.MD5OfBody,
				"attributes": m.Attributes, "messageAttributes": attributes, "eventSource": "aws:sqs",
				"eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:" + name, "awsRegion": "us-east-1",
			})
		}
	}
	text, err := json.Marshal(map[string]any{"Records": records})
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}
