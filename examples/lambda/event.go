package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// event is what Lambda hands to a function for an SQS queue: what
// events.SQSEvent of github.com/aws/aws-lambda-go is, as far as it is used here.
// The input of a pipe is the array of records itself.
type event struct {
	Records []record `json:"Records"`
}

type record struct {
	MessageID      string               `json:"messageId"`
	ReceiptHandle  string               `json:"receiptHandle"`
	Body           string               `json:"body"`
	System         map[string]string    `json:"attributes"`
	Attributes     map[string]attribute `json:"messageAttributes"`
	EventSourceARN string               `json:"eventSourceARN"`
	AWSRegion      string               `json:"awsRegion"`
}

type attribute struct {
	DataType    string  `json:"dataType"`
	StringValue *string `json:"stringValue"`
	BinaryValue []byte  `json:"binaryValue"` // base64 in JSON
}

// response is what a function returns to a mapping with
// ReportBatchItemFailures: the messages that stay in the queue.
type response struct {
	Failures []failure `json:"batchItemFailures"`
}

type failure struct {
	ID string `json:"itemIdentifier"`
}

// message converts a record. Both kinds of attributes matter to sealq: one
// message attribute holds the header of the sealed message, and the system
// attributes name the message group and, in a dead-letter queue, the source.
func (r record) message() types.Message {
	m := types.Message{
		MessageId:         aws.String(r.MessageID),
		ReceiptHandle:     aws.String(r.ReceiptHandle),
		Body:              aws.String(r.Body),
		Attributes:        r.System,
		MessageAttributes: make(map[string]types.MessageAttributeValue, len(r.Attributes)),
	}
	for name, a := range r.Attributes {
		m.MessageAttributes[name] = types.MessageAttributeValue{
			DataType: aws.String(a.DataType), StringValue: a.StringValue, BinaryValue: a.BinaryValue,
		}
	}
	return m
}
