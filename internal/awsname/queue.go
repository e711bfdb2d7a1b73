package awsname

import (
	"errors"
	"fmt"
	"strings"
)

// MaxEntryID is the longest ID of a batch entry, in bytes (Amazon SQS API
// Reference, SendMessageBatchRequestEntry; that of Amazon SNS is as long).
const MaxEntryID = 80

const (
	fifoSuffix = ".fifo"

	// nameCharacters are those of the names of queues and topics, suffix apart,
	// and of the IDs of batch entries.
	nameCharacters = letters + digits + "-_"
)

// kind is what a name is of.
type kind struct {
	service string // in ARNs
	noun    string
	maxName int // the longest name, in bytes; the suffix of a FIFO queue or topic counts
}

// queueKind is a queue of SQS (Amazon SQS API Reference, CreateQueue).
func queueKind() kind { return kind{"sqs", "queue", 80} }

// topicKind is a topic of SNS (Amazon SNS API Reference, CreateTopic).
func topicKind() kind { return kind{"sns", "topic", 256} }

// CheckQueueName applies the rules of CreateQueue: 1 to 80 letters, digits,
// hyphens and underscores, the suffix ".fifo" of a FIFO queue included. The
// suffix alone is no name.
func CheckQueueName(name string) error { return queueKind().checkName(name) }

func (k kind) checkName(name string) error {
	base := strings.TrimSuffix(name, fifoSuffix)
	switch {
	case name == "":
		return fmt.Errorf("the %s name is empty", k.noun)
	case len(name) > k.maxName:
		return k.tooLong(len(name))
	case base == "":
		return fmt.Errorf("a %s name has at least one character in front of %q", k.noun, fifoSuffix)
	case !only(base, nameCharacters):
		return k.badCharacters()
	}
	return nil
}

// checkPrefix reports why no name begins with prefix, or nil if one can.
func (k kind) checkPrefix(prefix string) error {
	base, _, dot := strings.Cut(prefix, ".")
	switch {
	case !dot && len(prefix) > k.maxName:
		return k.tooLong(len(prefix))
	case !only(base, nameCharacters), dot && !strings.HasPrefix(base+fifoSuffix, prefix):
		return k.badCharacters()
	case dot:
		return k.checkName(base + fifoSuffix)
	}
	return nil
}

func (k kind) tooLong(n int) error {
	return fmt.Errorf("a %s name has at most %d characters, got %d", k.noun, k.maxName, n)
}

func (k kind) badCharacters() error {
	return errors.New("a " + k.noun + " name has letters, digits, \"-\", \"_\" and the suffix \".fifo\" only (and a pattern one trailing \"*\")")
}

// arnForm is how an ARN of the kind is written.
func (k kind) arnForm() string { return "arn:PARTITION:" + k.service + ":REGION:ACCOUNT:NAME" }

func (k kind) parseARN(s string) (ARN, error) {
	a, err := parseARN(s, k.service)
	if err == nil {
		err = k.checkName(a.Resource)
	}
	if err != nil {
		return ARN{}, fmt.Errorf("%.400q is not the ARN of a %s, want %s", s, k.noun, k.arnForm())
	}
	return a, nil
}

// IsFIFO reports whether the name is that of a FIFO queue or topic.
func IsFIFO(name string) bool { return strings.HasSuffix(name, fifoSuffix) }

// IsEntryID reports whether s can be the ID of a batch entry: 1 to 80 letters,
// digits, hyphens and underscores.
func IsEntryID(s string) bool {
	return s != "" && len(s) <= MaxEntryID && only(s, nameCharacters)
}

// QueueARN returns the ARN of a queue.
func QueueARN(partition, region, account, name string) ARN {
	return ARN{Partition: partition, Service: queueKind().service, Region: region, Account: account, Resource: name}
}

// ParseQueueARN reads the ARN of a queue. Its Resource is the queue's name.
func ParseQueueARN(s string) (ARN, error) { return queueKind().parseARN(s) }

// TopicARN returns the ARN of a topic.
func TopicARN(partition, region, account, name string) ARN {
	return ARN{Partition: partition, Service: topicKind().service, Region: region, Account: account, Resource: name}
}

// ParseTopicARN reads the ARN of a topic. Its Resource is the topic's name. The
// ARN of a subscription, of a platform endpoint or of an application is none.
func ParseTopicARN(s string) (ARN, error) { return topicKind().parseARN(s) }

// IsTopicARN reports whether s begins like the ARN of something of SNS. It may
// be none that [ParseTopicARN] takes.
func IsTopicARN(s string) bool {
	parts := strings.SplitN(s, ":", 4)
	return len(parts) > 3 && parts[0] == "arn" && parts[2] == topicKind().service
}
