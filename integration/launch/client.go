package launch

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// region is that of every client.
const region = "us-east-1"

// Config returns an SDK configuration for the instance, with test credentials,
// without retries: an emulator on the same machine has no reason to fail.
func (in *Instance) Config() aws.Config {
	return aws.Config{
		Region:       region,
		BaseEndpoint: aws.String(in.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		// Not the SDK's own type: sealq would bound each KMS call by 2 s, which an
		// emulator on a busy machine does not always keep.
		HTTPClient: &http.Client{Transport: plainBodies{http.DefaultTransport.(*http.Transport).Clone()}},
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// plainBodies hides the WriteTo method of request bodies. smithy-go v1.28.8
// closes a body when the answer's header is there, and from then on its WriteTo
// returns io.EOF, which net/http takes for a failure while it looks for the end
// of the body: it closes the connection, and the answer is lost. A server on the
// same machine is fast enough for that, in one of some ten thousand requests.
type plainBodies struct{ next http.RoundTripper }

func (p plainBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.next.RoundTrip(r)
}

// Speaks asks for the lists of queues and, of an emulator that has them, keys:
// the instance speaks the protocol of the SDK, and not only some HTTP.
func (in *Instance) Speaks(ctx context.Context) error {
	cfg := in.Config()
	if _, err := sqs.NewFromConfig(cfg).ListQueues(ctx, &sqs.ListQueuesInput{}); err != nil {
		return fmt.Errorf("launch: %s: %w", in.Name, err)
	}
	if !in.KMS {
		return nil
	}
	if _, err := kms.NewFromConfig(cfg).ListKeys(ctx, &kms.ListKeysInput{}); err != nil {
		return fmt.Errorf("launch: %s: %w", in.Name, err)
	}
	return nil
}
