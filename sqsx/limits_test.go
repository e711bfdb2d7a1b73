package sqsx_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// The numbers here are written out: they do not follow a limit that moves.

// TestOptionLimits takes every option at its limit and refuses it one beyond.
func TestOptionLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ec := func(pairs, name, value int) func(*sqsx.Options) { // of these lengths
		return func(o *sqsx.Options) {
			o.EncryptionContext = make(map[string]string)
			for i := range pairs {
				o.EncryptionContext[strings.Repeat("n", name-2)+fmt.Sprintf("%02d", i)] = strings.Repeat("v", value)
			}
		}
	}
	for name, tc := range map[string]struct {
		at, beyond func(*sqsx.Options)
		text       string
	}{
		"context pairs": {ec(32, 2, 1), ec(33, 2, 1), "33 pairs, want at most 32"},
		"context name":  {ec(1, 512, 1), ec(1, 513, 1), "at most 512 bytes"},
		"context value": {ec(1, 2, 512), ec(1, 2, 513), "at most 512 bytes"},
		"context bytes": {ec(8, 212, 300), func(o *sqsx.Options) {
			ec(8, 212, 300)(o)
			for name := range o.EncryptionContext {
				o.EncryptionContext[name] += "v"
				break
			}
		}, "4097 bytes together, want at most 4096"},
		"deduplication key": {
			func(o *sqsx.Options) { o.DeduplicationKey = make([]byte, 32) },
			func(o *sqsx.Options) { o.DeduplicationKey = make([]byte, 31) }, "31 bytes, want at least 32",
		},
		"logical queue": {
			func(o *sqsx.Options) { o.Policy.LogicalQueue = strings.Repeat("q", 256) },
			func(o *sqsx.Options) { o.Policy.LogicalQueue = strings.Repeat("q", 257) }, "257 bytes, want at most 256",
		},
		"smallest message size": {
			func(o *sqsx.Options) { o.Policy.MaxMessageBytes = 1024 },
			func(o *sqsx.Options) { o.Policy.MaxMessageBytes = 1023 }, "1024 to 1048576",
		},
		"largest message size": {
			func(o *sqsx.Options) { o.Policy.MaxMessageBytes = 1_048_576 },
			func(o *sqsx.Options) { o.Policy.MaxMessageBytes = 1_048_577 }, "1024 to 1048576",
		},
	} {
		if _, err := sqsx.NewFromConfig(w.cfg, w.key, tc.at); err != nil {
			t.Errorf("%s, at the limit: %v", name, err)
		}
		if _, err := sqsx.NewFromConfig(w.cfg, w.key, tc.beyond); err == nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s, beyond the limit: got %v, want an error with %q", name, err, tc.text)
		}
	}
}

// TestLargestContextFits seals under the largest encryption context that
// options and policies allow together, and opens it.
func TestLargestContextFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sealer(func(o *sqsx.Options) {
		o.Policy.LogicalQueue, o.EncryptionContext = strings.Repeat("q", 256), make(map[string]string)
		for i := range 32 {
			o.EncryptionContext[fmt.Sprintf("%02d", i)] = strings.Repeat("v", 126)
		}
	})
	if opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{sealedBy(t, s)}); len(opened) != 1 {
		t.Errorf("got %v", withheld)
	}
}

// sends reports whether a body is sealed, and not refused as one that is sealed
// already.
func sends(t *testing.T, s *sqsx.Sealer, body string) bool {
	t.Helper()
	_, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: &body})
	if err != nil && !strings.Contains(err.Error(), "if it were sealed again") {
		t.Fatal(err)
	}
	return err == nil
}

// TestLimitsOfRecognition: what a body is taken for changes at these limits.
func TestLimitsOfRecognition(t *testing.T) {
	t.Parallel()
	s := newWorld(t).sealer()
	// The beginning of a header whose context has this size and so many pairs,
	// of which the first has an empty name.
	header := func(size, pairs int) string {
		b := append([]byte{2, 4, 0x78}, make([]byte, 32)...)
		b = binary.BigEndian.AppendUint16(b, uint16(size))
		b = binary.BigEndian.AppendUint16(b, uint16(pairs))
		return base64.StdEncoding.EncodeToString(append(b, make([]byte, 60)...))
	}
	notifications := func(n int) string { // around a plain text
		body := "hello"
		for range n {
			b, err := json.Marshal(map[string]string{"Type": "Notification", "Message": body})
			if err != nil {
				t.Fatal(err)
			}
			body = string(b)
		}
		return body
	}
	for name, tc := range map[string]struct {
		body  string
		plain bool
	}{
		"context of 8,192 bytes and a public key":     {header(8192+93, 1), false},
		"context of one byte more":                    {header(8192+93+1, 1), true},
		"context of 128 pairs and a public key":       {header(8192, 129), false},
		"context of one pair more":                    {header(8192, 130), true},
		"SNS notifications of SNS, three deep":        {notifications(3), true},
		"SNS notifications of SNS, four deep":         {notifications(4), false},
		"a context that its pairs fill":               {header(2+129*4, 129), false},
		"a context with a byte too few for its pairs": {header(2+129*4-1, 129), true},
	} {
		if got := sends(t, s, tc.body); got != tc.plain {
			t.Errorf("%s: sent is %t, want %t", name, got, tc.plain)
		}
	}
}

// TestNotificationIsRecognisedInItsHead: 4,096 bytes of a body are looked at
// for the sake of a text.
func TestNotificationIsRecognisedInItsHead(t *testing.T) {
	t.Parallel()
	s := newWorld(t).sealer()
	for end, want := range map[int]string{4096: "the body is an SNS notification", 4097: "the body is plaintext"} {
		const before, after = `{"Pad":"`, `","Type":"Notification"`
		body := before + strings.Repeat("x", end-len(before)-len(after)) + after + `,"Message":"hello"}`
		_, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: &body}})
		if len(withheld) != 1 || !strings.Contains(withheld[0].Error(), want) {
			t.Errorf("type ends at byte %d: got %v, want %q", end, withheld, want)
		}
	}
}

// TestOpenedMessagesAreRememberedInTurn: of the IDs of opened messages, the
// last 1,024 are known.
func TestOpenedMessagesAreRememberedInTurn(t *testing.T) {
	t.Parallel()
	s := newWorld(t).sealer()
	sealed := sealedBy(t, s)
	open := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			m := sealed
			m.MessageId = aws.String(fmt.Sprint(i))
			if _, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m}); withheld != nil {
				t.Fatal(withheld)
			}
		}
	}
	known := func() bool {
		_, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{MessageId: aws.String("0"), Body: aws.String("hello")}})
		return strings.Contains(withheld[0].Error(), "has opened the message already")
	}
	open(0, 1024)
	if !known() {
		t.Error("the first of 1,024 messages is forgotten, want it known")
	}
	open(1024, 1025)
	if known() {
		t.Error("the first of 1,025 messages is known, want it forgotten")
	}
}

// TestLogKindsAreBounded: what was logged when is kept for 1,024 queues.
func TestLogKindsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log bytes.Buffer
	s := w.sealer(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	logs := func(queue int) bool {
		log.Reset()
		s.OpenMessages(t.Context(), arnOf(fmt.Sprint("q", queue)), []types.Message{{Body: aws.String("hello")}})
		return log.Len() > 0
	}
	for i := range 1024 {
		if !logs(i) {
			t.Fatalf("queue %d is not logged", i)
		}
	}
	if logs(0) {
		t.Error("the first of 1,024 queues is logged again, want that it is remembered")
	}
	if !logs(1024) || !logs(0) {
		t.Error("the first of 1,025 queues is not logged again, want that it is forgotten")
	}
}

// TestLogInterval: a kind of trouble with a queue is logged once in 10 seconds.
func TestLogInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var log bytes.Buffer
		s := w.sealer(func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		logs := func() bool {
			log.Reset()
			s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: aws.String("hello")}})
			return log.Len() > 0
		}
		logs()
		time.Sleep(10*time.Second - 1)
		if logs() {
			t.Error("logged again before 10 seconds are over")
		}
		time.Sleep(time.Nanosecond)
		if !logs() {
			t.Error("not logged again after 10 seconds")
		}
	})
}

// TestBegunQueuesAreBounded: 8,192 queues are known to have begun.
func TestBegunQueuesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	meter := newMeter()
	s := w.sealer(func(o *sqsx.Options) { o.MeterProvider, o.Policy.NoSeal = provider{meter}, true })
	begins := func(queue int) bool {
		key := "sealq.messages.sent_plaintext " + arnOf(fmt.Sprint("q", queue))
		zeros := func() int {
			meter.mu.Lock()
			defer meter.mu.Unlock()
			return meter.zeros[key]
		}
		before := zeros()
		if _, err := s.SealMessage(t.Context(), arnOf(fmt.Sprint("q", queue)), &sqs.SendMessageInput{MessageBody: aws.String("x")}); err != nil {
			t.Fatal(err)
		}
		return zeros() > before
	}
	for i := range 8192 {
		if !begins(i) {
			t.Fatalf("queue %d does not begin", i)
		}
	}
	if begins(0) {
		t.Error("the first of 8,192 queues begins again, want that it is remembered")
	}
	if !begins(8192) || !begins(0) {
		t.Error("the first of 8,193 queues does not begin again, want that it is forgotten")
	}
}

// TestEnvironmentLimits takes SEALQ_REUSE_PERIOD at its limits and refuses it
// one second beyond.
func TestEnvironmentLimits(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{"59": false, "60": true, "86400": true, "86401": false} {
		if _, _, err := sqsx.FromEnvironment(sqsx.Options{}, []string{"SEALQ_REUSE_PERIOD=" + text}); (err == nil) != ok {
			t.Errorf("SEALQ_REUSE_PERIOD=%s: got error %v, want one: %t", text, err, !ok)
		}
	}
	if got := (map[string]time.Duration{"min": sqsx.MinReusePeriod, "max": sqsx.MaxReusePeriod}); !maps.Equal(got, map[string]time.Duration{"min": time.Minute, "max": 24 * time.Hour}) {
		t.Errorf("got the range %v, want a minute to a day, as of cache.Options", got)
	}
}

// twoSpeeds decrypts what wraps its own namespace at once, and answers for
// anything else when its caller gives up.
type twoSpeeds struct {
	*envelope.RawAESKeyring
	asked atomic.Int64
}

func (k *twoSpeeds) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	k.asked.Add(1)
	if edks[0].ProviderID == "fast" {
		return k.RawAESKeyring.DecryptDataKey(ctx, edks, ec)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestOpeningIsBounded: a receive waits for data keys for 10 seconds. Meanwhile
// every message of the response has been asked for, and those whose data keys
// are there are delivered, large and small.
func TestOpeningIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url := w.queue("orders")
		raw := func(namespace string) *envelope.RawAESKeyring {
			kr, err := envelope.NewRawAESKeyring(namespace, "key", make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			return kr
		}
		produce := func(namespace, body string) {
			s, err := sqsx.New(raw(namespace)) // each has a data key of its own
			if err != nil {
				t.Fatal(err)
			}
			send(t, s.Wrap(w.plain), url, body)
		}
		large := strings.Repeat("x", 32<<10)
		for range 3 {
			produce("slow", "small")
			produce("slow", large)
		}
		produce("fast", "small")
		produce("fast", large)
		kr := &twoSpeeds{RawAESKeyring: raw("fast")}
		s, err := sqsx.New(kr, func(o *sqsx.Options) {
			o.Cache.FetchTimeout = 15 * time.Second
			o.Logger = slog.New(slog.DiscardHandler)
			o.Policy.NoHold = true
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Purge() // ends the fetches
		began := time.Now()
		out, err := s.Wrap(w.plain).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %v, want 10s", took)
		}
		if got := kr.asked.Load(); got != 8 {
			t.Errorf("got %d calls of the keyring, want 8: one for each data key", got)
		}
		withheld := sqsx.Withheld(out.ResultMetadata)
		if len(out.Messages) != 2 || len(withheld) != 6 {
			t.Fatalf("got %d delivered and %d withheld, want 2 and 6", len(out.Messages), len(withheld))
		}
		for _, e := range withheld {
			if !e.Temporary || !errors.Is(e, sqsx.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", e)
			}
		}
	})
}
