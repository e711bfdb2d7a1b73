package main

import (
	"fmt"
	"math"
	"regexp"
)

// row is a line of the table: two operations of one group, and the target of
// their ratio.
type row struct {
	what, baseline string
	subject, base  int // indices of operations
	// target is the largest ratio, or with faster the smallest of base over
	// subject. Where there is a limit, CI holds the ratio to that instead: there
	// is no target, or the floor is beyond it.
	target, limit float64
	faster        bool
}

// group is what is measured in the same rounds.
type group struct {
	name  string
	cores int
	rows  []row
	make  func() ([]operation, func(), error)
}

type result struct {
	group
	row
	ratio, low, high float64
}

// tolerance is how far CI lets a ratio be beyond its limit. The machines that
// CI gets are busy and differ.
const tolerance = 4.0 / 3

func (r result) beyond() bool {
	limit := r.target
	if r.limit > 0 {
		limit = r.limit
	}
	if r.faster {
		return r.ratio < limit/tolerance
	}
	return r.ratio > limit*tolerance
}

// met compares what the table shows.
func (r result) met() bool {
	shown := math.Round(r.ratio*100) / 100
	if r.faster {
		return shown >= r.target
	}
	return shown <= r.target
}

// Operations of envelopes and of clients, by index.
const (
	floorOp, sealqOp, officialOp, inHandOp = 0, 1, 2, 3
	plainOp, sealedOp, byHandOp            = 0, 1, 2
	noDigestsOp                            = 3 // of receives
	kmsKeyOp, branchKeyOp, wrappedByHandOp = 0, 1, 2
)

const (
	byHand   = "the same cryptography by hand"
	theSDK   = "official Encryption SDK for Go, local wrapping key"
	inMemory = "plain SDK, in-memory transport"
	loopback = "plain SDK, loopback HTTP server"
	carried  = "plain SDK that carries what was sealed by hand"
	kmsKey   = "sealq with a cached data key of KMS"
)

func groups(e *envelopes, c *clients) []group {
	without := func(operations []operation, err error) ([]operation, func(), error) {
		return operations, func() {}, err
	}
	sealing := func(size int) func() ([]operation, func(), error) {
		return func() ([]operation, func(), error) { return without(e.sealing(size)) }
	}
	opening := func(size int) func() ([]operation, func(), error) {
		return func() ([]operation, func(), error) { return without(e.opening(size)) }
	}
	envelopeRows := func(what string, official, floor float64) []row {
		rows := []row{
			{what: what, baseline: byHand, subject: inHandOp, base: floorOp, target: floor},
			{what: "— with a hit of the data key cache", baseline: byHand, subject: sealqOp, base: floorOp, limit: 1.25},
		}
		if official > 0 {
			rows = append(rows, row{what: "— with a hit of the data key cache", baseline: theSDK, subject: sealqOp, base: officialOp, target: official, faster: true})
		}
		return rows
	}
	// own is what sealq adds to the floor.
	call := func(what, baseline string, target, limit, floor float64, own ...row) []row {
		return append([]row{
			{what: what, baseline: baseline, subject: sealedOp, base: plainOp, target: target, limit: limit},
			{what: "— unavoidable part", baseline: baseline, subject: byHandOp, base: plainOp, limit: floor},
		}, own...)
	}
	own := func(target, limit float64) row {
		return row{what: "— against that", baseline: carried, subject: sealedOp, base: byHandOp, target: target, limit: limit}
	}
	noDigests := func(target, limit float64) row {
		return row{what: "— the same with `NoDigests`", baseline: carried, subject: noDigestsOp, base: byHandOp, target: target, limit: limit}
	}
	// floor is the limit of the operation by hand; 0 leaves it out.
	branchKey := func(what string, target, limit, floor float64) []row {
		rows := []row{{what: what + ", branch key", baseline: kmsKey, subject: branchKeyOp, base: kmsKeyOp, target: target, limit: limit}}
		if floor > 0 {
			rows = append(rows, row{what: "— unavoidable part", baseline: kmsKey, subject: wrappedByHandOp, base: kmsKeyOp, limit: floor})
		}
		return rows
	}
	return []group{
		{name: "seal 1 KiB", cores: 1, rows: envelopeRows("Seal 1 KiB", 17, 1.10), make: sealing(1 << 10)},
		{name: "open 1 KiB", cores: 1, rows: envelopeRows("Open 1 KiB", 25, 1.10), make: opening(1 << 10)},
		{name: "seal 64 KiB", cores: 1, rows: envelopeRows("Seal 64 KiB", 4, 1.05), make: sealing(64 << 10)},
		{name: "open 64 KiB", cores: 1, rows: envelopeRows("Open 64 KiB", 4, 1.05), make: opening(64 << 10)},
		{name: "seal 256 KiB", cores: 1, rows: envelopeRows("Seal 256 KiB", 0, 1.05), make: sealing(256 << 10)},
		{name: "open 256 KiB", cores: 1, rows: envelopeRows("Open 256 KiB", 0, 1.05), make: opening(256 << 10)},
		{name: "send 1 KiB over loopback", cores: 1, rows: call("SendMessage 1 KiB", loopback, 1.08, 1.6, 1.5, own(0, 1.2)),
			make: func() ([]operation, func(), error) { return c.sendingOverLoopback(1 << 10) }},
		{name: "send 1 KiB", cores: 1, rows: call("SendMessage 1 KiB", inMemory, 1.35, 1.5, 1.35, own(0, 1.2)),
			make: func() ([]operation, func(), error) { return without(c.sending(1<<10), nil) }},
		{name: "send batch 10 x 1 KiB", cores: 1, rows: call("SendMessageBatch 10 × 1 KiB", inMemory, 0, 2.1, 1.8, own(1.18, 0)),
			make: func() ([]operation, func(), error) { return without(c.sendingBatches(1<<10), nil) }},
		{name: "receive 10 x 1 KiB", cores: 1, rows: call("ReceiveMessage 10 × 1 KiB", inMemory, 1.6, 2.6, 2, own(1.25, 1.35), noDigests(0, 1.3)),
			make: func() ([]operation, func(), error) { return without(c.receiving(1 << 10)) }},
		{name: "receive 10 x 64 KiB", cores: 1, rows: call("ReceiveMessage 10 × 64 KiB", inMemory, 0, 1.4, 1.1, own(0, 1.4), noDigests(1.15, 0)),
			make: func() ([]operation, func(), error) { return without(c.receiving(64 << 10)) }},
		{name: "branch key: seal 1 KiB", cores: 1, rows: branchKey("Seal 1 KiB", 1.25, 1.3, 1.2),
			make: func() ([]operation, func(), error) { return without(e.withBranchKey(1<<10, false)) }},
		{name: "branch key: open 1 KiB", cores: 1, rows: branchKey("Open 1 KiB", 1.05, 1.25, 1.2),
			make: func() ([]operation, func(), error) { return without(e.withBranchKey(1<<10, true)) }},
		{name: "branch key: send 1 KiB", cores: 1, rows: branchKey("SendMessage 1 KiB", 1.25, 0, 0),
			make: func() ([]operation, func(), error) { return without(c.sendingWithBranchKey(1<<10), nil) }},
		{name: "branch key: receive 10 x 1 KiB", cores: 1, rows: branchKey("ReceiveMessage 10 × 1 KiB", 1.05, 1.15, 0),
			make: func() ([]operation, func(), error) { return without(c.receivingWithBranchKey(1 << 10)) }},
	}
}

func measureRows(count int, filter *regexp.Regexp) ([]result, error) {
	e, err := newEnvelopes()
	if err != nil {
		return nil, err
	}
	c, err := newClients()
	if err != nil {
		return nil, err
	}
	var results []result
	for _, g := range groups(e, c) {
		if !filter.MatchString(g.name) {
			continue
		}
		operations, stop, err := g.make()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		measured, err := measure(count, g.cores, operations...)
		stop()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		for _, r := range g.rows {
			x := result{group: g, row: r}
			if r.faster {
				x.ratio, x.low, x.high = measured.ratio(r.base, r.subject)
			} else {
				x.ratio, x.low, x.high = measured.ratio(r.subject, r.base)
			}
			results = append(results, x)
			fmt.Printf("%-28s %-50s %6.2f  (%.2f to %.2f; %v, %v)\n", r.what, r.baseline, x.ratio, x.low, x.high, measured.time(r.subject), measured.time(r.base))
		}
	}
	return results, nil
}
