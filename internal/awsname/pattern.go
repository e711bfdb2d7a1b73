package awsname

import (
	"cmp"
	"fmt"
	"strings"
)

// Pattern names one queue or topic, or all whose name or ARN starts alike.
// Every pattern that was parsed matches some queue or topic that can exist. A
// pattern of names is one of queues: topics are named by ARNs only.
type Pattern struct {
	Text   string // as configured
	IsARN  bool   // Prefix is of an ARN, else of a name
	Topic  bool   // it is a pattern of topics; IsARN is then true
	Prefix string // Text without the trailing "*"
	Exact  bool   // Text has no "*"
}

// ParsePattern reads a queue name, the ARN of a queue or topic, or one of these
// with one trailing "*".
func ParsePattern(text string) (Pattern, error) {
	switch {
	case IsTopicARN(text):
		return ParseTopicPattern(text)
	case strings.HasPrefix(text, "arn:"):
		return ParseARNPattern(text)
	}
	p := newPattern(text)
	if strings.Contains(text, "://") {
		return p, fmt.Errorf("queue pattern %q is a URL: give the queue's name or ARN", text)
	}
	if text == "" {
		return p, fmt.Errorf("queue pattern is empty: want a queue name or ARN, or either with one trailing \"*\"")
	}
	if err := queueKind().checkPattern(p, p.Prefix); err != nil {
		return p, fmt.Errorf("queue pattern %q: %w", text, err)
	}
	return p, nil
}

// ParseARNPattern reads the ARN of a queue, or its beginning up to the service
// or further with a trailing "*".
func ParseARNPattern(text string) (Pattern, error) { return queueKind().parsePattern(text) }

// ParseTopicPattern is ParseARNPattern for topics.
func ParseTopicPattern(text string) (Pattern, error) { return topicKind().parsePattern(text) }

func (k kind) parsePattern(text string) (Pattern, error) {
	p := newPattern(text)
	p.IsARN, p.Topic = true, k == topicKind()
	parts := strings.SplitN(p.Prefix, ":", 6)
	switch {
	case parts[0] != "arn" || len(parts) < 3 || parts[2] != k.service:
		return p, fmt.Errorf("%s pattern %q is not the ARN of a %[1]s: want %[3]s, or its beginning up to \"arn:PARTITION:%[4]s:\" or further and a trailing \"*\"", k.noun, text, k.arnForm(), k.service)
	case len(parts) == 3:
		return p, fmt.Errorf("%s pattern %q ends inside the service: want at least arn:PARTITION:%s:*", k.noun, text, k.service)
	case p.Exact && len(parts) != 6:
		return p, fmt.Errorf("%s pattern %q is not a whole ARN: want %s, or a trailing \"*\"", k.noun, text, k.arnForm())
	}
	last := len(parts) - 1
	for i, part := range parts {
		if part == "" && (i < last || p.Exact) {
			return p, fmt.Errorf("%s pattern %q has an empty part: want %s", k.noun, text, k.arnForm())
		}
	}
	if strings.Contains(p.Prefix, "*") {
		return p, fmt.Errorf("%s pattern %q: \"*\" is allowed once, at the end", k.noun, text)
	}
	if !IsPartition(parts[1]) {
		return p, fmt.Errorf("%s pattern %q: the partition is %q, want one like \"aws\"", k.noun, text, parts[1])
	}
	if !beginsCode(parts[3]) { // it may be the last part, and go on
		return p, fmt.Errorf("%s pattern %q: the Region is %q, want one like \"eu-central-1\"", k.noun, text, parts[3])
	}
	if last >= 4 && !IsAccount(parts[4]) && !(last == 4 && len(parts[4]) < AccountLength && only(parts[4], digits)) {
		return p, fmt.Errorf("%s pattern %q: the account is %q, want %d digits", k.noun, text, parts[4], AccountLength)
	}
	if last == 5 {
		if err := k.checkPattern(p, parts[5]); err != nil {
			return p, fmt.Errorf("%s pattern %q: %w", k.noun, text, err)
		}
	}
	return p, nil
}

func newPattern(text string) Pattern {
	prefix, star := strings.CutSuffix(text, "*")
	return Pattern{Text: text, Prefix: prefix, Exact: !star}
}

func (k kind) checkPattern(p Pattern, name string) error {
	if p.Exact {
		return k.checkName(name)
	}
	return k.checkPrefix(name)
}

// Name returns the part of the pattern that is about the name, without
// the trailing "*". It is empty for an ARN pattern that ends before the name.
func (p Pattern) Name() string {
	if !p.IsARN {
		return p.Prefix
	}
	if parts := strings.SplitN(p.Prefix, ":", 6); len(parts) == 6 {
		return parts[5]
	}
	return ""
}

// Matches reports whether p names the queue or topic with that name and ARN. An
// ARN pattern looks at arn only and matches no empty one, a name pattern looks
// at name only.
func (p Pattern) Matches(name, arn string) bool {
	subject := name
	if p.IsARN {
		subject = arn
	}
	if p.Exact {
		return subject == p.Prefix
	}
	return subject != "" && strings.HasPrefix(subject, p.Prefix)
}

// MayMatch reports whether p matches a queue or topic of that name in some
// account.
func (p Pattern) MayMatch(name string) bool {
	if p.Exact {
		return name == p.Name()
	}
	return strings.HasPrefix(name, p.Name())
}

// MoreExact orders patterns: exact ones first, then by how much of the queue's
// name they spell out, then by how much of its ARN. It is a comparison for
// [slices.SortFunc].
func MoreExact(a, b Pattern) int {
	if a.Exact != b.Exact {
		if a.Exact {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(len(b.Name()), len(a.Name())),
		cmp.Compare(len(b.Prefix), len(a.Prefix)),
		cmp.Compare(a.Text, b.Text))
}
