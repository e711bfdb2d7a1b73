package content_test

import (
	"bytes"
	"compress/flate"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx/internal/content"
)

// builder writes content by hand, right or wrong.
type builder struct{ b []byte }

func (b *builder) u32(n uint32) *builder {
	b.b = binary.BigEndian.AppendUint32(b.b, n)
	return b
}
func (b *builder) raw(p ...byte) *builder { b.b = append(b.b, p...); return b }
func (b *builder) field(s string) *builder {
	return b.u32(uint32(len(s))).raw([]byte(s)...)
}

// head is flags and a time.
func head(flags byte) *builder {
	b := (&builder{}).raw(flags)
	b.b = binary.BigEndian.AppendUint64(b.b, 1_700_000_000_123)
	return b
}

func attribute(name, dataType string, kind byte, value string) string {
	return string((&builder{}).field(name).field(dataType).raw(kind).field(value).b)
}

// with returns content with these blocks of attributes.
func with(sealed, clear string) []byte {
	return head(0).field(sealed).field(clear).raw([]byte("body")...).b
}

// stored is raw DEFLATE of s in blocks that are not compressed.
func stored(s string) string {
	var b []byte
	for {
		n := min(len(s), math.MaxUint16)
		final := byte(0)
		if n == len(s) {
			final = 1
		}
		b = append(b, final)
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
		b = binary.LittleEndian.AppendUint16(b, ^uint16(n))
		b = append(b, s[:n]...)
		if s = s[n:]; final == 1 {
			return string(b)
		}
	}
}

// compress is raw DEFLATE of s.
func compress(s string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err) // of the level
	}
	io.WriteString(w, s) // neither fails: b is memory
	w.Close()
	return b.String()
}

// long is a body that compresses.
var long = strings.Repeat("body", 100)

// deflated returns content whose body declares n bytes.
func deflated(n uint32, stream string) []byte {
	return head(1).field("").field("").u32(n).raw([]byte(stream)...).b
}

func names(n int) string {
	var block string
	for i := range n {
		block += attribute(fmt.Sprintf("a%02d", i), "String", 1, "v")
	}
	return block
}

func TestDecode(t *testing.T) {
	t.Parallel()
	const large = 1 << 20
	a, b := attribute("a", "String", 1, "1"), attribute("b", "Binary", 2, "\xff\x00")
	cases := map[string]struct {
		b    []byte
		want error
		text string // in the error
	}{
		"shortest":                     {head(0).field("").field("").b, nil, ""},
		"no body, all inside":          {head(2).field(a).field("").b, nil, ""},
		"attributes":                   {with(a+b, attribute("c", "Number.float", 1, "01.50")), nil, ""},
		"10 attributes":                {with(names(10), ""), nil, ""},
		"10 attributes in both blocks": {with(names(9), b), nil, ""},
		"10 clear attributes":          {with("", names(10)), nil, ""},
		"compressed":                   {deflated(400, compress(long)), nil, ""},
		"compressed, 1 MiB":            {deflated(large, compress(strings.Repeat("x", large))), nil, ""},
		"last millisecond of 9999":     {(&builder{}).raw(0).u32(0x0000e677).u32(0xd21fdbff).field("").field("").b, nil, ""},

		"empty":                            {nil, envelope.ErrMalformed, "empty"},
		"time cut":                         {head(0).b[:8], envelope.ErrMalformed, "time"},
		"time after 9999":                  {(&builder{}).raw(0).u32(0x0000e677).u32(0xd21fdc00).field("").field("").b, envelope.ErrMalformed, "9999"},
		"time of 2^64-1":                   {(&builder{}).raw(0).u32(math.MaxUint32).u32(math.MaxUint32).field("").field("").b, envelope.ErrMalformed, "9999"},
		"no attributes":                    {head(0).b, envelope.ErrMalformed, "ends within"},
		"one block":                        {head(0).field("").b, envelope.ErrMalformed, "ends within"},
		"block longer than the rest":       {head(0).u32(5).raw(1, 2, 3, 4).b, envelope.ErrMalformed, "ends within"},
		"block of 2^32-1":                  {head(0).u32(math.MaxUint32).b, envelope.ErrMalformed, "ends within"},
		"name longer than its block":       {with(string((&builder{}).u32(math.MaxUint32).raw(1).b), ""), envelope.ErrMalformed, "within an attribute"},
		"block with a byte more":           {with(a+"\x00", ""), envelope.ErrMalformed, "within an attribute"},
		"value cut":                        {with(a[:len(a)-1], ""), envelope.ErrMalformed, "within an attribute"},
		"kind missing":                     {with(string((&builder{}).field("a").field("String").b), ""), envelope.ErrMalformed, "within an attribute"},
		"unsorted":                         {with(b+a, ""), envelope.ErrMalformed, "out of order"},
		"unsorted, clear":                  {with("", b+a), envelope.ErrMalformed, "out of order"},
		"twice":                            {with(a+a, ""), envelope.ErrMalformed, "twice"},
		"twice, in both blocks":            {with(a, a), envelope.ErrMalformed, "twice"},
		"kind 0":                           {with(attribute("a", "String", 0, "1"), ""), envelope.ErrMalformed, "kind 0"},
		"kind 3":                           {with(attribute("a", "String", 3, "1"), ""), envelope.ErrMalformed, "kind 3"},
		"String as bytes":                  {with(attribute("a", "String", 2, "1"), ""), envelope.ErrMalformed, "kind 2"},
		"Binary as text":                   {with(attribute("a", "Binary", 1, "1"), ""), envelope.ErrMalformed, "kind 1"},
		"Binary.gzip as text":              {with(attribute("a", "Binary.gzip", 1, "1"), ""), envelope.ErrMalformed, "kind 1"},
		"another type":                     {with(attribute("a", "Boolean", 1, "1"), ""), envelope.ErrMalformed, "neither"},
		"a type that begins like Binary":   {with(attribute("a", "Binaryx", 2, "1"), ""), envelope.ErrMalformed, "neither"},
		"no type":                          {with(attribute("a", "", 1, "1"), ""), envelope.ErrMalformed, "neither"},
		"no name":                          {with(attribute("", "String", 1, "1"), ""), envelope.ErrMalformed, "without a name"},
		"sealq":                            {with(attribute("sealq", "Binary", 2, "1"), ""), envelope.ErrMalformed, "never inside"},
		"sealq, clear":                     {with("", attribute("sealq", "String", 1, "1")), envelope.ErrMalformed, "never inside"},
		"name not UTF-8":                   {with(attribute("\xff", "String", 1, "1"), ""), envelope.ErrMalformed, "UTF-8"},
		"type not UTF-8":                   {with(attribute("a", "String.\xff", 1, "1"), ""), envelope.ErrMalformed, "UTF-8"},
		"value not UTF-8":                  {with(attribute("a", "String", 1, "\xff"), ""), envelope.ErrMalformed, "UTF-8"},
		"11 attributes":                    {with(names(11), ""), envelope.ErrMalformed, "more than 10"},
		"11 attributes in both blocks":     {with(names(10), b), envelope.ErrMalformed, "more than 10"},
		"length of the body cut":           {head(1).field("").field("").raw(0, 0, 0).b, envelope.ErrMalformed, "length of its body"},
		"stored":                           {deflated(4, stored("body")), envelope.ErrMalformed, "not shorter"},
		"stored, nothing":                  {deflated(0, stored("")), envelope.ErrMalformed, "not shorter"},
		"stored, 1 MiB":                    {deflated(large, stored(strings.Repeat("x", large))), envelope.ErrMalformed, "not shorter"},
		"nothing, in a short stream":       {deflated(0, compress("")), envelope.ErrMalformed, "not shorter"},
		"1 MiB and a byte declared":        {deflated(large+1, stored(strings.Repeat("x", large+1))), envelope.ErrMalformed, "at most 1048576"},
		"a byte fewer than declared":       {deflated(401, compress(long)), envelope.ErrMalformed, "declares"},
		"a byte more than declared":        {deflated(399, compress(long)), envelope.ErrMalformed, "declares"},
		"nothing declared":                 {deflated(0, compress(long)), envelope.ErrMalformed, "declares"},
		"a byte behind the stream":         {deflated(400, compress(long)+"\x00"), envelope.ErrMalformed, "1 bytes behind"},
		"another stream behind":            {deflated(400, compress(long)+stored("")), envelope.ErrMalformed, "behind"},
		"stream cut":                       {deflated(400, compress(long)[:8]), envelope.ErrMalformed, "decompress"},
		"stream without a final block":     {deflated(400, "\x00"+stored("body")[1:]), envelope.ErrMalformed, "decompress"},
		"no stream":                        {deflated(5, ""), envelope.ErrMalformed, "decompress"},
		"no DEFLATE":                       {deflated(400, "\xffbody"), envelope.ErrMalformed, "decompress"},
		"zlib in place of raw DEFLATE":     {deflated(400, "\x78\x9c"+compress(long)), envelope.ErrMalformed, "decompress"},
		"flag 4":                           {head(4).field("").field("").b, envelope.ErrUnsupported, "0x04"},
		"flag 128 beside known ones":       {head(0x83).field("").field("").b, envelope.ErrUnsupported, "0x83"},
		"an unknown flag and nothing else": {[]byte{8}, envelope.ErrUnsupported, "0x08"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var z content.Compressor
			got, err := z.Decode(string(c.b))
			switch {
			case c.want == nil && err != nil:
				t.Errorf("got %v, want the content", err)
			case c.want != nil && (!errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text)):
				t.Errorf("got %v, want %v about %q", err, c.want, c.text)
			case c.want != nil && !cmp.Equal(got, content.Content{}):
				t.Errorf("got %+v beside an error", got)
			}
		})
	}
}

// Bits 2 to 7 of the flags are later releases'.
func TestUnknownFlags(t *testing.T) {
	t.Parallel()
	var z content.Compressor
	for flags := range 256 {
		_, err := z.Decode(string(head(byte(flags)).field("").field("").raw([]byte("\x00\x00\x01\x90" + compress(long))...).b))
		if known := flags < 4; known != (err == nil) || !known && !errors.Is(err, envelope.ErrUnsupported) {
			t.Errorf("flags %#02x: got %v", flags, err)
		}
	}
}

// attributes are drawn with names from a small set, so that they meet.
func drawAttributes(rt *rapid.T) (sealed, clear []content.Attribute) {
	n := rapid.IntRange(0, content.MaxAttributes).Draw(rt, "attributes")
	all := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z_.ü-]{1,8}`), n, n, rapid.ID[string]).Draw(rt, "names")
	for _, name := range all {
		a := content.Attribute{Name: name, Type: rapid.SampledFrom([]string{"String", "Number", "Binary", "Binary.gzip", "String.é"}).Draw(rt, "type")}
		if a.Value = rapid.String().Draw(rt, "value"); content.IsBinary(a.Type) {
			a.Value = string(rapid.SliceOf(rapid.Byte()).Draw(rt, "bytes"))
		}
		if rapid.Bool().Draw(rt, "sealed") {
			sealed = append(sealed, a)
		} else {
			clear = append(clear, a)
		}
	}
	return sealed, clear
}

func sorted(attributes []content.Attribute) []content.Attribute {
	return slices.SortedFunc(slices.Values(attributes), func(a, b content.Attribute) int { return strings.Compare(a.Name, b.Name) })
}

// Decode returns what Encode was given, whatever the order of the attributes,
// and Encode does not write into it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	var z content.Compressor // of all, so that what is kept from one message meets the next
	rapid.Check(t, func(rt *rapid.T) {
		sealed, clear := drawAttributes(rt)
		c := content.Content{
			Body:            strings.Repeat(rapid.String().Draw(rt, "body"), rapid.IntRange(1, 200).Draw(rt, "times")),
			SealsAttributes: rapid.Bool().Draw(rt, "seals"),
			Time:            time.UnixMilli(rapid.Int64Range(0, 253402300799999).Draw(rt, "time")).UTC(),
			Sealed:          sealed, Clear: clear,
		}
		before := slices.Concat(sealed, clear)
		b, err := z.Encode(c, rapid.Bool().Draw(rt, "compress"))
		if err != nil {
			rt.Fatal(err)
		}
		if n := content.Size(c); len(b) > n {
			rt.Fatalf("got %d bytes, want at most %d", len(b), n)
		}
		if diff := cmp.Diff(before, slices.Concat(sealed, clear)); diff != "" {
			rt.Fatalf("Encode changed its argument: %s", diff)
		}
		got, err := z.Decode(string(b))
		if err != nil {
			rt.Fatal(err)
		}
		c.Sealed, c.Clear = sorted(c.Sealed), sorted(c.Clear)
		if diff := cmp.Diff(c, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	attribute := func(name, dataType string) []content.Attribute {
		return []content.Attribute{{Name: name, Type: dataType, Value: "v"}}
	}
	var eleven []content.Attribute
	for i := range 11 {
		eleven = append(eleven, content.Attribute{Name: string(rune('a' + i)), Type: "String", Value: "v"})
	}
	now := time.Now()
	var z content.Compressor
	for name, c := range map[string]content.Content{
		"sealq":             {Time: now, Sealed: attribute("sealq", "String")},
		"twice":             {Time: now, Sealed: attribute("a", "String"), Clear: attribute("a", "String")},
		"type":              {Time: now, Clear: attribute("a", "Text")},
		"11":                {Time: now, Sealed: eleven},
		"11 in both blocks": {Time: now, Sealed: eleven[:5], Clear: eleven[5:]},
		"no time":           {},
		"before 1970":       {Time: time.UnixMilli(-1)},
		"after 9999":        {Time: time.UnixMilli(253402300800000)},
	} {
		if b, err := z.Encode(c, false); err == nil {
			t.Errorf("%s: got %x, want an error", name, b)
		}
	}
	if _, err := z.Encode(content.Content{Time: now, Sealed: eleven[:5], Clear: eleven[5:10]}, false); err != nil {
		t.Errorf("10 attributes: %v", err)
	}
}

// A body is compressed only if that makes it smaller, its length included.
func TestCompressesOnlyIfSmaller(t *testing.T) {
	t.Parallel()
	random := make([]byte, 1<<20)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	var z content.Compressor
	for name, c := range map[string]struct {
		body string
		want bool
	}{
		"nothing":          {"", false},
		"a byte":           {"x", false},
		"short":            {"hello", false},
		"repeated":         {strings.Repeat("hello ", 10), true},
		"random":           {string(random), false},
		"1 MiB":            {strings.Repeat("x", 1<<20), true},
		"1 MiB and a byte": {strings.Repeat("x", 1<<20+1), false}, // no reader would take it
	} {
		c1 := content.Content{Body: c.body, Time: time.UnixMilli(0).UTC()}
		plain, err := z.Encode(c1, false)
		if err != nil {
			t.Fatal(err)
		}
		b, err := z.Encode(c1, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := b[0]&1 == 1; got != c.want || got != (len(b) < len(plain)) || !got && !bytes.Equal(b, plain) {
			t.Errorf("%s: compressed %t, %d bytes of %d, want %t", name, got, len(b), len(plain), c.want)
		}
		if got, err := z.Decode(string(b)); err != nil || got.Body != c.body {
			t.Errorf("%s: got %d bytes, %v, want the body", name, len(got.Body), err)
		}
	}
}

// The bound is exact: what deflates to as many bytes as it has is left as it
// is.
func TestCompressionBound(t *testing.T) {
	t.Parallel()
	var z content.Compressor
	smaller, larger := 0, 0
	for n := 1; n < 64; n++ {
		c := content.Content{Body: strings.Repeat("ab", n)[:n], Time: time.UnixMilli(0)}
		b, err := z.Encode(c, true)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(b) > content.Size(c):
			t.Errorf("%d bytes: got %d, want at most %d", n, len(b), content.Size(c))
		case len(b) == content.Size(c) && b[0] != 0:
			t.Errorf("%d bytes: compressed to the same length", n)
		case b[0] == 0:
			larger++
		default:
			smaller++
		}
	}
	if smaller == 0 || larger == 0 {
		t.Errorf("%d compressed, %d not, want some of each", smaller, larger)
	}
}

// TestNoLongerThanTheBody: a reader refuses exactly the compressed bodies that
// no writer writes.
func TestNoLongerThanTheBody(t *testing.T) {
	t.Parallel()
	var z content.Compressor
	equal := false
	for n := range 64 {
		body := strings.Repeat("ab", n)[:n]
		stream := compress(body)
		for _, cut := range []int{0, 1} { // of what is declared
			declared := n - cut
			if declared < 0 {
				continue
			}
			_, err := z.Decode(string(deflated(uint32(declared), stream)))
			tooLong := 4+len(stream) >= declared
			equal = equal || 4+len(stream) == declared
			if got := err != nil && strings.Contains(err.Error(), "not shorter"); got != tooLong || (err == nil) != (!tooLong && cut == 0) {
				t.Errorf("%d bytes in %d, %d declared: got %v", n, 4+len(stream), declared, err)
			}
		}
	}
	if !equal {
		t.Error("no stream is as long as its body: the test does not show the bound")
	}
}

// TestEmptyBlocks: DEFLATE blocks that hold nothing are as large as a message
// can be, each with Huffman tables to build, and decompress to nothing.
func TestEmptyBlocks(t *testing.T) {
	t.Parallel()
	var stream []byte
	var held, n uint64
	bits := func(v, count uint64) {
		held, n = held|v<<n, n+count
		for ; n >= 8; held, n = held>>8, n-8 {
			stream = append(stream, byte(held))
		}
	}
	block := func(final uint64) { // RFC 1951, 3.2.7
		bits(final, 1)
		bits(2, 2)  // dynamic Huffman codes
		bits(0, 5)  // 257 codes of literals and lengths
		bits(0, 5)  // 1 code of distances
		bits(14, 4) // 18 codes of code lengths, of which 18 and 1 have one bit
		for i := range 18 {
			if i == 2 || i == 17 {
				bits(1, 3)
			} else {
				bits(0, 3)
			}
		}
		bits(1, 1) // 138 lengths of 0
		bits(127, 7)
		bits(1, 1) // 118 more
		bits(107, 7)
		bits(0, 3) // length 1 for the end of a block, and for a distance; that end
	}
	for len(stream) < 780<<10 {
		block(0)
	}
	block(1)
	bits(0, 7)
	got, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream)))
	if err != nil || len(got) != 0 {
		t.Fatalf("got %d bytes, %v, want a stream of nothing", len(got), err)
	}
	var z content.Compressor
	for _, declared := range []uint32{0, 1, 1000, 700 << 10} {
		if _, err := z.Decode(string(deflated(declared, string(stream)))); !errors.Is(err, envelope.ErrMalformed) || !strings.Contains(err.Error(), "not shorter") {
			t.Errorf("%d declared: got %v, want malformed, before it is decompressed", declared, err)
		}
	}
}

// A megabyte or less is declared, and 64 are behind it: no more is decompressed
// than was declared. Not parallel: it measures what is allocated.
func TestBomb(t *testing.T) {
	var bomb bytes.Buffer
	w, err := flate.NewWriter(&bomb, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if bomb.Len() > 70_000 {
		t.Fatalf("64 MiB of zeros take %d bytes, want a bomb", bomb.Len())
	}
	for declared, want := range map[uint32]string{1 << 20: "declares", 100_000: "declares", 1: "not shorter", 0: "not shorter", 64 << 20: "at most", math.MaxUint32: "at most"} {
		var z content.Compressor
		b := deflated(declared, bomb.String())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := z.Decode(string(b))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, envelope.ErrMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%d declared: got %v, want malformed, about %q", declared, err, want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 3<<20 {
			t.Errorf("%d declared: %d bytes allocated, want at most 3 MiB", declared, n)
		}
	}
}

// What is kept for the next message is no worse for a message that failed.
func TestAfterFailure(t *testing.T) {
	t.Parallel()
	var z content.Compressor
	c := content.Content{Body: strings.Repeat("body ", 100), Time: time.UnixMilli(0).UTC()}
	good, err := z.Encode(c, true)
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 1000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := z.Decode(string(good[:len(good)-3])); !errors.Is(err, envelope.ErrMalformed) {
					t.Errorf("got %v, want malformed", err)
				}
				if _, err := z.Encode(content.Content{Body: string(random), Time: c.Time}, true); err != nil {
					t.Error(err)
				}
				if b, err := z.Encode(c, true); err != nil || !bytes.Equal(b, good) {
					t.Errorf("got %x, %v, want %x", b, err, good)
				}
				if got, err := z.Decode(string(good)); err != nil || !cmp.Equal(got, c) {
					t.Errorf("got %+v, %v, want %+v", got, err, c)
				}
			}
		})
	}
	wg.Wait()
}

// A block of attributes is what SQS's digest is taken of. The digest was
// recorded from the service (LocalStack's snapshot of
// test_message_attributes_... against AWS).
func TestBlockIsWhatSQSDigests(t *testing.T) {
	t.Parallel()
	var z content.Compressor
	b, err := z.Encode(content.Content{Time: time.UnixMilli(0), Sealed: []content.Attribute{{
		Name: "attr1", Type: "Binary", Value: "traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01",
	}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum(b[1+8+4 : len(b)-4])
	if got, want := hex.EncodeToString(sum[:]), "8cbe4db156db8a94db8b801b7addb984"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// sample has all parts.
func sample(t testing.TB, compress bool) []byte {
	t.Helper()
	var z content.Compressor
	b, err := z.Encode(content.Content{
		Body: strings.Repeat(`{"order":4711}`, 20), SealsAttributes: true, Time: time.UnixMilli(1_700_000_000_123),
		Sealed: []content.Attribute{{"amount", "Number", "01.50"}, {"sig", "Binary", "\x00\xff"}},
		Clear:  []content.Attribute{{"tenant", "String", "acme"}},
	}, compress)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Authentication comes before this package. Without it, too, no bit that is
// flipped makes it panic, and what it still takes is in the one form that
// Encode writes.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		good := sample(t, compress)
		for i := range len(good) * 8 {
			b := bytes.Clone(good)
			b[i/8] ^= 1 << (i % 8)
			checkDecoded(t, b)
		}
		for n := range good {
			checkDecoded(t, good[:n])
		}
	}
}

// checkDecoded holds what is true of Decode for any bytes.
func checkDecoded(t *testing.T, b []byte) {
	t.Helper()
	var z content.Compressor
	c, err := z.Decode(string(b))
	if err != nil {
		if !errors.Is(err, envelope.ErrInvalidMessage) {
			t.Fatalf("%x: got %v, want %v", b, err, envelope.ErrInvalidMessage)
		}
		if !cmp.Equal(c, content.Content{}) {
			t.Fatalf("%x: got %+v beside an error", b, c)
		}
		return
	}
	again, err := z.Encode(c, false)
	if err != nil {
		t.Fatalf("%x: decoded, and not encoded again: %v", b, err)
	}
	if b[0]&1 == 0 && !bytes.Equal(again, b) {
		t.Fatalf("%x: got %x, want one form only", b, again)
	}
	twice, err := z.Decode(string(again))
	if err != nil || !cmp.Equal(c, twice) {
		t.Fatalf("%x: got %+v, then %+v, %v", b, c, twice, err)
	}
	if len(c.Body) > len(b) && len(c.Body) > content.MaxBody {
		t.Fatalf("%x: a body of %d bytes", b, len(c.Body))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample(f, false))
	f.Add(sample(f, true))
	f.Add(with(names(10), ""))
	f.Add(deflated(400, compress(long)))
	f.Add(deflated(4, stored("body")))
	f.Fuzz(checkDecoded)
}

// A reader must not tell what was sealed: errors name neither names nor values.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	var z content.Compressor
	for _, block := range []string{
		attribute("secretname", "Strange.secrettype", 1, "secretvalue"),
		attribute("secretname", "String", 2, "secretvalue"),
		attribute("secretname", "String", 1, "secretvalue\xff"),
		attribute("secretname", "String", 1, "secretvalue") + attribute("secretname", "String", 1, "secretvalue"),
		attribute("secretname", "String", 1, "secretvalue") + attribute("a", "String", 1, "secretvalue"),
	} {
		_, err := z.Decode(string(with(block, "")))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want an error without what was sealed", err)
		}
	}
}

func benchmarkAttributes() []content.Attribute {
	var attributes []content.Attribute
	for i := range 10 {
		attributes = append(attributes, content.Attribute{Name: fmt.Sprintf("attribute%d", i), Type: "String", Value: strings.Repeat("v", 100)})
	}
	return attributes
}

// text is JSON as services send it: names that repeat, values that do not.
func text(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, `{"orderId":"%08x","customer":{"id":%d,"tier":"gold"},"amount":"%d.%02d","currency":"EUR","status":"CREATED"},`, r.Uint32(), r.IntN(1e6), r.IntN(1000), r.IntN(100))
	}
	return b.String()[:n]
}

func BenchmarkEncode(b *testing.B) {
	var z content.Compressor
	for _, size := range []int{1 << 10, 10 << 10, 100 << 10} {
		for _, compress := range []bool{false, true} {
			c := content.Content{Body: text(size), Time: time.Now(), Sealed: benchmarkAttributes(), SealsAttributes: true}
			b.Run(fmt.Sprintf("%dKiB/compress=%t", size>>10, compress), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if _, err := z.Encode(c, compress); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	var z content.Compressor
	for _, size := range []int{1 << 10, 10 << 10, 100 << 10} {
		for _, compress := range []bool{false, true} {
			c := content.Content{Body: text(size), Time: time.Now(), Sealed: benchmarkAttributes(), SealsAttributes: true}
			encoded, err := z.Encode(c, compress)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%dKiB/compress=%t", size>>10, compress), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if _, err := z.Decode(string(encoded)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
