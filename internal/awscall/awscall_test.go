package awscall_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/internal/awscall"
)

// TestServiceIDs: an error is that of a service by the SDK's own name for it.
func TestServiceIDs(t *testing.T) {
	t.Parallel()
	for service, want := range map[awscall.Service]string{awscall.KMS(): kms.ServiceID, awscall.DynamoDB(): dynamodb.ServiceID} {
		if service.ID != want {
			t.Errorf("got %q, want %q", service.ID, want)
		}
		if want := "AWS_ENDPOINT_URL_" + strings.ToUpper(want); service.EndpointEnv != want {
			t.Errorf("got %q, want %q", service.EndpointEnv, want)
		}
	}
}

// TestDo: a call ends after CallTimeout, and the end of the caller's context is
// the caller's own.
func TestDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		classified := errors.New("classified")
		classify := func(error) error { return classified }
		wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		begin := time.Now()
		if err := awscall.Do(t.Context(), wait, classify); err != classified || time.Since(begin) != awscall.CallTimeout {
			t.Errorf("got %v after %v, want the classified error after %v", err, time.Since(begin), awscall.CallTimeout)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := awscall.Do(ctx, wait, classify); err != context.DeadlineExceeded {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		called := false
		if err := awscall.Do(ctx, func(context.Context) error { called = true; return nil }, classify); err != context.DeadlineExceeded || called {
			t.Errorf("got %v and called %t, want the caller's deadline and no call", err, called)
		}
		if err := awscall.Do(t.Context(), func(context.Context) error { return nil }, classify); err != nil {
			t.Error(err)
		}
	})
}

func TestTuning(t *testing.T) {
	t.Parallel()
	if got := awscall.LogMode(aws.LogRetries | aws.LogRequestWithBody | aws.LogResponseWithBody); got != aws.LogRetries {
		t.Errorf("got log mode %b, want no bodies", got)
	}
	if awscall.Retryer(nil) != nil {
		t.Error("a client without a retryer got one")
	}
	if got := awscall.Retryer(aws.NopRetryer{}).MaxAttempts(); got != 1 {
		t.Errorf("got %d attempts, want the client's 1", got)
	}
}

func TestGrantTokens(t *testing.T) {
	t.Parallel()
	for want, tokens := range map[string][]string{
		" has 11 tokens, want at most 10": make([]string, 11),
		"[1] is 0 bytes":                  {"x", ""},
		"[0] is 8193 bytes":               {strings.Repeat("x", 8193)},
	} {
		if err := awscall.CheckGrantTokens(tokens); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := awscall.CheckGrantTokens([]string{strings.Repeat("x", 8192)}); err != nil {
		t.Error(err)
	}
}
