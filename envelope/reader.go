package envelope

import "encoding/binary"

// reader takes fields off the front of a byte slice. Once a field does not fit,
// short is set and stays set, and every further field is empty or zero: callers
// check it before they rely on what they read.
type reader struct {
	rest  []byte
	short bool
}

// bytes takes the next n bytes. The result aliases the input.
func (r *reader) bytes(n uint64) []byte {
	if r.short || n > uint64(len(r.rest)) {
		r.rest, r.short = nil, true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint8() uint8 {
	b := r.bytes(1)
	if r.short {
		return 0
	}
	return b[0]
}

func (r *reader) uint16() uint16 {
	b := r.bytes(2)
	if r.short {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func (r *reader) uint32() uint32 {
	b := r.bytes(4)
	if r.short {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (r *reader) uint64() uint64 {
	b := r.bytes(8)
	if r.short {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
