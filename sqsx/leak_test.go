package sqsx_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/metrics"
	"github.com/aws/smithy-go/tracing"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// A kind of secret, as docs/security.md tells them apart.
const (
	plaintextSecret = "plaintext"
	keySecret       = "key bytes"
	edkSecret       = "encrypted data key"
	contextSecret   = "context value"
	unsealedSecret  = "body of a message that is not sealed"
)

// secrets are the values that must not turn up.
type secrets struct {
	mu     sync.Mutex
	byKind map[string][]map[string]string // of each secret, its spellings
}

func newSecrets() *secrets { return &secrets{byKind: make(map[string][]map[string]string)} }

// add takes the middle of a secret: whatever shows it, whole or nearly, shows
// that.
func (s *secrets) add(kind string, secret []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := (len(secret) - 16) / 2
	if from < 0 {
		panic("a secret is too short to be told from chance")
	}
	all := append(s.byKind[kind], spell(secret[from:from+16]))
	if len(all) > mostSecrets {
		all = all[1:]
	}
	s.byKind[kind] = all
}

// mostSecrets of a kind are looked for, the latest: tests that make thousands
// of data keys would spend their time on nothing else.
const mostSecrets = 256

// in returns which secrets of the given kinds a text shows, in any spelling.
func (s *secrets) in(text string, kinds ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, kind := range kinds {
		for _, secret := range s.byKind[kind] {
			for how, spelling := range secret {
				if strings.Contains(text, spelling) {
					found = append(found, kind+" as "+how)
				}
			}
		}
	}
	return found
}

// spell returns the ways in which 16 bytes are printed or encoded.
func spell(b []byte) map[string]string {
	all := map[string]string{
		"itself": string(b),
		"hex":    hex.EncodeToString(b), "HEX": strings.ToUpper(hex.EncodeToString(b)),
		"quoted": strings.Trim(fmt.Sprintf("%q", b), `"`),
		"%v":     strings.Trim(fmt.Sprint(b), "[]"),
		"% x":    fmt.Sprintf("% x", b),
		"%#v":    strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}"),
		"%o":     strings.Trim(fmt.Sprintf("%o", b), "[]"),
		"%b":     strings.Trim(fmt.Sprintf("%b", b), "[]"),
	}
	for offset := range 3 {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, offset), b...))
		all[fmt.Sprintf("base64 at %d", offset)] = encoded[4:20]
	}
	return all
}

// prints returns a value in every way that loses nothing.
func prints(v any) map[string]string {
	out := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "% x", "%s", "%q", "%d", "%o", "%b"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	if b, err := json.Marshal(v); err == nil {
		out["JSON"] = string(b)
	}
	var text, structured bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	out["slog text"], out["slog JSON"] = text.String(), structured.String()
	return out
}

// allKinds are what no error, log line, span or metric may hold.
var allKinds = []string{plaintextSecret, keySecret, edkSecret, contextSecret, unsealedSecret}

// listener stands between the clients and the server, and learns what is
// secret.
type listener struct {
	next    aws.HTTPClient
	secrets *secrets
}

func (l *listener) Do(r *http.Request) (*http.Response, error) {
	resp, err := l.next.Do(r)
	if err != nil {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var out struct{ Plaintext, CiphertextBlob []byte }
	if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "TrentService.") && json.Unmarshal(body, &out) == nil {
		if len(out.Plaintext) > 0 {
			l.secrets.add(keySecret, out.Plaintext)
		}
		if len(out.CiphertextBlob) > 0 {
			l.secrets.add(edkSecret, out.CiphertextBlob)
		}
	}
	return resp, err
}

// sink is somewhere that text ends up.
type sink struct {
	name    string
	kinds   []string // that it must not hold
	secrets *secrets
	t       testing.TB

	mu    sync.Mutex
	lines int
	found map[string]bool
}

func (s *sink) Write(b []byte) (int, error) { s.take(string(b)); return len(b), nil }

func (s *sink) take(text string) {
	found := s.secrets.in(text, s.kinds...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines++
	for _, f := range found {
		if !s.found[f] {
			s.found[f] = true
			s.t.Errorf("%s holds %s: %.300q", s.name, f, text)
		}
	}
}

func (s *sink) Logf(c logging.Classification, format string, v ...any) {
	s.take(string(c) + fmt.Sprintf(format, v...))
}

// Spans and measurements are sinks, too.

func (s *sink) Tracer(scope string, _ ...tracing.TracerOption) tracing.Tracer {
	return spanSink{s, scope}
}

type spanSink struct {
	*sink
	name string
}

func (s spanSink) StartSpan(ctx context.Context, name string, opts ...tracing.SpanOption) (context.Context, tracing.Span) {
	var o tracing.SpanOptions
	for _, opt := range opts {
		opt(&o)
	}
	s.take(fmt.Sprintf("%s %+v", name, o))
	span := spanSink{s.sink, name}
	return tracing.WithSpan(ctx, span), span
}

func (s spanSink) Name() string                 { return s.name }
func (s spanSink) Context() tracing.SpanContext { return tracing.SpanContext{} }
func (s spanSink) AddEvent(name string, opts ...tracing.EventOption) {
	var o tracing.EventOptions
	for _, opt := range opts {
		opt(&o)
	}
	s.take(fmt.Sprintf("%s %+v", name, o))
}
func (s spanSink) SetStatus(tracing.SpanStatus) {}
func (s spanSink) SetProperty(k, v any)         { s.take(fmt.Sprintf("%v %+v", k, v)) }
func (s spanSink) End()                         {}

type providerSink struct{ *sink }

func (p providerSink) Meter(string, ...metrics.MeterOption) metrics.Meter {
	return meterSink{sink: p.sink}
}

type meterSink struct {
	metrics.Meter
	*sink
}

func (m meterSink) Int64Counter(name string, opts ...metrics.InstrumentOption) (metrics.Int64Counter, error) {
	m.take(fmt.Sprint(name, opts))
	return m, nil
}

func (m meterSink) Int64AsyncCounter(name string, _ metrics.Int64Callback, opts ...metrics.InstrumentOption) (metrics.AsyncInstrument, error) {
	m.take(fmt.Sprint(name, opts))
	return nil, nil
}

func (m meterSink) Add(_ context.Context, n int64, opts ...metrics.RecordMetricOption) {
	var o metrics.RecordMetricOptions
	for _, opt := range opts {
		opt(&o)
	}
	m.take(fmt.Sprintf("%d %+v %v", n, o, o.Properties.Values()))
}

// TestNothingLeaks sends, receives and checks under every kind of failure, with
// everything that can log logging everything, and looks for secrets in all of
// it. The log of the SQS client itself holds what goes over the wire, and so
// encrypted data keys and contexts; plaintext and keys it must not hold.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		found := newSecrets()
		var sinks []*sink
		newSink := func(name string, kinds ...string) *sink {
			s := &sink{name: name, kinds: kinds, secrets: found, t: t, found: make(map[string]bool)}
			sinks = append(sinks, s)
			return s
		}
		errorsSink := newSink("an error", allKinds...)
		sealerLog := newSink("the Sealer's log", allKinds...)
		spans := newSink("a span", allKinds...)
		measurements := newSink("a metric", allKinds...)
		kmsLog := newSink("the KMS client's log", allKinds...)
		sqsLog := newSink("the SQS client's log", plaintextSecret, keySecret)

		w := newWorld(t)
		w.cfg.HTTPClient = &listener{w.cfg.HTTPClient, found}
		contextValue := "CONTEXT-" + rand.Text()
		dedupKey := []byte(rand.Text() + rand.Text())
		found.add(contextSecret, []byte(contextValue))
		found.add(keySecret, dedupKey)
		everything := ^aws.ClientLogMode(0)
		newClient := func(keyID string, optFns ...func(*sqsx.Options)) (*sqsx.Sealer, *sqs.Client) {
			s, err := sqsx.NewFromConfig(w.cfg, keyID, append([]func(*sqsx.Options){func(o *sqsx.Options) {
				o.Logger = slog.New(slog.NewJSONHandler(sealerLog, &slog.HandlerOptions{Level: slog.Level(-100)}))
				o.MeterProvider = providerSink{measurements}
				o.EncryptionContext = map[string]string{"tenant": contextValue}
				o.DeduplicationKey = dedupKey
				o.Cache.ReusePeriod = time.Minute
				o.KMS = []func(*kms.Options){func(ko *kms.Options) {
					ko.Logger, ko.ClientLogMode, ko.TracerProvider = kmsLog, everything, spans
				}}
			}}, optFns...)...)
			if err != nil {
				t.Fatal(err)
			}
			return s, sqs.NewFromConfig(w.cfg, func(o *sqs.Options) {
				o.Logger, o.ClientLogMode, o.TracerProvider = sqsLog, everything, spans
			}, s.Install)
		}
		see := func(err error) {
			for err := range allErrors(err) {
				// %#v and JSON of a withheld message show the message, as received.
				for _, how := range []string{"%v", "%+v", "%s", "%q", "%x"} {
					errorsSink.take(fmt.Sprintf(how, err))
				}
				errorsSink.take(err.Error())
			}
		}
		marker := rand.Text()
		found.add(plaintextSecret, []byte(marker))
		body := func() string { return rand.Text() + marker + rand.Text() }
		unsealed := rand.Text() // by somebody else; it is on the wire as it is
		found.add(unsealedSecret, []byte(unsealed))
		exercise := func(s *sqsx.Sealer, c *sqs.Client, url string) {
			ctx := tracing.WithSpan(t.Context(), spanSink{spans, "root"})
			name := url[strings.LastIndex(url, "/")+1:]
			for _, in := range []*sqs.SendMessageInput{
				{QueueUrl: &url, MessageBody: aws.String(body())},
				{QueueUrl: &url, MessageBody: aws.String(body()), MessageAttributes: userAttributes(10)},
				{QueueUrl: &url, MessageBody: aws.String(body()), MessageAttributes: userAttributes(11)},
				{QueueUrl: &url, MessageBody: aws.String(strings.Repeat(body(), 1<<20/len(body())))},
				{QueueUrl: &url, MessageBody: aws.String(body()), MessageAttributes: sealqAttribute([]byte(body()))},
				{QueueUrl: &url, MessageBody: aws.String("\x00" + body())},
			} {
				if strings.HasSuffix(name, ".fifo") {
					in.MessageGroupId = aws.String("g")
				}
				_, err := c.SendMessage(ctx, in)
				see(err)
				_, err = c.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
					{Id: aws.String("a"), MessageBody: in.MessageBody, MessageAttributes: in.MessageAttributes, MessageGroupId: in.MessageGroupId},
					{Id: aws.String("b"), MessageBody: aws.String(body()), MessageGroupId: in.MessageGroupId},
				}})
				see(err)
				_, err = s.SealMessage(ctx, arnOf(name), in)
				see(err)
			}
			for range 3 {
				out, err := receive(ctx, c, url)
				see(err)
				if out != nil {
					for _, e := range sqsx.Withheld(out.ResultMetadata) {
						see(e)
					}
				}
			}
			see(s.Check(ctx, arnOf(name)))
			time.Sleep(61 * time.Second)
		}

		url, fifo := w.queue("orders"), w.queue("orders.fifo")
		s, client := newClient(w.key)
		for _, m := range badMessages(t, w, "orders") {
			w.put(url, m)
		}
		for _, m := range hostileMessages(t, w, "orders") {
			if len(m.body) < 64<<10 { // long texts take long to search
				w.put(url, m.badMessage)
			}
		}
		w.put(url, badMessage{body: unsealed})
		for name, fault := range map[string]error{
			"none": nil, "network": errors.New("no route"), "lost": sqsxtest.ErrResponseLost,
			"disabled": &smithy.GenericAPIError{Code: "DisabledException", Message: "m"},
			"denied":   &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "m"},
			"throttle": &smithy.GenericAPIError{Code: "ThrottlingException", Message: "m"},
			"unknown":  &smithy.GenericAPIError{Code: "Whatever", Message: "m"},
		} {
			w.server.Intercept(kmsFails(fault))
			exercise(s, client, url)
			exercise(s, client, fifo)
			fresh, freshClient := newClient(w.key, func(o *sqsx.Options) { o.Policy.BodyCarrier = true })
			exercise(fresh, freshClient, url)
			if name == "none" {
				alien, alienClient := newClient("alias/none", func(o *sqsx.Options) { o.Policy.StrictQueue = true })
				exercise(alien, alienClient, url)
			}
			// The same with a broken SQS.
			w.server.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "sqs:SendMessage" || r.Action == "sqs:SendMessageBatch" {
					return fault
				}
				return nil
			})
			exercise(s, client, url)
		}
		if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &w.key}); err != nil {
			t.Fatal(err)
		}
		w.server.Intercept(nil)
		exercise(s, client, url)

		for _, sink := range sinks {
			if sink.lines == 0 {
				t.Errorf("%s: nothing was produced, so nothing was looked at", sink.name)
			}
			t.Logf("%s: %d texts", sink.name, sink.lines)
		}
		for _, kind := range allKinds {
			if len(found.byKind[kind]) == 0 {
				t.Errorf("no %s was made", kind)
			}
			t.Logf("%d values of kind %s", len(found.byKind[kind]), kind)
		}
	})
}

// allErrors yields an error and all that it wraps.
func allErrors(err error) func(func(error) bool) {
	return func(yield func(error) bool) {
		var walk func(error) bool
		walk = func(err error) bool {
			if err == nil {
				return true
			}
			if !yield(err) {
				return false
			}
			switch e := err.(type) {
			case interface{ Unwrap() error }:
				return walk(e.Unwrap())
			case interface{ Unwrap() []error }:
				for _, err := range e.Unwrap() {
					if !walk(err) {
						return false
					}
				}
			}
			return true
		}
		walk(err)
	}
}

// TestLeaksAreFound shows that TestNothingLeaks and TestPrintedTypes can fail.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"a text secret of some length", "\x00\x01\xff binary \xfe\xfd of some length\x80"} {
		found := newSecrets()
		found.add(keySecret, []byte(secret))
		for name, v := range map[string]any{
			"bytes": []byte(secret), "text": secret, "field": struct{ B []byte }{[]byte(secret)}, "error": errors.New("x " + secret),
		} {
			for how, text := range prints(v) {
				_, unprintable := map[string]bool{"%d of text": true, "%o of text": true, "%b of text": true, "%d of error": true, "%o of error": true, "%b of error": true}[how+" of "+name]
				binary := secret[0] == 0 && (how == "JSON" || strings.HasPrefix(how, "slog") || how == "%#v" || how == "%q")
				if unprintable || binary || how == "JSON" && name == "error" || how == "%#v" && name == "error" {
					continue
				}
				if len(found.in(text, keySecret)) == 0 && !strings.Contains(text, "%!") {
					t.Errorf("%s printed with %s is not found in %q", name, how, text)
				}
			}
		}
	}
}

// printed is a type that a program may print by accident, and what it shows.
type printed struct {
	value   func(t *testing.T, f *fixture) any // nil: an interface, a function, or nothing that has a secret in it
	carries []string                           // kinds that it shows, because it is there to carry them
}

// shownWithin lists the kinds that a type shows in an unexported field only,
// where fmt calls no method.
var shownWithin = map[string][]string{"sqsx.Options": {keySecret}, "sqsx.Secret": {keySecret}}

// fixture has one of each secret, and things made of them.
type fixture struct {
	key, wrapping []byte
	plaintext     string
	dataKey       *envelope.DataKey
	edk           envelope.EncryptedDataKey
	ec            envelope.EncryptionContext
	raw           *envelope.RawAESKeyring
	sealed        envelope.Message
	message       types.Message
	sealer        *sqsx.Sealer
	cached        *cache.Keyring
	kms           *kmskeyring.Keyring
	store         *branchkey.Store
	branch        *branchkey.Keyring
	server        *sqsxtest.Server
	secrets       *secrets
}

func newFixture(t *testing.T) *fixture {
	w := newWorld(t)
	f := &fixture{key: make([]byte, 32), wrapping: make([]byte, 32), plaintext: "PLAINTEXT-" + rand.Text(), secrets: newSecrets(), server: w.server}
	rand.Read(f.key)
	rand.Read(f.wrapping)
	w.cfg.HTTPClient = &listener{w.cfg.HTTPClient, f.secrets}
	f.ec = envelope.EncryptionContext{"tenant": "CONTEXT-" + rand.Text()}
	f.edk = envelope.EncryptedDataKey{ProviderID: "test", ProviderInfo: []byte("info"), Ciphertext: []byte(rand.Text() + rand.Text())}
	for kind, secret := range map[string][]byte{keySecret: f.key, plaintextSecret: []byte(f.plaintext), edkSecret: f.edk.Ciphertext, contextSecret: []byte(f.ec["tenant"])} {
		f.secrets.add(kind, secret)
	}
	f.secrets.add(keySecret, f.wrapping)
	var err error
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.dataKey, err = envelope.NewDataKey(f.key, f.edk)
	check(err)
	f.raw, err = envelope.NewRawAESKeyring("test", "name", f.wrapping)
	check(err)
	f.kms, err = kmskeyring.New(kms.NewFromConfig(w.cfg), w.key)
	check(err)
	w.kms = kms.NewFromConfig(w.cfg)
	f.store = w.keyStore("orders").Store
	f.branch, err = branchkey.New(f.store, "orders")
	check(err)
	_, err = f.branch.GenerateDataKey(t.Context(), f.ec) // it keeps the branch key
	check(err)
	f.cached, err = cache.New(f.kms)
	check(err)
	f.sealed, err = envelope.Seal(t.Context(), f.cached, []byte(f.plaintext), f.ec)
	check(err)
	h, err := envelope.ParseHeader(f.sealed.Header)
	check(err)
	f.edk = h.EncryptedDataKeys[0]
	_, err = envelope.Open(t.Context(), f.cached, f.sealed, func(envelope.EncryptionContext) error { return nil })
	check(err)
	f.sealer, err = sqsx.New(f.cached, func(o *sqsx.Options) { o.EncryptionContext, o.DeduplicationKey = f.ec, f.wrapping })
	check(err)
	f.message = types.Message{
		MessageId: aws.String("1"), Body: aws.String(base64.StdEncoding.EncodeToString(f.sealed.Body)), MessageAttributes: sealqAttribute(f.sealed.Header),
	}
	return f
}

// printedTypes lists every exported type. What a type shows without being there
// to carry it is a leak.
func printedTypes() map[string]printed {
	carriesMessage := []string{edkSecret, contextSecret} // a sealed message, as it is on the wire
	nothing := printed{}
	return map[string]printed{
		"envelope.DataKey":           {value: func(_ *testing.T, f *fixture) any { return f.dataKey }},
		"envelope.EncryptedDataKey":  {func(_ *testing.T, f *fixture) any { return f.edk }, []string{edkSecret}},
		"envelope.EncryptionContext": {func(_ *testing.T, f *fixture) any { return f.ec }, []string{contextSecret}},
		"envelope.Header": {func(t *testing.T, f *fixture) any {
			h, err := envelope.ParseHeader(f.sealed.Header)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}, carriesMessage},
		"envelope.Keyring": nothing,
		"envelope.Message": {func(_ *testing.T, f *fixture) any { return f.sealed }, carriesMessage},
		"envelope.MultiKeyring": {value: func(t *testing.T, f *fixture) any {
			m, err := envelope.NewMultiKeyring(f.raw, f.raw)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}},
		"envelope.Opened": {func(t *testing.T, f *fixture) any {
			o, err := envelope.Open(t.Context(), f.cached, f.sealed, func(envelope.EncryptionContext) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			return o
		}, []string{plaintextSecret, edkSecret, contextSecret}}, // what the caller asked for
		"envelope.RawAESKeyring":  {value: func(_ *testing.T, f *fixture) any { return f.raw }},
		"envelope.Reach":          {value: func(*testing.T, *fixture) any { return envelope.ReachEntry }},
		"envelope.RefusedError":   {value: func(*testing.T, *fixture) any { return &envelope.RefusedError{KeyInfo: "arn", Err: errors.New("x")} }},
		"envelope.DecryptChecker": nothing,
		"envelope.Purger":         nothing,
		"envelope.Wrapper":        nothing,

		"branchkey.DynamoDB":     nothing,
		"branchkey.KMS":          nothing,
		"branchkey.Keyring":      {value: func(_ *testing.T, f *fixture) any { return f.branch }},
		"branchkey.Options":      {value: func(*testing.T, *fixture) any { return branchkey.Options{} }},
		"branchkey.Store":        {value: func(_ *testing.T, f *fixture) any { return f.store }},
		"branchkey.StoreOptions": {value: func(*testing.T, *fixture) any { return branchkey.StoreOptions{GrantTokens: []string{"t"}} }},

		"kmskeyring.Client":    nothing,
		"kmskeyring.Discovery": {value: func(*testing.T, *fixture) any { return kmskeyring.Discovery{Region: "us-east-1"} }},
		"kmskeyring.Keyring":   {value: func(_ *testing.T, f *fixture) any { return f.kms }},
		"kmskeyring.Options":   {value: func(*testing.T, *fixture) any { return kmskeyring.Options{GrantTokens: []string{"t"}} }},

		"cache.Keyring": {value: func(_ *testing.T, f *fixture) any { return f.cached }},
		"cache.Source":  nothing,
		"cache.Options": {value: func(*testing.T, *fixture) any { return cache.Options{} }},
		"cache.Stats":   {value: func(_ *testing.T, f *fixture) any { return f.cached.Stats() }},

		"middleware.Outcome":   {value: func(*testing.T, *fixture) any { return middleware.Outcome{} }},
		"middleware.Admission": {value: func(*testing.T, *fixture) any { return middleware.Admission{} }},
		"middleware.BatchError": {value: func(*testing.T, *fixture) any {
			return &middleware.BatchError{Failed: []types.BatchResultErrorEntry{{Id: aws.String("a"), Code: aws.String("c"), Message: aws.String("m")}}}
		}},
		"middleware.Codec": nothing,
		"middleware.Content": {func(_ *testing.T, f *fixture) any {
			return middleware.Content{Body: f.plaintext, Attributes: f.message.MessageAttributes}
		}, []string{plaintextSecret, edkSecret, contextSecret}}, // a message on its way in or out
		"middleware.Delivered": {func(_ *testing.T, f *fixture) any {
			return middleware.Delivered{Message: types.Message{Body: &f.plaintext}}
		}, []string{plaintextSecret}},
		"middleware.Middleware": {value: func(t *testing.T, f *fixture) any {
			m, err := middleware.New(codecWithKey{key: f.dataKey})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}},
		"middleware.OpenError": {func(_ *testing.T, f *fixture) any {
			return &middleware.OpenError{Message: f.message, Err: errors.New("x")}
		}, carriesMessage}, // as received, for dead-letter code
		"middleware.Opened": {func(_ *testing.T, f *fixture) any {
			return middleware.Opened{Content: middleware.Content{Body: f.plaintext}}
		}, []string{plaintextSecret}},
		"middleware.Options": {value: func(*testing.T, *fixture) any { return middleware.Options{} }},
		"middleware.Queue":   {value: func(*testing.T, *fixture) any { return middleware.Queue{Name: "orders"} }},
		"middleware.ReceiveError": {func(_ *testing.T, f *fixture) any {
			return &middleware.ReceiveError{Withheld: []*middleware.OpenError{{Message: f.message, Err: errors.New("x")}}}
		}, carriesMessage},
		"middleware.Sealed": {func(_ *testing.T, f *fixture) any {
			return middleware.Sealed{Content: middleware.Content{Body: *f.message.Body, Attributes: f.message.MessageAttributes}}
		}, carriesMessage},
		"middleware.TooLargeError": {value: func(*testing.T, *fixture) any { return &middleware.TooLargeError{} }},

		"sqsx.BatchError":  nothing, // aliases of middleware's
		"sqsx.CheckError":  {value: func(*testing.T, *fixture) any { return &sqsx.CheckError{Queue: "q", Seal: errors.New("x")} }},
		"sqsx.ConfigError": {value: func(*testing.T, *fixture) any { return &sqsx.ConfigError{Err: errors.New("x")} }},
		"sqsx.Info": {func(_ *testing.T, f *fixture) any { return sqsx.Info{EncryptionContext: f.ec} },
			[]string{contextSecret}}, // what InfoOf is asked for
		"sqsx.Message": {func(_ *testing.T, f *fixture) any {
			return sqsx.Message{Message: types.Message{Body: &f.plaintext}, Info: sqsx.Info{EncryptionContext: f.ec}}
		}, []string{plaintextSecret, contextSecret}}, // what OpenMessages is asked for
		"sqsx.OpenError": nothing,
		"sqsx.KeyStore":  {value: func(*testing.T, *fixture) any { return sqsx.KeyStore{Table: "t"} }},
		"sqsx.Options": {func(_ *testing.T, f *fixture) any {
			return sqsx.Options{EncryptionContext: f.ec, DeduplicationKey: f.wrapping}
		}, []string{contextSecret}}, // what the user wrote into it; the Sealer's copy does not print
		"sqsx.Secret":        {value: func(_ *testing.T, f *fixture) any { return sqsx.Secret(f.wrapping) }},
		"sqsx.Policy":        {value: func(_ *testing.T, f *fixture) any { return sqsx.Policy{Keyring: f.raw} }},
		"sqsx.ReceiveError":  nothing,
		"sqsx.RefusedError":  nothing, // an alias of envelope's
		"sqsx.SealedEntry":   nothing, // an alias of middleware's
		"sqsx.Sealer":        {value: func(_ *testing.T, f *fixture) any { return f.sealer }},
		"sqsx.TooLargeError": nothing,
		"sqsx.Stats":         {value: func(_ *testing.T, f *fixture) any { return f.sealer.Stats() }},

		"sqsxtest.Request": nothing, // a copy of what a test's client sent
		"sqsxtest.Server":  nothing, // its keys protect nothing
	}
}

// codecWithKey is a Codec that holds what it ought to hide better.
type codecWithKey struct {
	middleware.Codec
	key *envelope.DataKey
}

func (codecWithKey) AttributeNames() []string { return []string{"sealq"} }

// exportedTypes returns the exported types of the packages of the module, from
// their source.
func exportedTypes(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"../envelope", "../envelope/branchkey", "../envelope/kmskeyring", "../envelope/envelopetest", "../cache", "../middleware", ".", "sqsxtest"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no Go file in %s: %v", dir, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				general, ok := decl.(*ast.GenDecl)
				if !ok {
					continue
				}
				for _, spec := range general.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() {
						all = append(all, file.Name.Name+"."+ts.Name.Name)
					}
				}
			}
		}
	}
	return all
}

// TestPrintedTypes prints one of every exported type in every way, as itself,
// by value, and in somebody's struct.
func TestPrintedTypes(t *testing.T) {
	t.Parallel()
	listed := printedTypes()
	inSource := exportedTypes(t)
	for _, name := range inSource {
		if _, ok := listed[name]; !ok {
			t.Errorf("%s is a new exported type: say in printedTypes what it may show", name)
		}
	}
	for name := range listed {
		if !slices.Contains(inSource, name) {
			t.Errorf("%s is listed and does not exist", name)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		synctest.Wait() // what is printed must not change meanwhile
		for _, name := range slices.Sorted(maps.Keys(listed)) {
			f.print(t, name, listed[name])
		}
	})
}

// print shows a value of one type in every way.
func (f *fixture) print(t *testing.T, name string, entry printed) {
	if entry.value == nil {
		return
	}
	var forbidden []string
	for _, kind := range allKinds {
		if !slices.Contains(entry.carries, kind) {
			forbidden = append(forbidden, kind)
		}
	}
	v := entry.value(t, f)
	for wrapping, v := range map[string]any{
		"itself": v, "in a field": struct{ V any }{v}, "in an unexported field": struct{ v any }{v}, "in a slice": []any{v}, "by value": dereferenced(v),
	} {
		forbidden := forbidden
		if wrapping == "in an unexported field" {
			forbidden = slices.DeleteFunc(slices.Clone(forbidden), func(kind string) bool { return slices.Contains(shownWithin[name], kind) })
		}
		for how, text := range prints(v) {
			for _, leak := range f.secrets.in(text, forbidden...) {
				t.Errorf("%s %s, printed with %s, shows %s", name, wrapping, how, leak)
			}
		}
	}
	shown := make(map[string]bool)
	for _, text := range prints(v) {
		for _, kind := range entry.carries {
			shown[kind] = shown[kind] || len(f.secrets.in(text, kind)) > 0
		}
	}
	for _, kind := range entry.carries {
		if !shown[kind] {
			t.Errorf("%s is listed as showing %s, and does not: strike it", name, kind)
		}
	}
}

// dereferenced copies what must not be copied, as a careless program would.
func dereferenced(v any) any {
	switch v := v.(type) {
	case *envelope.DataKey:
		return *v
	case *envelope.RawAESKeyring:
		return *v
	case *envelope.MultiKeyring:
		return *v
	case *sqsx.Sealer:
		return *v
	case *middleware.OpenError:
		return *v
	}
	return v
}

// TestKMSErrorsKeepWhatTheySay keeps the other half of the bargain: errors say
// enough.
func TestKMSErrorsKeepWhatTheySay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Intercept(kmsFails(&smithy.GenericAPIError{Code: "DisabledException", Message: "it is off"}))
	url := w.queue("orders")
	_, err := w.client().SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
	if _, ok := errors.AsType[*kmstypes.DisabledException](err); !ok || !strings.Contains(err.Error(), w.key) {
		t.Errorf("got %v, want a DisabledException that names the key", err)
	}
}
