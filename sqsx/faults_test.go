package sqsx_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// The matrix: what KMS does, crossed with what is cached, what is asked for,
// and whether the caller still waits. kmsFaults says what each fault is taken
// for, outcomes what follows from that. docs/faults.md shows both tables.

// verdict is whose fault a fault is.
type verdict string

const (
	answered    verdict = "none: KMS answers"
	unavailable verdict = "unavailable"
	refused     verdict = "refused"
	message     verdict = "message invalid"
)

// kmsFault is one way in which KMS, or what lies between, can fail.
type kmsFault struct {
	name       string
	seal, open verdict
	attempts   int // requests of one call
	do         func(*http.Request) (*http.Response, error)
}

// kmsAnswer is an error of the service itself.
func kmsAnswer(status int, code string, attempts int, seal, open verdict) kmsFault {
	return kmsFault{fmt.Sprint(code, " ", status), seal, open, attempts, func(r *http.Request) (*http.Response, error) {
		return httpAnswer(r, status, fmt.Sprintf(`{"__type":%q,"message":"as asked"}`, code)), nil
	}}
}

func httpAnswer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// brokenBody gives some bytes and then fails, or hangs until ctx ends.
type brokenBody struct {
	io.Reader
	ctx context.Context // nil: the connection is reset
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); err == nil {
		return n, nil
	}
	if b.ctx == nil {
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func (b *brokenBody) Close() error { return nil }

func brokenAnswer(r *http.Request, ctx context.Context) *http.Response {
	resp := httpAnswer(r, 200, "")
	resp.Body, resp.ContentLength = &brokenBody{strings.NewReader(`{"Plaintext":"AAAA`), ctx}, 400
	return resp
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// Faults that are not a matter of one answer.
const (
	credentialsFail = "credentials cannot be had"
	skewedClock     = "clock an hour off: AccessDeniedException until the SDK has corrected it"
	slow            = "answers after 1 s"
)

var kmsFaults = []kmsFault{
	kmsAnswer(500, "KMSInternalException", 2, unavailable, unavailable),
	kmsAnswer(500, "KeyUnavailableException", 2, unavailable, unavailable),
	kmsAnswer(503, "DependencyTimeoutException", 2, unavailable, unavailable),
	kmsAnswer(500, "InternalFailure", 2, unavailable, unavailable),
	kmsAnswer(503, "ServiceUnavailable", 2, unavailable, unavailable),
	kmsAnswer(400, "ThrottlingException", 2, unavailable, unavailable),
	kmsAnswer(400, "LimitExceededException", 2, unavailable, unavailable),

	kmsAnswer(400, "ExpiredTokenException", 1, unavailable, unavailable),
	kmsAnswer(400, "UnrecognizedClientException", 1, unavailable, unavailable),
	kmsAnswer(400, "IncompleteSignature", 1, unavailable, unavailable),
	kmsAnswer(400, "RequestExpired", 1, unavailable, unavailable),
	kmsAnswer(403, "InvalidSignatureException", 1, unavailable, unavailable),
	{credentialsFail, unavailable, unavailable, 0, nil},
	{skewedClock, answered, answered, 2, nil},

	kmsAnswer(400, "DisabledException", 1, refused, refused),
	kmsAnswer(400, "KMSInvalidStateException", 1, refused, refused),
	kmsAnswer(400, "NotFoundException", 1, refused, refused),
	kmsAnswer(400, "AccessDeniedException", 1, refused, refused),
	kmsAnswer(400, "InvalidKeyUsageException", 1, refused, refused),
	kmsAnswer(400, "InvalidGrantTokenException", 1, refused, refused),
	kmsAnswer(400, "an unknown code", 1, refused, refused),
	kmsAnswer(400, "ValidationException", 1, refused, message),
	kmsAnswer(400, "InvalidCiphertextException", 1, refused, message),
	kmsAnswer(400, "IncorrectKeyException", 1, refused, message),

	{"connection refused", unavailable, unavailable, 2, func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}},
	{"name not found", unavailable, unavailable, 1, func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "kms", IsNotFound: true}}
	}},
	{"connection never completes", unavailable, unavailable, 2, hang},
	{"accepts and hangs", unavailable, unavailable, 2, func(r *http.Request) (*http.Response, error) { return brokenAnswer(r, r.Context()), nil }},
	{"answers after 5 s", unavailable, unavailable, 2, func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(5*time.Second + time.Millisecond):
		case <-r.Context().Done():
		}
		return hang(r)
	}},
	{"certificate not trusted", unavailable, unavailable, 2, func(*http.Request) (*http.Response, error) { return nil, x509.UnknownAuthorityError{} }},
	{"connection reset before the answer", unavailable, unavailable, 2, func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}},
	{"connection reset in the answer", unavailable, unavailable, 2, func(r *http.Request) (*http.Response, error) { return brokenAnswer(r, nil), nil }},
	{"answer is no JSON", unavailable, unavailable, 1, func(r *http.Request) (*http.Response, error) {
		return httpAnswer(r, 200, "<html>a captive portal</html>"), nil
	}},
	{"answer is cut short", unavailable, unavailable, 1, func(r *http.Request) (*http.Response, error) {
		return httpAnswer(r, 200, `{"Plaintext":"AAAA`), nil
	}},
	{"answer is empty", unavailable, unavailable, 1, func(r *http.Request) (*http.Response, error) { return httpAnswer(r, 200, "{}"), nil }},
	{"error without a code", unavailable, unavailable, 1, func(r *http.Request) (*http.Response, error) { return httpAnswer(r, 403, "a proxy says no"), nil }},
	{slow, answered, answered, 1, nil},
}

// state is what is cached when the call is made.
type state string

const (
	noKey      state = "no data key"
	freshKey   state = "a data key"
	refreshing state = "a data key, and its refresh under way"
	staleKey   state = "a data key in its stale window"
	expiredKey state = "a data key that expired unused"
	spentKey   state = "a data key that reached `MaxStale` in an outage"
)

var states = []state{noKey, freshKey, refreshing, staleKey, expiredKey, spentKey}

// faultsMaxStale is the MaxStale of Sealers in the matrix.
const faultsMaxStale = 10 * time.Minute

// outcome is what becomes of a call.
type outcome struct {
	result string // done, or what the call fails with
	asks   bool   // whether KMS is asked, by this call or on its behalf
	waits  bool   // for KMS
	kept   bool   // whether a data key is cached afterwards
}

const done, callerGone = "done", "the caller's own context error"

// outcomes are the rules. A call "fails with" its verdict: a send with that
// error, a receive with a *ReceiveError whose messages are withheld for it.
var outcomes = []struct {
	state   state
	verdict verdict
	outcome
}{
	{noKey, answered, outcome{done, true, true, true}},
	{noKey, unavailable, outcome{string(unavailable), true, true, false}},
	{noKey, refused, outcome{string(refused), true, true, false}},
	{noKey, message, outcome{string(message), true, true, false}},

	{freshKey, answered, outcome{done, false, false, true}},
	{freshKey, unavailable, outcome{done, false, false, true}},
	{freshKey, refused, outcome{done, false, false, true}},
	{freshKey, message, outcome{done, false, false, true}},

	{refreshing, answered, outcome{done, true, false, true}},
	{refreshing, unavailable, outcome{done, true, false, true}},
	{refreshing, refused, outcome{done, true, false, false}},
	{refreshing, message, outcome{done, true, false, false}},

	{staleKey, answered, outcome{done, true, false, true}},
	{staleKey, unavailable, outcome{done, true, false, true}},
	{staleKey, refused, outcome{done, true, false, false}},
	{staleKey, message, outcome{done, true, false, false}},

	{expiredKey, answered, outcome{done, true, true, true}},
	{expiredKey, unavailable, outcome{done, true, true, true}},
	{expiredKey, refused, outcome{string(refused), true, true, false}},
	{expiredKey, message, outcome{string(message), true, true, false}},

	{spentKey, answered, outcome{done, true, true, true}},
	{spentKey, unavailable, outcome{string(unavailable), true, true, false}},
	{spentKey, refused, outcome{string(refused), true, true, false}},
	{spentKey, message, outcome{string(message), true, true, false}},
}

// rule returns what outcomes say of a verdict in a state.
func rule(s state, v verdict) outcome {
	for _, r := range outcomes {
		if r.state == s && r.verdict == v {
			return r.outcome
		}
	}
	panic(fmt.Sprintf("no rule for %q, %q", s, v))
}

// expect is the rule for one cell.
func expect(f kmsFault, s state, op string, alive bool) (outcome, int) {
	v := f.seal
	if op == "receive" {
		v = f.open
	}
	o, calls := rule(s, v), 0
	if !alive {
		// A caller that has gone asks for nothing and changes nothing. A refresh
		// that was under way goes on without it.
		o = outcome{callerGone, s == refreshing, false, s != noKey && (s != refreshing || o.kept)}
	}
	if o.asks {
		calls = f.attempts
	}
	return o, calls
}

// faultyKMS stands between a client of KMS, or DynamoDB, and the server. It is
// the transport of an HTTP client with the bound that the keyring gives the
// SDK's own: without it, requests that hang would not be tried again.
type faultyKMS struct {
	next  aws.HTTPClient
	fault atomic.Pointer[kmsFault]
	gate  chan struct{} // if not nil: requests wait for it
	calls atomic.Int64
}

func (k *faultyKMS) client() *http.Client {
	return &http.Client{Transport: k, Timeout: kmskeyring.AttemptTimeout}
}

func (k *faultyKMS) RoundTrip(r *http.Request) (*http.Response, error) {
	k.calls.Add(1)
	f := k.fault.Load()
	if gate := k.gate; gate != nil {
		<-gate
	}
	if f == nil {
		return k.next.Do(r)
	}
	time.Sleep(50 * time.Millisecond) // a call that does not wait for it is over by then
	switch f.name {
	case slow:
		time.Sleep(time.Second)
	case skewedClock:
		server := time.Now().Add(time.Hour)
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil || server.Sub(signed).Abs() > 5*time.Minute {
			resp := httpAnswer(r, 400, `{"__type":"AccessDeniedException","message":"as asked"}`)
			resp.Header.Set("Date", server.UTC().Format(http.TimeFormat))
			return resp, nil
		}
	}
	if f.do != nil {
		return f.do(r)
	}
	return k.next.Do(r)
}

func (k *faultyKMS) Retrieve(context.Context) (aws.Credentials, error) {
	if f := k.fault.Load(); f != nil && f.name == credentialsFail {
		return aws.Credentials{}, errors.New("no role found")
	}
	return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
}

// cell is one run of the matrix.
type cell struct {
	*testing.T
	w        *world
	kms      *faultyKMS // or of the first service that a keyring asks
	opened   sync.Once  // the gate
	fault    func()     // puts the fault in place
	outage   func()     // has the services fail
	reset    func()     // counts requests from here on
	sealer   *sqsx.Sealer
	client   *sqs.Client
	url, op  string
	messages []*sqs.SendMessageInput // under one data key, for receives
}

// call sends, or receives a message that it has put there.
func (c *cell) call(ctx context.Context) error {
	switch c.op {
	case "send":
		_, err := c.client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &c.url, MessageBody: aws.String("plaintext")})
		return err
	case "batch send":
		in := &sqs.SendMessageBatchInput{QueueUrl: &c.url}
		for i := range 10 {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String("plaintext")})
		}
		out, err := c.client.SendMessageBatch(ctx, in)
		if err == nil && len(out.Successful) != 10 {
			c.Errorf("%d entries were sent, want 10", len(out.Successful))
		}
		return err
	}
	if _, err := c.w.plain.SendMessage(c.Context(), c.messages[0]); err != nil {
		c.Fatal(err)
	}
	out, err := c.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &c.url, MaxNumberOfMessages: 10})
	if err == nil && (len(out.Messages) != 1 || *out.Messages[0].Body != "plaintext") {
		c.Errorf("got %d messages, want the one", len(out.Messages))
	}
	if err == nil {
		_, err = c.w.plain.DeleteMessage(c.Context(), &sqs.DeleteMessageInput{QueueUrl: &c.url, ReceiptHandle: out.Messages[0].ReceiptHandle})
	}
	return err
}

func (c *cell) mustCall() {
	c.Helper()
	if err := c.call(c.Context()); err != nil {
		c.Fatalf("before the fault: %v", err)
	}
}

// reach brings the cell into a state, with the fault in place. No call waits
// for a refresh on the way.
func (c *cell) reach(s state) {
	c.Helper()
	inUse := func() {
		c.Helper()
		start := time.Now()
		c.mustCall()
		if waited := time.Since(start); waited > 0 {
			c.Errorf("a call under a key that is in use took %v, want that it waits for nothing", waited)
		}
	}
	if s != noKey {
		c.mustCall()
	}
	switch s {
	case refreshing:
		time.Sleep(291 * time.Second) // due by now, and not yet expired
		c.reset()
		c.kms.gate = make(chan struct{})
		c.fault()
		inUse()
		synctest.Wait()
		return
	case staleKey:
		time.Sleep(250 * time.Second)
		c.outage()
		for range 15 {
			time.Sleep(10 * time.Second)
			inUse()
		}
		time.Sleep(31 * time.Second) // the next retry is due
	case expiredKey:
		time.Sleep(301 * time.Second)
	case spentKey:
		time.Sleep(291 * time.Second)
		c.outage()
		inUse()
		time.Sleep(200 * time.Second)
		inUse()
		time.Sleep(faultsMaxStale - 490*time.Second)
	}
	c.reset()
	c.fault()
}

// verdictOf names the class of an error.
func verdictOf(op string, err error) string {
	failed, withheld := errors.AsType[*sqsx.ReceiveError](err)
	temporary := withheld && len(failed.Withheld) == 1 && failed.Withheld[0].Temporary
	switch {
	case err == nil:
		return done
	case op == "receive" && !withheld && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		return "another error: " + err.Error()
	case errors.Is(err, envelope.ErrUnavailable):
		if withheld && !temporary || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return "unavailable, and not as it should be: " + err.Error()
		}
		return string(unavailable)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return callerGone
	case errors.Is(err, envelope.ErrInvalidMessage) && withheld && !temporary:
		return string(message)
	case withheld && !temporary || errors.Is(err, envelope.ErrInvalidMessage):
		return "another error: " + err.Error()
	}
	return string(refused)
}

func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	var cells atomic.Int64
	t.Cleanup(func() { t.Logf("%d cells", cells.Load()) })
	ops, contexts := []string{"send", "receive", "batch send"}, []string{"alive", "cancelled", "past its deadline"}
	if testing.Short() {
		ops, contexts = ops[:2], contexts[:2]
	}
	for i := range kmsFaults {
		f := &kmsFaults[i]
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range states {
				for _, op := range ops {
					for _, ctx := range contexts {
						cells.Add(1)
						name := fmt.Sprintf("%s/%s/%s", s, op, ctx)
						synctest.Test(t, func(t *testing.T) { runCell(t, name, f, s, op, ctx) })
					}
				}
			}
		})
	}
}

func runCell(t *testing.T, name string, f *kmsFault, s state, op, ctxState string) {
	w := newWorld(t)
	c := &cell{T: t, w: w, kms: &faultyKMS{next: w.cfg.HTTPClient}, url: w.queue("orders"), op: op}
	c.fault = func() { c.kms.fault.Store(f) }
	c.outage = func() { c.kms.fault.Store(&kmsFaults[0]) }
	c.reset = func() { c.kms.calls.Store(0) }
	c.sealer = w.sealer(func(o *sqsx.Options) {
		o.Policy.NoHold = true // so that every request is one of the data key cache
		o.Cache.MaxStale = faultsMaxStale
		o.KMS = append(o.KMS, func(o *kms.Options) {
			o.HTTPClient = c.kms.client()
			o.Credentials = c.kms // not cached
		})
	})
	c.client = c.sealer.Wrap(w.plain)
	sealed, err := w.sealer().SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{QueueUrl: &c.url, MessageBody: aws.String("plaintext")})
	if err != nil {
		t.Fatal(err)
	}
	c.messages = []*sqs.SendMessageInput{sealed}

	defer c.openGate() // also if the cell fails on the way
	c.reach(s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	switch ctxState {
	case "cancelled":
		cancel()
	case "past its deadline":
		ctx, cancel = context.WithDeadline(ctx, time.Now().Add(-time.Second))
		defer cancel()
	}
	stored := len(w.server.Stored(c.url))
	start := time.Now()
	err = c.call(ctx)
	waited := time.Since(start)
	c.openGate()
	time.Sleep(6 * time.Second) // what is in the background ends
	synctest.Wait()

	want, calls := expect(*f, s, op, ctxState == "alive")
	if got := verdictOf(op, err); got != want.result {
		t.Errorf("%s: got %q (%v), want %q", name, got, err, want.result)
	}
	if got := int(c.kms.calls.Load()); got != calls {
		t.Errorf("%s: got %d requests to KMS, want %d", name, got, calls)
	}
	if !want.waits && waited > 0 || waited > 6*time.Second {
		t.Errorf("%s: the call took %v, want it to wait %t", name, waited, want.waits)
	}
	c.compare(name, want, stored)
}

func (c *cell) openGate() {
	c.opened.Do(func() {
		if c.kms.gate != nil {
			close(c.kms.gate)
		}
	})
}

// compare compares what is cached, and what is in the queue, with the outcome
// of a call before which the queue had stored messages.
func (c *cell) compare(name string, want outcome, stored int) {
	c.Helper()
	entries := c.sealer.Stats().Cache.EncryptEntries
	if c.op == "receive" {
		entries = c.sealer.Stats().Cache.DecryptEntries
	}
	if kept := entries > 0; kept != want.kept {
		c.Errorf("%s: a key is cached: got %t, want %t", name, kept, want.kept)
	}
	after := c.w.server.Stored(c.url)
	if want.result != done && c.op != "receive" && len(after) != stored {
		c.Errorf("%s: %d messages were sent by a call that failed", name, len(after)-stored)
	}
	if want.result != done && c.op == "receive" && len(after) != 1 {
		c.Errorf("%s: the message is no longer in the queue", name)
	}
	for _, m := range after {
		if strings.Contains(*m.Body, "plaintext") {
			c.Errorf("%s: plaintext is in the queue", name)
		}
	}
}

// TestFaultsPage compares docs/faults.md with the tables here.
func TestFaultsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	var faults, rules, stores strings.Builder
	for _, f := range kmsFaults {
		fmt.Fprintf(&faults, "| %s | %s | %s | %d |\n", f.name, f.seal, f.open, f.attempts)
	}
	for _, f := range storeFaults {
		fmt.Fprintf(&stores, "| %s | %s | %s |\n", f.name, f.seal, f.open)
	}
	yes := map[bool]string{true: "yes", false: "no"}
	for _, r := range outcomes {
		result := r.result
		if result != done {
			result = "fails: " + result
		}
		fmt.Fprintf(&rules, "| %s | %s | %s | %s | %s | %s |\n", r.state, r.verdict, result, yes[r.asks], yes[r.waits], yes[r.kept])
	}
	for name, want := range map[string]string{"faults": faults.String(), "rules": rules.String(), "faults of key stores": stores.String()} {
		if !strings.Contains(string(page), want) {
			t.Errorf("docs/faults.md does not hold the table of %s:\n%s", name, want)
		}
	}
}

// TestFaultsOnRealSockets repeats what a simulated connection cannot prove.
func TestFaultsOnRealSockets(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	resetting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{\"Plaintext\":\"AAAA")
		_ = buf.Flush()
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}))
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	refusing := httptest.NewServer(http.NotFoundHandler())
	refusing.Close()
	t.Cleanup(func() { close(hold); hanging.Close(); resetting.Close(); untrusted.Close() })

	for name, url := range map[string]string{
		"accepts and hangs": hanging.URL, "connection reset in the answer": resetting.URL, "certificate not trusted": untrusted.URL, "connection refused": refusing.URL,
	} {
		fault := slices.IndexFunc(kmsFaults, func(f kmsFault) bool { return f.name == name })
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			queue := w.queue("orders")
			var requests atomic.Int64
			client := w.client(func(o *sqsx.Options) {
				o.Policy.NoHold = true
				o.KMS = append(o.KMS, func(o *kms.Options) {
					o.BaseEndpoint = &url
					o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(200 * time.Millisecond).WithTransportOptions(func(tr *http.Transport) {
						tr.DisableKeepAlives = true // so that each request dials
						dial := tr.DialContext
						tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
							requests.Add(1)
							return dial(ctx, network, address)
						}
					})
				})
			})
			start := time.Now()
			_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("plaintext")})
			if got, want := int(requests.Load()), kmsFaults[fault].attempts; got != want {
				t.Errorf("send: got %d requests to KMS, want %d", got, want)
			}
			if !errors.Is(err, envelope.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("send: got %v, want ErrUnavailable", err)
			}
			send(t, w.client(), queue, "plaintext")
			_, err = receive(t.Context(), client, queue)
			if failed, ok := errors.AsType[*sqsx.ReceiveError](err); !ok || !errors.Is(err, envelope.ErrUnavailable) || !failed.Withheld[0].Temporary {
				t.Errorf("receive: got %v, want a *ReceiveError, temporary", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("both took %v, want a bound of some attempts", took)
			}
		})
	}
}

// slowKeyring takes longer than a receive waits.
type slowKeyring struct{ envelope.Keyring }

func (k slowKeyring) DecryptDataKey(ctx context.Context, _ []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestOwnDeadlineIsNotTheCallers: a loop that ends when its context does goes
// on.
func TestOwnDeadlineIsNotTheCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url := w.queue("orders")
		sealer, err := sqsx.New(slowKeyring{mustKeyring(t, w)}, func(o *sqsx.Options) {
			o.Logger = slog.New(slog.DiscardHandler)
			o.Cache.FetchTimeout = 15 * time.Second
		})
		if err != nil {
			t.Fatal(err)
		}
		client := sealer.Wrap(w.plain)
		for range 20 {
			send(t, client, url, "x")
		}
		for range 20 {
			_, err := receive(t.Context(), client, url)
			if err != nil && (!errors.Is(err, envelope.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("got %v, want ErrUnavailable, and no deadline of anyone's", err)
			}
		}
		time.Sleep(time.Minute) // the last fetch ends
	})
}

// TestFaultsOfSQSAreLeftToTheSDK has SQS fail each way for a client with a
// Sealer and for one without: the same requests, and the same error.
func TestFaultsOfSQSAreLeftToTheSDK(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{
		"InternalError 500":     statusError{&smithy.GenericAPIError{Code: "InternalError"}, 500},
		"ServiceUnavailable":    statusError{&smithy.GenericAPIError{Code: "ServiceUnavailable"}, 503},
		"ThrottlingException":   statusError{&smithy.GenericAPIError{Code: "ThrottlingException"}, 400},
		"RequestThrottled":      statusError{&smithy.GenericAPIError{Code: "RequestThrottled"}, 403},
		"AccessDenied":          statusError{&smithy.GenericAPIError{Code: "AccessDenied"}, 403},
		"QueueDoesNotExist":     &types.QueueDoesNotExist{},
		"connection broken":     errors.New("broken pipe"),
		"response lost":         sqsxtest.ErrResponseLost,
		"OverLimit, in flight":  &types.OverLimit{},
		"ExpiredTokenException": statusError{&smithy.GenericAPIError{Code: "ExpiredTokenException"}, 403},
	} {
		for op, call := range map[string]func(context.Context, *sqs.Client, string) error{
			"SendMessage": func(ctx context.Context, c *sqs.Client, url string) error {
				_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("plaintext")})
				return err
			},
			"SendMessageBatch": func(ctx context.Context, c *sqs.Client, url string) error {
				_, err := c.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("0"), MessageBody: aws.String("plaintext")}}})
				return err
			},
			"ReceiveMessage": func(ctx context.Context, c *sqs.Client, url string) error {
				return errOf(receive(ctx, c, url))
			},
		} {
			for _, failures := range []int{1, 100} {
				t.Run(fmt.Sprintf("%s/%s/%d times", name, op, failures), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						type observed struct {
							requests     int
							code         string
							ok, attempts bool
						}
						see := func(sealed bool) observed {
							w := newWorld(t)
							url, client := w.queue("orders"), w.plain
							if sealed {
								client = w.client()
							}
							var bodies [][]byte
							w.server.Intercept(func(r *sqsxtest.Request) error {
								if r.Action != "sqs:"+op {
									return nil
								}
								if bodies = append(bodies, r.Body); len(bodies) <= failures {
									return fault
								}
								return nil
							})
							err := call(t.Context(), client, url)
							for _, b := range bodies {
								if !bytes.Equal(b, bodies[0]) {
									t.Errorf("sealed %t: the requests of one call differ", sealed)
								}
								if sealed && bytes.Contains(b, []byte("plaintext")) {
									t.Error("plaintext is in a request")
								}
							}
							var api smithy.APIError
							o := observed{requests: len(bodies), ok: err == nil}
							if errors.As(err, &api) {
								o.code = api.ErrorCode()
							}
							var exhausted interface{ Unwrap() error }
							o.attempts = errors.As(err, &exhausted) && strings.Contains(err.Error(), "exceeded maximum number of attempts")
							return o
						}
						if diff := cmp.Diff(see(false), see(true), cmp.AllowUnexported(observed{})); diff != "" {
							t.Errorf("with a Sealer it differs (-without +with):\n%s", diff)
						}
					})
				})
			}
		}
	}
}

type statusError struct {
	*smithy.GenericAPIError
	status int
}

func (e statusError) HTTPStatusCode() int { return e.status }
