package main

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// event is what Lambda hands to a function for an SQS queue: what
// events.SQSEvent of github.com/aws/aws-lambda-go is, as far as it is used
// here. The input of a pipe is the array of records itself.
type event struct {
	Records []record `json:"Records"`
}

type record struct {
	MessageID      string               `json:"messageId"`
	ReceiptHandle  string               `json:"receiptHandle"`
	Body           string               `json:"body"`
	System         map[string]string    `json:"attributes"`
	Attributes     map[string]attribute `json:"messageAttributes"`
	MD5            string               `json:"md5OfBody"`
	AttributesMD5  string               `json:"md5OfMessageAttributes"` // absent or null without attributes
	EventSource    string               `json:"eventSource"`
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

// queues sorts the messages by the queue that they are from. What is not an
// event of SQS is an error: to report nothing would mean that all has
// succeeded.
func (e event) queues() (map[string][]types.Message, error) {
	if len(e.Records) == 0 {
		return nil, errors.New("the event has no records: is it one of SQS?")
	}
	queues := make(map[string][]types.Message)
	for i, r := range e.Records {
		if r.EventSource != "aws:sqs" || r.EventSourceARN == "" || r.MessageID == "" {
			return nil, fmt.Errorf("record %d is from %q, queue %q, with message ID %q: want a record of SQS", i, r.EventSource, r.EventSourceARN, r.MessageID)
		}
		queues[r.EventSourceARN] = append(queues[r.EventSourceARN], r.message())
	}
	return queues, nil
}

// message converts a record, all of it. Both kinds of attributes matter to
// sealq: one message attribute holds the header of the sealed message, and the
// system attributes name the message group and, in a dead-letter queue, the
// source. With SQS's digest of the attributes it can tell where a message was
// damaged.
func (r record) message() types.Message {
	m := types.Message{
		MessageId:         aws.String(r.MessageID),
		ReceiptHandle:     aws.String(r.ReceiptHandle),
		Body:              aws.String(r.Body),
		Attributes:        r.System,
		MessageAttributes: make(map[string]types.MessageAttributeValue, len(r.Attributes)),
		MD5OfBody:         optional(r.MD5),
		// Nil where SQS gave none: sealq compares what is there.
		MD5OfMessageAttributes: optional(r.AttributesMD5),
	}
	for name, a := range r.Attributes {
		m.MessageAttributes[name] = types.MessageAttributeValue{
			DataType: aws.String(a.DataType), StringValue: a.StringValue, BinaryValue: a.BinaryValue,
		}
	}
	return m
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
