package sqsx

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/tracing"

	"github.com/sealq/sealq/internal/fifo"
	"github.com/sealq/sealq/middleware"
)

// Properties of the spans sealq.Seal and sealq.Open. They hold the queue's name
// and numbers, and no contents of messages.
const (
	propertyQueue     = "sealq.queue"
	propertyMessages  = "sealq.messages"
	propertySealed    = "sealq.sealed"
	propertyFailed    = "sealq.failed"
	propertyDelivered = "sealq.delivered"
	propertyWithheld  = "sealq.withheld"
)

// endSeal ends the span of a send, with the numbers of messages that were
// sealed and that failed.
func endSeal(span tracing.Span, q middleware.Queue, messages, sealed int) {
	if traced(span) {
		describe(span, q, messages)
		span.SetProperty(propertySealed, sealed)
		span.SetProperty(propertyFailed, messages-sealed)
		failIf(span, sealed < messages)
	}
	span.End()
}

// endOpen ends the span of a receive, with the numbers of messages that are
// delivered and withheld.
func endOpen(span tracing.Span, q middleware.Queue, messages []types.Message, opened []middleware.Opened) {
	if traced(span) {
		delivered := deliverable(q, messages, opened)
		describe(span, q, len(messages))
		span.SetProperty(propertyDelivered, delivered)
		span.SetProperty(propertyWithheld, len(messages)-delivered)
		failIf(span, delivered < len(messages))
	}
	span.End()
}

// traced reports whether the span has a tracer. Without one, a call does not
// need to build the queue's name.
func traced(span tracing.Span) bool {
	nobody, _ := tracing.GetSpan(context.Background())
	return span != nobody
}

func describe(span tracing.Span, q middleware.Queue, messages int) {
	span.SetProperty(propertyQueue, q.String())
	span.SetProperty(propertyMessages, messages)
}

func failIf(span tracing.Span, failed bool) {
	if failed {
		span.SetStatus(tracing.SpanStatusError)
	}
}

// deliverable is the number of messages that will be delivered: those that
// open, except those of a FIFO queue behind one of their group that does not.
func deliverable(q middleware.Queue, messages []types.Message, opened []middleware.Opened) int {
	var behind []int
	if q.FIFO() {
		behind = fifo.HeldBehind(messages, func(i int) bool { return opened[i].Err != nil })
	}
	n := 0
	for i, o := range opened {
		if o.Err == nil && (behind == nil || behind[i] < 0) {
			n++
		}
	}
	return n
}

// startSpan starts a span from whose context several goroutines may start
// others. smithy keeps the spans of a context in a slice, and several
// goroutines may append to it: with spare capacity in the slice, two calls of
// KMS would write the same element.
func startSpan(ctx context.Context, name string) (context.Context, tracing.Span) {
	ctx, span := tracing.StartSpan(clippedSpans{ctx}, name)
	return clippedSpans{ctx}, span
}

// clippedSpans returns that slice without spare capacity.
type clippedSpans struct{ context.Context }

func (c clippedSpans) Value(key any) any {
	v := c.Context.Value(key)
	if spans, ok := v.([]tracing.Span); ok {
		return slices.Clip(spans)
	}
	return v
}
