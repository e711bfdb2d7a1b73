package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStory runs the program as it runs without SEALQ_KEY_ID: it tells the
// whole story, in lines that fit a terminal, and soon.
func TestStory(t *testing.T) {
	t.Setenv("SEALQ_KEY_ID", "")
	out := tellStory(t)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		if strings.HasSuffix(line, "...") && !strings.HasPrefix(line, "2. ") { // the ciphertext
			t.Errorf("a line is cut off: %s", line)
		}
		if n := utf8.RuneCountInString(line); n > columns {
			t.Errorf("a line has %d columns, want at most %d: %s", n, columns, line)
		}
	}
	if !strings.Contains(lines[0], "SEALQ_KEY_ID is not set") {
		t.Errorf("the first line does not say where it runs: %s", lines[0])
	}
	if end := lines[len(lines)-1]; !strings.HasSuffix(end, "docs/migration.md: a queue in use") {
		t.Errorf("the last line does not say what to read: %s", end)
	}
	for i, says := range []string{
		order,                      // 1. sent
		"/////wAAAAE",              // 2. what an outsider reads
		order,                      // 3. received
		"sending and receiving: 3", // 4. calls of KMS: a data key, the question before the first receive, and decrypting
		"authentication failed",    // 5. why it is withheld
		"sent and received",        // 6. in an outage
	} {
		number := strconv.Itoa(i+1) + ". "
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, number) })
		if at < 0 || !strings.Contains(lines[at], says) {
			t.Errorf("line %q is missing, or does not say %q:\n%s", number, says, out)
		}
	}
}

// TestStoryOnALocalServer runs it as on an emulator: by HTTP, on the loopback
// address. All of it fits one connection. With smithy-go's request bodies it
// took some hundred, and half a minute whenever the answer of a receive was
// lost with one: see sqsxtest.LoopbackClient.
func TestStoryOnALocalServer(t *testing.T) {
	server := sqsxtest.New(t)
	var connections atomic.Int64
	local := httptest.NewUnstartedServer(server)
	local.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	local.Start()
	defer local.Close()
	for name, value := range map[string]string{
		"SEALQ_KEY_ID": server.NewKey(), "AWS_ENDPOINT_URL": local.URL, "AWS_REGION": sqsxtest.DefaultRegion,
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	if out := tellStory(t); !strings.Contains(out, "On "+local.URL) || !strings.Contains(out, "sent and received") {
		t.Errorf("the story did not run on the local server, or not to its end:\n%s", out)
	}
	if got := connections.Load(); got != 1 {
		t.Errorf("got %d connections for %d requests, want 1", got, len(server.Requests()))
	}
}

// tellStory runs the program, within 5 seconds, and returns what it printed.
func tellStory(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	began := time.Now()
	err = run(t.Context()) // much less than a pipe holds
	took := time.Since(began)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if took > 5*time.Second {
		t.Errorf("it took %v, want at most 5s", took)
	}
	return string(out)
}
