// Command emulators installs and starts the SQS and KMS emulators of the
// integration tests.
//
//	go run ./cmd/emulators                     try every one: install, start, list queues, stop
//	go run ./cmd/emulators -only moto,fauxqs   only these
//	go run ./cmd/emulators -check              only look for the language toolchains
//	go run ./cmd/emulators -- go test ./...    start them, run a command with their endpoints, stop them
//	go run ./cmd/emulators -serve              start them, print their endpoints, stop them on an interrupt
//
// An emulator whose language toolchain is not on the machine is named and left
// out; with SEALQTEST_REQUIRE_ALL=1 that is a failure. One that should start
// and does not is always a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sealq/sealq/integration/launch"
)

func main() {
	log.SetFlags(0)
	only := flag.String("only", "", "comma-separated names; empty is all")
	check := flag.Bool("check", false, "look for the language toolchains, and start nothing")
	serve := flag.Bool("serve", false, "keep them running until interrupted")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()

	err := run(ctx, *only, *check, *serve, flag.Args())
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, only string, check, serve bool, command []string) (err error) {
	emulators, err := choose(only)
	if err != nil {
		return err
	}
	if check {
		var missing []error
		for _, e := range emulators {
			missing = append(missing, e.Prerequisites(ctx))
		}
		return errors.Join(missing...)
	}
	running, err := startAll(ctx, emulators)
	defer func() {
		for _, in := range running {
			err = errors.Join(err, in.Stop())
		}
	}()
	if err != nil {
		return err
	}
	for _, in := range running {
		if err := os.Setenv(in.EndpointVariable(), in.Endpoint); err != nil {
			return err
		}
	}
	switch {
	case len(command) > 0:
		return runCommand(ctx, command)
	case serve:
		for _, in := range running {
			fmt.Printf("export %s=%s\n", in.EndpointVariable(), in.Endpoint)
		}
		<-ctx.Done()
	}
	return nil
}

func choose(only string) ([]launch.Emulator, error) {
	if only == "" {
		return launch.All(), nil
	}
	var chosen []launch.Emulator
	for name := range strings.SplitSeq(only, ",") {
		e, err := launch.Find(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, e)
	}
	return chosen, nil
}

// startAll installs and starts two at a time, because installing is mostly
// waiting. What has started is returned even beside an error.
func startAll(ctx context.Context, emulators []launch.Emulator) (running []*launch.Instance, err error) {
	instances := make([]*launch.Instance, len(emulators))
	failures := make([]error, len(emulators))
	slots := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for i, e := range emulators {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			instances[i], failures[i] = start(ctx, e)
		})
	}
	wg.Wait()
	for _, in := range instances {
		if in != nil {
			running = append(running, in)
		}
	}
	return running, errors.Join(failures...)
}

// start reports on standard error, so that -serve prints nothing but shell
// lines on standard output. It returns no instance and no error for an emulator
// that is left out.
func start(ctx context.Context, e launch.Emulator) (*launch.Instance, error) {
	began := time.Now()
	how := "installed now"
	if e.Installed() {
		how = "installed before"
	}
	if os.Getenv(e.EndpointVariable()) != "" {
		how = "given by " + e.EndpointVariable()
	}
	in, err := e.Start(ctx)
	if errors.Is(err, launch.ErrPrerequisite) && os.Getenv(launch.RequireVariable) == "" {
		log.Printf("%-11s %-9s left out: %v", e.Name, e.Version, err)
		return nil, nil
	}
	if err == nil {
		err = in.Speaks(ctx)
	}
	if err != nil {
		log.Printf("%-11s %-9s FAILED", e.Name, e.Version)
		return in, err
	}
	log.Printf("%-11s %-9s %s, answers at %s after %.1f s", e.Name, e.Version, how, in.Endpoint, time.Since(began).Seconds())
	return in, nil
}

// runCommand lets the command end by itself on an interrupt, which a terminal
// sends to both.
func runCommand(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}
