package matrix

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads the rows that a run has left in dir.
func Load(dir string) ([]Row, error) {
	f, err := os.Open(filepath.Join(dir, rowsFile))
	if err != nil {
		return nil, fmt.Errorf("matrix: no rows: %w (run the tests with %s set first)", err, DirVariable)
	}
	defer f.Close()
	var rows []Row
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var row Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("matrix: line %d: %w", len(rows)+1, err)
		}
		rows = append(rows, row)
	}
	return rows, lines.Err()
}

// NotFailed returns, in a few words each, the rows of one section of a good run
// that did not fail in a run that was broken on purpose: they would not notice
// what was broken.
func NotFailed(section string, good, broken []Row) []string {
	outcomes := map[cell]string{}
	name := func(r Row) cell { return cell{r.What, r.Subject} }
	for _, r := range broken {
		if was := outcomes[name(r)]; r.Section == section && (was == "" || was == Failed) {
			outcomes[name(r)] = r.Outcome
		}
	}
	var all []string
	for _, r := range good {
		if r.Section != section {
			continue
		}
		switch outcome := outcomes[name(r)]; outcome {
		case Failed:
		case "":
			all = append(all, fmt.Sprintf("%s: %s: did not run", r.Subject, r.What))
		default:
			all = append(all, fmt.Sprintf("%s: %s: %s", r.Subject, r.What, outcome))
		}
	}
	return all
}

// Render returns the table as Markdown: one table a section, subjects across,
// what was tried downwards. The order of rows does not matter. Failed rows,
// contradictions, unknown sections and subjects with two versions are errors.
func Render(rows []Row) (string, error) {
	var b strings.Builder
	var errs []error
	for _, name := range []string{Conformance, ThirdParty, Interop} {
		s, err := collect(name, rows)
		errs = append(errs, err)
		if err == nil && len(s.cells) > 0 {
			s.render(&b)
		}
	}
	for _, row := range rows {
		if row.Section != Conformance && row.Section != ThirdParty && row.Section != Interop {
			errs = append(errs, fmt.Errorf("matrix: unknown section %q", row.Section))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	if b.Len() == 0 {
		return "", errors.New("matrix: no rows")
	}
	return b.String(), nil
}

type cell struct{ what, subject string }

type section struct {
	name     string
	versions map[string]string // by subject
	cells    map[cell]string
}

func collect(name string, rows []Row) (section, error) {
	s := section{name: name, versions: map[string]string{}, cells: map[cell]string{}}
	var errs []error
	for _, row := range rows {
		if row.Section != name {
			continue
		}
		if row.Outcome == Failed {
			errs = append(errs, fmt.Errorf("matrix: failed: %s %s: %s", row.Subject, row.Version, row.What))
			continue
		}
		if v, ok := s.versions[row.Subject]; ok && v != row.Version {
			errs = append(errs, fmt.Errorf("matrix: %s has versions %s and %s in one run", row.Subject, v, row.Version))
		}
		at := cell{row.What, row.Subject}
		if was, ok := s.cells[at]; ok && was != row.Outcome {
			errs = append(errs, fmt.Errorf("matrix: %s: %s: both %q and %q", row.Subject, row.What, was, row.Outcome))
		}
		s.versions[row.Subject] = row.Version
		s.cells[at] = row.Outcome
	}
	return s, errors.Join(errs...)
}

func (s section) render(b *strings.Builder) {
	subjects := slices.Sorted(maps.Keys(s.versions))
	whats := map[string]bool{}
	for at := range s.cells {
		whats[at.what] = true
	}
	fmt.Fprintf(b, "## %s\n\n|", s.name)
	for _, subject := range subjects {
		fmt.Fprintf(b, " | %s", escape(strings.TrimSpace(subject+" "+s.versions[subject])))
	}
	b.WriteString(" |\n|---" + strings.Repeat("|---", len(subjects)) + "|\n")

	var notes []string
	for _, what := range slices.Sorted(maps.Keys(whats)) {
		b.WriteString("| " + escape(what))
		for _, subject := range subjects {
			outcome, ok := s.cells[cell{what, subject}]
			switch {
			case !ok:
				outcome = ""
			case outcome != OK:
				i := slices.Index(notes, outcome)
				if i < 0 {
					i = len(notes)
					notes = append(notes, outcome)
				}
				outcome = fmt.Sprintf("differs (%d)", i+1)
			}
			b.WriteString(" | " + outcome)
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n")
	for i, note := range notes {
		fmt.Fprintf(b, "%d. %s\n", i+1, note)
	}
	if len(notes) > 0 {
		b.WriteString("\n")
	}
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

const (
	beginMark = "<!-- written by integration/cmd/matrix: begin -->\n"
	endMark   = "<!-- written by integration/cmd/matrix: end -->\n"
)

// Splice returns doc with table between its two marker lines. All other text of
// doc is kept.
func Splice(doc, table string) (string, error) {
	before, rest, ok := strings.Cut(doc, beginMark)
	if !ok {
		return "", fmt.Errorf("matrix: the document has no line %q", strings.TrimSpace(beginMark))
	}
	_, after, ok := strings.Cut(rest, endMark)
	if !ok {
		return "", fmt.Errorf("matrix: the document has no line %q", strings.TrimSpace(endMark))
	}
	return before + beginMark + "\n" + table + endMark + after, nil
}

// Difference lists the lines that only one of the two texts has, "-" for the
// document's and "+" for the run's; it is empty if the texts are equal.
func Difference(document, run string) string {
	if document == run {
		return ""
	}
	have, got := strings.Split(document, "\n"), strings.Split(run, "\n")
	var b strings.Builder
	for _, line := range have {
		if !slices.Contains(got, line) {
			b.WriteString("- " + line + "\n")
		}
	}
	for _, line := range got {
		if !slices.Contains(have, line) {
			b.WriteString("+ " + line + "\n")
		}
	}
	if b.Len() == 0 {
		return "the same lines in another order\n"
	}
	return b.String()
}
