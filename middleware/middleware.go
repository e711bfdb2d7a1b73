package middleware

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/internal/optfn"
)

// Options configures a [Middleware]. The zero value is ready for use.
type Options struct {
	// OnWithheld, if not nil, is called for each message that was received but
	// is not delivered, in the order of the response, before the receive
	// returns. It may be called concurrently, must return soon, and must not
	// modify the error.
	OnWithheld func(context.Context, *OpenError)

	// OnEmptied, if not nil, is called for each receive that returns an empty
	// result instead of an error (see [Admission]), with that error. It may be
	// called concurrently, must return soon, and must not modify the error.
	OnEmptied func(context.Context, Queue, error)
}

// Middleware runs a [Codec] inside SQS clients. Make one with [New]. It is safe
// for concurrent use, and one value may be installed in any number of clients.
// A nil or zero Middleware refuses every call.
type Middleware struct {
	codec      Codec
	names      []string // the codec's attribute names
	onWithheld func(context.Context, *OpenError)
	onEmptied  func(context.Context, Queue, error)
	sdk        resolvers
}

// New returns a middleware that runs c.
func New(c Codec, optFns ...func(*Options)) (*Middleware, error) {
	if c == nil {
		return nil, errors.New("middleware: codec is nil")
	}
	if v := reflect.ValueOf(c); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, fmt.Errorf("middleware: codec is a nil %T", c)
	}
	names := slices.Clone(c.AttributeNames())
	if slices.Contains(names, "") {
		return nil, errors.New("middleware: codec has an empty attribute name")
	}
	var o Options
	if err := optfn.Apply(&o, optFns); err != nil {
		return nil, fmt.Errorf("middleware: %w", err)
	}
	return &Middleware{codec: c, names: names, onWithheld: o.OnWithheld, onEmptied: o.OnEmptied, sdk: sdkResolvers()}, nil
}

func (m *Middleware) usable() bool { return m != nil && m.codec != nil }

// SealMessage returns a copy of in as an installed client would send it to q,
// for messages that reach the queue without an SQS client of this process. The
// result must go out through a client that has no middleware installed, or it
// is sealed twice. The input is not modified.
//
// The limits of SQS are checked. The error is the codec's own, or implements
// smithy.APIError with the code that SQS would answer.
func (m *Middleware) SealMessage(ctx context.Context, q Queue, in *sqs.SendMessageInput) (*sqs.SendMessageInput, error) {
	switch {
	case !m.usable():
		return nil, ErrUninitialized
	case in == nil:
		return nil, errors.New("sealq: the SendMessageInput is nil")
	}
	written := *in
	if written.MessageBody == nil {
		return nil, errNoBody()
	}
	own := &ownStrings{body: *written.MessageBody}
	readOnce(&written)
	sealed, err := m.seal(ctx, q, []types.SendMessageBatchRequestEntry{own.entry(&written)})
	if err != nil {
		return nil, err
	}
	if sealed[0].Err != nil {
		return nil, sealed[0].Err
	}
	return withContent(&written, sealed[0].Content), nil
}

// SealEntries is SealMessage for several messages; q may also be a topic. The
// error of one entry is in its Sealed.Err. An error of the call concerns all
// entries. On a FIFO queue or topic the error of one entry does too, and the
// others then need no Content. The number of entries and their total size are
// not checked.
//
// Each entry must have an ID and a body, which may be empty. The results have
// the length and the order of entries and share no map with them. entries is
// not modified.
func (m *Middleware) SealEntries(ctx context.Context, q Queue, entries []types.SendMessageBatchRequestEntry) ([]Sealed, error) {
	if !m.usable() {
		return nil, ErrUninitialized
	}
	own, complete := ownEntries(entries)
	if !complete {
		return nil, errors.New("sealq: an entry has no ID or no body")
	}
	return m.seal(ctx, q, own)
}

// OpenMessages opens messages that were received from q without an installed
// client (a Lambda event, a pipe, an archive). It returns what such a client
// would deliver, and a report of each other message, both in order. Messages
// keep all attributes but the codec's own. Attributes and system attributes
// must be those that SQS sent; without a MessageGroupId, a message of a FIFO
// queue counts as a member of every group. Delivered messages have the codec's
// Info.
//
// It stops waiting for the codec before the deadline of ctx, by a twentieth of
// the time that is left or 500 milliseconds, whichever is less, and returns
// within that, so that its caller can still report. If ctx has no deadline, it
// waits for 10 seconds in all. Messages that can be opened without waiting are
// still opened; the others are reported as Temporary. If ctx is cancelled, all
// messages that are not opened yet are reported as Temporary.
//
// [Options.OnWithheld] is called for the reported ones. The messages are not
// modified.
func (m *Middleware) OpenMessages(ctx context.Context, q Queue, msgs []types.Message) ([]Delivered, []*OpenError) {
	if !m.usable() {
		return nil, withholdAll(q, msgs, ErrUninitialized)
	}
	if len(msgs) == 0 {
		return nil, nil
	}
	opened := m.sort(q, msgs, m.openInTime(ctx, q, msgs), receiver{})
	m.report(ctx, opened.withheld)
	if len(opened.delivered) == 0 {
		return nil, opened.withheld
	}
	delivered := make([]Delivered, len(opened.delivered))
	for i, msg := range opened.delivered {
		delivered[i] = Delivered{msg, opened.infos[i].info}
	}
	return delivered, opened.withheld
}

// withContent returns a copy of in, which was read once, with another content.
func withContent(in *sqs.SendMessageInput, c Content) *sqs.SendMessageInput {
	out := *in
	out.MessageBody = aws.String(c.Body)
	out.MessageAttributes = c.Attributes
	out.MessageDeduplicationId = c.DeduplicationID
	return &out
}
