package sqsxtest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func staticCredentials(id string) func(context.Context) (aws.Credentials, error) {
	return func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: "test"}, nil
	}
}

func once(cfg aws.Config) aws.Config {
	cfg.RetryMaxAttempts = 1
	return cfg
}

func TestInterceptSeesTheRequest(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := sqs.NewFromConfig(server.Config())
	url := createQueue(t, client, "q")
	var seen atomic.Pointer[sqsxtest.Request]
	server.Intercept(func(r *sqsxtest.Request) error {
		seen.Store(r)
		r.Body[0] = '!' // a copy
		r.Header.Set("X-Amz-Target", "changed")
		return nil
	})
	send(t, client, url, "hello")
	got := seen.Load()
	if got.Action != "sqs:SendMessage" || got.Region != "us-east-1" || got.Account != sqsxtest.DefaultAccount {
		t.Errorf("got %s in %s of %s", got.Action, got.Region, got.Account)
	}
	if !strings.Contains(string(got.Body), `"MessageBody":"hello"`) {
		t.Errorf("got body %s", got.Body)
	}
	server.Intercept(nil)
	send(t, client, url, "again")
	if seen.Load() != got {
		t.Error("the function was called after its removal")
	}
	requests := server.Requests()
	if len(requests) != 3 || requests[0].Action != "sqs:CreateQueue" || requests[1].Header.Get("X-Amz-Target") != "AmazonSQS.SendMessage" {
		t.Errorf("got %d requests, the second with %v", len(requests), requests[1].Header)
	}
	if server.Count("sqs:SendMessage") != 2 || server.Count("sqs:Nothing") != 0 {
		t.Errorf("got %d, %d", server.Count("sqs:SendMessage"), server.Count("sqs:Nothing"))
	}
}

func TestInterceptServiceErrors(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	queues, keys := sqs.NewFromConfig(once(server.Config())), kms.NewFromConfig(once(server.Config()))
	tests := map[string]struct {
		fault  error
		code   string
		status int
		ofKMS  bool
	}{
		"modelled":            {&types.OverLimit{Message: aws.String("full")}, "OverLimit", 403, false},
		"by its query code":   {&smithy.GenericAPIError{Code: "AWS.SimpleQueueService.NonExistentQueue"}, "AWS.SimpleQueueService.NonExistentQueue", 400, false},
		"kms through sqs":     {&types.KmsDisabled{}, "KMS.DisabledException", 400, false},
		"access denied":       {&smithy.GenericAPIError{Code: "AccessDeniedException"}, "AccessDeniedException", 403, false},
		"server's fault":      {&smithy.GenericAPIError{Code: "Broken", Fault: smithy.FaultServer}, "Broken", 500, false},
		"unavailable":         {&smithy.GenericAPIError{Code: "ServiceUnavailable"}, "ServiceUnavailable", 503, false},
		"own status":          {&smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 418}}, Err: &smithy.GenericAPIError{Code: "Teapot"}}, "Teapot", 418, false},
		"code of a bad shape": {&smithy.GenericAPIError{Code: "a\r\nb"}, "a??b", 400, false},
		"kms":                 {&smithy.GenericAPIError{Code: "DisabledException", Message: "off"}, "DisabledException", 400, true},
		"kms unavailable":     {&smithy.GenericAPIError{Code: "KMSInternalException", Fault: smithy.FaultServer}, "KMSInternalException", 500, true},
	}
	for name, test := range tests { // one after the other: there is one intercept function
		server.Intercept(func(*sqsxtest.Request) error { return test.fault })
		var err error
		if test.ofKMS {
			_, err = keys.ListKeys(t.Context(), nil)
		} else {
			_, err = queues.ListQueues(t.Context(), nil)
		}
		t.Run(name, func(t *testing.T) {
			wantCode(t, err, test.code)
			if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); !ok || resp.HTTPStatusCode() != test.status {
				t.Errorf("got %v, want status %d", err, test.status)
			}
		})
	}
}

func TestInterceptBreaksTheTransport(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	cause := errors.New("cable cut")
	server.Intercept(func(*sqsxtest.Request) error { return cause })

	_, err := sqs.NewFromConfig(once(server.Config())).ListQueues(t.Context(), nil)
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want it to wrap %v", err, cause)
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); !ok {
		t.Errorf("got %v, want a RequestSendError", err)
	}

	cfg := once(server.Config())
	cfg.HTTPClient, cfg.BaseEndpoint = sqsxtest.LoopbackClient(nil), aws.String(server.URL())
	_, err = sqs.NewFromConfig(cfg).ListQueues(t.Context(), nil)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset connection", err)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("a server of the user's own: got panic %v, want http.ErrAbortHandler", p)
		}
	}()
	server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
}

func TestResponseLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the retry's backoff takes no time
		server := sqsxtest.New(t)
		client := sqs.NewFromConfig(server.Config())
		url := createQueue(t, client, "q")
		var sends atomic.Int32
		server.Intercept(func(*sqsxtest.Request) error {
			if sends.Add(1) == 1 {
				return sqsxtest.ErrResponseLost
			}
			return nil
		})
		send(t, client, url, "twice")
		if got := len(server.Stored(url)); got != 2 {
			t.Errorf("got %d messages, want 2: the lost answer's and the retry's", got)
		}
	})
}

func TestHangingIntercept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		client := sqs.NewFromConfig(once(server.Config()))

		server.Intercept(func(r *sqsxtest.Request) error {
			<-r.Context().Done()
			return r.Context().Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		if _, err := client.ListQueues(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
		if got := time.Since(start); got != time.Hour {
			t.Errorf("returned after %v, want 1h", got)
		}

		// One that ignores its context holds up itself only.
		release := make(chan struct{})
		server.Intercept(func(*sqsxtest.Request) error { <-release; return nil })
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := client.ListQueues(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
		close(release)

		ended := make(chan struct{})
		server.Intercept(func(r *sqsxtest.Request) error {
			<-r.Context().Done()
			close(ended)
			return nil
		})
		time.AfterFunc(time.Second, server.Close)
		if _, err := client.ListQueues(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("got %v, want an error that says closed", err)
		}
		<-ended // Close has ended the function's context too
	})
}

func TestInterceptThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	server.Intercept(func(*sqsxtest.Request) error { runtime.Goexit(); return nil }) // as t.Fatal does
	_, err := sqs.NewFromConfig(once(server.Config())).ListQueues(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "t.Error") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		client := sqs.NewFromConfig(once(server.Config()))
		url := createQueue(t, client, "q")
		time.AfterFunc(time.Second, server.Close)
		_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("a waiting receive: got %v, want an error that says closed", err)
		}
		if _, err := client.ListQueues(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("a later request: got %v, want an error that says closed", err)
		}
		server.Close()
		if got := server.URL(); got != "http://127.0.0.1:0" {
			t.Errorf("got URL %q after Close", got)
		}
	})
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	const most, total = 16_384, 16_384 + 10
	server := sqsxtest.New(t)
	post := func(action string, size int) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"+strings.Repeat(" ", size)))
		r.Header.Set("X-Amz-Target", action)
		server.ServeHTTP(httptest.NewRecorder(), r)
	}
	for range total - most {
		post("AmazonSQS.First", 0)
	}
	for range most {
		post("AmazonSQS.ListQueues", 0)
	}
	got := server.Requests()
	if len(got) != most || got[0].Action != "sqs:ListQueues" {
		t.Errorf("got %d requests, the first %q; want %d without the oldest", len(got), got[0].Action, most)
	}
	if got := server.Count("sqs:First"); got != total-most {
		t.Errorf("got a count of %d, want %d", got, total-most)
	}
	const large = 15 << 20
	for range 6 {
		post("AmazonSQS.Large", large)
	}
	got = server.Requests()
	if len(got) > 4 || got[len(got)-1].Action != "sqs:Large" || len(got[len(got)-1].Body) != large+2 {
		t.Errorf("got %d requests of 15 MiB, want at most 4", len(got))
	}
}
