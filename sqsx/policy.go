package sqsx

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/middleware"
)

// Policy says how one queue, or a group of queues, is sealed and opened, or how
// an SNS topic is sealed (package snsx). The zero value seals every body and
// leaves message attributes in clear. It delivers only sealed messages of this
// very queue.
type Policy struct {
	// NoSeal sends plaintext, byte for byte as the caller wrote it: for a queue
	// that is never sealed, or to roll back. It concerns sends only: sealed
	// messages that are received are still opened, and plaintext is delivered
	// only with AcceptPlaintext.
	NoSeal bool

	// AcceptPlaintext delivers messages that are not sealed, and counts them
	// in [Stats]. It is for migration: as long as it is set, anyone who may
	// send to the queue can forge a message, with any attributes: those in
	// AuthenticateAttributes too.
	AcceptPlaintext bool

	// AcceptQueues lists other queues whose messages may be opened here, for
	// example the source of a StartMessageMoveTask or a shovel. Each is a queue
	// ARN, or the beginning of one with one trailing "*".
	AcceptQueues []string

	// AcceptTopics lists the SNS topics whose messages may be opened here, for a
	// queue that subscribes to them. Each is a topic ARN, or the beginning of one
	// with one trailing "*". A message is bound to its topic, not to one of the
	// subscribers: anyone who may receive it from one queue and send to another
	// that accepts the topic can copy it there, and it opens.
	AcceptTopics []string

	// StrictQueue withholds messages that redrive moved here from another queue.
	// By default a message that SQS marks as redriven (DeadLetterQueueSourceArn)
	// from another queue of the same account and Region opens if that queue's
	// policy would open it: under its name or LogicalQueue, those of its
	// AcceptQueues and AcceptTopics, or any name under NoBinding.
	StrictQueue bool

	// LogicalQueue binds messages to this name instead of the queue's ARN, for
	// queues that exist under several ARNs (one in each Region, blue and green).
	// Producers and consumers must agree on it. Queues with the same logical name
	// open one another's messages: do not set it in Options.Policy or under a wide
	// pattern, where many queues would share it. 1 to 256 bytes; it must not start
	// with "arn:".
	LogicalQueue string

	// NoBinding binds messages to no queue, and accepts messages of any queue
	// and those that name none (from producers other than sealq). A message
	// copied from one such queue into another is then opened there.
	NoBinding bool

	// Keyring seals and opens instead of the Sealer's own; nil means the Sealer's.
	// It gets a data key cache, unless it is a [cache.Source].
	Keyring envelope.Keyring

	// BodyCarrier puts the whole sealed message into the body, and uses no
	// attribute. Use it if tools that copy only bodies handle the queue. Readers
	// always accept both carriers.
	BodyCarrier bool

	// NoHold switches the hold off: receives go to SQS even if the key service
	// says that nothing would open, messages that do not open are not parked, and
	// receives from FIFO queues go on at full speed. Messages then reach the
	// dead-letter queue as fast as the queue's redrive policy allows.
	NoHold bool

	// NoReceiveErrors returns an empty result from a ReceiveMessage that would
	// fail because none of the messages that arrived can be delivered
	// ([ReceiveError]), or because receives are held ([ErrHeld]). It is for
	// consumers that stop at the first error. An empty result looks like an empty
	// queue: with this setting a program learns of failures only from
	// Options.OnWithheld, [Withheld], logs, [Stats] and metrics. docs/consumers.md
	// lists consumers that need it.
	//
	// A receive that is held lasts for its WaitTimeSeconds, 1 second at least; the
	// end of the caller's context ends it sooner, with the context's error. A
	// receive that brought messages returns at once, because there may be healthy
	// messages behind them: a loop without a pause after empty results makes as
	// many requests as if the messages had opened. Errors of SQS itself, of
	// settings, and of the context stay errors.
	NoReceiveErrors bool

	// SealAttributes seals the caller's message attributes with the body: their
	// names and values are encrypted, and attributes that anyone else added are
	// not delivered. Some stay in clear: those in ClearAttributes, and those that
	// tracers read and write on the wire (_datadog, traceparent, tracestate, b3,
	// X-B3-*, sentry-trace, newrelic, elastic-apm-traceparent, uber-trace-id).
	//
	// For topics it must be set under their ARN. If it is set for queues of a
	// topic's name (in Options.Policy, or under "*"), and Options.Queues has no
	// ARN that names the topic, publishing fails with a [ConfigError].
	//
	// Only producers need it. Every receive opens what it writes, whatever its
	// policy: update consumers first, because a sealq from before sealed content
	// (see the package's documentation) withholds it.
	SealAttributes bool

	// ClearAttributes are names of message attributes that SealAttributes leaves
	// in clear, because others read them: SNS filters, EventBridge Pipes, routers.
	// Each is a name, or the beginning of names with one trailing "*". A sealed
	// copy travels too; consumers get the copy, not the clear one. Without
	// SealAttributes it has no effect. The policy of an SNS topic that has
	// SealAttributes must set it, if need be as an empty list ("none" in
	// SEALQ_CLEAR_ATTRIBUTES): a filter of a subscription that reads a sealed
	// attribute matches nothing, and SNS reports no error.
	ClearAttributes []string

	// AuthenticateAttributes are names of message attributes that must be
	// authentic: a message on which one in clear was changed or removed fails with
	// [ErrAuthentication], and an added one is not delivered. A receive asks SQS
	// for them, and delivers them to callers that asked; for OpenMessages, receive
	// with MessageAttributeNames "All". In clear they are String or Binary: SQS
	// changes how a Number is written. The list may name attributes that
	// SealAttributes seals: then none of that name is delivered with a message
	// whose body alone was sealed, an older one for instance. Set it on producers
	// first: on messages that were sealed before, these attributes are not
	// delivered.
	AuthenticateAttributes []string

	// Compress compresses bodies (DEFLATE) before they are sealed, if that makes
	// them smaller. SQS charges for each 64 KiB, so it saves money only for bodies
	// above about 48,700 bytes. The length of a sealed message is visible: do not
	// set it if a message holds a secret beside text that an attacker chooses,
	// because the length then shows how similar the two are.
	Compress bool

	// MaxAge withholds older messages, with [ErrExpired], so that nobody can
	// replay them. The time is sealed in the message, so that it survives redrive.
	// A message whose time is more than 5 minutes ahead of this clock is withheld
	// until then ([ErrClockAhead]). Useful values are above the retention of the
	// queue and of its dead-letter queue together. On a FIFO queue without a
	// dead-letter queue an expired message blocks its message group. 0: no limit;
	// else at least a second.
	MaxAge time.Duration

	// AcceptUndated delivers messages that MaxAge withholds because they were
	// sealed without a time, by a producer without MaxAge, SealAttributes,
	// AuthenticateAttributes and Compress. It is
	// for migration: as long as it is set, such messages can be replayed.
	AcceptUndated bool

	// MaxMessageBytes is the queue's or the topic's MaximumMessageSize when that
	// is not the usual one, in bytes, 1,024 to 1,048,576. 0: 1,048,576 for a
	// queue, and 262,144 for a topic.
	MaxMessageBytes int

	// NoDigests leaves the MD5 fields in outputs nil (MD5OfBody, MD5OfMessageBody,
	// MD5OfMessageAttributes), for sealed messages that are sent and for all
	// messages that are delivered. SQS's own digests are of the sealed message, so
	// sealq computes digests of what the caller sees, which takes longer than
	// AES-GCM. They protect nothing; under GODEBUG=fips140=only they are nil in
	// any case.
	NoDigests bool
}

// Limits of SQS and SNS (API references of both: CreateQueue and CreateTopic,
// MaximumMessageSize).
const (
	serviceMaxMessageBytes = 1 << 20
	minQueueMessageBytes   = 1 << 10
	topicMaxMessageBytes   = 1 << 18 // of a topic that sets no other
)

// maxLogicalQueue bounds a name that every message carries in its header.
const maxLogicalQueue = 256

func (p *Policy) validate() error {
	if p.MaxMessageBytes != 0 && (p.MaxMessageBytes < minQueueMessageBytes || p.MaxMessageBytes > serviceMaxMessageBytes) {
		return fmt.Errorf("MaxMessageBytes is %d, want 0 or the queue's MaximumMessageSize, %d to %d bytes", p.MaxMessageBytes, minQueueMessageBytes, serviceMaxMessageBytes)
	}
	if p.LogicalQueue != "" {
		switch {
		case p.NoBinding:
			return fmt.Errorf("LogicalQueue and NoBinding contradict each other: bind to a name, or to none")
		case strings.HasPrefix(p.LogicalQueue, "arn:"):
			return fmt.Errorf("LogicalQueue %q looks like an ARN: leave it empty to bind to the queue's own ARN, or list other queues in AcceptQueues", p.LogicalQueue)
		case len(p.LogicalQueue) > maxLogicalQueue:
			return fmt.Errorf("LogicalQueue is %d bytes, want at most %d", len(p.LogicalQueue), maxLogicalQueue)
		case !isPrintableASCII(p.LogicalQueue):
			return fmt.Errorf("LogicalQueue %q holds characters other than printable ASCII", p.LogicalQueue)
		}
	}
	if p.NoBinding && (p.StrictQueue || len(p.AcceptQueues) > 0 || len(p.AcceptTopics) > 0) {
		return fmt.Errorf("NoBinding opens messages of every queue and topic, so that StrictQueue, AcceptQueues and AcceptTopics mean nothing beside it: bind, or leave those out")
	}
	if err := p.validateContent(); err != nil {
		return err
	}
	for _, text := range p.AcceptQueues {
		if _, err := awsname.ParseARNPattern(text); err != nil {
			if awsname.IsTopicARN(text) {
				return fmt.Errorf("AcceptQueues: %w; topics belong in AcceptTopics", err)
			}
			if !strings.HasPrefix(text, "arn:") {
				return fmt.Errorf("AcceptQueues: %w; for messages that are bound to a logical name, set the same LogicalQueue", err)
			}
			return fmt.Errorf("AcceptQueues: %w", err)
		}
	}
	for _, text := range p.AcceptTopics {
		if _, err := awsname.ParseTopicPattern(text); err != nil {
			return fmt.Errorf("AcceptTopics: %w; queues belong in AcceptQueues", err)
		}
	}
	return nil
}

// validateForTopic checks what the policy of a topic must set.
func (p *Policy) validateForTopic() error {
	if p.SealAttributes && p.ClearAttributes == nil {
		return fmt.Errorf("SealAttributes for a topic needs ClearAttributes (SEALQ_CLEAR_ATTRIBUTES): filter policies of subscriptions read attributes in clear, and one that reads a sealed attribute matches nothing, without any error; list what filters read, or, if no subscription has a filter, set an empty list ([]string{}, in the variable \"none\")")
	}
	return nil
}

func isPrintableASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// policyTable finds the policy of a queue or a topic. It is immutable.
type policyTable struct {
	fallback *compiledPolicy
	rules    []policyRule // of queues; best match first
	switches []policySwitch
	topics   *policyTable // the table of topics; nil in that table
	ofTopics bool         // this is that one
}

type policyRule struct {
	awsname.Pattern
	policy *compiledPolicy
}

// policySwitch is a setting of the environment, which is added to the policy of
// every queue that the pattern matches.
type policySwitch struct {
	awsname.Pattern
	topicsToo bool // it is for topics too, though the pattern is of queues
	set       func(*Policy)
}

// newPolicyTable orders the rules, the most exact first. Patterns that would
// make two rules equally good for one queue are refused, and so are switches
// that contradict a policy that they would be added to, or one another.
//
// Rules and switches of topics are those that are written as ARNs of topics. A
// name, "*" included, means queues: a setting that gives up protection for the
// queue "orders" must not do so for a topic of that name. The fallback of
// queues is not that of topics, which is topicFallback.
func newPolicyTable(fallback, topicFallback *compiledPolicy, policies map[string]*compiledPolicy, switches []policySwitch) (*policyTable, error) {
	queues, topics := &policyTable{fallback: fallback}, &policyTable{fallback: topicFallback, ofTopics: true}
	queues.topics = topics
	table := func(p awsname.Pattern) *policyTable {
		if p.Topic {
			return topics
		}
		return queues
	}
	for text, policy := range policies {
		p, err := awsname.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		t := table(p)
		t.rules = append(t.rules, policyRule{p, policy})
	}
	for _, s := range switches {
		for _, t := range []*policyTable{queues, topics} {
			if s.topicsToo || t == table(s.Pattern) {
				t.switches = append(t.switches, s)
			}
		}
	}
	if len(topics.switches) == 0 { // else settle checks what they make of the rules
		for _, rule := range topics.rules {
			if err := rule.policy.validateForTopic(); err != nil {
				return nil, fmt.Errorf("%q: %w", rule.Text, err)
			}
		}
	}
	for _, t := range []*policyTable{queues, topics} {
		if err := t.settle(); err != nil {
			return nil, err
		}
	}
	return queues, nil
}

// settle orders the rules and checks them.
func (t *policyTable) settle() error {
	slices.SortFunc(t.rules, func(a, b policyRule) int { return awsname.MoreExact(a.Pattern, b.Pattern) })
	for i, a := range t.rules {
		for _, b := range t.rules[i+1:] {
			if a.IsARN != b.IsARN && a.Exact == b.Exact && a.Name() == b.Name() && a.Name() != "" {
				return fmt.Errorf("queue patterns %q and %q may name the same queue, and neither is the more exact: keep one of them", a.Text, b.Text)
			}
		}
	}
	for _, q := range t.exampleQueues() {
		policy := t.lookup(q.name, q.arn)
		err := policy.validate()
		if err == nil && t.ofTopics {
			err = policy.validateForTopic()
		}
		if err != nil {
			return fmt.Errorf("the policy of %q with what the environment adds to it: %w", t.mostExact(q), err)
		}
	}
	return nil
}

// mostExact returns the most exact of the patterns that match q, as it was
// configured.
func (t *policyTable) mostExact(q exampleQueue) string {
	var matching []awsname.Pattern
	for _, p := range t.patterns() {
		if p.Matches(q.name, q.arn) {
			matching = append(matching, p)
		}
	}
	if len(matching) == 0 {
		return "*"
	}
	return slices.MinFunc(matching, awsname.MoreExact).Text
}

// patterns returns those of all rules and switches.
func (t *policyTable) patterns() []awsname.Pattern {
	var patterns []awsname.Pattern
	for _, rule := range t.rules {
		patterns = append(patterns, rule.Pattern)
	}
	for _, s := range t.switches {
		patterns = append(patterns, s.Pattern)
	}
	return patterns
}

// complete fills in the account of a queue that the caller gave by name.
func (s *settings) complete(q middleware.Queue) middleware.Queue {
	if q.Account == "" {
		q.Account = s.account
	}
	return q
}

// find returns the policy of q. If the account of a queue is unknown, a rule or
// switch that is written as an ARN might apply: that is an error.
func (t *policyTable) find(q middleware.Queue) (*compiledPolicy, error) {
	arn := q.ARN()
	if q.Topic { // whose ARN is always known
		return t.topics.lookup(q.Name, arn), nil
	}
	if arn == "" {
		for _, rule := range t.rules {
			if rule.IsARN && rule.MayMatch(q.Name) {
				return nil, accountUnknown(q, rule.Pattern)
			}
			if rule.Matches(q.Name, arn) {
				break
			}
		}
		for _, s := range t.switches {
			if s.IsARN && s.MayMatch(q.Name) {
				return nil, accountUnknown(q, s.Pattern)
			}
		}
	}
	return t.lookup(q.Name, arn), nil
}

// findToSeal is find for callers that seal. It refuses a topic that has no
// policy of its own if a queue of its name would have sealed attributes: what
// reads as "seal all attributes" would leave those of the topic in clear, and
// nothing would show it.
func (t *policyTable) findToSeal(q middleware.Queue) (*compiledPolicy, error) {
	policy, err := t.find(q)
	if err != nil || !q.Topic || policy.SealAttributes || policy.NoSeal {
		return policy, err
	}
	arn := q.ARN()
	isTopics := func(r policyRule) bool { return r.Matches(q.Name, arn) }
	if slices.ContainsFunc(t.topics.rules, isTopics) || !t.lookup(q.Name, "").SealAttributes {
		return policy, nil
	}
	return nil, &ConfigError{advise(
		"name the topic by its ARN, or by \"arn:aws:sns:*\", in Options.Queues, or in SEALQ_SEAL_ATTRIBUTES with SEALQ_CLEAR_ATTRIBUTES",
		"sqsx: SealAttributes is set for queues of the name %q and not for the topic %q, whose attributes would be sent in clear: Options.Policy, names and \"*\" mean queues and no topics", q.Name, arn)}
}

func accountUnknown(q middleware.Queue, p awsname.Pattern) error {
	return advise(accountRemedy, "%w: %q names no account of 12 digits, so it is unknown whether the policy for %q applies", errQueueUnknown, q.URL, p.Text)
}

// lookup returns the policy of a queue, with the switches that match it.
func (t *policyTable) lookup(name, arn string) *compiledPolicy {
	policy := t.fallback
	if i := slices.IndexFunc(t.rules, func(r policyRule) bool { return r.Matches(name, arn) }); i >= 0 {
		policy = t.rules[i].policy
	}
	var switched *compiledPolicy // a copy: the table is immutable
	for _, s := range t.switches {
		if !s.Matches(name, arn) {
			continue
		}
		if switched == nil {
			c := *policy
			switched = &c
		}
		s.set(&switched.Policy)
	}
	return cmp.Or(switched, policy)
}

// unnamed stands for the part of a name or an ARN that a pattern leaves open.
// No queue's name contains it.
const unnamed = "\x00"

// exampleQueue is the name and the ARN of a queue that need not exist.
type exampleQueue struct{ name, arn string }

// exampleQueues returns queues that cover every policy a switch can take part
// in: each is the policy of one of them.
//
// A pattern matches a queue by its name, or by its ARN: the place (partition,
// Region and account) and then the name. It spells out all of that, or only the
// beginning. Of all patterns that match a queue, the longest name decides which
// others match the name, because they are beginnings of it; the same holds for
// places. So it is enough to combine each name with each place that patterns
// spell out.
func (t *policyTable) exampleQueues() []exampleQueue {
	if len(t.switches) == 0 {
		return nil
	}
	patterns := t.patterns()
	var names []string
	places := []string{unnamed} // one that no pattern spells out
	for _, p := range patterns {
		name := p.Name()
		if p.IsARN {
			places = append(places, exampleOfPlace(strings.TrimSuffix(p.Prefix, name)))
		}
		if !p.Exact {
			name += unnamed
		}
		names = append(names, name)
	}
	var queues []exampleQueue
	for _, name := range distinct(names) {
		for _, place := range distinct(places) {
			queues = append(queues, exampleQueue{name, place + name})
		}
	}
	return queues
}

// exampleOfPlace returns a place that starts with prefix, which is the part of
// an ARN pattern before the name of a queue.
// "arn:aws:sqs:us-east-1:123456789012:" is whole, and "arn:aws:sqs:us-" is not.
func exampleOfPlace(prefix string) string {
	const colons = 5 // of a whole one
	if strings.Count(prefix, ":") < colons {
		return prefix + unnamed
	}
	return prefix
}

func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
