// Command driver opens and seals messages with the official AWS Encryption SDK
// for Go. One JSON request a line on standard input, one JSON answer a line on
// standard output; see ../doc.go.
//
// It is a module of its own: the SDK is 60 MB of generated code that nobody
// else should compile.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	keystore "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographykeystoresmithygenerated"
	keystoretypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographykeystoresmithygeneratedtypes"
	mpl "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygenerated"
	mpltypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygeneratedtypes"
	esdk "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygenerated"
	esdktypes "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygeneratedtypes"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

type keyringSpec struct {
	Type      string
	Namespace string
	Name      string
	Key       json.RawMessage // base64 bytes of a raw key, or the name of a KMS key
	Endpoint  string
	Region    string
	Generator *keyringSpec
	Children  []keyringSpec
	BranchKey string
	Store     *storeSpec
}

type storeSpec struct{ Table, LogicalName, Key, Endpoint, Region string }

type request struct {
	Op        string
	Keyring   json.RawMessage
	Store     *storeSpec
	BranchKey string
	Suite     string
	Frame     *int64
	Context   map[string]string
	Plaintext []byte
	Message   []byte
}

type answer struct {
	OK        bool              `json:"ok"`
	Message   []byte            `json:"message,omitempty"`
	Plaintext []byte            `json:"plaintext"`
	Context   map[string]string `json:"context,omitempty"`
	BranchKey string            `json:"branchKey,omitempty"`
	Class     string            `json:"class,omitempty"`
	Error     string            `json:"error,omitempty"`
}

type driver struct {
	sdk      *esdk.Client
	mpl      *mpl.Client
	keyrings map[string]mpltypes.IKeyring
	stores   map[storeSpec]*keystore.Client
}

func (d *driver) store(ctx context.Context, spec storeSpec) (*keystore.Client, error) {
	if store, ok := d.stores[spec]; ok {
		return store, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(spec.Region), config.WithBaseEndpoint(spec.Endpoint))
	if err != nil {
		return nil, err
	}
	store, err := keystore.NewClient(keystoretypes.KeyStoreConfig{
		DdbClient:           dynamodb.NewFromConfig(cfg),
		DdbTableName:        spec.Table,
		LogicalKeyStoreName: spec.LogicalName,
		KmsClient:           kms.NewFromConfig(cfg),
		KmsConfiguration:    &keystoretypes.KMSConfigurationMemberkmsKeyArn{Value: spec.Key},
	})
	if err != nil {
		return nil, err
	}
	d.stores[spec] = store
	return store, nil
}

func (d *driver) keyring(ctx context.Context, spec keyringSpec) (mpltypes.IKeyring, error) {
	switch spec.Type {
	case "raw-aes":
		var key []byte
		if err := json.Unmarshal(spec.Key, &key); err != nil {
			return nil, err
		}
		return d.mpl.CreateRawAesKeyring(ctx, mpltypes.CreateRawAesKeyringInput{
			KeyNamespace: spec.Namespace,
			KeyName:      spec.Name,
			WrappingKey:  key,
			WrappingAlg:  mpltypes.AesWrappingAlgAlgAes256GcmIv12Tag16,
		})
	case "kms", "kms-discovery":
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(spec.Region))
		if err != nil {
			return nil, err
		}
		client := kms.NewFromConfig(cfg, func(o *kms.Options) { o.BaseEndpoint = aws.String(spec.Endpoint) })
		if spec.Type == "kms-discovery" {
			return d.mpl.CreateAwsKmsDiscoveryKeyring(ctx, mpltypes.CreateAwsKmsDiscoveryKeyringInput{KmsClient: client})
		}
		var key string
		if err := json.Unmarshal(spec.Key, &key); err != nil {
			return nil, err
		}
		return d.mpl.CreateAwsKmsKeyring(ctx, mpltypes.CreateAwsKmsKeyringInput{KmsKeyId: key, KmsClient: client})
	case "branch-key":
		store, err := d.store(ctx, *spec.Store)
		if err != nil {
			return nil, err
		}
		return d.mpl.CreateAwsKmsHierarchicalKeyring(ctx, mpltypes.CreateAwsKmsHierarchicalKeyringInput{
			KeyStore: store, BranchKeyId: &spec.BranchKey, TtlSeconds: 600,
		})
	case "multi":
		generator, err := d.keyring(ctx, *spec.Generator)
		if err != nil {
			return nil, err
		}
		children := []mpltypes.IKeyring{} // nil is refused
		for _, child := range spec.Children {
			k, err := d.keyring(ctx, child)
			if err != nil {
				return nil, err
			}
			children = append(children, k)
		}
		return d.mpl.CreateMultiKeyring(ctx, mpltypes.CreateMultiKeyringInput{Generator: generator, ChildKeyrings: children})
	default:
		return nil, fmt.Errorf("unknown keyring type %q", spec.Type)
	}
}

// administer answers the requests that name a key store.
func (d *driver) administer(ctx context.Context, req request) (answer, error) {
	store, err := d.store(ctx, *req.Store)
	if err != nil {
		return answer{}, err
	}
	switch req.Op {
	case "create-key-store":
		_, err := store.CreateKeyStore(ctx, keystoretypes.CreateKeyStoreInput{})
		return answer{OK: true}, err
	case "create-branch-key":
		in := keystoretypes.CreateKeyInput{}
		if req.BranchKey != "" {
			in.BranchKeyIdentifier = &req.BranchKey
		}
		if len(req.Context) > 0 {
			in.EncryptionContext = req.Context
		}
		made, err := store.CreateKey(ctx, in)
		if err != nil {
			return answer{}, err
		}
		return answer{OK: true, BranchKey: made.BranchKeyIdentifier}, nil
	case "rotate-branch-key":
		_, err := store.VersionKey(ctx, keystoretypes.VersionKeyInput{BranchKeyIdentifier: req.BranchKey})
		return answer{OK: true}, err
	default:
		return answer{}, fmt.Errorf("unknown operation %q", req.Op)
	}
}

func (d *driver) answer(ctx context.Context, line []byte) (answer, error) {
	var req request
	if err := json.Unmarshal(line, &req); err != nil {
		return answer{}, err
	}
	if req.Store != nil {
		return d.administer(ctx, req)
	}
	keyring, ok := d.keyrings[string(req.Keyring)]
	if !ok {
		var spec keyringSpec
		if err := json.Unmarshal(req.Keyring, &spec); err != nil {
			return answer{}, err
		}
		var err error
		if keyring, err = d.keyring(ctx, spec); err != nil {
			return answer{}, err
		}
		d.keyrings[string(req.Keyring)] = keyring
	}
	switch req.Op {
	case "encrypt":
		suite, ok := map[string]mpltypes.ESDKAlgorithmSuiteId{
			"0478": mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKey,
			"0578": mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKeyEcdsaP384,
		}[req.Suite]
		if !ok {
			return answer{}, fmt.Errorf("unknown suite %q", req.Suite)
		}
		if req.Plaintext == nil {
			req.Plaintext = []byte{}
		}
		sealed, err := d.sdk.Encrypt(ctx, esdktypes.EncryptInput{
			Plaintext:         req.Plaintext,
			Keyring:           keyring,
			AlgorithmSuiteId:  &suite,
			EncryptionContext: req.Context,
			FrameLength:       req.Frame,
		})
		if err != nil {
			return answer{}, err
		}
		return answer{OK: true, Message: sealed.Ciphertext}, nil
	case "decrypt":
		opened, err := d.sdk.Decrypt(ctx, esdktypes.DecryptInput{Ciphertext: req.Message, Keyring: keyring})
		if err != nil {
			return answer{}, err
		}
		return answer{OK: true, Plaintext: opened.Plaintext, Context: opened.EncryptionContext}, nil
	default:
		return answer{}, fmt.Errorf("unknown operation %q", req.Op)
	}
}

func run(ctx context.Context) error {
	sdk, err := esdk.NewClient(esdktypes.AwsEncryptionSdkConfig{})
	if err != nil {
		return err
	}
	providers, err := mpl.NewClient(mpltypes.MaterialProvidersConfig{})
	if err != nil {
		return err
	}
	d := &driver{sdk: sdk, mpl: providers, keyrings: make(map[string]mpltypes.IKeyring), stores: make(map[storeSpec]*keystore.Client)}
	in, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		result, err := d.answer(ctx, line)
		if err != nil { // every refusal of the SDK is an answer
			result = answer{Class: fmt.Sprintf("%T", err), Error: err.Error()}
		}
		if err := out.Encode(result); err != nil {
			return err
		}
	}
}

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal("driver: ", err)
	}
}
