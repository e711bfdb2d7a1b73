package main

import (
	"bytes"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// keepConnections works around a fault of smithy-go, up to v1.28.9 at least: on
// a fast server, an emulator above all, some answers are lost with their
// connection, and the messages in them stay invisible until their visibility
// timeout ends. docs/operations.md, "Connections that break", has the story.
func keepConnections(o *sqs.Options) { o.HTTPClient = bodiesInMemory{o.HTTPClient} }

// bodiesInMemory gives net/http each request's body from memory, where it does
// not have to look for the end.
type bodiesInMemory struct{ next aws.HTTPClient }

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
