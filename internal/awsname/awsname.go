// Package awsname has the names of AWS that sealq reads: account IDs, Regions,
// partitions, ARNs of KMS keys, SQS queues and SNS topics, their names, and
// patterns of queues and topics. It makes no calls and needs no AWS SDK.
//
// Names arrive from configuration, from SQS and in messages that anyone may
// write. What a function of this package accepts is short, and plain ASCII
// without white space or quotation marks.
package awsname

import (
	"errors"
	"strings"
)

const (
	// AccountLength is the number of digits of an account ID (AWS Account
	// Management, account identifiers).
	AccountLength = 12

	// maxCode bounds the code of a partition or a Region, in bytes. The longest
	// today are shorter than 20.
	maxCode = 32
)

const (
	digits  = "0123456789"
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// IsAccount reports whether s is an AWS account ID: 12 digits.
func IsAccount(s string) bool { return len(s) == AccountLength && only(s, digits) }

// IsRegion reports whether s may be the code of a Region, for example
// "eu-central-1". AWS adds Regions, so the code is not looked up in a list.
func IsRegion(s string) bool { return s != "" && beginsCode(s) }

// IsPartition reports whether s may be the name of a partition, for example
// "aws-cn".
func IsPartition(s string) bool { return s != "" && beginsCode(s) }

// beginsCode reports whether the code of a Region or a partition can begin with
// s.
func beginsCode(s string) bool { return len(s) <= maxCode && only(s, lower+digits+"-") }

// ARN is an Amazon Resource Name. ARNs of one resource are equal.
type ARN struct {
	Partition string // for example "aws"
	Service   string // "kms", "sqs", "sns" or "dynamodb"
	Region    string // for example "eu-central-1"
	Account   string // 12 digits
	Resource  string // may hold colons
}

var errNotARN = errors.New("is not an ARN of the service")

// parseARN reads an ARN of service, and checks all of it but the resource. The
// error continues a sentence about s, and does not repeat s.
func parseARN(s, service string) (ARN, error) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != service {
		return ARN{}, errNotARN
	}
	a := ARN{Partition: parts[1], Service: service, Region: parts[3], Account: parts[4], Resource: parts[5]}
	switch {
	case !IsPartition(a.Partition):
		return ARN{}, errors.New("has no valid partition")
	case !IsRegion(a.Region):
		return ARN{}, errors.New("has no valid Region")
	case !IsAccount(a.Account):
		return ARN{}, errors.New("has no valid account, which is 12 digits")
	}
	return a, nil
}

// String returns the text that the ARN was read from.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// only reports whether every byte of s is in set.
func only(s, set string) bool {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}
