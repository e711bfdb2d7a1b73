package sqsx_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// TestSendErrors sends what cannot be sealed, alone and as one entry of a
// batch whose other entry is good. What SQS answers for the call fails the
// call.
func TestSendErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		queue  string
		policy sqsx.Policy
		in     sqs.SendMessageInput
		code   string
		text   string
		call   string // the code of the batch's error, if the call fails
	}{
		"empty body":              {in: sqs.SendMessageInput{MessageBody: aws.String("")}, code: "MissingParameter", text: "empty"},
		"11 attributes":           {in: sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: userAttributes(11)}, code: "InvalidParameterValue", text: "11"},
		"reserved attribute name": {in: sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("String"), StringValue: aws.String("x")}}}, code: "InvalidParameterValue", text: "reserved"},
		"over 1 MiB":              {in: sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", 800_000))}, code: "InvalidParameterValue", text: "1048576", call: "AWS.SimpleQueueService.BatchRequestTooLong"},
		"over the queue's limit":  {policy: sqsx.Policy{MaxMessageBytes: 262_144}, in: sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", 200_000))}, code: "InvalidParameterValue", text: "262144"},
		"FIFO without deduplication ID": {queue: "orders.fifo", in: sqs.SendMessageInput{MessageBody: aws.String("x"), MessageGroupId: aws.String("g")},
			code: "InvalidParameterValue", text: "DeduplicationKey", call: "InvalidParameterValue"},
		"FIFO, empty body": {queue: "orders.fifo", in: sqs.SendMessageInput{MessageBody: aws.String(""), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d")},
			code: "MissingParameter", text: "empty", call: "MissingParameter"},
		"FIFO, over the queue's limit": {queue: "orders.fifo", policy: sqsx.Policy{MaxMessageBytes: 262_144},
			in:   sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", 200_000)), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d")},
			code: "InvalidParameterValue", text: "262144", call: "InvalidParameterValue"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			queue := tc.queue
			if queue == "" {
				queue = "orders"
			}
			url := w.queue(queue)
			client := w.client(func(o *sqsx.Options) { o.Policy = tc.policy })

			tc.in.QueueUrl = &url
			_, err := client.SendMessage(t.Context(), &tc.in)
			api, ok := errors.AsType[smithy.APIError](err)
			if !ok || api.ErrorCode() != tc.code || api.ErrorFault() != smithy.FaultClient || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("SendMessage: got %v, want a client fault %s that speaks of %q", err, tc.code, tc.text)
			}
			out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
				{Id: aws.String("bad"), MessageBody: tc.in.MessageBody, MessageAttributes: tc.in.MessageAttributes, MessageGroupId: tc.in.MessageGroupId, MessageDeduplicationId: tc.in.MessageDeduplicationId},
				{Id: aws.String("good"), MessageBody: aws.String("x"), MessageGroupId: tc.in.MessageGroupId, MessageDeduplicationId: tc.in.MessageGroupId},
			}})
			if got := w.count("sqs:SendMessage"); got != 0 {
				t.Errorf("got %d requests for what cannot be sent, want none", got)
			}
			if tc.call != "" {
				if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != tc.call || api.ErrorFault() != smithy.FaultClient {
					t.Errorf("SendMessageBatch: got %v, want a client fault %s of the call", err, tc.call)
				}
				if stored := w.server.Stored(url); len(stored) > 0 || w.count("sqs:SendMessageBatch") > 0 {
					t.Errorf("got %d messages and %d requests, want none", len(stored), w.count("sqs:SendMessageBatch"))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Successful) != 1 || *out.Successful[0].Id != "good" {
				t.Errorf("got %d successful, want the good entry", len(out.Successful))
			}
			if len(out.Failed) != 1 || *out.Failed[0].Id != "bad" || *out.Failed[0].Code != tc.code || !out.Failed[0].SenderFault {
				t.Errorf("got %+v failed, want the bad entry with code %s", out.Failed, tc.code)
			}
		})
	}
}

// TestFIFOBatchKeepsItsOrder sends batches for one message group with entries
// that have no deduplication ID. SQS refuses such a call, unless the queue has
// content-based deduplication. So does sealq, before a data key is asked for:
// no message of a group is sent without those in front of it.
func TestFIFOBatchKeepsItsOrder(t *testing.T) {
	t.Parallel()
	group := func(ids ...string) []types.SendMessageBatchRequestEntry {
		entries := make([]types.SendMessageBatchRequestEntry, len(ids))
		for i, id := range ids {
			entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint("e", i)), MessageBody: aws.String(fmt.Sprint("body ", i)), MessageGroupId: aws.String("g")}
			if id != "" {
				entries[i].MessageDeduplicationId = &id
			}
		}
		return entries
	}
	for name, tc := range map[string]struct {
		entries []types.SendMessageBatchRequestEntry
		failed  []string
	}{
		"none has an ID":   {group("", "", ""), []string{"e0", "e1", "e2"}},
		"the first has":    {group("a", "", ""), []string{"e1", "e2"}},
		"the second lacks": {group("a", "", "c"), []string{"e1"}},
		"the first lacks":  {group("", "b", "c"), []string{"e0"}},
		"all have one":     {group("a", "b", "c"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders.fifo")
			client := w.client()
			_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: tc.entries})
			if tc.failed == nil {
				out, receiveErr := receive(t.Context(), client, url)
				if err != nil || receiveErr != nil || !slices.Equal(bodies(out.Messages), []string{"body 0", "body 1", "body 2"}) {
					t.Errorf("got %v and %v, want all in their order", err, receiveErr)
				}
				return
			}
			batch, ok := errors.AsType[*sqsx.BatchError](err)
			if !ok || batch.ErrorCode() != "InvalidParameterValue" || !strings.Contains(err.Error(), "DeduplicationKey") {
				t.Fatalf("got error %v, want a BatchError InvalidParameterValue with the remedy", err)
			}
			var failed []string
			for _, f := range batch.Failed {
				failed = append(failed, *f.Id)
			}
			if !slices.Equal(failed, tc.failed) {
				t.Errorf("got failed %q, want %q", failed, tc.failed)
			}
			if stored := w.server.Stored(url); len(stored) != 0 || w.count("sqs:SendMessageBatch") != 0 || w.count("kms:GenerateDataKey") != 0 {
				t.Errorf("got %d messages, %d requests and %d data keys, want none", len(stored), w.count("sqs:SendMessageBatch"), w.count("kms:GenerateDataKey"))
			}
		})
	}
	t.Run("DeduplicationKey", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		url := w.queue("orders.fifo")
		client := w.client(func(o *sqsx.Options) { o.DeduplicationKey = []byte(strings.Repeat("k", 32)) })
		out, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: group("", "b", "")})
		if err != nil || len(out.Successful) != 3 {
			t.Errorf("got %v, want all sent", err)
		}
	})
}

// TestBatchOfSealedMessages is a batch in which nothing can be sent for a
// reason that only sealing brings: callers that look at the error only must see
// it.
func TestBatchOfSealedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	s := w.sealer(func(o *sqsx.Options) { o.Policy.BodyCarrier = true })
	sealed, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Wrap(w.plain).SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: sealed.MessageBody}, {Id: aws.String("b"), MessageBody: sealed.MessageBody},
	}})
	batch, ok := errors.AsType[*sqsx.BatchError](err)
	if !ok || len(batch.Failed) != 2 || !strings.Contains(err.Error(), "sealed again") {
		t.Errorf("got %v, want a BatchError of both entries", err)
	}
	if n := w.count("sqs:SendMessageBatch"); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// TestNothingIsSealedTwice sends what SealMessage returned through a client
// that seals, and what only begins like it.
func TestNothingIsSealedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.queue("orders")
	for name, policy := range map[string]sqsx.Policy{"attribute": {}, "body": {BodyCarrier: true}} {
		s := w.sealer(func(o *sqsx.Options) { o.Policy = policy })
		sealed, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Wrap(w.plain).SendMessage(t.Context(), sealed)
		if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "InvalidParameterValue" || !strings.Contains(err.Error(), "a client that has no") {
			t.Errorf("%s carrier: got %v, want an error that says which client to use", name, err)
		}
	}
	if n := w.count("sqs:SendMessage"); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
	client := w.client()
	for _, body := range []string{"AgR4", "AgV4" + strings.Repeat("A", 400), "AgR4 and plain text"} {
		send(t, client, url, body)
		if out, err := receive(t.Context(), client, url); err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != body {
			t.Errorf("%.20q: got %v, want it sealed and opened like any other", body, err)
		}
	}
}

func TestBatchErrors(t *testing.T) {
	t.Parallel()
	entry := func(id, body string) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body}
	}
	for name, tc := range map[string]struct {
		entries []types.SendMessageBatchRequestEntry
		code    string
	}{
		"over 1 MiB together": {[]types.SendMessageBatchRequestEntry{entry("a", strings.Repeat("x", 500_000)), entry("b", strings.Repeat("x", 500_000))}, "AWS.SimpleQueueService.BatchRequestTooLong"},
		"the same ID twice":   {[]types.SendMessageBatchRequestEntry{entry("a", "x"), entry("a", "y")}, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders")
			_, err := w.client().SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: tc.entries})
			if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != tc.code {
				t.Errorf("got %v, want code %s", err, tc.code)
			}
			if got := w.count("sqs:SendMessageBatch"); got != 0 {
				t.Errorf("got %d requests, want none", got)
			}
		})
	}
}

// TestNoKeyNoMessage has KMS fail in several ways: the whole call fails, and
// SQS is not asked.
func TestNoKeyNoMessage(t *testing.T) {
	t.Parallel()
	for name, kmsError := range map[string]error{
		"unreachable": errors.New("connection refused"),
		"denied":      &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"},
		"disabled":    &smithy.GenericAPIError{Code: "DisabledException", Message: "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url, client := w.queue("orders"), w.client()
			w.server.Intercept(kmsFails(kmsError))
			_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{
				{Id: aws.String("a"), MessageBody: aws.String("secret")}, {Id: aws.String("b"), MessageBody: aws.String("secret")}}})
			if err == nil {
				t.Error("SendMessageBatch went through")
			}
			_, err = client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("secret")})
			if got, want := errors.Is(err, envelope.ErrUnavailable), name == "unreachable"; got != want {
				t.Errorf("got ErrUnavailable %v, want %v: %v", got, want, err)
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("plaintext in %v", err)
			}
			if got := w.count("sqs:SendMessage") + w.count("sqs:SendMessageBatch"); got != 0 {
				t.Errorf("got %d requests to SQS, want none", got)
			}
		})
	}
}

// TestNoSeal sends byte for byte, also what sealing would refuse.
func TestNoSeal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client(func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{"open*": {NoSeal: true, AcceptPlaintext: true}}
	})
	url := w.queue("open-orders")
	sealed, err := w.sealer().SealMessage(t.Context(), arnOf("open-orders"), &sqs.SendMessageInput{MessageBody: aws.String("sealed elsewhere")})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		body       string
		attributes map[string]types.MessageAttributeValue
	}{{"hello", userAttributes(10)}, {*sealed.MessageBody, sealed.MessageAttributes}} {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &m.body, MessageAttributes: m.attributes}); err != nil {
			t.Fatal(err)
		}
		stored := w.server.Stored(url)
		if got := stored[len(stored)-1]; *got.Body != m.body || len(got.MessageAttributes) != len(m.attributes) {
			t.Errorf("got %q with %d attributes stored, want it as it was sent", *got.Body, len(got.MessageAttributes))
		}
	}
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodies(out.Messages); len(got) != 2 || got[0] != "hello" || got[1] != "sealed elsewhere" {
		t.Errorf("got %q, want plaintext as it is and the sealed message opened", got)
	}
	requireSealed(t, w, client, w.queue("closed-orders"))
}

func TestCarriers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy     sqsx.Policy
		attributes int
		inBody     bool
	}{
		"attribute":                            {attributes: 8},
		"body by option":                       {policy: sqsx.Policy{BodyCarrier: true}, attributes: 1, inBody: true},
		"body because of 9 attributes":         {attributes: 9, inBody: true},
		"body because of 10 attributes":        {attributes: 10, inBody: true},
		"attribute, without others beside it ": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders")
			client := w.client(func(o *sqsx.Options) { o.Policy = tc.policy })
			if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x"), MessageAttributes: userAttributes(tc.attributes)}); err != nil {
				t.Fatal(err)
			}
			stored := w.server.Stored(url)[0]
			header, inAttribute := stored.MessageAttributes["sealq"]
			if inAttribute == tc.inBody || strings.HasPrefix(*stored.Body, "AgR4") != tc.inBody {
				t.Errorf("got body %.12s and the attribute %v, want the carrier in the body: %v", *stored.Body, inAttribute, tc.inBody)
			}
			rest, err := base64.StdEncoding.DecodeString(*stored.Body)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := envelope.Split(append(header.BinaryValue, rest...)); err != nil {
				t.Errorf("attribute and body together are not an encryption SDK message: %v", err)
			}
			// A reader takes both, whatever its own option.
			out, err := receive(t.Context(), w.client(), url)
			if err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != "x" {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestDeduplicationID recomputes the ID from its description in
// docs/format.md, and pins the value.
func TestDeduplicationID(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	describe := func(queue, body string) string {
		mac := hmac.New(sha256.New, key)
		for _, part := range []string{"sealq-dedup-v1", queue, body} {
			_ = binary.Write(mac, binary.BigEndian, uint64(len(part)))
			mac.Write([]byte(part))
		}
		return hex.EncodeToString(mac.Sum(nil))
	}
	const vector = "0400959b3bfee763accfaeec862a5806914f0951ddcb268dcd59113d599a4d16"
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		queue  string
		vector string
	}{
		"queue ARN":     {sqsx.Policy{}, arnOf("orders.fifo"), vector},
		"logical queue": {sqsx.Policy{LogicalQueue: "all-orders"}, "all-orders", ""},
		"no binding":    {sqsx.Policy{NoBinding: true}, arnOf("orders.fifo"), vector},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url := w.queue("orders.fifo")
			client := w.client(func(o *sqsx.Options) { o.DeduplicationKey, o.Policy = key, tc.policy })
			for range 2 {
				if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("hello"), MessageGroupId: aws.String("g")}); err != nil {
					t.Fatal(err)
				}
			}
			stored := w.server.Stored(url)
			if len(stored) != 1 {
				t.Fatalf("got %d messages, want the second to be recognised", len(stored))
			}
			got := stored[0].Attributes["MessageDeduplicationId"]
			if want := describe(tc.queue, "hello"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if tc.vector != "" && got != tc.vector {
				t.Errorf("got %s, want the vector %s", got, tc.vector)
			}
			if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("hello"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("mine")}); err != nil {
				t.Fatal(err)
			}
			if stored := w.server.Stored(url); len(stored) != 2 || stored[1].Attributes["MessageDeduplicationId"] != "mine" {
				t.Error("the caller's own deduplication ID was not kept")
			}
		})
	}
}

func TestBareQueueName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.queue("orders")
	_, err := w.client().SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String("orders"), MessageBody: aws.String("x")})
	if err == nil || !strings.Contains(err.Error(), "Options.Account") {
		t.Errorf("got %v, want an error that names Options.Account", err)
	}
	if _, err := receive(t.Context(), w.client(), "orders"); err == nil || !strings.Contains(err.Error(), "Options.Account") || w.count("sqs:ReceiveMessage") > 0 {
		t.Errorf("got %v, want the same before a message is received", err)
	}
	s := w.sealer()
	opened, withheld := s.OpenMessages(t.Context(), "orders", []types.Message{{Body: aws.String("x")}, {Body: aws.String("y")}})
	if stats := s.Stats(); len(opened) != 0 || len(withheld) != 2 || stats.WithheldRefused != 2 {
		t.Errorf("got %d opened, %d withheld and %+v, want two withheld and counted", len(opened), len(withheld), stats)
	}
	for name, set := range map[string]func(*sqsx.Options){
		"Account":      func(o *sqsx.Options) { o.Account = "000000000000" },
		"LogicalQueue": func(o *sqsx.Options) { o.Policy.LogicalQueue = "orders" },
		"NoBinding":    func(o *sqsx.Options) { o.Policy.NoBinding = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := w.sealer(set)
			_, sealed := s.SealMessage(t.Context(), "orders", &sqs.SendMessageInput{MessageBody: aws.String("x")})
			_, size := s.SealedSize("orders", 1)
			_, policy := s.PolicyOf("orders")
			for call, err := range map[string]error{
				"SealMessage": sealed, "SealedSize": size, "PolicyOf": policy, "Check": s.Check(t.Context(), "orders"),
				"CheckSeal": s.CheckSeal(t.Context(), "orders"), "CheckOpen": s.CheckOpen(t.Context(), "orders"),
			} {
				if err != nil {
					t.Errorf("%s: %v", call, err)
				}
			}
		})
	}
}

func TestSealedSize(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]sqsx.Policy{"attribute": {}, "body": {BodyCarrier: true}, "no seal": {NoSeal: true}, "unbound": {NoBinding: true}} {
		for _, n := range []int{1, 2, 3, 1000, 65_536} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				url := w.queue("orders")
				s := w.sealer(func(o *sqsx.Options) { o.Policy = policy })
				estimate, err := s.SealedSize(url, n)
				if err != nil {
					t.Fatal(err)
				}
				send(t, s.Wrap(w.plain), url, strings.Repeat("x", n))
				stored := w.server.Stored(url)[0]
				want := len(*stored.Body)
				for name, a := range stored.MessageAttributes {
					want += len(name) + len(*a.DataType) + len(a.BinaryValue)
				}
				exact, err := s.SealedSize(arnOf("orders"), n)
				if err != nil || exact != want {
					t.Errorf("got %d, %v after a send, want exactly %d", exact, err, want)
				}
				if estimate < want || estimate > want+200 {
					t.Errorf("got estimate %d before a send, want it not below %d, nor far above", estimate, want)
				}
			})
		}
	}
	// What one queue shows of the keyring's data keys holds for another, one whose
	// ARN is not known too; names of other lengths and keyrings are told apart.
	w := newWorld(t)
	other, err := envelope.NewRawAESKeyring("namespace", "name", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	named := w.sealer(func(o *sqsx.Options) {
		o.Region, o.Policy.LogicalQueue = w.cfg.Region, "all"
		o.Queues = map[string]sqsx.Policy{"long": {LogicalQueue: "a-longer-name"}, "raw": {LogicalQueue: "all", Keyring: other}}
	})
	estimate, err := named.SealedSize("raw", 100)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := named.SealMessage(t.Context(), "a", &sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", 100))})
	if err != nil {
		t.Fatal(err)
	}
	exact := len("sealq") + len("Binary") + len(sealed.MessageAttributes["sealq"].BinaryValue) + len(*sealed.MessageBody)
	for queue, want := range map[string]int{"a": exact, "b": exact, "long": exact + len("a-longer-name") - len("all"), "raw": estimate} {
		if got, err := named.SealedSize(queue, 100); err != nil || got != want {
			t.Errorf("got %d, %v for %q after a message to a, want %d", got, err, queue, want)
		}
	}

	s := w.sealer()
	for _, tc := range []struct {
		queue string
		n     int
	}{{arnOf("q"), 0}, {arnOf("q"), -1}, {arnOf("q"), 1<<20 + 1}, {"arn:aws:s3:us-east-1:000000000000:t", 1}} {
		if _, err := s.SealedSize(tc.queue, tc.n); err == nil {
			t.Errorf("SealedSize(%q, %d) has no error", tc.queue, tc.n)
		}
	}
}

// TestSizesOfTheFormat compares what SealedSize reckons with to what package
// envelope writes.
func TestSizesOfTheFormat(t *testing.T) {
	t.Parallel()
	kr, err := envelope.NewRawAESKeyring("namespace", "name", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, ec := range []envelope.EncryptionContext{nil, {}, {"sealq:queue": arnOf("orders")}, {"sealq:queue": arnOf("orders"), "b": "\u00fc", "c": "d"}} {
		for _, n := range []int{0, 1, 1000, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2 << 20} {
			m, err := envelope.Seal(t.Context(), kr, make([]byte, n), ec)
			if err != nil {
				t.Fatal(err)
			}
			h, err := envelope.ParseHeader(m.Header)
			if err != nil {
				t.Fatal(err)
			}
			if got := sqsx.HeaderSize(ec, h.EncryptedDataKeys[0]); got != len(m.Header) {
				t.Errorf("header with %d pairs: got %d bytes, want %d", len(ec), got, len(m.Header))
			}
			if got := sqsx.BodySize(n); got != len(m.Body) {
				t.Errorf("body of %d bytes: got %d, want %d", n, got, len(m.Body))
			}
		}
	}
}
