package sqsxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// kmsPolicyName is the only name that a key policy can have.
const kmsPolicyName = "default"

// kmsDefaultPolicy is the policy of a key that was made without one: it leaves
// the decision to the account's own policies. The spaces are the service's.
func kmsDefaultPolicy(ref kmsKeyRef) string {
	return fmt.Sprintf(`{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:%s:iam::%s:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`, partitionOf(ref.region), ref.account)
}

// kmsPolicy checks a key policy, as far as that is possible without knowing any
// principal: nobody is locked out by it.
func kmsPolicy(text string) (string, error) {
	if err := kmsCheckLength("policy", len(text), 1, kmsMaxPolicyParameter); err != nil {
		return "", err
	}
	illegal := func(r rune) bool { return r > 0xff || r < ' ' && r != '\t' && r != '\n' && r != '\r' }
	if strings.ContainsFunc(text, illegal) {
		return "", kmsValidation("1 validation error detected: Value at 'policy' failed to satisfy constraint: characters are those of Latin-1, tab, line feed and carriage return")
	}
	if len(text) > kmsMaxPolicy {
		return "", &types.LimitExceededException{Message: aws.String(fmt.Sprintf("the policy is %d bytes, must be at most %d", len(text), kmsMaxPolicy))}
	}
	var doc struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return "", kmsMalformedPolicy("the policy is not a JSON object")
	}
	if one := bytes.TrimSpace(doc.Statement); len(one) > 0 && one[0] == '{' {
		doc.Statement = append(append([]byte{'['}, one...), ']')
	}
	var statements []struct{ Effect, Principal, NotPrincipal any }
	if err := json.Unmarshal(doc.Statement, &statements); err != nil || len(statements) == 0 {
		return "", kmsMalformedPolicy("the policy has no statement")
	}
	for _, s := range statements {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return "", kmsMalformedPolicy("a statement's Effect is neither Allow nor Deny")
		}
		if s.Principal == nil && s.NotPrincipal == nil {
			return "", kmsMalformedPolicy("a statement has no principal")
		}
	}
	return text, nil
}

func kmsMalformedPolicy(text string) error {
	return &types.MalformedPolicyDocumentException{Message: aws.String(text)}
}

func kmsCheckPolicyName(name *string) error {
	if name != nil && *name != kmsPolicyName {
		return kmsNotFound("No such policy exists")
	}
	return nil
}

type kmsPolicyOutput struct{ Policy, PolicyName string }

func (k *kmsService) getKeyPolicy(c kmsCaller, in *kms.GetKeyPolicyInput) (kmsPolicyOutput, error) {
	key, err := k.owned(c, in.KeyId)
	if err != nil {
		return kmsPolicyOutput{}, err
	}
	if err := kmsCheckPolicyName(in.PolicyName); err != nil {
		return kmsPolicyOutput{}, err
	}
	return kmsPolicyOutput{Policy: key.policy, PolicyName: kmsPolicyName}, nil
}

func (k *kmsService) putKeyPolicy(c kmsCaller, in *kms.PutKeyPolicyInput) (kmsEmpty, error) {
	policy, err := kmsPolicy(aws.ToString(in.Policy))
	if err != nil {
		return kmsEmpty{}, err
	}
	key, err := k.owned(c, in.KeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	if err := kmsCheckPolicyName(in.PolicyName); err != nil {
		return kmsEmpty{}, err
	}
	key.policy = policy
	return kmsEmpty{}, nil
}

type kmsListPoliciesOutput struct {
	PolicyNames []string
	Truncated   bool
}

func (k *kmsService) listKeyPolicies(c kmsCaller, in *kms.ListKeyPoliciesInput) (kmsListPoliciesOutput, error) {
	if _, err := k.owned(c, in.KeyId); err != nil {
		return kmsListPoliciesOutput{}, err
	}
	return kmsListPoliciesOutput{PolicyNames: []string{kmsPolicyName}}, nil
}
