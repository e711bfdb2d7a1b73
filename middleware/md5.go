package middleware

import (
	"crypto/fips140"
	"crypto/md5" // SQS's digests; nothing is protected by them
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// digestsAllowed is false where crypto/md5 panics: under GODEBUG=fips140=only.
func digestsAllowed() bool { return !fips140.Enforced() }

func digestBody(body string) *string {
	sum := md5.Sum([]byte(body))
	return aws.String(hex.EncodeToString(sum[:]))
}

// digestAttributes is SQS's digest of message attributes, nil if there are
// none: for each, sorted by name, the name, the type and the value, each after
// its length, the value also after a byte that tells strings from bytes.
func digestAttributes(attributes map[string]types.MessageAttributeValue) *string {
	if len(attributes) == 0 {
		return nil
	}
	const stringValue, binaryValue = 1, 2
	h := md5.New()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[name]
		dataType := aws.ToString(v.DataType)
		writeField(h, name)
		writeField(h, dataType)
		if strings.HasPrefix(dataType, "Binary") {
			h.Write([]byte{binaryValue})
			writeField(h, string(v.BinaryValue))
		} else {
			h.Write([]byte{stringValue})
			writeField(h, aws.ToString(v.StringValue))
		}
	}
	return aws.String(hex.EncodeToString(h.Sum(nil)))
}

func writeField(h hash.Hash, s string) {
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(s)))
	h.Write(length[:])
	io.WriteString(h, s)
}
