package snsx_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// A publisher, and a consumer of a queue that subscribes to the topic.
func Example() {
	server := sqsxtest.Start() // in a service: nothing of the kind
	defer server.Close()
	ctx, cfg, key := context.Background(), server.Config(), server.NewKey()
	topicARN, queueURL := server.NewTopic("orders"), server.NewQueue("billing")
	server.Subscribe(topicARN, queueURL, "RawMessageDelivery", "true")

	// The publisher
	sealer, err := sqsx.NewFromConfig(cfg, key)
	if err != nil {
		log.Fatal(err)
	}
	publisher := sns.NewFromConfig(cfg, snsx.Install(sealer))
	if _, err := publisher.Publish(ctx, &sns.PublishInput{TopicArn: &topicARN, Message: aws.String("order 1")}); err != nil {
		log.Fatal(err)
	}

	// The consumer
	opener, err := sqsx.NewFromConfig(cfg, key, func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{
			"billing": {AcceptTopics: []string{topicARN}},
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	consumer := sqs.NewFromConfig(cfg, opener.Install)
	out, err := consumer.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range out.Messages {
		fmt.Println(*m.Body)
	}
	// Output: order 1
}

// A role learns at start what is missing: a publisher asks for its topic, a
// consumer for each topic that its queue accepts.
func ExampleInstall() {
	server := sqsxtest.Start()
	defer server.Close()
	ctx, cfg := context.Background(), server.Config()
	topicARN := server.NewTopic("orders")
	sealer, err := sqsx.NewFromConfig(cfg, server.NewKey())
	if err != nil {
		log.Fatal(err)
	}

	if err := sealer.CheckSeal(ctx, topicARN); err != nil { // the publisher
		log.Fatal(err)
	}
	if err := sealer.CheckOpen(ctx, topicARN); err != nil { // a consumer
		log.Fatal(err)
	}
	publisher := sns.NewFromConfig(cfg, snsx.Install(sealer))

	// What is no topic is refused, and not sent in plaintext.
	_, err = publisher.Publish(ctx, &sns.PublishInput{PhoneNumber: aws.String("+491570006"), Message: aws.String("your code is 1234")})
	fmt.Println(err)
	// Output: operation error SNS: Publish, InvalidParameter: Invalid parameter: PhoneNumber is set, and a text message cannot be sealed: send it with a client that has no Sealer
}

// A client that somebody else made.
func ExampleWrap() {
	server := sqsxtest.Start()
	defer server.Close()
	topicARN, queueURL := server.NewTopic("orders"), server.NewQueue("billing")
	server.Subscribe(topicARN, queueURL, "RawMessageDelivery", "true")
	theirs := sns.NewFromConfig(server.Config())
	sealer, err := sqsx.NewFromConfig(server.Config(), server.NewKey())
	if err != nil {
		log.Fatal(err)
	}

	publisher := snsx.Wrap(sealer, theirs)
	if _, err := publisher.Publish(context.Background(), &sns.PublishInput{TopicArn: &topicARN, Message: aws.String("order 1")}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(*server.Stored(queueURL)[0].Body == "order 1")
	// Output: false
}

// Every SNS client that is made from a config, those of libraries included.
func ExampleInstallConfig() {
	server := sqsxtest.Start()
	defer server.Close()
	cfg := server.Config()
	topicARN, queueURL := server.NewTopic("orders"), server.NewQueue("billing")
	server.Subscribe(topicARN, queueURL, "RawMessageDelivery", "true")
	sealer, err := sqsx.NewFromConfig(cfg, server.NewKey())
	if err != nil {
		log.Fatal(err)
	}

	snsx.InstallConfig(sealer, &cfg)
	theirs := sns.NewFromConfig(cfg) // in a library
	if _, err := theirs.Publish(context.Background(), &sns.PublishInput{TopicArn: &topicARN, Message: aws.String("order 1")}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(*server.Stored(queueURL)[0].Body == "order 1")
	// Output: false
}
