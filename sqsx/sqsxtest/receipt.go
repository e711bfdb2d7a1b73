package sqsxtest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// receiptMaker makes receipt handles and recognises its own.
type receiptMaker struct{ key []byte }

const receiptBytes = 4 * 8 // queue, message, receive, the start of a MAC over these

func newReceiptMaker() receiptMaker {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return receiptMaker{key}
}

func (r receiptMaker) handle(queue, message, receipt uint64) string {
	b := make([]byte, 0, receiptBytes)
	b = binary.BigEndian.AppendUint64(b, queue)
	b = binary.BigEndian.AppendUint64(b, message)
	b = binary.BigEndian.AppendUint64(b, receipt)
	return base64.StdEncoding.EncodeToString(append(b, r.mac(b)...))
}

func (r receiptMaker) mac(b []byte) []byte {
	h := hmac.New(sha256.New, r.key)
	h.Write(b)
	return h.Sum(nil)[:8]
}

func (r receiptMaker) parse(handle string) (queue, message, receipt uint64, ok bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(handle)
	if err != nil || len(b) != receiptBytes || !hmac.Equal(b[24:], r.mac(b[:24])) {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), true
}

// byHandle finds the message of a receipt handle: nil if it is gone. fresh: no
// later receive has made the handle stale.
func (s *sqsService) byHandle(q *queue, handle string) (m *message, fresh bool, err error) {
	if handle == "" {
		return nil, false, missing("ReceiptHandle")
	}
	uid, number, receipt, ok := s.receipts.parse(handle)
	if !ok || uid != q.uid {
		return nil, false, refusal("ReceiptHandleIsInvalid", "The input receipt handle \"%s\" is not a valid receipt handle.", handle)
	}
	m = q.messages[number]
	return m, m != nil && m.receipt == receipt, nil
}
