package sqsx

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/middleware"
)

const (
	// reservedPrefix marks the context names of this format. A reader refuses
	// unknown ones: otherwise it would deliver a message of a later release as
	// garbage.
	reservedPrefix = reservedName + ":"
	reservedName   = "sealq"

	// queueKey holds the ARN or the logical name of the queue that a message was
	// sealed for, or the ARN of the SNS topic: key policies demand this name. It
	// is deliberately not the "aws:sqs:arn" of server-side encryption: existing
	// key policies let the SQS service itself decrypt under that context.
	queueKey = "sealq:queue"

	// contentKey says that the plaintext is content, in the version that its value
	// names, and not just a body. It is the same for every message of a queue,
	// because each distinct context needs its own data key.
	contentKey     = "sealq:content"
	contentVersion = "1"
)

// Policies of IAM and KMS ignore the case of names in an encryption context. So
// a producer whose policy limits it to one queue could otherwise name that
// queue to KMS under one spelling, and another queue to the reader under ours.
func hasReservedPrefix(name string) bool {
	// Do not compare lengths in bytes: "ſ" takes two, and folds to "s".
	first, _, colon := strings.Cut(name, ":")
	return colon && strings.EqualFold(first, reservedName)
}

// shadows reports whether name is another spelling of a name that is checked.
func (s *settings) shadows(name string) bool {
	for checked := range s.context {
		if name != checked && strings.EqualFold(name, checked) {
			return true
		}
	}
	return false
}

// bindingName is what sealq:queue holds for q. It is empty under NoBinding.
func (p *compiledPolicy) bindingName(q middleware.Queue) (string, error) {
	switch {
	case p.NoBinding:
		return "", nil
	case p.LogicalQueue != "":
		return p.LogicalQueue, nil
	}
	return requireARN(q)
}

// errQueueUnknown is the root of errors of configuration of one queue. They are
// found before a message is sent or received.
var errQueueUnknown = errors.New("sqsx: the queue's ARN is unknown, and messages are bound to it")

// accountRemedy is for a queue URL without an account: a bare name, or a URL of
// an emulator such as http://localhost:9324/queue/orders.
const accountRemedy = "use a queue URL that has one, or set Options.Account (SEALQ_ACCOUNT)"

func requireARN(q middleware.Queue) (string, error) {
	if arn := q.ARN(); arn != "" {
		return arn, nil
	}
	switch {
	case q.Account == "":
		return "", advise(accountRemedy+", or bind to a name with Policy.LogicalQueue", "%w: %q names no account of 12 digits", errQueueUnknown, q.URL)
	case q.Region == "":
		return "", advise("set the client's Region (AWS_REGION), or Options.Region", "%w: the Region of %q is not set", errQueueUnknown, q.URL)
	}
	return "", advise("use the queue's URL", "%w: %q is not a queue URL", errQueueUnknown, q.URL)
}

// What tells apart the ways in which a message's context is not the reader's.
var (
	// errOwnContext: the pairs of the user.
	errOwnContext = fmt.Errorf("%w: producer and consumer differ in Options.EncryptionContext", envelope.ErrContextMismatch)
	// errNoQueue: the message names no queue.
	errNoQueue = fmt.Errorf("%w: the message names no queue", envelope.ErrContextMismatch)
	// errTopic: the message was published to a topic that is not accepted.
	errTopic = fmt.Errorf("%w: the reader does not accept the topic", envelope.ErrContextMismatch)
	// errLogicalQueue: the message or the consumer is bound to a logical name, and
	// not both to the same.
	errLogicalQueue = fmt.Errorf("%w: producer and consumer differ in Policy.LogicalQueue", envelope.ErrContextMismatch)
)

const (
	ownContextRemedy   = "set the same pairs on both (SEALQ_ENCRYPTION_CONTEXT)"
	noQueueRemedy      = "make its producer name the queue (a producer without sealq writes \"" + queueKey + "\" into the encryption context), or set Policy.NoBinding (SEALQ_NO_BINDING) on this consumer, which then opens messages of every queue"
	logicalQueueRemedy = "set the same name for this queue on both"
	topicRemedy        = "if this queue subscribes to the topic, add its ARN to Policy.AcceptTopics; else find the program that copies messages"
	otherQueueRemedy   = "if messages of that queue are expected here, add its ARN to Policy.AcceptQueues; else find the program that copies messages"
)

// sendContext is the encryption context of every message sent to q, which may
// be a topic.
func (s *settings) sendContext(p *compiledPolicy, q middleware.Queue) (envelope.EncryptionContext, error) {
	name, err := p.bindingName(q)
	if err != nil {
		return nil, err
	}
	ec := make(envelope.EncryptionContext, len(s.context)+2)
	maps.Copy(ec, s.context)
	if name != "" {
		ec[queueKey] = name
	}
	if p.writesContent() {
		ec[contentKey] = contentVersion
	}
	return ec, nil
}

// ownContext reports whether m, whose encryption context is ec, was sealed
// under exactly the context that this process uses for the queue of that
// binding name. A redriven message does not count, whatever its context is:
// anyone who may send to its source queue can write it.
func (s *settings) ownContext(binding string, m *types.Message, ec envelope.EncryptionContext) bool {
	pairs := len(s.context)
	if binding != "" {
		pairs++
	}
	if _, present := ec[contentKey]; present {
		pairs++ // producers and consumers of one queue may differ in what they write
	}
	if len(ec) != pairs || ec[queueKey] != binding || m.Attributes[string(types.MessageSystemAttributeNameDeadLetterQueueSourceArn)] != "" {
		return false
	}
	for name, want := range s.context {
		if ec[name] != want { // no value is empty
			return false
		}
	}
	return true
}

// opensOtherNames reports whether the policy lists other names than the queue's
// own, or opens all. The consumer's role may decrypt under those only, so a
// refusal under the queue's own name does not show that the role lacks
// permission.
func (p *compiledPolicy) opensOtherNames() bool { return p.NoBinding || len(p.accept) > 0 }

// accept checks the context of a received message. It runs before a key is
// requested, so that a message of another queue costs no KMS call. binding is
// the name of q itself.
func (s *settings) accept(p *compiledPolicy, q middleware.Queue, binding string, m *types.Message, ec envelope.EncryptionContext) error {
	for name := range ec {
		if hasReservedPrefix(name) && name != queueKey && name != contentKey {
			return advise("upgrade this consumer", "%w: the message uses %.80q, a feature of a later release of sealq", envelope.ErrUnsupported, name)
		}
		if s.shadows(name) {
			return advise(ownContextRemedy, "%w: the message's name %.80q differs from the consumer's in case only", errOwnContext, name)
		}
	}
	if err := p.acceptsContent(ec); err != nil {
		return err
	}
	for name, want := range s.context {
		switch got, present := ec[name]; {
		case !present:
			return advise(ownContextRemedy, "%w: the message has no %q", errOwnContext, name)
		case got != want:
			return advise(ownContextRemedy, "%w: the message has another value of %q", errOwnContext, name)
		}
	}
	if p.NoBinding {
		return nil
	}
	bound, present := ec[queueKey]
	if present && p.welcomes(binding, bound) || s.sourceWelcomes(p, q, bound, present, m) {
		return nil
	}
	if !present {
		return advise(noQueueRemedy, "%w", errNoQueue)
	}
	return mismatchedQueue(bound, binding)
}

// mismatchedQueue is the error of a message that is bound to another name than
// its reader. It does not suggest AcceptQueues for a logical name, which
// AcceptQueues refuses.
func mismatchedQueue(bound, binding string) error {
	isARN := func(name string) bool { return strings.HasPrefix(name, "arn:") }
	switch {
	case awsname.IsTopicARN(bound):
		return advise(topicRemedy, "%w: the message was published to %.400q, and was received from %q", errTopic, bound, binding)
	case isARN(bound) && isARN(binding):
		return advise(otherQueueRemedy, "%w: the message was sealed for queue %.200q, and was received from %q: it was copied or moved", envelope.ErrContextMismatch, bound, binding)
	case isARN(bound):
		return advise(logicalQueueRemedy+"; to open messages that were sealed before, add that ARN to Policy.AcceptQueues for a time",
			"%w: the message is bound to the ARN %.200q, the consumer to the logical name %q", errLogicalQueue, bound, binding)
	case isARN(binding):
		return advise(logicalQueueRemedy, "%w: the message is bound to the logical name %.200q, the consumer to the ARN %q", errLogicalQueue, bound, binding)
	}
	return advise(logicalQueueRemedy, "%w: the message is bound to the logical name %.200q, the consumer to %q", errLogicalQueue, bound, binding)
}

// welcomes reports whether a queue of this policy and this binding name opens
// messages that are bound to bound.
func (p *compiledPolicy) welcomes(binding, bound string) bool {
	return bound == binding || slices.ContainsFunc(p.accept, func(accepted awsname.Pattern) bool { return accepted.Matches("", bound) })
}

// sourceWelcomes reports whether SQS says that redrive brought m from a queue
// whose policy opens it: a dead-letter queue's consumer opens what its source
// opens.
//
// No sender can set DeadLetterQueueSourceArn. SQS redrives within one account
// and Region only, so account and name identify the source; emulators write
// other Regions.
func (s *settings) sourceWelcomes(p *compiledPolicy, q middleware.Queue, bound string, present bool, m *types.Message) bool {
	if p.StrictQueue {
		return false
	}
	arn := m.Attributes[string(types.MessageSystemAttributeNameDeadLetterQueueSourceArn)]
	source, err := middleware.ParseQueueARN(arn)
	if err != nil || source.Account != q.Account {
		return false
	}
	source.Region, source.Partition = q.Region, q.Partition
	policy, err := s.table.find(source)
	if err != nil {
		return false
	}
	if policy.NoBinding {
		return true
	}
	binding, err := policy.bindingName(source)
	return err == nil && present && policy.welcomes(binding, bound)
}

// deduplicationLabel separates this use of the key from others.
const deduplicationLabel = "sealq-dedup-v1"

// deduplicationID is lower-case hex of HMAC-SHA256 over label, queue and body,
// each preceded by its length as 8 bytes, big-endian. A test vector is in
// docs/format.md; producers in other languages that share the key must agree
// with it.
func deduplicationID(key []byte, queue, body string) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range []string{deduplicationLabel, queue, body} {
		writeCounted(mac, part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

func writeCounted(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	io.WriteString(h, s)
}
