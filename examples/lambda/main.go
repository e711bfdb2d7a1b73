// Lambda is a function that works off sealed messages of SQS queues. This
// program reads one event and writes the response, to be tried out by hand:
//
//	SEALQ_KEY_ID=alias/orders go run ./examples/lambda <event.json
//
// In Lambda, lambda.Start(f.handle) of github.com/aws/aws-lambda-go takes the
// place of that. docs/operations.md says how to set up queue and mapping.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
)

func main() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	// Once, not in the handler: the Sealer keeps the data keys.
	sealer, err := sqsx.NewFromEnv(cfg)
	if err != nil {
		log.Fatal(err)
	}
	f := &function{sealer: sealer, work: func(_ context.Context, m sqsx.Message) error {
		log.Printf("message %s: %d bytes, received %d times", *m.MessageId, len(*m.Body), m.Info.Receives)
		return nil
	}}
	var e event
	if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
		log.Fatal(err)
	}
	r, err := f.handle(ctx, e)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		log.Fatal(err)
	}
}

type function struct {
	sealer *sqsx.Sealer
	work   func(context.Context, sqsx.Message) error
}

// maxOpening is the longest time that is spent on opening, while KMS does not
// answer; it is less where the function's own timeout is short.
const maxOpening = 10 * time.Second

// handle works off the messages that open, and reports all others as failed.
//
// Lambda deletes what is not reported, and reads the report only if the event
// source mapping has ReportBatchItemFailures in its FunctionResponseTypes. It
// must have it: without it, Lambda deletes the whole batch whenever handle
// returns no error, what did not open included. An outage of KMS, or a wrong
// setting, must not delete a backlog by such a mistake: if nothing of the batch
// has succeeded, handle returns an error. Then Lambda keeps the batch, with
// either kind of mapping.
func (f *function) handle(ctx context.Context, e event) (response, error) {
	queues, err := e.queues()
	if err != nil {
		return response{}, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		// Lambda kills a function whose time is over, and then nothing that it
		// did is reported: a second is for the report.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Second))
		defer cancel()
	}
	out := response{Failures: []failure{}}
	var first error
	fail := func(m types.Message, err error) {
		if out.Failures = append(out.Failures, failure{*m.MessageId}); first == nil {
			first = err
		}
	}
	for arn, messages := range queues {
		opened, withheld := f.open(ctx, arn, messages)
		for _, w := range withheld { // sealq has logged why
			fail(w.Message, w)
		}
		failed := make(map[string]bool) // message groups
		for _, m := range opened {
			group := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
			if failed[group] {
				fail(m.Message, nil)
				continue
			}
			err := ctx.Err() // no work is begun when the time is over
			if err == nil {
				err = f.work(ctx, m)
			}
			if err != nil {
				log.Printf("message %s: %v", *m.MessageId, err)
				fail(m.Message, err)
				// On a FIFO queue what follows in the group waits for it.
				failed[group] = strings.HasSuffix(arn, ".fifo")
			}
		}
	}
	if len(out.Failures) == len(e.Records) {
		return response{}, fmt.Errorf("none of %d messages succeeded; the first: %w", len(e.Records), first)
	}
	return out, nil
}

// open leaves at least half of the time for work on what opens.
func (f *function) open(ctx context.Context, arn string, messages []types.Message) ([]sqsx.Message, []*sqsx.OpenError) {
	limit := maxOpening
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f.sealer.OpenMessages(ctx, arn, messages)
}
