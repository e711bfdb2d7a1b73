package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// The rotation run sends at a steady rate while data keys are replaced, by
// sealq and by the simplest cache that there is, one that fetches a key when
// the last one has expired.
const (
	rotationLatency = 300 * time.Millisecond // of the key service
	rotationPeriod  = time.Minute            // the shortest that the cache takes
	rotationSenders = 8
	rotationPace    = 20 * time.Millisecond // between two sends of one sender
)

type trace struct {
	name    string
	sends   []sent
	fetches []time.Duration // when the key service was called
}

type sent struct{ at, took time.Duration }

// rotate runs both at the same time, for d.
func rotate(d time.Duration) ([]trace, error) {
	began := time.Now()
	var mu sync.Mutex
	fetches := make(map[string][]time.Duration)
	service := func(name string) *keyService {
		return &keyService{latency: rotationLatency, called: func() {
			mu.Lock()
			defer mu.Unlock()
			fetches[name] = append(fetches[name], time.Since(began))
		}}
	}
	sealer, err := newSealer(service("sealq"), func(o *sqsx.Options) {
		o.Cache.ReusePeriod = rotationPeriod
		o.Cache.FetchTimeout = time.Second
	})
	if err != nil {
		return nil, err
	}
	q := &queue{}
	sealed, plain := q.client(sealer.Install), q.client()
	waiting := &waitingCache{next: service("waiting")}
	body := text(1 << 10)
	send := map[string]operation{
		"sealq": func() error {
			_, err := sealed.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: &body})
			return err
		},
		"waiting": func() error {
			m, err := envelope.Seal(context.Background(), waiting, []byte(body), sealContext)
			if err != nil {
				return err
			}
			_, err = plain.SendMessage(context.Background(), &sqs.SendMessageInput{
				QueueUrl: aws.String(queueURL), MessageBody: aws.String(base64.StdEncoding.EncodeToString(m.Body)), MessageAttributes: header(m.Header),
			})
			return err
		},
	}
	var wg sync.WaitGroup
	traces := []trace{{name: "sealq"}, {name: "waiting"}}
	var failed error
	for i := range traces {
		for sender := range rotationSenders {
			wg.Go(func() {
				var mine []sent
				// A send is timed from when it was due: those that are late
				// because one before them waited have waited as well.
				for due := began.Add(rotationPace / rotationSenders * time.Duration(sender)); ; due = due.Add(rotationPace) {
					at := due.Sub(began)
					if at > d {
						break
					}
					time.Sleep(time.Until(due))
					if err := send[traces[i].name](); err != nil {
						mu.Lock()
						failed = err
						mu.Unlock()
						return
					}
					mine = append(mine, sent{at, time.Since(due)})
				}
				mu.Lock()
				defer mu.Unlock()
				traces[i].sends = append(traces[i].sends, mine...)
			})
		}
	}
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	for i := range traces {
		traces[i].fetches = fetches[traces[i].name]
		slices.SortFunc(traces[i].sends, func(a, b sent) int { return int(a.at - b.at) })
	}
	return traces, nil
}

// steady reports whether no fetch other than the first was under way at a time,
// or had just been.
func (t trace) steady(at time.Duration) bool {
	for _, f := range t.fetches {
		if at > f-50*time.Millisecond && at < f+2*rotationLatency {
			return false
		}
	}
	return true
}

// started is when the first key has arrived and the first connections of memory
// and code are warm.
const started = 5 * time.Second

// latencies are those of the sends after the start that keep accepts, in
// milliseconds.
func (t trace) latencies(keep func(at time.Duration) bool) []float64 {
	var all []float64
	for _, s := range t.sends {
		if s.at > started && keep(s.at) {
			all = append(all, s.took.Seconds()*1e3)
		}
	}
	return all
}

func (t trace) rotations() int { return len(t.fetches) - 1 }

// facts says what the trace shows.
func (t trace) facts(what string) []fact {
	all := t.latencies(func(time.Duration) bool { return true })
	steady := t.latencies(t.steady)
	during := t.latencies(func(at time.Duration) bool { return !t.steady(at) })
	if len(steady) == 0 || len(during) == 0 {
		return nil
	}
	ratio := quantile(all, 0.999) / quantile(steady, 0.999)
	return []fact{
		{
			what: fmt.Sprintf("p99.9 of send latency over %d rotations, key service at 300 ms, over that between rotations%s", t.rotations(), what), target: "≤ 1.2",
			got: fmt.Sprintf("%.2f", ratio), ok: ratio <= 1.2*tolerance,
		},
		{
			what: "longest of the sends within 0.6 s of a fetch" + what, target: "",
			got: fmt.Sprintf("%.1f ms (between rotations: %.1f ms)", slices.Max(during), slices.Max(steady)), ok: true,
		},
	}
}

// waitingCache fetches a key when there is none or the last one has expired,
// and lets callers wait for it.
type waitingCache struct {
	next envelope.Keyring

	mu      sync.Mutex
	key     *envelope.DataKey
	expires time.Time
}

func (c *waitingCache) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key == nil || !time.Now().Before(c.expires) {
		key, err := c.next.GenerateDataKey(ctx, ec)
		if err != nil {
			return nil, err
		}
		c.key, c.expires = key, time.Now().Add(rotationPeriod)
	}
	return c.key, nil
}

func (c *waitingCache) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	return c.next.DecryptDataKey(ctx, edks, ec)
}
