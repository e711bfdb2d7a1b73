package awsname

import (
	"cmp"
	"fmt"
	"strings"
)

// Pattern names one queue, or all queues whose name or ARN starts alike. Every
// pattern that was parsed matches some queue that can exist.
type Pattern struct {
	Text   string // as configured
	IsARN  bool   // Prefix is of an ARN, else of a name
	Prefix string // Text without the trailing "*"
	Exact  bool   // Text has no "*"
}

// ParsePattern reads a queue name or ARN, or either with one trailing "*".
func ParsePattern(text string) (Pattern, error) {
	if strings.HasPrefix(text, "arn:") {
		return ParseARNPattern(text)
	}
	p := newPattern(text)
	if strings.Contains(text, "://") {
		return p, fmt.Errorf("queue pattern %q is a URL: give the queue's name or ARN", text)
	}
	if text == "" {
		return p, fmt.Errorf("queue pattern is empty: want a queue name or ARN, or either with one trailing \"*\"")
	}
	if err := p.checkName(p.Prefix); err != nil {
		return p, fmt.Errorf("queue pattern %q: %w", text, err)
	}
	return p, nil
}

// ParseARNPattern reads the ARN of a queue, or its beginning up to the service
// or further with a trailing "*".
func ParseARNPattern(text string) (Pattern, error) {
	p := newPattern(text)
	p.IsARN = true
	parts := strings.SplitN(p.Prefix, ":", 6)
	switch {
	case parts[0] != "arn" || len(parts) < 3 || parts[2] != "sqs":
		return p, fmt.Errorf("queue pattern %q is not the ARN of a queue: want arn:PARTITION:sqs:REGION:ACCOUNT:NAME, or its beginning up to \"arn:PARTITION:sqs:\" or further and a trailing \"*\"", text)
	case len(parts) == 3:
		return p, fmt.Errorf("queue pattern %q ends inside the service: want at least arn:PARTITION:sqs:*", text)
	case p.Exact && len(parts) != 6:
		return p, fmt.Errorf("queue pattern %q is not a whole ARN: want arn:PARTITION:sqs:REGION:ACCOUNT:NAME, or a trailing \"*\"", text)
	}
	last := len(parts) - 1
	for i, part := range parts {
		if part == "" && (i < last || p.Exact) {
			return p, fmt.Errorf("queue pattern %q has an empty part: want arn:PARTITION:sqs:REGION:ACCOUNT:NAME", text)
		}
	}
	if strings.Contains(p.Prefix, "*") {
		return p, fmt.Errorf("queue pattern %q: \"*\" is allowed once, at the end", text)
	}
	if !IsPartition(parts[1]) {
		return p, fmt.Errorf("queue pattern %q: the partition is %q, want one like \"aws\"", text, parts[1])
	}
	if !beginsCode(parts[3]) { // it may be the last part, and go on
		return p, fmt.Errorf("queue pattern %q: the Region is %q, want one like \"eu-central-1\"", text, parts[3])
	}
	if last >= 4 && !IsAccount(parts[4]) && !(last == 4 && len(parts[4]) < AccountLength && only(parts[4], digits)) {
		return p, fmt.Errorf("queue pattern %q: the account is %q, want %d digits", text, parts[4], AccountLength)
	}
	if last == 5 {
		if err := p.checkName(parts[5]); err != nil {
			return p, fmt.Errorf("queue pattern %q: %w", text, err)
		}
	}
	return p, nil
}

func newPattern(text string) Pattern {
	prefix, star := strings.CutSuffix(text, "*")
	return Pattern{Text: text, Prefix: prefix, Exact: !star}
}

func (p Pattern) checkName(name string) error {
	if p.Exact {
		return CheckQueueName(name)
	}
	return checkQueueNamePrefix(name)
}

// Name returns the part of the pattern that is about the queue's name, without
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

// Matches reports whether p names the queue with that name and ARN. An ARN
// pattern looks at arn only and matches no empty one, a name pattern looks at
// name only.
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

// MayMatch reports whether p matches a queue of that name in some account.
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
