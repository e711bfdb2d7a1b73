package lambdax_test

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
)

// TestKeyStore: a function opens messages under branch keys, and in a migration
// those under KMS keys too, and reports those that do not open.
func TestKeyStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.server.Config()
	w.server.NewTable("branch-keys", "branch-key-id", "type")
	conf := sqsx.KeyStore{Table: "branch-keys", LogicalName: "branch-keys", BranchKeyID: "orders", KeyID: w.server.NewKey()}
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = conf.Table, conf.LogicalName, conf.KeyID
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(t.Context(), "orders", map[string]string{"purpose": "test"}); err != nil {
		t.Fatal(err)
	}
	sealer := func(optFns ...func(*sqsx.Options)) *sqsx.Sealer {
		s, err := sqsx.NewFromKeyStore(cfg, conf, append(optFns, func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) })...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	e := event(t, "orders", w.send(t, "orders",
		message{sealer().Wrap(w.outsider), "", "branch key"}, message{w.producer(t), "", "KMS"}))
	for name, tc := range map[string]struct {
		sealer         *sqsx.Sealer
		worked, failed []string
	}{
		"branch keys": {sealer(), []string{"branch key"}, []string{"orders/1"}},
		"both": {sealer(func(o *sqsx.Options) { o.KMSKeyring.DecryptKeys = []string{w.key} }),
			[]string{"branch key", "KMS"}, []string{}},
	} {
		r := recorder{}
		got, err := lambdax.New(tc.sealer, r.work, reports).Handle(t.Context(), e)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(r.worked(), tc.worked) || !slices.Equal(reported(got), tc.failed) {
			t.Errorf("%s: worked on %q, reported %q, want %q and %q", name, r.worked(), reported(got), tc.worked, tc.failed)
		}
	}
}
