package envelope_test

import (
	"context"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/envelope"
)

var (
	mutations = flag.Int("mutations", 20_000, "mutated messages that TestMutationsAreRefused opens")
	pairs     = flag.Bool("pairs", false, "flip every pair of bits in TestEveryPairOfBitFlips, not only those of a sample")
)

// refuse opens a message whose bytes are not those of any sealed message, split
// where the parser splits it, and reports it if it opens. It is all that runs
// some 10^8 times, and so has no reporting of its own.
func refuse(ctx context.Context, kr envelope.Keyring, b []byte) bool {
	split, err := envelope.Split(b)
	var got envelope.Opened
	if err == nil {
		got, err = envelope.Open(ctx, kr, split, acceptAll)
	}
	return errors.Is(err, envelope.ErrInvalidMessage) && got.Plaintext == nil
}

// anyKeyring answers like staticKeyring, and counts nothing.
type anyKeyring struct{ envelope.Keyring }

func (anyKeyring) DecryptDataKey(_ context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	return envelope.NewDataKey(testKey, edks[0])
}

// TestEveryPairOfBitFlips: two changes do not make up for one another, as they
// could with a checksum. With -pairs every pair of bits of every shape is
// flipped; otherwise a sample.
func TestEveryPairOfBitFlips(t *testing.T) {
	t.Parallel()
	named := shapes(t)
	ctx := t.Context()
	total := 0
	start := time.Now()
	for _, name := range slices.Sorted(maps.Keys(named)) {
		b := named[name].Bytes()
		kr := anyKeyring{}
		n := len(b) * 8
		step := 1
		if !*pairs {
			step = 1 + n*n/2/2000
		}
		skip := rand.N(step)
		before := total
		for i := range n {
			b[i/8] ^= 1 << (i % 8)
			for j := i + 1; j < n; j++ {
				if skip--; skip > 0 {
					continue
				}
				skip = step
				b[j/8] ^= 1 << (j % 8)
				if total++; !refuse(ctx, kr, b) {
					t.Fatalf("%s opens with bits %d and %d flipped", name, i, j)
				}
				b[j/8] ^= 1 << (j % 8)
			}
			b[i/8] ^= 1 << (i % 8)
		}
		t.Logf("%s: %d pairs of %d bits", name, total-before, n)
	}
	t.Logf("%d pairs in %v", total, time.Since(start).Round(time.Second))
}

// TestMutationsAreRefused edits sealed messages at random: bits, bytes, numbers
// that stand for lengths, pieces taken out, doubled, and brought from another
// message under the same data key.
func TestMutationsAreRefused(t *testing.T) {
	t.Parallel()
	var originals, signed [][]byte
	for name, m := range shapes(t) {
		if strings.HasPrefix(name, "signed") {
			signed = append(signed, m.Bytes())
		} else {
			originals = append(originals, m.Bytes())
		}
	}
	known := make(map[string]bool)
	for _, b := range slices.Concat(originals, signed) {
		known[string(b)] = true
	}
	seed := [2]uint64{rand.Uint64(), rand.Uint64()}
	r := rand.New(rand.NewPCG(seed[0], seed[1]))
	pick := func() []byte {
		if r.IntN(30) == 0 { // to parse a public key takes ten times as long as all the rest
			return signed[r.IntN(len(signed))]
		}
		return originals[r.IntN(len(originals))]
	}
	piece := func(b []byte) (int, int) {
		from := r.IntN(len(b) + 1)
		return from, min(len(b), from+1+r.IntN(48))
	}
	interesting := []byte{0, 1, 2, 0x04, 0x05, 0x10, 0x78, 0x7f, 0x80, 0xfe, 0xff}
	kr, ctx := anyKeyring{}, t.Context()
	start := time.Now()
	var b []byte
	parsed := 0
	for n := range *mutations {
		b = append(b[:0], pick()...)
		for range 1 + r.IntN(4) {
			switch from, to := piece(b); r.IntN(7) {
			case 0, 1:
				if from < len(b) {
					b[from] ^= 1 << r.IntN(8)
				}
			case 2:
				if from < len(b) {
					b[from] = interesting[r.IntN(len(interesting))]
				}
			case 3:
				if from < len(b) {
					b[from] += byte(r.IntN(33) - 16)
				}
			case 4:
				b = slices.Delete(b, from, to)
			case 5:
				b = slices.Insert(b, from, slices.Clone(b[from:to])...)
			case 6:
				other := pick()
				from, to := piece(other)
				at := min(from, len(b))
				b = slices.Replace(b, at, min(len(b), at+to-from), other[from:to]...)
			}
		}
		if known[string(b)] {
			continue
		}
		if _, err := envelope.Split(b); err == nil {
			parsed++
		}
		if !refuse(ctx, kr, b) {
			t.Fatalf("mutation %d of seed %v opens: %x", n, seed, b)
		}
	}
	if *mutations > 1000 && parsed < *mutations/100 {
		t.Errorf("%d of %d mutated messages have a header that parses: the test looks at nothing", parsed, *mutations)
	}
	t.Logf("%d mutations, %d with a header that parses, in %v", *mutations, parsed, time.Since(start).Round(time.Second))
}
