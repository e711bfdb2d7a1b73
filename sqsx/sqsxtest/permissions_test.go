package sqsxtest_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// statements returns the policy of a queue without its statements, and these.
func statements(t *testing.T, client *sqs.Client, url string) (head map[string]any, list []any) {
	t.Helper()
	out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{"Policy"}})
	if err != nil {
		t.Fatal(err)
	}
	text, ok := out.Attributes["Policy"]
	if !ok {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		t.Fatal(err)
	}
	list, _ = head["Statement"].([]any)
	delete(head, "Statement")
	return head, list
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	url := createQueue(t, client, "q")
	add := func(label string, accounts, actions []string) error {
		_, err := client.AddPermission(t.Context(), &sqs.AddPermissionInput{QueueUrl: &url, Label: &label, AWSAccountIds: accounts, Actions: actions})
		return err
	}
	remove := func(label string) error {
		_, err := client.RemovePermission(t.Context(), &sqs.RemovePermissionInput{QueueUrl: &url, Label: &label})
		return err
	}
	statement := func(label string, principal, action any) map[string]any {
		return map[string]any{
			"Sid": label, "Effect": "Allow", "Principal": map[string]any{"AWS": principal}, "Action": action, "Resource": arn("q"),
		}
	}
	want := func(what string, want ...any) {
		t.Helper()
		head, got := statements(t, client, url)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: statements (-want +got):\n%s", what, diff)
		}
		wantHead := map[string]any{"Version": "2008-10-17", "Id": arn("q") + "/SQSDefaultPolicy"}
		if len(want) == 0 {
			wantHead = nil
		}
		if diff := cmp.Diff(wantHead, head); diff != "" {
			t.Errorf("%s: policy (-want +got):\n%s", what, diff)
		}
	}
	const one, two = "111122223333", "444455556666"
	const root1, root2 = "arn:aws:iam::" + one + ":root", "arn:aws:iam::" + two + ":root"

	wantCode(t, add("first", []string{one}, []string{"ReceiveMessage"}), "")
	first := statement("first", root1, "SQS:ReceiveMessage")
	want("one", first)
	wantCode(t, add("first", []string{two}, []string{"ReceiveMessage"}), "InvalidParameterValue")
	want("the same label", first)
	wantCode(t, add("second", []string{one, two}, []string{"SendMessage", "*"}), "")
	want("two", first, statement("second", []any{root1, root2}, []any{"SQS:SendMessage", "SQS:*"}))
	wantCode(t, remove("first"), "")
	wantCode(t, remove("first"), "InvalidParameterValue")
	wantCode(t, remove("second"), "")
	want("none")
	wantCode(t, remove("second"), "InvalidParameterValue")
}

// Statements that a user wrote are kept as they are.
func TestPermissionsBesideAPolicy(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	const own = `{"Sid":"own","Effect":"Deny","Principal":"*","Action":"sqs:*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`
	var written any
	if err := json.Unmarshal([]byte(own), &written); err != nil {
		t.Fatal(err)
	}
	for name, policy := range map[string]string{
		"list":    `{"Version":"2012-10-17","Statement":[` + own + `]}`,
		"single":  `{"Version":"2012-10-17","Statement":` + own + `}`,
		"no list": `{"Version":"2012-10-17"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := createQueue(t, client, strings.ReplaceAll(name, " ", "-"), "Policy", policy)
			_, err := client.AddPermission(t.Context(), &sqs.AddPermissionInput{QueueUrl: &url, Label: aws.String("more"), AWSAccountIds: []string{"111122223333"}, Actions: []string{"SendMessage"}})
			if err != nil {
				t.Fatal(err)
			}
			head, got := statements(t, client, url)
			if diff := cmp.Diff(map[string]any{"Version": "2012-10-17"}, head); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if n := len(got); name == "no list" && n != 1 || name != "no list" && n != 2 {
				t.Fatalf("got %v", got)
			}
			if name != "no list" && !cmp.Equal(got[0], written) {
				t.Errorf("got %v, want %v", got[0], written)
			}
			if _, err := client.RemovePermission(t.Context(), &sqs.RemovePermissionInput{QueueUrl: &url, Label: aws.String("more")}); err != nil {
				t.Fatal(err)
			}
			if _, got := statements(t, client, url); name != "no list" && !cmp.Equal(got, []any{written}) {
				t.Errorf("got %v, want the user's own statement", got)
			}
		})
	}
}

func TestPermissionRefusals(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	url := createQueue(t, client, "q")
	account := []string{"111122223333"}
	send := []string{"SendMessage"}
	seven := slices.Repeat(send, 7)
	const invalid = "InvalidParameterValue"
	tests := map[string]struct {
		url, label        string
		accounts, actions []string
		code              string
	}{
		"7 actions":       {url, "seven", account, seven, ""},
		"8 actions":       {url, "eight", account, append(slices.Clone(seven), "SendMessage"), "OverLimit"},
		"no action":       {url, "l", account, []string{}, "MissingParameter"},
		"unknown action":  {url, "l", account, []string{"Fly"}, invalid},
		"owner's action":  {url, "l", account, []string{"DeleteQueue"}, invalid},
		"no account":      {url, "l", []string{}, send, invalid},
		"not an account":  {url, "l", []string{"arn:aws:iam::111122223333:user/x"}, send, invalid},
		"no label":        {url, "", account, send, "MissingParameter"},
		"label of 80":     {url, strings.Repeat("l", 80), account, send, ""},
		"label of 81":     {url, strings.Repeat("l", 81), account, send, invalid},
		"a sign in it":    {url, "a.b", account, send, invalid},
		"no such queue":   {"https://x/000000000000/absent", "l", account, send, "AWS.SimpleQueueService.NonExistentQueue"},
		"no queue at all": {"", "l", account, send, "MissingParameter"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.AddPermission(t.Context(), &sqs.AddPermissionInput{QueueUrl: &test.url, Label: &test.label, AWSAccountIds: test.accounts, Actions: test.actions})
			wantCode(t, err, test.code)
		})
	}
	_, err := client.RemovePermission(t.Context(), &sqs.RemovePermissionInput{QueueUrl: &url, Label: aws.String("")})
	wantCode(t, err, "MissingParameter")
}
