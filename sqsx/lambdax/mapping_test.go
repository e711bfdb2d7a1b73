package lambdax_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// mapping is an event source mapping: it receives, invokes the function, and
// deletes what AWS documents that it deletes.
type mapping struct {
	reports bool // FunctionResponseTypes has ReportBatchItemFailures
	url     string
	w       *world
	h       *lambdax.Handler
}

// poll receives once, and reports whether there were messages.
func (m *mapping) poll(t *testing.T) bool {
	t.Helper()
	out, err := m.w.outsider.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl:                    &m.url,
		MaxNumberOfMessages:         10,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Messages) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	arn := arnOf(m.url[strings.LastIndex(m.url, "/")+1:])
	answer, err := m.h.Invoke(ctx, marshal(t, lambdax.NewEvent(arn, out.Messages)))
	if err != nil || ctx.Err() != nil {
		return true // the batch stays
	}
	var r lambdax.Response
	if err := json.Unmarshal(answer, &r); err != nil {
		return true // so does that of an invalid answer
	}
	for _, msg := range out.Messages {
		if m.reports && slices.Contains(r.BatchItemFailures, lambdax.Failure{ItemIdentifier: *msg.MessageId}) {
			continue
		}
		if _, err := m.w.outsider.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &m.url, ReceiptHandle: msg.ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	return true
}

// TestMappings sends messages through both kinds of mappings: some are not
// sealed, some fail at first, and at the beginning KMS is unreachable. Whatever
// the options are, an outage deletes nothing. In the end everything that was
// sealed has been worked off, and what was not is in the dead-letter queue. The
// one combination that loses something is the one that the option forbids.
func TestMappings(t *testing.T) {
	t.Parallel()
	for _, queue := range []string{"orders", "orders.fifo"} {
		for name, tc := range map[string]struct {
			reports bool // of the mapping
			optFn   func(*lambdax.Options)
			loses   bool
		}{
			"with reports":                 {true, reports, false},
			"without":                      {false, func(*lambdax.Options) {}, false},
			"the option is not set":        {true, func(*lambdax.Options) {}, false},
			"the mapping does not have it": {false, reports, true},
		} {
			t.Run(queue+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					suffix := strings.TrimPrefix(queue, "orders")
					dead := w.server.NewQueue("dead" + suffix)
					url := w.server.NewQueue(queue, "VisibilityTimeout", "90", "RedrivePolicy", sqsxtest.RedrivePolicy(dead, 12))
					sealing := w.producer(t)
					var sealed []string
					tries := make(map[string]int)
					for i := range 60 {
						client, body := sealing, fmt.Sprint("m-", i)
						if i%7 == 3 {
							client = w.outsider
						} else {
							sealed = append(sealed, body)
						}
						in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
						if suffix != "" {
							group := fmt.Sprint(i % 20)
							in.MessageGroupId, in.MessageDeduplicationId = &group, &body
						}
						if _, err := client.SendMessage(t.Context(), in); err != nil {
							t.Fatal(err)
						}
					}
					worked := make(map[string]bool)
					h := lambdax.New(w.sealer(t), func(_ context.Context, m lambdax.Message) error {
						if tries[*m.Body]++; tries[*m.Body] == 1 && strings.HasSuffix(*m.Body, "5") {
							return errors.New("the database is closed")
						}
						worked[*m.Body] = true
						return nil
					}, tc.optFn)
					m := &mapping{reports: tc.reports, url: url, w: w, h: h}

					restore := w.server.CutKMS()
					for start := time.Now(); time.Since(start) < 5*time.Minute; time.Sleep(10 * time.Second) {
						for m.poll(t) {
						}
					}
					if got := len(w.server.Stored(url)); got != 60 || len(worked) != 0 {
						t.Fatalf("after the outage %d messages are stored, want all 60", got)
					}
					restore()
					for start := time.Now(); time.Since(start) < 2*time.Hour; time.Sleep(10 * time.Second) {
						for m.poll(t) {
						}
					}
					lost := 0
					for _, body := range sealed {
						if !worked[body] {
							lost++
						}
					}
					left, junk := len(w.server.Stored(url)), len(w.server.Stored(dead))
					if tc.loses {
						if lost == 0 && junk == 9 {
							t.Error("nothing was lost: is the mapping of this test like Lambda's?")
						}
						return
					}
					if left != 0 {
						t.Errorf("%d messages are left in the queue", left)
					}
					inDead := 0 // messages that were worked off may be there too, beside junk that they share batches with
					for _, msg := range w.server.Stored(dead) {
						if strings.HasPrefix(*msg.Body, "m-") {
							inDead++
						}
					}
					if inDead != 60-len(sealed) {
						t.Errorf("%d messages that are not sealed are in the dead-letter queue, want all %d", inDead, 60-len(sealed))
					}
					if suffix == "" && lost > 0 {
						t.Errorf("%d sealed messages were not worked off", lost)
					}
					// On a FIFO queue those behind junk wait until it is gone,
					// or go with it.
					if lost > junk-inDead {
						t.Errorf("%d sealed messages were not worked off, and only %d are in the dead-letter queue", lost, junk-inDead)
					}
				})
			})
		}
	}
}
