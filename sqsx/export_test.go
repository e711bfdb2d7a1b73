package sqsx

import (
	"context"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// FromEnvironment shows what NewFromEnv makes of options and an environment,
// and the policy that it finds for a queue.
func FromEnvironment(o Options, environ []string) (Options, func(arn string) Policy, error) {
	env, err := sealqEnvironment(environ)
	if err != nil {
		return o, nil, err
	}
	switches, err := o.fromEnvironment(env)
	if err != nil {
		return o, nil, err
	}
	kr, err := envelope.NewRawAESKeyring("test", "key", make([]byte, 32))
	if err != nil {
		return o, nil, err
	}
	settings, err := compile(kr, false, o, switches)
	if err != nil {
		return o, nil, err
	}
	return o, func(arn string) Policy {
		q, err := middleware.ParseQueueARN(arn)
		if err != nil {
			panic(err)
		}
		p, err := settings.table.find(q)
		if err != nil {
			panic(err) // of a queue whose account is unknown only
		}
		return p.Policy
	}, nil
}

// HeaderSize and BodySize are the lengths that SealedSize reckons with.
func HeaderSize(ec envelope.EncryptionContext, key envelope.EncryptedDataKey) int {
	return headerSize(ec, 3*lengthSize+len(key.ProviderID)+len(key.ProviderInfo)+len(key.Ciphertext))
}

var BodySize = bodySize

// The range of SEALQ_REUSE_PERIOD.
const (
	MinReusePeriod = minReusePeriod
	MaxReusePeriod = maxReusePeriod
)

// NewMixedSource returns the Source that seals with one of the two and opens
// both.
func NewMixedSource(seals, branch, kms cache.Source) cache.Source {
	return &mixedSource{seals: seals, branch: branch, kms: kms}
}

// CheckAfter asks a Source of NewMixedSource for a queue whose last opened
// message was of that kind.
func CheckAfter(ctx context.Context, mixed cache.Source, last string) error {
	return mixed.(*mixedSource).checkAfter(ctx, nil, last)
}
