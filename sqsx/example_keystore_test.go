package sqsx_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// exampleKeyStore makes a key store with one branch key, as an administrator
// does once.
func exampleKeyStore(ctx context.Context, server *sqsxtest.Server) sqsx.KeyStore {
	cfg := server.Config()
	key := server.NewKey()
	server.NewTable("branch-keys", "branch-key-id", "type")
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = "branch-keys", "branch-keys", key
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := store.Create(ctx, "orders", map[string]string{"team": "orders"}); err != nil {
		log.Fatal(err)
	}
	return sqsx.KeyStore{Table: "branch-keys", LogicalName: "branch-keys", BranchKeyID: "orders", KeyID: key}
}

// Messages are sealed under a branch key. KMS is asked for the branch key, once
// for all queues, and not for data keys.
func ExampleNewFromKeyStore() {
	ctx := context.Background()
	server := sqsxtest.Start()
	defer server.Close()
	cfg, store := server.Config(), exampleKeyStore(ctx, server)

	sealer, err := sqsx.NewFromKeyStore(cfg, store)
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	for _, name := range []string{"orders", "invoices"} {
		queueURL := server.NewQueue(name)
		_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello " + name)})
		if err != nil {
			log.Fatal(err)
		}
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL})
		if err != nil {
			log.Fatal(err)
		}
		info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId)
		fmt.Println(*out.Messages[0].Body, info.KeyProvider, info.Key)
	}
	fmt.Println("data keys from KMS:", server.Count("kms:GenerateDataKey"))
	// Output:
	// hello orders aws-kms-hierarchy orders
	// hello invoices aws-kms-hierarchy orders
	// data keys from KMS: 0
}

// Each tenant has a branch key, which the name of its queue chooses.
func ExampleKeyStore() {
	ctx := context.Background()
	server := sqsxtest.Start()
	defer server.Close()
	cfg, store := server.Config(), exampleKeyStore(ctx, server)

	store.BranchKeyID = ""
	store.BranchKeyIDs = func(binding string) string {
		if binding == "arn:aws:sqs:us-east-1:000000000000:orders" {
			return "orders"
		}
		return "" // such a message is neither sealed nor opened
	}
	sealer, err := sqsx.NewFromKeyStore(cfg, store)
	if err != nil {
		log.Fatal(err)
	}
	in := &sqs.SendMessageInput{MessageBody: aws.String("hello")}
	_, err = sealer.SealMessage(ctx, "arn:aws:sqs:us-east-1:000000000000:orders", in)
	fmt.Println("orders:", err)
	_, err = sealer.SealMessage(ctx, "arn:aws:sqs:us-east-1:000000000000:invoices", in)
	fmt.Println("invoices fails:", err != nil)
	// Output:
	// orders: <nil>
	// invoices fails: true
}

// A fleet changes to branch keys while messages are in its queues: consumers
// open both kinds before the first producer seals under a branch key.
func Example_changeToAKeyStore() {
	ctx := context.Background()
	server := sqsxtest.Start()
	defer server.Close()
	cfg, store := server.Config(), exampleKeyStore(ctx, server)
	key, queueURL := server.NewKey("alias/orders"), server.NewQueue("orders")

	before, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
		o.OpenKeyStore = &store // opens both, and seals with data keys of KMS
	})
	if err != nil {
		log.Fatal(err)
	}
	after, err := sqsx.NewFromKeyStore(cfg, store, func(o *sqsx.Options) {
		o.KMSKeyring.DecryptKeys = []string{key} // opens both, and seals under the branch key
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, sealer := range []*sqsx.Sealer{before, after} {
		client := sqs.NewFromConfig(cfg, sealer.Install)
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("hello")}); err != nil {
			log.Fatal(err)
		}
	}
	for _, sealer := range []*sqsx.Sealer{before, after} {
		client := sqs.NewFromConfig(cfg, sealer.Install)
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queueURL, MaxNumberOfMessages: 10})
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range out.Messages {
			info, _ := sqsx.InfoOf(out.ResultMetadata, *m.MessageId)
			fmt.Println(info.KeyProvider)
			_, err := client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &queueURL, ReceiptHandle: m.ReceiptHandle})
			if err != nil {
				log.Fatal(err)
			}
		}
	}
	// Output:
	// aws-kms
	// aws-kms-hierarchy
	// aws-kms
	// aws-kms-hierarchy
}
