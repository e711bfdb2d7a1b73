package sqsxtest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// filterPolicy is a FilterPolicy: what each key must be. A key of the body may
// have a filterPolicy of its own for what is inside.
type filterPolicy map[string]any // []any of conditions, or filterPolicy

// parseFilterPolicy reads exact values and the conditions prefix, suffix,
// anything-but and exists. What else the service knows (numeric, cidr, "$or")
// is refused, so that a test does not take it for a policy that matches
// nothing.
func parseFilterPolicy(text string, nested bool) (filterPolicy, error) {
	var raw map[string]any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, invalidParameter("FilterPolicy: failed to parse JSON: %v", err)
	}
	return filterPolicyOf(raw, nested)
}

func filterPolicyOf(raw map[string]any, nested bool) (filterPolicy, error) {
	p := make(filterPolicy, len(raw))
	for key, value := range raw {
		switch v := value.(type) {
		case []any:
			for _, condition := range v {
				if err := checkCondition(condition); err != nil {
					return nil, err
				}
			}
			p[key] = v
		case map[string]any:
			if !nested {
				return nil, invalidParameter("FilterPolicy: Filter policy scope MessageAttributes does not support nested filter policy")
			}
			inner, err := filterPolicyOf(v, nested)
			if err != nil {
				return nil, err
			}
			p[key] = inner
		default:
			return nil, invalidParameter("FilterPolicy: %q must be an object or an array", key)
		}
	}
	return p, nil
}

func checkCondition(condition any) error {
	object, ok := condition.(map[string]any)
	if !ok {
		return nil // an exact value
	}
	for name, operand := range object {
		_, isText := operand.(string)
		_, isList := operand.([]any)
		_, isBool := operand.(bool)
		if len(object) == 1 && (isText && (name == "prefix" || name == "suffix") || (isText || isList) && name == "anything-but" || isBool && name == "exists") {
			return nil
		}
	}
	return invalidParameter("FilterPolicy: this Server knows the conditions prefix, suffix, anything-but and exists, got %v", object)
}

// wants reports whether the subscription's filter lets a message through.
func (sub *subscription) wants(p *publication) bool {
	switch {
	case sub.filter == nil:
		return true
	case sub.inBody:
		var body map[string]any
		return json.Unmarshal([]byte(p.message), &body) == nil && sub.filter.matches(body)
	}
	values := make(map[string]any, len(p.attributes))
	for name, v := range p.attributes {
		if v.isBinary() {
			continue // the service ignores those
		}
		values[name] = attributeForFilter(v)
	}
	return sub.filter.matches(values)
}

// attributeForFilter is an attribute as JSON has it.
func attributeForFilter(v attributeValue) any {
	text := string(v.bytes())
	switch {
	case baseType(v.DataType) == "Number":
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	case v.DataType == "String.Array":
		var list []any
		if json.Unmarshal([]byte(text), &list) == nil {
			return list
		}
	}
	return text
}

// matches reports whether every key has one of its values.
func (p filterPolicy) matches(values map[string]any) bool {
	for key, rule := range p {
		value, present := values[key]
		switch r := rule.(type) {
		case filterPolicy:
			inner, _ := value.(map[string]any)
			if !r.matches(inner) {
				return false
			}
		case []any:
			list, isList := value.([]any)
			if !isList {
				list = []any{value}
			}
			if !slices.ContainsFunc(r, func(condition any) bool { return meets(condition, list, present) }) {
				return false
			}
		}
	}
	return true
}

func meets(condition any, values []any, present bool) bool {
	object, isObject := condition.(map[string]any)
	if want, ok := object["exists"].(bool); ok {
		return want == present
	}
	return present && slices.ContainsFunc(values, func(value any) bool {
		if !isObject {
			return reflect.DeepEqual(value, condition)
		}
		text, isText := value.(string)
		if prefix, ok := object["prefix"].(string); ok {
			return isText && strings.HasPrefix(text, prefix)
		}
		if suffix, ok := object["suffix"].(string); ok {
			return isText && strings.HasSuffix(text, suffix)
		}
		others, isList := object["anything-but"].([]any)
		if !isList {
			others = []any{object["anything-but"]}
		}
		return !slices.ContainsFunc(others, func(other any) bool { return reflect.DeepEqual(value, other) })
	})
}

// parseDeadLetterTarget reads the RedrivePolicy of a subscription.
func parseDeadLetterTarget(text string) (queueID, bool) {
	var policy struct {
		Target string `json:"deadLetterTargetArn"`
	}
	if json.Unmarshal([]byte(text), &policy) != nil {
		return queueID{}, false
	}
	return parseQueueARN(policy.Target)
}
