package sealq_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// The writer below follows docs/format.md and shares nothing with the module:
// if it can be written from the document, so can another implementation.

const (
	writerQueue     = "arn:aws:sqs:eu-central-1:111122223333:orders"
	writerNamespace = "example"
	writerName      = "writer"
)

var writerKey = bytes.Repeat([]byte{7}, 32)

func gcm(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

func counted(b []byte, fields ...string) []byte {
	for _, f := range fields {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(f))), f...)
	}
	return b
}

// written returns header and body of a message. spoil may change the commitment
// before the header tag is computed over it.
func written(t *testing.T, plaintext string, spoil func(commitment []byte)) (header, body []byte) {
	t.Helper()
	dataKey, messageID, wrapIV := make([]byte, 32), make([]byte, 32), make([]byte, 12)
	for _, b := range [][]byte{dataKey, messageID, wrapIV} {
		rand.Read(b)
	}
	context := counted([]byte{0, 1}, "sealq:queue", writerQueue)
	info := append([]byte(writerName), 0, 0, 0, 128, 0, 0, 0, 12)
	info = append(info, wrapIV...)
	wrapped := gcm(t, writerKey).Seal(nil, wrapIV, dataKey, context)

	prk, err := hkdf.Extract(sha512.New, dataKey, messageID)
	if err != nil {
		t.Fatal(err)
	}
	messageKey, err := hkdf.Expand(sha512.New, prk, "\x04\x78DERIVEKEY", 32)
	if err != nil {
		t.Fatal(err)
	}
	commitment, err := hkdf.Expand(sha512.New, prk, "COMMITKEY", 32)
	if err != nil {
		t.Fatal(err)
	}
	spoil(commitment)
	aead := gcm(t, messageKey)

	header = append([]byte{2, 0x04, 0x78}, messageID...)
	header = counted(header, string(context))
	header = counted(append(header, 0, 1), writerNamespace, string(info), string(wrapped))
	header = append(header, 2, 0, 0x10, 0, 0) // framed, 1 MiB
	header = append(header, commitment...)
	header = aead.Seal(header, make([]byte, 12), nil, header)

	iv := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	aad := append(bytes.Clone(messageID), "AWSKMSEncryptionClient Final Frame\x00\x00\x00\x01"...)
	aad = binary.BigEndian.AppendUint64(aad, uint64(len(plaintext)))
	body = append([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1}, iv...)
	body = binary.BigEndian.AppendUint32(body, uint32(len(plaintext)))
	return header, aead.Seal(body, iv, []byte(plaintext), aad)
}

func writerSealer(t *testing.T, optFns ...func(*sqsx.Options)) *sqsx.Sealer {
	t.Helper()
	kr, err := envelope.NewRawAESKeyring(writerNamespace, writerName, writerKey)
	if err != nil {
		t.Fatal(err)
	}
	quiet := func(o *sqsx.Options) { o.Logger = slog.New(slog.DiscardHandler) }
	sealer, err := sqsx.New(kr, append([]func(*sqsx.Options){quiet}, optFns...)...)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// carriers returns one message in both.
func carriers(header, body []byte) []types.Message {
	rest := base64.StdEncoding.EncodeToString(body)
	whole := base64.StdEncoding.EncodeToString(append(bytes.Clone(header), body...))
	return []types.Message{
		{
			MessageId:         aws.String("attribute carrier"),
			Body:              &rest,
			MessageAttributes: map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("Binary"), BinaryValue: header}},
		},
		{MessageId: aws.String("body carrier"), Body: &whole},
	}
}

func TestFormatIsEnoughForAWriter(t *testing.T) {
	t.Parallel()
	messages := carriers(written(t, "written by the document", func([]byte) {}))
	opened, withheld := writerSealer(t).OpenMessages(t.Context(), writerQueue, messages)
	for _, w := range withheld {
		t.Error(w)
	}
	for _, m := range opened {
		if *m.Body != "written by the document" || m.MessageAttributes != nil {
			t.Errorf("%s: got %q with attributes %v", *m.MessageId, *m.Body, m.MessageAttributes)
		}
	}
}

// TestFormatKeyCommitment has a writer who holds the data key, and so can make
// the header tag right, commit to something else: the first half of a message
// that opens to two plaintexts under two keys.
func TestFormatKeyCommitment(t *testing.T) {
	t.Parallel()
	for i := range 32 {
		messages := carriers(written(t, "committed to another key", func(commitment []byte) { commitment[i] ^= 0x80 }))
		opened, withheld := writerSealer(t).OpenMessages(t.Context(), writerQueue, messages)
		if len(opened) != 0 || len(withheld) != 2 {
			t.Fatalf("byte %d: got %d opened and %d withheld, want 0 and 2", i, len(opened), len(withheld))
		}
		for _, w := range withheld {
			if !errors.Is(w, envelope.ErrAuthentication) {
				t.Errorf("byte %d: got %v, want ErrAuthentication", i, w)
			}
		}
	}
}

// TestFormatSizes computes the sizes of sealed messages by the formulas of
// docs/format.md.
func TestFormatSizes(t *testing.T) {
	t.Parallel()
	context := 2 + 4 + len("sealq:queue") + len(writerQueue)
	keys := 6 + len(writerNamespace) + len(writerName) + 4 + 4 + 12 + 32 + 16
	header := 92 + context + keys
	base64Of := func(n int) int { return 4 * ((n + 2) / 3) }
	for _, inBody := range []bool{false, true} {
		sealer := writerSealer(t, func(o *sqsx.Options) { o.Policy.BodyCarrier = inBody })
		for _, n := range []int{1, 2, 3, 1000, 700 << 10} {
			sealed, err := sealer.SealMessage(t.Context(), writerQueue, &sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", n))})
			if err != nil {
				t.Fatal(err)
			}
			got, want := len(*sealed.MessageBody), base64Of(header+n+40)
			for name, v := range sealed.MessageAttributes {
				got += len(name) + len(*v.DataType) + len(v.BinaryValue)
			}
			if !inBody {
				want = 5 + 6 + header + base64Of(n+40)
			}
			if got != want {
				t.Errorf("%d bytes of plaintext, body carrier %v: got %d bytes, want %d", n, inBody, got, want)
			}
		}
	}
}
