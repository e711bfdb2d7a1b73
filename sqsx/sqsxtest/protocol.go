package sqsxtest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

// maxRequestBytes bounds a request's JSON. Ten messages, together of 1 MiB,
// take at most 6 MiB when every byte is escaped; the rest leaves room to send
// what is too long and see the service's own error.
const maxRequestBytes = 16 << 20

// exchange is one request on its way through the server.
type exchange struct {
	request   Request
	service   service
	operation string
	baseURL   string // scheme and host that the client used
	queryMode bool   // the client asked for the error codes of the older query protocol
	form      form   // the parameters of a request to SNS
	intercept func(*Request) error
	tooLong   bool
	readErr   error
}

// caller is who sent a request, and where to.
type caller struct {
	region, account string
	baseURL         string
	trace           string // X-Amzn-Trace-Id header, of AWS X-Ray
}

type service int

const (
	noService service = iota
	sqsAPI
	kmsAPI
	snsAPI
	dynamodbAPI
)

// accept reads a request, whole, and records it.
func (s *Server) accept(r *http.Request) *exchange {
	ex := &exchange{queryMode: strings.EqualFold(r.Header.Get("X-Amzn-Query-Mode"), "true")}
	var body []byte
	if r.Body != nil {
		body, ex.readErr = io.ReadAll(io.LimitReader(r.Body, maxRequestBytes+1))
		_ = r.Body.Close()
	}
	if len(body) > maxRequestBytes {
		ex.tooLong, body = true, nil
	}

	prefix, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	action := operation
	switch prefix {
	case "AmazonSQS":
		ex.service, action = sqsAPI, "sqs:"+operation
	case "TrentService":
		ex.service, action = kmsAPI, "kms:"+operation
	case "DynamoDB_20120810":
		ex.service, action = dynamodbAPI, "dynamodb:"+operation
	case "":
		if parameters, ok := snsForm(r.Header, body); ok {
			operation = parameters.text("Action")
			ex.service, action, ex.form = snsAPI, "sns:"+operation, parameters
		}
	}
	ex.operation = operation

	host := cmp.Or(r.Host, r.URL.Host)
	scheme := "http"
	if r.TLS != nil || r.URL.Scheme == "https" {
		scheme = "https"
	}
	ex.baseURL = scheme + "://" + host

	region, account := signer(r.Header.Get("Authorization"))
	ex.request = Request{
		Action:  action,
		Region:  cmp.Or(region, regionOfHost(host), DefaultRegion),
		Account: cmp.Or(account, DefaultAccount),
		Header:  r.Header.Clone(),
		Body:    body,
	}
	s.log.add(ex.request)
	if fn := s.intercept.Load(); fn != nil {
		ex.intercept = *fn
	}
	return ex
}

// answer carries a request out. An error means that there is no answer: the
// connection breaks.
func (s *Server) answer(ctx context.Context, ex *exchange) (*response, error) {
	if ex.readErr != nil {
		return nil, ex.readErr
	}
	lost := false
	if ex.intercept != nil {
		err := s.ask(ctx, ex)
		switch {
		case errors.Is(err, ErrResponseLost):
			lost = true
		case err != nil:
			if _, ok := errors.AsType[smithy.APIError](err); ok {
				return ex.refuse(err), nil
			}
			return nil, err
		}
	}
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	out, err := s.carryOut(ctx, ex)
	if lost {
		return nil, ErrResponseLost
	}
	if err == nil {
		return ex.reply(out), nil
	}
	if _, ok := errors.AsType[smithy.APIError](err); ok {
		return ex.refuse(err), nil
	}
	return nil, err
}

// ask calls the user's intercept function, with a context that Close ends too.
func (s *Server) ask(ctx context.Context, ex *exchange) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	r := ex.request.clone(ctx)
	return ex.intercept(&r)
}

func (s *Server) carryOut(ctx context.Context, ex *exchange) (any, error) {
	if err := s.faults.refuse(ex); err != nil {
		return nil, err
	}
	if ex.tooLong {
		return nil, refusal("RequestEntityTooLarge", "The request is longer than %d bytes.", maxRequestBytes)
	}
	switch ex.service {
	case sqsAPI:
		c := caller{
			region:  ex.request.Region,
			account: ex.request.Account,
			baseURL: ex.baseURL,
			trace:   ex.request.Header.Get("X-Amzn-Trace-Id"),
		}
		out, err := s.sqs.call(ctx, s.ctx.Done(), c, ex.operation, ex.request.Body)
		if err != nil {
			return nil, err
		}
		return s.faults.alter(ex, out)
	case kmsAPI:
		return s.kms.call(ctx, ex.request.Region, ex.request.Account, ex.operation, ex.request.Body)
	case snsAPI:
		return s.sns.call(caller{region: ex.request.Region, account: ex.request.Account, baseURL: ex.baseURL}, ex.operation, ex.form)
	case dynamodbAPI:
		return s.dynamodb.call(ctx, caller{region: ex.request.Region, account: ex.request.Account}, ex.operation, ex.request.Body)
	default:
		return nil, refusal("UnknownOperationException", "The X-Amz-Target header names none of AmazonSQS, TrentService (KMS) and DynamoDB_20120810, and the body is no form of SNS's query protocol.")
	}
}

func (ex *exchange) reply(out any) *response {
	if ex.service == snsAPI {
		return ex.snsReply(out)
	}
	if out == nil {
		return ex.respond(http.StatusOK, struct{}{})
	}
	return ex.respond(http.StatusOK, out)
}

// refuse is the answer for an error that has an APIError in its chain.
func (ex *exchange) refuse(err error) *response {
	apiErr, _ := errors.AsType[smithy.APIError](err)
	w := kmsWireError(apiErr)
	switch ex.service {
	case kmsAPI:
	case dynamodbAPI:
		w = ddbWireError(apiErr)
	case snsAPI:
		w = wireError{status: snsStatus(apiErr)}
	default:
		w = sqsWireError(apiErr)
	}
	if own, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok && own.HTTPStatusCode() >= 100 && own.HTTPStatusCode() <= 999 {
		w.status = own.HTTPStatusCode()
	}
	if ex.service == snsAPI {
		return snsRefuse(apiErr, w.status)
	}
	if ex.service == dynamodbAPI {
		return ex.respond(w.status, ddbErrorBody(w.shape, apiErr))
	}
	resp := ex.respond(w.status, struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{w.shape, apiErr.ErrorMessage()})
	if ex.service != kmsAPI && ex.queryMode {
		resp.header["X-Amzn-Query-Error"] = []string{headerSafe(w.query) + ";" + w.fault}
	}
	return resp
}

func (ex *exchange) respond(status int, out any) *response {
	contentType := "application/x-amz-json-1.0"
	if ex.service == kmsAPI {
		contentType = "application/x-amz-json-1.1"
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		// Outputs are plain structs of this package, which always encode.
		panic(fmt.Sprintf("sqsxtest: response of type %T: %v", out, err))
	}
	resp := &response{
		status: status,
		header: http.Header{
			"Content-Type":     {contentType},
			"Date":             {time.Now().UTC().Format(http.TimeFormat)}, // the SDK measures clock skew by it
			"X-Amzn-Requestid": {newUUID()},
		},
		body: bytes.TrimSuffix(buf.Bytes(), []byte("\n")),
	}
	if ex.service == dynamodbAPI {
		resp.header["X-Amz-Crc32"] = []string{ddbChecksum(resp.body)}
	}
	return resp
}

// headerSafe keeps a code that a user's error made up from splitting a header.
func headerSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// signer returns the Region and account that a signature names: empty for an
// unsigned request. Signatures are not verified.
func signer(authorization string) (region, account string) {
	_, rest, ok := strings.Cut(authorization, "Credential=")
	if !ok {
		return "", ""
	}
	credential, _, _ := strings.Cut(rest, ",")
	parts := strings.Split(strings.TrimSpace(credential), "/") // key ID, date, Region, service, aws4_request
	if len(parts) == 5 && isRegion(parts[2]) {
		region = parts[2]
	}
	if isAccount(parts[0]) {
		account = parts[0]
	}
	return region, account
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// isRegion reports whether s looks like a Region: "us-east-1", "us-gov-west-1".
func isRegion(s string) bool {
	parts := strings.Split(s, "-")
	if len(s) > 32 || len(parts) < 3 {
		return false
	}
	for i, p := range parts {
		digits := strings.Trim(p, "0123456789") == ""
		letters := strings.Trim(p, "abcdefghijklmnopqrstuvwxyz") == ""
		last := i == len(parts)-1
		if p == "" || last && !digits || !last && !letters {
			return false
		}
	}
	return true
}

func regionOfHost(host string) string {
	for label := range strings.SplitSeq(host, ".") {
		if isRegion(label) {
			return label
		}
	}
	return ""
}

// queueURL is what a client is given: the service's own form if the host names
// the Region, and one with the Region in the path for all others, so that a URL
// alone says which queue it is.
func queueURL(baseURL string, id queueID) string {
	host := baseURL
	if u, err := url.Parse(baseURL); err == nil {
		host = u.Hostname()
	}
	if regionOfHost(host) == id.region {
		return baseURL + "/" + id.account + "/" + id.name
	}
	return baseURL + "/queue/" + id.region + "/" + id.account + "/" + id.name
}

// parseQueueURL takes the account and the name from the last two segments of
// the path, and leaves the Region empty if the URL names none. It also takes a
// bare queue name, as the service does, and then leaves the account empty too.
//
// The text is not decoded, and has no query or fragment: "payments#f",
// "pay%6dents" and "payments%2F" are names that no queue can have, not other
// spellings of "payments".
func parseQueueURL(raw string) (id queueID, ok bool) {
	slash := strings.LastIndexByte(raw, '/')
	if slash < 0 {
		return queueID{name: raw}, raw != ""
	}
	rest, name := raw[:slash], raw[slash+1:]
	if name == "" || strings.ContainsAny(rest, `?#%\@`) {
		return queueID{}, false
	}
	id = queueID{name: name}
	if _, hostAndPath, ok := strings.Cut(rest, "://"); ok {
		host, path, _ := strings.Cut(hostAndPath, "/")
		host, _, _ = strings.Cut(host, ":")
		id.region, rest = regionOfHost(host), path
	}
	segments := strings.Split(rest, "/")
	n := len(segments)
	id.account = segments[n-1]
	if n > 1 && isRegion(segments[n-2]) {
		id.region = segments[n-2]
	}
	return id, isAccount(id.account)
}

// newUUID returns a random UUID, version 4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
