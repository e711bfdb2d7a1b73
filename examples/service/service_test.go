package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// newQueue returns the URL of a new queue, and the name of a new key.
func newQueue(t *testing.T, server *sqsxtest.Server) (queueURL, keyID string) {
	t.Helper()
	queue, err := sqs.NewFromConfig(server.Config()).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("orders")})
	if err != nil {
		t.Fatal(err)
	}
	keys := kms.NewFromConfig(server.Config())
	key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = keys.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: key.KeyMetadata.KeyId})
	if err != nil {
		t.Fatal(err)
	}
	return *queue.QueueUrl, "alias/orders"
}

// TestOrders sends orders through the whole service, and looks at what lies in
// the queue on the way.
func TestOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		queueURL, keyID := newQueue(t, server)
		client, err := newClient(t.Context(), server.Config(), keyID, queueURL)
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

// TestNoKeyNoClient shows that a wrong key stops the service at its start.
func TestNoKeyNoClient(t *testing.T) {
	server := sqsxtest.New(t)
	queueURL, _ := newQueue(t, server)
	for _, keyID := range []string{"alias/aws/sqs", "alias/misspelt"} {
		if _, err := newClient(t.Context(), server.Config(), keyID, queueURL); err == nil {
			t.Errorf("newClient accepted the key %q", keyID)
		}
	}
}
