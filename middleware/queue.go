package middleware

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/internal/awsname"
)

// Queue identifies an SQS queue, by what is known from a call, or an SNS topic:
// a codec seals for both. A topic has all parts, except that URL is empty.
type Queue struct {
	URL       string // as the caller gave it
	Partition string // for example "aws"
	Region    string // without FIPS marks, for example "eu-central-1"
	Account   string // empty if URL is a bare queue name
	Name      string // with the suffix ".fifo" of a FIFO queue
	Topic     bool   // it is an SNS topic
}

// ARN returns the Amazon Resource Name, or "" if a part is unknown.
func (q Queue) ARN() string {
	if q.Partition == "" || q.Region == "" || q.Account == "" || q.Name == "" {
		return ""
	}
	if q.Topic {
		return awsname.TopicARN(q.Partition, q.Region, q.Account, q.Name).String()
	}
	return awsname.QueueARN(q.Partition, q.Region, q.Account, q.Name).String()
}

// FIFO reports whether this is a FIFO queue or topic, by its name's suffix.
// (Message groups do not show it: standard queues have them too.)
func (q Queue) FIFO() bool { return awsname.IsFIFO(q.Name) }

// String returns the best name of the queue that is known: its ARN, else its
// URL, else its name.
func (q Queue) String() string {
	if arn := q.ARN(); arn != "" {
		return arn
	}
	if q.URL != "" {
		return q.URL
	}
	return q.Name
}

// ParseQueueURL returns the queue that a QueueUrl means to a client of that
// Region. The account and the name are the last two segments of the path,
// whatever the host is: SQS has many hosts for one queue, and the SDK sends to
// the client's endpoint, not to the URL's. A bare queue name is accepted too,
// and leaves Account empty. FIPS pseudo-Regions ("fips-us-east-1") mean the
// Region in them. The partition is the SDK's choice for the Region; both are
// empty if region is.
//
// Policies are found by the name. So a URL that a server may read as another
// name is refused: one with queries, fragments, escapes, empty or dot segments,
// white space, or a name that CreateQueue refuses. The error is a
// *types.InvalidAddress, as SQS would answer.
func ParseQueueURL(url, region string) (Queue, error) {
	account, name, err := splitQueueURL(url)
	if err != nil {
		return Queue{}, err
	}
	q := Queue{URL: url, Account: account, Name: name, Region: plainRegion(region)}
	q.Partition = partitionOf(q.Region)
	return q, nil
}

// splitQueueURL returns the account, if there is one, and the name.
func splitQueueURL(url string) (account, name string, err error) {
	if strings.HasPrefix(url, "arn:") {
		return "", "", invalidAddress(url, "is an ARN: give the queue's URL")
	}
	for i := range len(url) {
		if c := url[i]; c <= ' ' || c > '~' || c == '?' || c == '#' || c == '%' || c == '\\' {
			return "", "", invalidAddress(url, "holds a byte %q that servers read in different ways: give the URL that GetQueueUrl returns, without white space, query, fragment and escapes", c)
		}
	}
	path := url
	if _, rest, ok := strings.Cut(url, "://"); ok {
		_, path, _ = strings.Cut(rest, "/") // the host is no account
	}
	if strings.Trim(path, "/") == "" {
		return "", "", invalidAddress(url, "names no queue: it must end in the account and the name of the queue, or be a queue name")
	}
	before := ""
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "", "", invalidAddress(url, "has the segment %q in its path, which servers read in different ways: give the URL that GetQueueUrl returns", segment)
		}
		before, name = name, segment
	}
	if awsname.CheckQueueName(name) != nil {
		return "", "", invalidAddress(url, "ends in %.100q, which is not a queue name: SQS allows 1 to 80 letters, digits, hyphens and underscores, with the suffix \".fifo\" for a FIFO queue", name)
	}
	if awsname.IsAccount(before) {
		account = before
	}
	return account, name, nil
}

func invalidAddress(url, format string, args ...any) error {
	return &types.InvalidAddress{Message: aws.String(fmt.Sprintf("queue URL %.300q ", url) + fmt.Sprintf(format, args...))}
}

// ParseQueueARN returns the queue of an ARN like
// "arn:aws:sqs:us-east-1:123456789012:orders". Its URL is empty.
func ParseQueueARN(s string) (Queue, error) {
	arn, err := awsname.ParseQueueARN(s)
	if err != nil {
		return Queue{}, fmt.Errorf("middleware: %w", err)
	}
	return Queue{Partition: arn.Partition, Region: arn.Region, Account: arn.Account, Name: arn.Resource}, nil
}

// ParseTopicARN returns the topic of an ARN like
// "arn:aws:sns:us-east-1:123456789012:orders".
func ParseTopicARN(s string) (Queue, error) {
	arn, err := awsname.ParseTopicARN(s)
	if err != nil {
		return Queue{}, fmt.Errorf("middleware: %w", err)
	}
	return Queue{Partition: arn.Partition, Region: arn.Region, Account: arn.Account, Name: arn.Resource, Topic: true}, nil
}

// noun is the word for it in texts.
func (q Queue) noun() string {
	if q.Topic {
		return "topic"
	}
	return "queue"
}

// queueOfCall is the queue of a call in progress.
func queueOfCall(ctx context.Context, url string) (Queue, error) {
	// Not the Region of the client's options: a call may override it.
	return ParseQueueURL(url, awsmiddleware.GetRegion(ctx))
}

// plainRegion takes the FIPS marking out of a pseudo-Region, as the SDK does
// before it resolves an endpoint.
func plainRegion(region string) string {
	region = strings.ReplaceAll(region, "-fips-", "-")
	region = strings.TrimPrefix(region, "fips-")
	return strings.TrimSuffix(region, "-fips")
}

func partitionOf(region string) string {
	if region == "" {
		return ""
	}
	endpoint, err := sqs.NewDefaultEndpointResolver().ResolveEndpoint(region, sqs.EndpointResolverOptions{})
	if err != nil {
		return ""
	}
	return endpoint.PartitionID
}
