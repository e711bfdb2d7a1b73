package sqsx_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// The tests of this file are about somebody who may send to a queue and read
// what others sent, without the key. What docs/security.md says such a sender
// can cost is asserted here.

const (
	// maxOpenFactor bounds the bytes allocated for one message, in sizes of the
	// message. The most expensive is JSON in JSON, parsed at every depth.
	maxOpenFactor = 10
	// openOverhead is what opening a message of any size may allocate, in bytes.
	openOverhead = 256 << 10
)

// hostile is a message that must not be delivered, and the most calls that it
// may cause.
type hostile struct {
	badMessage
	calls int
}

func sealqAttribute(header []byte) map[string]types.MessageAttributeValue {
	return map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("Binary"), BinaryValue: header}}
}

// sealed returns the two halves of a message sealed for a queue, as a hostile
// sender can read them there.
func (w *world) sealed(queue, body string) (sealed string, header []byte) {
	w.t.Helper()
	in := &sqs.SendMessageInput{MessageBody: &body}
	if strings.HasSuffix(queue, ".fifo") {
		in.MessageDeduplicationId = aws.String("d")
	}
	out, err := w.sealer().SealMessage(w.t.Context(), arnOf(queue), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.MessageBody, out.MessageAttributes["sealq"].BinaryValue
}

// altered returns a header with some fields changed, and everything else such
// that it parses.
func altered(t testing.TB, header []byte, change func(*envelope.Header)) []byte {
	t.Helper()
	h, err := envelope.ParseHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	change(h)
	return headerBytes(t, h)
}

// headerBytes writes h as it travels, and checks that it reads as h again.
func headerBytes(t testing.TB, h *envelope.Header) []byte {
	t.Helper()
	counted := func(b []byte, field string) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(field))), field...)
	}
	b := binary.BigEndian.AppendUint16([]byte{2}, h.AlgorithmSuite)
	b = append(b, h.MessageID[:]...)
	var ec []byte
	if len(h.EncryptionContext) > 0 {
		ec = binary.BigEndian.AppendUint16(ec, uint16(len(h.EncryptionContext)))
		for _, name := range slices.Sorted(maps.Keys(h.EncryptionContext)) {
			ec = counted(counted(ec, name), h.EncryptionContext[name])
		}
	}
	b = counted(b, string(ec))
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.EncryptedDataKeys)))
	for _, k := range h.EncryptedDataKeys {
		b = counted(counted(counted(b, k.ProviderID), string(k.ProviderInfo)), string(k.Ciphertext))
	}
	b = binary.BigEndian.AppendUint32(append(b, 2), h.FrameLength) // 2: framed
	b = append(append(b, h.Commitment[:]...), h.Tag[:]...)
	again, err := envelope.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h, again); diff != "" {
		t.Fatalf("the header that was written differs (-want +got):\n%s", diff)
	}
	return b
}

// junkKeys returns n distinct encrypted data keys that KMS must be asked about:
// they name the key that receivers use.
func junkKeys(key string, seed, n int) []envelope.EncryptedDataKey {
	keys := make([]envelope.EncryptedDataKey, n)
	for i := range keys {
		ciphertext := binary.BigEndian.AppendUint64(bytes.Repeat([]byte{1}, 176), uint64(seed)<<8|uint64(i))
		keys[i] = envelope.EncryptedDataKey{ProviderID: "aws-kms", ProviderInfo: []byte(key), Ciphertext: ciphertext}
	}
	return keys
}

// hostileMessages returns what badMessages does not have: messages that are
// made to cost.
func hostileMessages(t testing.TB, w *world, queue string) []hostile {
	t.Helper()
	body, header := w.sealed(queue, "good")
	otherBody, otherHeader := w.sealed(queue, "of another message")
	elsewhereBody, elsewhereHeader := w.sealed("elsewhere", "replayed")
	whole := func() []byte { b, _ := base64.StdEncoding.DecodeString(body); return append(bytes.Clone(header), b...) }()
	b64 := base64.StdEncoding.EncodeToString
	with := func(change func(*envelope.Header)) map[string]types.MessageAttributeValue {
		return sealqAttribute(altered(t, header, change))
	}
	keys := func(keys ...envelope.EncryptedDataKey) map[string]types.MessageAttributeValue {
		return with(func(h *envelope.Header) { h.EncryptedDataKeys = keys })
	}
	foreign := func(arn string) []envelope.EncryptedDataKey { return junkKeys(arn, 1, 16) }
	crowdedContext := func(h *envelope.Header) {
		for i := range 127 {
			h.EncryptionContext[fmt.Sprintf("%032d", i)] = strings.Repeat("v", 24)
		}
	}
	oneByteFrames := func(n int) string {
		var b []byte
		for i := range n {
			b = binary.BigEndian.AppendUint32(b, uint32(i+1))
			b = append(b, make([]byte, 8)...)
			b = binary.BigEndian.AppendUint32(b, uint32(i+1))
			b = append(b, make([]byte, 17)...)
		}
		return b64(b)
	}
	var sns strings.Builder
	sns.WriteString(`{"Type":"Notification","MessageAttributes":{`)
	for i := range 60_000 {
		sns.WriteString(`"` + strconv.Itoa(i) + `":0,`)
	}
	sns.WriteString(`"sealq":0},"Message":"x"}`)

	const calls0 = 0
	junk := func(err error, body string, attributes map[string]types.MessageAttributeValue) badMessage {
		return badMessage{body: body, attributes: attributes, want: err}
	}
	named := map[string]hostile{
		"16 keys that KMS must look at":          {junk(envelope.ErrNoMatchingKey, body, keys(junkKeys(w.key, 1, 16)...)), 1}, // one for each key
		"one key that KMS must look at":          {junk(envelope.ErrNoMatchingKey, body, keys(junkKeys(w.key, 2, 1)...)), 1},
		"16 foreign keys of this account":        {junk(envelope.ErrNoMatchingKey, body, keys(foreign("arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000")...)), calls0},
		"16 foreign keys of another account":     {junk(envelope.ErrNoMatchingKey, body, keys(foreign("arn:aws:kms:us-east-1:999999999999:key/00000000-0000-0000-0000-000000000000")...)), calls0},
		"keys that are no ARN":                   {junk(envelope.ErrNoMatchingKey, body, keys(foreign(strings.Repeat("x", 2048))...)), calls0},
		"keys of an unknown provider":            {junk(envelope.ErrNoMatchingKey, body, keys(envelope.EncryptedDataKey{ProviderID: strings.Repeat("p", 256), Ciphertext: []byte("x")})), calls0},
		"ciphertext longer than KMS takes":       {junk(envelope.ErrUnsupported, body, sealqAttribute(overlongKey(header, w.key))), calls0},
		"128 pairs of context":                   {junk(envelope.ErrNoMatchingKey, body, with(crowdedContext)), 1},
		"replay from another queue":              {junk(envelope.ErrContextMismatch, elsewhereBody, sealqAttribute(elsewhereHeader)), calls0},
		"renamed replay":                         {junk(envelope.ErrNoMatchingKey, elsewhereBody, sealqAttribute(altered(t, elsewhereHeader, func(h *envelope.Header) { h.EncryptionContext["sealq:queue"] = arnOf(queue) }))), 1},
		"body and attribute of two messages":     {junk(envelope.ErrAuthentication, otherBody, sealqAttribute(header)), 1},
		"attribute and body of two messages":     {junk(envelope.ErrAuthentication, body, sealqAttribute(otherHeader)), 1},
		"another commitment under a good key":    {junk(envelope.ErrAuthentication, body, with(func(h *envelope.Header) { h.Commitment[0] ^= 1 })), 1},
		"sealed twice, once in each carrier":     {junk(envelope.ErrMalformed, b64(whole), sealqAttribute(header)), calls0},
		"half a message in accept mode":          {junk(envelope.ErrMalformed, body, nil), calls0},
		"version 1 header and a MiB":             {junk(envelope.ErrUnsupported, "AYADeA"+strings.Repeat("A", 1<<20-1024-6), nil), calls0},
		"a MiB of base64 under a header":         {junk(envelope.ErrMalformed, strings.Repeat("A", 1<<20-4096), sealqAttribute(header)), calls0},
		"a MiB of base64 that starts a message":  {junk(envelope.ErrMalformed, "AgR4"+strings.Repeat("A", 1<<20-4096), nil), calls0},
		"a MiB of equals signs":                  {junk(envelope.ErrMalformed, "AgR4"+strings.Repeat("=", 1<<20-4096), nil), calls0},
		"a header of a MiB":                      {junk(envelope.ErrInvalidMessage, "AAAA", sealqAttribute(bytes.Repeat([]byte{2, 4, 0x78}, 340_000))), calls0},
		"20,000 frames of one byte":              {junk(envelope.ErrMalformed, oneByteFrames(20_000), with(func(h *envelope.Header) { h.FrameLength = 1 })), calls0},
		"frames of 4 GiB":                        {junk(envelope.ErrMalformed, body, with(func(h *envelope.Header) { h.FrameLength = 1<<32 - 1 })), 1},
		"attribute type of 256 characters":       {junk(envelope.ErrMalformed, body, map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("Binary." + strings.Repeat("x", 249)), BinaryValue: header}}), calls0},
		"notifications in notifications":         {junk(envelope.ErrUnsupported, nested(9, strings.Repeat("x", 800<<10)+b64(whole)), nil), calls0},
		"notification with 60,000 attributes":    {junk(envelope.ErrUnsupported, sns.String(), nil), calls0},
		"notification of a sealed message, deep": {junk(envelope.ErrUnsupported, nested(4, b64(whole)), nil), calls0},
		"65,535 keys":                            {junk(envelope.ErrUnsupported, body, sealqAttribute(keyCount(header, 65_535))), calls0},
	}
	// A frame of 4 GiB with a body of the right shape parses, and stops at the
	// tag.
	frames := named["frames of 4 GiB"]
	frames.want = envelope.ErrAuthentication
	named["frames of 4 GiB"] = frames
	var all []hostile
	for _, name := range slices.Sorted(maps.Keys(named)) {
		h := named[name]
		h.name = name
		all = append(all, h)
	}
	return all
}

// notUTF8 is three notifications inside one another around bytes that are not
// UTF-8. SQS does not carry such a body: a caller of OpenMessages has to bring
// it along.
func notUTF8() hostile {
	body := nested(3, "@")
	body = strings.ReplaceAll(body, "@", strings.Repeat("\xff", 1<<20-4096))
	return hostile{badMessage: badMessage{name: "a MiB that is not UTF-8", body: body, want: envelope.ErrMalformed}}
}

// keyCountAt is where the count of encrypted data keys stands: after version 1
// byte, suite 2, message ID 32, context length 2 and context.
func keyCountAt(header []byte) int { return 37 + int(binary.BigEndian.Uint16(header[35:])) }

func keyCount(header []byte, n uint16) []byte {
	b := bytes.Clone(header)
	binary.BigEndian.PutUint16(b[keyCountAt(b):], n)
	return b
}

// overlongKey replaces the encrypted data key by one of 6,145 bytes.
func overlongKey(header []byte, arn string) []byte {
	at := keyCountAt(header) + 2
	b := bytes.Clone(header[:at])
	for _, field := range [][]byte{[]byte("aws-kms"), []byte(arn), make([]byte, 6145)} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	return append(b, header[len(header)-16-32-4-1:]...)
}

// nested wraps text in SNS notifications.
func nested(depth int, text string) string {
	for range depth {
		quoted, _ := json.Marshal(text)
		text = `{"Type":"Notification","Message":` + string(quoted) + `}`
	}
	return text
}

// TestHostileMessages puts each between two healthy messages, with plaintext
// accepted and not: both are delivered, the hostile one is not, and KMS is
// asked no more than is stated. Received again, it costs nothing.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	for i, kind := range hostileMessages(t, newWorld(t), "orders") {
		for _, accept := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/accept plaintext %v", kind.name, accept), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					url := w.queue("orders")
					client := w.client(func(o *sqsx.Options) { o.Policy.AcceptPlaintext = accept })
					bad := hostileMessages(t, w, "orders")[i]
					send(t, client, url, "healthy")
					w.put(url, bad.badMessage)
					send(t, client, url, "healthy too")
					asks := 1 // before the first receive
					if accept {
						asks = 0
					}
					for again, calls := range []int{asks + 1 + bad.calls, 0, 0} {
						before := w.count("kms:Decrypt")
						out, err := receive(t.Context(), client, url)
						if err != nil {
							t.Fatal(err)
						}
						if got := bodies(out.Messages); !slices.Equal(got, []string{"healthy", "healthy too"}) {
							t.Fatalf("got %q delivered, want the healthy messages", got)
						}
						withheld := sqsx.Withheld(out.ResultMetadata)
						if len(withheld) != 1 || !errors.Is(withheld[0], bad.want) || !errors.Is(withheld[0], envelope.ErrInvalidMessage) || withheld[0].Temporary {
							t.Fatalf("got %v withheld, want the one for %v", withheld, bad.want)
						}
						if n := len(withheld[0].Error()); n > maxErrorText {
							t.Errorf("the error takes %d bytes, want at most %d", n, maxErrorText)
						}
						if got := w.count("kms:Decrypt") - before; got > calls {
							t.Errorf("receive %d made %d Decrypt calls, want at most %d", again+1, got, calls)
						}
						time.Sleep(31 * time.Second) // the visibility timeout is 30 s
					}
					if got := w.count("kms:DescribeKey"); got != 0 {
						t.Errorf("got %d DescribeKey calls, want none with a key ARN", got)
					}
				})
			})
		}
	}
}

// TestHostileMessagesAllocateLittle bounds what each message, and each of
// badMessages, may allocate. It is not parallel: it reads a counter of the
// whole process.
func TestHostileMessagesAllocateLittle(t *testing.T) {
	w := newWorld(t)
	kinds := hostileMessages(t, w, "orders")
	for _, bad := range badMessages(t, w, "orders") {
		kinds = append(kinds, hostile{badMessage: bad})
	}
	kinds = append(kinds, notUTF8())
	_, withheld := w.sealer().OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: aws.String(notUTF8().body)}})
	if len(withheld) != 1 || !errors.Is(withheld[0], envelope.ErrMalformed) || !strings.Contains(withheld[0].Error(), "not UTF-8") {
		t.Errorf("a MiB that is not UTF-8: got %v withheld, want it malformed", withheld)
	}
	for _, accept := range []bool{false, true} {
		s := w.sealer(func(o *sqsx.Options) { o.Policy.AcceptPlaintext = accept })
		for _, kind := range kinds {
			m := []types.Message{{MessageId: aws.String("1"), Body: &kind.body, MessageAttributes: kind.attributes}}
			size := len(kind.body)
			for name, a := range kind.attributes {
				size += len(name) + len(aws.ToString(a.DataType)) + len(a.BinaryValue)
			}
			s.OpenMessages(t.Context(), arnOf("orders"), m) // KMS is asked now, if at all
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s.OpenMessages(t.Context(), arnOf("orders"), m)
			runtime.ReadMemStats(&after)
			got, limit := int(after.TotalAlloc-before.TotalAlloc), maxOpenFactor*size+openOverhead
			if got > limit {
				t.Errorf("%s (accept plaintext %v): a message of %d bytes made %d bytes of garbage, want at most %d", kind.name, accept, size, got, limit)
			}
			t.Logf("%-45s %8d bytes, %9d allocated, %4.1f times, in %d allocations", kind.name, size, got, float64(got)/float64(size), after.Mallocs-before.Mallocs)
		}
	}
}

// TestFloodOfDistinctKeys sends hundreds of messages, each with 16 encrypted
// data keys that nobody has seen. KMS is asked at most three times for each,
// and not again when they come back; healthy messages among them are delivered,
// and their key is fetched once.
func TestFloodOfDistinctKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url := w.queue("orders", "VisibilityTimeout", "20")
		s := w.sealer()
		client := s.Wrap(w.plain)
		body, header := w.sealed("orders", "good")
		const flood, healthy = 1200, 60 // more than the cache remembers
		for i := range flood {
			if i%(flood/healthy) == 0 {
				send(t, client, url, "healthy")
			}
			attributes := sealqAttribute(altered(t, header, func(h *envelope.Header) { h.EncryptedDataKeys = junkKeys(w.key, i, 16) }))
			w.put(url, badMessage{body: body, attributes: attributes})
		}
		round := func() (delivered, withheld, calls int) {
			before := w.count("kms:Decrypt")
			for {
				out, err := receive(t.Context(), client, url)
				if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
					withheld += len(failed.Withheld)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(out.Messages)+len(sqsx.Withheld(out.ResultMetadata)) == 0 {
					return delivered, withheld, w.count("kms:Decrypt") - before
				}
				delivered += len(out.Messages)
				withheld += len(sqsx.Withheld(out.ResultMetadata))
			}
		}
		delivered, withheld, calls := round()
		if delivered != healthy || withheld != flood {
			t.Errorf("got %d delivered and %d withheld, want %d and %d", delivered, withheld, healthy, flood)
		}
		for range 3 {
			time.Sleep(21 * time.Second)
			_, _, again := round()
			calls += again
		}
		if calls != flood+2 {
			t.Errorf("got %d Decrypt calls in four receives, want one for each of %d messages and the healthy key, and the question before the first", calls, flood)
		}
		if got := s.Stats().Cache; got.NegativeEntries > cache.DefaultNegativeEntries || got.DecryptEntries != 1 {
			t.Errorf("got %d failures and %d data keys in memory, want at most %d and 1", got.NegativeEntries, got.DecryptEntries, cache.DefaultNegativeEntries)
		}
	})
}

// TestRememberedErrorHoldsNoRequest gives one caller the error of another's
// call.
func TestRememberedErrorHoldsNoRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, client := w.queue("orders"), w.client()
	w.server.Intercept(kmsFails(&smithy.GenericAPIError{Code: "DisabledException", Message: "disabled"}))
	type token struct{}
	for _, caller := range []string{"A", "B"} { // B is answered from memory
		ctx := context.WithValue(t.Context(), token{}, caller)
		_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
		answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
		if !ok || answer.HTTPStatusCode() != http.StatusBadRequest {
			t.Fatalf("got %v, want the answer of KMS in the chain", err)
		}
		if r := answer.Response.Request; r != nil {
			t.Errorf("the error that %s got holds a request, with the context value %v", caller, r.Context().Value(token{}))
		}
	}
	if n := w.count("kms:GenerateDataKey"); n != 1 {
		t.Errorf("got %d calls, want one", n)
	}
}

// TestRememberedFailuresArePinnedToNothing fills the memory of failures with
// answers of KMS, asked for by callers whose contexts are large. It is not
// parallel: it reads the heap.
func TestRememberedFailuresArePinnedToNothing(t *testing.T) {
	w := newWorld(t)
	s := w.sealer()
	out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("good")})
	if err != nil {
		t.Fatal(err)
	}
	h, err := envelope.ParseHeader(out.MessageAttributes["sealq"].BinaryValue)
	if err != nil {
		t.Fatal(err)
	}
	good := h.EncryptedDataKeys[0]
	type request struct{}
	const failures = 400
	for i := range failures {
		h.EncryptedDataKeys[0] = good
		h.EncryptedDataKeys[0].Ciphertext = binary.BigEndian.AppendUint64(bytes.Clone(good.Ciphertext[:len(good.Ciphertext)-8]), uint64(i))
		b := headerBytes(t, h)
		ctx := context.WithValue(t.Context(), request{}, make([]byte, 100<<10))
		s.OpenMessages(ctx, arnOf("orders"), []types.Message{{Body: out.MessageBody, MessageAttributes: sealqAttribute(b)}})
	}
	if got := s.Stats().Cache.NegativeEntries; got != failures {
		t.Fatalf("got %d failures remembered, want %d", got, failures)
	}
	remembered := heapInUse()
	s.Purge()
	pinned := remembered - heapInUse()
	t.Logf("%d failures hold %d bytes", failures, pinned)
	if limit := failures * 10 << 10; pinned > limit {
		t.Errorf("%d remembered failures hold %d bytes, want less than %d", failures, pinned, limit)
	}
}

// heapInUse is the number of bytes of all that is reachable.
func heapInUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestFloodHasFlatMemory opens twenty thousand messages that fail in distinct
// ways. It is not parallel: it reads the heap.
func TestFloodHasFlatMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 20,000 messages")
	}
	s := rawSealer(t)
	out, err := s.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("good")})
	if err != nil {
		t.Fatal(err)
	}
	header := out.MessageAttributes["sealq"].BinaryValue
	h, err := envelope.ParseHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	good := h.EncryptedDataKeys[0]
	flood := func(from, n int) {
		for i := from; i < from+n; i++ {
			h.EncryptedDataKeys[0] = good
			h.EncryptedDataKeys[0].Ciphertext = binary.BigEndian.AppendUint64(bytes.Clone(good.Ciphertext[:len(good.Ciphertext)-8]), uint64(i))
			b := headerBytes(t, h)
			m := []types.Message{{Body: out.MessageBody, MessageAttributes: sealqAttribute(b)}}
			if opened, _ := s.OpenMessages(t.Context(), arnOf("orders"), m); len(opened) != 0 {
				t.Fatal("a hostile message was delivered")
			}
		}
	}
	const n = 10_000
	flood(0, n)
	before := heapInUse()
	flood(n, n)
	after := heapInUse()
	t.Logf("heap of %d bytes after %d messages, %d after twice as many", before, n, after)
	if after > before+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if got := s.Stats().Cache; got.NegativeEntries > cache.DefaultNegativeEntries || got.DecryptEntries > 1 {
		t.Errorf("got %d failures and %d data keys in memory", got.NegativeEntries, got.DecryptEntries)
	}
}

// TestAttackerCannotEvictAGoodKey floods with messages under other contexts, at
// ten times the size of the cache of failures, while KMS counts what the good
// messages cost.
func TestAttackerCannotEvictAGoodKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sealer(func(o *sqsx.Options) {
		o.Cache.NegativeEntries = 16
	})
	body, header := w.sealed("orders", "good")
	good := types.Message{Body: &body, MessageAttributes: sealqAttribute(header)}
	open := func(m types.Message) bool {
		opened, _ := s.OpenMessages(t.Context(), arnOf("orders"), []types.Message{m})
		return len(opened) == 1
	}
	if !open(good) {
		t.Fatal("the good message does not open")
	}
	goodCalls := w.count("kms:Decrypt")
	for i := range 160 {
		junk := altered(t, header, func(h *envelope.Header) {
			h.EncryptedDataKeys = junkKeys(w.key, i, 2)
			h.EncryptionContext["tenant"] = strconv.Itoa(i)
		})
		if open(types.Message{Body: &body, MessageAttributes: sealqAttribute(junk)}) {
			t.Fatal("a hostile message was delivered")
		}
		if !open(good) {
			t.Fatal("the good message no longer opens")
		}
	}
	if got, limit := w.count("kms:Decrypt")-goodCalls, 2*160; got > limit {
		t.Errorf("got %d Decrypt calls, want at most the %d of the hostile messages", got, limit)
	}
}

// BenchmarkHostileMessages measures the time of each kind, once its data key,
// if any, is known: compare with a good message.
func BenchmarkHostileMessages(b *testing.B) {
	w := newWorld(b)
	s := w.sealer()
	run := func(name string, body string, attributes map[string]types.MessageAttributeValue) {
		b.Run(name, func(b *testing.B) {
			m := []types.Message{{Body: &body, MessageAttributes: attributes}}
			b.ReportAllocs()
			for b.Loop() {
				s.OpenMessages(b.Context(), arnOf("orders"), m)
			}
		})
	}
	body, header := w.sealed("orders", strings.Repeat("x", 700<<10))
	run("good 700 KiB", body, sealqAttribute(header))
	for _, kind := range append(hostileMessages(b, w, "orders"), notUTF8()) {
		run(kind.name, kind.body, kind.attributes)
	}
}
