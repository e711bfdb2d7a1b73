package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// world is a queue, a key, an outsider who may use the queue but not the key,
// and the line to KMS.
type world struct {
	cfg      aws.Config
	keyID    string
	outsider *sqs.Client
	url      *string
	seen     types.Message // what the outsider saw
	kms      kmsLine
	close    func()
}

func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{keyID: os.Getenv("SEALQ_KEY_ID"), close: func() {}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.keyID == "" {
		fmt.Println("On an embedded server, because SEALQ_KEY_ID is not set")
		server := sqsxtest.Start()
		w.cfg, w.close = server.Config(), server.Close
		w.keyID = server.NewKey()
		w.outsider = sqs.NewFromConfig(w.cfg)
	} else {
		if w.cfg, err = config.LoadDefaultConfig(ctx); err != nil {
			return w, err
		}
		w.outsider = sqs.NewFromConfig(w.cfg)
		where := "AWS"
		if endpoint := w.outsider.Options().BaseEndpoint; endpoint != nil {
			where = *endpoint // from AWS_ENDPOINT_URL
			w.cfg.HTTPClient = sqsxtest.LoopbackClient(w.cfg.HTTPClient)
			w.outsider = sqs.NewFromConfig(w.cfg)
		}
		fmt.Printf("On %s in %s, because SEALQ_KEY_ID is set:\n%s\n", where, cmp.Or(w.cfg.Region, "no Region"), w.keyID)
	}
	name := "sealq-quickstart-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	queue, err := w.outsider.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		return w, err
	}
	w.url = queue.QueueUrl
	return w, nil
}

// end deletes the queue.
func (w *world) end(ctx context.Context) {
	defer w.close()
	if _, err := w.outsider.DeleteQueue(context.WithoutCancel(ctx), &sqs.DeleteQueueInput{QueueUrl: w.url}); err != nil {
		log.Print(err)
	}
}
