package sqsxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

// ErrResponseLost, returned from the function given to [Server.Intercept], has
// the request carried out and its answer lost: the client sees a broken
// connection and cannot know that the message was stored, received or deleted.
var ErrResponseLost = errors.New("sqsxtest: response lost")

var errClosed = errors.New("sqsxtest: the Server is closed")

// response is an answer that is ready to be sent.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (r *response) write(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.status)
	// A client that has disconnected does not concern the service.
	_, _ = w.Write(r.body)
}

// inProcess is the transport of [Server.Config]: it calls the service instead
// of a socket.
type inProcess struct{ server *Server }

func (t inProcess) Do(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		closeBody(r)
		return nil, err
	}
	if t.server.ctx.Err() != nil {
		closeBody(r)
		return nil, errClosed
	}
	ex := t.server.accept(r)
	var resp *response
	var err error
	if ex.intercept == nil {
		// Nothing in the service waits without watching ctx, so no goroutine is
		// needed.
		resp, err = t.server.answer(ctx, ex)
	} else {
		resp, err = t.server.answerOrLeave(ctx, ex)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("sqsxtest: connection broken: %w", err)
	}
	return &http.Response{
		Status:        strconv.Itoa(resp.status) + " " + http.StatusText(resp.status),
		StatusCode:    resp.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        resp.header,
		Body:          io.NopCloser(bytes.NewReader(resp.body)),
		ContentLength: int64(len(resp.body)),
		Request:       r,
	}, nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// answerOrLeave returns as soon as ctx ends, even while the user's intercept
// function ignores ctx. Its goroutine ends when that function returns.
func (s *Server) answerOrLeave(ctx context.Context, ex *exchange) (*response, error) {
	type result struct {
		resp *response
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// What a t.FailNow in the intercept function leaves behind: Goexit runs this,
		// and no other statement.
		res := result{err: errors.New("the function given to Intercept ended its goroutine (use t.Error there, not t.Fatal)")}
		defer func() { done <- res }()
		resp, err := s.answer(ctx, ex)
		res = result{resp, err}
	}()
	select {
	case res := <-done:
		return res.resp, res.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, errClosed
	}
}

// socket is the Server behind a loopback listener.
type socket struct {
	url    string
	server *http.Server
	done   chan struct{} // closed when the accepting goroutine has ended
}

func openSocket(h http.Handler) *socket {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("sqsxtest: no loopback socket can be opened: %v", err))
	}
	s := &socket{
		url: "http://" + l.Addr().String(),
		server: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          log.New(io.Discard, "", 0),
		},
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(l) // always http.ErrServerClosed: nothing else closes the listener
	}()
	return s
}

func (s *socket) close() {
	_ = s.server.Close()
	<-s.done
}

// breakConnection resets the client's connection.
func breakConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http's way to drop a connection that cannot be hijacked
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // reset, not a clean end
	}
	_ = conn.Close()
}
