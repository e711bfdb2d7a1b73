package conformance

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// bodyMD5 is what SQS answers as MD5OfMessageBody and MD5OfBody.
func bodyMD5(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}

// attributesMD5 is what SQS answers as MD5OfMessageAttributes, nil for none
// (SQS Developer Guide: "Calculating the MD5 message digest for message
// attributes").
func attributesMD5(attributes map[string]types.MessageAttributeValue) *string {
	if len(attributes) == 0 {
		return nil
	}
	h := md5.New()
	write := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		value := attributes[name]
		write([]byte(name))
		write([]byte(*value.DataType))
		if strings.HasPrefix(*value.DataType, "Binary") {
			h.Write([]byte{2})
			write(value.BinaryValue)
		} else {
			h.Write([]byte{1})
			write([]byte(*value.StringValue))
		}
	}
	return aws.String(hex.EncodeToString(h.Sum(nil)))
}
