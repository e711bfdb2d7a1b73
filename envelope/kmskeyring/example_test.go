package kmskeyring_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// account is the start of every example: a KMS with a key and an alias.
func account() (client *kms.Client, keyARN string, done func()) {
	srv := sqsxtest.Start()
	return kms.NewFromConfig(srv.Config()), srv.NewKey("alias/orders"), srv.Close
}

func ExampleNew() {
	client, keyARN, done := account() // in a service: kms.NewFromConfig(cfg)
	defer done()
	ctx := context.Background()

	kr, err := kmskeyring.New(client, "alias/orders")
	if err != nil {
		log.Fatal(err)
	}
	message, err := envelope.Seal(ctx, kr, []byte("two pizzas"), envelope.EncryptionContext{"tenant": "blue"})
	if err != nil {
		log.Fatal(err)
	}
	opened, err := envelope.Open(ctx, kr, message, func(ec envelope.EncryptionContext) error {
		if ec["tenant"] != "blue" {
			return errors.New("not for this tenant")
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Plaintext)
	fmt.Println("names the key's ARN:", string(opened.Key.ProviderInfo) == keyARN)
	// Output:
	// two pizzas
	// names the key's ARN: true
}

// A consumer can tell why a key refuses, with the SDK's own types, and that it
// does, with one error class.
func ExampleKeyring_refused() {
	client, keyARN, done := account()
	defer done()
	ctx := context.Background()

	kr, err := kmskeyring.New(client, keyARN)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &keyARN}); err != nil {
		log.Fatal(err)
	}
	_, err = kr.GenerateDataKey(ctx, nil)
	_, refused := errors.AsType[*envelope.RefusedError](err)
	_, disabled := errors.AsType[*types.DisabledException](err)
	fmt.Println(refused, disabled, errors.Is(err, envelope.ErrUnavailable))
	// Output: true true false
}

func ExampleOptions() {
	client, keyARN, done := account()
	defer done()

	_, err := kmskeyring.New(client, "alias/orders", func(o *kmskeyring.Options) {
		// Only the alias's present key, and the one before it.
		o.StrictAlias = true
		o.DecryptKeys = append(o.DecryptKeys, keyARN)
	})
	fmt.Println(err)

	_, err = kmskeyring.New(client, "alias/aws/sqs")
	fmt.Println(err)
	// Output:
	// <nil>
	// kmskeyring: key ID "alias/aws/sqs" is an AWS managed key, which only its AWS service can use: create a customer managed key and give its alias or ARN
}

func ExampleDiscovery() {
	client, _, done := account()
	defer done()

	// A tool that reads a dead-letter queue, whatever key a message is under.
	_, err := kmskeyring.New(client, "", func(o *kmskeyring.Options) {
		o.Discovery = kmskeyring.Discovery{
			Partition: "aws",
			Region:    "us-east-1",
			Accounts:  []string{"000000000000"},
		}
	})
	fmt.Println(err)
	// Output: <nil>
}
