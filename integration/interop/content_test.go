package interop_test

import (
	"encoding/base64"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
)

// The vectors of sealed content mean the same to the decoders of the examples,
// which use nothing but the standard libraries.
func TestContentVectors(t *testing.T) {
	t.Parallel()
	vectors, err := filepath.Glob("../../sqsx/internal/content/testdata/vectors/*.json")
	if err != nil || len(vectors) < 2 {
		t.Fatalf("got %v, %v, want the vectors of two languages", vectors, err)
	}
	for name, command := range map[string][]string{
		"python":     {"python3", "-B", "vectors/content/content.py", "check"},
		"javascript": {"node", "vectors/content/content.js", "check"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), command[0], append(command[1:], vectors...)...).CombinedOutput()
			if err != nil || !strings.HasSuffix(string(out), " vectors\n") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// What sealq writes beside the body, the examples read, in both carriers,
// compressed and not; and they deliver no attribute that somebody else added.
func TestContentThroughAQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "interop-content")
	body := strings.Repeat(text, 20)
	attributes := func() map[string]types.MessageAttributeValue {
		return map[string]types.MessageAttributeValue{
			"tenant":      {DataType: aws.String("String"), StringValue: aws.String("acme, Zürich")},
			"amount":      {DataType: aws.String("Number"), StringValue: aws.String("01.50")},
			"signature":   {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255, 128}},
			"kind":        {DataType: aws.String("String"), StringValue: aws.String("order")},
			"traceparent": {DataType: aws.String("String"), StringValue: aws.String("00-1")},
		}
	}
	all := "  amount: 01.50\n  kind: order\n  signature: 00ff80\n  tenant: acme, Zürich\n  traceparent: 00-1\n"
	clear := []string{"kind"}
	for name, tc := range map[string]struct {
		policy sqsx.Policy
		added  string // what is delivered of an attribute that is added on the way
	}{
		"sealed":     {sqsx.Policy{SealAttributes: true, ClearAttributes: clear}, ""},
		"body":       {sqsx.Policy{SealAttributes: true, ClearAttributes: clear, BodyCarrier: true}, ""},
		"compressed": {sqsx.Policy{SealAttributes: true, ClearAttributes: clear, Compress: true}, ""},
		"age":        {sqsx.Policy{MaxAge: time.Hour}, "  added: x\n"},
	} {
		for _, e := range exampleLanguages() {
			t.Run(name+"/"+e.folder, func(t *testing.T) {
				t.Parallel()
				run := e.program(t, w.endpoint)
				record(t, find(t, e.sdk), "sealed content, from sealq", "")
				queue := w.queue(t, "interop-content-"+e.folder+"-"+name, nil)
				producer := w.sealing(t, tc.policy)
				if _, err := producer.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &body, MessageAttributes: attributes()}); err != nil {
					t.Fatal(err)
				}
				m := w.take(t, queue)
				m.MessageAttributes["added"] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("x")}
				m.MessageAttributes["kind"] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("altered")}
				sealed, err := base64.StdEncoding.DecodeString(aws.ToString(m.Body))
				if err != nil {
					t.Fatal(err)
				}
				relayed := base64.StdEncoding.EncodeToString(onTheWire(sealed, len(sealed)-1))
				if _, err := w.plain.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &relayed, MessageAttributes: m.MessageAttributes}); err != nil {
					t.Fatal(err)
				}
				want := body + "\n" + tc.added + all
				if got, err := run("receive", queue, w.key.arn); err != nil || got != want {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			})
		}
	}
}
