package kmskeyring

import (
	"errors"
	"fmt"
	"time"

	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/keyerr"
)

type operation string

const (
	opGenerateDataKey operation = "GenerateDataKey"
	opEncrypt         operation = "Encrypt"
	opDecrypt         operation = "Decrypt"
	opDescribeKey     operation = "DescribeKey"
)

// question is what KMS was asked: what classify needs to know.
type question struct {
	op         operation
	keyID      string // as given to KMS
	region     string // "" is the client's
	keyInfo    string // the reach of a refusal: the key's ARN as messages name it; "" if unknown
	sealOnly   bool   // keyInfo is a guess that holds for sealing only
	configured bool   // the configuration names the key; else only a message does
	dryRun     bool   // of Decrypt, without a ciphertext
	understood bool   // a dry run was understood before
}

// classify says what an error of the client means: for the key service, for the
// key, or for the message. It goes by the service's error code alone. The SDK
// has no Go types for two of the most important codes, and statuses differ from
// the documented ones.
func classify(q question, err error) error {
	service := awscall.KMS()
	cause, code, hint := service.Cause(err)
	// An emulator may fail because it wants the ciphertext that a dry run does not
	// have. That is no outage.
	if status, answered := service.Status(err); q.dryRun && !q.understood && answered &&
		(status >= 500 || status >= 400 && (code == "" || code == "UnknownError")) {
		return q.checkUnsupported(err)
	}
	switch cause {
	case awscall.Unavailable:
		return q.unavailable(err, hint)
	case awscall.Denied:
		return q.refused(err, &envelope.RefusedError{Reach: envelope.ReachEntry}, q.permissionRemedy())
	case awscall.NoOperation:
		if !q.dryRun {
			return q.refused(err, &envelope.RefusedError{}, hint)
		}
	}
	switch code {
	case "InvalidCiphertextException", "IncorrectKeyException", "ValidationException":
		if q.dryRun {
			return q.checkUnsupported(err) // it asks for the ciphertext
		}
		if q.op == opDecrypt {
			return q.invalidMessage(err, otherContext)
		}
		return q.refused(err, &envelope.RefusedError{}, "")

	case "DisabledException":
		return q.refused(err, &envelope.RefusedError{KeyInfo: q.keyInfo}, "enable the key, or configure another")
	case "KMSInvalidStateException":
		return q.refused(err, &envelope.RefusedError{KeyInfo: q.keyInfo}, "the key is pending deletion or otherwise not usable: see its state, and cancel the deletion if it was a mistake")
	case "InvalidKeyUsageException":
		return q.refused(err, &envelope.RefusedError{KeyInfo: q.keyInfo}, "the key must be a symmetric encryption key: KeySpec SYMMETRIC_DEFAULT, KeyUsage ENCRYPT_DECRYPT")
	case "NotFoundException":
		// The alias may not exist, which says nothing about the key.
		reach := &envelope.RefusedError{}
		if q.op == opDecrypt || q.keyID == q.keyInfo {
			reach.KeyInfo = q.keyInfo
		}
		return q.refused(err, reach, "check the name, the account and the Region")
	case "InvalidGrantTokenException", "InvalidGrantIdException":
		return q.refused(err, &envelope.RefusedError{Reach: envelope.ReachEntry}, grantRemedy)
	}
	if awscall.IsFailure(err, code) {
		return q.unavailable(err, service.WrongEndpoint(err))
	}
	if q.dryRun {
		return q.checkUnsupported(err)
	}
	return q.refused(err, &envelope.RefusedError{}, "")
}

// trustRemedy names the setting in this package, in sqsx and in the
// environment: its reader may configure any of them.
const trustRemedy = "if the key is yours, add it to kmskeyring.Options.DecryptKeys (with sqsx: sqsx.Options.KMSKeyring.DecryptKeys, or SEALQ_DECRYPT_KEYS)"

// branchKeyRemedy is for a message that another kind of keyring opens.
const branchKeyRemedy = "if the branch key is yours, open it with a keyring of package branchkey (with sqsx: sqsx.Options.OpenKeyStore, or SEALQ_KEY_STORE_TABLE, SEALQ_KEY_STORE_NAME and SEALQ_BRANCH_KEY_ID, and SEALQ_KEY_STORE_OPEN_ONLY to seal as before)"

// notConfigured is the remedy for a refusal of a key that only the message
// names.
const notConfigured = "the configuration does not name this key, so its refusal counts against the message; " + trustRemedy

const otherContext = "the message was sealed under another encryption context, or was altered"

const grantRemedy = "give Options.GrantTokens of grants on this key that still exist"

func (q question) permissionRemedy() string {
	if q.op == opDescribeKey {
		return fmt.Sprintf("opening messages with key ID %q needs the permission kms:DescribeKey, to learn which key that is: grant it, or configure the key's ARN", q.keyID)
	}
	return "the permission kms:" + string(q.op) + " is missing, in this role's policy or the key's, or the key policy forbids this encryption context"
}

// String names the call, and the Region if the key's name does not hold it.
func (q question) String() string {
	s := fmt.Sprintf("%s with key %q", q.op, q.keyID)
	if q.region != "" && q.keyID != q.keyInfo && q.op != opDecrypt {
		s += fmt.Sprintf(" in Region %q", q.region)
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
	return fmt.Errorf("kmskeyring: %s: %w: %w%s", q, envelope.ErrUnavailable, awscall.Redact(err), remedy(hint))
}

func (q question) invalidMessage(err error, hint string) error {
	return fmt.Errorf("kmskeyring: %s: %w: %w%s", q, envelope.ErrNoMatchingKey, awscall.Redact(err), remedy(hint))
}

// notAsked reports an encrypted data key that KMS is not asked about now. It is
// no outage.
func (q question) notAsked(why string) error {
	return keyerr.NotAsked(fmt.Errorf("kmskeyring: %s: %w: not asked now: %s", q, envelope.ErrUnavailable, why))
}

// checkUnsupported is the error of an endpoint that does not support dry runs.
func (q question) checkUnsupported(err error) error {
	return fmt.Errorf("kmskeyring: %s: %w: the endpoint does not answer dry runs: %w", q, envelope.ErrCheckUnsupported, awscall.Redact(err))
}

// remembered is the error of an encrypted data key that KMS did not decrypt
// before.
func (q question) remembered(why reason) error {
	err := errors.New("KMS did not decrypt it before, and is not asked again")
	if why == isFact {
		return q.invalidMessage(err, otherContext)
	}
	return q.invalidMessage(err, notConfigured)
}

// denied is the error of a key and encryption context that KMS denied before.
func (q question) denied(before error, next time.Duration) error {
	return &envelope.RefusedError{Reach: envelope.ReachEntry, Err: fmt.Errorf("answered from memory, next attempt in %v: %w", next.Round(time.Millisecond), before)}
}

// deniedBefore stands for the answer of KMS if that is forgotten.
func (q question) deniedBefore(why reason) error {
	code, hint := "AccessDeniedException", q.permissionRemedy()
	if why == invalidGrant {
		code, hint = "InvalidGrantTokenException", grantRemedy
	}
	err := &smithy.GenericAPIError{Code: code, Message: "KMS denied it before", Fault: smithy.FaultClient}
	return fmt.Errorf("kmskeyring: %s: %w%s", q, err, remedy(hint))
}

// refused is a refusal, of the reach of r. If only the message names the key,
// the message is invalid instead: otherwise anyone who may send to a queue
// could stop its consumers by naming a key that refuses them.
func (q question) refused(err error, r *envelope.RefusedError, hint string) error {
	if !q.configured {
		return q.invalidMessage(err, notConfigured)
	}
	if q.sealOnly && r.KeyInfo != "" {
		r.Reach = envelope.ReachSeal
	}
	r.Err = fmt.Errorf("kmskeyring: %s: %w%s", q, awscall.Redact(err), remedy(hint))
	return r
}

// badAnswer is the error of an answer that does not fit the question.
func (q question) badAnswer(why string) error {
	return fmt.Errorf("kmskeyring: %s: %w: the answer cannot be used: %s", q, envelope.ErrUnavailable, why)
}

// notADataKey is the error of a message with a ciphertext under the key that is
// not of a data key.
func (q question) notADataKey(size int) error {
	return fmt.Errorf("kmskeyring: %s: %w: what was decrypted is %d bytes, want %d", q, envelope.ErrNoMatchingKey, size, envelope.DataKeySize)
}
