package sqsx_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// keyLoss is one way to lose a key, and the way back.
type keyLoss struct {
	code    string // of KMS's error
	lose    func(t *testing.T, w *world)
	restore func(t *testing.T, w *world) // nil: there is none
}

var keyLosses = map[string]keyLoss{
	"disabled": {
		code: "DisabledException",
		lose: func(t *testing.T, w *world) {
			_, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &w.key})
			noError(t, err)
		},
		restore: enable,
	},
	"scheduled for deletion": {
		code: "KMSInvalidStateException",
		lose: scheduleDeletion,
		restore: func(t *testing.T, w *world) {
			_, err := w.kms.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: &w.key})
			noError(t, err)
			enable(t, w) // cancelling leaves the key disabled
		},
	},
	"deleted": {
		code: "NotFoundException",
		lose: func(t *testing.T, w *world) {
			scheduleDeletion(t, w)
			time.Sleep(7*24*time.Hour + time.Minute)
		},
	},
	"access removed": {
		code: "AccessDeniedException",
		lose: func(_ *testing.T, w *world) {
			w.server.Intercept(kmsFails(&smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized to use this key"}))
		},
		restore: func(_ *testing.T, w *world) { w.server.Intercept(nil) },
	},
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func enable(t *testing.T, w *world) {
	t.Helper()
	_, err := w.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &w.key})
	noError(t, err)
}

func scheduleDeletion(t *testing.T, w *world) {
	t.Helper()
	_, err := w.kms.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &w.key, PendingWindowInDays: aws.Int32(7)})
	noError(t, err)
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestKeyGone runs docs/key-gone.md: what goes on and for how long, what
// then fails and how it shows, that no message is lost, and the way back.
func TestKeyGone(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/key-gone.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, loss := range keyLosses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { loss.run(t, string(page)) })
		})
	}
}

func (loss *keyLoss) run(t *testing.T, page string) {
	w := newWorld(t)
	url, dlq := w.withDLQ("orders", 3, "MessageRetentionPeriod", "1209600")
	var log syncBuffer
	sealer := w.sealer(func(o *sqsx.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	})
	client := sealer.Wrap(w.plain)
	roundTrip := func() error {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("in operation")}); err != nil {
			return err
		}
		out, err := receive(t.Context(), client, url)
		if err != nil {
			return err
		}
		for _, m := range out.Messages {
			_, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle})
			noError(t, err)
		}
		return nil
	}
	noError(t, roundTrip())
	// A backlog of other producers, more than the hold may touch.
	backlog := make([]*sqs.SendMessageInput, 100)
	for i := range backlog {
		sealed, err := w.sealer().SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("backlog")})
		noError(t, err)
		backlog[i] = sealed
	}
	loss.lose(t, w)
	lost := time.Now()
	// What goes on: traffic under the cached data key, until its refresh. A key
	// that was deleted was pending for a week, and nothing is cached any more.
	var stopped time.Duration
	for ; stopped == 0 && time.Since(lost) < time.Hour; time.Sleep(time.Second) {
		if err := roundTrip(); err != nil {
			stopped = max(time.Since(lost), 1)
		}
	}
	if stopped > cache.DefaultReusePeriod || loss.restore != nil && stopped < cache.DefaultReusePeriod-40*time.Second {
		t.Errorf("traffic went on for %v, want 4m20s to 5m0s, or nothing if the key was deleted", stopped)
	}
	time.Sleep(max(cache.DefaultReusePeriod-time.Since(lost), 0))
	// Now a send fails, with KMS's own error.
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != loss.code || errors.Is(err, envelope.ErrUnavailable) {
		t.Errorf("send: got %v, want %s", err, loss.code)
	}
	if got := errText(err); !strings.Contains(page, got) {
		t.Errorf("docs/key-gone.md does not show the error of a send:\n%s", got)
	}
	// So does Check.
	if err := sealer.Check(t.Context(), arnOf("orders")); !errors.As(err, &api) || api.ErrorCode() != loss.code {
		t.Errorf("Check: got %v, want %s", err, loss.code)
	}

	// Receives fail, then are held, for as long as it lasts. The log says why.
	for _, in := range backlog {
		_, err := w.plain.SendMessage(t.Context(), in)
		noError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		out, err := poll(ctx, client, url)
		if ctx.Err() == nil && err == nil && len(out.Messages) > 0 {
			t.Errorf("got %d messages", len(out.Messages))
		}
	}
	line, _, _ := strings.Cut(log.String(), "\n")
	if got := normalLine(line); !strings.Contains(page, got) {
		t.Errorf("docs/key-gone.md does not show the log line:\n%s", got)
	}
	if held := sealer.Stats().Held; held == 0 {
		t.Error("no receive was held")
	}
	if n := len(w.server.Stored(dlq)); n > 0 {
		t.Errorf("%d messages are in the dead-letter queue after ten minutes, want none", n)
	}
	if n := len(w.server.Stored(url)); n < len(backlog) {
		t.Errorf("%d messages are in the queue, want all %d", n, len(backlog))
	}
	if loss.restore == nil {
		return
	}

	// The way back needs no restart.
	loss.restore(t, w)
	restored := time.Now()
	delivered := 0
	for delivered < len(backlog) && time.Since(restored) < 5*time.Minute {
		out, err := poll(t.Context(), client, url)
		if err != nil {
			continue
		}
		delivered += len(out.Messages)
		for _, m := range out.Messages {
			_, err := w.plain.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle})
			noError(t, err)
		}
	}
	if delivered < len(backlog) {
		t.Errorf("%d of %d messages were delivered", delivered, len(backlog))
	}
	if took := time.Since(restored); took > 90*time.Second {
		t.Errorf("the backlog took %v after the key was back", took)
	}
	noError(t, roundTrip())
}

// TestKeyGoneAtOnce: Purge makes it so now.
func TestKeyGoneAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, sealer := w.queue("orders"), w.sealer()
	client := sealer.Wrap(w.plain)
	send(t, client, url, "x")
	keyLosses["disabled"].lose(t, w)
	send(t, client, url, "still sealed under the cached data key")
	sealer.Purge()
	var api smithy.APIError
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
	if !errors.As(err, &api) || api.ErrorCode() != "DisabledException" {
		t.Errorf("got %v, want a DisabledException at once", err)
	}
}

var (
	keyARNs   = regexp.MustCompile(`arn:aws:kms:us-east-1:000000000000:key/[0-9a-f-]+`)
	requestID = regexp.MustCompile(`RequestID: [0-9A-Za-z-]*`)
	someID    = regexp.MustCompile(`message_id=[0-9a-f-]+`)
	counts    = regexp.MustCompile(`(receive_count|more_since_last_line)=\d+`)
	fromCache = regexp.MustCompile(`(cache: )?answered from memory, next attempt in [0-9.a-z]+: `)
	queueARN  = regexp.MustCompile(`arn:aws:sqs:us-east-1:000000000000:orders`)
)

// normalLine replaces what differs from case to case.
func normalLine(s string) string {
	s = keyARNs.ReplaceAllString(s, "KEY")
	s = queueARN.ReplaceAllString(s, "QUEUE")
	s = requestID.ReplaceAllString(s, "RequestID: …")
	s = someID.ReplaceAllString(s, "message_id=…")
	s = counts.ReplaceAllString(s, "$1=…")
	return fromCache.ReplaceAllString(s, "")
}

// errText is the part of a send's error that names the cause.
func errText(err error) string {
	if err == nil {
		return "no error"
	}
	_, text, _ := strings.Cut(normalLine(err.Error()), "operation error SQS: SendMessage, ")
	return text
}
