// Branchkeys creates and rotates branch keys, which docs/branch-keys.md
// describes. On AWS, with the role of an administrator:
//
//	export SEALQ_KEY_STORE_TABLE=sealq-branch-keys SEALQ_KEY_STORE_NAME=sealq-branch-keys
//	export SEALQ_KEY_ID=arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
//	go run ./examples/branchkeys create orders team=orders
//	go run ./examples/branchkeys rotate orders
//
// Without arguments it tells a story on an embedded server, and needs nothing
// but Go: a branch key is created, used by three queues, and rotated.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope/branchkey"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := administer
	if len(os.Args) == 1 {
		run = story
	}
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

const usage = `usage: branchkeys create ID NAME=VALUE...
       branchkeys rotate ID
       branchkeys            (a story, on an embedded server)`

// administer creates or rotates a branch key, and prints the new version.
func administer(ctx context.Context, out io.Writer, args []string) error {
	if len(args) < 2 {
		return errors.New(usage)
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), func(o *branchkey.StoreOptions) {
		o.Table = os.Getenv("SEALQ_KEY_STORE_TABLE")
		o.LogicalName = os.Getenv("SEALQ_KEY_STORE_NAME")
		o.KeyID = os.Getenv("SEALQ_KEY_ID")
	})
	if err != nil {
		return err
	}
	var version string
	switch command, id, pairs := args[0], args[1], args[2:]; {
	case command == "create":
		custom := make(map[string]string)
		for _, pair := range pairs {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return errors.New(usage)
			}
			custom[name] = value
		}
		version, err = store.Create(ctx, id, custom)
	case command == "rotate" && len(pairs) == 0:
		version, err = store.Rotate(ctx, id)
	default:
		return errors.New(usage)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, version)
	return nil
}
