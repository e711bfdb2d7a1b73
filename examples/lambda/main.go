// Lambda is a function that works off sealed messages of an SQS queue.
// docs/lambda.md says how to set up queue, mapping and permissions. It runs on
// a laptop, without an account, with the event of a file:
//
//	cd examples/lambda && go run ./try event.json
package main

import (
	"context"
	"log"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := sqsx.NewFromEnv(cfg) // once: it keeps the data keys
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(lambdax.New(sealer, work, func(o *lambdax.Options) {
		o.ReportsFailures = true // as the mapping: ReportBatchItemFailures
	}))
}

func work(_ context.Context, m lambdax.Message) error {
	log.Printf("order %.8s: %d bytes, received %d times", m.Info.SealID, len(*m.Body), m.Info.Receives)
	return nil
}
