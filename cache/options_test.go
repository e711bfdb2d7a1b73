package cache_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

func TestOptionRanges(t *testing.T) {
	t.Parallel()
	// want names the option, its value and the range; empty: accepted.
	for name, test := range map[string]struct {
		set  func(*cache.Options)
		want []string
	}{
		"zero":                {func(o *cache.Options) {}, nil},
		"period, low":         {func(o *cache.Options) { o.ReusePeriod = time.Minute - 1 }, []string{"ReusePeriod", "59.999999999s", "1m0s to 24h0m0s"}},
		"period, lowest":      {func(o *cache.Options) { o.ReusePeriod = time.Minute }, nil},
		"period, highest":     {func(o *cache.Options) { o.ReusePeriod = 24 * time.Hour }, nil},
		"period, high":        {func(o *cache.Options) { o.ReusePeriod = 24*time.Hour + 1; o.MaxStale = cache.Unlimited }, []string{"ReusePeriod", "24h0m0.000000001s"}},
		"period, negative":    {func(o *cache.Options) { o.ReusePeriod = -time.Minute }, []string{"ReusePeriod", "-1m0s"}},
		"messages, one":       {func(o *cache.Options) { o.MaxMessages = 1 }, nil},
		"messages, highest":   {func(o *cache.Options) { o.MaxMessages = 1 << 32 }, nil},
		"messages, high":      {func(o *cache.Options) { o.MaxMessages = 1<<32 + 1 }, []string{"MaxMessages", "4294967297", "1 to 4294967296"}},
		"stale, below period": {func(o *cache.Options) { o.MaxStale = 5*time.Minute - 1 }, []string{"MaxStale", "4m59.999999999s", "5m0s"}},
		"stale, period":       {func(o *cache.Options) { o.MaxStale = 5 * time.Minute }, nil},
		"stale, none":         {func(o *cache.Options) { o.MaxStale = cache.NoStale }, nil},
		"stale, unlimited":    {func(o *cache.Options) { o.MaxStale = cache.Unlimited }, nil},
		"stale, negative":     {func(o *cache.Options) { o.MaxStale = -2 }, []string{"MaxStale", "-2ns", "NoStale", "Unlimited"}},
		"fetch, low":          {func(o *cache.Options) { o.FetchTimeout = time.Second - 1 }, []string{"FetchTimeout", "999.999999ms", "1s to 15s"}},
		"fetch, lowest":       {func(o *cache.Options) { o.FetchTimeout = time.Second }, nil},
		"fetch, highest":      {func(o *cache.Options) { o.FetchTimeout = 15 * time.Second }, nil},
		"fetch, high":         {func(o *cache.Options) { o.FetchTimeout = 15*time.Second + 1 }, []string{"FetchTimeout", "15.000000001s"}},
		"encrypt, negative":   {func(o *cache.Options) { o.EncryptEntries = -1 }, []string{"EncryptEntries", "-1", "1 to 1048576"}},
		"encrypt, one":        {func(o *cache.Options) { o.EncryptEntries = 1 }, nil},
		"encrypt, highest":    {func(o *cache.Options) { o.EncryptEntries = 1 << 20 }, nil},
		"encrypt, high":       {func(o *cache.Options) { o.EncryptEntries = 1<<20 + 1 }, []string{"EncryptEntries", "1048577"}},
		"decrypt, high":       {func(o *cache.Options) { o.DecryptEntries = 1<<20 + 1 }, []string{"DecryptEntries", "1048577"}},
		"negative, high":      {func(o *cache.Options) { o.NegativeEntries = 1<<20 + 1 }, []string{"NegativeEntries", "1048577"}},
	} {
		k, err := cache.New(newService(), test.set)
		if test.want == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || k != nil {
			t.Errorf("%s: got %v, %v, want an error", name, k, err)
			continue
		}
		for _, part := range test.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: got %q, want %q in it", name, err, part)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		next   envelope.Keyring
		optFns []func(*cache.Options)
		want   string
	}{
		"no keyring":  {nil, nil, "nil"},
		"a cache":     {newCache(t, newService()), nil, "already"},
		"a Source":    {struct{ cache.Source }{newCache(t, newService())}, nil, "already"},
		"nil options": {newService(), []func(*cache.Options){nil}, "option function 0 is nil"},
	} {
		if _, err := cache.New(test.next, test.optFns...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	var kept *cache.Options
	s := newService()
	k := newCache(t, s, func(o *cache.Options) { o.MaxMessages = 1; kept = o })
	kept.MaxMessages = 100
	for range 3 {
		generate(t, k, orders)
	}
	wantCalls(t, s, 3)
}

func TestKeyringNotMadeByNew(t *testing.T) {
	t.Parallel()
	for _, k := range []*cache.Keyring{nil, {}} {
		if _, err := k.GenerateDataKey(t.Context(), orders); err == nil {
			t.Error("got a key from a Keyring that was not made by New")
		}
		if _, err := k.DecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(0)}, orders); err == nil {
			t.Error("got a key from a Keyring that was not made by New")
		}
		if _, ok := k.TryDecryptDataKey(t.Context(), []envelope.EncryptedDataKey{junk(0)}, orders); ok {
			t.Error("got a key from a Keyring that was not made by New")
		}
		k.Purge()
		k.Stats()
	}
}

// The cache must not fit into a multi-keyring.
func TestKeyringIsNoWrapper(t *testing.T) {
	t.Parallel()
	if _, ok := any((*cache.Keyring)(nil)).(envelope.Wrapper); ok {
		t.Error("cache.Keyring is an envelope.Wrapper")
	}
}
