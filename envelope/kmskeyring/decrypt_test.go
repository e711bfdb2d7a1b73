package kmskeyring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestDecryptNamesTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	kr := w.keyring(client, id, func(o *kmskeyring.Options) { o.GrantTokens = []string{"grant-1", "grant-2"} })
	w.opens(kr, w.generate(kr))
	if got := w.sent("kms:Decrypt", "KeyId"); !slices.Equal(got, []string{arn}) {
		t.Errorf("Decrypt: got key IDs %q, want %q", got, arn)
	}
	for _, action := range []string{"kms:GenerateDataKey", "kms:DescribeKey", "kms:Decrypt"} {
		if got := w.sent(action, "GrantTokens"); !slices.Equal(got, []string{"[grant-1 grant-2]"}) {
			t.Errorf("%s: got grant tokens %q, want both", action, got)
		}
	}
}

func TestKeysOfAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	oldID, oldARN := w.key(client, false)
	w.alias(client, "alias/orders", id)
	elsewhere := w.client("eu-west-1", ours)
	_, elsewhereARN := w.key(elsewhere, false)
	foreign := w.client("us-east-1", theirs)
	_, foreignARN := w.key(foreign, false)

	current := w.generate(w.keyring(client, arn))
	old := w.generate(w.keyring(client, oldID))
	inOtherRegion := w.generate(w.keyring(elsewhere, elsewhereARN))
	ofOtherAccount := w.generate(w.keyring(foreign, foreignARN))
	aliasARN := "arn:aws:kms:us-east-1:" + ours + ":alias/orders"
	strict := func(o *kmskeyring.Options) { o.StrictAlias = true }
	decrypt := func(arns ...string) func(*kmskeyring.Options) {
		return func(o *kmskeyring.Options) { o.DecryptKeys = arns }
	}
	discover := func(region string, accounts ...string) func(*kmskeyring.Options) {
		return func(o *kmskeyring.Options) {
			o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: region, Accounts: accounts}
		}
	}
	both := func(fns ...func(*kmskeyring.Options)) func(*kmskeyring.Options) {
		return func(o *kmskeyring.Options) {
			for _, fn := range fns {
				fn(o)
			}
		}
	}
	none := func(*kmskeyring.Options) {}

	for name, test := range map[string]struct {
		keyID string
		opt   func(*kmskeyring.Options)
		// which of the messages open: under the current key, the old one, one in
		// another Region, one of another account
		current, old, region, account bool
	}{
		"key ARN":                 {arn, none, true, false, false, false},
		"key ID":                  {id, none, true, false, false, false},
		"alias":                   {"alias/orders", none, true, true, false, false},
		"alias ARN":               {aliasARN, none, true, true, false, false},
		"strict alias":            {"alias/orders", strict, true, false, false, false},
		"strict alias ARN":        {aliasARN, strict, true, false, false, false},
		"strict, DecryptKeys":     {"alias/orders", both(strict, decrypt(oldARN)), true, true, false, false},
		"key ARN, DecryptKeys":    {arn, decrypt(oldARN, foreignARN), true, true, false, true},
		"key ID, DecryptKeys":     {id, decrypt(elsewhereARN), true, false, true, false},
		"alias, DecryptKeys":      {"alias/orders", decrypt(elsewhereARN, foreignARN), true, true, true, true},
		"discovery":               {"", discover("us-east-1", ours), true, true, false, false},
		"discovery, Region":       {"", discover("eu-west-1", ours), false, false, true, false},
		"discovery, accounts":     {"", discover("us-east-1", ours, theirs), true, true, false, true},
		"discovery, account":      {"", discover("us-east-1", theirs), false, false, false, true},
		"discovery, DecryptKeys":  {"", both(discover("eu-west-1", theirs), decrypt(arn)), true, false, false, false},
		"another account's alias": {"arn:aws:kms:us-east-1:" + theirs + ":alias/none", none, false, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world{t, w.srv}
				kr := w.keyring(client, test.keyID, test.opt)
				for _, m := range []struct {
					name  string
					key   *envelope.DataKey
					opens bool
				}{
					{"current", current, test.current},
					{"old", old, test.old},
					{"in another Region", inOtherRegion, test.region},
					{"of another account", ofOtherAccount, test.account},
				} {
					if m.opens {
						w.opens(kr, m.key)
						continue
					}
					if name == "another account's alias" && m.name == "of another account" {
						continue // the alias does not exist: see TestDescribeKeyFails
					}
					calls := w.srv.Count("kms:Decrypt")
					err := w.refuses(kr, m.key)
					if n := w.srv.Count("kms:Decrypt") - calls; n != 0 {
						t.Errorf("%s: %d Decrypt calls, want none", m.name, n)
					}
					requireRemedy(t, err, info(m.key))
				}
			})
		})
	}
}

// requireRemedy wants the error to name the key and, for the users of this
// package, of sqsx and of the environment, the setting to add it to.
func requireRemedy(t *testing.T, err error, arn string) {
	t.Helper()
	for _, want := range []string{strconv.Quote(arn), "kmskeyring.Options.DecryptKeys", "sqsx.Options.KMSKeyring", "SEALQ_DECRYPT_KEYS"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "append(") {
		t.Errorf("error %q has code that compiles in one place only", err)
	}
}

func TestAliasMovesUnderABacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	oldID, _ := w.key(client, false)
	newID, newARN := w.key(client, false)
	w.alias(client, "alias/orders", oldID)
	kr := w.keyring(client, "alias/orders")
	backlog := w.generate(kr)
	w.repoint(client, "alias/orders", newID)
	fresh := w.generate(kr)
	if info(fresh) != newARN {
		t.Fatalf("after the move: sealed under %q, want %q", info(fresh), newARN)
	}
	// Neither a consumer that knew the alias before, nor one that starts now.
	for _, consumer := range []*kmskeyring.Keyring{kr, w.keyring(client, "alias/orders")} {
		w.opens(consumer, backlog)
		w.opens(consumer, fresh)
	}
}

func TestEntriesWithoutACall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	w.alias(client, "alias/orders", id)
	good := w.generate(w.keyring(client, arn)).EncryptedDataKeys()[0]
	with := func(change func(*envelope.EncryptedDataKey)) envelope.EncryptedDataKey {
		e := good
		change(&e)
		return e
	}
	junk := map[string]envelope.EncryptedDataKey{
		"another provider": with(func(e *envelope.EncryptedDataKey) { e.ProviderID = "aws-kms-mrk" }),
		"empty ciphertext": with(func(e *envelope.EncryptedDataKey) { e.Ciphertext = nil }),
		"6,145 bytes":      with(func(e *envelope.EncryptedDataKey) { e.Ciphertext = make([]byte, 6145) }),
		"key ID":           with(func(e *envelope.EncryptedDataKey) { e.ProviderInfo = []byte(id) }),
		"alias":            with(func(e *envelope.EncryptedDataKey) { e.ProviderInfo = []byte("alias/orders") }),
		"alias ARN": with(func(e *envelope.EncryptedDataKey) {
			e.ProviderInfo = []byte("arn:aws:kms:us-east-1:" + ours + ":alias/orders")
		}),
		"line break in ARN": with(func(e *envelope.EncryptedDataKey) { e.ProviderInfo = append(slices.Clone(good.ProviderInfo), '\n') }),
		"nothing":           with(func(e *envelope.EncryptedDataKey) { e.ProviderInfo = nil }),
		"2,049 bytes":       with(func(e *envelope.EncryptedDataKey) { e.ProviderInfo = make([]byte, 2049) }),
	}
	for name, edk := range junk {
		t.Run(name, func(t *testing.T) {
			before := len(w.srv.Requests())
			kr := world{t, w.srv}.keyring(client, arn)
			_, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{edk}, ec)
			if !errors.Is(err, envelope.ErrNoMatchingKey) {
				t.Errorf("got %v, want ErrNoMatchingKey", err)
			}
			if n := len(w.srv.Requests()) - before; n != 0 {
				t.Errorf("%d calls, want none", n)
			}
			// A good entry beside it opens.
			if _, err := kr.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{edk, good}, ec); err != nil {
				t.Errorf("beside a good entry: %v", err)
			}
		})
	}

	// 6,144 bytes go to KMS, which refuses them.
	full := with(func(e *envelope.EncryptedDataKey) { e.Ciphertext = make([]byte, 6144) })
	before := w.srv.Count("kms:Decrypt")
	if _, err := w.keyring(client, arn).DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{full}, ec); !errors.Is(err, envelope.ErrNoMatchingKey) {
		t.Errorf("6,144 bytes: got %v, want ErrNoMatchingKey", err)
	}
	if n := w.srv.Count("kms:Decrypt") - before; n != 1 {
		t.Errorf("6,144 bytes: %d calls, want 1", n)
	}
	if _, err := w.keyring(client, arn).DecryptDataKey(t.Context(), nil, ec); !errors.Is(err, envelope.ErrNoMatchingKey) {
		t.Errorf("no entries: got %v, want ErrNoMatchingKey", err)
	}
}

// TestSuggestedKeys: the error of a message names each key that it is encrypted
// under once, in the message's order, and not more than three.
func TestSuggestedKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	_, arn := w.key(client, false)
	kr := w.keyring(client, arn)
	var a, b, c, d envelope.EncryptedDataKey
	for _, edk := range []*envelope.EncryptedDataKey{&a, &b, &c, &d} {
		_, arn := w.key(client, false)
		*edk = w.generate(w.keyring(client, arn)).EncryptedDataKeys()[0]
	}
	for name, test := range map[string]struct {
		edks []envelope.EncryptedDataKey
		want []envelope.EncryptedDataKey
		more bool
	}{
		"side by side": {[]envelope.EncryptedDataKey{a, a, b}, []envelope.EncryptedDataKey{a, b}, false},
		"apart":        {[]envelope.EncryptedDataKey{a, b, a}, []envelope.EncryptedDataKey{a, b}, false},
		"three":        {[]envelope.EncryptedDataKey{c, b, a, b, c}, []envelope.EncryptedDataKey{c, b, a}, false},
		"four":         {[]envelope.EncryptedDataKey{a, b, a, c, d}, []envelope.EncryptedDataKey{a, b, c}, true},
	} {
		_, err := kr.DecryptDataKey(t.Context(), test.edks, ec)
		if !errors.Is(err, envelope.ErrNoMatchingKey) {
			t.Errorf("%s: got %v, want ErrNoMatchingKey", name, err)
			continue
		}
		var want string
		for _, edk := range test.want {
			want += fmt.Sprintf(", %q", edk.ProviderInfo)
		}
		want = strings.TrimPrefix(want, ",")
		if test.more {
			want += " and 1 more"
		}
		if !strings.HasSuffix(err.Error(), ":"+want) {
			t.Errorf("%s: got %q, want it to end with %q", name, err, want)
		}
	}
}

// TestAtMostThreeDecryptCalls: one for each key that a message names, and three
// in all, however often the message is received.
func TestAtMostThreeDecryptCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	w.alias(client, "alias/orders", id)
	good := w.generate(w.keyring(client, arn)).EncryptedDataKeys()[0]
	bad := func(n int) envelope.EncryptedDataKey {
		e := good
		e.Ciphertext = append(slices.Clone(good.Ciphertext), byte(n))
		return e
	}
	// Keys of the alias's account, none of which exists.
	absent := func(n int) envelope.EncryptedDataKey {
		e := bad(n)
		e.ProviderInfo = []byte(strings.Replace(arn, id, fmt.Sprintf("00000000-0000-4000-8000-%012d", n), 1))
		return e
	}
	var badOnes, absentOnes []envelope.EncryptedDataKey
	for n := range 16 {
		badOnes, absentOnes = append(badOnes, bad(n)), append(absentOnes, absent(n))
	}
	all := func(lists ...[]envelope.EncryptedDataKey) []envelope.EncryptedDataKey { return slices.Concat(lists...) }
	goods := []envelope.EncryptedDataKey{good}

	for name, test := range map[string]struct {
		edks  []envelope.EncryptedDataKey
		opens bool
		calls int
	}{
		"sixteen under one key":             {badOnes, false, 1},
		"sixteen under one key, one good":   {all(badOnes, goods), false, 1}, // no writer makes that
		"good first":                        {all(goods, badOnes), true, 1},
		"configured key goes first":         {all(absentOnes, goods), true, 1},
		"sixteen keys that do not exist":    {absentOnes, false, 3},
		"those, and the configured key bad": {all(absentOnes, badOnes), false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{t, w.srv}
			kr := w.keyring(client, "alias/orders")
			before := w.srv.Count("kms:Decrypt")
			for receive := range 10 {
				key, err := kr.DecryptDataKey(t.Context(), test.edks, ec)
				if opened := key != nil; opened != test.opens || opened != (err == nil) {
					t.Errorf("got key %v and error %v, want a key: %v", opened, err, test.opens)
				}
				if err != nil && (class(t.Context(), err) != "message" || strings.Contains(err.Error(), "not asked now")) {
					t.Errorf("got %v, want ErrNoMatchingKey", err)
				}
				if n := w.srv.Count("kms:Decrypt") - before; n != test.calls {
					t.Fatalf("receive %d: %d Decrypt calls so far, want %d", receive+1, n, test.calls)
				}
				if test.opens {
					break // a cache's
				}
			}
		})
	}
}

// TestFailuresAreRemembered: for as long as the answer holds, and under any
// flood of other failures for five minutes.
func TestFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		id, arn := w.key(client, false)
		w.alias(client, "alias/orders", id)
		good := w.generate(w.keyring(client, arn))
		altered := good.EncryptedDataKeys()
		altered[0].Ciphertext[0] ^= 1
		forbidden := good.EncryptedDataKeys()
		forbidden[0].ProviderInfo = []byte(strings.Replace(arn, id, "00000000-0000-4000-8000-000000000000", 1))
		for name, test := range map[string]struct {
			edks   []envelope.EncryptedDataKey
			memory time.Duration
			hint   string
		}{
			"a fact":    {altered, 12 * time.Hour, "another encryption context"},
			"a refusal": {forbidden, 5 * time.Minute, "Options.DecryptKeys"},
		} {
			kr := w.keyring(client, "alias/orders")
			asked := func() int {
				before := w.srv.Count("kms:Decrypt")
				if _, err := kr.DecryptDataKey(t.Context(), test.edks, ec); !errors.Is(err, envelope.ErrNoMatchingKey) || !strings.Contains(err.Error(), test.hint) {
					t.Errorf("%s: got %v, want ErrNoMatchingKey and %q", name, err, test.hint)
				}
				return w.srv.Count("kms:Decrypt") - before
			}
			if n := asked(); n != 1 {
				t.Errorf("%s: %d calls at first, want 1", name, n)
			}
			time.Sleep(test.memory - time.Second)
			if n := asked(); n != 0 {
				t.Errorf("%s: %d calls within %v, want none", name, n, test.memory)
			}
			time.Sleep(time.Second)
			if n := asked(); n != 1 {
				t.Errorf("%s: %d calls after %v, want 1", name, n, test.memory)
			}
			if _, err := kr.DecryptDataKey(t.Context(), good.EncryptedDataKeys(), ec); err != nil {
				t.Errorf("%s: the good one beside it: %v", name, err)
			}
			kr.Purge()
			if n := asked(); n != 1 {
				t.Errorf("%s: %d calls after Purge, want 1", name, n)
			}
		}
	})
}

// TestCallerGivesUpAtTheSecondKey: the caller's end is no verdict, and is not
// mixed with those that were there before.
func TestCallerGivesUpAtTheSecondKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	firstID, first := w.key(client, false)
	_, second := w.key(client, false)
	edks := append(w.generate(w.keyring(client, first)).EncryptedDataKeys(), w.generate(w.keyring(client, second)).EncryptedDataKeys()...)
	w.disable(client, firstID)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	w.srv.Intercept(func(r *sqsxtest.Request) error {
		if calls++; calls == 1 {
			return nil
		}
		cancel()
		return answer(500, "KMSInternalException")
	})
	kr := w.keyring(client, first, func(o *kmskeyring.Options) { o.DecryptKeys = []string{second} })
	if key, err := kr.DecryptDataKey(ctx, edks, ec); key != nil || err != context.Canceled {
		t.Errorf("got key %v and error %v, want the caller's end alone", key != nil, err)
	}
	if calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}

// TestNoDescribeKeyInVain: once a message has had its calls, an answer of
// DescribeKey could change nothing, and the message would wait for it.
func TestNoDescribeKeyInVain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		current        bool // the message also names the key that the alias stands for
		bad, describes int
	}{
		"to resolve, two calls":   {false, 2, 1},
		"to resolve, three calls": {false, 3, 0},
		"to follow, two calls":    {true, 1, 1},
		"to follow, three calls":  {true, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, _, keys := strictWorld(t)
				client := w.client("us-east-1", ours)
				alter := func(key *envelope.DataKey) envelope.EncryptedDataKey {
					e := key.EncryptedDataKeys()[0]
					e.Ciphertext[0] ^= 1
					return e
				}
				var named []string
				var edks []envelope.EncryptedDataKey
				for range test.bad {
					_, arn := w.key(client, false)
					named = append(named, arn)
					edks = append(edks, alter(w.generate(w.keyring(client, arn))))
				}
				kr := w.keyring(client, "alias/orders", func(o *kmskeyring.Options) { o.StrictAlias, o.DecryptKeys = true, named })
				if test.current {
					w.opens(kr, keys.old) // so that resolving the alias takes no call
					edks = append(edks, alter(keys.old))
				}
				edks = append(edks, alter(keys.fresh))
				decrypts, describes, start := w.srv.Count("kms:Decrypt"), w.srv.Count("kms:DescribeKey"), time.Now()
				_, err := kr.DecryptDataKey(t.Context(), edks, ec)
				if !errors.Is(err, envelope.ErrNoMatchingKey) {
					t.Errorf("got %v, want ErrNoMatchingKey", err)
				}
				if n := w.srv.Count("kms:DescribeKey") - describes; n != test.describes {
					t.Errorf("%d DescribeKey calls, want %d", n, test.describes)
				}
				if n := w.srv.Count("kms:Decrypt") - decrypts; n > 3 {
					t.Errorf("%d Decrypt calls, want at most 3", n)
				}
				if got := time.Since(start); test.describes == 0 && got != 0 {
					t.Errorf("waited %v", got)
				}
			})
		})
	}
}

func TestForeignRefusalMakesTheMessageInvalid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, _ := w.key(client, false)
	oldID, oldARN := w.key(client, false)
	w.alias(client, "alias/orders", id)
	current := w.generate(w.keyring(client, id))
	old := w.generate(w.keyring(client, oldID))
	w.disable(client, oldID)

	// Admitted by the alias, and not named by the configuration.
	err := w.refuses(w.keyring(client, "alias/orders"), old)
	if _, ok := errors.AsType[*types.DisabledException](err); !ok {
		t.Errorf("got %v, want a DisabledException in the chain", err)
	}
	if refused, ok := errors.AsType[*envelope.RefusedError](err); ok {
		t.Errorf("got the refusal %v, which would reach a cache", refused)
	}
	requireRemedy(t, err, oldARN)

	// Named: now it is a refusal, which reaches the key.
	kr := w.keyring(client, "alias/orders", func(o *kmskeyring.Options) { o.DecryptKeys = []string{oldARN} })
	_, err = kr.DecryptDataKey(t.Context(), old.EncryptedDataKeys(), ec)
	refused, ok := errors.AsType[*envelope.RefusedError](err)
	if !ok || refused.KeyInfo != oldARN || refused.Reach == envelope.ReachEntry || errors.Is(err, envelope.ErrInvalidMessage) {
		t.Errorf("got %v, want a refusal that reaches %q", err, oldARN)
	}
	if _, ok := errors.AsType[*types.DisabledException](err); !ok {
		t.Errorf("got %v, want a DisabledException in the chain", err)
	}
	w.opens(kr, current)

	// Generating under the alias tells no ARN: the last one is what is reached.
	w.generate(kr)
	w.disable(client, id)
	_, err = kr.GenerateDataKey(t.Context(), ec)
	refused, ok = errors.AsType[*envelope.RefusedError](err)
	if !ok || refused.KeyInfo != info(current) {
		t.Errorf("GenerateDataKey: got %v, want a refusal that reaches %q", err, info(current))
	}
}

func TestSomethingElseThanADataKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	_, arn := w.key(client, false)
	out, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &arn, Plaintext: make([]byte, 31), EncryptionContext: ec})
	if err != nil {
		t.Fatal(err)
	}
	edk := envelope.EncryptedDataKey{ProviderID: "aws-kms", ProviderInfo: []byte(arn), Ciphertext: out.CiphertextBlob}
	_, err = w.keyring(client, arn).DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{edk}, ec)
	if !errors.Is(err, envelope.ErrNoMatchingKey) || !strings.Contains(err.Error(), "31 bytes, want 32") {
		t.Errorf("got %v, want ErrNoMatchingKey with both sizes", err)
	}
}
