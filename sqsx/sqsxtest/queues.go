package sqsxtest

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxQueueNameChars = 80
	maxListResults    = 1_000
	maxTags           = 50 // of a queue; the developer guide recommends no more
	maxTagKeyChars    = 128
	maxTagValueChars  = 256
)

type createQueueInput struct {
	QueueName  string
	Attributes map[string]string
	Tags       map[string]string `json:"tags"`
}

type queueURLOutput struct{ QueueUrl string }

func (s *sqsService) createQueue(c caller, in createQueueInput) (any, error) {
	if in.QueueName == "" {
		return nil, missing("QueueName")
	}
	attributes := canonical(in.Attributes)
	if err := checkQueueName(in.QueueName, attributes["FifoQueue"] == "true"); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags, len(in.Tags)); err != nil {
		return nil, err
	}
	id := queueID{region: c.region, account: c.account, name: in.QueueName}
	now := s.lock()
	defer s.mu.Unlock()
	if q := s.queues[id]; q != nil {
		for _, name := range slices.Sorted(maps.Keys(attributes)) {
			if q.config.attributes[name] != attributes[name] {
				return nil, refusal("QueueNameExists", "A queue already exists with the same name and a different value for attribute %s", name)
			}
		}
		if len(in.Tags) > 0 && !maps.Equal(in.Tags, q.tags) {
			return nil, refusal("QueueNameExists", "A queue already exists with the same name and different tags")
		}
		return queueURLOutput{queueURL(c.baseURL, id)}, nil
	}
	config, err := configFor(nil, attributes)
	if err != nil {
		return nil, err
	}
	if err := s.checkRedrive(id, config); err != nil {
		return nil, err
	}
	q := &queue{
		queueID:  id,
		uid:      s.nextSerial(),
		config:   config,
		tags:     maps.Clone(in.Tags),
		created:  now,
		modified: now,
		messages: make(map[uint64]*message),
	}
	if config.fifo {
		q.fifo = newFIFOState()
	}
	s.queues[id] = q
	return queueURLOutput{queueURL(c.baseURL, id)}, nil
}

func checkQueueName(name string, fifo bool) error {
	base, isFIFO := strings.CutSuffix(name, ".fifo")
	bad := func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }
	legal := len(name) <= maxQueueNameChars && base != "" && !strings.ContainsFunc(base, bad)
	switch {
	case (fifo || isFIFO) && !(fifo && isFIFO && legal):
		return refusal("InvalidParameterValue", "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length; and only a FIFO queue (FifoQueue=true) can have that suffix.")
	case !legal:
		return refusal("InvalidParameterValue", "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	return nil
}

type getQueueURLInput struct{ QueueName, QueueOwnerAWSAccountId string }

func (s *sqsService) getQueueURL(c caller, in getQueueURLInput) (any, error) {
	if in.QueueName == "" {
		return nil, missing("QueueName")
	}
	id := queueID{region: c.region, account: c.account, name: in.QueueName}
	if in.QueueOwnerAWSAccountId != "" {
		id.account = in.QueueOwnerAWSAccountId
	}
	s.lock()
	defer s.mu.Unlock()
	if s.queues[id] == nil {
		return nil, refusal("QueueDoesNotExist", "The specified queue does not exist.")
	}
	return queueURLOutput{queueURL(c.baseURL, id)}, nil
}

type listQueuesInput struct {
	QueueNamePrefix string
	MaxResults      *int32
	NextToken       string
}

type listQueuesOutput struct {
	QueueUrls []string `json:",omitempty"`
	NextToken string   `json:",omitempty"`
}

func (s *sqsService) listQueues(c caller, in listQueuesInput) (any, error) {
	s.lock()
	defer s.mu.Unlock()
	urls, next, err := s.list(c, in.MaxResults, in.NextToken, func(q *queue) bool {
		return q.account == c.account && q.region == c.region && strings.HasPrefix(q.name, in.QueueNamePrefix)
	})
	return listQueuesOutput{urls, next}, err
}

type listSourcesInput struct {
	QueueUrl   string
	MaxResults *int32
	NextToken  string
}

type listSourcesOutput struct {
	QueueUrls []string `json:"queueUrls"`
	NextToken string   `json:",omitempty"`
}

func (s *sqsService) listDeadLetterSources(c caller, in listSourcesInput) (any, error) {
	s.lock()
	defer s.mu.Unlock()
	target, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	urls, next, err := s.list(c, in.MaxResults, in.NextToken, func(q *queue) bool {
		return q.config.redrive != nil && q.config.redrive.target == target.queueID
	})
	return listSourcesOutput{append([]string{}, urls...), next}, err
}

// list returns one page of URLs, by name. A token is given only to who asked
// for pages, as the service does.
func (s *sqsService) list(c caller, maxResults *int32, token string, wanted func(*queue) bool) (urls []string, next string, err error) {
	limit := maxListResults
	if maxResults != nil {
		if limit = int(*maxResults); limit < 1 || limit > maxListResults {
			return nil, "", refusal("InvalidParameterValue", "Value %d for parameter MaxResults is invalid. Reason: Must be between 1 and %d.", limit, maxListResults)
		}
	}
	after, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return nil, "", refusal("InvalidParameterValue", "Value for parameter NextToken is invalid.")
	}
	var found []*queue
	for _, q := range s.queues {
		if q.name > string(after) && wanted(q) {
			found = append(found, q)
		}
	}
	slices.SortFunc(found, func(a, b *queue) int { return strings.Compare(a.name, b.name) })
	if len(found) > limit {
		found = found[:limit]
		if maxResults != nil {
			next = base64.StdEncoding.EncodeToString([]byte(found[limit-1].name))
		}
	}
	for _, q := range found {
		urls = append(urls, queueURL(c.baseURL, q.queueID))
	}
	return urls, next, nil
}

type queueInput struct{ QueueUrl string }

func (s *sqsService) deleteQueue(c caller, in queueInput) (any, error) {
	s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	delete(s.queues, q.queueID)
	q.wake() // long polls learn that it is gone
	return nil, nil
}

func (s *sqsService) purgeQueue(c caller, in queueInput) (any, error) {
	s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	q.purge()
	return nil, nil
}

type getAttributesInput struct {
	QueueUrl       string
	AttributeNames []string
}

type attributesOutput struct {
	Attributes map[string]string `json:",omitempty"`
}

func (s *sqsService) getQueueAttributes(c caller, in getAttributesInput) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	q.advance(now)
	all := maps.Clone(q.config.attributes)
	all["QueueArn"] = q.arn()
	all["CreatedTimestamp"] = unixSeconds(q.created)
	all["LastModifiedTimestamp"] = unixSeconds(q.modified)
	all["ApproximateNumberOfMessages"] = strconv.Itoa(q.count[ready])
	all["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(q.count[delayed])
	all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(q.count[inFlight])

	out := attributesOutput{Attributes: make(map[string]string)}
	for _, name := range in.AttributeNames {
		if name == "All" {
			return attributesOutput{all}, nil
		}
		if value, ok := all[name]; ok {
			out.Attributes[name] = value
			continue
		}
		switch name { // known, but not set here
		case "Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds",
			"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit":
		default:
			return nil, refusal("InvalidAttributeName", "Unknown Attribute %s.", name)
		}
	}
	return out, nil
}

func unixSeconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

type setAttributesInput struct {
	QueueUrl   string
	Attributes map[string]string
}

func (s *sqsService) setQueueAttributes(c caller, in setAttributesInput) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	config, err := configFor(q.config, canonical(in.Attributes))
	if err != nil {
		return nil, err
	}
	if err := s.checkRedrive(q.queueID, config); err != nil {
		return nil, err
	}
	q.advance(now) // under the old configuration
	q.config, q.modified = config, now
	q.wake()
	return nil, nil
}

type tagInput struct {
	QueueUrl string
	Tags     map[string]string
}

func (s *sqsService) tagQueue(c caller, in tagInput) (any, error) {
	s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) == 0 {
		return nil, missing("Tags")
	}
	tags := make(map[string]string)
	maps.Copy(tags, q.tags)
	maps.Copy(tags, in.Tags)
	if err := checkTags(in.Tags, len(tags)); err != nil {
		return nil, err
	}
	q.tags = tags
	return nil, nil
}

// checkTags checks new tags of a queue that will have total of them: keys and
// values have Unicode letters, digits, white space and a few signs, and keys of
// AWS's own are reserved. Case matters, and a value may be empty.
func checkTags(tags map[string]string, total int) error {
	if total > maxTags {
		return refusal("InvalidParameterValue", "Too many tags: %d exceeds %d.", total, maxTags)
	}
	bad := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsSpace(r) && !strings.ContainsRune("_.:/=+-@", r)
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		value := tags[key]
		switch {
		case key == "" || utf8.RuneCountInString(key) > maxTagKeyChars:
			return refusal("InvalidParameterValue", "Tag keys must be between 1 and %d characters in length.", maxTagKeyChars)
		case utf8.RuneCountInString(value) > maxTagValueChars:
			return refusal("InvalidParameterValue", "Tag values must be between 0 and %d characters in length.", maxTagValueChars)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return refusal("InvalidParameterValue", "Tag key %q is invalid: keys that start with aws: are reserved.", key)
		case strings.ContainsFunc(key, bad) || strings.ContainsFunc(value, bad):
			return refusal("InvalidParameterValue", "Tag %q is invalid: keys and values can only contain letters, digits, white space and _ . : / = + - @", key)
		}
	}
	return nil
}

type untagInput struct {
	QueueUrl string
	TagKeys  []string
}

func (s *sqsService) untagQueue(c caller, in untagInput) (any, error) {
	s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	if len(in.TagKeys) == 0 {
		return nil, refusal("InvalidParameterValue", "Tag keys must be between 1 and %d characters in length.", maxTagKeyChars)
	}
	for _, key := range in.TagKeys { // one that the queue does not have is no error
		delete(q.tags, key)
	}
	return nil, nil
}

type tagsOutput struct {
	Tags map[string]string `json:",omitempty"`
}

func (s *sqsService) listQueueTags(c caller, in queueInput) (any, error) {
	s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return tagsOutput{maps.Clone(q.tags)}, nil
}
