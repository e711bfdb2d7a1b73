package sqsxtest

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// publication is a message that was published.
type publication struct {
	id         string
	message    string
	subject    *string
	structure  string // MessageStructure
	attributes map[string]attributeValue
	group      *string
	dedup      *string
	sequence   string // of a FIFO topic
}

// publicationOf reads a message of a request. prefix is that of its parameters.
func publicationOf(in form, prefix string) (publication, error) {
	attributes, err := in.attributes(prefix + "MessageAttributes.entry")
	if err != nil {
		return publication{}, err
	}
	return publication{
		message:    in.text(prefix + "Message"),
		subject:    in.optional(prefix + "Subject"),
		structure:  in.text(prefix + "MessageStructure"),
		attributes: attributes,
		group:      in.optional(prefix + "MessageGroupId"),
		dedup:      in.optional(prefix + "MessageDeduplicationId"),
	}, nil
}

// size is what counts towards a topic's limit.
func (p *publication) size() int {
	e := sendEntry{MessageBody: p.message, MessageAttributes: p.attributes}
	return e.size()
}

type publishResult struct {
	MessageId      string
	SequenceNumber string `xml:",omitempty"`
}

func (s *snsService) publish(c caller, in form) (any, error) {
	p, err := publicationOf(in, "")
	if err != nil {
		return nil, err
	}
	arn := in.text("TopicArn")
	if arn == "" {
		arn = in.text("TargetArn")
	}
	if in.text("PhoneNumber") != "" && arn == "" {
		return publishResult{MessageId: newUUID()}, nil // nobody to deliver to
	}
	if arn == "" {
		return nil, invalidParameter("TopicArn or TargetArn Reason: no value for required parameter")
	}
	t, err := s.findTopic(arn)
	if err != nil {
		return nil, err
	}
	if t.region != c.region {
		return nil, invalidParameter("TopicArn")
	}
	if err := p.check(t); err != nil {
		return nil, err
	}
	if p.size() > t.maxBytes() {
		return nil, invalidParameter("Message too long")
	}
	return s.accept(t, p), nil
}

type publishBatchOutput struct {
	Successful members[publishBatchResult]
}

type publishBatchResult struct {
	Id string
	publishResult
}

// publishBatch fails as a whole if anything is wrong with a message, as the
// service has been seen to do.
func (s *snsService) publishBatch(c caller, in form) (any, error) {
	const list = "PublishBatchRequestEntries.member"
	t, err := s.findTopic(in.text("TopicArn"))
	if err != nil {
		return nil, err
	}
	if t.region != c.region {
		return nil, invalidParameter("TopicArn")
	}
	var ids []string
	var all []publication
	total := 0
	for n := 1; n <= maxBatchEntries+1 && in.has(list+"."+strconv.Itoa(n)); n++ { // one more is too many
		prefix := list + "." + strconv.Itoa(n) + "."
		p, err := publicationOf(in, prefix)
		if err == nil {
			err = p.check(t)
		}
		if err != nil {
			return nil, err
		}
		ids, all = append(ids, in.text(prefix+"Id")), append(all, p)
		total += p.size()
	}
	if err := checkBatch("PublishBatchRequestEntries", ids); err != nil {
		return nil, err
	}
	if total > t.maxBytes() {
		return nil, refusal("BatchRequestTooLong", "The length of all the messages put together is more than the limit.")
	}
	var out publishBatchOutput
	for i, p := range all {
		out.Successful.Member = append(out.Successful.Member, publishBatchResult{ids[i], s.accept(t, p)})
	}
	return out, nil
}

// check makes the checks of one message, its size apart.
func (p *publication) check(t *topic) error {
	switch {
	case p.message == "":
		return invalidParameter("Empty message")
	case t.fifo && p.group == nil:
		return invalidParameter("The MessageGroupId parameter is required for FIFO topics")
	case t.fifo && p.dedup == nil && t.attributes["ContentBasedDeduplication"] != "true":
		return invalidParameter("The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	case !t.fifo && p.dedup != nil:
		return invalidParameter("MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
	}
	for name, v := range p.attributes { // any number of them
		if err := checkAttributeName(name); err != nil {
			return refusal("ParameterValueInvalid", "%v", err)
		}
		if err := checkAttributeValue("user", name, v); err != nil {
			return refusal("ParameterValueInvalid", "%v", err)
		}
	}
	if p.structure == "json" {
		if _, ok := p.forQueues(); !ok {
			return invalidParameter("Message Structure - No default entry in JSON message body")
		}
	}
	return nil
}

// forQueues is the text that queues get of a message with a text for each
// protocol.
func (p *publication) forQueues() (string, bool) {
	var texts map[string]string
	if json.Unmarshal([]byte(p.message), &texts) != nil {
		return "", false
	}
	text, ok := texts["default"]
	if own, has := texts["sqs"]; has {
		text = own
	}
	return text, ok
}

// accept delivers a message to every subscriber that wants it, unless a FIFO
// topic has had it already.
func (s *snsService) accept(t *topic, p publication) publishResult {
	now := time.Now()
	p.id = newUUID()
	if t.fifo {
		if p.dedup == nil {
			id := contentDedupID(p.message)
			p.dedup = &id
		}
		if before, ok := t.published.get(*p.dedup, now); ok {
			return before
		}
		t.sequence++
		p.sequence = strconv.FormatUint(10_000_000_000_000_000_000+t.sequence, 10)
		t.published.put(*p.dedup, publishResult{p.id, p.sequence}, now)
	}
	for _, sub := range t.subscriptions {
		if sub.wants(&p) {
			s.deliver(t, sub, p, now)
		}
	}
	return publishResult{p.id, p.sequence}
}

// entry is the message as a queue gets it.
func (sub *subscription) entry(t *topic, p publication, now time.Time) sendEntry {
	e := sendEntry{MessageBody: p.message, MessageGroupId: p.group, MessageDeduplicationId: p.dedup}
	if p.structure == "json" {
		e.MessageBody, _ = p.forQueues()
	} else if sub.raw {
		e.MessageAttributes = p.attributes
	}
	if !sub.raw {
		e.MessageBody = notification(t, sub, p, e.MessageBody, now)
	}
	return e
}

// notification is the JSON that SNS wraps around a message.
func notification(t *topic, sub *subscription, p publication, message string, now time.Time) string {
	type value struct{ Type, Value string }
	n := struct {
		Type              string
		MessageId         string
		SequenceNumber    string `json:",omitempty"`
		TopicArn          string
		Subject           *string `json:",omitempty"`
		Message           string
		Timestamp         string
		SignatureVersion  string
		Signature         string
		SigningCertURL    string
		UnsubscribeURL    string
		MessageAttributes map[string]value `json:",omitempty"`
	}{
		Type: "Notification", MessageId: p.id, SequenceNumber: p.sequence, TopicArn: t.arn(), Subject: p.subject, Message: message,
		Timestamp:        now.UTC().Format("2006-01-02T15:04:05.000Z"),
		SignatureVersion: "1", Signature: "EXAMPLE",
		SigningCertURL: "https://sns." + t.region + ".amazonaws.com/SimpleNotificationService-example.pem",
		UnsubscribeURL: "https://sns." + t.region + ".amazonaws.com/?Action=Unsubscribe&SubscriptionArn=" + sub.arn,
	}
	if p.structure != "json" && len(p.attributes) > 0 {
		n.MessageAttributes = make(map[string]value)
		for name, v := range p.attributes {
			text := string(v.bytes())
			if v.isBinary() {
				text = base64Text(v.BinaryValue)
			}
			n.MessageAttributes[name] = value{v.DataType, text}
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(n); err != nil {
		panic(err) // strings always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}
