package sqsx

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/internal/awsname"
	"github.com/sealq/sealq/internal/optfn"
	"github.com/sealq/sealq/middleware"
)

// Sealer seals what SQS clients send and opens what they receive. Make one with
// [NewFromConfig], [NewFromKeyStore], [NewFromEnv] or [New], and share it
// between all clients of a process, so that they share its data keys. A Sealer
// is safe for concurrent use, holds no goroutine while idle, and needs no
// closing.
//
// The clients of a nil or zero Sealer refuse to send and to receive, so that no
// plaintext is sent if the program ignores the error of a constructor.
type Sealer struct {
	codec      *codec
	reporter   *reporter
	middleware *middleware.Middleware
}

// NewFromConfig returns a Sealer whose data keys come from the AWS KMS key
// keyID: an alias ("alias/orders"), alias ARN, key ID or key ARN of a customer
// managed key for symmetric encryption. An ARN may be of another account. It
// makes its own KMS client from cfg (see [Options.KMS]) and makes no call to
// AWS before the first message. Call [Sealer.Check] to find missing permissions
// at start.
func NewFromConfig(cfg aws.Config, keyID string, optFns ...func(*Options)) (*Sealer, error) {
	o, err := applyOptions(Options{Region: cfg.Region}, optFns)
	if err != nil {
		return nil, err
	}
	if o.DynamoDB != nil && o.OpenKeyStore == nil {
		return nil, &ConfigError{errors.New("sqsx: Options.DynamoDB configures the client of a key store, and there is none: leave it unset, set Options.OpenKeyStore, or call NewFromKeyStore")}
	}
	return newFromConfig(cfg, keyID, o, nil)
}

func newFromConfig(cfg aws.Config, keyID string, o Options, switches []policySwitch) (*Sealer, error) {
	client := kms.NewFromConfig(cfg, o.KMS...)
	source, err := kmsSource(client, keyID, &o)
	if err != nil {
		return nil, &ConfigError{err}
	}
	if o.OpenKeyStore != nil {
		branch, err := o.OpenKeyStore.keyring(cfg, client, &o)
		if err != nil {
			return nil, &ConfigError{err}
		}
		source = &mixedSource{seals: source, branch: branch, kms: source}
	}
	return newSealer(source, true, o, switches)
}

// New returns a Sealer whose data keys come from kr. It puts a data key cache
// around kr, unless kr is a [cache.Source], which has one already.
// [Options.KMS], [Options.KMSKeyring], [Options.DynamoDB] and
// [Options.OpenKeyStore] must not be set: kr has its own clients.
func New(kr envelope.Keyring, optFns ...func(*Options)) (*Sealer, error) {
	o, err := applyOptions(Options{}, optFns)
	if err != nil {
		return nil, err
	}
	if o.KMS != nil || !reflect.ValueOf(o.KMSKeyring).IsZero() {
		return nil, &ConfigError{errors.New("sqsx: Options.KMS and Options.KMSKeyring configure what NewFromConfig makes, and New makes neither a client nor a keyring: leave them unset, and give such options to kms.NewFromConfig and kmskeyring.New")}
	}
	if o.DynamoDB != nil || o.OpenKeyStore != nil {
		return nil, &ConfigError{errors.New("sqsx: Options.DynamoDB and Options.OpenKeyStore configure what other constructors make, and New makes neither a client nor a keyring: leave them unset, and give such options to dynamodb.NewFromConfig and branchkey.NewStore")}
	}
	return newSealer(kr, false, o, nil)
}

func applyOptions(o Options, optFns []func(*Options)) (Options, error) {
	if err := optfn.Apply(&o, optFns); err != nil {
		return o, &ConfigError{fmt.Errorf("sqsx: %w", err)}
	}
	return o, nil
}

// newSealer returns a Sealer of kr. cached says that kr is a Source that was
// made with Options.Cache.
func newSealer(kr envelope.Keyring, cached bool, o Options, switches []policySwitch) (*Sealer, error) {
	settings, err := compile(kr, cached, o, switches)
	if err != nil {
		return nil, &ConfigError{err}
	}
	counters, err := newCounters(o.MeterProvider, settings.caches())
	if err != nil {
		return nil, &ConfigError{err}
	}
	reporter := &reporter{settings: settings, counters: counters}
	c := &codec{settings: settings, counters: counters, reporter: reporter, opened: newRecent(), dropped: &evictions{settings: settings}}
	m, err := middleware.New(c, func(mo *middleware.Options) { mo.OnWithheld, mo.OnEmptied = reporter.report, reporter.emptied })
	if err != nil {
		return nil, &ConfigError{err}
	}
	return &Sealer{codec: c, reporter: reporter, middleware: m}, nil
}

// Install makes the client that o belongs to seal and open. It is an option of
// the SDK itself:
//
//	client := sqs.NewFromConfig(cfg, sealer.Install)
//
// Give it last: a middleware that a later option adds in front of all others
// sees plaintext. Installing the same Sealer twice changes nothing; calls of a
// client with two different ones fail.
func (s *Sealer) Install(o *sqs.Options) { s.interceptor().Install(o) }

// interceptor returns the middleware, or nil, which refuses.
func (s *Sealer) interceptor() *middleware.Middleware {
	if s == nil {
		return nil
	}
	return s.middleware
}

// Wrap returns a client that seals and opens and is otherwise like client: it
// uses the same instances of HTTP client, endpoint, credentials and logger, and
// retries as it does. client itself does not change. If client is nil, every
// call of the returned client fails, with an error that says so.
func (s *Sealer) Wrap(client *sqs.Client) *sqs.Client {
	if client == nil {
		return sqs.New(sqs.Options{APIOptions: []func(*smithymiddleware.Stack) error{refuseNilClient}}, s.Install)
	}
	o := client.Options()
	return sqs.New(o, func(fresh *sqs.Options) {
		// New replaces these two, whatever the options say: with a defaults
		// mode other than legacy it would open a second connection pool.
		fresh.HTTPClient = o.HTTPClient
		fresh.Protocol = o.Protocol
	}, s.Install)
}

func refuseNilClient(*smithymiddleware.Stack) error {
	return errors.New("sqsx: Sealer.Wrap was given a nil *sqs.Client: give it one made by sqs.NewFromConfig or sqs.New")
}

// InstallConfig makes every client that is later made with
// sqs.NewFromConfig(*cfg) seal and open, those that libraries make included.
// Clients of other services do not change. cfg may be a copy of another config:
// that one does not change.
//
// InstallConfig panics if cfg is nil: otherwise the program would send
// plaintext with clients that it believes to seal.
func (s *Sealer) InstallConfig(cfg *aws.Config) {
	if cfg == nil {
		panic("sqsx: Sealer.InstallConfig was given a nil *aws.Config: give it the address of the config that clients are made from")
	}
	install := func(_ string, options any) {
		if o, ok := options.(*sqs.Options); ok {
			s.Install(o)
		}
	}
	// Copies of a config share the backing array: appending into its spare
	// capacity would let the next copy overwrite this option, and send plaintext.
	cfg.ServiceOptions = append(slices.Clip(cfg.ServiceOptions), install)
}

// SealMessage returns a copy of in whose body is sealed for queue, for senders
// that are not an *sqs.Client. queue is an ARN, or, if [Options.Region] is
// known, a URL or, with [Options.Account], a name. It may be the ARN of an SNS
// topic: the body and the attributes of the result are then what to publish.
// (Package snsx does so in an *sns.Client.) in.QueueUrl is copied as it is, and
// in is not changed. Errors are those of a SendMessage through the middleware.
// Send the result with a client that has no Sealer installed.
func (s *Sealer) SealMessage(ctx context.Context, queue string, in *sqs.SendMessageInput) (*sqs.SendMessageInput, error) {
	q, err := s.queue(queue)
	if err != nil {
		return nil, err
	}
	return s.middleware.SealMessage(ctx, q, in)
}

// SealEntries is SealMessage for several messages, for senders that have
// batches of their own. queue is an ARN, of a queue or an SNS topic, or, if
// [Options.Region] is known, a URL or, with [Options.Account], a name. Each
// entry must have an ID and a body. The error of one entry is in its Err. An
// error of the call concerns all entries. For a FIFO queue or topic the Err of
// one entry does too: send none then. The limits of each message are checked,
// those of the batch are not. entries is not changed.
func (s *Sealer) SealEntries(ctx context.Context, queue string, entries []types.SendMessageBatchRequestEntry) ([]SealedEntry, error) {
	q, err := s.queue(queue)
	if err != nil {
		return nil, err
	}
	return s.middleware.SealEntries(ctx, q, entries)
}

// SealedEntry is what [Sealer.SealEntries] returns for one entry. Its fields
// are
//
//	Body            string                                 // what to send
//	Attributes      map[string]types.MessageAttributeValue // all to send with it; the caller's to change
//	DeduplicationID *string                                // likewise; nil: none
//	NoDigests       bool                                   // Policy.NoDigests
//	Guarded         []string                               // Policy.AuthenticateAttributes; not to be modified
//	AsIs            bool                                   // it is not sealed, because of Policy.NoSeal
//	Err             error                                  // why it cannot be sent; the others mean nothing then
//
// Err is a smithy.APIError with the code that SQS would answer, and holds no
// plaintext.
type SealedEntry = middleware.Sealed

// PolicyOf returns the policy that applies to queue, with what the environment
// adds to it and with MaxMessageBytes filled in. queue is an ARN, of a queue or
// an SNS topic, or, if [Options.Region] is known, a URL or, with
// [Options.Account], a name. The result is a copy.
func (s *Sealer) PolicyOf(queue string) (Policy, error) {
	q, err := s.queue(queue)
	if err != nil {
		return Policy{}, err
	}
	found, err := s.codec.table.find(q)
	if err != nil {
		return Policy{}, err
	}
	policy := found.Policy
	policy.AcceptQueues, policy.AcceptTopics = slices.Clone(policy.AcceptQueues), slices.Clone(policy.AcceptTopics)
	policy.ClearAttributes, policy.AuthenticateAttributes = slices.Clone(policy.ClearAttributes), slices.Clone(policy.AuthenticateAttributes)
	policy.MaxMessageBytes = s.codec.MaxMessageBytes(q)
	return policy, nil
}

// OpenMessages opens messages that did not arrive through an *sqs.Client, but
// from Lambda, from EventBridge Pipes, or in a tool. queue is an ARN (a Lambda
// record's EventSourceARN), or, if [Options.Region] is known, a URL or, with
// [Options.Account], a name; for messages that SNS delivered without a queue it
// is the topic's ARN. It returns the messages that open, in order and with
// their Info, and an error for each of the others, which the caller must not
// delete: with Lambda, report them as batch item failures. msgs is not changed.
// The MessageId of a result is the pointer in msgs, so that messages with the
// same ID can be told apart.
//
// While KMS does not answer, it stops waiting for data keys before the deadline
// of ctx, by a twentieth of the time that is left or 500 milliseconds,
// whichever is less, and returns within that, so that its caller can still
// report. If ctx has no deadline, it waits for 10 seconds in all. Messages that
// are not open by then are withheld as Temporary; messages under cached data
// keys do not wait, and open. To keep time for work on them, pass a context
// with an earlier deadline.
func (s *Sealer) OpenMessages(ctx context.Context, queue string, msgs []types.Message) ([]Message, []*OpenError) {
	q, err := s.queue(queue)
	if err == nil {
		delivered, withheld := s.middleware.OpenMessages(ctx, q, msgs)
		if len(delivered) == 0 {
			return nil, withheld
		}
		opened := make([]Message, len(delivered))
		for i, d := range delivered {
			opened[i] = Message{d.Message, d.Info.(*openedInfo).info()} // the codec sets nothing else
		}
		return opened, withheld
	}
	withheld := make([]*OpenError, len(msgs))
	for i, m := range msgs {
		withheld[i] = &OpenError{Queue: middleware.Queue{URL: queue}, Message: m, Temporary: true, Err: err}
		if s != nil && s.codec != nil {
			s.reporter.report(ctx, withheld[i])
		}
	}
	return nil, withheld
}

// ConfigError is returned by a constructor for an invalid setting, and by calls
// that seal for an SNS topic whose attributes would be in clear although those
// of queues of its name are sealed ([Policy.SealAttributes]). Its text says
// what to do. No call to AWS was made.
type ConfigError struct {
	Err error // the cause, never nil
}

// Error returns the text of the cause.
func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Errors of calls that failed before a request was made, because sealq was not
// installed correctly.
var (
	// ErrUninitialized is returned when a Sealer is nil or was not made by a
	// constructor: check the error that NewFromConfig, NewFromEnv or New returned.
	ErrUninitialized = middleware.ErrUninitialized

	// ErrBypassed is returned when an option or a middleware removed the Sealer
	// from the call, or changed what it sealed.
	ErrBypassed = middleware.ErrBypassed

	// ErrInstalledTwice is returned when one client has two different Sealers.
	ErrInstalledTwice = middleware.ErrInstalledTwice
)

// queue reads an ARN or a URL.
func (s *Sealer) queue(queue string) (middleware.Queue, error) {
	if s == nil || s.codec == nil {
		return middleware.Queue{}, ErrUninitialized
	}
	if strings.HasPrefix(queue, "arn:") {
		parse := middleware.ParseQueueARN
		if awsname.IsTopicARN(queue) {
			parse = middleware.ParseTopicARN
		}
		q, err := parse(queue)
		if err != nil {
			err = fmt.Errorf("%w: %w", errQueueUnknown, err)
		}
		return q, err
	}
	if s.codec.region == "" {
		return middleware.Queue{}, advise("give the queue's ARN, or set Options.Region", "%w: the Region of %q is not set", errQueueUnknown, queue)
	}
	q, err := middleware.ParseQueueURL(queue, s.codec.region)
	if err != nil {
		err = fmt.Errorf("%w: %w", errQueueUnknown, err)
	}
	return s.codec.complete(q), err
}

// Purge forgets all data keys, and the key of each alias, and cancels calls to
// KMS that are under way. The next message of each kind calls KMS again. Use it
// in an emergency, when access to a key has been revoked and must end before
// the reuse period does. A keyring that is an [envelope.Purger] is purged with
// its cache.
func (s *Sealer) Purge() {
	if s == nil || s.codec == nil {
		return
	}
	for _, c := range s.codec.caches() {
		c.Purge()
	}
}
