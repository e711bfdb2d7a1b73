package sqsx

import (
	"encoding/base64"
	"fmt"
	"sync"

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
// sealed, and before that an estimate that is not too low for one KMS key. Add
// the names, types and values of the message's own attributes, and compare with
// the queue's MaximumMessageSize. A message with 9 or 10 attributes travels in
// the body carrier, whatever the policy: ask a Sealer whose policy says so.
func (s *Sealer) SealedSize(queue string, plaintextBytes int) (int, error) {
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
		return plaintextBytes, nil
	}
	header, known := s.codec.sizes.lookup(q)
	if !known {
		ec, err := s.codec.sendContext(policy, q)
		if err != nil {
			return 0, err
		}
		header = headerSize(ec, estimatedKey())
	}
	body := bodySize(plaintextBytes)
	if policy.BodyCarrier {
		return base64.StdEncoding.EncodedLen(header + body), nil
	}
	return len(attributeName) + len(attributeType) + header + base64.StdEncoding.EncodedLen(body), nil
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
