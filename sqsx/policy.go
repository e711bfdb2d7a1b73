package sqsx

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/middleware"
)

// Policy says how one queue, or a group of queues, is sealed and opened. The
// zero value is the strictest: everything sent is sealed, only sealed messages
// of this very queue are delivered.
type Policy struct {
	// NoSeal sends plaintext, byte for byte as the caller wrote it: for a queue
	// that is never sealed, or to roll back. It concerns sends only: sealed
	// messages that are received are still opened, and plaintext is delivered
	// only with AcceptPlaintext.
	NoSeal bool

	// AcceptPlaintext delivers messages that are not sealed, and counts them
	// in [Stats]. It is for migration: as long as it is set, anyone who may
	// send to the queue can forge a message.
	AcceptPlaintext bool

	// AcceptQueues lists other queues whose messages may be opened here, for
	// example the source of a StartMessageMoveTask or a shovel. Each is a queue
	// ARN, or the beginning of one with one trailing "*".
	AcceptQueues []string

	// StrictQueue turns off the one place where availability wins by default:
	// a message that SQS marks as coming from another queue of the same
	// account and Region by redrive (DeadLetterQueueSourceArn) is otherwise
	// opened if it would be in that queue: under its name or LogicalQueue,
	// those of its AcceptQueues, or any name under NoBinding.
	StrictQueue bool

	// LogicalQueue binds messages to this name in place of the queue's ARN, for
	// queues that exist under several ARNs (one a Region, blue and green).
	// Producers and consumers must agree on it. Queues of one logical name open
	// one another's messages: in Options.Policy, or under a wide pattern, it
	// binds to no queue in particular. 1 to 256 bytes; it must not start with
	// "arn:".
	LogicalQueue string

	// NoBinding binds messages to no queue, and accepts messages of any queue
	// and those that name none (from producers other than sealq). A message
	// copied from one such queue into another is then opened there.
	NoBinding bool

	// Keyring seals and opens in place of the Sealer's own; nil: the Sealer's.
	// It is given a data key cache, unless it is a *cache.Keyring.
	Keyring envelope.Keyring

	// BodyCarrier puts the whole sealed message into the body, and uses no
	// attribute. Recommended where tools that copy bodies only touch the queue.
	// Readers accept both carriers whatever this says.
	BodyCarrier bool

	// NoHold switches the hold off: receives go to SQS although the key service
	// says that nothing would open, messages that do not open are not parked,
	// and FIFO queues are received from at full pace. They then reach the
	// dead-letter queue as fast as the redrive policy of the queue has it.
	NoHold bool

	// NoReceiveErrors returns an empty result from a ReceiveMessage that would
	// fail because none of the messages that arrived can be delivered
	// ([ReceiveError]), or because receives are held ([ErrHeld]). It is for
	// consumers that stop at the first error. An empty result looks like an
	// empty queue: without it a program learns of trouble from its errors, with
	// it only from Options.OnWithheld, [Withheld], logs, [Stats] and metrics.
	// docs/consumers.md lists consumers that need it.
	//
	// A receive that is held lasts for its WaitTimeSeconds, 1 second at least;
	// the end of the caller's context ends it sooner, with the context's error.
	// One that brought messages returns at once, because there may be healthy
	// messages behind them: a loop that does not pause after an empty result
	// makes as many requests as if they had opened. Errors of SQS itself, of
	// settings, and of the context stay errors.
	NoReceiveErrors bool

	// MaxMessageBytes is the queue's MaximumMessageSize when that is below the
	// service's limit, in bytes, 1,024 to 1,048,576. 0: 1,048,576.
	MaxMessageBytes int

	// NoDigests leaves the MD5 fields in outputs nil (MD5OfBody,
	// MD5OfMessageBody, MD5OfMessageAttributes), of sealed messages that are
	// sent and of all that are delivered. SQS's own digests are of what
	// travels, so that sealq computes others of what the caller sees, which takes
	// longer than AES-GCM does. Nothing is protected by them; under
	// GODEBUG=fips140=only they are nil in any case.
	NoDigests bool
}

// Limits of SQS (SQS API reference: CreateQueue, MaximumMessageSize).
const (
	serviceMaxMessageBytes = 1 << 20
	minQueueMessageBytes   = 1 << 10
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
	if p.NoBinding && (p.StrictQueue || len(p.AcceptQueues) > 0) {
		return fmt.Errorf("NoBinding opens messages of every queue, so that StrictQueue and AcceptQueues mean nothing beside it: bind, or leave those out")
	}
	for _, text := range p.AcceptQueues {
		if _, err := awsname.ParseARNPattern(text); err != nil {
			if !strings.HasPrefix(text, "arn:") {
				return fmt.Errorf("AcceptQueues: %w; for messages that are bound to a logical name, set the same LogicalQueue", err)
			}
			return fmt.Errorf("AcceptQueues: %w", err)
		}
	}
	return nil
}

func isPrintableASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// policyTable finds the policy of a queue. It is immutable.
type policyTable struct {
	fallback *compiledPolicy
	rules    []policyRule // best match first
	switches []policySwitch
}

type policyRule struct {
	awsname.Pattern
	policy *compiledPolicy
}

// policySwitch is a setting of the environment, which is added to the policy of
// every queue that the pattern matches.
type policySwitch struct {
	awsname.Pattern
	set func(*Policy)
}

// newPolicyTable orders the rules, the most exact first. Patterns that would
// make two rules equally good for one queue are refused, and so are switches
// that contradict a policy that they would be added to, or one another.
func newPolicyTable(fallback *compiledPolicy, policies map[string]*compiledPolicy, switches []policySwitch) (*policyTable, error) {
	t := &policyTable{fallback: fallback, switches: switches}
	for text, policy := range policies {
		p, err := awsname.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		t.rules = append(t.rules, policyRule{p, policy})
	}
	slices.SortFunc(t.rules, func(a, b policyRule) int { return awsname.MoreExact(a.Pattern, b.Pattern) })
	for i, a := range t.rules {
		for _, b := range t.rules[i+1:] {
			if a.IsARN != b.IsARN && a.Exact == b.Exact && a.Name() == b.Name() && a.Name() != "" {
				return nil, fmt.Errorf("queue patterns %q and %q may name the same queue, and neither is the more exact: keep one of them", a.Text, b.Text)
			}
		}
	}
	for _, q := range t.exampleQueues() {
		if err := t.lookup(q.name, q.arn).validate(); err != nil {
			return nil, fmt.Errorf("the policy of %q with what the environment adds to it: %w", strings.ReplaceAll(q.name, unnamed, "*"), err)
		}
	}
	return t, nil
}

// find returns the policy of q. A queue whose account is unknown must not slip
// past a rule or a switch that is written as an ARN.
func (t *policyTable) find(q middleware.Queue) (*compiledPolicy, error) {
	arn := q.ARN()
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

// unnamed stands for the part of a name or an ARN that a pattern leaves open. No
// queue's name contains it.
const unnamed = "\x00"

// exampleQueue is the name and the ARN of a queue that need not exist.
type exampleQueue struct{ name, arn string }

// exampleQueues returns queues such that every policy that a switch can have a
// part in is the policy of one of them.
//
// A pattern matches a queue by its name, or by its ARN: the place (partition,
// Region and account) and then the name. It spells out all of that, or only its
// beginning. Of all patterns that match a queue, the one that spells out the most
// of the name decides which others match the name, because those are beginnings
// of it; the same is true of places. So each name is combined with each place,
// the names and places being those that patterns spell out.
func (t *policyTable) exampleQueues() []exampleQueue {
	if len(t.switches) == 0 {
		return nil
	}
	var patterns []awsname.Pattern
	for _, rule := range t.rules {
		patterns = append(patterns, rule.Pattern)
	}
	for _, s := range t.switches {
		patterns = append(patterns, s.Pattern)
	}
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

// exampleOfPlace returns a place that starts with prefix, which is the part of an
// ARN pattern before the name of a queue. "arn:aws:sqs:us-east-1:123456789012:" is
// whole, and "arn:aws:sqs:us-" is not.
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
