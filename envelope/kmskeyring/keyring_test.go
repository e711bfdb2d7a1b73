package kmskeyring_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
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
	nilOption := []func(*kmskeyring.Options){func(*kmskeyring.Options) {}, nil}
	if kr, err := kmskeyring.New(client, arn, nilOption...); kr != nil || err == nil || err.Error() != "kmskeyring: option function 1 is nil" {
		t.Errorf("nil option function: got keyring %v and error %v, want an error that names it", kr != nil, err)
	}
	if n := len(w.srv.Requests()); n != 0 {
		t.Errorf("New made %d calls, want 0", n)
	}
}

// TestOptionsAreCopied: what the caller does to its slices after New has no
// effect.
func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	_, arn := w.key(client, false)
	_, otherARN := w.key(client, false)
	other := w.generate(w.keyring(client, otherARN))
	var kept *kmskeyring.Options
	kr := w.keyring(client, arn, func(o *kmskeyring.Options) {
		o.GrantTokens, o.DecryptKeys = []string{"given"}, []string{otherARN}
		kept = o
	})
	kept.GrantTokens[0], kept.DecryptKeys[0] = "changed", arn
	kept.GrantTokens, kept.DecryptKeys = nil, nil
	before := len(w.sent("kms:Decrypt", "GrantTokens"))
	w.opens(kr, other)
	if got := w.sent("kms:Decrypt", "GrantTokens")[before:]; !slices.Equal(got, []string{"[given]"}) {
		t.Errorf("got grant tokens %q, want those that were given", got)
	}

	accounts := []string{ours}
	discovery := w.keyring(client, "", func(o *kmskeyring.Options) {
		o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: "us-east-1", Accounts: accounts}
	})
	accounts[0] = theirs
	w.opens(discovery, other)
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
