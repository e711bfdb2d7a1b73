package envelope_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sealq/sealq/envelope"
)

// failing is a Wrapper all of whose methods fail with err.
type failing struct {
	err   error
	calls int
	then  func()
}

func (k *failing) fail() error {
	k.calls++
	if k.then != nil {
		k.then()
	}
	return k.err
}

func (k *failing) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return nil, k.fail()
}

func (k *failing) DecryptDataKey(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return nil, k.fail()
}

func (k *failing) WrapDataKey(context.Context, *envelope.DataKey, envelope.EncryptionContext) (envelope.EncryptedDataKey, error) {
	return envelope.EncryptedDataKey{}, k.fail()
}

func newMulti(t *testing.T, members ...envelope.Wrapper) *envelope.MultiKeyring {
	t.Helper()
	kr, err := envelope.NewMultiKeyring(members[0], members[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}

func TestMultiKeyringAnyKeyOpens(t *testing.T) {
	t.Parallel()
	a, b, c := newRaw(t, "a", 1), newRaw(t, "b", 2), newRaw(t, "c", 3)
	multi := newMulti(t, a, b, c)
	m, err := envelope.Seal(t.Context(), multi, []byte("p"), envelope.EncryptionContext{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := envelope.ParseHeader(m.Header)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.EncryptedDataKeys) != 3 || !strings.HasPrefix(string(h.EncryptedDataKeys[0].ProviderInfo), "a") {
		t.Errorf("got %d encrypted data keys, want 3, the generator's first", len(h.EncryptedDataKeys))
	}
	for name, kr := range map[string]envelope.Keyring{
		"a": a, "b": b, "c": c, "multi": multi,
		"last of two": newMulti(t, newRaw(t, "d", 4), c),
	} {
		if got, err := envelope.Open(t.Context(), kr, m, acceptAll); err != nil || string(got.Plaintext) != "p" {
			t.Errorf("%s: got %q, %v", name, got.Plaintext, err)
		}
	}
	for name, kr := range map[string]envelope.Keyring{
		"other name":    newMulti(t, newRaw(t, "d", 1), newRaw(t, "e", 2)),
		"same name":     newMulti(t, newRaw(t, "a", 9), newRaw(t, "b", 9)),
		"single, other": newRaw(t, "d", 1),
	} {
		if _, err := envelope.Open(t.Context(), kr, m, acceptAll); !errors.Is(err, envelope.ErrNoMatchingKey) {
			t.Errorf("%s: got %v, want ErrNoMatchingKey", name, err)
		}
	}
}

func TestMultiKeyringAllMustWrap(t *testing.T) {
	t.Parallel()
	down := fmt.Errorf("%w: down", envelope.ErrUnavailable)
	good, bad := newRaw(t, "a", 1), &failing{err: down}
	last := &failing{err: errors.New("asked too late")}
	for name, kr := range map[string]*envelope.MultiKeyring{
		"generator": newMulti(t, bad, good),
		"child":     newMulti(t, good, bad, last),
	} {
		if m, err := envelope.Seal(t.Context(), kr, nil, nil); !errors.Is(err, envelope.ErrUnavailable) || m.Header != nil {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
	if last.calls != 0 {
		t.Error("a member was asked after another had failed")
	}
}

func TestMultiKeyringNew(t *testing.T) {
	t.Parallel()
	a := newRaw(t, "a", 1)
	members := func(n int) []envelope.Wrapper { return slices.Repeat([]envelope.Wrapper{a}, n) }
	if _, err := envelope.NewMultiKeyring(a, members(envelope.MaxWrittenKeys-1)...); err != nil {
		t.Errorf("5 members: %v", err)
	}
	if _, err := envelope.NewMultiKeyring(a, members(envelope.MaxWrittenKeys)...); err == nil || !strings.Contains(err.Error(), "6 members, want at most 5") {
		t.Errorf("6 members: got %v", err)
	}
	if _, err := envelope.NewMultiKeyring(nil, a); err == nil || !strings.Contains(err.Error(), "member 0") {
		t.Errorf("nil generator: got %v", err)
	}
	if _, err := envelope.NewMultiKeyring(a, a, nil); err == nil || !strings.Contains(err.Error(), "member 2") {
		t.Errorf("nil child: got %v", err)
	}
	children := members(2)
	kr, err := envelope.NewMultiKeyring(a, children...)
	if err != nil {
		t.Fatal(err)
	}
	children[0] = nil // the keyring has its own slice
	if _, err := envelope.Seal(t.Context(), kr, nil, nil); err != nil {
		t.Error(err)
	}
	var none *envelope.MultiKeyring
	for _, kr := range []*envelope.MultiKeyring{none, new(envelope.MultiKeyring)} {
		if _, err := kr.GenerateDataKey(t.Context(), nil); err == nil {
			t.Error("nil or zero MultiKeyring generates")
		}
		if _, err := kr.DecryptDataKey(t.Context(), nil, nil); err == nil || errors.Is(err, envelope.ErrInvalidMessage) {
			t.Errorf("nil or zero MultiKeyring decrypts: %v", err)
		}
	}
	if _, err := newMulti(t, &failing{}).GenerateDataKey(t.Context(), nil); err == nil {
		t.Error("generator that returns neither a key nor an error is believed")
	}
	if _, err := newMulti(t, &failing{}).DecryptDataKey(t.Context(), nil, nil); err == nil || errors.Is(err, envelope.ErrInvalidMessage) {
		t.Errorf("member that returns neither a key nor an error: got %v", err)
	}
}

// TestMultiKeyringErrors: a message that some key could still open is never
// called invalid.
func TestMultiKeyringErrors(t *testing.T) {
	t.Parallel()
	noMatch := fmt.Errorf("%w: not mine", envelope.ErrNoMatchingKey)
	down := fmt.Errorf("%w: down", envelope.ErrUnavailable)
	cause := errors.New("disabled")
	refused := &envelope.RefusedError{KeyInfo: "arn", Err: cause}
	tests := map[string]struct {
		errs    []error
		invalid bool
		is, not []error
	}{
		"no match":                {[]error{noMatch, noMatch}, true, []error{envelope.ErrNoMatchingKey}, []error{envelope.ErrUnavailable}},
		"no match, unavailable":   {[]error{noMatch, down}, false, []error{envelope.ErrUnavailable}, []error{envelope.ErrNoMatchingKey}},
		"unavailable, no match":   {[]error{down, noMatch}, false, []error{envelope.ErrUnavailable}, []error{envelope.ErrNoMatchingKey}},
		"no match, refused":       {[]error{noMatch, refused}, false, []error{cause, refused}, []error{envelope.ErrUnavailable}},
		"refused, unavailable":    {[]error{refused, down, noMatch}, false, []error{cause, envelope.ErrUnavailable}, nil},
		"member's own deadline":   {[]error{noMatch, context.DeadlineExceeded}, false, []error{context.DeadlineExceeded}, nil},
		"joined by somebody else": {[]error{errors.Join(noMatch, down), envelope.ErrMalformed}, true, []error{envelope.ErrUnavailable}, []error{envelope.ErrMalformed}},
		"one":                     {[]error{down}, false, []error{envelope.ErrUnavailable}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var members []envelope.Wrapper
			for _, err := range test.errs {
				members = append(members, &failing{err: err})
			}
			_, err := newMulti(t, members...).DecryptDataKey(t.Context(), nil, nil)
			if errors.Is(err, envelope.ErrInvalidMessage) != test.invalid {
				t.Errorf("got %v; blames the message: %v, want %v", err, !test.invalid, test.invalid)
			}
			for _, want := range test.is {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want it to wrap %v", err, want)
				}
			}
			for _, not := range test.not {
				if errors.Is(err, not) {
					t.Errorf("got %v, want it not to wrap %v", err, not)
				}
			}
			if len(test.errs) > 1 && !strings.Contains(err.Error(), test.errs[0].Error()) {
				t.Errorf("text %q does not tell of %q", err, test.errs[0])
			}
		})
	}
	if err := envelope.JoinKeyErrors(); err != envelope.ErrNoMatchingKey {
		t.Errorf("JoinKeyErrors of nothing: got %v", err)
	}
	if err := envelope.JoinKeyErrors(nil, envelope.ErrMalformed); !errors.Is(err, envelope.ErrNoMatchingKey) || !errors.Is(err, envelope.ErrMalformed) {
		t.Errorf("JoinKeyErrors of nil and ErrMalformed: got %v", err)
	}
	if _, ok := errors.AsType[*envelope.RefusedError](envelope.JoinKeyErrors(noMatch, refused)); !ok {
		t.Error("the refusal cannot be found with errors.As")
	}
	errs := []error{noMatch, nil, down}
	envelope.JoinKeyErrors(errs...)
	if errs[1] != nil || errs[0] != noMatch || errs[2] != down {
		t.Error("JoinKeyErrors wrote to its argument")
	}
}

func TestMultiKeyringStopsWhenCallerDoes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	noMatch := fmt.Errorf("%w: not mine", envelope.ErrNoMatchingKey)
	first, second := &failing{err: noMatch, then: cancel}, &failing{err: noMatch}
	_, err := newMulti(t, first, second).DecryptDataKey(ctx, nil, nil)
	if !errors.Is(err, context.Canceled) || errors.Is(err, envelope.ErrInvalidMessage) {
		t.Errorf("got %v, want context.Canceled alone", err)
	}
	if second.calls != 0 {
		t.Error("a member was asked after the caller had gone")
	}
	ctx, cancel = context.WithCancel(t.Context())
	only := &failing{err: noMatch, then: cancel}
	if _, err := newMulti(t, only).DecryptDataKey(ctx, nil, nil); !errors.Is(err, context.Canceled) || errors.Is(err, envelope.ErrInvalidMessage) {
		t.Errorf("cancelled in the last member: got %v, want context.Canceled alone", err)
	}
	second.calls = 0
	if _, err := newMulti(t, newRaw(t, "a", 1), second).GenerateDataKey(ctx, nil); !errors.Is(err, context.Canceled) || second.calls != 0 {
		t.Errorf("generate: got %v after %d calls", err, second.calls)
	}
}

// remembering is a Wrapper that can be told to forget.
type remembering struct {
	envelope.Wrapper
	purged int
}

func (k *remembering) Purge() { k.purged++ }

func TestMultiKeyringPurge(t *testing.T) {
	t.Parallel()
	first, last := &remembering{Wrapper: newRaw(t, "a", 1)}, &remembering{Wrapper: newRaw(t, "c", 3)}
	newMulti(t, first, newRaw(t, "b", 2), last).Purge() // b has nothing to forget
	if first.purged != 1 || last.purged != 1 {
		t.Errorf("members were purged %d and %d times, want once each", first.purged, last.purged)
	}
	(*envelope.MultiKeyring)(nil).Purge()
	new(envelope.MultiKeyring).Purge()
}

// TestJoinedTextIsBounded joins what several members may say of one message.
func TestJoinedTextIsBounded(t *testing.T) {
	t.Parallel()
	var errs []error
	for range 5 {
		var members []error
		for range 16 {
			members = append(members, fmt.Errorf("%w: %s", envelope.ErrNoMatchingKey, strings.Repeat("é", 300)))
		}
		errs = append(errs, envelope.JoinKeyErrors(members...))
	}
	err := envelope.JoinKeyErrors(errs...)
	if text := err.Error(); len(text) > 4096 || !utf8.ValidString(text) || !strings.HasSuffix(text, "...") {
		t.Errorf("got %d bytes, want at most 4096, whole characters, and a sign that more was said", len(text))
	}
	if !errors.Is(err, envelope.ErrNoMatchingKey) {
		t.Errorf("got %v, want %v", err, envelope.ErrNoMatchingKey)
	}
}

// TestErrorTextLimit: the text of joined errors is cut at 3,500 bytes.
func TestErrorTextLimit(t *testing.T) {
	t.Parallel()
	const limit = 3500
	text := func(n int) string {
		short := envelope.JoinKeyErrors(envelope.ErrMalformed, errors.New("")).Error()
		return envelope.JoinKeyErrors(envelope.ErrMalformed, errors.New(strings.Repeat("x", n-len(short)))).Error()
	}
	if got := text(limit); len(got) != limit || !strings.HasSuffix(got, "x") {
		t.Errorf("at the limit: got %d bytes that end in %q, want %d and the end of the last error", len(got), got[len(got)-4:], limit)
	}
	if got := text(limit + 1); len(got) != limit+3 || !strings.HasSuffix(got, "x...") {
		t.Errorf("beyond the limit: got %d bytes that end in %q, want %d and \"...\"", len(got), got[len(got)-4:], limit+3)
	}
}
