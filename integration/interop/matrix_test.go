package interop_test

import (
	"bytes"
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/integration/interop/drivers"
	"github.com/sealq/sealq/integration/matrix"
)

// What is exchanged. The sizes meet the frame lengths at, below and above whole
// frames: 8,192 bytes are exactly two frames of 4,096.
var (
	sizes  = []int{0, 1, 4_096, 8_192, 300 << 10, 700 << 10}
	frames = []int{4_096, 1 << 20, 0} // 0: the SDK's default
	suites = []string{"0478", "0578"}
)

// contexts are encryption contexts that implementations disagree on if they
// can.
func contexts() []map[string]string {
	return []map[string]string{
		{"sealq:queue": "arn:aws:sqs:eu-central-1:123456789012:orders"},
		{}, // an absent field, not a field of no pairs
		// By code point, by UTF-16 unit and by locale these sort differently.
		{"straße": "Zürich", "\u00e9": "1", "e\u0301": "2", "鍵": "値", "\ufb01": "3", "🔑": "4", "z": "5"},
		{"B": "1", "a": "2", "Tenant": "3", "aws:sqs:arn": "4", "queueUrl": "5", "queue_name": "6"},
	}
}

// checkAll exchanges everything under each pair of keyrings.
func checkAll(t *testing.T, d *drivers.Driver, pairs ...pair) {
	t.Helper()
	if d.ProcessPerMessage {
		checkSome(t, d, pairs...)
		return
	}
	for _, keys := range pairs {
		checkPair(t, d, keys)
	}
}

func checkPair(t *testing.T, d *drivers.Driver, keys pair) {
	t.Helper()
	for _, ec := range contexts() {
		for _, size := range sizes {
			bySealq(d, keys, ec, random(size)).check(t)
		}
	}
	for _, suite := range suites {
		for _, frame := range frames {
			for _, size := range sizes {
				byDriver(d, keys, suite, frame, contexts()[0], random(size)).check(t)
			}
		}
		for _, ec := range contexts() {
			byDriver(d, keys, suite, 4_096, ec, random(5_000)).check(t)
		}
	}
}

// checkSome is checkAll with every value of every variable in a few rows, for
// what takes half a second a message.
func checkSome(t *testing.T, d *drivers.Driver, pairs ...pair) {
	t.Helper()
	for p, keys := range pairs {
		for i, size := range sizes {
			ec := contexts()[i%len(contexts())]
			if (p+i)%2 == 0 {
				bySealq(d, keys, ec, random(size)).check(t)
			} else {
				byDriver(d, keys, suites[i/2%2], frames[i%3], ec, random(size)).check(t)
			}
		}
	}
}

// rawPairs are raw AES keys: one alone, and with others.
func rawPairs(t *testing.T) []pair {
	t.Helper()
	const namespace = "interop"
	keyring := func(name string, key []byte) *envelope.RawAESKeyring {
		kr, err := envelope.NewRawAESKeyring(namespace, name, key)
		if err != nil {
			t.Fatal(err)
		}
		return kr
	}
	multi := func(generator envelope.Wrapper, children ...envelope.Wrapper) envelope.Keyring {
		kr, err := envelope.NewMultiKeyring(generator, children...)
		if err != nil {
			t.Fatal(err)
		}
		return kr
	}
	one, two, three := random(32), random(32), random(32)
	raw := func(name string, key []byte) drivers.Keyring { return drivers.RawAES(namespace, name, key) }
	all := drivers.Multi(raw("one", one), raw("two", two), raw("three", three))
	allSealq := multi(keyring("one", one), keyring("two", two), keyring("three", three))
	return []pair{
		{"raw AES", keyring("one", one), raw("one", one), raw("one", one)},
		{"three raw AES keys, all on both sides", allSealq, all, all},
	}
}

func TestRawAES(t *testing.T) {
	t.Parallel()
	for _, s := range sdks {
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			d := s.running(t)
			record(t, s, "raw AES keys, both directions", "")
			checkAll(t, d, rawPairs(t)...)
		})
	}
}

// Several keys are alternatives: any one of them is enough to open.
func TestAnyOneKeyOpens(t *testing.T) {
	t.Parallel()
	for _, s := range sdks {
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			d := s.running(t)
			record(t, s, "any one of several keys opens, both directions", "")
			const namespace = "interop"
			names := []string{"one", "two", "three"}
			var wrappers []envelope.Wrapper
			var raws []drivers.Keyring
			for _, name := range names {
				key := random(32)
				kr, err := envelope.NewRawAESKeyring(namespace, name, key)
				if err != nil {
					t.Fatal(err)
				}
				wrappers = append(wrappers, kr)
				raws = append(raws, drivers.RawAES(namespace, name, key))
			}
			all, err := envelope.NewMultiKeyring(wrappers[0], wrappers[1:]...)
			if err != nil {
				t.Fatal(err)
			}
			for i, name := range names {
				written := pair{"opened by key " + name, all, drivers.Keyring{}, raws[i]}
				bySealq(d, written, contexts()[0], random(100)).check(t)
				read := pair{"opened by key " + name, wrappers[i], drivers.Multi(raws[0], raws[1:]...), drivers.Keyring{}}
				byDriver(d, read, "0478", 0, contexts()[0], random(100)).check(t)
			}
		})
	}
}

// Not one bit of a message may be changed without the reader's noticing: the
// wire format as each side understands it has no slack.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	keys := rawPairs(t)[0]
	for _, s := range sdks {
		if s.ProcessPerMessage {
			continue // several minutes; its library is that of python-legacy
		}
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			d := s.running(t)
			outcome := ""
			if s.IgnoresFinalFrameNumber {
				outcome = "except in the number of the final frame, which it does not read"
			}
			record(t, s, "a changed bit is refused, in every byte", outcome)
			rows := []row{bySealq(d, keys, contexts()[0], random(10))}
			for _, suite := range suites {
				rows = append(rows, byDriver(d, keys, suite, 4_096, contexts()[0], random(10)))
			}
			for _, r := range rows {
				message, err := r.seal()
				if err != nil {
					t.Fatal(err)
				}
				if err := r.receive(onTheWire(message, len(message)-1)); err != nil {
					t.Fatalf("%s: open: %v", r.name, err)
				}
				for at := range message {
					plaintext, _, err := r.open(flip(message, at))
					switch {
					case r.ignores != nil && r.ignores(message, at):
						if err != nil || !bytes.Equal(plaintext, r.plaintext) {
							t.Errorf("%s: bit changed in byte %d of %d: got %v, want it ignored: has the SDK been fixed?", r.name, at, len(message), err)
						}
					case !refused(err):
						t.Errorf("%s: bit changed in byte %d of %d: got %v, want a refusal", r.name, at, len(message), err)
					}
				}
			}
		})
	}
}

// record adds a row to the table of results when the test has passed.
func record(t *testing.T, s *sdk, what, outcome string) {
	t.Helper()
	matrix.Record(t, matrix.Row{
		Section: matrix.Interop,
		Subject: s.Name,
		Version: s.Version,
		What:    what,
		Outcome: outcome,
	})
}
