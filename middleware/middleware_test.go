package middleware_test

import (
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/middleware"
)

type namedCodec struct {
	*toyCodec
	names []string
}

func (c namedCodec) AttributeNames() []string { return c.names }

func TestNew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]middleware.Codec{"nil": nil, "nil pointer": (*toyCodec)(nil), "empty name": namedCodec{names: []string{""}}} {
		if m, err := middleware.New(c); err == nil || m != nil {
			t.Errorf("%s: got %v and error %v, want an error only", name, m, err)
		}
	}
	m, err := middleware.New(&toyCodec{}, func(*middleware.Options) {}, nil)
	if m != nil || err == nil || err.Error() != "middleware: option function 1 is nil" {
		t.Errorf("nil option function: got %v and error %v, want an error that names it", m, err)
	}
}

var testQueue = middleware.Queue{Partition: "aws", Region: "us-east-1", Account: "123456789012", Name: "orders"}

func TestSealAndOpenWithoutClient(t *testing.T) {
	t.Parallel()
	m := install(t, &toyCodec{})
	in := &sqs.SendMessageInput{
		QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), DelaySeconds: 7, MessageGroupId: aws.String("g"),
		MessageAttributes: map[string]types.MessageAttributeValue{"user": stringValue("v")},
	}
	before := *in
	sealed, err := m.SealMessage(t.Context(), testQueue, in)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, *in) || len(in.MessageAttributes) != 1 {
		t.Error("the input was written")
	}
	if strings.Contains(dump(sealed), "launch") || len(sealed.MessageAttributes) != 2 || sealed.DelaySeconds != 7 || *sealed.MessageGroupId != "g" {
		t.Errorf("got %+v, want everything but the body as it was", sealed)
	}

	message := types.Message{
		MessageId: aws.String("m"), ReceiptHandle: aws.String("r"), Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes,
		MD5OfBody: aws.String("of the sealed body"), Attributes: map[string]string{"SenderId": "me", "SentTimestamp": "1"},
	}
	plain := types.Message{MessageId: aws.String("p"), Body: aws.String("never sealed")}
	delivered, withheld := m.OpenMessages(t.Context(), testQueue, []types.Message{plain, message})
	want := message
	want.Body, want.MessageAttributes = in.MessageBody, in.MessageAttributes
	want.MD5OfBody, want.MD5OfMessageAttributes = aws.String(md5Hex([]byte(secret))), aws.String(attributesMD5(in.MessageAttributes))
	if diff := cmp.Diff([]middleware.Delivered{{Message: want, Info: queueARN + "#1"}}, delivered, cmpopts.IgnoreUnexported(types.Message{}, types.MessageAttributeValue{})); diff != "" {
		t.Errorf("delivered differ (-want +got):\n%s", diff)
	}
	if len(withheld) != 1 || !errors.Is(withheld[0], errTampered) || *withheld[0].Message.MessageId != "p" {
		t.Errorf("got withheld %v, want the plain message", withheld)
	}
	if len(message.MessageAttributes) != 2 || *message.Body == secret {
		t.Error("the received message was written")
	}
	if delivered, withheld := m.OpenMessages(t.Context(), testQueue, nil); delivered != nil || withheld != nil {
		t.Errorf("got %v and %v of no messages, want nothing", delivered, withheld)
	}
}

func TestOpenMessagesReportsAndHoldsGroups(t *testing.T) {
	t.Parallel()
	o := &outcome{}
	m := install(t, &toyCodec{}, func(opt *middleware.Options) { opt.OnWithheld = o.withheld })
	queue := testQueue
	queue.Name += ".fifo"
	sealed, err := m.SealMessage(t.Context(), queue, &sqs.SendMessageInput{MessageBody: aws.String(secret)})
	if err != nil {
		t.Fatal(err)
	}
	message := func(id, group string, body *string) types.Message {
		return types.Message{MessageId: aws.String(id), Body: body, MessageAttributes: sealed.MessageAttributes, Attributes: map[string]string{"MessageGroupId": group}}
	}
	delivered, withheld := m.OpenMessages(t.Context(), queue, []types.Message{
		message("0", "a", aws.String("%%%")), message("1", "a", sealed.MessageBody), message("2", "b", sealed.MessageBody),
	})
	if len(delivered) != 1 || *delivered[0].MessageId != "2" {
		t.Errorf("got %v, want message 2", delivered)
	}
	if len(withheld) != 2 || !errors.Is(withheld[1], middleware.ErrGroupHeld) {
		t.Errorf("got %v, want messages 0 and 1, the second held", withheld)
	}
	if diff := cmp.Diff([]string{"0", "1"}, o.hook); diff != "" {
		t.Errorf("OnWithheld calls differ (-want +got):\n%s", diff)
	}
}

func TestSealMessageErrors(t *testing.T) {
	t.Parallel()
	noKey := errors.New("no key")
	body := &sqs.SendMessageInput{MessageBody: aws.String("x")}
	var none *middleware.Middleware
	for name, tc := range map[string]struct {
		m    *middleware.Middleware
		in   *sqs.SendMessageInput
		want error
		code string
	}{
		"nil middleware":  {m: none, in: body, want: middleware.ErrUninitialized},
		"zero middleware": {m: new(middleware.Middleware), in: body, want: middleware.ErrUninitialized},
		"nil input":       {m: install(t, &toyCodec{})},
		"no body":         {m: install(t, &toyCodec{}), in: &sqs.SendMessageInput{}, code: "MissingParameter"},
		"empty body":      {m: install(t, &toyCodec{}), in: &sqs.SendMessageInput{MessageBody: aws.String("")}, code: "MissingParameter"},
		"too large":       {m: install(t, &toyCodec{limit: 1}), in: body, code: "InvalidParameterValue"},
		"common cause":    {m: install(t, &toyCodec{common: noKey}), in: body, want: noKey},
	} {
		out, err := tc.m.SealMessage(t.Context(), testQueue, tc.in)
		if err == nil || out != nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v and error %v, want %v", name, out, err, tc.want)
		}
		if api, ok := errors.AsType[smithy.APIError](err); tc.code != "" && (!ok || api.ErrorCode() != tc.code) {
			t.Errorf("%s: got error %v, want code %s", name, err, tc.code)
		}
	}
	delivered, withheld := none.OpenMessages(t.Context(), testQueue, []types.Message{{}, {}})
	if len(delivered) != 0 || len(withheld) != 2 || !errors.Is(withheld[0], middleware.ErrUninitialized) || !withheld[0].Temporary {
		t.Errorf("nil OpenMessages: got %v and %v, want both withheld", delivered, withheld)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	client, _, _ := setup(t)
	var wg sync.WaitGroup
	for range 16 {
		for _, invoke := range operations {
			wg.Go(func() {
				if err := invoke(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}

// TestFIPSOnly runs itself again where crypto/md5 panics.
func TestFIPSOnly(t *testing.T) {
	t.Parallel()
	if !fips140.Enforced() {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFIPSOnly$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestFIPSOnly") {
			t.Errorf("under fips140=only: %v\n%s", err, out)
		}
		return
	}
	m := install(t, &toyCodec{})
	sealed, err := m.SealMessage(t.Context(), testQueue, &sqs.SendMessageInput{MessageBody: aws.String(secret)})
	if err != nil {
		t.Fatal(err)
	}
	message := types.Message{Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes, MD5OfMessageAttributes: aws.String("x")}
	delivered, withheld := m.OpenMessages(t.Context(), testQueue, []types.Message{message, {Body: aws.String("bad"), MD5OfMessageAttributes: aws.String("x")}})
	if len(delivered) != 1 || len(withheld) != 1 || delivered[0].MD5OfBody != nil || delivered[0].MD5OfMessageAttributes != nil {
		t.Errorf("got %v and %v, want one each, without digests", delivered, withheld)
	}
}

// countedNames is a codec that counts how often it is asked for its names.
type countedNames struct {
	*toyCodec
	asked atomic.Int64
}

func (c *countedNames) AttributeNames() []string {
	c.asked.Add(1)
	return c.toyCodec.AttributeNames()
}

// TestNamesAreAskedForOnce: New asks for the names, and no call does.
func TestNamesAreAskedForOnce(t *testing.T) {
	t.Parallel()
	codec := &countedNames{toyCodec: &toyCodec{}}
	m, err := middleware.New(codec)
	if err != nil {
		t.Fatal(err)
	}
	fake := &fakeSQS{}
	client := fake.client(m.Install)
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret)}); err != nil {
		t.Fatal(err)
	}
	out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Messages) != 1 || out.Messages[0].MessageAttributes != nil {
		t.Errorf("got %v, want one message without attributes", out.Messages)
	}
	if got := codec.asked.Load(); got != 1 {
		t.Errorf("got %d calls of AttributeNames, want 1", got)
	}
}
