package cache

// Limits that tests approach from both sides.
const (
	MinReusePeriod  = minReusePeriod
	MaxFetchTimeout = maxFetchTimeout
)
