package differential_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/integration/interop/drivers"
	"github.com/sealq/sealq/integration/launch"
)

var mutants = flag.Int("mutants", 300, "random messages of each test")

var (
	wrappingKey = bytes.Repeat([]byte{7}, 32)
	dataKey     = bytes.Repeat([]byte{9}, 32)
)

const namespace, name = "differential", "key"

// pair is the two readers.
type pair struct {
	sealq    *envelope.RawAESKeyring
	official *drivers.Driver
	keys     drivers.Keyring
}

var (
	official    *drivers.Driver
	officialErr error
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	goSDK := slices.DeleteFunc(drivers.All(), func(s drivers.SDK) bool { return s.ID != "go" })
	installed, err := drivers.Install(context.Background(), goSDK)
	if err != nil {
		return 1, err
	}
	if len(installed) != 1 {
		return 1, fmt.Errorf("got %d SDKs, want that for Go", len(installed))
	}
	if official, officialErr = installed[0].Start(); officialErr == nil {
		defer func() { err = errors.Join(err, official.Stop()) }()
	}
	return m.Run(), nil
}

func newPair(t *testing.T) pair {
	t.Helper()
	switch {
	case errors.Is(officialErr, drivers.ErrPrerequisite) && os.Getenv(launch.RequireVariable) == "":
		t.Skip(officialErr)
	case officialErr != nil:
		t.Fatal(officialErr)
	}
	kr, err := envelope.NewRawAESKeyring(namespace, name, wrappingKey)
	if err != nil {
		t.Fatal(err)
	}
	return pair{kr, official, drivers.RawAES(namespace, name, wrappingKey)}
}

// verdict is what a reader makes of a message.
type verdict struct {
	accepted  bool
	plaintext []byte
	context   map[string]string
	err       error
}

func (p pair) read(t *testing.T, message []byte) (ours, theirs verdict) {
	t.Helper()
	m, err := envelope.Split(message)
	var opened envelope.Opened
	if err == nil {
		opened, err = envelope.Open(t.Context(), p.sealq, m, func(envelope.EncryptionContext) error { return nil })
	}
	ours = verdict{err == nil, opened.Plaintext, opened.EncryptionContext, err}
	if err != nil && !errors.Is(err, envelope.ErrInvalidMessage) {
		t.Errorf("sealq: got %v, want it the message's fault", err)
	}
	got, err := p.official.Decrypt(p.keys, message)
	if _, refused := errors.AsType[*drivers.Refusal](err); err != nil && !refused {
		t.Fatal(err)
	}
	delete(got.Context, publicKeyName)
	return ours, verdict{err == nil, got.Plaintext, got.Context, err}
}

// agree reports how two readers that both accepted differ.
func agree(t *testing.T, what string, ours, theirs verdict) {
	t.Helper()
	if !ours.accepted || !theirs.accepted {
		return
	}
	if !bytes.Equal(ours.plaintext, theirs.plaintext) {
		t.Errorf("%s: sealq opens %d bytes, the SDK %d others", what, len(ours.plaintext), len(theirs.plaintext))
	}
	if !maps.Equal(ours.context, theirs.context) {
		t.Errorf("%s: sealq reads the context %q, the SDK %q", what, ours.context, theirs.context)
	}
}

// oddity is one way to write a message that is unusual or wrong, though every
// tag in it is right. Where the two readers differ, why says that it is meant.
type oddity struct {
	name          string
	change        func(t *testing.T, r *rand.Rand, d *draft)
	sealq, theirs bool // whether it is accepted
	why           string
}

// oddities is the table of known answers, differences included.
var oddities = []oddity{
	{name: "context not sorted", sealq: true, theirs: true, change: func(_ *testing.T, r *rand.Rand, d *draft) {
		r.Shuffle(len(d.pairs), func(i, j int) { d.pairs[i], d.pairs[j] = d.pairs[j], d.pairs[i] })
	}},
	{name: "empty context value", sealq: true, theirs: true, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.pairs = append(d.pairs, [2]string{"z-empty", ""}) }},
	{name: "empty context name", sealq: true, theirs: true, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.pairs = slices.Insert(d.pairs, 0, [2]string{"", "v"})
	}},
	{name: "context name twice", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.pairs = append(d.pairs, [2]string{"a", "1"}, [2]string{"a", "2"})
	}},
	{name: "context of count 0", sealq: false, theirs: true, why: "the format has one form of an empty context, an empty field; parsed and written again, this would be other bytes",
		change: func(_ *testing.T, _ *rand.Rand, d *draft) {
			unsign(d)
			d.pairs = nil
			d.contextField = func([]byte) []byte { return []byte{0, 0} }
		}},
	{name: "context of count 0 before pairs", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.pairs = append(d.pairs, [2]string{"z", "v"})
		d.contextField = func(b []byte) []byte { b[0], b[1] = 0, 0; return b }
	}},
	{name: "bytes after the context", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.contextField = func(b []byte) []byte { return append(b, 0) }
	}},
	{name: "context that is not UTF-8", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.pairs = append(d.pairs, [2]string{"z\xff", "v"})
	}},
	{name: "public key in an unsigned message", sealq: false, theirs: false, change: func(t *testing.T, _ *rand.Rand, d *draft) {
		unsign(d)
		d.pairs = append(d.pairs, [2]string{publicKeyName, publicKey(t, otherSigner())})
	}},
	{name: "another encrypted data key first", sealq: true, theirs: true, change: func(_ *testing.T, r *rand.Rand, d *draft) {
		d.keys = slices.Insert(d.keys, 0, envelope.EncryptedDataKey{ProviderID: "other", ProviderInfo: []byte("x"), Ciphertext: []byte{1}})
	}},
	{name: "a broken encrypted data key first", sealq: true, theirs: true, change: func(_ *testing.T, r *rand.Rand, d *draft) {
		broken := d.keys[len(d.keys)-1]
		broken.Ciphertext = slices.Clone(broken.Ciphertext)
		broken.Ciphertext[0] ^= 1
		d.keys = slices.Insert(d.keys, 0, broken)
	}},
	{name: "17 encrypted data keys", sealq: false, theirs: true, why: "sealq reads 16: each may cost a call",
		change: func(_ *testing.T, _ *rand.Rand, d *draft) {
			for len(d.keys) < 17 {
				d.keys = append(d.keys, envelope.EncryptedDataKey{ProviderID: "other", ProviderInfo: []byte("x"), Ciphertext: []byte{1}})
			}
		}},
	{name: "provider ID of 257 bytes", sealq: false, theirs: true, why: "sealq reads 256: a named limit on what a sender can make a receiver hold",
		change: func(_ *testing.T, _ *rand.Rand, d *draft) {
			d.keys = append(d.keys, envelope.EncryptedDataKey{ProviderID: strings.Repeat("p", 257), ProviderInfo: []byte("x"), Ciphertext: []byte{1}})
		}},
	{name: "no encrypted data key", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.keys = nil }},
	{name: "129 pairs of context", sealq: false, theirs: true, why: "sealq reads 128",
		change: func(_ *testing.T, _ *rand.Rand, d *draft) {
			for i := range 129 {
				d.pairs = append(d.pairs, [2]string{fmt.Sprintf("zz%03d", i), "v"})
			}
		}},
	{name: "128 pairs of context beside the public key", sealq: true, theirs: true, change: func(t *testing.T, _ *rand.Rand, d *draft) {
		unsign(d)
		d.pairs = nil
		for i := range 128 {
			d.pairs = append(d.pairs, [2]string{fmt.Sprintf("zz%03d", i), "v"})
		}
		sign(t, d)
	}},
	{name: "8,192 bytes of context beside the public key", sealq: true, theirs: true, change: func(t *testing.T, _ *rand.Rand, d *draft) {
		unsign(d)
		d.pairs = [][2]string{{"z", strings.Repeat("v", 8192-2-2-1-2)}}
		sign(t, d)
	}},
	{name: "count of encrypted data keys too high", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.keyCount = len(d.keys) + 1 }},
	{name: "format version 1", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.version = 1 }},
	{name: "format version 3", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.version = 3 }},
	{name: "unknown content type", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.contentType = 3 }},
	{name: "IV in the header tag", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.headerIV = bytes.Repeat([]byte{1}, 12) }},
	{name: "IV of a frame that is not its number", sealq: false, theirs: true, why: "no sender may choose an IV: two that are equal under one key reveal the authentication key of AES-GCM",
		change: func(_ *testing.T, r *rand.Rand, d *draft) {
			framed(d)
			at, bit := r.IntN(len(d.contents)), r.IntN(12)
			d.iv = func(i int, iv []byte) {
				if i == at {
					iv[bit] ^= 4
				}
			}
		}},
	{name: "IV of one block that is not 1", sealq: false, theirs: true, why: "the same",
		change: func(_ *testing.T, r *rand.Rand, d *draft) {
			d.contentType, d.frameLength, d.contents = 1, 0, d.contents[:1]
			bit := r.IntN(12)
			d.iv = func(_ int, iv []byte) { iv[bit] ^= 4 }
		}},
	{name: "frame number out of order", sealq: false, theirs: false, change: func(_ *testing.T, r *rand.Rand, d *draft) {
		at := r.IntN(len(d.contents))
		d.sequence = func(i int, n uint32) uint32 {
			if i == at {
				return n + 1
			}
			return n
		}
	}},
	{name: "content length too high", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.size = func(i int, n uint64) uint64 { return n + 1 }
		if d.contentType == 2 && len(d.contents[len(d.contents)-1]) == int(d.frameLength) {
			d.contents[len(d.contents)-1] = nil
		}
	}},
	{name: "content length too low", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.contents[len(d.contents)-1] = []byte("abc")
		d.size = func(i int, n uint64) uint64 { return n - 1 }
		d.frameLength *= 4
		d.contents = d.contents[len(d.contents)-1:]
	}},
	{name: "final frame longer than a frame", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.contentType, d.frameLength = 2, 4
		d.contents = [][]byte{[]byte("abcd"), []byte("abcde")}
	}},
	{name: "frame length 0 with frames", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.contentType, d.frameLength, d.contents = 2, 0, [][]byte{nil}
	}},
	{name: "frame length in a message of one block", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) {
		d.contentType, d.frameLength, d.contents = 1, 16, d.contents[:1]
	}},
	{name: "bytes after the message", sealq: false, theirs: false, change: func(_ *testing.T, _ *rand.Rand, d *draft) { d.trailer = []byte{0} }},
	{name: "signature of another key", sealq: false, theirs: false, change: func(t *testing.T, _ *rand.Rand, d *draft) { sign(t, d); d.signer = otherSigner() }},
	{name: "signature with a byte behind it", sealq: false, theirs: false, change: func(t *testing.T, _ *rand.Rand, d *draft) {
		sign(t, d)
		d.footer = func(b []byte) []byte { return append(b, 0) }
	}},
	{name: "signature cut", sealq: false, theirs: false, change: func(t *testing.T, _ *rand.Rand, d *draft) {
		sign(t, d)
		d.footer = func(b []byte) []byte { return b[:len(b)-1] }
	}},
	{name: "no signature", sealq: false, theirs: false, change: func(t *testing.T, _ *rand.Rand, d *draft) {
		sign(t, d)
		d.footer = func([]byte) []byte { return nil }
	}},
}

// sign makes a message a signed one.
func sign(t *testing.T, d *draft) {
	if d.signer != nil {
		return
	}
	d.suite, d.signer = 0x0578, signer()
	d.pairs = slices.Insert(slices.Clone(d.pairs), 0, [2]string{publicKeyName, publicKey(t, d.signer)})
}

// unsign makes a message one without a signature.
func unsign(d *draft) {
	d.suite, d.signer = 0x0478, nil
	d.pairs = slices.DeleteFunc(slices.Clone(d.pairs), func(p [2]string) bool { return p[0] == publicKeyName })
}

// framed makes a message one with frames.
func framed(d *draft) {
	if d.contentType == 1 {
		d.contentType, d.frameLength, d.contents = 2, 256, d.contents[:1]
	}
}

// newDraft returns a random message that is right.
func newDraft(t *testing.T, r *rand.Rand) *draft {
	d := &draft{suite: 0x0478, id: make([]byte, 32), version: 2, keyCount: -1, headerIV: make([]byte, 12)}
	crand.Read(d.id)
	for i := range r.IntN(4) {
		d.pairs = append(d.pairs, [2]string{fmt.Sprintf("n%d", i), strings.Repeat("v", 1+r.IntN(20))})
	}
	random := func(n int) []byte { b := make([]byte, n); crand.Read(b); return b }
	if r.IntN(4) == 0 {
		d.contentType, d.contents = 1, [][]byte{random(r.IntN(200))}
	} else {
		d.contentType, d.frameLength = 2, uint32(1+r.IntN(64))
		for range r.IntN(4) {
			d.contents = append(d.contents, random(int(d.frameLength)))
		}
		d.contents = append(d.contents, random(r.IntN(int(d.frameLength)+1)))
	}
	if r.IntN(3) == 0 {
		sign(t, d)
	}
	return d
}

// draw makes a random message with the given oddities.
func draw(t *testing.T, r *rand.Rand, odd ...oddity) []byte {
	t.Helper()
	d := newDraft(t, r)
	// Twice on copies that start alike: the data key is bound to the context
	// that the first pass arrives at.
	base := *d
	seed := [2]uint64{r.Uint64(), r.Uint64()}
	for pass := range 2 {
		ec := d.context()
		*d = base
		d.pairs, d.contents = slices.Clone(base.pairs), slices.Clone(base.contents)
		if pass == 0 {
			d.keys = []envelope.EncryptedDataKey{{ProviderID: "x", ProviderInfo: []byte("x"), Ciphertext: []byte("x")}}
		} else {
			d.keys = []envelope.EncryptedDataKey{wrap(t, ec)}
		}
		again := rand.New(rand.NewPCG(seed[0], seed[1]))
		for _, o := range odd {
			o.change(t, again, d)
		}
	}
	return d.write(t, dataKey)
}

func source(t *testing.T) *rand.Rand {
	seed := [2]uint64{rand.Uint64(), rand.Uint64()}
	t.Logf("seed %v", seed)
	return rand.New(rand.NewPCG(seed[0], seed[1]))
}

func TestOddities(t *testing.T) {
	p := newPair(t)
	r := source(t)
	rounds := max(1, *mutants/50)
	for range *mutants {
		ours, theirs := p.read(t, draw(t, r))
		if !ours.accepted || !theirs.accepted {
			t.Fatalf("a message that is right: sealq %v, the SDK %v", ours.err, theirs.err)
		}
		agree(t, "a message that is right", ours, theirs)
	}
	differences := 0
	for _, o := range oddities {
		if (o.sealq != o.theirs) != (o.why != "") {
			t.Errorf("%s: a difference needs a reason, and a reason a difference", o.name)
		}
		if o.sealq != o.theirs {
			differences++
		}
		for range rounds {
			ours, theirs := p.read(t, draw(t, r, o))
			if ours.accepted != o.sealq || theirs.accepted != o.theirs {
				t.Errorf("%s: accepted by sealq %v (%v), by the SDK %v (%v); want %v and %v", o.name, ours.accepted, ours.err, theirs.accepted, theirs.err, o.sealq, o.theirs)
				break
			}
			agree(t, o.name, ours, theirs)
		}
	}
	t.Logf("%d right messages, %d oddities of %d messages each, %d listed differences", *mutants, len(oddities), rounds, differences)
}

// TestDamaged edits right messages. Nothing of a message is without
// authentication, so that both refuse all of it.
func TestDamaged(t *testing.T) {
	p := newPair(t)
	r := source(t)
	for range *mutants {
		original := draw(t, r)
		b := slices.Clone(original)
		for range 1 + r.IntN(3) {
			from := r.IntN(len(b))
			to := min(len(b), from+1+r.IntN(40))
			switch r.IntN(5) {
			case 0, 1:
				b[from] ^= 1 << r.IntN(8)
			case 2:
				b = slices.Delete(b, from, to)
			case 3:
				b = slices.Insert(b, from, slices.Clone(b[from:to])...)
			case 4:
				b[from] = byte(r.IntN(256))
			}
			if len(b) == 0 {
				b = []byte{2}
			}
		}
		if bytes.Equal(b, original) {
			continue
		}
		ours, theirs := p.read(t, b)
		if ours.accepted || theirs.accepted {
			t.Fatalf("accepted by sealq %v, by the SDK %v: %x, made of %x", ours.accepted, theirs.accepted, b, original)
		}
	}
}
