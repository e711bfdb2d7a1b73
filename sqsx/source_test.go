package sqsx_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// sourceCalls counts the calls of each method of a cache.Source.
type sourceCalls struct {
	cache.Source
	mu    sync.Mutex
	calls map[string]int
}

func (s *sourceCalls) count(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[method]++
}

func (s *sourceCalls) of(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

func (s *sourceCalls) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	s.count("GenerateDataKey")
	return s.Source.GenerateDataKey(ctx, ec)
}

func (s *sourceCalls) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	s.count("DecryptDataKey")
	return s.Source.DecryptDataKey(ctx, edks, ec)
}

func (s *sourceCalls) TryDecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, bool) {
	s.count("TryDecryptDataKey")
	return s.Source.TryDecryptDataKey(ctx, edks, ec)
}

func (s *sourceCalls) CheckDecrypt(ctx context.Context, ec envelope.EncryptionContext) error {
	s.count("CheckDecrypt")
	return s.Source.CheckDecrypt(ctx, ec)
}

func (s *sourceCalls) Purge() {
	s.count("Purge")
	s.Source.Purge()
}

// TestSource: a cache.Source is used as it is, for the Sealer and for policies,
// with no cache around it.
func TestSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, policys := &sourceCalls{Source: mustCache(t, w)}, &sourceCalls{Source: mustCache(t, w)}
	sealer, err := sqsx.New(own, func(o *sqsx.Options) {
		o.Queues = map[string]sqsx.Policy{"other": {Keyring: policys}, "another": {Keyring: policys}}
	})
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.NewFromConfig(w.cfg, sealer.Install)
	for _, name := range []string{"orders", "other", "another"} {
		url := w.queue(name)
		for range 3 {
			send(t, client, url, "hello")
		}
		if out, err := receive(t.Context(), client, url); err != nil || len(out.Messages) != 3 {
			t.Fatalf("%s: got %v, want 3 messages", name, err)
		}
	}
	sealer.Purge()
	stats := sealer.Stats()
	for name, source := range map[string]*sourceCalls{"own": own, "the policies'": policys} {
		queues := 1
		if source == policys {
			queues = 2
		}
		if got, want := source.of("GenerateDataKey"), 3*queues; got != want {
			t.Errorf("%s: GenerateDataKey was called %d times, want each of %d messages to ask the Source", name, got, want)
		}
		if got, want := source.of("TryDecryptDataKey"), 3*queues; got != want {
			t.Errorf("%s: TryDecryptDataKey was called %d times, want %d", name, got, want)
		}
		if got := source.of("DecryptDataKey"); got < queues {
			t.Errorf("%s: DecryptDataKey was called %d times, want the first message of each of %d queues to ask", name, got, queues)
		}
		if got := source.of("CheckDecrypt"); got != queues {
			t.Errorf("%s: CheckDecrypt was called %d times, want once for each of %d queues", name, got, queues)
		}
		if got := source.of("Purge"); got != 1 {
			t.Errorf("%s: Purge was called %d times, want once, however many policies name it", name, got)
		}
	}
	if got, want := stats.Cache.Misses, own.Source.Stats().Misses+policys.Source.Stats().Misses; got != want || got == 0 {
		t.Errorf("Stats has %d misses, want the sum of both, %d", got, want)
	}
	if stats.Asked != 3 {
		t.Errorf("Stats.Asked is %d, want a question for each of 3 queues", stats.Asked)
	}
}

// TestSourceThatCannotBeCompared is refused: whether policies share a keyring
// is found by comparing.
func TestSourceThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	type incomparable struct {
		cache.Source
		_ []int
	}
	w := newWorld(t)
	_, err := sqsx.New(incomparable{Source: mustCache(t, w)})
	if _, typed := errors.AsType[*sqsx.ConfigError](err); !typed || !strings.Contains(err.Error(), "pointer") {
		t.Errorf("got %v, want a *ConfigError that asks for a pointer", err)
	}
}

// TestKeyringThatCannotBeAsked counts no question to the key service.
func TestKeyringThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, err := envelope.NewRawAESKeyring("test", "key", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.New(struct{ envelope.Keyring }{raw})
	if err != nil {
		t.Fatal(err)
	}
	client, url := sqs.NewFromConfig(w.cfg, sealer.Install), w.queue("orders")
	send(t, client, url, "hello")
	if out, err := receive(t.Context(), client, url); err != nil || len(out.Messages) != 1 {
		t.Fatalf("got %v, want the message", err)
	}
	if asked := sealer.Stats().Asked; asked != 0 {
		t.Errorf("Stats.Asked is %d, want 0", asked)
	}
}

func mustCache(t testing.TB, w *world) *cache.Keyring {
	t.Helper()
	k, err := cache.New(mustKeyring(t, w))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
