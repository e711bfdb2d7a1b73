package cache_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

func Example() {
	// In production this is a keyring of package kmskeyring.
	raw, err := envelope.NewRawAESKeyring("example", "key 1", make([]byte, 32))
	if err != nil {
		log.Fatal(err)
	}
	keyring, err := cache.New(raw, func(o *cache.Options) {
		o.ReusePeriod = 10 * time.Minute
		o.MaxStale = time.Hour
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	ec := envelope.EncryptionContext{"purpose": "example"}
	accept := func(envelope.EncryptionContext) error { return nil }
	for range 1000 {
		sealed, err := envelope.Seal(ctx, keyring, []byte("hello"), ec)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := envelope.Open(ctx, keyring, sealed, accept); err != nil {
			log.Fatal(err)
		}
	}
	stats := keyring.Stats()
	fmt.Println("answered from the cache:", stats.Hits)
	fmt.Println("asked of the keyring:", stats.Fetches)
	// Output:
	// answered from the cache: 1998
	// asked of the keyring: 2
}

// The cache goes around the keyring that asks a key service: a second message
// is sealed without another question.
func ExampleNew() {
	// In production this is a keyring of package kmskeyring.
	raw, err := envelope.NewRawAESKeyring("example", "key 1", make([]byte, 32))
	if err != nil {
		log.Fatal(err)
	}
	keyring, err := cache.New(raw)
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		if _, err := envelope.Seal(context.Background(), keyring, []byte("hello"), nil); err != nil {
			log.Fatal(err)
		}
		fmt.Println("data keys fetched:", keyring.Stats().Fetches)
	}
	// Output:
	// data keys fetched: 1
	// data keys fetched: 1
}

func ExampleNew_outOfRange() {
	raw, err := envelope.NewRawAESKeyring("example", "key 1", make([]byte, 32))
	if err != nil {
		log.Fatal(err)
	}
	_, err = cache.New(raw, func(o *cache.Options) { o.ReusePeriod = time.Second })
	fmt.Println(err)
	// Output:
	// cache: ReusePeriod is 1s, want 1m0s to 24h0m0s
}
