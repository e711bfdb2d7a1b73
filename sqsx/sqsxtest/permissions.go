package sqsxtest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Limits of AddPermission, from its API reference.
const (
	maxLabelChars = 80
	maxActions    = 7 // of one statement
)

type addPermissionInput struct {
	QueueUrl      string
	Label         string
	AWSAccountIds []string
	Actions       []string
}

// addPermission adds a statement to the queue's policy, which is stored and has
// no effect.
func (s *sqsService) addPermission(c caller, in addPermissionInput) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	p, err := queuePolicyOf(q)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(p.Statement, labelled(in.Label)) {
		return nil, refusal("InvalidParameterValue", "Value %s for parameter Label is invalid. Reason: Already exists.", in.Label)
	}
	var principals, actions []string
	for _, account := range in.AWSAccountIds {
		principals = append(principals, "arn:"+partitionOf(q.region)+":iam::"+account+":root")
	}
	for _, action := range in.Actions {
		actions = append(actions, "SQS:"+action)
	}
	statement, err := json.Marshal(policyStatement{
		Sid:       in.Label,
		Effect:    "Allow",
		Principal: map[string]any{"AWS": oneOrMany(principals)},
		Action:    oneOrMany(actions),
		Resource:  q.arn(),
	})
	if err != nil {
		return nil, err
	}
	p.Statement = append(p.Statement, statement)
	return nil, p.store(q, now)
}

func (in addPermissionInput) check() error {
	bad := func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }
	switch {
	case in.Label == "":
		return missing("Label")
	case len(in.Label) > maxLabelChars || strings.ContainsFunc(in.Label, bad):
		return refusal("InvalidParameterValue", "Value %s for parameter Label is invalid. Reason: Can only include alphanumeric characters, hyphens, or underscores. 1 to %d in length.", in.Label, maxLabelChars)
	case len(in.Actions) == 0:
		return missing("Actions")
	case len(in.Actions) > maxActions:
		return refusal("OverLimit", "%d Actions were found, maximum allowed is %d.", len(in.Actions), maxActions)
	case len(in.AWSAccountIds) == 0:
		return refusal("InvalidParameterValue", "Value [] for parameter PrincipalId is invalid. Reason: Unable to verify.")
	}
	for _, account := range in.AWSAccountIds {
		if !isAccount(account) {
			return refusal("InvalidParameterValue", "Value [%s] for parameter PrincipalId is invalid. Reason: Unable to verify.", account)
		}
	}
	for _, action := range in.Actions {
		switch action {
		case "*", "SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility",
			"GetQueueAttributes", "GetQueueUrl", "ListDeadLetterSourceQueues", "PurgeQueue":
		default:
			return refusal("InvalidParameterValue", "Value SQS:%s for parameter ActionName is invalid. Reason: Only the queue owner is allowed to invoke this action.", action)
		}
	}
	return nil
}

type removePermissionInput struct{ QueueUrl, Label string }

func (s *sqsService) removePermission(c caller, in removePermissionInput) (any, error) {
	now := s.lock()
	defer s.mu.Unlock()
	q, err := s.find(c, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	if in.Label == "" {
		return nil, missing("Label")
	}
	p, err := queuePolicyOf(q)
	if err != nil {
		return nil, err
	}
	before := len(p.Statement)
	p.Statement = slices.DeleteFunc(p.Statement, labelled(in.Label))
	if len(p.Statement) == before {
		return nil, refusal("InvalidParameterValue", "Value %s for parameter Label is invalid. Reason: can't find label.", in.Label)
	}
	return nil, p.store(q, now)
}

// queuePolicy is the Policy attribute of a queue. Statements that a user wrote
// are kept as they are.
type queuePolicy struct {
	Version   string            `json:",omitempty"`
	ID        string            `json:"Id,omitempty"`
	Statement []json.RawMessage // a single object is read too
}

type policyStatement struct {
	Sid       string
	Effect    string
	Principal map[string]any
	Action    any
	Resource  string
}

// queuePolicyOf returns the policy of a queue, or an empty one like the
// service's.
func queuePolicyOf(q *queue) (*queuePolicy, error) {
	text := q.config.attributes["Policy"]
	if text == "" {
		return &queuePolicy{Version: "2008-10-17", ID: q.arn() + "/SQSDefaultPolicy"}, nil
	}
	p, ok := parseQueuePolicy(text)
	if !ok { // checkQueueAttribute lets none in
		return nil, refusal("InvalidAttributeValue", "Invalid value for the parameter Policy.")
	}
	return p, nil
}

// parseQueuePolicy reports whether text is a JSON object whose statement, if it
// has one, is an object or a list.
func parseQueuePolicy(text string) (*queuePolicy, bool) {
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "{") || json.Unmarshal([]byte(text), &doc) != nil {
		return nil, false
	}
	p := &queuePolicy{Version: doc.Version, ID: doc.ID}
	switch {
	case len(doc.Statement) == 0:
	case doc.Statement[0] == '{':
		p.Statement = []json.RawMessage{doc.Statement}
	case json.Unmarshal(doc.Statement, &p.Statement) != nil:
		return nil, false
	}
	return p, true
}

// store makes p the policy of a queue; without a statement the queue has none.
// The caller holds the mutex.
func (p *queuePolicy) store(q *queue, now time.Time) error {
	text := ""
	if len(p.Statement) > 0 {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		text = string(b)
	}
	config, err := configFor(q.config, map[string]string{"Policy": text})
	if err != nil {
		return err
	}
	q.config, q.modified = config, now
	return nil
}

// labelled returns a function that recognises the statements with a label.
func labelled(label string) func(json.RawMessage) bool {
	return func(statement json.RawMessage) bool {
		var s struct{ Sid string }
		return json.Unmarshal(statement, &s) == nil && s.Sid == label
	}
}

// oneOrMany is how IAM writes a list: a single value without the brackets.
func oneOrMany(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}
