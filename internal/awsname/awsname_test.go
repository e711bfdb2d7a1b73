package awsname_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/internal/awsname"
)

func TestCodes(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"eu-central-1": true, "aws-us-gov": true, "us-isob-east-1": true, "elasticmq": true, strings.Repeat("r", 32): true,
		"": false, "US-EAST-1": false, "us east": false, "us_east_1": false, "us-east-1\n": false, "é": false, strings.Repeat("r", 33): false,
	} {
		if got := awsname.IsRegion(s); got != want {
			t.Errorf("IsRegion(%q): got %t, want %t", s, got, want)
		}
		if got := awsname.IsPartition(s); got != want {
			t.Errorf("IsPartition(%q): got %t, want %t", s, got, want)
		}
	}
	for s, want := range map[string]bool{
		"000000000000": true, "123456789012": true,
		"": false, "12345678901": false, "1234567890123": false, "12345678901x": false, "١23456789012": false,
	} {
		if got := awsname.IsAccount(s); got != want {
			t.Errorf("IsAccount(%q): got %t, want %t", s, got, want)
		}
	}
}

func TestIsEntryID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"a": true, "A-_9": true, strings.Repeat("i", 80): true,
		"": false, strings.Repeat("i", 81): false, "a.fifo": false, "a b": false, "é": false,
	} {
		if got := awsname.IsEntryID(s); got != want {
			t.Errorf("%q: got %t, want %t", s, got, want)
		}
	}
}

// TestQueueNames holds the rules of CreateQueue, and that all who take the name
// of a queue agree on them: as it is, in an ARN and in a pattern.
func TestQueueNames(t *testing.T) {
	t.Parallel()
	const prefix = "arn:aws:sqs:us-east-1:123456789012:"
	for name, want := range map[string]bool{
		"q":                               true,
		"orders-EU_2":                     true,
		"orders.fifo":                     true,
		"fifo":                            true,
		"-":                               true,
		strings.Repeat("q", 80):           true,
		strings.Repeat("q", 75) + ".fifo": true,
		"":                                false,
		".fifo":                           false,
		".":                               false,
		"orders.":                         false,
		"orders.fif":                      false,
		"orders.FIFO":                     false,
		"orders.fifo.fifo":                false,
		"orders.fifos":                    false,
		"or.ders":                         false,
		"or.ders.fifo":                    false,
		"or ders":                         false,
		"or/ders":                         false,
		"or:ders":                         false,
		"órders":                          false,
		"orders\n":                        false,
		strings.Repeat("q", 81):           false,
		strings.Repeat("q", 76) + ".fifo": false,
	} {
		if err := awsname.CheckQueueName(name); (err == nil) != want {
			t.Errorf("CheckQueueName(%q): got error %v, want valid: %t", name, err, want)
		}
		arn, err := awsname.ParseQueueARN(prefix + name)
		if (err == nil) != want || want && (arn.Resource != name || arn.String() != prefix+name) {
			t.Errorf("ParseQueueARN(%q): got %+v and error %v, want valid: %t", prefix+name, arn, err, want)
		}
		for _, text := range []string{name, prefix + name} {
			p, err := awsname.ParsePattern(text)
			if (err == nil) != want || want && (p.Name() != name || !p.Matches(name, prefix+name)) {
				t.Errorf("ParsePattern(%q): got %+v and error %v, want valid: %t", text, p, err, want)
			}
		}
		if want && awsname.IsFIFO(name) != strings.HasSuffix(name, ".fifo") {
			t.Errorf("IsFIFO(%q): got %t", name, awsname.IsFIFO(name))
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	const prefix = "arn:aws:sqs:us-east-1:123456789012:"
	for text, want := range map[string]bool{
		"*":                                    true,
		"ord*":                                 true,
		"orders.*":                             true,
		"orders.fi*":                           true,
		"orders.fifo*":                         true,
		strings.Repeat("q", 80) + "*":          true,
		strings.Repeat("q", 75) + ".*":         true,
		"arn:aws:sqs:*":                        true,
		"arn:aws:sqs:us-*":                     true,
		"arn:aws:sqs:us-east-1:*":              true,
		"arn:aws:sqs:us-east-1:1234*":          true,
		"arn:aws:sqs:us-east-1:123456789012*":  true,
		prefix + "*":                           true,
		prefix + "orders.*":                    true,
		"":                                     false,
		".*":                                   false,
		".fifo*":                               false,
		"**":                                   false,
		"or*ders":                              false,
		"or.d*":                                false,
		"orders.fifo.*":                        false,
		"orders.fifox*":                        false,
		strings.Repeat("q", 81) + "*":          false,
		strings.Repeat("q", 76) + ".*":         false, // with the suffix it would be 81 characters
		"https://sqs.us-east-1.amazonaws.com/": false,
		"arn:*":                                false,
		"arn:aws:sq*":                          false,
		"arn:aws:sns*":                         false,
		"arn:aws:sns":                          false,
		"arn:aws:sns:*":                        true,
		"arn:aws:sns:us-east-1:123456789012:*": true,
		"arn:aws:sns:us-east-1:1234:orders":    false,
		"arn:aws:sns:us-east-1:123456789012:orders:1234": false, // of a subscription
		"arn:aws:sns:us-east-1:123456789012:endpoint/*":  false,
		"arn:aws:sqs":                          false,
		"arn:aws:sqs*":                         false,
		"arn::sqs:*":                           false,
		"arn:AWS:sqs:*":                        false,
		"arn:aws:sqs:US*":                      false,
		"arn:aws:sqs:us-east-1":                false,
		"arn:aws:sqs::123456789012:*":          false,
		"arn:aws:sqs:us-east-1:orders*":        false,
		"arn:aws:sqs:us-east-1:1234567890123*": false,
		"arn:aws:sqs:us-east-1:1234:orders":    false,
		"arn:aws:sqs:*:123456789012:orders":    false,
		prefix + "*s":                          false,
		prefix + "a:b":                         false,
	} {
		if p, err := awsname.ParsePattern(text); (err == nil) != want || want && p.Text != text {
			t.Errorf("%q: got %+v and error %v, want valid: %t", text, p, err, want)
		}
	}
}

// TestTopicNames holds the rules of CreateTopic, and that names of topics are
// only ever in ARNs: a pattern without one is of queues.
func TestTopicNames(t *testing.T) {
	t.Parallel()
	const prefix = "arn:aws:sns:us-east-1:123456789012:"
	for name, want := range map[string]bool{
		"orders-EU_2":                      true,
		"orders.fifo":                      true,
		strings.Repeat("t", 256):           true,
		strings.Repeat("t", 251) + ".fifo": true,
		"":                                 false,
		".fifo":                            false,
		"or.ders":                          false,
		"or:ders":                          false,
		"orders:6b0e71bd-7e97-4d97-80ce-4a0994e55286": false, // a subscription
		"endpoint/GCM/app/x":                          false,
		"app/GCM/x":                                   false,
		strings.Repeat("t", 257):                      false,
		strings.Repeat("t", 252) + ".fifo":            false,
	} {
		arn, err := awsname.ParseTopicARN(prefix + name)
		if (err == nil) != want || want && (arn.Resource != name || arn.String() != prefix+name || arn != awsname.TopicARN("aws", "us-east-1", "123456789012", name)) {
			t.Errorf("ParseTopicARN(%q): got %+v and error %v, want valid: %t", name, arn, err, want)
		}
		for _, parse := range []func(string) (awsname.Pattern, error){awsname.ParsePattern, awsname.ParseTopicPattern} {
			p, err := parse(prefix + name)
			if (err == nil) != want || want && (!p.Topic || p.Name() != name || !p.Matches("", prefix+name)) {
				t.Errorf("pattern %q: got %+v and error %v, want valid: %t", name, p, err, want)
			}
		}
		if _, err := awsname.ParseARNPattern(prefix + name); err == nil {
			t.Errorf("ParseARNPattern(%q) takes the ARN of a topic for one of a queue", name)
		}
	}
	for _, text := range []string{"orders", "*", "arn:aws:sqs:us-east-1:123456789012:orders"} {
		if p, err := awsname.ParsePattern(text); err != nil || p.Topic {
			t.Errorf("ParsePattern(%q): got %+v and error %v, want a pattern of queues", text, p, err)
		}
		if _, err := awsname.ParseTopicPattern(text); err == nil {
			t.Errorf("ParseTopicPattern(%q) has no error", text)
		}
	}
}

// TestPatternsMatchSomething: a pattern is accepted if and only if a queue can
// exist that it names. One that names none would be a policy that protects
// nothing, without a word.
func TestPatternsMatchSomething(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.OneOf(
			rapid.StringMatching(`[a.]{0,3}(\.|\.f|\.fifo|\.fifos|)`),
			rapid.Map(rapid.IntRange(70, 90), func(n int) string { return strings.Repeat("q", n) }),
			rapid.Map(rapid.IntRange(70, 82), func(n int) string { return strings.Repeat("q", n) + ".f" }),
		).Draw(t, "prefix")
		some := false
		for _, rest := range []string{"", "a", ".fifo", "fifo", "ifo", "fo", "o"} {
			some = some || awsname.CheckQueueName(prefix+rest) == nil
		}
		for _, text := range []string{prefix + "*", "arn:aws:sqs:us-east-1:123456789012:" + prefix + "*"} {
			if _, err := awsname.ParsePattern(text); (err == nil) != some {
				t.Errorf("%q: got error %v, but a queue can have such a name: %t", text, err, some)
			}
		}
	})
}

// FuzzParseQueueARN: what is accepted comes back byte for byte, is short, and
// names a queue whose pattern is accepted too.
func FuzzParseQueueARN(f *testing.F) {
	for _, s := range []string{"arn:aws:sqs:us-east-1:123456789012:orders", "arn:aws-cn:sqs:cn-north-1:123456789012:orders.fifo", "arn:::::", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		arn, err := awsname.ParseQueueARN(s)
		if err != nil {
			return
		}
		if got := arn.String(); got != s || len(s) > 256 {
			t.Errorf("%q came back as %q", s, got)
		}
		if p, err := awsname.ParsePattern(s); err != nil || !p.Matches(arn.Resource, s) {
			t.Errorf("%q: got pattern %+v and error %v, want one that matches", s, p, err)
		}
	})
}
