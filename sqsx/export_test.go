package sqsx

// FromEnvironment shows what NewFromEnv makes of options and an environment.
func FromEnvironment(o Options, environ []string) (Options, error) {
	env, err := sealqEnvironment(environ)
	if err != nil {
		return o, err
	}
	err = o.fromEnvironment(env)
	return o, err
}

// HeaderSize and BodySize are the lengths that SealedSize reckons with.
var (
	HeaderSize = headerSize
	BodySize   = bodySize
)

// The range of SEALQ_REUSE_PERIOD.
const (
	MinReusePeriod = minReusePeriod
	MaxReusePeriod = maxReusePeriod
)
