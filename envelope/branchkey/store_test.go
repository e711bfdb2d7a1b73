package branchkey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/logging"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestStoreOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	discovery := kmskeyring.Discovery{Partition: "aws", Region: "us-east-1", Accounts: []string{ours}}
	for name, test := range map[string]struct {
		change func(*branchkey.StoreOptions)
		want   string
	}{
		"no table":            {func(o *branchkey.StoreOptions) { o.Table = "" }, "StoreOptions.Table is empty"},
		"a table's name":      {func(o *branchkey.StoreOptions) { o.Table = "branch keys" }, `StoreOptions.Table "branch keys": a table name has letters`},
		"a short name":        {func(o *branchkey.StoreOptions) { o.Table = "bk" }, "3 to 255 characters"},
		"an ARN of a key":     {func(o *branchkey.StoreOptions) { o.Table = w.keyARN }, "not the ARN of a DynamoDB table"},
		"an ARN of an index":  {func(o *branchkey.StoreOptions) { o.Table = w.tableARN + "/index/x" }, "a table name has letters"},
		"no logical name":     {func(o *branchkey.StoreOptions) { o.LogicalName = "" }, "which may differ from the table's name"},
		"a logical name":      {func(o *branchkey.StoreOptions) { o.LogicalName = "\xff" }, "StoreOptions.LogicalName is not UTF-8"},
		"no key":              {func(o *branchkey.StoreOptions) { o.KeyID = "" }, "StoreOptions.KeyID is empty"},
		"an alias":            {func(o *branchkey.StoreOptions) { o.KeyID = "alias/orders" }, "is an alias: items name the key itself, so give the key's ARN (aws kms describe-key --key-id alias/orders)"},
		"an alias ARN":        {func(o *branchkey.StoreOptions) { o.KeyID = "arn:aws:kms:us-east-1:" + ours + ":alias/orders" }, "is an alias"},
		"a key ID":            {func(o *branchkey.StoreOptions) { o.KeyID = "1234abcd-12ab-34cd-56ef-1234567890ab" }, "want the ARN of a KMS key"},
		"a Region":            {func(o *branchkey.StoreOptions) { o.Region = "Frankfurt" }, `StoreOptions.Region is "Frankfurt"`},
		"a key and discovery": {func(o *branchkey.StoreOptions) { o.Discovery = discovery }, "have no meaning with StoreOptions.Discovery"},
		"discovery, no account": {func(o *branchkey.StoreOptions) {
			o.KeyID, o.Discovery.Partition, o.Discovery.Region = "", "aws", "us-east-1"
		}, "StoreOptions.Discovery.Accounts is empty"},
		"discovery, a Region":  {func(o *branchkey.StoreOptions) { o.KeyID, o.Discovery, o.Region = "", discovery, "eu-west-1" }, "Discovery has a Region of its own"},
		"grant tokens":         {func(o *branchkey.StoreOptions) { o.GrantTokens = make([]string, 11) }, "StoreOptions.GrantTokens has 11 tokens, want at most 10"},
		"an empty grant token": {func(o *branchkey.StoreOptions) { o.GrantTokens = []string{"x", ""} }, "StoreOptions.GrantTokens[1] is 0 bytes"},
		"a nil function":       {nil, "option function 1 is nil"},
	} {
		_, err := branchkey.NewStore(w.ddb, w.kms, w.options, test.change)
		if err == nil || !strings.HasPrefix(err.Error(), "branchkey: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
	var noKMS *kms.Client
	var noDDB *dynamodb.Client
	for name, err := range map[string]error{
		"nil KMS":                 second(branchkey.NewStore(w.ddb, nil, w.options)),
		"nil DynamoDB":            second(branchkey.NewStore(nil, w.kms, w.options)),
		"nil *kms.Client":         second(branchkey.NewStore(w.ddb, noKMS, w.options)),
		"nil *dynamodb.Client":    second(branchkey.NewStore(noDDB, w.kms, w.options)),
		"no Region of the client": second(branchkey.NewStore(dynamodb.NewFromConfig(w.config("", ours)), w.kms, w.options)),
	} {
		if err == nil || !strings.Contains(err.Error(), "branchkey: ") {
			t.Errorf("%s: got %v, want an error", name, err)
		}
	}
	if n := len(w.srv.Requests()); n != 1 { // the CreateKey of newWorld
		t.Errorf("%d requests, want none: NewStore makes no call", n-1)
	}
}

func second[T any](_ T, err error) error { return err }

// TestErrorClasses: what an error of either service means, for sealing and for
// opening.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	const unavailable, entry, key = "unavailable", "refused: entry", "refused: key orders"
	for _, test := range []struct {
		action      string
		err         error
		class, want string
	}{
		{"dynamodb:GetItem", answer(500, "InternalServerError"), unavailable, ""},
		{"dynamodb:GetItem", answer(400, "ProvisionedThroughputExceededException"), unavailable, ""},
		{"dynamodb:GetItem", answer(400, "RequestLimitExceeded"), unavailable, ""},
		{"dynamodb:GetItem", answer(400, "ThrottlingException"), unavailable, ""},
		{"dynamodb:GetItem", answer(400, "ReplicatedWriteConflictException"), unavailable, ""},
		{"dynamodb:GetItem", answer(503, "AnythingElse"), unavailable, ""},
		{"dynamodb:GetItem", answer(400, "ExpiredTokenException"), unavailable, "the AWS credentials of this process are wrong"},
		{"dynamodb:GetItem", answer(400, "UnrecognizedClientException"), unavailable, "the AWS credentials of this process are wrong"},
		{"dynamodb:GetItem", errors.New("connection reset"), unavailable, ""},
		{"dynamodb:GetItem", answer(400, "AccessDeniedException"), entry, "the permission dynamodb:GetItem on the table is missing"},
		{"dynamodb:GetItem", answer(400, "ResourceNotFoundException"), entry, "the table does not exist in this account and Region: check the name of the table"},
		{"dynamodb:GetItem", answer(400, "ValidationException"), entry, `the partition key "branch-key-id" and the sort key "type"`},
		{"dynamodb:GetItem", answer(400, "UnknownOperationException"), entry, "answered, and not as Amazon DynamoDB does"},
		{"dynamodb:GetItem", answer(400, "SomethingNew"), entry, "SomethingNew"},

		{"kms:Decrypt", answer(500, "KMSInternalException"), unavailable, ""},
		{"kms:Decrypt", answer(500, "KeyUnavailableException"), unavailable, ""},
		{"kms:Decrypt", answer(400, "ThrottlingException"), unavailable, ""},
		{"kms:Decrypt", answer(503, "AnythingElse"), unavailable, ""},
		{"kms:Decrypt", answer(400, "InvalidClientTokenId"), unavailable, "the AWS credentials of this process are wrong"},
		{"kms:Decrypt", errors.New("connection reset"), unavailable, ""},
		{"kms:Decrypt", answer(400, "AccessDeniedException"), entry, "the permission kms:Decrypt is missing"},
		{"kms:Decrypt", answer(400, "InvalidCiphertextException"), entry, "the item was altered"},
		{"kms:Decrypt", answer(400, "IncorrectKeyException"), entry, "the item was altered"},
		{"kms:Decrypt", answer(400, "InvalidGrantTokenException"), entry, "give grant tokens"},
		{"kms:Decrypt", answer(400, "DisabledException"), key, "enable the key"},
		{"kms:Decrypt", answer(400, "KMSInvalidStateException"), key, "pending deletion"},
		{"kms:Decrypt", answer(400, "InvalidKeyUsageException"), key, "SYMMETRIC_DEFAULT"},
		{"kms:Decrypt", answer(400, "NotFoundException"), key, "its Region"},
		{"kms:Decrypt", answer(400, "UnknownOperationException"), entry, "answered, and not as AWS KMS does"},
		{"kms:Decrypt", answer(400, "SomethingNew"), entry, "SomethingNew"},
	} {
		t.Run(test.action+" "+fmt.Sprint(test.err), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			store := w.store()
			w.create(store, "orders")
			sealed := w.seal(w.keyring(store, "orders"))
			w.failing(test.action, test.err)
			kr := w.keyring(store, "orders")
			open := w.open(kr, sealed) // before the refusal of sealing, which may reach it
			check := kr.CheckDecrypt(t.Context(), ec)
			_, seal := w.keyring(store, "orders").GenerateDataKey(t.Context(), ec)
			_, wrap := w.keyring(store, "orders").WrapDataKey(t.Context(), sealed, ec)
			for call, err := range map[string]error{"opening": open, "sealing": seal, "wrapping": wrap, "the check": check} {
				if class(err) != test.class || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got %q (%v), want %q with %q", call, class(err), err, test.class, test.want)
				}
				for _, secret := range []string{"a-custom-value", ec["sealq:queue"]} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%s: got %v, which holds %q", call, err, secret)
					}
				}
			}
		})
	}
}

// TestRealRefusals: the server's own errors, and the remedies in them.
func TestRealRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	sealed := w.seal(w.keyring(store, "orders"))
	w.srv.NewTable("other-table", "id")
	for name, test := range map[string]struct {
		store       *branchkey.Store
		deny        string
		class, want string
	}{
		"no such table":     {w.store(func(o *branchkey.StoreOptions) { o.Table = "no-such-table" }), "", "refused: entry", "the table does not exist in this account and Region"},
		"no key store":      {w.store(func(o *branchkey.StoreOptions) { o.Table = "other-table" }), "", "refused: entry", `the partition key "branch-key-id"`},
		"no such key":       {w.store(func(o *branchkey.StoreOptions) { o.KeyID = strings.Replace(w.keyARN, "key/", "key/f", 1) }), "", "refused: entry", ", which is configured"},
		"GetItem is denied": {store, "dynamodb:GetItem", "refused: entry", "dynamodb:GetItem on the table"},
		"Decrypt is denied": {store, "kms:Decrypt", "refused: entry", "kms:EncryptionContext:branch-key-id"},
	} {
		allow := func() {}
		if test.deny != "" {
			allow = w.srv.Deny(test.deny)
		}
		kr := w.keyring(test.store, "orders")
		_, seal := kr.GenerateDataKey(t.Context(), ec)
		for call, err := range map[string]error{"sealing": seal, "opening": w.open(kr, sealed), "the check": kr.CheckDecrypt(t.Context(), ec)} {
			if class(err) != test.class || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %s: got %q (%v), want %q with %q", name, call, class(err), err, test.class, test.want)
			}
		}
		allow()
	}
}

func hang(r *sqsxtest.Request) error {
	<-r.Context().Done()
	return r.Context().Err()
}

// TestHangingServicesEnd: every call of either service has a deadline of its
// own, which does not look like the caller's.
func TestHangingServicesEnd(t *testing.T) {
	t.Parallel()
	type call = func(context.Context, *branchkey.Store, *branchkey.Keyring) error
	seal := func(ctx context.Context, _ *branchkey.Store, kr *branchkey.Keyring) error {
		return second(kr.GenerateDataKey(ctx, ec))
	}
	check := func(ctx context.Context, _ *branchkey.Store, kr *branchkey.Keyring) error {
		return kr.CheckDecrypt(ctx, ec)
	}
	create := func(ctx context.Context, s *branchkey.Store, _ *branchkey.Keyring) error {
		return second(s.Create(ctx, "payments", map[string]string{"x": "y"}))
	}
	rotate := func(ctx context.Context, s *branchkey.Store, _ *branchkey.Keyring) error {
		return second(s.Rotate(ctx, "orders"))
	}
	for action, calls := range map[string][]call{
		"dynamodb:GetItem":                    {seal, check, rotate},
		"dynamodb:TransactWriteItems":         {create, rotate},
		"kms:Decrypt":                         {seal, check},
		"kms:ReEncrypt":                       {create, rotate},
		"kms:GenerateDataKeyWithoutPlaintext": {create, rotate},
	} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.store()
				w.create(store, "orders")
				w.srv.Intercept(func(r *sqsxtest.Request) error {
					if r.Action == action {
						return hang(r)
					}
					return nil
				})
				kr := w.keyring(store, "orders")
				for i, f := range calls {
					begin := time.Now()
					err := f(t.Context(), store, kr)
					if class(err) != "unavailable" || errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("call %d: got %v, want unavailable", i, err)
					}
					if d := time.Since(begin); d != kmskeyring.CallTimeout {
						t.Errorf("call %d took %v, want %v", i, d, kmskeyring.CallTimeout)
					}
					// The caller's own end is no verdict.
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if err := f(ctx, store, kr); !errors.Is(err, context.DeadlineExceeded) || class(err) != "caller" {
						t.Errorf("call %d: got %v, want the caller's deadline", i, err)
					}
					cancel()
				}
				time.Sleep(time.Minute) // fetches that nobody waits for end
			})
		})
	}
}

// TestSecondAttempt: each call is tried twice, and no more.
func TestSecondAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.store(), "orders")
	for _, action := range []string{"dynamodb:GetItem", "kms:Decrypt"} {
		var once sync.Once
		w.srv.Intercept(func(r *sqsxtest.Request) (err error) {
			if r.Action == action {
				once.Do(func() { err = answer(500, "InternalServerError") })
			}
			return err
		})
		w.seal(w.keyring(w.store(), "orders"))
		w.failing(action, answer(500, "InternalServerError"))
		before := w.srv.Count(action)
		if _, err := w.keyring(w.store(), "orders").GenerateDataKey(t.Context(), ec); class(err) != "unavailable" {
			t.Errorf("%s: got %v", action, err)
		}
		if n := w.srv.Count(action) - before; n != 2 {
			t.Errorf("%s: %d attempts, want 2", action, n)
		}
	}
}

// TestBodiesAreNotLogged, whatever the clients log: the answer of KMS is the
// branch key.
func TestBodiesAreNotLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var log bytes.Buffer
	cfg := w.srv.Config()
	cfg.ClientLogMode = aws.LogRequestWithBody | aws.LogResponseWithBody | aws.LogRetries
	cfg.Logger = logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&log, format+"\n", args...)
	})
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), w.options)
	if err != nil {
		t.Fatal(err)
	}
	w.create(store, "orders")
	w.rotate(store, "orders")
	kr := w.keyring(store, "orders")
	w.mustOpen(kr, w.seal(kr))
	mu.Lock()
	defer mu.Unlock()
	if s := log.String(); strings.Contains(s, "Plaintext") || strings.Contains(s, "CiphertextBlob") || strings.Contains(s, "branch:ACTIVE") || strings.Contains(s, "a-custom-value") {
		t.Errorf("bodies were logged:\n%.2000s", s)
	}
}

// TestRegions: an ARN of a table, and that of a key, fix the Region of the
// calls.
func TestRegions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.store(), "orders")
	sealed := w.seal(w.keyring(w.store(), "orders"))
	cfg := w.config("eu-west-1", ours)
	store, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), kms.NewFromConfig(cfg), w.options, func(o *branchkey.StoreOptions) { o.Table = w.tableARN })
	if err != nil {
		t.Fatal(err)
	}
	w.mustOpen(w.keyring(store, "orders"), sealed)
	w.rotate(store, "orders")
	for _, r := range w.srv.Requests() {
		if r.Region != "us-east-1" {
			t.Errorf("%s went to %s", r.Action, r.Region)
		}
	}
	byName, err := branchkey.NewStore(dynamodb.NewFromConfig(cfg), w.kms, w.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.open(w.keyring(byName, "orders"), sealed); class(err) != "refused: entry" || !strings.Contains(err.Error(), "Region") {
		t.Errorf("got %v, want the table not to be found there", err)
	}
	noRegion, err := branchkey.NewStore(dynamodb.NewFromConfig(w.config("", ours)), w.kms, w.options, func(o *branchkey.StoreOptions) { o.Table = w.tableARN })
	if err != nil {
		t.Fatalf("the ARN of a table and a client without a Region: %v", err)
	}
	w.mustOpen(w.keyring(noRegion, "orders"), sealed)
}

// TestMultiRegionKey: an item may name any relative of the key, and the calls
// go to the configured one.
func TestMultiRegionKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keyARN = w.newKey(w.kms, true)
	id := w.keyARN[strings.LastIndex(w.keyARN, "/")+1:]
	replica, err := w.kms.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String("eu-west-1")})
	if err != nil {
		t.Fatal(err)
	}
	west := *replica.ReplicaKeyMetadata.Arn
	w.create(w.store(), "orders")
	sealed := w.seal(w.keyring(w.store(), "orders"))
	for name, store := range map[string]*branchkey.Store{
		"the replica's ARN": w.store(func(o *branchkey.StoreOptions) { o.KeyID = west }),
		"Options.Region":    w.store(func(o *branchkey.StoreOptions) { o.Region = "eu-west-1" }),
	} {
		before := len(w.sent("kms:Decrypt"))
		w.mustOpen(w.keyring(store, "orders"), sealed)
		for _, body := range w.sent("kms:Decrypt")[before:] {
			if body["KeyId"] != west {
				t.Errorf("%s: asked for %v, want %s", name, body["KeyId"], west)
			}
			if got := body["EncryptionContext"].(map[string]any)["kms-arn"]; got != w.keyARN {
				t.Errorf("%s: kms-arn %v in the context, want that of the item, %s", name, got, w.keyARN)
			}
		}
		w.rotate(store, "orders")
		if got := plain(w.item("orders", "branch:ACTIVE"))["kms-arn"]; got != "S "+w.keyARN {
			t.Errorf("%s: rotation changed kms-arn to %q", name, got)
		}
		w.mustOpen(w.keyring(w.store(), "orders"), w.seal(w.keyring(store, "orders")))
	}
}

// TestDiscovery reads under any key of the accounts, and under no other.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second, mrk := w.newKey(w.kms, false), w.newKey(w.kms, true)
	foreign := w.newKey(kms.NewFromConfig(w.config("us-east-1", theirs)), false)
	abroad := w.newKey(kms.NewFromConfig(w.config("eu-west-1", ours)), false)
	keys := map[string]string{"first": w.keyARN, "second": second, "mrk": mrk, "foreign": foreign, "abroad": abroad}
	for id, key := range keys {
		w.create(w.store(func(o *branchkey.StoreOptions) { o.KeyID = key }), id)
	}
	discovery := func(region string) *branchkey.Store {
		store, err := branchkey.NewStore(w.ddb, w.kms, func(o *branchkey.StoreOptions) {
			o.Table, o.LogicalName = tableName, logicalName
			o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: region, Accounts: []string{ours}}
		})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	here := discovery("us-east-1")
	for id := range keys {
		_, err := w.keyring(here, id).GenerateDataKey(t.Context(), ec)
		switch allowed := id == "first" || id == "second" || id == "mrk"; {
		case allowed && err != nil:
			t.Errorf("%s: %v", id, err)
		case !allowed && (class(err) != "refused: entry" || !strings.Contains(err.Error(), "StoreOptions.Discovery does not name")):
			t.Errorf("%s: got %v, want a refusal", id, err)
		}
	}
	if _, err := w.keyring(discovery("eu-west-1"), "abroad").GenerateDataKey(t.Context(), ec); err != nil {
		t.Errorf("the other Region: %v", err)
	}
	for _, body := range w.sent("kms:Decrypt") {
		if body["KeyId"] == foreign {
			t.Error("KMS was asked about the key of another account")
		}
	}

	// The items of one branch key may be under several keys. A refusal of one
	// says nothing about the others.
	kr := w.keyring(here, "second")
	w.disable(second)
	_, err := kr.GenerateDataKey(t.Context(), ec)
	if class(err) != "refused: entry" || !strings.Contains(err.Error(), "enable the key") {
		t.Errorf("got %q (%v), want a refusal of one entry", class(err), err)
	}
}

// TestWrongEndpoint: an error names the host that answered, and what may have
// sent the call there, and nothing else of the URL.
func TestWrongEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(w.store(), "orders")
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(404)
		io.WriteString(rw, "<html>no such page</html>")
	}))
	defer server.Close()
	cfg := w.srv.Config()
	cfg.BaseEndpoint = aws.String("http://user:hidden@" + strings.TrimPrefix(server.URL, "http://") + "/hidden")
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DisableKeepAlives = true })
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	for name, test := range map[string]struct {
		ddb  branchkey.DynamoDB
		kms  branchkey.KMS
		want []string
	}{
		"DynamoDB": {dynamodb.NewFromConfig(cfg), w.kms, []string{"not as Amazon DynamoDB does", "AWS_ENDPOINT_URL_DYNAMODB", "the DynamoDB client's BaseEndpoint"}},
		"KMS":      {w.ddb, kms.NewFromConfig(cfg), []string{"not as AWS KMS does", "AWS_ENDPOINT_URL_KMS", "the KMS client's BaseEndpoint"}},
	} {
		store, err := branchkey.NewStore(test.ddb, test.kms, w.options)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.keyring(store, "orders").GenerateDataKey(t.Context(), ec)
		if class(err) != "unavailable" || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: got %v, want unavailable, and no secret", name, err)
		}
		for _, want := range test.want {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: got %v, want %q in it", name, err, want)
			}
		}
	}
}
