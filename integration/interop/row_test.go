package interop_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"testing"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/integration/interop/drivers"
)

// row is one exchange: a writer seals, the message travels, a reader opens.
type row struct {
	name      string
	context   map[string]string
	plaintext []byte
	seal      func() ([]byte, error)
	open      func([]byte) (plaintext []byte, context map[string]string, err error)
	ignores   func(message []byte, at int) bool // bytes that the reader does not read; nil: none
}

// errDifferent is a message that opened and held something else. It is never
// what a test wants, on a broken wire either.
var errDifferent = errors.New("opened to something else")

// receive returns nil if what the reader opens is what the writer sealed.
func (r row) receive(message []byte) error {
	plaintext, context, err := r.open(message)
	if err != nil {
		return err
	}
	if !bytes.Equal(plaintext, r.plaintext) {
		return fmt.Errorf("%w: got %d bytes of plaintext, want %d others", errDifferent, len(plaintext), len(r.plaintext))
	}
	delete(context, publicKey)
	if !maps.Equal(context, r.context) {
		return fmt.Errorf("%w: got context %q, want %q", errDifferent, context, r.context)
	}
	return nil
}

// publicKey is the context pair that a signed message adds by itself.
const publicKey = "aws-crypto-public-key"

// onTheWire returns message as it arrives: as it is, unless
// SEALQTEST_INTEROP_BREAK is set. Then a bit of the byte at index at is
// changed, and so every test that goes into the table must fail: that is how to
// see that the tests would notice. CI runs them that way, too.
func onTheWire(message []byte, at int) []byte {
	if os.Getenv("SEALQTEST_INTEROP_BREAK") == "" {
		return message
	}
	return flip(message, at)
}

// check sends the message twice: over a perfect wire, where it must arrive, and
// over one that changes a single bit, where the reader must refuse. Where the
// bit is depends on the row, so that rows together reach every part of a
// message.
func (r row) check(t *testing.T) {
	t.Helper()
	message, err := r.seal()
	if err != nil {
		t.Errorf("%s: seal: %v", r.name, err)
		return
	}
	h := fnv.New32()
	h.Write([]byte(r.name))
	at := int(h.Sum32()) % len(message)
	for r.ignores != nil && r.ignores(message, at) {
		at++
	}
	if err := r.receive(onTheWire(message, at)); err != nil {
		t.Errorf("%s: open: %v", r.name, err)
	}
	if err := r.receive(flip(message, at)); !refused(err) {
		t.Errorf("%s, bit changed in byte %d: got %v, want a refusal", r.name, at, err)
	}
}

// flip returns a copy of m with the lowest bit of a byte changed.
func flip(m []byte, at int) []byte {
	m = bytes.Clone(m)
	m[at] ^= 1
	return m
}

// refused reports whether a reader of either side said no to the message
// itself, or to the version of a branch key that it names. A driver that
// crashed, or a key service that did not answer, is not a refusal, and a
// different plaintext is a catastrophe.
func refused(err error) bool {
	_, driver := errors.AsType[*drivers.Refusal](err)
	return driver || errors.Is(err, envelope.ErrInvalidMessage) || refusedVersion(err)
}

// refusedVersion reports whether sealq did not get a version of a branch key:
// it cannot tell one that a message makes up from one that is not there yet.
func refusedVersion(err error) bool {
	refused, ok := errors.AsType[*envelope.RefusedError](err)
	return ok && refused.Reach == envelope.ReachEntry
}

// pair is the same key as sealq and as the SDKs configure it.
type pair struct {
	name    string
	sealq   envelope.Keyring
	encrypt drivers.Keyring
	decrypt drivers.Keyring
}

// bySealq is a row that sealq writes and the driver reads.
func bySealq(d *drivers.Driver, keys pair, ec map[string]string, plaintext []byte) row {
	return row{
		name:      fmt.Sprintf("sealq to %s, %s, %d bytes, %d pairs", d.ID, keys.name, len(plaintext), len(ec)),
		context:   ec,
		plaintext: plaintext,
		seal: func() ([]byte, error) {
			var m envelope.Message
			err := answered(func() (err error) {
				m, err = envelope.Seal(context.Background(), keys.sealq, plaintext, ec)
				return err
			})
			return m.Bytes(), err
		},
		open: func(m []byte) ([]byte, map[string]string, error) {
			opened, err := d.Decrypt(keys.decrypt, m)
			return opened.Plaintext, opened.Context, err
		},
		ignores: func(m []byte, at int) bool {
			return d.IgnoresFinalFrameNumber && isFinalFrameNumber(m, at)
		},
	}
}

// isFinalFrameNumber reports whether a byte of a message of one frame belongs
// to that frame's number.
func isFinalFrameNumber(message []byte, at int) bool {
	m, err := envelope.Split(message)
	if err != nil {
		return false
	}
	const marker, number = 4, 4 // 0xFFFFFFFF, then the number
	first := len(m.Header) + marker
	return first <= at && at < first+number
}

// byDriver is a row that the driver writes and sealq reads.
func byDriver(d *drivers.Driver, keys pair, suite string, frame int, ec map[string]string, plaintext []byte) row {
	return row{
		name:      fmt.Sprintf("%s to sealq, %s, suite %s, frame %d, %d bytes, %d pairs", d.ID, keys.name, suite, frame, len(plaintext), len(ec)),
		context:   ec,
		plaintext: plaintext,
		seal: func() ([]byte, error) {
			return d.Encrypt(drivers.EncryptRequest{Keyring: keys.encrypt, Suite: suite, Frame: frame, Context: ec, Plaintext: plaintext})
		},
		open: func(m []byte) ([]byte, map[string]string, error) { return open(keys.sealq, ec, m) },
	}
}

// open opens a whole message with sealq, for a reader that demands ec.
func open(kr envelope.Keyring, ec map[string]string, message []byte) ([]byte, map[string]string, error) {
	m, err := envelope.Split(message)
	if err != nil {
		return nil, nil, err
	}
	var opened envelope.Opened
	err = answered(func() (err error) {
		opened, err = envelope.Open(context.Background(), kr, m, func(got envelope.EncryptionContext) error {
			if !maps.Equal(got, ec) {
				return envelope.ErrContextMismatch
			}
			return nil
		})
		return err
	})
	return opened.Plaintext, opened.EncryptionContext, err
}

// answered calls f until the key service has answered, a few times at most: on
// a busy machine the emulator can exceed the two seconds that sealq gives it.
// That is no verdict on a message.
func answered(f func() error) error {
	var err error
	for range 3 {
		if err = f(); !errors.Is(err, envelope.ErrUnavailable) {
			break
		}
	}
	return err
}

// random returns n bytes that compress to nothing.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
