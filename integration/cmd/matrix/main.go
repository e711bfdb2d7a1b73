// Command matrix writes the compatibility table from the rows that a test run
// has left, or compares them with the table that is checked in.
//
//	go run ./cmd/matrix -rows DIR          compare; exit 1 with the differences
//	go run ./cmd/matrix -rows DIR -write   write the table
package main

import (
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/sealq/sealq/integration/matrix"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("rows", os.Getenv(matrix.DirVariable), "folder with the rows of a run")
	path := flag.String("doc", "../docs/compatibility.md", "document that holds the table")
	write := flag.Bool("write", false, "write the table instead of comparing it")
	flag.Parse()
	if err := run(*dir, *path, *write); err != nil {
		log.Fatal(err)
	}
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
