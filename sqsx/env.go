package sqsx

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/internal/awsname"
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
	envNoHold            = "SEALQ_NO_HOLD"
	envNoReceiveErrors   = "SEALQ_NO_RECEIVE_ERRORS"
	envNoDigests         = "SEALQ_NO_DIGESTS"
	envSealAttributes    = "SEALQ_SEAL_ATTRIBUTES"
	envCompress          = "SEALQ_COMPRESS"
	envAcceptUndated     = "SEALQ_ACCEPT_UNDATED"
	envClearAttributes   = "SEALQ_CLEAR_ATTRIBUTES"
	envMaxAge            = "SEALQ_MAX_AGE"
	envKeyStoreTable     = "SEALQ_KEY_STORE_TABLE"
	envKeyStoreName      = "SEALQ_KEY_STORE_NAME"
	envBranchKeyID       = "SEALQ_BRANCH_KEY_ID"
	envKeyStoreKeyID     = "SEALQ_KEY_STORE_KEY_ID"
	envKeyStoreOpenOnly  = "SEALQ_KEY_STORE_OPEN_ONLY"
)

// NewFromEnv is [NewFromConfig] with the key, and other settings that operators
// decide, from the environment:
//
//	SEALQ_KEY_ID              the KMS key, as for NewFromConfig (required, except
//	                          with SEALQ_KEY_STORE_KEY_ID)
//	SEALQ_REUSE_PERIOD        seconds a data key is used, 60 to 86400 (default 300)
//	SEALQ_MAX_STALE           seconds after its last fetch that a data key may be
//	                          used while KMS is unreachable, at least the reuse
//	                          period, or "none", or "unlimited" (default 86400)
//	SEALQ_DECRYPT_KEYS        ARNs of further keys to open with, such as the one
//	                          before the last rotation
//	SEALQ_ACCOUNT             account ID of queues given by a bare name
//	SEALQ_ENCRYPTION_CONTEXT  name=value pairs for Options.EncryptionContext
//	SEALQ_ACCEPT_PLAINTEXT    queues for Policy.AcceptPlaintext
//	SEALQ_NO_SEAL             queues for Policy.NoSeal
//	SEALQ_BODY_CARRIER        queues for Policy.BodyCarrier
//	SEALQ_STRICT_QUEUE        queues for Policy.StrictQueue
//	SEALQ_NO_BINDING          queues for Policy.NoBinding
//	SEALQ_NO_HOLD             queues for Policy.NoHold
//	SEALQ_NO_RECEIVE_ERRORS   queues for Policy.NoReceiveErrors
//	SEALQ_NO_DIGESTS          queues for Policy.NoDigests
//	SEALQ_SEAL_ATTRIBUTES     queues for Policy.SealAttributes; "*" does not
//	                          include topics
//	SEALQ_COMPRESS            queues for Policy.Compress
//	SEALQ_ACCEPT_UNDATED      queues for Policy.AcceptUndated
//	SEALQ_CLEAR_ATTRIBUTES    message attributes for Policy.ClearAttributes, of
//	                          all queues and topics, or "none" for the empty
//	                          list, which topics need if no attribute is clear
//	SEALQ_MAX_AGE             seconds for Policy.MaxAge, of all queues and
//	                          topics, at least 1
//
// With a key store it is [NewFromKeyStore] instead. The first three are then
// required:
//
//	SEALQ_KEY_STORE_TABLE     name or ARN of the DynamoDB table
//	SEALQ_KEY_STORE_NAME      logical name of the key store
//	SEALQ_BRANCH_KEY_ID       ID of the branch key to seal and open under
//	SEALQ_KEY_STORE_KEY_ID    ARN of the KMS key that protects the key store.
//	                          Without it, SEALQ_KEY_ID is that ARN. With it,
//	                          SEALQ_KEY_ID, if it is set, is a KMS key whose data
//	                          keys are opened too, as are those of
//	                          SEALQ_DECRYPT_KEYS
//	SEALQ_KEY_STORE_OPEN_ONLY "true": seal with data keys of SEALQ_KEY_ID, as
//	                          without a key store, and open messages under the
//	                          branch key too (Options.OpenKeyStore); "false"
//	                          (default): seal under the branch key
//
// Lists are separated by commas. Queues are names or ARNs, or either with one
// trailing "*"; "*" alone means all queues. Topics are named by ARNs only
// ("arn:aws:sns:*"). A queue that several variables match gets all their
// settings, on top of its policy in code; settings that contradict each other
// there are an error. If a queue is used by a bare name, and its account
// decides whether a setting is for it, the call fails: see [Options.Account]. A
// variable that is empty counts as absent. A variable that starts with SEALQ_
// and is not listed here is an error, so that no misspelt setting is ignored.
// Variables that Kubernetes sets for a Service named sealq-something are
// ignored.
//
// The environment takes precedence over optFns: it replaces values, adds to
// lists and maps, and switches settings of policies on, never off.
//
// Settings that give up protection (SEALQ_ACCEPT_PLAINTEXT, SEALQ_NO_SEAL,
// SEALQ_NO_BINDING, SEALQ_ACCEPT_UNDATED) are logged by [Options.Logger]: one
// line at level WARN for each queue pattern in them, when the Sealer is made.
func NewFromEnv(cfg aws.Config, optFns ...func(*Options)) (*Sealer, error) {
	env, err := sealqEnvironment(os.Environ())
	if err != nil {
		return nil, &ConfigError{err}
	}
	keys, err := keysFromEnvironment(env)
	if err != nil {
		return nil, &ConfigError{err}
	}
	o, err := applyOptions(Options{Region: cfg.Region}, optFns)
	if err != nil {
		return nil, err
	}
	switches, err := o.fromEnvironment(env)
	if err != nil {
		return nil, &ConfigError{err}
	}
	s, err := keys.newSealer(cfg, o, switches)
	if err != nil {
		// The reader of this error sets the variables, and may not know the code.
		return nil, &ConfigError{fmt.Errorf("%w (set in the environment: %s)", err, strings.Join(slices.Sorted(maps.Keys(env)), ", "))}
	}
	s.reporter.warnOf(env)
	return s, nil
}

// warnOf says which settings of the environment give up protection. Code that
// does so can be reviewed. A variable may be set by another person, at another
// time.
func (r *reporter) warnOf(env map[string]string) {
	for _, flag := range policyFlags() {
		if flag.warning == "" {
			continue
		}
		queues := list(env[flag.variable])
		slices.Sort(queues)
		for _, queue := range slices.Compact(queues) {
			r.log().LogAttrs(context.Background(), slog.LevelWarn, "sealq: "+flag.warning,
				slog.String("variable", flag.variable), slog.String("queue", queue))
		}
	}
}

// sealqEnvironment picks this package's variables out of an environment.
func sealqEnvironment(environ []string) (map[string]string, error) {
	known := []string{
		envKeyID, envReusePeriod, envMaxStale, envDecryptKeys, envAccount, envEncryptionContext,
		envAcceptPlaintext, envNoSeal, envBodyCarrier, envStrictQueue, envNoBinding, envNoHold, envNoReceiveErrors, envNoDigests,
		envSealAttributes, envCompress, envAcceptUndated, envClearAttributes, envMaxAge,
		envKeyStoreTable, envKeyStoreName, envBranchKeyID, envKeyStoreKeyID, envKeyStoreOpenOnly,
	}
	env := make(map[string]string)
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || isServiceVariable(name) {
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

// isServiceVariable recognises variables that Kubernetes sets in every
// container for a Service whose name starts with "sealq" (Kubernetes
// documentation, Service, environment variables).
func isServiceVariable(name string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_")
}

// envKeys are the keys that the environment names.
type envKeys struct {
	keyID    string    // SEALQ_KEY_ID, unless it is the key of the key store only
	store    *KeyStore // nil: none
	openOnly bool      // messages under branch keys
}

// keysFromEnvironment reads the keys, and returns an error if variables that
// belong together are not all set.
func keysFromEnvironment(env map[string]string) (envKeys, error) {
	keys := envKeys{keyID: env[envKeyID]}
	var set []string
	for _, name := range []string{envKeyStoreTable, envKeyStoreName, envBranchKeyID, envKeyStoreKeyID, envKeyStoreOpenOnly} {
		if env[name] != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		if keys.keyID == "" {
			return keys, fmt.Errorf("sqsx: %s is not set: set it to the alias, ID or ARN of the KMS key to seal with", envKeyID)
		}
		return keys, nil
	}
	switch text := env[envKeyStoreOpenOnly]; text {
	case "", "false":
	case "true":
		keys.openOnly = true
	default:
		return keys, fmt.Errorf("sqsx: %s is %.40q, want \"true\" or \"false\"", envKeyStoreOpenOnly, text)
	}
	var missing []string
	for _, required := range []struct{ name, what string }{
		{envKeyStoreTable, "the name or the ARN of the DynamoDB table"},
		{envKeyStoreName, "the logical name of the key store"},
		{envBranchKeyID, "the ID of the branch key"},
	} {
		if env[required.name] == "" {
			missing = append(missing, required.name+", "+required.what)
		}
	}
	keyOfStore := env[envKeyStoreKeyID]
	switch {
	case keys.openOnly && keys.keyID == "":
		missing = append(missing, envKeyID+", the alias, ID or ARN of the KMS key to seal with")
	case keyOfStore == "" && keys.keyID == "":
		missing = append(missing, envKeyID+", the ARN of the KMS key that protects the key store")
	}
	if len(missing) > 0 {
		return keys, fmt.Errorf("sqsx: %s: a key store also needs %s: set what is missing, or unset these to use no key store",
			strings.Join(set, ", "), strings.Join(missing, "; "))
	}
	if keyOfStore == "" {
		keyOfStore = keys.keyID
		if arn, err := awsname.ParseKeyARN(keyOfStore); err != nil || !arn.IsKey() {
			return keys, fmt.Errorf("sqsx: %s is %.400q, and the key store needs the ARN of its KMS key: set %s to that ARN", envKeyID, keyOfStore, envKeyStoreKeyID)
		}
		if !keys.openOnly {
			keys.keyID = ""
		}
	}
	keys.store = &KeyStore{Table: env[envKeyStoreTable], LogicalName: env[envKeyStoreName], BranchKeyID: env[envBranchKeyID], KeyID: keyOfStore}
	return keys, nil
}

func (k envKeys) newSealer(cfg aws.Config, o Options, switches []policySwitch) (*Sealer, error) {
	switch {
	case k.store == nil:
	case k.openOnly:
		o.OpenKeyStore = k.store
	default:
		return newFromKeyStore(cfg, *k.store, k.keyID, o, switches)
	}
	return newFromConfig(cfg, k.keyID, o, switches)
}

// fromEnvironment writes the settings of env into o, but not into what o refers
// to, and returns what env adds to policies.
func (o *Options) fromEnvironment(env map[string]string) ([]policySwitch, error) {
	if err := o.cacheFromEnvironment(env); err != nil {
		return nil, err
	}
	// Concat allocates: the slice in o is the caller's.
	o.KMSKeyring.DecryptKeys = slices.Concat(o.KMSKeyring.DecryptKeys, list(env[envDecryptKeys]))
	if account := env[envAccount]; account != "" {
		if !awsname.IsAccount(account) {
			return nil, fmt.Errorf("sqsx: %s is %.40q, want an account ID of 12 digits", envAccount, account)
		}
		o.Account = account
	}
	pairs := make(map[string]string)
	for i, pair := range list(env[envEncryptionContext]) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("sqsx: %s: item %d has no \"=\": want name=value pairs separated by commas", envEncryptionContext, i+1)
		}
		if _, twice := pairs[name]; twice {
			return nil, fmt.Errorf("sqsx: %s: the name %q appears twice", envEncryptionContext, name)
		}
		pairs[name] = value
	}
	if len(pairs) > 0 {
		inCode := o.EncryptionContext
		o.EncryptionContext = make(map[string]string)
		maps.Copy(o.EncryptionContext, inCode)
		maps.Copy(o.EncryptionContext, pairs)
	}
	return switchesFromEnvironment(env)
}

func (o *Options) cacheFromEnvironment(env map[string]string) error {
	if text, set := env[envReusePeriod]; set {
		period, err := seconds(envReusePeriod, text, minReusePeriod, maxReusePeriod)
		if err != nil {
			return err
		}
		o.Cache.ReusePeriod = period
	}
	switch text := env[envMaxStale]; text {
	case "":
	case "none":
		o.Cache.MaxStale = cache.NoStale
	case "unlimited":
		o.Cache.MaxStale = cache.Unlimited
	default:
		stale, err := seconds(envMaxStale, text, minReusePeriod, math.MaxInt32*time.Second)
		if err != nil {
			return fmt.Errorf("%w, or \"none\", or \"unlimited\"", err)
		}
		o.Cache.MaxStale = stale
	}
	return nil
}

// policyFlag is a setting of a policy that a variable switches on.
type policyFlag struct {
	variable string
	set      func(*Policy)
	warning  string // what it gives up; empty: nothing
}

func policyFlags() []policyFlag {
	return []policyFlag{
		{envAcceptPlaintext, func(p *Policy) { p.AcceptPlaintext = true }, "plaintext is accepted: anyone who may send to the queue can forge a message"},
		{envNoSeal, func(p *Policy) { p.NoSeal = true }, "messages are sent in plaintext"},
		{envBodyCarrier, func(p *Policy) { p.BodyCarrier = true }, ""},
		{envStrictQueue, func(p *Policy) { p.StrictQueue = true }, ""},
		{envNoBinding, func(p *Policy) { p.NoBinding = true }, "messages are bound to no queue, and those of any queue are opened"},
		{envNoHold, func(p *Policy) { p.NoHold = true }, ""},
		{envNoReceiveErrors, func(p *Policy) { p.NoReceiveErrors = true }, ""},
		{envNoDigests, func(p *Policy) { p.NoDigests = true }, ""},
		{envSealAttributes, func(p *Policy) { p.SealAttributes = true }, ""},
		{envCompress, func(p *Policy) { p.Compress = true }, ""},
		{envAcceptUndated, func(p *Policy) { p.AcceptUndated = true }, "messages that were sealed without a time are accepted: anyone who may send to the queue can replay them"},
	}
}

// switchesFromEnvironment reads the lists of queues that variables switch
// settings on for, and what is set for all queues. A policyTable applies them.
func switchesFromEnvironment(env map[string]string) ([]policySwitch, error) {
	var switches []policySwitch
	for _, flag := range policyFlags() {
		for _, text := range list(env[flag.variable]) {
			p, err := parseEnvPattern(text)
			if err != nil {
				return nil, fmt.Errorf("sqsx: %s: %w", flag.variable, err)
			}
			switches = append(switches, policySwitch{p, false, flag.set})
		}
	}
	everywhere, err := awsname.ParsePattern("*")
	if err != nil {
		return nil, err
	}
	if names := list(env[envClearAttributes]); len(names) > 0 {
		if slices.Contains(names, "none") {
			if len(names) > 1 {
				return nil, fmt.Errorf("sqsx: %s has \"none\" beside names: want names of message attributes, or \"none\" alone, which is the empty list", envClearAttributes)
			}
			names = nil
		}
		switches = append(switches, policySwitch{everywhere, true, func(p *Policy) {
			// A new slice: p is a copy, its slice is not. It is not nil although
			// it may be empty, because topics must say that nothing is in clear.
			p.ClearAttributes = append(append([]string{}, p.ClearAttributes...), names...)
		}})
	}
	if text, set := env[envMaxAge]; set {
		age, err := seconds(envMaxAge, text, minMaxAge, math.MaxInt32*time.Second)
		if err != nil {
			return nil, err
		}
		switches = append(switches, policySwitch{everywhere, true, func(p *Policy) { p.MaxAge = age }})
	}
	return switches, nil
}

// parseEnvPattern refuses values such as "true": they would name a queue, and
// the setting would seem to be on.
func parseEnvPattern(text string) (awsname.Pattern, error) {
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "1", "0", "all", "none":
		return awsname.Pattern{}, fmt.Errorf("%q is no queue: want queue names or ARNs; \"*\" means all queues", text)
	}
	return awsname.ParsePattern(text)
}

func seconds(name, text string, least, most time.Duration) (time.Duration, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	d := time.Duration(n) * time.Second
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("sqsx: %s is %.40q, want a whole number of seconds, %d to %d", name, text, least/time.Second, most/time.Second)
	}
	return d, nil
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
