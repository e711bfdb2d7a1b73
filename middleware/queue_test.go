package middleware_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/middleware"
)

func TestParseQueueURL(t *testing.T) {
	t.Parallel()
	const account = "123456789012"
	for name, tc := range map[string]struct {
		url, region                            string
		partition, wantRegion, wantAcct, queue string
	}{
		"regional":         {queueURL, "us-east-1", "aws", "us-east-1", account, "orders"},
		"FIFO":             {fifoURL, "us-east-1", "aws", "us-east-1", account, "orders.fifo"},
		"legacy host":      {"https://eu-west-1.queue.amazonaws.com/123456789012/q", "eu-west-1", "aws", "eu-west-1", account, "q"},
		"VPC endpoint":     {"https://vpce-1-2.sqs.us-east-1.vpce.amazonaws.com/123456789012/q", "us-east-1", "aws", "us-east-1", account, "q"},
		"the client's":     {"https://sqs.eu-west-1.amazonaws.com/123456789012/q", "us-east-1", "aws", "us-east-1", account, "q"},
		"path strategy":    {"http://127.0.0.1:4566/queue/us-east-1/123456789012/q", "us-east-1", "aws", "us-east-1", account, "q"},
		"no scheme":        {"sqs.us-east-1.127.0.0.1:4566/123456789012/q", "us-east-1", "aws", "us-east-1", account, "q"},
		"longest name":     {queueURL[:len(queueURL)-len("orders")] + strings.Repeat("q", 80), "us-east-1", "aws", "us-east-1", account, strings.Repeat("q", 80)},
		"bare name":        {"orders", "us-east-1", "aws", "us-east-1", "", "orders"},
		"no account":       {"https://host/orders", "us-east-1", "aws", "us-east-1", "", "orders"},
		"no such account":  {"http://localhost:9324/queue/orders", "us-east-1", "aws", "us-east-1", "", "orders"},
		"China":            {queueURL, "cn-north-1", "aws-cn", "cn-north-1", account, "orders"},
		"GovCloud":         {queueURL, "us-gov-west-1", "aws-us-gov", "us-gov-west-1", account, "orders"},
		"FIPS prefix":      {queueURL, "fips-us-east-1", "aws", "us-east-1", account, "orders"},
		"FIPS suffix":      {queueURL, "us-gov-west-1-fips", "aws-us-gov", "us-gov-west-1", account, "orders"},
		"FIPS infix":       {queueURL, "us-fips-east-1", "aws", "us-east-1", account, "orders"},
		"a Region to come": {queueURL, "eu-north-9", "aws", "eu-north-9", account, "orders"},
		"no Region":        {queueURL, "", "", "", account, "orders"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := middleware.ParseQueueURL(tc.url, tc.region)
			if err != nil {
				t.Fatal(err)
			}
			want := middleware.Queue{URL: tc.url, Partition: tc.partition, Region: tc.wantRegion, Account: tc.wantAcct, Name: tc.queue}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("queue differs (-want +got):\n%s", diff)
			}
			wantARN := ""
			if tc.wantAcct != "" && tc.region != "" {
				wantARN = "arn:" + tc.partition + ":sqs:" + tc.wantRegion + ":" + account + ":" + tc.queue
			}
			if got.ARN() != wantARN {
				t.Errorf("got ARN %q, want %q", got.ARN(), wantARN)
			}
			if got.FIFO() != strings.HasSuffix(tc.queue, ".fifo") {
				t.Errorf("got FIFO %t", got.FIFO())
			}
		})
	}
	for _, url := range []string{"", "/", "https://sqs.us-east-1.amazonaws.com", "https://sqs.us-east-1.amazonaws.com/", "?q"} {
		if q, err := middleware.ParseQueueURL(url, "us-east-1"); err == nil {
			t.Errorf("%q: got %+v, want an error", url, q)
		}
	}
}

// unclear are addresses that servers read in different ways: as one queue
// here, and perhaps as the queue of another policy there.
var unclear = map[string]string{
	"fragment":              queueURL + "#f",
	"fragment with a name":  queueURL + "#/123456789012/other",
	"query":                 queueURL + "?a=b/c",
	"empty query":           queueURL + "?",
	"escaped letter":        strings.Replace(queueURL, "orders", "ord%65rs", 1),
	"escaped slash":         queueURL + "%2F",
	"escaped account":       strings.Replace(queueURL, "/1234", "/%31234", 1),
	"percent alone":         queueURL + "%",
	"trailing slash":        queueURL + "/",
	"trailing slashes":      queueURL + "//",
	"empty segment":         strings.Replace(queueURL, "/orders", "//orders", 1),
	"empty first segment":   strings.Replace(queueURL, ".com/", ".com//", 1),
	"dot":                   queueURL + "/.",
	"two dots":              queueURL + "/..",
	"dots in front":         strings.Replace(queueURL, "/orders", "/../123456789012/orders", 1),
	"dot in front":          strings.Replace(queueURL, "/orders", "/./orders", 1),
	"backslash":             queueURL + `\`,
	"backslash for a slash": strings.Replace(queueURL, "/orders", `\orders`, 1),
	"path parameter":        queueURL + ";v=1",
	"space behind":          queueURL + " ",
	"space in front":        " " + queueURL,
	"newline":               queueURL + "\n",
	"NUL":                   queueURL + "\x00",
	"not UTF-8":             queueURL + "\xff",
	"full-width letter":     strings.Replace(queueURL, "orders", "order\uff53", 1),
	"zero-width space":      queueURL + "\u200b",
	"combining accent":      queueURL + "\u0301",
	"other slash":           strings.Replace(queueURL, "/orders", "/x\u2215orders", 1),
	"dot in the name":       strings.Replace(queueURL, "orders", "or.ders", 1),
	"another suffix":        queueURL + ".FIFO",
	"suffix alone":          strings.Replace(queueURL, "orders", ".fifo", 1),
	"81 characters":         strings.Replace(queueURL, "orders", strings.Repeat("q", 81), 1),
	"ARN":                   queueARN,
	"name with a fragment":  "orders#f",
	"name with an escape":   "ord%65rs",
	"name with a slash":     "orders/",
	"name behind a slash":   "/orders",
	"name with a colon":     "123456789012:orders",
}

// TestUnclearQueueURLs refuses what SQS takes for no queue, before anything is
// asked of the codec or of SQS.
func TestUnclearQueueURLs(t *testing.T) {
	t.Parallel()
	for name, url := range unclear {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, err := middleware.ParseQueueURL(url, "us-east-1")
			if _, ok := errors.AsType[*types.InvalidAddress](err); !ok || q != (middleware.Queue{}) {
				t.Errorf("ParseQueueURL: got %+v and error %v, want an InvalidAddress", q, err)
			}
			client, fake, codec := setup(t)
			_, sendErr := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(secret)})
			_, batchErr := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
				{Id: aws.String("a"), MessageBody: aws.String(secret)},
			}})
			_, receiveErr := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url})
			for _, err := range []error{sendErr, batchErr, receiveErr} {
				if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "InvalidAddress" || api.ErrorFault() != smithy.FaultClient {
					t.Errorf("got error %v, want a client fault InvalidAddress", err)
				}
			}
			if got := fake.ops(); len(got) != 0 || codec.seals != 0 {
				t.Errorf("got requests %v and %d messages sealed, want none", got, codec.seals)
			}
		})
	}
}

func TestParseQueueARN(t *testing.T) {
	t.Parallel()
	for _, arn := range []string{queueARN, queueARN + ".fifo", "arn:aws-cn:sqs:cn-north-1:123456789012:" + strings.Repeat("q", 80)} {
		q, err := middleware.ParseQueueARN(arn)
		if err != nil || q.ARN() != arn || q.URL != "" {
			t.Errorf("%s: got %+v and error %v, want the same ARN", arn, q, err)
		}
	}
	for _, arn := range []string{
		"", queueURL, "arn", "arn:aws:sqs:us-east-1:123456789012", queueARN + ":x", "arn:aws:sns:us-east-1:123456789012:q",
		"arn::sqs:us-east-1:123456789012:q", "arn:aws:sqs::123456789012:q", "arn:aws:sqs:us-east-1:12345678901:q", "arn:aws:sqs:us-east-1:12345678901x:q",
		"arn:aws:sqs:us-east-1:123456789012:", "arn:aws:sqs:us-east-1:123456789012:a b", "arn:aws:sqs:us-east-1:123456789012:.fifo",
		"arn:aws:sqs:us-east-1:123456789012:a.b", "arn:aws:sqs:us-east-1:123456789012:" + strings.Repeat("q", 81), "ARN" + queueARN[3:],
	} {
		if q, err := middleware.ParseQueueARN(arn); err == nil {
			t.Errorf("%q: got %+v, want an error", arn, q)
		}
	}
}

// TestQueueOfCall checks the queue that the codec is given: the Region is that
// of the call, whatever the client's and the URL's.
func TestQueueOfCall(t *testing.T) {
	t.Parallel()
	codec := &queueSpy{toyCodec: &toyCodec{}}
	client := (&fakeSQS{}).client(install(t, codec).Install)
	for region, want := range map[string]string{
		"":               queueARN,
		"eu-west-1":      "arn:aws:sqs:eu-west-1:123456789012:orders",
		"fips-us-west-2": "arn:aws:sqs:us-west-2:123456789012:orders",
	} {
		for op, invoke := range operations {
			codec.got = middleware.Queue{}
			if err := invoke(t.Context(), client, func(o *sqs.Options) {
				if region != "" {
					o.Region = region
				}
			}); err != nil {
				t.Fatal(err)
			}
			if got := codec.got.ARN(); got != want || codec.got.URL != queueURL {
				t.Errorf("%s in %q: got queue %q, want %q", op, region, got, want)
			}
		}
	}
}

// queueSpy keeps the queue it was last asked about.
type queueSpy struct {
	*toyCodec
	got middleware.Queue
}

func (s *queueSpy) Seal(ctx context.Context, q middleware.Queue, entries []types.SendMessageBatchRequestEntry) ([]middleware.Sealed, error) {
	s.got = q
	return s.toyCodec.Seal(ctx, q, entries)
}

func (s *queueSpy) Open(_ context.Context, q middleware.Queue, msgs []types.Message) []middleware.Opened {
	s.got = q
	opened := make([]middleware.Opened, len(msgs))
	return opened
}

func (s *queueSpy) Admit(_ context.Context, q middleware.Queue, _ *sqs.ReceiveMessageInput, _ func() *sqs.Client) (middleware.Admission, error) {
	s.got = q
	return middleware.Admission{}, nil
}

func TestQueueURLWithoutName(t *testing.T) {
	t.Parallel()
	client, fake, _ := setup(t)
	_, sendErr := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(""), MessageBody: aws.String(secret)})
	_, batchErr := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(""), Entries: []types.SendMessageBatchRequestEntry{}})
	_, receiveErr := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("")})
	for _, err := range []error{sendErr, batchErr, receiveErr} {
		if err == nil || !strings.Contains(err.Error(), "names no queue") {
			t.Errorf("got error %v, want one about the queue URL", err)
		}
	}
	if got := fake.ops(); len(got) != 0 {
		t.Errorf("got requests %v, want none", got)
	}
}
