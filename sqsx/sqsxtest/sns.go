package sqsxtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of topics (SNS API reference, CreateTopic; MaximumMessageSize).
const (
	maxTopicNameChars   = 256
	minTopicBytes       = 1 << 10
	maxTopicBytes       = 1 << 20
	defaultMessageBytes = 1 << 18
)

// topicID is what a topic ARN holds. Regions and accounts are separate
// namespaces.
type topicID struct{ region, account, name string }

func (id topicID) arn() string {
	return "arn:" + partitionOf(id.region) + ":sns:" + id.region + ":" + id.account + ":" + id.name
}

// parseTopicARN reads the ARN of a topic, or that of a subscription, whose last
// part is its ID.
func parseTopicARN(arn string) (id topicID, subscription string, ok bool) {
	p := strings.Split(arn, ":")
	if len(p) == 7 && p[6] != "" {
		subscription, p = p[6], p[:6]
	}
	if len(p) != 6 || p[0] != "arn" || p[2] != "sns" || !isAccount(p[4]) || p[5] == "" {
		return topicID{}, "", false
	}
	id = topicID{region: p[3], account: p[4], name: p[5]}
	return id, subscription, strings.HasPrefix(arn, id.arn())
}

// snsService is the SNS part of a Server: topics, and the queues of the same
// Server as their subscribers. It has no goroutine: a message is delivered when
// it is published.
type snsService struct {
	queues *sqsService

	mu     sync.Mutex // guards all that follows; it is taken before that of queues
	topics map[topicID]*topic
}

func newSNS(queues *sqsService) *snsService {
	return &snsService{queues: queues, topics: make(map[topicID]*topic)}
}

type topic struct {
	topicID
	attributes    map[string]string // as they were set
	fifo          bool
	subscriptions []*subscription // oldest first
	published     memory[string, publishResult]
	sequence      uint64
}

func (t *topic) maxBytes() int {
	n, err := strconv.Atoi(t.attributes["MaximumMessageSize"])
	if err != nil {
		return defaultMessageBytes
	}
	return n
}

type subscription struct {
	arn        string
	endpoint   queueID
	attributes map[string]string // as they were set
	raw        bool
	filter     filterPolicy // nil: none
	inBody     bool         // the filter is of the body
	deadLetter *queueID     // nil: none
}

// invalidParameter is SNS's refusal of whatever a request says.
func invalidParameter(format string, args ...any) error {
	return refusal("InvalidParameter", "Invalid parameter: "+format, args...)
}

// call carries one operation out, and returns the fields of its result.
func (s *snsService) call(c caller, operation string, in form) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch operation {
	case "CreateTopic":
		return s.createTopic(c, in)
	case "DeleteTopic":
		return s.deleteTopic(in)
	case "ListTopics":
		return s.listTopics(c)
	case "GetTopicAttributes":
		return s.getTopicAttributes(in)
	case "SetTopicAttributes":
		return s.setTopicAttributes(in)
	case "Subscribe":
		return s.subscribe(in)
	case "Unsubscribe":
		return s.unsubscribe(in)
	case "ListSubscriptionsByTopic":
		return s.listSubscriptions(in)
	case "GetSubscriptionAttributes":
		return s.getSubscriptionAttributes(in)
	case "SetSubscriptionAttributes":
		return s.setSubscriptionAttributes(in)
	case "Publish":
		return s.publish(c, in)
	case "PublishBatch":
		return s.publishBatch(c, in)
	default:
		return nil, refusal("InvalidAction", "The action %s is not valid for this endpoint.", operation)
	}
}

func snsOperations() []string {
	return []string{
		"CreateTopic", "DeleteTopic", "GetSubscriptionAttributes", "GetTopicAttributes", "ListSubscriptionsByTopic", "ListTopics",
		"Publish", "PublishBatch", "SetSubscriptionAttributes", "SetTopicAttributes", "Subscribe", "Unsubscribe",
	}
}

func (s *snsService) findTopic(arn string) (*topic, error) {
	id, subscription, ok := parseTopicARN(arn)
	if !ok || subscription != "" {
		return nil, invalidParameter("TopicArn Reason: An ARN must have at least 6 elements, not %d", len(strings.Split(arn, ":")))
	}
	if t := s.topics[id]; t != nil {
		return t, nil
	}
	return nil, refusal("NotFound", "Topic does not exist")
}

func (s *snsService) findSubscription(arn string) (*topic, *subscription, error) {
	id, subscription, ok := parseTopicARN(arn)
	if !ok || subscription == "" {
		return nil, nil, invalidParameter("SubscriptionArn Reason: An ARN must have at least 7 elements, not %d", len(strings.Split(arn, ":")))
	}
	if t := s.topics[id]; t != nil {
		for _, sub := range t.subscriptions {
			if sub.arn == arn {
				return t, sub, nil
			}
		}
	}
	return nil, nil, refusal("NotFound", "Subscription does not exist")
}

type topicOutput struct{ TopicArn string }

func (s *snsService) createTopic(c caller, in form) (any, error) {
	id := topicID{region: c.region, account: c.account, name: in.text("Name")}
	attributes := in.pairs("Attributes.entry", "key", "value")
	base, fifo := strings.CutSuffix(id.name, ".fifo")
	bad := func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }
	if base == "" || len(id.name) > maxTopicNameChars || strings.ContainsFunc(base, bad) || fifo != (attributes["FifoTopic"] == "true") {
		return nil, invalidParameter("Topic Name")
	}
	for name, value := range attributes {
		if err := checkTopicAttribute(name, value, fifo); err != nil {
			return nil, err
		}
	}
	if t := s.topics[id]; t != nil {
		for name, value := range attributes {
			if t.attributes[name] != value {
				return nil, invalidParameter("Attributes Reason: Topic already exists with different attributes")
			}
		}
		return topicOutput{id.arn()}, nil
	}
	s.topics[id] = &topic{topicID: id, attributes: attributes, fifo: fifo}
	return topicOutput{id.arn()}, nil
}

func checkTopicAttribute(name, value string, fifo bool) error {
	bad := func(reason string) error { return invalidParameter("Attributes Reason: %s: %s", name, reason) }
	switch name {
	case "FifoTopic", "ContentBasedDeduplication":
		if value != "true" && value != "false" {
			return bad("must be true or false")
		}
		if !fifo && value == "true" {
			return bad("is for FIFO topics")
		}
	case "MaximumMessageSize":
		n, err := strconv.Atoi(value)
		if err != nil || n < minTopicBytes || n > maxTopicBytes {
			return bad(fmt.Sprintf("must be %d to %d", minTopicBytes, maxTopicBytes))
		}
	case "DisplayName", "Policy", "DeliveryPolicy", "KmsMasterKeyId", "SignatureVersion", "TracingConfig", "FifoThroughputScope":
		// stored, and without effect
	default:
		return bad("unknown attribute")
	}
	return nil
}

func (s *snsService) deleteTopic(in form) (any, error) {
	t, err := s.findTopic(in.text("TopicArn"))
	if err != nil {
		return nil, nil // as the service does
	}
	delete(s.topics, t.topicID)
	return nil, nil
}

type topicList struct {
	Topics members[topicOutput]
}

func (s *snsService) listTopics(c caller) (any, error) {
	var out topicList
	for id := range s.topics {
		if id.region == c.region && id.account == c.account {
			out.Topics.Member = append(out.Topics.Member, topicOutput{id.arn()})
		}
	}
	slices.SortFunc(out.Topics.Member, func(a, b topicOutput) int { return cmp.Compare(a.TopicArn, b.TopicArn) })
	return out, nil
}

type snsAttributes struct{ Attributes entries }

func (s *snsService) getTopicAttributes(in form) (any, error) {
	t, err := s.findTopic(in.text("TopicArn"))
	if err != nil {
		return nil, err
	}
	all := maps.Clone(t.attributes)
	all["TopicArn"], all["Owner"] = t.arn(), t.account
	all["SubscriptionsConfirmed"] = strconv.Itoa(len(t.subscriptions))
	return snsAttributes{entriesOf(all)}, nil
}

func (s *snsService) setTopicAttributes(in form) (any, error) {
	t, err := s.findTopic(in.text("TopicArn"))
	if err != nil {
		return nil, err
	}
	name, value := in.text("AttributeName"), in.text("AttributeValue")
	if name == "FifoTopic" {
		return nil, invalidParameter("AttributeName Reason: FifoTopic cannot be changed")
	}
	if err := checkTopicAttribute(name, value, t.fifo); err != nil {
		return nil, err
	}
	t.attributes[name] = value
	return nil, nil
}

type subscribeOutput struct{ SubscriptionArn string }

func (s *snsService) subscribe(in form) (any, error) {
	t, err := s.findTopic(in.text("TopicArn"))
	if err != nil {
		return nil, err
	}
	if in.text("Protocol") != "sqs" {
		return nil, invalidParameter("Protocol Reason: this Server delivers to queues only: \"sqs\"")
	}
	endpoint, ok := parseQueueARN(in.text("Endpoint"))
	if !ok {
		return nil, invalidParameter("SQS endpoint ARN")
	}
	if strings.HasSuffix(endpoint.name, ".fifo") && !t.fifo {
		return nil, invalidParameter("Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")
	}
	for _, sub := range t.subscriptions {
		if sub.endpoint == endpoint {
			return subscribeOutput{sub.arn}, nil
		}
	}
	sub := &subscription{arn: t.arn() + ":" + newUUID(), endpoint: endpoint}
	if err := sub.set(in.pairs("Attributes.entry", "key", "value")); err != nil {
		return nil, err
	}
	t.subscriptions = append(t.subscriptions, sub)
	return subscribeOutput{sub.arn}, nil
}

// set makes attributes those of the subscription, or leaves it as it is.
func (sub *subscription) set(attributes map[string]string) error {
	changed := *sub
	changed.attributes = attributes
	changed.filter, changed.deadLetter = nil, nil
	for name, value := range attributes {
		switch name {
		case "RawMessageDelivery":
			if value != "true" && value != "false" {
				return invalidParameter("Attributes Reason: RawMessageDelivery: Invalid value [%s]. Must be true or false.", value)
			}
		case "FilterPolicyScope":
			if value != "MessageAttributes" && value != "MessageBody" {
				return invalidParameter("Attributes Reason: FilterPolicyScope: Invalid value [%s]. Please use either MessageBody or MessageAttributes", value)
			}
		case "FilterPolicy", "RedrivePolicy":
		default:
			return invalidParameter("Attributes Reason: %s: unknown attribute", name)
		}
	}
	changed.raw = attributes["RawMessageDelivery"] == "true"
	changed.inBody = attributes["FilterPolicyScope"] == "MessageBody"
	if text := attributes["FilterPolicy"]; text != "" {
		var err error
		if changed.filter, err = parseFilterPolicy(text, changed.inBody); err != nil {
			return err
		}
	}
	if text := attributes["RedrivePolicy"]; text != "" {
		target, ok := parseDeadLetterTarget(text)
		if !ok {
			return invalidParameter("RedrivePolicy: deadLetterTargetArn is an invalid arn")
		}
		changed.deadLetter = &target
	}
	*sub = changed
	return nil
}

func (s *snsService) unsubscribe(in form) (any, error) {
	t, sub, err := s.findSubscription(in.text("SubscriptionArn"))
	if err != nil {
		return nil, err
	}
	t.subscriptions = slices.DeleteFunc(t.subscriptions, func(other *subscription) bool { return other == sub })
	return nil, nil
}

type subscriptionList struct {
	Subscriptions members[subscriptionEntry]
}

type subscriptionEntry struct{ TopicArn, Protocol, SubscriptionArn, Owner, Endpoint string }

func (s *snsService) listSubscriptions(in form) (any, error) {
	t, err := s.findTopic(in.text("TopicArn"))
	if err != nil {
		return nil, err
	}
	var out subscriptionList
	for _, sub := range t.subscriptions {
		out.Subscriptions.Member = append(out.Subscriptions.Member, subscriptionEntry{t.arn(), "sqs", sub.arn, t.account, sub.endpoint.arn()})
	}
	return out, nil
}

func (s *snsService) getSubscriptionAttributes(in form) (any, error) {
	t, sub, err := s.findSubscription(in.text("SubscriptionArn"))
	if err != nil {
		return nil, err
	}
	all := map[string]string{"RawMessageDelivery": "false"}
	maps.Copy(all, sub.attributes)
	all["SubscriptionArn"], all["TopicArn"], all["Protocol"], all["Endpoint"], all["Owner"] = sub.arn, t.arn(), "sqs", sub.endpoint.arn(), t.account
	return snsAttributes{entriesOf(all)}, nil
}

func (s *snsService) setSubscriptionAttributes(in form) (any, error) {
	_, sub, err := s.findSubscription(in.text("SubscriptionArn"))
	if err != nil {
		return nil, err
	}
	attributes := maps.Clone(sub.attributes)
	if attributes == nil {
		attributes = make(map[string]string)
	}
	attributes[in.text("AttributeName")] = in.text("AttributeValue")
	return nil, sub.set(attributes)
}

// deliver hands a message to a subscriber, or to the dead-letter queue of its
// subscription; without one it is lost, as with the service. It counts for what
// SNS calls a client-side error: the queue does not exist, or does not take it.
func (s *snsService) deliver(t *topic, sub *subscription, p publication, now time.Time) {
	e := sub.entry(t, p, now)
	if s.queues.receiveFromTopic(sub.endpoint, t.account, e) == nil || sub.deadLetter == nil {
		return
	}
	_ = s.queues.receiveFromTopic(*sub.deadLetter, t.account, e) // there is no further place
}

// receiveFromTopic stores a message that SNS delivers.
func (s *sqsService) receiveFromTopic(id queueID, account string, e sendEntry) error {
	now := s.lock()
	defer s.mu.Unlock()
	q := s.queues[id]
	if q == nil {
		return refusal("QueueDoesNotExist", "The specified queue does not exist.")
	}
	if !q.config.fifo {
		e.MessageDeduplicationId = nil
	}
	p, err := prepare(q.config, e, "")
	if err != nil {
		return err
	}
	s.store(q, caller{region: id.region, account: account}, p, now)
	return nil
}
