package middleware

import "strings"

// Queue identifies an SQS queue, as far as a call tells.
type Queue struct {
	URL       string // as the caller gave it
	Partition string // for example "aws"
	Region    string
	Account   string // empty if URL is a bare queue name
	Name      string
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
