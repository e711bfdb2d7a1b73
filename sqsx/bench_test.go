package sqsx_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
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

// BenchmarkSealContent seals with and without what Policy adds to the body, in
// one run: ten attributes of 100 bytes, and bodies that are compressed.
func BenchmarkSealContent(b *testing.B) {
	kr, err := envelope.NewRawAESKeyring("example", "key", make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	ten := attributes{}
	for i := range 10 {
		ten[fmt.Sprint("attribute-", i)] = stringAttribute(strings.Repeat("v", 100))
	}
	for _, kib := range []int{1, 10, 100} {
		body := jsonText(kib << 10)
		for _, tc := range []struct {
			name       string
			policy     sqsx.Policy
			attributes attributes
		}{
			{"plain", sqsx.Policy{}, nil},
			{"plain, 10 attributes in clear", sqsx.Policy{}, ten},
			{"10 attributes sealed", sqsx.Policy{SealAttributes: true}, ten},
			{"compressed", sqsx.Policy{Compress: true}, nil},
		} {
			sealer, err := sqsx.New(kr, func(o *sqsx.Options) { o.Policy = tc.policy })
			if err != nil {
				b.Fatal(err)
			}
			in := &sqs.SendMessageInput{MessageBody: &body, MessageAttributes: tc.attributes}
			sealed, err := sealer.SealMessage(b.Context(), arnOf("orders"), in)
			if err != nil {
				b.Fatal(err)
			}
			received := []types.Message{{Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes}}
			b.Run(fmt.Sprintf("seal/%dKiB/%s", kib, tc.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := sealer.SealMessage(b.Context(), arnOf("orders"), in); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("open/%dKiB/%s", kib, tc.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if opened, _ := sealer.OpenMessages(b.Context(), arnOf("orders"), received); len(opened) != 1 {
						b.Fatal("not opened")
					}
				}
			})
		}
	}
}

// jsonText is n bytes as services send them: names that repeat, and values that
// do not.
func jsonText(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, `{"orderId":"%08x","customer":{"id":%d,"tier":"gold"},"amount":"%d.%02d","currency":"EUR","status":"CREATED"},`, r.Uint32(), r.IntN(1e6), r.IntN(1000), r.IntN(100))
	}
	return b.String()[:n]
}
