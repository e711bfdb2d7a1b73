package middleware_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/middleware"
)

func batchEntry(id, body string) types.SendMessageBatchRequestEntry {
	return types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body, MessageGroupId: aws.String("g")}
}

// TestBatchFails makes batches in which nothing may be sent.
func TestBatchFails(t *testing.T) {
	t.Parallel()
	reserved := batchEntry("reserved", "x")
	reserved.MessageAttributes = map[string]types.MessageAttributeValue{toyName: stringValue("mine")}
	crowded := func(id string, n int) types.SendMessageBatchRequestEntry {
		e := batchEntry(id, "x")
		e.MessageAttributes = make(map[string]types.MessageAttributeValue)
		for i := range n {
			e.MessageAttributes["a"+strconv.Itoa(i)] = stringValue("v")
		}
		return e
	}
	many := func(n int) (entries []types.SendMessageBatchRequestEntry) {
		for i := range n {
			entries = append(entries, batchEntry(strconv.Itoa(i), "x"))
		}
		return entries
	}
	const service = "AWS.SimpleQueueService."
	for name, tc := range map[string]struct {
		fifo    bool
		limit   int
		entries []types.SendMessageBatchRequestEntry
		bad     []string // IDs that the codec refuses
		code    string
		failed  []string // of a BatchError; nil: another error
	}{
		"the codec refuses all":                      {entries: many(3), bad: []string{"0", "1", "2"}, code: "Refused0", failed: []string{"0", "1", "2"}},
		"sealing makes all too large":                {limit: 1024, entries: []types.SendMessageBatchRequestEntry{batchEntry("a", strings.Repeat("x", 1000)), batchEntry("b", strings.Repeat("x", 1000))}, code: "InvalidParameterValue", failed: []string{"a", "b"}},
		"sealing leaves no room for attributes":      {entries: []types.SendMessageBatchRequestEntry{crowded("a", 10)}, code: "InvalidParameterValue", failed: []string{"a"}},
		"the reserved name":                          {entries: []types.SendMessageBatchRequestEntry{reserved}, code: "InvalidParameterValue", failed: []string{"reserved"}},
		"one for sealing, one by itself":             {entries: []types.SendMessageBatchRequestEntry{batchEntry("empty", ""), reserved}, code: "MissingParameter", failed: []string{"empty", "reserved"}},
		"FIFO, the codec refuses the last":           {fifo: true, entries: many(3), bad: []string{"2"}, code: "Refused2", failed: []string{"2"}},
		"FIFO, the codec refuses the first":          {fifo: true, entries: many(3), bad: []string{"0"}, code: "Refused0", failed: []string{"0"}},
		"FIFO, one empty":                            {fifo: true, entries: []types.SendMessageBatchRequestEntry{batchEntry("a", "x"), batchEntry("b", "")}, code: "MissingParameter", failed: []string{"b"}},
		"FIFO, all empty":                            {fifo: true, entries: []types.SendMessageBatchRequestEntry{batchEntry("a", ""), batchEntry("b", "")}, code: "MissingParameter", failed: []string{"a", "b"}},
		"FIFO, one too large":                        {fifo: true, limit: 1024, entries: []types.SendMessageBatchRequestEntry{batchEntry("a", strings.Repeat("x", 1000)), batchEntry("b", "x")}, code: "InvalidParameterValue", failed: []string{"a"}},
		"FIFO, two causes":                           {fifo: true, entries: []types.SendMessageBatchRequestEntry{batchEntry("a", "x"), batchEntry("b", "x"), reserved}, bad: []string{"b"}, code: "Refusedb", failed: []string{"b", "reserved"}},
		"11 entries, one refused":                    {entries: many(11), bad: []string{"3"}, code: service + "TooManyEntriesInBatchRequest"},
		"11 entries, all refused":                    {entries: many(11), bad: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}, code: service + "TooManyEntriesInBatchRequest"},
		"an invalid ID beside a refused entry":       {entries: []types.SendMessageBatchRequestEntry{batchEntry("a", "x"), batchEntry("b:c", "x")}, bad: []string{"a"}, code: service + "InvalidBatchEntryId"},
		"the invalid ID is the refused entry's":      {entries: []types.SendMessageBatchRequestEntry{batchEntry("a", "x"), batchEntry("", "")}, code: service + "InvalidBatchEntryId"},
		"an ID of 81 characters":                     {entries: []types.SendMessageBatchRequestEntry{batchEntry("a", "x"), batchEntry(strings.Repeat("i", 81), "")}, code: service + "InvalidBatchEntryId"},
		"one message above 1 MiB":                    {entries: []types.SendMessageBatchRequestEntry{batchEntry("a", "x"), batchEntry("b", strings.Repeat("x", 1<<20))}, code: service + "BatchRequestTooLong"},
		"1 MiB together with a refused entry":        {limit: 1024, entries: []types.SendMessageBatchRequestEntry{batchEntry("a", "x"), batchEntry("b", strings.Repeat("x", 800_000))}, code: service + "BatchRequestTooLong"},
		"1 MiB together with what the codec refuses": {entries: []types.SendMessageBatchRequestEntry{batchEntry("a", strings.Repeat("x", 1000)), batchEntry("b", strings.Repeat("x", 1<<20))}, bad: []string{"b"}, code: service + "BatchRequestTooLong"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, codec := setup(t)
			codec.limit = tc.limit
			codec.seal = func(e types.SendMessageBatchRequestEntry) error {
				if slices.Contains(tc.bad, *e.Id) {
					return apiError("Refused"+*e.Id, "because")
				}
				return nil
			}
			url := queueURL
			if tc.fifo {
				url = fifoURL
			}
			out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: tc.entries})
			if out != nil || fake.ops() == nil || len(fake.ops()) != 0 {
				t.Errorf("got output %v and requests %v, want none", out, fake.ops())
			}
			if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != tc.code || api.ErrorFault() != smithy.FaultClient {
				t.Errorf("got error %v, want a client fault %s", err, tc.code)
			}
			batch, ok := errors.AsType[*middleware.BatchError](err)
			if ok != (tc.failed != nil) {
				t.Fatalf("got error %v, want a BatchError %t", err, tc.failed != nil)
			}
			if !ok {
				return
			}
			var failed, codes, causes []string
			for _, f := range batch.Failed {
				failed, codes = append(failed, *f.Id), append(codes, *f.Code)
			}
			for _, cause := range batch.Unwrap() {
				api, _ := errors.AsType[smithy.APIError](cause)
				causes = append(causes, api.ErrorCode())
			}
			if diff := cmp.Diff(tc.failed, failed); diff != "" {
				t.Errorf("failed entries differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(codes, causes); diff != "" {
				t.Errorf("the causes are not those of the failed entries (-failed +causes):\n%s", diff)
			}
			for _, want := range []string{strconv.Quote(failed[0]), *batch.Failed[0].Message} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want one that holds %s", err, want)
				}
			}
		})
	}
}

// TestBatchThatSQSWouldRefuseEntryByEntry has outputs, as SQS does: every entry
// fails by itself, whether sealed or not.
func TestBatchThatSQSWouldRefuseEntryByEntry(t *testing.T) {
	t.Parallel()
	crowded := batchEntry("crowded", "x")
	crowded.MessageAttributes = make(map[string]types.MessageAttributeValue)
	for i := range 11 {
		crowded.MessageAttributes["a"+strconv.Itoa(i)] = stringValue("v")
	}
	client, fake, codec := setup(t)
	codec.limit = 1024
	out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{
		batchEntry("empty", ""), crowded, batchEntry("large", strings.Repeat("x", 1025)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Failed) != 3 || len(out.Successful) != 0 || len(fake.ops()) != 0 {
		t.Errorf("got %+v after requests %v, want three failed entries and no request", out, fake.ops())
	}
}

// TestBatchErrorOfUntypedCauses has a codec whose errors have no code.
func TestBatchErrorOfUntypedCauses(t *testing.T) {
	t.Parallel()
	noCode := errors.New("no code")
	client, _, codec := setup(t)
	codec.seal = func(types.SendMessageBatchRequestEntry) error { return noCode }
	err := operations["SendMessageBatch"](t.Context(), client)
	batch, ok := errors.AsType[*middleware.BatchError](err)
	if !ok || !errors.Is(err, noCode) || batch.ErrorCode() != "InternalError" || batch.ErrorFault() != smithy.FaultUnknown {
		t.Errorf("got error %v, want a BatchError of InternalError, by nobody's fault, around %v", err, noCode)
	}
	// What somebody else makes of the type has no causes.
	if text := (&middleware.BatchError{}).Error(); !strings.Contains(text, "no message of the batch was sent") {
		t.Errorf("zero value: got %q", text)
	}
}
