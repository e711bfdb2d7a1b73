package sqsx

import (
	"context"
	"encoding/hex"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx/internal/hold"
)

// How a received message is opened: the middleware (middleware/receive.go)
// calls Admit before the request and Open with the response. For each message,
// Open unpacks the carrier (carrier.go), has envelope.Open parse it, checks
// that its encryption context belongs here (binding.go), gets its data key from
// the cache, has the rest verified and decrypted, and decodes what was sealed
// beside the body (content.go). The middleware delivers what opened, and
// withholds and reports the rest (report.go).

// Admit implements middleware.Codec.
func (c *codec) Admit(ctx context.Context, q middleware.Queue, in *sqs.ReceiveMessageInput, client func() *sqs.Client) (middleware.Admission, error) {
	q = c.complete(q)
	c.counters.begin(ctx, q)
	// An error that would fail every message of the response fails the call now,
	// before their receive counts rise.
	policy, err := c.table.find(q)
	if err == nil {
		_, err = policy.bindingName(q)
	}
	if err != nil {
		return middleware.Admission{}, err
	}
	admission, err := c.admit(ctx, q, policy, in, client)
	admission.AttributeNames = policy.AuthenticateAttributes
	admission.EmptyInstead = policy.NoReceiveErrors && (err == nil || errors.Is(err, ErrHeld))
	return admission, err
}

// openTimeout bounds the opening of one response. It leaves room for one fetch
// of the KMS keyring with all its attempts.
const openTimeout = 10 * time.Second

// largeBody is the length of a body, in bytes as received, from which opening
// it takes much longer than starting a goroutine. Without goroutines, a receive
// of ten messages of 1 KiB takes a sixth less time.
const largeBody = 16 << 10

// Open implements middleware.Codec. As many goroutines as there are processors
// open large messages, and no message waits for the data key of another. The
// cache makes one call for messages under the same data key.
func (c *codec) Open(ctx context.Context, q middleware.Queue, messages []types.Message) []middleware.Opened {
	q = c.complete(q)
	c.counters.begin(ctx, q)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ctx, span := startSpan(ctx, "sealq.Open")
	opened := make([]middleware.Opened, len(messages))
	defer func() { endOpen(span, q, messages, opened) }()

	policy, err := c.table.find(q)
	var binding string
	if err == nil {
		binding, err = policy.bindingName(q)
	}
	if err != nil {
		for i := range opened {
			opened[i] = middleware.Opened{Err: err, Temporary: true}
		}
		return opened
	}
	r := response{
		codec: c, policy: policy, queue: q, binding: binding,
		messages: messages, opened: opened, known: make([]openedInfo, len(messages)), lookups: make([]lookup, len(messages)),
	}
	for range min(r.large(), runtime.GOMAXPROCS(0)) - 1 {
		r.share(ctx)
	}
	r.openAll(ctx)
	r.goroutines.Wait()
	if !policy.NoHold {
		c.note(q, policy, messages, opened, r.lookups)
	}
	c.count(ctx, q, opened)
	c.dropped.look(ctx)
	return opened
}

// response is a response of SQS whose messages are being opened.
type response struct {
	*codec
	policy   *compiledPolicy
	queue    middleware.Queue
	binding  string // of the queue; see bindingName
	messages []types.Message

	// For each message, written by the goroutine that took it.
	opened  []middleware.Opened
	known   []openedInfo
	lookups []lookup

	taken      atomic.Int32 // messages
	goroutines sync.WaitGroup
}

// large is the number of messages with a large body.
func (r *response) large() int {
	n := 0
	for i := range r.messages {
		if len(aws.ToString(r.messages[i].Body)) >= largeBody {
			n++
		}
	}
	return n
}

// openAll opens messages until all are taken.
func (r *response) openAll(ctx context.Context) {
	for i := int(r.taken.Add(1)) - 1; i < len(r.messages); i = int(r.taken.Add(1)) - 1 {
		r.opened[i] = r.open(ctx, i)
	}
}

// share starts another goroutine for the messages that are left, if any.
func (r *response) share(ctx context.Context) {
	if int(r.taken.Load()) < len(r.messages) {
		r.goroutines.Go(func() { r.openAll(ctx) })
	}
}

// open returns what message i holds, or why it may not be delivered.
func (r *response) open(ctx context.Context, i int) middleware.Opened {
	m := &r.messages[i]
	sealed, ok, err := unpack(m)
	switch {
	case err != nil:
		return withhold(err)
	case !ok && !r.policy.AcceptPlaintext:
		return withhold(r.notSealed(m))
	case !ok:
		return r.deliver(i, aws.ToString(m.Body), m.MessageAttributes)
	}
	accept := func(ec envelope.EncryptionContext) error { return r.accept(r.policy, r.queue, r.binding, m, ec) }
	k := &r.lookups[i]
	*k = lookup{Source: r.policy.keyring, response: r, message: m}
	result, err := sealed.open(ctx, k, accept)
	if err != nil {
		return withhold(ownDeadline(err))
	}
	inside, err := r.inside(r.policy, result, m.MessageAttributes)
	if err != nil {
		return withhold(err)
	}
	k.opened = hold.DataKey{Encrypted: result.Key, Header: sealed.Header}
	r.codec.opened.add(aws.ToString(m.MessageId))
	r.known[i] = openedInfo{
		sealed: true, messageID: result.MessageID, context: result.EncryptionContext,
		keyProvider: result.Key.ProviderID, key: result.Key.ProviderInfo,
		sealedAt: inside.sealedAt, authenticated: inside.authenticated,
	}
	return r.deliver(i, inside.body, inside.attributes)
}

func (r *response) deliver(i int, body string, attributes map[string]types.MessageAttributeValue) middleware.Opened {
	m, info := &r.messages[i], &r.known[i]
	info.receives = receives(m)
	// The middleware takes out the attribute that it was told about.
	content := middleware.Content{Body: body, Attributes: attributes, NoDigests: r.policy.NoDigests}
	return middleware.Opened{Content: content, Info: info}
}

func withhold(err error) middleware.Opened {
	return middleware.Opened{Err: err, Temporary: classify(err) != invalidMessage}
}

// lookup finds the data key of one message. If it has to wait for it, another
// goroutine takes the other messages of the response first.
type lookup struct {
	cache.Source
	response *response
	message  *types.Message

	own    bool         // the data key is bound to exactly the context that this process seals with
	opened hold.DataKey // that opened the message; zero: none
}

// DecryptDataKey implements [envelope.Keyring].
func (k *lookup) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, ec envelope.EncryptionContext) (*envelope.DataKey, error) {
	k.own = k.response.ownContext(k.response.binding, k.message, ec)
	now := ctx
	if ctx.Err() != nil {
		now = context.WithoutCancel(ctx) // the time to wait is over, and this waits for nothing
	}
	if key, ok := k.TryDecryptDataKey(now, edks, ec); ok {
		return key, nil
	}
	k.response.share(ctx)
	return k.Source.DecryptDataKey(ctx, edks, ec)
}

// openedInfo is what [Info] is made from, for callers that ask.
type openedInfo struct {
	sealed      bool
	receives    int
	messageID   [32]byte
	keyProvider string
	key         []byte // ProviderInfo
	context     envelope.EncryptionContext

	// Of sealed content.
	sealedAt      time.Time
	authenticated []string
}

// info returns the Info of a message. Its EncryptionContext and
// AuthenticatedAttributes are those of i.
func (i *openedInfo) info() Info {
	if !i.sealed {
		return Info{Receives: i.receives}
	}
	return Info{
		Sealed:                  true,
		SealID:                  hex.EncodeToString(i.messageID[:]),
		Receives:                i.receives,
		KeyProvider:             i.keyProvider,
		Key:                     wrappingKey(i.keyProvider, i.key),
		EncryptionContext:       i.context,
		SealedAt:                i.sealedAt,
		AuthenticatedAttributes: i.authenticated,
	}
}

// rawAESFields follow the key's name in the provider info of a raw AES keyring:
// the length of the tag in bits, 128, and that of the IV in bytes, 12, each in
// 4 bytes, big-endian. The IV comes last (docs/format.md).
const (
	rawAESFields = "\x00\x00\x00\x80\x00\x00\x00\x0c"
	rawAESIVSize = 12
)

// wrappingKey returns the name of the wrapping key of an encrypted data key.
func wrappingKey(provider string, providerInfo []byte) string {
	info := string(providerInfo)
	if n := len(info) - rawAESIVSize; n > 0 {
		if name, isRawAES := strings.CutSuffix(info[:n], rawAESFields); isRawAES && provider != kmskeyring.ProviderID && provider != branchkey.ProviderID {
			return name
		}
	}
	return info
}

// receives is 0 if m does not have the count.
func receives(m *types.Message) int {
	n, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (c *codec) count(ctx context.Context, q middleware.Queue, opened []middleware.Opened) {
	var sealed, plain int
	for _, o := range opened {
		switch info, _ := o.Info.(*openedInfo); {
		case o.Err != nil: // counted when it is reported
		case info.sealed:
			sealed++
		default:
			plain++
		}
	}
	c.counters.opened.add(ctx, q, sealed)
	c.counters.openedPlain.add(ctx, q, plain)
}
