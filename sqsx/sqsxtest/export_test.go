package sqsxtest

import (
	"strconv"
	"time"
)

// PutInFlight sends n messages to a queue and receives them all, for an hour.
// It makes no requests: these would take a test minutes.
func (s *Server) PutInFlight(queueURL string, n int) error {
	c := caller{region: DefaultRegion, account: DefaultAccount}
	now := s.sqs.lock()
	defer s.sqs.mu.Unlock()
	q, err := s.sqs.find(c, queueURL)
	if err != nil {
		return err
	}
	for i := range n {
		body := strconv.Itoa(i)
		s.sqs.store(q, c, prepared{entry: sendEntry{MessageBody: body}, group: body, dedup: body}, now)
	}
	_, err = s.sqs.take(q, receiveRequest{max: n}, time.Hour, 0, now)
	return err
}
