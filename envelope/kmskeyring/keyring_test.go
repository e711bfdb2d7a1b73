package kmskeyring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

func TestKeyIDForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	home := w.client("us-east-1", ours)
	id, arn := w.key(home, false)
	w.alias(home, "alias/orders", id)
	abroad := w.client("eu-west-1", ours)
	foreign := w.client("us-east-1", theirs)
	aliasARN := "arn:aws:kms:us-east-1:" + ours + ":alias/orders"

	for name, test := range map[string]struct {
		client *kms.Client
		keyID  string
		region string
	}{
		"key ID":                            {home, id, ""},
		"key ARN":                           {home, arn, ""},
		"alias":                             {home, "alias/orders", ""},
		"alias ARN":                         {home, aliasARN, ""},
		"key ARN, client of another Region": {abroad, arn, ""},
		"alias ARN, other Region":           {abroad, aliasARN, ""},
		"key ID, Options.Region":            {abroad, id, "us-east-1"},
		"alias, Options.Region":             {abroad, "alias/orders", "us-east-1"},
		"key ARN, Options.Region":           {home, arn, "eu-west-1"}, // no multi-Region key: no effect
		"key ARN of another account":        {foreign, arn, ""},
		"alias ARN of another account":      {foreign, aliasARN, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world{t, w.srv}
			kr := w.keyring(test.client, test.keyID, func(o *kmskeyring.Options) { o.Region = test.region })
			key := w.generate(kr)
			edks := key.EncryptedDataKeys()
			if len(edks) != 1 || edks[0].ProviderID != "aws-kms" || string(edks[0].ProviderInfo) != arn {
				t.Errorf("got %d entries, the first of provider %q and key %q, want one of aws-kms and %q", len(edks), edks[0].ProviderID, edks[0].ProviderInfo, arn)
			}
			w.opens(kr, key)
			w.opens(w.keyring(home, arn), key)

			wrapped, err := kr.WrapDataKey(t.Context(), key, ec)
			if err != nil {
				t.Fatal(err)
			}
			again, err := envelope.NewDataKey(key.Plaintext(), wrapped)
			if err != nil {
				t.Fatal(err)
			}
			if info(again) != arn {
				t.Errorf("WrapDataKey: got key %q, want %q", info(again), arn)
			}
			w.opens(kr, again)

			if _, err := kr.DecryptDataKey(t.Context(), edks, envelope.EncryptionContext{"sealq:queue": "another"}); !errors.Is(err, envelope.ErrNoMatchingKey) {
				t.Errorf("under another encryption context: got %v, want ErrNoMatchingKey", err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	const arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	discovery := kmskeyring.Discovery{Partition: "aws", Region: "us-east-1", Accounts: []string{ours}}
	var nilClient *kms.Client

	for name, test := range map[string]struct {
		client kmskeyring.Client
		keyID  string
		opt    func(*kmskeyring.Options)
		want   string
	}{
		"nil client":            {nil, arn, nil, "client is nil"},
		"nil *kms.Client":       {nilClient, arn, nil, "client is nil"},
		"no key ID":             {client, "", nil, "key ID is empty"},
		"AWS managed alias":     {client, "alias/aws/sqs", nil, "customer managed key"},
		"AWS managed alias ARN": {client, "arn:aws:kms:us-east-1:111122223333:alias/aws/sqs", nil, "customer managed key"},
		"alias without prefix":  {client, "orders", nil, `an alias is written "alias/orders"`},
		"space":                 {client, " alias/orders", nil, "no KMS key ID"},
		"ARN of a queue":        {client, "arn:aws:sqs:us-east-1:111122223333:orders", nil, "not an ARN of a KMS key"},
		"no Region":             {w.client("", ours), "alias/orders", nil, "AWS_REGION"},
		"bad Region":            {client, arn, func(o *kmskeyring.Options) { o.Region = "EU" }, "Options.Region"},
		"alias to decrypt with": {client, arn, func(o *kmskeyring.Options) { o.DecryptKeys = []string{"arn:aws:kms:us-east-1:111122223333:alias/old"} }, "messages name keys"},
		"no ARN to decrypt":     {client, arn, func(o *kmskeyring.Options) { o.DecryptKeys = []string{arn, "old"} }, "Options.DecryptKeys[1]"},
		"strict, no alias":      {client, arn, func(o *kmskeyring.Options) { o.StrictAlias = true }, "not an alias"},
		"short alias period":    {client, arn, func(o *kmskeyring.Options) { o.AliasPeriod = 1 }, "Options.AliasPeriod is 1ns, want 1s to 24h"},
		"eleven grant tokens":   {client, arn, func(o *kmskeyring.Options) { o.GrantTokens = slices.Repeat([]string{"t"}, 11) }, "11 tokens, want at most 10"},
		"empty grant token":     {client, arn, func(o *kmskeyring.Options) { o.GrantTokens = []string{""} }, "GrantTokens[0] is 0 bytes"},
		"long grant token":      {client, arn, func(o *kmskeyring.Options) { o.GrantTokens = []string{strings.Repeat("t", 8193)} }, "is 8193 bytes, want 1 to 8192"},
		"discovery and key":     {client, arn, func(o *kmskeyring.Options) { o.Discovery = discovery }, "together with Options.Discovery"},
		"discovery, strict":     {client, "", func(o *kmskeyring.Options) { o.Discovery, o.StrictAlias = discovery, true }, "no meaning"},
		"discovery, account":    {client, "", func(o *kmskeyring.Options) { o.Discovery = discovery; o.Discovery.Accounts = []string{"*"} }, "12 digits"},
		"discovery, accounts":   {client, "", func(o *kmskeyring.Options) { o.Discovery = discovery; o.Discovery.Accounts = nil }, "Accounts is empty"},
		"discovery, partition":  {client, "", func(o *kmskeyring.Options) { o.Discovery = discovery; o.Discovery.Partition = "" }, "Partition"},
		"discovery, Region":     {client, "", func(o *kmskeyring.Options) { o.Discovery = discovery; o.Discovery.Region = "" }, "Discovery.Region"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := test.opt
			if opt == nil {
				opt = func(*kmskeyring.Options) {}
			}
			kr, err := kmskeyring.New(test.client, test.keyID, opt)
			if err == nil || kr != nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "kmskeyring: ") {
				t.Errorf("got keyring %v and error %v, want only an error of kmskeyring with %q", kr != nil, err, test.want)
			}
		})
	}
	if n := len(w.srv.Requests()); n != 0 {
		t.Errorf("New made %d calls, want 0", n)
	}
}

func TestNilKeyringErrs(t *testing.T) {
	t.Parallel()
	for _, kr := range []*kmskeyring.Keyring{nil, {}} {
		if _, err := kr.GenerateDataKey(t.Context(), ec); err == nil {
			t.Error("GenerateDataKey: no error")
		}
		if _, err := kr.DecryptDataKey(t.Context(), nil, ec); err == nil {
			t.Error("DecryptDataKey: no error")
		}
		if _, err := kr.WrapDataKey(t.Context(), nil, ec); err == nil {
			t.Error("WrapDataKey: no error")
		}
	}
}

func TestWrapNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	_, arn := w.key(client, false)
	kr := w.keyring(client, arn)
	before := len(w.srv.Requests())
	for name, key := range map[string]*envelope.DataKey{"nil": nil, "zero": {}} {
		_, err := kr.WrapDataKey(t.Context(), key, ec)
		if err == nil || !strings.Contains(err.Error(), "not made by envelope.NewDataKey") || class(t.Context(), err) != "refused: no reach" {
			t.Errorf("%s: got %v, want an error of no class that says what is missing", name, err)
		}
	}
	if n := len(w.srv.Requests()) - before; n != 0 {
		t.Errorf("%d calls, want none", n)
	}
}

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
					if line := `o.DecryptKeys = append(o.DecryptKeys, "` + info(m.key) + `")`; !strings.Contains(err.Error(), line) {
						t.Errorf("%s: error %q does not name the line to add", m.name, err)
					}
				}
			})
		})
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

func TestKeyMaterialRotates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	kr := w.keyring(client, arn)
	before := w.generate(kr)
	if _, err := client.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	w.opens(kr, before)
	w.opens(kr, w.generate(kr))
}

func TestMultiRegionKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east, west := w.client("us-east-1", ours), w.client("us-west-2", ours)
	id, eastARN := w.key(east, true)
	westARN := w.replicate(east, id, "us-west-2")
	w.alias(east, "alias/orders", id)
	w.alias(west, "alias/orders", id)
	inRegion := func(region string) func(*kmskeyring.Options) {
		return func(o *kmskeyring.Options) { o.Region = region }
	}

	sealedEast := w.generate(w.keyring(east, eastARN))
	sealedWest := w.generate(w.keyring(east, eastARN, inRegion("us-west-2")))
	if info(sealedEast) != eastARN || info(sealedWest) != westARN {
		t.Fatalf("sealed under %q and %q, want %q and %q", info(sealedEast), info(sealedWest), eastARN, westARN)
	}

	for name, test := range map[string]struct {
		client *kms.Client
		keyID  string
		opt    func(*kmskeyring.Options)
		want   string // the Region of the Decrypt calls
	}{
		"ARN":                    {east, eastARN, inRegion(""), "us-east-1"},
		"ARN of the replica":     {east, westARN, inRegion(""), "us-west-2"},
		"ARN, Options.Region":    {east, eastARN, inRegion("us-west-2"), "us-west-2"},
		"key ID":                 {west, id, inRegion(""), "us-west-2"},
		"key ID, Options.Region": {east, id, inRegion("us-west-2"), "us-west-2"},
		"alias":                  {west, "alias/orders", inRegion(""), "us-west-2"},
		"strict alias":           {west, "alias/orders", func(o *kmskeyring.Options) { o.StrictAlias = true }, "us-west-2"},
		"DecryptKeys": {west, "alias/none", func(o *kmskeyring.Options) {
			o.DecryptKeys = []string{eastARN}
		}, "us-east-1"},
		"DecryptKeys, Options.Region": {west, "alias/none", func(o *kmskeyring.Options) {
			o.DecryptKeys, o.Region = []string{eastARN}, "us-west-2"
		}, "us-west-2"},
		"discovery": {east, "", func(o *kmskeyring.Options) {
			o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: "us-west-2", Accounts: []string{ours}}
		}, "us-west-2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{t, w.srv}
			before := len(w.srv.Requests())
			kr := w.keyring(test.client, test.keyID, test.opt)
			w.opens(kr, sealedEast)
			w.opens(kr, sealedWest)
			for _, r := range w.srv.Requests()[before:] {
				if r.Action == "kms:Decrypt" && r.Region != test.want {
					t.Errorf("Decrypt in Region %q, want %q", r.Region, test.want)
				}
			}
		})
	}

	// A refusal reaches the data keys that are under the ARN that was refused, as
	// messages name it, wherever the call went.
	w.disable(west, id)
	_, err := w.keyring(west, westARN).DecryptDataKey(t.Context(), sealedEast.EncryptedDataKeys(), ec)
	if refused, ok := errors.AsType[*envelope.RefusedError](err); !ok || refused.KeyInfo != eastARN {
		t.Errorf("got %v, want a refusal that reaches %q", err, eastARN)
	}

	// The relative of a key in another account is no relative.
	foreign := strings.Replace(eastARN, ours, theirs, 1)
	entry := sealedEast.EncryptedDataKeys()[0]
	entry.ProviderInfo = []byte(foreign)
	if _, err := w.keyring(east, eastARN).DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{entry}, ec); !errors.Is(err, envelope.ErrNoMatchingKey) {
		t.Errorf("key %q: got %v, want ErrNoMatchingKey", foreign, err)
	}
}

func TestDiscoveryOnlyDecrypts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	_, arn := w.key(client, false)
	key := w.generate(w.keyring(client, arn))
	before := len(w.srv.Requests())
	kr := w.keyring(client, "", func(o *kmskeyring.Options) {
		o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: "us-east-1", Accounts: []string{ours}}
	})
	if _, err := kr.GenerateDataKey(t.Context(), ec); err == nil || !strings.Contains(err.Error(), "decrypts only") {
		t.Errorf("GenerateDataKey: got %v, want an error that says it only decrypts", err)
	}
	if _, err := kr.WrapDataKey(t.Context(), key, ec); err == nil {
		t.Error("WrapDataKey: no error")
	}
	if n := len(w.srv.Requests()) - before; n != 0 {
		t.Errorf("%d calls, want none", n)
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
			want += fmt.Sprintf(" o.DecryptKeys = append(o.DecryptKeys, %q)", edk.ProviderInfo)
		}
		if test.more {
			want += " and 1 more"
		}
		if !strings.HasSuffix(err.Error(), ":"+want) {
			t.Errorf("%s: got %q, want it to end with %q", name, err, want)
		}
	}
}

func TestAtMostThreeDecryptCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	w.alias(client, "alias/orders", id)
	good := w.generate(w.keyring(client, arn)).EncryptedDataKeys()[0]
	bad := good
	bad.Ciphertext = slices.Clone(good.Ciphertext)
	bad.Ciphertext[len(bad.Ciphertext)-1] ^= 1
	// Keys of the alias's account, none of which exists.
	absent := bad
	absent.ProviderInfo = []byte(strings.Replace(arn, id, "00000000-0000-4000-8000-000000000000", 1))

	for name, test := range map[string]struct {
		edks  []envelope.EncryptedDataKey
		opens bool
		calls int
	}{
		"third is good":              {[]envelope.EncryptedDataKey{bad, bad, good}, true, 3},
		"fourth is good":             {[]envelope.EncryptedDataKey{bad, bad, bad, good}, false, 3},
		"configured key goes first":  {[]envelope.EncryptedDataKey{absent, absent, absent, absent, good}, true, 1},
		"sixteen that do not exist":  {slices.Repeat([]envelope.EncryptedDataKey{absent}, 16), false, 3},
		"good one after another bad": {[]envelope.EncryptedDataKey{absent, bad, good}, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{t, w.srv}
			kr := w.keyring(client, "alias/orders")
			before := w.srv.Count("kms:Decrypt")
			edks := slices.Clone(test.edks)
			key, err := kr.DecryptDataKey(t.Context(), edks, ec)
			if opened := key != nil; opened != test.opens || opened != (err == nil) {
				t.Errorf("got key %v and error %v, want a key: %v", opened, err, test.opens)
			}
			if err != nil && !errors.Is(err, envelope.ErrNoMatchingKey) {
				t.Errorf("got %v, want ErrNoMatchingKey", err)
			}
			if n := w.srv.Count("kms:Decrypt") - before; n != test.calls {
				t.Errorf("%d Decrypt calls, want %d", n, test.calls)
			}
		})
	}
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
		named          bool // DecryptKeys has the key of the bad entries
		bad, describes int
	}{
		"to resolve, two calls":   {true, 2, 1},
		"to resolve, three calls": {true, 3, 0},
		"to follow, two calls":    {false, 2, 1},
		"to follow, three calls":  {false, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, kr, keys := strictWorld(t)
				if test.named {
					kr = w.keyring(w.client("us-east-1", ours), "alias/orders", func(o *kmskeyring.Options) { o.DecryptKeys = []string{info(keys.old)} })
				} else {
					w.opens(kr, keys.old) // so that resolving the alias takes no call
				}
				bad := keys.old.EncryptedDataKeys()[0]
				bad.Ciphertext[0] ^= 1
				others := keys.fresh.EncryptedDataKeys()
				others[0].Ciphertext[0] ^= 1
				decrypts, describes, start := w.srv.Count("kms:Decrypt"), w.srv.Count("kms:DescribeKey"), time.Now()
				_, err := kr.DecryptDataKey(t.Context(), append(slices.Repeat([]envelope.EncryptedDataKey{bad}, test.bad), others...), ec)
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

func TestForeignRefusalIsTheMessagesFault(t *testing.T) {
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
	if line := `o.DecryptKeys = append(o.DecryptKeys, "` + oldARN + `")`; !strings.Contains(err.Error(), line) {
		t.Errorf("error %q does not name the line to add", err)
	}

	// Named: now it is a refusal, which reaches the key.
	kr := w.keyring(client, "alias/orders", func(o *kmskeyring.Options) { o.DecryptKeys = []string{oldARN} })
	_, err = kr.DecryptDataKey(t.Context(), old.EncryptedDataKeys(), ec)
	refused, ok := errors.AsType[*envelope.RefusedError](err)
	if !ok || refused.KeyInfo != oldARN || refused.EntryOnly || errors.Is(err, envelope.ErrInvalidMessage) {
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
