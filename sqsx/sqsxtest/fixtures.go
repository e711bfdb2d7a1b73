package sqsxtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// NewKey makes a symmetric encryption key and returns its ARN. Aliases, such as
// "alias/orders", are made to point at it. The key is that of KMS's CreateKey:
// everything that a client can do with such a key, it can do with this one. It
// belongs to [DefaultAccount] in [DefaultRegion], as the clients of
// [Server.Config] do. NewKey sends no request: it does not show in
// [Server.Requests], and [Server.Intercept], [Server.Deny] and [Server.CutKMS]
// do not affect it.
//
// It panics if the service would refuse an alias, or if there is one of that
// name.
func (s *Server) NewKey(aliases ...string) (arn string) {
	c := kmsCaller{region: DefaultRegion, account: DefaultAccount}
	s.kms.mu.Lock()
	defer s.kms.mu.Unlock()
	key, err := s.kms.createKey(c, &kms.CreateKeyInput{})
	if err != nil {
		panic(fmt.Sprintf("sqsxtest: NewKey: %v", err))
	}
	for _, alias := range aliases {
		_, err := s.kms.createAlias(c, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: aws.String(key.KeyMetadata.KeyID)})
		if err != nil {
			panic(fmt.Sprintf("sqsxtest: NewKey: alias %q: %v", alias, err))
		}
	}
	return key.KeyMetadata.Arn
}

// NewQueue makes a queue and returns its URL. The attributes are those of SQS's
// CreateQueue, as name, value, name, value; a name that ends in ".fifo" makes a
// FIFO queue. With a dead-letter queue it reads
//
//	dead := server.NewQueue("orders-dead")
//	queue := server.NewQueue("orders", "VisibilityTimeout", "5", "RedrivePolicy", sqsxtest.RedrivePolicy(dead, 3))
//
// Like CreateQueue, it returns the queue that exists already if it has these
// attributes. Account, Region and requests are as with [Server.NewKey]. It
// panics if the service would refuse the request.
func (s *Server) NewQueue(name string, attributes ...string) (url string) {
	if len(attributes)%2 != 0 {
		panic("sqsxtest: NewQueue: an attribute has no value")
	}
	in := struct {
		QueueName  string
		Attributes map[string]string
	}{name, make(map[string]string)}
	if strings.HasSuffix(name, ".fifo") {
		in.Attributes["FifoQueue"] = "true"
	}
	for i := 0; i < len(attributes); i += 2 {
		in.Attributes[attributes[i]] = attributes[i+1]
	}
	body, err := json.Marshal(in)
	if err != nil {
		panic(err) // strings always marshal
	}
	c := caller{region: DefaultRegion, account: DefaultAccount, baseURL: "https://sqs." + DefaultRegion + ".amazonaws.com"}
	out, err := s.sqs.call(context.Background(), s.ctx.Done(), c, "CreateQueue", body)
	if err != nil {
		panic(fmt.Sprintf("sqsxtest: NewQueue: %q: %v", name, err))
	}
	return out.(queueURLOutput).QueueUrl
}

// NewTopic makes an SNS topic and returns its ARN. The attributes are those of
// SNS's CreateTopic, as name, value, name, value; a name that ends in ".fifo"
// makes a FIFO topic. Account, Region and requests are as with [Server.NewKey].
// It panics if the service would refuse the request.
func (s *Server) NewTopic(name string, attributes ...string) (arn string) {
	in := form{url.Values{"Name": {name}}}
	if strings.HasSuffix(name, ".fifo") {
		attributes = append([]string{"FifoTopic", "true"}, attributes...)
	}
	in.setPairs("NewTopic", attributes)
	return s.mustSNS("NewTopic", "CreateTopic", in).(topicOutput).TopicArn
}

// Subscribe has a queue get the messages of a topic, and returns the ARN of the
// subscription. The attributes are those of SNS's Subscribe, as name, value,
// name, value: for sealed messages "RawMessageDelivery", "true". The queue is
// named by its URL, and need not exist; a URL that names no Region is of
// [DefaultRegion]. It panics if the service would refuse the request.
func (s *Server) Subscribe(topicARN, queueURL string, attributes ...string) (arn string) {
	in := form{url.Values{"TopicArn": {topicARN}, "Protocol": {"sqs"}, "Endpoint": {mustQueueID("Subscribe", queueURL).arn()}}}
	in.setPairs("Subscribe", attributes)
	return s.mustSNS("Subscribe", "Subscribe", in).(subscribeOutput).SubscriptionArn
}

// setPairs writes the attributes of a topic or a subscription.
func (f form) setPairs(method string, attributes []string) {
	if len(attributes)%2 != 0 {
		panic("sqsxtest: " + method + ": an attribute has no value")
	}
	for i := 0; i < len(attributes); i += 2 {
		at := fmt.Sprintf("Attributes.entry.%d.", i/2+1)
		f.Set(at+"key", attributes[i])
		f.Set(at+"value", attributes[i+1])
	}
}

func (s *Server) mustSNS(method, operation string, in form) any {
	out, err := s.sns.call(caller{region: DefaultRegion, account: DefaultAccount}, operation, in)
	if err != nil {
		panic(fmt.Sprintf("sqsxtest: %s: %v", method, err))
	}
	return out
}

// RedrivePolicy returns the value of a queue's attribute RedrivePolicy: a
// message that was received maxReceiveCount times and not deleted goes to the
// queue of that URL. A URL that names no Region is of [DefaultRegion].
//
// It panics if the URL is not one of a queue. maxReceiveCount is 1 to 1,000,
// which is checked where the policy is used.
func RedrivePolicy(deadLetterURL string, maxReceiveCount int) string {
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, mustQueueID("RedrivePolicy", deadLetterURL).arn(), maxReceiveCount)
}

// mustQueueID is the queue that a test names by its URL.
func mustQueueID(method, url string) queueID {
	id, ok := parseQueueURL(url)
	if !ok {
		panic(fmt.Sprintf("sqsxtest: %s: %q is not the URL of a queue", method, url))
	}
	if id.region == "" {
		id.region = DefaultRegion
	}
	return id
}
