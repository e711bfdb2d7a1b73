// Service is a small web service: it takes orders over HTTP, puts them into a
// queue, and works them off in the background. Everything about sealq is in
// this file; the producer, the consumer and the transport are those of any
// service.
//
//	ORDERS_QUEUE_URL=... ORDERS_KEY=alias/orders go run ./examples/service
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	queueURL := os.Getenv("ORDERS_QUEUE_URL")
	if queueURL == "" {
		return errors.New("ORDERS_QUEUE_URL is not set")
	}
	client, err := newClient(ctx, cfg, os.Getenv("ORDERS_KEY"), queueURL)
	if err != nil {
		return err
	}

	server := &http.Server{
		Addr:              "127.0.0.1:8080",
		Handler:           &producer{client: client, queueURL: queueURL},
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
	}
	context.AfterFunc(ctx, func() { server.Close() })
	orders := &consumer{client: client, queueURL: queueURL, handle: func(_ context.Context, o order) error {
		log.Printf("shipping %d x %s", o.Quantity, o.Item)
		return nil
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		orders.run(ctx)
	}()
	err = server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		<-done
		return nil
	}
	return err
}

// newClient returns an SQS client that seals what it sends and opens what it
// receives. It fails if the key cannot be used for the queue.
func newClient(ctx context.Context, cfg aws.Config, keyID, queueURL string) (*sqs.Client, error) {
	sealer, err := sqsx.NewFromConfig(cfg, keyID)
	if err != nil {
		return nil, fmt.Errorf("ORDERS_KEY: %w", err)
	}
	if err := sealer.Check(ctx, queueURL); err != nil {
		return nil, fmt.Errorf("ORDERS_KEY: %w", err)
	}
	return sqs.NewFromConfig(cfg, sealer.Install, keepConnections), nil
}
