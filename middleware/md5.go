package middleware

import (
	"crypto/fips140"
	"crypto/md5" // SQS's digests; they protect nothing
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// digestsAllowed is false where crypto/md5 panics: under GODEBUG=fips140=only.
func digestsAllowed() bool { return !fips140.Enforced() }

// digester computes digests, one after the other. The zero value is ready for
// use, by one goroutine. Its memory serves all messages of a call, whose bodies
// are not copied to be hashed.
type digester struct {
	hash  hash.Hash
	block []byte
}

const digestBlock = 1 << 10

// body is SQS's digest of a message body.
func (d *digester) body(body string) string {
	d.begin()
	d.write(body)
	return d.end()
}

// sent returns the digests of what the caller of a send wrote, or nil for none.
func (d *digester) sent(body string, attributes map[string]types.MessageAttributeValue, none bool) (bodyMD5, attributesMD5 *string) {
	if none || !digestsAllowed() {
		return nil, nil
	}
	return aws.String(d.body(body)), d.attributes(attributes)
}

// attributes is SQS's digest of message attributes, nil if there are none: for
// each attribute, sorted by name: the name, the type and the value, each after
// its length; before the value, a byte for string or binary.
func (d *digester) attributes(attributes map[string]types.MessageAttributeValue) *string {
	if len(attributes) == 0 {
		return nil
	}
	const stringValue, binaryValue = "\x01", "\x02"
	d.begin()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[name]
		dataType := aws.ToString(v.DataType)
		d.field(name)
		d.field(dataType)
		if strings.HasPrefix(dataType, "Binary") {
			d.write(binaryValue)
			d.length(len(v.BinaryValue))
			d.hash.Write(v.BinaryValue)
		} else {
			d.write(stringValue)
			d.field(aws.ToString(v.StringValue))
		}
	}
	return aws.String(d.end())
}

func (d *digester) begin() {
	if d.hash == nil {
		d.hash, d.block = md5.New(), make([]byte, digestBlock)
	}
	d.hash.Reset()
}

// write hashes s through block, because crypto/md5 takes no string.
func (d *digester) write(s string) {
	for len(s) > 0 {
		n := copy(d.block, s)
		d.hash.Write(d.block[:n])
		s = s[n:]
	}
}

func (d *digester) field(s string) {
	d.length(len(s))
	d.write(s)
}

func (d *digester) length(n int) {
	binary.BigEndian.PutUint32(d.block, uint32(n))
	d.hash.Write(d.block[:4])
}

// end returns lower-case hex.
func (d *digester) end() string {
	sum := d.hash.Sum(d.block[:0])
	var text [2 * md5.Size]byte
	hex.Encode(text[:], sum)
	return string(text[:])
}
