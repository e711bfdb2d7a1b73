package kmskeyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func hang(r *sqsxtest.Request) error {
	<-r.Context().Done()
	return r.Context().Err()
}

func TestHangingKMSEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		id, arn := w.key(client, false)
		w.alias(client, "alias/orders", id)
		byARN, byAlias := w.keyring(client, arn), w.keyring(client, "alias/orders")
		key := w.generate(byARN)
		w.srv.Intercept(hang)
		for name, call := range map[string]func() error{
			"GenerateDataKey": func() error { _, err := byARN.GenerateDataKey(t.Context(), ec); return err },
			"WrapDataKey":     func() error { _, err := byARN.WrapDataKey(t.Context(), key, ec); return err },
			"DecryptDataKey":  func() error { _, err := byARN.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); return err },
			"DescribeKey":     func() error { _, err := byAlias.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); return err },
		} {
			start := time.Now()
			err := call()
			if got := class(t.Context(), err); got != "unavailable" {
				t.Errorf("%s: got class %q (%v), want unavailable", name, got, err)
			}
			if how := looksCancelled(err); how != "" {
				t.Errorf("%s: %v looks like the end of the caller's context to %s", name, err, how)
			}
			if d := time.Since(start); d != kmskeyring.CallTimeout {
				t.Errorf("%s took %v, want %v", name, d, kmskeyring.CallTimeout)
			}
		}
	})
}

// looksCancelled says how a consumer loop would take err for the end of its own
// context, or for a call that it cancelled.
func looksCancelled(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "errors.Is"
	}
	if _, ok := errors.AsType[*smithy.CanceledError](err); ok {
		return "errors.As of *smithy.CanceledError"
	}
	if _, ok := errors.AsType[*aws.RequestCanceledError](err); ok {
		return "errors.As of *aws.RequestCanceledError"
	}
	var mark interface{ CanceledError() bool }
	if errors.As(err, &mark) {
		return "errors.As of CanceledError() bool"
	}
	return ""
}

func TestCallersEndIsNoVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		id, arn := w.key(client, false)
		w.alias(client, "alias/orders", id)
		key := w.generate(w.keyring(client, arn))
		w.srv.Intercept(hang)
		for name, want := range map[string]error{"deadline": context.DeadlineExceeded, "cancel": context.Canceled} {
			for form, keyID := range map[string]string{"ARN": arn, "alias": "alias/orders"} {
				kr := w.keyring(client, keyID)
				for op, call := range map[string]func(context.Context) error{
					"GenerateDataKey": func(ctx context.Context) error { _, err := kr.GenerateDataKey(ctx, ec); return err },
					"WrapDataKey":     func(ctx context.Context) error { _, err := kr.WrapDataKey(ctx, key, ec); return err },
					"DecryptDataKey": func(ctx context.Context) error {
						_, err := kr.DecryptDataKey(ctx, key.EncryptedDataKeys(), ec)
						return err
					},
				} {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if name == "cancel" {
						ctx, cancel = context.WithCancel(t.Context())
						time.AfterFunc(time.Second, cancel)
					}
					start := time.Now()
					err := call(ctx)
					cancel()
					if !errors.Is(err, want) || errors.Is(err, envelope.ErrUnavailable) || errors.Is(err, envelope.ErrInvalidMessage) {
						t.Errorf("%s, %s, %s: got %v, want %v only", name, form, op, err, want)
					}
					if d := time.Since(start); d != time.Second {
						t.Errorf("%s, %s, %s: took %v, want 1s", name, form, op, d)
					}
				}
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		before := len(w.srv.Requests())
		if _, err := w.keyring(client, arn).DecryptDataKey(ended, nil, ec); !errors.Is(err, context.Canceled) {
			t.Errorf("ended before: got %v, want context.Canceled", err)
		}
		if _, err := w.keyring(client, arn).GenerateDataKey(ended, ec); !errors.Is(err, context.Canceled) {
			t.Errorf("ended before: got %v, want context.Canceled", err)
		}
		if n := len(w.srv.Requests()) - before; n != 0 {
			t.Errorf("ended before: %d calls, want none", n)
		}
		time.Sleep(kmskeyring.CallTimeout) // the DescribeKey calls in flight are nobody's now
	})
}

func TestSecondAttempt(t *testing.T) {
	t.Parallel()
	for name, retryer := range map[string]struct {
		opt      func(*kms.Options)
		attempts int
	}{
		"default":  {func(*kms.Options) {}, 2},
		"ten":      {func(o *kms.Options) { o.RetryMaxAttempts = 10 }, 2},
		"forever":  {func(o *kms.Options) { o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 0) }, 2},
		"one":      {func(o *kms.Options) { o.RetryMaxAttempts = 1 }, 1},
		"none":     {func(o *kms.Options) { o.Retryer = aws.NopRetryer{} }, 1},
		"adaptive": {func(o *kms.Options) { o.Retryer = retry.NewAdaptiveMode() }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				_, arn := w.key(client, false)
				kr := w.keyring(w.client("us-east-1", ours, retryer.opt), arn)

				w.srv.Intercept(func(*sqsxtest.Request) error { return answer(500, "KMSInternalException") })
				start := time.Now()
				if _, err := kr.GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "unavailable" {
					t.Errorf("got %v, want ErrUnavailable", err)
				}
				if n := w.srv.Count("kms:GenerateDataKey"); n != retryer.attempts {
					t.Errorf("%d attempts, want %d", n, retryer.attempts)
				}
				if d := time.Since(start); d > 100*time.Millisecond {
					t.Errorf("waited %v between the attempts, want at most 100ms", d)
				}
				var once sync.Once
				w.srv.Intercept(func(*sqsxtest.Request) (err error) {
					once.Do(func() { err = answer(500, "KMSInternalException") })
					return err
				})
				if _, err := kr.GenerateDataKey(t.Context(), ec); (err == nil) != (retryer.attempts > 1) {
					t.Errorf("one failure: got %v", err)
				}
			})
		})
	}
}

func TestNoKeyInAnyLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain := w.client("us-east-1", ours)
	id, arn := w.key(plain, false)
	w.alias(plain, "alias/orders", id)

	var mu sync.Mutex
	var log bytes.Buffer
	client := w.client("us-east-1", ours, func(o *kms.Options) {
		o.ClientLogMode = ^aws.ClientLogMode(0)
		o.Logger = logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&log, format+"\n", args...)
		})
	})
	kr := w.keyring(client, "alias/orders")
	key := w.generate(kr)
	w.opens(kr, key)
	if _, err := kr.WrapDataKey(t.Context(), key, ec); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	logged := log.String()
	mu.Unlock()
	for name, secret := range map[string]string{
		"data key":           string(key.Plaintext()),
		"data key, base64":   base64.StdEncoding.EncodeToString(key.Plaintext()),
		"encryption context": ec["sealq:queue"],
		"encrypted data key": base64.StdEncoding.EncodeToString(key.EncryptedDataKeys()[0].Ciphertext),
		"plaintext field":    "Plaintext",
	} {
		if strings.Contains(logged, secret) {
			t.Errorf("the log of %d bytes holds the %s", len(logged), name)
		}
	}
	if !strings.Contains(logged, "TrentService.Decrypt") {
		t.Errorf("nothing was logged, so this test shows nothing: %q", logged)
	}
	// The client's own calls log as the user wants them to.
	if _, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &arn}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String()[len(logged):], arn) {
		t.Error("the log mode of the user's client was changed")
	}
}

// TestHTTPClient: the keyring bounds the SDK's own HTTP client, from whatever
// the user made of it, and leaves any other alone.
func TestHTTPClient(t *testing.T) {
	t.Parallel()
	proxied := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.MaxIdleConns = 7 })
	quick := awshttp.NewBuildableClient().WithTimeout(time.Second)
	slow := awshttp.NewBuildableClient().WithTimeout(time.Minute)
	foreign := doFunc(nil)
	var none *awshttp.BuildableClient

	for name, theirs := range map[string]kms.HTTPClient{"default": nil, "nil pointer": none, "with options": proxied, "slow": slow} {
		tuned := kmskeyring.Tuner(t)
		got, ok := tuned(theirs).(*awshttp.BuildableClient)
		if !ok || got.GetTimeout() != kmskeyring.AttemptTimeout {
			t.Errorf("%s: got %T, want a BuildableClient with the timeout %v", name, got, kmskeyring.AttemptTimeout)
			continue
		}
		if again := tuned(theirs); again != kms.HTTPClient(got) {
			t.Errorf("%s: built twice", name)
		}
		if theirs == kms.HTTPClient(proxied) && got.GetTransport().MaxIdleConns != 7 {
			t.Errorf("%s: the user's transport options are lost", name)
		}
	}
	if got := kmskeyring.Tuner(t)(quick); got != kms.HTTPClient(quick) {
		t.Errorf("a client of 1s was replaced")
	}
	if got, ok := kmskeyring.Tuner(t)(foreign).(doFunc); !ok || got != nil {
		t.Errorf("a client of another type was replaced by %T", got)
	}
	if d := slow.GetTimeout(); d != time.Minute {
		t.Errorf("the user's client was changed: timeout %v", d)
	}
}

// TestHTTPTimeoutOverASocket: an attempt that the HTTP client ends is tried
// again, and the second may succeed.
func TestHTTPTimeoutOverASocket(t *testing.T) {
	if testing.Short() {
		t.Skip("takes AttemptTimeout in real time")
	}
	t.Parallel()
	w := newWorld(t)
	_, arn := w.key(w.client("us-east-1", ours), false)
	cfg := w.config("us-east-1", ours)
	cfg.BaseEndpoint = aws.String(w.srv.URL())
	// Without idle connections there is nothing for goleak to find.
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DisableKeepAlives = true })
	var once sync.Once
	w.srv.Intercept(func(r *sqsxtest.Request) (err error) {
		if r.Action == "kms:GenerateDataKey" {
			once.Do(func() { err = hang(r) })
		}
		return err
	})
	kr := w.keyring(kms.NewFromConfig(cfg), arn)
	if _, err := kr.GenerateDataKey(t.Context(), ec); err != nil {
		t.Errorf("got %v, want the second attempt's answer", err)
	}
	if n := w.srv.Count("kms:GenerateDataKey"); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

// TestAnswerThatCannotBeDecoded: the SDK's error for it holds the answer, which
// holds the data key.
func TestAnswerThatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
	for name, test := range map[string]struct {
		status int
		body   string
	}{
		"cut off":         {200, `{"Plaintext":"` + secret},
		"no JSON":         {200, secret},
		"wrong types":     {200, `{"Plaintext":"` + secret + `","KeyId":7}`},
		"error, cut off":  {400, `{"__type":"Disabled`},
		"error of no one": {400, `{}`},
		"proxy's page":    {502, `<html>`},
		"proxy's refusal": {403, `<html>`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			client := w.client("us-east-1", ours, func(o *kms.Options) {
				o.Retryer = aws.NopRetryer{}
				o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
					return &http.Response{
						StatusCode: test.status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
						Body: io.NopCloser(strings.NewReader(test.body)),
					}, nil
				})
			})
			kr := w.keyring(client, "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab")
			_, err := kr.GenerateDataKey(t.Context(), ec)
			if class(t.Context(), err) != "unavailable" {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			for _, verb := range []string{"%v", "%+v", "%#v"} {
				if strings.Contains(fmt.Sprintf(verb, err), secret) {
					t.Errorf("%s of the error holds the answer", verb)
				}
			}
			if d, ok := errors.AsType[*smithy.DeserializationError](err); ok {
				t.Errorf("the chain holds the answer: %q", d.Snapshot)
			}
		})
	}
}

// slowBody is an answer whose second half does not come in time.
type slowBody struct{ io.Reader }

func (slowBody) Close() error { return nil }

type timeoutError struct{}

func (timeoutError) Error() string   { return "awaiting the rest" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// TestAnswerThatStopsSaysSo: on call, a slow network must not look like a
// damaged answer.
func TestAnswerThatStopsSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours, func(o *kms.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
			body := slowBody{io.MultiReader(strings.NewReader(`{"Plaintext":"`), iotest.ErrReader(timeoutError{}))}
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: body}, nil
		})
	})
	kr := w.keyring(client, "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab")
	_, err := kr.GenerateDataKey(t.Context(), ec)
	if class(t.Context(), err) != "unavailable" || !strings.Contains(err.Error(), "did not arrive in time") {
		t.Errorf("got %v, want ErrUnavailable for want of time", err)
	}
}

// TestEndpointThatIsNoKMS: the error names the host that was asked, and why it
// may have been, and nothing else of the URL.
func TestEndpointThatIsNoKMS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, test := range map[string]struct {
		status int
		body   string
	}{
		"a page":              {200, "<html>welcome</html>"},
		"not found":           {404, "<html>no such page</html>"},
		"forbidden":           {403, "<html>who are you</html>"},
		"bad gateway":         {502, "<html>nobody there</html>"},
		"a queue's emulator":  {400, `{"__type":"com.amazonaws.sqs#InvalidAction","message":"no such action"}`},
		"an emulator":         {400, `{"__type":"UnknownOperationException"}`},
		"an error of no code": {400, "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(test.status)
				io.WriteString(rw, test.body)
			}))
			defer server.Close()
			host := strings.TrimPrefix(server.URL, "http://")
			cfg := w.config("us-east-1", ours)
			cfg.BaseEndpoint = aws.String("http://user:hidden@" + host + "/hidden")
			cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DisableKeepAlives = true })
			cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
			kr := w.keyring(kms.NewFromConfig(cfg), "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab")
			_, err := kr.GenerateDataKey(t.Context(), ec)
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range []string{strconv.Quote(host) + " answered, and not as AWS KMS does", "AWS_ENDPOINT_URL", "BaseEndpoint"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("got %q, want nothing else of the URL", err)
			}
		})
	}

	// What KMS itself says, or the network, has no such hint.
	client := w.client("us-east-1", ours)
	_, arn := w.key(client, false)
	for _, cause := range []error{answer(500, "KMSInternalException"), answer(400, "DisabledException"), answer(400, "AccessDeniedException"), sqsxtest.ErrResponseLost} {
		w.srv.Intercept(func(*sqsxtest.Request) error { return cause })
		if _, err := w.keyring(client, arn).GenerateDataKey(t.Context(), ec); err == nil || strings.Contains(err.Error(), "BaseEndpoint") {
			t.Errorf("got %v, want no hint at the endpoint", err)
		}
	}
}
