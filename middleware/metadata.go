package middleware

import (
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

type (
	withheldKey struct{}
	infoKey     struct{}
)

// Withheld returns the messages that a successful receive did not deliver, in
// the order of the response, from the ResultMetadata of its output. A receive
// that delivers none fails with a [*ReceiveError] that carries them, unless the
// codec makes it return an empty result (see [Admission]). The slice must not
// be modified.
func Withheld(md smithymiddleware.Metadata) []*OpenError {
	withheld, _ := md.Get(withheldKey{}).([]*OpenError)
	return withheld
}

// InfoOf returns the codec's Info on a delivered message, from the
// ResultMetadata of the output of the receive. It reports false if no message
// of that ID was delivered, or several were, or the codec gave no Info.
func InfoOf(md smithymiddleware.Metadata, messageID string) (any, bool) {
	infos, _ := md.Get(infoKey{}).([]messageInfo)
	var found any
	seen := false
	for _, m := range infos { // few: one response of SQS
		if m.id != messageID {
			continue
		}
		if seen {
			// SQS does not send an ID twice. If anything else does, do not report one
			// message's Info for another.
			return nil, false
		}
		seen, found = true, m.info
	}
	return found, found != nil
}

// messageInfo is the codec's Info on one delivered message.
type messageInfo struct {
	id   string // the message ID of SQS; empty if it is missing
	info any
}

// Delivered is a message that [Middleware.OpenMessages] delivers.
type Delivered struct {
	types.Message
	// Info is the codec's [Opened.Info].
	Info any
}
