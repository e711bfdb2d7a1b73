package sqsxtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// queueID is what a queue ARN holds. Regions and accounts are separate
// namespaces.
type queueID struct{ region, account, name string }

func (id queueID) arn() string {
	return "arn:" + partitionOf(id.region) + ":sqs:" + id.region + ":" + id.account + ":" + id.name
}

func parseQueueARN(arn string) (queueID, bool) {
	p := strings.Split(arn, ":")
	if len(p) != 6 || p[0] != "arn" || p[2] != "sqs" || !isAccount(p[4]) || p[5] == "" {
		return queueID{}, false
	}
	id := queueID{region: p[3], account: p[4], name: p[5]}
	return id, id.arn() == arn
}

// partitionOf follows the SDK's own table, which is internal to it:
// internal/endpoints/awsrulesfn/partitions.go.
func partitionOf(region string) string {
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"},
		{"eusc-", "aws-eusc"},
		{"us-gov-", "aws-us-gov"},
		{"us-iso-", "aws-iso"},
		{"us-isob-", "aws-iso-b"},
		{"eu-isoe-", "aws-iso-e"},
		{"us-isof-", "aws-iso-f"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// sqsService is the SQS half of a Server. It has no goroutine: everything that
// time does to a queue (delays, visibility, retention, paced moves) is done
// when the queue is next looked at.
type sqsService struct {
	receipts receiptMaker

	mu     sync.Mutex // guards all that follows, and the queues themselves
	queues map[queueID]*queue
	serial uint64      // the last number given to a queue or message
	moving []*moveTask // running
}

func newSQS() *sqsService {
	return &sqsService{receipts: newReceiptMaker(), queues: make(map[queueID]*queue)}
}

// lock takes the mutex and lets the moves that are due happen. Every operation
// starts with it.
func (s *sqsService) lock() time.Time {
	s.mu.Lock()
	now := time.Now()
	s.advanceMoves(now)
	return now
}

func (s *sqsService) nextSerial() uint64 {
	s.serial++
	return s.serial
}

// call carries one operation out. done ends when the Server is closed.
func (s *sqsService) call(ctx context.Context, done <-chan struct{}, c caller, operation string, body []byte) (any, error) {
	switch operation {
	case "CreateQueue":
		return handle(body, c, s.createQueue)
	case "GetQueueUrl":
		return handle(body, c, s.getQueueURL)
	case "ListQueues":
		return handle(body, c, s.listQueues)
	case "DeleteQueue":
		return handle(body, c, s.deleteQueue)
	case "PurgeQueue":
		return handle(body, c, s.purgeQueue)
	case "GetQueueAttributes":
		return handle(body, c, s.getQueueAttributes)
	case "SetQueueAttributes":
		return handle(body, c, s.setQueueAttributes)
	case "TagQueue":
		return handle(body, c, s.tagQueue)
	case "UntagQueue":
		return handle(body, c, s.untagQueue)
	case "ListQueueTags":
		return handle(body, c, s.listQueueTags)
	case "SendMessage":
		return handle(body, c, s.sendMessage)
	case "SendMessageBatch":
		return handle(body, c, s.sendMessageBatch)
	case "ReceiveMessage":
		return handle(body, c, func(c caller, in receiveInput) (any, error) { return s.receiveMessage(ctx, done, c, in) })
	case "DeleteMessage":
		return handle(body, c, s.deleteMessage)
	case "DeleteMessageBatch":
		return handle(body, c, s.deleteMessageBatch)
	case "ChangeMessageVisibility":
		return handle(body, c, s.changeVisibility)
	case "ChangeMessageVisibilityBatch":
		return handle(body, c, s.changeVisibilityBatch)
	case "ListDeadLetterSourceQueues":
		return handle(body, c, s.listDeadLetterSources)
	case "StartMessageMoveTask":
		return handle(body, c, s.startMove)
	case "ListMessageMoveTasks":
		return handle(body, c, s.listMoves)
	case "CancelMessageMoveTask":
		return handle(body, c, s.cancelMove)
	case "AddPermission":
		return handle(body, c, s.addPermission)
	case "RemovePermission":
		return handle(body, c, s.removePermission)
	default:
		return nil, refusal("UnknownOperationException", "")
	}
}

func handle[In any](body []byte, c caller, f func(caller, In) (any, error)) (any, error) {
	var in In
	if len(bytes.TrimSpace(body)) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, refusal("SerializationException", "The request is not the JSON of this operation: %v", err)
		}
	}
	return f(c, in)
}

// find returns the queue that a URL names. The caller holds the mutex.
func (s *sqsService) find(c caller, rawURL string) (*queue, error) {
	if rawURL == "" {
		return nil, missing("QueueUrl")
	}
	id, ok := parseQueueURL(rawURL)
	if !ok {
		return nil, refusal("InvalidAddress", "The address %s is not valid for this endpoint.", rawURL)
	}
	id.region = c.region // as the service does: a queue is looked for where the request was signed for
	id.account = cmp.Or(id.account, c.account)
	if q := s.queues[id]; q != nil {
		return q, nil
	}
	return nil, refusal("QueueDoesNotExist", "The specified queue does not exist.")
}

// stored is [Server.Stored].
func (s *sqsService) stored(rawURL string) []types.Message {
	id, ok := parseQueueURL(rawURL)
	if !ok {
		return nil
	}
	id.region = cmp.Or(id.region, DefaultRegion)
	id.account = cmp.Or(id.account, DefaultAccount)
	now := s.lock()
	defer s.mu.Unlock()
	q := s.queues[id]
	if q == nil {
		return nil
	}
	q.advance(now)
	out := make([]types.Message, 0, q.all.Len())
	for e := q.all.Front(); e != nil; e = e.Next() {
		m := e.Value.(*message)
		msg := types.Message{
			MessageId:  new(m.id),
			Body:       new(m.body),
			MD5OfBody:  new(m.bodyMD5),
			Attributes: m.systemAttributes(nameSet{all: true}),
		}
		if len(m.attributes) > 0 {
			msg.MD5OfMessageAttributes = new(attributesMD5(m.attributes))
			msg.MessageAttributes = make(map[string]types.MessageAttributeValue, len(m.attributes))
			for name, v := range m.attributes {
				msg.MessageAttributes[name] = types.MessageAttributeValue{
					DataType:    new(v.DataType),
					StringValue: v.StringValue,
					BinaryValue: slices.Clone(v.BinaryValue),
				}
			}
		}
		out = append(out, msg)
	}
	return out
}
