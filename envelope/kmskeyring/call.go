package kmskeyring

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/internal/awscall"
)

// The SDK's own calls of KMS may take forever: it bounds the time to connect,
// but not the time to answer. KMS answers in milliseconds, and most other calls
// succeed in a second attempt, on a new connection.
const (
	// CallTimeout bounds a call of KMS, with its attempts, the wait between them
	// and the time that the client takes to get credentials. A call that it ends
	// fails with [envelope.ErrUnavailable].
	CallTimeout = awscall.CallTimeout // 5 seconds

	// AttemptTimeout bounds one attempt, from the dialing to the last byte of the
	// answer. The keyring sets it in an HTTP client that it builds from the KMS
	// client's own, proxy and certificates included. If the KMS client's HTTP
	// client is not of the SDK's type, it is used unchanged, and only CallTimeout
	// bounds it.
	AttemptTimeout = awscall.AttemptTimeout // 2 seconds
)

// ask makes one call and classifies its failure. If ctx has ended, the error is
// ctx's and says nothing about the key service.
func (k *Keyring) ask(ctx context.Context, q question, do func(context.Context, func(*kms.Options)) error) error {
	return awscall.Do(ctx, func(ctx context.Context) error {
		return do(ctx, func(o *kms.Options) { k.tune(o, q.region) })
	}, func(err error) error { return classify(q, err) })
}

// tune sets the options of one call.
func (k *Keyring) tune(o *kms.Options, region string) {
	if region != "" {
		o.Region = region
	}
	o.ClientLogMode = awscall.LogMode(o.ClientLogMode)
	o.Retryer = awscall.Retryer(o.Retryer)
	o.HTTPClient = k.transport.Bounded(o.HTTPClient)
}
