package sqsxtest

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/aws/smithy-go"
)

// faults is what a test has made to go wrong. Each kind may be asked for
// several times, and ends with the last of them. It is safe for concurrent use.
type faults struct {
	mu       sync.Mutex
	denied   map[string]int // by the action that Deny was given
	cut      map[service]int
	tampered map[queueID]int
}

// add begins a fault and returns what ends it, which has an effect once.
func (f *faults) add(change func(n int)) (end func()) {
	apply := func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		change(n)
	}
	apply(1)
	return sync.OnceFunc(func() { apply(-1) })
}

// Deny has the service refuse an action to everybody, as a policy of IAM would,
// until allow is called:
//
//	allow := server.Deny("kms:Decrypt")
//
// KMS and DynamoDB answer AccessDeniedException, SQS its own AccessDenied and
// SNS its AuthorizationError, both with status 403. Dry runs are refused, too.
// Requests that are refused still show in [Server.Requests], and
// [Server.Intercept] sees them first.
//
// Actions are written as in IAM, and may end in a "*": "kms:*",
// "kms:GenerateDataKey*". As there, "sqs:SendMessage" covers SendMessageBatch
// (likewise DeleteMessage, ChangeMessageVisibility and "sns:Publish"), and
// "kms:ReEncryptFrom" and "kms:ReEncryptTo" are parts of ReEncrypt, and
// "dynamodb:PutItem", "dynamodb:DeleteItem" and "dynamodb:ConditionCheckItem"
// cover the transactions that have such an item; the names of the operations
// themselves are taken as well. Deny panics if the Server
// knows no such action: a misspelt one would deny nothing.
//
// allow may be called more than once. An action that was denied twice is
// allowed again when both are lifted.
func (s *Server) Deny(action string) (allow func()) {
	if !s.knows(action) {
		panic(fmt.Sprintf("sqsxtest: Deny: %q is no action of this Server, want one such as kms:Decrypt", action))
	}
	return s.faults.add(func(n int) {
		if s.faults.denied == nil {
			s.faults.denied = make(map[string]int)
		}
		s.faults.denied[action] += n
	})
}

// CutKMS makes KMS unreachable until restore is called. In process, KMS clients
// get the error of a refused connection; by the socket, their connection is
// reset. The requests show in [Server.Requests] all the same, so that a test
// can count the attempts. SQS goes on.
//
// A KMS that hangs, or answers with errors, is made with [Server.Intercept].
// restore may be called more than once.
func (s *Server) CutKMS() (restore func()) { return s.faults.cutOff(kmsAPI) }

// CutDynamoDB makes DynamoDB unreachable until restore is called, as
// [Server.CutKMS] does with KMS.
func (s *Server) CutDynamoDB() (restore func()) { return s.faults.cutOff(dynamodbAPI) }

func (f *faults) cutOff(api service) (restore func()) {
	return f.add(func(n int) {
		if f.cut == nil {
			f.cut = make(map[service]int)
		}
		f.cut[api] += n
	})
}

// Tamper alters every message that is received from a queue until restore is
// called: the last bit of its body, as somebody could who has the queue and not
// the key. Where the body is base64 it is the last bit of what that encodes, in
// a sealed message a bit of the authentication tag; other text stays text that
// SQS allows. MD5OfBody is that of the altered body, so that the SDK has
// nothing to object to.
//
// The stored message stays as it is: [Server.Stored], a dead-letter queue and a
// receive after restore have the original. Tamper panics if there is no such
// queue. restore may be called more than once.
func (s *Server) Tamper(queueURL string) (restore func()) {
	id := mustQueueID("Tamper", queueURL)
	if s.Stored(queueURL) == nil {
		panic(fmt.Sprintf("sqsxtest: Tamper: there is no queue %q", queueURL))
	}
	return s.faults.add(func(n int) {
		if s.faults.tampered == nil {
			s.faults.tampered = make(map[queueID]int)
		}
		s.faults.tampered[id] += n
	})
}

// What has been cut off has the chain of what net.Dial returns where nobody
// listens.
var (
	errKMSCut      = fmt.Errorf("KMS is unreachable, by Server.CutKMS: %w", errRefused)
	errDynamoDBCut = fmt.Errorf("DynamoDB is unreachable, by Server.CutDynamoDB: %w", errRefused)

	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
)

// refuse returns the error of a request that is not to be carried out.
func (f *faults) refuse(ex *exchange) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut[ex.service] > 0 {
		if ex.service == dynamodbAPI {
			return errDynamoDBCut
		}
		return errKMSCut
	}
	for denied, n := range f.denied {
		if n == 0 {
			continue
		}
		action, refused := covered(denied, ex)
		if refused {
			code := "AccessDeniedException"
			switch ex.service {
			case sqsAPI:
				code = "AccessDenied"
			case snsAPI:
				code = "AuthorizationError"
			}
			return &smithy.GenericAPIError{Code: code, Fault: smithy.FaultClient, Message: fmt.Sprintf(
				"User: arn:%s:iam::%s:user/sqsxtest is not authorized to perform: %s with an explicit deny (Server.Deny)",
				partitionOf(ex.request.Region), ex.request.Account, action)}
		}
	}
	return nil
}

// covers reports whether a denied action is one that an operation needs.
func covers(denied, operation string) bool {
	return slices.ContainsFunc(append(iamActions(operation), operation), func(action string) bool { return matches(denied, action) })
}

func matches(denied, action string) bool {
	prefix, wild := strings.CutSuffix(denied, "*")
	return action == denied || wild && strings.HasPrefix(action, prefix)
}

// iamActions returns the permissions that an operation needs where they do not
// have its own name.
func iamActions(operation string) []string {
	switch operation {
	case "sqs:SendMessageBatch", "sqs:DeleteMessageBatch", "sqs:ChangeMessageVisibilityBatch", "sns:PublishBatch":
		return []string{strings.TrimSuffix(operation, "Batch")}
	case "kms:ReEncrypt":
		return []string{"kms:ReEncryptFrom", "kms:ReEncryptTo"}
	case "dynamodb:TransactWriteItems":
		return []string{"dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:PutItem"}
	}
	return nil
}

// covered reports whether a denied action is one that a request needs, and
// which. A transaction needs the actions of its items, and none of its own.
func covered(denied string, ex *exchange) (action string, ok bool) {
	action = ex.request.Action
	if matches(denied, action) {
		return action, true
	}
	if action != "dynamodb:TransactWriteItems" {
		return action, covers(denied, action)
	}
	var in struct{ TransactItems []map[string]json.RawMessage }
	if err := json.Unmarshal(ex.request.Body, &in); err != nil {
		return "", false // and refused by the operation
	}
	for _, item := range in.TransactItems {
		for name := range item {
			// PutItem, DeleteItem, UpdateItem, ConditionCheckItem
			if action = "dynamodb:" + name + "Item"; matches(denied, action) {
				return action, true
			}
		}
	}
	return "", false
}

// knows reports whether a denied action covers an operation of the Server.
func (s *Server) knows(denied string) bool {
	if !strings.Contains(denied, ":") { // "*" alone
		return false
	}
	for operation := range s.kms.actions {
		if covers(denied, "kms:"+operation) {
			return true
		}
	}
	for operation := range s.dynamodb.actions {
		if covers(denied, "dynamodb:"+operation) {
			return true
		}
	}
	return slices.ContainsFunc(sqsOperations(), func(operation string) bool { return covers(denied, "sqs:"+operation) }) ||
		slices.ContainsFunc(snsOperations(), func(operation string) bool { return covers(denied, "sns:"+operation) })
}

func sqsOperations() []string {
	return []string{
		"AddPermission", "CancelMessageMoveTask", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch", "CreateQueue",
		"DeleteMessage", "DeleteMessageBatch", "DeleteQueue", "GetQueueAttributes", "GetQueueUrl", "ListDeadLetterSourceQueues",
		"ListMessageMoveTasks", "ListQueueTags", "ListQueues", "PurgeQueue", "ReceiveMessage", "RemovePermission", "SendMessage",
		"SendMessageBatch", "SetQueueAttributes", "StartMessageMoveTask", "TagQueue", "UntagQueue",
	}
}

// alter is the answer to a request with the messages of tampered queues
// altered. It works on JSON, and knows of an answer what it changes.
func (f *faults) alter(ex *exchange, out any) (any, error) {
	if ex.operation != "ReceiveMessage" || !f.tampers(ex) {
		return out, nil
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	var answer map[string]json.RawMessage
	var messages []map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	if len(answer["Messages"]) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(answer["Messages"], &messages); err != nil {
		return nil, err
	}
	for _, m := range messages {
		body, _ := m["Body"].(string)
		body = flip(body)
		sum := md5.Sum([]byte(body))
		m["Body"], m["MD5OfBody"] = body, hex.EncodeToString(sum[:])
	}
	if answer["Messages"], err = json.Marshal(messages); err != nil {
		return nil, err
	}
	return answer, nil
}

// tampers reports whether the queue of a request is tampered with.
func (f *faults) tampers(ex *exchange) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tampered) == 0 {
		return false
	}
	var in struct{ QueueUrl string }
	if err := json.Unmarshal(ex.request.Body, &in); err != nil {
		return false // and refused by the operation
	}
	id, ok := parseQueueURL(in.QueueUrl)
	if !ok {
		id = queueID{account: ex.request.Account, name: in.QueueUrl} // a bare name
	}
	id.region = ex.request.Region // as the service finds it
	return f.tampered[id] > 0
}

// flip changes the last bit of a body, or of what it encodes. The result is
// text that a queue can hold.
func flip(body string) string {
	if raw, err := base64.StdEncoding.DecodeString(body); err == nil && len(raw) > 0 {
		raw[len(raw)-1] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	b := []byte(body)
	for i, c := range slices.Backward(b) {
		// From a space on, the neighbour of a character is a character, and
		// so is that of the last byte of a longer sequence.
		if c >= ' ' {
			b[i] ^= 1
			return string(b)
		}
	}
	return " " + body // white space alone has no such character
}
