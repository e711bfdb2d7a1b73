package main

import (
	"context"

	mpl "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygenerated"
	mpltypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygeneratedtypes"
	esdk "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygenerated"
	esdktypes "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygeneratedtypes"
)

// official is the AWS Encryption SDK for Go with its cheapest keyring, which
// wraps data keys with AES in this process. It has no cache of data keys, so
// with AWS KMS each message would cost it a call over the network.
type official struct {
	sdk     *esdk.Client
	keyring mpltypes.IKeyring
	ec      map[string]string
}

func newOfficial(ec map[string]string) (*official, error) {
	materials, err := mpl.NewClient(mpltypes.MaterialProvidersConfig{})
	if err != nil {
		return nil, err
	}
	sdk, err := esdk.NewClient(esdktypes.AwsEncryptionSdkConfig{})
	if err != nil {
		return nil, err
	}
	keyring, err := materials.CreateRawAesKeyring(context.Background(), mpltypes.CreateRawAesKeyringInput{
		KeyNamespace: "bench",
		KeyName:      "key",
		WrappingKey:  make([]byte, 32),
		WrappingAlg:  mpltypes.AesWrappingAlgAlgAes256GcmIv12Tag16,
	})
	if err != nil {
		return nil, err
	}
	return &official{sdk: sdk, keyring: keyring, ec: ec}, nil
}

// seal writes the suite that sealq writes: the default one is signed, and
// slower still.
func (o *official) seal(plaintext []byte) ([]byte, error) {
	suite := mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKey
	out, err := o.sdk.Encrypt(context.Background(), esdktypes.EncryptInput{
		Plaintext:         plaintext,
		EncryptionContext: o.ec,
		Keyring:           o.keyring,
		AlgorithmSuiteId:  &suite,
	})
	if err != nil {
		return nil, err
	}
	return out.Ciphertext, nil
}

func (o *official) open(message []byte) ([]byte, error) {
	out, err := o.sdk.Decrypt(context.Background(), esdktypes.DecryptInput{
		Ciphertext:        message,
		EncryptionContext: o.ec,
		Keyring:           o.keyring,
	})
	if err != nil {
		return nil, err
	}
	return out.Plaintext, nil
}
