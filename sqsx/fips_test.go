package sqsx_test

import (
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sealq/sealq/sqsx"
)

// TestFIPS runs itself again in both modes: with "on" everything works, MD5
// digests included; with "only" a service learns at start that it cannot seal.
func TestFIPS(t *testing.T) {
	t.Parallel()
	switch {
	case fips140.Enforced():
		_, err := sqsx.NewFromConfig(aws.Config{Region: "us-east-1"}, "alias/orders")
		if _, ok := errors.AsType[*sqsx.ConfigError](err); !ok || !strings.Contains(err.Error(), "GODEBUG=fips140=only") {
			t.Errorf("NewFromConfig: got %v, want a *ConfigError that names the mode", err)
		}
	case fips140.Enabled():
		w := newWorld(t)
		client, url := w.client(), w.queue("orders")
		sent := send(t, client, url, "hello")
		out, err := receive(t.Context(), client, url)
		if err != nil {
			t.Fatal(err)
		}
		m := out.Messages[0]
		if *m.Body != "hello" || aws.ToString(m.MD5OfBody) != md5Hex("hello") || aws.ToString(sent.MD5OfMessageBody) != md5Hex("hello") {
			t.Errorf("got body %q with the digests %v and %v, want what was sent, with its own", *m.Body, sent.MD5OfMessageBody, m.MD5OfBody)
		}
	default:
		for _, mode := range []string{"on", "only"} {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFIPS$", "-test.v")
			cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFIPS") {
				t.Errorf("fips140=%s: %v\n%s", mode, err, out)
			}
		}
	}
}
