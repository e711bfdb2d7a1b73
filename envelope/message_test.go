package envelope_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	kr := newRaw(t, "key", 1)
	contexts := map[string]envelope.EncryptionContext{
		"nil":   nil,
		"empty": {},
		"one":   {"k": "v"},
		"many":  {"1": "a", "2": "b", "3": "c", "4": "d", "5": "e", "6": "f", "7": "g", "8": "h", "9": "i", "é": "ü"},
	}
	for name, ec := range contexts {
		for _, size := range []int{0, 1, 1000, envelope.FrameLength - 1, envelope.FrameLength, envelope.FrameLength + 1, 2 * envelope.FrameLength} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				t.Parallel()
				plaintext := bytes.Repeat([]byte{'p'}, size)
				m, err := envelope.Seal(t.Context(), kr, plaintext, ec)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := envelope.BodySize(int64(size)); err != nil || n != int64(len(m.Body)) {
					t.Errorf("BodySize got %d, %v, want %d", n, err, len(m.Body))
				}
				h, err := envelope.ParseHeader(m.Header)
				if err != nil {
					t.Fatal(err)
				}
				if n := envelope.HeaderSize(ec, h.EncryptedDataKeys); n != len(m.Header) {
					t.Errorf("HeaderSize got %d, want %d", n, len(m.Header))
				}
				split, err := envelope.Split(m.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(split.Header, m.Header) || !bytes.Equal(split.Body, m.Body) {
					t.Error("Split of the whole differs")
				}
				got, err := envelope.Open(t.Context(), kr, m, acceptAll)
				if err != nil {
					t.Fatal(err)
				}
				if got.Plaintext == nil || !bytes.Equal(got.Plaintext, plaintext) {
					t.Errorf("got %d bytes, want the %d sealed", len(got.Plaintext), size)
				}
				if got.MessageID != h.MessageID {
					t.Errorf("got message ID %x, want the header's %x", got.MessageID, h.MessageID)
				}
				if got.EncryptionContext == nil || !maps.Equal(got.EncryptionContext, ec) {
					t.Errorf("got context %v, want %v", got.EncryptionContext, ec)
				}
			})
		}
	}
}

// What the package writes is what an independent writer of the format writes.
func TestOpenBuilt(t *testing.T) {
	t.Parallel()
	full, part := bytes.Repeat([]byte("f"), 16), []byte("part")
	signer := newSigner(t)
	tests := map[string]message{
		"empty final frame only":    {contents: [][]byte{{}}},
		"full final frame only":     {contents: [][]byte{full}},
		"partial final frame":       {contents: [][]byte{full, full, part}},
		"empty final after full":    {contents: [][]byte{full, full, {}}},
		"full final after full":     {contents: [][]byte{full, full, full}},
		"frame length 1":            {frameLength: 1, contents: [][]byte{{'a'}, {'b'}, {}}},
		"frame length 2^32-1":       {frameLength: 1<<32 - 1, contents: [][]byte{part}},
		"single block":              {contentType: 1, contents: [][]byte{part}},
		"single empty block":        {contentType: 1, contents: [][]byte{{}}},
		"signed":                    {suite: 0x0578, signer: signer, contents: [][]byte{full, part}},
		"signed single block":       {suite: 0x0578, signer: signer, contentType: 1, contents: [][]byte{full}},
		"signed with context":       {suite: 0x0578, signer: signer, ec: map[string]string{"a": "1", "b": "2"}},
		"context of empty value":    {ec: map[string]string{"a": ""}},
		"context of empty key":      {ec: map[string]string{"": "a"}},
		"context not sorted":        {contextRaw: []byte("\x00\x02\x00\x01b\x00\x011\x00\x01a\x00\x012"), ec: map[string]string{"a": "2", "b": "1"}},
		"empty provider ID":         {keys: []envelope.EncryptedDataKey{{ProviderInfo: []byte("i"), Ciphertext: []byte("c")}}},
		"empty encrypted data keys": {keys: make([]envelope.EncryptedDataKey, 2)},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var accepted, asked envelope.EncryptionContext
			kr := funcKeyring{decrypt: func(_ context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
				asked = ec.Clone()
				return envelope.NewDataKey(testKey, edks[0])
			}}
			accept := func(ec envelope.EncryptionContext) error { accepted = ec.Clone(); return nil }
			got, err := envelope.Open(t.Context(), kr, m.build(t), accept)
			if err != nil {
				t.Fatal(err)
			}
			if want := slices.Concat(m.contents...); !bytes.Equal(got.Plaintext, want) {
				t.Errorf("got %q, want %q", got.Plaintext, want)
			}
			if !maps.Equal(got.EncryptionContext, m.ec) || !maps.Equal(accepted, m.ec) {
				t.Errorf("got context %v, accept saw %v, want %v", got.EncryptionContext, accepted, m.ec)
			}
			// The data key was encrypted with the public key in its context.
			want := envelope.EncryptionContext(m.ec).Clone()
			if m.signer != nil {
				if want == nil {
					want = envelope.EncryptionContext{}
				}
				want["aws-crypto-public-key"] = compressed(m.signer)
			}
			if !maps.Equal(asked, want) {
				t.Errorf("keyring saw context %v, want %v", asked, want)
			}
		})
	}
}

func TestSealMatchesBuilder(t *testing.T) {
	t.Parallel()
	ec := map[string]string{"b": "2", "a": "1", "B": "3"}
	m, err := envelope.Seal(t.Context(), &staticKeyring{}, []byte("plaintext"), ec)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := envelope.Open(t.Context(), &staticKeyring{}, m, acceptAll)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testEDK, opened.Key); d != "" {
		t.Errorf("key that opened:\n%s", d)
	}
	built := message{ec: ec, frameLength: 1 << 20, contents: [][]byte{[]byte("plaintext")}}.build(t)
	// All up to the commitment but the message ID, and the layout after it.
	n := len(built.Header) - 48
	copy(built.Header[3:35], m.Header[3:35])
	if !bytes.Equal(m.Header[:n], built.Header[:n]) || len(m.Header) != len(built.Header) || len(m.Body) != len(built.Body) {
		t.Errorf("got header\n%x\nwant\n%x", m.Header[:n], built.Header[:n])
	}
}

func TestSealRefusesContext(t *testing.T) {
	t.Parallel()
	pairs := func(n int) envelope.EncryptionContext {
		ec := envelope.EncryptionContext{}
		for i := range n {
			ec[fmt.Sprint(i)] = "v"
		}
		return ec
	}
	sized := func(n int) envelope.EncryptionContext { // 2 for the count, 4 for lengths, 1 for the key
		return envelope.EncryptionContext{"k": strings.Repeat("v", n-7)}
	}
	tests := map[string]struct {
		ec   envelope.EncryptionContext
		want string // in the error; empty: sealed
	}{
		"empty key":          {envelope.EncryptionContext{"": "secret-value"}, "empty key"},
		"empty value":        {envelope.EncryptionContext{"k": ""}, `"k" has an empty value`},
		"key not UTF-8":      {envelope.EncryptionContext{"\xff": "secret-value"}, `"\xff" is not UTF-8`},
		"value not UTF-8":    {envelope.EncryptionContext{"k": "secret-value\xff"}, `"k" is not UTF-8`},
		"reserved":           {envelope.EncryptionContext{"aws-crypto-x": "secret-value"}, `reserved by the message format`},
		"reserved prefix":    {envelope.EncryptionContext{"aws-crypto-": "secret-value"}, `reserved by the message format`},
		"not quite reserved": {envelope.EncryptionContext{"aws-crypto": "v"}, ""},
		"pairs N":            {pairs(envelope.MaxContextPairs), ""},
		"pairs N+1":          {pairs(envelope.MaxContextPairs + 1), "has 129 pairs, want at most 128"},
		"bytes N":            {sized(envelope.MaxContextBytes), ""},
		"bytes N+1":          {sized(envelope.MaxContextBytes + 1), "takes 8193 bytes, want at most 8192"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kr := &staticKeyring{}
			m, err := envelope.Seal(t.Context(), kr, []byte("p"), test.ec)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := envelope.Open(t.Context(), kr, m, acceptAll); err != nil {
					t.Fatalf("what was sealed does not open: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret-value") {
				t.Errorf("got error %v, want one with %q and without the value", err, test.want)
			}
			if errors.Is(err, envelope.ErrInvalidMessage) {
				t.Errorf("%v blames a message", err)
			}
			if kr.calls != 0 {
				t.Errorf("got %d keyring calls, want 0", kr.calls)
			}
			if m.Header != nil || m.Body != nil {
				t.Error("got a message with an error")
			}
		})
	}
}

// funcKeyring answers as its functions do.
type funcKeyring struct {
	generate func() (*envelope.DataKey, error)
	decrypt  func(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error)
}

func (k funcKeyring) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.generate()
}

func (k funcKeyring) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.decrypt(ctx, edks, ec)
}

func TestSealChecksKeyring(t *testing.T) {
	t.Parallel()
	edk := func(id, info, ciphertext int) envelope.EncryptedDataKey {
		return envelope.EncryptedDataKey{
			ProviderID:   strings.Repeat("i", id),
			ProviderInfo: make([]byte, info),
			Ciphertext:   make([]byte, ciphertext),
		}
	}
	keys := func(edks ...envelope.EncryptedDataKey) *envelope.DataKey {
		k, err := envelope.NewDataKey(testKey, edks...)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	times := func(n int, k envelope.EncryptedDataKey) []envelope.EncryptedDataKey {
		return slices.Repeat([]envelope.EncryptedDataKey{k}, n)
	}
	tests := map[string]struct {
		key  *envelope.DataKey
		want string
	}{
		"nil":             {nil, "no data key"},
		"zero":            {new(envelope.DataKey), "no data key"},
		"keys N":          {keys(times(envelope.MaxWrittenKeys, testEDK)...), ""},
		"keys N+1":        {keys(times(envelope.MaxWrittenKeys+1, testEDK)...), "6 encrypted data keys, want at most 5"},
		"provider ID N":   {keys(edk(envelope.MaxProviderID, 1, 1)), ""},
		"provider ID N+1": {keys(edk(envelope.MaxProviderID+1, 1, 1)), "provider ID of an encrypted data key takes 257 bytes, want at most 256"},
		"info N":          {keys(edk(1, envelope.MaxProviderInfo, 1)), ""},
		"info N+1":        {keys(edk(1, envelope.MaxProviderInfo+1, 1)), "takes 2049 bytes, want at most 2048"},
		"ciphertext N":    {keys(edk(1, 1, envelope.MaxKeyCiphertext)), ""},
		"ciphertext N+1":  {keys(edk(1, 1, envelope.MaxKeyCiphertext+1)), "takes 6145 bytes, want at most 6144"},
		"no provider ID":  {keys(edk(0, 1, 1)), "provider ID is empty"},
		"ID not UTF-8":    {keys(envelope.EncryptedDataKey{ProviderID: "\xff", Ciphertext: []byte("c")}), "not UTF-8"},
		"no ciphertext":   {keys(edk(1, 1, 0)), "without ciphertext"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kr := funcKeyring{generate: func() (*envelope.DataKey, error) { return test.key, nil }}
			_, err := envelope.Seal(t.Context(), kr, []byte("p"), nil)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "envelope: ") {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

func TestOpenChecksKeyring(t *testing.T) {
	t.Parallel()
	m := message{keys: []envelope.EncryptedDataKey{testEDK, {ProviderID: "b", Ciphertext: []byte("c")}}}.build(t)
	key := func(edks ...envelope.EncryptedDataKey) *envelope.DataKey {
		k, err := envelope.NewDataKey(testKey, edks...)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	refused := errors.New("refused")
	tests := map[string]struct {
		key  *envelope.DataKey
		err  error
		want string
	}{
		"nil":           {nil, nil, "no data key"},
		"zero":          {new(envelope.DataKey), nil, "no data key"},
		"several":       {key(testEDK, testEDK), nil, "with 2 encrypted forms"},
		"foreign":       {key(envelope.EncryptedDataKey{ProviderID: "x"}), nil, "none of the message's"},
		"error":         {nil, refused, "refused"},
		"key and error": {key(testEDK), refused, "refused"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kr := funcKeyring{decrypt: func(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error) {
				return test.key, test.err
			}}
			got, err := envelope.Open(t.Context(), kr, m, acceptAll)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if errors.Is(err, envelope.ErrInvalidMessage) {
				t.Errorf("%v blames the message for the keyring", err)
			}
			if d := cmp.Diff(envelope.Opened{}, got); d != "" {
				t.Errorf("got a result with an error:\n%s", d)
			}
		})
	}
}

// TestOpenBytes opens messages in one piece as Open opens their parts: whole,
// cut at every byte, and with each byte altered.
func TestOpenBytes(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]message{
		"framed": {ec: map[string]string{"k": "v"}, contents: [][]byte{[]byte("0123456789abcdef"), []byte("end")}},
		"signed": {suite: 0x0578, signer: newSigner(t), ec: map[string]string{"k": "v"}, contents: [][]byte{[]byte("text")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := m.build(t).Bytes()
			check := func(what string, b []byte) {
				t.Helper()
				got, gotErr := envelope.OpenBytes(t.Context(), &staticKeyring{}, b, acceptAll)
				parts, wantErr := envelope.Split(b)
				var want envelope.Opened
				if wantErr == nil {
					want, wantErr = envelope.Open(t.Context(), &staticKeyring{}, parts, acceptAll)
				}
				if d := cmp.Diff(want, got); d != "" || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
					t.Errorf("%s: got %v, want %v; difference in what it held: %s", what, gotErr, wantErr, d)
				}
			}
			before := bytes.Clone(whole)
			check("whole", whole)
			if !bytes.Equal(whole, before) {
				t.Error("OpenBytes modified its argument")
			}
			for i := range whole {
				check(fmt.Sprintf("cut at %d", i), whole[:i])
				altered := bytes.Clone(whole)
				altered[i] ^= 1
				check(fmt.Sprintf("altered at %d", i), altered)
			}
			check("followed by a byte", append(bytes.Clone(whole), 0))
		})
	}
}

func TestNilArguments(t *testing.T) {
	t.Parallel()
	m := message{}.build(t)
	if _, err := envelope.Seal(t.Context(), nil, nil, nil); err == nil || err.Error() != "envelope: nil keyring" {
		t.Errorf("Seal: got %v", err)
	}
	if _, err := envelope.Open(t.Context(), nil, m, acceptAll); err == nil || err.Error() != "envelope: nil keyring" {
		t.Errorf("Open: got %v", err)
	}
	kr := &staticKeyring{}
	if _, err := envelope.Open(t.Context(), kr, m, nil); err == nil || !strings.Contains(err.Error(), "nil accept") || kr.calls != 0 {
		t.Errorf("Open with nil accept: got %v after %d keyring calls", err, kr.calls)
	}
	if _, err := envelope.OpenBytes(t.Context(), nil, m.Bytes(), acceptAll); err == nil || err.Error() != "envelope: nil keyring" {
		t.Errorf("OpenBytes: got %v", err)
	}
	if _, err := envelope.OpenBytes(t.Context(), kr, m.Bytes(), nil); err == nil || !strings.Contains(err.Error(), "nil accept") || kr.calls != 0 {
		t.Errorf("OpenBytes with nil accept: got %v after %d keyring calls", err, kr.calls)
	}
	if _, err := envelope.Open(t.Context(), kr, envelope.Message{}, acceptAll); !errors.Is(err, envelope.ErrMalformed) {
		t.Errorf("Open of the zero Message: got %v", err)
	}
	if _, err := envelope.Split(nil); !errors.Is(err, envelope.ErrMalformed) {
		t.Errorf("Split(nil): got %v", err)
	}
	if _, err := envelope.ParseHeader(nil); !errors.Is(err, envelope.ErrMalformed) {
		t.Errorf("ParseHeader(nil): got %v", err)
	}
	var key *envelope.DataKey
	if key.Plaintext() != nil || key.EncryptedDataKeys() != nil || new(envelope.DataKey).Plaintext() != nil {
		t.Error("a nil or zero DataKey holds something")
	}
}

// TestOpenOrder holds Open to its documented order: nothing is asked of anyone
// for a message that does not parse, and nothing of a keyring for one that is
// not accepted.
func TestOpenOrder(t *testing.T) {
	t.Parallel()
	good := message{ec: map[string]string{"k": "v"}, contents: [][]byte{[]byte("0123456789abcdef"), []byte("p")}}.build(t)
	signed := message{suite: 0x0578, signer: newSigner(t)}.build(t)
	mismatch := fmt.Errorf("%w: not mine", envelope.ErrContextMismatch)
	clipped := func(m envelope.Message) envelope.Message {
		m.Body = m.Body[:len(m.Body)-1]
		return m
	}
	tests := map[string]struct {
		m         envelope.Message
		acceptErr error
		want      error
		accepts   int
		calls     int
	}{
		"header":          {envelope.Message{Header: good.Header[:40], Body: good.Body}, nil, envelope.ErrMalformed, 0, 0},
		"header trailing": {envelope.Message{Header: append(slices.Clone(good.Header), 0), Body: good.Body}, nil, envelope.ErrMalformed, 0, 0},
		"body":            {clipped(good), nil, envelope.ErrMalformed, 0, 0},
		"footer":          {clipped(signed), nil, envelope.ErrMalformed, 0, 0},
		"not accepted":    {good, mismatch, mismatch, 1, 0},
		"opened":          {good, nil, nil, 1, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kr := &staticKeyring{}
			accepts := 0
			got, err := envelope.Open(t.Context(), kr, test.m, func(envelope.EncryptionContext) error { accepts++; return test.acceptErr })
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if err != nil && got.Plaintext != nil {
				t.Error("got plaintext with an error")
			}
			if accepts != test.accepts || kr.calls != test.calls {
				t.Errorf("got %d accept and %d keyring calls, want %d and %d", accepts, kr.calls, test.accepts, test.calls)
			}
		})
	}
}

// TestAuthenticationIsOneValue alters each authenticated part under a keyring
// that cannot tell, and wants the very same error of each.
func TestAuthenticationIsOneValue(t *testing.T) {
	t.Parallel()
	m := message{suite: 0x0578, signer: newSigner(t), contents: [][]byte{[]byte("0123456789abcdef"), []byte("p")}}.build(t)
	flip := func(part []byte, i int) func() {
		if i < 0 {
			i += len(part)
		}
		part[i] ^= 1
		return func() { part[i] ^= 1 }
	}
	const overhead = 4 + 12
	tests := []struct {
		name string
		part []byte
		at   int
	}{
		{"message ID", m.Header, 3},
		{"commitment", m.Header, -17},
		{"header tag", m.Header, -1},
		{"first frame's content", m.Body, overhead},
		{"first frame's tag", m.Body, overhead + 16},
		{"final frame's content", m.Body, overhead + 16 + 16 + 24},
		{"signature", m.Body, -1},
	}
	for _, test := range tests {
		undo := flip(test.part, test.at)
		got, err := envelope.Open(t.Context(), &staticKeyring{}, m, acceptAll)
		undo()
		if err != envelope.ErrAuthentication {
			t.Errorf("%s: got %v, want ErrAuthentication itself", test.name, err)
		}
		if got.Plaintext != nil || got.EncryptionContext != nil {
			t.Errorf("%s: got a result with an error", test.name)
		}
	}
	if _, err := envelope.Open(t.Context(), &staticKeyring{}, m, acceptAll); err != nil {
		t.Errorf("unaltered: %v", err)
	}
	wrong := funcKeyring{decrypt: func(_ context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
		return envelope.NewDataKey(make([]byte, 32), edks[0])
	}}
	if _, err := envelope.Open(t.Context(), wrong, m, acceptAll); err != envelope.ErrAuthentication {
		t.Errorf("another data key: got %v, want ErrAuthentication itself", err)
	}
}

// TestKeyCommitment: a message whose every tag is right, made by somebody who
// has the data key, is refused if it commits to another key. Flipping bits
// cannot show this, as the header tag covers the commitment too.
func TestKeyCommitment(t *testing.T) {
	t.Parallel()
	for _, m := range []message{{commitment: make([]byte, 32)}, {suite: 0x0578, signer: newSigner(t), commitment: make([]byte, 32)}} {
		got, err := envelope.Open(t.Context(), &staticKeyring{}, m.build(t), acceptAll)
		if err != envelope.ErrAuthentication || got.Plaintext != nil {
			t.Errorf("suite %#04x: got %q, %v, want ErrAuthentication itself", m.suite, got.Plaintext, err)
		}
	}
}

// TestAliasing: callers own what they pass and what they get.
func TestAliasing(t *testing.T) {
	t.Parallel()
	kr := newRaw(t, "key", 1)
	plaintext := append(make([]byte, 0, 64), "plaintext"...)
	ec := envelope.EncryptionContext{"k": "v"}
	m, err := envelope.Seal(t.Context(), kr, plaintext, ec)
	if err != nil {
		t.Fatal(err)
	}
	if string(plaintext) != "plaintext" || !bytes.Equal(plaintext[:64][9:], make([]byte, 55)) || len(ec) != 1 {
		t.Error("Seal wrote to its arguments")
	}
	header, body := bytes.Clone(m.Header), bytes.Clone(m.Body)
	if _ = append(m.Header, 'x'); !bytes.Equal(m.Body, body) {
		t.Fatal("appending to Header overwrites Body")
	}
	opened, err := envelope.Open(t.Context(), kr, m, acceptAll)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Header, header) || !bytes.Equal(m.Body, body) {
		t.Error("Open wrote to the message")
	}
	parsed, err := envelope.ParseHeader(m.Header)
	if err != nil {
		t.Fatal(err)
	}
	info := bytes.Clone(opened.Key.ProviderInfo)
	clear(m.Header)
	clear(m.Body)
	if string(opened.Plaintext) != "plaintext" || !bytes.Equal(opened.Key.ProviderInfo, info) || !bytes.Equal(parsed.EncryptedDataKeys[0].ProviderInfo, info) {
		t.Error("a result aliases the message")
	}
}

// TestHeaderSize: of several keys, and from lengths alone, as an estimate is
// made before there is a message.
func TestHeaderSize(t *testing.T) {
	t.Parallel()
	ec := envelope.EncryptionContext{"purpose": "é"}
	for n := range envelope.MaxWrittenKeys {
		var members []envelope.Wrapper
		for i := range n + 1 {
			members = append(members, newRaw(t, strings.Repeat("k", 1+100*i), byte(i)))
		}
		m, err := envelope.Seal(t.Context(), newMulti(t, members...), nil, ec)
		if err != nil {
			t.Fatal(err)
		}
		h, err := envelope.ParseHeader(m.Header)
		if err != nil {
			t.Fatal(err)
		}
		estimate := make([]envelope.EncryptedDataKey, len(h.EncryptedDataKeys))
		for i, k := range h.EncryptedDataKeys {
			estimate[i] = envelope.EncryptedDataKey{
				ProviderID:   strings.Repeat("?", len(k.ProviderID)),
				ProviderInfo: make([]byte, len(k.ProviderInfo)),
				Ciphertext:   make([]byte, len(k.Ciphertext)),
			}
		}
		if got := envelope.HeaderSize(ec, estimate); got != len(m.Header) {
			t.Errorf("%d keys: got %d, want %d", n+1, got, len(m.Header))
		}
	}
}

func TestBodySizeLimits(t *testing.T) {
	t.Parallel()
	const most = envelope.MaxFrames*envelope.FrameLength - 1
	if n, err := envelope.BodySize(most); err != nil || n != most+(envelope.MaxFrames-1)*32+40 {
		t.Errorf("N: got %d, %v", n, err)
	}
	for _, n := range []int64{-1, most + 1} {
		if got, err := envelope.BodySize(n); err == nil || got != 0 {
			t.Errorf("%d: got %d, %v, want an error", n, got, err)
		}
	}
}
