package interop_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// earlierConsumer is a test for the tree of an earlier commit.
const earlierConsumer = `package sqsx_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestContentOfALaterRelease(t *testing.T) {
	text, err := os.ReadFile(os.Getenv("LATER_MESSAGES"))
	if err != nil {
		t.Fatal(err)
	}
	var messages []sqs.SendMessageInput
	if err := json.Unmarshal(text, &messages); err != nil {
		t.Fatal(err)
	}
	server := sqsxtest.New(t)
	plain, url := sqs.NewFromConfig(server.Config()), server.NewQueue("orders")
	for _, in := range messages {
		in.QueueUrl = &url
		if _, err := plain.SendMessage(t.Context(), &in); err != nil {
			t.Fatal(err)
		}
	}
	kr, err := envelope.NewRawAESKeyring("example", "earlier", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.New(kr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sqs.NewFromConfig(server.Config(), sealer.Install).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10})
	failed, ok := errors.AsType[*sqsx.ReceiveError](err)
	if !ok || len(failed.Withheld) != len(messages) {
		t.Fatalf("got %v, %v, want all %d messages withheld", out, err, len(messages))
	}
	for _, w := range failed.Withheld {
		if !errors.Is(w, envelope.ErrUnsupported) || !strings.Contains(w.Error(), "\"sealq:content\"") || w.Temporary {
			t.Errorf("got %v, want a refusal that names sealq:content", w)
		}
	}
	if n := len(server.Stored(url)); n != len(messages) {
		t.Errorf("%d messages are left, want %d", n, len(messages))
	}
}
`

// A consumer of the last commit before sealed content refuses it by name, and
// loses no message of it: what happens to a team that updates producers first.
func TestEarlierReleaseRefusesContent(t *testing.T) {
	t.Parallel()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v", args, err)
		}
		return string(out)
	}
	added := strings.Fields(git("log", "--diff-filter=A", "--format=%H", "--", "sqsx/internal/content/content.go"))
	// A copy without that history, such as a source archive, cannot show it.
	if len(added) == 0 || strings.TrimSpace(git("rev-parse", "--is-shallow-repository")) == "true" ||
		len(strings.Fields(git("rev-list", "--parents", "--max-count=1", added[len(added)-1]))) < 2 {
		t.Skip("the clone does not have the commits before sealed content")
	}
	earlier := t.TempDir()
	archive := filepath.Join(t.TempDir(), "earlier.tar")
	git("archive", "--output="+archive, added[len(added)-1]+"^")
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", earlier).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(earlier, "sqsx/internal/content")); !os.IsNotExist(err) {
		t.Fatalf("got %v, want a tree without sealed content", err)
	}

	kr, err := envelope.NewRawAESKeyring("example", "earlier", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	var messages []*sqs.SendMessageInput
	for _, policy := range []sqsx.Policy{
		{SealAttributes: true}, {SealAttributes: true, BodyCarrier: true}, {Compress: true}, {MaxAge: time.Hour}, {AuthenticateAttributes: []string{"tenant"}},
	} {
		sealer, err := sqsx.New(kr, func(o *sqsx.Options) { o.Policy = policy })
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := sealer.SealMessage(t.Context(), "arn:aws:sqs:us-east-1:000000000000:orders", &sqs.SendMessageInput{
			MessageBody:       aws.String(strings.Repeat("text ", 100)),
			MessageAttributes: map[string]types.MessageAttributeValue{"tenant": {DataType: aws.String("String"), StringValue: aws.String("acme")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, sealed)
	}
	text, err := json.Marshal(messages)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(earlier, "messages.json")
	for name, content := range map[string]string{file: string(text), filepath.Join(earlier, "sqsx/later_test.go"): earlierConsumer} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run=^TestContentOfALaterRelease$", "-v", "./sqsx")
	cmd.Dir = earlier
	cmd.Env = append(os.Environ(), "LATER_MESSAGES="+file, "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestContentOfALaterRelease") {
		t.Errorf("%v:\n%s", err, out)
	}
}
