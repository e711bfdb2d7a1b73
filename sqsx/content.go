package sqsx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/outgoing"
	"github.com/sealq/sealq/sqsx/internal/content"
)

// If the encryption context has contentKey, the plaintext of a message is
// sealed content: the body, message attributes and the time, in the format of
// docs/format.md. Writers write it if a policy needs any part of it. Readers
// read it whatever their policy is.

var (
	// ErrExpired is returned for a message that is older than [Policy.MaxAge], or
	// that does not hold the time when it was sealed. It is [ErrInvalidMessage]: a
	// message does not get younger.
	ErrExpired = fmt.Errorf("%w: too old", envelope.ErrInvalidMessage)

	// ErrClockAhead is returned, under [Policy.MaxAge], for a message that was
	// sealed more than 5 minutes from now: the clock of its producer is ahead of
	// this one's, or this one's is behind. It is neither [ErrInvalidMessage] nor a
	// refusal: the message is delivered once its time is near.
	ErrClockAhead = errors.New("sqsx: the message was sealed in the future")
)

const (
	// maxAhead is how far the clock of a producer may be ahead of a consumer's:
	// what receivers of signed webhooks tolerate (Standard Webhooks, Stripe).
	maxAhead = 5 * time.Minute

	// minMaxAge catches a number without a unit.
	minMaxAge = time.Second
)

// writesContent reports whether messages are sealed as content: all messages of
// a queue, or none, because each kind needs its own data key.
func (p *Policy) writesContent() bool {
	return p.SealAttributes || len(p.AuthenticateAttributes) > 0 || p.Compress || p.MaxAge > 0
}

func (p *Policy) validateContent() error {
	if p.MaxAge != 0 && p.MaxAge < minMaxAge {
		return fmt.Errorf("MaxAge is %v, want 0 or at least %v", p.MaxAge, minMaxAge)
	}
	for _, pattern := range p.ClearAttributes {
		name, wild := strings.CutSuffix(pattern, "*")
		if wild && name == "" {
			continue // all
		}
		// A name may not end in a period, but the beginning of one may.
		if wild {
			name += "x"
		}
		if err := checkAttributeName(name); err != nil {
			return fmt.Errorf("ClearAttributes: %q is not the name of a message attribute, nor the beginning of one with one trailing \"*\"", pattern)
		}
	}
	for _, name := range p.AuthenticateAttributes {
		switch {
		case checkAttributeName(name) != nil || name == attributeName:
			return fmt.Errorf("AuthenticateAttributes: %q is not the name of a message attribute; patterns are not allowed", name)
		case isTracers(name):
			return fmt.Errorf("AuthenticateAttributes: tracers write %q on the way, after a message is sealed: leave it out", name)
		}
	}
	return nil
}

// isClear reports whether an attribute of that name stays in clear although
// attributes are sealed.
func (p *Policy) isClear(name string) bool {
	return isTracers(name) || slices.ContainsFunc(p.ClearAttributes, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		return pattern == name || wild && strings.HasPrefix(name, prefix)
	})
}

// isTracers reports whether tracers write and read attributes of that name on
// the wire, inside and outside of the Sealer. They are not sealed and not
// authenticated. Libraries differ in the case of letters. The W3C's "baggage"
// is not one of them: it holds data of applications.
func isTracers(name string) bool {
	switch name = asciiLower(name); name {
	case "_datadog", "traceparent", "tracestate", "b3", "sentry-trace", "newrelic", "elastic-apm-traceparent", "uber-trace-id":
		return true
	}
	return strings.HasPrefix(name, "x-b3-")
}

// asciiLower is strings.ToLower for ASCII only: in Unicode, other letters have
// the same lower case as some of ASCII.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// listedOnWire returns the names of attributes that must be authentic and
// travel in clear.
func (p *Policy) listedOnWire() []string {
	if !p.SealAttributes {
		return p.AuthenticateAttributes
	}
	return slices.DeleteFunc(slices.Clone(p.AuthenticateAttributes), func(name string) bool { return !p.isClear(name) })
}

// wireAttributes returns those of a message's own attributes that stay in
// clear. If attributes are not sealed, it returns the map itself.
func (p *Policy) wireAttributes(all map[string]types.MessageAttributeValue) map[string]types.MessageAttributeValue {
	if !p.SealAttributes {
		return all
	}
	var wire map[string]types.MessageAttributeValue
	for name, v := range all {
		if p.isClear(name) {
			if wire == nil {
				wire = make(map[string]types.MessageAttributeValue)
			}
			wire[name] = v
		}
	}
	return wire
}

// contentOf returns the content of a message.
func (p *Policy) contentOf(body string, attributes map[string]types.MessageAttributeValue, now time.Time) content.Content {
	c := content.Content{Body: body, SealsAttributes: p.SealAttributes, Time: now}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[name]
		a := content.Attribute{Name: name, Type: aws.ToString(v.DataType), Value: aws.ToString(v.StringValue)}
		if content.IsBinary(a.Type) {
			a.Value = string(v.BinaryValue)
		}
		switch {
		case isTracers(name):
		case p.SealAttributes && !p.isClear(name):
			c.Sealed = append(c.Sealed, a)
		default:
			c.Clear = append(c.Clear, a)
		}
	}
	return c
}

// plaintext returns what to seal of an entry that passed checkEntry.
func (s *sending) plaintext(e *types.SendMessageBatchRequestEntry) ([]byte, error) {
	body := aws.ToString(e.MessageBody)
	if !s.policy.writesContent() {
		return []byte(body), nil
	}
	return s.compressor.Encode(s.policy.contentOf(body, e.MessageAttributes, time.Now()), s.compress)
}

// compresses reports whether the bodies of a call may be compressed. They may
// not if SQS or SNS would refuse the call uncompressed: such calls would fail
// as soon as the queue or the topic is no longer sealed.
func (p *compiledPolicy) compresses(topic bool, entries []types.SendMessageBatchRequestEntry) bool {
	if !p.Compress {
		return false
	}
	limit, sum := p.messageLimit(topic), 0
	most := serviceMaxMessageBytes // of a batch, whatever the queue's limit is
	if topic {
		most = limit
	}
	for i := range entries {
		n := outgoing.Bytes(aws.ToString(entries[i].MessageBody), entries[i].MessageAttributes)
		if sum += n; n > limit {
			return false
		}
	}
	return sum <= most
}

// acceptsContent checks what the context of a received message says about its
// content, before a key is requested.
func (p *compiledPolicy) acceptsContent(ec envelope.EncryptionContext) error {
	switch version, present := ec[contentKey]; {
	case present && version != contentVersion:
		return advise("upgrade this consumer", "%w: the message's %q has a version of a later release of sealq", envelope.ErrUnsupported, contentKey)
	case !present && p.MaxAge > 0 && !p.AcceptUndated:
		return advise("let its producer write the time (set Policy.MaxAge there, too). Only while producers are being migrated, Policy.AcceptUndated (SEALQ_ACCEPT_UNDATED) delivers such messages, and anyone who may send to the queue can then replay one",
			"%w: it does not hold the time when it was sealed, and Policy.MaxAge is %v", ErrExpired, p.MaxAge)
	}
	return nil
}

// inside is the decoded plaintext of a sealed message.
type inside struct {
	body          string
	attributes    map[string]types.MessageAttributeValue // to deliver
	sealedAt      time.Time
	authenticated []string // names
}

// inside decodes the plaintext of a message that has these attributes on the
// wire.
func (c *codec) inside(p *compiledPolicy, opened envelope.Opened, wire map[string]types.MessageAttributeValue) (inside, error) {
	plaintext := string(opened.Plaintext)
	if _, present := opened.EncryptionContext[contentKey]; !present {
		return inside{body: plaintext, attributes: p.withoutListed(wire)}, nil
	}
	message, err := c.compressor.Decode(plaintext)
	if err != nil {
		return inside{}, err
	}
	if err := p.checkAge(message.Time); err != nil {
		return inside{}, err
	}
	attributes, names, err := p.deliver(message, wire)
	if err != nil {
		return inside{}, err
	}
	return inside{message.Body, attributes, message.Time, names}, nil
}

func (p *compiledPolicy) checkAge(sealedAt time.Time) error {
	if p.MaxAge == 0 {
		return nil
	}
	// A difference of more than 292 years does not fit into a time.Duration: Sub
	// returns the largest or the smallest one, whose negation is itself.
	now := time.Now()
	switch age := now.Sub(sealedAt); {
	case age > p.MaxAge:
		return advise("find out who sends old messages again; if it is only late, raise Policy.MaxAge above the retention of the queue and of its dead-letter queue together",
			"%w: it was sealed %v ago, and Policy.MaxAge is %v", ErrExpired, age.Round(time.Second), p.MaxAge)
	case sealedAt.After(now.Add(maxAhead)):
		return advise("nothing is lost: the message becomes visible again; set the clocks of its producer and of this consumer",
			"%w: at least %v from now by this consumer's clock", ErrClockAhead, sealedAt.Sub(now).Truncate(time.Second))
	}
	return nil
}

// withoutListed returns wire without the attributes that must be authentic, for
// messages that seal no copies.
func (p *compiledPolicy) withoutListed(wire map[string]types.MessageAttributeValue) map[string]types.MessageAttributeValue {
	if len(p.AuthenticateAttributes) == 0 {
		return wire
	}
	kept := maps.Clone(wire)
	for _, name := range p.AuthenticateAttributes {
		delete(kept, name)
	}
	return kept
}

// deliver returns the attributes to deliver of a message that holds c and has
// these attributes on the wire, and the names of those that are authentic. It
// delivers the attributes inside, never the wire's copies of them.
func (p *compiledPolicy) deliver(c content.Content, wire map[string]types.MessageAttributeValue) (map[string]types.MessageAttributeValue, []string, error) {
	delivered := make(map[string]types.MessageAttributeValue, len(c.Sealed)+len(c.Clear)+1)
	var names []string
	for i, attributes := range [][]content.Attribute{c.Sealed, c.Clear} {
		for _, a := range attributes {
			if slices.Contains(p.AuthenticateAttributes, a.Name) {
				got, present := wire[a.Name]
				mustTravel := i == 1
				if present && !sameAttribute(a, got) || !present && mustTravel {
					return nil, nil, errAttributeAltered(a)
				}
			}
			delivered[a.Name] = valueOf(a)
			names = append(names, a.Name)
		}
	}
	var others []string
	for name := range wire {
		_, isInside := delivered[name]
		stranger := c.SealsAttributes && !isTracers(name) || slices.Contains(p.AuthenticateAttributes, name)
		if !isInside && !stranger && name != attributeName {
			others = append(others, name)
		}
	}
	// SQS delivers no more than 10, and a program that sends on what it received
	// could not send more: those that are not inside give way.
	if room := content.MaxAttributes - len(delivered); len(others) > room {
		slices.Sort(others)
		others = others[:room]
	}
	for _, name := range others {
		delivered[name] = wire[name]
	}
	slices.Sort(names)
	return delivered, names, nil
}

func errAttributeAltered(a content.Attribute) error {
	remedy := "look for what changes or removes attributes between the producer and this consumer; for OpenMessages, receive with MessageAttributeNames \"All\""
	if strings.HasPrefix(a.Type, "Number") {
		remedy = "SQS changes how a Number is written: let its producer send a String"
	}
	return advise(remedy, "%w: the message attribute %q, which Policy.AuthenticateAttributes names, did not arrive as it was sent", envelope.ErrAuthentication, a.Name)
}

func sameAttribute(a content.Attribute, v types.MessageAttributeValue) bool {
	value := aws.ToString(v.StringValue)
	if content.IsBinary(a.Type) {
		value = string(v.BinaryValue)
	}
	return a.Type == aws.ToString(v.DataType) && a.Value == value
}

func valueOf(a content.Attribute) types.MessageAttributeValue {
	v := types.MessageAttributeValue{DataType: &a.Type}
	if content.IsBinary(a.Type) {
		v.BinaryValue = []byte(a.Value)
	} else {
		v.StringValue = &a.Value
	}
	return v
}

// contentSize is the length in bytes of the content of a message with a body of
// n bytes, not compressed.
func (p *Policy) contentSize(n int, attributes map[string]types.MessageAttributeValue) int {
	if !p.writesContent() {
		return n
	}
	return n + content.Size(p.contentOf("", attributes, time.Time{}))
}
