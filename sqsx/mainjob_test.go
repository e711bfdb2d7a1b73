package sqsx_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// realBodies are of the kinds that travel through queues.
func realBodies() map[string]string {
	binary := make([]byte, 3000)
	for i := range binary {
		binary[i] = byte(i * i)
	}
	return map[string]string{
		"S3 notification":    `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-east-1","eventTime":"2026-01-02T03:04:05.678Z","eventName":"ObjectCreated:Put","s3":{"s3SchemaVersion":"1.0","bucket":{"name":"invoices","arn":"arn:aws:s3:::invoices"},"object":{"key":"2026/01/inv-0001.pdf","size":48211,"eTag":"0123456789abcdef0123456789abcdef","sequencer":"0A1B2C3D4E5F678901"}}}]}`,
		"EventBridge":        `{"version":"0","id":"17793124-05d4-b198-2fde-7ededc63b103","detail-type":"Object Created","source":"aws.s3","account":"111122223333","time":"2026-11-12T00:00:00Z","region":"ca-central-1","resources":["arn:aws:s3:::example"],"detail":{"reason":"PutObject"}}`,
		"CloudEvents":        `{"specversion":"1.0","type":"com.example.order.placed","source":"/orders","id":"A234-1234-1234","time":"2026-04-05T17:31:00Z","datacontenttype":"application/json","data":{"total":12.50,"note":"\u00e9t\u00e9"}}`,
		"XML":                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<order id=\"1\">\r\n\t<item sku='A&amp;B'>2</item>\n</order>\n",
		"CSV":                "id,name,amount\r\n1,\"Smith, J.\",10.00\r\n2,\"O\"\"Neil\",20.00\r\n",
		"base64 binary":      base64.StdEncoding.EncodeToString(binary),
		"emoji":              "\U0001F469\u200D\U0001F4BB sends \U0001F4E6 to e\u0301cole \u00e9cole, \U0001F1FA\U0001F1F3",
		"1 byte":             "x",
		"64 KiB":             strings.Repeat("0123456789abcdef", 4096),
		"700 KiB":            strings.Repeat("all work and no play \n", 700*1024/22),
		"starts like base64": "AAAA and then not",
	}
}

func userAttributes(n int) map[string]types.MessageAttributeValue {
	if n == 0 {
		return nil
	}
	m := make(map[string]types.MessageAttributeValue, n)
	for i := range n {
		switch i % 3 {
		case 0:
			m["text-"+strconv.Itoa(i)] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("v\u00e4lue " + strconv.Itoa(i))}
		case 1:
			m["number-"+strconv.Itoa(i)] = types.MessageAttributeValue{DataType: aws.String("Number.int"), StringValue: aws.String(strconv.Itoa(i))}
		case 2:
			m["binary-"+strconv.Itoa(i)] = types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: []byte{0, byte(i), 255}}
		}
	}
	return m
}

var ignoreSDK = cmpopts.IgnoreUnexported(
	sqs.SendMessageOutput{}, sqs.ReceiveMessageOutput{}, types.Message{}, types.MessageAttributeValue{},
	types.SendMessageBatchResultEntry{}, types.SendMessageBatchRequestEntry{}, sqs.SendMessageInput{}, sqs.SendMessageBatchInput{})

// TestMainJob sends every kind of body with every number of attributes, alone
// and in a batch, to a standard and a FIFO queue, once sealed and once not, and
// compares all that the caller can see.
func TestMainJob(t *testing.T) {
	t.Parallel()
	for kind, body := range realBodies() {
		for _, attributes := range []int{0, 5, 8, 9, 10} {
			for _, suffix := range []string{"", ".fifo"} {
				t.Run(fmt.Sprintf("%s/%d%s", kind, attributes, suffix), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					sealed, plain := w.queue("sealed"+suffix), w.queue("plain"+suffix)
					client := w.client()

					in := func(url string) *sqs.SendMessageInput {
						in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: userAttributes(attributes)}
						if suffix != "" {
							in.MessageGroupId, in.MessageDeduplicationId = aws.String("g"), aws.String("d")
						}
						return in
					}
					got, err := client.SendMessage(t.Context(), in(sealed))
					if err != nil {
						t.Fatal(err)
					}
					want, err := w.plain.SendMessage(t.Context(), in(plain))
					if err != nil {
						t.Fatal(err)
					}
					differs := cmpopts.IgnoreFields(sqs.SendMessageOutput{}, "MessageId", "SequenceNumber", "ResultMetadata")
					if diff := cmp.Diff(want, got, ignoreSDK, differs); diff != "" {
						t.Errorf("SendMessage differs from one without sealing (-plain +sealed):\n%s", diff)
					}
					requireNoPlaintext(t, w.server.Stored(sealed), body)

					gotOut, err := receive(t.Context(), client, sealed)
					if err != nil {
						t.Fatal(err)
					}
					wantOut, err := receive(t.Context(), w.plain, plain)
					if err != nil {
						t.Fatal(err)
					}
					differs = cmpopts.IgnoreFields(types.Message{}, "MessageId", "ReceiptHandle", "Attributes")
					if diff := cmp.Diff(wantOut.Messages, gotOut.Messages, ignoreSDK, differs); diff != "" {
						t.Errorf("ReceiveMessage differs from one without sealing (-plain +sealed):\n%s", diff)
					}
				})
			}
		}
	}
}

// TestMainJobInBatches is the same for batches of ten, in which every kind of
// body meets every number of attributes. The two largest bodies do not fit into
// one batch.
func TestMainJobInBatches(t *testing.T) {
	t.Parallel()
	for _, leftOut := range []string{"700 KiB", "64 KiB"} {
		for first := range 5 {
			for _, suffix := range []string{"", ".fifo"} {
				t.Run(fmt.Sprintf("without %s/%d%s", leftOut, first, suffix), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					sealed, plain := w.queue("sealed"+suffix), w.queue("plain"+suffix)
					client := w.client()
					var entries []types.SendMessageBatchRequestEntry
					numbers := []int{0, 5, 8, 9, 10}
					bodies := realBodies()
					for i, kind := range slices.Sorted(maps.Keys(bodies)) {
						if kind == leftOut {
							continue
						}
						e := types.SendMessageBatchRequestEntry{
							Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(bodies[kind]), MessageAttributes: userAttributes(numbers[(first+i)%len(numbers)]),
						}
						if suffix != "" {
							e.MessageGroupId, e.MessageDeduplicationId = aws.String("g"), e.Id
						}
						entries = append(entries, e)
					}
					if len(entries) != 10 {
						t.Fatalf("got %d entries, want 10", len(entries))
					}
					got, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &sealed, Entries: entries})
					if err != nil {
						t.Fatal(err)
					}
					want, err := w.plain.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &plain, Entries: entries})
					if err != nil {
						t.Fatal(err)
					}
					differs := cmpopts.IgnoreFields(types.SendMessageBatchResultEntry{}, "MessageId", "SequenceNumber")
					if diff := cmp.Diff(want.Successful, got.Successful, ignoreSDK, differs); diff != "" || len(got.Successful) != 10 || len(got.Failed) != 0 {
						t.Fatalf("SendMessageBatch differs from one without sealing, or entries failed (-plain +sealed):\n%s", diff)
					}
					for _, e := range entries {
						requireNoPlaintext(t, w.server.Stored(sealed), *e.MessageBody)
					}
					received, expected := receiveAll(t, client, sealed, 10), receiveAll(t, w.plain, plain, 10)
					differs = cmpopts.IgnoreFields(types.Message{}, "MessageId", "ReceiptHandle", "Attributes")
					if diff := cmp.Diff(expected, received, ignoreSDK, differs); diff != "" {
						t.Errorf("ReceiveMessage differs from one without sealing (-plain +sealed):\n%s", diff)
					}
				})
			}
		}
	}
}

// receiveAll receives and deletes n messages, and returns them sorted by body.
func receiveAll(t testing.TB, c *sqs.Client, url string, n int) []types.Message {
	t.Helper()
	var all []types.Message
	for len(all) < n {
		out, err := receive(t.Context(), c, url)
		if err != nil || len(out.Messages) == 0 {
			t.Fatalf("got %d messages of %d, error %v", len(all), n, err)
		}
		for _, m := range out.Messages {
			if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, out.Messages...)
	}
	slices.SortFunc(all, func(a, b types.Message) int { return strings.Compare(*a.Body, *b.Body) })
	return all
}

// requireNoPlaintext looks for every 16-byte piece of the plaintext in all that
// is stored, as it is and base64-decoded.
func requireNoPlaintext(t testing.TB, stored []types.Message, plaintext string) {
	t.Helper()
	if len(stored) == 0 {
		t.Fatal("nothing is stored")
	}
	const piece = 16
	pieces := make(map[string]bool)
	for i := 0; i+piece <= len(plaintext); i++ {
		pieces[plaintext[i:i+piece]] = true
	}
	for _, m := range stored {
		decoded, _ := base64.StdEncoding.DecodeString(*m.Body)
		places := [][]byte{[]byte(*m.Body), decoded}
		if a, ok := m.MessageAttributes["sealq"]; ok {
			places = append(places, a.BinaryValue)
		}
		for _, place := range places {
			for i := 0; i+piece <= len(place); i++ {
				if pieces[string(place[i:i+piece])] {
					t.Fatalf("a stored message holds plaintext at byte %d", i)
				}
			}
		}
		if len(plaintext) < piece && len(plaintext) > 1 && bytes.Contains(decoded, []byte(plaintext)) {
			t.Fatal("a stored message holds the plaintext")
		}
	}
}
