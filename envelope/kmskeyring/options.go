package kmskeyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/internal/awscall"
	"github.com/sealq/sealq/internal/awsname"
)

// Client is the part of AWS KMS that a [Keyring] uses. [*kms.Client] implements
// it.
//
// Implementations must be safe for concurrent use. They should apply the option
// functions, which set the keyring's Region, attempts and log mode; an
// implementation that does not must set these itself. Outputs belong to the
// keyring, which overwrites the plaintext in them. An error that comes from the
// service is a smithy.APIError; all others mean that the service could not be
// asked.
type Client interface {
	// GenerateDataKey makes a new data key, and encrypts it under the keyring's
	// key: once for each call of [Keyring.GenerateDataKey].
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error)
	// Decrypt decrypts a data key of a message: at most 3 times for each call of
	// [Keyring.DecryptDataKey], and always with the key named.
	// [Keyring.CheckDecrypt] asks it for dry runs, on goroutines of its own, where
	// a panic becomes an error that is [envelope.ErrUnavailable].
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
	// Encrypt encrypts a data key that another keyring made, under the keyring's
	// key: once for each call of [Keyring.WrapDataKey].
	Encrypt(context.Context, *kms.EncryptInput, ...func(*kms.Options)) (*kms.EncryptOutput, error)
	// DescribeKey returns the key that an alias or a key ID stands for, when
	// decryption needs it: see [Options.AliasPeriod]. It is called on a goroutine
	// of the keyring's, and a panic in it becomes an error that is
	// [envelope.ErrUnavailable].
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
}

var _ Client = (*kms.Client)(nil)

// DefaultAliasPeriod is the value of [Options.AliasPeriod] when it is zero.
const DefaultAliasPeriod = 5 * time.Minute

const (
	minAliasPeriod = time.Second
	maxAliasPeriod = 24 * time.Hour
)

// Options configures a [Keyring]. The zero value of every field is the default.
// [New] copies the options, slices included: changing them afterwards has no
// effect.
type Options struct {
	// Region is the Region of the calls if the key's name does not fix it: for a
	// key ID, for an alias, and for the ARN of a multi-Region key, which is
	// rewritten to that Region, so that every Region uses its own replica. It does
	// not affect other ARNs. Empty: the ARN's Region, or the client's.
	Region string

	// DecryptKeys are the ARNs of further keys that messages may be encrypted
	// under: the old key after a change of the configured one, or the key of a
	// producer in another account. They are never used to encrypt. The ARN of a
	// multi-Region key stands for all its relatives.
	DecryptKeys []string

	// StrictAlias restricts a keyring that is configured with an alias to the
	// key that the alias points at (as of the last [Options.AliasPeriod]) and to
	// DecryptKeys. Messages that were sealed before the alias was moved then open
	// only if the old key is in DecryptKeys.
	//
	// A message under another key of the alias's account and Region may be the
	// first one after a move. KMS is then asked again, once a second at most, and
	// the message is refused if the answer is not its key. One message at a time
	// waits for its turn to ask, up to a second; the others are
	// [envelope.ErrUnavailable] meanwhile, and open when they are received again.
	// While such messages turn out to be under no key of the alias, fewer of them
	// wait, down to one in 30 seconds. A move is then still known within 2
	// seconds, for the messages received after that. KMS itself may take a while
	// to apply a move everywhere. To avoid these delays, add the new key to
	// DecryptKeys before you move the alias.
	StrictAlias bool

	// AliasPeriod is how long the keyring remembers which key an alias or a key ID
	// stands for, 1 second to 24 hours. Zero: [DefaultAliasPeriod]. When KMS
	// cannot be asked again, the last answer stays in use until it can. It matters
	// for decryption only: KMS itself resolves the alias when a data key is
	// generated.
	AliasPeriod time.Duration

	// GrantTokens are passed to KMS with every call, at most 10: a grant that was
	// made a moment ago works at once with its token.
	GrantTokens []string

	// Discovery makes a keyring that only decrypts, under any key of the named
	// accounts. It replaces a key: New's keyID must then be empty.
	Discovery Discovery
}

// Discovery names keys by where they are. All fields are required.
type Discovery struct {
	// Partition is "aws", "aws-cn", "aws-us-gov", ...
	Partition string
	// Region is the keys' Region and that of the calls. Of a multi-Region key, the
	// replica in Region is used, wherever the message was sealed.
	Region string
	// Accounts are the accounts, of 12 digits each, whose keys may be used.
	Accounts []string
}

func (d Discovery) scope() awsname.KeyScope { return awsname.KeyScope(d) }

func (d Discovery) used() bool { return d.scope().Named() }

func (d Discovery) check() error {
	if err := d.scope().Check(); err != nil {
		return fmt.Errorf("kmskeyring: Options.Discovery%w", err)
	}
	return nil
}

// clone returns a copy that shares no memory with o.
func (o Options) clone() Options {
	o.DecryptKeys = slices.Clone(o.DecryptKeys)
	o.GrantTokens = slices.Clone(o.GrantTokens)
	o.Discovery.Accounts = slices.Clone(o.Discovery.Accounts)
	return o
}

// check validates all but keyID and DecryptKeys, and sets defaults.
func (o *Options) check() error {
	if o.Region != "" && !awsname.IsRegion(o.Region) {
		return fmt.Errorf("kmskeyring: Options.Region is %q, want one like \"eu-west-1\"", o.Region)
	}
	if o.AliasPeriod == 0 {
		o.AliasPeriod = DefaultAliasPeriod
	}
	if o.AliasPeriod < minAliasPeriod || o.AliasPeriod > maxAliasPeriod {
		return fmt.Errorf("kmskeyring: Options.AliasPeriod is %v, want %v to %v, or 0 for %v", o.AliasPeriod, minAliasPeriod, maxAliasPeriod, DefaultAliasPeriod)
	}
	if err := awscall.CheckGrantTokens(o.GrantTokens); err != nil {
		return fmt.Errorf("kmskeyring: Options.GrantTokens%w", err)
	}
	return nil
}

// decryptKeys parses DecryptKeys.
func (o *Options) decryptKeys() ([]awsname.KeyARN, error) {
	keys := make([]awsname.KeyARN, len(o.DecryptKeys))
	for i, s := range o.DecryptKeys {
		a, err := awsname.ParseKeyARN(s)
		if err == nil && !a.IsKey() {
			err = errors.New("an alias: messages name keys, so give the key's ARN")
		}
		if err != nil {
			return nil, fmt.Errorf("kmskeyring: Options.DecryptKeys[%d] %q: %w", i, s, err)
		}
		keys[i] = a.In(o.Region)
	}
	return keys, nil
}

// keyForm is how a keyring's key is named.
type keyForm int

const (
	formNone keyForm = iota // Discovery
	formKeyARN
	formAliasARN
	formKeyID
	formAlias
)

func (f keyForm) alias() bool { return f == formAlias || f == formAliasARN }

// parseKeyID tells the forms of a key's name apart. The ARN is set for the two
// forms that are one.
func parseKeyID(s string) (keyForm, awsname.KeyARN, error) {
	form, arn := formAlias, awsname.KeyARN{}
	switch {
	case s == "":
		return 0, awsname.KeyARN{}, errors.New("kmskeyring: key ID is empty: give a KMS key ID, key ARN, alias or alias ARN (or Options.Discovery, to decrypt only)")
	case strings.HasPrefix(s, "arn:"):
		var err error
		if arn, err = awsname.ParseKeyARN(s); err != nil {
			return 0, awsname.KeyARN{}, fmt.Errorf("kmskeyring: key ID %q: %w", s, err)
		}
		form = formAliasARN
		if arn.IsKey() {
			form = formKeyARN
		}
	case awsname.IsAlias(s):
	case awsname.LooksLikeKeyID(s):
		form = formKeyID
	default:
		return 0, awsname.KeyARN{}, fmt.Errorf("kmskeyring: key ID %q is no KMS key ID, key ARN, alias or alias ARN; an alias is written %q", s, awsname.AliasPrefix+"orders")
	}
	if strings.HasPrefix(s, awsname.ReservedAliasPrefix) || strings.HasPrefix(arn.Resource, awsname.ReservedAliasPrefix) {
		return 0, awsname.KeyARN{}, fmt.Errorf("kmskeyring: key ID %q is an AWS managed key, which only its AWS service can use: create a customer managed key and give its alias or ARN", s)
	}
	return form, arn, nil
}
