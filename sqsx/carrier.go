package sqsx

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
)

// A sealed message travels in one of two carriers, described in docs/format.md:
//
//	attribute   header in the Binary attribute "sealq", base64 of the rest in the body
//	body        base64 of the whole message in the body, no attribute
const (
	attributeName = "sealq"
	attributeType = "Binary"

	// crowdedAttributes is the number of the caller's own attributes from which
	// the body carrier is used unasked. SQS allows 10 a message: with 9 and
	// ours, tracing agents that run inside this middleware would find no room
	// and drop their context without a word.
	crowdedAttributes = 9
)

// Beginnings of bodies that are never plaintext.
const (
	// Base64 of version 2 and algorithm suite 0x0478 or 0x0578: a whole message.
	bodyPrefix0478 = "AgR4"
	bodyPrefix0578 = "AgV4"
	// Base64 of the final-frame mark and sequence number 1: the rest of a
	// message of one frame, as sealq writes it, without its header.
	lonePrefixFinal = "/////wAAAAE"
)

// ErrNotSealed reports a message that is not sealed, on a queue whose policy
// does not accept plaintext.
var ErrNotSealed = fmt.Errorf("%w: not sealed", envelope.ErrInvalidMessage)

var (
	errPlaintext = advise("install sealq in its producer. Only while producers are being migrated, Policy.AcceptPlaintext (SEALQ_ACCEPT_PLAINTEXT) delivers such messages, and anyone who may send to the queue can then forge one",
		"%w: the body is plaintext", ErrNotSealed)
	errAlreadyOpened = advise("an installed client delivers messages opened: handle them as they are, and give OpenMessages only what arrived by another way",
		"%w: this Sealer has opened the message already", ErrNotSealed)
	errSNSPlain = advise("SNS does not seal: seal in the publisher, by Sealer.SealMessage for this queue, publish the body and the attributes that it returns, and set RawMessageDelivery on the subscription",
		"%w: the body is an SNS notification", ErrNotSealed)
	errAttributeLost = advise("let what copies messages copy attributes, too; for OpenMessages receive with MessageAttributeNames \"All\", and in Lambda convert MessageAttributes; or set Policy.BodyCarrier (SEALQ_BODY_CARRIER) on the sender",
		"%w: the body is the second half of a sealed message whose %q attribute was lost on the way", envelope.ErrMalformed, attributeName)
	errWrapped     = fmt.Errorf("%w: the body is a sealed message with white space or a quotation mark in front of it: something between sender and receiver rewrites bodies", envelope.ErrMalformed)
	errSNSEnvelope = advise("set RawMessageDelivery on the SNS subscription", "%w: a sealed message inside an SNS notification", envelope.ErrUnsupported)
	errVersion1    = advise("let its producer use a committing algorithm suite", "%w: the body is a version 1 AWS Encryption SDK message, which does not commit to its key", envelope.ErrUnsupported)
)

// sealedPart returns the sealed message that m carries. ok is false if m is
// plaintext. An error means that m is sealed, but not as it should be.
func sealedPart(m *types.Message) (msg envelope.Message, ok bool, err error) {
	body := aws.ToString(m.Body)
	if header, exists := m.MessageAttributes[attributeName]; exists {
		msg, err = fromAttribute(header, body)
		return msg, true, err
	}
	return sealedInBody(body, 0)
}

// sealedInBody is sealedPart for a message without our attribute. depth is the number
// of SNS notifications around body.
func sealedInBody(body string, depth int) (msg envelope.Message, ok bool, err error) {
	if bare := strings.TrimLeft(body, wrapping); len(bare) < len(body) && beginsSealed(bare) {
		return msg, true, errWrapped
	}
	switch {
	case strings.HasPrefix(body, bodyPrefix0478), strings.HasPrefix(body, bodyPrefix0578):
		msg, err = fromBody(body)
		return msg, true, err
	case strings.HasPrefix(body, lonePrefixFinal):
		return msg, true, errAttributeLost
	case isVersion1(body):
		return msg, true, errVersion1
	case isSealedInSNS(body, depth):
		return msg, true, errSNSEnvelope
	}
	return msg, false, nil
}

// isSealedBody reports whether a body that somebody wants sealed is a whole
// message already, as SealMessage made it or a tool has moved it. Its beginning
// alone does not tell: other base64 may begin alike.
func isSealedBody(body string) bool {
	if !strings.HasPrefix(body, bodyPrefix0478) && !strings.HasPrefix(body, bodyPrefix0578) {
		return false
	}
	_, err := fromBody(body)
	return err == nil
}

// wrapping is what tools put in front of a body that they quote, print or save:
// white space, a quotation mark of JSON, a byte order mark.
const wrapping = " \t\r\n\"\ufeff"

// beginsSealed recognises a sealed body, or a half of one, by its beginning.
func beginsSealed(body string) bool {
	return strings.HasPrefix(body, bodyPrefix0478) || strings.HasPrefix(body, bodyPrefix0578) ||
		strings.HasPrefix(body, lonePrefixFinal) || isVersion1(body)
}

// fromAttribute joins the two halves. The attribute decides: whatever its
// type, its presence says that the message is sealed.
func fromAttribute(header types.MessageAttributeValue, body string) (envelope.Message, error) {
	if t := aws.ToString(header.DataType); t != attributeType {
		return envelope.Message{}, fmt.Errorf("%w: the attribute %q has type %.40q, want %q", envelope.ErrMalformed, attributeName, t, attributeType)
	}
	rest, err := decodeBase64(body)
	if err != nil {
		return envelope.Message{}, err
	}
	return envelope.Message{Header: header.BinaryValue, Body: rest}, nil
}

func fromBody(body string) (envelope.Message, error) {
	whole, err := decodeBase64(body)
	if err != nil {
		return envelope.Message{}, err
	}
	return envelope.Split(whole)
}

// decodeBase64 accepts exactly one spelling of the bytes.
func decodeBase64(s string) ([]byte, error) {
	// Strict covers the padding bits, but the package skips newlines even then.
	// Two searches for a byte take a tenth of the time of one ContainsAny.
	if strings.Contains(s, "\r") || strings.Contains(s, "\n") {
		return nil, fmt.Errorf("%w: the body holds line breaks, want base64 without any", envelope.ErrMalformed)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: the body is not padded standard base64", envelope.ErrMalformed)
	}
	return b, nil
}

// version1Suites are the algorithm suites of message format version 1 (AWS
// Encryption SDK Developer Guide, algorithms reference).
var version1Suites = []uint16{0x0014, 0x0046, 0x0078, 0x0114, 0x0146, 0x0178, 0x0214, 0x0346, 0x0378}

// isVersion1 recognises base64 of a version 1 message header by its version, its
// type 0x80 and a suite of that version. What follows need not be base64 as we
// write it: other producers break its lines or leave out the padding.
func isVersion1(body string) bool {
	if len(body) < 8 || !strings.HasPrefix(body, "AY") { // base64 of 01 80
		return false
	}
	head, err := base64.StdEncoding.DecodeString(body[:8])
	return err == nil && head[0] == 1 && head[1] == 0x80 && slices.Contains(version1Suites, uint16(head[2])<<8|uint16(head[3]))
}

// maxSNSDepth bounds how many notifications inside one another are looked into:
// the work on one body is so many times that of parsing it once. A topic that
// is fed from another topic makes 2.
const maxSNSDepth = 3

// isSealedInSNS recognises the JSON that SNS wraps around a message when raw
// delivery is off, if what it wraps was sealed. Deeper nesting than there is in
// practice counts as sealed: it must not become a way to have ciphertext
// delivered as a body.
func isSealedInSNS(body string, depth int) bool {
	body = strings.TrimLeft(body, wrapping)
	if !strings.HasPrefix(body, "{") || !strings.Contains(body, "Notification") {
		return false
	}
	if depth == maxSNSDepth {
		return true
	}
	var notification struct {
		Type              string
		Message           string
		MessageAttributes struct { // no map: its size would be the sender's to choose
			Sealq json.RawMessage `json:"sealq"` // the name is attributeName
		}
	}
	err := json.Unmarshal([]byte(body), &notification)
	_, oddType := errors.AsType[*json.UnmarshalTypeError](err)
	if err != nil && !oddType || notification.Type != "Notification" {
		return false
	}
	// A field of another type than SNS writes is left out; the rest is there.
	if notification.MessageAttributes.Sealq != nil || oddType && strings.Contains(body, `"`+attributeName+`"`) {
		return true
	}
	_, sealed, _ := sealedInBody(notification.Message, depth+1)
	return sealed
}
