package middleware

import (
	"context"
	"fmt"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Queue identifies an SQS queue, as far as a call tells.
type Queue struct {
	URL       string // as the caller gave it
	Partition string // for example "aws"
	Region    string // without FIPS marks, for example "eu-central-1"
	Account   string // empty if URL is a bare queue name
	Name      string // with the suffix ".fifo" of a FIFO queue
}

// ARN returns the queue's Amazon Resource Name, or "" if a part is unknown.
func (q Queue) ARN() string {
	if q.Partition == "" || q.Region == "" || q.Account == "" || q.Name == "" {
		return ""
	}
	return "arn:" + q.Partition + ":sqs:" + q.Region + ":" + q.Account + ":" + q.Name
}

// FIFO reports whether the queue is a FIFO queue, by its name's suffix. (A
// message group does not tell: standard queues have groups too.)
func (q Queue) FIFO() bool { return strings.HasSuffix(q.Name, ".fifo") }

// label is the best available name of the queue for an error.
func (q Queue) label() string {
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
// the client's endpoint, not to the URL's. A bare queue name is taken too, and
// leaves Account empty. FIPS pseudo-Regions ("fips-us-east-1") mean the Region
// in them. The partition is the SDK's choice for the Region; both are empty if
// region is.
func ParseQueueURL(url, region string) (Queue, error) {
	if strings.HasPrefix(url, "arn:") {
		return Queue{}, fmt.Errorf("middleware: queue URL %q is an ARN: give the queue's URL", url)
	}
	path, _, _ := strings.Cut(url, "?")
	if _, rest, ok := strings.Cut(path, "://"); ok {
		_, path, _ = strings.Cut(rest, "/") // the host is no account
	}
	path = strings.Trim(path, "/")
	rest, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		rest, name = path[:i], path[i+1:]
	}
	if name == "" {
		return Queue{}, fmt.Errorf("middleware: queue URL %q names no queue: it must end in the account and the name of the queue, or be a queue name", url)
	}
	q := Queue{URL: url, Name: name, Region: plainRegion(region)}
	if account := rest[strings.LastIndexByte(rest, '/')+1:]; isAccount(account) {
		q.Account = account
	}
	q.Partition = partitionOf(q.Region)
	return q, nil
}

// ParseQueueARN returns the queue of an ARN like
// "arn:aws:sqs:us-east-1:123456789012:orders". Its URL is empty.
func ParseQueueARN(s string) (Queue, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] != "sqs" || parts[3] == "" || !isAccount(parts[4]) || !isQueueName(parts[5]) {
		return Queue{}, fmt.Errorf("middleware: %q is not the ARN of a queue, want arn:PARTITION:sqs:REGION:ACCOUNT:NAME", s)
	}
	return Queue{Partition: parts[1], Region: parts[3], Account: parts[4], Name: parts[5]}, nil
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

// isAccount reports whether s is an AWS account ID: 12 digits. Source: AWS
// Account Management, account identifiers.
func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// isQueueName applies the rules of CreateQueue: up to 80 alphanumeric
// characters, hyphens and underscores, the suffix ".fifo" included.
func isQueueName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	base := strings.TrimSuffix(s, ".fifo")
	return base != "" && len(s) <= 80 && strings.Trim(base, letters) == ""
}
