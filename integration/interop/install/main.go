// Command install brings the official encryption SDKs into the cache, and says
// what is there and what each took:
//
//	go run ./interop/install
//
// The tests do the same by themselves. A separate step keeps the minutes of a
// first installation out of the time limit of go test.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/sealq/sealq/integration/interop/drivers"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("install: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	installed, err := drivers.Install(ctx, drivers.All())
	if err != nil {
		log.Fatal(err)
	}
	var failures []error
	for _, in := range installed {
		state := fmt.Sprintf("installed in %v", in.Took.Round(time.Second))
		switch {
		case in.Err != nil:
			state = "NOT INSTALLED"
			failures = append(failures, in.Err)
		case in.Cached:
			state = "in the cache"
		}
		fmt.Printf("%-20s %-8s %s\n", in.Name, in.Version, state)
	}
	if err := errors.Join(failures...); err != nil {
		log.Fatal(err)
	}
}
