package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// lambdaEvent makes an event of the messages in queues, as Lambda writes it,
// and reads it. Messages are called "orders/0", "orders/1" and so on.
func lambdaEvent(t *testing.T, queues map[string][]types.Message) event {
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
				"md5OfMessageAttributes": m.MD5OfMessageAttributes,
				"attributes":             m.Attributes, "messageAttributes": attributes, "eventSource": "aws:sqs",
				"eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:" + name, "awsRegion": "us-east-1",
			})
		}
	}
	text, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		t.Fatal(err)
	}
	return parseEvent(t, string(text))
}

func parseEvent(t *testing.T, text string) (e event) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEventIsConverted reads an event as Lambda writes one (AWS Lambda
// developer guide, "Using Lambda with Amazon SQS") and compares the messages
// with what a receive would have given.
func TestEventIsConverted(t *testing.T) {
	t.Parallel()
	queues, err := parseEvent(t, `{"Records": [
		{
			"messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
			"receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
			"body": "Test message.",
			"attributes": {
				"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183", "SenderId": "AIDAIENQZJOLO23YVJ4VO",
				"ApproximateFirstReceiveTimestamp": "1545082649185", "MessageGroupId": "g",
				"DeadLetterQueueSourceArn": "arn:aws:sqs:us-east-2:123456789012:source"
			},
			"messageAttributes": {
				"text": {"stringValue": "a", "stringListValues": [], "binaryListValues": [], "dataType": "String.x"},
				"sealq": {"binaryValue": "AgR4", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"}
			},
			"md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
			"md5OfMessageAttributes": "8cbe4db156db8a94db8b801b7addb984",
			"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:orders", "awsRegion": "us-east-2"
		},
		{
			"messageId": "2e1424d4-f796-459a-8184-9c92662be6da", "receiptHandle": "AQEBzWwaftRI0KuVm4tP+", "body": "",
			"attributes": {}, "messageAttributes": {}, "md5OfMessageAttributes": null,
			"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:orders", "awsRegion": "us-east-2"
		}
	]}`).queues()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]types.Message{"arn:aws:sqs:us-east-2:123456789012:orders": {
		{
			MessageId:     aws.String("059f36b4-87a3-44ab-83d2-661975830a7d"),
			ReceiptHandle: aws.String("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a"),
			Body:          aws.String("Test message."),
			Attributes: map[string]string{
				"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183", "SenderId": "AIDAIENQZJOLO23YVJ4VO",
				"ApproximateFirstReceiveTimestamp": "1545082649185", "MessageGroupId": "g",
				"DeadLetterQueueSourceArn": "arn:aws:sqs:us-east-2:123456789012:source",
			},
			MessageAttributes: map[string]types.MessageAttributeValue{
				"text":  {DataType: aws.String("String.x"), StringValue: aws.String("a")},
				"sealq": {DataType: aws.String("Binary"), BinaryValue: []byte{2, 4, 0x78}},
			},
			MD5OfBody:              aws.String("e4e68fb7bd0e697a0ae8f1bb342846b3"),
			MD5OfMessageAttributes: aws.String("8cbe4db156db8a94db8b801b7addb984"),
		},
		{
			MessageId:         aws.String("2e1424d4-f796-459a-8184-9c92662be6da"),
			ReceiptHandle:     aws.String("AQEBzWwaftRI0KuVm4tP+"),
			Body:              aws.String(""),
			Attributes:        map[string]string{},
			MessageAttributes: map[string]types.MessageAttributeValue{},
		},
	}}
	if diff := cmp.Diff(want, queues, cmpopts.IgnoreUnexported(types.Message{}, types.MessageAttributeValue{})); diff != "" {
		t.Errorf("messages differ (-want +got):\n%s", diff)
	}
}
