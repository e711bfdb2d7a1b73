package sqsxtest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestErrorsAreTheServicesOwn(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl:    aws.String("https://sqs.us-east-1.amazonaws.com/000000000000/absent"),
		MessageBody: aws.String("x"),
	})
	if _, ok := errors.AsType[*types.QueueDoesNotExist](err); !ok {
		t.Errorf("got %v, want a QueueDoesNotExist", err)
	}
	wantCode(t, err, "AWS.SimpleQueueService.NonExistentQueue")
	resp, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || resp.HTTPStatusCode() != 400 {
		t.Errorf("got response %v, want status 400", resp)
	}
	if apiErr, _ := errors.AsType[smithy.APIError](err); apiErr.ErrorFault() != smithy.FaultClient {
		t.Errorf("got fault %v, want client", apiErr.ErrorFault())
	}
}

// wantCode checks the code of a service error; the empty code wants success.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Errorf("got %v, want success", err)
		}
		return
	}
	apiErr, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if apiErr.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestRawHTTP(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	const auth = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=x"
	const limit = 16 << 20
	tests := map[string]struct {
		target, body string
		queryMode    bool
		status       int
		errorType    string
		queryError   string
		contentType  string
	}{
		"no target":          {"", `{}`, true, 400, "com.amazon.coral.service#UnknownOperationException", "UnknownOperationException;Sender", "application/x-amz-json-1.0"},
		"unknown service":    {"DynamoDB.GetItem", `{}`, true, 400, "com.amazon.coral.service#UnknownOperationException", "UnknownOperationException;Sender", "application/x-amz-json-1.0"},
		"unknown operation":  {"AmazonSQS.Nothing", `{}`, true, 400, "com.amazon.coral.service#UnknownOperationException", "UnknownOperationException;Sender", "application/x-amz-json-1.0"},
		"not JSON":           {"AmazonSQS.ListQueues", `<xml/>`, true, 400, "com.amazon.coral.service#SerializationException", "SerializationException;Sender", "application/x-amz-json-1.0"},
		"wrong type":         {"AmazonSQS.ListQueues", `{"MaxResults":"x"}`, true, 400, "com.amazon.coral.service#SerializationException", "SerializationException;Sender", "application/x-amz-json-1.0"},
		"no query mode":      {"AmazonSQS.GetQueueUrl", `{"QueueName":"absent"}`, false, 400, "com.amazonaws.sqs#QueueDoesNotExist", "", "application/x-amz-json-1.0"},
		"query mode":         {"AmazonSQS.GetQueueUrl", `{"QueueName":"absent"}`, true, 400, "com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue;Sender", "application/x-amz-json-1.0"},
		"missing parameter":  {"AmazonSQS.GetQueueUrl", `{}`, true, 400, "com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter;Sender", "application/x-amz-json-1.0"},
		"invalid parameter":  {"AmazonSQS.CreateQueue", `{"QueueName":"!"}`, true, 400, "com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue;Sender", "application/x-amz-json-1.0"},
		"no body":            {"AmazonSQS.ListQueues", ``, true, 200, "", "", "application/x-amz-json-1.0"},
		"longest request":    {"AmazonSQS.ListQueues", "{}" + strings.Repeat(" ", limit-2), true, 200, "", "", "application/x-amz-json-1.0"},
		"too long a request": {"AmazonSQS.ListQueues", "{}" + strings.Repeat(" ", limit-1), true, 413, "com.amazon.coral.service#RequestEntityTooLarge", "RequestEntityTooLarge;Sender", "application/x-amz-json-1.0"},
		"unknown in KMS":     {"TrentService.Nothing", `{}`, false, 400, "UnknownOperationException", "", "application/x-amz-json-1.1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body))
			r.Header.Set("Authorization", auth)
			r.Header.Set("X-Amz-Target", test.target)
			if test.queryMode {
				r.Header.Set("X-Amzn-Query-Mode", "true")
			}
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("got status %d, want %d", w.Code, test.status)
			}
			if got := w.Header().Get("Content-Type"); got != test.contentType {
				t.Errorf("got type %q, want %q", got, test.contentType)
			}
			if got := w.Header().Get("X-Amzn-Query-Error"); got != test.queryError {
				t.Errorf("got query error %q, want %q", got, test.queryError)
			}
			if w.Header().Get("X-Amzn-Requestid") == "" {
				t.Error("got no request ID")
			}
			var doc struct {
				Type string `json:"__type"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Type != test.errorType {
				t.Errorf("got %s (%v), want __type %q", w.Body, err, test.errorType)
			}
		})
	}
}

func TestRegionsAndAccountsAreNamespaces(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	here := server.Config()
	there := server.Config()
	there.Region = "eu-central-1"
	other := server.Config()
	other.Credentials = aws.CredentialsProviderFunc(staticCredentials("111122223333"))

	urls := make(map[string]string)
	for name, cfg := range map[string]aws.Config{"here": here, "there": there, "other": other} {
		client := sqs.NewFromConfig(cfg)
		urls[name] = createQueue(t, client, "q")
		send(t, client, urls[name], name)
	}
	want := map[string]string{
		"here":  "https://sqs.us-east-1.amazonaws.com/000000000000/q",
		"there": "https://sqs.eu-central-1.amazonaws.com/000000000000/q",
		"other": "https://sqs.us-east-1.amazonaws.com/111122223333/q",
	}
	for name, url := range want {
		if urls[name] != url {
			t.Errorf("got URL %s, want %s", urls[name], url)
		}
		stored := server.Stored(url)
		if got := bodies(stored); len(got) != 1 || got[0] != name {
			t.Errorf("%s: got messages %q, want %q", url, got, name)
		}
	}
	// No permissions: one account reads the queue of another, by its URL, in the
	// same Region only.
	got := receive(t, sqs.NewFromConfig(here), &sqs.ReceiveMessageInput{QueueUrl: aws.String(want["other"])})
	if len(got) != 1 || *got[0].Body != "other" {
		t.Errorf("got %q from the other account's queue", bodies(got))
	}
	out, err := sqs.NewFromConfig(other).GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("q"), QueueOwnerAWSAccountId: aws.String(sqsxtest.DefaultAccount)})
	if err != nil || *out.QueueUrl != want["here"] {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestSocketURLNamesTheRegion(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	cfg := server.Config()
	cfg.HTTPClient, cfg.BaseEndpoint, cfg.Region = nil, aws.String(server.URL()), "eu-central-1"
	url := createQueue(t, sqs.NewFromConfig(cfg), "q")
	if want := server.URL() + "/queue/eu-central-1/000000000000/q"; url != want {
		t.Errorf("got %s, want %s", url, want)
	}
	if server.Stored(url) == nil {
		t.Errorf("Stored does not know %s", url)
	}
	if server.Stored("https://sqs.us-east-1.amazonaws.com/000000000000/q") != nil || server.Stored("q") != nil {
		t.Error("Stored found a queue that does not exist")
	}
}

func TestQueueURL(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	createQueue(t, client, "q")
	const absent = "AWS.SimpleQueueService.NonExistentQueue"
	for url, code := range map[string]string{
		"https://anything.example/000000000000/q":              "", // the path says which queue it is, whatever the host
		"http://127.0.0.1:4566/queue/us-east-1/000000000000/q": "",
		"/000000000000/q":                      "",
		"000000000000/q":                       "",
		"q":                                    "", // of the caller's account
		"Q":                                    absent,
		"https://x/000000000000/":              "InvalidAddress",
		"https://x/000000000000/q/":            "InvalidAddress",
		"https://x/q":                          "InvalidAddress",
		"https://x/00000000000/q":              "InvalidAddress",
		"https://x/%zz":                        "InvalidAddress",
		"https://x":                            "InvalidAddress",
		"https://x/":                           "InvalidAddress",
		"x/q":                                  "InvalidAddress",
		"":                                     "MissingParameter",
		"https://x/000000000000/Q":             absent,
		"https://x/111111111111/q":             absent,
		"arn:aws:sqs:us-east-1:000000000000:q": absent,
		// No queue has such a name, and none of these is another spelling of q.
		"https://x/000000000000/q#f":    absent,
		"https://x/000000000000/q?f":    absent,
		"https://x/000000000000/q%2F":   absent,
		"https://x/000000000000/%71":    absent,
		"https://x/000000000000/q ":     absent,
		"https://x/000000000000/q;f":    absent,
		"https://x/000000000000/q\\":    absent,
		"%71":                           absent,
		"https://x/000000000000%2Fq":    "InvalidAddress",
		"https://x/#/000000000000/q":    "InvalidAddress",
		"https://x/?u=/000000000000/q":  "InvalidAddress",
		"https://x/000000000000/q#/":    "InvalidAddress",
		"https://x/000000000000/q/../q": "InvalidAddress",
		"https://x/0000000%300000/q":    "InvalidAddress",
		"https://x\\@y/000000000000/q":  "InvalidAddress",
	} {
		_, err := client.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &url})
		t.Run(url, func(t *testing.T) { wantCode(t, err, code) })
	}
}

func TestBareQueueNameIsOfTheCallersAccountAndRegion(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	here := sqs.NewFromConfig(server.Config())
	cfg := server.Config()
	cfg.Region = "eu-central-1"
	cfg.Credentials = aws.CredentialsProviderFunc(staticCredentials("111122223333"))
	there := sqs.NewFromConfig(cfg)
	createQueue(t, here, "q")
	url := createQueue(t, there, "q")
	send(t, here, "q", "here")
	send(t, there, "q", "there")
	if got := bodies(server.Stored("q")); !slices.Equal(got, []string{"here"}) {
		t.Errorf("got %q by the name, want the default account's", got)
	}
	if got := bodies(server.Stored(url)); !slices.Equal(got, []string{"there"}) {
		t.Errorf("got %q in the other account", got)
	}
}

// The partitions are those of the SDK, by which it makes endpoints, and sealq
// ARNs.
func TestPartitions(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	for _, region := range []string{
		"us-east-1", "mx-central-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1",
		"us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1",
	} {
		t.Run(region, func(t *testing.T) {
			t.Parallel()
			endpoint, err := sqs.NewDefaultEndpointResolver().ResolveEndpoint(region, sqs.EndpointResolverOptions{})
			if err != nil {
				t.Fatal(err)
			}
			cfg := server.Config()
			cfg.Region = region
			client := sqs.NewFromConfig(cfg)
			dead := createQueue(t, client, "dead")
			out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &dead, AttributeNames: []types.QueueAttributeName{"QueueArn"}})
			if err != nil {
				t.Fatal(err)
			}
			want := "arn:" + endpoint.PartitionID + ":sqs:" + region + ":" + sqsxtest.DefaultAccount + ":dead"
			if got := out.Attributes["QueueArn"]; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			createQueue(t, client, "q", "RedrivePolicy", `{"deadLetterTargetArn":"`+want+`","maxReceiveCount":1}`)
			if server.Stored(dead) == nil {
				t.Errorf("Stored does not know %s", dead)
			}
		})
	}
}

// The header of X-Ray becomes the attribute of all messages of a request,
// unless one has its own, and is in no digest.
func TestTraceHeader(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	const header = "Root=1-3152b799-8954dae64eda91bc9a23a7e8;Parent=7fa8c0f79203be72;Sampled=1"
	cfg := server.Config()
	cfg.HTTPClient = withHeader{cfg.HTTPClient, "X-Amzn-Trace-Id", header}
	traced, plain := sqs.NewFromConfig(cfg), sqs.NewFromConfig(server.Config())
	url := createQueue(t, plain, "q", "VisibilityTimeout", "0")
	own := map[string]types.MessageSystemAttributeValue{"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=own")}}

	send(t, plain, url, "none")
	if out := send(t, traced, url, "header"); out.MD5OfMessageSystemAttributes != nil {
		t.Errorf("got digest %s of system attributes that were not sent", *out.MD5OfMessageSystemAttributes)
	}
	_, err := traced.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: aws.String("batch")},
		{Id: aws.String("b"), MessageBody: aws.String("own"), MessageSystemAttributes: own},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"none": "", "header": header, "batch": header, "own": "Root=own"}
	got := make(map[string]string)
	for _, m := range receive(t, plain, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"AWSTraceHeader"}}) {
		got[*m.Body] = m.Attributes["AWSTraceHeader"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("AWSTraceHeader (-want +got):\n%s", diff)
	}
}

// withHeader is an HTTP client that adds a header, as instrumentation does.
type withHeader struct {
	client      aws.HTTPClient
	name, value string
}

func (h withHeader) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set(h.name, h.value)
	return h.client.Do(r)
}

// Users' code looks for these texts: they are the service's, as recorded.
func TestTextsOfErrors(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	url := createQueue(t, client, "q", "MaximumMessageSize", "1024")
	fifo := createQueue(t, client, "q.fifo", "FifoQueue", "true")
	send(t, client, url, "deleted")
	deleted := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url})[0]
	remove(t, client, url, deleted)
	long := aws.String(strings.Repeat("x", 1025))
	sendOne := func(in *sqs.SendMessageInput) error {
		_, err := client.SendMessage(t.Context(), in)
		return err
	}
	for want, err := range map[string]error{
		"The request must contain the parameter MessageBody.":                                                                                                  sendOne(&sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("")}),
		"One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.":                                                                 sendOne(&sqs.SendMessageInput{QueueUrl: &url, MessageBody: long}),
		"Message (user) attribute 'ErrorDetails' must contain a non-empty value of type 'String'.":                                                             sendOne(&sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageAttributes: attributes{"ErrorDetails": text("String", "")}}),
		"The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly":                                         sendOne(&sqs.SendMessageInput{QueueUrl: &fifo, MessageBody: aws.String("x"), MessageGroupId: aws.String("g")}),
		"The request must contain the parameter MessageGroupId.":                                                                                               sendOne(&sqs.SendMessageInput{QueueUrl: &fifo, MessageBody: aws.String("x")}),
		"Value  for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.": sendOne(&sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageGroupId: aws.String("")}),
		"The specified queue does not exist.":                                                                                                                  sendOne(&sqs.SendMessageInput{QueueUrl: aws.String("absent"), MessageBody: aws.String("x")}),
		`The input receipt handle "garbage" is not a valid receipt handle.`: func() error {
			_, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: aws.String("garbage")})
			return err
		}(),
		"Value " + *deleted.ReceiptHandle + " for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.": func() error {
			_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: deleted.ReceiptHandle, VisibilityTimeout: 42})
			return err
		}(),
		"You can specify the DeduplicationScope only when FifoQueue is set to true.": func() error {
			_, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("other"), Attributes: map[string]string{"DeduplicationScope": "queue"}})
			return err
		}(),
	} {
		apiErr, ok := errors.AsType[smithy.APIError](err)
		if !ok || apiErr.ErrorMessage() != want {
			t.Errorf("got %v, want the text %q", err, want)
		}
	}
	out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("a"), MessageBody: long}}})
	if err != nil || len(out.Failed) != 1 {
		t.Fatalf("got %v, %v, want one failed", out, err)
	}
	if got, want := *out.Failed[0].Message, "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes."; got != want {
		t.Errorf("in a batch: got %q, want %q", got, want)
	}
}
