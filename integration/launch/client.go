package launch

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Config returns an SDK configuration for the instance, with test credentials,
// without retries: an emulator on the same machine has no reason to fail.
func (in *Instance) Config() aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(in.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
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
