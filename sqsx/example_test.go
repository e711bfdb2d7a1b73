package sqsx_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// exampleWorld stands for config.LoadDefaultConfig and an alias and a queue
// that exist.
func exampleWorld() (cfg aws.Config, queueURL string, stop func()) {
	server := sqsxtest.Start()
	server.NewKey("alias/orders")
	return server.Config(), server.NewQueue("orders"), server.Close
}

func Example() {
	ctx := context.Background()
	cfg, queueURL, stop := exampleWorld()
	defer stop()

	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)

	_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")})
	if err != nil {
		log.Fatal(err)
	}
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*out.Messages[0].Body)
	// Output: hello
}

// A receive whose messages all fail to open is an error that carries them.
func Example_withheld() {
	ctx := context.Background()
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
		o.OnWithheld = func(_ context.Context, e *sqsx.OpenError) {
			fmt.Println("withheld, temporary:", e.Temporary)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	intruder := sqs.NewFromConfig(cfg)
	_, err = intruder.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("not sealed")})
	if err != nil {
		log.Fatal(err)
	}

	client := sqs.NewFromConfig(cfg, sealer.Install)
	_, err = client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
	if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
		w := failed.Withheld[0]
		fmt.Println("the message is invalid:", errors.Is(w, envelope.ErrInvalidMessage))
		fmt.Println("it is not sealed:", errors.Is(w, sqsx.ErrNotSealed))
	}
	// Output:
	// withheld, temporary: false
	// the message is invalid: true
	// it is not sealed: true
}

// Options are set in a function. Nothing is asked of AWS before the first
// message.
func ExampleNewFromConfig() {
	cfg, queueURL, stop := exampleWorld() // in a service: config.LoadDefaultConfig(ctx)
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.EncryptionContext = map[string]string{"environment": "production"}
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready:", sealer.Check(context.Background(), queueURL) == nil)

	_, err = sqsx.NewFromConfig(cfg, "alias/aws/sqs")
	fmt.Println("with SQS's own key:", err != nil)
	// Output:
	// ready: true
	// with SQS's own key: true
}

// What opens is delivered; what does not is in the metadata beside it.
func ExampleWithheld() {
	ctx := context.Background()
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	for _, sender := range []*sqs.Client{client, sqs.NewFromConfig(cfg)} {
		_, err := sender.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")})
		if err != nil {
			log.Fatal(err)
		}
	}

	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL, MaxNumberOfMessages: 10})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("delivered:", len(out.Messages))
	for _, w := range sqsx.Withheld(out.ResultMetadata) {
		fmt.Println("not sealed:", errors.Is(w, sqsx.ErrNotSealed))
	}
	// Output:
	// delivered: 1
	// not sealed: true
}

// Every client that is made from the config seals, those of libraries included.
func ExampleSealer_InstallConfig() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	sealer.InstallConfig(&cfg)

	client := sqs.NewFromConfig(cfg)
	_, err = client.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")})
	fmt.Println(err, sealer.Stats().Sealed)
	// Output: <nil> 1
}

// An existing client is wrapped. It keeps its HTTP client, endpoint,
// credentials and retryer.
func ExampleSealer_Wrap() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	existing := sqs.NewFromConfig(cfg, func(o *sqs.Options) { o.RetryMaxAttempts = 5 })
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	client := sealer.Wrap(existing)
	_, err = client.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")})
	fmt.Println(err, client.Options().Retryer.MaxAttempts())
	// Output: <nil> 5
}

// A Lambda function gets messages without an SQS client. In the real one they
// are an events.SQSEvent, and what is withheld becomes its batch item failures.
func ExampleSealer_OpenMessages() {
	ctx := context.Background()
	cfg, _, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	if err != nil {
		log.Fatal(err)
	}
	const eventSourceARN = "arn:aws:sqs:us-east-1:000000000000:orders"
	sealed, err := sealer.SealMessage(ctx, eventSourceARN, &sqs.SendMessageInput{MessageBody: aws.String("hello")})
	if err != nil {
		log.Fatal(err)
	}
	event := []types.Message{
		{MessageId: aws.String("1"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes},
		{MessageId: aws.String("2"), Body: aws.String("not sealed")},
		{MessageId: aws.String("3"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes}, // a copy
	}
	messages, withheld := sealer.OpenMessages(ctx, eventSourceARN, event)
	done := make(map[string]bool) // by SealID: what has been worked off, in a database
	for _, m := range messages {
		if !done[m.Info.SealID] {
			fmt.Println("handle", *m.Body)
			done[m.Info.SealID] = true
		}
	}
	for _, w := range withheld {
		fmt.Println("report as failed", *w.Message.MessageId)
	}
	// Output:
	// handle hello
	// report as failed 2
}

// A service that sends and receives asks about both at start.
func ExampleSealer_Check() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	err = sealer.Check(context.Background(), queueURL)
	if failed, ok := errors.AsType[*sqsx.CheckError](err); ok {
		log.Fatalf("sending: %v, receiving: %v", failed.Seal, failed.Open)
	}
	fmt.Println("ready:", err == nil)
	// Output: ready: true
}

// A service that only sends asks whether it can seal, at start and in its
// readiness probe.
func ExampleSealer_CheckSeal() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	err = sealer.CheckSeal(context.Background(), queueURL)
	fmt.Println("ready:", err == nil)
	// Output: ready: true
}

// A service that only receives asks whether it can open, at start. Its role
// needs no kms:GenerateDataKey for that.
func ExampleSealer_CheckOpen() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	err = sealer.CheckOpen(context.Background(), queueURL)
	fmt.Println("ready:", err == nil)
	// Output: ready: true
}

// Migration of queues in use: consumers accept plaintext until producers have
// moved. One queue is never sealed.
func ExamplePolicy() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.Policy.AcceptPlaintext = true
		o.Queues = map[string]sqsx.Policy{
			"public-*": {NoSeal: true, AcceptPlaintext: true},
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = sqs.NewFromConfig(cfg).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("from an old producer")})
	if err != nil {
		log.Fatal(err)
	}
	out, err := sqs.NewFromConfig(cfg, sealer.Install).ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
	if err != nil {
		log.Fatal(err)
	}
	info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId)
	fmt.Printf("%s, sealed: %v\n", *out.Messages[0].Body, info.Sealed)
	// Output: from an old producer, sealed: false
}

// Some consumers stop at the first error of ReceiveMessage, the subscriptions
// of gocloud.dev for one. They get an empty result instead; the program learns
// of what was withheld in other ways.
func ExamplePolicy_noReceiveErrors() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{
			"orders": {NoReceiveErrors: true},
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = sqs.NewFromConfig(cfg).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("not sealed")})
	if err != nil {
		log.Fatal(err)
	}
	out, err := sqs.NewFromConfig(cfg, sealer.Install).ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(out.Messages), "delivered,", len(sqsx.Withheld(out.ResultMetadata)), "withheld")
	fmt.Println(sealer.Stats().Emptied, "empty in place of an error")
	// Output:
	// 0 delivered, 1 withheld
	// 1 empty in place of an error
}

// The key, and what operations decide, come from the environment.
func ExampleNewFromEnv() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	for name, value := range map[string]string{"SEALQ_KEY_ID": "alias/orders", "SEALQ_REUSE_PERIOD": "900", "SEALQ_NO_SEAL": "public-*"} {
		os.Setenv(name, value) // in a deployment's manifest
		defer os.Unsetenv(name)
	}
	sealer, err := sqsx.NewFromEnv(cfg)
	if err != nil {
		log.Fatal(err)
	}
	_, err = sqs.NewFromConfig(cfg, sealer.Install).SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")})
	fmt.Println(err, sealer.Stats().Sealed)
	// Output: <nil> 1
}

// A sender that is not an SQS client seals first, and sends as it likes.
func ExampleSealer_SealMessage() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	in := &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")}
	sealed, err := sealer.SealMessage(context.Background(), queueURL, in)
	if err != nil {
		log.Fatal(err)
	}
	_, header := sealed.MessageAttributes["sealq"]
	fmt.Println(*in.MessageBody, header, *sealed.MessageBody != *in.MessageBody)
	// Output: hello true true
}

// A producer learns beforehand whether a large body will fit.
func ExampleSealer_SealedSize() {
	cfg, queueURL, stop := exampleWorld()
	defer stop()
	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	const limit = 262_144 // this queue's MaximumMessageSize
	for _, body := range []int{190_000, 200_000} {
		size, err := sealer.SealedSize(queueURL, body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(body, size <= limit)
	}
	// Output:
	// 190000 true
	// 200000 false
}

// Attributes travel sealed; one that an SNS filter or a router reads stays in
// clear, and must arrive as it was sent.
func ExamplePolicy_sealAttributes() {
	server := sqsxtest.Start()
	defer server.Close()
	ctx, url := context.Background(), server.NewQueue("orders")
	sealer, err := sqsx.NewFromConfig(server.Config(), server.NewKey(), func(o *sqsx.Options) {
		o.Policy = sqsx.Policy{
			SealAttributes:         true,
			ClearAttributes:        []string{"kind"},
			AuthenticateAttributes: []string{"kind"},
			MaxAge:                 30 * 24 * time.Hour,
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(server.Config(), sealer.Install)
	text := func(s string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
	}
	if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl:          &url,
		MessageBody:       aws.String("order 4711"),
		MessageAttributes: map[string]types.MessageAttributeValue{"kind": text("order"), "tenant": text("acme")},
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("in the queue:", slices.Sorted(maps.Keys(server.Stored(url)[0].MessageAttributes)))

	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, MessageAttributeNames: []string{"All"}})
	if err != nil {
		log.Fatal(err)
	}
	m := out.Messages[0]
	info, _ := sqsx.InfoOf(out.ResultMetadata, *m.MessageId)
	fmt.Println("delivered:", *m.Body, *m.MessageAttributes["tenant"].StringValue, *m.MessageAttributes["kind"].StringValue)
	fmt.Println("authenticated:", info.AuthenticatedAttributes)
	// Output:
	// in the queue: [kind sealq]
	// delivered: order 4711 acme order
	// authenticated: [kind tenant]
}

// A producer finds out whether a message with its attributes fits.
func ExampleSealer_SealedMessageSize() {
	server := sqsxtest.Start()
	defer server.Close()
	sealer, err := sqsx.NewFromConfig(server.Config(), server.NewKey(), func(o *sqsx.Options) { o.Policy.SealAttributes = true })
	if err != nil {
		log.Fatal(err)
	}
	n, err := sealer.SealedMessageSize(server.NewQueue("orders"), &sqs.SendMessageInput{
		MessageBody:       aws.String(strings.Repeat("x", 190_000)),
		MessageAttributes: map[string]types.MessageAttributeValue{"tenant": {DataType: aws.String("String"), StringValue: aws.String("acme")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("fits into 262,144 bytes:", n <= 262_144)
	// Output: fits into 262,144 bytes: true
}
