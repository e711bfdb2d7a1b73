// Quickstart tells the story of sealq in one run. It needs nothing but Go: SQS
// and KMS are embedded. With SEALQ_KEY_ID set to the ID, ARN or alias of a KMS
// key it runs on AWS, or on AWS_ENDPOINT_URL, in a queue of its own that it
// deletes in the end. The first line says which.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

const order = `{"order":4711,"card":"4111 1111 1111 1111"}`

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.end(ctx)

	// The two lines of adoption. What uses client stays as it is.
	sealer, err := sqsx.NewFromConfig(w.cfg, w.keyID, w.options)
	if err != nil {
		return err
	}
	client := sqs.NewFromConfig(w.cfg, sealer.Install)

	for _, chapter := range []func(context.Context, *sqs.Client) error{w.seal, w.count, w.tamper, w.outage} {
		if err := chapter(ctx, client); err != nil {
			return err
		}
	}
	return nil
}
