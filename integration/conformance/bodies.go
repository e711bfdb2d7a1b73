package conformance

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

type body struct{ name, text string }

// smallBodies are kinds of bodies that really travel, none above 64 KiB, ten in
// all: a batch.
func smallBodies() []body {
	return []body{
		{"one byte", "x"},
		{"S3 notification", `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"eu-central-1","eventTime":"2026-03-01T12:00:00.000Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"AWS:AIDAEXAMPLE"},"requestParameters":{"sourceIPAddress":"192.0.2.17"},"responseElements":{"x-amz-request-id":"C3D13FE58DE4C810"},"s3":{"s3SchemaVersion":"1.0","configurationId":"orders","bucket":{"name":"invoices","ownerIdentity":{"principalId":"A3NL1KOZZKExample"},"arn":"arn:aws:s3:::invoices"},"object":{"key":"2026/03/r%C3%A9sum%C3%A9.pdf","size":1024,"eTag":"d41d8cd98f00b204e9800998ecf8427e","sequencer":"0055AED6DCD90281E5"}}}]}`},
		{"EventBridge event", `{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"111122223333","time":"2026-03-01T12:00:00Z","region":"eu-central-1","resources":["arn:aws:ec2:eu-central-1:111122223333:instance/i-1234567890abcdef0"],"detail":{"instance-id":"i-1234567890abcdef0","state":"terminated"}}`},
		{"CloudEvents", `{"specversion":"1.0","type":"com.example.order.placed","source":"/shop/7","id":"A234-1234-1234","time":"2026-03-01T17:31:00Z","datacontenttype":"application/json","data":{"order":4711,"iban":"DE02120300000000202051","total":"12.30 €"}}`},
		{"XML", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<order xmlns=\"urn:example:orders\">\r\n\t<item sku=\"A&amp;B\" quantity=\"2\"/>\r\n\t<note><![CDATA[leave at door]]></note>\r\n</order>\r\n"},
		{"CSV", "id;name;amount\r\n1;\"O'Neill; Siobhán\";12,50\r\n2;\"Nguyễn \"\"Bé\"\"\";-3,00\r\n"},
		{"base64", base64.StdEncoding.EncodeToString(pseudoRandom(3000))},
		{"emoji and combining characters", "e\u0301 \U0001F469\u200D\U0001F52C \U0001F1E9\U0001F1EA \u202Eabc\u202C \u1100\u1161\u11A8 \uFFFD\t\n\r end"},
		{"looks sealed by its first letters", "AgR4 is how a sealed body starts; this one is a sentence"},
		{"64 KiB", kibibytes(64)},
	}
}

// allBodies are the small ones and one near the most that can be sealed.
func allBodies() []body {
	return append(smallBodies(), body{"700 KiB", kibibytes(700)})
}

// largeBatch is the batch of ten with the largest sum that can be sealed: 700
// KiB in place of 64.
func largeBatch() []body {
	all := allBodies()
	return append(all[:len(all)-2], all[len(all)-1])
}

// kibibytes makes text without a repeated 16-byte piece, and with characters
// that JSON must escape.
func kibibytes(n int) string {
	var b strings.Builder
	for line := 0; b.Len() < n<<10; line++ {
		fmt.Fprintf(&b, "{\"line\":%08d,\"text\":\"\\\"quoted\\\" %x\"}\n", line, pseudoRandom(line%64+8))
	}
	return b.String()[:n<<10]
}

// pseudoRandom is the same on every run. (An xorshift; nothing secret.)
func pseudoRandom(n int) []byte {
	out := make([]byte, n)
	x := uint64(n)*0x9E3779B97F4A7C15 + 1
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = byte(x >> 32)
	}
	return out
}

// userAttributes returns n message attributes of all types.
func userAttributes(n int) map[string]types.MessageAttributeValue {
	if n == 0 {
		return nil
	}
	attributes := make(map[string]types.MessageAttributeValue, n)
	for i := range n {
		name := fmt.Sprintf("app.attribute-%d", i)
		switch i % 4 {
		case 0:
			attributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("wért " + name)}
		case 1:
			attributes[name] = types.MessageAttributeValue{DataType: aws.String("Number"), StringValue: aws.String("42")}
		case 2:
			attributes[name] = types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 2, 0xff}}
		case 3:
			attributes[name] = types.MessageAttributeValue{DataType: aws.String("String.tenant"), StringValue: aws.String("seven")}
		}
	}
	return attributes
}
