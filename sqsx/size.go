package sqsx

import (
	"encoding/base64"
	"fmt"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/outgoing"
)

// SealedSize returns the size in bytes, as SQS counts it, of a message to queue
// with a body of plaintextBytes and no attributes of its own. queue is an ARN,
// or, if [Options.Region] is known, a URL or, with [Options.Account], a name.
// It is exact under branch keys, and otherwise after this Sealer has sealed a
// message, to any queue, under the keyring of queue. Before that it is an
// estimate that is not too low for one KMS key. It counts the body as if it
// were not compressed (Policy.Compress). Compare it with the queue's
// MaximumMessageSize. [Sealer.SealedMessageSize] is for a message with
// attributes.
func (s *Sealer) SealedSize(queue string, plaintextBytes int) (int, error) {
	return s.sealedSize(queue, plaintextBytes, nil)
}

// SealedMessageSize is SealedSize for a message with attributes, which it
// counts as they are sent: sealed with the body (Policy.SealAttributes), in
// clear, or both. It looks at in.MessageBody and in.MessageAttributes only.
func (s *Sealer) SealedMessageSize(queue string, in *sqs.SendMessageInput) (int, error) {
	return s.sealedSize(queue, len(aws.ToString(in.MessageBody)), in.MessageAttributes)
}

func (s *Sealer) sealedSize(queue string, plaintextBytes int, attributes map[string]types.MessageAttributeValue) (int, error) {
	q, err := s.queue(queue)
	if err != nil {
		return 0, err
	}
	if plaintextBytes < 1 || plaintextBytes > serviceMaxMessageBytes {
		return 0, fmt.Errorf("sqsx: a body has 1 to %d bytes, got %d", serviceMaxMessageBytes, plaintextBytes)
	}
	policy, err := s.codec.table.findToSeal(q)
	if err != nil {
		return 0, err
	}
	if policy.NoSeal {
		return plaintextBytes + outgoing.Bytes("", attributes), nil
	}
	ec, err := s.codec.sendContext(policy, q)
	if err != nil {
		return 0, err
	}
	keys, err := policy.keysSize(ec)
	if err != nil {
		return 0, err
	}
	header := headerSize(ec, keys)
	body := bodySize(policy.contentSize(plaintextBytes, attributes))
	wire := policy.wireAttributes(attributes)
	if policy.BodyCarrier || len(wire) >= crowdedAttributes {
		return base64.StdEncoding.EncodedLen(header+body) + outgoing.Bytes("", wire), nil
	}
	return len(attributeName) + len(attributeType) + header + base64.StdEncoding.EncodedLen(body) + outgoing.Bytes("", wire), nil
}

// lengthSize is the size of the field in front of a name, a value or a part of
// an encrypted data key, and of a count.
const lengthSize = 2

// headerSize is the length in bytes of the header of a message, tag included,
// with encrypted data keys of keys bytes. docs/format.md has the fields.
func headerSize(ec envelope.EncryptionContext, keys int) int {
	const version, suite, messageID, contentType, frameLength, commitment, tag = 1, 2, 32, 1, 4, 32, 16
	n := version + suite + messageID + lengthSize + lengthSize + contentType + frameLength + commitment + tag
	if len(ec) > 0 {
		n += lengthSize
	}
	for name, value := range ec {
		n += lengthSize + len(name) + lengthSize + len(value)
	}
	return n + keys
}

// bodySize is the length in bytes of what follows the header of a message with
// n bytes of plaintext: full frames of 1 MiB, and a shorter final one.
func bodySize(n int) int {
	const frameLength, number, iv, tag, mark, length = 1 << 20, 4, 12, 16, 4, 4
	full := n / frameLength * (number + iv + tag)
	return full + mark + number + iv + length + tag + n
}

// sizer is a keyring that tells the size of the encrypted data keys of a
// message with that encryption context, in bytes, before it has made one.
type sizer interface {
	EncryptedDataKeySize(ec envelope.EncryptionContext) (int, error)
}

// keysSize is the size in a header of the encrypted data keys of a message, in
// bytes.
func (p *compiledPolicy) keysSize(ec envelope.EncryptionContext) (int, error) {
	kr := p.keyring
	if m, ok := kr.(*mixedSource); ok {
		kr = m.seals
	}
	if kr, ok := kr.(sizer); ok {
		return kr.EncryptedDataKeySize(ec)
	}
	return p.keySize.estimate(), nil
}

// keySize is the size in a header of the encrypted data keys under one keyring,
// as they were last sealed, in bytes. It is safe for concurrent use.
type keySize struct{ atomic.Int64 } // 0: unknown

func (s *keySize) note(n int) {
	if s.Load() != int64(n) { // rarely: readers of one value share its cache line
		s.Store(int64(n))
	}
}

// estimate returns the size, or before anything was sealed that of one data key
// under a multi-Region AWS KMS key in a Region with a long name, with reserve
// for its ciphertext.
func (s *keySize) estimate() int {
	if n := int(s.Load()); n > 0 {
		return n
	}
	const provider, ciphertext = len("aws-kms"), 200
	const arn = len("arn:aws-us-gov:kms:ap-southeast-1:111122223333:key/mrk-") + 32
	return lengthSize + provider + lengthSize + arn + lengthSize + ciphertext
}
