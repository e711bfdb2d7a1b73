package sqsx_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestFirstSendsShareOneDataKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders"), w.client()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { send(t, client, url, "x") })
	}
	wg.Wait()
	if got := w.count("kms:GenerateDataKey"); got != 1 {
		t.Errorf("got %d GenerateDataKey calls for 64 goroutines, want 1", got)
	}
}

func TestTenThousandMessagesUseOneDataKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders"), w.client()
	for range 1000 {
		in := &sqs.SendMessageBatchInput{QueueUrl: &url}
		for i := range 10 {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String("x")})
		}
		if _, err := client.SendMessageBatch(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < 10_000; {
		out, err := receive(t.Context(), client, url)
		if err != nil || len(out.Messages) == 0 {
			t.Fatalf("got error %v after %d messages", err, n)
		}
		n += len(out.Messages)
	}
	// One Decrypt is the question before the first receive.
	if g, d := w.count("kms:GenerateDataKey"), w.count("kms:Decrypt"); g != 1 || d != 2 {
		t.Errorf("got %d GenerateDataKey and %d Decrypt calls, want 1 and 2", g, d)
	}
}

// TestNoSendWaitsForARotation lets KMS take 300 ms, and sends through two hours
// of reuse periods: after the first, no send takes any time.
func TestNoSendWaitsForARotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if strings.HasPrefix(r.Action, "kms:") {
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		})
		send(t, client, url, "x")
		for start := time.Now(); time.Since(start) < 2*time.Hour; time.Sleep(time.Second) {
			before := time.Now()
			send(t, client, url, "x")
			if waited := time.Since(before); waited > 0 {
				t.Fatalf("a send waited %v, %v after the start", waited, time.Since(start))
			}
		}
		if got := w.count("kms:GenerateDataKey"); got < 24 || got > 40 {
			t.Errorf("got %d data keys in two hours at a reuse period of five minutes, want at least 24 and not many more", got)
		}
	})
}

// TestKMSUnreachable keeps sending and receiving on the cached data key, and
// recovers by itself.
func TestKMSUnreachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		roundTrip := func() {
			t.Helper()
			send(t, client, url, "x")
			out, err := receive(t.Context(), client, url)
			if err != nil || len(out.Messages) != 1 {
				t.Fatalf("got %v", err)
			}
			if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
		roundTrip()
		w.server.Intercept(kmsFails(errors.New("no route to host")))
		for range 6 * 60 { // six hours
			time.Sleep(time.Minute)
			roundTrip()
		}
		w.server.Intercept(nil)
		calls := w.count("kms:GenerateDataKey")
		for range 60 {
			time.Sleep(time.Second)
			roundTrip()
		}
		if got := w.count("kms:GenerateDataKey") - calls; got != 1 {
			t.Errorf("got %d GenerateDataKey calls in the minute after the outage, want 1", got)
		}
	})
}

// TestKeyDisabled stops sending when the refresh falls due, and does not ask
// KMS at every send.
func TestKeyDisabled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders"), w.client()
		send(t, client, url, "x")
		if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &w.key}); err != nil {
			t.Fatal(err)
		}
		start, stopped := time.Now(), time.Duration(0)
		var err error
		for ; time.Since(start) < 10*time.Minute; time.Sleep(time.Second) {
			_, err = client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
			if err != nil && stopped == 0 {
				stopped = time.Since(start)
			}
		}
		if stopped == 0 || stopped > cache.DefaultReusePeriod {
			t.Errorf("sends stopped after %v, want within the reuse period", stopped)
		}
		if disabled, ok := errors.AsType[*kmstypes.DisabledException](err); !ok || disabled == nil {
			t.Errorf("got %v, want a DisabledException in the chain, also from memory", err)
		}
		calls := w.count("kms:GenerateDataKey")
		if got, most := calls-1, int((10*time.Minute-stopped)/(5*time.Second))+5; got > most {
			t.Errorf("got %d calls for 600 sends, want at most %d", got, most)
		}
		if _, err := w.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &w.key}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		send(t, client, url, "x")
	})
}

func TestPurge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sealer()
	url, client := w.queue("orders"), s.Wrap(w.plain)
	send(t, client, url, "x")
	s.Purge()
	send(t, client, url, "x")
	if got := w.count("kms:GenerateDataKey"); got != 2 {
		t.Errorf("got %d GenerateDataKey calls, want one before and one after Purge", got)
	}
}

// TestSealersKeyForms gives NewFromConfig the four forms of a key ID.
func TestKeyForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: &w.key}); err != nil {
		t.Fatal(err)
	}
	aliasARN, _, _ := strings.Cut(w.key, ":key/")
	for _, id := range []string{w.key, w.key[strings.LastIndexByte(w.key, '/')+1:], "alias/orders", aliasARN + ":alias/orders"} {
		t.Run(id, func(t *testing.T) {
			s, err := sqsx.NewFromConfig(w.cfg, id)
			if err != nil {
				t.Fatal(err)
			}
			requireSealed(t, w, s.Wrap(w.plain), w.queue("q"+fmt.Sprint(len(id))))
		})
	}
	for _, id := range []string{"", "alias/aws/sqs", "arn:aws:kms:us-east-1:000000000000:alias/aws/sqs", "not a key"} {
		_, err := sqsx.NewFromConfig(w.cfg, id)
		if _, typed := errors.AsType[*sqsx.ConfigError](err); !typed {
			t.Errorf("NewFromConfig took the key %q, or has an error of another type: %v", id, err)
		} else if strings.Contains(id, "aws/sqs") && !strings.Contains(err.Error(), "customer managed key") {
			t.Errorf("the error does not speak of a customer managed key: %v", err)
		}
	}
}

// TestAliasIsRepointed rotates by moving the alias while messages of the old
// key are in the queue.
func TestAliasIsRepointed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: &w.key}); err != nil {
		t.Fatal(err)
	}
	w.key = "alias/orders"
	url := w.queue("orders")
	send(t, w.client(), url, "under the old key")
	next := w.newKey()
	if _, err := w.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/orders"), TargetKeyId: &next}); err != nil {
		t.Fatal(err)
	}
	client := w.client()
	send(t, client, url, "under the new key")
	out, err := receive(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodies(out.Messages); !slices.Equal(got, []string{"under the old key", "under the new key"}) {
		t.Errorf("got %q", got)
	}
}

// TestReceiveDuringAnOutage delivers what opens with cached data keys, and
// withholds the rest as temporary.
func TestReceiveDuringAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, consumer := w.queue("orders"), w.client()
	known, unknown := w.client(), w.client()
	send(t, known, url, "known")
	if out, err := receive(t.Context(), consumer, url); err != nil || len(out.Messages) != 1 {
		t.Fatalf("got %v", err)
	}
	send(t, known, url, "known")
	send(t, unknown, url, "unknown")
	w.server.Intercept(kmsFails(errors.New("no route to host")))
	out, err := receive(t.Context(), consumer, url)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodies(out.Messages); !slices.Equal(got, []string{"known"}) {
		t.Errorf("got %q delivered, want the one whose key is cached", got)
	}
	withheld := sqsx.Withheld(out.ResultMetadata)
	if len(withheld) != 1 || !withheld[0].Temporary || !errors.Is(withheld[0], envelope.ErrUnavailable) {
		t.Errorf("got %v withheld, want the other one, temporary, as ErrUnavailable", withheld)
	}

	send(t, unknown, url, "unknown")
	_, err = receive(t.Context(), consumer, url)
	failed, ok := errors.AsType[*sqsx.ReceiveError](err)
	if !ok || len(failed.Withheld) != 1 || !failed.Withheld[0].Temporary {
		t.Errorf("got %v, want a *ReceiveError with the one message, temporary", err)
	}
}

// TestDistinctKeysAreDecryptedTogether mixes, in one response, small and large
// messages whose data keys are cached with others whose are not: all are
// delivered in order, after the time of one call of KMS.
func TestDistinctKeysAreDecryptedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, consumer := w.queue("orders"), w.client()
		known := w.client()
		send(t, known, url, "known")
		if out, err := receive(t.Context(), consumer, url); err != nil || len(out.Messages) != 1 {
			t.Fatalf("got %v", err)
		}
		var want []string
		for i := range 5 {
			unknown := w.client()
			for _, body := range []string{fmt.Sprint("small ", i), fmt.Sprint("large ", i) + strings.Repeat("x", 64<<10)} {
				client := unknown
				if i%2 == 0 {
					client = known
				}
				send(t, client, url, body)
				want = append(want, body)
			}
		}
		const latency = time.Second
		w.server.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "kms:Decrypt" {
				time.Sleep(latency)
			}
			return nil
		})
		before, began := w.count("kms:Decrypt"), time.Now()
		out, err := receive(t.Context(), consumer, url)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != latency {
			t.Errorf("took %v, want %v, the time of one call", took, latency)
		}
		if got := bodies(out.Messages); !slices.Equal(got, want) {
			t.Errorf("got %d messages, or their order or bodies differ from the %d sent", len(got), len(want))
		}
		if got := w.count("kms:Decrypt") - before; got != 2 {
			t.Errorf("got %d Decrypt calls, want one for each of 2 data keys", got)
		}
	})
}

// TestOpenOutlivesTheCaller ends the caller's context while the response is on
// its way: the messages are opened all the same.
func TestOpenOutlivesTheCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders"), w.client()
	if _, err := receive(t.Context(), client, url); err != nil { // the first one asks KMS before
		t.Fatal(err)
	}
	send(t, client, url, "x")
	ctx, cancel := context.WithCancel(t.Context())
	w.server.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "kms:Decrypt" {
			cancel()
		}
		return nil
	})
	out, err := receive(ctx, client, url)
	if err != nil || len(out.Messages) != 1 {
		t.Errorf("got %v, want the message", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized to perform: kms:X"}
	deny := func(actions ...string) func(*sqsxtest.Request) error {
		return func(r *sqsxtest.Request) error {
			if slices.Contains(actions, r.Action) {
				return denied
			}
			return nil
		}
	}
	for name, tc := range map[string]struct {
		intercept  func(*sqsxtest.Request) error
		seal, open bool // can
	}{
		"both":         {nil, true, true},
		"send only":    {deny("kms:Decrypt"), true, false},
		"receive only": {deny("kms:GenerateDataKey"), false, true},
		"neither":      {deny("kms:GenerateDataKey", "kms:Decrypt"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Intercept(tc.intercept)
			cached, err := cache.New(mustKeyring(t, w))
			if err != nil {
				t.Fatal(err)
			}
			withOwnCache, err := sqsx.New(cached)
			if err != nil {
				t.Fatal(err)
			}
			failed := &sqsx.CheckError{}
			for _, s := range []*sqsx.Sealer{withOwnCache, w.sealer()} {
				failed = &sqsx.CheckError{}
				err = s.Check(t.Context(), arnOf("orders"))
				if err != nil && !errors.As(err, &failed) {
					t.Fatalf("got %v, want a *CheckError", err)
				}
				if (failed.Seal == nil) != tc.seal || (failed.Open == nil) != tc.open {
					t.Errorf("got %v, want seal %v and open %v", err, tc.seal, tc.open)
				}
			}
			if err == nil {
				return
			}
			for half, permission := range map[error]string{failed.Seal: "kms:GenerateDataKey", failed.Open: "kms:Decrypt"} {
				if half != nil && (!strings.Contains(half.Error(), permission) || !strings.Contains(err.Error(), half.Error())) {
					t.Errorf("the error does not name %s: %v", permission, half)
				}
			}
			if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "AccessDeniedException" {
				t.Errorf("got %v, want KMS's own error in the chain", err)
			}
		})
	}
}

// TestCheckHalves: each half returns the error that Check has for it, and asks
// of KMS what its own permission covers. calls are those of each half alone.
func TestCheckHalves(t *testing.T) {
	t.Parallel()
	deny := func(actions ...string) func(*sqsxtest.Request) error {
		return func(r *sqsxtest.Request) error {
			if slices.Contains(actions, r.Action) {
				return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized"}
			}
			return nil
		}
	}
	for name, tc := range map[string]struct {
		policy     sqsx.Policy
		intercept  func(*sqsxtest.Request) error
		seal, open string // in the error; empty: nil
		sealCalls  [2]int // GenerateDataKey, Decrypt
	}{
		"both":         {sqsx.Policy{}, nil, "", "", [2]int{1, 0}},
		"send only":    {sqsx.Policy{}, deny("kms:Decrypt"), "", "kms:Decrypt", [2]int{1, 0}},
		"receive only": {sqsx.Policy{}, deny("kms:GenerateDataKey"), "kms:GenerateDataKey", "", [2]int{1, 0}},
		"neither":      {sqsx.Policy{}, deny("kms:GenerateDataKey", "kms:Decrypt"), "kms:GenerateDataKey", "kms:Decrypt", [2]int{1, 0}},
		"no sealing":   {sqsx.Policy{NoSeal: true}, deny("kms:GenerateDataKey"), "", "", [2]int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Intercept(tc.intercept)
			policy := func(o *sqsx.Options) { o.Policy = tc.policy }
			calls := func() [2]int { return [2]int{w.count("kms:GenerateDataKey"), w.count("kms:Decrypt")} }
			has := func(half string, err error, want string) {
				if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: got %v, want %q in it", half, err, want)
				}
				if _, ok := errors.AsType[*sqsx.CheckError](err); ok {
					t.Errorf("%s: got a *CheckError, want the cause", half)
				}
			}
			has("CheckSeal", w.sealer(policy).CheckSeal(t.Context(), arnOf("orders")), tc.seal)
			if got := calls(); got != tc.sealCalls {
				t.Errorf("CheckSeal: got %v calls, want %v", got, tc.sealCalls)
			}
			s, before := w.sealer(policy), calls()
			for i := 1; i <= 2; i++ { // no answer from memory
				has("CheckOpen", s.CheckOpen(t.Context(), arnOf("orders")), tc.open)
				if got, want := calls(), [2]int{before[0], before[1] + i}; got != want {
					t.Errorf("CheckOpen %d: got %v calls, want %v", i, got, want)
				}
			}
			err := w.sealer(policy).Check(t.Context(), arnOf("orders"))
			var failed sqsx.CheckError
			if e, ok := errors.AsType[*sqsx.CheckError](err); ok {
				failed = *e
			}
			has("Check, Seal", failed.Seal, tc.seal)
			has("Check, Open", failed.Open, tc.open)
		})
	}
}

// TestCheckOpenOfOtherKeyrings: a keyring that gives no answer has to show it
// with a data key of its own.
func TestCheckOpenOfOtherKeyrings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kr := struct{ envelope.Keyring }{mustKeyring(t, w)} // hides CheckDecrypt
	s, err := sqsx.New(kr)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckOpen(t.Context(), arnOf("orders")); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if got := [2]int{w.count("kms:GenerateDataKey"), w.count("kms:Decrypt")}; got != [2]int{1, 1} {
		t.Errorf("got %v calls of GenerateDataKey and Decrypt, want 1 of each", got)
	}
	s.Purge()
	w.server.Deny("kms:GenerateDataKey")
	err = s.CheckOpen(t.Context(), arnOf("orders"))
	if err == nil || !strings.Contains(err.Error(), "not checked") || !strings.Contains(err.Error(), "kms:GenerateDataKey") {
		t.Errorf("got %v, want that it could not be checked, and why", err)
	}
}

// TestCheckOfNothing: what is wrong with the queue or the Sealer concerns both
// halves, and a nil Sealer does not panic.
func TestCheckOfNothing(t *testing.T) {
	t.Parallel()
	var none *sqsx.Sealer
	for name, tc := range map[string]struct {
		sealer *sqsx.Sealer
		queue  string
		want   string
	}{
		"nil Sealer": {none, arnOf("orders"), sqsx.ErrUninitialized.Error()},
		"no queue":   {newWorld(t).sealer(), "arn:aws:s3:us-east-1:123456789012:orders", "not the ARN of a queue"},
	} {
		for half, check := range map[string]func(context.Context, string) error{"CheckSeal": tc.sealer.CheckSeal, "CheckOpen": tc.sealer.CheckOpen} {
			if err := check(t.Context(), tc.queue); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s, %s: got %v, want %q in it", name, half, err, tc.want)
			}
		}
	}
}

// TestReusePeriodRange: the environment takes the range that the cache takes.
func TestReusePeriodRange(t *testing.T) {
	t.Parallel()
	kr := mustKeyring(t, newWorld(t))
	for period, want := range map[time.Duration]bool{
		sqsx.MinReusePeriod - 1: false, sqsx.MinReusePeriod: true,
		sqsx.MaxReusePeriod: true, sqsx.MaxReusePeriod + 1: false,
	} {
		if _, err := cache.New(kr, func(o *cache.Options) { o.ReusePeriod = period }); (err == nil) != want {
			t.Errorf("cache.New with a ReusePeriod of %v: got %v, want it taken %v", period, err, want)
		}
	}
}
