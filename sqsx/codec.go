package sqsx

import (
	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx/internal/content"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// codec implements middleware.Codec: it finds the policy, seals (seal.go) and
// opens (open.go) with package envelope, and packs and unpacks the carriers
// (carrier.go).
type codec struct {
	*settings
	counters *counters
	hold     hold.Breaker
	reporter *reporter
	opened   *recent
	dropped  *evictions

	compressor content.Compressor
}

var _ middleware.Codec = (*codec)(nil)

func (c *codec) AttributeNames() []string { return []string{attributeName} }

func (c *codec) MaxMessageBytes(q middleware.Queue) int {
	policy, err := c.table.find(c.complete(q))
	if err != nil {
		policy = &compiledPolicy{}
	}
	return policy.messageLimit(q.Topic)
}

// messageLimit is MaxMessageBytes with its default.
func (p *Policy) messageLimit(topic bool) int {
	switch {
	case p.MaxMessageBytes != 0:
		return p.MaxMessageBytes
	case topic:
		return topicMaxMessageBytes
	}
	return serviceMaxMessageBytes
}
