package sqsx_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestPolicyFollowsTheQueue has one queue sealed and all others in plaintext,
// and spells the sealed queue's URL in ways that another program may read as
// that queue, and a policy by name does not. Nothing is sent.
func TestPolicyFollowsTheQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("payments")
	s := w.sealer(func(o *sqsx.Options) {
		o.Region = w.cfg.Region
		o.Policy = sqsx.Policy{NoSeal: true, AcceptPlaintext: true}
		o.Queues = map[string]sqsx.Policy{"payments": {}}
	})
	client := s.Wrap(w.plain)
	for _, unclear := range []string{
		url + "#f", strings.Replace(url, "payments", "pay%6dents", 1), url + "%2F", url + "/", url + "//", url + "?x", url + "?x=/open",
		strings.Replace(url, "/payments", "//payments", 1), strings.Replace(url, "/payments", "/./payments", 1),
		strings.Replace(url, "/payments", "/open/../payments", 1), url + "/.", url + " ", url + "\t", url + "\n", url + "\u200b",
		strings.Replace(url, "payments", "pay\u00adments", 1), strings.Replace(url, "payments", "p\u0430yments", 1), url + ";v=1", `https://x/open\payments`,
		"payments#f", "pay%6dents", "payments/",
	} {
		_, sendErr := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &unclear, MessageBody: aws.String("secret")})
		_, batchErr := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &unclear, Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("a"), MessageBody: aws.String("secret")},
		}})
		_, receiveErr := receive(t.Context(), client, unclear)
		_, sealErr := s.SealMessage(t.Context(), unclear, &sqs.SendMessageInput{MessageBody: aws.String("secret")})
		_, sizeErr := s.SealedSize(unclear, 1)
		for what, err := range map[string]error{
			"SendMessage": sendErr, "SendMessageBatch": batchErr, "ReceiveMessage": receiveErr, "SealMessage": sealErr, "SealedSize": sizeErr, "Check": s.Check(t.Context(), unclear),
		} {
			api, ok := errors.AsType[smithy.APIError](err)
			if !ok || api.ErrorCode() != "InvalidAddress" || !strings.Contains(err.Error(), "queue URL") {
				t.Errorf("%s to %q: got error %v, want InvalidAddress with the URL", what, unclear, err)
			}
		}
		if opened, withheld := s.OpenMessages(t.Context(), unclear, []types.Message{{Body: aws.String("forged")}}); len(opened) != 0 || len(withheld) != 1 {
			t.Errorf("OpenMessages from %q: got %d opened and %v, want it withheld", unclear, len(opened), withheld)
		}
	}
	if stored := w.server.Stored(url); len(stored) != 0 || w.count("sqs:SendMessage")+w.count("sqs:SendMessageBatch")+w.count("sqs:ReceiveMessage") != 0 {
		t.Errorf("got %d messages in the sealed queue, want no request at all", len(stored))
	}
	requireSealed(t, w, client, url)
}

// TestURLThatChangesDuringTheCall has a caller whose URL variable goes on to
// the next queue while a call waits for its data key: the message goes to the
// queue whose policy sealed it, and opens there.
func TestURLThatChangesDuringTheCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open, sealed := w.queue("open"), w.queue("payments")
	client := w.client(func(o *sqsx.Options) { o.Queues = map[string]sqsx.Policy{"open": {NoSeal: true}} })
	url, body := sealed, "secret"
	w.server.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "kms:GenerateDataKey" {
			url, body = open, "the next one"
		}
		return nil
	})
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}); err != nil {
		t.Fatal(err)
	}
	if url != open {
		t.Fatal("no data key was asked for")
	}
	out, err := receive(t.Context(), client, sealed)
	if err != nil || len(w.server.Stored(open)) != 0 || !slices.Equal(bodies(out.Messages), []string{"secret"}) {
		t.Errorf("got %d messages in the other queue and %v from the right one, want the message there", len(w.server.Stored(open)), err)
	}
}
