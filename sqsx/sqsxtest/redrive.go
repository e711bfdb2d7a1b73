package sqsxtest

import (
	"slices"
	"time"
)

// redrive moves a message that has been received too often to the dead-letter
// queue, as the service does: when it would be received once more. It reports
// whether it did. The caller holds the mutex.
func (s *sqsService) redrive(q *queue, m *message, now time.Time) bool {
	p := q.config.redrive
	if p == nil || m.receivesHere < p.maxReceives {
		return false
	}
	target := s.queues[p.target]
	if target == nil || target == q || target.config.fifo != q.config.fifo {
		return false // the policy has lost its queue, or names its own: the message stays
	}
	target.advance(now)
	q.remove(m)
	// The message keeps its ID, its count of receives and, on a standard queue,
	// its age: retention goes on from the first send.
	moved := *m
	moved.number = s.nextSerial()
	moved.source = q.arn()
	moved.receivesHere = 0
	if target.fifo != nil {
		moved.sent = now
		moved.dedup = m.id
		moved.sequence = target.fifo.nextSequence()
	}
	target.add(&moved, now, 0)
	return true
}

// checkRedrive checks what a RedrivePolicy can be checked for only beside the
// other queues.
func (s *sqsService) checkRedrive(source queueID, config *queueConfig) error {
	p := config.redrive
	if p == nil {
		return nil
	}
	bad := func(reason string) error {
		return refusal("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: %s.", config.attributes["RedrivePolicy"], reason)
	}
	target := s.queues[p.target]
	switch {
	case p.target.account != source.account || p.target.region != source.region:
		return bad("Dead-letter target owner and Region should match the source")
	case p.target == source: // which the service takes
		return nil
	case target == nil:
		return bad("Dead letter target does not exist")
	case target.config.fifo != config.fifo:
		return bad("Dead-letter queue must be same type of queue as the source")
	case target.config.allow.denyAll, target.config.allow.byQueue && !slices.Contains(target.config.allow.sources, source.arn()):
		return bad("Redrive permission is denied by the queue policy of the dead-letter queue")
	}
	return nil
}
