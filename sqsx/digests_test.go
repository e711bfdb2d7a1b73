package sqsx_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
)

// TestDigestsAreThoseOfAPlainClient sends and receives with a plain client and
// with one that seals, with the SDK's comparison of digests on and off: outputs
// have the same digests, but for a queue of NoDigests, which has none.
func TestDigestsAreThoseOfAPlainClient(t *testing.T) {
	t.Parallel()
	type digests struct{ SentBody, SentAttributes, BatchBody, BatchAttributes, Body, Attributes *string }
	w := newWorld(t)
	s := w.sealer(func(o *sqsx.Options) {
		o.Policy.AcceptPlaintext = true
		o.Queues = map[string]sqsx.Policy{"none*": {NoDigests: true, AcceptPlaintext: true}}
	})
	through := func(client *sqs.Client, queue string) (d digests) {
		t.Helper()
		url := w.queue(queue)
		one, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("hello"), MessageAttributes: userAttributes(2)})
		if err != nil {
			t.Fatal(err)
		}
		several, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("a"), MessageBody: aws.String("hello"), MessageAttributes: userAttributes(2)},
		}})
		if err != nil || len(several.Successful) != 1 {
			t.Fatal(err)
		}
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MessageAttributeNames: []string{"All"}})
		if err != nil || len(out.Messages) != 1 {
			t.Fatal(err)
		}
		return digests{
			one.MD5OfMessageBody, one.MD5OfMessageAttributes,
			several.Successful[0].MD5OfMessageBody, several.Successful[0].MD5OfMessageAttributes,
			out.Messages[0].MD5OfBody, out.Messages[0].MD5OfMessageAttributes,
		}
	}
	for name, validate := range map[string]bool{"validated": true, "not-validated": false} {
		plain := sqs.New(w.plain.Options(), func(o *sqs.Options) { o.DisableMessageChecksumValidation = !validate })
		want := through(plain, "plain-"+name)
		if want.Body == nil || want.SentBody == nil || want.Attributes == nil {
			t.Fatalf("a plain client has no digests: %+v", want)
		}
		if diff := cmp.Diff(want, through(s.Wrap(plain), "sealed-"+name)); diff != "" {
			t.Errorf("%s: digests differ from a plain client's (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(digests{}, through(s.Wrap(plain), "none-"+name)); diff != "" {
			t.Errorf("%s: digests on a queue of NoDigests (-want +got):\n%s", name, diff)
		}
	}
	// Messages without a client, and plaintext where it is accepted.
	for queue, want := range map[string]*string{"orders": aws.String(md5Hex("hello")), "none": nil} {
		opened, _ := s.OpenMessages(t.Context(), arnOf(queue), []types.Message{{Body: aws.String("hello"), MD5OfBody: aws.String("of SQS")}})
		if len(opened) != 1 {
			t.Fatal("plaintext was withheld")
		}
		if diff := cmp.Diff(want, opened[0].MD5OfBody); diff != "" {
			t.Errorf("OpenMessages of %s: MD5OfBody differs (-want +got):\n%s", queue, diff)
		}
	}
}
