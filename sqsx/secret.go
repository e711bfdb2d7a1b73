package sqsx

import "fmt"

// Secret is key material in [Options]. It is written as a []byte, and fmt and
// log/slog always print it as fixed text, so that options in a log do not
// reveal it. Two things still print as bytes: a copy converted to []byte, and a
// Secret in an unexported field, for which fmt calls no method.
type Secret []byte

const redactedSecret = "sqsx.Secret(redacted)"

// Format implements [fmt.Formatter] with a fixed text, and "<nil>" for nil.
func (s Secret) Format(state fmt.State, _ rune) {
	if s == nil {
		fmt.Fprint(state, "<nil>")
		return
	}
	fmt.Fprint(state, redactedSecret)
}

// MarshalText implements [encoding.TextMarshaler], and so JSON and slog, with
// the same fixed text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redactedSecret), nil }
