package sealq_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/sealq/sealq/envelope"
)

// The reader below follows docs/format.md and shares nothing with the module
// but the names of errors: if it refuses what the module refuses, with the same
// error, the document says enough for another implementation.

// A cursor takes fields off the front of a message. Beyond its end is
// malformed.
type cursor struct {
	rest []byte
	end  error // what beyond the end is
}

// refusal leaves the reader from any depth.
type refusal struct{ err error }

func refuse(class error, what string) { panic(refusal{fmt.Errorf("%w: %s", class, what)}) }

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		panic(refusal{c.end})
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) number(bytes int) uint64 {
	var n uint64
	for _, b := range c.take(uint64(bytes)) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (c *cursor) counted() []byte { return c.take(c.number(2)) }

func newCursor(b []byte) *cursor { return &cursor{b, envelope.ErrMalformed} }

var version1Suites = []uint64{0x0014, 0x0046, 0x0078, 0x0114, 0x0146, 0x0178, 0x0214, 0x0346, 0x0378}

// isVersion1Header follows the paragraph on a whole header of format version 1.
func isVersion1Header(b []byte) (whole bool) {
	defer func() {
		if r := recover(); r != nil {
			whole = false
		}
	}()
	c := newCursor(b)
	whole = c.number(1) == 1 && c.number(1) == 0x80 && slices.Contains(version1Suites, c.number(2))
	c.take(16)
	c.counted()
	keys := c.number(2)
	for range 3 * keys {
		c.counted()
	}
	content := c.number(1)
	whole = whole && keys > 0 && (content == 1 || content == 2) && c.number(4) == 0 && c.number(1) == 12
	c.take(4 + 12 + 16)
	return whole
}

const publicKeyPair = "aws-crypto-public-key"

// readMessage does what the document says a reader does, with a raw AES key in
// place of a key service and no check of the context.
func readMessage(message []byte, namespace, name string, wrappingKey []byte, t *testing.T) (plaintext []byte, context map[string]string, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refusal:
			plaintext, context, err = nil, nil, r.err
		default:
			panic(r)
		}
	}()

	// Step 1: the header.
	c := newCursor(message)
	if len(message) > 65536 {
		c = &cursor{message[:65536], envelope.ErrUnsupported}
	}
	beyondHeader := len(message) - len(c.rest)
	switch first := c.number(1); {
	case first == 1 && isVersion1Header(message):
		refuse(envelope.ErrUnsupported, "version 1")
	case 3 <= first && first <= 31:
		refuse(envelope.ErrUnsupported, "a later version: upgrade")
	case first != 2:
		refuse(envelope.ErrMalformed, "first byte")
	}
	suite := c.number(2)
	if suite != 0x0478 && suite != 0x0578 {
		refuse(envelope.ErrUnsupported, "suite")
	}
	id := c.take(32)
	context = readContext(c.counted())
	keys := c.number(2)
	if keys == 0 {
		refuse(envelope.ErrMalformed, "no data key")
	}
	if keys > 16 {
		refuse(envelope.ErrUnsupported, "data keys")
	}
	var entries [][3][]byte
	for range keys {
		e := [3][]byte{c.counted(), c.counted(), c.counted()}
		if !utf8.Valid(e[0]) {
			refuse(envelope.ErrMalformed, "provider ID")
		}
		if len(e[0]) > 256 || len(e[1]) > 2048 || len(e[2]) > 6144 {
			refuse(envelope.ErrUnsupported, "data key")
		}
		entries = append(entries, e)
	}
	content, frameLength, commitment := c.number(1), c.number(4), c.take(32)
	authenticated := message[:len(message)-beyondHeader-len(c.rest)]
	tag := c.take(16)
	switch {
	case content == 0:
		refuse(envelope.ErrMalformed, "content type")
	case content > 2:
		refuse(envelope.ErrUnsupported, "content type")
	case (content == 2) == (frameLength == 0):
		refuse(envelope.ErrMalformed, "frame length")
	}
	point, signed := context[publicKeyPair]
	if signed != (suite == 0x0578) {
		refuse(envelope.ErrMalformed, "public key")
	}
	var signer *ecdsa.PublicKey
	if signed {
		b, err := base64.StdEncoding.Strict().DecodeString(point)
		if err != nil || len(b) != 49 || len(point) != 68 {
			refuse(envelope.ErrMalformed, "public key")
		}
		x, y := elliptic.UnmarshalCompressed(elliptic.P384(), b)
		if x == nil {
			refuse(envelope.ErrMalformed, "public key")
		}
		uncompressed := append([]byte{4}, make([]byte, 96)...)
		x.FillBytes(uncompressed[1:49])
		y.FillBytes(uncompressed[49:])
		if signer, err = ecdsa.ParseUncompressedPublicKey(elliptic.P384(), uncompressed); err != nil {
			refuse(envelope.ErrMalformed, "public key")
		}
	}

	// Step 1: the body.
	type frame struct{ iv, sealed, additional []byte }
	var frames []frame
	c = newCursor(message[len(authenticated)+16:])
	for n := uint64(1); ; n++ {
		if n > 65536 {
			refuse(envelope.ErrUnsupported, "frames")
		}
		label, got, size := "AWSKMSEncryptionClient Frame", n, frameLength
		var iv []byte
		if content == 1 {
			label = "AWSKMSEncryptionClient Single Block"
			iv, size = c.take(12), c.number(8)
		} else {
			if got = c.number(4); got == 0xffffffff {
				label, got = "AWSKMSEncryptionClient Final Frame", c.number(4)
			}
			if iv = c.take(12); label == "AWSKMSEncryptionClient Final Frame" {
				size = c.number(4)
			}
		}
		if got != n || !bytes.Equal(iv, binary.BigEndian.AppendUint64(make([]byte, 4), n)) || content == 2 && size > frameLength {
			refuse(envelope.ErrMalformed, "frame")
		}
		if size > uint64(len(c.rest)) {
			refuse(envelope.ErrMalformed, "content length")
		}
		additional := append(bytes.Clone(id), label...)
		additional = binary.BigEndian.AppendUint32(additional, uint32(n))
		additional = binary.BigEndian.AppendUint64(additional, size)
		frames = append(frames, frame{iv, c.take(size + 16), additional})
		if label != "AWSKMSEncryptionClient Frame" {
			break
		}
	}
	beforeFooter := message[:len(message)-len(c.rest)]
	var signature []byte
	if signed {
		size := c.number(2)
		if size > 104 {
			refuse(envelope.ErrMalformed, "signature")
		}
		signature = c.take(size)
	}
	if len(c.rest) > 0 {
		refuse(envelope.ErrMalformed, "bytes behind")
	}

	// Step 3.
	var additional []byte
	if len(context) > 0 {
		additional = binary.BigEndian.AppendUint16(nil, uint16(len(context)))
		for _, k := range slices.Sorted(maps.Keys(context)) {
			additional = counted(additional, k, context[k])
		}
	}
	info := append([]byte(name), 0, 0, 0, 128, 0, 0, 0, 12)
	var dataKey []byte
	for _, e := range entries {
		iv, ok := bytes.CutPrefix(e[1], info)
		if string(e[0]) != namespace || !ok || len(iv) != 12 || len(e[2]) != 48 || dataKey != nil {
			continue
		}
		dataKey, _ = gcm(t, wrappingKey).Open(nil, iv, e[2], additional)
	}
	if dataKey == nil {
		refuse(envelope.ErrNoMatchingKey, "")
	}

	// Steps 4 to 7.
	prk, err := hkdf.Extract(sha512.New, dataKey, id)
	if err != nil {
		return nil, nil, err
	}
	messageKey, err := hkdf.Expand(sha512.New, prk, string([]byte{byte(suite >> 8), byte(suite)})+"DERIVEKEY", 32)
	if err != nil {
		return nil, nil, err
	}
	want, err := hkdf.Expand(sha512.New, prk, "COMMITKEY", 32)
	if err != nil {
		return nil, nil, err
	}
	aead := gcm(t, messageKey)
	_, tagErr := aead.Open(nil, make([]byte, 12), tag, authenticated)
	if !bytes.Equal(commitment, want) || tagErr != nil {
		refuse(envelope.ErrAuthentication, "header")
	}
	for _, f := range frames {
		if plaintext, err = aead.Open(plaintext, f.iv, f.sealed, f.additional); err != nil {
			refuse(envelope.ErrAuthentication, "frame")
		}
	}
	if digest := sha512.Sum384(beforeFooter); signed && !ecdsa.VerifyASN1(signer, digest[:], signature) {
		refuse(envelope.ErrAuthentication, "signature")
	}
	delete(context, publicKeyPair)
	return plaintext, context, nil
}

func readContext(field []byte) map[string]string {
	context := map[string]string{}
	if len(field) == 0 {
		return context
	}
	if len(field) > 8192+93 {
		refuse(envelope.ErrUnsupported, "context")
	}
	c := newCursor(field)
	pairs := c.number(2)
	if pairs == 0 {
		refuse(envelope.ErrMalformed, "pair count")
	}
	if pairs > 128+1 {
		refuse(envelope.ErrUnsupported, "pairs")
	}
	for range pairs {
		k, v := c.counted(), c.counted()
		if _, twice := context[string(k)]; twice || !utf8.Valid(k) || !utf8.Valid(v) {
			refuse(envelope.ErrMalformed, "context")
		}
		context[string(k)] = string(v)
	}
	if len(c.rest) > 0 {
		refuse(envelope.ErrMalformed, "behind the context")
	}
	own, size := len(context), len(field)
	if v, ok := context[publicKeyPair]; ok && len(v) <= 68 {
		own, size = own-1, size-4-len(publicKeyPair)-len(v)
	}
	if own > 128 || size > 8192 {
		refuse(envelope.ErrUnsupported, "context")
	}
	return context
}

// readVector is one of envelope/testdata/vectors, whose README describes them.
type readVector struct {
	Name, Expect string
	Keyring      struct{ Namespace, Name, Key string }
	Message      []byte
	Plaintext    []byte
	Context      map[string]string
}

func readVectors(t *testing.T) []readVector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("envelope", "testdata", "vectors", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got the files %q, %v, want some", files, err)
	}
	var all []readVector
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var some []readVector
		if err := json.Unmarshal(b, &some); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, some...)
	}
	return all
}

var readerErrors = map[string]error{
	"malformed":       envelope.ErrMalformed,
	"unsupported":     envelope.ErrUnsupported,
	"no-matching-key": envelope.ErrNoMatchingKey,
	"authentication":  envelope.ErrAuthentication,
}

// readerClass is the name of err among readerErrors.
func readerClass(err error) string {
	if err == nil {
		return "success"
	}
	for name, class := range readerErrors {
		if errors.Is(err, class) {
			return name
		}
	}
	return err.Error()
}

func TestFormatIsEnoughForAReader(t *testing.T) {
	t.Parallel()
	vectors := readVectors(t)
	for _, v := range vectors {
		key, err := hex.DecodeString(v.Keyring.Key)
		if err != nil {
			t.Fatal(err)
		}
		plaintext, context, err := readMessage(v.Message, v.Keyring.Namespace, v.Keyring.Name, key, t)
		want := v.Expect
		if want == "context-mismatch" { // this reader does not compare the context
			want = "success"
		}
		if got := readerClass(err); got != want {
			t.Errorf("%s: got %s (%v), want %s", v.Name, got, err, want)
		}
		if v.Expect == "success" && (!bytes.Equal(plaintext, v.Plaintext) || !maps.Equal(context, v.Context)) {
			t.Errorf("%s: got %q under %q, want %q under %q", v.Name, plaintext, context, v.Plaintext, v.Context)
		}
	}

	// Damaged ones: the module is the judge.
	const damaged = 4000
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	seen := map[string]int{}
	for range damaged {
		v := vectors[r.IntN(len(vectors))]
		message := damage(r, v.Message)
		key, err := hex.DecodeString(v.Keyring.Key)
		if err != nil {
			t.Fatal(err)
		}
		kr, err := envelope.NewRawAESKeyring(v.Keyring.Namespace, v.Keyring.Name, key)
		if err != nil {
			t.Fatal(err)
		}
		m, err := envelope.Split(message)
		if err == nil {
			_, err = envelope.Open(t.Context(), kr, m, func(envelope.EncryptionContext) error { return nil })
		}
		_, _, byDocument := readMessage(message, v.Keyring.Namespace, v.Keyring.Name, key, t)
		got, want := readerClass(byDocument), readerClass(err)
		seen[want]++
		if got != want {
			t.Fatalf("seed %d: %s, damaged: the document's reader says %s (%v), the module %s (%v):\n%x", seed, v.Name, got, byDocument, want, err, message)
		}
	}
	for name := range readerErrors {
		if seen[name] < damaged/100 {
			t.Errorf("seed %d: %d of %d damaged messages are %s, want more of them", seed, seen[name], damaged, name)
		}
	}
}

// damage alters a message in a place or two: anywhere, or in its first bytes,
// where the lengths are.
func damage(r *rand.Rand, message []byte) []byte {
	b := append(bytes.Clone(message), 0)[:max(1, len(message))]
	lengths := [][]byte{{0, 0}, {0, 1}, {0, 16}, {0, 17}, {0x20, 0x5e}, {0xff, 0xff}}
	for range 1 + r.IntN(2) {
		at := r.IntN(len(b))
		if r.IntN(2) == 0 {
			at = r.IntN(min(len(b), 120))
		}
		switch r.IntN(6) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2:
			b = slices.Delete(b, at, min(len(b), at+1+r.IntN(5)))
		case 3:
			b = slices.Insert(b, at, byte(r.Uint32()), byte(r.Uint32()))
		case 4:
			copy(b[at:], lengths[r.IntN(len(lengths))])
		case 5:
			b[0] = byte(r.IntN(40))
		}
		if len(b) == 0 {
			b = []byte{2}
		}
	}
	return b
}
