package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
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
	if w.keyID != "" {
		if w.cfg, err = config.LoadDefaultConfig(ctx); err != nil {
			return nil, err
		}
	} else {
		server := sqsxtest.Start()
		w.cfg, w.close = server.Config(), server.Close
		key, err := kms.NewFromConfig(w.cfg).CreateKey(ctx, &kms.CreateKeyInput{})
		if err != nil {
			return nil, err
		}
		w.keyID = *key.KeyMetadata.Arn
	}
	w.outsider = sqs.NewFromConfig(w.cfg)
	name := "sealq-quickstart-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	queue, err := w.outsider.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		return nil, err
	}
	w.url = queue.QueueUrl
	stop := w.close
	w.close = func() {
		if _, err := w.outsider.DeleteQueue(context.WithoutCancel(ctx), &sqs.DeleteQueueInput{QueueUrl: w.url}); err != nil {
			log.Print(err)
		}
		stop()
	}
	return w, nil
}

// options let the story see, and cut, the line to KMS. A service needs none.
func (w *world) options(o *sqsx.Options) {
	o.KMS = []func(*kms.Options){func(ko *kms.Options) { ko.HTTPClient = w.kms.through(ko.HTTPClient) }}
	o.Logger = slog.New(slog.DiscardHandler)
}

type kmsLine struct {
	calls atomic.Int64
	cut   atomic.Bool
}

func (l *kmsLine) through(client aws.HTTPClient) aws.HTTPClient {
	if client == nil {
		client = http.DefaultClient
	}
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if l.calls.Add(1); l.cut.Load() {
			return nil, errors.New("no route to KMS")
		}
		return client.Do(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }
