package sqsx

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope/kmskeyring"
)

// The environment variables of NewFromEnv. Lists are separated by commas, and
// spaces around their items are ignored.
const (
	envPrefix            = "SEALQ_"
	envKeyID             = "SEALQ_KEY_ID"
	envReusePeriod       = "SEALQ_REUSE_PERIOD"
	envMaxStale          = "SEALQ_MAX_STALE"
	envDecryptKeys       = "SEALQ_DECRYPT_KEYS"
	envAccount           = "SEALQ_ACCOUNT"
	envEncryptionContext = "SEALQ_ENCRYPTION_CONTEXT"
	envAcceptPlaintext   = "SEALQ_ACCEPT_PLAINTEXT"
	envNoSeal            = "SEALQ_NO_SEAL"
	envBodyCarrier       = "SEALQ_BODY_CARRIER"
	envStrictQueue       = "SEALQ_STRICT_QUEUE"
	envNoBinding         = "SEALQ_NO_BINDING"
)

// NewFromEnv is [NewFromConfig] with the key, and what else operations decide,
// from the environment:
//
//	SEALQ_KEY_ID              the KMS key, as for NewFromConfig (required)
//	SEALQ_REUSE_PERIOD        seconds a data key is used, 60 to 86400 (default 300)
//	SEALQ_MAX_STALE           seconds a data key is used beyond that while KMS is
//	                          away, or "none", or "unlimited" (default 86400)
//	SEALQ_DECRYPT_KEYS        ARNs of further keys to open with, such as the one
//	                          before the last rotation
//	SEALQ_ACCOUNT             account ID of queues given by a bare name
//	SEALQ_ENCRYPTION_CONTEXT  name=value pairs for Options.EncryptionContext
//	SEALQ_ACCEPT_PLAINTEXT    queues for Policy.AcceptPlaintext
//	SEALQ_NO_SEAL             queues for Policy.NoSeal
//	SEALQ_BODY_CARRIER        queues for Policy.BodyCarrier
//	SEALQ_STRICT_QUEUE        queues for Policy.StrictQueue
//	SEALQ_NO_BINDING          queues for Policy.NoBinding
//
// Lists are separated by commas. Queues are names or ARNs, or either with one
// trailing "*"; "*" alone means all. A queue that several variables cover has
// all their settings; where a name and an ARN make that impossible to say, it is
// an error. A variable that is empty counts as absent; one that starts
// with SEALQ_ and is not listed here is an error, because a misspelt setting
// that is silently ignored is worse than a service that does not start. optFns
// apply after the environment.
func NewFromEnv(cfg aws.Config, optFns ...func(*Options)) (*Sealer, error) {
	env, err := sealqEnvironment(os.Environ())
	if err != nil {
		return nil, err
	}
	keyID := env[envKeyID]
	if keyID == "" {
		return nil, fmt.Errorf("sqsx: %s is not set: set it to the alias, ID or ARN of the KMS key to seal with", envKeyID)
	}
	o := Options{Region: cfg.Region}
	if err := o.fromEnvironment(env); err != nil {
		return nil, err
	}
	return newFromConfig(cfg, keyID, applyOptions(o, optFns))
}

// sealqEnvironment picks this package's variables out of an environment.
func sealqEnvironment(environ []string) (map[string]string, error) {
	known := []string{
		envKeyID, envReusePeriod, envMaxStale, envDecryptKeys, envAccount, envEncryptionContext,
		envAcceptPlaintext, envNoSeal, envBodyCarrier, envStrictQueue, envNoBinding,
	}
	env := make(map[string]string)
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("sqsx: unknown environment variable %.80q: want one of %s", name, strings.Join(known, ", "))
		}
		if value = strings.TrimSpace(value); value != "" {
			env[name] = value
		}
	}
	return env, nil
}

func (o *Options) fromEnvironment(env map[string]string) error {
	var adjustCache []func(*cache.Options)
	if text, set := env[envReusePeriod]; set {
		period, err := seconds(envReusePeriod, text)
		if err != nil {
			return err
		}
		adjustCache = append(adjustCache, func(co *cache.Options) { co.ReusePeriod = period })
	}
	if text, set := env[envMaxStale]; set {
		var stale time.Duration
		switch text {
		case "none":
			stale = cache.NoStale
		case "unlimited":
			stale = cache.Unlimited
		default:
			var err error
			if stale, err = seconds(envMaxStale, text); err != nil {
				return fmt.Errorf("%w, or \"none\", or \"unlimited\"", err)
			}
		}
		adjustCache = append(adjustCache, func(co *cache.Options) { co.MaxStale = stale })
	}
	if adjustCache != nil {
		o.Cache = func(co *cache.Options) {
			for _, adjust := range adjustCache {
				adjust(co)
			}
		}
	}
	if keys := list(env[envDecryptKeys]); keys != nil {
		o.KMSKeyring = func(ko *kmskeyring.Options) { ko.DecryptKeys = keys }
	}
	o.Account = env[envAccount]
	for _, pair := range list(env[envEncryptionContext]) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("sqsx: %s: want name=value pairs separated by commas", envEncryptionContext)
		}
		if o.EncryptionContext == nil {
			o.EncryptionContext = make(map[string]string)
		}
		if _, twice := o.EncryptionContext[name]; twice {
			return fmt.Errorf("sqsx: %s: the name %q stands twice", envEncryptionContext, name)
		}
		o.EncryptionContext[name] = value
	}
	return o.policiesFromEnvironment(env)
}

// policiesFromEnvironment turns lists of queues per setting into settings per
// queue. A pattern also gets the settings of the wider patterns around it,
// because the policy found for a queue applies whole.
func (o *Options) policiesFromEnvironment(env map[string]string) error {
	flags := map[string]func(*Policy){
		envAcceptPlaintext: func(p *Policy) { p.AcceptPlaintext = true },
		envNoSeal:          func(p *Policy) { p.NoSeal = true },
		envBodyCarrier:     func(p *Policy) { p.BodyCarrier = true },
		envStrictQueue:     func(p *Policy) { p.StrictQueue = true },
		envNoBinding:       func(p *Policy) { p.NoBinding = true },
	}
	patterns := make(map[string][]pattern) // by variable
	for name := range flags {
		for _, text := range list(env[name]) {
			p, err := parsePattern(text)
			if err != nil {
				return fmt.Errorf("sqsx: %s: %w", name, err)
			}
			patterns[name] = append(patterns[name], p)
		}
	}
	listed := func(name string, p pattern) bool {
		return slices.ContainsFunc(patterns[name], func(wider pattern) bool { return wider.covers(p) })
	}
	for _, mentioned := range patterns {
		for _, p := range mentioned {
			var policy Policy
			for name, set := range flags {
				if listed(name, p) {
					set(&policy)
					continue
				}
				// The policy of p is about to say no for queues that an ARN
				// under this variable may say yes for.
				if i := slices.IndexFunc(patterns[name], p.crosses); i >= 0 {
					return fmt.Errorf("sqsx: %s: %q may name the same queues as %q of another variable, and one is a name and the other an ARN: write both as names, or both as ARNs", name, patterns[name][i].text, p.text)
				}
			}
			if o.Queues == nil {
				o.Queues = make(map[string]Policy)
			}
			o.Queues[p.text] = policy
		}
	}
	if everywhere, ok := o.Queues["*"]; ok {
		o.Policy = everywhere
		delete(o.Queues, "*")
	}
	if len(o.Queues) == 0 {
		o.Queues = nil
	}
	return nil
}

// covers reports whether every queue that matches p matches wider, too.
func (wider pattern) covers(p pattern) bool {
	if wider.exact {
		return p.exact && wider.arn == p.arn && wider.prefix == p.prefix
	}
	switch {
	case wider.arn == p.arn:
		return strings.HasPrefix(p.prefix, wider.prefix)
	case p.arn: // a name pattern around an ARN pattern
		return strings.HasPrefix(p.name(), wider.prefix)
	}
	return false
}

// crosses reports whether p is a name, other is an ARN, and some queue matches
// both although p does not cover other.
func (p pattern) crosses(other pattern) bool {
	if p.arn || !other.arn || p.covers(other) {
		return false
	}
	a, b := p.prefix, other.name()
	return a == b || !p.exact && strings.HasPrefix(b, a) || !other.exact && strings.HasPrefix(a, b)
}

func seconds(name, text string) (time.Duration, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("sqsx: %s is %.40q, want a whole number of seconds", name, text)
	}
	return time.Duration(n) * time.Second, nil
}

// list splits at commas and drops spaces and empty items.
func list(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
