package sqsx_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// regions is a queue of a consumer that may decrypt under a key of another
// Region, too.
type regions struct {
	*world
	url       string
	here      *sqs.Client // seals under the consumer's own key
	elsewhere *sqs.Client // under the key of the other Region
	otherKey  string      // that key
}

func newRegions(t *testing.T) *regions {
	w := newWorld(t)
	r := &regions{world: w, url: w.queue("orders", "VisibilityTimeout", "30")}
	cfg := w.cfg
	cfg.Region = "eu-west-1"
	key, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	r.otherKey = *key.KeyMetadata.Arn
	r.here = w.client()
	sealer, err := sqsx.NewFromConfig(w.cfg, r.otherKey)
	if err != nil {
		t.Fatal(err)
	}
	r.elsewhere = sqs.NewFromConfig(w.cfg, sealer.Install)
	return r
}

func (r *regions) consumer() *sqsx.Sealer {
	return r.sealer(func(o *sqsx.Options) {
		o.KMSKeyring.DecryptKeys = []string{r.otherKey}
	})
}

// fault makes every Decrypt under the other Region's key hang, or fail at once.
func (r *regions) fault(hangs bool) {
	r.server.Intercept(func(req *sqsxtest.Request) error {
		if req.Action != "kms:Decrypt" || !strings.Contains(string(req.Body), r.otherKey) {
			return nil
		}
		if hangs {
			<-req.Context().Done()
			return req.Context().Err()
		}
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	})
}

// send sends n messages in one second, in ten bursts. One in a hundred
// under the other Region's key. Bodies are the time of sending.
func (r *regions) send(t *testing.T, n int) {
	for i := range n {
		client := r.here
		if i%100 == 50 {
			client = r.elsewhere
		}
		_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &r.url, MessageBody: aws.String(time.Now().Format(time.RFC3339Nano))})
		if err != nil {
			t.Fatal(err)
		}
		if (i+1)%(n/10) == 0 {
			time.Sleep(time.Second / 10)
		}
	}
}

// waits are the times from the sending of messages to their delivery.
type waits struct {
	mu    sync.Mutex
	waits []time.Duration
}

// consume runs so many loops until the returned function is called, which
// returns how long each message waited, sorted.
func (r *regions) consume(t *testing.T, client *sqs.Client, loops int, work time.Duration) (stop func() []time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	w := new(waits)
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for ctx.Err() == nil {
				out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &r.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
				if err != nil {
					continue
				}
				now := time.Now()
				for _, m := range out.Messages {
					sent, err := time.Parse(time.RFC3339Nano, *m.Body)
					if err != nil {
						t.Errorf("body %q: %v", *m.Body, err)
					}
					w.mu.Lock()
					w.waits = append(w.waits, now.Sub(sent))
					w.mu.Unlock()
					if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &r.url, ReceiptHandle: m.ReceiptHandle}); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				}
				time.Sleep(work)
			}
		})
	}
	return func() []time.Duration {
		cancel()
		wg.Wait()
		slices.Sort(w.waits)
		return w.waits
	}
}

// wantUnslowed checks that what was sent at 200 messages a second for so long
// was delivered as fast.
func wantUnslowed(t *testing.T, waits []time.Duration, during time.Duration) {
	t.Helper()
	rate := float64(len(waits)) / during.Seconds()
	p50, p99 := waits[len(waits)/2], waits[len(waits)*99/100]
	t.Logf("%.1f messages/s, p50 %v, p99 %v, slowest %v", rate, p50, p99, waits[len(waits)-1])
	if rate < 190 || p50 >= 50*time.Millisecond {
		t.Errorf("got %.1f messages/s and a median of %v, want at least 190 and less than 50ms", rate, p50)
	}
}

// TestUnreachableRegionSlowsNobody: a key of another Region among DecryptKeys
// that hangs, or fails at once, with 1 % of the messages under it.
func TestUnreachableRegionSlowsNobody(t *testing.T) {
	t.Parallel()
	for name, hangs := range map[string]bool{"hangs": true, "fails at once": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const perSecond, loops, during = 200, 4, 40 * time.Second
				r := newRegions(t)
				client := sqs.NewFromConfig(r.cfg, r.consumer().Install)
				r.fault(hangs)
				stop := r.consume(t, client, loops, 10*time.Millisecond)
				for range int(during / time.Second) {
					r.send(t, perSecond)
				}
				wantUnslowed(t, stop(), during)
			})
		})
	}
}

// junk returns a function that puts a message into the queue whose encrypted
// data keys, one under each of keys, decrypt nowhere. Anyone who may send can
// write it.
func (r *regions) junk(t *testing.T, keys ...string) (put func()) {
	body, header := r.sealed("orders", "good")
	n := 0
	return func() {
		r.put(r.url, badMessage{body: body, attributes: sealqAttribute(altered(t, header, func(h *envelope.Header) {
			h.EncryptedDataKeys = nil
			for _, key := range keys {
				n++
				h.EncryptedDataKeys = append(h.EncryptedDataKeys, junkKeys(key, n, 1)...)
			}
		}))})
	}
}

// TestJunkUnderSeveralKeysSlowsNobody: one message in a hundred names the
// consumer's own key and one that cannot be reached, and decrypts under
// neither.
func TestJunkUnderSeveralKeysSlowsNobody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ hangs, ownFirst bool }{
		"hangs, own key first": {true, true},
		"hangs, own key last":  {true, false},
		"fails at once":        {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const perSecond, loops, during = 200, 4, 20 * time.Second
				r := newRegions(t)
				client := sqs.NewFromConfig(r.cfg, r.consumer().Install)
				r.fault(test.hangs)
				keys := []string{r.otherKey, r.key}
				if test.ownFirst {
					slices.Reverse(keys)
				}
				junk := r.junk(t, keys...)
				stop := r.consume(t, client, loops, 10*time.Millisecond)
				for i := range int(during/time.Second) * 10 {
					for j := range perSecond / 10 {
						if i%5 == 0 && j == i/5%20 {
							junk()
						}
						send(t, r.here, r.url, time.Now().Format(time.RFC3339Nano))
					}
					time.Sleep(time.Second / 10)
				}
				wantUnslowed(t, stop(), during)
			})
		})
	}
}

// TestJunkUnderAnUnreachableKeyOnAQuietQueue: no fetch has shown lately that
// the consumer's own key can be reached, and for two minutes five messages a
// second decrypt nowhere, under the key that hangs. The healthy one after them
// does not wait for their turns.
func TestJunkUnderAnUnreachableKeyOnAQuietQueue(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		alias bool // the consumer knows its key by an alias
		both  bool // the junk names both keys, not only the one that hangs
		warm  bool // the consumer opened a message six minutes before
	}{
		"new process":            {},
		"new process, alias":     {alias: true},
		"new process, both keys": {both: true},
		"warm, alias, both keys": {alias: true, both: true, warm: true},
		"warm":                   {warm: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const during, perSecond = 2 * time.Minute, 5
				r := newRegions(t)
				keyID, names := r.key, []string{r.otherKey}
				if test.alias {
					keyID = "alias/own"
					if _, err := r.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &keyID, TargetKeyId: &r.key}); err != nil {
						t.Fatal(err)
					}
				}
				if test.both {
					names = []string{r.key, r.otherKey}
				}
				consumer, err := sqsx.NewFromConfig(r.cfg, keyID, func(o *sqsx.Options) {
					o.KMSKeyring.DecryptKeys, o.Logger = []string{r.otherKey}, slog.New(slog.DiscardHandler)
				})
				if err != nil {
					t.Fatal(err)
				}
				r.fault(true)
				healthy := 0
				put := func() {
					healthy++
					send(t, r.here, r.url, time.Now().Format(time.RFC3339Nano))
				}
				stop := r.consume(t, sqs.NewFromConfig(r.cfg, consumer.Install), 1, 0)
				if test.warm {
					put()
					time.Sleep(6 * time.Minute)
				}
				junk := r.junk(t, names...)
				for range int(during/time.Second) * perSecond {
					junk()
					time.Sleep(time.Second / perSecond)
				}
				put()
				time.Sleep(time.Minute)
				waits := stop()
				t.Logf("waits %v", waits)
				if len(waits) != healthy || waits[len(waits)-1] > 15*time.Second {
					t.Errorf("%d of %d delivered, after %v; want all, within 15s", len(waits), healthy, waits)
				}
			})
		})
	}
}

// TestUnreachableRegionOnAQuietQueue: a message every minute, and one in thirty
// under the other Region's key. All of the others are delivered, and none waits
// for longer than a question about the other key takes.
func TestUnreachableRegionOnAQuietQueue(t *testing.T) {
	t.Parallel()
	for name, hangs := range map[string]bool{"hangs": true, "fails at once": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const minutes = 6 * 60
				r := newRegions(t)
				client := sqs.NewFromConfig(r.cfg, r.consumer().Install)
				r.fault(hangs)
				ctx, stop := context.WithCancel(t.Context())
				var slowest time.Duration
				delivered, sent := 0, 0
				var wg sync.WaitGroup
				wg.Go(func() {
					for ctx.Err() == nil {
						out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &r.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
						if err != nil {
							continue
						}
						for _, m := range out.Messages {
							at, _ := time.Parse(time.RFC3339Nano, *m.Body)
							slowest = max(slowest, time.Since(at))
							delivered++
							client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &r.url, ReceiptHandle: m.ReceiptHandle})
						}
					}
				})
				for i := range minutes {
					client := r.here
					if i%30 == 17 {
						client = r.elsewhere
					} else {
						sent++
					}
					if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &r.url, MessageBody: aws.String(time.Now().Format(time.RFC3339Nano))}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				stop()
				wg.Wait()
				t.Logf("%d of %d delivered, the slowest after %v", delivered, sent, slowest)
				if delivered != sent || slowest > 15*time.Second {
					t.Errorf("%d of %d delivered, the slowest after %v; want all, within 15s", delivered, sent, slowest)
				}
			})
		})
	}
}
