// Command matrix writes the compatibility table from the rows that a test run
// has left, or compares them with the table that is checked in.
//
//	go run ./cmd/matrix -rows DIR          compare; exit 1 with the differences
//	go run ./cmd/matrix -rows DIR -write   write the table
//	go run ./cmd/matrix -rows DIR -broken DIR2
//	                                       check that every row of the encryption SDKs failed in DIR2, the
//	                                       rows of a run with SEALQTEST_INTEROP_BREAK=1
//
// DIR holds what the tests leave with SEALQTEST_MATRIX_DIR=DIR.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/sealq/sealq/integration/matrix"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("rows", os.Getenv(matrix.DirVariable), "folder with the rows of a run")
	path := flag.String("doc", "../docs/compatibility.md", "document that holds the table")
	write := flag.Bool("write", false, "write the table instead of comparing it")
	broken := flag.String("broken", "", "folder with the rows of a run that was broken on purpose")
	flag.Parse()
	var err error
	if *broken != "" {
		err = allFailed(*dir, *broken)
	} else {
		err = run(*dir, *path, *write)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func allFailed(good, broken string) error {
	goodRows, err := matrix.Load(good)
	if err != nil {
		return err
	}
	brokenRows, err := matrix.Load(broken)
	if err != nil {
		return err
	}
	if rows := matrix.NotFailed(matrix.Interop, goodRows, brokenRows); len(rows) > 0 {
		return fmt.Errorf("rows that a changed bit does not turn red:\n%s", strings.Join(rows, "\n"))
	}
	fmt.Println("a changed bit turns every row of the encryption SDKs red")
	return nil
}

func run(dir, path string, write bool) error {
	rows, err := matrix.Load(dir)
	if err != nil {
		return err
	}
	table, err := matrix.Render(rows)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	want, err := matrix.Splice(string(have), table)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if write {
		return os.WriteFile(path, []byte(want), 0o644)
	}
	if diff := matrix.Difference(string(have), want); diff != "" {
		return fmt.Errorf("%s differs from this run (-document +run); run with -write and review the change:\n%s", path, diff)
	}
	fmt.Printf("%s: %d rows, as this run has shown\n", path, len(rows))
	return nil
}
