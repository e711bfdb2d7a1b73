// Quickstart tells the story of sealq in one run. It needs nothing but Go: SQS
// and KMS are embedded. With SEALQ_KEY_ID set to the ID, ARN or alias of a KMS
// key it runs on AWS, or on AWS_ENDPOINT_URL, and deletes the queue it created.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

const order = `{"order":4711,"card":"4111 1111 1111 1111"}`

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()

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

func (w *world) seal(ctx context.Context, client *sqs.Client) error {
	if err := w.send(ctx, client, order); err != nil {
		return err
	}
	stored, err := w.peek(ctx)
	if err != nil {
		return err
	}
	bodies, err := w.consume(ctx, client)
	if err != nil {
		return err
	}
	w.seen = stored
	fmt.Println("1. A producer sends    ", order)
	fmt.Printf("2. An outsider reads    %.43s...\n", *stored.Body)
	fmt.Println("3. The consumer gets   ", bodies[0])
	return nil
}

func (w *world) count(ctx context.Context, client *sqs.Client) error {
	n, err := w.thousand(ctx, client)
	fmt.Printf("4. %d more messages   KMS calls in all, sending and receiving: %d\n", n, w.kms.calls.Load())
	return err
}

func (w *world) tamper(ctx context.Context, client *sqs.Client) error {
	if err := w.forge(ctx); err != nil {
		return err
	}
	_, err := w.consume(ctx, client)
	failed, ok := errors.AsType[*sqsx.ReceiveError](err)
	if !ok {
		return fmt.Errorf("a forged message was not withheld: %w", err)
	}
	fmt.Printf("5. A byte is altered   %v\n", failed.Withheld[0].Err)
	fmt.Println("                        (withheld, not deleted: the redrive policy takes it)")
	return nil
}

func (w *world) outage(ctx context.Context, client *sqs.Client) error {
	w.kms.cut.Store(true)
	if err := w.send(ctx, client, "business as usual"); err != nil {
		return err
	}
	bodies, err := w.consume(ctx, client)
	if err != nil {
		return err
	}
	fmt.Println("6. KMS is unreachable  ", bodies[0]+", with the key in hand")
	newcomer, err := sqsx.NewFromConfig(w.cfg, w.keyID, w.options)
	if err != nil {
		return err
	}
	if w.send(ctx, sqs.NewFromConfig(w.cfg, newcomer.Install), order) == nil {
		return errors.New("a process without a key sent something")
	}
	fmt.Println("   A new process has no key: its send fails, and no byte leaves it")
	return nil
}
