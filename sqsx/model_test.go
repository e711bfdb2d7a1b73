package sqsx_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// secret is in every plaintext that the tests of the wire send.
const secret = "SECRET-in-every-plaintext"

// secretSpellings are how secret could look on the wire: as it is, and in the
// middle of base64, at each of three offsets.
var secretSpellings = func() [][]byte {
	all := [][]byte{[]byte(secret)}
	for offset := range 3 {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, offset), secret...))
		all = append(all, []byte(encoded[4:len(encoded)-4]))
	}
	return all
}()

func holdsSecret(b []byte) bool {
	return slices.ContainsFunc(secretSpellings, func(s []byte) bool { return bytes.Contains(b, s) })
}

// wire looks at all that clients send.
type wire struct {
	mu     sync.Mutex
	leaks  int
	keys   map[string]*keyUse // by encrypted data key
	kmsRaw int                // requests to KMS, attempts of one call each counted
}

// keyUse is the sealing that was done under one data key.
type keyUse struct {
	first, last time.Time
	messages    map[[32]byte]bool // message IDs: the SDK may send a message twice
}

func newWire() *wire { return &wire{keys: make(map[string]*keyUse)} }

func (w *wire) look(r *sqsxtest.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if holdsSecret(r.Body) {
		w.leaks++
	}
	if strings.HasPrefix(r.Action, "kms:") {
		w.kmsRaw++
	}
	type entry struct {
		MessageBody       string
		MessageAttributes map[string]struct{ BinaryValue []byte }
	}
	var in struct {
		entry
		Entries []entry
	}
	switch r.Action {
	case "sqs:SendMessage", "sqs:SendMessageBatch":
		if err := json.Unmarshal(r.Body, &in); err != nil {
			return
		}
	default:
		return
	}
	for _, e := range append(in.Entries, in.entry) {
		header := e.MessageAttributes["sealq"].BinaryValue
		if header == nil {
			whole, err := base64.StdEncoding.DecodeString(e.MessageBody)
			if err != nil {
				continue
			}
			m, err := envelope.Split(whole)
			if err != nil {
				continue
			}
			header = m.Header
		}
		h, err := envelope.ParseHeader(header)
		if err != nil {
			continue
		}
		key := string(h.EncryptedDataKeys[0].Ciphertext)
		use := w.keys[key]
		if use == nil {
			use = &keyUse{first: time.Now(), messages: make(map[[32]byte]bool)}
			w.keys[key] = use
		}
		if !use.messages[h.MessageID] { // not a retry of what was sealed long ago
			use.messages[h.MessageID] = true
			use.last = time.Now()
		}
	}
}

const (
	modelReuse       = time.Minute
	modelMaxStale    = 20 * time.Minute
	modelMaxMessages = 7
	modelReceives    = 4
)

// process is one that sends, receives, or both. Restarting it makes another.
type process struct {
	sealer *sqsx.Sealer
	client *sqs.Client
}

// system is producers, consumers, a queue and its dead-letter queue, and what
// ought to be true of them.
type system struct {
	t        testing.TB
	rt       *rapid.T
	w        *world
	wire     *wire
	url, dlq string
	fifo     bool

	processes []*process
	lives     int
	gone      []*process // that ended: what they had under way goes on
	purges    int
	started   time.Time
	kmsFault  error
	sqsFault  error
	requests  int
	kmsEver   bool // KMS has failed at some time

	n         int
	possible  map[string]int    // bodies that were to be sent, to the number of their attributes
	accepted  map[string]string // bodies of successful sends, to message IDs
	delivered map[string]bool
	hostile   int
	errs      map[string]int // of receives, by queue
}

func (s *system) intercept(r *sqsxtest.Request) error {
	s.wire.look(r)
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	switch {
	case strings.HasPrefix(r.Action, "kms:"):
		return s.kmsFault
	case r.Action == "sqs:SendMessage" || r.Action == "sqs:SendMessageBatch" || r.Action == "sqs:ReceiveMessage" || r.Action == "sqs:DeleteMessage":
		if s.requests++; s.requests%3 != 0 {
			return s.sqsFault
		}
	}
	return nil
}

// fault sets what requests fail with from now on.
func (s *system) fault(kms, sqs error) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.kmsFault, s.sqsFault = kms, sqs
	s.kmsEver = s.kmsEver || kms != nil
}

func (s *system) newProcess() *process {
	s.lives++
	sealer := s.w.sealer(func(o *sqsx.Options) {
		o.Cache.ReusePeriod, o.Cache.MaxStale, o.Cache.MaxMessages = modelReuse, modelMaxStale, modelMaxMessages
	})
	return &process{sealer, sealer.Wrap(s.w.plain)}
}

func (s *system) any() (int, *process) {
	i := rapid.IntRange(0, len(s.processes)-1).Draw(s.rt, "process")
	return i, s.processes[i]
}

func (s *system) body() (string, int) {
	s.n++
	size := rapid.SampledFrom([]int{0, 1, 300, 5000}).Draw(s.rt, "size")
	body := fmt.Sprintf("%s %d %s", secret, s.n, strings.Repeat("x", size))
	attributes := rapid.SampledFrom([]int{0, 3, 9, 10}).Draw(s.rt, "attributes")
	s.possible[body] = attributes
	return body, attributes
}

func (s *system) send() {
	_, p := s.any()
	in := &sqs.SendMessageBatchInput{QueueUrl: &s.url}
	for i := range rapid.SampledFrom([]int{1, 1, 3, 10}).Draw(s.rt, "batch") {
		body, attributes := s.body()
		e := types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: &body, MessageAttributes: userAttributes(attributes)}
		if s.fifo {
			e.MessageGroupId = aws.String(fmt.Sprint(s.n % 3))
			e.MessageDeduplicationId = aws.String(fmt.Sprint(s.n))
		}
		in.Entries = append(in.Entries, e)
	}
	if e := in.Entries[0]; len(in.Entries) == 1 {
		out, err := p.client.SendMessage(s.t.Context(), &sqs.SendMessageInput{QueueUrl: &s.url, MessageBody: e.MessageBody, MessageAttributes: e.MessageAttributes,
			MessageGroupId: e.MessageGroupId, MessageDeduplicationId: e.MessageDeduplicationId})
		if err == nil {
			s.accepted[*e.MessageBody] = *out.MessageId
		}
		return
	}
	out, err := p.client.SendMessageBatch(s.t.Context(), in)
	if err != nil {
		return
	}
	for _, r := range out.Successful {
		var i int
		fmt.Sscan(*r.Id, &i)
		s.accepted[*in.Entries[i].MessageBody] = *r.MessageId
	}
}

// receive takes messages from a queue, checks that they are intact, and deletes
// some of them.
func (s *system) receive(p *process, url string, keep func() bool) {
	out, err := receive(s.t.Context(), p.client, url)
	var withheld []*sqsx.OpenError
	if err != nil {
		s.errs[path.Base(url)+": "+err.Error()]++
	}
	if failed, ok := errors.AsType[*sqsx.ReceiveError](err); ok {
		withheld = failed.Withheld
	}
	if out == nil {
		out = &sqs.ReceiveMessageOutput{}
	}
	withheld = append(withheld, sqsx.Withheld(out.ResultMetadata)...)
	for _, e := range withheld {
		if !errors.Is(e, envelope.ErrInvalidMessage) {
			continue
		}
		for body, id := range s.accepted {
			if id == *e.Message.MessageId {
				s.rt.Fatalf("a good message of %d bytes was found invalid: %v", len(body), e)
			}
		}
		if url == s.dlq { // nothing else takes it from the front of its FIFO group: this is what operators are for
			_, _ = p.client.DeleteMessage(s.t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: e.Message.ReceiptHandle})
		}
	}
	for _, m := range out.Messages {
		want, known := s.possible[*m.Body]
		if !known || want != len(m.MessageAttributes) {
			s.rt.Fatalf("delivered a body of %d bytes with %d attributes that nobody sent so", len(*m.Body), len(m.MessageAttributes))
		}
		if keep() {
			continue
		}
		s.delivered[*m.Body] = true
		_, _ = p.client.DeleteMessage(s.t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle})
	}
}

// junk is a message of someone without the key, with two data keys that only
// KMS can refuse.
func (s *system) junk() {
	s.hostile++
	if s.kmsFault != nil {
		return // it could not be made from a real one
	}
	body, header := s.w.sealed(path.Base(s.url), "x")
	attributes := sealqAttribute(altered(s.t, header, func(h *envelope.Header) { h.EncryptedDataKeys = junkKeys(s.w.key, s.hostile, 2) }))
	in := &sqs.SendMessageInput{QueueUrl: &s.url, MessageBody: &body, MessageAttributes: attributes}
	if s.fifo {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String(fmt.Sprint(s.hostile%3)), aws.String(fmt.Sprint("junk", s.hostile))
	}
	_, _ = s.w.plain.SendMessage(s.t.Context(), in)
}

// invariants hold after every step.
func (s *system) invariants() {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	if s.wire.leaks > 0 {
		s.rt.Fatalf("%d requests held plaintext", s.wire.leaks)
	}
	stored := make(map[string]bool)
	for _, url := range []string{s.url, s.dlq} {
		for _, m := range s.w.server.Stored(url) {
			stored[*m.MessageId] = true
		}
	}
	for body, id := range s.accepted {
		if !s.delivered[body] && !stored[id] {
			s.rt.Fatalf("message %q (%.40s...) was accepted, is not in a queue, and was not delivered", id, body)
		}
	}
	for _, use := range s.wire.keys {
		if n := len(use.messages); n > modelMaxMessages {
			s.rt.Fatalf("a data key sealed %d messages, want at most %d", n, modelMaxMessages)
		}
		limit := modelMaxStale
		if !s.kmsEver {
			limit = modelReuse
		}
		if age := use.last.Sub(use.first); age >= limit {
			s.rt.Fatalf("a data key was used for %v, want less than %v (KMS has failed: %v)", age, limit, s.kmsEver)
		}
	}
	var fetches, asked uint64
	all := slices.Concat(s.processes, s.gone)
	for _, p := range all {
		stats := p.sealer.Stats()
		fetches += stats.Cache.Fetches
		asked += stats.Asked
	}
	// A question counts when it has its answer. A process may have one out for
	// each of the two queues.
	asked += 2 * uint64(len(all))
	// One fetch asks about at most three data keys, each in at most two attempts;
	// making junk asks besides.
	if limit := 6*int(fetches) + 2*int(asked) + 2*s.hostile; s.wire.kmsRaw > limit {
		s.rt.Fatalf("got %d requests to KMS for %d fetches, want at most %d", s.wire.kmsRaw, fetches, limit)
	}
	if s.kmsEver {
		return
	}
	// A healthy KMS is asked for a data key when one is used up, and once in what
	// is left of a reuse period before its refresh (half, to be generous).
	periods := 1 + int(time.Since(s.started)/(modelReuse/2))
	count := func(action string) int { return s.w.server.Count(action) }
	if got, limit := count("kms:GenerateDataKey"), (s.lives+s.purges)*periods+s.n/modelMaxMessages+s.hostile; got > limit {
		s.rt.Fatalf("got %d GenerateDataKey calls, want at most %d", got, limit)
	}
	if got, limit := count("kms:Decrypt"), (s.lives+s.purges)*periods*(len(s.wire.keys)+2*s.hostile)+int(asked); got > limit {
		s.rt.Fatalf("got %d Decrypt calls, want at most %d", got, limit)
	}
}

// heal ends all faults, and lets every message arrive.
func (s *system) heal() {
	s.fault(nil, nil)
	s.errs = make(map[string]int)
	p := s.newProcess()
	// Junk is parked, and is visible again after 5, 40 and 60 minutes, until the
	// redrive policy has taken it.
	for range 200 + 16*modelReceives*s.hostile {
		left := 0
		for body := range s.accepted {
			if !s.delivered[body] {
				left++
			}
		}
		if left == 0 {
			return
		}
		for _, url := range []string{s.url, s.dlq} {
			s.receive(p, url, func() bool { return false })
		}
		time.Sleep(20 * time.Second)
	}
	left := 0
	for body := range s.accepted {
		if !s.delivered[body] {
			left++
		}
	}
	s.rt.Fatalf("%d of %d messages do not arrive, more than an hour after the last fault; %d and %d messages are in the queues; the last errors: %v",
		left, len(s.accepted), len(s.w.server.Stored(s.url)), len(s.w.server.Stored(s.dlq)), s.errs)
}

// TestSystemLosesNothing has producers and consumers work at random, under
// faults of KMS and of SQS, restarts, purges and hostile messages.
func TestSystemLosesNothing(t *testing.T) {
	t.Parallel()
	unavailable := []error{
		errors.New("connection reset"),
		&smithy.GenericAPIError{Code: "ThrottlingException"},
		&smithy.GenericAPIError{Code: "KMSInternalException"},
		sqsxtest.ErrResponseLost,
	}
	refusals := []error{&smithy.GenericAPIError{Code: "DisabledException"}, &smithy.GenericAPIError{Code: "AccessDeniedException"}}
	sqsFaults := []error{
		nil, nil, sqsxtest.ErrResponseLost, errors.New("connection reset"),
		&smithy.GenericAPIError{Code: "InternalError", Fault: smithy.FaultServer},
		&smithy.GenericAPIError{Code: "RequestThrottled"},
	}
	for _, name := range []string{"orders", "orders.fifo"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rapid.Check(withoutDeadline{t}, func(rt *rapid.T) {
					server := sqsxtest.Start()
					defer server.Close()
					w := &world{t: t, server: server, cfg: server.Config()}
					w.watch()
					w.kms, w.plain = kms.NewFromConfig(w.cfg), sqs.NewFromConfig(w.cfg)
					w.key = w.newKey()
					s := &system{
						t: t, rt: rt, w: w, wire: newWire(), fifo: strings.HasSuffix(name, ".fifo"), started: time.Now(),
						possible: make(map[string]int), accepted: make(map[string]string), delivered: make(map[string]bool), errs: make(map[string]int),
					}
					s.url, s.dlq = w.withDLQ(name, modelReceives, "VisibilityTimeout", "10")
					for range 3 {
						s.processes = append(s.processes, s.newProcess())
					}
					server.Intercept(s.intercept)
					keepSome := func() bool { return rapid.IntRange(0, 3).Draw(rt, "keep") == 0 }
					healthyKMS := rapid.Bool().Draw(rt, "KMS stays healthy")
					rt.Repeat(map[string]func(*rapid.T){
						"send":       func(*rapid.T) { s.send() },
						"send again": func(*rapid.T) { s.send() },
						"receive":    func(*rapid.T) { _, p := s.any(); s.receive(p, s.url, keepSome) },
						"read DLQ":   func(*rapid.T) { _, p := s.any(); s.receive(p, s.dlq, keepSome) },
						"wait": func(*rapid.T) {
							time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, 11 * time.Second, 50 * time.Second, 5 * time.Minute}).Draw(rt, "time"))
						},
						"KMS": func(*rapid.T) {
							if healthyKMS {
								rt.Skip("KMS stays healthy")
							}
							s.fault(rapid.SampledFrom(slices.Concat([]error{nil, nil, nil}, unavailable, refusals)).Draw(rt, "KMS fault"), s.sqsFault)
						},
						"SQS":  func(*rapid.T) { s.fault(s.kmsFault, rapid.SampledFrom(sqsFaults).Draw(rt, "SQS fault")) },
						"junk": func(*rapid.T) { s.junk() },
						"restart": func(*rapid.T) {
							i, p := s.any()
							s.gone = append(s.gone, p)
							s.processes[i] = s.newProcess()
						},
						"purge": func(*rapid.T) { _, p := s.any(); s.purges++; p.sealer.Purge() },
						"":      func(*rapid.T) { synctest.Wait(); s.invariants() },
					})
					s.heal()
				})
			})
		})
	}
}

// withoutDeadline hides the Deadline method, which must not be called in a
// bubble.
type withoutDeadline struct{ testing.TB }

// TestTheWireIsLookedAt shows that the tests that use wire can fail.
func TestTheWireIsLookedAt(t *testing.T) {
	t.Parallel()
	for offset := range 4 {
		b := append(make([]byte, offset), secret+" and more"...)
		if !holdsSecret(b) || !holdsSecret([]byte(base64.StdEncoding.EncodeToString(b))) {
			t.Errorf("the secret at offset %d is not found", offset)
		}
	}
	w := newWorld(t)
	seen := newWire()
	url := w.queue("orders")
	w.server.Intercept(func(r *sqsxtest.Request) error { seen.look(r); return nil })
	send(t, w.client(), url, secret)
	if seen.leaks != 0 || len(seen.keys) != 1 || seen.kmsRaw != 1 {
		t.Errorf("got %d leaks, %d keys, %d KMS requests of a sealed message, want 0, 1, 1", seen.leaks, len(seen.keys), seen.kmsRaw)
	}
	send(t, w.plain, url, secret)
	if seen.leaks != 1 {
		t.Errorf("got %d leaks of a message that is not sealed, want 1", seen.leaks)
	}
}
