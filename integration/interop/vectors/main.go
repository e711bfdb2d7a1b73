// Command vectors makes the test vectors in envelope/testdata/vectors with the
// official encryption SDKs for Python and Go, and those in
// envelope/branchkey/testdata/vectors with all SDKs that know branch keys, on
// moto. Run it in this directory:
//
//	go run . -out ../../../envelope/testdata/vectors
//	go run . -branch-keys ../../../envelope/branchkey/testdata/vectors
//
// The messages differ from run to run, since message IDs and data keys are
// random; names, plaintexts and outcomes do not.
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	"github.com/sealq/sealq/integration/interop/drivers"
)

// vector is described in envelope/testdata/vectors/README.md.
type vector struct {
	Name      string            `json:"name"`
	Producer  string            `json:"producer"`
	Keyring   rawKeyring        `json:"keyring"`
	Message   []byte            `json:"message"`
	Expect    string            `json:"expect"`
	Plaintext []byte            `json:"plaintext,omitzero"` // nil unless the outcome is success
	Context   map[string]string `json:"context"`
}

type rawKeyring struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Key       string `json:"key"`
}

// The outcomes of a vector.
const (
	success         = "success"
	malformed       = "malformed"
	unsupported     = "unsupported"
	contextMismatch = "context-mismatch"
	noMatchingKey   = "no-matching-key"
	authentication  = "authentication"
)

const (
	namespace = "sealq-vectors"
	keyName   = "wrapping-key"
)

// wrappingKey returns one of many keys that protect nothing.
func wrappingKey(first byte) []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = first + byte(i)
	}
	return key
}

// ours is the keyring that opens, unless a vector is about another one.
func ours() rawKeyring {
	return rawKeyring{"raw-aes", namespace, keyName, hex.EncodeToString(wrappingKey(0))}
}

func driverKeyring() drivers.Keyring { return drivers.RawAES(namespace, keyName, wrappingKey(0)) }

func otherKeyring(i int) drivers.Keyring {
	return drivers.RawAES(namespace, fmt.Sprintf("other-key-%d", i), wrappingKey(byte(0x40+i)))
}

// queueContext is a context as sealq writes it.
func queueContext() map[string]string {
	return map[string]string{"sealq:queue": "arn:aws:sqs:us-east-1:123456789012:orders"}
}

// producer makes vectors with one SDK.
type producer struct {
	*drivers.Driver
	err     error
	vectors []vector
}

// seal makes a message. A failure is kept, and stops what follows.
func (p *producer) seal(req drivers.EncryptRequest) []byte {
	if p.err != nil {
		return nil
	}
	if req.Suite == "" {
		req.Suite = "0478"
	}
	if req.Keyring.Type == "" {
		req.Keyring = driverKeyring()
	}
	message, err := p.Encrypt(req)
	p.err = err
	return message
}

// opens adds a vector that opens.
func (p *producer) opens(name string, req drivers.EncryptRequest) {
	message := p.seal(req)
	if req.Context == nil {
		req.Context = map[string]string{}
	}
	p.vectors = append(p.vectors, vector{
		Name: p.ID + ": " + name, Producer: p.name(), Keyring: ours(), Message: message,
		Expect: success, Plaintext: append([]byte{}, req.Plaintext...), Context: req.Context,
	})
}

// refused adds a vector that does not open.
func (p *producer) refused(expect, name string, message []byte, context map[string]string) *vector {
	if context == nil {
		context = map[string]string{}
	}
	p.vectors = append(p.vectors, vector{
		Name: p.ID + ": " + name, Producer: p.name(), Keyring: ours(), Message: message, Expect: expect, Context: context,
	})
	return &p.vectors[len(p.vectors)-1]
}

func (p *producer) name() string {
	return fmt.Sprintf("AWS Encryption SDK for %s, %s", p.Name, p.Version)
}

func (p *producer) write(dir, file string) error {
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.ID, p.err)
	}
	// One vector a line.
	b := bytes.NewBufferString("[")
	for i, v := range p.vectors {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]\n")
	return os.WriteFile(filepath.Join(dir, file), b.Bytes(), 0o644)
}

func run(ctx context.Context, dir string) (err error) {
	python, err := start(ctx, "python")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, python.Stop()) }()
	golang, err := start(ctx, "go")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, golang.Stop()) }()

	python.successes(8 * shortFrame)
	python.unusual()
	golang.successes(shortFrame)
	golang.manyKeys()
	golang.altered()
	golang.alteredSignature()
	return errors.Join(python.write(dir, "python.json"), golang.write(dir, "go.json"))
}

func start(ctx context.Context, id string) (*producer, error) {
	sdks := slices.DeleteFunc(drivers.All(), func(s drivers.SDK) bool { return s.ID != id })
	installed, err := drivers.Install(ctx, sdks)
	if err != nil {
		return nil, err
	}
	d, err := installed[0].Start()
	return &producer{Driver: d}, err
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("vectors: ")
	out := flag.String("out", "", "directory to write the vectors of raw AES keys to")
	branchKeysOut := flag.String("branch-keys", "", "directory to write the vectors of branch keys to")
	flag.Parse()
	if *out == "" && *branchKeysOut == "" {
		log.Fatal("-out or -branch-keys is required")
	}
	if *out != "" {
		if err := run(context.Background(), *out); err != nil {
			log.Fatal(err)
		}
	}
	if *branchKeysOut != "" {
		if err := branchKeys(context.Background(), *branchKeysOut); err != nil {
			log.Fatal(err)
		}
	}
}
