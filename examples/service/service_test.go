package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestOrders sends orders through the whole service, and looks at what lies in
// the queue on the way.
func TestOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		server.NewKey("alias/orders")
		queueURL := server.NewQueue("orders")
		client, err := newClient(t.Context(), server.Config(), "alias/orders", queueURL)
		if err != nil {
			t.Fatal(err)
		}

		web := &producer{client: client, queueURL: queueURL}
		for _, item := range []string{"tea", "coffee", "cocoa"} {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/",
				strings.NewReader(`{"item":"`+item+`","quantity":2,"card":"4111 1111 1111 1111"}`))
			answer := httptest.NewRecorder()
			if web.ServeHTTP(answer, request); answer.Code != http.StatusAccepted {
				t.Fatalf("status %d, want %d: %s", answer.Code, http.StatusAccepted, answer.Body)
			}
		}
		for _, m := range server.Stored(queueURL) {
			if strings.Contains(*m.Body, "4111") || strings.Contains(*m.Body, "item") {
				t.Errorf("the queue holds plaintext: %s", *m.Body)
			}
		}

		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		got := make(map[string]int)
		orders := &consumer{client: client, queueURL: queueURL, handle: func(_ context.Context, o order) error {
			if got[o.Item] += o.Quantity; len(got) == 3 {
				stop()
			}
			return nil
		}}
		orders.run(ctx)
		if got["tea"] != 2 || got["coffee"] != 2 || got["cocoa"] != 2 {
			t.Errorf("the consumer got %v, want 2 each of tea, coffee and cocoa", got)
		}
		if left := server.Stored(queueURL); len(left) != 0 {
			t.Errorf("%d messages are left in the queue, want 0", len(left))
		}
		if n := server.Count("kms:GenerateDataKey"); n != 1 {
			t.Errorf("%d data keys for 3 orders, want 1", n)
		}
	})
}

// TestKeepsItsConnection sends a hundred orders by HTTP, as to an emulator.
// With smithy-go's own request bodies that takes some ten connections.
func TestKeepsItsConnection(t *testing.T) {
	server := sqsxtest.New(t)
	server.NewKey("alias/orders")
	queueURL := server.NewQueue("orders")
	var mu sync.Mutex
	connections := make(map[string]bool) // to SQS, by the client's port
	emulator := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.") {
			mu.Lock()
			connections[r.RemoteAddr] = true
			mu.Unlock()
		}
		server.ServeHTTP(w, r)
	}))
	defer emulator.Close()

	cfg := server.Config()
	cfg.BaseEndpoint, cfg.HTTPClient = aws.String(emulator.URL), nil // nil: the SDK's own, as from LoadDefaultConfig
	client, err := newClient(t.Context(), cfg, "alias/orders", queueURL)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String("tea")}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(connections); got != 1 {
		t.Errorf("got %d connections for 100 requests, want 1", got)
	}
}

// TestNoKeyNoClient shows that a wrong key stops the service at its start.
func TestNoKeyNoClient(t *testing.T) {
	server := sqsxtest.New(t)
	server.NewKey("alias/orders")
	queueURL := server.NewQueue("orders")
	for _, keyID := range []string{"alias/aws/sqs", "alias/misspelt"} {
		if _, err := newClient(t.Context(), server.Config(), keyID, queueURL); err == nil {
			t.Errorf("newClient accepted the key %q", keyID)
		}
	}
}
