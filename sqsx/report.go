package sqsx

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/keyerr"
	"github.com/sealq/sealq/middleware"
)

// Withheld returns the messages that a receive got but did not deliver, from
// the ResultMetadata of its output. (If nothing could be delivered the call
// fails instead, with a [*ReceiveError] that carries them, unless
// Policy.NoReceiveErrors is set.)
func Withheld(md smithymiddleware.Metadata) []*OpenError { return middleware.Withheld(md) }

// ErrGroupHeld is returned for a healthy message of a FIFO queue that is
// withheld because a message before it in its message group was withheld:
// delivering it would break the order of the group. It is never
// [envelope.ErrInvalidMessage].
var ErrGroupHeld = middleware.ErrGroupHeld

// Message is a message that [Sealer.OpenMessages] opened.
type Message struct {
	types.Message      // as a receive delivers it
	Info          Info // the caller's to keep and change
}

// Info is what is known about a delivered message.
type Info struct {
	// Sealed is false for a message that was accepted in plaintext. Of the other
	// fields only Receives is then set.
	Sealed bool
	// SealID names the sealed message: the 32 random bytes of its message ID in
	// the encryption format, in lower-case hex. It is authenticated, and it is
	// the same in every redelivery, after redrive, in a dead-letter queue, in
	// any copy, and in what a retry of the SDK sent twice; SQS's own message ID
	// differs in some of these. Two calls of SendMessage have different ones,
	// whatever their bodies are.
	//
	// It is empty for plaintext: do not use an empty SealID for deduplication,
	// because all plaintext messages share it.
	SealID string
	// Receives is how many times SQS says that the message was received from
	// its queue, this time included (ApproximateReceiveCount). It is approximate,
	// not authenticated, and 0 if it is unknown: a message given to OpenMessages
	// may lack the attribute.
	Receives int
	// KeyProvider and Key name the wrapping key that the data key was decrypted
	// with: for AWS KMS, "aws-kms" and the key's ARN; for a branch key,
	// "aws-kms-hierarchy" and its ID; for a raw AES keyring, its namespace and its
	// name; else the provider ID and the provider info of the encrypted data key.
	KeyProvider, Key string
	// EncryptionContext is the authenticated context of the message, pairs that
	// the reader does not require included. It is a copy.
	EncryptionContext map[string]string
	// SealedAt is when the message was sealed, by its producer's clock, in whole
	// milliseconds, UTC. It is authenticated. It is zero for messages without
	// sealed content, which are those of producers whose policy has none of
	// SealAttributes, AuthenticateAttributes, Compress and MaxAge.
	SealedAt time.Time
	// AuthenticatedAttributes are the names, sorted, of the message attributes
	// that were sealed with the message, asked for or not: their values are
	// delivered as they were sent. Anyone who may send to the queue could have
	// written the other attributes. It is a copy.
	AuthenticatedAttributes []string
}

// InfoOf returns what is known about one delivered message, from the
// ResultMetadata of the receive that delivered it. It reports false if no
// Sealer delivered a message with this ID in that receive: the ID is of another
// receive, the message was withheld, or the client has no Sealer.
func InfoOf(md smithymiddleware.Metadata, messageID string) (Info, bool) {
	v, _ := middleware.InfoOf(md, messageID)
	known, ok := v.(*openedInfo)
	if !ok {
		return Info{}, false
	}
	info := known.info()
	info.EncryptionContext = maps.Clone(info.EncryptionContext)
	info.AuthenticatedAttributes = slices.Clone(info.AuthenticatedAttributes)
	return info, true
}

const (
	// logInterval is the shortest time between two log lines of one diagnosis for
	// one queue.
	logInterval = 10 * time.Second
	// logKinds bounds the memory of when each kind was logged. With more kinds,
	// some lines are logged sooner.
	logKinds = 1024
)

// reporter reports withheld messages: a callback and a count for each message,
// and at intervals a log line for each kind.
type reporter struct {
	*settings
	counters *counters

	mu   sync.Mutex // guards logs
	logs map[logKind]*logState
}

type logKind struct {
	queue, diagnosis string
}

type logState struct {
	last       time.Time
	suppressed int
}

func (r *reporter) report(ctx context.Context, e *OpenError) {
	if r.onWithheld != nil {
		r.onWithheld(ctx, e)
	}
	if errors.Is(e.Err, ErrGroupHeld) {
		return // the message before it has been reported
	}
	r.counters.withheld[classify(e.Err)].add(ctx, e.Queue, 1)
	diagnosis, usual := diagnose(e.Err)
	cause, remedy := takeRemedy(e.Err)
	remedy = cmp.Or(remedy, usual)
	queue := e.Queue.String()
	suppressed, due := r.due(logKind{queue, diagnosis})
	if !due {
		return
	}
	r.log().LogAttrs(ctx, slog.LevelWarn, "sealq: message withheld: "+diagnosis,
		slog.String("queue", queue),
		slog.String("message_id", aws.ToString(e.Message.MessageId)),
		slog.String("receive_count", e.Message.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]),
		slog.Bool("temporary", e.Temporary),
		slog.String("error", cause),
		slog.String("remedy", remedy),
		slog.Int("more_since_last_line", suppressed),
	)
}

// emptied counts a receive that returned an empty result instead of an error.
func (r *reporter) emptied(ctx context.Context, q middleware.Queue, _ error) {
	r.counters.emptied.add(ctx, q, 1)
}

// held counts a receive that failed with ErrHeld, and logs the reason at
// intervals: a process that is held from its first receive logs no withheld
// message.
func (r *reporter) held(ctx context.Context, q middleware.Queue, err error) {
	r.counters.held.add(ctx, q, 1)
	diagnosis, usual := diagnose(err)
	cause, remedy := takeRemedy(err)
	queue := q.String()
	suppressed, due := r.due(logKind{queue, "receives held: " + diagnosis})
	if !due {
		return
	}
	r.log().LogAttrs(ctx, slog.LevelWarn, "sealq: receives held: "+diagnosis,
		slog.String("queue", queue),
		slog.String("error", cause),
		slog.String("remedy", cmp.Or(remedy, usual)),
		slog.Int("more_since_last_line", suppressed),
	)
}

// log returns the logger at the time of the call.
func (s *settings) log() *slog.Logger {
	if s.logger == nil {
		return slog.Default()
	}
	return s.logger
}

// due reports whether it is time for another line of this kind, and how many
// were left out since the last.
func (r *reporter) due(kind logKind) (suppressed int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	state := r.logs[kind]
	if state != nil && now.Sub(state.last) < logInterval {
		state.suppressed++
		return 0, false
	}
	if state == nil {
		if len(r.logs) >= logKinds || r.logs == nil {
			r.logs = make(map[logKind]*logState)
		}
		state = &logState{}
		r.logs[kind] = state
	}
	suppressed = state.suppressed
	*state = logState{last: now}
	return suppressed, true
}

// diagnose names the likely cause of a message that did not open, and the
// remedy if the error itself is not an [advice]. docs/operations.md explains
// the same lines.
func diagnose(err error) (diagnosis, remedy string) {
	switch {
	case errors.Is(err, errAlreadyOpened):
		return "opened already", ""
	case errors.Is(err, errSNSPlain):
		return "SNS notification", ""
	case errors.Is(err, ErrNotSealed):
		return "not sealed", ""
	case errors.Is(err, errAttributeLost):
		return "header lost", ""
	case errors.Is(err, errEncodedAgain):
		return "encoded once more", "a program that copies messages encoded a part again, such as Lambda's binaryValue: decode it there first, or set Policy.BodyCarrier (SEALQ_BODY_CARRIER) on the sender"
	case errors.Is(err, errSNSEnvelope):
		return "SNS envelope", ""
	}
	if errors.Is(err, errQueueUnknown) {
		return "queue unknown", "give the queue's full URL or ARN"
	}
	switch classify(err) {
	case keyUnavailable:
		if errors.Is(err, ErrClockAhead) {
			return "sealed in the future", ""
		}
		if errors.Is(err, keyerr.ErrNotAsked) {
			return "not asked of the key service", "nothing is lost: the message becomes visible again; find out who sends messages that do not decrypt: the error names the bound that was reached"
		}
		if !errors.Is(err, envelope.ErrUnavailable) {
			return "no time left", "nothing is lost: the message becomes visible again; the caller's context ended before the message was opened: give it more time, or fewer messages"
		}
		return "key service unavailable", "nothing is lost: the message becomes visible again; check that AWS KMS, and with a key store DynamoDB, can be reached and that credentials are valid"
	case keyRefused:
		return "key refused", "see in the error what KMS or DynamoDB says: the key must exist and be enabled, and this role needs kms:Decrypt and, for aliases and key IDs, kms:DescribeKey, or, for branch keys, dynamodb:GetItem"
	}
	switch {
	case errors.Is(err, errOwnContext):
		return "sealed under another encryption context", ""
	case errors.Is(err, errNoQueue):
		return "sealed for no queue", ""
	case errors.Is(err, errTopic):
		return "published to another topic", ""
	case errors.Is(err, errLogicalQueue):
		return "sealed for another logical queue", ""
	case errors.Is(err, envelope.ErrContextMismatch):
		return "sealed for another queue", ""
	case errors.Is(err, ErrExpired):
		return "expired", ""
	case errors.Is(err, envelope.ErrNoMatchingKey) && notDecrypted(err):
		return "not decrypted by its key", "find the program that rewrites messages, or who sends them: configuring more keys does not help"
	case errors.Is(err, envelope.ErrNoMatchingKey):
		return "sealed under a key that is not configured", "if the key is yours, do as the error says; else find out who sends these messages"
	case errors.Is(err, envelope.ErrUnsupported):
		return "unsupported format", "upgrade this consumer, or change the producer so that it does not use what the error names"
	case errors.Is(err, envelope.ErrAuthentication):
		return "altered after sealing", "the message was damaged or forged: find the program that rewrites bodies or attributes"
	}
	return "malformed", "the message was damaged, truncated or forged: find the program that rewrites bodies or attributes"
}

// notDecrypted reports whether AWS KMS had the key and could not decrypt with
// it.
func notDecrypted(err error) bool {
	refusal, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch refusal.ErrorCode() {
	case "InvalidCiphertextException", "IncorrectKeyException", "ValidationException":
		return true
	}
	return false
}
