package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/middleware"
)

// rot13 is a Codec that protects nothing: it shows the shape of one.
type rot13 struct{}

func (rot13) AttributeNames() []string { return []string{"rot13"} }

func (rot13) MaxMessageBytes(middleware.Queue) int { return 1 << 20 }

func (rot13) Admit(context.Context, middleware.Queue, *sqs.ReceiveMessageInput, func() *sqs.Client) (middleware.Admission, error) {
	return middleware.Admission{}, nil
}

func (rot13) Seal(_ context.Context, _ middleware.Queue, entries []types.SendMessageBatchRequestEntry) ([]middleware.Sealed, error) {
	sealed := make([]middleware.Sealed, len(entries))
	for i, e := range entries {
		attributes := map[string]types.MessageAttributeValue{"rot13": {DataType: aws.String("String"), StringValue: aws.String("1")}}
		maps.Copy(attributes, e.MessageAttributes) // into a new map: arguments are read-only
		sealed[i].Content = middleware.Content{Body: rotate(*e.MessageBody), Attributes: attributes}
	}
	return sealed, nil
}

func (rot13) Open(_ context.Context, _ middleware.Queue, messages []types.Message) []middleware.Opened {
	opened := make([]middleware.Opened, len(messages))
	for i, m := range messages {
		if _, ok := m.MessageAttributes["rot13"]; !ok {
			opened[i].Err = errors.New("not sealed")
			continue
		}
		opened[i].Content = middleware.Content{Body: rotate(aws.ToString(m.Body)), Attributes: m.MessageAttributes}
	}
	return opened
}

func rotate(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return 'a' + (r-'a'+13)%26
		case r >= 'A' && r <= 'Z':
			return 'A' + (r-'A'+13)%26
		}
		return r
	}, s)
}

// A codec changes what travels; the program that uses the client does not.
func Example() {
	m, err := middleware.New(rot13{})
	if err != nil {
		log.Fatal(err)
	}
	queue := &fakeSQS{} // answers like SQS, in memory
	client := sqs.New(queue.options(), m.Install)

	ctx := context.Background()
	_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String("Hello, queue")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored:  ", *queue.stored[0].Body)

	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("received:", *out.Messages[0].Body)
	// Output:
	// stored:   Uryyb, dhrhr
	// received: Hello, queue
}

// One Middleware serves any number of clients.
func ExampleNew() {
	m, err := middleware.New(rot13{}, func(o *middleware.Options) {
		o.OnWithheld = func(_ context.Context, e *middleware.OpenError) {
			fmt.Println("withheld from", e.Queue.Name)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	queue := &fakeSQS{}
	plain, consumer := queue.client(), queue.client(m.Install)
	ctx := context.Background()
	_, err = plain.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String("Hello")})
	if err != nil {
		log.Fatal(err)
	}
	_, err = consumer.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)})
	_, nothing := errors.AsType[*middleware.ReceiveError](err)
	fmt.Println("nothing could be delivered:", nothing)
	// Output:
	// withheld from orders
	// nothing could be delivered: true
}

// The queue is in the URL, whatever the host is.
func ExampleParseQueueURL() {
	q, err := middleware.ParseQueueURL("http://localhost:4566/000000000000/orders.fifo", "eu-central-1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(q.ARN(), q.FIFO())

	_, err = middleware.ParseQueueURL("https://sqs.eu-central-1.amazonaws.com/000000000000/orders?", "eu-central-1")
	fmt.Println("a query is refused:", err != nil)
	// Output:
	// arn:aws:sqs:eu-central-1:000000000000:orders.fifo true
	// a query is refused: true
}

// An event of Lambda names its queue by ARN.
func ExampleParseQueueARN() {
	q, err := middleware.ParseQueueARN("arn:aws:sqs:eu-central-1:000000000000:orders")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(q.Account, q.Region, q.Name)
	// Output: 000000000000 eu-central-1 orders
}

// A codec seals for SNS topics as for queues.
func ExampleParseTopicARN() {
	q, err := middleware.ParseTopicARN("arn:aws:sns:eu-central-1:000000000000:orders.fifo")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(q.Topic, q.FIFO(), q)
	// Output: true true arn:aws:sns:eu-central-1:000000000000:orders.fifo
}

// Messages that do not open are reported beside those that do.
func ExampleWithheld() {
	m, err := middleware.New(rot13{})
	if err != nil {
		log.Fatal(err)
	}
	queue := &fakeSQS{}
	ctx := context.Background()
	plain, sealed := queue.client(), queue.client(m.Install)
	for _, client := range []*sqs.Client{plain, sealed} {
		_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String("Hello")})
		if err != nil {
			log.Fatal(err)
		}
	}

	out, err := sealed.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(out.Messages), "delivered")
	for _, w := range middleware.Withheld(out.ResultMetadata) {
		fmt.Println(w)
	}
	// Output:
	// 1 delivered
	// sealq: message "message-0" of queue "arn:aws:sqs:us-east-1:123456789012:orders" withheld: not sealed
}
