package examples_test

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestLambda runs the command that the Lambda example names: the function under
// aws-lambda-go, with the event file, without an account.
func TestLambda(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // most of it builds the program
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "./try", "event.json")
	cmd.Dir = "../../examples/lambda"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	t.Logf("%s", stderr.String())
	if want := `{"batchItemFailures":[{"itemIdentifier":"3b1424d4-f796-459a-8184-9c92662be6db"}]}`; err != nil || strings.TrimSpace(stdout.String()) != want {
		t.Errorf("got %s and error %v, want %s", &stdout, err, want)
	}
	if first, _, _ := strings.Cut(stderr.String(), "\n"); first != "3 records: 2 sealed, 1 left in plaintext on purpose" {
		t.Errorf("it began with %q, want what the event is", first)
	}
	for _, line := range []string{"answer to Lambda (1 failed, stays in the queue):\n", "31 bytes, received 1 times", "31 bytes, received 2 times", "message withheld: not sealed"} {
		if !strings.Contains(stderr.String(), line) {
			t.Errorf("it did not print %q", line)
		}
	}
}
