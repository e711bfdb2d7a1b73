package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	region   = "eu-central-1"
	queueURL = "https://sqs.eu-central-1.amazonaws.com/111122223333/orders"
	queueARN = "arn:aws:sqs:eu-central-1:111122223333:orders"
)

// queue is as much of SQS as a client can be measured against: it takes every
// message, forgets it, and answers with the digest that the SDK checks; every
// receive gets the same messages. It does the same work for plain and for
// sealed messages, and little of it, so that it hides nothing of the client.
type queue struct {
	messages []byte // the answer to ReceiveMessage

	mu    sync.Mutex
	known map[[md5.Size]byte][md5.Size]byte // see digest
}

func (q *queue) answer(action string, request []byte) ([]byte, error) {
	switch action {
	case "AmazonSQS.SendMessage":
		body, _, err := stringMember(request, `"MessageBody":"`)
		if err != nil {
			return nil, err
		}
		return q.sent(nil, body, `{`, `}`)
	case "AmazonSQS.SendMessageBatch":
		out := []byte(`{"Successful":[`)
		for rest := request; ; {
			id, after, err := stringMember(rest, `"Id":"`)
			if err != nil {
				break
			}
			body, after, err := stringMember(after, `"MessageBody":"`)
			if err != nil {
				return nil, err
			}
			rest = after
			if out[len(out)-1] == '}' {
				out = append(out, ',')
			}
			if out, err = q.sent(out, body, `{"Id":"`+string(id)+`",`, `}`); err != nil {
				return nil, err
			}
		}
		return append(out, `]}`...), nil
	case "AmazonSQS.ReceiveMessage":
		return q.messages, nil
	}
	return nil, fmt.Errorf("the queue knows no action %q", action)
}

// sent appends the answer to one message.
func (q *queue) sent(dst, body []byte, open, end string) ([]byte, error) {
	sum, err := q.digest(body)
	if err != nil {
		return nil, err
	}
	dst = append(dst, open...)
	dst = append(dst, `"MD5OfMessageBody":"`...)
	dst = hex.AppendEncode(dst, sum[:])
	dst = append(dst, `","MessageId":"5fea7756-0ea4-451a-a703-a558b933e274"`...)
	return append(dst, end...), nil
}

// digest is the MD5 of the text whose JSON form is body. Hashing what JSON
// wrote, and looking up what that text hashes to, costs the same for a plain
// text full of escapes as for base64, which has none.
func (q *queue) digest(body []byte) ([md5.Size]byte, error) {
	written := md5.Sum(body)
	if !bytes.Contains(body, []byte{'\\'}) {
		return written, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if sum, ok := q.known[written]; ok {
		return sum, nil
	}
	var text string
	if err := json.Unmarshal(fmt.Appendf(nil, `"%s"`, body), &text); err != nil {
		return written, err
	}
	if q.known == nil {
		q.known = make(map[[md5.Size]byte][md5.Size]byte)
	}
	q.known[written] = md5.Sum([]byte(text))
	return q.known[written], nil
}

// stringMember returns the JSON form of the string that follows name, without
// its quotes, and what follows it.
func stringMember(b []byte, name string) (text, rest []byte, err error) {
	_, b, ok := bytes.Cut(b, []byte(name))
	if !ok {
		return nil, nil, fmt.Errorf("request has no member %s", name)
	}
	for i := 0; i < len(b); i++ {
		next := bytes.IndexByte(b[i:], '"')
		if next < 0 {
			break
		}
		i += next
		escapes := 0
		for escapes < i && b[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return b[:i], b[i+1:], nil
		}
	}
	return nil, nil, fmt.Errorf("member %s has no end", name)
}

const contentType = "application/x-amz-json-1.0"

// Do implements aws.HTTPClient: the transport in memory.
func (q *queue) Do(r *http.Request) (*http.Response, error) {
	request := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, request); err != nil {
		return nil, err
	}
	r.Body.Close()
	answer, err := q.answer(r.Header.Get("X-Amz-Target"), request)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {contentType}, "Content-Length": {strconv.Itoa(len(answer))}},
		Body:          io.NopCloser(bytes.NewReader(answer)),
		ContentLength: int64(len(answer)),
		Request:       r,
	}, nil
}

// ServeHTTP is the other end of a loopback connection.
func (q *queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := q.answer(r.Header.Get("X-Amz-Target"), request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Write(answer)
}

// serve listens on a loopback address until stop is called.
func (q *queue) serve() (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: q}
	done := make(chan struct{})
	go func() {
		server.Serve(l)
		close(done)
	}()
	return "http://" + l.Addr().String(), func() { server.Close(); <-done }, nil
}

// client makes a plain SDK client, or with a sealer's Install a sealed one.
func (q *queue) client(optFns ...func(*sqs.Options)) *sqs.Client {
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
	})
	return sqs.New(sqs.Options{Region: region, Credentials: aws.NewCredentialsCache(credentials), HTTPClient: q}, optFns...)
}

// received is the answer to a receive of messages, in the form of SQS.
func received(messages []types.Message) ([]byte, error) {
	type value struct {
		DataType    string
		BinaryValue string
	}
	type message struct {
		Attributes             map[string]string `json:",omitempty"`
		Body                   string
		MD5OfBody              string
		MD5OfMessageAttributes string           `json:",omitempty"`
		MessageAttributes      map[string]value `json:",omitempty"`
		MessageId              string
		ReceiptHandle          string
	}
	var all []message
	for i, m := range messages {
		sum := md5.Sum([]byte(*m.Body))
		out := message{
			Attributes:    m.Attributes,
			Body:          *m.Body,
			MD5OfBody:     hex.EncodeToString(sum[:]),
			MessageId:     fmt.Sprintf("5fea7756-0ea4-451a-a703-a558b933e2%02d", i),
			ReceiptHandle: strings.Repeat("AQEB", 100),
		}
		for name, v := range m.MessageAttributes {
			out.MD5OfMessageAttributes = out.MD5OfBody // as long as the true one, which no client compares
			out.MessageAttributes = map[string]value{name: {*v.DataType, base64.StdEncoding.EncodeToString(v.BinaryValue)}}
		}
		all = append(all, out)
	}
	return json.Marshal(map[string]any{"Messages": all})
}
