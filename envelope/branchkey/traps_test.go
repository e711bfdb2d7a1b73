package branchkey_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/internal/keyerr"
	"github.com/sealq/sealq/internal/keytrace"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// TestEventualConsistency: an item that an eventually consistent read does not
// find is read again, consistently.
func TestEventualConsistency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	fresh := w.srv.StaleReads()
	w.create(store, "orders")
	var first *envelope.DataKey
	w.wantCalls("ACTIVE right after Create", 2, 1, func() { first = w.seal(w.keyring(store, "orders")) })
	w.wantCalls("its version", 2, 1, func() { w.mustOpen(w.keyring(store, "orders"), first) })
	fresh()

	fresh = w.srv.StaleReads()
	version := w.rotate(store, "orders")
	late := w.seal(w.keyring(store, "orders"))
	if got := late.EncryptedDataKeys()[0].Ciphertext[28:44]; string(got) == string(versionBytes(t, version)) {
		t.Error("the producer saw the new version: reads were not stale")
	}
	w.wantCalls("a producer that read the old ACTIVE", 1, 1, func() { w.mustOpen(w.keyring(store, "orders"), late) })
	fresh()
	current := w.seal(w.keyring(store, "orders"))

	item := w.item("orders", versionType(version))
	w.remove("orders", versionType(version))
	fresh = w.srv.StaleReads()
	defer fresh()
	w.put(item)
	kr := w.keyring(store, "orders")
	w.wantCalls("a version that is not seen yet", 2, 1, func() { w.mustOpen(kr, current) })
	reads := w.sent("dynamodb:GetItem")
	if got := [2]any{reads[len(reads)-2]["ConsistentRead"], reads[len(reads)-1]["ConsistentRead"]}; got != [2]any{false, true} {
		t.Errorf("got ConsistentRead %v, want false and then true", got)
	}
}

// TestLostVersion: messages under it are refused, not invalid, and nothing else
// is. They open once it is restored.
func TestLostVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.store()
		version := w.create(store, "orders")
		old := w.seal(w.keyring(store, "orders"))
		w.rotate(store, "orders")
		current := w.seal(w.keyring(store, "orders"))
		item := w.item("orders", versionType(version))
		w.remove("orders", versionType(version))

		kr := w.keyring(store, "orders")
		w.wantCalls("the lost one", 2, 0, func() {
			err := w.open(kr, old)
			if class(err) != "refused: entry" || envelope.IsInvalidMessage(err) || !strings.Contains(err.Error(), "restored from a backup of the table") || !strings.Contains(err.Error(), version) {
				t.Errorf("got %q (%v), want a refusal of one entry, with the remedy", class(err), err)
			}
		})
		w.wantCalls("again at once", 0, 0, func() {
			if err := w.open(kr, old); class(err) != "refused: entry" || !strings.Contains(err.Error(), "from memory") {
				t.Errorf("got %q (%v), want the refusal from memory", class(err), err)
			}
		})
		w.wantCalls("the others", 2, 2, func() {
			w.mustOpen(kr, current)
			w.mustOpen(kr, w.seal(kr))
		})
		w.put(item)
		time.Sleep(time.Second)
		w.mustOpen(kr, old)
	})
}

// TestVersionsOfAHostileSender: names of versions that do not exist cost a few
// reads, no call of KMS, and no message of others.
func TestVersionsOfAHostileSender(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	w.create(store, "orders")
	key := w.seal(w.keyring(store, "orders"))
	good := key.EncryptedDataKeys()[0]
	var junk []envelope.EncryptedDataKey
	for n := range 15 {
		junk = append(junk, forged("orders", n))
	}
	first := func(n int) []envelope.EncryptedDataKey { return junk[:n:n] }

	kr := w.keyring(store, "orders")
	w.wantCalls("15 versions", 3*2, 0, func() {
		_, err := kr.DecryptDataKey(t.Context(), junk, ec)
		if class(err) != "refused: entry" {
			t.Errorf("got %q (%v), want a refusal: a version may be late", class(err), err)
		}
	})
	w.wantCalls("a good one after 3 of them", 0, 0, func() {
		// The 3 are known to fail, and count all the same: otherwise the next
		// receive would look up the versions after them.
		if _, err := kr.DecryptDataKey(t.Context(), append(first(3), good), ec); class(err) != "refused: entry" {
			t.Errorf("got %q (%v), want a refusal", class(err), err)
		}
	})
	w.wantCalls("a good one after 2 of them", 1, 1, func() {
		if _, err := kr.DecryptDataKey(t.Context(), append(first(2), good), ec); err != nil {
			t.Error(err)
		}
	})
	w.wantCalls("a good one that is cached", 0, 0, func() {
		if _, err := kr.DecryptDataKey(t.Context(), append(junk[:15:15], good), ec); err != nil {
			t.Error(err)
		}
	})
	same := w.keyring(store, "orders")
	w.wantCalls("one version 15 times", 2, 0, func() {
		edks := make([]envelope.EncryptedDataKey, 15)
		for i := range edks {
			edks[i] = forged("orders", 99)
			edks[i].Ciphertext[0] = byte(i)
		}
		if _, err := same.DecryptDataKey(t.Context(), edks, ec); class(err) != "refused: entry" {
			t.Errorf("got %q (%v), want a refusal", class(err), err)
		}
	})
	altered := w.keyring(store, "orders")
	w.wantCalls("a version that exists, and does not open", 1, 1, func() {
		edks := make([]envelope.EncryptedDataKey, 15)
		for i := range edks {
			edks[i] = good.Clone()
			edks[i].Ciphertext[91] ^= byte(i + 1)
		}
		if _, err := altered.DecryptDataKey(t.Context(), edks, ec); class(err) != "message" {
			t.Errorf("got %q (%v), want an invalid message", class(err), err)
		}
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := altered.DecryptDataKey(ended, junk, ec); class(err) != "caller" {
		t.Errorf("got %q (%v), want the caller's end", class(err), err)
	}
}

// TestCallersEndIsNoVerdict: not even together with a verdict on another
// version of the message.
func TestCallersEndIsNoVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.store()
		w.create(store, "orders")
		kr := w.keyring(store, "orders")
		lost := []envelope.EncryptedDataKey{forged("orders", 1)}
		if _, err := kr.DecryptDataKey(t.Context(), lost, ec); class(err) != "refused: entry" {
			t.Fatalf("got %v, want a refusal", err)
		}
		w.srv.Intercept(hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := kr.DecryptDataKey(ctx, append(lost, forged("orders", 2)), ec)
		if _, refused := errors.AsType[*envelope.RefusedError](err); refused || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline alone", err)
		}
		time.Sleep(time.Minute)
	})
}

// TestOneTenantHangs: once another branch key is known to answer, also by a
// check, no further message waits for one that does not.
func TestOneTenantHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.store()
		w.create(store, "blue")
		w.create(store, "red")
		kr := w.keyring(store, "", func(o *branchkey.Options) {
			o.BranchKeyIDs = func(ec envelope.EncryptionContext) (string, error) { return ec["tenant"], nil }
		})
		blue, red := envelope.EncryptionContext{"tenant": "blue"}, envelope.EncryptionContext{"tenant": "red"}
		key, err := kr.GenerateDataKey(t.Context(), blue)
		if err != nil {
			t.Fatal(err)
		}
		w.srv.Intercept(func(r *sqsxtest.Request) error {
			if r.Action == "dynamodb:GetItem" && strings.Contains(string(r.Body), `"blue"`) {
				return hang(r)
			}
			return nil
		})
		if err := kr.CheckDecrypt(t.Context(), red); err != nil {
			t.Fatal(err)
		}
		open := func() (time.Duration, error) {
			begin := time.Now()
			_, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), blue)
			return time.Since(begin), err
		}
		go open()
		time.Sleep(2 * time.Second)
		if d, err := open(); d != 0 || class(err) != "unavailable" {
			t.Errorf("got %v after %v, want unavailable at once", err, d)
		}
		time.Sleep(time.Minute)
	})
}

// TestPace: look-ups that fail are limited, others are not.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.store()
		w.create(store, "orders")
		kr := w.keyring(store, "orders")
		key := w.seal(kr)
		w.mustOpen(kr, key)
		w.rotate(store, "orders")
		later := w.seal(w.keyring(store, "orders"))

		const flood = 2500
		errs := make([]error, flood)
		begin := time.Now()
		var wg sync.WaitGroup
		getItems, decrypts := w.calls(func() {
			for i := range flood {
				wg.Go(func() {
					_, errs[i] = kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{forged("orders", i)}, ec)
				})
			}
			wg.Wait()
		})
		count := make(map[string]int)
		for _, err := range errs {
			count[class(err)]++
			if class(err) == "unavailable" && (!errors.Is(err, keyerr.ErrNotAsked) || !strings.Contains(err.Error(), "not looked up now: 100")) {
				t.Errorf("got %v, want an error of one that was not asked", err)
			}
		}
		// 1,000 at once, and 750 in the 750 ms for which they wait. Of those, 100
		// and 75 are read consistently as well.
		if confirmed := count["refused: entry"]; confirmed != 175 || count["unavailable"] != flood-confirmed || getItems != 1750+175 || decrypts != 0 {
			t.Errorf("got %v by %d GetItem and %d Decrypt calls, want 1,750 looked up, and 175 of them by two reads", count, getItems, decrypts)
		}
		if d := time.Since(begin); d != 750*time.Millisecond {
			t.Errorf("took %v, want 750ms", d)
		}
		if s := kr.Stats(); s.StaleUses != 0 {
			t.Errorf("got %+v, want no outage", s)
		}

		// What this keyring has read before is exempt, and what is cached too.
		w.wantCalls("during the flood", 0, 0, func() { w.mustOpen(kr, key) })
		kr.Purge()
		begin = time.Now()
		w.wantCalls("a version that was read before", 1, 1, func() { w.mustOpen(kr, key) })
		if d := time.Since(begin); d != 0 {
			t.Errorf("a version that was read before waited %v", d)
		}
		// One that is new waits for its turn, and does not count against others.
		for range 3 {
			begin = time.Now()
			w.mustOpen(kr, later)
			if d := time.Since(begin); d > 750*time.Millisecond {
				t.Errorf("waited %v", d)
			}
		}
		time.Sleep(10 * time.Second)
		begin = time.Now()
		for i := range 100 {
			if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{forged("orders", 5000+i)}, ec); class(err) != "refused: entry" {
				t.Fatalf("got %v", err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("100 after a pause took %v", d)
		}
		// An outage takes nothing from the budget.
		time.Sleep(10 * time.Second)
		restore := w.srv.CutDynamoDB()
		for i := range 1500 {
			if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{forged("orders", 6000+i)}, ec); class(err) != "unavailable" || errors.Is(err, keyerr.ErrNotAsked) {
				t.Fatalf("look-up %d in an outage: got %v, want it to be asked", i, err)
			}
		}
		restore()
		time.Sleep(time.Minute)
	})
}

// TestMutation: while a key store changes from one KMS key to another, its
// items name either. A reader of one key refuses the others' items by name, and
// one with Discovery reads all.
func TestMutation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	version := w.create(store, "orders")
	old := w.seal(w.keyring(store, "orders"))
	w.rotate(store, "orders")
	current := w.seal(w.keyring(store, "orders"))

	terminal := w.newKey(w.kms, false)
	w.edit("orders", versionType(version), func(a attributes) {
		from := kmsContext(a)
		a["kms-arn"] = text(terminal)
		out, err := w.kms.ReEncrypt(t.Context(), &kms.ReEncryptInput{
			CiphertextBlob: a["enc"].(*types.AttributeValueMemberB).Value,
			SourceKeyId:    &w.keyARN, SourceEncryptionContext: from,
			DestinationKeyId: &terminal, DestinationEncryptionContext: kmsContext(a),
		})
		if err != nil {
			t.Fatal(err)
		}
		a["enc"] = &types.AttributeValueMemberB{Value: out.CiphertextBlob}
	})
	strict := w.keyring(store, "orders")
	err := w.open(strict, old)
	if class(err) != "refused: entry" || !strings.Contains(err.Error(), terminal) || !strings.Contains(err.Error(), "use branchkey.StoreOptions.Discovery") {
		t.Errorf("got %q (%v), want a refusal with the remedy", class(err), err)
	}
	w.mustOpen(strict, current)
	w.seal(strict)
	other := w.keyring(w.store(func(o *branchkey.StoreOptions) { o.KeyID = terminal }), "orders")
	w.mustOpen(other, old)
	if err := w.open(other, current); class(err) != "refused: entry" {
		t.Errorf("got %q (%v), want a refusal", class(err), err)
	}
	reader := w.store(func(o *branchkey.StoreOptions) {
		o.KeyID = ""
		o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: "us-east-1", Accounts: []string{ours}}
	})
	kr := w.keyring(reader, "orders")
	w.mustOpen(kr, old)
	w.mustOpen(kr, current)
	w.seal(kr)
}

// TestCheckDecrypt asks both services, whatever is remembered, and reports the
// answer by the name that messages have for the branch key.
func TestCheckDecrypt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
	first := w.create(store, "orders")
	kr := w.keyring(store, "orders")
	var traced []string
	ctx := keytrace.With(t.Context(), func(info string, err error) { traced = append(traced, info+": "+class(err)) })
	check := func(what, want string) {
		t.Helper()
		traced = nil
		if got := class(kr.CheckDecrypt(ctx, ec)); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
		if len(traced) != 1 || traced[0] != "orders: "+want {
			t.Errorf("%s: reported %q, want one answer about orders, %q", what, traced, want)
		}
	}
	w.wantCalls("healthy", 2, 1, func() { check("healthy", "none") })
	for action, want := range map[string]string{"dynamodb:GetItem": "refused: entry", "kms:Decrypt": "refused: entry"} {
		allow := w.srv.Deny(action)
		if _, err := kr.GenerateDataKey(t.Context(), ec); class(err) != want {
			t.Errorf("sealing without %s: got %v", action, err)
		}
		for range 4 { // none is from memory
			check("without "+action, want)
		}
		allow()
		check("with "+action, "none")
		kr.Purge()
	}
	for name, cut := range map[string]func() func(){"DynamoDB": w.srv.CutDynamoDB, "KMS": w.srv.CutKMS} {
		restore := cut()
		check("without "+name, "unavailable")
		restore()
		check("with "+name, "none")
	}
	w.disable(w.keyARN)
	check("disabled", "refused: key orders")
	w.enable(w.keyARN)
	check("enabled", "none")
	version := w.item("orders", versionType(first))
	w.remove("orders", versionType(first))
	w.seal(kr) // nobody could open it
	check("without the version that is active", "refused: entry")
	w.put(version)
	w.remove("orders", "branch:ACTIVE")
	check("without ACTIVE", "refused: entry")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.wantCalls("a caller that has gone", 0, 0, func() {
		if err := kr.CheckDecrypt(ended, ec); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

// TestSecondVersionOfAMessage: what a message names beside its first version
// takes no turn of other messages, and no time while the key store does not
// answer.
func TestSecondVersionOfAMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.store()
		w.create(store, "orders")
		kr := w.keyring(store, "orders")
		const flood = 1200 // of messages with 3 versions; 1,000 look-ups are free
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range flood {
			wg.Go(func() {
				kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{forged("orders", 3*i), forged("orders", 3*i+1), forged("orders", 3*i+2)}, ec)
			})
		}
		wg.Wait()
		if d := time.Since(begin); d > 300*time.Millisecond {
			t.Errorf("%d messages took %v, want the time of as many versions, 200ms", flood, d)
		}

		time.Sleep(time.Minute)
		w.srv.Intercept(hang)
		one := func(n int, edks ...envelope.EncryptedDataKey) time.Duration {
			begin := time.Now()
			if _, err := kr.DecryptDataKey(t.Context(), append(edks, forged("orders", n)), ec); class(err) != "unavailable" {
				t.Errorf("got %v, want unavailable", err)
			}
			return time.Since(begin)
		}
		if alone, three := one(5000), one(5001, forged("orders", 5002), forged("orders", 5003)); three > alone {
			t.Errorf("a message with 3 versions took %v, want at most %v, the time of one", three, alone)
		}
	})
}
