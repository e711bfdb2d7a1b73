package matrix_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sealq/sealq/integration/matrix"
)

func rows() []matrix.Row {
	return []matrix.Row{
		{matrix.Interop, "Rust", "1.2.4", "opens ours", matrix.OK},
		{matrix.Conformance, "moto", "5.2.5", "bodies", matrix.OK},
		{matrix.Conformance, "LocalStack", "2026.3.0", "bodies", matrix.OK},
		{matrix.Conformance, "moto", "5.2.5", "move tasks", "answers 500"},
	}
}

func TestRenderDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	want := `## SQS and KMS emulators

| | LocalStack 2026.3.0 | moto 5.2.5 |
|---|---|---|
| bodies | yes | yes |
| move tasks |  | differs (1) |

1. answers 500

## Official encryption SDKs

| | Rust 1.2.4 |
|---|---|
| opens ours | yes |

`
	forward := rows()
	backward := rows()
	slices.Reverse(backward)
	for _, in := range [][]matrix.Row{forward, backward, append(rows(), rows()...)} {
		got, err := matrix.Render(in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		row  matrix.Row
		want string
	}{
		"a failed row":    {matrix.Row{matrix.Conformance, "moto", "5.2.5", "FIFO", matrix.Failed}, "failed: moto 5.2.5: FIFO"},
		"two versions":    {matrix.Row{matrix.Conformance, "moto", "5.2.6", "FIFO", matrix.OK}, "moto has versions 5.2.5 and 5.2.6"},
		"a contradiction": {matrix.Row{matrix.Conformance, "moto", "5.2.5", "bodies", "loses them"}, `both "yes" and "loses them"`},
		"unknown section": {matrix.Row{"Others", "x", "1", "y", matrix.OK}, `unknown section "Others"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := matrix.Render(append(rows(), tc.row))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Render: got error %v, want one with %q", err, tc.want)
			}
		})
	}
	if _, err := matrix.Render(nil); err == nil {
		t.Error("Render of nothing: got no error")
	}
}

func TestRecordThenLoad(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(matrix.DirVariable, dir)
	t.Run("passes", func(t *testing.T) {
		matrix.Record(t, matrix.Row{Section: matrix.Conformance, Subject: "moto", Version: "5.2.5", What: "bodies"})
	})
	t.Run("is skipped", func(t *testing.T) {
		matrix.Record(t, matrix.Row{Section: matrix.Conformance, Subject: "moto", Version: "5.2.5", What: "FIFO"})
		t.SkipNow()
	})
	got, err := matrix.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []matrix.Row{{matrix.Conformance, "moto", "5.2.5", "bodies", matrix.OK}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := matrix.Load(t.TempDir()); err == nil {
		t.Error("Load of an empty folder: got no error")
	}
}

func TestSplice(t *testing.T) {
	t.Parallel()
	doc := "head\n<!-- written by integration/cmd/matrix: begin -->\nold\n<!-- written by integration/cmd/matrix: end -->\ntail\n"
	got, err := matrix.Splice(doc, "new\n")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(doc, "old\n", "\nnew\n", 1)
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if diff := matrix.Difference(doc, got); !strings.Contains(diff, "- old\n") || !strings.Contains(diff, "+ new\n") {
		t.Errorf("Difference: got %q", diff)
	}
	if diff := matrix.Difference(doc, doc); diff != "" {
		t.Errorf("Difference of equal texts: got %q", diff)
	}
	if _, err := matrix.Splice("no markers", "new\n"); err == nil {
		t.Error("Splice without markers: got no error")
	}
}

func TestNotFailed(t *testing.T) {
	t.Parallel()
	row := func(what, outcome string) matrix.Row {
		return matrix.Row{Section: matrix.Interop, Subject: "Rust", Version: "1.2.4", What: what, Outcome: outcome}
	}
	good := append(rows(), row("red", matrix.OK), row("red once of twice", matrix.OK), row("differs", "in a way"), row("left out", matrix.OK))
	broken := []matrix.Row{
		row("red", matrix.Failed), row("red", matrix.Failed),
		row("red once of twice", matrix.Failed), row("red once of twice", matrix.OK),
		row("differs", "in a way"),
		row("opens ours", matrix.Failed),
	}
	want := []string{"Rust: red once of twice: yes", "Rust: differs: in a way", "Rust: left out: did not run"}
	if diff := cmp.Diff(want, matrix.NotFailed(matrix.Interop, good, broken)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
