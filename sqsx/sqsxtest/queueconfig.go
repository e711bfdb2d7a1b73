package sqsxtest

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
)

// queueConfig is what the attributes of a queue say. It is never changed:
// SetQueueAttributes makes another.
type queueConfig struct {
	attributes    map[string]string // as they were set, defaults included
	delay         time.Duration
	visibility    time.Duration
	retention     time.Duration
	wait          time.Duration
	maxBytes      int
	fifo          bool
	contentDedup  bool
	dedupPerGroup bool
	redrive       *redrivePolicy // nil: none
	allow         allowPolicy
}

// redrivePolicy is the RedrivePolicy attribute.
type redrivePolicy struct {
	target      queueID
	maxReceives int
}

// allowPolicy is the RedriveAllowPolicy attribute; its zero value allows all.
type allowPolicy struct {
	denyAll bool
	byQueue bool
	sources []string // ARNs
}

// canonical returns the attributes of a request as the service stores and
// returns them: it takes "True" for "true".
func canonical(attributes map[string]string) map[string]string {
	out := maps.Clone(attributes)
	for _, name := range []string{"FifoQueue", "ContentBasedDeduplication", "SqsManagedSseEnabled"} {
		if value, ok := out[name]; ok {
			out[name] = strings.ToLower(value)
		}
	}
	return out
}

// configFor returns the configuration of a queue whose attributes are those of
// base (nil for a new queue), changed. The changes are canonical.
func configFor(base *queueConfig, changed map[string]string) (*queueConfig, error) {
	attributes := map[string]string{
		"DelaySeconds":                  "0",
		"MaximumMessageSize":            strconv.Itoa(maxMessageBytes),
		"MessageRetentionPeriod":        "345600",
		"ReceiveMessageWaitTimeSeconds": "0",
		"VisibilityTimeout":             "30",
		"SqsManagedSseEnabled":          "true",
	}
	fifo := changed["FifoQueue"] == "true"
	if base != nil {
		fifo = base.fifo
		attributes = maps.Clone(base.attributes)
	} else if fifo {
		attributes["FifoQueue"] = "true"
		attributes["ContentBasedDeduplication"] = "false"
		attributes["DeduplicationScope"] = "queue"
		attributes["FifoThroughputLimit"] = "perQueue"
	}
	for name, value := range changed {
		if err := checkQueueAttribute(name, value, fifo); err != nil {
			return nil, err
		}
		if base != nil && name == "FifoQueue" && value != attributes[name] {
			return nil, refusal("InvalidAttributeValue", "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.")
		}
		attributes[name] = value
		if value == "" { // how a policy or a key is removed
			delete(attributes, name)
		}
	}
	if err := settleEncryption(attributes, changed); err != nil {
		return nil, err
	}

	number := func(name string) int {
		n, _ := strconv.Atoi(attributes[name]) // checked above
		return n
	}
	c := &queueConfig{
		attributes:    attributes,
		delay:         time.Duration(number("DelaySeconds")) * time.Second,
		visibility:    time.Duration(number("VisibilityTimeout")) * time.Second,
		retention:     time.Duration(number("MessageRetentionPeriod")) * time.Second,
		wait:          time.Duration(number("ReceiveMessageWaitTimeSeconds")) * time.Second,
		maxBytes:      number("MaximumMessageSize"),
		fifo:          fifo,
		contentDedup:  attributes["ContentBasedDeduplication"] == "true",
		dedupPerGroup: attributes["DeduplicationScope"] == "messageGroup",
	}
	if attributes["FifoThroughputLimit"] == "perMessageGroupId" && !c.dedupPerGroup {
		return nil, refusal("InvalidAttributeValue", "Invalid value for the parameter FifoThroughputLimit. Reason: perMessageGroupId needs the DeduplicationScope messageGroup.")
	}
	var err error
	if c.redrive, err = parseRedrivePolicy(attributes["RedrivePolicy"]); err != nil {
		return nil, err
	}
	c.allow, err = parseAllowPolicy(attributes["RedriveAllowPolicy"])
	return c, err
}

// settleEncryption leaves a queue with one kind of server-side encryption, the
// one that was asked for last: a key switches SSE-SQS off, and the reuse period
// of its data keys exists only beside it. What the service does when SSE-SQS is
// asked for alone on a queue with a key is not known: here the key goes.
func settleEncryption(attributes, changed map[string]string) error {
	key, managed := changed["KmsMasterKeyId"] != "", changed["SqsManagedSseEnabled"] == "true"
	switch {
	case key && managed:
		return refusal("InvalidAttributeName", "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.")
	case key:
		attributes["SqsManagedSseEnabled"] = "false"
	case managed:
		delete(attributes, "KmsMasterKeyId")
	}
	if attributes["KmsMasterKeyId"] == "" {
		delete(attributes, "KmsDataKeyReusePeriodSeconds")
	} else if attributes["KmsDataKeyReusePeriodSeconds"] == "" {
		attributes["KmsDataKeyReusePeriodSeconds"] = "300"
	}
	return nil
}

// checkQueueAttribute checks one attribute against the ranges of the API
// reference of CreateQueue.
func checkQueueAttribute(name, value string, fifo bool) error {
	between := func(low, high int) error {
		if n, err := strconv.Atoi(value); err == nil && low <= n && n <= high {
			return nil
		}
		return refusal("InvalidAttributeValue", "Invalid value for the parameter %s. Reason: Must be an integer from %d to %d; got %q.", name, low, high, value)
	}
	oneOf := func(values ...string) error {
		for _, v := range values {
			if v == value {
				return nil
			}
		}
		return refusal("InvalidAttributeValue", "Invalid value for the parameter %s. Reason: Must be one of %s; got %q.", name, strings.Join(values, ", "), value)
	}
	switch name {
	case "DelaySeconds":
		return between(0, 900)
	case "MaximumMessageSize":
		return between(1024, maxMessageBytes)
	case "MessageRetentionPeriod":
		return between(60, 1_209_600)
	case "ReceiveMessageWaitTimeSeconds":
		return between(0, 20)
	case "VisibilityTimeout":
		return between(0, 43_200)
	case "KmsDataKeyReusePeriodSeconds":
		return between(60, 86_400)
	case "SqsManagedSseEnabled":
		return oneOf("true", "false")
	case "Policy":
		if _, ok := parseQueuePolicy(value); value != "" && !ok {
			return refusal("InvalidAttributeValue", "Invalid value for the parameter Policy.")
		}
		return nil
	case "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId":
		return nil
	}
	if !fifo {
		if name == "DeduplicationScope" || name == "FifoThroughputLimit" {
			return refusal("InvalidAttributeName", "You can specify the %s only when FifoQueue is set to true.", name)
		}
		return refusal("InvalidAttributeName", "Unknown Attribute %s.", name)
	}
	switch name {
	case "FifoQueue", "ContentBasedDeduplication":
		return oneOf("true", "false")
	case "DeduplicationScope":
		return oneOf("queue", "messageGroup")
	case "FifoThroughputLimit":
		return oneOf("perQueue", "perMessageGroupId")
	}
	return refusal("InvalidAttributeName", "Unknown Attribute %s.", name)
}

const maxReceiveCountTop = 1_000 // of a RedrivePolicy

func parseRedrivePolicy(raw string) (*redrivePolicy, error) {
	if raw == "" {
		return nil, nil
	}
	bad := func(reason string) error {
		return refusal("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: %s.", raw, reason)
	}
	var doc struct {
		DeadLetterTargetArn string          `json:"deadLetterTargetArn"`
		MaxReceiveCount     json.RawMessage `json:"maxReceiveCount"` // a number, or the same in a string
	}
	if err := json.Unmarshal([]byte(raw), &doc); err != nil {
		return nil, bad("Redrive policy is not a valid JSON map")
	}
	target, ok := parseQueueARN(doc.DeadLetterTargetArn)
	if !ok {
		return nil, bad("Redrive policy does not contain a valid deadLetterTargetArn")
	}
	// The API reference has a default of 10; the service refuses a policy without
	// a count.
	if len(doc.MaxReceiveCount) == 0 {
		return nil, bad("Redrive policy does not contain mandatory attribute: maxReceiveCount")
	}
	n, err := strconv.Atoi(strings.Trim(string(doc.MaxReceiveCount), `"`))
	if err != nil || n < 1 || n > maxReceiveCountTop {
		return nil, bad("Invalid value for maxReceiveCount: " + string(doc.MaxReceiveCount) + ", valid values are from 1 to 1000 both inclusive")
	}
	return &redrivePolicy{target: target, maxReceives: n}, nil
}

const maxAllowedSources = 10 // of a RedriveAllowPolicy

func parseAllowPolicy(raw string) (allowPolicy, error) {
	if raw == "" {
		return allowPolicy{}, nil
	}
	bad := func(reason string) (allowPolicy, error) {
		return allowPolicy{}, refusal("InvalidParameterValue", "Value %s for parameter RedriveAllowPolicy is invalid. Reason: %s.", raw, reason)
	}
	var doc struct {
		RedrivePermission string   `json:"redrivePermission"`
		SourceQueueArns   []string `json:"sourceQueueArns"`
	}
	if err := json.Unmarshal([]byte(raw), &doc); err != nil {
		return bad("Not a valid JSON map")
	}
	if (doc.RedrivePermission == "byQueue") != (len(doc.SourceQueueArns) > 0) {
		return bad("sourceQueueArns go with the redrivePermission byQueue, and only with it")
	}
	if len(doc.SourceQueueArns) > maxAllowedSources {
		return bad("There are more than 10 sourceQueueArns")
	}
	switch doc.RedrivePermission {
	case "allowAll":
		return allowPolicy{}, nil
	case "denyAll":
		return allowPolicy{denyAll: true}, nil
	case "byQueue":
		return allowPolicy{byQueue: true, sources: doc.SourceQueueArns}, nil
	}
	return bad("redrivePermission must be allowAll, denyAll or byQueue")
}
