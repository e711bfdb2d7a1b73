package envelope_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"

	"github.com/sealq/sealq/envelope"
)

func newExampleKeyring(name string) *envelope.RawAESKeyring {
	wrappingKey := make([]byte, 32)
	rand.Read(wrappingKey)
	kr, err := envelope.NewRawAESKeyring("example", name, wrappingKey)
	if err != nil {
		log.Fatal(err)
	}
	return kr
}

func Example() {
	ctx := context.Background()
	kr := newExampleKeyring("key-1")

	sealed, err := envelope.Seal(ctx, kr, []byte("hello"), envelope.EncryptionContext{"tenant": "acme"})
	if err != nil {
		log.Fatal(err)
	}
	opened, err := envelope.Open(ctx, kr, sealed, func(ec envelope.EncryptionContext) error {
		if ec["tenant"] != "acme" {
			return fmt.Errorf("%w: message of another tenant", envelope.ErrContextMismatch)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Plaintext)
	// Output: hello
}

// The class of an error says what to do: an invalid message goes to the
// dead-letter queue, everything else is worth another attempt.
func ExampleOpen_errors() {
	ctx := context.Background()
	kr := newExampleKeyring("key-1")
	sealed, err := envelope.Seal(ctx, kr, []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	sealed.Body[30] ^= 1

	anyContext := func(envelope.EncryptionContext) error { return nil }
	_, err = envelope.Open(ctx, kr, sealed, anyContext)
	switch {
	case err == nil:
		fmt.Println("opened")
	case errors.Is(err, envelope.ErrUnavailable):
		fmt.Println("try again later")
	case errors.Is(err, envelope.ErrInvalidMessage):
		fmt.Println("set aside:", err)
	default:
		fmt.Println("not allowed:", err)
	}
	// Output: set aside: envelope: invalid message: authentication failed
}

// The two parts of a sealed message may travel apart: the header in an
// attribute, say, and the body as the body.
func ExampleSeal() {
	ctx := context.Background()
	kr := newExampleKeyring("key-1")
	sealed, err := envelope.Seal(ctx, kr, []byte("hello"), envelope.EncryptionContext{"tenant": "acme"})
	if err != nil {
		log.Fatal(err)
	}
	header, body := sealed.Header, sealed.Body

	opened, err := envelope.Open(ctx, kr, envelope.Message{Header: header, Body: body}, func(ec envelope.EncryptionContext) error {
		fmt.Println("authenticated:", ec["tenant"])
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Plaintext)
	// Output:
	// authenticated: acme
	// hello
}

// Split takes apart what is stored or sent in one piece, which is also what the
// official encryption SDKs write.
func ExampleSplit() {
	ctx := context.Background()
	kr := newExampleKeyring("key-1")
	sealed, err := envelope.Seal(ctx, kr, []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	stored := sealed.Bytes()

	m, err := envelope.Split(stored)
	if err != nil {
		log.Fatal(err)
	}
	anyContext := func(envelope.EncryptionContext) error { return nil }
	opened, err := envelope.Open(ctx, kr, m, anyContext)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Plaintext)

	_, err = envelope.Split(stored[:20])
	fmt.Println("cut off:", errors.Is(err, envelope.ErrInvalidMessage))
	// Output:
	// hello
	// cut off: true
}

// Other implementations of the format write a message in one piece.
func ExampleOpenBytes() {
	ctx := context.Background()
	kr := newExampleKeyring("key-1")
	sealed, err := envelope.Seal(ctx, kr, []byte("hello"), envelope.EncryptionContext{"tenant": "acme"})
	if err != nil {
		log.Fatal(err)
	}
	message := sealed.Bytes()

	opened, err := envelope.OpenBytes(ctx, kr, message, func(ec envelope.EncryptionContext) error {
		if ec["tenant"] != "acme" {
			return fmt.Errorf("%w: message of another tenant", envelope.ErrContextMismatch)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened.Plaintext)
	// Output: hello
}

// A wrapping key of 32 random bytes, from a vault. Its namespace and name are
// written into each message, in clear.
func ExampleNewRawAESKeyring() {
	wrappingKey := make([]byte, 32)
	rand.Read(wrappingKey)
	kr, err := envelope.NewRawAESKeyring("example.com", "orders-2026", wrappingKey)
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := envelope.Seal(context.Background(), kr, []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	h, err := envelope.ParseHeader(sealed.Header)
	if err != nil {
		log.Fatal(err)
	}
	key := h.EncryptedDataKeys[0]
	fmt.Printf("%s, %s\n", key.ProviderID, key.ProviderInfo[:len("orders-2026")])

	_, err = envelope.NewRawAESKeyring("example.com", "orders-2026", []byte("a password"))
	fmt.Println(err)
	// Output:
	// example.com, orders-2026
	// envelope: wrapping key is 10 bytes, want 16, 24 or 32
}

// A keyring for another key service returns the data key that the service made,
// and its encrypted form under a name that its messages will have.
func ExampleNewDataKey() {
	fromService := struct{ plaintext, encrypted []byte }{make([]byte, envelope.DataKeySize), []byte("only the service can decrypt this")}
	rand.Read(fromService.plaintext)

	key, err := envelope.NewDataKey(fromService.plaintext, envelope.EncryptedDataKey{
		ProviderID:   "example.com/vault",
		ProviderInfo: []byte("orders-2026"),
		Ciphertext:   fromService.encrypted,
	})
	if err != nil {
		log.Fatal(err)
	}
	clear(fromService.plaintext) // it was copied

	fmt.Println(len(key.Plaintext()), len(key.EncryptedDataKeys()))
	fmt.Printf("%+v\n", key) // a log does not show it
	// Output:
	// 32 1
	// envelope.DataKey(redacted)
}

// A message that some key could still open is not invalid, although another
// key does not match.
func ExampleIsInvalidMessage() {
	noKey := fmt.Errorf("key in us-east-1: %w", envelope.ErrNoMatchingKey)
	outage := fmt.Errorf("key in us-west-2: %w", envelope.ErrUnavailable)

	for _, err := range []error{noKey, outage, errors.Join(noKey, outage), nil} {
		if envelope.IsInvalidMessage(err) {
			fmt.Println("set aside")
		} else {
			fmt.Println("not the message's fault")
		}
	}
	// Output:
	// set aside
	// not the message's fault
	// not the message's fault
	// not the message's fault
}

// Either key of a multi-keyring opens what it sealed.
func ExampleNewMultiKeyring() {
	ctx := context.Background()
	primary, escrow := newExampleKeyring("primary"), newExampleKeyring("escrow")
	both, err := envelope.NewMultiKeyring(primary, escrow)
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := envelope.Seal(ctx, both, []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	anyContext := func(envelope.EncryptionContext) error { return nil }
	opened, err := envelope.Open(ctx, escrow, sealed, anyContext)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, opened by %s of %q\n", opened.Plaintext, opened.Key.ProviderInfo[:6], opened.Key.ProviderID)
	// Output: hello, opened by escrow of "example"
}

// A tool can look at a header without a key. Nothing that it sees has been
// authenticated.
func ExampleParseHeader() {
	sealed, err := envelope.Seal(context.Background(), newExampleKeyring("key-1"), []byte("hello"), envelope.EncryptionContext{"tenant": "acme"})
	if err != nil {
		log.Fatal(err)
	}
	message := sealed.Bytes() // one AWS Encryption SDK message

	m, err := envelope.Split(message)
	if err != nil {
		log.Fatal(err)
	}
	h, err := envelope.ParseHeader(m.Header)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("suite %#04x, %v, %d key from %q\n", h.AlgorithmSuite, h.EncryptionContext, len(h.EncryptedDataKeys), h.EncryptedDataKeys[0].ProviderID)
	// Output: suite 0x0478, map[tenant:acme], 1 key from "example"
}

// A keyring of several wrapping keys may decrypt if it may use one of them.
func ExampleCheckAny() {
	ask := func(key string) func(context.Context) error {
		return func(context.Context) error {
			if key == "old" {
				return &envelope.RefusedError{KeyInfo: key, Err: errors.New("disabled")}
			}
			return nil
		}
	}
	err := envelope.CheckAny(context.Background(), ask("old"), ask("new"))
	fmt.Println(err)
	err = envelope.CheckAny(context.Background(), ask("old"))
	fmt.Println(err)
	// Output:
	// <nil>
	// envelope: key refused: disabled
}
