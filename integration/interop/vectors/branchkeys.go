package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/integration/interop/drivers"
	"github.com/sealq/sealq/integration/launch"
)

// keyStore is a file of envelope/branchkey/testdata/vectors; the README there
// describes it.
type keyStore struct {
	producer string
	items    []storedItem
	vectors  []branchKeyVector

	sdk    drivers.KeyStore
	driver *drivers.Driver
	ddb    *dynamodb.Client
	kms    *kms.Client
	err    error
}

// storedItem is an item of the table, and what KMS makes of it: the context
// that it demands, and the plaintext of enc.
type storedItem struct {
	Item      map[string]attribute `json:"item"`
	Context   map[string]string    `json:"context"`
	Plaintext string               `json:"plaintext"` // hex
}

// attribute is an attribute value in the JSON of DynamoDB.
type attribute struct {
	S string `json:"S,omitzero"`
	N string `json:"N,omitzero"`
	B []byte `json:"B,omitzero"`
}

type branchKeyVector struct {
	Name      string            `json:"name"`
	BranchKey string            `json:"branchKey"`
	Message   []byte            `json:"message"`
	Expect    string            `json:"expect"`
	Plaintext []byte            `json:"plaintext,omitzero"` // nil unless the outcome is success
	Context   map[string]string `json:"context"`
}

// refused is the outcome of a message whose version of the branch key is not in
// the key store: it may be there a second later.
const refused = "refused"

// branchKeys lets each SDK that knows branch keys make a key store, on moto,
// and messages under both versions of its branch keys.
func branchKeys(ctx context.Context, dir string) (err error) {
	emulator, err := launch.Find("moto")
	if err != nil {
		return err
	}
	moto, err := emulator.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, moto.Stop()) }()
	for _, s := range drivers.All() {
		if !s.BranchKeys {
			continue
		}
		if err := branchKeysOf(ctx, moto, s.ID, filepath.Join(dir, s.ID+".json")); err != nil {
			return fmt.Errorf("%s: %w", s.ID, err)
		}
	}
	return nil
}

func branchKeysOf(ctx context.Context, moto *launch.Instance, id, file string) (err error) {
	p, err := start(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	k := &keyStore{
		producer: p.name(), driver: p.Driver,
		ddb: dynamodb.NewFromConfig(moto.Config()), kms: kms.NewFromConfig(moto.Config()),
	}
	key, err := k.kms.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		return err
	}
	k.sdk = drivers.KeyStore{
		Table:       "branch-keys-" + rand.Text(), // moto can outlive a run
		LogicalName: "sealq-vectors, " + id, Key: aws.ToString(key.KeyMetadata.Arn),
		Endpoint: moto.Endpoint, Region: moto.Config().Region,
	}
	if p.CreatesNoTable {
		_, err = launch.CreateKeyStoreTable(ctx, k.ddb, k.sdk.Table)
	} else {
		err = k.driver.CreateKeyStore(k.sdk)
	}
	if err != nil {
		return err
	}
	for _, key := range []struct {
		id      string
		context map[string]string
	}{
		{"", nil}, // a random UUID
		{"orders-é-鍵🔑", map[string]string{"department": "Zürich", "straße": "鍵"}},
	} {
		id, err := k.driver.CreateBranchKey(k.sdk, key.id, key.context)
		if err != nil {
			return err
		}
		k.successes(id, "first version")
		if err := k.driver.RotateBranchKey(k.sdk, id); err != nil {
			return err
		}
		k.successes(id, "second version")
		if p.ID == "go" && key.id == "" {
			k.altered(id)
		}
	}
	if k.err != nil {
		return k.err
	}
	if err := k.readItems(ctx); err != nil {
		return err
	}
	return k.write(file)
}

// seal makes a message under the newest version. A failure is kept, and stops
// what follows.
func (k *keyStore) seal(id, suite string, ec map[string]string, plaintext []byte) []byte {
	if k.err != nil {
		return nil
	}
	message, err := k.driver.Encrypt(drivers.EncryptRequest{
		Keyring: drivers.BranchKey(k.sdk, id), Suite: suite, Context: ec, Plaintext: plaintext,
	})
	k.err = err
	return message
}

func (k *keyStore) opens(name, id, suite string, ec map[string]string, plaintext []byte) {
	if ec == nil {
		ec = map[string]string{}
	}
	k.vectors = append(k.vectors, branchKeyVector{
		Name: k.driver.ID + ": " + id + ", " + name, BranchKey: id, Message: k.seal(id, suite, ec, plaintext),
		Expect: success, Plaintext: append([]byte{}, plaintext...), Context: ec,
	})
}

func (k *keyStore) successes(id, version string) {
	text := []byte("a message under the " + version)
	for _, suite := range []string{"0478", "0578"} {
		k.opens(version+", suite "+suite, id, suite, queueContext(), text)
	}
	k.opens(version+", empty context", id, "0478", nil, text)
	k.opens(version+", context beyond ASCII", id, "0478", map[string]string{"straße": "Zürich", "\u00e9": "1", "e\u0301": "2", "鍵": "🔑", "z": "3", "B": "4"}, text)
}

// altered are messages with one thing changed.
func (k *keyStore) altered(id string) {
	ec := queueContext()
	message := k.seal(id, "0478", ec, []byte("altered"))
	other := k.seal(id, "0478", ec, []byte("altered"))
	if k.err != nil {
		return
	}
	add := func(expect, name, id string, message []byte, context map[string]string) {
		k.vectors = append(k.vectors, branchKeyVector{
			Name: k.driver.ID + ": " + name, BranchKey: id, Message: message, Expect: expect, Context: context,
		})
	}
	// The header: the ciphertext of the encrypted data key, the content type, the
	// frame length, the commitment and the tag.
	m, err := envelope.Split(message)
	if err != nil {
		k.err = err
		return
	}
	const ciphertext = 16 + 12 + 16 + 32 + 16
	salt := len(m.Header) - contentTypeEnd - ciphertext
	flip := func(expect, name string, at int) {
		b := bytes.Clone(message)
		b[at] ^= 1
		add(expect, name, id, b, ec)
	}
	flip(noMatchingKey, "salt altered", salt)
	flip(noMatchingKey, "nonce altered", salt+16)
	flip(refused, "version that the key store does not have", salt+16+12)
	flip(noMatchingKey, "encrypted data key altered", salt+16+12+16)
	flip(noMatchingKey, "tag of the encrypted data key altered", salt+16+12+16+32)
	flip(noMatchingKey, "branch key ID altered", salt-3)
	flip(authentication, "message ID altered", 3)
	flip(authentication, "key commitment altered", len(m.Header)-commitmentEnd)
	flip(authentication, "header tag altered", len(m.Header)-1)
	flip(authentication, "last byte altered", len(message)-1)
	add(authentication, "encrypted data key of another message", id, slices.Concat(message[:salt], other[salt:salt+ciphertext], message[salt+ciphertext:]), ec)
	// The ciphertext lacks its last byte, and its length says so.
	short := slices.Concat(message[:salt-2], []byte{0, ciphertext - 1}, message[salt:salt+ciphertext-1], message[salt+ciphertext:])
	add(noMatchingKey, "encrypted data key a byte short", id, short, ec)
	value := []byte(ec["sealq:queue"])
	renamed := bytes.Replace(message, value, bytes.Replace(value, []byte("orders"), []byte("0rders"), 1), 1)
	add(noMatchingKey, "context value altered", id, renamed, map[string]string{"sealq:queue": "arn:aws:sqs:us-east-1:123456789012:0rders"})
	add(noMatchingKey, "branch key of another ID", "orders", message, ec)
	add(contextMismatch, "message for another queue", id, message, map[string]string{"sealq:queue": "arn:aws:sqs:us-east-1:123456789012:refunds"})
}

// readItems takes the items out of the table. That KMS decrypts enc under the
// context that is written beside it shows that the SDK has encrypted it so.
func (k *keyStore) readItems(ctx context.Context) error {
	out, err := k.ddb.Scan(ctx, &dynamodb.ScanInput{TableName: &k.sdk.Table})
	if err != nil {
		return err
	}
	for _, raw := range out.Items {
		item := storedItem{Item: map[string]attribute{}, Context: map[string]string{"tablename": k.sdk.LogicalName}}
		for name, value := range raw {
			switch v := value.(type) {
			case *types.AttributeValueMemberS:
				item.Item[name] = attribute{S: v.Value}
				item.Context[name] = v.Value
			case *types.AttributeValueMemberN:
				item.Item[name] = attribute{N: v.Value}
				item.Context[name] = v.Value
			case *types.AttributeValueMemberB:
				item.Item[name] = attribute{B: v.Value}
			default:
				return fmt.Errorf("attribute %s has type %T", name, value)
			}
		}
		decrypted, err := k.kms.Decrypt(ctx, &kms.DecryptInput{
			KeyId: &k.sdk.Key, CiphertextBlob: item.Item["enc"].B, EncryptionContext: item.Context,
		})
		if err != nil {
			return err
		}
		item.Plaintext = hex.EncodeToString(decrypted.Plaintext)
		k.items = append(k.items, item)
	}
	slices.SortFunc(k.items, func(a, b storedItem) int {
		of := func(i storedItem) string { return i.Item["branch-key-id"].S + "\x00" + i.Item["type"].S }
		return strings.Compare(of(a), of(b))
	})
	return nil
}

// write writes one item or vector a line.
func (k *keyStore) write(file string) error {
	var b bytes.Buffer
	var err error
	line := func(v any) {
		text, e := json.Marshal(v)
		err = errors.Join(err, e)
		b.Write(text)
	}
	b.WriteString("{\n\"producer\": ")
	line(k.producer)
	b.WriteString(",\n\"logicalName\": ")
	line(k.sdk.LogicalName)
	b.WriteString(",\n\"kmsKey\": ")
	line(k.sdk.Key)
	b.WriteString(",\n\"items\": [\n")
	for i, item := range k.items {
		if i > 0 {
			b.WriteString(",\n")
		}
		line(item)
	}
	b.WriteString("\n],\n\"vectors\": [\n")
	for i, v := range k.vectors {
		if i > 0 {
			b.WriteString(",\n")
		}
		line(v)
	}
	b.WriteString("\n]\n}\n")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
