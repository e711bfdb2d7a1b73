package thirdparty_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestRecordingsOfTheService sends what gocloud.dev's recordings say was sent
// to the real SQS to the in-process server, and compares the answers: digests
// of bodies and attributes, what is received, and error codes. No other test
// has seen the service itself.
func TestRecordingsOfTheService(t *testing.T) {
	dir := recordings(t)
	sends, receives, refusals := 0, 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".replay" {
			return err
		}
		for i, e := range exchanges(t, path) {
			where := fmt.Sprintf("%s, exchange %d", strings.TrimPrefix(path, dir), i)
			switch e.target {
			case "AmazonSQS.SendMessageBatch":
				if !json.Valid(e.request) {
					continue // it was cut for the recording
				}
				if e.status == http.StatusOK {
					sends += resend(t, where, e)
				} else {
					refusals += refuse(t, where, e)
				}
			case "AmazonSQS.ReceiveMessage":
				if e.status == http.StatusOK {
					receives += digestsOf(t, where, e)
				} else {
					refusals += refuse(t, where, e)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sends == 0 || receives == 0 || refusals == 0 {
		t.Errorf("recordings compared: %d sends, %d receives, %d refusals; want some of each", sends, receives, refusals)
	}
	t.Logf("%d sends, %d receives, %d refusals", sends, receives, refusals)
}

func recordings(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "gocloud.dev").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "pubsub", "awssnssqs", "testdata")
}

// exchange is one recorded request and its answer.
type exchange struct {
	target   string
	status   int
	request  []byte
	response []byte
	code     string // of a refusal
}

func exchanges(t *testing.T, path string) []exchange {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Entries []struct {
			Request struct {
				Header    http.Header
				BodyParts [][]byte
			}
			Response struct {
				StatusCode int
				Header     http.Header
				Body       []byte
			}
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var all []exchange
	for _, e := range file.Entries {
		code, _, _ := strings.Cut(e.Response.Header.Get("X-Amzn-Query-Error"), ";")
		all = append(all, exchange{
			target: e.Request.Header.Get("X-Amz-Target"), status: e.Response.StatusCode,
			request: bytes.Join(e.Request.BodyParts, nil), response: e.Response.Body, code: code,
		})
	}
	return all
}

// resend sends a recorded batch to a queue of the in-process server, and wants
// the digests that the service has answered, on send and on receive.
func resend(t *testing.T, where string, e exchange) int {
	t.Helper()
	client, url := newQueue(t)
	in := decode[sqs.SendMessageBatchInput](t, where, e.request)
	in.QueueUrl = url
	want := decode[sqs.SendMessageBatchOutput](t, where, e.response)
	got, err := client.SendMessageBatch(t.Context(), &in)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return 0
	}
	digests := func(entries []types.SendMessageBatchResultEntry) map[string][2]string {
		m := map[string][2]string{}
		for _, entry := range entries {
			m[*entry.Id] = [2]string{aws.ToString(entry.MD5OfMessageBody), aws.ToString(entry.MD5OfMessageAttributes)}
		}
		return m
	}
	if diff := cmp.Diff(digests(want.Successful), digests(got.Successful)); diff != "" {
		t.Errorf("%s: digests: -service +sqsxtest:\n%s", where, diff)
	}
	return len(in.Entries)
}

// digestsOf sends the messages that were received from the service, and wants
// them received again with the same digests.
func digestsOf(t *testing.T, where string, e exchange) int {
	t.Helper()
	want := decode[sqs.ReceiveMessageOutput](t, where, e.response)
	for _, m := range want.Messages {
		client, url := newQueue(t)
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: m.Body, MessageAttributes: m.MessageAttributes}); err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, MessageAttributeNames: []string{"All"}})
		if err != nil || len(got.Messages) != 1 {
			t.Errorf("%s: received %d messages, error %v", where, len(got.Messages), err)
			continue
		}
		digest := func(m types.Message) [2]string {
			return [2]string{aws.ToString(m.MD5OfBody), aws.ToString(m.MD5OfMessageAttributes)}
		}
		if diff := cmp.Diff(digest(m), digest(got.Messages[0])); diff != "" {
			t.Errorf("%s: digests: -service +sqsxtest:\n%s", where, diff)
		}
	}
	return len(want.Messages)
}

const recordedRegion = "us-east-2"

// refuse repeats a request that the service has refused. The queue exists
// unless that was the reason.
func refuse(t *testing.T, where string, e exchange) int {
	t.Helper()
	server := sqsxtest.New(t)
	url := *decode[sqs.SendMessageBatchInput](t, where, e.request).QueueUrl // a receive has one, too
	account := strings.Split(url, "/")[3]
	if e.code != "AWS.SimpleQueueService.NonExistentQueue" {
		name := url[strings.LastIndex(url, "/")+1:]
		in := &sqs.CreateQueueInput{QueueName: &name}
		if strings.HasSuffix(name, ".fifo") {
			in.Attributes = map[string]string{"FifoQueue": "true"}
		}
		cfg := server.Config()
		cfg.Region = recordedRegion
		cfg.Credentials = credentials.NewStaticCredentialsProvider(account, "test", "")
		if _, err := sqs.NewFromConfig(cfg).CreateQueue(t.Context(), in); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL(), bytes.NewReader(e.request))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", e.target)
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amzn-Query-Mode", "true")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+account+"/20260319/"+recordedRegion+"/sqs/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	code, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Query-Error"), ";")
	if resp.StatusCode != e.status || code != e.code || kind(body) != kind(e.response) {
		t.Errorf("%s: got %d %q %q, the service answered %d %q %q", where, resp.StatusCode, code, kind(body), e.status, e.code, kind(e.response))
	}
	return 1
}

// kind is the type of an error in an answer.
func kind(body []byte) string {
	var e struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal(body, &e) != nil {
		return "not JSON: " + base64.StdEncoding.EncodeToString(body)
	}
	return e.Type
}

func newQueue(t *testing.T) (*sqs.Client, *string) {
	t.Helper()
	cfg := sqsxtest.New(t).Config()
	cfg.Credentials = credentials.NewStaticCredentialsProvider("test", "test", "")
	client := sqs.NewFromConfig(cfg)
	out, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
	if err != nil {
		t.Fatal(err)
	}
	return client, out.QueueUrl
}

// decode reads the JSON of the protocol, whose names are those of the SDK.
func decode[T any](t *testing.T, where string, body []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return v
}
