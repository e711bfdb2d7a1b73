package launch

import (
	"context"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx/sqsxtest"
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
		HTTPClient: sqsxtest.LoopbackClient(&http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}),
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
	}
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
