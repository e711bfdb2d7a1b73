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
// without long polls does not spin.
const minWait = time.Second

// empty ends a receive that began at began with an empty result instead of err
// (see [Admission]).
//
// A refused receive lasts as long as it would wait for a message, so that its
// caller's loop does not spin. A receive that brought messages ends at once:
// they are invisible now, and the next receive may bring healthy ones. If it
// waited, each message that does not open would delay those behind it by
// WaitTimeSeconds.
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
			// The SDK's own type for this.
			return smithymiddleware.InitializeOutput{}, md, &smithy.CanceledError{Err: err}
		}
	}
	if s.m.onEmptied != nil {
		s.m.onEmptied(ctx, q, err)
	}
	return smithymiddleware.InitializeOutput{Result: &sqs.ReceiveMessageOutput{}}, md, nil
}
