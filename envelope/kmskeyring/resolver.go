package kmskeyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
)

// After a DescribeKey call that failed, the failure is the answer for a while:
// the keyring cannot do without, and every message would ask again.
const (
	minDescribeRetry = time.Second
	maxDescribeRetry = 30 * time.Second
)

// resolver knows the key behind an alias or key ID. However many messages need
// it at once, one call is in flight.
type resolver struct {
	period time.Duration
	fetch  func(context.Context) (keyARN, error)

	mu    sync.Mutex    // guards all below
	known keyARN        // the last answer; zero if there was none
	err   error         // of the last call
	next  time.Time     // when known, or err, is due to be asked again
	retry time.Duration // the last wait after a failure
	done  chan struct{} // closed when the call in flight ends; nil if there is none
}

func (r *resolver) resolve(ctx context.Context) (keyARN, error) {
	r.mu.Lock()
	if time.Now().Before(r.next) {
		defer r.mu.Unlock()
		return r.answer()
	}
	if r.done == nil {
		r.done = make(chan struct{})
		// The call belongs to all who wait for it: the first one's end must not
		// fail the others. It has a deadline of its own, in ask.
		go r.run(context.WithoutCancel(ctx))
	}
	done := r.done
	r.mu.Unlock()
	select {
	case <-done:
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.answer()
	case <-ctx.Done():
		return keyARN{}, ctx.Err()
	}
}

func (r *resolver) run(ctx context.Context) {
	arn, err := r.fetch(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	if err == nil {
		r.known, r.retry = arn, 0
		r.next = time.Now().Add(r.period)
	} else {
		r.retry = min(max(2*r.retry, minDescribeRetry), maxDescribeRetry)
		r.next = time.Now().Add(r.retry/2 + rand.N(r.retry/2))
	}
	close(r.done)
	r.done = nil
}

// answer is what is known now. r.mu is held. The last good answer outlives an
// outage: an alias rarely moves, and what it pointed at was trusted then.
func (r *resolver) answer() (keyARN, error) {
	if r.err == nil || r.known != (keyARN{}) && errors.Is(r.err, envelope.ErrUnavailable) {
		return r.known, nil
	}
	return keyARN{}, r.err
}

// describe asks KMS which key keyID stands for.
func (k *Keyring) describe(ctx context.Context) (keyARN, error) {
	var out *kms.DescribeKeyOutput
	q := question{op: opDescribeKey, keyID: k.keyID, region: k.region, configured: true}
	err := k.ask(ctx, q, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = k.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &k.keyID, GrantTokens: slices.Clone(k.opts.GrantTokens)}, opt)
		return err
	})
	if err != nil {
		return keyARN{}, err
	}
	if out == nil || out.KeyMetadata == nil {
		return keyARN{}, q.badAnswer("it is empty")
	}
	got, err := parseARN(aws.ToString(out.KeyMetadata.Arn))
	if err != nil || !got.isKey() || !k.possible(got) {
		return keyARN{}, q.badAnswer(fmt.Sprintf("it is for key %q", shorten(aws.ToString(out.KeyMetadata.Arn))))
	}
	return got, nil
}
