package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// columns is the width of the story.
const columns = 80

// tell prints one line of the story.
func tell(what, text string) {
	line := fmt.Sprintf("%-23s %s", what, text)
	if len(line) > columns {
		line = line[:columns-3] + "..."
	}
	fmt.Println(line)
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
	tell("1. A producer sends", order)
	tell("2. An outsider reads", *stored.Body)
	tell("3. The consumer gets", bodies[0])
	return nil
}

func (w *world) count(ctx context.Context, client *sqs.Client) error {
	n, err := w.thousand(ctx, client)
	if err != nil {
		return err
	}
	tell(fmt.Sprintf("4. %d more messages", n), fmt.Sprintf("KMS calls in all, sending and receiving: %d", w.kms.calls.Load()))
	return nil
}

func (w *world) tamper(ctx context.Context, client *sqs.Client) error {
	if err := w.forge(ctx); err != nil {
		return err
	}
	_, err := w.consume(ctx, client)
	failed, ok := errors.AsType[*sqsx.ReceiveError](err)
	if !ok {
		return fmt.Errorf("a forged message was not withheld: got error %v", err)
	}
	tell("5. A byte is altered", failed.Withheld[0].Err.Error())
	tell("", "(withheld, not deleted: SQS's redrive policy moves it")
	tell("", "to the dead-letter queue after maxReceiveCount tries)")
	return nil
}

func (w *world) outage(ctx context.Context, client *sqs.Client) error {
	w.kms.cut.Store(true)
	if err := w.send(ctx, client, order); err != nil {
		return err
	}
	bodies, err := w.consume(ctx, client)
	if err != nil {
		return err
	}
	if bodies[0] != order {
		return fmt.Errorf("in the outage: got %q, want %q", bodies[0], order)
	}
	tell("6. KMS is unreachable", "sent and received, with the cached data key")
	newcomer, err := sqsx.NewFromConfig(w.cfg, w.keyID, w.options)
	if err != nil {
		return err
	}
	err = w.send(ctx, sqs.NewFromConfig(w.cfg, newcomer.Install), order)
	if !errors.Is(err, envelope.ErrUnavailable) {
		return fmt.Errorf("a process without a data key: got error %v, want that its send fails", err)
	}
	tell("   A new process", "has no data key: its send fails, and no byte leaves it")
	tell("", "("+envelope.ErrUnavailable.Error()+")") // and much more, down to the connection
	tell("Next", "docs/options.md: every setting")
	tell("", "docs/migration.md: a queue in use")
	return nil
}
