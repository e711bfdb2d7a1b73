package kmskeyring

import (
	"testing"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Tuner returns what a fresh keyring makes of a KMS client's HTTP client.
func Tuner(testing.TB) func(kms.HTTPClient) kms.HTTPClient {
	k := new(Keyring)
	return func(theirs kms.HTTPClient) kms.HTTPClient {
		o := kms.Options{HTTPClient: theirs}
		k.tune(&o, "")
		return o.HTTPClient
	}
}

// Suspend makes the clock of k's alias that of a machine that was suspended for
// d: the wall clock has gone on, the monotonic clock has not.
func Suspend(k *Keyring, d time.Duration) {
	k.resolver.now = func() time.Time {
		now := time.Now()
		// The first word of a Time with a monotonic reading holds the seconds of
		// the wall clock above 30 bits of nanoseconds.
		words := (*[3]int64)(unsafe.Pointer(&now))
		words[0] += int64(d/time.Second) << 30
		return now
	}
}
