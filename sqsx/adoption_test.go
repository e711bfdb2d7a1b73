package sqsx_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/logging"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// requireSealed sends through c and looks at what is stored.
func requireSealed(t *testing.T, w *world, c *sqs.Client, url string) {
	t.Helper()
	const secret = "the secret of this test"
	send(t, c, url, secret)
	requireNoPlaintext(t, w.server.Stored(url), secret)
	out, err := receive(t.Context(), c, url)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodies(out.Messages); len(got) != 1 || got[0] != secret {
		t.Fatalf("got %q, want the body that was sent", got)
	}
}

// requireRefused calls all three operations and wants an error of each, with
// no request made.
func requireRefused(t *testing.T, w *world, c *sqs.Client, url string, optFns ...func(*sqs.Options)) {
	t.Helper()
	before := len(w.server.Requests())
	_, err1 := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("secret")}, optFns...)
	_, err2 := c.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: aws.String("secret")}}}, optFns...)
	_, err3 := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url}, optFns...)
	for i, err := range []error{err1, err2, err3} {
		if err == nil {
			t.Errorf("%s went through, want an error", []string{"SendMessage", "SendMessageBatch", "ReceiveMessage"}[i])
		}
	}
	for _, r := range w.server.Requests()[before:] {
		if strings.HasPrefix(r.Action, "sqs:") {
			t.Errorf("a request was made: %s", r.Action)
		}
	}
}

func TestInstallConfigSealsEveryClientOfTheConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	cfg := w.cfg.Copy()
	w.sealer().InstallConfig(&cfg)
	requireSealed(t, w, sqs.NewFromConfig(cfg), url)
	if _, err := kms.NewFromConfig(cfg).ListKeys(t.Context(), &kms.ListKeysInput{}); err != nil {
		t.Errorf("a client of another service: %v", err)
	}
}

// TestInstallConfigNeedsAConfig: a nil config would leave every client as it
// is, and what the program sends would be plaintext.
func TestInstallConfigNeedsAConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, s := range map[string]*sqsx.Sealer{"a Sealer": w.sealer(), "a nil Sealer": nil} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "sqsx: Sealer.InstallConfig was given a nil *aws.Config") {
					t.Errorf("%s: got panic %q, want one that says what is nil", name, text)
				}
			}()
			s.InstallConfig(nil)
		}()
	}
}

// TestInstallConfigSurvivesCopies has two copies of a config append into the
// same spare capacity.
func TestInstallConfigSurvivesCopies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	base := w.cfg.Copy()
	base.ServiceOptions = make([]func(string, any), 0, 8)
	base.APIOptions = make([]func(*smithymiddleware.Stack) error, 0, 8)
	sealed := base.Copy()
	w.sealer().InstallConfig(&sealed)
	other := base.Copy()
	other.ServiceOptions = append(other.ServiceOptions, func(string, any) {})
	other.APIOptions = append(other.APIOptions, func(*smithymiddleware.Stack) error { return nil })
	requireSealed(t, w, sqs.NewFromConfig(sealed), url)

	more := sealed.Copy()
	more.ServiceOptions = append(more.ServiceOptions, func(string, any) {})
	requireSealed(t, w, sqs.NewFromConfig(more), url)
}

type countingHTTP struct {
	next aws.HTTPClient
	n    int
}

func (c *countingHTTP) Do(r *http.Request) (*http.Response, error) { c.n++; return c.next.Do(r) }

func TestWrapKeepsWhatTheClientHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	w.cfg.Credentials = aws.NewCredentialsCache(w.cfg.Credentials)
	for _, mode := range []aws.DefaultsMode{aws.DefaultsModeLegacy, aws.DefaultsModeStandard} {
		t.Run(string(mode), func(t *testing.T) {
			web := &countingHTTP{next: w.cfg.HTTPClient}
			existing := sqs.NewFromConfig(w.cfg, func(o *sqs.Options) {
				o.DefaultsMode = mode
				o.HTTPClient = web
				o.BaseEndpoint = aws.String("http://sqs.test.example")
				o.Logger = logging.NewStandardLogger(t.Output())
				o.RetryMaxAttempts = 7
			})
			wrapped := w.sealer().Wrap(existing)
			was, is := existing.Options(), wrapped.Options()
			if is.HTTPClient != was.HTTPClient {
				t.Error("the HTTP client is another instance")
			}
			if *is.BaseEndpoint != *was.BaseEndpoint {
				t.Errorf("got endpoint %q, want %q", *is.BaseEndpoint, *was.BaseEndpoint)
			}
			if is, was := reflect.ValueOf(is.Credentials), reflect.ValueOf(was.Credentials); is.Kind() != reflect.Pointer || is.Pointer() != was.Pointer() {
				t.Errorf("the credentials are another instance: got %v, want %v", is, was)
			}
			if is.Logger != was.Logger {
				t.Error("the logger is another instance")
			}
			if got, want := is.Retryer.MaxAttempts(), was.Retryer.MaxAttempts(); got != want {
				t.Errorf("got %d attempts, want %d", got, want)
			}
			requireSealed(t, w, wrapped, url)
			if web.n == 0 {
				t.Error("the HTTP client was not used")
			}
			if out, err := existing.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("plain")}); err != nil || *out.MD5OfMessageBody != md5Hex("plain") {
				t.Errorf("the wrapped client changed: %v", err)
			}
		})
	}
}

func TestOtherOperationsAreUntouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders"), w.client()
	sealedOut, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	plainOut, err := w.plain.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plainOut.Attributes, sealedOut.Attributes); diff != "" {
		t.Error(diff)
	}
}

func TestTheSealerCannotBeLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders"), w.client()
	t.Run("APIOptions cleared per call", func(t *testing.T) {
		requireRefused(t, w, client, url, func(o *sqs.Options) { o.APIOptions = nil })
	})
	t.Run("APIOptions cleared on a client made from this one", func(t *testing.T) {
		requireRefused(t, w, sqs.New(client.Options(), func(o *sqs.Options) { o.APIOptions = nil }), url)
	})
	t.Run("stack cleared", func(t *testing.T) {
		requireRefused(t, w, client, url, func(o *sqs.Options) {
			o.APIOptions = append(o.APIOptions, func(s *smithymiddleware.Stack) error { s.Initialize.Clear(); return nil })
		})
	})
	t.Run("middleware removed", func(t *testing.T) {
		requireRefused(t, w, client, url, func(o *sqs.Options) {
			o.APIOptions = append(o.APIOptions, func(s *smithymiddleware.Stack) error {
				_, err := s.Initialize.Remove("SealqSealer")
				return err
			})
		})
	})
	t.Run("two Sealers", func(t *testing.T) {
		requireRefused(t, w, w.sealer().Wrap(client), url)
	})
	t.Run("nil Sealer", func(t *testing.T) {
		var none *sqsx.Sealer
		requireRefused(t, w, sqs.NewFromConfig(w.cfg, none.Install), url)
		requireRefused(t, w, none.Wrap(w.plain), url)
		cfg := w.cfg.Copy()
		none.InstallConfig(&cfg)
		requireRefused(t, w, sqs.NewFromConfig(cfg), url)
		if _, err := none.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")}); !errors.Is(err, sqsx.ErrUninitialized) {
			t.Errorf("got %v from SealMessage of a nil Sealer, want ErrUninitialized", err)
		}
		if _, withheld := none.OpenMessages(t.Context(), arnOf("orders"), make([]types.Message, 2)); len(withheld) != 2 {
			t.Errorf("OpenMessages of a nil Sealer withheld %d messages, want both", len(withheld))
		}
		if err := none.Check(t.Context(), arnOf("orders")); err == nil {
			t.Error("Check of a nil Sealer passed")
		}
		none.Purge()
		if got := none.Stats(); got != (sqsx.Stats{}) {
			t.Errorf("got %+v, want zero", got)
		}
	})
	t.Run("nil client", func(t *testing.T) { requireRefused(t, w, w.sealer().Wrap(nil), url) })
	t.Run("the same Sealer twice is one", func(t *testing.T) {
		s := w.sealer()
		requireSealed(t, w, s.Wrap(sqs.NewFromConfig(w.cfg, s.Install, s.Install)), w.queue("twice"))
	})
}

func TestInputsAreUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders.fifo"), w.client(func(o *sqsx.Options) { o.DeduplicationKey = make([]byte, 32) })

	names := append(make([]string, 0, 4), "text-0")
	attributes := make(map[string]types.MessageAttributeValue)
	for name, v := range userAttributes(3) {
		attributes[name] = v
	}
	entries := append(make([]types.SendMessageBatchRequestEntry, 0, 5), types.SendMessageBatchRequestEntry{
		Id: aws.String("a"), MessageBody: aws.String("b"), MessageGroupId: aws.String("g"), MessageAttributes: attributes,
	})
	send := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageGroupId: aws.String("g"), MessageAttributes: attributes}
	batch := &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries}
	get := &sqs.ReceiveMessageInput{QueueUrl: &url, MessageAttributeNames: names}
	sendBefore, batchBefore, getBefore := *send, *batch, *get

	for range 2 { // twice: a mutation by the first call shows in the second
		if _, err := client.SendMessage(t.Context(), send); err != nil {
			t.Fatal(err)
		}
		if _, err := client.SendMessageBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ReceiveMessage(t.Context(), get); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(&sendBefore, send, ignoreSDK); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&batchBefore, batch, ignoreSDK); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(getBefore.MessageAttributeNames, get.MessageAttributeNames); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(userAttributes(3), attributes, ignoreSDK); diff != "" {
		t.Error(diff)
	}
	for _, spare := range entries[1:cap(entries)] {
		if spare.Id != nil || spare.MessageBody != nil {
			t.Error("the spare capacity of Entries was written")
		}
	}
	for _, spare := range names[1:cap(names)] {
		if spare != "" {
			t.Error("the spare capacity of MessageAttributeNames was written")
		}
	}
}

// TestOpenMessagesOfALargeBatch opens more messages than a receive has, of many
// data keys, with a slow KMS.
func TestOpenMessagesOfALargeBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.sealer()
		var batch []types.Message
		for i := range 200 {
			if i%4 == 0 {
				s.Purge() // another data key
			}
			out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
			if err != nil {
				t.Fatal(err)
			}
			batch = append(batch, types.Message{Body: out.MessageBody, MessageAttributes: out.MessageAttributes})
		}
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				time.Sleep(900 * time.Millisecond)
			}
			return nil
		})
		messages, withheld := w.sealer().OpenMessages(t.Context(), arnOf("orders"), batch)
		if len(messages) != len(batch) || len(withheld) != 0 {
			t.Errorf("got %d messages and %d withheld, want all %d", len(messages), len(withheld), len(batch))
		}
	})
}

func TestSealAndOpenWithoutAClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sealer()
	for name, queue := range map[string]string{"ARN": arnOf("orders"), "URL": "https://sqs.us-east-1.amazonaws.com/000000000000/orders"} {
		t.Run(name, func(t *testing.T) {
			in := &sqs.SendMessageInput{QueueUrl: aws.String("x"), MessageBody: aws.String("secret"), MessageAttributes: userAttributes(2)}
			out, err := s.SealMessage(t.Context(), queue, in)
			if err != nil {
				t.Fatal(err)
			}
			if *in.MessageBody != "secret" || len(in.MessageAttributes) != 2 {
				t.Error("the input was changed")
			}
			stored := []types.Message{
				{MessageId: aws.String("1"), Body: out.MessageBody, MessageAttributes: out.MessageAttributes},
				{MessageId: aws.String("2"), Body: aws.String("not sealed")},
			}
			messages, withheld := s.OpenMessages(t.Context(), arnOf("orders"), stored)
			if len(messages) != 1 || *messages[0].Body != "secret" || len(messages[0].MessageAttributes) != 2 {
				t.Errorf("got %d messages, want the one secret", len(messages))
			}
			if len(withheld) != 1 || *withheld[0].Message.MessageId != "2" || !errors.Is(withheld[0], sqsx.ErrNotSealed) {
				t.Errorf("got %v withheld, want message 2 for ErrNotSealed", withheld)
			}
		})
	}
	for _, queue := range []string{"", "arn:aws:lambda:us-east-1:000000000000:function:f", "arn:aws:sqs:us-east-1"} {
		called := 0
		s := w.sealer(func(o *sqsx.Options) { o.OnWithheld = func(context.Context, *sqsx.OpenError) { called++ } })
		messages, withheld := s.OpenMessages(t.Context(), queue, make([]types.Message, 2))
		if len(messages) != 0 || len(withheld) != 2 || called != 2 || !withheld[0].Temporary || s.Stats().WithheldRefused != 2 {
			t.Errorf("queue %q: got %d messages, %d withheld, %d reported, want both withheld and reported", queue, len(messages), len(withheld), called)
		}
	}
	if _, err := s.SealMessage(t.Context(), arnOf("orders"), nil); err == nil {
		t.Error("a nil input was sealed")
	}
	if got, withheld := s.OpenMessages(context.Background(), arnOf("orders"), nil); got != nil || withheld != nil {
		t.Errorf("got %v and %v for no messages, want nothing", got, withheld)
	}
}
