package sqsx_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// storeFlood is a steady flood of messages that nobody with a key wrote, beside
// messages of a producer.
type storeFlood struct {
	junk      func(f *fleet, ks *keyStore, edk envelope.EncryptedDataKey, n int) []envelope.EncryptedDataKey
	noStore   bool // all seal with data keys of AWS KMS
	mixed     bool // the consumer opens data keys of AWS KMS too
	rotates   bool // the producer seals under a version that no consumer has met, each second
	perSecond int
	fault     func(f *fleet, r *sqsxtest.Request) error
	limit     time.Duration // for each healthy message
}

// versionsOf returns n encrypted data keys like edk under new versions.
func versionsOf(edk envelope.EncryptedDataKey, n int) []envelope.EncryptedDataKey {
	edks := make([]envelope.EncryptedDataKey, n)
	for i := range edks {
		edks[i] = edk.Clone()
		rand.Read(edks[i].Ciphertext[28:44])
	}
	return edks
}

func hangsFor(r *sqsxtest.Request) error {
	<-r.Context().Done()
	return r.Context().Err()
}

// TestHealthyBesideJunkOfAKeyStore: a process of four loops meets a steady
// flood of messages that look as if they were under its keys, for longer than
// maxReceiveCount visibility timeouts. Every healthy message is delivered soon,
// by a cached key or by one that the process meets for the first time, also
// while a key service hangs that only the flood needs.
func TestHealthyBesideJunkOfAKeyStore(t *testing.T) {
	t.Parallel()
	one := func(_ *fleet, _ *keyStore, edk envelope.EncryptedDataKey, _ int) []envelope.EncryptedDataKey {
		return versionsOf(edk, 1)
	}
	sixteen := func(_ *fleet, _ *keyStore, edk envelope.EncryptedDataKey, _ int) []envelope.EncryptedDataKey {
		return versionsOf(edk, 16)
	}
	both := func(f *fleet, _ *keyStore, edk envelope.EncryptedDataKey, n int) []envelope.EncryptedDataKey {
		return append(versionsOf(edk, 1), junkKeys(f.w.key, n, 1)...)
	}
	ofKMS := func(f *fleet, _ *keyStore, _ envelope.EncryptedDataKey, n int) []envelope.EncryptedDataKey {
		return junkKeys(f.w.key, n, 1)
	}
	kmsHangs := func(f *fleet, r *sqsxtest.Request) error {
		if r.Action == "kms:Decrypt" && strings.Contains(string(r.Body), f.w.key) {
			return hangsFor(r)
		}
		return nil
	}
	ddbHangs := func(f *fleet, r *sqsxtest.Request) error {
		if r.Action == "dynamodb:GetItem" {
			return hangsFor(r)
		}
		return nil
	}
	for name, tc := range map[string]storeFlood{
		"one version":                 {junk: one, perSecond: 400, limit: 2 * time.Second},
		"one version, rotating":       {junk: one, perSecond: 400, rotates: true, limit: 2 * time.Second},
		"16 versions":                 {junk: sixteen, perSecond: 400, limit: 3 * time.Second},
		"16 versions, rotating":       {junk: sixteen, perSecond: 400, rotates: true, limit: 3 * time.Second},
		"both kinds":                  {junk: both, perSecond: 400, mixed: true, limit: 2 * time.Second},
		"both kinds, KMS hangs":       {junk: both, perSecond: 400, mixed: true, fault: kmsHangs, limit: 10 * time.Second},
		"data keys, KMS hangs":        {junk: ofKMS, perSecond: 20, mixed: true, fault: kmsHangs, limit: 7 * time.Second},
		"data keys only, KMS hangs":   {junk: ofKMS, perSecond: 20, noStore: true, fault: kmsHangs, limit: 7 * time.Second},
		"DynamoDB hangs":              {junk: one, perSecond: 20, fault: ddbHangs, limit: 7 * time.Second},
		"16 versions, DynamoDB hangs": {junk: sixteen, perSecond: 20, fault: ddbHangs, limit: 7 * time.Second},
	} {
		if testing.Short() && tc.perSecond > 20 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { tc.run(t) })
		})
	}
}

func (tc storeFlood) run(t *testing.T) {
	const (
		tick, ticks = 100 * time.Millisecond, 60
		burst       = 1000
	)
	f := newFleet(t, "orders", 4, "VisibilityTimeout", "1")
	ks := f.w.keyStore("orders")
	f.sealer = ks.sealer
	if tc.noStore {
		f.sealer = f.w.sealer
	}
	var optFns []func(*sqsx.Options)
	if tc.mixed {
		optFns = append(optFns, ks.openKMS)
	}
	faulty := false
	f.fault(func(r *sqsxtest.Request) error {
		switch r.Action {
		case "dynamodb:GetItem", "kms:Decrypt", "sqs:ReceiveMessage":
			time.Sleep(10 * time.Millisecond)
		}
		if faulty && tc.fault != nil {
			return tc.fault(f, r)
		}
		return nil
	})
	client := sqs.NewFromConfig(f.w.cfg, ks.sealer(optFns...).Install)
	if tc.noStore {
		client = f.w.client()
	}
	for range f.receivers {
		loop := &consumerLoop{}
		f.loops = append(f.loops, loop)
		f.wg.Go(func() { f.consume(client, loop) })
	}
	f.send(f.seal(20, 1)...)
	f.drain(time.Now())
	warm := f.deliveredCount()

	out, err := ks.sealer().SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
	if err != nil {
		t.Fatal(err)
	}
	body, header := *out.MessageBody, out.MessageAttributes["sealq"].BinaryValue
	n := 0
	junk := func() {
		n++
		f.w.put(f.url, badMessage{body: body, attributes: sealqAttribute(altered(t, header, func(h *envelope.Header) {
			h.EncryptedDataKeys = tc.junk(f, ks, h.EncryptedDataKeys[0], n)
		}))})
	}
	var healthy []*sqs.SendMessageInput
	if tc.noStore {
		healthy = f.seal(ticks+1, 1)
		f.send(healthy[0])
		f.drain(time.Now())
		warm++
		healthy = healthy[1:]
	}
	for i := range ticks - len(healthy) {
		if tc.rotates && i%10 == 0 {
			if _, err := ks.Rotate(t.Context(), "orders"); err != nil {
				t.Fatal(err)
			}
		}
		healthy = append(healthy, f.seal(1, 1)...)
	}
	reads, decrypts := f.w.count("dynamodb:GetItem"), f.w.count("kms:Decrypt")
	sent := make(map[string]time.Time)
	faulty = true
	if tc.perSecond >= 100 {
		for range burst {
			junk()
		}
	}
	for i := range ticks {
		for range tc.perSecond * int(tick) / int(time.Second) {
			junk()
		}
		sent[fmt.Sprintf("message-%d", warm+i)] = time.Now()
		f.send(healthy[i])
		time.Sleep(tick)
	}
	time.Sleep(time.Minute)
	f.end()
	dead := 0
	for _, m := range f.w.server.Stored(f.dlq) {
		if *m.Body != body {
			dead++
		}
	}
	var waits []time.Duration
	for body, at := range sent {
		if arrived, ok := f.delivered[body]; ok {
			waits = append(waits, arrived.Sub(at))
		} else {
			waits = append(waits, time.Hour)
		}
	}
	slices.Sort(waits)
	delivered := f.deliveredCount() - warm
	t.Logf("%d of %d delivered, the median after %v, the slowest after %v; %d dead-lettered; %d GetItem, %d Decrypt",
		delivered, len(sent), waits[len(waits)/2].Round(time.Millisecond), waits[len(waits)-1].Round(time.Millisecond), dead,
		f.w.count("dynamodb:GetItem")-reads, f.w.count("kms:Decrypt")-decrypts)
	if slowest := waits[len(waits)-1]; delivered != len(sent) || dead > 0 || slowest > tc.limit {
		t.Errorf("%d of %d delivered, %d dead-lettered, the slowest after %v; want all within %v", delivered, len(sent), dead, slowest, tc.limit)
	}
}
