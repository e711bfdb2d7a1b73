package sqsxtest_test

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// wantPanic fails the test unless f panics with a text that contains want.
func wantPanic(t *testing.T, name, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := recover(); !strings.Contains(fmt.Sprint(got), want) {
			t.Errorf("%s: got panic %v, want one that says %q", name, got, want)
		}
	}()
	f()
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	server.Intercept(func(r *sqsxtest.Request) error { return errors.New(r.Action) })
	arn := server.NewKey("alias/orders", "alias/payments")
	if other := server.NewKey(); other == arn || !strings.HasPrefix(other, "arn:aws:kms:us-east-1:000000000000:key/") {
		t.Errorf("got %s and %s, want the ARNs of two keys", arn, other)
	}
	if got := server.Requests(); len(got) != 0 {
		t.Errorf("got %d requests, want 0: the first is %s", len(got), got[0].Action)
	}
	server.Intercept(nil)

	keys := kms.NewFromConfig(server.Config())
	for _, id := range []string{arn, "alias/orders", "alias/payments"} {
		out, err := keys.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: kmstypes.DataKeySpecAes256})
		if err != nil || *out.KeyId != arn {
			t.Errorf("%s: got %v, %v, want a data key of %s", id, out, err, arn)
		}
	}
	wantPanic(t, "a second alias/orders", "AlreadyExistsException", func() { server.NewKey("alias/orders") })
	wantPanic(t, "no alias", `alias "orders": `, func() { server.NewKey("orders") })
	server.NewKey() // a panic leaves nothing locked
}

func TestNewQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		dead := server.NewQueue("orders-dead")
		queue := server.NewQueue("orders", "VisibilityTimeout", "5", "RedrivePolicy", sqsxtest.RedrivePolicy(dead, 2))
		if got := len(server.Requests()); got != 0 {
			t.Errorf("got %d requests, want 0", got)
		}
		client := sqs.NewFromConfig(server.Config())
		if got := createQueue(t, client, "orders-dead"); got != dead {
			t.Errorf("got URL %s, want CreateQueue's %s", dead, got)
		}
		if again := server.NewQueue("orders", "VisibilityTimeout", "5"); again != queue {
			t.Errorf("got URL %s for the same queue, want %s", again, queue)
		}
		send(t, client, queue, "one pallet")
		for range 3 {
			receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &queue})
			time.Sleep(5 * time.Second)
		}
		if got := server.Stored(dead); len(got) != 1 || *got[0].Body != "one pallet" {
			t.Errorf("got %d messages in the dead-letter queue, want the one that was received twice", len(got))
		}

		fifo := server.NewQueue("orders.fifo", "ContentBasedDeduplication", "true",
			"RedrivePolicy", sqsxtest.RedrivePolicy(server.NewQueue("orders-dead.fifo"), 1_000))
		_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &fifo, MessageBody: aws.String("x"), MessageGroupId: aws.String("g")})
		if err != nil {
			t.Errorf("FIFO: %v", err)
		}

		wantPanic(t, "other attributes", "QueueNameExists", func() { server.NewQueue("orders", "VisibilityTimeout", "6") })
		wantPanic(t, "a bad name", "alphanumeric", func() { server.NewQueue("or ders") })
		wantPanic(t, "no such attribute", "Colour", func() { server.NewQueue("q", "Colour", "red") })
		wantPanic(t, "no value", "has no value", func() { server.NewQueue("q", strings.Fields("DelaySeconds")...) })
		wantPanic(t, "maxReceiveCount", "maxReceiveCount", func() { server.NewQueue("q", "RedrivePolicy", sqsxtest.RedrivePolicy(dead, 1_001)) })
		wantPanic(t, "no URL", "not the URL of a queue", func() { sqsxtest.RedrivePolicy("https://sqs.us-east-1.amazonaws.com/", 3) })
	})
}

// TestRedrivePolicyRegion: the ARN is of the queue's Region, whatever form its
// URL has.
func TestRedrivePolicyRegion(t *testing.T) {
	t.Parallel()
	for url, region := range map[string]string{
		"https://sqs.eu-west-1.amazonaws.com/111122223333/dead":     "eu-west-1",
		"http://127.0.0.1:9324/queue/eu-west-1/111122223333/dead":   "eu-west-1",
		"http://localhost:4566/111122223333/dead":                   "us-east-1",
		"https://sqs.cn-north-1.amazonaws.com.cn/111122223333/dead": "cn-north-1",
	} {
		want := ":sqs:" + region + `:111122223333:dead","maxReceiveCount":7}`
		if got := sqsxtest.RedrivePolicy(url, 7); !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %s, want it to end in %s", url, got, want)
		}
	}
}

// wantStatus fails the test unless err carries the HTTP status.
func wantStatus(t *testing.T, err error, want int) {
	t.Helper()
	if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); !ok || resp.HTTPStatusCode() != want {
		t.Errorf("got %v, want status %d", err, want)
	}
}

func TestDeny(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	key, queue := server.NewKey(), server.NewQueue("orders")
	keys, queues := kms.NewFromConfig(once(server.Config())), sqs.NewFromConfig(once(server.Config()))
	calls := map[string]func() error{
		"kms:GenerateDataKey": func() error {
			_, err := keys.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256})
			return err
		},
		"kms:GenerateDataKeyWithoutPlaintext": func() error {
			_, err := keys.GenerateDataKeyWithoutPlaintext(t.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256})
			return err
		},
		"kms:ReEncrypt": func() error {
			blob, err := keys.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
			if err == nil {
				_, err = keys.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: blob.CiphertextBlob, DestinationKeyId: &key})
			}
			return err
		},
		"sqs:SendMessage": func() error {
			_, err := queues.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("x")})
			return err
		},
		"sqs:SendMessageBatch": func() error {
			_, err := queues.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &queue, Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("a"), MessageBody: aws.String("x")}}})
			return err
		},
	}
	for denied, want := range map[string][]string{
		"kms:GenerateDataKey":  {"kms:GenerateDataKey"},
		"kms:GenerateDataKey*": {"kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"},
		"kms:ReEncryptFrom":    {"kms:ReEncrypt"},
		"kms:ReEncryptTo":      {"kms:ReEncrypt"},
		"kms:ReEncrypt*":       {"kms:ReEncrypt"},
		"sqs:SendMessage":      {"sqs:SendMessage", "sqs:SendMessageBatch"},
		"sqs:SendMessageBatch": {"sqs:SendMessageBatch"},
		"sqs:*":                {"sqs:SendMessage", "sqs:SendMessageBatch"},
		"kms:Decrypt":          nil,
	} {
		allow := server.Deny(denied)
		for name, call := range calls {
			before := server.Count(name)
			err := call()
			if !slices.Contains(want, name) {
				if err != nil {
					t.Errorf("%s denied: %s: %v", denied, name, err)
				}
				continue
			}
			if strings.HasPrefix(name, "sqs:") {
				wantCode(t, err, "AccessDenied")
				wantStatus(t, err, 403)
			} else {
				wantCode(t, err, "AccessDeniedException")
				wantStatus(t, err, 400)
			}
			if err != nil && !strings.Contains(err.Error(), "not authorized to perform: "+name+" ") {
				t.Errorf("%s denied: got %v, want an error that names %s", denied, err, name)
			}
			if got := server.Count(name); got != before+1 {
				t.Errorf("%s denied: %d requests counted, want 1", denied, got-before)
			}
		}
		allow()
	}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("all allowed: %s: %v", name, err)
		}
	}

	// Denied twice, it is allowed when both are lifted. Each counts once.
	first, second := server.Deny("sqs:SendMessage"), server.Deny("sqs:SendMessage")
	first()
	first()
	wantCode(t, calls["sqs:SendMessage"](), "AccessDenied")
	second()
	if err := calls["sqs:SendMessage"](); err != nil {
		t.Error(err)
	}

	for _, slip := range []string{"kms:Decript", "Decrypt", "kms:", "KMS:Decrypt", "*", "", "s3:GetObject", "kms:*Key"} {
		wantPanic(t, slip, "no action", func() { server.Deny(slip) })
	}
	for _, action := range []string{"AddPermission", "DeleteMessage", "GetQueueUrl", "ListMessageMoveTasks", "UntagQueue"} {
		server.Deny("sqs:" + action)()
	}
}

func TestCutKMS(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	key, queue := server.NewKey(), server.NewQueue("orders")
	bySocket := once(server.Config())
	bySocket.BaseEndpoint, bySocket.HTTPClient = aws.String(server.URL()), sqsxtest.LoopbackClient(nil)
	for name, test := range map[string]struct {
		cfg  aws.Config
		want error
	}{
		"in process": {once(server.Config()), syscall.ECONNREFUSED},
		"socket":     {bySocket, syscall.ECONNRESET},
	} {
		keys := kms.NewFromConfig(test.cfg)
		describe := func() error {
			_, err := keys.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key})
			return err
		}
		restore, again := server.CutKMS(), server.CutKMS()
		before := server.Count("kms:DescribeKey")
		err := describe()
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); !ok {
			t.Errorf("%s: got %v, want a RequestSendError", name, err)
		}
		if got := server.Count("kms:DescribeKey"); got != before+1 {
			t.Errorf("%s: %d attempts counted, want 1", name, got-before)
		}
		send(t, sqs.NewFromConfig(test.cfg), queue, "SQS goes on")
		restore()
		restore()
		if describe() == nil {
			t.Errorf("%s: KMS is back while it is cut once more", name)
		}
		again()
		if err := describe(); err != nil {
			t.Errorf("%s: restored: %v", name, err)
		}
	}
}

func TestTamper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := sqsxtest.New(t)
		client := sqs.NewFromConfig(server.Config()) // the SDK's check of MD5OfBody is on
		queue, other := server.NewQueue("orders", "VisibilityTimeout", "1"), server.NewQueue("payments")
		sealed := base64.StdEncoding.EncodeToString([]byte("ciphertext and tag"))
		send(t, client, queue, sealed)
		_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
			QueueUrl: &queue, MessageBody: aws.String(`{"order":4711}`), MessageAttributes: map[string]types.MessageAttributeValue{
				"a": {DataType: aws.String("Binary"), BinaryValue: []byte{0xff}}, "b": {DataType: aws.String("Number"), StringValue: aws.String("12345678901234567890")},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		send(t, client, other, "untouched")
		get := func(url string) []types.Message {
			t.Helper()
			time.Sleep(time.Second) // visible again
			got := receive(t, client, &sqs.ReceiveMessageInput{
				QueueUrl: &url, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
				MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
			})
			slices.SortFunc(got, func(a, b types.Message) int { return strings.Compare(*a.Body, *b.Body) })
			return got
		}
		intact := get(queue)

		restore := server.Tamper(queue)
		for range 2 { // every receive, and each time the same
			got := get(queue)
			want := []string{base64.StdEncoding.EncodeToString([]byte("ciphertext and taf")), `{"order":4711|`}
			if diff := bodies(got); !slices.Equal(diff, want) {
				t.Fatalf("got bodies %q, want %q", diff, want)
			}
			for i, m := range got {
				sum := md5.Sum([]byte(*m.Body))
				if *m.MD5OfBody != hex.EncodeToString(sum[:]) {
					t.Errorf("message %d: MD5OfBody is not that of the altered body", i)
				}
				if *m.MessageId != *intact[i].MessageId || aws.ToString(m.MD5OfMessageAttributes) != aws.ToString(intact[i].MD5OfMessageAttributes) ||
					len(m.MessageAttributes) != len(intact[i].MessageAttributes) || m.Attributes["SentTimestamp"] != intact[i].Attributes["SentTimestamp"] {
					t.Errorf("message %d: more than the body differs", i)
				}
			}
		}
		if got := bodies(server.Stored(queue)); !slices.Contains(got, sealed) {
			t.Errorf("stored: got %q, want the original", got)
		}
		if got := bodies(get(other)); !slices.Equal(got, []string{"untouched"}) {
			t.Errorf("another queue: got %q", got)
		}
		restore()
		restore()
		if got := bodies(get(queue)); !slices.Equal(got, bodies(intact)) {
			t.Errorf("restored: got %q, want %q", got, bodies(intact))
		}
		defer server.Tamper(queue)()
		if got := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &queue}); len(got) != 0 {
			t.Errorf("an empty receive: got %d messages", len(got))
		}

		wantPanic(t, "no such queue", "there is no queue", func() { server.Tamper(strings.Replace(queue, "orders", "order", 1)) })
		wantPanic(t, "no URL", "not the URL of a queue", func() { server.Tamper("https://sqs.example/orders#f") })
	})
}

// TestTamperedSeal: a consumer that is sealed finds the alteration by its
// authentication, wherever the message carries its header.
func TestTamperedSeal(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]sqsx.Policy{"header in an attribute": {}, "all in the body": {BodyCarrier: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := sqsxtest.New(t)
			queue := server.NewQueue("orders")
			sealer, err := sqsx.NewFromConfig(server.Config(), server.NewKey(), func(o *sqsx.Options) {
				o.Policy, o.Logger = policy, slog.New(slog.DiscardHandler)
			})
			if err != nil {
				t.Fatal(err)
			}
			client := sqs.NewFromConfig(server.Config(), sealer.Install)
			for _, body := range []string{"x", strings.Repeat("order ", 1000)} {
				send(t, client, queue, body)
			}
			defer server.Tamper(queue)()
			_, err = client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &queue, MaxNumberOfMessages: 10})
			failed, ok := errors.AsType[*sqsx.ReceiveError](err)
			if !ok || len(failed.Withheld) != 2 {
				t.Fatalf("got %v, want both messages withheld", err)
			}
			for _, w := range failed.Withheld {
				if !errors.Is(w.Err, envelope.ErrAuthentication) {
					t.Errorf("withheld for %v, want ErrAuthentication", w.Err)
				}
			}
		})
	}
}

// TestTamperIsText: whatever a queue can hold differs by one bit, and can still
// be held.
func TestTamperIsText(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := sqs.NewFromConfig(server.Config())
	queue := server.NewQueue("orders")
	defer server.Tamper(queue)()
	text := rapid.StringOfN(rapid.RuneFrom([]rune("\t\n\r ~aZ9=}\u007fß€￼\ud7ff😀")), 1, 20, -1)
	encoded := rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), base64.StdEncoding.EncodeToString)
	rapid.Check(t, func(r *rapid.T) {
		body := rapid.OneOf(text, encoded).Draw(r, "body")
		send(t, client, queue, body)
		got := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &queue})
		if len(got) != 1 {
			r.Fatalf("got %d messages, want 1", len(got))
		}
		altered := *got[0].Body
		if strings.TrimLeft(body, "\t\n\r") == "" {
			if altered != " "+body {
				r.Fatalf("white space %q: got %q", body, altered)
			}
		} else if before, after := content(body), content(altered); bitsBetween(before, after) != 1 {
			r.Fatalf("got %q of %q, want one bit of difference", altered, body)
		}
		if !utf8.ValidString(altered) || strings.ContainsFunc(altered, func(c rune) bool { return c < ' ' && !strings.ContainsRune("\t\n\r", c) }) {
			r.Fatalf("got %q of %q, which no queue can hold", altered, body)
		}
		if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: got[0].ReceiptHandle}); err != nil {
			r.Fatal(err)
		}
	})
}

// content is what a body encodes, or else the body.
func content(body string) []byte {
	if raw, err := base64.StdEncoding.DecodeString(body); err == nil && len(raw) > 0 {
		return raw
	}
	return []byte(body)
}

func bitsBetween(a, b []byte) int {
	if len(a) != len(b) {
		return -1
	}
	n := 0
	for i := range a {
		n += bits.OnesCount8(a[i] ^ b[i])
	}
	return n
}

// TestHelpersConcurrently is for the race detector.
func TestHelpersConcurrently(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	queue := server.NewQueue("orders")
	keys, queues := kms.NewFromConfig(once(server.Config())), sqs.NewFromConfig(once(server.Config()))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				key := server.NewKey()
				server.NewQueue(fmt.Sprint("q", i))
				for _, end := range []func(){server.Deny("kms:Decrypt"), server.CutKMS(), server.Tamper(queue)} {
					defer end()
				}
				_, _ = keys.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key})
				_, _ = queues.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: aws.String("x")})
				_, _ = queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &queue})
			}
		})
	}
	wg.Wait()
	key := server.NewKey()
	if _, err := keys.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key}); err != nil {
		t.Errorf("all is lifted: %v", err)
	}
}
