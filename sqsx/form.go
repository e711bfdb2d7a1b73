package sqsx

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/envelope"
)

// This file recognises bodies that are not sealed correctly: sealed twice,
// encoded again by a program that copied them, or wrapped. Senders refuse such
// bodies, and readers name the cause.

// sealedAlready returns an error for a send whose body a reader would not
// accept as plaintext, and nil for others. Such a body is a sealed message or a
// part of one: if it were sealed again, the consumer would get ciphertext.
func sealedAlready(body string) error {
	var what string
	switch formOf(body, 0) {
	case plain:
		return nil
	case whole:
		what = "is a sealed message"
		if !isMessage(body) {
			what = "begins like a sealed message, though it is none that opens"
		}
	case half:
		what = "is the second half of a sealed message, without its attribute \"" + attributeName + "\""
	case rewritten:
		what = "is a sealed message, or half of one, with something in front of it or in it"
	case encodedAgain:
		what = "is a sealed message, or half of one, that was encoded once more"
	case version1:
		what = "is a version 1 AWS Encryption SDK message"
	case inSNS:
		what = "is an SNS notification of a sealed message"
	case notUTF8:
		what = "may be an SNS notification of a sealed message (it is not UTF-8, and was not read)"
	}
	return &smithy.GenericAPIError{
		Code:    "InvalidParameterValue",
		Message: "the body " + what + ": if it were sealed again, its consumer would get ciphertext; send on what was received as it was received, body and attributes, with a client that has no Sealer",
		Fault:   smithy.FaultClient,
	}
}

// isMessage reports whether body is a message in the body carrier, by its
// header.
func isMessage(body string) bool {
	message, err := decodeBase64(body)
	if err != nil {
		return false
	}
	_, err = envelope.Split(message)
	return err == nil
}

// form is what a body is, by its beginning. Sends and receives use it alike: a
// body that is not plain is never sealed, and never accepted as plaintext.
type form int

const (
	plain        form = iota
	whole             // base64 of a message, in the body carrier; only its beginning is checked
	half              // the same of what follows the header, in the attribute carrier
	rewritten         // one of these, with more in front or in between
	encodedAgain      // base64 of the base64 of one of these, or hex
	version1          // base64 of a version 1 AWS Encryption SDK message
	inSNS             // an SNS notification of one of these
	notUTF8           // maybe an SNS notification; cannot have come through SQS
)

// Beginnings of base64 that are never plaintext.
const (
	// Version 2 and algorithm suite 0x0478 or 0x0578. beginsHeader checks what
	// follows.
	bodyPrefix0478 = "AgR4"
	bodyPrefix0578 = "AgV4"
	// The final-frame mark and sequence number 1: the rest of a message of one
	// frame, as sealq writes it, without its header.
	lonePrefixFinal = "/////wAAAAE"
)

// formOf recognises what body is. depth is the number of SNS notifications
// around it.
func formOf(body string, depth int) form {
	var buf [beginningSize]byte
	text := strings.TrimLeft(body, wrapping)
	start := beginning(buf[:0], text)
	switch found := formOfBase64(start); {
	case found == whole && (strings.HasPrefix(body, bodyPrefix0478) || strings.HasPrefix(body, bodyPrefix0578)),
		found == half && strings.HasPrefix(body, lonePrefixFinal),
		found == version1:
		return found
	case found != plain:
		return rewritten
	case isEncodedAgain(start), isHex(text):
		return encodedAgain
	}
	return formOfSNS(text, depth)
}

// formOfBase64 returns whole, half, version1 or plain for the beginning of
// base64.
func formOfBase64(start []byte) form {
	switch {
	case bytes.HasPrefix(start, []byte(bodyPrefix0478)), bytes.HasPrefix(start, []byte(bodyPrefix0578)):
		if beginsHeader(start) {
			return whole
		}
	case bytes.HasPrefix(start, []byte(lonePrefixFinal)):
		return half
	case isVersion1(start):
		return version1
	}
	return plain
}

// headerBeginning is the number of bytes at the beginning of a header that
// beginsHeader looks at: version 1, suite 2, message ID 32, context length 2,
// pair count 2, length of the first name 2, and one more.
const headerBeginning = 42

// beginsHeader reports whether base64 that begins with a version and a suite of
// ours can be the beginning of a message. It accepts one in about 45,000 random
// texts with such a beginning, so that base64 of random bytes is mistaken for a
// message less than once in 10^11 times, instead of once in 8 million.
//
// It checks the three lengths only: a message that was altered anywhere else is
// still recognised. Anyone who alters the lengths on purpose could also send
// any other text. A body shorter than the checked bytes holds no ciphertext.
func beginsHeader(start []byte) bool {
	var b [headerBeginning]byte
	if len(start) < base64.StdEncoding.EncodedLen(headerBeginning) {
		return false
	}
	if _, err := base64.StdEncoding.Decode(b[:], start[:base64.StdEncoding.EncodedLen(headerBeginning)]); err != nil {
		return true // padding in the middle: it may still be one
	}
	size, pairs, name := at16(b[35:]), at16(b[37:]), at16(b[39:])
	if size == 0 { // what follows is the count of data keys
		return b[1] == 4 // a signed message has at least its public key
	}
	const pair = 2 + 2 // two lengths
	return size <= maxContextField && 1 <= pairs && pairs <= maxContextFieldPairs && 2+pairs*pair+name <= size
}

// Limits of envelope on a context, with the public key of a signed message.
const (
	maxContextField      = 8192 + 93
	maxContextFieldPairs = 128 + 1
)

func at16(b []byte) int { return int(b[0])<<8 | int(b[1]) }

// beginningSize is the number of characters of base64 that beginning returns:
// enough to look at headerBeginning bytes through one more base64.
const beginningSize = (headerBeginning+2)/3*4/3*4 + 4

// beginning appends to dst the characters of base64 that body, without its
// wrapping, begins with, at most beginningSize. It undoes printing, line
// wrapping, escaping and decoding as a form, and writes both alphabets of
// base64 as the standard one.
func beginning(dst []byte, body string) []byte {
	if len(body) > 2 && body[0] == 'b' && (body[1] == '\'' || body[1] == '"') { // as Python prints bytes
		body = body[2:]
	}
	for i := 0; i < len(body) && len(dst) < beginningSize; i++ {
		switch c := body[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/', c == '=':
			dst = append(dst, c)
		case c == '-', c == ' ': // URL-safe, or a plus sign decoded as in a form
			dst = append(dst, '+')
		case c == '_':
			dst = append(dst, '/')
		case c == '\r', c == '\n', c == '\t', c == '\\': // the last as in JSON, before a slash
		case c == '%' && len(body)-i > 2 && strings.EqualFold(body[i+1:i+3], "2b"):
			dst = append(dst, '+')
			i += 2
		case c == '%' && len(body)-i > 2 && strings.EqualFold(body[i+1:i+3], "2f"):
			dst = append(dst, '/')
			i += 2
		default:
			return dst
		}
	}
	return dst
}

// wrapping is what tools write in front of a body that they quote, print or
// save: white space, a quotation mark, one that is escaped, a byte order mark.
const wrapping = " \t\r\n\"'\\\ufeff"

// isEncodedAgain reports whether base64 begins with base64 of a sealed message.
func isEncodedAgain(start []byte) bool {
	var inner, buf [beginningSize]byte
	n, _ := base64.StdEncoding.Decode(inner[:], start[:len(start)/4*4]) // as far as it is base64
	return formOfBase64(beginning(buf[:0], string(inner[:n]))) != plain
}

// isHex reports whether body, without its wrapping, begins with hex of a sealed
// message.
func isHex(body string) bool {
	if body == "" || body[0] != '0' && body[0] != 'f' && body[0] != 'F' {
		return false // neither a version nor a frame mark
	}
	var b [headerBeginning]byte
	n, _ := hex.Decode(b[:], []byte(body[:min(len(body), 2*len(b))])) // as far as it is hex
	var start [beginningSize]byte
	base64.StdEncoding.Encode(start[:], b[:n])
	return formOfBase64(start[:base64.StdEncoding.EncodedLen(n)]) != plain
}

// isEncodedBody reports whether body, or rest, which is body decoded once,
// begins with what follows a header in hex or in base64.
func isEncodedBody(body string, rest []byte) bool {
	return isHex(strings.TrimLeft(body, wrapping)) || bytes.HasPrefix(rest, []byte(lonePrefixFinal))
}

// isEncodedHeader reports whether b is text that begins with base64 of a
// header, base64 of that again, or hex.
func isEncodedHeader(b []byte) bool {
	var buf [beginningSize]byte
	text := strings.TrimLeft(string(b[:min(len(b), 4*beginningSize)]), wrapping)
	start := beginning(buf[:0], text)
	return formOfBase64(start) == whole || isEncodedAgain(start) || isHex(text)
}

// isVersion1 recognises base64 of a version 1 message header by its version,
// its type 0x80 and a suite of that version. The rest may differ from base64 as
// sealq writes it: other producers break its lines or leave out the padding.
func isVersion1(start []byte) bool {
	if len(start) < 8 || !bytes.HasPrefix(start, []byte("AY")) { // base64 of 01 80
		return false
	}
	var head [6]byte
	_, err := base64.StdEncoding.Decode(head[:], start[:8])
	return err == nil && head[0] == 1 && head[1] == 0x80 && isVersion1Suite(head[2], head[3])
}

// isVersion1Suite reports whether the two bytes are an algorithm suite of
// message format version 1. Package envelope has the list: it calls a header of
// that version unsupported if its suite is in it, and otherwise malformed.
func isVersion1Suite(high, low byte) bool {
	// Version, type, suite, message ID 16, no context, one encrypted data key
	// with empty fields, framed, reserved 4, length of the IV, frame length 4,
	// IV, tag 16.
	header := [4 + 16 + 2 + 2 + 3*2 + 1 + 4 + 1 + 4 + 12 + 16]byte{0: 1, 1: 0x80, 2: high, 3: low, 23: 1, 30: 2, 35: 12}
	_, err := envelope.ParseHeader(header[:])
	return errors.Is(err, envelope.ErrUnsupported)
}

// maxSNSDepth bounds how many nested notifications are parsed: the work on one
// body is at most that many times parsing it once. A topic that gets messages
// of another topic makes 2.
const maxSNSDepth = 3

// formOfSNS recognises the JSON that SNS wraps around a message when raw
// delivery is off, if what it wraps was sealed. body is without its wrapping.
// Deeper nesting counts as sealed: otherwise it would be a way to have
// ciphertext delivered as a body.
func formOfSNS(body string, depth int) form {
	if !strings.HasPrefix(body, "{") || !hasNotification(body) {
		return plain
	}
	if depth == maxSNSDepth {
		return inSNS
	}
	// The parser would replace each byte that is not UTF-8 by three, and more than
	// once. SQS carries UTF-8 only, so that no real body is lost.
	if !utf8.ValidString(body) {
		return notUTF8
	}
	var notification struct {
		Type              string
		Message           string
		MessageAttributes struct { // no map: the sender would choose its size
			Sealq json.RawMessage `json:"sealq"` // the name is attributeName
		}
	}
	err := json.Unmarshal([]byte(body), &notification)
	_, oddType := errors.AsType[*json.UnmarshalTypeError](err)
	if err != nil && !oddType || notification.Type != "Notification" {
		return plain
	}
	// A field of another type than SNS writes is left out; the others are parsed.
	if notification.MessageAttributes.Sealq != nil || oddType && strings.Contains(body, `"`+attributeName+`"`) {
		return inSNS
	}
	if formOf(notification.Message, depth+1) != plain {
		return inSNS
	}
	return plain
}

// hasNotification reports whether body contains "Notification" with its
// quotation marks. Senders call it for every JSON object: a search for the N
// first takes a twentieth of the time of one for a quotation mark.
func hasNotification(body string) bool {
	const end = `Notification"`
	for {
		i := strings.Index(body, end)
		if i < 0 {
			return false
		}
		if i > 0 && body[i-1] == '"' {
			return true
		}
		body = body[i+len(end):]
	}
}
