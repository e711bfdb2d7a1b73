package kmskeyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/backoff"
	"github.com/sealq/sealq/internal/clock"
	"github.com/sealq/sealq/internal/contain"
)

// After a DescribeKey call that failed, the failure is the answer for a while:
// the keyring needs an answer for every message, and each would ask again.
const (
	minDescribeRetry = time.Second
	maxDescribeRetry = 30 * time.Second
)

// Messages that name another key than the one remembered ask for a DescribeKey
// call, and any sender can write such messages.
const (
	// minDescribeAgain is the least time from one such call to the next.
	minDescribeAgain = time.Second

	// describePatience is how long one of them waits for an answer.
	describePatience = time.Second

	// describeGlance takes its place for 1 second, doubling to 30, after messages
	// that waited longer in vain. A receive waits for all of its messages, and
	// under a flood every receive has such a message.
	describeGlance     = 100 * time.Millisecond
	minDescribeRespite = time.Second
	maxDescribeRespite = 30 * time.Second
)

// errPaced withholds a message that would have to wait, until a later receive.
var errPaced = errors.New("a message is not to wait now")

// resolver finds the key behind an alias or key ID. However many messages need
// it at once, it makes one call.
type resolver struct {
	period time.Duration
	fetch  func(context.Context) (awsname.KeyARN, error)

	now func() time.Time

	mu      sync.Mutex     // guards all below
	known   awsname.KeyARN // the last answer; zero if there was none
	err     error          // of the last call
	ended   time.Time      // the last call
	rest    time.Duration  // how long known, or err, is the answer from then on
	failed  int            // calls in a row that failed
	calls   uint64         // calls that began
	began   time.Time      // the last of them
	call    *describing    // in flight; nil if there is none
	waiting bool           // a message waits until a call may be made

	vain     int       // messages in a row that waited long, for another answer than theirs
	vainLast time.Time // the last of them
}

// describing is a DescribeKey call in flight.
type describing struct {
	done   chan struct{} // closed when it ends, or is forgotten
	cancel context.CancelFunc
}

// resolve returns the key that is remembered, or asks if that is due.
func (r *resolver) resolve(ctx context.Context) (awsname.KeyARN, error) {
	for {
		r.mu.Lock()
		if r.fresh() {
			defer r.mu.Unlock()
			return r.answer()
		}
		call := r.ask(ctx)
		r.mu.Unlock()
		select {
		case <-call.done:
		case <-ctx.Done():
			return awsname.KeyARN{}, ctx.Err()
		}
	}
}

// check returns the key, or why it is not known. It asks if the last call
// failed, also where its failure is remembered.
func (r *resolver) check(ctx context.Context) (awsname.KeyARN, error) {
	n := r.begun()
	for {
		r.mu.Lock()
		if r.err == nil && r.fresh() || r.call == nil && r.calls > n {
			defer r.mu.Unlock()
			return r.answer()
		}
		call := r.ask(ctx)
		r.mu.Unlock()
		select {
		case <-call.done:
		case <-ctx.Done():
			return awsname.KeyARN{}, ctx.Err()
		}
	}
}

// begun returns how many calls have begun.
func (r *resolver) begun() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// fresh reports whether the last answer need not be asked for again. r.mu is
// held.
func (r *resolver) fresh() bool { return clock.Elapsed(r.ended, r.now()) < r.rest }

// resolveAfter returns the answer to a call later than the first n, or an
// earlier answer that is welcome. Callers wait for a call in flight, or one
// that may be made now, for describePatience at most. If no call may be made
// yet, one caller waits until then, and the others get errPaced. During a
// respite no caller waits for its turn, or longer than describeGlance for an
// answer.
func (r *resolver) resolveAfter(ctx context.Context, n uint64, welcome func(awsname.KeyARN) bool) (awsname.KeyARN, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := r.now()
	known, err := r.await(ctx, n, welcome)
	switch {
	case err == nil && welcome(known):
		r.vain = 0
	case err == nil || err == errPaced:
		// Callers that waited at the same time count as one.
		if now := r.now(); clock.Elapsed(began, now) > describeGlance && !r.respite(now) {
			r.vain, r.vainLast = r.vain+1, now
		}
	}
	return known, err
}

// respite reports whether the last messages that waited did so in vain. r.mu is
// held.
func (r *resolver) respite(now time.Time) bool {
	return r.vain > 0 && clock.Elapsed(r.vainLast, now) < backoff.Exponential(minDescribeRespite, maxDescribeRespite, r.vain)
}

// await is resolveAfter, without counting vain waits. r.mu is held, except
// while it waits.
func (r *resolver) await(ctx context.Context, n uint64, welcome func(awsname.KeyARN) bool) (awsname.KeyARN, error) {
	for {
		switch {
		case r.err != nil && r.fresh():
			return awsname.KeyARN{}, r.err
		case r.call == nil && r.err == nil && r.known != (awsname.KeyARN{}) && (r.calls > n || welcome(r.known)):
			return r.known, nil
		}
		patience, respite := describePatience, r.respite(r.now())
		if respite {
			patience = describeGlance
		}
		out := clock.Elapsed(r.began, r.now())
		if r.call == nil && out < minDescribeAgain {
			if r.waiting || respite {
				return awsname.KeyARN{}, errPaced
			}
			r.waiting = true
			err := r.wait(ctx, nil, minDescribeAgain-out)
			r.waiting = false
			if err != errPaced { // ctx's
				return awsname.KeyARN{}, err
			}
			continue
		}
		if r.call != nil && out >= patience {
			return awsname.KeyARN{}, errPaced
		}
		if err := r.wait(ctx, r.ask(ctx).done, patience); err != nil {
			return awsname.KeyARN{}, err
		}
	}
}

// wait waits for done, or no longer than d: then it returns errPaced. r.mu is
// held, except meanwhile.
func (r *resolver) wait(ctx context.Context, done <-chan struct{}, d time.Duration) error {
	r.mu.Unlock()
	defer r.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return errPaced
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask returns the call in flight, and begins it if there is none. r.mu is held.
func (r *resolver) ask(ctx context.Context) *describing {
	if r.call == nil {
		// All callers that wait share the call: the end of the first one's context
		// must not fail the others. It has a deadline of its own, in Keyring.ask.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r.call = &describing{done: make(chan struct{}), cancel: cancel}
		r.calls++
		r.began = r.now()
		go r.run(ctx, r.call)
	}
	return r.call
}

// run makes a call and ends it, whatever the client does.
func (r *resolver) run(ctx context.Context, call *describing) {
	defer call.cancel()
	// A panic says nothing about the key, so it counts as unavailable.
	var arn awsname.KeyARN
	contain.Run("kmskeyring: DescribeKey", "the client", func() (err error) {
		arn, err = r.fetch(ctx)
		return err
	}, func(err error) { r.finish(call, arn, err) })
}

// finish records the result of a call and wakes those that wait for it.
func (r *resolver) finish(call *describing, arn awsname.KeyARN, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.call != call {
		return // forgotten
	}
	r.err, r.ended = err, r.now()
	if err == nil {
		r.known, r.failed, r.rest = arn, 0, r.period
	} else {
		r.failed++
		r.rest = backoff.Jitter(backoff.Exponential(minDescribeRetry, maxDescribeRetry, r.failed))
	}
	close(r.call.done)
	r.call = nil
}

// forget drops all earlier answers. Callers that wait for a call in flight
// start over.
func (r *resolver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.call != nil {
		r.call.cancel()
		close(r.call.done)
		r.call = nil
	}
	r.known, r.err, r.failed = awsname.KeyARN{}, nil, 0
	r.rest, r.began = 0, time.Time{}
	r.vain = 0
}

// answer is what is known now. r.mu is held. In an outage the last good answer
// stays in use: an alias rarely moves, and the key it pointed at was trusted.
func (r *resolver) answer() (awsname.KeyARN, error) {
	if r.err == nil || r.known != (awsname.KeyARN{}) && errors.Is(r.err, envelope.ErrUnavailable) {
		return r.known, nil
	}
	return awsname.KeyARN{}, r.err
}

// describe asks KMS which key keyID stands for.
func (k *Keyring) describe(ctx context.Context) (awsname.KeyARN, error) {
	var out *kms.DescribeKeyOutput
	q := question{op: opDescribeKey, keyID: k.keyID, region: k.region, configured: true}
	err := k.ask(ctx, q, func(ctx context.Context, opt func(*kms.Options)) (err error) {
		out, err = k.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &k.keyID, GrantTokens: slices.Clone(k.opts.GrantTokens)}, opt)
		return err
	})
	if err != nil {
		return awsname.KeyARN{}, err
	}
	if out == nil || out.KeyMetadata == nil {
		return awsname.KeyARN{}, q.badAnswer("it is empty")
	}
	got, err := awsname.ParseKeyARN(aws.ToString(out.KeyMetadata.Arn))
	if err != nil || !got.IsKey() || !k.possible(got) {
		return awsname.KeyARN{}, q.badAnswer(fmt.Sprintf("it is for key %q", awscall.Shorten(aws.ToString(out.KeyMetadata.Arn))))
	}
	return got, nil
}
