package awsname

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxQueueName is the longest name of a queue, in bytes (Amazon SQS API
	// Reference, CreateQueue). The suffix of a FIFO queue counts.
	maxQueueName = 80

	// MaxEntryID is the longest ID of a batch entry, in bytes (Amazon SQS API
	// Reference, SendMessageBatchRequestEntry).
	MaxEntryID = 80

	fifoSuffix = ".fifo"

	// nameCharacters are those of queue names, suffix apart, and of the IDs of
	// batch entries.
	nameCharacters = letters + digits + "-_"
)

var errQueueCharacters = errors.New("a queue name has letters, digits, \"-\", \"_\" and the suffix \".fifo\" only (and a pattern one trailing \"*\")")

// CheckQueueName applies the rules of CreateQueue: 1 to 80 letters, digits,
// hyphens and underscores, the suffix ".fifo" of a FIFO queue included. The
// suffix alone is no name.
func CheckQueueName(name string) error {
	base := strings.TrimSuffix(name, fifoSuffix)
	switch {
	case name == "":
		return errors.New("the queue name is empty")
	case len(name) > maxQueueName:
		return queueNameTooLong(len(name))
	case base == "":
		return fmt.Errorf("a queue name has at least one character in front of %q", fifoSuffix)
	case !only(base, nameCharacters):
		return errQueueCharacters
	}
	return nil
}

// checkQueueNamePrefix reports why no queue's name begins with prefix, or nil
// if one can.
func checkQueueNamePrefix(prefix string) error {
	base, _, dot := strings.Cut(prefix, ".")
	switch {
	case !dot && len(prefix) > maxQueueName:
		return queueNameTooLong(len(prefix))
	case !only(base, nameCharacters), dot && !strings.HasPrefix(base+fifoSuffix, prefix):
		return errQueueCharacters
	case dot:
		return CheckQueueName(base + fifoSuffix)
	}
	return nil
}

func queueNameTooLong(n int) error {
	return fmt.Errorf("a queue name has at most %d characters, got %d", maxQueueName, n)
}

// IsFIFO reports whether the name is that of a FIFO queue.
func IsFIFO(name string) bool { return strings.HasSuffix(name, fifoSuffix) }

// IsEntryID reports whether s can be the ID of a batch entry: 1 to 80 letters,
// digits, hyphens and underscores.
func IsEntryID(s string) bool {
	return s != "" && len(s) <= MaxEntryID && only(s, nameCharacters)
}

// QueueARN returns the ARN of a queue.
func QueueARN(partition, region, account, name string) ARN {
	return ARN{Partition: partition, Service: "sqs", Region: region, Account: account, Resource: name}
}

// ParseQueueARN reads the ARN of a queue. Its Resource is the queue's name.
func ParseQueueARN(s string) (ARN, error) {
	a, err := parseARN(s, "sqs")
	if err == nil {
		err = CheckQueueName(a.Resource)
	}
	if err != nil {
		return ARN{}, fmt.Errorf("%q is not the ARN of a queue, want arn:PARTITION:sqs:REGION:ACCOUNT:NAME", s)
	}
	return a, nil
}
