package sqsx_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// keyStore is a key store of a world, with branch keys.
type keyStore struct {
	*branchkey.Store
	w    *world
	ddb  *dynamodb.Client
	conf sqsx.KeyStore // of the first branch key
}

// keyStore makes a table, a KMS key for it, and branch keys of these IDs.
func (w *world) keyStore(ids ...string) *keyStore {
	w.t.Helper()
	w.server.NewTable("branch-keys", "branch-key-id", "type")
	k := &keyStore{w: w, ddb: dynamodb.NewFromConfig(w.cfg)}
	k.conf = sqsx.KeyStore{Table: "branch-keys", LogicalName: "key-store", BranchKeyID: ids[0], KeyID: w.newKey()}
	var err error
	k.Store, err = branchkey.NewStore(k.ddb, w.kms, func(o *branchkey.StoreOptions) {
		o.Table, o.LogicalName, o.KeyID = k.conf.Table, k.conf.LogicalName, k.conf.KeyID
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := k.Create(w.t.Context(), id, map[string]string{"purpose": "test"}); err != nil {
			w.t.Fatal(err)
		}
	}
	return k
}

// sealer returns a Sealer of the key store.
func (k *keyStore) sealer(optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	k.w.t.Helper()
	s, err := sqsx.NewFromKeyStore(k.w.cfg, k.conf, append([]func(*sqsx.Options){k.w.watched}, optFns...)...)
	if err != nil {
		k.w.t.Fatal(err)
	}
	return s
}

func (k *keyStore) client(optFns ...func(*sqsx.Options)) *sqs.Client {
	k.w.t.Helper()
	return sqs.NewFromConfig(k.w.cfg, k.sealer(optFns...).Install)
}

// openIt makes a Sealer of NewFromConfig open messages under branch keys too.
func (k *keyStore) openIt(o *sqsx.Options) { o.OpenKeyStore = &k.conf }

// openKMS makes a Sealer of the key store open messages under the KMS key of
// the world too.
func (k *keyStore) openKMS(o *sqsx.Options) { o.KMSKeyring.DecryptKeys = []string{k.w.key} }

// take removes the item of a version from the table, and returns what puts it
// back.
func (k *keyStore) take(version string) (restore func()) {
	k.w.t.Helper()
	out, err := k.ddb.DeleteItem(k.w.t.Context(), &dynamodb.DeleteItemInput{
		TableName: &k.conf.Table, ReturnValues: ddbtypes.ReturnValueAllOld,
		Key: map[string]ddbtypes.AttributeValue{
			"branch-key-id": &ddbtypes.AttributeValueMemberS{Value: k.conf.BranchKeyID},
			"type":          &ddbtypes.AttributeValueMemberS{Value: "branch:version:" + version},
		},
	})
	if err != nil || len(out.Attributes) == 0 {
		k.w.t.Fatalf("there is no version %s to remove: %v", version, err)
	}
	return func() {
		if _, err := k.ddb.PutItem(k.w.t.Context(), &dynamodb.PutItemInput{TableName: &k.conf.Table, Item: out.Attributes}); err != nil {
			k.w.t.Fatal(err)
		}
	}
}

// consume deletes what c receives from a queue, and returns the bodies.
func consume(t testing.TB, c *sqs.Client, url string) ([]string, error) {
	t.Helper()
	out, err := receive(t.Context(), c, url)
	if err != nil {
		return nil, err
	}
	for _, m := range out.Messages {
		if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	got := bodies(out.Messages)
	slices.Sort(got)
	return got, nil
}

// TestNewFromKeyStore: one branch key serves every queue, a process asks for it
// once for each direction, and nobody asks KMS for data keys.
func TestNewFromKeyStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("orders")
	producer, consumer := k.sealer(), k.sealer(func(o *sqsx.Options) { o.Policy.NoHold = true })
	reads, decrypts := w.count("dynamodb:GetItem"), w.count("kms:Decrypt")
	for _, name := range []string{"a", "b", "c.fifo"} {
		url := w.queue(name)
		for i := range 3 {
			in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(fmt.Sprint(name, i))}
			if strings.HasSuffix(name, ".fifo") {
				in.MessageGroupId, in.MessageDeduplicationId = aws.String("g"), in.MessageBody
			}
			if _, err := producer.Wrap(w.plain).SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		out, err := receive(t.Context(), consumer.Wrap(w.plain), url)
		if err != nil || len(out.Messages) != 3 {
			t.Fatalf("%s: got %v, want 3 messages", name, err)
		}
		for _, m := range out.Messages {
			info, ok := sqsx.InfoOf(out.ResultMetadata, *m.MessageId)
			if !ok || info.KeyProvider != "aws-kms-hierarchy" || info.Key != "orders" || info.EncryptionContext["sealq:queue"] != arnOf(name) {
				t.Errorf("%s: got %+v, want the branch key and the queue", name, info)
			}
		}
	}
	if got := w.count("dynamodb:GetItem") - reads; got != 2 {
		t.Errorf("%d GetItem, want one for each process", got)
	}
	if got := w.count("kms:Decrypt") - decrypts; got != 2 {
		t.Errorf("%d Decrypt, want one for each process", got)
	}
	if got := w.count("kms:GenerateDataKey"); got != 0 {
		t.Errorf("%d GenerateDataKey, want none", got)
	}
	sent, received := producer.Stats(), consumer.Stats()
	if sent.Sealed != 9 || received.Opened != 9 || sent.Cache.Fetches != 1 || received.Cache.Fetches != 1 || sent.Cache.Hits != 8 || sent.Cache.EncryptEntries != 1 || received.Cache.DecryptEntries != 1 {
		t.Errorf("got %+v and %+v, want 9 messages by one branch key each", sent, received)
	}

	// Purge forgets the branch keys.
	producer.Purge()
	consumer.Purge()
	url := w.queue("a")
	send(t, producer.Wrap(w.plain), url, "after Purge")
	if got, err := consume(t, consumer.Wrap(w.plain), url); err != nil || !slices.Equal(got, []string{"after Purge"}) {
		t.Errorf("got %q, %v after Purge", got, err)
	}
	if got := w.count("dynamodb:GetItem") - reads; got != 4 {
		t.Errorf("%d GetItem after Purge, want each process to have read again", got)
	}
}

// TestKeyStoreErrors: constructors refuse what cannot work, and say what to do.
func TestKeyStoreErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("orders")
	byName := func(string) string { return "orders" }
	for name, tc := range map[string]struct {
		edit func(*sqsx.KeyStore)
		set  func(*sqsx.Options)
		text string
	}{
		"no table":              {func(s *sqsx.KeyStore) { s.Table = "" }, nil, "KeyStore.Table"},
		"table of another form": {func(s *sqsx.KeyStore) { s.Table = "a/b" }, nil, "Table"},
		"no logical name":       {func(s *sqsx.KeyStore) { s.LogicalName = "" }, nil, "KeyStore.LogicalName"},
		"no key":                {func(s *sqsx.KeyStore) { s.KeyID = "" }, nil, "KeyStore.KeyID"},
		"alias":                 {func(s *sqsx.KeyStore) { s.KeyID = "alias/orders" }, nil, "key's ARN"},
		"no branch key":         {func(s *sqsx.KeyStore) { s.BranchKeyID = "" }, nil, "KeyStore.BranchKeyID"},
		"two ways":              {func(s *sqsx.KeyStore) { s.BranchKeyIDs = byName }, nil, "both set"},
		"branch key too long":   {func(s *sqsx.KeyStore) { s.BranchKeyID = strings.Repeat("x", 2049) }, nil, "2048"},
		"cache":                 {nil, func(o *sqsx.Options) { o.Cache.ReusePeriod = time.Second }, "ReusePeriod"},
		"decrypt key":           {nil, func(o *sqsx.Options) { o.KMSKeyring.DecryptKeys = []string{"alias/x"} }, "DecryptKeys[0]"},
		"strict alias":          {nil, func(o *sqsx.Options) { o.KMSKeyring.StrictAlias = true }, "StrictAlias"},
		"alias period":          {nil, func(o *sqsx.Options) { o.KMSKeyring.AliasPeriod = time.Hour }, "AliasPeriod"},
		"nil function":          {nil, nil, "option function 1 is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := k.conf
			if tc.edit != nil {
				tc.edit(&store)
			}
			optFns := []func(*sqsx.Options){w.watched, tc.set}
			if tc.edit != nil {
				optFns = optFns[:1]
			}
			s, err := sqsx.NewFromKeyStore(w.cfg, store, optFns...)
			wantConfigError(t, s, err, tc.text)
			if tc.edit == nil {
				return
			}
			s, err = sqsx.NewFromConfig(w.cfg, w.key, func(o *sqsx.Options) { o.OpenKeyStore = &store })
			wantConfigError(t, s, err, tc.text)
		})
	}
	noClients := func(o *sqsx.Options) { o.DynamoDB = []func(*dynamodb.Options){func(*dynamodb.Options) {}} }
	s, err := sqsx.NewFromKeyStore(w.cfg, k.conf, k.openIt)
	wantConfigError(t, s, err, "Options.OpenKeyStore")
	s, err = sqsx.NewFromConfig(w.cfg, w.key, noClients)
	wantConfigError(t, s, err, "Options.DynamoDB")
	s, err = sqsx.New(mustKeyring(t, w), noClients)
	wantConfigError(t, s, err, "dynamodb.NewFromConfig")
	s, err = sqsx.New(mustKeyring(t, w), k.openIt)
	wantConfigError(t, s, err, "Options.OpenKeyStore")
}

func wantConfigError(t *testing.T, s *sqsx.Sealer, err error, text string) {
	t.Helper()
	if _, typed := errors.AsType[*sqsx.ConfigError](err); !typed || s != nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, %v, want a *ConfigError that speaks of %q", s, err, text)
	}
}

// TestKeyStoreOptions: what is set reaches the clients, the key store and the
// cache.
func TestKeyStoreOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("orders")
	counts := func(n *atomic.Int32) func(*smithymiddleware.Stack) error {
		return func(stack *smithymiddleware.Stack) error {
			return stack.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("count", func(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
				n.Add(1)
				return next.HandleInitialize(ctx, in)
			}), smithymiddleware.Before)
		}
	}
	for name, newSealer := range map[string]func(...func(*sqsx.Options)) *sqsx.Sealer{
		"NewFromKeyStore": k.sealer,
		"NewFromConfig": func(optFns ...func(*sqsx.Options)) *sqsx.Sealer {
			return w.sealer(append(optFns, k.openIt)...)
		},
	} {
		var ofDynamoDB, ofKMS atomic.Int32
		consumer := newSealer(func(o *sqsx.Options) {
			o.DynamoDB = []func(*dynamodb.Options){func(o *dynamodb.Options) { o.APIOptions = append(o.APIOptions, counts(&ofDynamoDB)) }}
			o.KMS = []func(*kms.Options){func(o *kms.Options) { o.APIOptions = append(o.APIOptions, counts(&ofKMS)) }}
			o.KMSKeyring.GrantTokens = []string{"a-grant-token"}
			o.Cache.NegativeEntries = 7
		})
		before := len(w.server.Requests())
		opened, withheld := consumer.OpenMessages(t.Context(), arnOf("orders"), []types.Message{sealedBy(t, k.sealer())})
		if len(opened) != 1 {
			t.Fatalf("%s: got %v, want the message", name, withheld)
		}
		if ofDynamoDB.Load() != 1 || ofKMS.Load() != 1 {
			t.Errorf("%s: %d calls by the DynamoDB client and %d by the KMS client of the options, want 1 and 1", name, ofDynamoDB.Load(), ofKMS.Load())
		}
		tokens := 0
		for _, r := range w.server.Requests()[before:] {
			if r.Action == "kms:Decrypt" && bytes.Contains(r.Body, []byte("a-grant-token")) {
				tokens++
			}
		}
		if tokens != 1 {
			t.Errorf("%s: %d Decrypt with the grant token, want 1", name, tokens)
		}
	}

	// The key store is copied: what becomes of the caller's does not matter.
	store := k.conf
	s := w.sealer(func(o *sqsx.Options) { o.OpenKeyStore = &store })
	store.BranchKeyID = "another"
	if opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{sealedBy(t, k.sealer())}); len(opened) != 1 {
		t.Errorf("got %v, want the branch key that was configured", withheld)
	}

	// Options.Cache is that of both caches.
	short := func(o *sqsx.Options) { o.Cache.ReusePeriod, o.Cache.MaxStale = time.Minute, cache.NoStale }
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.keyStore("orders")
		for name, s := range map[string]*sqsx.Sealer{
			"NewFromKeyStore":                  k.sealer(short),
			"NewFromKeyStore with DecryptKeys": k.sealer(short, k.openKMS),
			"NewFromConfig with OpenKeyStore":  w.sealer(short, k.openIt),
		} {
			messages := []types.Message{sealedBy(t, k.sealer())}
			if name != "NewFromKeyStore" {
				messages = append(messages, sealedBy(t, w.sealer()))
			}
			for _, m := range messages {
				if opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m}); len(opened) != 1 {
					t.Fatalf("%s: got %v", name, withheld)
				}
			}
			restoreKMS, restoreDynamoDB := w.server.CutKMS(), w.server.CutDynamoDB()
			time.Sleep(50 * time.Second)
			for _, m := range messages { // refreshes are due
				s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m})
			}
			time.Sleep(11 * time.Second)
			if opened, _ := s.OpenMessages(t.Context(), arnOf("orders"), messages); len(opened) != 0 {
				t.Errorf("%s: %d of %d messages opened after the reuse period with NoStale, want none", name, len(opened), len(messages))
			}
			restoreKMS()
			restoreDynamoDB()
		}
	})
}

// TestOpenBothKinds: each constructor opens the other's messages if it is told
// to, and seals with its own. Otherwise the error says how.
func TestOpenBothKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("orders")
	byBranchKey, byKMS := sealedBy(t, k.sealer()), sealedBy(t, w.sealer())
	for name, tc := range map[string]struct {
		sealer *sqsx.Sealer
		seals  string
	}{
		"NewFromConfig":   {w.sealer(k.openIt), "aws-kms"},
		"NewFromKeyStore": {k.sealer(k.openKMS), "aws-kms-hierarchy"},
		"with discovery": {k.sealer(func(o *sqsx.Options) {
			o.KMSKeyring.Discovery.Partition, o.KMSKeyring.Discovery.Region, o.KMSKeyring.Discovery.Accounts = "aws", w.cfg.Region, []string{sqsxtest.DefaultAccount}
		}), "aws-kms-hierarchy"},
	} {
		own := sealedBy(t, tc.sealer)
		opened, withheld := tc.sealer.OpenMessages(t.Context(), arnOf("orders"), []types.Message{byBranchKey, byKMS, own})
		if len(opened) != 3 {
			t.Fatalf("%s: got %v, want all three", name, withheld)
		}
		if got := opened[2].Info.KeyProvider; got != tc.seals {
			t.Errorf("%s seals with %q, want %q", name, got, tc.seals)
		}
		if got := []string{opened[0].Info.Key, opened[1].Info.Key}; !slices.Equal(got, []string{"orders", w.key}) {
			t.Errorf("%s: Info.Key is %q, want the branch key and the KMS key", name, got)
		}
		stats := tc.sealer.Stats().Cache
		if stats.Fetches < 3 || stats.DecryptEntries < 2 {
			t.Errorf("%s: got %+v, want what both caches did", name, stats)
		}
	}

	for name, tc := range map[string]struct {
		sealer  *sqsx.Sealer
		message types.Message
		want    []string
	}{
		"branch key":     {w.sealer(), byBranchKey, []string{"branch key", "sqsx.Options.OpenKeyStore", "SEALQ_KEY_STORE_TABLE", "SEALQ_KEY_STORE_OPEN_ONLY"}},
		"KMS":            {k.sealer(), byKMS, []string{"sqsx.Options.KMSKeyring.DecryptKeys", "SEALQ_DECRYPT_KEYS"}},
		"another KMS":    {k.sealer(func(o *sqsx.Options) { o.KMSKeyring.DecryptKeys = []string{k.conf.KeyID} }), byKMS, []string{w.key, "sqsx.Options.KMSKeyring.DecryptKeys", "SEALQ_DECRYPT_KEYS"}},
		"another branch": {w.sealer(func(o *sqsx.Options) { other := k.conf; other.BranchKeyID = "other"; o.OpenKeyStore = &other }), byBranchKey, []string{`"other"`}},
	} {
		calls := len(w.server.Requests())
		opened, withheld := tc.sealer.OpenMessages(t.Context(), arnOf("orders"), []types.Message{tc.message})
		if len(opened) != 0 || !errors.Is(withheld[0].Err, sqsx.ErrNoMatchingKey) || withheld[0].Temporary {
			t.Errorf("%s: got %v, want ErrNoMatchingKey", name, withheld)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(withheld[0].Err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", name, withheld[0].Err, want)
			}
		}
		if made := len(w.server.Requests()) - calls; made != 0 {
			t.Errorf("%s: %d requests for a message that the settings exclude, want none", name, made)
		}
	}
}

// TestBranchKeyIDs: the function gets the name that a message is bound to, the
// same when it is sealed and when it is opened, and no name where there is
// none.
func TestBranchKeyIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("tenant-a", "tenant-b-with-a-longer-name", "shared")
	topic := w.server.NewTopic("events")
	ids := map[string]string{
		arnOf("a"): "tenant-a", arnOf("b"): "tenant-b-with-a-longer-name",
		topic: "tenant-a", "logical": "tenant-b-with-a-longer-name", "": "shared",
	}
	var mu sync.Mutex
	var asked []string
	k.conf.BranchKeyID, k.conf.BranchKeyIDs = "", func(binding string) string {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, binding)
		return ids[binding]
	}
	names := func() []string {
		mu.Lock()
		defer mu.Unlock()
		got := slices.Compact(asked)
		asked = nil
		return got
	}
	policies := func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{
			"c": {LogicalQueue: "logical"}, "d": {NoBinding: true}, "e": {AcceptTopics: []string{topic}},
		}
	}
	producer, consumer := k.sealer(policies), k.sealer(policies)
	for _, tc := range []struct{ seal, open, binding string }{
		{arnOf("a"), arnOf("a"), arnOf("a")},
		{arnOf("b"), arnOf("b"), arnOf("b")},
		{arnOf("c"), arnOf("c"), "logical"},
		{arnOf("d"), arnOf("d"), ""},
		{topic, arnOf("e"), topic},
		{arnOf("a"), arnOf("d"), arnOf("a")}, // NoBinding opens what others bind
	} {
		size, err := producer.SealedSize(tc.seal, 5)
		if got := names(); err != nil || !slices.Equal(got, []string{tc.binding}) {
			t.Errorf("SealedSize for %s: asked about %q, want %q; %v", tc.seal, got, tc.binding, err)
		}
		sealed, err := producer.SealMessage(t.Context(), tc.seal, &sqs.SendMessageInput{MessageBody: aws.String("hello")})
		if got := names(); err != nil || !slices.Equal(got, []string{tc.binding}) {
			t.Fatalf("%s: asked about %q to seal, want %q; %v", tc.seal, got, tc.binding, err)
		}
		actual := len("sealq") + len("Binary") + len(sealed.MessageAttributes["sealq"].BinaryValue) + len(*sealed.MessageBody)
		if size != actual {
			t.Errorf("SealedSize for %s is %d before the first message, want exactly %d", tc.seal, size, actual)
		}
		opened, withheld := consumer.OpenMessages(t.Context(), tc.open, []types.Message{{MessageId: aws.String("m"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes}})
		if got := names(); len(opened) != 1 || !slices.Equal(got, []string{tc.binding}) {
			t.Fatalf("%s: asked about %q to open, want %q; %v", tc.open, got, tc.binding, withheld)
		}
		if got := opened[0].Info.Key; got != ids[tc.binding] {
			t.Errorf("%s: under branch key %q, want %q", tc.open, got, ids[tc.binding])
		}
	}

	// A name that the function does not know is a setting that lacks something: no
	// error of the message.
	_, err := producer.SealMessage(t.Context(), arnOf("unknown"), &sqs.SendMessageInput{MessageBody: aws.String("hello")})
	if err == nil || !strings.Contains(err.Error(), "KeyStore.BranchKeyIDs") || !strings.Contains(err.Error(), arnOf("unknown")) {
		t.Errorf("got %v, want it to name the function and the queue", err)
	}
	if _, err := producer.SealedSize(arnOf("unknown"), 5); err == nil || !strings.Contains(err.Error(), "KeyStore.BranchKeyIDs") {
		t.Errorf("SealedSize: got %v, want it to name the function", err)
	}
	sealed, err := producer.SealMessage(t.Context(), arnOf("a"), &sqs.SendMessageInput{MessageBody: aws.String("hello")})
	if err != nil {
		t.Fatal(err)
	}
	delete(ids, arnOf("a"))
	opened, withheld := consumer.OpenMessages(t.Context(), arnOf("a"), []types.Message{{MessageId: aws.String("m"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes}})
	if len(opened) != 0 || !withheld[0].Temporary || errors.Is(withheld[0].Err, sqsx.ErrInvalidMessage) || !strings.Contains(withheld[0].Err.Error(), "KeyStore.BranchKeyIDs") {
		t.Errorf("got %v, want the message withheld for now, and the function named", withheld)
	}
}

// TestSealedSizeUnderABranchKey is exact before the first message.
func TestSealedSizeUnderABranchKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("orders")
	for name, s := range map[string]*sqsx.Sealer{"alone": k.sealer(), "mixed": k.sealer(k.openKMS)} {
		attributes := map[string]types.MessageAttributeValue{"a": {DataType: aws.String("String"), StringValue: aws.String("value")}}
		in := &sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", 1000)), MessageAttributes: attributes}
		got, err := s.SealedMessageSize(arnOf("orders"), in)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := s.SealMessage(t.Context(), arnOf("orders"), in)
		if err != nil {
			t.Fatal(err)
		}
		want := len(*sealed.MessageBody)
		for name, a := range sealed.MessageAttributes {
			want += len(name) + len(*a.DataType) + len(a.BinaryValue) + len(aws.ToString(a.StringValue))
		}
		if got != want {
			t.Errorf("%s: got %d before the first message, want exactly %d", name, got, want)
		}
	}
}

// TestCheckWithAKeyStore: each half names the permission that is missing. With
// both kinds of data keys, both must open.
func TestCheckWithAKeyStore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		deny string
		set  func(*keyStore) *sqsx.Sealer
		seal []string // in the error of the half; nil: none
		open []string
	}{
		"all is well":        {"", func(k *keyStore) *sqsx.Sealer { return k.sealer() }, nil, nil},
		"no GetItem":         {"dynamodb:GetItem", func(k *keyStore) *sqsx.Sealer { return k.sealer() }, []string{"dynamodb:GetItem", "branch-keys"}, []string{"dynamodb:GetItem", "branch-keys"}},
		"no Decrypt":         {"kms:Decrypt", func(k *keyStore) *sqsx.Sealer { return k.sealer() }, []string{"kms:Decrypt"}, []string{"kms:Decrypt"}},
		"both kinds":         {"", func(k *keyStore) *sqsx.Sealer { return k.sealer(k.openKMS) }, nil, nil},
		"both, by KMS":       {"", func(k *keyStore) *sqsx.Sealer { return k.w.sealer(k.openIt) }, nil, nil},
		"both, no GetItem":   {"dynamodb:GetItem", func(k *keyStore) *sqsx.Sealer { return k.w.sealer(k.openIt) }, nil, []string{"messages under branch keys", "dynamodb:GetItem"}},
		"both, no Decrypt":   {"kms:Decrypt", func(k *keyStore) *sqsx.Sealer { return k.sealer(k.openKMS) }, []string{"kms:Decrypt"}, []string{"messages under branch keys", "messages under AWS KMS", "kms:Decrypt"}},
		"cannot generate":    {"kms:GenerateDataKey", func(k *keyStore) *sqsx.Sealer { return k.w.sealer(k.openIt) }, []string{"kms:GenerateDataKey"}, nil},
		"need not generate":  {"kms:GenerateDataKey", func(k *keyStore) *sqsx.Sealer { return k.sealer(k.openKMS) }, nil, nil},
		"of no such table":   {"", func(k *keyStore) *sqsx.Sealer { k.conf.Table = "missing"; return k.sealer() }, []string{`"missing"`}, []string{`"missing"`}},
		"of no such branch":  {"", func(k *keyStore) *sqsx.Sealer { k.conf.BranchKeyID = "missing"; return k.sealer() }, []string{`"missing"`}, []string{`"missing"`}},
		"of another name":    {"", func(k *keyStore) *sqsx.Sealer { k.conf.LogicalName = "missing"; return k.sealer() }, []string{"another logical name"}, []string{"another logical name"}},
		"of another KMS key": {"", func(k *keyStore) *sqsx.Sealer { k.conf.KeyID = k.w.key; return k.sealer() }, []string{"not under", "which is configured"}, []string{"not under", "which is configured"}},
		"other kind's key is not allowed": {"", func(k *keyStore) *sqsx.Sealer {
			gone := k.w.newKey()
			if _, err := k.w.kms.DisableKey(k.w.t.Context(), &kms.DisableKeyInput{KeyId: &gone}); err != nil {
				k.w.t.Fatal(err)
			}
			return k.sealer(func(o *sqsx.Options) { o.KMSKeyring.DecryptKeys = []string{gone} })
		}, nil, []string{"messages under AWS KMS", "DisabledException"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := tc.set(w.keyStore("orders"))
			if tc.deny != "" {
				w.server.Deny(tc.deny)
			}
			hold := func(half string, err error, want []string) {
				t.Helper()
				if (err == nil) != (want == nil) {
					t.Errorf("%s: got %v, want an error with %q", half, err, want)
				}
				for _, text := range want {
					if err != nil && !strings.Contains(err.Error(), text) {
						t.Errorf("%s: got %v, want %q in it", half, err, text)
					}
				}
			}
			hold("CheckOpen", s.CheckOpen(t.Context(), arnOf("orders")), tc.open)
			hold("CheckSeal", s.CheckSeal(t.Context(), arnOf("orders")), tc.seal)
			err := s.Check(t.Context(), arnOf("orders"))
			failed, ok := errors.AsType[*sqsx.CheckError](err)
			if !ok {
				failed = &sqsx.CheckError{}
			}
			if (err != nil) != ok {
				t.Errorf("got %v, want a *CheckError", err)
			}
			hold("Check, seal", failed.Seal, tc.seal)
			hold("Check, open", failed.Open, tc.open)
			// One cause is told once, although the same question was asked twice.
			once := strings.Contains(fmt.Sprint(err), "cannot seal or open: ")
			if want := slices.Equal(tc.seal, tc.open) && tc.seal != nil; once != want {
				t.Errorf("got %v, want one text for both halves %t", err, want)
			}
		})
	}
}

// TestKeyStoreOutage: while KMS and DynamoDB are unreachable, a process goes on
// with the branch keys that it has. One that has none is held, loses nothing
// and goes on when they are back.
func TestKeyStoreOutage(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*sqsxtest.Server) (restore func()){
		"KMS":      (*sqsxtest.Server).CutKMS,
		"DynamoDB": (*sqsxtest.Server).CutDynamoDB,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				k := w.keyStore("orders")
				url, dlq := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
				warm, cold := k.sealer(), k.client()
				client := warm.Wrap(w.plain)
				send(t, client, url, "one")
				if got, err := consume(t, client, url); err != nil || !slices.Equal(got, []string{"one"}) {
					t.Fatalf("got %q, %v", got, err)
				}
				restore := cut(w.server)
				for i := range 6 {
					time.Sleep(2 * time.Minute)
					body := fmt.Sprint("in the outage ", i)
					began := time.Now()
					send(t, client, url, body)
					if got, err := consume(t, client, url); err != nil || !slices.Equal(got, []string{body}) {
						t.Fatalf("after %v: got %q, %v", 2*time.Minute*time.Duration(i+1), got, err)
					}
					if d := time.Since(began); d > time.Second {
						t.Errorf("a send and a receive took %v in the outage, want them not to wait", d)
					}
				}
				if n := warm.Stats().Cache.StaleUses; n == 0 {
					t.Error("Stats counts no stale use of a branch key")
				}
				send(t, client, url, "for later")
				if _, err := consume(t, cold, url); !errors.Is(err, sqsx.ErrHeld) || !errors.Is(err, sqsx.ErrUnavailable) {
					t.Errorf("a process without branch keys: got %v, want it held", err)
				}
				if _, err := cold.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")}); !errors.Is(err, sqsx.ErrUnavailable) {
					t.Errorf("it sends: got %v, want ErrUnavailable", err)
				}
				restore()
				time.Sleep(time.Minute)
				if got, err := consume(t, cold, url); err != nil || !slices.Equal(got, []string{"for later"}) {
					t.Errorf("afterwards: got %q, %v, want the message", got, err)
				}
				if n := len(w.server.Stored(dlq)); n != 0 {
					t.Errorf("%d messages dead-lettered, want none", n)
				}
			})
		})
	}
}

// TestHoldWithAKeyStore: a process that may not read the key store is held, and
// one that reads one kind of two is not.
func TestHoldWithAKeyStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.keyStore("orders")
		url, dlq := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
		for i := range 5 {
			send(t, k.client(), url, fmt.Sprint(i))
		}
		consumer := k.client()
		allow := w.server.Deny("dynamodb:GetItem")
		receives := w.count("sqs:ReceiveMessage")
		for began := time.Now(); time.Since(began) < 40*time.Minute; {
			if out, err := poll(t.Context(), consumer, url); err == nil && len(out.Messages) > 0 {
				t.Fatal("a message opened without permission")
			}
		}
		t.Logf("%d receives in 40 minutes", w.count("sqs:ReceiveMessage")-receives)
		if n := len(w.server.Stored(dlq)); n != 0 {
			t.Errorf("%d messages dead-lettered in 40 minutes without permission, want none", n)
		}
		allow()
		time.Sleep(time.Minute)
		var got []string
		for began := time.Now(); time.Since(began) < 3*time.Minute; {
			bodies, err := consume(t, consumer, url)
			if err == nil {
				got = append(got, bodies...)
			}
			time.Sleep(time.Second)
		}
		slices.Sort(got)
		if want := []string{"0", "1", "2", "3", "4"}; !slices.Equal(got, want) {
			t.Errorf("got %q in the 3 minutes after permission came, want %q", got, want)
		}
	})

	t.Run("one kind of two", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			k := w.keyStore("orders")
			url, dlq := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
			for i := range 5 {
				send(t, w.client(), url, fmt.Sprint("old ", i))
			}
			w.server.Intercept(func(r *sqsxtest.Request) error { // only the key of the key store
				if r.Action == "kms:Decrypt" && bytes.Contains(r.Body, []byte(w.key)) {
					return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized", Fault: smithy.FaultClient}
				}
				return nil
			})
			sealer := k.sealer(k.openKMS)
			consumer := sealer.Wrap(w.plain)
			var slowest time.Duration
			for i := range 20 { // 20 minutes
				send(t, k.client(), url, fmt.Sprint("new ", i))
				sent := time.Now()
				delivered := false
				for time.Since(sent) < time.Minute {
					got, err := consume(t, consumer, url)
					if err == nil && len(got) > 0 {
						delivered = delivered || slices.Contains(got, fmt.Sprint("new ", i))
						slowest = max(slowest, time.Since(sent))
					}
					time.Sleep(5 * time.Second)
				}
				if !delivered {
					t.Fatalf("message %d under the branch key was not delivered within a minute: %+v", i, sealer.Stats())
				}
			}
			t.Logf("the slowest message took %v; %+v", slowest, sealer.Stats())
			if n := len(w.server.Stored(dlq)); n != 0 {
				t.Errorf("%d messages under the refused KMS key dead-lettered in 20 minutes, want none", n)
			}
			w.server.Intercept(nil)
			var old []string
			for began := time.Now(); time.Since(began) < 65*time.Minute && len(old) < 5; {
				got, err := consume(t, consumer, url)
				if err == nil {
					old = append(old, got...)
				}
				time.Sleep(10 * time.Second)
			}
			slices.Sort(old)
			if want := []string{"old 0", "old 1", "old 2", "old 3", "old 4"}; !slices.Equal(old, want) {
				t.Errorf("got %q when the KMS key may be used again, want %q", old, want)
			}
		})
	})
}

// junkVersions returns what puts a message into a queue each time that names a
// new version of the branch key, as anybody who may send can write it.
func junkVersions(k *keyStore, queue, url string) (put func(), body string) {
	k.w.t.Helper()
	out, err := k.sealer().SealMessage(k.w.t.Context(), arnOf(queue), &sqs.SendMessageInput{MessageBody: aws.String("x")})
	if err != nil {
		k.w.t.Fatal(err)
	}
	header := out.MessageAttributes["sealq"].BinaryValue
	return func() {
		k.w.put(url, badMessage{body: *out.MessageBody, attributes: sealqAttribute(altered(k.w.t, header, func(h *envelope.Header) {
			const version, length = 28, 16 // of the ciphertext: after salt and IV
			rand.Read(h.EncryptedDataKeys[0].Ciphertext[version : version+length])
		}))})
	}, *out.MessageBody
}

// TestJunkVersions: a steady flood of messages that name versions of the branch
// key which do not exist, after a burst of them, neither holds the queue nor
// slows down healthy messages, and does not reach the key service.
func TestJunkVersions(t *testing.T) {
	t.Parallel()
	for _, mixed := range []bool{false, true} {
		if testing.Short() && mixed {
			continue
		}
		t.Run(fmt.Sprintf("mixed %v", mixed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const (
					burst, perSecond, seconds = 500, 400, 12
					limit                     = 2 * time.Second
					receives                  = 3 // of each, until it is dead-lettered
				)
				w := newWorld(t)
				k := w.keyStore("orders")
				url, dlq := w.withDLQ("orders", receives, "VisibilityTimeout", "30")
				w.server.Intercept(func(r *sqsxtest.Request) error {
					switch r.Action {
					case "dynamodb:GetItem", "kms:Decrypt", "sqs:ReceiveMessage":
						time.Sleep(10 * time.Millisecond)
					}
					return nil
				})
				var optFns []func(*sqsx.Options)
				if mixed {
					optFns = append(optFns, k.openKMS)
				}
				sealer := k.sealer(optFns...)
				junk, body := junkVersions(k, "orders", url)
				producer := k.client()
				send(t, producer, w.queue("elsewhere"), "to read the branch key")
				reads, decrypts := w.count("dynamodb:GetItem"), w.count("kms:Decrypt")

				ctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				var mu sync.Mutex
				arrived := make(map[string]time.Time)
				held := 0
				client := sealer.Wrap(w.plain)
				loop(ctx, &wg, 4, client, url, func(out *sqs.ReceiveMessageOutput, err error) {
					mu.Lock()
					defer mu.Unlock()
					if errors.Is(err, sqsx.ErrHeld) {
						held++
					}
					if err != nil {
						return
					}
					for _, m := range out.Messages {
						arrived[*m.Body] = time.Now()
						if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
							t.Error(err)
						}
					}
				})
				for range burst {
					junk()
				}
				sent := make(map[string]time.Time)
				for i := range seconds {
					for range perSecond {
						junk()
					}
					name := fmt.Sprint("healthy ", i)
					sent[name] = time.Now()
					send(t, producer, url, name)
					time.Sleep(time.Second)
				}
				time.Sleep(30 * time.Second)
				stop()
				wg.Wait()
				var slowest time.Duration
				for name, at := range sent {
					got, ok := arrived[name]
					if !ok {
						t.Errorf("%s was not delivered", name)
						continue
					}
					slowest = max(slowest, got.Sub(at))
				}
				for _, m := range w.server.Stored(dlq) {
					if *m.Body != body {
						t.Error("a healthy message was dead-lettered")
					}
				}
				calls := w.count("dynamodb:GetItem") - reads
				t.Logf("the slowest of %d healthy messages took %v, %d receives held, %d GetItem, %d Decrypt", len(sent), slowest, held, calls, w.count("kms:Decrypt")-decrypts)
				if slowest > limit {
					t.Errorf("the slowest healthy message took %v, want at most %v", slowest, limit)
				}
				if held > 0 {
					t.Errorf("%d receives were held, want none", held)
				}
				if most := 2*receives*(burst+seconds*perSecond) + 200; calls > most {
					t.Errorf("%d GetItem, want at most %d: two for each receive of a message", calls, most)
				}
				// The branch key itself, and the questions of the hold.
				if got := w.count("kms:Decrypt") - decrypts; got > 200 {
					t.Errorf("%d Decrypt for versions that do not exist, want none for them", got)
				}
			})
		})
	}
}

// TestLostVersion: messages under a version whose item is gone stay in the
// queue, while others are delivered, and open when it is restored. They are no
// invalid messages.
func TestLostVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.keyStore("orders")
		url, dlq := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
		first, err := k.Rotate(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			send(t, k.client(), url, fmt.Sprint("lost ", i))
		}
		if _, err := k.Rotate(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		restore := k.take(first)
		var log bytes.Buffer
		sealer := k.sealer(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		consumer := sealer.Wrap(w.plain)
		for i := range 20 { // 20 minutes
			body := fmt.Sprint("new ", i)
			send(t, k.client(), url, body)
			delivered := false
			for range 6 {
				got, err := consume(t, consumer, url)
				delivered = delivered || err == nil && slices.Contains(got, body)
				time.Sleep(10 * time.Second)
			}
			if !delivered {
				t.Fatalf("%q under the new version was not delivered", body)
			}
		}
		if n := len(w.server.Stored(dlq)); n != 0 {
			t.Errorf("%d messages dead-lettered in 20 minutes, want none", n)
		}
		stats := sealer.Stats()
		if stats.WithheldRefused == 0 || stats.WithheldMessage != 0 {
			t.Errorf("got %d refused and %d invalid messages, want refused ones only", stats.WithheldRefused, stats.WithheldMessage)
		}
		for _, want := range []string{"key refused", "branch:version:" + first, "restore", "backup"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, log.String())
			}
		}
		restore()
		var got []string
		for began := time.Now(); time.Since(began) < 65*time.Minute && len(got) < 3; {
			bodies, err := consume(t, consumer, url)
			if err == nil {
				got = append(got, bodies...)
			}
			time.Sleep(10 * time.Second)
		}
		slices.Sort(got)
		if want := []string{"lost 0", "lost 1", "lost 2"}; !slices.Equal(got, want) {
			t.Errorf("got %q after the version was restored, want %q", got, want)
		}
	})
}

// TestMetricsOfBothKinds: the meter observes each cache once, and has their
// sums.
func TestMetricsOfBothKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("orders")
	meter := newMeter()
	s := k.sealer(k.openKMS, func(o *sqsx.Options) {
		o.MeterProvider = provider{meter}
		o.Queues = map[string]sqsx.Policy{"a": {BodyCarrier: true}, "b": {}} // of the same keyring
	})
	if opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{sealedBy(t, k.sealer()), sealedBy(t, w.sealer()), sealedBy(t, s)}); len(opened) != 3 {
		t.Fatalf("got %v", withheld)
	}
	stats := s.Stats().Cache
	if stats.Fetches != 3 { // ACTIVE, the version, the KMS data key
		t.Errorf("got %d fetches, want 3", stats.Fetches)
	}
	got := meter.collect(t.Context())
	for name, want := range map[string]uint64{"sealq.keys.fetches": stats.Fetches, "sealq.keys.misses": stats.Misses, "sealq.keys.hits": stats.Hits} {
		if got[name+" "] != int64(want) && got[name] != int64(want) {
			t.Errorf("%s: got %v, want %d", name, got, want)
		}
	}
}

// TestSpansOfAKeyStore: calls of both services are spans under the Sealer's.
func TestSpansOfAKeyStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.keyStore("orders")
	for operation, run := range map[string]func(*sqs.Client) error{
		"sealq.Seal": func(c *sqs.Client) error {
			_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(w.queue("orders")), MessageBody: aws.String("x")})
			return err
		},
		"sealq.Open": func(c *sqs.Client) error {
			send(t, k.client(), w.queue("orders"), "y")
			return errOf(receive(t.Context(), c, w.queue("orders")))
		},
	} {
		spans := &tracer{}
		s := k.sealer(func(o *sqsx.Options) {
			o.Policy.NoHold = true
			o.DynamoDB = []func(*dynamodb.Options){func(o *dynamodb.Options) { o.TracerProvider = spans }}
			o.KMS = []func(*kms.Options){func(o *kms.Options) { o.TracerProvider = spans }}
		})
		if err := run(sqs.NewFromConfig(w.cfg, s.Install, func(o *sqs.Options) { o.TracerProvider = spans })); err != nil {
			t.Fatal(err)
		}
		spans.mu.Lock()
		var names []string
		for _, span := range spans.ended {
			names = append(names, span.Name)
		}
		spans.mu.Unlock()
		for _, want := range []string{"DynamoDB.GetItem", "KMS.Decrypt", operation} {
			if !slices.Contains(names, want) {
				t.Errorf("%s: got spans %q, want %q among them", operation, names, want)
			}
		}
	}
}

// TestEnvironmentOfAKeyStore: what NewFromEnv makes of the variables, seen in
// what it seals and opens.
func TestEnvironmentOfAKeyStore(t *testing.T) {
	w := newWorld(t)
	k := w.keyStore("orders")
	old := w.newKey()
	ofOld, err := sqsx.NewFromConfig(w.cfg, old)
	if err != nil {
		t.Fatal(err)
	}
	alias := "alias/orders"
	if _, err := w.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &w.key}); err != nil {
		t.Fatal(err)
	}
	ofStore, err := sqsx.NewFromConfig(w.cfg, k.conf.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string]types.Message{
		"branch key":  sealedBy(t, k.sealer()),
		"KMS":         sealedBy(t, w.sealer()),
		"old KMS":     sealedBy(t, ofOld),
		"store's KMS": sealedBy(t, ofStore),
	}
	three := map[string]string{"SEALQ_KEY_STORE_TABLE": k.conf.Table, "SEALQ_KEY_STORE_NAME": k.conf.LogicalName, "SEALQ_BRANCH_KEY_ID": "orders"}
	for name, tc := range map[string]struct {
		env   map[string]string
		seals string
		opens []string
	}{
		"no key store":             {map[string]string{"SEALQ_KEY_ID": w.key}, "KMS", []string{"KMS"}},
		"key store":                {map[string]string{"SEALQ_KEY_ID": k.conf.KeyID}, "branch key", []string{"branch key"}},
		"false":                    {map[string]string{"SEALQ_KEY_ID": k.conf.KeyID, "SEALQ_KEY_STORE_OPEN_ONLY": "false"}, "branch key", []string{"branch key"}},
		"with decrypt keys":        {map[string]string{"SEALQ_KEY_ID": k.conf.KeyID, "SEALQ_DECRYPT_KEYS": old}, "branch key", []string{"branch key", "old KMS"}},
		"with a key of its own":    {map[string]string{"SEALQ_KEY_STORE_KEY_ID": k.conf.KeyID}, "branch key", []string{"branch key"}},
		"beside a KMS key":         {map[string]string{"SEALQ_KEY_ID": alias, "SEALQ_KEY_STORE_KEY_ID": k.conf.KeyID, "SEALQ_DECRYPT_KEYS": old}, "branch key", []string{"KMS", "branch key", "old KMS", "store's KMS"}}, // an alias stands for all keys of its account and Region
		"open only, beside":        {map[string]string{"SEALQ_KEY_ID": alias, "SEALQ_KEY_STORE_KEY_ID": k.conf.KeyID, "SEALQ_KEY_STORE_OPEN_ONLY": "true", "SEALQ_DECRYPT_KEYS": old}, "KMS", []string{"KMS", "branch key", "old KMS", "store's KMS"}},
		"open only, the same key":  {map[string]string{"SEALQ_KEY_ID": k.conf.KeyID, "SEALQ_KEY_STORE_OPEN_ONLY": "true"}, "store's KMS", []string{"branch key", "store's KMS"}},
		"the same key, said twice": {map[string]string{"SEALQ_KEY_ID": k.conf.KeyID, "SEALQ_KEY_STORE_KEY_ID": k.conf.KeyID}, "branch key", []string{"branch key", "store's KMS"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := tc.env
			if name != "no key store" {
				for k, v := range three {
					env[k] = v
				}
			}
			setenv(t, env)
			s, err := sqsx.NewFromEnv(w.cfg, w.watched, func(o *sqsx.Options) { // does not matter without a key store
				o.DynamoDB = []func(*dynamodb.Options){func(*dynamodb.Options) {}}
			})
			if err != nil {
				t.Fatal(err)
			}
			var opens []string
			for kind, m := range messages {
				if opened, _ := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m}); len(opened) == 1 {
					opens = append(opens, kind)
				}
			}
			slices.Sort(opens)
			if diff := cmp.Diff(tc.opens, opens); diff != "" {
				t.Errorf("opens (-want +got):\n%s", diff)
			}
			opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{sealedBy(t, s)})
			if len(opened) != 1 {
				t.Fatalf("its own message: %v", withheld)
			}
			keys := map[string]string{"branch key": "orders", "KMS": w.key, "store's KMS": k.conf.KeyID}
			if got := opened[0].Info.Key; got != keys[tc.seals] {
				t.Errorf("seals with %q, want %s", got, tc.seals)
			}
		})
	}
}

// TestEnvironmentOfAKeyStoreErrors: a set of variables that is not complete
// names what is missing, and what is there.
func TestEnvironmentOfAKeyStoreErrors(t *testing.T) {
	w := newWorld(t)
	full := map[string]string{
		"SEALQ_KEY_ID": w.key, "SEALQ_KEY_STORE_TABLE": "table", "SEALQ_KEY_STORE_NAME": "name", "SEALQ_BRANCH_KEY_ID": "orders",
	}
	for name, tc := range map[string]struct {
		change map[string]string // of full; "" unsets
		text   []string
	}{
		"no table":            {map[string]string{"SEALQ_KEY_STORE_TABLE": ""}, []string{"needs SEALQ_KEY_STORE_TABLE", "SEALQ_KEY_STORE_NAME"}},
		"no name":             {map[string]string{"SEALQ_KEY_STORE_NAME": ""}, []string{"needs SEALQ_KEY_STORE_NAME"}},
		"no branch key":       {map[string]string{"SEALQ_BRANCH_KEY_ID": ""}, []string{"needs SEALQ_BRANCH_KEY_ID"}},
		"no key":              {map[string]string{"SEALQ_KEY_ID": ""}, []string{"needs SEALQ_KEY_ID, the ARN"}},
		"table alone":         {map[string]string{"SEALQ_KEY_STORE_NAME": "", "SEALQ_BRANCH_KEY_ID": ""}, []string{"SEALQ_KEY_STORE_NAME", "SEALQ_BRANCH_KEY_ID", "SEALQ_KEY_STORE_TABLE: a key store also needs"}},
		"switch alone":        {map[string]string{"SEALQ_KEY_STORE_TABLE": "", "SEALQ_KEY_STORE_NAME": "", "SEALQ_BRANCH_KEY_ID": "", "SEALQ_KEY_STORE_OPEN_ONLY": "true"}, []string{"SEALQ_KEY_STORE_TABLE", "SEALQ_KEY_STORE_NAME", "SEALQ_BRANCH_KEY_ID"}},
		"key alone":           {map[string]string{"SEALQ_KEY_STORE_TABLE": "", "SEALQ_KEY_STORE_NAME": "", "SEALQ_BRANCH_KEY_ID": "", "SEALQ_KEY_STORE_KEY_ID": w.key}, []string{"SEALQ_KEY_STORE_TABLE"}},
		"nothing to seal":     {map[string]string{"SEALQ_KEY_ID": "", "SEALQ_KEY_STORE_KEY_ID": w.key, "SEALQ_KEY_STORE_OPEN_ONLY": "true"}, []string{"SEALQ_KEY_ID", "to seal with"}},
		"switch of 1":         {map[string]string{"SEALQ_KEY_STORE_OPEN_ONLY": "1"}, []string{"SEALQ_KEY_STORE_OPEN_ONLY", `"true" or "false"`}},
		"switch in capitals":  {map[string]string{"SEALQ_KEY_STORE_OPEN_ONLY": "TRUE"}, []string{"SEALQ_KEY_STORE_OPEN_ONLY", `"true" or "false"`}},
		"alias":               {map[string]string{"SEALQ_KEY_ID": "alias/orders"}, []string{"SEALQ_KEY_ID", "alias/orders", "set SEALQ_KEY_STORE_KEY_ID"}},
		"alias, open only":    {map[string]string{"SEALQ_KEY_ID": "alias/orders", "SEALQ_KEY_STORE_OPEN_ONLY": "true"}, []string{"set SEALQ_KEY_STORE_KEY_ID"}},
		"alias of the store":  {map[string]string{"SEALQ_KEY_STORE_KEY_ID": "alias/orders"}, []string{"SEALQ_KEY_STORE_KEY_ID", "key's ARN"}},
		"table of a bad name": {map[string]string{"SEALQ_KEY_STORE_TABLE": "a/b"}, []string{"SEALQ_KEY_STORE_TABLE"}},
		"unknown":             {map[string]string{"SEALQ_KEY_STORE": "x"}, []string{"SEALQ_KEY_STORE_TABLE", "SEALQ_KEY_STORE_NAME", "SEALQ_BRANCH_KEY_ID", "SEALQ_KEY_STORE_KEY_ID", "SEALQ_KEY_STORE_OPEN_ONLY"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := make(map[string]string)
			for k, v := range full {
				env[k] = v
			}
			for k, v := range tc.change {
				env[k] = v
			}
			setenv(t, env)
			s, err := sqsx.NewFromEnv(w.cfg)
			for _, text := range tc.text {
				wantConfigError(t, s, err, text)
			}
		})
	}
}
