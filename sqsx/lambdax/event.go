package lambdax

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/internal/awsname"
)

// eventSource is the source of every record of SQS, in Lambda and in
// EventBridge Pipes (AWS Lambda Developer Guide, "Using Lambda with Amazon
// SQS").
const eventSource = "aws:sqs"

// Event is the event that Lambda passes to a function for an SQS queue. Its
// JSON is that of events.SQSEvent in github.com/aws/aws-lambda-go. An Event can
// also be unmarshaled from an array of records, the input of a target of
// EventBridge Pipes, and from a single record.
type Event struct {
	Records []Record `json:"Records"` // 1 to 10,000; of a FIFO queue 1 to 10
}

// Record is one message of an [Event].
type Record struct {
	MessageID     string `json:"messageId"`     // never empty
	ReceiptHandle string `json:"receiptHandle"` // Options.BackOff needs it
	Body          string `json:"body"`          // sealed
	// Attributes are the system attributes: "ApproximateReceiveCount", on a FIFO
	// queue "MessageGroupId", in a dead-letter queue "DeadLetterQueueSourceArn".
	Attributes map[string]string `json:"attributes"`
	// MessageAttributes are those that the sender set. One of them holds the
	// header of the sealed message, unless it is sealed with
	// sqsx.Policy.BodyCarrier.
	MessageAttributes map[string]Attribute `json:"messageAttributes"`
	MD5OfBody         string               `json:"md5OfBody"` // SQS's digest of Body, in hex
	// MD5OfMessageAttributes is SQS's digest of MessageAttributes, nil if there
	// are none. An error uses it to say whether they were altered after SQS.
	MD5OfMessageAttributes *string `json:"md5OfMessageAttributes,omitempty"`
	EventSource            string  `json:"eventSource"`    // "aws:sqs"
	EventSourceARN         string  `json:"eventSourceARN"` // of the queue
	AWSRegion              string  `json:"awsRegion"`      // of the queue; not used
}

// Attribute is a message attribute of a [Record]. Either StringValue or
// BinaryValue is set.
type Attribute struct {
	StringValue      *string  `json:"stringValue,omitempty"` // of a String or a Number
	BinaryValue      []byte   `json:"binaryValue,omitempty"` // base64 in JSON
	StringListValues []string `json:"stringListValues"`      // empty: SQS has not implemented lists
	BinaryListValues [][]byte `json:"binaryListValues"`      // empty
	DataType         string   `json:"dataType"`              // "String", "Number" or "Binary", and perhaps a suffix
}

// Response tells Lambda which messages of the event stay in the queue. Lambda
// reads it only if the event source mapping has ReportBatchItemFailures.
type Response struct {
	BatchItemFailures []Failure `json:"batchItemFailures"` // an empty list: all succeeded
}

// Failure names one message that stays in the queue.
type Failure struct {
	ItemIdentifier string `json:"itemIdentifier"` // the message ID of the record
}

// NewEvent returns the event that Lambda makes from messages of the queue with
// this ARN, for tests of a function. [Handler.Handle] refuses an event that was
// made with a queue's URL or name. The messages are as a client without a
// Sealer receives them, or as Sealer.SealMessage makes them; each needs a
// MessageId. msgs is not changed; the result shares the values of message
// attributes with it.
func NewEvent(queueARN string, msgs []types.Message) Event {
	region := ""
	if a, err := awsname.ParseQueueARN(queueARN); err == nil {
		region = a.Region
	}
	e := Event{Records: make([]Record, len(msgs))}
	for i, m := range msgs {
		r := Record{
			MessageID:              aws.ToString(m.MessageId),
			ReceiptHandle:          aws.ToString(m.ReceiptHandle),
			Body:                   aws.ToString(m.Body),
			Attributes:             make(map[string]string, len(m.Attributes)),
			MessageAttributes:      make(map[string]Attribute, len(m.MessageAttributes)),
			MD5OfBody:              aws.ToString(m.MD5OfBody),
			MD5OfMessageAttributes: m.MD5OfMessageAttributes,
			EventSource:            eventSource,
			EventSourceARN:         queueARN,
			AWSRegion:              region,
		}
		maps.Copy(r.Attributes, m.Attributes)
		for name, a := range m.MessageAttributes {
			r.MessageAttributes[name] = Attribute{
				StringValue:      a.StringValue,
				BinaryValue:      a.BinaryValue,
				StringListValues: []string{},
				BinaryListValues: [][]byte{},
				DataType:         aws.ToString(a.DataType),
			}
		}
		e.Records[i] = r
	}
	return e
}

// UnmarshalJSON reads an event of Lambda, an array of records, or one record.
// Any other JSON gives an Event without records, which [Handler.Handle]
// refuses.
func (e *Event) UnmarshalJSON(text []byte) error {
	var in struct {
		Records []Record `json:"Records"`
		Record
	}
	if trimmed := bytes.TrimLeft(text, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		if err := json.Unmarshal(text, &in.Records); err != nil {
			return eventError(err)
		}
	} else if err := json.Unmarshal(text, &in); err != nil {
		return eventError(err)
	}
	e.Records = in.Records
	if len(e.Records) == 0 && in.MessageID != "" {
		e.Records = []Record{in.Record}
	}
	return nil
}

// eventError keeps what encoding/json says about the form, without its quotes
// of the input.
func eventError(err error) error {
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("lambdax: the event is not one of SQS: field %q is a JSON %s: pass the input of the mapping or pipe on as it is, without an input transformer", typ.Field, typ.Value)
	}
	return errors.New("lambdax: the event is not one of SQS: it cannot be read as JSON with base64 in binaryValue: pass the input of the mapping or pipe on as it is, without an input transformer")
}

// check refuses an event that is not one of SQS: an empty response to it would
// mean that all succeeded.
func (e Event) check() error {
	if len(e.Records) == 0 {
		return errors.New(`lambdax: the event has no records: want an event of SQS, {"Records": [...]}, the array of records of a pipe, or one record`)
	}
	for i, r := range e.Records {
		switch {
		case r.EventSource != eventSource:
			return fmt.Errorf("lambdax: record %d of %d is from %.64q, want %q: this function opens messages of SQS queues only", i, len(e.Records), r.EventSource, eventSource)
		case r.MessageID == "":
			return fmt.Errorf("lambdax: record %d of %d has no messageId, so that its failure could not be reported: pass the input on as it is", i, len(e.Records))
		}
		if _, err := awsname.ParseQueueARN(r.EventSourceARN); err != nil {
			return fmt.Errorf("lambdax: record %d of %d: eventSourceARN: %w", i, len(e.Records), err)
		}
	}
	return nil
}

// message converts a whole record. One of the message attributes may be the
// header; the system attributes name the message group and, in a dead-letter
// queue, the source.
func (r Record) message() types.Message {
	m := types.Message{
		MessageId:         aws.String(r.MessageID),
		ReceiptHandle:     aws.String(r.ReceiptHandle),
		Body:              aws.String(r.Body),
		Attributes:        maps.Clone(r.Attributes),
		MessageAttributes: make(map[string]types.MessageAttributeValue, len(r.MessageAttributes)),
		MD5OfBody:         optional(r.MD5OfBody),
	}
	if r.MD5OfMessageAttributes != nil {
		// Lambda leaves it out without attributes, and an empty one would
		// look like a digest that does not match.
		m.MD5OfMessageAttributes = optional(*r.MD5OfMessageAttributes)
	}
	for name, a := range r.MessageAttributes {
		m.MessageAttributes[name] = types.MessageAttributeValue{
			DataType:    aws.String(a.DataType),
			StringValue: a.StringValue,
			BinaryValue: slices.Clone(a.BinaryValue),
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
