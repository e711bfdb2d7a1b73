package middleware

import smithymiddleware "github.com/aws/smithy-go/middleware"

type (
	withheldKey struct{}
	infoKey     struct{}
)

// Withheld returns the messages that a successful receive did not deliver, in
// the order of the response, from the ResultMetadata of its output. A receive
// that delivers none fails, by a [*ReceiveError] that carries them instead, unless
// the codec has it return an empty result (see [Admission]). The slice must not be
// modified.
func Withheld(md smithymiddleware.Metadata) []*OpenError {
	withheld, _ := md.Get(withheldKey{}).([]*OpenError)
	return withheld
}

// InfoOf returns what the codec told about a delivered message, from the
// ResultMetadata of the output of the receive. It reports false if no message
// of that ID was delivered, or several were, or the codec told nothing.
func InfoOf(md smithymiddleware.Metadata, messageID string) (any, bool) {
	infos, _ := md.Get(infoKey{}).(map[string]any)
	info := infos[messageID]
	return info, info != nil
}
