package branchkey

import (
	"errors"
	"fmt"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awscall"
)

// ErrConflict is returned by [Store.Create] if the branch key exists already,
// and by [Store.Rotate] if somebody else has rotated it meanwhile. Nothing was
// written.
var ErrConflict = errors.New("branchkey: conflict in the key store")

// question is what a service was asked, and about which item: what errors say.
type question struct {
	op       string // of DynamoDB or KMS
	table    string
	id       string // of the branch key
	itemType string // "" is all of its items
	keyARN   string // of the KMS key; "" for DynamoDB
	logical  string // the key store's name

	// oneKey: all items of the branch key are under one KMS key, so that what
	// happens to it concerns all of them.
	oneKey bool

	// unknown are attributes of the item that the specification does not have.
	unknown []string
}

func (q question) with(op, keyARN string) question {
	q.op, q.keyARN = op, keyARN
	return q
}

// String names the call and the item. It holds names only.
func (q question) String() string {
	s := fmt.Sprintf("branch key %q", q.id)
	if q.itemType != "" {
		s += fmt.Sprintf(" (%s)", q.itemType)
	}
	s += fmt.Sprintf(" in table %q", q.table)
	if q.op != "" {
		s = q.op + " for " + s
	}
	if q.keyARN != "" {
		s += fmt.Sprintf(" with key %q", q.keyARN)
	}
	return s
}

func remedy(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func (q question) unavailable(err error, hint string) error {
	return fmt.Errorf("branchkey: %s: %w: %w%s", q, envelope.ErrUnavailable, awscall.Redact(err), remedy(hint))
}

// badAnswer is the error of an answer that does not fit the question.
func (q question) badAnswer(why string) error {
	return fmt.Errorf("branchkey: %s: %w: the answer cannot be used: %s", q, envelope.ErrUnavailable, why)
}

// refused is a refusal of one item. It says nothing about other items of the
// branch key, and nothing about a message.
func (q question) refused(err error, hint string) error {
	return &envelope.RefusedError{
		KeyInfo: q.id, Reach: envelope.ReachEntry,
		Err: fmt.Errorf("branchkey: %s: %w%s", q, awscall.Redact(err), remedy(hint)),
	}
}

// keyRefused is a refusal of the KMS key.
func (q question) keyRefused(err error, hint string) error {
	refused := q.refused(err, hint).(*envelope.RefusedError)
	if q.oneKey {
		refused.Reach = envelope.ReachKey
	}
	return refused
}

// damaged is the error of an item that is not as a key store has it.
func (q question) damaged(format string, args ...any) error {
	return q.refused(fmt.Errorf("the item cannot be used: "+format, args...), "")
}

const restoreRemedy = "restore it from a backup of the table"

// classifyDynamoDB says what an error of the DynamoDB client means.
func classifyDynamoDB(q question, err error) error {
	service := awscall.DynamoDB()
	cause, code, hint := service.Cause(err)
	switch cause {
	case awscall.Unavailable:
		return q.unavailable(err, hint)
	case awscall.Denied:
		return q.refused(err, q.dynamoDBPermission())
	case awscall.NoOperation:
		return q.refused(err, hint)
	}
	switch code {
	case "ResourceNotFoundException", "TableNotFoundException":
		return q.refused(err, "the table does not exist in this account and Region: check the name of the table, and the Region and account of the DynamoDB client")
	case "ValidationException":
		return q.refused(err, "a key store's table has the partition key \"branch-key-id\" and the sort key \"type\", both of type S: check the name of the table")
	}
	if awscall.IsFailure(err, code) {
		return q.unavailable(err, service.WrongEndpoint(err))
	}
	return q.refused(err, "")
}

func (q question) dynamoDBPermission() string {
	permission := "dynamodb:" + q.op
	if q.op == opTransactWriteItems {
		permission = "dynamodb:PutItem" // there is no permission for transactions
	}
	return "the permission " + permission + " on the table is missing, in this role's policy or the table's"
}

// classifyKMS says what an error of the KMS client means.
func classifyKMS(q question, err error) error {
	service := awscall.KMS()
	cause, code, hint := service.Cause(err)
	switch cause {
	case awscall.Unavailable:
		return q.unavailable(err, hint)
	case awscall.Denied:
		return q.refused(err, q.kmsPermission())
	case awscall.NoOperation:
		return q.refused(err, hint)
	}
	switch code {
	case "InvalidCiphertextException", "IncorrectKeyException":
		return q.refused(err, q.alteredRemedy())
	case "DisabledException":
		return q.keyRefused(err, "enable the key")
	case "KMSInvalidStateException":
		return q.keyRefused(err, "the key is pending deletion or otherwise not usable: see its state, and cancel the deletion if it was a mistake")
	case "InvalidKeyUsageException":
		return q.keyRefused(err, "the key must be a symmetric encryption key: KeySpec SYMMETRIC_DEFAULT, KeyUsage ENCRYPT_DECRYPT")
	case "NotFoundException":
		return q.keyRefused(err, "check the key, its account and its Region")
	case "InvalidGrantTokenException", "InvalidGrantIdException":
		return q.refused(err, "give grant tokens of grants on this key that still exist")
	}
	if awscall.IsFailure(err, code) {
		return q.unavailable(err, service.WrongEndpoint(err))
	}
	return q.refused(err, "")
}

// alteredRemedy is for an encrypted branch key that does not decrypt under its
// item's attributes.
func (q question) alteredRemedy() string {
	if len(q.unknown) > 0 {
		return fmt.Sprintf("the item has the attribute %q, which a branch key does not have: remove it if it was added", awscall.Shorten(q.unknown[0]))
	}
	return fmt.Sprintf("the item was altered, or was made under another logical name than %q, which is configured: set the name that the key store was created with, or %s", q.logical, restoreRemedy)
}

func (q question) kmsPermission() string {
	permission := "kms:" + q.op + " is"
	if q.op == opReEncrypt {
		permission = "kms:ReEncryptFrom or kms:ReEncryptTo is"
	}
	return "the permission " + permission + " missing, in this role's policy or the key's, or the key policy forbids this encryption context (kms:EncryptionContext:branch-key-id and others)"
}
