package main

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStory runs the program as it runs without SEALQ_KEY_ID: it tells the whole
// story, in lines that fit a terminal, and soon.
func TestStory(t *testing.T) {
	t.Setenv("SEALQ_KEY_ID", "")
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
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > columns {
			t.Errorf("a line has %d columns, want at most %d: %s", n, columns, line)
		}
	}
	if !strings.Contains(lines[0], "SEALQ_KEY_ID is not set") {
		t.Errorf("the first line does not say where it runs: %s", lines[0])
	}
	for i, says := range []string{
		order,                      // 1. sent
		"/////wAAAAE",              // 2. what an outsider reads
		order,                      // 3. received
		"sending and receiving: 2", // 4. calls of KMS
		"authentication failed",    // 5. why it is withheld
		"business as usual",        // 6. in an outage
	} {
		number := strconv.Itoa(i+1) + ". "
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, number) })
		if at < 0 || !strings.Contains(lines[at], says) {
			t.Errorf("line %q is missing, or does not say %q:\n%s", number, says, out)
		}
	}
}
