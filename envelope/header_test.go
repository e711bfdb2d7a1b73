package envelope_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/envelope"
)

func TestParseHeader(t *testing.T) {
	t.Parallel()
	m := message{ec: map[string]string{"k": "v"}, keys: []envelope.EncryptedDataKey{testEDK, testEDK}}.build(t)
	got, err := envelope.ParseHeader(m.Header)
	if err != nil {
		t.Fatal(err)
	}
	n := len(m.Header)
	want := &envelope.Header{
		AlgorithmSuite:    0x0478,
		MessageID:         [32]byte(testID),
		EncryptionContext: envelope.EncryptionContext{"k": "v"},
		EncryptedDataKeys: []envelope.EncryptedDataKey{testEDK, testEDK},
		FrameLength:       16,
		Commitment:        [32]byte(m.Header[n-48 : n-16]),
		Tag:               [16]byte(m.Header[n-16:]),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// version1Header is a header of format version 1: suite 0x0178, no context, one
// encrypted data key.
func version1Header() []byte {
	h := append([]byte{1, 0x80, 0x01, 0x78}, make([]byte, 16)...)
	h = append(h, 0, 0, 0, 1, 0, 1, 'p', 0, 1, 'i', 0, 1, 'c', 2, 0, 0, 0, 0, 12, 0, 0, 16, 0)
	return append(h, make([]byte, 12+16)...)
}

func TestParseHeaderRefuses(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	base := message{ec: map[string]string{"k": "v"}}
	at := func(i int, b ...byte) []byte { // the header with b written at i
		h := base.build(t).Header
		if i < 0 {
			i += len(h)
		}
		copy(h[i:], b)
		return h
	}
	raw := func(context string) []byte { return message{contextRaw: []byte(context)}.build(t).Header }
	signedAs := func(key string) []byte {
		return message{suite: 0x0578, ec: map[string]string{"aws-crypto-public-key": key}}.build(t).Header
	}
	point := compressed(signer)
	offCurve := func() string { // an x that belongs to no point: found by trial
		for c := byte('A'); ; c++ {
			s := point[:5] + string(c) + point[6:]
			if _, err := envelope.ParseHeader(signedAs(s)); err != nil {
				return s
			}
		}
	}()
	v1 := version1Header()
	tests := map[string]struct {
		header []byte
		class  error
		text   string
	}{
		"text":                    {[]byte(`{"orderId":1}`), envelope.ErrMalformed, "starts with the byte 0x7b"},
		"empty byte":              {at(0, 0), envelope.ErrMalformed, "starts with the byte 0x00"},
		"version 3":               {at(0, 3), envelope.ErrUnsupported, "format version is 3, want 2; upgrade"},
		"version 31":              {at(0, 31), envelope.ErrUnsupported, "format version is 31, want 2; upgrade"},
		"white space":             {at(0, ' '), envelope.ErrMalformed, "starts with the byte 0x20"},
		"a high byte":             {at(0, 0xff), envelope.ErrMalformed, "starts with the byte 0xff"},
		"version 3 alone":         {[]byte{3}, envelope.ErrUnsupported, "format version is 3, want 2; upgrade"},
		"base64 of a header":      {[]byte(base64.StdEncoding.EncodeToString(base.build(t).Header)), envelope.ErrMalformed, "base64 of a header"},
		"base64 of a signed one":  {[]byte("AgV4" + strings.Repeat("A", 40)), envelope.ErrMalformed, "base64 of a header"},
		"hex of a header":         {[]byte(hex.EncodeToString(base.build(t).Header)), envelope.ErrMalformed, "hex of a header"},
		"version 1":               {v1, envelope.ErrUnsupported, "message of format version 1"},
		"version 1, cut":          {v1[:len(v1)-1], envelope.ErrMalformed, ""},
		"version 1, bad suite":    {append([]byte{1, 0x80, 9}, v1[3:]...), envelope.ErrMalformed, ""},
		"version 1, other type":   {append([]byte{1, 0x81}, v1[2:]...), envelope.ErrMalformed, ""},
		"one byte of 1":           {[]byte{1}, envelope.ErrMalformed, ""},
		"suite 0x0178":            {at(1, 0x01, 0x78), envelope.ErrUnsupported, "algorithm suite is 0x0178, want 0x0478 or 0x0578"},
		"suite 0x0678":            {at(1, 0x06, 0x78), envelope.ErrUnsupported, "algorithm suite is 0x0678"},
		"content type 0":          {at(-53, 0), envelope.ErrMalformed, "content type is 0"},
		"content type 3":          {at(-53, 3), envelope.ErrUnsupported, "content type is 3, want 1 or 2; upgrade"},
		"content type 255":        {at(-53, 255), envelope.ErrUnsupported, "content type is 255, want 1 or 2; upgrade"},
		"frame length 0":          {at(-53, 2, 0, 0, 0, 0), envelope.ErrMalformed, "framed message with frame length 0"},
		"block with frame length": {at(-53, 1, 0, 0, 0, 1), envelope.ErrMalformed, "frame length is 1 in a message without frames"},
		"no key":                  {message{keys: []envelope.EncryptedDataKey{}}.build(t).Header, envelope.ErrMalformed, "no encrypted data key"},
		"provider ID not UTF-8":   {message{keys: []envelope.EncryptedDataKey{{ProviderID: "\xff"}}}.build(t).Header, envelope.ErrMalformed, "not UTF-8"},
		"context of count 0":      {raw("\x00\x00"), envelope.ErrMalformed, "holds no pair"},
		"context of one byte":     {raw("\x00"), envelope.ErrMalformed, ""},
		"context cut":             {raw("\x00\x02\x00\x01a\x00\x01b"), envelope.ErrMalformed, "context is truncated"},
		"context trailing":        {raw("\x00\x01\x00\x01a\x00\x01b!"), envelope.ErrMalformed, "followed by 1 bytes inside"},
		"context duplicate":       {raw("\x00\x02\x00\x01a\x00\x01b\x00\x01a\x00\x01b"), envelope.ErrMalformed, "a key twice"},
		"context key not UTF-8":   {raw("\x00\x01\x00\x01\xff\x00\x01b"), envelope.ErrMalformed, "not UTF-8"},
		"context value not UTF-8": {raw("\x00\x01\x00\x01a\x00\x01\xff"), envelope.ErrMalformed, "not UTF-8"},
		"unsigned, public key":    {message{ec: map[string]string{"aws-crypto-public-key": point}}.build(t).Header, envelope.ErrMalformed, "unsigned message carries aws-crypto-public-key"},
		"signed, no public key":   {message{suite: 0x0578}.build(t).Header, envelope.ErrMalformed, "signed message carries no"},
		"public key empty":        {signedAs(""), envelope.ErrMalformed, "not base64"},
		"public key not base64":   {signedAs("!" + point[1:]), envelope.ErrMalformed, "not base64"},
		"public key, newline":     {signedAs(point + "\n"), envelope.ErrMalformed, "not base64"},
		"public key short":        {signedAs(point[4:]), envelope.ErrMalformed, "not base64"},
		"public key uncompressed": {signedAs("BA" + point[2:]), envelope.ErrMalformed, "not a point"},
		"public key off curve":    {signedAs(offCurve), envelope.ErrMalformed, "not a point"},
		"trailing":                {append(base.build(t).Header, 0), envelope.ErrMalformed, "followed by 1 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := envelope.ParseHeader(test.header)
			if !errors.Is(err, test.class) || !errors.Is(err, envelope.ErrInvalidMessage) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got error %v, want %v with %q", err, test.class, test.text)
			}
			if h != nil {
				t.Error("got a header with an error")
			}
		})
	}
}

func TestParseHeaderTruncated(t *testing.T) {
	t.Parallel()
	for _, m := range []message{{}, {ec: map[string]string{"k": "v"}}, {suite: 0x0578, signer: newSigner(t)}} {
		h := m.build(t).Header
		for n := range len(h) {
			if _, err := envelope.ParseHeader(h[:n]); !errors.Is(err, envelope.ErrMalformed) {
				t.Errorf("%d of %d bytes: got %v, want ErrMalformed", n, len(h), err)
			}
		}
	}
}

func TestReadLimits(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	edk := func(id, info, ciphertext int) []envelope.EncryptedDataKey {
		return []envelope.EncryptedDataKey{{
			ProviderID:   strings.Repeat("i", id),
			ProviderInfo: make([]byte, info),
			Ciphertext:   make([]byte, ciphertext),
		}}
	}
	times := func(n int) []envelope.EncryptedDataKey {
		return slices.Repeat([]envelope.EncryptedDataKey{testEDK}, n)
	}
	pairs := func(n int) map[string]string {
		ec := map[string]string{}
		for i := range n {
			ec[string(rune('A'+i))] = ""
		}
		return ec
	}
	sized := func(n int) map[string]string { return map[string]string{"k": strings.Repeat("v", n-7)} }
	// Without context, a header takes 94 bytes besides keys, and a key 6 besides
	// its fields.
	headerOf := func(n int) message {
		keys := slices.Repeat(edk(0, 0, 6144), 10) // 61,500
		return message{keys: append(keys, edk(0, 2048, n-92-61500-6-2048)...)}
	}
	tests := map[string]struct {
		m    func(n int) message
		n    int
		text string
	}{
		"keys":          {func(n int) message { return message{keys: times(n)} }, envelope.MaxReadKeys, "17 encrypted data keys, want at most 16"},
		"provider ID":   {func(n int) message { return message{keys: edk(n, 1, 1)} }, envelope.MaxProviderID, "257 bytes, want at most 256"},
		"provider info": {func(n int) message { return message{keys: edk(1, n, 1)} }, envelope.MaxProviderInfo, "2049 bytes, want at most 2048"},
		"ciphertext":    {func(n int) message { return message{keys: edk(1, 1, n)} }, envelope.MaxKeyCiphertext, "6145 bytes, want at most 6144"},
		"context pairs": {func(n int) message { return message{ec: pairs(n)} }, envelope.MaxContextPairs, "129 pairs, want at most 128"},
		"context bytes": {func(n int) message { return message{ec: sized(n)} }, envelope.MaxContextBytes, "8193 bytes, want at most 8192"},
		"header":        {headerOf, envelope.MaxHeader, "header takes over 65536 bytes"},
		// The public key of a signed message is the format's, not the sender's.
		"context pairs, signed": {func(n int) message { return message{suite: 0x0578, signer: signer, ec: pairs(n)} }, envelope.MaxContextPairs, "130 pairs, want at most 128 besides a public key"},
		"context bytes, signed": {func(n int) message { return message{suite: 0x0578, signer: signer, ec: sized(n)} }, envelope.MaxContextBytes, "8286 bytes, want at most 8192 besides a public key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within := test.m(test.n).build(t)
			if name == "header" && len(within.Header) != test.n {
				t.Fatalf("test is wrong: header of %d bytes, want %d", len(within.Header), test.n)
			}
			kr := &staticKeyring{}
			if _, err := envelope.Open(t.Context(), kr, within, acceptAll); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			h, err := envelope.ParseHeader(within.Header)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Marshal(); err != nil {
				t.Errorf("marshal at the limit: %v", err)
			}
			kr.calls = 0
			_, err = envelope.Open(t.Context(), kr, test.m(test.n+1).build(t), acceptAll)
			if !errors.Is(err, envelope.ErrUnsupported) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("beyond the limit: got %v, want ErrUnsupported with %q", err, test.text)
			}
			if kr.calls != 0 {
				t.Errorf("beyond the limit: %d keyring calls, want 0", kr.calls)
			}
		})
	}
	t.Run("65,535 keys", func(t *testing.T) {
		t.Parallel()
		m := message{keys: times(65535)}.build(t)
		if _, err := envelope.Split(m.Bytes()); !errors.Is(err, envelope.ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	valid := func() *envelope.Header {
		h, err := envelope.ParseHeader(message{}.build(t).Header)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	tests := map[string]func(*envelope.Header){
		"zero":        func(h *envelope.Header) { *h = envelope.Header{} },
		"suite":       func(h *envelope.Header) { h.AlgorithmSuite = 0x0178 },
		"no keys":     func(h *envelope.Header) { h.EncryptedDataKeys = nil },
		"keys":        func(h *envelope.Header) { h.EncryptedDataKeys = make([]envelope.EncryptedDataKey, 17) },
		"65,537 keys": func(h *envelope.Header) { h.EncryptedDataKeys = make([]envelope.EncryptedDataKey, 65537) },
		"context":     func(h *envelope.Header) { h.EncryptionContext = envelope.EncryptionContext{"k": "\xff"} },
		"long context": func(h *envelope.Header) {
			h.EncryptionContext = envelope.EncryptionContext{"k": strings.Repeat("v", 65536)}
		},
		"long info": func(h *envelope.Header) { h.EncryptedDataKeys[0].ProviderInfo = make([]byte, 65536+4) },
		"public key": func(h *envelope.Header) {
			h.EncryptionContext = envelope.EncryptionContext{"aws-crypto-public-key": "x"}
		},
		"signed, no key": func(h *envelope.Header) { h.AlgorithmSuite = 0x0578 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := valid()
			change(h)
			if b, err := h.Marshal(); err == nil || b != nil {
				t.Errorf("got %d bytes, %v, want an error", len(b), err)
			}
		})
	}
}

func headerSeeds(t testing.TB) [][]byte {
	signer := newSigner(t)
	seeds := [][]byte{nil, {1}, {2}, version1Header()}
	for _, m := range []message{
		{}, {ec: map[string]string{"a": "1", "b": "2"}}, {contentType: 1},
		{contextRaw: []byte("\x00\x02\x00\x01b\x00\x011\x00\x01a\x00\x012")},
		{suite: 0x0578, signer: signer},
	} {
		seeds = append(seeds, m.build(t).Header)
	}
	return seeds
}

// FuzzParseHeader: whatever parses marshals to the very bytes it was parsed
// from, unless its context was not sorted, and is parsed in one way only.
func FuzzParseHeader(f *testing.F) {
	for _, seed := range headerSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h, err := envelope.ParseHeader(b)
		if !bytes.Equal(b, before) {
			t.Fatal("input was modified")
		}
		if err != nil {
			if h != nil || !errors.Is(err, envelope.ErrInvalidMessage) {
				t.Fatalf("got %v, %v", h, err)
			}
			return
		}
		again, err := h.Marshal()
		if err != nil {
			t.Fatalf("parsed, but does not marshal: %v", err)
		}
		if bytes.Equal(again, b) {
			return
		}
		second, err := envelope.ParseHeader(again)
		if err != nil {
			t.Fatalf("marshaled, but does not parse: %v", err)
		}
		if d := cmp.Diff(h, second); d != "" {
			t.Fatal(d)
		}
		// The difference is the order of the context and nothing else.
		n := len(serialize(maps.Clone(h.EncryptionContext)))
		if len(again) != len(b) || !bytes.Equal(again[:37], b[:37]) || !bytes.Equal(again[37+n:], b[37+n:]) {
			t.Fatalf("parse and marshal differ beyond the context:\n%s\n%s", hex.EncodeToString(b), hex.EncodeToString(again))
		}
	})
}

// FuzzSplit: parts are the whole, and the header part parses alone.
func FuzzSplit(f *testing.F) {
	for _, seed := range headerSeeds(f) {
		f.Add(seed)
		f.Add(append(seed, "body"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := envelope.Split(b)
		if err != nil {
			if m.Header != nil || m.Body != nil || !errors.Is(err, envelope.ErrInvalidMessage) {
				t.Fatalf("got %v, %v", m, err)
			}
			return
		}
		if !bytes.Equal(m.Bytes(), b) {
			t.Fatal("parts are not the whole")
		}
		if _, err := envelope.ParseHeader(m.Header); err != nil {
			t.Fatalf("header does not parse alone: %v", err)
		}
	})
}
