package snsx_test

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
)

// TestKeyStore: what is published under the branch key of a topic opens at a
// queue that accepts the topic.
func TestKeyStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.NewTable("branch-keys", "branch-key-id", "type")
	conf := sqsx.KeyStore{
		Table: "branch-keys", LogicalName: "branch-keys", KeyID: w.key,
		BranchKeyIDs: func(binding string) string {
			if binding == topicARN("orders") {
				return "topic"
			}
			return "queue"
		},
	}
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(w.cfg), kms.NewFromConfig(w.cfg), func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = conf.Table, conf.LogicalName, conf.KeyID
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"topic", "queue"} {
		if _, err := store.Create(t.Context(), id, map[string]string{"purpose": "test"}); err != nil {
			t.Fatal(err)
		}
	}
	sealer, err := sqsx.NewFromKeyStore(w.cfg, conf, func(o *sqsx.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
		o.Policy.AcceptTopics = []string{topicARN("orders")}
	})
	if err != nil {
		t.Fatal(err)
	}
	url := w.raw(w.server.NewTopic("orders"), "orders")
	publisher, consumer := sns.NewFromConfig(w.cfg, snsx.Install(sealer)), sqs.NewFromConfig(w.cfg, sealer.Install)
	for name, publish := range operations(topicARN("orders")) {
		if err := publish(t.Context(), publisher); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out, err := receive(t.Context(), consumer, url)
		if err != nil || !slices.Contains(bodies(out.Messages), secret) {
			t.Fatalf("%s: got %v, want the message", name, err)
		}
		info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId)
		if info.KeyProvider != "aws-kms-hierarchy" || info.Key != "topic" {
			t.Errorf("%s: got %q, %q, want the branch key of the topic", name, info.KeyProvider, info.Key)
		}
	}
}
