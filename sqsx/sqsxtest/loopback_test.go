package sqsxtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// slowWrites is an HTTP client whose writes to the connection return only when
// the SDK has begun to read the answer: what happens by chance where the server
// answers faster than the writing goroutine goes on.
type slowWrites struct {
	next     *http.Client
	wrote    chan error    // how net/http's write of the request ended
	release  func()        // called when the answer is read
	released chan struct{} // closed by it
	closed   chan struct{} // closed with the connection
}

func newSlowWrites(t *testing.T) *slowWrites {
	c := &slowWrites{wrote: make(chan error, 1), released: make(chan struct{}), closed: make(chan struct{})}
	c.release = sync.OnceFunc(func() { close(c.released) })
	t.Cleanup(c.release)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return slowConn{conn, c}, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	c.next = &http.Client{Transport: transport}
	return c
}

func (c *slowWrites) Do(r *http.Request) (*http.Response, error) {
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) { c.wrote <- info.Err },
	}))
	resp, err := c.next.Do(r)
	if err == nil {
		resp.Body = &answer{ReadCloser: resp.Body, client: c}
	}
	return resp, err
}

// slowConn is the connection. A write of the head alone is not held up: the
// server answers when it has the body, whose JSON ends in a brace.
type slowConn struct {
	net.Conn
	client *slowWrites
}

func (c slowConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if bytes.HasSuffix(b, []byte("}")) {
		<-c.client.released
	}
	return n, err
}

func (c slowConn) Close() error {
	close(c.client.closed) // net/http closes a connection once
	return c.Conn.Close()
}

// answer lets the writes go on when it is first read, and waits for what
// net/http makes of them.
type answer struct {
	io.ReadCloser
	client *slowWrites
	read   bool
}

func (a *answer) Read(p []byte) (int, error) {
	if !a.read {
		a.read = true
		a.client.release()
		err := <-a.client.wrote
		a.client.wrote <- err // for the test
		if err != nil {
			<-a.client.closed
		}
	}
	return a.ReadCloser.Read(p)
}

// TestLoopbackClient runs one and the same receive with the SDK's request
// bodies and with those of LoopbackClient. The first half describes the fault
// in smithy-go: if it fails after an upgrade, the fault is fixed there, and
// LoopbackClient, examples/service/transport.go and a section of
// docs/operations.md can go.
func TestLoopbackClient(t *testing.T) {
	t.Parallel()
	const long = 64 << 10 // more than net/http has read ahead when the connection closes
	for name, test := range map[string]struct {
		client func(aws.HTTPClient) aws.HTTPClient
		wrote  error
	}{
		"SDK alone":      {func(next aws.HTTPClient) aws.HTTPClient { return next }, io.EOF},
		"LoopbackClient": {sqsxtest.LoopbackClient, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := sqsxtest.New(t)
			url := createQueue(t, sqs.NewFromConfig(server.Config()), "orders")
			send(t, sqs.NewFromConfig(server.Config()), url, strings.Repeat("x", long))

			slow := newSlowWrites(t)
			cfg := once(server.Config())
			cfg.BaseEndpoint, cfg.HTTPClient = aws.String(server.URL()), test.client(slow)
			out, err := sqs.NewFromConfig(cfg).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url})
			if wrote := <-slow.wrote; !errors.Is(wrote, test.wrote) {
				t.Errorf("net/http has written the request: got error %v, want %v", wrote, test.wrote)
			}
			if test.wrote != nil {
				if err == nil || !strings.Contains(err.Error(), "use of closed network connection") {
					t.Errorf("got %v, want a connection closed under the answer", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Messages) != 1 || len(*out.Messages[0].Body) != long {
				t.Errorf("got %d messages, want the one of %d bytes", len(out.Messages), long)
			}
		})
	}
}

// TestLoopbackClientWithoutBody: a request that has none is passed on as it is.
func TestLoopbackClientWithoutBody(t *testing.T) {
	t.Parallel()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	var got *http.Request
	client := sqsxtest.LoopbackClient(doFunc(func(r *http.Request) (*http.Response, error) {
		got = r
		return nil, errors.New("not sent")
	}))
	_, _ = client.Do(request)
	if got != request {
		t.Errorf("got %v, want the caller's own request", got)
	}

	request.Body = io.NopCloser(iotest.ErrReader(errBrokenBody))
	if _, err := client.Do(request); !errors.Is(err, errBrokenBody) {
		t.Errorf("a body that cannot be read: got %v, want %v", err, errBrokenBody)
	}
}

type doFunc func(*http.Request) (*http.Response, error)

func (f doFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

var errBrokenBody = errors.New("broken body")
