package cache_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a key service and its keyring in one: it makes data keys, opens
// those it made under the context they were made for, and does as the test
// says before it answers.
type service struct {
	mu       sync.Mutex
	info     string        // of new data keys
	latency  time.Duration // of every call
	answer   func(call) error
	made     map[string]made // by ciphertext
	calls    []call
	inFlight int
	together int // the largest inFlight
}

type made struct {
	info string
	ec   envelope.EncryptionContext
	at   time.Time // when the call began
}

type call struct {
	opens bool
	edks  []envelope.EncryptedDataKey
	ec    envelope.EncryptionContext
	ctx   context.Context
	at    time.Time
}

const keyA, keyB = "arn:aws:kms:eu-west-1:111122223333:key/a", "arn:aws:kms:eu-west-1:111122223333:key/b"

func newService() *service { return &service{info: keyA, made: make(map[string]made)} }

// then sets what later calls come to; nil lets them succeed.
func (s *service) then(answer func(call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *service) thenFail(err error) { s.then(func(call) error { return err }) }

func (s *service) setLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

func (s *service) setInfo(info string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
}

// count returns the calls so far.
func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// called returns the calls so far.
func (s *service) called() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *service) madeAs(key *envelope.DataKey) made {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[string(key.EncryptedDataKeys()[0].Ciphertext)]
}

// do records the call, takes its time, and returns what the test wants.
func (s *service) do(c call) error {
	c.at = time.Now()
	s.mu.Lock()
	s.calls = append(s.calls, c)
	s.inFlight++
	s.together = max(s.together, s.inFlight)
	latency, answer := s.latency, s.answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inFlight--
		s.mu.Unlock()
	}()
	if latency > 0 {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	if answer != nil {
		return answer(c)
	}
	return nil
}

func (s *service) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	began := time.Now()
	if err := s.do(call{ctx: ctx, ec: ec}); err != nil {
		return nil, err
	}
	return s.make(ec, began), nil
}

// make makes a data key without a call.
func (s *service) make(ec envelope.EncryptionContext, began time.Time) *envelope.DataKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	ciphertext := fmt.Sprintf("data key %d", len(s.made))
	s.made[ciphertext] = made{s.info, ec.Clone(), began}
	return dataKey(envelope.EncryptedDataKey{ProviderID: "fake", ProviderInfo: []byte(s.info), Ciphertext: []byte(ciphertext)})
}

func dataKey(edk envelope.EncryptedDataKey) *envelope.DataKey {
	plaintext := sha256.Sum256(edk.Ciphertext)
	key, err := envelope.NewDataKey(plaintext[:], edk)
	if err != nil {
		panic(err)
	}
	return key
}

// maxTries is how many encrypted data keys of a message are tried, as the AWS
// KMS keyring does.
const maxTries = 3

func (s *service) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	if err := s.do(call{opens: true, edks: edks, ctx: ctx, ec: ec}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, edk := range edks[:min(maxTries, len(edks))] {
		if m, ok := s.made[string(edk.Ciphertext)]; ok && m.info == string(edk.ProviderInfo) && maps.Equal(m.ec, ec) {
			return dataKey(edk), nil
		}
	}
	return nil, fmt.Errorf("fake: %w", envelope.ErrNoMatchingKey)
}

func newCache(t testing.TB, next envelope.Keyring, optFns ...func(*cache.Options)) *cache.Keyring {
	t.Helper()
	k, err := cache.New(next, optFns...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var (
	orders    = envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:eu-west-1:111122223333:orders"}
	errDown   = fmt.Errorf("fake: %w: connection refused", envelope.ErrUnavailable)
	errDenied = errors.New("fake: access denied")
)

func disabled(info string) error {
	return &envelope.RefusedError{KeyInfo: info, Err: errors.New("fake: key is disabled")}
}

// sealOnly is what a keyring reports that is configured with an alias.
func sealOnly(info string) error {
	return &envelope.RefusedError{KeyInfo: info, Reach: envelope.ReachSeal, Err: errors.New("fake: key is disabled")}
}

func denied(info string) error {
	return &envelope.RefusedError{KeyInfo: info, Reach: envelope.ReachEntry, Err: errDenied}
}

func junk(n int) envelope.EncryptedDataKey {
	return envelope.EncryptedDataKey{ProviderID: "fake", ProviderInfo: []byte(keyA), Ciphertext: fmt.Appendf(nil, "junk %d", n)}
}

// generate returns a data key that must be there.
func generate(t testing.TB, k envelope.Keyring, ec envelope.EncryptionContext) *envelope.DataKey {
	t.Helper()
	key, err := k.GenerateDataKey(t.Context(), ec)
	if err != nil {
		t.Fatalf("GenerateDataKey: %v", err)
	}
	return key
}

func decrypt(t testing.TB, k envelope.Keyring, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) *envelope.DataKey {
	t.Helper()
	key, err := k.DecryptDataKey(t.Context(), edks, ec)
	if err != nil {
		t.Fatalf("DecryptDataKey: %v", err)
	}
	return key
}

// same reports whether two data keys are one.
func same(a, b *envelope.DataKey) bool { return string(a.Plaintext()) == string(b.Plaintext()) }
