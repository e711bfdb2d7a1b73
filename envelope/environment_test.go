package envelope_test

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope"
)

// TestImportsOnlyTheStandardLibrary reads the sources, so that it needs neither
// the go command nor a network.
func TestImportsOnlyTheStandardLibrary(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		read++
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
	if read < 5 {
		t.Errorf("read %d files: the test looks in the wrong place", read)
	}
}

// TestFIPS runs itself under both FIPS 140 settings.
func TestFIPS(t *testing.T) {
	t.Parallel()
	const variable = "SEALQ_TEST_FIPS"
	switch os.Getenv(variable) {
	case "on":
		if err := envelope.CheckFIPS(); err != nil {
			t.Error(err)
		}
		kr := newRaw(t, "key", 1)
		m, err := envelope.Seal(t.Context(), kr, []byte("p"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := envelope.Open(t.Context(), kr, m, acceptAll); err != nil {
			t.Error(err)
		}
	case "only":
		const want = "envelope: GODEBUG=fips140=only refuses AES-GCM"
		if err := envelope.CheckFIPS(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("CheckFIPS: got %v", err)
		}
		if _, err := envelope.NewRawAESKeyring("n", "n", make([]byte, 32)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("NewRawAESKeyring: got %v", err)
		}
		if _, err := envelope.Seal(t.Context(), &staticKeyring{}, nil, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Seal: got %v", err)
		}
	default:
		for _, mode := range []string{"on", "only"} {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFIPS$", "-test.v")
			cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode, variable+"="+mode)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "PASS: TestFIPS") {
				t.Errorf("fips140=%s: %v\n%s", mode, err, out)
			}
		}
	}
}
