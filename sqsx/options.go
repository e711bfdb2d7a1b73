package sqsx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/metrics"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/internal/awsname"
)

// Options configure a [Sealer]. The zero value of every field is the safe
// default. Constructors check them once and keep a copy; what the fields refer
// to (callbacks, keyrings, logger) must be safe for concurrent use.
type Options struct {
	// Policy applies to every queue that Queues does not name, and to no topic.
	Policy Policy

	// Queues holds the policies of particular queues, by queue name or ARN, or
	// either with one trailing "*". An exact key takes precedence over a prefix,
	// and a longer prefix over a shorter one. The one policy that matches applies
	// as a whole: nothing is inherited from Policy, or from the policy of a wider
	// pattern.
	//
	// SNS topics are named by an ARN, or the beginning of one with one trailing
	// "*" ("arn:aws:sns:*"). A name, "*" alone included, means queues. A topic
	// that no such key names has the zero Policy; publishing to it fails if a
	// queue of its name would have SealAttributes.
	Queues map[string]Policy

	// EncryptionContext is authenticated with every message: each pair must be
	// present, and equal, on receive. It is NOT secret: it is in clear in messages
	// and in CloudTrail. Keep it the same for many messages (environment,
	// application): each distinct context needs its own data key. Names starting
	// with "sealq:" or "aws-crypto-" are reserved.
	EncryptionContext map[string]string

	// DeduplicationKey lets messages be sent to FIFO queues without a
	// MessageDeduplicationId: sealq then derives it from queue and body by
	// HMAC-SHA256 under this key, because content-based deduplication cannot
	// recognise sealed bodies. It has 32 bytes or more, is the same for all
	// producers of a queue, and must not be used for anything else. Anyone who
	// reads the queue can then see which bodies are equal. Nil: such a send is an
	// error.
	DeduplicationKey Secret

	// Cache configures the data key cache: reuse period, limits, behaviour in an
	// outage of AWS KMS. The zero value of each field means its default. It
	// applies to every cache that the constructor makes, those of the keyrings in
	// policies included. If it makes none, because each keyring is a
	// [cache.Source], a value that is not zero is an error.
	Cache cache.Options

	// KMS adjusts the KMS client that NewFromConfig, NewFromKeyStore and
	// NewFromEnv make.
	KMS []func(*kms.Options)

	// KMSKeyring configures the KMS keyring that NewFromConfig and NewFromEnv
	// make: further keys to decrypt with, grant tokens, Region. The zero value of
	// each field means its default. New makes no keyring, so a value that is not
	// zero is an error there. [NewFromKeyStore] says what it means there.
	KMSKeyring kmskeyring.Options

	// DynamoDB adjusts the DynamoDB client that NewFromKeyStore makes, and
	// NewFromConfig and NewFromEnv with a key store. Without one it is an error,
	// except in NewFromEnv, where operators decide whether there is one.
	DynamoDB []func(*dynamodb.Options)

	// OpenKeyStore makes a Sealer of NewFromConfig or NewFromEnv open messages
	// under branch keys too: consumers set it before the first producer calls
	// [NewFromKeyStore]. It seals with data keys of AWS KMS as before. Nil: a
	// message under a branch key does not open ([ErrNoMatchingKey]).
	//
	// KMSKeyring.GrantTokens and KMSKeyring.Region apply to the key of the key
	// store as well. Queues whose policy has a Keyring are not concerned.
	OpenKeyStore *KeyStore

	// Region is the Region of queue URLs given to SealMessage, OpenMessages and
	// Check, which have no client to take it from. NewFromConfig and NewFromEnv
	// take it from the config.
	Region string

	// Account is the account ID of queues that are given by a bare name instead of
	// a URL.
	Account string

	// OnWithheld is called once for each message that was received but could not
	// be delivered, including those withheld behind another of their group. It
	// may, for example, copy the message elsewhere; it must not change it. It runs
	// on the goroutine of the receive, which waits for it while the message's
	// visibility timeout runs; several receives may call it at once.
	OnWithheld func(context.Context, *OpenError)

	// MeterProvider receives the metrics that [Stats] counts; nil: none. All
	// counters of a queue start at 0 with its first use. An adapter for
	// OpenTelemetry is github.com/aws/smithy-go/metrics/smithyotelmetrics.
	MeterProvider metrics.MeterProvider

	// Logger receives a line for each diagnosis and queue, at most one every ten
	// seconds, and from NewFromEnv one for each setting of the environment that
	// gives up protection. Nil: slog.Default(), at the time of each line.
	Logger *slog.Logger
}

// The range that package cache takes, which is that of the
// KmsDataKeyReusePeriodSeconds attribute of an SQS queue. NewFromEnv checks it,
// to name the variable.
const (
	minReusePeriod = time.Minute
	maxReusePeriod = 24 * time.Hour
)

const (
	minDeduplicationKey = 32   // bytes: the output of the hash (RFC 2104, section 3)
	maxContextPairs     = 32   // pairs; every message carries them all in one attribute
	maxContextBytes     = 512  // of a name or a value
	maxContextTotal     = 4096 // bytes, which leaves room for the queue in the 8,192 of a message header's context

	// formatPrefix starts the names that belong to the message format.
	formatPrefix = "aws-crypto-"
)

// settings are the checked Options: copies, and values computed from them. They
// are immutable.
type settings struct {
	region, account  string
	context          map[string]string // Options.EncryptionContext
	deduplicationKey []byte
	onWithheld       func(context.Context, *OpenError)
	logger           *slog.Logger
	table            *policyTable
}

// compiledPolicy is a Policy ready for use. It is immutable except keySize.
type compiledPolicy struct {
	Policy
	keyring cache.Source
	keySize *keySize // of keyring
	accept  []awsname.Pattern
}

var errNilKeyring = errors.New("sqsx: the keyring is nil: check the error of the constructor that made it")

// compile checks o and builds a cache for kr and for every keyring in a policy.
// cached says that kr is a Source that was made with Options.Cache. switches
// are added to the policies.
func compile(kr envelope.Keyring, cached bool, o Options, switches []policySwitch) (*settings, error) {
	if isNil(kr) {
		return nil, errNilKeyring
	}
	if err := checkContext(o.EncryptionContext); err != nil {
		return nil, fmt.Errorf("sqsx: EncryptionContext: %w", err)
	}
	if o.DeduplicationKey != nil && len(o.DeduplicationKey) < minDeduplicationKey {
		return nil, fmt.Errorf("sqsx: DeduplicationKey is %d bytes, want at least %d random bytes", len(o.DeduplicationKey), minDeduplicationKey)
	}
	if o.Region != "" && !awsname.IsRegion(o.Region) {
		return nil, fmt.Errorf("sqsx: Region %q is no Region's code, want one like \"eu-central-1\"", o.Region)
	}
	if o.Account != "" && !awsname.IsAccount(o.Account) {
		return nil, fmt.Errorf("sqsx: Account %q is not an account ID, want 12 digits", o.Account)
	}

	caches := cacheSet{options: o.Cache, any: cached}
	own, err := caches.of(kr)
	if err != nil {
		return nil, err
	}
	sizes := make(map[cache.Source]*keySize)
	compilePolicy := func(p Policy) (*compiledPolicy, error) {
		if err := p.validate(); err != nil {
			return nil, err
		}
		c := &compiledPolicy{Policy: p, keyring: own}
		for _, text := range p.AcceptQueues {
			accepted, _ := awsname.ParseARNPattern(text) // validated above
			c.accept = append(c.accept, accepted)
		}
		for _, text := range p.AcceptTopics {
			accepted, _ := awsname.ParseTopicPattern(text) // likewise
			c.accept = append(c.accept, accepted)
		}
		c.AcceptQueues, c.AcceptTopics = slices.Clone(p.AcceptQueues), slices.Clone(p.AcceptTopics)
		c.ClearAttributes = slices.Clone(p.ClearAttributes)
		c.AuthenticateAttributes = slices.Clone(p.AuthenticateAttributes)
		if p.Keyring != nil {
			var err error
			if c.keyring, err = caches.of(p.Keyring); err != nil {
				return nil, err
			}
		}
		if sizes[c.keyring] == nil {
			sizes[c.keyring] = new(keySize)
		}
		c.keySize = sizes[c.keyring]
		return c, nil
	}

	fallback, err := compilePolicy(o.Policy)
	if err != nil {
		return nil, fmt.Errorf("sqsx: Policy: %w", err)
	}
	topicFallback, err := compilePolicy(Policy{})
	if err != nil {
		return nil, fmt.Errorf("sqsx: %w", err)
	}
	policies := make(map[string]*compiledPolicy, len(o.Queues))
	for text, p := range o.Queues {
		if policies[text], err = compilePolicy(p); err != nil {
			return nil, fmt.Errorf("sqsx: Queues[%q]: %w", text, err)
		}
	}
	if o.Cache != (cache.Options{}) && !caches.any {
		return nil, errors.New("sqsx: Options.Cache is set and has no effect: the keyring has a cache of its own; give these options to its constructor, cache.New for example")
	}
	table, err := newPolicyTable(fallback, topicFallback, policies, switches)
	if err != nil {
		return nil, fmt.Errorf("sqsx: Queues: %w", err)
	}
	return &settings{
		region:           o.Region,
		account:          o.Account,
		context:          maps.Clone(o.EncryptionContext),
		deduplicationKey: slices.Clone(o.DeduplicationKey),
		onWithheld:       o.OnWithheld,
		logger:           o.Logger,
		table:            table,
	}, nil
}

// caches returns every distinct cache that the policies use.
func (s *settings) caches() []cache.Source {
	// The fallback of topics has the Sealer's own keyring, so its cache counts
	// even if every queue has another.
	all := []cache.Source{s.table.fallback.keyring}
	if own := s.table.topics.fallback.keyring; own != all[0] {
		all = append(all, own)
	}
	for _, rule := range slices.Concat(s.table.rules, s.table.topics.rules) {
		if !slices.Contains(all, rule.policy.keyring) {
			all = append(all, rule.policy.keyring)
		}
	}
	return all
}

// cacheSet gives each keyring one cache, however many policies name it, and
// none to a Source.
type cacheSet struct {
	options cache.Options
	made    map[envelope.Keyring]cache.Source
	any     bool // whether one was made with options
}

func (c *cacheSet) of(kr envelope.Keyring) (cache.Source, error) {
	if isNil(kr) {
		return nil, errNilKeyring
	}
	shareable := reflect.ValueOf(kr).Comparable()
	if source, ok := kr.(cache.Source); ok {
		if cached, ok := kr.(*cache.Keyring); ok && cached.Next() == nil {
			return nil, errors.New("sqsx: the keyring is a *cache.Keyring that was not made by cache.New")
		}
		if !shareable {
			return nil, fmt.Errorf("sqsx: the keyring, a cache.Source of type %T, cannot be compared: give a pointer to it", kr)
		}
		return source, nil
	}
	if shareable {
		if cached, ok := c.made[kr]; ok {
			return cached, nil
		}
	}
	cached, err := cache.New(kr, func(o *cache.Options) { *o = c.options })
	if err != nil {
		return nil, err
	}
	c.any = true
	if shareable {
		if c.made == nil {
			c.made = make(map[envelope.Keyring]cache.Source)
		}
		c.made[kr] = cached
	}
	return cached, nil
}

// isNil also recognises a typed nil pointer, the usual result of an ignored
// constructor error.
func isNil(kr envelope.Keyring) bool {
	if kr == nil {
		return true
	}
	v := reflect.ValueOf(kr)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

func checkContext(ec map[string]string) error {
	if len(ec) > maxContextPairs {
		return fmt.Errorf("%d pairs, want at most %d", len(ec), maxContextPairs)
	}
	total := 0
	for name, value := range ec {
		for other := range ec {
			if other != name && strings.EqualFold(other, name) {
				return fmt.Errorf("name %.64q: two names differ in case only, which policies of IAM and KMS do not tell apart", name)
			}
		}
		total += len(name) + len(value)
		switch {
		case name == "" || value == "":
			return fmt.Errorf("name %q: neither a name nor a value may be empty", name)
		case hasReservedPrefix(name) || isFormatName(name):
			return fmt.Errorf("name %q: names starting with %q or \"aws-crypto-\" are reserved", name, reservedPrefix)
		case len(name) > maxContextBytes || len(value) > maxContextBytes:
			return fmt.Errorf("name %.64q: names and values have at most %d bytes", name, maxContextBytes)
		case !utf8.ValidString(name) || !utf8.ValidString(value):
			return fmt.Errorf("name %q: names and values must be valid UTF-8", name)
		}
	}
	if total > maxContextTotal {
		return fmt.Errorf("names and values take %d bytes together, want at most %d", total, maxContextTotal)
	}
	return nil
}

// isFormatName reports whether a name belongs to the message format, in any
// spelling.
func isFormatName(name string) bool {
	parts := strings.SplitN(name, "-", 3)
	return len(parts) == 3 && strings.EqualFold(parts[0]+"-"+parts[1]+"-", formatPrefix)
}
