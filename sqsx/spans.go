package sqsx

import (
	"context"
	"slices"

	"github.com/aws/smithy-go/tracing"
)

// startSpan starts a span from whose context several goroutines may start
// others. smithy keeps the spans of a context in a slice, and appends to it
// without regard to who else does: with room in the slice, two calls of KMS
// would write the same element.
func startSpan(ctx context.Context, name string) (context.Context, tracing.Span) {
	ctx, span := tracing.StartSpan(clippedSpans{ctx}, name)
	return clippedSpans{ctx}, span
}

// clippedSpans hands out that slice without room.
type clippedSpans struct{ context.Context }

func (c clippedSpans) Value(key any) any {
	v := c.Context.Value(key)
	if spans, ok := v.([]tracing.Span); ok {
		return slices.Clip(spans)
	}
	return v
}
