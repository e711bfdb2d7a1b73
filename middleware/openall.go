package middleware

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// maxReceived is the most messages of one response of SQS (SQS API
	// reference: ReceiveMessage, MaxNumberOfMessages).
	maxReceived = 10

	// maxChunks is how many chunks of maxReceived are opened at once, of larger
	// batches such as Lambda's. If each message has its own data key, that is a
	// hundred calls of the key service at once; the smallest quota of AWS KMS for
	// them is 5,500 a second in an account and Region.
	maxChunks = 10
)

// How long OpenMessages waits for the codec.
const (
	// patience is for a caller whose context has no deadline: as long as a receive
	// may take.
	patience = 10 * time.Second

	// A caller with a deadline keeps a part of its time, 1/reserve and at most
	// maxReserve, to report what was not opened. Of that, the last half is for
	// what is under way when it begins.
	reserve    = 20
	maxReserve = 500 * time.Millisecond
)

// openInTime opens messages for a caller outside of a receive, and stops while
// the caller still has time to report: unlike those of a receive, such messages
// are not lost to other consumers if they are not opened.
func (m *Middleware) openInTime(ctx context.Context, q Queue, msgs []types.Message) []Opened {
	now := time.Now()
	waits, ends := now.Add(patience), time.Time{}
	if deadline, ok := ctx.Deadline(); ok {
		kept := min(deadline.Sub(now)/reserve, maxReserve)
		waits, ends = deadline.Add(-kept), deadline.Add(-kept/2)
	}
	waiting, cancel := context.WithDeadline(ctx, waits)
	defer cancel()
	if !ends.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, ends)
		defer cancel()
	}
	return m.open(ctx, waiting, q, msgs)
}

// openChunks has the codec open msgs in chunks of the size of a receive,
// several of them in parallel.
func (m *Middleware) openChunks(ctx, waiting context.Context, q Queue, msgs []types.Message) []Opened {
	chunks := slices.Collect(slices.Chunk(msgs, maxReceived))
	opened := make([][]Opened, len(chunks))
	var (
		taken    atomic.Int64
		panicked atomic.Pointer[any]
		workers  sync.WaitGroup
	)
	for range min(len(chunks), maxChunks) {
		workers.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panicked.Store(&p)
				}
			}()
			for i := taken.Add(1) - 1; i < int64(len(chunks)); i = taken.Add(1) - 1 {
				opened[i] = m.open(ctx, waiting, q, chunks[i])
			}
		})
	}
	workers.Wait()
	// On a goroutine that is not the caller's a panic would end the process.
	if p := panicked.Load(); p != nil {
		panic(*p)
	}
	return slices.Concat(opened...)
}
