// Package keytrace lets a keyring report which of its wrapping keys the key
// service answered about, if its result does not say so. Like
// net/http/httptrace it uses the context, so that it passes through keyrings of
// keyrings.
package keytrace

import (
	"context"
	"time"
)

// Func is called when the key service was asked whether this process may
// decrypt under the wrapping key that messages name keyInfo (their
// ProviderInfo). err is nil for a yes, and otherwise says why not. It is called
// from any goroutine.
type Func func(keyInfo string, err error)

type contextKey struct{}

// With returns a context whose holders report to f.
func With(ctx context.Context, f Func) context.Context {
	return context.WithValue(ctx, contextKey{}, f)
}

// Checked reports an answer to the Func of ctx, if it has one. A keyring
// reports nothing if it does not know how messages name the key, or if the end
// of ctx ended its question.
func Checked(ctx context.Context, keyInfo string, err error) {
	if f, ok := ctx.Value(contextKey{}).(Func); ok && keyInfo != "" && ctx.Err() == nil {
		f(keyInfo, err)
	}
}

type usedKey struct{}

// WithUsed returns a context that says when messages last opened beside the
// cache that is asked: by a data key that another cache holds. The cache then
// does not let messages wait for a key service that does not answer.
func WithUsed(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, usedKey{}, at)
}

// Used returns that time, or zero.
func Used(ctx context.Context) time.Time {
	at, _ := ctx.Value(usedKey{}).(time.Time)
	return at
}
