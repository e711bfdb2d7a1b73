package sqsxtest

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// What a request belongs to when it does not say so itself.
const (
	DefaultRegion  = "us-east-1"    // of [Server.Config], and of requests that are not signed
	DefaultAccount = "000000000000" // of access key IDs that are not an account ID; LocalStack has the same
)

// Server is an SQS, an SNS, a KMS and a DynamoDB in memory.
// All methods may be called by several goroutines at once.
type Server struct {
	sqs      *sqsService
	sns      *snsService
	kms      *kmsService
	dynamodb *ddbService
	log      requestLog

	intercept atomic.Pointer[func(*Request) error]
	faults    faults // of Deny, CutKMS, CutDynamoDB and Tamper

	ctx   context.Context // ends with Close
	close context.CancelFunc

	socketMu sync.Mutex
	socket   *socket // nil until URL is called
}

// New returns a Server that is closed when the test ends. In a testing/synctest
// bubble, call it inside the bubble and with the bubble's own testing.T: then
// visibility timeouts, delays, long polling, retention and deduplication follow
// the bubble's clock.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := Start()
	tb.Cleanup(s.Close)
	return s
}

// Start returns a Server for a program that is not a test. Call Close when done
// with it.
func Start() *Server {
	queues := newSQS()
	s := &Server{sqs: queues, sns: newSNS(queues), kms: newKMS(), dynamodb: newDynamoDB()}
	s.ctx, s.close = context.WithCancel(context.Background())
	return s
}

// Close ends the Server. Requests that are waiting, and all later ones, fail
// with a transport error. It closes the socket, if there is one, and may be
// called more than once.
func (s *Server) Close() {
	s.close()
	s.socketMu.Lock()
	defer s.socketMu.Unlock()
	if s.socket != nil {
		s.socket.close()
	}
}

// Config returns a configuration whose clients talk to the Server in this
// process, without a socket: Region [DefaultRegion], and static credentials of
// [DefaultAccount]. sqs.NewFromConfig, sns.NewFromConfig, kms.NewFromConfig and
// dynamodb.NewFromConfig need no further options.
//
// Each call returns a value of its own, free to change. Another Region is set
// as usual; another account by credentials whose access key ID is its 12
// digits. The retryer is the SDK's default (three attempts, some seconds of
// backoff): a test that makes requests fail may want a synctest bubble, or
// RetryMaxAttempts 1.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region:     DefaultRegion,
		HTTPClient: inProcess{s},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test", Source: "sqsxtest"}, nil
		}),
	}
}

// URL returns the address of the Server on a loopback socket, for clients in
// other processes and for what needs a real connection. The socket is opened by
// the first call; if that is not possible, URL panics. To use it from the SDK,
// set BaseEndpoint to it in what [Server.Config] returns, and HTTPClient to
// [LoopbackClient](nil). After Close it is an address that cannot be connected
// to.
func (s *Server) URL() string {
	s.socketMu.Lock()
	defer s.socketMu.Unlock()
	if s.ctx.Err() != nil {
		return "http://127.0.0.1:0"
	}
	if s.socket == nil {
		s.socket = openSocket(s)
	}
	return s.socket.url
}

// Request is a request that reached the Server.
type Request struct {
	Action  string      // service and operation, as IAM writes them: "sqs:SendMessage", "sns:Publish", "kms:GenerateDataKey", "dynamodb:GetItem"
	Region  string      // from the signature; DefaultRegion if there is none
	Account string      // from the access key ID; DefaultAccount if that is not an account ID
	Header  http.Header // of the HTTP request
	Body    []byte      // JSON; for SNS a form

	ctx context.Context
}

// Context ends when the client gives up or the Server is closed.
// For a Request that [Server.Requests] returned it never ends.
func (r *Request) Context() context.Context {
	if r.ctx == nil {
		return context.Background()
	}
	return r.ctx
}

func (r *Request) clone(ctx context.Context) Request {
	c := *r
	c.Header, c.Body, c.ctx = r.Header.Clone(), slices.Clone(r.Body), ctx
	return c
}

// Requests returns the requests that reached the Server, oldest first, those
// that [Server.Intercept] answered included. The Server keeps the last 16,384
// of them, fewer if they hold more than 64 MiB; [Server.Count] has no such
// bound. The result is a copy.
func (s *Server) Requests() []Request { return s.log.all() }

// Count returns how many requests with this action ("kms:GenerateDataKey") have
// reached the Server.
func (s *Server) Count(action string) int { return s.log.count(action) }

// Stored returns the messages of a queue as they came over the wire, in the
// order in which they were sent: bodies, all message attributes and all system
// attributes. Delayed messages and messages in flight are included, deleted
// ones are not. There is no receipt handle. Looking changes nothing. The result
// is a copy; it is nil if there is no such queue. A URL that names no Region
// (neither in its host nor in its path) is of [DefaultRegion]; a bare queue
// name is also of [DefaultAccount].
func (s *Server) Stored(queueURL string) []types.Message { return s.sqs.stored(queueURL) }

// Intercept has fn see every request before it is carried out. [Server.Deny],
// [Server.CutKMS] and [Server.CutDynamoDB] are for the faults that most tests
// need. What fn returns decides:
//
//   - nil: the request is carried out;
//   - an error with a [smithy.APIError] in its chain: the service answers with
//     it, and nothing is carried out. The HTTP status is that of an
//     HTTPStatusCode method in the chain, else the service's own for the code,
//     else 500 for a server's fault and 400;
//   - [ErrResponseLost]: the request is carried out, and then the connection
//     breaks;
//   - any other error: the connection breaks. In process, the client's
//     transport error wraps it.
//
// fn may take its time, or wait for r.Context() to end. Its Request is a copy:
// changes have no effect. There is one such function at a time: Intercept
// replaces it for requests to come, and nil removes it. fn is called by many
// goroutines at once, and not by the test's own: use t.Error in it, not
// t.Fatal.
func (s *Server) Intercept(fn func(r *Request) error) {
	if fn == nil {
		s.intercept.Store(nil)
		return
	}
	s.intercept.Store(&fn)
}

// ServeHTTP serves all services. The X-Amz-Target header tells SQS, KMS and
// DynamoDB apart; requests to SNS have none. Any server may carry it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ex := s.accept(r)
	resp, err := s.answer(r.Context(), ex)
	if err != nil {
		breakConnection(w)
		return
	}
	resp.write(w)
}
