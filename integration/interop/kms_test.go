package interop_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/integration/interop/drivers"
)

const region = "us-east-1"

// kmsKey is a key of the emulator with an alias.
type kmsKey struct{ id, arn, alias, aliasARN string }

func newKMSKey(t *testing.T, client *kms.Client, alias string) kmsKey {
	t.Helper()
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	k := kmsKey{
		id:    aws.ToString(made.KeyMetadata.KeyId),
		arn:   aws.ToString(made.KeyMetadata.Arn),
		alias: "alias/" + alias,
	}
	k.aliasARN = "arn:aws:kms:" + region + ":" + aws.ToString(made.KeyMetadata.AWSAccountId) + ":" + k.alias
	if _, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &k.alias, TargetKeyId: &k.id}); err != nil {
		t.Fatal(err)
	}
	return k
}

func newKMSKeyring(t *testing.T, client *kms.Client, keyID string) *kmskeyring.Keyring {
	t.Helper()
	kr, err := kmskeyring.New(client, keyID)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}

// The two sides configure one key in every form there is. The SDKs can seal
// with an alias or a bare key ID, but open with neither: they compare what they
// were configured with to the ARN in the message. sealq opens with each.
func TestKMS(t *testing.T) {
	t.Parallel()
	in := emulator(t)
	client := kms.NewFromConfig(in.Config())
	for _, s := range sdks {
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			d := s.running(t)
			record(t, s, "KMS keys, both directions", "")
			key := newKMSKey(t, client, "interop-"+s.ID)
			forSDK := func(id string) drivers.Keyring { return drivers.KMS(id, in.Endpoint, region) }
			checkAll(t, d, pair{"KMS key ARN", newKMSKeyring(t, client, key.arn), forSDK(key.arn), forSDK(key.arn)})

			for name, id := range map[string]string{"alias": key.alias, "alias ARN": key.aliasARN, "key ID": key.id} {
				keys := pair{"KMS " + name, newKMSKeyring(t, client, id), forSDK(id), forSDK(key.arn)}
				bySealq(d, keys, contexts()[0], random(100)).check(t)
				byDriver(d, keys, "0578", 0, contexts()[0], random(100)).check(t)
			}
		})
	}
}

// A KMS key together with a raw key, as a way out of a Region or of AWS.
func TestKMSAndRawKey(t *testing.T) {
	t.Parallel()
	in := emulator(t)
	client := kms.NewFromConfig(in.Config())
	for _, s := range sdks {
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			d := s.running(t)
			record(t, s, "a KMS key and a raw key, either opens", "")
			key := newKMSKey(t, client, "interop-both-"+s.ID)
			secret := random(32)
			rawSealq, err := envelope.NewRawAESKeyring("interop", "spare", secret)
			if err != nil {
				t.Fatal(err)
			}
			kmsSealq := newKMSKeyring(t, client, key.arn)
			both, err := envelope.NewMultiKeyring(kmsSealq, rawSealq)
			if err != nil {
				t.Fatal(err)
			}
			kmsSDK := drivers.KMS(key.arn, in.Endpoint, region)
			rawSDK := drivers.RawAES("interop", "spare", secret)
			bothSDK := drivers.Multi(kmsSDK, rawSDK)
			for _, keys := range []pair{
				{"KMS and raw key, opened by KMS", both, drivers.Keyring{}, kmsSDK},
				{"KMS and raw key, opened by the raw key", both, drivers.Keyring{}, rawSDK},
			} {
				bySealq(d, keys, contexts()[0], random(100)).check(t)
			}
			for _, keys := range []pair{
				{"KMS and raw key, opened by KMS", kmsSealq, bothSDK, drivers.Keyring{}},
				{"KMS and raw key, opened by the raw key", rawSealq, bothSDK, drivers.Keyring{}},
			} {
				byDriver(d, keys, "0478", 0, contexts()[0], random(100)).check(t)
			}
		})
	}
}
