package lambdax

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithy "github.com/aws/smithy-go/endpoints"

	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/sqsx"
)

const (
	// maxBackOff is the longest time that a message is made invisible for. SQS
	// allows 12 hours since the receive (SQS API reference,
	// ChangeMessageVisibility). Before the request there may have been a
	// batching window of 5 minutes and an invocation of 15 (Lambda quotas).
	maxBackOff = 12*time.Hour - 5*time.Minute - 15*time.Minute

	// perRequest is the most entries of ChangeMessageVisibilityBatch.
	perRequest = 10

	// atOnce is how many of these requests run in parallel: 10,000 messages
	// are 1,000 requests.
	atOnce = 10

	// backOffTime bounds the requests of an invocation without a deadline.
	backOffTime = 10 * time.Second
)

// backOff makes messages that may succeed later invisible for as long as the
// caller says. Those that it cannot change become visible when the queue's
// timeout ends.
func (b *batch) backOff() {
	if b.o.BackOff == nil {
		return
	}
	var queues []string
	of := make(map[string][]types.ChangeMessageVisibilityBatchRequestEntry)
	groups := make(map[string]time.Duration) // what a group's first failure got
	for _, it := range b.items {
		if it.err == nil || it.handle == "" {
			continue
		}
		d, known := groups[it.group]
		if !known || it.group == "" {
			d = b.pause(it)
			groups[it.group] = d
		}
		if d <= 0 {
			continue
		}
		d = min(d, maxBackOff)
		if of[it.QueueARN] == nil {
			queues = append(queues, it.QueueARN)
		}
		of[it.QueueARN] = append(of[it.QueueARN], types.ChangeMessageVisibilityBatchRequestEntry{
			Id:                aws.String(strconv.Itoa(len(of[it.QueueARN]))),
			ReceiptHandle:     &it.handle,
			VisibilityTimeout: int32((d + time.Second - 1) / time.Second),
		})
	}
	if len(queues) == 0 {
		return
	}
	ends := time.Now().Add(backOffTime)
	if !b.deadline.IsZero() {
		// Half of what the work leaves is for the report itself.
		ends = b.deadline.Add(-b.deadline.Sub(b.works) / 2)
	}
	ctx, cancel := b.until(ends)
	defer cancel()
	for _, arn := range queues {
		b.hide(ctx, arn, of[arn])
	}
}

// pause asks the caller how long one message is to stay invisible.
func (b *batch) pause(it *item) (d time.Duration) {
	withheld, isWithheld := errors.AsType[*sqsx.OpenError](it.err)
	if isWithheld && !withheld.Temporary || errors.Is(it.err, ErrNotStarted) || errors.Is(it.err, errUnaccounted) {
		return 0
	}
	if p := recovered(func() { d = b.o.BackOff(it.Message, max(it.receives, 1)) }); p != nil {
		b.o.log().ErrorContext(b.ctx, "sealq: BackOff of lambdax panicked", slog.String("error", p.Error()), slog.String("message_id", it.id))
		return 0
	}
	return d
}

// hide changes the visibility of messages of one queue, and logs one line if
// that fails for any.
func (b *batch) hide(ctx context.Context, arn string, entries []types.ChangeMessageVisibilityBatchRequestEntry) {
	url, region, err := b.queueURL(ctx, arn)
	var mu sync.Mutex
	failed := 0
	fail := func(n int, cause error) {
		mu.Lock()
		defer mu.Unlock()
		failed, err = failed+n, cmp.Or(err, cause)
	}
	if err != nil {
		fail(len(entries), err)
	} else {
		chunks := make(chan []types.ChangeMessageVisibilityBatchRequestEntry)
		var workers sync.WaitGroup
		for range min(atOnce, (len(entries)+perRequest-1)/perRequest) {
			workers.Go(func() {
				for chunk := range chunks {
					out, err := b.o.SQS.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: chunk},
						func(o *sqs.Options) { o.Region = region })
					if err != nil {
						fail(len(chunk), err)
					} else if len(out.Failed) > 0 {
						fail(len(out.Failed), errors.New(aws.ToString(out.Failed[0].Code)+": "+aws.ToString(out.Failed[0].Message)))
					}
				}
			})
		}
		for chunk := range slices.Chunk(entries, perRequest) {
			chunks <- chunk
		}
		close(chunks)
		workers.Wait()
	}
	if failed > 0 {
		b.o.log().WarnContext(b.ctx, "sealq: back-off failed",
			slog.String("queue", arn),
			slog.Int("failed", failed),
			slog.Int("of", len(entries)),
			slog.String("error", err.Error()),
			slog.String("remedy", "nothing is lost: the messages become visible when the queue's visibility timeout ends; the function's role needs sqs:ChangeMessageVisibility"),
		)
	}
}

// queueURL is the URL of a queue at the endpoint that the client uses. SQS
// reads the account and the name in it; GetQueueUrl would need one more
// permission.
func (b *batch) queueURL(ctx context.Context, arn string) (url, region string, err error) {
	a, err := awsname.ParseQueueARN(arn)
	if err != nil {
		return "", "", err
	}
	o := b.o.SQS.Options()
	resolver := o.EndpointResolverV2
	if resolver == nil {
		resolver = sqs.NewDefaultEndpointResolverV2()
	}
	var endpoint smithy.Endpoint
	if endpoint, err = resolver.ResolveEndpoint(ctx, sqs.EndpointParameters{Region: &a.Region, Endpoint: o.BaseEndpoint}); err != nil {
		return "", "", err
	}
	return strings.TrimSuffix(endpoint.URI.String(), "/") + "/" + a.Account + "/" + a.Resource, a.Region, nil
}
