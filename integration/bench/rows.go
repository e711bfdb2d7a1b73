package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// text is a body as services send them: JSON, and so full of quotes.
func text(size int) string {
	const event = `{"type":"order.placed","id":"0f8b2c1e-6f7d-4d0a-9a53-0c6d1d8f7a21","customer":"C-104233","currency":"EUR","total":149.9,"lines":[{"sku":"A-1001","qty":2},{"sku":"B-77","qty":1}]},`
	return strings.Repeat(event, size/len(event)+1)[:size]
}

var sealContext = envelope.EncryptionContext{"sealq:queue": queueARN}

func acceptAll(envelope.EncryptionContext) error { return nil }

// envelopes seals and opens one body: by hand, by sealq with its data key cache
// and with a cached data key, by sealq with a cached branch key, and by the
// official SDK. Base64, both ways, counts everywhere.
type envelopes struct {
	cache    envelope.Keyring
	branch   envelope.Keyring
	inHand   envelope.Keyring
	official *official
	dataKey  []byte
}

func newEnvelopes() (*envelopes, error) {
	keys, err := cache.New(&keyService{})
	if err != nil {
		return nil, err
	}
	branch, err := newBranchKeyring()
	if err != nil {
		return nil, err
	}
	key, err := dataKey(1)
	if err != nil {
		return nil, err
	}
	official, err := newOfficial(sealContext)
	if err != nil {
		return nil, err
	}
	return &envelopes{cache: keys, branch: branch, inHand: oneKey{key}, official: official, dataKey: make([]byte, 32)}, nil
}

// oneKey has one data key, and no work with it.
type oneKey struct{ key *envelope.DataKey }

func (k oneKey) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.key, nil
}

func (k oneKey) DecryptDataKey(context.Context, []envelope.EncryptedDataKey, envelope.EncryptionContext) (*envelope.DataKey, error) {
	return k.key, nil
}

func (e *envelopes) seal(keys envelope.Keyring, plaintext []byte) (header []byte, body string, err error) {
	m, err := envelope.Seal(context.Background(), keys, plaintext, sealContext)
	if err != nil {
		return nil, "", err
	}
	return m.Header, base64.StdEncoding.EncodeToString(m.Body), nil
}

func (e *envelopes) open(keys envelope.Keyring, header []byte, body string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, err
	}
	o, err := envelope.Open(context.Background(), keys, envelope.Message{Header: header, Body: b}, acceptAll)
	return o.Plaintext, err
}

// sealing returns the operations by hand, sealq with its cache, official, sealq
// with a cached data key.
func (e *envelopes) sealing(size int) ([]operation, error) {
	plaintext := []byte(text(size))
	header, _, err := e.seal(e.inHand, plaintext)
	if err != nil {
		return nil, err
	}
	if got, want := len(floorHeader)+16, len(header); got != want {
		return nil, fmt.Errorf("the header of the floor takes %d bytes, that of sealq %d", got, want)
	}
	return []operation{
		func() error { _, _, err := floorSeal(e.dataKey, plaintext); return err },
		func() error { _, _, err := e.seal(e.cache, plaintext); return err },
		func() error {
			message, err := e.official.seal(plaintext)
			_ = base64.StdEncoding.EncodeToString(message)
			return err
		},
		func() error { _, _, err := e.seal(e.inHand, plaintext); return err },
	}, nil
}

// opening returns the same operations as sealing.
func (e *envelopes) opening(size int) ([]operation, error) {
	plaintext := []byte(text(size))
	floorHeader, floorBody, err := floorSeal(e.dataKey, plaintext)
	if err != nil {
		return nil, err
	}
	header, body, err := e.seal(e.inHand, plaintext)
	if err != nil {
		return nil, err
	}
	message, err := e.official.seal(plaintext)
	if err != nil {
		return nil, err
	}
	encoded := base64.StdEncoding.EncodeToString(message)
	operations := []operation{
		func() error { return same(plaintext)(floorOpen(e.dataKey, floorHeader, floorBody)) },
		func() error { return same(plaintext)(e.open(e.cache, header, body)) },
		func() error {
			message, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil {
				return err
			}
			return same(plaintext)(e.official.open(message))
		},
		func() error { return same(plaintext)(e.open(e.inHand, header, body)) },
	}
	return operations, nil
}

// withBranchKey returns the operations with a data key of KMS and with a branch
// key, both of them cached, and with that data key and the cryptography of a
// branch key by hand beside it.
func (e *envelopes) withBranchKey(size int, opens bool) ([]operation, error) {
	plaintext := []byte(text(size))
	var operations []operation
	for _, keys := range []envelope.Keyring{e.cache, e.branch} {
		header, body, err := e.seal(keys, plaintext)
		if err != nil {
			return nil, err
		}
		operations = append(operations, func() error {
			if opens {
				return same(plaintext)(e.open(keys, header, body))
			}
			_, _, err := e.seal(keys, plaintext)
			return err
		})
	}
	branchKey, aad := make([]byte, 32), []byte(text(150))
	wrapped, err := floorWrap(branchKey, aad)
	if err != nil {
		return nil, err
	}
	return append(operations, func() error {
		var err error
		if opens {
			_, err = floorUnwrap(branchKey, wrapped, aad)
		} else {
			_, err = floorWrap(branchKey, aad)
		}
		if err != nil {
			return err
		}
		return operations[kmsKeyOp]()
	}), nil
}

// same returns a check that costs nothing beside what it checks.
func same(want []byte) func([]byte, error) error {
	return func(got []byte, err error) error {
		if err == nil && len(got) != len(want) {
			err = errors.New("the message did not open to what was sealed")
		}
		return err
	}
}

// clients calls SQS by the SDK alone, by a client with sealq, and by the SDK
// alone with the floor called by hand beside it: a sealed message has a header
// to carry and a body a third longer, whatever sealed it.
type clients struct {
	sealer        *sqsx.Sealer
	branchSealer  *sqsx.Sealer // the same, with a branch key
	noDigests     *sqsx.Sealer // the same, with Policy.NoDigests
	plain, sealed *sqs.Client  // in memory
	queue         *queue
	dataKey       []byte
}

func newSealer(s envelope.Keyring, optFns ...func(*sqsx.Options)) (*sqsx.Sealer, error) {
	return sqsx.New(s, append(optFns, func(o *sqsx.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
		o.Region = region
	})...)
}

func newClients() (*clients, error) {
	sealer, err := newSealer(&keyService{})
	if err != nil {
		return nil, err
	}
	noDigests, err := newSealer(&keyService{}, func(o *sqsx.Options) { o.Policy.NoDigests = true })
	if err != nil {
		return nil, err
	}
	branch, err := newBranchKeyring()
	if err != nil {
		return nil, err
	}
	branchSealer, err := newSealer(branch)
	if err != nil {
		return nil, err
	}
	q := &queue{}
	return &clients{
		sealer: sealer, branchSealer: branchSealer, noDigests: noDigests, queue: q, dataKey: make([]byte, 32),
		plain: q.client(), sealed: q.client(sealer.Install),
	}, nil
}

func header(b []byte) map[string]types.MessageAttributeValue {
	return map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("Binary"), BinaryValue: b}}
}

// sending returns the operations plain, sealq, floor.
func (c *clients) sending(size int) []operation { return c.sendingBy(c.plain, c.sealed, size) }

func (c *clients) sendingBy(plain, sealed *sqs.Client, size int) []operation {
	in := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(text(size))}
	send := func(client *sqs.Client, in *sqs.SendMessageInput) error {
		_, err := client.SendMessage(context.Background(), in)
		return err
	}
	return []operation{
		func() error { return send(plain, in) },
		func() error { return send(sealed, in) },
		func() error {
			h, body, err := floorSeal(c.dataKey, []byte(*in.MessageBody))
			if err != nil {
				return err
			}
			return send(plain, &sqs.SendMessageInput{QueueUrl: in.QueueUrl, MessageBody: &body, MessageAttributes: header(h)})
		},
	}
}

// sendingWithBranchKey returns the operations with a data key of KMS and with a
// branch key, both of them cached.
func (c *clients) sendingWithBranchKey(size int) []operation {
	return []operation{c.sending(size)[sealedOp], c.sendingBy(c.plain, c.queue.client(c.branchSealer.Install), size)[sealedOp]}
}

// sealingOnly returns what sealq does of a send, without the SDK around it.
func (c *clients) sealingOnly(size int) operation {
	in := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(text(size))}
	return func() error {
		_, err := c.sealer.SealMessage(context.Background(), queueARN, in)
		return err
	}
}

// sendingOverLoopback is sending, to a server on a loopback address.
func (c *clients) sendingOverLoopback(size int) (operations []operation, stop func(), err error) {
	url, stop, err := c.queue.serve()
	if err != nil {
		return nil, nil, err
	}
	plain := c.queue.client(func(o *sqs.Options) {
		o.BaseEndpoint = &url
		o.HTTPClient = sqsxtest.LoopbackClient(nil) // the SDK's own, without the connections that smithy-go loses
	})
	return c.sendingBy(plain, c.sealer.Wrap(plain), size), stop, nil
}

// sendingBatches returns the operations plain, sealq, floor for ten messages.
func (c *clients) sendingBatches(size int) []operation {
	body := text(size)
	input := func() *sqs.SendMessageBatchInput {
		in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL)}
		for i := range 10 {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &body})
		}
		return in
	}
	in := input()
	send := func(client *sqs.Client, in *sqs.SendMessageBatchInput) error {
		out, err := client.SendMessageBatch(context.Background(), in)
		if err == nil && len(out.Successful) != len(in.Entries) {
			err = fmt.Errorf("%d messages of %d were sent", len(out.Successful), len(in.Entries))
		}
		return err
	}
	return []operation{
		func() error { return send(c.plain, in) },
		func() error { return send(c.sealed, in) },
		func() error {
			in := input()
			for i := range in.Entries {
				h, sealed, err := floorSeal(c.dataKey, []byte(body))
				if err != nil {
					return err
				}
				in.Entries[i].MessageBody, in.Entries[i].MessageAttributes = &sealed, header(h)
			}
			return send(c.plain, in)
		},
	}
}

// receiving returns the operations plain, sealq, floor, sealq without digests
// for ten messages.
func (c *clients) receiving(size int) ([]operation, error) {
	sealed, err := sealedMessages(c.sealer, size)
	if err != nil {
		return nil, err
	}
	var plain, floor []types.Message
	for range 10 {
		plaintext := text(size)
		plain = append(plain, types.Message{Body: &plaintext})
		h, body, err := floorSeal(c.dataKey, []byte(plaintext))
		if err != nil {
			return nil, err
		}
		floor = append(floor, types.Message{Body: &body, MessageAttributes: header(h)})
	}
	body := func(m *types.Message) (int, error) { return len(*m.Body), nil }
	operations := make([]operation, 4)
	var errs [4]error
	operations[0], errs[0] = receiver(size, plain, body)
	operations[1], errs[1] = receiver(size, sealed, body, c.sealer.Install)
	operations[2], errs[2] = receiver(size, floor, func(m *types.Message) (int, error) {
		plaintext, err := floorOpen(c.dataKey, m.MessageAttributes["sealq"].BinaryValue, *m.Body)
		return len(string(plaintext)), err
	})
	operations[noDigestsOp], errs[noDigestsOp] = receiver(size, sealed, body, c.noDigests.Install)
	return operations, errors.Join(errs[:]...)
}

// receiver returns the operation that receives messages, ten of size, and has
// each look at their plaintext.
func receiver(size int, messages []types.Message, each func(*types.Message) (int, error), optFns ...func(*sqs.Options)) (operation, error) {
	answer, err := received(messages)
	if err != nil {
		return nil, err
	}
	client := (&queue{messages: answer}).client(optFns...)
	in := &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10}
	return func() error {
		out, err := client.ReceiveMessage(context.Background(), in)
		if err != nil {
			return err
		}
		total := 0
		for i := range out.Messages {
			n, err := each(&out.Messages[i])
			if err != nil {
				return err
			}
			total += n
		}
		if want := 10 * size; total != want {
			return fmt.Errorf("received %d bytes, want %d", total, want)
		}
		return nil
	}, nil
}

// receivingWithBranchKey returns the operations with a data key of KMS and with
// a branch key, both of them cached.
func (c *clients) receivingWithBranchKey(size int) ([]operation, error) {
	var operations []operation
	for _, sealer := range []*sqsx.Sealer{c.sealer, c.branchSealer} {
		messages, err := sealedMessages(sealer, size)
		if err != nil {
			return nil, err
		}
		operation, err := receiver(size, messages, func(m *types.Message) (int, error) { return len(*m.Body), nil }, sealer.Install)
		if err != nil {
			return nil, err
		}
		operations = append(operations, operation)
	}
	return operations, nil
}

// sealedMessages returns ten messages as a queue has them.
func sealedMessages(sealer *sqsx.Sealer, size int) ([]types.Message, error) {
	var messages []types.Message
	for range 10 {
		out, err := sealer.SealMessage(context.Background(), queueARN, &sqs.SendMessageInput{MessageBody: aws.String(text(size))})
		if err != nil {
			return nil, err
		}
		// sealq asks for these two; a queue has them for every message.
		system := map[string]string{"ApproximateReceiveCount": "1", "SentTimestamp": "1789000000000"}
		messages = append(messages, types.Message{Body: out.MessageBody, MessageAttributes: out.MessageAttributes, Attributes: system})
	}
	return messages, nil
}
