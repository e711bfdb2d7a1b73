package sqsx_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// sendTo sends to a standard or FIFO queue. Each body of a FIFO queue is a
// message group of its own.
func sendTo(t *testing.T, c *sqs.Client, url, body string) {
	t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
	if strings.HasSuffix(url, ".fifo") {
		in.MessageGroupId, in.MessageDeduplicationId = &body, &body
	}
	if _, err := c.SendMessage(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// TestHoldOfBothKinds: a process that opens both kinds and can open only one is
// held when messages of a queue are of the other kind. During 40 minutes none
// reaches the dead-letter queue, which takes messages after three receives, and
// afterwards all are delivered at once.
func TestHoldOfBothKinds(t *testing.T) {
	t.Parallel()
	faults := map[string]error{
		"down":   &smithy.GenericAPIError{Code: "InternalServerError", Fault: smithy.FaultServer},
		"denied": &smithy.GenericAPIError{Code: "AccessDeniedException"},
	}
	for name, fault := range faults {
		for _, queue := range []string{"orders", "orders.fifo"} {
			for stage, consumer := range map[string]stage{"seals under branch keys": onBranchBoth, "seals with KMS": onKMSBoth} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, queue, stage), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						k := w.keyStore("orders")
						url, dlq := w.withDLQ(queue, 3, "VisibilityTimeout", "30")
						producer, client := k.client(), consumer(k).Wrap(w.plain)
						var sent, got []string
						for i := range 20 {
							sent = append(sent, fmt.Sprintf("%02d", i))
							sendTo(t, producer, url, sent[i])
						}
						w.server.Intercept(func(r *sqsxtest.Request) error {
							if r.Action == "dynamodb:GetItem" {
								return fault
							}
							return nil
						})
						take := func() (err error) {
							bodies, err := consume(t, client, url)
							got = append(got, bodies...)
							return err
						}
						var err error
						for began := time.Now(); time.Since(began) < 40*time.Minute; time.Sleep(5 * time.Second) {
							err = take()
						}
						if !errors.Is(err, sqsx.ErrHeld) || !strings.Contains(err.Error(), `branch key "orders"`) {
							t.Errorf("got %v, want ErrHeld and the branch key", err)
						}
						w.server.Intercept(nil)
						for began := time.Now(); time.Since(began) < 90*time.Second; time.Sleep(time.Second) {
							take()
						}
						slices.Sort(got)
						if !slices.Equal(got, sent) {
							t.Errorf("got %q within 90 s, want %q", got, sent)
						}
						if n := len(w.server.Stored(dlq)); n > 0 {
							t.Errorf("%d messages are in the dead-letter queue, want none", n)
						}
					})
				})
			}
		}
	}
}

// TestHoldOfAMissingBranchKey: a process whose branch key ID is misspelt moves
// no message of a FIFO queue to the dead-letter queue, although it receives
// before the others do. After one receive it sees that the messages are under
// another branch key than its own, which does not exist.
func TestHoldOfAMissingBranchKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := w.keyStore("orders")
		url, dlq := w.withDLQ("orders.fifo", 3, "VisibilityTimeout", "30")
		healthy := k.client()
		k.conf.BranchKeyID = "odrers"
		misspelt := k.client()
		var sent, got []string
		for i := range 15 * 60 {
			if i < 600 {
				sent = append(sent, fmt.Sprintf("%04d", i))
				sendTo(t, healthy, url, sent[i])
			}
			_, err := consume(t, misspelt, url)
			if i > 0 && (!errors.Is(err, sqsx.ErrHeld) || !strings.Contains(err.Error(), `"odrers"`)) {
				t.Fatalf("second %d: got %v, want ErrHeld with the ID", i, err)
			}
			bodies, err := consume(t, healthy, url)
			noError(t, err)
			got = append(got, bodies...)
			time.Sleep(time.Second)
		}
		slices.Sort(got)
		if dead := len(w.server.Stored(dlq)); !slices.Equal(got, sent) || dead > 0 {
			t.Errorf("%d of %d messages delivered, %d dead-lettered, want all and none", len(got), len(sent), dead)
		}
	})
}

// TestHoldOfTheKindThatIsLeft: while messages of a queue open, messages of the
// other kind, which this process may not open any more, hold nothing.
func TestHoldOfTheKindThatIsLeft(t *testing.T) {
	t.Parallel()
	for _, queue := range []string{"orders", "orders.fifo"} {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				k := w.keyStore("orders")
				url, _ := w.withDLQ(queue, 3, "VisibilityTimeout", "30")
				producer, client := k.client(), onBranchBoth(k).Wrap(w.plain)
				var late []*sqs.SendMessageInput
				for i := range 10 {
					body := fmt.Sprint("late-", i)
					in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
					if strings.HasSuffix(queue, ".fifo") {
						in.MessageGroupId, in.MessageDeduplicationId = &body, &body
					}
					sealed, err := w.sealer().SealMessage(t.Context(), arnOf(queue), in) // a data key each
					noError(t, err)
					late = append(late, sealed)
				}
				sendTo(t, w.client(), url, "with-KMS")
				sendTo(t, producer, url, "first")
				got, err := consume(t, client, url)
				if err != nil || !slices.Equal(got, []string{"first", "with-KMS"}) {
					t.Fatalf("got %q, %v, want both messages", got, err)
				}
				if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String(w.key)}); err != nil {
					t.Fatal(err)
				}
				sendTo(t, producer, url, "second")
				if got, err = consume(t, client, url); err != nil || len(got) != 1 {
					t.Fatalf("got %q, %v, want the message", got, err)
				}
				time.Sleep(11 * time.Minute) // what is cached no longer counts
				for i := range late {
					_, err := w.plain.SendMessage(t.Context(), late[i])
					noError(t, err)
					if got, err := consume(t, client, url); err == nil || len(got) > 0 {
						t.Fatalf("got %q, %v, want the message withheld", got, err)
					}
					body := fmt.Sprint("message-", i)
					sendTo(t, producer, url, body)
					began := time.Now()
					for got = nil; len(got) == 0 && time.Since(began) < time.Minute; {
						got, _ = consume(t, client, url)
					}
					if took := time.Since(began); !slices.Equal(got, []string{body}) || took > 2*time.Second {
						t.Fatalf("%d: got %q after %v, want the message at once", i, got, took)
					}
					time.Sleep(11 * time.Minute)
				}
			})
		})
	}
}

// TestMixedSourceAsksForAQueue: what the hold is told if one kind does not open
// depends on the kind of the last message that did.
func TestMixedSourceAsksForAQueue(t *testing.T) {
	t.Parallel()
	entry := &envelope.RefusedError{Reach: envelope.ReachEntry, Err: errors.New("denied")}
	key := &envelope.RefusedError{KeyInfo: "k", Err: errors.New("disabled")}
	down := errors.Join(envelope.ErrUnavailable, errors.New("down"))
	const yes, some, all = "yes", "some", "all"
	for name, tc := range map[string]struct {
		branch, kms error
		last, want  string
	}{
		"both":                       {nil, nil, "", yes},
		"KMS, nothing opened":        {down, nil, "", some},
		"branch keys, none opened":   {nil, entry, "", some},
		"KMS, whose message opened":  {down, nil, kmsProvider, yes},
		"branch keys, one opened":    {nil, key, branchProvider, yes},
		"the last kind is down":      {down, nil, branchProvider, some},
		"the last kind is refused":   {nil, key, kmsProvider, some},
		"last of another kind":       {entry, nil, "raw", some},
		"one cannot be asked":        {envelope.ErrCheckUnsupported, nil, "", yes},
		"neither":                    {entry, down, branchProvider, all},
		"neither, nothing opened":    {down, key, "", all},
		"none can be asked, or down": {down, envelope.ErrCheckUnsupported, "", all},
	} {
		m := newMixture(t)
		m.branch.check, m.kms.check = tc.branch, tc.kms
		err := sqsx.CheckAfter(t.Context(), m.Source, tc.last)
		got := all
		refused, isRefusal := errors.AsType[*envelope.RefusedError](err)
		switch {
		case err == nil:
			got = yes
		case isRefusal && strings.Contains(refused.Error(), "messages under"):
			got = some
			if refused.Reach != envelope.ReachEntry {
				t.Errorf("%s: got reach %v, want ReachEntry", name, refused.Reach)
			}
		}
		if got != tc.want {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, tc.want)
		}
		for _, cause := range []error{tc.branch, tc.kms} {
			if cause != nil && tc.want != yes && !errors.Is(err, cause) {
				t.Errorf("%s: got %v, want %v in its chain", name, err, cause)
			}
		}
	}
	m := newMixture(t)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := sqsx.CheckAfter(ended, m.Source, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}
