package middleware_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/middleware"
)

// TestEmptyInstead follows receives whose codec wants an empty result in place
// of an error, and others that fail all the same.
func TestEmptyInstead(t *testing.T) {
	t.Parallel()
	errHeld := errors.New("held")
	const never = -1
	for name, tc := range map[string]struct {
		plain, sealed int           // messages in the queue
		wait          int32         // WaitTimeSeconds
		admits        time.Duration // until Admit returns
		refuses       bool          // and whether it refuses
		leaves        time.Duration // until the caller does
		fail          *failure      // of SQS
		options       func(*sqs.Options)

		took                time.Duration
		delivered, withheld int
		emptied             error  // that OnEmptied gets
		err                 error  // of the call
		code                string // of the call's error
	}{
		"one does not open":               {plain: 1, wait: 20, leaves: never, withheld: 1, emptied: errTampered},
		"ten do not open":                 {plain: 10, wait: 20, leaves: never, withheld: 10, emptied: errTampered},
		"one does not open, no long poll": {plain: 1, leaves: never, withheld: 1, emptied: errTampered},
		"one of two opens":                {plain: 1, sealed: 1, wait: 20, leaves: never, delivered: 1, withheld: 1},
		"no message":                      {wait: 20, leaves: never},
		"refused after the wait":          {wait: 20, admits: 20 * time.Second, refuses: true, leaves: never, took: 20 * time.Second, emptied: errHeld},
		"refused soon":                    {wait: 20, admits: time.Second, refuses: true, leaves: never, took: 20 * time.Second, emptied: errHeld},
		"refused late":                    {wait: 20, admits: 30 * time.Second, refuses: true, leaves: never, took: 30 * time.Second, emptied: errHeld},
		"refused, no long poll":           {admits: time.Second, refuses: true, leaves: never, took: time.Second, emptied: errHeld},
		"refused at once, no long poll":   {refuses: true, leaves: never, took: time.Second, emptied: errHeld},
		"refused, longer than SQS allows": {wait: 1000, admits: time.Second, refuses: true, leaves: never, took: 20 * time.Second, emptied: errHeld},
		"refused, negative wait":          {wait: -5, admits: time.Second, refuses: true, leaves: never, took: time.Second, emptied: errHeld},
		"refused, the caller leaves":      {wait: 20, admits: time.Second, refuses: true, leaves: 5 * time.Second, took: 5 * time.Second, err: context.Canceled},
		"refused, the caller has left":    {wait: 20, admits: 20 * time.Second, refuses: true, leaves: 5 * time.Second, took: 20 * time.Second, err: context.Canceled},
		"SQS fails":                       {wait: 20, leaves: never, fail: &failure{status: 403, code: "AccessDenied"}, code: "AccessDenied"},
		"bypassed":                        {wait: 20, leaves: never, options: attacks["Serialize cleared"], err: middleware.ErrBypassed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake, start, done := &fakeSQS{}, time.Now(), 0
				codec := &toyCodec{admit: func(*sqs.ReceiveMessageInput) (middleware.Admission, error) {
					time.Sleep(tc.admits)
					admission := middleware.Admission{EmptyInstead: true, Done: func(middleware.Outcome) error {
						if done++; time.Since(start) != tc.admits {
							t.Errorf("Done ran after %v, want %v: it must not wait with the caller", time.Since(start), tc.admits)
						}
						return nil
					}}
					if tc.refuses {
						return admission, errHeld
					}
					return admission, nil
				}}
				var emptied []error
				client := fake.client(install(t, codec, func(o *middleware.Options) {
					o.OnEmptied = func(_ context.Context, q middleware.Queue, err error) {
						if q.ARN() != queueARN {
							t.Errorf("OnEmptied got queue %v, want %s", q, queueARN)
						}
						emptied = append(emptied, err)
					}
				}).Install)
				for range tc.plain {
					send(t, fake.client(), queueURL, "not sealed")
				}
				for range tc.sealed {
					send(t, client, queueURL, secret)
				}
				fake.fail = func(int, string) *failure { return tc.fail }
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.leaves != never {
					time.AfterFunc(tc.leaves, cancel)
				}
				var optFns []func(*sqs.Options)
				if tc.options != nil {
					optFns = append(optFns, tc.options)
				}
				requests := len(fake.ops())
				out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10, WaitTimeSeconds: tc.wait}, optFns...)

				if took := time.Since(start); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if done != 1 {
					t.Errorf("Done ran %d times, want once", done)
				}
				if got := len(fake.ops()) - requests; tc.refuses && got != 0 {
					t.Errorf("a refused receive made %d requests, want none", got)
				}
				if len(emptied) > 1 || (len(emptied) == 1) != (tc.emptied != nil) || len(emptied) == 1 && !errors.Is(emptied[0], tc.emptied) {
					t.Errorf("OnEmptied got %v, want %v", emptied, tc.emptied)
				}
				if tc.code != "" {
					if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != tc.code {
						t.Errorf("got error %v, want code %s", err, tc.code)
					}
					return
				}
				if tc.err != nil {
					_, cancelled := errors.AsType[*smithy.CanceledError](err)
					if !errors.Is(err, tc.err) || errors.Is(err, errHeld) || cancelled != (tc.err == context.Canceled) {
						t.Errorf("got error %v, want %v, as the SDK has it", err, tc.err)
					}
					return
				}
				if err != nil || out == nil {
					t.Fatalf("got %v and error %v, want an output", out, err)
				}
				if got, withheld := len(out.Messages), len(middleware.Withheld(out.ResultMetadata)); got != tc.delivered || withheld != tc.withheld {
					t.Errorf("delivered %d, withheld %d, want %d and %d", got, withheld, tc.delivered, tc.withheld)
				}
			})
		})
	}
}
