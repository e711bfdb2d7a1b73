package lambdax_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// exampleEvent stands for Lambda: an event of the queue "orders" with three
// sealed messages.
func exampleEvent() (server *sqsxtest.Server, sealer *sqsx.Sealer, event lambdax.Event) {
	server = sqsxtest.Start()
	sealer, err := sqsx.NewFromConfig(server.Config(), server.NewKey("alias/orders"), func(o *sqsx.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
	})
	if err != nil {
		log.Fatal(err)
	}
	queueARN := "arn:aws:sqs:us-east-1:000000000000:orders"
	var msgs []types.Message
	for i, body := range []string{"a book", "a bike", "nothing"} {
		in, err := sealer.SealMessage(context.Background(), queueARN, &sqs.SendMessageInput{MessageBody: &body})
		if err != nil {
			log.Fatal(err)
		}
		msgs = append(msgs, types.Message{
			MessageId: aws.String(fmt.Sprint("message ", i+1)), Body: in.MessageBody, MessageAttributes: in.MessageAttributes,
		})
	}
	return server, sealer, lambdax.NewEvent(queueARN, msgs)
}

// The mapping has ReportBatchItemFailures: what failed stays in the queue, and
// the rest is deleted.
func Example() {
	server, sealer, event := exampleEvent() // in a function: sqsx.NewFromEnv(cfg)
	defer server.Close()

	work := func(_ context.Context, m lambdax.Message) error {
		if *m.Body == "nothing" {
			return errors.New("an order of nothing")
		}
		fmt.Println("ordered:", *m.Body)
		return nil
	}
	h := lambdax.New(sealer, work, func(o *lambdax.Options) {
		o.ReportsFailures = true
		o.OnError = func(_ context.Context, m lambdax.Message, err error) {
			fmt.Println(*m.MessageId, "failed:", err)
		}
	})
	// In a function: lambda.Start(h)
	response, err := h.Handle(context.Background(), event)
	fmt.Println(response, err)
	// Output:
	// ordered: a book
	// ordered: a bike
	// message 3 failed: an order of nothing
	// {[{message 3}]} <nil>
}

// Without ReportBatchItemFailures any failure is an error, because Lambda would
// delete the whole batch otherwise.
func ExampleNew() {
	server, sealer, event := exampleEvent()
	defer server.Close()

	h := lambdax.New(sealer, func(_ context.Context, m lambdax.Message) error {
		if *m.Body == "nothing" {
			return errors.New("an order of nothing")
		}
		return nil
	})
	_, err := h.Handle(context.Background(), event)
	if batch, ok := errors.AsType[*lambdax.BatchError](err); ok {
		fmt.Println(batch.Failed, "of", batch.Messages, "failed:", batch.Errs[0])
	}
	// Output: 1 of 3 failed: an order of nothing
}

// A function is tested with messages as producers seal them, without AWS.
func ExampleNewEvent() {
	server := sqsxtest.Start()
	defer server.Close()
	queueURL := server.NewQueue("orders")
	sealer, err := sqsx.NewFromConfig(server.Config(), server.NewKey())
	if err != nil {
		log.Fatal(err)
	}
	producer := sqs.NewFromConfig(server.Config(), sealer.Install)
	_, err = producer.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("a book")})
	if err != nil {
		log.Fatal(err)
	}

	event := lambdax.NewEvent("arn:aws:sqs:us-east-1:000000000000:orders", server.Stored(queueURL))
	h := lambdax.New(sealer, func(_ context.Context, m lambdax.Message) error {
		fmt.Println("ordered:", *m.Body)
		return nil
	})
	if _, err := h.Handle(context.Background(), event); err != nil {
		log.Fatal(err)
	}
	// Output: ordered: a book
}

// In an outage a message is tried again after 1 minute, then 2, 4 and so on,
// and not after each visibility timeout of the queue.
func ExampleOptions_backOff() {
	server, sealer, event := exampleEvent()
	defer server.Close()
	client := sqs.NewFromConfig(server.Config()) // in a function: sqs.NewFromConfig(cfg)

	h := lambdax.New(sealer, func(context.Context, lambdax.Message) error { return errors.New("the database is closed") },
		func(o *lambdax.Options) {
			o.SQS = client
			o.BackOff = func(_ lambdax.Message, receives int) time.Duration {
				return time.Minute << min(receives-1, 6)
			}
		})
	_, err := h.Handle(context.Background(), event)
	fmt.Println(err)
	// Output: lambdax: none of 3 messages succeeded, so that all stay in the queue; the first: the database is closed
}
