package sqsx_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
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

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// The matrix of faults, for branch keys: what DynamoDB and KMS do, and what is
// in the table, crossed with what is cached and what is asked for. storeFaults
// says what each fault is taken for; what follows from that is in outcomes, as
// for data keys of KMS. docs/faults.md shows the table.

// storeFault is one way in which reading a branch key can fail.
type storeFault struct {
	name       string
	seal, open storeVerdict
	table, key *kmsFault           // how DynamoDB and KMS answer; nil: as they do
	edit       func(*alteredStore) // what happened to the items
}

// storeVerdict is what a fault is taken for, and the requests of one read to
// DynamoDB and to KMS.
type storeVerdict struct {
	verdict
	table, key int
}

// String returns two cells of the table in docs/faults.md.
func (v storeVerdict) String() string {
	class := string(v.verdict)
	if v.verdict == answered {
		class = "none"
	}
	return fmt.Sprintf("%s | %d, %d", class, v.table, v.key)
}

// both is a fault for which the active version and another one do not differ.
func both(v verdict, table, key int) (seal, open storeVerdict) {
	one := storeVerdict{v, table, key}
	return one, one
}

func storeAnswers(name string, v verdict, table, key int, tableFault, keyFault *kmsFault) storeFault {
	seal, open := both(v, table, key)
	return storeFault{name, seal, open, tableFault, keyFault, nil}
}

// of is an answer that is given in place of the service's.
func of(status int, code string) *kmsFault {
	f := kmsAnswer(status, code, 0, "", "")
	return &f
}

var (
	refusedConnection = &kmsFault{do: func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}}
	hanging   = &kmsFault{do: hang}
	slowFault = &kmsFault{name: slow}
	noFault   = &kmsFault{} // answers after the time that every call takes
)

var storeFaults = slices.Concat([]storeFault{
	storeAnswers("KMS cannot be reached", unavailable, 1, 2, nil, refusedConnection),
	storeAnswers("DynamoDB cannot be reached", unavailable, 2, 0, refusedConnection, nil),
	storeAnswers("neither can be reached", unavailable, 2, 0, refusedConnection, refusedConnection),
	storeAnswers("KMS hangs", unavailable, 1, 2, nil, hanging),
	storeAnswers("DynamoDB hangs", unavailable, 2, 0, hanging, nil),
	storeAnswers("both hang", unavailable, 2, 0, hanging, hanging),
	storeAnswers("KMS: ThrottlingException 400", unavailable, 1, 2, nil, of(400, "ThrottlingException")),
	storeAnswers("DynamoDB: ThrottlingException 400", unavailable, 2, 0, of(400, "ThrottlingException"), nil),
	storeAnswers("DynamoDB: ProvisionedThroughputExceededException 400", unavailable, 2, 0, of(400, "ProvisionedThroughputExceededException"), nil),
	storeAnswers("DynamoDB: RequestLimitExceeded 400", unavailable, 2, 0, of(400, "RequestLimitExceeded"), nil),
	storeAnswers("KMS: KMSInternalException 500", unavailable, 1, 2, nil, of(500, "KMSInternalException")),
	storeAnswers("DynamoDB: InternalServerError 500", unavailable, 2, 0, of(500, "InternalServerError"), nil),
	storeAnswers("DynamoDB: ExpiredTokenException 400", unavailable, 1, 0, of(400, "ExpiredTokenException"), nil),
	storeAnswers("KMS: AccessDeniedException 400", refused, 1, 1, nil, of(400, "AccessDeniedException")),
	storeAnswers("DynamoDB: AccessDeniedException 400", refused, 1, 0, of(400, "AccessDeniedException"), nil),
	storeAnswers("DynamoDB: ResourceNotFoundException 400 (no table)", refused, 1, 0, of(400, "ResourceNotFoundException"), nil),
	storeAnswers("KMS: DisabledException 400", refused, 1, 1, nil, of(400, "DisabledException")),
	storeAnswers("KMS: KMSInvalidStateException 400", refused, 1, 1, nil, of(400, "KMSInvalidStateException")),
	storeAnswers("KMS: NotFoundException 400", refused, 1, 1, nil, of(400, "NotFoundException")),
	storeAnswers("both answer after 1 s", answered, 1, 1, slowFault, slowFault),
}, itemFaults("the active item", true), itemFaults("the item of the version", false))

// itemFaults are what can happen to one item. The other one is as it was.
func itemFaults(what string, active bool) []storeFault {
	of := func(how string, table, key int, change func(*alteredStore, item)) storeFault {
		f := storeFault{name: what + " " + how, seal: storeVerdict{answered, 1, 1}, open: storeVerdict{answered, 1, 1}}
		at := func(ks *alteredStore) string { return "branch:version:" + ks.version }
		if active {
			f.seal = storeVerdict{refused, table, key}
			at = func(*alteredStore) string { return "branch:ACTIVE" }
		} else {
			f.open = storeVerdict{refused, table, key}
		}
		f.edit = func(ks *alteredStore) { ks.edit(at(ks), change) }
		return f
	}
	return []storeFault{
		of("is missing", 2, 0, nil),
		of("has another `enc`", 1, 1, alterEnc),
		of("has another `kms-arn`", 1, 0, func(ks *alteredStore, it item) { it["kms-arn"] = stringAttr(ks.w.newKey()) }),
		of("has `hierarchy-version` 2", 1, 0, func(_ *alteredStore, it item) { it["hierarchy-version"] = &ddbtypes.AttributeValueMemberN{Value: "2"} }),
		of("has another custom context", 1, 1, func(_ *alteredStore, it item) { it["aws-crypto-ec:purpose"] = stringAttr("refunds") }),
		of("has an attribute that was added", 1, 1, func(_ *alteredStore, it item) { it["note"] = stringAttr("do not delete") }),
		of("lacks an attribute", 1, 0, func(_ *alteredStore, it item) { delete(it, "create-time") }),
	}
}

func alterEnc(_ *alteredStore, it item) {
	enc := bytes.Clone(it["enc"].(*ddbtypes.AttributeValueMemberB).Value)
	enc[len(enc)-1] ^= 1
	it["enc"] = &ddbtypes.AttributeValueMemberB{Value: enc}
}

type item = map[string]ddbtypes.AttributeValue

func stringAttr(s string) ddbtypes.AttributeValue { return &ddbtypes.AttributeValueMemberS{Value: s} }

// alteredStore is a key store whose items can be altered, and repaired.
type alteredStore struct {
	*keyStore
	version string // the active one
	before  map[string]item
}

func newAlteredStore(w *world) *alteredStore {
	w.t.Helper()
	ks := &alteredStore{keyStore: w.keyStore("orders"), before: make(map[string]item)}
	ks.version = ks.active()
	return ks
}

// active returns the version that is active.
func (ks *alteredStore) active() string {
	ks.w.t.Helper()
	version, ok := ks.item("branch:ACTIVE")["version"].(*ddbtypes.AttributeValueMemberS)
	if !ok {
		ks.w.t.Fatal("no version is active")
	}
	return strings.TrimPrefix(version.Value, "branch:version:")
}

func (ks *alteredStore) item(itemType string) item {
	ks.w.t.Helper()
	out, err := ks.ddb.GetItem(ks.w.t.Context(), &dynamodb.GetItemInput{TableName: &ks.conf.Table, Key: ks.keyOf(itemType), ConsistentRead: aws.Bool(true)})
	noError(ks.w.t, err)
	return out.Item
}

func (ks *alteredStore) keyOf(itemType string) item {
	return item{"branch-key-id": stringAttr(ks.conf.BranchKeyID), "type": stringAttr(itemType)}
}

// edit changes an item, or deletes it if change is nil. repair takes it back.
func (ks *alteredStore) edit(itemType string, change func(*alteredStore, item)) {
	ks.w.t.Helper()
	before := ks.item(itemType)
	if len(before) == 0 {
		ks.w.t.Fatalf("there is no item %s", itemType)
	}
	ks.before[itemType] = before
	if change == nil {
		_, err := ks.ddb.DeleteItem(ks.w.t.Context(), &dynamodb.DeleteItemInput{TableName: &ks.conf.Table, Key: ks.keyOf(itemType)})
		noError(ks.w.t, err)
		return
	}
	changed := maps.Clone(before)
	change(ks, changed)
	ks.put(changed)
}

func (ks *alteredStore) put(it item) {
	ks.w.t.Helper()
	_, err := ks.ddb.PutItem(ks.w.t.Context(), &dynamodb.PutItemInput{TableName: &ks.conf.Table, Item: it})
	noError(ks.w.t, err)
}

func (ks *alteredStore) disable() {
	ks.w.t.Helper()
	_, err := ks.w.kms.DisableKey(ks.w.t.Context(), &kms.DisableKeyInput{KeyId: &ks.conf.KeyID})
	noError(ks.w.t, err)
}

func (ks *alteredStore) enable() {
	ks.w.t.Helper()
	_, err := ks.w.kms.EnableKey(ks.w.t.Context(), &kms.EnableKeyInput{KeyId: &ks.conf.KeyID})
	noError(ks.w.t, err)
}

func (ks *alteredStore) repair() {
	ks.w.t.Helper()
	for _, it := range ks.before {
		ks.put(it)
	}
}

func TestKeyStoreFaultMatrix(t *testing.T) {
	t.Parallel()
	var cells atomic.Int64
	var slowest atomic.Int64 // recovery
	t.Cleanup(func() { t.Logf("%d cells, recovered within %v", cells.Load(), time.Duration(slowest.Load())) })
	for i := range storeFaults {
		f := &storeFaults[i]
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range states {
				for _, op := range []string{"send", "receive"} {
					cells.Add(1)
					synctest.Test(t, func(t *testing.T) {
						took := runStoreCell(t, fmt.Sprintf("%s/%s", s, op), f, s, op)
						slowest.Store(max(slowest.Load(), int64(took)))
					})
				}
			}
		})
	}
}

// recovery is how long a call may fail after the fault has ended: as long as a
// refusal is remembered that was repeated once.
const recovery = 2 * time.Second

// runStoreCell returns how long after the end of the fault a call succeeded.
func runStoreCell(t *testing.T, name string, f *storeFault, s state, op string) time.Duration {
	w := newWorld(t)
	ks := newAlteredStore(w)
	table, key := &faultyKMS{next: w.cfg.HTTPClient}, &faultyKMS{next: w.cfg.HTTPClient}
	c := &cell{T: t, w: w, kms: table, url: w.queue("orders"), op: op}
	c.outage = func() { table.fault.Store(of(500, "InternalServerError")) }
	c.fault = func() {
		table.fault.Store(cmp.Or(f.table, noFault))
		key.fault.Store(cmp.Or(f.key, noFault))
		if f.edit != nil {
			f.edit(ks)
		}
	}
	c.reset = func() { table.calls.Store(0); key.calls.Store(0) }
	c.sealer = ks.sealer(between(table, key), func(o *sqsx.Options) {
		o.Policy.NoHold = true // so that every request is one of the branch key cache
		o.Cache.MaxStale = faultsMaxStale
	})
	c.client = c.sealer.Wrap(w.plain)
	sealed, err := ks.sealer().SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{QueueUrl: &c.url, MessageBody: aws.String("plaintext")})
	noError(t, err)
	c.messages = []*sqs.SendMessageInput{sealed}

	defer c.openGate() // also if the cell fails on the way
	c.reach(s)
	stored := len(w.server.Stored(c.url))
	start := time.Now()
	err = c.call(t.Context())
	waited := time.Since(start)
	c.openGate()
	time.Sleep(6 * time.Second) // what is in the background ends
	synctest.Wait()

	v := f.seal
	if op == "receive" {
		v = f.open
	}
	want := rule(s, v.verdict)
	if got := verdictOf(op, err); got != want.result {
		t.Errorf("%s: got %q (%v), want %q", name, got, err, want.result)
	}
	wantTable, wantKey := 0, 0
	if want.asks {
		wantTable, wantKey = v.table, v.key
	}
	if got, gotKey := int(table.calls.Load()), int(key.calls.Load()); got != wantTable || gotKey != wantKey {
		t.Errorf("%s: got %d requests to DynamoDB and %d to KMS, want %d and %d", name, got, gotKey, wantTable, wantKey)
	}
	if want.waits != (waited > 0) || waited > kmskeyring.CallTimeout {
		t.Errorf("%s: the call took %v, want it to wait %t, at most %v", name, waited, want.waits, kmskeyring.CallTimeout)
	}
	c.compare(name, want, stored)

	// The way back needs no restart, and nothing is lost on it. A failure that was
	// repeated is remembered for longer.
	if err := c.try(); (err == nil) != want.kept {
		t.Errorf("%s: the next call: got %v, want success %t", name, err, want.kept)
	}
	table.fault.Store(nil)
	key.fault.Store(nil)
	ks.repair()
	took := c.recover(name)
	if want.result != done && op == "receive" {
		c.redelivered(name)
	}
	return took
}

// between has a Sealer call DynamoDB and KMS through these.
func between(table, key *faultyKMS) func(*sqsx.Options) {
	return func(o *sqsx.Options) {
		o.DynamoDB = append(o.DynamoDB, func(o *dynamodb.Options) { o.HTTPClient = table.client() })
		o.KMS = append(o.KMS, func(o *kms.Options) { o.HTTPClient = key.client() })
	}
}

// try seals or opens without a queue.
func (c *cell) try() error {
	c.Helper()
	if c.op == "send" {
		_, err := c.sealer.SealMessage(c.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("plaintext")})
		return err
	}
	m := c.messages[0]
	opened, withheld := c.sealer.OpenMessages(c.Context(), arnOf("orders"), []types.Message{{MessageId: aws.String("1"), Body: m.MessageBody, MessageAttributes: m.MessageAttributes}})
	switch {
	case len(opened)+len(withheld) != 1:
		c.Fatalf("%d messages were opened and %d withheld, want one of the two", len(opened), len(withheld))
	case len(withheld) == 1:
		return withheld[0]
	}
	return nil
}

// recover tries until that succeeds, and returns how long it took.
func (c *cell) recover(name string) time.Duration {
	c.Helper()
	began := time.Now()
	for {
		err := c.try()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > recovery {
			c.Errorf("%s: %v after the fault has ended: %v", name, took, err)
			return took
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// redelivered receives the message that was withheld: once more, and no more.
func (c *cell) redelivered(name string) {
	c.Helper()
	time.Sleep(30 * time.Second) // the visibility timeout
	if err := secondReceive(c.Context(), c.client, c.url, "plaintext"); err != nil {
		c.Errorf("%s: %v", name, err)
	}
}

// secondReceive receives one message, which was received and withheld once.
func secondReceive(ctx context.Context, client *sqs.Client, url, body string) error {
	out, err := receive(ctx, client, url)
	if err != nil {
		return fmt.Errorf("the message that was withheld: %w", err)
	}
	if len(out.Messages) != 1 || *out.Messages[0].Body != body || out.Messages[0].Attributes["ApproximateReceiveCount"] != "2" {
		return fmt.Errorf("the message that was withheld: got %q, want %q, received for the second time", bodies(out.Messages), body)
	}
	return nil
}

// TestKeyStoreFleetInAnOutage runs processes that consume a queue with a
// maxReceiveCount of 3 through a fault of 40 minutes: no message reaches the
// dead-letter queue, and all are delivered within 90 seconds of its end.
func TestKeyStoreFleetInAnOutage(t *testing.T) {
	t.Parallel()
	const processes, receivers, messages, length = 4, 4, 100, 40 * time.Minute
	answering := func(err error, actions ...string) func(*alteredStore) {
		return func(ks *alteredStore) {
			ks.w.server.Intercept(func(r *sqsxtest.Request) error {
				if slices.Contains(actions, r.Action) {
					return err
				}
				return nil
			})
		}
	}
	hang := func(actions ...string) func(*alteredStore) {
		return func(ks *alteredStore) {
			ks.w.server.Intercept(func(r *sqsxtest.Request) error {
				if slices.Contains(actions, r.Action) {
					<-r.Context().Done()
				}
				return nil
			})
		}
	}
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized"}
	const decrypt, getItem = "kms:Decrypt", "dynamodb:GetItem"
	for name, fault := range map[string]func(*alteredStore){
		"KMS unreachable":      answering(errors.New("no route to host"), decrypt),
		"DynamoDB unreachable": answering(errors.New("no route to host"), getItem),
		"both unreachable":     answering(errors.New("no route to host"), decrypt, getItem),
		"KMS hangs":            hang(decrypt),
		"DynamoDB hangs":       hang(getItem),
		"DynamoDB throttled":   answering(&ddbtypes.ProvisionedThroughputExceededException{}, getItem),
		"KMS denied":           answering(denied, decrypt),
		"DynamoDB denied":      answering(denied, getItem),
		"key disabled":         (*alteredStore).disable,
		"active item missing":  func(ks *alteredStore) { ks.edit("branch:ACTIVE", nil) },
		"version item missing": func(ks *alteredStore) { ks.edit("branch:version:"+ks.version, nil) },
		"version item altered": func(ks *alteredStore) { ks.edit("branch:version:"+ks.version, alterEnc) },
		"both items missing":   func(ks *alteredStore) { ks.edit("branch:ACTIVE", nil); ks.edit("branch:version:"+ks.version, nil) },
	} {
		if testing.Short() && name != "DynamoDB unreachable" && name != "version item missing" {
			continue
		}
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in operation %t", name, warm), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(t, "orders", receivers, "VisibilityTimeout", "30")
					f.w.server.Intercept(nil)
					ks := newAlteredStore(f.w)
					f.sealer = ks.sealer
					if warm {
						f.start(processes)
						f.send(f.seal(100, 1)...)
						f.drain(time.Now())
					}
					backlog := f.seal(messages, 1)
					fault(ks)
					began := time.Now()
					f.send(backlog...)
					if !warm {
						f.start(processes)
					}
					time.Sleep(length)
					asked, read := f.w.count(decrypt), f.w.count(getItem)
					f.w.server.Intercept(nil)
					ks.enable()
					ks.repair()
					repaired := time.Now()
					outstanding := len(f.w.server.Stored(f.url))
					from, to := f.drain(repaired)
					f.answered()
					if dead := f.account(); dead > 0 {
						t.Errorf("%d messages are in the dead-letter queue, want none", dead)
					}
					if outstanding > 0 && to > 90*time.Second {
						t.Errorf("the last message was delivered %v after the end, want within 90 s", to)
					}
					t.Logf("%s: %d of %d outstanding at the end; %d requests to DynamoDB and %d to KMS in %v; deliveries from %v to %v after it; withheld %d, held %d",
						t.Name(), outstanding, messages, read, asked, repaired.Sub(began), from.Round(time.Millisecond), to.Round(time.Millisecond), f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.withheld }), f.sum(func(l *consumerLoop) *atomic.Int64 { return &l.held }))
				})
			})
		}
	}
}

// TestVersionNotMetBefore: a message under a version that this process has not
// read needs a read, with all that can happen to it. Messages under other
// versions are delivered, and other receives wait for nothing.
func TestVersionNotMetBefore(t *testing.T) {
	t.Parallel()
	late := storeFault{name: "the item is not replicated yet", open: storeVerdict{answered, 2, 1}}
	for _, f := range append(slices.Clone(storeFaults), late) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runUnmetVersion(t, &f, f.name == late.name) })
		})
	}
}

func runUnmetVersion(t *testing.T, f *storeFault, late bool) {
	w := newWorld(t)
	ks := newAlteredStore(w)
	url, other := w.queue("orders"), w.queue("refunds")
	table, key := &faultyKMS{next: w.cfg.HTTPClient}, &faultyKMS{next: w.cfg.HTTPClient}
	var withheld []error
	client := ks.client(between(table, key), func(o *sqsx.Options) {
		o.Policy.NoHold = true // so that every request is one of the branch key cache
		o.OnWithheld = func(_ context.Context, e *sqsx.OpenError) { withheld = append(withheld, e) }
	})
	old := ks.client()
	send(t, old, url, "before")
	if got, err := consume(t, client, url); err != nil || len(got) != 1 {
		t.Fatalf("got %q and %v, want the message", got, err)
	}
	if late {
		defer w.server.StaleReads()()
	}
	version, err := ks.Rotate(t.Context(), "orders")
	noError(t, err)
	ks.version = version
	send(t, old, url, "old") // its process has the old version in memory
	send(t, old, other, "old")
	unmet := ks.sealer(func(o *sqsx.Options) { o.DynamoDB = append(o.DynamoDB, consistently) })
	send(t, unmet.Wrap(w.plain), url, "new")

	table.fault.Store(cmp.Or(f.table, noFault))
	key.fault.Store(cmp.Or(f.key, noFault))
	if f.edit != nil {
		f.edit(ks)
	}
	table.calls.Store(0)
	key.calls.Store(0)
	var got []string
	var receiveErr error
	done := make(chan time.Duration)
	start := time.Now()
	go func() {
		got, receiveErr = consume(t, client, url)
		done <- time.Since(start)
	}()
	synctest.Wait() // it waits for the read
	if got, err := consume(t, client, other); err != nil || !slices.Equal(got, []string{"old"}) || time.Since(start) > 0 {
		t.Errorf("another receive: got %q and %v after %v, want the message at once", got, err, time.Since(start))
	}
	waited := <-done
	want, wantWithheld := []string{"new", "old"}, 0
	if f.open.verdict != answered {
		want, wantWithheld = []string{"old"}, 1
	}
	if !slices.Equal(got, want) || receiveErr != nil || len(withheld) != wantWithheld {
		t.Errorf("got %q and %v, with %d withheld, want %q and %d", got, receiveErr, len(withheld), want, wantWithheld)
	}
	for _, err := range withheld {
		if class := keyStoreClass(err); class != f.open.verdict {
			t.Errorf("got class %q (%v), want %q", class, err, f.open.verdict)
		}
	}
	if waited == 0 || waited > kmskeyring.CallTimeout {
		t.Errorf("the receive took %v, want a wait of at most %v", waited, kmskeyring.CallTimeout)
	}
	if gotTable, gotKey := int(table.calls.Load()), int(key.calls.Load()); gotTable != f.open.table || gotKey != f.open.key {
		t.Errorf("%d requests to DynamoDB and %d to KMS, want %d and %d", gotTable, gotKey, f.open.table, f.open.key)
	}
	table.fault.Store(nil)
	key.fault.Store(nil)
	ks.repair()
	if wantWithheld == 0 {
		return
	}
	time.Sleep(30*time.Second - waited) // the visibility timeout
	noError(t, secondReceive(t.Context(), client, url, "new"))
}

// consistently has a client read what was written last.
func consistently(o *dynamodb.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *smithymiddleware.Stack) error {
		return stack.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("consistently", func(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
			if get, ok := in.Parameters.(*dynamodb.GetItemInput); ok {
				get.ConsistentRead = aws.Bool(true)
			}
			return next.HandleInitialize(ctx, in)
		}), smithymiddleware.Before)
	})
}

// keyStoreClass is the verdict that the error of a message shows.
func keyStoreClass(err error) verdict {
	switch refusal, refused := errors.AsType[*sqsx.RefusedError](err); {
	case errors.Is(err, sqsx.ErrUnavailable):
		return unavailable
	case errors.Is(err, envelope.ErrInvalidMessage):
		return message
	case refused && refusal.KeyInfo == "orders":
		return "refused"
	}
	return "another"
}

// TestRotationUnderLoad rotates while messages are sent and received, one of
// each every second for an hour. No send waits, once its process has started.
// A receive waits for a version that its process meets for the first time, and
// for nothing else. If consumers cannot read the new version for five minutes,
// its messages are late, and none is lost.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]time.Duration{"healthy": 0, "consumers without DynamoDB for 5 min": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runRotations(t, outage) })
		})
	}
}

func runRotations(t *testing.T, outage time.Duration) {
	const processes, rotations, every = 3, 3, 15 * time.Minute
	w := newWorld(t)
	ks := newAlteredStore(w)
	url, dlq := w.withDLQ("orders", maxReceives, "VisibilityTimeout", "30")
	quick := &faultyKMS{next: w.cfg.HTTPClient}
	quick.fault.Store(noFault)
	table := &faultyKMS{next: w.cfg.HTTPClient} // of the consumers
	table.fault.Store(noFault)
	var producers, consumers []*sqs.Client
	for range processes {
		producers = append(producers, ks.client(between(quick, quick)))
		consumers = append(consumers, ks.client(between(table, quick)))
	}
	first, err := ks.sealer().SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("first")})
	noError(t, err)

	sent, delivered, slowSends, slowReceives := 0, make(map[string]int), 0, 0
	var longest time.Duration
	receiveOne := func(c *sqs.Client) {
		start := time.Now()
		got, err := consume(t, c, url)
		if waited := time.Since(start); waited > 0 && err == nil {
			slowReceives++
			longest = max(longest, waited)
		}
		if err != nil && outage == 0 {
			t.Errorf("a receive failed: %v", err)
		}
		for _, body := range got {
			delivered[body]++
		}
	}
	began, rotated := time.Now(), 0
	for second := 0; time.Since(began) < (rotations+1)*every; second++ {
		since := time.Since(began) - time.Duration(rotated)*every
		if since >= every && rotated < rotations {
			_, err := ks.Rotate(t.Context(), "orders")
			noError(t, err)
			rotated++
			since -= every
			if outage > 0 {
				table.fault.Store(refusedConnection)
			}
		}
		if since >= outage {
			table.fault.Store(noFault)
		}
		start := time.Now()
		send(t, producers[second%processes], url, fmt.Sprint("message ", sent))
		sent++
		if time.Since(start) > 0 {
			slowSends++
		}
		receiveOne(consumers[(second/processes)%processes])
		time.Sleep(time.Second)
	}
	if slowSends > processes {
		t.Errorf("%d sends waited, want the first of each of %d processes", slowSends, processes)
	}
	// Besides, a process waits for the answer to the hold's first question.
	if most := processes * (rotations + 1 + 1); outage == 0 && slowReceives > most {
		t.Errorf("%d receives waited, want at most %d: the first of each process, and one for each version", slowReceives, most)
	}
	if outage == 0 && longest > 300*time.Millisecond {
		t.Errorf("the longest receive took %v, want no more than two reads of 100 ms and one of 50", longest)
	}
	// Old versions open after all rotations.
	if _, err := w.plain.SendMessage(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for range 90 {
		receiveOne(consumers[0])
		time.Sleep(time.Second)
	}
	if delivered["first"] != 1 || len(delivered) != sent+1 {
		t.Errorf("%d of %d messages were delivered, the first one %d times; want all", len(delivered)-delivered["first"], sent, delivered["first"])
	}
	if n := len(w.server.Stored(dlq)) + len(w.server.Stored(url)); n != 0 {
		t.Errorf("%d messages are left or dead-lettered, want none", n)
	}
	t.Logf("%d messages; %d sends and %d receives waited, at most %v", sent, slowSends, slowReceives, longest)
}
