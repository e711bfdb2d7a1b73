package sqsx_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// A sender and a reader must draw the same line between what is sealed and what
// is not. If the sender takes for plaintext what a reader would not, a program
// that passes on what it received seals it once more, and the consumer gets
// ciphertext as a body.

// ends is a sender and a reader that accepts plaintext, so that what it
// withholds is what it takes for sealed.
type ends struct {
	sender, reader *sqsx.Sealer
}

func newEnds(t testing.TB) ends {
	return ends{rawSealer(t), rawSealer(t, func(o *sqsx.Options) { o.Policy.AcceptPlaintext = true })}
}

// sealedAtSender reports whether a sender takes body for sealed, and refuses
// it.
func (e ends) sealedAtSender(t testing.TB, body string) bool {
	t.Helper()
	_, err := e.sender.SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: &body})
	if err == nil {
		return false
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != "InvalidParameterValue" || api.ErrorFault() != smithy.FaultClient || !strings.Contains(err.Error(), "a client that has no Sealer") {
		t.Errorf("sender of %.60q: got %v, want an InvalidParameterValue that says which client to use", body, err)
	}
	return true
}

// sealedAtReader reports whether a reader takes body for sealed: it opens it,
// or withholds it.
func (e ends) sealedAtReader(t testing.TB, body string) bool {
	t.Helper()
	opened, withheld := e.reader.OpenMessages(t.Context(), arnOf("orders"), []types.Message{{Body: &body}})
	for _, w := range withheld {
		if !errors.Is(w, envelope.ErrInvalidMessage) {
			t.Errorf("reader of %.60q: got %v, want it the message's own fault", body, w)
		}
	}
	return len(withheld) == 1 || *opened[0].Body != body
}

// halves returns a message sealed for orders: the part that travels in the body
// in the attribute carrier, the header that travels beside it, and the whole as
// the body carrier has it.
func halves(t testing.TB) (half string, header []byte, whole string) {
	t.Helper()
	out, err := rawSealer(t).SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("the plaintext of this test")})
	if err != nil {
		t.Fatal(err)
	}
	half, header = *out.MessageBody, out.MessageAttributes["sealq"].BinaryValue
	rest, err := base64.StdEncoding.DecodeString(half)
	if err != nil {
		t.Fatal(err)
	}
	return half, header, base64.StdEncoding.EncodeToString(slices.Concat(header, rest))
}

// rewritings are what programs and tools do to a text on its way.
func rewritings() map[string]func(string) string {
	lines := func(width int, end string) func(string) string {
		return func(s string) string {
			var out []string
			for line := range slices.Chunk([]byte(s), width) {
				out = append(out, string(line))
			}
			return strings.Join(out, end)
		}
	}
	return map[string]func(string) string{
		"as it is":               func(s string) string { return s },
		"a line break behind":    func(s string) string { return s + "\n" },
		"a line break in front":  func(s string) string { return "\r\n" + s },
		"spaces around":          func(s string) string { return "  " + s + " " },
		"quotation marks":        func(s string) string { return `"` + s + `"` },
		"escaped quotes":         func(s string) string { return `\"` + s + `\"` },
		"single quotes":          func(s string) string { return "'" + s + "'" },
		"bytes as Python prints": func(s string) string { return "b'" + s + "'" },
		"a byte order mark":      func(s string) string { return "\ufeff" + s },
		"lines of 76":            lines(76, "\r\n"),
		"lines of 64":            lines(64, "\n"),
		"lines of 3":             lines(3, "\n"),
		"without padding":        func(s string) string { return strings.TrimRight(s, "=") },
		"URL-safe":               func(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(s) },
		"decoded as a form":      func(s string) string { return strings.ReplaceAll(s, "+", " ") },
		"percent-encoded":        url.QueryEscape,
		"slashes escaped":        func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
		"cut at 100":             func(s string) string { return s[:min(len(s), 100)] },
		"base64 again":           func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"base64 again, in quotes": func(s string) string {
			return `"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"`
		},
		"hex": func(s string) string {
			b, _ := base64.StdEncoding.DecodeString(s)
			return hex.EncodeToString(b)
		},
		"hex in capitals": func(s string) string {
			b, _ := base64.StdEncoding.DecodeString(s)
			return strings.ToUpper(hex.EncodeToString(b))
		},
		"an SNS notification":           func(s string) string { return nested(1, s) },
		"SNS notifications, 3 deep":     func(s string) string { return nested(3, s) },
		"SNS notifications, 9 deep":     func(s string) string { return nested(9, s) },
		"base64 in an SNS notification": func(s string) string { return nested(1, base64.StdEncoding.EncodeToString([]byte(s))) },
	}
}

// TestNothingIsSealedAgain sends a whole sealed message, a half that has lost
// its attribute, and what becomes of both on their way.
func TestNothingIsSealedAgain(t *testing.T) {
	t.Parallel()
	e := newEnds(t)
	half, _, whole := halves(t)
	signed := base64.StdEncoding.EncodeToString(signedMessage(t))
	for form, text := range map[string]string{"whole": whole, "half": half, "signed by another SDK": signed} {
		for name, rewrite := range rewritings() {
			body := rewrite(text)
			if !e.sealedAtSender(t, body) {
				t.Errorf("%s, %s: the sender seals it again", form, name)
			}
			if !e.sealedAtReader(t, body) {
				t.Errorf("%s, %s: the reader delivers it", form, name)
			}
		}
	}
	for name, body := range map[string]string{
		"version 1":                         "AYADeI" + strings.Repeat("A", 98),
		"version 1 with a line in front":    "\nAYADeI" + strings.Repeat("A", 98),
		"an SNS notification of our header": `{"Type":"Notification","Message":"x","MessageAttributes":{"sealq":{"Type":"Binary","Value":"AA=="}}}`,
	} {
		if !e.sealedAtSender(t, body) || !e.sealedAtReader(t, body) {
			t.Errorf("%s: sealed to the sender %v, to the reader %v, want both", name, e.sealedAtSender(t, body), e.sealedAtReader(t, body))
		}
	}
}

// TestVersion1Suites: a text that begins like a header of format version 1 is
// one if its suite is of that version (AWS Encryption SDK Developer Guide,
// algorithms reference), and else plaintext.
func TestVersion1Suites(t *testing.T) {
	t.Parallel()
	e := newEnds(t)
	suites := []int{0x0014, 0x0046, 0x0078, 0x0114, 0x0146, 0x0178, 0x0214, 0x0346, 0x0378}
	for suite := range 0x0600 {
		body := base64.StdEncoding.EncodeToString([]byte{1, 0x80, byte(suite >> 8), byte(suite), 0, 0})
		want := slices.Contains(suites, suite)
		if got := e.sealedAtSender(t, body); got != want {
			t.Errorf("suite %#04x: version 1 to the sender: got %t, want %t", suite, got, want)
		}
	}
}

// TestPlaintextThatBeginsAlike is not refused by a sender, and not withheld by
// a reader.
func TestPlaintextThatBeginsAlike(t *testing.T) {
	t.Parallel()
	e := newEnds(t)
	for name, body := range map[string]string{
		"the first letters":            "AgR4",
		"a token":                      "AgR4kq3ZJ2l8Qw==",
		"a token of 32 bytes":          base64.StdEncoding.EncodeToString(append([]byte{2, 4, 0x78}, make([]byte, 29)...)),
		"a sentence":                   "AgR4 is how a sealed body starts; this one is a sentence",
		"words":                        "AgR4 and plain text",
		"a signed header without keys": "AgV4" + strings.Repeat("A", 400),
		"digits":                       "020478123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
		"hex":                          "020578" + strings.Repeat("ab", 100),
		"base64 of text":               base64.StdEncoding.EncodeToString([]byte(strings.Repeat("Ag, an order. ", 20))),
		"base64 of a sentence":         base64.StdEncoding.EncodeToString([]byte("AgR4 is how a sealed body starts; this one is a sentence")),
		"slashes":                      "/////",
		"an SNS notification":          `{"Type":"Notification","Message":"hello","MessageAttributes":{"tenant":{"Type":"String","Value":"a"}}}`,
		"an event":                     `{"detail-type":"EC2 Instance State-change Notification","detail":{"x":"AgR4"}}`,
		"a notification, not by SNS":   `{"kind":"Notification","payload":{}}`,
		"JSON that is none":            `{"Type":"Notification",`,
		"a JSON string":                `"hello"`,
		"white space":                  " \n ",
		"Python bytes":                 "b'hello'",
		"a percent sign":               "AgR4%",
	} {
		if e.sealedAtSender(t, body) {
			t.Errorf("%s: the sender refuses it", name)
		}
		if e.sealedAtReader(t, body) {
			t.Errorf("%s: the reader withholds it", name)
		}
	}
}

// TestRandomBase64IsPlaintext: base64 of random bytes begins like a whole
// message once in 8 million times, which is often enough to matter in a busy
// queue. Of those, what follows decides: one in 45,000 has lengths that fit.
func TestRandomBase64IsPlaintext(t *testing.T) {
	t.Parallel()
	e := newEnds(t)
	r := rand.New(rand.NewPCG(1, 2))
	const tries, most = 20_000, 2
	sealed := 0
	for i := range tries {
		b := make([]byte, 42+r.IntN(200))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		copy(b, [][]byte{{2, 4, 0x78}, {2, 5, 0x78}}[i%2])
		body := base64.StdEncoding.EncodeToString(b)
		atSender, atReader := e.sealedAtSender(t, body), e.sealedAtReader(t, body)
		if atSender != atReader {
			t.Errorf("%s: sealed to the sender %v, to the reader %v", body, atSender, atReader)
		}
		if atReader {
			sealed++
		}
	}
	if sealed > most {
		t.Errorf("%d of %d random bodies that begin alike are taken for sealed, want at most %d", sealed, tries, most)
	}
}

// TestEveryContextIsRecognised: what a message may have for its context, from
// none to the limits of package envelope, is never a reason to take it for
// plaintext.
func TestEveryContextIsRecognised(t *testing.T) {
	t.Parallel()
	e := newEnds(t)
	_, header, _ := halves(t)
	pairs := func(n int) envelope.EncryptionContext {
		ec := envelope.EncryptionContext{}
		for i := range n {
			ec[strconv.Itoa(i)] = ""
		}
		return ec
	}
	for name, ec := range map[string]envelope.EncryptionContext{
		"none":         {},
		"an empty one": {"": ""},
		"128 pairs":    pairs(128),
		"a long value": {"k": strings.Repeat("v", 8192-2-4-1)},
		"a long name":  {strings.Repeat("k", 8192-2-4): ""},
	} {
		for _, signed := range []bool{false, true} {
			b := altered(t, header, func(h *envelope.Header) {
				h.EncryptionContext = ec.Clone()
				if signed {
					h.AlgorithmSuite = 0x0578
					h.EncryptionContext["aws-crypto-public-key"] = testPublicKey
				}
			})
			body := base64.StdEncoding.EncodeToString(append(b, make([]byte, 40)...))
			if atSender, atReader := e.sealedAtSender(t, body), e.sealedAtReader(t, body); !atSender || !atReader {
				t.Errorf("%s, signed %v: sealed to the sender %v, to the reader %v, want both", name, signed, atSender, atReader)
			}
		}
	}
}

// FuzzSealedAgain: for every body, a sender refuses it as sealed if and only if
// a reader takes it for sealed.
func FuzzSealedAgain(f *testing.F) {
	e := newEnds(f)
	half, _, whole := halves(f)
	for _, text := range []string{whole, half} {
		for _, rewrite := range rewritings() {
			f.Add(rewrite(text))
		}
	}
	for _, body := range []string{
		"AgR4", "AgV4" + strings.Repeat("A", 400), "AgR4 and plain text", "AYADeI" + strings.Repeat("A", 98), "/////wAAAAE",
		`{"Type":"Notification","Message":"hello"}`, "{\"Type\":\"Notification\",\"Message\":\"\xff\"}", `"{"`, "b'", "\\", "%2F%2F", "ffffffff00000001",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if body == "" || len(body) > 64<<10 {
			t.Skip("refused for another reason")
		}
		atSender, atReader := e.sealedAtSender(t, body), e.sealedAtReader(t, body)
		if atSender != atReader {
			t.Errorf("%q: sealed to the sender %v, to the reader %v", body, atSender, atReader)
		}
	})
}

// signedMessage returns a message as other SDKs write it by default: suite
// 0x0578, whose context has the public key. Only its header is of interest.
func signedMessage(t testing.TB) []byte {
	t.Helper()
	_, header, _ := halves(t)
	b := altered(t, header, func(h *envelope.Header) {
		h.AlgorithmSuite = 0x0578
		h.EncryptionContext["aws-crypto-public-key"] = testPublicKey
	})
	return append(b, make([]byte, 100)...)
}

// testPublicKey is the compressed form of a point of P-384: its generator.
var testPublicKey = func() string {
	b, err := hex.DecodeString("03aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7")
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}()
