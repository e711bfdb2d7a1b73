package sqsx_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// remembered is the longest header, in bytes, whose data key is remembered.
const remembered = 8192

// rehearse receives for ten minutes, and returns how often KMS is asked to
// decrypt with a request that holds this text, what KMS answers being left to
// fault.
func (w *world) rehearse(client *sqs.Client, url, text string, fault func(*sqsxtest.Request) error) int64 {
	w.t.Helper()
	var asked atomic.Int64
	w.server.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "kms:Decrypt" && strings.Contains(string(r.Body), text) {
			asked.Add(1)
		}
		return fault(r)
	})
	for start := time.Now(); time.Since(start) < 10*time.Minute; time.Sleep(time.Second) {
		if err := errOf(receive(w.t.Context(), client, url)); err != nil && !errors.Is(err, sqsx.ErrHeld) {
			w.t.Fatal(err)
		}
	}
	return asked.Load()
}

// TestLongHeaderIsNotRehearsed: its data key is not kept in memory.
func TestLongHeaderIsNotRehearsed(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"longest": remembered, "one byte longer": remembered + 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, client := w.queue("orders", "VisibilityTimeout", "43200"), w.client()
				body, header := w.sealed("orders", "x")
				keys := junkKeys(w.key, 0, 2)
				keys[0].Ciphertext = bytes.Repeat([]byte{1}, 6144) // KMS takes no more
				with := func() []byte {
					return altered(t, header, func(h *envelope.Header) { h.EncryptedDataKeys = keys })
				}
				keys[1].Ciphertext = append(keys[1].Ciphertext, make([]byte, size-len(with()))...)
				long := with()
				if len(long) != size {
					t.Fatalf("got a header of %d bytes, want %d", len(long), size)
				}
				if _, err := w.plain.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: sealqAttribute(long)}); err != nil {
					t.Fatal(err)
				}
				w.server.Intercept(kmsFails(errAway))
				if err := errOf(receive(t.Context(), client, url)); !errors.Is(err, envelope.ErrUnavailable) {
					t.Fatalf("got %v, want the outage", err)
				}
				asked := w.rehearse(client, url, "", kmsFails(errAway))
				if want := size <= remembered; (asked > 0) != want {
					t.Errorf("a data key was asked for %d times, want that it is rehearsed: %t", asked, want)
				}
			})
		})
	}
}

// TestLongHeaderIsNoWitness: a message that opens is not kept in memory either,
// to tell a refusal of one message from that of a key.
func TestLongHeaderIsNoWitness(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"longest": remembered, "one byte longer": remembered + 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				url, client := w.queue("orders", "VisibilityTimeout", "43200"), w.client()
				padded := func(n int) envelope.Message { // as other producers may seal
					m, err := envelope.Seal(t.Context(), mustKeyring(t, w), []byte("x"), envelope.EncryptionContext{"sealq:queue": arnOf("orders"), "padding": strings.Repeat("x", n)})
					if err != nil {
						t.Fatal(err)
					}
					return m
				}
				m := padded(1 + size - len(padded(1).Header))
				if got := len(m.Header); got != size {
					t.Fatalf("got a header of %d bytes, want %d", got, size)
				}
				send(t, w.plain, url, base64.StdEncoding.EncodeToString(m.Bytes()))
				if out, err := receive(t.Context(), client, url); err != nil || len(out.Messages) != 1 {
					t.Fatalf("got %v, want the message", err)
				}
				time.Sleep(2 * time.Second) // nothing has opened for long enough to be held
				hostile := w.client(func(o *sqsx.Options) { o.EncryptionContext = map[string]string{"who": "hostile"} })
				send(t, hostile, url, "hostile")
				refused := func(r *sqsxtest.Request) error {
					if r.Action == "kms:Decrypt" && strings.Contains(string(r.Body), "hostile") {
						return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
					}
					return nil
				}
				w.server.Intercept(refused)
				if err := errOf(receive(t.Context(), client, url)); !isWithheld(err) {
					t.Fatalf("got %v, want a refusal", err)
				}
				asked := w.rehearse(client, url, "padding", refused)
				if want := size <= remembered; (asked > 0) != want {
					t.Errorf("the data key of the message that opened was asked for %d times, want that it is: %t", asked, want)
				}
			})
		})
	}
}

// TestOutageBesideABadMessageIsRehearsed: a message at fault in front of it does
// not hide that the key service is away.
func TestOutageBesideABadMessageIsRehearsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, client := w.queue("orders", "VisibilityTimeout", "43200"), w.client()
		send(t, w.plain, url, "plaintext")
		send(t, w.client(), url, "sealed")
		w.server.Intercept(kmsFails(errAway))
		failed, ok := errors.AsType[*sqsx.ReceiveError](errOf(receive(t.Context(), client, url)))
		if !ok || len(failed.Withheld) != 2 || failed.Withheld[0].Temporary {
			t.Fatalf("got %v, want both withheld, the message at fault first", failed)
		}
		if asked := w.rehearse(client, url, "", kmsFails(errAway)); asked == 0 {
			t.Error("no data key was asked for again")
		}
	})
}

// askedFor is a keyring that notes the contexts it is asked about, and refuses
// those of a hostile sender.
type askedFor struct {
	envelope.Keyring
	mu       sync.Mutex // guards contexts
	contexts []envelope.EncryptionContext
}

func (a *askedFor) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	a.mu.Lock()
	a.contexts = append(a.contexts, ec.Clone())
	a.mu.Unlock()
	if ec["who"] == "hostile" {
		return nil, errors.New("refused")
	}
	return a.Keyring.DecryptDataKey(ctx, edks, ec)
}

// TestSignedMessageIsAWitness: what a signed message was sealed under is more
// than its receiver sees of the context, and is asked for with all of it.
func TestSignedMessageIsAWitness(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../envelope/testdata/vectors/python.json")
	if err != nil {
		t.Fatal(err)
	}
	type vector struct {
		Expect  string
		Keyring struct{ Namespace, Name, Key string }
		Message []byte
	}
	var vectors []vector
	if err := json.Unmarshal(content, &vectors); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(vectors, func(v vector) bool {
		m, err := envelope.Split(v.Message)
		return v.Expect == "success" && err == nil && m.Header[1] == 0x05 // suite 0x0578
	})
	if i < 0 {
		t.Fatal("no vector of a signed message")
	}
	signed := vectors[i]
	key, err := hex.DecodeString(signed.Keyring.Key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := envelope.NewRawAESKeyring(signed.Keyring.Namespace, signed.Keyring.Name, key)
	if err != nil {
		t.Fatal(err)
	}
	hostile, err := envelope.Seal(t.Context(), raw, []byte("x"), envelope.EncryptionContext{"who": "hostile"})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		url, asked := w.queue("orders"), &askedFor{Keyring: raw}
		s, err := sqsx.New(asked, func(o *sqsx.Options) {
			o.Policy.NoBinding, o.Logger = true, slog.New(slog.DiscardHandler)
		})
		if err != nil {
			t.Fatal(err)
		}
		client := s.Wrap(w.plain)
		send(t, w.plain, url, base64.StdEncoding.EncodeToString(signed.Message))
		receiveAll(t, client, url, 1)
		time.Sleep(61 * time.Second)
		send(t, w.plain, url, base64.StdEncoding.EncodeToString(hostile.Bytes()))
		for range 20 {
			if _, err := receive(t.Context(), client, url); err != nil && !isWithheld(err) && !errors.Is(err, sqsx.ErrHeld) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		// First by the message that it opened, then as the witness.
		whole := 0
		for _, ec := range asked.contexts {
			if _, ok := ec["aws-crypto-public-key"]; ok {
				whole++
			} else if ec["who"] != "hostile" {
				t.Errorf("asked about a context of %d pairs, which is that of no message", len(ec))
			}
		}
		if whole != 2 {
			t.Errorf("the key of the signed message was asked for %d times under its whole context, want 2", whole)
		}
	})
}
