package sqsx_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// unbound seals a message that names no queue, as producers other than sealq
// do.
func (w *world) unbound(body string) *sqs.SendMessageInput {
	w.t.Helper()
	in, err := w.sealer(func(o *sqsx.Options) { o.Policy.NoBinding = true }).
		SealMessage(w.t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: &body})
	if err != nil {
		w.t.Fatal(err)
	}
	return in
}

// TestDeadLetterQueueOpensWhatItsSourceOpens puts messages into a queue, lets
// them move to its dead-letter queue, and reads both with one policy for the
// source: what opens in one opens in the other.
func TestDeadLetterQueueOpensWhatItsSourceOpens(t *testing.T) {
	t.Parallel()
	accepting := sqsx.Policy{AcceptQueues: []string{arnOf("retired*")}}
	for name, tc := range map[string]struct {
		source, dlq sqsx.Policy
		sealedFor   string // a queue, or "" for a message that names none
		opens       bool   // in the source
		opensDead   bool   // in the dead-letter queue
	}{
		"own message":                         {sealedFor: "orders", opens: true, opensDead: true},
		"own message, strict":                 {dlq: sqsx.Policy{StrictQueue: true}, sealedFor: "orders", opens: true},
		"AcceptQueues":                        {source: accepting, sealedFor: "retired-7", opens: true, opensDead: true},
		"AcceptQueues, own message":           {source: accepting, sealedFor: "orders", opens: true, opensDead: true},
		"AcceptQueues, a queue not in it":     {source: accepting, sealedFor: "bills"},
		"AcceptQueues, strict":                {source: accepting, dlq: sqsx.Policy{StrictQueue: true}, sealedFor: "retired-7", opens: true},
		"AcceptQueues, a message of no queue": {source: accepting},
		"AcceptQueues of both":                {source: accepting, dlq: sqsx.Policy{StrictQueue: true, AcceptQueues: []string{arnOf("retired*")}}, sealedFor: "retired-7", opens: true, opensDead: true},
		"of the dead-letter queue only":       {dlq: accepting, sealedFor: "retired-7", opensDead: true},
		"none":                                {sealedFor: "retired-7"},
		"NoBinding":                           {source: sqsx.Policy{NoBinding: true}, sealedFor: "retired-7", opens: true, opensDead: true},
		"NoBinding, a message of no queue":    {source: sqsx.Policy{NoBinding: true}, opens: true, opensDead: true},
		"NoBinding, strict":                   {source: sqsx.Policy{NoBinding: true}, dlq: sqsx.Policy{StrictQueue: true}, opens: true},
		"LogicalQueue, of the queue's ARN":    {source: sqsx.Policy{LogicalQueue: "all-orders"}, sealedFor: "orders"},
		"LogicalQueue and AcceptQueues":       {source: sqsx.Policy{LogicalQueue: "all-orders", AcceptQueues: []string{arnOf("retired*")}}, sealedFor: "retired-7", opens: true, opensDead: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, dlq := w.withDLQ("orders", 1)
				message := w.unbound("good")
				if tc.sealedFor != "" {
					var err error
					if message, err = w.sealer().SealMessage(t.Context(), arnOf(tc.sealedFor), &sqs.SendMessageInput{MessageBody: aws.String("good")}); err != nil {
						t.Fatal(err)
					}
				}
				message.QueueUrl = &url
				if _, err := w.plain.SendMessage(t.Context(), message); err != nil {
					t.Fatal(err)
				}
				client := w.client(func(o *sqsx.Options) {
					o.Queues = map[string]sqsx.Policy{"orders": tc.source, "orders-dlq": tc.dlq}
				})
				read := func(url string, want bool) {
					t.Helper()
					out, err := receive(t.Context(), client, url)
					if want && (err != nil || !slices.Equal(bodies(out.Messages), []string{"good"})) {
						t.Errorf("%s: got %v, want the message", url, err)
					}
					if !want && !errors.Is(err, envelope.ErrContextMismatch) {
						t.Errorf("%s: got error %v, want ErrContextMismatch", url, err)
					}
					time.Sleep(31 * time.Second)
				}
				read(url, tc.opens)
				if _, err := receive(t.Context(), w.plain, url); err != nil { // moves it
					t.Fatal(err)
				}
				read(dlq, tc.opensDead)
			})
		})
	}
}

// TestDeadLetterSource gives SQS's word on where a message comes from in
// several forms. The account and the name count: Region and partition are the
// queue's own on AWS, and emulators fill in what they like.
func TestDeadLetterSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sealer(func(o *sqsx.Options) {
		o.Region = w.cfg.Region
		o.Queues = map[string]sqsx.Policy{"open": {NoBinding: true}}
	})
	sealed, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("good")})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		source string
		opens  bool
	}{
		"as AWS writes it":             {arnOf("orders"), true},
		"as ElasticMQ does":            {"arn:aws:sqs:elasticmq:000000000000:orders", true},
		"another Region":               {"arn:aws:sqs:eu-west-1:000000000000:orders", true},
		"another partition":            {"arn:aws-cn:sqs:us-east-1:000000000000:orders", true},
		"a queue that is open":         {arnOf("open"), true},
		"none":                         {"", false},
		"another queue":                {arnOf("bills"), false},
		"another account":              {"arn:aws:sqs:us-east-1:111111111111:orders", false},
		"another account's open queue": {"arn:aws:sqs:us-east-1:111111111111:open", false},
		"no account":                   {"arn:aws:sqs:us-east-1::orders", false},
		"another service":              {"arn:aws:sns:us-east-1:000000000000:orders", false},
		"no ARN":                       {"orders", false},
		"one part more":                {arnOf("orders") + ":orders", false},
	} {
		message := types.Message{
			MessageId: aws.String("1"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes,
			Attributes: map[string]string{"DeadLetterQueueSourceArn": tc.source},
		}
		opened, withheld := s.OpenMessages(t.Context(), arnOf("orders-dlq"), []types.Message{message})
		if got := len(opened) == 1; got != tc.opens {
			t.Errorf("%s: got opened %t, want %t: %v", name, got, tc.opens, withheld)
		}
	}
}

// TestDeadLetterQueueBehindAnother needs to be told: SQS names the queue that a
// message came from last, and not the one it was sent to.
func TestDeadLetterQueueBehindAnother(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		queues map[string]sqsx.Policy
		opens  bool
	}{
		"without a policy":               {nil, false},
		"AcceptQueues of the last":       {map[string]sqsx.Policy{"last": {AcceptQueues: []string{arnOf("orders")}}}, true},
		"AcceptQueues of the one before": {map[string]sqsx.Policy{"orders-dlq": {AcceptQueues: []string{arnOf("orders")}}}, true},
	} {
		w := newWorld(t)
		s := w.sealer(func(o *sqsx.Options) { o.Queues = tc.queues })
		sealed, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("good")})
		if err != nil {
			t.Fatal(err)
		}
		opened, withheld := s.OpenMessages(t.Context(), arnOf("last"), []types.Message{{
			MessageId: aws.String("1"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes,
			Attributes: map[string]string{"DeadLetterQueueSourceArn": arnOf("orders-dlq")},
		}})
		if got := len(opened) == 1; got != tc.opens {
			t.Errorf("%s: got opened %t, want %t: %v", name, got, tc.opens, withheld)
		}
	}
}
