package sealq_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// keyStoreWorld is world with a table for branch keys, and the ARN of the key
// that protects them.
func keyStoreWorld() (server *sqsxtest.Server, cfg aws.Config, queueURL *string, keyARN string) {
	server, cfg, queueURL = world()
	server.NewTable("sealq-branch-keys", "branch-key-id", "type")
	return server, cfg, queueURL, server.NewKey("alias/branch-keys")
}

// newStore returns the key store of the examples, with a branch key for each
// of ids.
func newStore(ctx context.Context, cfg aws.Config, keyARN string, ids ...string) *branchkey.Store {
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = "sealq-branch-keys", "sealq-branch-keys", keyARN
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range ids {
		if _, err := store.Create(ctx, id, map[string]string{"team": "orders"}); err != nil {
			log.Fatal(err)
		}
	}
	return store
}

// exchange sends a message with one client and receives it with another.
func exchange(ctx context.Context, producer, consumer *sqsx.Sealer, cfg aws.Config, queueURL *string, body string) string {
	in := &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: &body}
	if _, err := sqs.NewFromConfig(cfg, producer.Install).SendMessage(ctx, in); err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, consumer.Install)
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queueURL})
	if err != nil {
		log.Fatal(err)
	}
	m := out.Messages[0]
	if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: queueURL, ReceiptHandle: m.ReceiptHandle}); err != nil {
		log.Fatal(err)
	}
	return *m.Body
}

// The administrator's part: a branch key is created once.
func Example_createBranchKey() {
	ctx := context.Background()
	server, cfg, _, keyARN := keyStoreWorld()
	defer server.Close()

	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), func(o *branchkey.StoreOptions) {
		o.Table = "sealq-branch-keys"
		o.LogicalName = "sealq-branch-keys"
		o.KeyID = keyARN
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := store.Create(ctx, "orders", map[string]string{"team": "orders"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("KMS showed no branch key:", server.Count("kms:Decrypt")+server.Count("kms:GenerateDataKey") == 0)
	// Output: KMS showed no branch key: true
}

// The services' part. The branch key is fetched once, whatever is sent.
func Example_branchKey() {
	ctx := context.Background()
	server, cfg, queueURL, keyARN := keyStoreWorld()
	defer server.Close()
	newStore(ctx, cfg, keyARN, "orders")

	sealer, err := sqsx.NewFromKeyStore(cfg, sqsx.KeyStore{
		Table:       "sealq-branch-keys",
		LogicalName: "sealq-branch-keys",
		BranchKeyID: "orders",
		KeyID:       keyARN,
	})
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)

	for range 100 {
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: aws.String("4711")}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("calls of KMS for 100 messages:", server.Count("kms:Decrypt"))
	// Output: calls of KMS for 100 messages: 1
}

// A branch key for each tenant, by the names of their queues.
func Example_branchKeysOfTenants() {
	ctx := context.Background()
	server, cfg, _, keyARN := keyStoreWorld()
	defer server.Close()
	newStore(ctx, cfg, keyARN, "acme", "initech")

	sealer, err := sqsx.NewFromKeyStore(cfg, sqsx.KeyStore{
		Table:       "sealq-branch-keys",
		LogicalName: "sealq-branch-keys",
		KeyID:       keyARN,
		BranchKeyIDs: func(binding string) string {
			queue := binding[strings.LastIndex(binding, ":")+1:] // acme-orders
			tenant, _, _ := strings.Cut(queue, "-")
			return tenant
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, queue := range []string{"acme-orders", "acme-invoices", "initech-orders"} {
		url := aws.String(server.NewQueue(queue))
		fmt.Println(exchange(ctx, sealer, sealer, cfg, url, "for "+queue))
	}
	// Output:
	// for acme-orders
	// for acme-invoices
	// for initech-orders
}

// A new version becomes active. What was sealed before still opens.
func Example_rotateBranchKey() {
	ctx := context.Background()
	server, cfg, queueURL, keyARN := keyStoreWorld()
	defer server.Close()
	store := newStore(ctx, cfg, keyARN, "orders")
	sealer, err := sqsx.NewFromKeyStore(cfg, sqsx.KeyStore{Table: "sealq-branch-keys", LogicalName: "sealq-branch-keys", BranchKeyID: "orders", KeyID: keyARN})
	if err != nil {
		log.Fatal(err)
	}
	client := sqs.NewFromConfig(cfg, sealer.Install)
	in := &sqs.SendMessageInput{QueueUrl: queueURL, MessageBody: aws.String("sealed before the rotation")}
	if _, err := client.SendMessage(ctx, in); err != nil {
		log.Fatal(err)
	}

	if _, err := store.Rotate(ctx, "orders"); err != nil {
		log.Fatal(err)
	}

	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queueURL})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*out.Messages[0].Body)
	// Output: sealed before the rotation
}

// The two steps of the migration from KMS data keys: each process opens what
// the other seals.
func Example_toBranchKeys() {
	ctx := context.Background()
	server, cfg, queueURL, storeKeyARN := keyStoreWorld()
	defer server.Close()
	newStore(ctx, cfg, storeKeyARN, "orders")
	described, err := kms.NewFromConfig(cfg).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/orders")})
	if err != nil {
		log.Fatal(err)
	}
	oldKeyARN := *described.KeyMetadata.Arn

	first := func() (*sqsx.Sealer, error) {
		sealer, err := sqsx.NewFromConfig(cfg, "alias/orders", func(o *sqsx.Options) {
			o.OpenKeyStore = &sqsx.KeyStore{
				Table:       "sealq-branch-keys",
				LogicalName: "sealq-branch-keys",
				BranchKeyID: "orders",
				KeyID:       storeKeyARN,
			}
		})
		return sealer, err
	}
	second := func() (*sqsx.Sealer, error) {
		keyStore := sqsx.KeyStore{
			Table:       "sealq-branch-keys",
			LogicalName: "sealq-branch-keys",
			BranchKeyID: "orders",
			KeyID:       storeKeyARN,
		}
		sealer, err := sqsx.NewFromKeyStore(cfg, keyStore, func(o *sqsx.Options) {
			o.KMSKeyring.DecryptKeys = []string{oldKeyARN}
		})
		return sealer, err
	}

	one, err := first()
	if err != nil {
		log.Fatal(err)
	}
	two, err := second()
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range []*sqsx.Sealer{one, two} {
		if err := step.CheckOpen(ctx, *queueURL); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(exchange(ctx, one, two, cfg, queueURL, "sealed with a KMS data key"))
	fmt.Println(exchange(ctx, two, one, cfg, queueURL, "sealed with a branch key"))
	// Output:
	// sealed with a KMS data key
	// sealed with a branch key
}
