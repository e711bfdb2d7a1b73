package sqsx_test

import (
	"runtime/debug"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
)

// TestAllocations bounds what a message costs beside the SDK's own work. Counts
// do not depend on the machine; times do, and are for the benchmarks.
func TestAllocations(t *testing.T) { // not parallel: it counts what the process allocates
	if raceEnabled() {
		t.Skip("the race detector allocates")
	}
	w := newWorld(t)
	ctx := t.Context()
	in := &sqs.SendMessageInput{MessageBody: aws.String(string(make([]byte, 1<<10)))}
	opened := make(map[bool]float64) // by whether the message came in the body carrier
	for _, inBody := range []bool{false, true} {
		s := w.sealer(func(o *sqsx.Options) { o.Region, o.Policy.BodyCarrier = w.cfg.Region, inBody })
		sealed, err := s.SealMessage(ctx, arnOf("orders"), in)
		if err != nil {
			t.Fatal(err)
		}
		var received []types.Message
		for range 10 {
			received = append(received, types.Message{Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes})
		}
		if got := testing.AllocsPerRun(100, func() { s.SealMessage(ctx, arnOf("orders"), in) }); got > maxSealAllocs {
			t.Errorf("SealMessage, body carrier %t: got %v allocations, want at most %d", inBody, got, maxSealAllocs)
		}
		opened[inBody] = testing.AllocsPerRun(100, func() { s.OpenMessages(ctx, arnOf("orders"), received) }) / 10
		if got := opened[inBody]; got > maxOpenAllocs {
			t.Errorf("OpenMessages, body carrier %t: got %v allocations a message, want at most %d", inBody, got, maxOpenAllocs)
		}
	}
	// To parse a header takes four: it is parsed once, whatever the carrier.
	if opened[true] > opened[false]+2 {
		t.Errorf("OpenMessages: got %v allocations a message in the body carrier, want about %v as with the attribute", opened[true], opened[false])
	}
}

// What is counted today and two or three more. Of either number, HKDF and
// AES-GCM take about 30.
const maxSealAllocs, maxOpenAllocs = 55, 48

// raceEnabled reports whether this is a build for the race detector.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
