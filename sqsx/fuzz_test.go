package sqsx_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// rawSealer has a keyring in memory, so that nothing stands between a fuzz
// target and the code under test.
func rawSealer(t testing.TB, optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	t.Helper()
	kr, err := envelope.NewRawAESKeyring("test", "key", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	quiet := func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) }
	s, err := sqsx.New(kr, append([]func(*sqsx.Options){quiet}, optFns...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// maxErrorText bounds the error of one withheld message, in bytes: the sender
// of the message must not fill the logs of its receiver. 200 characters of a
// queue's name in the widest quoting, %q's \U0010ffff, leave room for the rest.
const maxErrorText = 4096

// FuzzOpenMessage puts any bytes into the body and the attribute. What is
// delivered was sealed by this test, or is plaintext where plaintext is
// accepted; never half of one or what an attribute says is sealed.
func FuzzOpenMessage(f *testing.F) {
	strict := rawSealer(f)
	accepting := rawSealer(f, func(o *sqsx.Options) { o.Policy.AcceptPlaintext = true })
	inBody := rawSealer(f, func(o *sqsx.Options) { o.Policy.BodyCarrier = true })
	const plaintext = "the plaintext of this target"
	seal := func(s *sqsx.Sealer, queue string) (string, []byte) {
		out, err := s.SealMessage(f.Context(), arnOf(queue), &sqs.SendMessageInput{MessageBody: aws.String(plaintext)})
		if err != nil {
			f.Fatal(err)
		}
		return *out.MessageBody, out.MessageAttributes["sealq"].BinaryValue
	}
	body, header := seal(strict, "orders")
	whole, _ := seal(inBody, "orders")
	elsewhere, elsewhereHeader := seal(strict, "elsewhere")
	for _, accept := range []bool{false, true} {
		f.Add(body, true, "Binary", header, "", accept)
		f.Add(body, true, "String", []byte(nil), "", accept)
		f.Add(body, true, "Binary", header[:40], "", accept)
		f.Add(body, false, "", []byte(nil), "", accept)
		f.Add(whole, false, "", []byte(nil), "", accept)
		f.Add(whole, true, "Binary", header, "", accept)
		f.Add(elsewhere, true, "Binary", elsewhereHeader, arnOf("elsewhere"), accept)
		f.Add(elsewhere, true, "Binary", elsewhereHeader, "arn:aws:sqs:eu-west-1:000000000000:elsewhere", accept)
		f.Add(whole[:len(whole)-4]+"\n"+whole[len(whole)-4:], false, "", []byte(nil), "", accept)
		f.Add("AYADeA"+whole, false, "", []byte(nil), "", accept)
		f.Add(`{"Type":"Notification","Message":"`+whole+`"}`, false, "", []byte(nil), "", accept)
		f.Add(`{"Type":"Notification","Message":"x","MessageAttributes":{"sealq":0}}`, false, "", []byte(nil), "", accept)
		f.Add(`{"Type":"Notification","Message":"{\"Type\":\"Notification\",\"Message\":\"\"}"}`, false, "", []byte(nil), "", accept)
		f.Add("plaintext", false, "", []byte(nil), "", accept)
		f.Add("", true, strings.Repeat("x", 256), []byte(nil), "", accept)
	}
	f.Fuzz(func(t *testing.T, body string, attribute bool, dataType string, header []byte, source string, accept bool) {
		s := strict
		if accept {
			s = accepting
		}
		in := types.Message{MessageId: aws.String("1"), Body: &body, Attributes: map[string]string{"DeadLetterQueueSourceArn": source}}
		other := types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("kept")}
		in.MessageAttributes = map[string]types.MessageAttributeValue{"other": other}
		before := bytes.Clone(header)
		if attribute {
			in.MessageAttributes["sealq"] = types.MessageAttributeValue{DataType: &dataType, BinaryValue: header}
		}
		opened, withheld := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{in})
		if !bytes.Equal(header, before) || len(in.MessageAttributes) == 0 || attribute != (len(in.MessageAttributes) == 2) {
			t.Fatal("the input was modified")
		}
		if len(opened)+len(withheld) != 1 {
			t.Fatalf("got %d messages and %d errors of one message", len(opened), len(withheld))
		}
		if len(withheld) == 1 {
			e := withheld[0]
			if !errors.Is(e, envelope.ErrInvalidMessage) || e.Temporary {
				t.Errorf("got %v (temporary %v), want it the message's own fault", e, e.Temporary)
			}
			if len(e.Error()) > maxErrorText {
				t.Errorf("the error takes %d bytes, want at most %d", len(e.Error()), maxErrorText)
			}
			if strings.Contains(e.Error(), plaintext) {
				t.Errorf("plaintext in %q", e)
			}
			return
		}
		switch got := *opened[0].Body; {
		case len(opened[0].MessageAttributes) != 1 || *opened[0].MessageAttributes["other"].StringValue != "kept":
			t.Errorf("got attributes %v, want the other one only", slices.Collect(maps.Keys(opened[0].MessageAttributes)))
		case got == plaintext && (attribute || strings.HasPrefix(body, "AgR4")):
		case !accept || attribute:
			t.Errorf("delivered %q", got)
		case got != body:
			t.Errorf("got %q, want plaintext as it was sent", got)
		case looksSealed(body):
			t.Errorf("%q was delivered as plaintext", got)
		}
	})
}

// looksSealed is what must never be taken for plaintext, said in another way
// than the code says it: a message, or half of one, that decodes as such.
func looksSealed(body string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(body)
	if err != nil {
		return false
	}
	if _, err := envelope.Split(b); err == nil {
		return true
	}
	return len(b) >= 40 && bytes.HasPrefix(b, []byte("\xff\xff\xff\xff\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
}

// FuzzSNSNotification wraps any text in any number of SNS notifications. A
// sealed body is found at any depth that a message has room for.
func FuzzSNSNotification(f *testing.F) {
	accepting := rawSealer(f, func(o *sqsx.Options) { o.Policy.AcceptPlaintext, o.Policy.BodyCarrier = true, true })
	out, err := accepting.SealMessage(f.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
	if err != nil {
		f.Fatal(err)
	}
	whole := *out.MessageBody
	f.Add("hello", uint8(1), " ", false)
	f.Add(`{"Type":"Notification"}`, uint8(3), "", true)
	f.Add("", uint8(6), "\r\n\t", true)
	f.Fuzz(func(t *testing.T, text string, depth uint8, space string, sealed bool) {
		if len(text) > 256 {
			t.Skip("quotes double at every depth")
		}
		body := text
		if sealed {
			body = whole
		}
		for range depth % 6 {
			quoted, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			body = `{"Subject":` + mustJSON(t, text) + `,"Type":"Notification","Message":` + string(quoted) + `}`
			if strings.Trim(space, " \t\r\n") == "" {
				body = space + body
			}
		}
		opened, withheld := accepting.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: &body}})
		switch {
		case sealed && depth%6 == 0:
			if len(opened) != 1 || *opened[0].Body != "x" {
				t.Fatalf("the sealed message itself was not opened: %v", withheld)
			}
		case sealed && len(opened) > 0:
			t.Fatalf("a sealed message in %d notifications was delivered as plaintext", depth%6)
		case len(opened) > 0 && *opened[0].Body != body:
			t.Fatal("plaintext was changed")
		}
	})
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// FuzzEnvironment gives any values to the variables. What is configured for a
// queue is exactly what the lists that name it say; everything else is an
// error.
func FuzzEnvironment(f *testing.F) {
	for _, seed := range [][5]string{
		{"alias/orders", "60", "orders,legacy-*", "legacy-*", "app=orders"},
		{"alias/orders", "", "*", "", ""},
		{"arn:aws:kms:us-east-1:000000000000:key/one", "86401", "arn:aws:sqs:*", "orders", "a=1,a=2"},
		{"alias/orders", "", "arn:aws:sqs:*", "orders", ""},
		{"alias/orders", "", "orders", "arn:aws:sqs:us-east-1:000000000000:*", ""},
		{"alias/orders", "", "ord*", "orders", ""},
		{"alias/orders", "", "orders", "ord*,arn:aws:sqs:us-east-1:000000000000:orders", ""},
		{"alias/orders", "", "arn:aws:sqs:us-east-1:000000000000:ord*", "or*", ""},
		{"", "x", "a:b", "**", "="},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	cfg := aws.Config{Region: "us-east-1", Credentials: aws.AnonymousCredentials{}}
	f.Fuzz(func(t *testing.T, key, period, accept, carrier, ec string) {
		for _, v := range []string{key, period, accept, carrier, ec} {
			if strings.Contains(v, "\x00") {
				t.Skip("the operating system does not allow it")
			}
		}
		setenv(t, map[string]string{
			"SEALQ_KEY_ID": key, "SEALQ_REUSE_PERIOD": period, "SEALQ_ACCEPT_PLAINTEXT": accept,
			"SEALQ_BODY_CARRIER": carrier, "SEALQ_ENCRYPTION_CONTEXT": ec,
		})
		quiet := func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) }
		s, err := sqsx.NewFromEnv(cfg, quiet)
		if err != nil {
			if s != nil || !strings.HasPrefix(err.Error(), "sqsx: ") && !strings.HasPrefix(err.Error(), "kmskeyring: ") && !strings.HasPrefix(err.Error(), "cache: ") {
				t.Errorf("got %v and %q, want no Sealer and an error that names its package", s, err)
			}
			return
		}
		for _, queue := range []string{"orders", "orders.fifo", "legacy-1", "o"} {
			opened, _ := s.OpenMessages(t.Context(), arnOf(queue), []types.Message{{Body: aws.String("plaintext")}})
			if got, want := len(opened) == 1, listed(accept, queue); got != want {
				t.Errorf("SEALQ_ACCEPT_PLAINTEXT=%q SEALQ_BODY_CARRIER=%q: plaintext accepted on %s: %v, want %v", accept, carrier, queue, got, want)
			}
		}
	})
}

// TestEnvironmentLosesNoSetting: a name in one variable removes nothing that an
// ARN in another gives, and a queue whose account is unknown slips past none.
func TestEnvironmentLosesNoSetting(t *testing.T) {
	cfg := aws.Config{Region: "us-east-1", Credentials: aws.AnonymousCredentials{}}
	in := &sqs.SendMessageInput{MessageBody: aws.String("x")}
	for _, test := range []struct{ strict, carrier string }{
		{"arn:aws:sqs:*", "orders"},
		{"arn:aws:sqs:us-east-1:000000000000:*", "orders"},
		{"arn:aws:sqs:us-east-1:000000000000:ord*", "orders*"},
		{arnOf("orders"), "orders"},
		{arnOf("orders"), "ord*"},
		{arnOf("orders"), "*"},
		{"arn:aws:sqs:*,orders", "orders"},
		{arnOf("orders"), "other"},
		{"*", arnOf("orders")},
	} {
		_, policy, err := sqsx.FromEnvironment(sqsx.Options{}, []string{"SEALQ_STRICT_QUEUE=" + test.strict, "SEALQ_BODY_CARRIER=" + test.carrier})
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		for _, queue := range []string{"orders", "orders2", "ord", "other"} {
			want := sqsx.Policy{StrictQueue: listed(test.strict, queue), BodyCarrier: listed(test.carrier, queue)}
			if diff := cmp.Diff(want, policy(arnOf(queue))); diff != "" {
				t.Errorf("%+v: %s: %s", test, queue, diff)
			}
		}
		setenv(t, map[string]string{"SEALQ_KEY_ID": "alias/orders", "SEALQ_STRICT_QUEUE": test.strict, "SEALQ_BODY_CARRIER": test.carrier})
		s, err := sqsx.NewFromEnv(cfg)
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		if _, err := s.SealMessage(t.Context(), "orders", in); err == nil || !strings.Contains(err.Error(), "it is unknown whether the policy for") {
			t.Errorf("%+v: got %v for a bare name, want an error: its account decides which settings it has", test, err)
		}
	}
}

// TestEnvironmentIsAddedToTheMostExactPolicy takes any rules in code and any
// lists in the environment. Every queue gets the policy of its most exact rule
// and the settings of all lists that name it, and NewFromEnv refuses them
// exactly if they contradict each other for some queue.
func TestEnvironmentIsAddedToTheMostExactPolicy(t *testing.T) {
	t.Parallel()
	const place, otherPlace = "arn:aws:sqs:us-east-1:000000000000:", "arn:aws:sqs:us-east-1:111111111111:"
	subjects := make(map[string]string) // ARN to name: all short names, in patterns and not
	for _, p := range []string{place, otherPlace, "arn:aws:sqs:us-east-1:012345678901:", "arn:aws:sqs:us-east-2:000000000000:", "arn:aws:sqs:eu-west-1:222222222222:", "arn:aws-cn:sqs:cn-north-1:222222222222:"} {
		for _, a := range []string{"a", "b", "c"} {
			for _, b := range []string{"", "a", "b", "c"} {
				for _, c := range []string{"", "a", "b", "c"} {
					subjects[p+a+b+c] = a + b + c
				}
			}
		}
	}
	name := rapid.SampledFrom([]string{"a", "b", "aa", "ab"})
	patterns := rapid.Custom(func(rt *rapid.T) string {
		switch rapid.IntRange(0, 4).Draw(rt, "kind") {
		case 0:
			return name.Draw(rt, "name")
		case 1:
			return name.Draw(rt, "name") + "*"
		case 2:
			return rapid.SampledFrom([]string{place, otherPlace}).Draw(rt, "place") + name.Draw(rt, "name")
		case 3:
			return rapid.SampledFrom([]string{place, otherPlace}).Draw(rt, "place") + name.Draw(rt, "name") + "*"
		}
		return rapid.SampledFrom([]string{"*", place + "*", otherPlace + "*", "arn:aws:sqs:*", "arn:aws:sqs:us-*", "arn:aws:sqs:us-east-1:0*"}).Draw(rt, "wide")
	})
	policies := rapid.SampledFrom([]sqsx.Policy{{}, {StrictQueue: true}, {LogicalQueue: "l"}, {NoBinding: true}, {AcceptQueues: []string{place + "*"}}})
	accepted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		o := sqsx.Options{Policy: policies.Draw(rt, "Policy"), Queues: rapid.MapOfN(patterns, policies, 0, 3).Draw(rt, "Queues")}
		if _, _, err := sqsx.FromEnvironment(o, nil); err != nil {
			rt.Skip("two rules of code are equally exact")
		}
		lists := make(map[string]string)
		var environ []string
		for _, variable := range []string{"SEALQ_STRICT_QUEUE", "SEALQ_NO_BINDING", "SEALQ_NO_SEAL"} {
			lists[variable] = strings.Join(rapid.SliceOfN(patterns, 0, 2).Draw(rt, variable), ",")
			environ = append(environ, variable+"="+lists[variable])
		}
		_, inCode, _ := sqsx.FromEnvironment(o, nil)
		_, policy, err := sqsx.FromEnvironment(o, environ)
		contradiction := ""
		for arn, name := range subjects {
			want := inCode(arn)
			want.StrictQueue = want.StrictQueue || names(lists["SEALQ_STRICT_QUEUE"], name, arn)
			want.NoBinding = want.NoBinding || names(lists["SEALQ_NO_BINDING"], name, arn)
			want.NoSeal = want.NoSeal || names(lists["SEALQ_NO_SEAL"], name, arn)
			if want.NoBinding && (want.StrictQueue || want.LogicalQueue != "" || want.AcceptQueues != nil) {
				contradiction = arn
			}
			if err == nil {
				if diff := cmp.Diff(want, policy(arn)); diff != "" {
					rt.Errorf("%s: %s", arn, diff)
				}
			}
		}
		if (err != nil) != (contradiction != "") {
			rt.Errorf("got %v, want a contradiction at %q", err, contradiction)
		}
		if err == nil {
			accepted++
		} else {
			refused++
		}
	})
	// A name that reads like the beginning of an account.
	o := sqsx.Options{Queues: map[string]sqsx.Policy{"arn:aws:sqs:us-east-1:*": {NoBinding: true}, "arn:aws:sqs:us-east-1:0*": {}}}
	if _, _, err := sqsx.FromEnvironment(o, []string{"SEALQ_STRICT_QUEUE=00"}); err == nil || !strings.Contains(err.Error(), "NoBinding opens") {
		t.Errorf("got %v for the queue 00 of accounts that do not start with 0, want an error: NoBinding and StrictQueue contradict each other", err)
	}
	if accepted == 0 || refused == 0 {
		t.Errorf("got %d sets of settings accepted and %d refused, want some of both", accepted, refused)
	}
}

// listed reports whether a comma-separated list of patterns names a queue.
func listed(patterns, queue string) bool { return names(patterns, queue, arnOf(queue)) }

func names(patterns, queue, arn string) bool {
	for item := range strings.SplitSeq(patterns, ",") {
		item = strings.TrimSpace(item)
		prefix, star := strings.CutSuffix(item, "*")
		subject := queue
		if strings.HasPrefix(item, "arn:") {
			subject = arn
		}
		if star && strings.HasPrefix(subject, prefix) || !star && item == subject {
			return true
		}
	}
	return false
}
