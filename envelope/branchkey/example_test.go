package branchkey_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// account is the start of every example: a KMS with a key, and a table.
func account() (srv *sqsxtest.Server, ddb branchkey.DynamoDB, keyARN string) {
	srv = sqsxtest.Start()
	srv.NewTable("branch-keys", "branch-key-id", "type")
	return srv, dynamodb.NewFromConfig(srv.Config()), srv.NewKey("alias/key-store")
}

// keyStore is a key store with the branch key "orders".
func keyStore(ctx context.Context, srv *sqsxtest.Server, ddb branchkey.DynamoDB, keyARN string) *branchkey.Store {
	store, err := branchkey.NewStore(ddb, kms.NewFromConfig(srv.Config()), func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = "branch-keys", "branch-keys", keyARN
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := store.Create(ctx, "orders", map[string]string{"team": "shop"}); err != nil {
		log.Fatal(err)
	}
	return store
}

// An administrator makes a key store and a branch key. Services only read.
func ExampleNewStore() {
	srv, ddb, keyARN := account() // in a service: dynamodb.NewFromConfig(cfg)
	defer srv.Close()
	ctx := context.Background()

	store, err := branchkey.NewStore(ddb, kms.NewFromConfig(srv.Config()), func(o *branchkey.StoreOptions) {
		o.Table = "branch-keys"
		o.LogicalName = "branch-keys" // for ever, also if the table is restored under another name
		o.KeyID = keyARN
	})
	if err != nil {
		log.Fatal(err)
	}
	version, err := store.Create(ctx, "orders", map[string]string{"team": "shop"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("a version is a UUID of", len(version), "characters")
	// Output: a version is a UUID of 36 characters
}

func ExampleNew() {
	srv, ddb, keyARN := account()
	defer srv.Close()
	ctx := context.Background()
	store := keyStore(ctx, srv, ddb, keyARN)

	keyring, err := branchkey.New(store, "orders", func(o *branchkey.Options) {
		o.Cache.ReusePeriod = 15 * time.Minute
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 100 {
		message, err := envelope.Seal(ctx, keyring, []byte("two pizzas"), envelope.EncryptionContext{"shop": "north"})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := envelope.Open(ctx, keyring, message, func(envelope.EncryptionContext) error { return nil }); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("calls of KMS for sealing and opening 100 messages:", srv.Count("kms:Decrypt"))
	// Output: calls of KMS for sealing and opening 100 messages: 2
}

// Every tenant has a branch key, and KMS decides who may use it.
func ExampleOptions_tenants() {
	srv, ddb, keyARN := account()
	defer srv.Close()
	ctx := context.Background()
	store := keyStore(ctx, srv, ddb, keyARN)
	for _, tenant := range []string{"blue", "red"} {
		if _, err := store.Create(ctx, "tenant-"+tenant, map[string]string{"tenant": tenant}); err != nil {
			log.Fatal(err)
		}
	}

	keyring, err := branchkey.New(store, "", func(o *branchkey.Options) {
		o.BranchKeyIDs = func(ec envelope.EncryptionContext) (string, error) {
			if ec["tenant"] == "" {
				return "", fmt.Errorf("%w: no tenant", envelope.ErrContextMismatch)
			}
			return "tenant-" + ec["tenant"], nil
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, tenant := range []string{"blue", "red"} {
		key, err := keyring.GenerateDataKey(ctx, envelope.EncryptionContext{"tenant": tenant})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", key.EncryptedDataKeys()[0].ProviderInfo)
	}
	// Output:
	// tenant-blue
	// tenant-red
}

// Messages name their version: those that were sealed before a rotation open
// after it.
func ExampleStore_Rotate() {
	srv, ddb, keyARN := account()
	defer srv.Close()
	ctx := context.Background()
	store := keyStore(ctx, srv, ddb, keyARN)
	producer, err := branchkey.New(store, "orders")
	if err != nil {
		log.Fatal(err)
	}
	message, err := envelope.Seal(ctx, producer, []byte("two pizzas"), nil)
	if err != nil {
		log.Fatal(err)
	}

	if _, err := store.Rotate(ctx, "orders"); err != nil {
		log.Fatal(err)
	}

	consumer, err := branchkey.New(store, "orders")
	if err != nil {
		log.Fatal(err)
	}
	opened, err := envelope.Open(ctx, consumer, message, func(envelope.EncryptionContext) error { return nil })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Plaintext)
	// Output: two pizzas
}
