package kmskeyring_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ours   = "111122223333"
	theirs = "444455556666"
)

var ec = envelope.EncryptionContext{"sealq:queue": "arn:aws:sqs:us-east-1:111122223333:orders"}

// world is a KMS of several accounts and Regions.
type world struct {
	t   testing.TB
	srv *sqsxtest.Server
}

func newWorld(t testing.TB) world { return world{t, sqsxtest.New(t)} }

func (w world) config(region, account string) aws.Config {
	cfg := w.srv.Config()
	cfg.Region = region
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: account, SecretAccessKey: "secret"}, nil
	})
	return cfg
}

func (w world) client(region, account string, optFns ...func(*kms.Options)) *kms.Client {
	return kms.NewFromConfig(w.config(region, account), optFns...)
}

// key makes a key and returns its ID and ARN.
func (w world) key(c *kms.Client, multiRegion bool) (id, arn string) {
	w.t.Helper()
	out, err := c.CreateKey(w.t.Context(), &kms.CreateKeyInput{MultiRegion: &multiRegion})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
}

// replicate returns the ARN of a new replica.
func (w world) replicate(c *kms.Client, id, region string) string {
	w.t.Helper()
	out, err := c.ReplicateKey(w.t.Context(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: &region})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.ReplicaKeyMetadata.Arn
}

func (w world) alias(c *kms.Client, name, id string) {
	w.t.Helper()
	if _, err := c.CreateAlias(w.t.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &id}); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) repoint(c *kms.Client, name, id string) {
	w.t.Helper()
	if _, err := c.UpdateAlias(w.t.Context(), &kms.UpdateAliasInput{AliasName: &name, TargetKeyId: &id}); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) disable(c *kms.Client, id string) {
	w.t.Helper()
	if _, err := c.DisableKey(w.t.Context(), &kms.DisableKeyInput{KeyId: &id}); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) keyring(c kmskeyring.Client, keyID string, optFns ...func(*kmskeyring.Options)) *kmskeyring.Keyring {
	w.t.Helper()
	kr, err := kmskeyring.New(c, keyID, optFns...)
	if err != nil {
		w.t.Fatal(err)
	}
	return kr
}

func (w world) generate(kr envelope.Keyring) *envelope.DataKey {
	w.t.Helper()
	key, err := kr.GenerateDataKey(w.t.Context(), ec)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

// opens fails the test unless kr decrypts key's only encrypted form.
func (w world) opens(kr envelope.Keyring, key *envelope.DataKey) {
	w.t.Helper()
	got, err := kr.DecryptDataKey(w.t.Context(), key.EncryptedDataKeys(), ec)
	if err != nil {
		w.t.Fatalf("DecryptDataKey: %v", err)
	}
	if string(got.Plaintext()) != string(key.Plaintext()) {
		w.t.Fatal("decrypted another data key")
	}
	edks := got.EncryptedDataKeys()
	if want := key.EncryptedDataKeys()[0]; len(edks) != 1 || string(edks[0].Ciphertext) != string(want.Ciphertext) || string(edks[0].ProviderInfo) != string(want.ProviderInfo) {
		w.t.Fatalf("got %d encrypted data keys, want exactly the one that was decrypted", len(edks))
	}
}

// refuses fails the test unless kr has no key for it, and returns the error.
func (w world) refuses(kr envelope.Keyring, key *envelope.DataKey) error {
	w.t.Helper()
	got, err := kr.DecryptDataKey(w.t.Context(), key.EncryptedDataKeys(), ec)
	if !errors.Is(err, envelope.ErrNoMatchingKey) || got != nil {
		w.t.Fatalf("got key %v and error %v, want ErrNoMatchingKey", got != nil, err)
	}
	return err
}

// info is the key that a data key is encrypted under, as messages name it.
func info(key *envelope.DataKey) string { return string(key.EncryptedDataKeys()[0].ProviderInfo) }

// sent returns the given field of every request of an action.
func (w world) sent(action, field string) []string {
	w.t.Helper()
	var values []string
	for _, r := range w.srv.Requests() {
		if r.Action != action {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			w.t.Fatal(err)
		}
		if body[field] == nil {
			values = append(values, "")
		} else {
			values = append(values, fmt.Sprint(body[field]))
		}
	}
	return values
}

// class names the class of an error, in the order that package envelope
// prescribes.
func class(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, envelope.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "caller"
	case errors.Is(err, envelope.ErrInvalidMessage):
		return "message"
	}
	if refused, ok := errors.AsType[*envelope.RefusedError](err); ok {
		switch {
		case refused.Reach == envelope.ReachEntry:
			return "refused: entry"
		case refused.KeyInfo != "" && refused.Reach == envelope.ReachSeal:
			return "refused: sealing"
		case refused.KeyInfo != "":
			return "refused: key"
		}
		return "refused: unknown reach"
	}
	return "refused: no reach"
}
