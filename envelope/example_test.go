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

// The class of an error says what to do: a message that is at fault goes to the
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

// A message that some key could still open is not at fault, although another
// key does not match.
func ExampleMessageAtFault() {
	noKey := fmt.Errorf("key in us-east-1: %w", envelope.ErrNoMatchingKey)
	outage := fmt.Errorf("key in us-west-2: %w", envelope.ErrUnavailable)

	for _, err := range []error{noKey, outage, errors.Join(noKey, outage), nil} {
		if envelope.MessageAtFault(err) {
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
