// Package lambda_test runs a function of package lambdax under the real
// aws-lambda-go: lambda.Start in a process of its own, whose Runtime API and
// KMS are servers on the loopback address.
package lambda_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// The environment of the process that is the function.
const (
	envFunction = "LAMBDA_TEST_FUNCTION" // what is given to lambda.Start
	envKMS      = "LAMBDA_TEST_KMS"
	envKey      = "LAMBDA_TEST_KEY"
	envReports  = "LAMBDA_TEST_REPORTS" // mapping with ReportBatchItemFailures
)

func TestMain(m *testing.M) {
	if name := os.Getenv(envFunction); name != "" {
		startFunction(name)
		return
	}
	os.Exit(m.Run())
}

// startFunction is the main function of a Lambda function.
func startFunction(name string) {
	cfg := aws.Config{
		Region:       sqsxtest.DefaultRegion,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		BaseEndpoint: aws.String(os.Getenv(envKMS)),
		HTTPClient:   sqsxtest.LoopbackClient(nil),
	}
	sealer, err := sqsx.NewFromConfig(cfg, os.Getenv(envKey))
	if err != nil {
		log.Fatal(err)
	}
	h := lambdax.New(sealer, work, func(o *lambdax.Options) { o.ReportsFailures = os.Getenv(envReports) != "" })
	switch name {
	case "Handler":
		lambda.Start(h)
	case "Handle":
		lambda.Start(h.Handle)
	}
}

// work does what the body says, and prints what it is worked on with.
func work(ctx context.Context, m lambdax.Message) error {
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, limited := ctx.Deadline()
	fmt.Printf("worked on %q, request %s, in time: %v\n", *m.Body, lc.AwsRequestID, limited && time.Until(deadline) > time.Second)
	switch *m.Body {
	case "fails":
		return errors.New("no such card")
	case "panics":
		panic("at the disco")
	}
	return nil
}

var _ lambda.Handler = (*lambdax.Handler)(nil)

// runtimeAPI is Lambda as a function sees it (AWS Lambda Developer Guide,
// "Using the Lambda runtime API for custom runtimes").
type runtimeAPI struct {
	next    chan invocation
	answers chan answer
}

type invocation struct {
	id      string
	payload []byte
	timeout time.Duration
}

type answer struct {
	id, kind string // "response" or "error"
	body     []byte
}

// function is a running one.
type function struct {
	*runtimeAPI
	invoked int
	cmd     *exec.Cmd
	ended   chan struct{}
	mu      sync.Mutex
	out     bytes.Buffer
}

func (f *function) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Write(p)
}

// stop ends the function. After that output has all that it has printed.
func (f *function) stop() {
	f.cmd.Process.Kill()
	<-f.ended
}

// output is what the function has printed and logged, as far as it was read.
func (f *function) output() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.String()
}

// start starts this test's own binary as a function.
func start(t *testing.T, server *sqsxtest.Server, key, name string, reports bool) *function {
	t.Helper()
	api := &runtimeAPI{next: make(chan invocation), answers: make(chan answer, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case i := <-api.next:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(i.timeout).UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:orders")
			w.Write(i.payload)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{kind}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
		api.answers <- answer{r.PathValue("id"), r.PathValue("kind"), body}
	})
	web := httptest.NewServer(mux)

	f := &function{runtimeAPI: api, ended: make(chan struct{}), cmd: exec.CommandContext(t.Context(), os.Args[0])}
	f.cmd.Env = append(os.Environ(), envFunction+"="+name, envKMS+"="+server.URL(), envKey+"="+key,
		"AWS_LAMBDA_RUNTIME_API="+web.Listener.Addr().String())
	if reports {
		f.cmd.Env = append(f.cmd.Env, envReports+"=1")
	}
	f.cmd.Stdout, f.cmd.Stderr = f, f
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(f.ended); f.cmd.Wait() }()
	t.Cleanup(func() {
		f.stop()
		web.CloseClientConnections()
		web.Close()
		if t.Failed() {
			t.Logf("the function said:\n%s", f.output())
		}
	})
	return f
}

// invoke passes one event to the function and returns its answer.
func (f *function) invoke(t *testing.T, payload []byte) answer {
	t.Helper()
	f.invoked++
	id := fmt.Sprint("request-", f.invoked)
	late := time.After(time.Minute)
	select {
	case f.next <- invocation{id, payload, 15 * time.Second}:
	case <-f.ended:
		t.Fatalf("the function has ended:\n%s", f.output())
	case <-late:
		t.Fatal("the function does not ask for an event")
	}
	select {
	case a := <-f.answers:
		if a.id != id {
			t.Errorf("got the answer of request %q, want %q", a.id, id)
		}
		return a
	case <-f.ended:
		t.Fatalf("the function has ended:\n%s", f.output())
	case <-late:
		t.Fatal("the function does not answer")
	}
	return answer{}
}
