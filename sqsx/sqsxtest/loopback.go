package sqsxtest

import (
	"bytes"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// LoopbackClient returns an HTTP client for SDK clients whose endpoint is on
// the same machine: [Server.URL], LocalStack, ElasticMQ. It gives each request
// to next, which is the SDK's own client if it is nil, with the body in memory.
//
// Without it, the SDK loses some connections to a server that answers within
// microseconds, and sometimes the answer with the connection. Messages in a
// lost answer are in flight, and no consumer has them: they come back when
// their visibility timeout ends. The fault is in smithy-go, since 2020 and up
// to v1.28.9 at least: docs/operations.md, "Connections that break", says how
// to recognise it.
//
// The client is safe for concurrent use if next is. It hides the type of next:
// sealq then puts no bound of its own on the time of a KMS call.
func LoopbackClient(next aws.HTTPClient) aws.HTTPClient {
	if next == nil {
		next = awshttp.NewBuildableClient()
	}
	return bodiesInMemory{next}
}

type bodiesInMemory struct{ next aws.HTTPClient }

// Do sends a copy of r whose body net/http knows to be in memory. The body
// that smithy-go gives returns io.EOF from WriteTo once it is closed, which
// happens as soon as the answer's header is there. net/http may be looking for
// the end of the body at that moment, takes the EOF for a failed write, and
// closes the connection under the answer.
func (c bodiesInMemory) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return c.next.Do(r)
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, err
	}
	r = r.WithContext(r.Context()) // a copy
	r.Body = io.NopCloser(bytes.NewReader(body))
	return c.next.Do(r)
}
