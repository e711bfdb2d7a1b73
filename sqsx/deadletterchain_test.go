package sqsx_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// TestDeadLetterQueueBehindADeadLetterQueue moves a message twice: SQS names the
// queue that it came from last, and the message is bound to the first. It opens
// where the first is in AcceptQueues.
func TestDeadLetterQueueBehindADeadLetterQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		urls := map[string]string{"orders-dlq-dlq": w.queue("orders-dlq-dlq")}
		redrive := func(to string) string {
			return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":1}`, arnOf(to))
		}
		urls["orders-dlq"] = w.queue("orders-dlq", "RedrivePolicy", redrive("orders-dlq-dlq"))
		urls["orders"] = w.queue("orders", "RedrivePolicy", redrive("orders-dlq"))
		send(t, w.client(), urls["orders"], "good")
		for _, name := range []string{"orders", "orders", "orders-dlq", "orders-dlq"} {
			if _, err := receive(t.Context(), w.client(), urls[name]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(31 * time.Second)
		}
		last := urls["orders-dlq-dlq"]
		if _, err := receive(t.Context(), w.client(), last); !errors.Is(err, envelope.ErrContextMismatch) {
			t.Errorf("got error %v, want ErrContextMismatch", err)
		}
		time.Sleep(5 * time.Minute) // it is parked
		accepting := w.client(func(o *sqsx.Options) {
			o.Queues = map[string]sqsx.Policy{"orders-dlq-dlq": {AcceptQueues: []string{arnOf("orders")}}}
		})
		out, err := receive(t.Context(), accepting, last)
		if err != nil || !slices.Equal(bodies(out.Messages), []string{"good"}) {
			t.Errorf("with AcceptQueues: got error %v, want the message", err)
		}
	})
}
