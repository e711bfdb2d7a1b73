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
	"log"
	"os"
	"strings"

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
	f := &function{sealer: sealer, work: func(_ context.Context, m types.Message) error {
		log.Printf("message %s: %d bytes", *m.MessageId, len(*m.Body))
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
	work   func(context.Context, types.Message) error
}

// handle works off the messages that open, and reports all others as failed.
// Lambda deletes what is not reported.
func (f *function) handle(ctx context.Context, e event) (response, error) {
	queues := make(map[string][]types.Message)
	for _, r := range e.Records {
		queues[r.EventSourceARN] = append(queues[r.EventSourceARN], r.message())
	}
	out := response{Failures: []failure{}}
	for arn, messages := range queues {
		opened, withheld := f.sealer.OpenMessages(ctx, arn, messages)
		for _, w := range withheld { // sealq has logged why
			out.Failures = append(out.Failures, failure{*w.Message.MessageId})
		}
		failed := make(map[string]bool) // message groups
		for _, m := range opened {
			group := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
			if !failed[group] {
				err := f.work(ctx, m)
				if err == nil {
					continue
				}
				log.Printf("message %s: %v", *m.MessageId, err)
				// On a FIFO queue what follows in the group waits for it.
				failed[group] = strings.HasSuffix(arn, ".fifo")
			}
			out.Failures = append(out.Failures, failure{*m.MessageId})
		}
	}
	return out, nil
}
