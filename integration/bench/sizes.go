package main

import (
	"fmt"
	"time"
)

// curve is one line of the plot of latency by size.
type curve struct {
	name  string
	times []time.Duration // for each of plotSizes
}

var plotSizes = []int{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10}

func measureSizes(count int) ([]curve, error) {
	e, err := newEnvelopes()
	if err != nil {
		return nil, err
	}
	c, err := newClients()
	if err != nil {
		return nil, err
	}
	curves := []curve{
		{name: "Seal: official Encryption SDK for Go"},
		{name: "SendMessage in memory: sealq"},
		{name: "SendMessage in memory: plain SDK"},
		{name: "Seal: sealq"},
		{name: "Seal: by hand"},
	}
	for _, size := range plotSizes {
		sealing, err := e.sealing(size)
		if err != nil {
			return nil, err
		}
		sending := c.sending(size)
		measured, err := measure(count, 1,
			sealing[officialOp], sending[sealedOp], sending[plainOp], sealing[sealqOp], sealing[floorOp])
		if err != nil {
			return nil, fmt.Errorf("size %d: %w", size, err)
		}
		for i := range curves {
			curves[i].times = append(curves[i].times, measured.time(i))
		}
	}
	return curves, nil
}
