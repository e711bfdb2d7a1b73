package sqsx_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

// stage is how a process is configured in a step of a migration.
type stage func(*keyStore) *sqsx.Sealer

var (
	onKMS        stage = func(k *keyStore) *sqsx.Sealer { return k.w.sealer() }
	onKMSBoth    stage = func(k *keyStore) *sqsx.Sealer { return k.w.sealer(k.openIt) }
	onBranchBoth stage = func(k *keyStore) *sqsx.Sealer { return k.sealer(k.openKMS) }
	onBranch     stage = func(k *keyStore) *sqsx.Sealer { return k.sealer() }
)

// TestMigrationToBranchKeysAndBack changes a fleet from data keys of AWS KMS to
// branch keys and back, while messages of earlier steps are in the queue and in
// the dead-letter queue. In every step each process that runs opens all of
// them.
func TestMigrationToBranchKeysAndBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.keyStore("orders")
		url, dlq := w.withDLQ("orders", 2, "VisibilityTimeout", "30")
		var sent, done []string
		receiveAll := func(step string, consumer stage, url string, finish func(body string) bool) {
			client := consumer(k).Wrap(w.plain)
			for {
				out, err := receive(t.Context(), client, url)
				if err != nil {
					t.Fatalf("%s: %v", step, err)
				}
				if withheld := sqsx.Withheld(out.ResultMetadata); len(withheld) > 0 {
					t.Fatalf("%s: withheld: %v", step, withheld[0].Err)
				}
				if len(out.Messages) == 0 {
					return
				}
				for _, m := range out.Messages {
					if !finish(*m.Body) {
						continue
					}
					done = append(done, *m.Body)
					if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, step := range []struct {
			name                 string
			producers, consumers []stage // old and new ones, that run side by side
			drains               bool    // the dead-letter queue
		}{
			{"before", []stage{onKMS}, []stage{onKMS}, false},
			{"consumers open both", []stage{onKMS}, []stage{onKMS, onKMSBoth}, false},
			{"producers change", []stage{onKMS, onBranch}, []stage{onKMSBoth}, false},
			{"consumers change", []stage{onBranch}, []stage{onKMSBoth, onBranchBoth}, false},
			{"what is left is drained", []stage{onBranch}, []stage{onBranchBoth}, true},
			{"the KMS key is removed", []stage{onBranch}, []stage{onBranchBoth, onBranch}, false},
			{"back: consumers open both", []stage{onBranch}, []stage{onBranch, onBranchBoth}, false},
			{"back: producers change", []stage{onBranch, onKMS}, []stage{onBranchBoth}, false},
			{"back: consumers change", []stage{onKMS}, []stage{onBranchBoth, onKMSBoth}, false},
			{"back: what is left is drained", []stage{onKMS}, []stage{onKMSBoth}, true},
			{"back: the key store is removed", []stage{onKMS}, []stage{onKMSBoth, onKMS}, false},
		} {
			put := func(what string) {
				for i, producer := range step.producers {
					client := producer(k).Wrap(w.plain)
					for range 2 {
						body := fmt.Sprintf("%s: %s %d of producer %d", step.name, what, len(sent), i)
						send(t, client, url, body)
						sent = append(sent, body)
					}
				}
			}
			put("message")
			put("failing")
			for i, consumer := range step.consumers {
				for _, queue := range []string{url, dlq} {
					stored := w.server.Stored(queue)
					opened, withheld := consumer(k).OpenMessages(t.Context(), arnOf("orders"), stored)
					if len(opened) != len(stored) {
						t.Fatalf("%s: consumer %d opens %d of %d messages of %s: %v", step.name, i, len(opened), len(stored), queue, withheld[0].Err)
					}
				}
			}
			// Each of the failing ones is received as often as the queue allows, by old
			// and new consumers in turn, and moves to the dead-letter queue.
			for i := range 3 {
				receiveAll(step.name, step.consumers[i%len(step.consumers)], url, func(body string) bool { return !strings.Contains(body, "failing") })
				time.Sleep(31 * time.Second)
			}
			if step.drains {
				receiveAll(step.name, step.consumers[0], dlq, func(string) bool { return true })
			}
			put("in flight") // for the next step
		}
		if n := len(w.server.Stored(dlq)); n == 0 {
			t.Error("no message was in the dead-letter queue")
		}
		receiveAll("at the end", onKMS, url, func(string) bool { return true })
		receiveAll("at the end", onKMSBoth, dlq, func(string) bool { return true })
		slices.Sort(sent)
		slices.Sort(done)
		if !slices.Equal(sent, done) {
			t.Errorf("%d messages sent, %d delivered and deleted:\n%q\n%q", len(sent), len(done), sent, done)
		}
	})
}

// TestProducersChangeFirst is the wrong order: a consumer that does not open
// messages under branch keys yet loses none of them.
func TestProducersChangeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.keyStore("orders")
		url, dlq := w.withDLQ("orders", 3, "VisibilityTimeout", "30")
		send(t, k.client(), url, "under a branch key")
		late := w.client()
		for began := time.Now(); time.Since(began) < 30*time.Minute; time.Sleep(10 * time.Second) {
			if got, err := consume(t, late, url); len(got) > 0 || err != nil && !errors.Is(err, sqsx.ErrHeld) && !errors.Is(err, sqsx.ErrNoMatchingKey) {
				t.Fatalf("got %q, %v, want the message withheld", got, err)
			}
		}
		if n := len(w.server.Stored(dlq)); n != 0 {
			t.Fatalf("%d messages dead-lettered in half an hour, want none", n)
		}
		updated := w.client(k.openIt)
		var got []string
		for began := time.Now(); time.Since(began) < time.Hour && len(got) == 0; time.Sleep(10 * time.Second) {
			got, _ = consume(t, updated, url)
		}
		if !slices.Equal(got, []string{"under a branch key"}) {
			t.Errorf("got %q after the consumer was updated, want the message", got)
		}
	})
}
