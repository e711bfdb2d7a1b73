package envelope

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The body of a framed message is any number of full frames and one final
// frame, which holds from 0 bytes to a full frame:
//
//	sequence number      4   1, 2, 3...
//	IV                  12   the sequence number
//	content                  as long as the frame length
//	tag                 16
//
//	final frame mark     4   0xffffffff
//	sequence number      4
//	IV                  12   the sequence number
//	content length       4
//	content
//	tag                 16
//
// The body of any other message is one block:
//
//	IV                  12   1
//	content length       8
//	content
//	tag                 16
//
// A signed message ends with a footer: a length of 2 bytes and the signature.
const (
	finalFrameMark     = 0xffffffff
	frameOverhead      = 4 + ivSize + tagSize
	finalFrameOverhead = 4 + 4 + ivSize + 4 + tagSize
)

// frame is one sealed unit of a body: a frame, the final frame, or the single
// block. Its slices alias the body.
type frame struct {
	label    string
	sequence uint32
	iv       []byte
	sealed   []byte // content and tag
}

func (f frame) last() bool { return f.label != labelFrame }

// bodySize returns the length in bytes of the [Message.Body] that [Seal] makes
// of a plaintext of n bytes, base64 not included. It is an error if n is
// negative or more than Seal accepts (64 GiB).
func bodySize(n int64) (int64, error) {
	const most = maxFrames*frameLength - 1
	if n < 0 || n > most {
		return 0, fmt.Errorf("envelope: plaintext of %d bytes, want 0 to %d", n, int64(most))
	}
	return n/frameLength*frameOverhead + finalFrameOverhead + n, nil
}

// appendBody appends the frames of plaintext, which is cut into full frames and
// a shorter final one. A plaintext that is a multiple of the frame length gets
// an empty final frame: old releases of other SDKs refuse a full one.
func appendBody(dst []byte, c *messageCipher, plaintext []byte) []byte {
	sequence := uint32(1)
	for ; len(plaintext) >= frameLength; sequence++ {
		dst = binary.BigEndian.AppendUint32(dst, sequence)
		dst = appendIV(dst, sequence)
		f := frame{label: labelFrame, sequence: sequence, iv: dst[len(dst)-ivSize:]}
		dst = c.appendFrame(dst, f, plaintext[:frameLength])
		plaintext = plaintext[frameLength:]
	}
	dst = binary.BigEndian.AppendUint32(dst, finalFrameMark)
	dst = binary.BigEndian.AppendUint32(dst, sequence)
	dst = appendIV(dst, sequence)
	f := frame{label: labelFinalFrame, sequence: sequence, iv: dst[len(dst)-ivSize:]}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(plaintext)))
	return c.appendFrame(dst, f, plaintext)
}

func appendIV(dst []byte, sequence uint32) []byte {
	dst = append(dst, make([]byte, ivSize-4)...)
	return binary.BigEndian.AppendUint32(dst, sequence)
}

// body is what a walk over a message body finds before anything is decrypted.
type body struct {
	frames        []byte // all of the body but the footer
	signature     []byte // nil without a footer
	plaintextSize int
}

// parseBody walks over the whole body of a message with header h, and checks
// all that can be checked without a key.
func parseBody(h header, b []byte) (body, error) {
	var out body
	rest := b
	for sequence := uint32(1); ; sequence++ {
		if sequence > maxFrames {
			return body{}, fmt.Errorf("%w: body has over %d frames", ErrUnsupported, maxFrames)
		}
		f, after, err := nextFrame(h.frameLength, sequence, rest)
		if err != nil {
			return body{}, err
		}
		out.plaintextSize += len(f.sealed) - tagSize
		rest = after
		if f.last() {
			break
		}
	}
	out.frames = b[:len(b)-len(rest)]
	if h.suite == suiteCommitSign {
		r := reader{rest: rest}
		n := r.uint16()
		if n > maxSignature {
			return body{}, fmt.Errorf("%w: signature takes %d bytes, want at most %d", ErrMalformed, n, maxSignature)
		}
		out.signature = r.bytes(uint64(n))
		if r.short {
			return body{}, fmt.Errorf("%w: signature is truncated", ErrMalformed)
		}
		rest = r.rest
	}
	if len(rest) != 0 {
		return body{}, fmt.Errorf("%w: message is followed by %d bytes", ErrMalformed, len(rest))
	}
	return out, nil
}

// nextFrame takes the frame with the given sequence number off b. Both walks
// over a body, the one that checks and the one that decrypts, are made of it,
// so that they cannot differ.
func nextFrame(frameLength, sequence uint32, b []byte) (frame, []byte, error) {
	r := reader{rest: b}
	f := frame{label: labelFrame, sequence: sequence}
	got, size := sequence, uint64(frameLength)
	if frameLength == 0 {
		f.label = labelSingleBlock
		f.iv = r.bytes(ivSize)
		size = r.uint64()
	} else {
		got = r.uint32()
		if got == finalFrameMark {
			f.label = labelFinalFrame
			got = r.uint32()
		}
		f.iv = r.bytes(ivSize)
		if f.last() {
			size = uint64(r.uint32())
		}
	}
	if r.short {
		return frame{}, nil, fmt.Errorf("%w: body is truncated in frame %d", ErrMalformed, sequence)
	}
	if got != sequence {
		return frame{}, nil, fmt.Errorf("%w: frame number is %d, want %d", ErrMalformed, got, sequence)
	}
	// A sender cannot choose an IV: two frames with one IV under one key reveal
	// the authentication key of AES-GCM.
	if binary.BigEndian.Uint64(f.iv) != 0 || binary.BigEndian.Uint32(f.iv[8:]) != sequence {
		return frame{}, nil, fmt.Errorf("%w: IV of frame %d is not its number", ErrMalformed, sequence)
	}
	if f.label == labelFinalFrame && size > uint64(frameLength) {
		return frame{}, nil, fmt.Errorf("%w: final frame holds %d bytes, want at most %d", ErrMalformed, size, frameLength)
	}
	if f.sealed = r.bytes(min(size, math.MaxInt64) + tagSize); r.short { // min: the sum must not wrap
		return frame{}, nil, fmt.Errorf("%w: body is truncated in frame %d", ErrMalformed, sequence)
	}
	return f, r.rest, nil
}

// open decrypts the frames of a body that parseBody has accepted.
func (b body) open(c *messageCipher, frameLength uint32) ([]byte, error) {
	plaintext := make([]byte, 0, b.plaintextSize)
	rest := b.frames
	for sequence := uint32(1); len(rest) > 0; sequence++ {
		f, after, err := nextFrame(frameLength, sequence, rest)
		if err != nil {
			return nil, err
		}
		opened, err := c.openFrame(plaintext, f)
		if err != nil {
			clear(plaintext)
			return nil, err
		}
		plaintext, rest = opened, after
	}
	return plaintext, nil
}
