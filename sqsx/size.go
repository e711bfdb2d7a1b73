package sqsx

import (
	"encoding/base64"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// estimatedKey stands for the encrypted data key of a queue to which nothing was
// sealed yet: under one AWS KMS key, a multi-Region key in a Region with a long
// name, whose ciphertext has room to spare.
func estimatedKey() envelope.EncryptedDataKey {
	const arn, ciphertext = len("arn:aws-us-gov:kms:ap-southeast-1:111122223333:key/mrk-") + 32, 200
	return envelope.EncryptedDataKey{ProviderID: "aws-kms", ProviderInfo: make([]byte, arn), Ciphertext: make([]byte, ciphertext)}
}

// SealedSize returns the size in bytes, as SQS counts it, of a message to queue
// with a body of plaintextBytes and no attributes of its own. queue is an ARN,
// or a URL if [Options.Region] is known. It is exact once a message to queue was
// sealed, and before that an estimate that is not too low for one KMS key. It
// counts the body as if it were not compressed (Policy.Compress). Compare it with
// the queue's MaximumMessageSize. [Sealer.SealedMessageSize] is for a message
// with attributes.
func (s *Sealer) SealedSize(queue string, plaintextBytes int) (int, error) {
	return s.sealedSize(queue, plaintextBytes, nil)
}

// SealedMessageSize is SealedSize for a message with attributes, which it
// counts as they travel: sealed with the body (Policy.SealAttributes), in clear,
// or both. It looks at in.MessageBody and in.MessageAttributes only.
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
	policy, err := s.codec.table.find(q)
	if err != nil {
		return 0, err
	}
	if policy.NoSeal {
		return plaintextBytes + writtenBytes("", attributes), nil
	}
	header, known := s.codec.sizes.lookup(q)
	if !known {
		ec, err := s.codec.sendContext(policy, q)
		if err != nil {
			return 0, err
		}
		header = headerSize(ec, estimatedKey())
	}
	body := bodySize(policy.contentSize(plaintextBytes, attributes))
	wire := policy.wireAttributes(attributes)
	if policy.BodyCarrier || len(wire) >= crowdedAttributes {
		return base64.StdEncoding.EncodedLen(header+body) + writtenBytes("", wire), nil
	}
	return len(attributeName) + len(attributeType) + header + base64.StdEncoding.EncodedLen(body) + writtenBytes("", wire), nil
}

// headerSize is the length in bytes of the header of a message, tag included,
// with one encrypted data key. docs/format.md has the fields.
func headerSize(ec envelope.EncryptionContext, key envelope.EncryptedDataKey) int {
	const version, suite, messageID, count, contentType, frameLength, commitment, tag = 1, 2, 32, 2, 1, 4, 32, 16
	n := version + suite + messageID + count + count + contentType + frameLength + commitment + tag
	if len(ec) > 0 {
		n += count
	}
	for name, value := range ec {
		n += count + len(name) + count + len(value)
	}
	return n + count + len(key.ProviderID) + count + len(key.ProviderInfo) + count + len(key.Ciphertext)
}

// bodySize is the length in bytes of what follows the header of a message with
// n bytes of plaintext: full frames of 1 MiB, and a shorter final one.
func bodySize(n int) int {
	const frameLength, number, iv, tag, mark, length = 1 << 20, 4, 12, 16, 4, 4
	full := n / frameLength * (number + iv + tag)
	return full + mark + number + iv + length + tag + n
}

// headerSizes remembers the size of the last header sealed for each queue.
type headerSizes struct {
	mu sync.RWMutex // guards m
	m  map[string]int
}

// sizesKept bounds the queues remembered: as many as have a data key.
const sizesKept = cache.DefaultEncryptEntries

func (h *headerSizes) record(q middleware.Queue, n int) {
	h.mu.RLock()
	known := h.m[q.String()]
	h.mu.RUnlock()
	if known == n {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.m == nil || len(h.m) >= sizesKept {
		h.m = make(map[string]int)
	}
	h.m[q.String()] = n
}

func (h *headerSizes) lookup(q middleware.Queue) (int, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	n, ok := h.m[q.String()]
	return n, ok
}
