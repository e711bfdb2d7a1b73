// Package keytrace lets a keyring tell which of its wrapping keys the key
// service answered about, where what it returns does not say. It goes by the
// context, as net/http/httptrace does, so that it passes through keyrings of
// keyrings.
package keytrace

import "context"

// Func is told that the key service was asked whether this process may decrypt
// under the wrapping key that messages name keyInfo (their ProviderInfo): err
// is nil for a yes, and else why not. It is called from any goroutine.
type Func func(keyInfo string, err error)

type contextKey struct{}

// With returns a context whose holders report to f.
func With(ctx context.Context, f Func) context.Context {
	return context.WithValue(ctx, contextKey{}, f)
}

// Checked reports an answer to whoever made ctx, if anyone wants it. A keyring
// that does not know how messages name the key reports nothing, nor does one
// whose question was cut short by the end of ctx.
func Checked(ctx context.Context, keyInfo string, err error) {
	if f, ok := ctx.Value(contextKey{}).(Func); ok && keyInfo != "" && ctx.Err() == nil {
		f(keyInfo, err)
	}
}
