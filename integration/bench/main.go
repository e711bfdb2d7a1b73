// Command bench measures what sealing costs, always as a ratio to something
// measured in the same rounds: the same cryptography called by hand, the
// official AWS Encryption SDK for Go, and the AWS SDK without sealq.
//
//	go -C integration/bench run .          # all; writes docs/performance.md and two plots
//	go -C integration/bench run . -brief   # for CI: fails if a ratio is beyond its limit by a third
//
// It is a module of its own, because the official SDK is 60 MB of generated
// code that nobody else should compile.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	brief := flag.Bool("brief", false, "measure briefly, write nothing, fail beyond the limits")
	docs := flag.String("docs", filepath.Join("..", "..", "docs"), "folder of performance.md and its plots")
	only := flag.String("only", "", "measure the rows that match this expression, write nothing")
	rotation := flag.Duration("rotation", 200*time.Second, "length of the run across key rotations")
	flag.Parse()
	filter, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	count := 240
	if *brief {
		count = 60
	}
	began := time.Now()
	results, err := measureRows(count, filter)
	if err != nil {
		log.Fatal(err)
	}
	facts, err := measureFacts(count, filter)
	if err != nil {
		log.Fatal(err)
	}
	switch {
	case *brief:
		bad := 0
		for _, r := range results {
			if r.beyond() {
				bad++
				fmt.Printf("beyond its limit: %s, against %s\n", r.what, r.baseline)
			}
		}
		for _, f := range facts {
			if !f.ok {
				bad++
				fmt.Printf("beyond its limit: %s\n", f.what)
			}
		}
		fmt.Printf("%.0f s\n", time.Since(began).Seconds())
		if bad > 0 {
			log.Fatalf("%d results are beyond their limit by more than a third", bad)
		}
	case *only == "":
		sizes, err := measureSizes(count / 4)
		if err != nil {
			log.Fatal(err)
		}
		traces, err := rotate(*rotation)
		if err != nil {
			log.Fatal(err)
		}
		if err := writeReport(*docs, report{results, facts, sizes, traces}); err != nil {
			log.Fatal(err)
		}
		fmt.Fprintf(os.Stderr, "%.0f s\n", time.Since(began).Seconds())
	}
}
