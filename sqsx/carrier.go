package sqsx

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/middleware"
)

// A sealed message travels in one of two carriers, described in docs/format.md:
//
//	attribute   header in the Binary attribute "sealq", base64 of the rest in the body
//	body        base64 of the whole message in the body, no attribute
const (
	attributeName = "sealq"
	attributeType = "Binary"

	// crowdedAttributes is the number of the caller's own attributes from which
	// the body carrier is used in any case. SQS allows 10 a message: with 9 and
	// ours, tracing agents that run inside this middleware would have no room and
	// silently drop their context.
	crowdedAttributes = 9
)

// ErrNotSealed is returned for a message that is not sealed, on a queue whose
// policy does not accept plaintext.
var ErrNotSealed = fmt.Errorf("%w: not sealed", envelope.ErrInvalidMessage)

var (
	errPlaintext = advise("install sealq in its producer. Only while producers are being migrated, Policy.AcceptPlaintext (SEALQ_ACCEPT_PLAINTEXT) delivers such messages, and anyone who may send to the queue can then forge one",
		"%w: the body is plaintext", ErrNotSealed)
	errAlreadyOpened = advise("an installed client delivers messages opened: handle them as they are, and give OpenMessages only what arrived by another way",
		"%w: this Sealer has opened the message already", ErrNotSealed)
	errSNSPlain = advise("SNS does not seal: let the publisher seal, by package snsx or Sealer.SealMessage for the topic's ARN, list that in Policy.AcceptTopics here, and set RawMessageDelivery on the subscription",
		"%w: the body is an SNS notification", ErrNotSealed)
	errAttributeLost = advise("let what copies messages copy attributes, too; for OpenMessages receive with MessageAttributeNames \"All\", and in Lambda convert MessageAttributes; or set Policy.BodyCarrier (SEALQ_BODY_CARRIER) on the sender",
		"%w: the body is the second half of a sealed message whose %q attribute was lost on the way", envelope.ErrMalformed, attributeName)
	errRewritten    = fmt.Errorf("%w: the body is a sealed message, or half of one, with something in front of it or in it that is not its own (white space, a quotation mark, an escape): something between sender and receiver rewrites bodies", envelope.ErrMalformed)
	errEncodedAgain = fmt.Errorf("%w: encoded once more", envelope.ErrMalformed)
	errSNSEnvelope  = advise("set RawMessageDelivery on the SNS subscription: notifications are not opened, because the text would not match their signature", "%w: a sealed message inside an SNS notification", envelope.ErrUnsupported)
	errVersion1     = advise("let its producer use a committing algorithm suite", "%w: the body is a version 1 AWS Encryption SDK message, which does not commit to its key", envelope.ErrUnsupported)
	errNotUTF8      = fmt.Errorf("%w: the body is not UTF-8, which SQS does not carry", envelope.ErrMalformed)

	errHeaderEncoded    = fmt.Errorf("%w: the attribute %q holds base64 or hex of the header, and not the header: decode it where the message was copied (Lambda gives binaryValue in base64, and boto3 sends such a text as it is), or set Policy.BodyCarrier on the sender", errEncodedAgain, attributeName)
	errBodyEncodedAgain = advise("let what copies bodies copy them as they are", "%w: the body is a sealed message, or half of one, in base64 of its base64 or in hex: whatever copied it encoded what is text already", errEncodedAgain)
)

// pack returns what to send: m in one of the carriers, and the caller's own
// attributes. The map is new.
func pack(m envelope.Message, attributes map[string]types.MessageAttributeValue, inBody bool) middleware.Content {
	if inBody || len(attributes) >= crowdedAttributes {
		return middleware.Content{Body: base64.StdEncoding.EncodeToString(m.Bytes()), Attributes: maps.Clone(attributes)}
	}
	all := make(map[string]types.MessageAttributeValue, len(attributes)+1)
	maps.Copy(all, attributes)
	all[attributeName] = types.MessageAttributeValue{DataType: aws.String(attributeType), BinaryValue: m.Header}
	return middleware.Content{Body: base64.StdEncoding.EncodeToString(m.Body), Attributes: all}
}

// carried is a sealed message as it arrived in its carrier.
type carried struct {
	envelope.Message      // in one piece, all of it is in Header
	inOnePiece       bool // it came in the body carrier
}

func (c carried) open(ctx context.Context, kr envelope.Keyring, accept func(envelope.EncryptionContext) error) (envelope.Opened, error) {
	if c.inOnePiece {
		return envelope.OpenBytes(ctx, kr, c.Header, accept)
	}
	return envelope.Open(ctx, kr, c.Message, accept)
}

// unpack returns the sealed message that m carries. ok is false if m is
// plaintext. An error means that m is sealed, but not as it should be.
func unpack(m *types.Message) (sealed carried, ok bool, err error) {
	body := aws.ToString(m.Body)
	if header, exists := m.MessageAttributes[attributeName]; exists {
		sealed.Message, err = unpackAttribute(header, body)
		return sealed, true, err
	}
	switch formOf(body, 0) {
	case plain:
		return sealed, false, nil
	case whole:
		sealed.Header, err = decodeBase64(body)
		sealed.inOnePiece = true
	case half:
		err = errAttributeLost
	case rewritten:
		err = errRewritten
	case encodedAgain:
		err = errBodyEncodedAgain
	case version1:
		err = errVersion1
	case inSNS:
		err = errSNSEnvelope
	case notUTF8:
		err = errNotUTF8
	}
	return sealed, true, err
}

// unpackAttribute joins the two halves. The attribute decides: whatever its
// type, its presence says that the message is sealed.
func unpackAttribute(header types.MessageAttributeValue, body string) (envelope.Message, error) {
	if aws.ToString(header.DataType) != attributeType {
		return envelope.Message{}, wrongType(header)
	}
	if b := header.BinaryValue; len(b) > 0 && b[0] != formatVersion && isEncodedHeader(b) {
		return envelope.Message{}, errHeaderEncoded
	}
	rest, err := decodeBase64(body)
	if (err != nil || !beginsFrames(rest)) && isEncodedBody(body, rest) {
		return envelope.Message{}, errBodyEncodedAgain
	}
	if err != nil {
		return envelope.Message{}, err
	}
	return envelope.Message{Header: header.BinaryValue, Body: rest}, nil
}

// formatVersion is the first byte of a header. Text does not begin with it.
const formatVersion = 2

// wrongType is the error of an attribute that is not Binary.
func wrongType(header types.MessageAttributeValue) error {
	t := aws.ToString(header.DataType)
	if isEncodedHeader([]byte(aws.ToString(header.StringValue))) {
		return fmt.Errorf("%w: the attribute %q has type %.40q and holds base64 or hex of the header, want type %q and the header itself: decode it where the message was copied", errEncodedAgain, attributeName, t, attributeType)
	}
	return fmt.Errorf("%w: the attribute %q has type %.40q, want %q: let what copied the message keep the types of attributes", envelope.ErrMalformed, attributeName, t, attributeType)
}

// beginsFrames reports whether b may be what follows a header: it begins with a
// frame number of less than three bytes, with the mark of a final frame, or
// with the IV of a single block. Text does not.
func beginsFrames(b []byte) bool { return len(b) > 0 && (b[0] == 0 || b[0] == 0xff) }

// strictBase64 refuses a last character whose padding bits are not zero.
var strictBase64 = base64.StdEncoding.Strict()

// decodeBase64 accepts only the canonical encoding of the bytes.
func decodeBase64(s string) ([]byte, error) {
	// The package skips newlines even if it is strict.
	// Two searches for a byte take a tenth of the time of one ContainsAny.
	if strings.Contains(s, "\r") || strings.Contains(s, "\n") {
		return nil, fmt.Errorf("%w: the body holds line breaks, want base64 without any", envelope.ErrMalformed)
	}
	b, err := strictBase64.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: the body is not padded standard base64", envelope.ErrMalformed)
	}
	return b, nil
}
