package kmskeyring

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// The SDK's own calls of KMS may take forever: it bounds the time to connect,
// but not the time to answer. KMS answers in milliseconds, and most other calls
// succeed in a second attempt, on a new connection.
const (
	// CallTimeout bounds a call of KMS, with its attempts, the wait between them
	// and the time that the client takes to get credentials. A call that it ends
	// fails with [envelope.ErrUnavailable].
	CallTimeout = 5 * time.Second

	// AttemptTimeout bounds one attempt, from the dialing to the last byte of the
	// answer. The keyring sets it in an HTTP client that it builds from the KMS
	// client's own, proxy and certificates included. If the KMS client's HTTP
	// client is not of the SDK's type, it is used unchanged, and only CallTimeout
	// bounds it.
	AttemptTimeout = 2 * time.Second

	maxAttempts = 2
	maxBackoff  = 100 * time.Millisecond
)

// ask makes one call and classifies its failure. If ctx has ended, the error is
// ctx's and says nothing about the key service.
func (k *Keyring) ask(ctx context.Context, q question, do func(context.Context, func(*kms.Options)) error) error {
	if err := callerEnded(ctx); err != nil {
		return err
	}
	callCtx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	err := do(callCtx, func(o *kms.Options) { k.tune(o, q.region) })
	if err == nil {
		return nil
	}
	if ended := callerEnded(ctx); ended != nil {
		return ended
	}
	return classify(q, err)
}

// tune sets the options of one call.
func (k *Keyring) tune(o *kms.Options, region string) {
	if region != "" {
		o.Region = region
	}
	// Bodies hold the data key in the clear.
	o.ClientLogMode &^= aws.LogRequestWithBody | aws.LogResponseWithBody
	if o.Retryer != nil {
		if n := o.Retryer.MaxAttempts(); n == 0 || n > maxAttempts {
			o.Retryer = retry.AddWithMaxAttempts(o.Retryer, maxAttempts)
		}
		o.Retryer = retry.AddWithMaxBackoffDelay(o.Retryer, maxBackoff)
	}
	o.HTTPClient = k.httpClient(o.HTTPClient)
}

// httpClient bounds the time of an attempt. It does so in the client, because
// the SDK does not retry an attempt that a context ended.
func (k *Keyring) httpClient(theirs kms.HTTPClient) kms.HTTPClient {
	buildable, ok := theirs.(*awshttp.BuildableClient)
	if theirs != nil && !ok {
		return theirs
	}
	if buildable == nil {
		buildable = awshttp.NewBuildableClient()
	}
	if t := buildable.GetTimeout(); t > 0 && t <= AttemptTimeout {
		return buildable
	}
	// Once: a copy has a connection pool of its own.
	k.httpOnce.Do(func() { k.http = buildable.WithTimeout(AttemptTimeout) })
	return k.http
}

// callerEnded is ctx's error. A deadline that has passed counts even before its
// timer fires: a dial that knows the deadline may fail a moment earlier.
func callerEnded(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}
