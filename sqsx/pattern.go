package sqsx

import (
	"cmp"
	"fmt"
	"strings"
)

// pattern names one queue, or all queues whose name or ARN starts alike.
type pattern struct {
	text   string // as configured
	arn    bool   // prefix is of an ARN, else of a name
	prefix string
	exact  bool
}

// name returns the part of the pattern that speaks of the queue's name. It is
// empty for an ARN pattern that ends before the name.
func (p pattern) name() string {
	if !p.arn {
		return p.prefix
	}
	if parts := strings.SplitN(p.prefix, ":", 6); len(parts) == 6 {
		return parts[5]
	}
	return ""
}

func (p pattern) matches(name, arn string) bool {
	subject := name
	if p.arn {
		subject = arn
	}
	if p.exact {
		return subject == p.prefix
	}
	return subject != "" && strings.HasPrefix(subject, p.prefix)
}

// mayMatch reports whether p matches a queue of that name in some account.
func (p pattern) mayMatch(name string) bool {
	if p.exact {
		return name == p.name()
	}
	return strings.HasPrefix(name, p.name())
}

// parsePattern reads a queue name or ARN, or either with one trailing "*".
func parsePattern(text string) (pattern, error) {
	if strings.HasPrefix(text, "arn:") {
		return parseARNPattern(text)
	}
	p := pattern{text: text}
	p.prefix, p.exact = cutStar(text)
	if strings.Contains(text, "://") {
		return p, fmt.Errorf("queue pattern %q is a URL: give the queue's name or ARN", text)
	}
	if text == "" {
		return p, fmt.Errorf("queue pattern is empty: want a queue name or ARN, or either with one trailing \"*\"")
	}
	if err := validQueueName(p.prefix, p.exact); err != nil {
		return p, fmt.Errorf("queue pattern %q: %w", text, err)
	}
	return p, nil
}

func parseARNPattern(text string) (pattern, error) {
	p := pattern{text: text, arn: true}
	p.prefix, p.exact = cutStar(text)
	parts := strings.SplitN(p.prefix, ":", 6)
	switch {
	case parts[0] != "arn" || len(parts) < 3 || parts[2] != "sqs":
		return p, fmt.Errorf("queue pattern %q is not the ARN of a queue: want arn:PARTITION:sqs:REGION:ACCOUNT:NAME, or its beginning up to \"arn:PARTITION:sqs:\" or further and a trailing \"*\"", text)
	case len(parts) == 3:
		return p, fmt.Errorf("queue pattern %q ends inside the service: want at least arn:PARTITION:sqs:*", text)
	case p.exact && len(parts) != 6:
		return p, fmt.Errorf("queue pattern %q is not a whole ARN: want arn:PARTITION:sqs:REGION:ACCOUNT:NAME, or a trailing \"*\"", text)
	}
	for i, part := range parts {
		if part == "" && (i < len(parts)-1 || p.exact) {
			return p, fmt.Errorf("queue pattern %q has an empty part: want arn:PARTITION:sqs:REGION:ACCOUNT:NAME", text)
		}
	}
	if strings.Contains(p.prefix, "*") {
		return p, fmt.Errorf("queue pattern %q: \"*\" is allowed once, at the end", text)
	}
	if len(parts) == 6 {
		if !isAccountID(parts[4]) {
			return p, fmt.Errorf("queue pattern %q: the account is %q, want 12 digits", text, parts[4])
		}
		if err := validQueueName(parts[5], p.exact); err != nil {
			return p, fmt.Errorf("queue pattern %q: %w", text, err)
		}
	}
	return p, nil
}

func cutStar(text string) (prefix string, exact bool) {
	prefix, star := strings.CutSuffix(text, "*")
	return prefix, !star
}

// maxQueueName is the longest queue name, the suffix ".fifo" included (SQS API
// reference: CreateQueue, QueueName).
const maxQueueName = 80

// validQueueName checks a name, or if it is not whole the beginning of one.
func validQueueName(name string, whole bool) error {
	if len(name) > maxQueueName {
		return fmt.Errorf("a queue name has at most %d characters, got %d", maxQueueName, len(name))
	}
	base, suffix, _ := strings.Cut(name, ".")
	if suffix != "fifo" && (whole || !strings.HasPrefix("fifo", suffix)) {
		base = name // so that its "." is refused
	}
	if strings.ContainsFunc(base, func(r rune) bool {
		return !(r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	}) {
		return fmt.Errorf("a queue name has letters, digits, \"-\", \"_\" and the suffix \".fifo\" only (and a pattern one trailing \"*\")")
	}
	if whole && name == "" {
		return fmt.Errorf("the queue name is empty")
	}
	return nil
}

// moreExact orders patterns: exact ones first, then by how much of the queue's
// name they spell out, then by how much of its ARN.
func moreExact(a, b pattern) int {
	if a.exact != b.exact {
		if a.exact {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(len(b.name()), len(a.name())),
		cmp.Compare(len(b.prefix), len(a.prefix)),
		cmp.Compare(a.text, b.text))
}
