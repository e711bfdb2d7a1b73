//lint:file-ignore SA1019 callers use the deprecated AttributeNames, so it must work

package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/middleware"
)

var added = []string{"DeadLetterQueueSourceArn", "MessageGroupId", "ApproximateReceiveCount", "SentTimestamp"}

// TestReceiveAsks checks the request, against what the caller wrote.
func TestReceiveAsks(t *testing.T) {
	t.Parallel()
	with := func(names ...string) []string { return append(names, added...) }
	for name, tc := range map[string]struct {
		in                    sqs.ReceiveMessageInput
		attributes, old, news []string
	}{
		"nothing":          {sqs.ReceiveMessageInput{}, []string{toyName}, nil, with()},
		"a name":           {sqs.ReceiveMessageInput{MessageAttributeNames: []string{"a"}}, []string{"a", toyName}, nil, with()},
		"All":              {sqs.ReceiveMessageInput{MessageAttributeNames: []string{"All"}}, []string{"All"}, nil, with()},
		".*":               {sqs.ReceiveMessageInput{MessageAttributeNames: []string{".*"}}, []string{".*"}, nil, with()},
		"*":                {sqs.ReceiveMessageInput{MessageAttributeNames: []string{"*"}}, []string{"*"}, nil, with()},
		"our name":         {sqs.ReceiveMessageInput{MessageAttributeNames: []string{toyName}}, []string{toyName}, nil, with()},
		"prefix no dot":    {sqs.ReceiveMessageInput{MessageAttributeNames: []string{"to.*"}}, []string{"to.*", toyName}, nil, with()},
		"no such wildcard": {sqs.ReceiveMessageInput{MessageAttributeNames: []string{"to*"}}, []string{"to*", toyName}, nil, with()},
		"new list":         {sqs.ReceiveMessageInput{MessageSystemAttributeNames: []types.MessageSystemAttributeName{"SenderId"}}, []string{toyName}, nil, with("SenderId")},
		"new list, one of ours": {sqs.ReceiveMessageInput{MessageSystemAttributeNames: []types.MessageSystemAttributeName{"MessageGroupId"}},
			[]string{toyName}, nil, []string{"MessageGroupId", "DeadLetterQueueSourceArn", "ApproximateReceiveCount", "SentTimestamp"}},
		"new list All": {sqs.ReceiveMessageInput{MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}}, []string{toyName}, nil, []string{"All"}},
		"old list":     {sqs.ReceiveMessageInput{AttributeNames: []types.QueueAttributeName{"SenderId"}}, []string{toyName}, with("SenderId"), nil},
		"old list All": {sqs.ReceiveMessageInput{AttributeNames: []types.QueueAttributeName{"All"}}, []string{toyName}, []string{"All"}, nil},
		"both lists": {sqs.ReceiveMessageInput{AttributeNames: []types.QueueAttributeName{"SenderId"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"SequenceNumber"}},
			[]string{toyName}, []string{"SenderId"}, with("SequenceNumber")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, _ := setup(t)
			tc.in.QueueUrl = aws.String(queueURL)
			if _, err := client.ReceiveMessage(t.Context(), &tc.in); err != nil {
				t.Fatal(err)
			}
			var got struct{ MessageAttributeNames, AttributeNames, MessageSystemAttributeNames []string }
			if err := json.Unmarshal(fake.requests[0].body, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]string{tc.attributes, tc.old, tc.news}, [][]string{got.MessageAttributeNames, got.AttributeNames, got.MessageSystemAttributeNames}); diff != "" {
				t.Errorf("request differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPrefixCoversDottedName uses a codec whose attribute a prefix does cover.
func TestPrefixCoversDottedName(t *testing.T) {
	t.Parallel()
	fake := &fakeSQS{}
	client := fake.client(install(t, dotted{&toyCodec{}}).Install)
	in := &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MessageAttributeNames: []string{"toy.*"}}
	if _, err := client.ReceiveMessage(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fake.wire(), "toy.header") {
		t.Errorf("got request %s, want no name that toy.* covers", fake.wire())
	}
}

type dotted struct{ *toyCodec }

func (dotted) AttributeNames() []string { return []string{"toy.header"} }

// TestReceiveShows compares what is delivered with what a plain client sees of
// the same message, never sealed.
func TestReceiveShows(t *testing.T) {
	t.Parallel()
	message := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageGroupId: aws.String("g"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"a": stringValue("1"), "bar": stringValue("2"), "bar.x": binaryValue([]byte{3}), "n": {DataType: aws.String("Number"), StringValue: aws.String("4")},
		}}
	for _, attributes := range [][]string{nil, {"a"}, {"absent"}, {"All"}, {".*"}, {"*"}, {"bar.*"}, {"bar.*", "a"}, {toyName}, {"a", toyName}} {
		for _, system := range [][]string{nil, {"SenderId"}, {"SentTimestamp"}, {"All"}, {"MessageGroupId", "SenderId"}} {
			for _, old := range []bool{false, true} {
				t.Run(fmt.Sprint(attributes, system, old), func(t *testing.T) {
					t.Parallel()
					in := &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MessageAttributeNames: attributes}
					for _, s := range system {
						if old {
							in.AttributeNames = append(in.AttributeNames, types.QueueAttributeName(s))
						} else {
							in.MessageSystemAttributeNames = append(in.MessageSystemAttributeNames, types.MessageSystemAttributeName(s))
						}
					}
					receive := func(client *sqs.Client) []types.Message {
						if _, err := client.SendMessage(t.Context(), message); err != nil {
							t.Fatal(err)
						}
						out, err := client.ReceiveMessage(t.Context(), in)
						if err != nil {
							t.Fatal(err)
						}
						return out.Messages
					}
					client, _, _ := setup(t)
					want, got := receive((&fakeSQS{}).client()), receive(client)
					if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.Message{}, types.MessageAttributeValue{})); diff != "" {
						t.Errorf("messages differ from those of a plain client (-want +got):\n%s", diff)
					}
				})
			}
		}
	}
}

// TestReceiveShowsWhatWasAskedForInside has a middleware inside the sealer, as
// a tracing agent is one, ask for attributes in the caller's name: they are
// delivered as they are to a plain client.
func TestReceiveShowsWhatWasAskedForInside(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]bool{"in place": false, "by another input": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("agent", func(
					ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
				) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
					if asked, ok := in.Parameters.(*sqs.ReceiveMessageInput); ok {
						if replace {
							c := *asked
							asked = &c
						}
						asked.MessageAttributeNames = append(asked.MessageAttributeNames, "traceparent")
						asked.MessageSystemAttributeNames = append(asked.MessageSystemAttributeNames, "SentTimestamp")
						in.Parameters = asked
					}
					return next.HandleInitialize(ctx, in)
				}), smithymiddleware.After)
			})
			receive := func(client *sqs.Client) []types.Message {
				message := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageGroupId: aws.String("g"),
					MessageAttributes: map[string]types.MessageAttributeValue{"traceparent": stringValue("1"), "other": stringValue("2")}}
				if _, err := client.SendMessage(t.Context(), message); err != nil {
					t.Fatal(err)
				}
				out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)})
				if err != nil {
					t.Fatal(err)
				}
				return out.Messages
			}
			client, _, _ := setup(t, agent)
			want, got := receive((&fakeSQS{}).client(agent)), receive(client)
			if len(want[0].MessageAttributes) != 1 || len(want[0].Attributes) != 1 {
				t.Fatalf("the plain client got %v and %v, want one attribute of each kind", want[0].MessageAttributes, want[0].Attributes)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.Message{}, types.MessageAttributeValue{})); diff != "" {
				t.Errorf("messages differ from those of a plain client (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInfoOfOneIDIsOfOneMessage gives two messages of a response one ID.
func TestInfoOfOneIDIsOfOneMessage(t *testing.T) {
	t.Parallel()
	client, fake, _ := setup(t)
	send(t, client, queueURL, "a", "b", "c")
	fake.stored[1].MessageId = fake.stored[0].MessageId
	out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10})
	if err != nil || len(out.Messages) != 3 {
		t.Fatalf("got %v, want three messages", err)
	}
	for i, want := range []bool{false, false, true} {
		if _, got := middleware.InfoOf(out.ResultMetadata, *out.Messages[i].MessageId); got != want {
			t.Errorf("info of message %d: got %v, want %v", i, got, want)
		}
	}
}

func TestEmptyReceive(t *testing.T) {
	t.Parallel()
	client, _, codec := setup(t)
	out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)})
	if err != nil {
		t.Fatal(err)
	}
	if out.Messages != nil || codec.opens != 0 {
		t.Errorf("got messages %v and %d calls of Open, want nil and none", out.Messages, codec.opens)
	}
}

// outcome records what a codec and a hook are told.
type outcome struct {
	done []string
	hook []string
}

func (o *outcome) admit(cap int32) func(*sqs.ReceiveMessageInput) (middleware.Admission, error) {
	return func(*sqs.ReceiveMessageInput) (middleware.Admission, error) {
		return middleware.Admission{MaxMessages: cap, Done: func(d middleware.Outcome) error {
			o.done = append(o.done, fmt.Sprintf("%d delivered, %d withheld, failed %t", d.Delivered, len(d.Withheld), d.Err != nil))
			return nil
		}}, nil
	}
}

func (o *outcome) withheld(_ context.Context, e *middleware.OpenError) {
	o.hook = append(o.hook, *e.Message.MessageId)
}

func observed(t *testing.T, codec *toyCodec, optFns ...func(*sqs.Options)) (*sqs.Client, *fakeSQS, *outcome) {
	fake, o := &fakeSQS{}, &outcome{}
	codec.admit = o.admit(0)
	m := install(t, codec, func(opt *middleware.Options) { opt.OnWithheld = o.withheld })
	return fake.client(append([]func(*sqs.Options){m.Install}, optFns...)...), fake, o
}

var errOutage = errors.New("toy: key service unavailable")

// spoil returns an open hook by message ID.
func spoil(bad map[string]bool) func(types.Message) (error, bool) {
	return func(m types.Message) (error, bool) {
		temporary, spoiled := bad[*m.MessageId]
		switch {
		case !spoiled:
			return nil, false
		case temporary:
			return errOutage, true
		}
		return errTampered, false
	}
}

func TestWithheld(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bad       map[string]bool // message ID -> temporary
		delivered []string
		withheld  []string
	}{
		"none":           {nil, []string{"first", "second", "third"}, nil},
		"the first":      {map[string]bool{"message-0": false}, []string{"second", "third"}, []string{"message-0"}},
		"two, temporary": {map[string]bool{"message-2": true, "message-0": true}, []string{"second"}, []string{"message-0", "message-2"}},
		"all":            {map[string]bool{"message-0": false, "message-1": true, "message-2": false}, nil, []string{"message-0", "message-1", "message-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			codec := &toyCodec{open: spoil(tc.bad)}
			client, fake, o := observed(t, codec)
			send(t, client, queueURL, "first", "second", "third")
			out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10})

			var withheld []*middleware.OpenError
			var delivered []string
			if tc.delivered == nil {
				failed, ok := errors.AsType[*middleware.ReceiveError](err)
				if !ok {
					t.Fatalf("got error %v, want a ReceiveError", err)
				}
				if !errors.Is(err, errTampered) || !errors.Is(err, errOutage) {
					t.Errorf("got error %v, want every cause in its chain", err)
				}
				withheld = failed.Withheld
			} else {
				if err != nil {
					t.Fatal(err)
				}
				withheld = middleware.Withheld(out.ResultMetadata)
				for _, m := range out.Messages {
					delivered = append(delivered, *m.Body)
					if info, ok := middleware.InfoOf(out.ResultMetadata, *m.MessageId); !ok || !strings.HasPrefix(info.(string), queueARN+"#") {
						t.Errorf("message %s: got info %v, %t, want the codec's", *m.MessageId, info, ok)
					}
				}
			}
			var ids []string
			for _, w := range withheld {
				id := *w.Message.MessageId
				ids = append(ids, id)
				temporary := tc.bad[id]
				want := errTampered
				if temporary {
					want = errOutage
				}
				if w.Temporary != temporary || !errors.Is(w, want) || w.Queue.ARN() != queueARN || aws.ToString(w.Message.ReceiptHandle) == "" {
					t.Errorf("got %+v, want the queue, the receipt handle and %v", w, want)
				}
				if _, sealed := w.Message.MessageAttributes[toyName]; !sealed || strings.Contains(dump(w.Message), "first") {
					t.Errorf("got message %+v, want it as SQS sent it", w.Message)
				}
				if _, ok := middleware.InfoOf(smithymiddleware.Metadata{}, id); ok {
					t.Error("got info from empty metadata")
				}
			}
			if diff := cmp.Diff(tc.delivered, delivered); diff != "" {
				t.Errorf("delivered differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.withheld, ids); diff != "" {
				t.Errorf("withheld differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.withheld, o.hook); diff != "" {
				t.Errorf("OnWithheld calls differ (-want +got):\n%s", diff)
			}
			if want := []string{fmt.Sprintf("%d delivered, %d withheld, failed false", len(tc.delivered), len(tc.withheld))}; !slices.Equal(o.done, want) {
				t.Errorf("got Done %v, want %v", o.done, want)
			}
			if got := fake.ops(); len(got) != 4 {
				t.Errorf("got requests %v, want nothing deleted", got)
			}
		})
	}
}

func TestFIFO(t *testing.T) {
	t.Parallel()
	const (
		good   = "good"
		bad    = "bad"
		outage = "outage"
		held   = "held"
		heldT  = "held, temporary"
	)
	type msg struct{ group, state string }
	for name, tc := range map[string]struct {
		url  string
		msgs []msg
		want []string
	}{
		"standard queue":         {queueURL, []msg{{"a", bad}, {"a", good}}, []string{bad, good}},
		"the rest of the group":  {fifoURL, []msg{{"a", good}, {"a", bad}, {"b", good}, {"a", good}, {"a", good}}, []string{good, bad, good, held, held}},
		"temporary as its cause": {fifoURL, []msg{{"a", outage}, {"b", bad}, {"a", good}, {"b", good}}, []string{outage, bad, heldT, held}},
		"its own fault first":    {fifoURL, []msg{{"a", outage}, {"a", bad}, {"a", good}}, []string{outage, bad, heldT}},
		"no group withheld":      {fifoURL, []msg{{"a", good}, {"", bad}, {"a", good}, {"b", good}}, []string{good, bad, held, held}},
		"no group behind":        {fifoURL, []msg{{"a", bad}, {"", good}, {"b", good}}, []string{bad, held, held}},
		"no group, all good":     {fifoURL, []msg{{"", good}, {"", good}}, []string{good, good}},
		"nothing left":           {fifoURL, []msg{{"a", bad}, {"a", good}}, []string{bad, held}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spoiled := make(map[string]bool)
			client, fake, _ := observed(t, &toyCodec{open: spoil(spoiled)})
			for i, m := range tc.msgs {
				in := &sqs.SendMessageInput{QueueUrl: aws.String(tc.url), MessageBody: aws.String("x")}
				if m.group != "" {
					in.MessageGroupId = aws.String(m.group)
				}
				if _, err := client.SendMessage(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				if m.state != good {
					spoiled[*fake.stored[i].MessageId] = m.state == outage
				}
			}
			out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(tc.url), MaxNumberOfMessages: 10})
			got := make(map[string]string)
			var withheld []*middleware.OpenError
			if failed, ok := errors.AsType[*middleware.ReceiveError](err); ok {
				withheld = failed.Withheld
			} else if err != nil {
				t.Fatal(err)
			} else {
				withheld = middleware.Withheld(out.ResultMetadata)
				for _, m := range out.Messages {
					got[*m.MessageId] = good
				}
			}
			for _, w := range withheld {
				state := outage
				switch {
				case errors.Is(w, middleware.ErrGroupHeld) && (errors.Is(w, errTampered) || errors.Is(w, errOutage)):
					t.Errorf("got %v, want no trace of the cause in a healthy message's error", w)
				case errors.Is(w, middleware.ErrGroupHeld) && w.Temporary:
					state = heldT
				case errors.Is(w, middleware.ErrGroupHeld):
					state = held
				case errors.Is(w, errTampered):
					state = bad
				}
				got[*w.Message.MessageId] = state
			}
			want := make(map[string]string)
			for i := range tc.want {
				want[*fake.stored[i].MessageId] = tc.want[i]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("outcome differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ asked, cap, want int32 }{
		"no cap":             {10, 0, 10},
		"negative":           {10, -1, 10},
		"capped":             {10, 1, 1},
		"below the cap":      {2, 5, 2},
		"default, not asked": {0, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			codec := &toyCodec{}
			client, fake, o := observed(t, codec)
			codec.admit = o.admit(tc.cap)
			if _, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: tc.asked}); err != nil {
				t.Fatal(err)
			}
			var got sqs.ReceiveMessageInput
			if err := json.Unmarshal(fake.requests[0].body, &got); err != nil {
				t.Fatal(err)
			}
			if got.MaxNumberOfMessages != tc.want {
				t.Errorf("asked for %d messages, want %d", got.MaxNumberOfMessages, tc.want)
			}
		})
	}
}

// TestDoneRunsOnce takes every way out of a receive.
func TestDoneRunsOnce(t *testing.T) {
	t.Parallel()
	errHeld := errors.New("held")
	for name, tc := range map[string]struct {
		change  func(*toyCodec, *outcome)
		fail    *failure
		options func(*sqs.Options)
		want    string
		panics  bool
	}{
		"delivered":     {want: "1 delivered, 0 withheld, failed false"},
		"withheld":      {change: func(c *toyCodec, _ *outcome) { c.open = spoil(map[string]bool{"message-0": false}) }, want: "0 delivered, 1 withheld, failed false"},
		"SQS fails":     {fail: &failure{status: 400, code: "QueueDoesNotExist"}, want: "0 delivered, 0 withheld, failed true"},
		"guard refuses": {options: attacks["Serialize cleared"], want: "0 delivered, 0 withheld, failed true"},
		"refused": {change: func(c *toyCodec, o *outcome) {
			c.admit = func(in *sqs.ReceiveMessageInput) (middleware.Admission, error) {
				adm, _ := o.admit(0)(in)
				return adm, errHeld
			}
		}, want: "0 delivered, 0 withheld, failed true"},
		"wrong length": {change: func(c *toyCodec, _ *outcome) {
			c.result = func([]middleware.Opened) []middleware.Opened { return nil }
		}, want: "0 delivered, 1 withheld, failed false"},
		"Open panics": {change: func(c *toyCodec, _ *outcome) {
			c.result = func([]middleware.Opened) []middleware.Opened { panic("toy") }
		}, want: "0 delivered, 0 withheld, failed true", panics: true},
		"the SDK panics": {options: withStack(func(s *smithymiddleware.Stack) error {
			return s.Initialize.Add(initialize("panic", func(any) { panic("toy") }), smithymiddleware.After)
		}), want: "0 delivered, 0 withheld, failed true", panics: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			codec := &toyCodec{}
			client, fake, o := observed(t, codec)
			send(t, client, queueURL, secret)
			if tc.change != nil {
				tc.change(codec, o)
			}
			fake.fail = func(int, string) *failure { return tc.fail }
			var optFns []func(*sqs.Options)
			if tc.options != nil {
				optFns = append(optFns, tc.options)
			}
			func() {
				defer func() {
					if p := recover(); (p != nil) != tc.panics {
						t.Errorf("got panic %v, want one %t", p, tc.panics)
					}
				}()
				_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)}, optFns...)
				if (err != nil) != (name != "delivered") {
					t.Errorf("got error %v", err)
				}
			}()
			if !slices.Equal(o.done, []string{tc.want}) {
				t.Errorf("got Done %q, want [%q]", o.done, tc.want)
			}
		})
	}
}

func TestRefusedReceiveMakesNoRequest(t *testing.T) {
	t.Parallel()
	client, fake, codec := setup(t)
	errHeld := errors.New("held")
	codec.admit = func(*sqs.ReceiveMessageInput) (middleware.Admission, error) { return middleware.Admission{}, errHeld }
	if err := operations["ReceiveMessage"](t.Context(), client); !errors.Is(err, errHeld) {
		t.Errorf("got error %v, want %v", err, errHeld)
	}
	if got := fake.ops(); len(got) != 0 {
		t.Errorf("got requests %v, want none", got)
	}
}

func TestWrongNumberOfOpenedMessages(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3} {
		codec := &toyCodec{result: func(o []middleware.Opened) []middleware.Opened { return slices.Grow(o, 3)[:n] }}
		client, _, o := observed(t, codec)
		send(t, client, queueURL, secret, secret)
		_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10})
		failed, ok := errors.AsType[*middleware.ReceiveError](err)
		if !ok || len(failed.Withheld) != 2 || !failed.Withheld[0].Temporary || len(o.hook) != 2 {
			t.Errorf("%d results: got error %v, want a ReceiveError that carries both messages, temporary", n, err)
		}
	}
}

func TestCallerGivesUpBeforeOpen(t *testing.T) {
	t.Parallel()
	client, fake, codec := setup(t)
	send(t, client, queueURL, secret)
	ctx, cancel := context.WithCancel(t.Context())
	out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)}, func(o *sqs.Options) {
		o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
			defer cancel()
			return fake.Do(r)
		})
	})
	if err != nil || len(out.Messages) != 1 || codec.opens != 1 {
		t.Errorf("got %v and error %v, want the message that had arrived", out, err)
	}
}

// TestAttributeDigest spoils an attribute between SQS and the sealer.
func TestAttributeDigest(t *testing.T) {
	t.Parallel()
	for name, altered := range map[string]bool{"altered": true, "intact": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			codec := &toyCodec{open: spoil(map[string]bool{"message-0": false})}
			client, _, _ := observed(t, codec, withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("alter", func(
					ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
				) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
					out, md, err := next.HandleInitialize(ctx, in)
					if r, ok := out.Result.(*sqs.ReceiveMessageOutput); ok && altered {
						r.Messages[0].MessageAttributes[toyName].BinaryValue[0] ^= 1
					}
					return out, md, err
				}), smithymiddleware.After)
			}))
			send(t, client, queueURL, secret)
			err := operations["ReceiveMessage"](t.Context(), client)
			if !errors.Is(err, errTampered) || strings.Contains(err.Error(), "digest") != altered {
				t.Errorf("got error %v, want one that speaks of the digest: %t", err, altered)
			}
		})
	}
}

func TestOutputReplacedInside(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]any{"nil": nil, "another type": &sqs.SendMessageOutput{}, "nil pointer": (*sqs.ReceiveMessageOutput)(nil)} {
		client, _, _ := setup(t, func(o *sqs.Options) { o.DisableMessageChecksumValidation = true }, withStack(func(s *smithymiddleware.Stack) error {
			return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("replace", func(
				context.Context, smithymiddleware.InitializeInput, smithymiddleware.InitializeHandler,
			) (out smithymiddleware.InitializeOutput, md smithymiddleware.Metadata, err error) {
				out.Result = result
				return out, md, nil
			}), smithymiddleware.After)
		}))
		if err := operations["ReceiveMessage"](t.Context(), client); !errors.Is(err, middleware.ErrBypassed) {
			t.Errorf("%s: got error %v, want ErrBypassed", name, err)
		}
	}
}
