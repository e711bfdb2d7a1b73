// Package awscall makes calls of AWS services that end in bounded time, and
// tells what their errors are about.
package awscall

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// The SDK's own calls may take forever: it bounds the time to connect, but not
// the time to answer. KMS and DynamoDB answer in milliseconds, and most other
// calls succeed in a second attempt, on a new connection.
const (
	// CallTimeout bounds a call, with its attempts, the wait between them and the
	// time that the client takes to get credentials.
	CallTimeout = 5 * time.Second

	// AttemptTimeout bounds one attempt, from the dialing to the last byte of the
	// answer.
	AttemptTimeout = 2 * time.Second

	maxAttempts = 2
	maxBackoff  = 100 * time.Millisecond
)

// Do makes one call, and returns nil or what classify makes of its error. If
// ctx has ended, the error is ctx's and says nothing about the service.
func Do(ctx context.Context, call func(context.Context) error, classify func(error) error) error {
	if err := Ended(ctx); err != nil {
		return err
	}
	callCtx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	err := call(callCtx)
	if err == nil {
		return nil
	}
	if ended := Ended(ctx); ended != nil {
		return ended
	}
	return classify(err)
}

// Ended is ctx's error. A deadline that has passed counts even before its timer
// fires: a dial that knows the deadline may fail a moment earlier.
func Ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// LogMode is mode without bodies, which hold keys.
func LogMode(mode aws.ClientLogMode) aws.ClientLogMode {
	return mode &^ (aws.LogRequestWithBody | aws.LogResponseWithBody)
}

// Retryer bounds the attempts of theirs, and the pauses between them. It may be
// nil.
func Retryer(theirs aws.Retryer) aws.Retryer {
	if theirs == nil {
		return nil
	}
	if n := theirs.MaxAttempts(); n == 0 || n > maxAttempts {
		theirs = retry.AddWithMaxAttempts(theirs, maxAttempts)
	}
	return retry.AddWithMaxBackoffDelay(theirs, maxBackoff)
}

// HTTPClient is that of every client of the SDK.
type HTTPClient interface {
	// Do sends a request, as the method of *http.Client does.
	Do(*http.Request) (*http.Response, error)
}

// Transport makes HTTP clients that bound the time of an attempt. They do so in
// the client, because the SDK does not retry an attempt that a context ended.
// There is one for each client of a service. The zero value is ready for use,
// and safe for concurrent use.
type Transport struct {
	once sync.Once
	own  HTTPClient
}

// Bounded returns a client built from theirs, proxy and certificates included,
// with [AttemptTimeout]. A client that is not of the SDK's type is returned
// unchanged.
func (t *Transport) Bounded(theirs HTTPClient) HTTPClient {
	buildable, ok := theirs.(*awshttp.BuildableClient)
	if theirs != nil && !ok {
		return theirs
	}
	if buildable == nil {
		buildable = awshttp.NewBuildableClient()
	}
	if d := buildable.GetTimeout(); d > 0 && d <= AttemptTimeout {
		return buildable
	}
	// Once: a copy has a connection pool of its own.
	t.once.Do(func() { t.own = buildable.WithTimeout(AttemptTimeout) })
	return t.own
}
