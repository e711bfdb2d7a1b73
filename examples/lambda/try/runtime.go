package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"time"

	"github.com/sealq/sealq/sqsx/lambdax"
)

// timeout is that of the function.
const timeout = 15 * time.Second

// invoke starts a function and invokes it once, through the Runtime API as
// Lambda does (AWS Lambda Developer Guide, "Using the Lambda runtime API for
// custom runtimes"), and prints its response.
func invoke(ctx context.Context, function *exec.Cmd, event []byte) error {
	type result struct {
		failed bool
		body   []byte
	}
	results := make(chan result, 1)
	events := make(chan []byte, 1)
	events <- event
	const prefix = "/2018-06-01/runtime/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case event := <-events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(timeout).UnixMilli(), 10))
			w.Write(event)
		case <-r.Context().Done(): // there is no second event
		}
	})
	end := func(failed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			select {
			case results <- result{failed, body}:
			default:
			}
		}
	}
	mux.HandleFunc("POST "+prefix+"invocation/{id}/response", end(false))
	mux.HandleFunc("POST "+prefix+"invocation/{id}/error", end(true))
	mux.HandleFunc("POST "+prefix+"init/error", end(true))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	defer server.Close()

	function.Env = append(function.Env, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	if err := function.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- function.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case err := <-ended:
		return fmt.Errorf("the function ended without a response: %v", err)
	case <-ctx.Done():
		err = fmt.Errorf("the function did not respond in %v", timeout)
	case r := <-results:
		if r.failed {
			err = fmt.Errorf("the function failed: %s", r.body)
		} else {
			var response lambdax.Response
			if json.Unmarshal(r.body, &response) == nil {
				log.Printf("answer to Lambda (%s):", stay(len(response.BatchItemFailures)))
			}
			fmt.Printf("%s\n", r.body)
		}
	}
	function.Process.Kill()
	<-ended
	return err
}

// stay says how many messages Lambda keeps in the queue.
func stay(failed int) string {
	switch failed {
	case 0:
		return "none failed, all are deleted"
	case 1:
		return "1 failed, stays in the queue"
	}
	return fmt.Sprintf("%d failed, stay in the queue", failed)
}
