package envelope

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Message is a sealed message in two parts, which a carrier may carry apart.
// One after the other they are one message of the AWS Encryption SDK message
// format. Every byte of both is authenticated.
type Message struct {
	// Header is the whole header, its tag included: what [ParseHeader] parses.
	// Its size does not depend on the plaintext's.
	Header []byte
	// Body is all that follows the header: the frames, or the one block, and the
	// footer of a signed message.
	Body []byte
}

// Bytes returns the whole message, in memory of its own.
func (m Message) Bytes() []byte { return slices.Concat(m.Header, m.Body) }

// Opened is what a message held.
type Opened struct {
	// Plaintext is the caller's to keep and change. It is never nil.
	Plaintext []byte
	// EncryptionContext is the message's authenticated context, without the
	// public key of a signed message. It is never nil.
	EncryptionContext EncryptionContext
	// Key is the encrypted data key that opened the message.
	Key EncryptedDataKey
	// MessageID is the [Header.MessageID] of the message, authenticated: 32 random
	// bytes that name what one call of [Seal] returned, and every copy of that.
	MessageID [32]byte
}

// Seal encrypts plaintext, which may be empty, under a data key of kr's, bound
// to ec. It writes algorithm suite 0x0478 and frames of 1 MiB, and nothing
// else.
//
// ec must be valid UTF-8 with no empty key or value and no key that starts with
// "aws-crypto-", at most 128 pairs and 8,192 bytes. That is checked before kr
// is asked. An error of kr is returned as it is. No argument is modified or
// retained. Seal is safe for concurrent use.
func Seal(ctx context.Context, kr Keyring, plaintext []byte, ec EncryptionContext) (Message, error) {
	if kr == nil {
		return Message{}, errors.New("envelope: nil keyring")
	}
	if err := checkWritable(ec); err != nil {
		return Message{}, err
	}
	size, err := bodySize(int64(len(plaintext)))
	if err != nil {
		return Message{}, err
	}
	key, err := kr.GenerateDataKey(ctx, ec)
	if err != nil {
		return Message{}, err
	}
	if err := checkGenerated(key, ec); err != nil {
		return Message{}, err
	}
	keys := key.encrypted()
	messageID := hedged(randomMessageID, key.seals)
	c, err := newMessageCipher(suiteCommit, key.secret(), messageID[:])
	if err != nil {
		return Message{}, err
	}
	n := headerSize(ec, keys)
	b := make([]byte, 0, n+int(size))
	b = appendHeader(b, suiteCommit, messageID[:], ec, keys, frameLength, c.commitment)
	b = c.appendHeaderTag(b, b)
	b = appendBody(b, c, plaintext)
	return Message{Header: b[:n:n], Body: b[n:]}, nil
}

// checkGenerated returns an error if key, from a keyring, cannot be written
// with ec.
func checkGenerated(key *DataKey, ec EncryptionContext) error {
	if !key.valid() {
		return errors.New("envelope: keyring generated no data key; a Keyring returns a key made by NewDataKey, or an error")
	}
	keys := key.encrypted()
	if len(keys) > maxWrittenKeys {
		return fmt.Errorf("envelope: keyring generated %w", tooManyKeys(len(keys), maxWrittenKeys))
	}
	for _, k := range keys {
		if k.ProviderID == "" || !utf8.ValidString(k.ProviderID) {
			return errors.New("envelope: keyring generated an encrypted data key whose provider ID is empty or not UTF-8")
		}
		if len(k.Ciphertext) == 0 {
			return errors.New("envelope: keyring generated an encrypted data key without ciphertext")
		}
		if err := checkKeySizes(k); err != nil {
			return fmt.Errorf("envelope: keyring: %w", err)
		}
	}
	if n := headerSize(ec, keys); n > maxHeader {
		return fmt.Errorf("envelope: header takes %d bytes, want at most %d: use fewer keys or a smaller encryption context", n, maxHeader)
	}
	return nil
}

// Open decrypts m and verifies all of it. Its order is a security property:
//
//  1. The whole message is parsed, under limits.
//  2. accept is called with the message's context and decides, without any
//     key service having been asked, whether this message belongs here. Its
//     error is returned as it is; it should wrap [ErrContextMismatch]. A nil
//     accept is an error: a message that opens says who sealed it, not for
//     whom, and to accept every context should be a decision.
//  3. kr decrypts the data key. Its error is returned as it is.
//  4. Key commitment, header tag, frames and signature are verified. Any
//     failure is [ErrAuthentication] itself.
//
// Only then is there a result; on error it is the zero Opened.
//
// The context of a signed message (suite 0x0578) holds the public key that
// verifies it, under "aws-crypto-public-key". The data key was encrypted with
// that pair and so kr receives it, but accept and [Opened.EncryptionContext] do
// not: it is the format's, differs in every message, and compares with nothing.
// The signature is verified as the format demands. Since the message itself
// brings the public key, it proves nothing about who the signer is.
//
// accept and kr must not modify or retain what they are given. No argument is
// modified or retained, and the result does not alias m. Open is safe for
// concurrent use.
func Open(ctx context.Context, kr Keyring, m Message, accept func(EncryptionContext) error) (Opened, error) {
	if err := checkOpen(kr, accept); err != nil {
		return Opened{}, err
	}
	h, n, err := parseHeader(m.Header)
	if err != nil {
		return Opened{}, err
	}
	if n != len(m.Header) {
		return Opened{}, fmt.Errorf("%w: header is followed by %d bytes", ErrMalformed, len(m.Header)-n)
	}
	return open(ctx, kr, h, m, accept)
}

// OpenBytes is [Open] of a message in one piece, such as [Message.Bytes]
// returns and other implementations of the format write.
func OpenBytes(ctx context.Context, kr Keyring, message []byte, accept func(EncryptionContext) error) (Opened, error) {
	if err := checkOpen(kr, accept); err != nil {
		return Opened{}, err
	}
	h, n, err := parseHeader(message)
	if err != nil {
		return Opened{}, err
	}
	return open(ctx, kr, h, Message{Header: message[:n:n], Body: message[n:]}, accept)
}

func checkOpen(kr Keyring, accept func(EncryptionContext) error) error {
	if kr == nil {
		return errors.New("envelope: nil keyring")
	}
	if accept == nil {
		return errors.New("envelope: nil accept function; to open messages of any context, pass one that returns nil")
	}
	return nil
}

// open is Open from the second part of its first step on. h is the header of m.
func open(ctx context.Context, kr Keyring, h header, m Message, accept func(EncryptionContext) error) (Opened, error) {
	b, err := parseBody(h, m.Body)
	if err != nil {
		return Opened{}, err
	}

	visible := h.context
	if h.publicKey != nil {
		visible = h.context.Clone()
		delete(visible, publicKeyName)
	}
	if err := accept(visible); err != nil {
		return Opened{}, err
	}

	key, err := kr.DecryptDataKey(ctx, h.keys, h.context)
	if err != nil {
		return Opened{}, err
	}
	used, err := checkDecrypted(key, h.keys)
	if err != nil {
		return Opened{}, err
	}

	c, err := newMessageCipher(h.suite, key.secret(), h.messageID)
	if err != nil {
		return Opened{}, err
	}
	if !c.committed(h.commitment) || !c.headerAuthentic(h.raw, h.tag) {
		return Opened{}, ErrAuthentication
	}
	plaintext, err := b.open(c, h.frameLength)
	if err != nil {
		return Opened{}, err
	}
	if h.publicKey != nil && !verify(h.publicKey, b.signature, m.Header, b.frames) {
		clear(plaintext)
		return Opened{}, ErrAuthentication
	}
	return Opened{Plaintext: plaintext, EncryptionContext: visible, Key: used, MessageID: [messageIDSize]byte(h.messageID)}, nil
}

// checkDecrypted returns the encrypted data key of a key that a keyring
// decrypted, or an error if the keyring broke its contract. That is no verdict
// on the message.
func checkDecrypted(key *DataKey, keys []EncryptedDataKey) (EncryptedDataKey, error) {
	if !key.valid() {
		return EncryptedDataKey{}, errors.New("envelope: keyring decrypted no data key; a Keyring returns a key made by NewDataKey, or an error")
	}
	used := key.encrypted()
	if len(used) != 1 {
		return EncryptedDataKey{}, fmt.Errorf("envelope: keyring decrypted a data key with %d encrypted forms, want the one that it decrypted", len(used))
	}
	if !slices.ContainsFunc(keys, used[0].Equal) {
		return EncryptedDataKey{}, errors.New("envelope: keyring decrypted a data key that is none of the message's")
	}
	return used[0].Clone(), nil
}

// Split returns the two parts of a whole message. It parses the header, whose
// rules and errors are those of [ParseHeader], and nothing of the body. The
// result aliases message.
func Split(message []byte) (Message, error) {
	_, n, err := parseHeader(message)
	if err != nil {
		return Message{}, err
	}
	return Message{Header: message[:n:n], Body: message[n:]}, nil
}
