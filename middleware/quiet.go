package middleware

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

// maxWait is the longest WaitTimeSeconds (SQS API reference: ReceiveMessage).
const maxWait = 20 * time.Second

// minWait is the shortest time that a refused receive takes, so that a loop
// without long polls does not turn at the speed of the processor.
const minWait = time.Second

// empty ends a receive that began at began by an empty result in place of err
// (see [Admission]).
//
// A receive that was refused lasts as long as it would wait for a message, or
// its caller's loop would turn at the speed of the processor. One that brought
// messages ends at once. The next one brings others, as these are invisible
// now, and there may be healthy ones among them: if the call waited here, each
// message that does not open would hold up those behind it for WaitTimeSeconds.
func (s *sealer) empty(ctx context.Context, q Queue, waitSeconds int32, began time.Time, md smithymiddleware.Metadata, err error) (
	smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error,
) {
	if failed, received := errors.AsType[*ReceiveError](err); received {
		md.Set(withheldKey{}, failed.Withheld)
	} else {
		polling := min(max(time.Duration(waitSeconds)*time.Second, minWait), maxWait)
		timer := time.NewTimer(time.Until(began.Add(polling)))
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		if err := ctx.Err(); err != nil {
			// The type that the SDK has for this.
			return smithymiddleware.InitializeOutput{}, md, &smithy.CanceledError{Err: err}
		}
	}
	if s.m.onEmptied != nil {
		s.m.onEmptied(ctx, q, err)
	}
	return smithymiddleware.InitializeOutput{Result: &sqs.ReceiveMessageOutput{}}, md, nil
}
