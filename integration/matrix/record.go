package matrix

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// DirVariable names the folder that rows are written to.
const DirVariable = "SEALQTEST_MATRIX_DIR"

// The sections of the table, in its order.
const (
	Conformance = "SQS and KMS emulators"
	ThirdParty  = "Other people's SQS code"
	Interop     = "Official encryption SDKs"
)

// The outcomes that every section shares. Any other text states a difference
// that the test asserted.
const (
	OK     = "yes"
	Failed = "FAILED"
)

// Row is one fact of the table.
type Row struct {
	Section string // one of the constants above
	Subject string // the software, for example "LocalStack"
	Version string // its version, for example "2026.3.0"
	What    string // what was tried, in a few words; no figure that varies from run to run
	Outcome string // OK, or how the subject differs; empty is OK
}

const rowsFile = "rows.jsonl"

// Record writes row when tb ends: with its outcome if tb has passed, as
// [Failed] if it has failed, and not at all if it was skipped.
func Record(tb testing.TB, row Row) {
	tb.Helper()
	dir := os.Getenv(DirVariable)
	if dir == "" {
		return
	}
	tb.Cleanup(func() {
		switch {
		case tb.Skipped():
			return
		case tb.Failed():
			row.Outcome = Failed
		case row.Outcome == "":
			row.Outcome = OK
		}
		if err := appendRow(dir, row); err != nil {
			tb.Errorf("matrix: %v", err)
		}
	})
}

// appendRow adds one line in one write, because several test processes share
// the file.
func appendRow(dir string, row Row) error {
	line, err := json.Marshal(row)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, rowsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
