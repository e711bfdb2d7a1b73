package conformance

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Target is a server that the suite runs against.
type Target struct {
	Name, Version string
	SQS, KMS      aws.Config // KMS may be another server's

	// Topics says that the server of SQS has SNS, too, with raw delivery of Binary
	// attributes.
	Topics bool

	// DynamoDB says that the server of KMS has DynamoDB, too.
	DynamoDB bool

	// Stored shows what lies in a queue, as it came over the wire, without
	// receiving it. Nil: the suite takes it with a plain client.
	Stored func(ctx context.Context, queueURL string) ([]types.Message, error)

	// Differences are all the ways in which the target is not like the service
	// as far as the suite looks.
	Differences []Difference
}

// Difference says what a target does in place of what the services are
// documented to do. Its text stands in the compatibility table.
type Difference string

// How emulators differ.
const (
	PrefixFilterReturnsNone  Difference = "the attribute filter `prefix.*` returns no attributes"
	NoFilterReturnsAll       Difference = "a receive that asks for no attributes gets all"
	DigestOfAllAttributes    Difference = "the digest of a received message covers attributes that were not asked for"
	ElevenAttributesAccepted Difference = "11 message attributes are accepted"
	AttributeNamesUnchecked  Difference = "attribute names that SQS reserves are accepted"
	ConsecutiveDotsAccepted  Difference = "attribute names with two dots in a row are accepted"
	BinaryCountsAsBase64     Difference = "Binary attributes count as base64 towards the size of a message"
	OtherErrorCodes          Difference = "refusals carry other error codes than SQS's"
	AttributesNotCounted     Difference = "attributes do not count towards the size of a message"
	ForbiddenCharactersPass  Difference = "characters that SQS refuses in a body are accepted"
	EmojiRefused             Difference = "characters above U+FFFF in a body are refused"
	DuplicateGetsNewID       Difference = "the second send of a duplicate answers with a new message ID"
	BatchSplit               Difference = "a message without a deduplication ID fails alone, and the rest of its FIFO batch is sent"
	GroupOneByOne            Difference = "a receive gives one message of a FIFO group"
	GroupWaitsWhole          Difference = "a FIFO group gives nothing while any of its messages is in flight"
	GroupOvertakes           Difference = "a FIFO group gives messages that are behind one in flight"
	NoSourceARN              Difference = "a dead-letter queue's messages lack DeadLetterQueueSourceArn: opened with AcceptQueues"
	ARNsOfOneRegion          Difference = "ARNs of queues name the Region `elasticmq`: Policy.AcceptQueues and OpenMessages need the client's Region in its place"
	NoTraceHeader            Difference = "AWSTraceHeader is lost"
	TopicBatchLosesBinary    Difference = "PublishBatch loses the values of Binary attributes: publish in the body carrier"
	TopicCountsBase64        Difference = "Binary attributes count as base64 towards the size of a message to a topic"
	NoSubscriptionRedrive    Difference = "a subscription's dead-letter queue gets nothing"
	TopicKeepsDuplicates     Difference = "a FIFO topic hands duplicates on, and leaves it to FIFO queues to recognise them"
	NoMoveTask               Difference = "StartMessageMoveTask is not implemented"
	TamperedBlobDecrypts     Difference = "KMS decrypts a blob that was changed"
	WrongKeyIDDecrypts       Difference = "KMS decrypts whatever key the request names"
	WrongKeyIDIsAccessDenied Difference = "KMS answers AccessDeniedException where the key named is not the blob's"
	UnavailableKeysWork      Difference = "KMS uses disabled keys and keys that await deletion"
	NoReEncrypt              Difference = "KMS has no ReEncrypt: the case decrypts and encrypts in its place"
	AnySourceKeyReEncrypts   Difference = "ReEncrypt takes whatever source key the request names"
	UnusedValuesAccepted     Difference = "DynamoDB accepts a value for expressions that no expression uses"
	ExpressionErrorsAre500   Difference = "DynamoDB answers status 500, and no JSON, to expressions that are invalid"
	RequestTokensIgnored     Difference = "DynamoDB carries out a transaction again that has the token of an earlier one"
	ReplicasCannotDecrypt    Difference = "KMS refuses to decrypt with a replica of a multi-Region key"
)

func (d Difference) String() string { return string(d) }
