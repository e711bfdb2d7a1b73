package sqsxtest

import (
	"strings"
	"time"
)

// Limits of a batch.
const (
	maxBatchEntries = 10
	maxBatchIDChars = 80
	maxDelay        = 900 * time.Second
)

type sendInput struct {
	QueueUrl string
	sendEntry
}

// sendEntry is what SendMessage and an entry of SendMessageBatch have in
// common.
type sendEntry struct {
	MessageBody             string
	DelaySeconds            *int32
	MessageAttributes       map[string]attributeValue
	MessageSystemAttributes map[string]attributeValue
	MessageDeduplicationId  *string
	MessageGroupId          *string
}

type sendOutput struct {
	MD5OfMessageAttributes       string `json:",omitempty"`
	MD5OfMessageBody             string
	MD5OfMessageSystemAttributes string `json:",omitempty"`
	MessageId                    string
	SequenceNumber               string `json:",omitempty"`
}

func (s *sqsService) sendMessage(c caller, in sendInput) (any, error) {
	config, err := s.configOf(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	p, err := prepare(config, in.sendEntry, c.trace)
	if err != nil {
		return nil, err
	}
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl) // again: it may have been deleted meanwhile
	if err != nil {
		return nil, err
	}
	return s.store(q, c, p, now), nil
}

type sendBatchInput struct {
	QueueUrl string
	Entries  []struct {
		Id string
		sendEntry
	}
}

type sendBatchOutput struct {
	Successful []sendBatchResult `json:",omitempty"`
	Failed     []batchError      `json:",omitempty"`
}

type sendBatchResult struct {
	Id string
	sendOutput
}

func (s *sqsService) sendMessageBatch(c caller, in sendBatchInput) (any, error) {
	config, err := s.configOf(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(in.Entries))
	total, noGroup, noDedup := 0, false, false
	for i, e := range in.Entries {
		ids[i] = e.Id
		total += e.size()
		noGroup = noGroup || e.MessageGroupId == nil
		noDedup = noDedup || e.MessageDeduplicationId == nil
	}
	if err := checkBatch("SendMessageBatchRequestEntry", ids); err != nil {
		return nil, err
	}
	if total > maxMessageBytes {
		return nil, refusal("BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxMessageBytes, total)
	}
	// Two faults of an entry fail the call; any other fails the entry.
	switch {
	case config.fifo && noGroup:
		return nil, refusal("InvalidParameterValue", "The request must contain the parameter MessageGroupId.")
	case config.fifo && noDedup && !config.contentDedup:
		return nil, noDeduplicationID()
	}

	prepared := make([]prepared, len(in.Entries))
	refused := make([]error, len(in.Entries))
	for i, e := range in.Entries {
		if e.size() > config.maxBytes { // the text is another than SendMessage's
			refused[i] = refusal("InvalidParameterValue", "One or more parameters cannot be validated. Reason: Message must be shorter than %d bytes.", config.maxBytes)
			continue
		}
		prepared[i], refused[i] = prepare(config, e.sendEntry, c.trace)
	}

	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	var out sendBatchOutput
	for i, e := range in.Entries {
		if refused[i] != nil {
			out.Failed = append(out.Failed, newBatchError(e.Id, refused[i]))
			continue
		}
		out.Successful = append(out.Successful, sendBatchResult{e.Id, s.store(q, c, prepared[i], now)})
	}
	return out, nil
}

func (s *sqsService) configOf(c caller, rawURL string) (*queueConfig, error) {
	s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, rawURL)
	if err != nil {
		return nil, err
	}
	return q.config, nil
}

// size is what counts towards the limits: the body, and the names, types and
// values of the message attributes.
func (e *sendEntry) size() int {
	n := len(e.MessageBody)
	for name, v := range e.MessageAttributes {
		n += len(name) + v.size()
	}
	return n
}

// prepared is a message that has passed every check, with what can be computed
// outside the lock.
type prepared struct {
	entry         sendEntry
	group, dedup  string
	trace         string
	delay         time.Duration
	bodyMD5       string
	attributesMD5 string
	systemMD5     string
}

// prepare checks a message. header is the request's X-Amzn-Trace-Id, which is
// the AWSTraceHeader of a message without one of its own, and not in its
// digest.
func prepare(config *queueConfig, e sendEntry, header string) (prepared, error) {
	if e.MessageBody == "" {
		return prepared{}, missing("MessageBody")
	}
	if !legalText(e.MessageBody) {
		return prepared{}, illegalText()
	}
	if err := checkAttributes(e.MessageAttributes); err != nil {
		return prepared{}, err
	}
	if e.size() > config.maxBytes {
		return prepared{}, refusal("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", config.maxBytes)
	}
	p := prepared{entry: e, delay: config.delay, trace: header}
	for name, v := range e.MessageSystemAttributes {
		if name != "AWSTraceHeader" || baseType(v.DataType) != "String" {
			return prepared{}, refusal("InvalidParameterValue", "Message system attribute '%s' of type '%s' is invalid: AWSTraceHeader of type String is the only one.", name, v.DataType)
		}
		if err := checkAttributeValue("system", name, v); err != nil {
			return prepared{}, err
		}
		p.trace = *v.StringValue
	}
	if e.DelaySeconds != nil {
		seconds := time.Duration(*e.DelaySeconds) * time.Second
		if seconds < 0 || seconds > maxDelay {
			return prepared{}, refusal("InvalidParameterValue", "Value %d for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.", *e.DelaySeconds)
		}
		if config.fifo && seconds != 0 {
			return prepared{}, notForThisQueue("DelaySeconds", *e.DelaySeconds)
		}
		p.delay = seconds
		if config.fifo {
			p.delay = config.delay
		}
	}
	if err := p.setGroup(config); err != nil {
		return prepared{}, err
	}
	p.bodyMD5 = textMD5(e.MessageBody)
	p.attributesMD5 = attributesMD5(e.MessageAttributes)
	p.systemMD5 = attributesMD5(e.MessageSystemAttributes)
	return p, nil
}

// setGroup settles the group, which a FIFO queue needs and a standard one may
// have (fair queues), and the deduplication ID.
func (p *prepared) setGroup(config *queueConfig) error {
	if id := p.entry.MessageGroupId; id != nil {
		if err := checkID("MessageGroupId", *id); err != nil {
			return err
		}
		p.group = *id
	}
	if id := p.entry.MessageDeduplicationId; id != nil {
		if !config.fifo {
			return notForThisQueue("MessageDeduplicationId", *id)
		}
		if err := checkID("MessageDeduplicationId", *id); err != nil {
			return err
		}
		p.dedup = *id
	}
	if !config.fifo {
		return nil
	}
	if p.group == "" {
		return missing("MessageGroupId")
	}
	if p.dedup == "" {
		if !config.contentDedup {
			return noDeduplicationID()
		}
		p.dedup = contentDedupID(p.entry.MessageBody)
	}
	return nil
}

func noDeduplicationID() error {
	return refusal("InvalidParameterValue", "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
}

func notForThisQueue(parameter string, value any) error {
	return refusal("InvalidParameterValue", "Value %v for parameter %s is invalid. Reason: The request include parameter that is not valid for this queue type.", value, parameter)
}

// store puts a message into a queue, unless a FIFO queue has had it already.
// The caller holds the mutex.
func (s *sqsService) store(q *queue, c caller, p prepared, now time.Time) sendOutput {
	out := sendOutput{
		MD5OfMessageBody:             p.bodyMD5,
		MD5OfMessageAttributes:       p.attributesMD5,
		MD5OfMessageSystemAttributes: p.systemMD5,
	}
	key := dedupKey{id: p.dedup}
	if q.fifo != nil {
		if q.config.dedupPerGroup {
			key.group = p.group
		}
		if before, ok := q.fifo.sent.get(key, now); ok {
			out.MessageId, out.SequenceNumber = before.messageID, before.sequence
			return out
		}
	}
	q.advance(now)
	m := &message{
		number:     s.nextSerial(),
		id:         newUUID(),
		body:       p.entry.MessageBody,
		bodyMD5:    p.bodyMD5,
		attributes: p.entry.MessageAttributes,
		trace:      p.trace,
		group:      p.group,
		dedup:      p.dedup,
		sender:     c.account,
		sent:       now,
	}
	if q.fifo != nil {
		m.sequence = q.fifo.nextSequence()
		q.fifo.sent.put(key, sentBefore{m.id, m.sequence}, now)
	}
	q.add(m, now, p.delay)
	out.MessageId, out.SequenceNumber = m.id, m.sequence
	return out
}

// checkBatch makes the checks that are common to all batches.
func checkBatch(entryName string, ids []string) error {
	if len(ids) == 0 {
		return refusal("EmptyBatchRequest", "There should be at least one %s in the request.", entryName)
	}
	if len(ids) > maxBatchEntries {
		return refusal("TooManyEntriesInBatchRequest", "Maximum number of entries per request are %d. You have sent %d.", maxBatchEntries, len(ids))
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		bad := func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }
		if id == "" || len(id) > maxBatchIDChars || strings.ContainsFunc(id, bad) {
			return refusal("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most %d letters long.", maxBatchIDChars)
		}
		if seen[id] {
			return refusal("BatchEntryIdsNotDistinct", "Id %s repeated.", id)
		}
		seen[id] = true
	}
	return nil
}
