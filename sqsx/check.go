package sqsx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/middleware"
)

// CheckError is returned by [Sealer.Check], and says what this process cannot
// do with a queue. At least one of its fields is not nil.
type CheckError struct {
	Queue string // as given to Check
	Seal  error  // why messages to the queue cannot be sealed
	Open  error  // why messages from the queue cannot be opened
}

// Error names the halves that fail and why.
func (e *CheckError) Error() string {
	noun := "queue"
	if awsname.IsTopicARN(e.Queue) {
		noun = "topic"
	}
	if sameCause(e.Seal, e.Open) {
		return fmt.Sprintf("sqsx: %s %q: cannot seal or open: %v", noun, e.Queue, e.Seal)
	}
	var parts []string
	if e.Seal != nil {
		parts = append(parts, fmt.Sprintf("cannot seal: %v", e.Seal))
	}
	if e.Open != nil {
		parts = append(parts, fmt.Sprintf("cannot open: %v", e.Open))
	}
	return fmt.Sprintf("sqsx: %s %q: %s", noun, e.Queue, strings.Join(parts, "; "))
}

// sameCause reports whether two errors have one cause, so that one text is
// enough: they are equal, or the key service gave the same answer to both
// questions, or no answer to either. A missing permission concerns one
// operation only.
func sameCause(a, b error) bool {
	if a == nil || b == nil {
		return false
	}
	if a == b {
		return true
	}
	x, y := answers(a), answers(b)
	switch {
	case len(x) == 0 && len(y) == 0:
		down, alsoDown := errors.Is(a, envelope.ErrUnavailable), errors.Is(b, envelope.ErrUnavailable)
		return down && alsoDown || !down && !alsoDown && sameRefusal(a, b)
	case len(x) != 1 || len(y) != 1:
		return false
	}
	return x[0].ErrorCode() == y[0].ErrorCode() && x[0].ErrorMessage() == y[0].ErrorMessage() &&
		(!strings.HasPrefix(x[0].ErrorCode(), "AccessDenied") || sameOperation(a, b))
}

// sameRefusal reports whether two errors hold one refusal each, of the same
// text. A remembered one has the time of the next attempt in front of it.
func sameRefusal(a, b error) bool {
	x, y := allOf[*envelope.RefusedError](a), allOf[*envelope.RefusedError](b)
	return len(x) == 1 && len(y) == 1 && x[0].Error() == y[0].Error()
}

// sameOperation reports whether two errors are of the same operation of one
// service.
func sameOperation(a, b error) bool {
	x, ok := errors.AsType[*smithy.OperationError](a)
	y, okay := errors.AsType[*smithy.OperationError](b)
	return ok && okay && x.ServiceID == y.ServiceID && x.OperationName == y.OperationName
}

// answers returns the answers of services in the tree of err.
func answers(err error) []smithy.APIError { return allOf[smithy.APIError](err) }

// allOf returns the outermost errors of type E in the tree of err.
func allOf[E error](err error) []E {
	if found, ok := err.(E); ok {
		return []E{found}
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			return allOf[E](inner)
		}
	case interface{ Unwrap() []error }:
		var found []E
		for _, inner := range u.Unwrap() {
			found = append(found, allOf[E](inner)...)
		}
		return found
	}
	return nil
}

// Unwrap returns the errors of both halves.
func (e *CheckError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Seal, e.Open} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// errOpenUnchecked is the cause of an Open half that could not be tried.
var errOpenUnchecked = errors.New("not checked: this role cannot generate a data key to decrypt")

// Check reports whether this process can seal messages to queue and open
// messages from it. queue is an ARN, or, if [Options.Region] is known, a URL
// or, with [Options.Account], a name; it may be the ARN of an SNS topic (see
// [Sealer.CheckOpen]). It returns nil or a [*CheckError] with the errors of
// CheckSeal and CheckOpen. A role that only sends calls [Sealer.CheckSeal]
// instead, and a role that only receives calls [Sealer.CheckOpen].
//
// If CheckSeal got a data key, Check decrypts that key. This tests more than
// CheckOpen: that the key that seals also opens. With [Policy.NoSeal] nothing
// is sealed, and Check is the same as CheckOpen.
//
// Check goes through the data key cache. While data keys are cached it makes no
// call and returns nil, because messages can be sealed and opened. The first
// Check of a queue costs a GenerateDataKey and a Decrypt. A GenerateDataKey
// that failed is repeated after one second at the earliest, later after ten;
// until then each Check costs the calls of a CheckOpen.
//
// With a key store, the first Check reads the branch key. If the Sealer opens
// both data keys of AWS KMS and those under branch keys
// ([Options.OpenKeyStore], [NewFromKeyStore]), each Check also asks about the
// kind that it does not seal with, as CheckOpen does.
//
// For a FIFO queue with a [Policy.MaxAge] Check and CheckOpen log at level WARN
// that the queue needs a dead-letter queue.
//
// Check is safe for concurrent use.
func (s *Sealer) Check(ctx context.Context, queue string) error {
	ctx = clippedSpans{ctx} // several dry runs may start spans side by side
	c, err := s.check(ctx, queue)
	if err != nil {
		return &CheckError{Queue: queue, Seal: err, Open: err}
	}
	result := &CheckError{Queue: queue}
	s.warnOfMaxAge(ctx, c)
	var key *envelope.DataKey
	key, result.Seal = c.seal(ctx)
	switch {
	case key != nil:
		result.Open = c.decrypt(ctx, key)
	case result.Seal != nil:
		result.Open = c.ask(ctx, c.sealing())
		if errors.Is(result.Open, envelope.ErrCheckUnsupported) {
			result.Open = fmt.Errorf("%w: %w", errOpenUnchecked, result.Open)
		}
	default:
		result.Open = c.open(ctx)
	}
	result.Open = c.withOther(ctx, result.Open)
	if result.Seal == nil && result.Open == nil {
		return nil
	}
	return result
}

// warnOfMaxAge logs what Check cannot see: whether an expired message of a FIFO
// queue is moved to a dead-letter queue, or blocks its group.
func (s *Sealer) warnOfMaxAge(ctx context.Context, c *check) {
	if c.policy.MaxAge == 0 || !c.queue.FIFO() {
		return
	}
	s.codec.log().LogAttrs(ctx, slog.LevelWarn, "sealq: Policy.MaxAge on a FIFO queue: an expired message blocks its message group unless a dead-letter queue takes it",
		slog.String("queue", c.queue.String()),
		slog.String("remedy", "give the queue a redrive policy, if it has none (Check does not look)"),
	)
}

// CheckSeal reports whether this process can seal messages to queue. queue is
// an ARN, or, if [Options.Region] is known, a URL or, with [Options.Account], a
// name; it may be the ARN of an SNS topic. If not, the error says which
// permission is missing. With [Policy.NoSeal] it returns nil and makes no call,
// unless the queue itself is invalid.
//
// It generates a data key under the context of that queue, through the data key
// cache: the first CheckSeal costs a GenerateDataKey, and the first message
// uses that data key. While the data key is cached, CheckSeal makes no call,
// and succeeds in an outage of AWS KMS, as sending does. After a failure KMS is
// asked again after one second at the earliest, later after ten. It suits a
// readiness probe.
//
// CheckSeal is safe for concurrent use.
func (s *Sealer) CheckSeal(ctx context.Context, queue string) error {
	ctx = clippedSpans{ctx} // several dry runs may start spans side by side
	c, err := s.check(ctx, queue)
	if err != nil {
		return err
	}
	_, err = c.seal(ctx)
	return err
}

// CheckOpen reports whether this process can open messages from queue. queue is
// an ARN, or, if [Options.Region] is known, a URL or, with [Options.Account], a
// name. If not, the error says which permission is missing.
//
// For the ARN of an SNS topic it reports whether messages that were published
// to the topic can be opened. A consumer calls it for each topic in
// [Policy.AcceptTopics], because the check of the queue asks under the queue's
// own name.
//
// If the keyring is an [envelope.DecryptChecker], as that of AWS KMS is,
// CheckOpen asks it under the context of that queue, and succeeds if one of its
// keys may be used. With AWS KMS this is a dry run of Decrypt for each
// configured key, and no GenerateDataKey: a role that may only receive leaves
// no refused call in CloudTrail. The data key cache is not used. So each
// CheckOpen costs these calls, and fails in an outage of AWS KMS although
// messages under cached data keys still open: call it at start.
//
// If the keyring is not a DecryptChecker, or has no answer
// ([envelope.ErrCheckUnsupported]; an emulator may not support dry runs),
// CheckOpen generates a data key and decrypts it, both through the cache.
//
// With a key store, CheckOpen reads the branch key from DynamoDB and decrypts
// it with KMS: messages under its active version open. If the Sealer opens both
// data keys of AWS KMS and those under branch keys, both must open: a step of a
// migration may go on when CheckOpen succeeds everywhere. (The hold goes on
// receiving if the kind opens that the last opened message of the queue had.
// If only the other kind opens, it holds once a message did not open, and lets
// single messages through.)
//
// CheckOpen is safe for concurrent use.
func (s *Sealer) CheckOpen(ctx context.Context, queue string) error {
	ctx = clippedSpans{ctx} // several dry runs may start spans side by side
	c, err := s.check(ctx, queue)
	if err != nil {
		return err
	}
	s.warnOfMaxAge(ctx, c)
	return c.withOther(ctx, c.open(ctx))
}

// check is a queue with its policy.
type check struct {
	queue   middleware.Queue
	policy  *compiledPolicy
	context envelope.EncryptionContext // of messages sent to the queue

	unsealable error // why the settings let nothing be sent; nil: they do not
}

// check finds the policy of queue. Its error is one of configuration, and
// concerns both halves.
func (s *Sealer) check(ctx context.Context, queue string) (*check, error) {
	q, err := s.queue(queue)
	if err != nil {
		return nil, err
	}
	s.codec.counters.begin(ctx, q)
	policy, err := s.codec.table.find(q)
	if err != nil {
		return nil, err
	}
	ec, err := s.codec.sendContext(policy, q)
	if err != nil {
		return nil, err
	}
	_, unsealable := s.codec.table.findToSeal(q)
	return &check{q, policy, ec, unsealable}, nil
}

// seal returns a data key to seal with. It is nil, without an error, if nothing
// is sealed.
func (c *check) seal(ctx context.Context) (*envelope.DataKey, error) {
	if c.unsealable != nil {
		return nil, c.unsealable
	}
	if c.policy.NoSeal {
		return nil, nil
	}
	return c.policy.keyring.GenerateDataKey(ctx, c.context)
}

// decrypt decrypts a generated data key.
func (c *check) decrypt(ctx context.Context, key *envelope.DataKey) error {
	_, err := c.policy.keyring.DecryptDataKey(ctx, key.EncryptedDataKeys(), c.context)
	return err
}

// sealing is the keyring that seals, without one that only opens.
func (c *check) sealing() cache.Source {
	if m, ok := c.policy.keyring.(*mixedSource); ok {
		return m.seals
	}
	return c.policy.keyring
}

// withOther returns the error of both kinds of data keys, if the keyring opens
// two. err is that of the kind that it seals with.
func (c *check) withOther(ctx context.Context, err error) error {
	m, ok := c.policy.keyring.(*mixedSource)
	if !ok {
		return err
	}
	own, other, name := "AWS KMS", m.branch, "branch keys"
	if m.seals == m.branch {
		own, other, name = name, m.kms, own
	}
	if err != nil {
		err = fmt.Errorf("messages under %s: %w", own, err)
	}
	otherErr := c.ask(ctx, other)
	if otherErr == nil || errors.Is(otherErr, envelope.ErrCheckUnsupported) { // nothing can be generated under it to try
		return err
	}
	otherErr = fmt.Errorf("messages under %s: %w", name, otherErr)
	if err == nil {
		return otherErr
	}
	return fmt.Errorf("%w; %w", err, otherErr)
}

// ask asks kr, with no data key. It returns [envelope.ErrCheckUnsupported] if
// there is no answer.
func (c *check) ask(ctx context.Context, kr cache.Source) error {
	err := kr.CheckDecrypt(ctx, c.context)
	if errors.Is(err, envelope.ErrCheckUnsupported) && missesCiphertext(err) {
		// An emulator without dry runs complains about the missing ciphertext. If it
		// refused the key, it would not look at the ciphertext.
		return nil
	}
	return err
}

// open asks the keyring that seals; if it has no answer, open generates and
// decrypts a data key.
func (c *check) open(ctx context.Context) error {
	unanswered := c.ask(ctx, c.sealing())
	if !errors.Is(unanswered, envelope.ErrCheckUnsupported) {
		return unanswered
	}
	key, err := c.policy.keyring.GenerateDataKey(ctx, c.context)
	if err != nil {
		return fmt.Errorf("%w: %w: %w", errOpenUnchecked, unanswered, err)
	}
	return c.decrypt(ctx, key)
}

func missesCiphertext(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains([]string{"ValidationException", "InvalidCiphertextException", "IncorrectKeyException"}, api.ErrorCode())
}
