// Package examples_test runs the programs of examples/ as their readers would,
// on LocalStack or without an account.
package examples_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/integration/launch"
	"github.com/sealq/sealq/integration/matrix"
)

func TestQuickstart(t *testing.T) {
	emulator, err := launch.Find("LocalStack")
	if err != nil {
		t.Fatal(err)
	}
	in := launch.Use(t, emulator)
	matrix.Record(t, matrix.Row{Section: matrix.Conformance, Subject: in.Name, Version: in.Version, What: "examples: quickstart"})

	// An account of its own, so that the queues that are left are the program's.
	const account = "111122223333"
	cfg := in.Config()
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: account, SecretAccessKey: "test"}, nil
	})
	key, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // most of it builds the program
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "./examples/quickstart")
	cmd.Dir = "../.."
	cmd.Env = append(cmd.Environ(), "AWS_ENDPOINT_URL="+in.Endpoint, "AWS_REGION="+cfg.Region,
		"AWS_ACCESS_KEY_ID="+account, "AWS_SECRET_ACCESS_KEY=test", "SEALQ_KEY_ID="+*key.KeyMetadata.Arn)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"1. A producer sends", "3. The consumer gets"} {
		if !strings.Contains(string(out), line) {
			t.Errorf("it did not print %q", line)
		}
	}
	left, err := sqs.NewFromConfig(cfg).ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(left.QueueUrls) > 0 {
		t.Errorf("it left queues behind: %q", left.QueueUrls)
	}
}
