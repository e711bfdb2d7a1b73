package interop_test

import (
	"bytes"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/integration/interop/drivers"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// The tests of this file hold what other implementations do differently. Each
// difference is why sealq writes or reads as it does, and the day an SDK fixes
// it, its test fails and says so.

// expectOpens reports how a driver's verdict on a good message differs from
// what is known of it.
func expectOpens(t *testing.T, d *drivers.Driver, what string, want bool, keys drivers.Keyring, message, plaintext []byte) {
	t.Helper()
	opened, err := d.Decrypt(keys, message)
	switch {
	case want && err != nil:
		t.Errorf("%s, %s: got %v, want it opened", d.ID, what, err)
	case want && !bytes.Equal(opened.Plaintext, plaintext):
		t.Errorf("%s, %s: opened to something else", d.ID, what)
	case !want && !refused(err):
		t.Errorf("%s, %s: got %v, want the refusal that it is known for", d.ID, what, err)
	}
}

// A plaintext of whole frames ends in a full final frame (Go, Rust) or in an
// empty one (Python, JavaScript, Java). Readers must take both; the command
// line tool does not. sealq can meet that only with a multiple of 1 MiB, which
// is more than SQS carries.
func TestFullFinalFrame(t *testing.T) {
	t.Parallel()
	keys := rawPairs(t)[0]
	plaintext := random(2 * 4_096)
	producers := map[string]bool{ // whether the final frame is full
		"go": true, "rust": true, "python": false, "javascript": false, "java": false,
	}
	for producer, full := range producers {
		p := find(t, producer).running(t)
		message, err := p.Encrypt(drivers.EncryptRequest{
			Keyring: keys.encrypt, Suite: "0478", Frame: 4_096, Context: contexts()[0], Plaintext: plaintext,
		})
		if err != nil {
			t.Fatal(err)
		}
		m, err := envelope.Split(message)
		if err != nil {
			t.Fatal(err)
		}
		const frame, final = 4 + 12 + 16, 4 + 4 + 12 + 4 + 16 // without their content
		size := 2*frame + final + len(plaintext)
		if full {
			size = frame + final + len(plaintext)
		}
		if got := len(m.Body); got != size {
			t.Errorf("%s: body of two whole frames takes %d bytes, want %d: has its last frame changed?", producer, got, size)
		}
		if got, _, err := open(keys.sealq, contexts()[0], message); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("sealq, from %s: got %v, want it opened", producer, err)
		}
		for _, s := range sdks {
			expectOpens(t, s.running(t), "two whole frames from "+producer, !(full && s.RefusesFullFinalFrame), keys.decrypt, message, plaintext)
		}
	}
}

// The JavaScript keyrings of raw AES keys and of branch keys sort the context
// by locale unless told otherwise. That is not the order of the bytes, which
// everybody else authenticates the data key with. The KMS keyring leaves the
// sorting to KMS.
func TestLocaleSorting(t *testing.T) {
	t.Parallel()
	d := find(t, "javascript").running(t)
	check := func(t *testing.T, keys pair) {
		for _, test := range []struct {
			ec    map[string]string
			opens bool
		}{
			{map[string]string{"sealq:queue": "arn:aws:sqs:us-east-1:123456789012:orders"}, true},
			{map[string]string{"a": "1", "b": "2"}, true},
			{map[string]string{"B": "1", "a": "2"}, false},
			{map[string]string{"Tenant": "1", "aws:sqs:arn": "2"}, false},
			{map[string]string{"queueUrl": "1", "queue_name": "2"}, false},
		} {
			byLocale := keys.decrypt
			byLocale.LocaleSorting = true
			r := bySealq(d, keys, test.ec, random(10))
			message, err := r.seal()
			if err != nil {
				t.Fatal(err)
			}
			expectOpens(t, d, "sorted by bytes", true, keys.decrypt, message, r.plaintext)
			expectOpens(t, d, "sorted by locale", test.opens, byLocale, message, r.plaintext)
		}
	}
	t.Run("raw AES", func(t *testing.T) { check(t, rawPairs(t)[0]) })
	t.Run("branch keys", func(t *testing.T) {
		k := newKeyStore(t, services()[0].use(t), "interop-sorting")
		k.createTable(t)
		id, err := sealqSide(t, k).create("", nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, k.keys(t, id, "first version"))
	})
}

// Of two rotations of a branch key at once, the one that writes last must fail,
// or the other's version is active no more. The libraries that Go, Java, Python
// and Rust share do not look whether somebody else has rotated meanwhile.
// Nothing is lost by that: the items of all versions stay.
func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	guarded := map[string]bool{"javascript": true, "go": false, "java": false, "python": false, "rust": false}
	for id, guarded := range guarded {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			d := find(t, id).running(t)
			server := sqsxtest.New(t)
			k := newKeyStore(t, service{"sqsxtest", server.URL(), server.Config()}, "interop-at-once")
			k.createTable(t)
			branchKey, err := sealqSide(t, k).create("", nil)
			if err != nil {
				t.Fatal(err)
			}
			var between atomic.Bool
			server.Intercept(func(r *sqsxtest.Request) error {
				if r.Action == "dynamodb:TransactWriteItems" && between.CompareAndSwap(false, true) {
					if _, err := k.sealq.Rotate(t.Context(), branchKey); err != nil {
						t.Errorf("sealq: rotate: %v", err)
					}
				}
				return nil
			})
			if err := d.RotateBranchKey(k.KeyStore, branchKey); guarded != refused(err) || !guarded && err != nil {
				t.Errorf("%s rotates after sealq has: got %v, want an error: %v", id, err, guarded)
			}
			if !between.Load() {
				t.Fatal("the SDK has written nothing")
			}
			versions := 3
			if guarded {
				versions = 2
			}
			k.checkItems(t, branchKey, nil, versions)
		})
	}
}

// The SDKs compare the key they are configured with to the ARN in the message,
// as text. With an alias they seal what they cannot open themselves. A consumer
// in another language must therefore know the key's ARN; sealq resolves
// aliases.
func TestAliasOpensNothing(t *testing.T) {
	t.Parallel()
	in := emulator(t)
	client := kms.NewFromConfig(in.Config())
	key := newKMSKey(t, client, "interop-alias-only")
	byAlias := drivers.KMS(key.alias, in.Endpoint, region)
	plaintext := random(10)
	for _, s := range sdks {
		d := s.running(t)
		message, err := d.Encrypt(drivers.EncryptRequest{Keyring: byAlias, Suite: "0478", Context: contexts()[0], Plaintext: plaintext})
		if err != nil {
			t.Errorf("%s, encrypt with an alias: %v", d.ID, err)
			continue
		}
		expectOpens(t, d, "configured with an alias", false, byAlias, message, nil)
		got, _, err := open(newKMSKeyring(t, client, key.alias), contexts()[0], message)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("sealq, configured with an alias, from %s: got %v, want it opened", d.ID, err)
		}
	}
}

// A discovery keyring opens with whatever KMS key a message names. Those of the
// Material Providers Library, which the SDKs for Python, Java, Go and Rust
// share, want the provider info of every entry to be UTF-8, though only that of
// KMS entries is: beside a raw AES key, whose info ends in a random IV, they
// open nothing.
func TestDiscoveryBesideARawKey(t *testing.T) {
	t.Parallel()
	in := emulator(t)
	client := kms.NewFromConfig(in.Config())
	key := newKMSKey(t, client, "interop-discovery")
	alone := newKMSKeyring(t, client, key.arn)
	raw, err := envelope.NewRawAESKeyring("interop", "spare", random(32))
	if err != nil {
		t.Fatal(err)
	}
	both, err := envelope.NewMultiKeyring(alone, raw)
	if err != nil {
		t.Fatal(err)
	}
	discovery := drivers.KMSDiscovery(in.Endpoint, region)
	opensBesideRaw := map[string]bool{"python": false, "java": false, "go": false, "rust": false, "javascript": true}
	for id, opens := range opensBesideRaw {
		d := find(t, id).running(t)
		plaintext := random(10)
		expectOpens(t, d, "discovery, one KMS key", true, discovery, sealWith(t, alone, plaintext), plaintext)
		message := sealWith(t, both, plaintext)
		for rawInfoIsUTF8(t, message) { // which it is by chance, once in about 1,000 times
			message = sealWith(t, both, plaintext)
		}
		expectOpens(t, d, "discovery, a KMS key and a raw key", opens, discovery, message, plaintext)
	}
}

func sealWith(t *testing.T, kr envelope.Keyring, plaintext []byte) []byte {
	t.Helper()
	m, err := envelope.Seal(t.Context(), kr, plaintext, contexts()[0])
	if err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

// rawInfoIsUTF8 reports whether the provider info of a message's last encrypted
// data key is UTF-8.
func rawInfoIsUTF8(t *testing.T, message []byte) bool {
	t.Helper()
	m, err := envelope.Split(message)
	if err != nil {
		t.Fatal(err)
	}
	h, err := envelope.ParseHeader(m.Header)
	if err != nil {
		t.Fatal(err)
	}
	return utf8.Valid(h.EncryptedDataKeys[len(h.EncryptedDataKeys)-1].ProviderInfo)
}

// Bytes after an unsigned message: some read to the end of what they need.
// sealq refuses them, since they are not authenticated.
func TestTrailingByte(t *testing.T) {
	t.Parallel()
	ignores := map[string]bool{"python": true, "python-legacy": true, "cli": true, "javascript": true}
	keys := rawPairs(t)[0]
	for _, s := range sdks {
		d := s.running(t)
		r := bySealq(d, keys, contexts()[0], random(10))
		message, err := r.seal()
		if err != nil {
			t.Fatal(err)
		}
		expectOpens(t, d, "a trailing byte", ignores[d.ID], keys.decrypt, append(message, 0), r.plaintext)
	}
}

// An encryption context with an empty key or value: Java cannot open it, so
// sealq does not write it, and opens it.
func TestEmptyContextValue(t *testing.T) {
	t.Parallel()
	refuses := map[string]bool{"java": true}
	keys := rawPairs(t)[0]
	ec := map[string]string{"tenant": ""}
	message, err := find(t, "go").running(t).Encrypt(drivers.EncryptRequest{
		Keyring: keys.encrypt, Suite: "0478", Context: ec, Plaintext: []byte("x"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sdks {
		expectOpens(t, s.running(t), "an empty context value", !refuses[s.ID], keys.decrypt, message, []byte("x"))
	}
	if _, _, err := open(keys.sealq, ec, message); err != nil {
		t.Errorf("sealq: got %v, want it opened", err)
	}
	if _, err := envelope.Seal(t.Context(), keys.sealq, []byte("x"), ec); err == nil {
		t.Error("sealq wrote an empty context value")
	}
}

// An entry that fails must not hide the one that works. The Python master keys,
// which the command line tool stands on, give up at the first failure, and keep
// the entries in a set: whether they open is chance, so they are not asked.
func TestUnusableFirstKey(t *testing.T) {
	t.Parallel()
	byChance := map[string]bool{"python-legacy": true, "cli": true}
	mine, stranger := random(32), random(32)
	good, err := envelope.NewRawAESKeyring("interop", "shared-name", mine)
	if err != nil {
		t.Fatal(err)
	}
	// The same name for another key, as after a careless rotation.
	bad, err := envelope.NewRawAESKeyring("interop", "shared-name", stranger)
	if err != nil {
		t.Fatal(err)
	}
	both, err := envelope.NewMultiKeyring(bad, good)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sdks {
		if byChance[s.ID] {
			continue
		}
		d := s.running(t)
		keys := pair{"after an entry of the same name", both, drivers.Keyring{}, drivers.RawAES("interop", "shared-name", mine)}
		r := bySealq(d, keys, contexts()[0], random(10))
		message, err := r.seal()
		if err != nil {
			t.Fatal(err)
		}
		expectOpens(t, d, keys.name, true, keys.decrypt, message, r.plaintext)
		if got, _, err := open(good, contexts()[0], message); err != nil || !bytes.Equal(got, r.plaintext) {
			t.Errorf("sealq, %s: got %v, want it opened", keys.name, err)
		}
	}
}
