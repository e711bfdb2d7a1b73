package sqsx_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

// The whole of a call on the test server, without sealing and with it. What
// sealing costs is measured in integration/bench, against servers that do less.

func BenchmarkSendMessage(b *testing.B) {
	for name, client := range benchClients(b) {
		b.Run(name, func(b *testing.B) {
			body := strings.Repeat("x", 1<<10)
			in := &sqs.SendMessageInput{QueueUrl: client.url, MessageBody: &body}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := client.SendMessage(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReceiveMessage(b *testing.B) {
	for name, client := range benchClients(b) {
		b.Run(name, func(b *testing.B) {
			body := strings.Repeat("x", 1<<10)
			for range 10 {
				send(b, client.Client, *client.url, body)
			}
			in := &sqs.ReceiveMessageInput{QueueUrl: client.url, MaxNumberOfMessages: 10}
			b.ReportAllocs()
			b.SetBytes(int64(10 * len(body)))
			for b.Loop() {
				if out, err := client.ReceiveMessage(b.Context(), in); err != nil || len(out.Messages) != 10 {
					b.Fatalf("got %v, want ten messages", err)
				}
			}
		})
	}
}

// BenchmarkReceiveDigests receives ten messages of 64 KiB with the digests of
// what is delivered, and without. The response is one that was recorded: the
// time is the client's alone.
func BenchmarkReceiveDigests(b *testing.B) {
	for _, policy := range []sqsx.Policy{{}, {NoDigests: true}} {
		b.Run(fmt.Sprintf("NoDigests=%t", policy.NoDigests), func(b *testing.B) {
			w := newWorld(b)
			s, url := w.sealer(func(o *sqsx.Options) { o.Policy = policy }), w.queue("orders")
			body := strings.Repeat("x", 64<<10)
			for range 10 {
				send(b, s.Wrap(w.plain), url, body)
			}
			client := s.Wrap(sqs.New(w.plain.Options(), func(o *sqs.Options) { o.HTTPClient = &replay{server: o.HTTPClient} }))
			in := &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10}
			b.ReportAllocs()
			b.SetBytes(int64(10 * len(body)))
			for b.Loop() {
				if out, err := client.ReceiveMessage(b.Context(), in); err != nil || len(out.Messages) != 10 {
					b.Fatalf("got %v, want ten messages", err)
				}
			}
		})
	}
}

// replay gives the server's first answer to every request.
type replay struct {
	server sqs.HTTPClient
	answer *http.Response
	body   []byte
}

func (r *replay) Do(req *http.Request) (*http.Response, error) {
	if r.answer == nil {
		answer, err := r.server.Do(req)
		if err != nil {
			return nil, err
		}
		if r.body, err = io.ReadAll(answer.Body); err != nil {
			return nil, err
		}
		r.answer = answer
	}
	answer := *r.answer
	answer.Body = io.NopCloser(bytes.NewReader(r.body))
	return &answer, nil
}

type benchClient struct {
	*sqs.Client
	url *string
}

// benchClients returns a plain and a sealing client, each with a queue whose
// messages can be received again at once.
func benchClients(b *testing.B) map[string]benchClient {
	w := newWorld(b)
	plain, sealed := w.queue("plain", "VisibilityTimeout", "0"), w.queue("sealed", "VisibilityTimeout", "0")
	return map[string]benchClient{"plain": {w.plain, &plain}, "sealed": {w.client(), &sealed}}
}
