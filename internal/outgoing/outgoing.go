// Package outgoing has what the clients of SQS and SNS share about a message
// that is about to be sent: its size, and copies of what its caller may change
// during the call. Its functions are safe for concurrent use.
package outgoing

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Bytes is the size of a message as SQS and SNS count it: the body, and names,
// types and values of attributes, binary values raw. System attributes do not
// count.
func Bytes(body string, attributes map[string]types.MessageAttributeValue) int {
	n := len(body)
	for name, v := range attributes {
		n += len(name) + len(aws.ToString(v.DataType)) + len(aws.ToString(v.StringValue)) + len(v.BinaryValue)
	}
	return n
}

// OwnString returns a pointer to a copy of what s points to, or nil.
func OwnString(s *string) *string {
	if s == nil {
		return nil
	}
	own := *s
	return &own
}
